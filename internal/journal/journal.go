// Package journal is what a run notes of the way of each message, for `penstock trace`: which message of which source came to
// which flow, what became of it, and where what was made of it went. The notes of one transaction are one message of the
// channel #journal, written with it; the channel is bounded, so that a trace reaches back as far as the bound.
//
// # Layout, version 1
//
//	byte    version, 1
//	8 bytes time, Unix nanoseconds, little-endian
//	string  flow                    a string is its length as a varint, and its bytes
//	table   strings: their number, and the strings
//	bases   their number, then for each the index of a channel in the table, and the position of the first message appended
//	entries to the end: kind, where it came from, key, fate, where it went; numbers are varints
package journal

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// Channel is the channel that journals are kept in.
const Channel = "#journal"

// Fate is what became of a message in a flow.
type Fate uint8

// The fates.
const (
	Done     Fate = iota // reached the end of the steps
	Filtered             // dropped by a step
	Dead                 // dead-lettered
	Absorbed             // taken in by a durable step
	Emitted              // not a message that came, but one that a durable step let go
	Refused              // a request that failed: its caller was told
	fates
)

// String names the fate.
func (f Fate) String() string {
	switch f {
	case Done:
		return "done"
	case Filtered:
		return "filtered"
	case Dead:
		return "dead"
	case Absorbed:
		return "absorbed"
	case Emitted:
		return "emitted"
	case Refused:
		return "refused"
	}
	return "unknown"
}

// Entry is the way of one message through one flow.
type Entry struct {
	Time   int64  `json:"time"` // when it was committed, Unix nanoseconds
	Flow   string `json:"flow"`
	Stream string `json:"stream"` // where it came from: a file, a channel; of an Emitted one the step
	Offset int64  `json:"offset"`
	Line   int64  `json:"line,omitempty"` // 0: none
	Key    string `json:"key,omitempty"`
	Fate   Fate   `json:"-"`
	Hops   []Hop  `json:"hops,omitempty"`
}

// ID names the message: file.csv:17, or orders@123.
func (e Entry) ID() string { return ID(e.Stream, e.Offset, e.Line) }

// ID names a message of a stream, by its line where it has one.
func ID(stream string, offset, line int64) string {
	b := make([]byte, 0, 128) // on the stack: this is asked for every message
	b = append(b, stream...)
	if line > 0 {
		return string(strconv.AppendInt(append(b, ':'), line, 10))
	}
	return string(strconv.AppendInt(append(b, '@'), offset, 10))
}

// Hop is where something went that was made of a message. The one hop of an Emitted message is where it came from: To is
// the id of what it was made of.
type Hop struct {
	To       string `json:"to"`            // a channel, a step that absorbed it, or an endpoint
	Position int64  `json:"position"`      // in the channel; -1: To is none
	Key      string `json:"key,omitempty"` // a step that absorbed it: of the state
}

// Draft gathers the notes of one transaction. It is used over and over, by one goroutine at a time.
type Draft struct {
	flow    string
	strings []string
	index   map[string]int
	body    []byte
	n       int
	out     []byte
}

// Reset begins the notes of another transaction.
func (d *Draft) Reset(flow string) {
	if d.index == nil {
		d.index = map[string]int{}
	}
	clear(d.index)
	d.flow, d.strings, d.body, d.n = flow, d.strings[:0], d.body[:0], 0
}

// Empty says that nothing was noted.
func (d *Draft) Empty() bool { return d.n == 0 }

func (d *Draft) name(s string) uint64 {
	i, ok := d.index[s]
	if !ok {
		i = len(d.strings)
		d.strings = append(d.strings, s)
		d.index[s] = i
	}
	return uint64(i)
}

// Message notes a message and how many hops follow.
func (d *Draft) Message(stream string, offset, line int64, key string, fate Fate, hops int) {
	d.n++
	d.body = append(d.body, byte(fate))
	d.body = binary.AppendUvarint(d.body, d.name(stream))
	d.body = binary.AppendVarint(d.body, offset)
	d.body = binary.AppendVarint(d.body, line)
	d.body = binary.AppendUvarint(d.body, uint64(len(key)))
	d.body = append(d.body, key...)
	d.body = binary.AppendUvarint(d.body, uint64(hops))
}

// The kinds of hops.
const (
	hopChannel = iota // the position is relative to the channel's base
	hopPlace          // no position
	hopStep           // absorbed: with a key
	hopOrigin         // emitted: what it was made of
)

