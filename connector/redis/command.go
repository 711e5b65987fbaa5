package redis

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"penstock.dev/penstock/jsonview"
)

// commands are those that `command` may send, and whether they only read: commands of keys that answer at once. Those that wait (BLPOP, XREAD with BLOCK) would hold up
// the connection that all flows share; those that change the connection (SELECT, SUBSCRIBE, MULTI) would change it for all.
var commands = func() map[string]bool {
	out := map[string]bool{}
	for _, name := range strings.Fields(`
		BITCOUNT BITPOS GETBIT GEODIST GEOHASH GEOPOS GEOSEARCH GET GETRANGE HEXISTS HGET HGETALL HKEYS HLEN HMGET HRANDFIELD HSTRLEN HVALS LINDEX LLEN LPOS LRANGE
		OBJECT PFCOUNT PTTL SCARD SDIFF SINTER SISMEMBER SMEMBERS SMISMEMBER SRANDMEMBER STRLEN SUNION TTL TYPE EXISTS MGET XINFO XLEN XPENDING XRANGE XREVRANGE
		ZCARD ZCOUNT ZLEXCOUNT ZMSCORE ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYSCORE ZREVRANK ZSCORE
		EVAL_RO EVALSHA_RO FCALL_RO JSON.GET JSON.MGET JSON.TYPE BF.EXISTS BF.MEXISTS`) {
		out[name] = true
	}
	for _, name := range strings.Fields(`
		APPEND BITOP COPY DECR DECRBY DEL EVAL EVALSHA EXPIRE EXPIREAT FCALL GEOADD GETDEL GETEX GETSET HDEL HINCRBY HINCRBYFLOAT HMSET HSET HSETNX INCR INCRBY INCRBYFLOAT
		LINSERT LMOVE LPOP LPUSH LPUSHX LREM LSET LTRIM MSET PERSIST PEXPIRE PEXPIREAT PFADD PFMERGE RENAME RENAMENX RPOP RPOPLPUSH RPUSH RPUSHX SADD SET SETBIT SETEX SETNX
		SETRANGE SMOVE SPOP SREM SINTERSTORE SUNIONSTORE SDIFFSTORE TOUCH UNLINK XACK XADD XDEL XTRIM ZADD ZINCRBY ZPOPMAX ZPOPMIN ZRANGESTORE ZREM ZREMRANGEBYLEX
		ZREMRANGEBYRANK ZREMRANGEBYSCORE ZUNIONSTORE ZINTERSTORE JSON.SET JSON.DEL JSON.MERGE JSON.NUMINCRBY BF.ADD BF.MADD PUBLISH SPUBLISH`) {
		out[name] = false
	}
	return out
}()

// commandKey finds the first key among the words of a command, by which a cluster knows the node; 0 where there is none.
func commandKey(words []string) int {
	at := 1
	switch name := strings.ToUpper(words[0]); name {
	case "EVAL", "EVALSHA", "FCALL", "EVAL_RO", "EVALSHA_RO", "FCALL_RO":
		at = 3
		if len(words) > 2 && words[2] == "0" {
			return 0
		}
	case "OBJECT", "XINFO", "BITOP":
		at = 2
	case "PUBLISH":
		return 0
	}
	if at >= len(words) {
		return 0
	}
	return at
}

// appendReply writes what a server says as JSON: an object for a map, a list for lists and sets.
func appendReply(dst []byte, m *rueidis.RedisMessage) ([]byte, error) {
	switch {
	case m.IsNil():
		return append(dst, "null"...), nil
	case m.IsInt64():
		n, err := m.ToInt64()
		return strconv.AppendInt(dst, n, 10), err
	case m.IsBool():
		b, err := m.ToBool()
		return strconv.AppendBool(dst, b), err
	case m.IsFloat64():
		f, err := m.ToFloat64()
		if err != nil || math.IsInf(f, 0) || math.IsNaN(f) { // JSON has none
			text := strconv.FormatFloat(f, 'g', -1, 64)
			return jsonview.AppendString(dst, text), err
		}
		return jsonview.AppendFloat(dst, f), nil
	case m.IsMap():
		all, err := m.ToMap()
		if err != nil {
			return dst, err
		}
		return appendMap(dst, all)
	case m.IsArray():
		all, err := m.ToArray()
		if err != nil {
			return dst, err
		}
		dst = append(dst, '[')
		for i := range all {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendReply(dst, &all[i]); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
	text, err := m.ToString()
	if err != nil {
		return dst, err
	}
	return jsonview.AppendString(dst, valid(text)), nil
}

// appendMap writes a map with its names sorted, since the client forgets the server's order.
func appendMap(dst []byte, all map[string]rueidis.RedisMessage) ([]byte, error) {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(all)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(jsonview.AppendString(dst, valid(name)), ':')
		value := all[name]
		var err error
		if dst, err = appendReply(dst, &value); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}