// Appended notes that the message went to a channel, as the i-th that the transaction appends there.
func (d *Draft) Appended(channel string, i int) {
	d.body = append(d.body, hopChannel)
	d.body = binary.AppendUvarint(d.body, d.name(channel))
	d.body = binary.AppendUvarint(d.body, uint64(i))
}

// Sent notes that the message was written to an endpoint.
func (d *Draft) Sent(endpoint string) {
	d.body = append(d.body, hopPlace)
	d.body = binary.AppendUvarint(d.body, d.name(endpoint))
}

// Emitted notes a message that a durable step let go, as the i-th that the transaction appends to the step's channel, and
// what it was made of: of a group, its first message.
func (d *Draft) Emitted(channel string, i int, key, origin string) {
	d.Message(channel, int64(i), 0, key, Emitted, 1)
	d.body = append(d.body, hopOrigin)
	d.body = binary.AppendUvarint(d.body, uint64(len(origin)))
	d.body = append(d.body, origin...)
}

// Absorbed notes that a durable step took the message in, under a key.
func (d *Draft) Absorbed(step, key string) {
	d.body = append(d.body, hopStep)
	d.body = binary.AppendUvarint(d.body, d.name(step))
	d.body = binary.AppendUvarint(d.body, uint64(len(key)))
	d.body = append(d.body, key...)
}

// Append makes the record. base gives the position at which the transaction has appended to a channel, false where it has
// not. The record is valid until the next call.
func (d *Draft) Append(now int64, base func(channel string) (int64, bool)) []byte {
	b := append(d.out[:0], 1)
	b = binary.LittleEndian.AppendUint64(b, uint64(now))
	b = appendString(b, d.flow)
	b = binary.AppendUvarint(b, uint64(len(d.strings)))
	n := 0
	for _, s := range d.strings {
		b = appendString(b, s)
		if _, ok := base(s); ok {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i, s := range d.strings {
		if at, ok := base(s); ok {
			b = binary.AppendUvarint(b, uint64(i))
			b = binary.AppendUvarint(b, uint64(at))
		}
	}
	d.out = append(b, d.body...)
	return d.out
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// ErrDamaged says that bytes are no journal.
var ErrDamaged = errors.New("the journal is damaged")

// Read calls f with each entry of a record, until it returns false. The entries' strings are copies; Hops is used again.
func Read(rec []byte, f func(*Entry) bool) error {
	if len(rec) < 9 || rec[0] != 1 {
		return ErrDamaged
	}
	r := reader{rest: rec[9:]}
	e := Entry{Time: int64(binary.LittleEndian.Uint64(rec[1:]))}
	e.Flow = r.str()
	n := r.count()
	names := make([]string, 0, min(n, 64))
	for range n {
		if r.bad {
			break
		}
		names = append(names, r.str())
	}
	bases := map[uint64]int64{}
	for range r.count() {
		i := r.uvarint()
		bases[i] = int64(r.uvarint())
		if r.bad {
			break
		}
	}
	name := func(i uint64) string {
		if i >= uint64(len(names)) {
			r.bad = true
			return ""
		}
		return names[i]
	}
	for len(r.rest) > 0 && !r.bad {
		e.Fate = Fate(r.rest[0])
		r.rest = r.rest[1:]
		r.bad = r.bad || e.Fate >= fates
		from := r.uvarint()
		e.Stream = name(from)
		e.Offset, e.Line = r.varint(), r.varint()
		if e.Fate == Emitted { // what a step let go is a message of its channel
			e.Offset += bases[from]
		}
		e.Key = r.str()
		e.Hops = e.Hops[:0]
		for range r.count() {
			if len(r.rest) == 0 {
				r.bad = true
				break
			}
			kind := r.rest[0]
			r.rest = r.rest[1:]
			if kind == hopOrigin {
				e.Hops = append(e.Hops, Hop{To: r.str(), Position: -1})
				continue
			}
			i := r.uvarint()
			h := Hop{To: name(i), Position: -1}
			switch kind {
			case hopChannel:
				h.Position = bases[i] + int64(r.uvarint())
			case hopPlace:
			case hopStep:
				h.Key = r.str()
			default:
				r.bad = true
			}
			if r.bad {
				break
			}
			e.Hops = append(e.Hops, h)
		}
		if !r.bad && !f(&e) {
			return nil
		}
	}
	if r.bad {
		return ErrDamaged
	}
	return nil
}

type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count reads how many of something follow; no more than there are bytes.
func (r *reader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) str() string {
	n := r.count()
	if r.bad {
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
