package entity

import (
	"encoding/binary"

	"penstock.dev/penstock/internal/store"
)

// Channel is the channel of the store that holds the events of an entity, in each part: see store.InPart.
func Channel(entity string) string { return "entity/" + entity }

// names are where an entity keeps what it keeps, in one part.
type names struct {
	part                                              int
	events, head, at, snap, cause, chain, keys, under string
}

func namesOf(entity string, part int) names {
	in := func(what string) string { return store.InPart(Channel(entity)+what, part) }
	return names{part: part, events: in(""), head: in("/head"), at: in("/at"), snap: in("/snap"), cause: in("/cause"), chain: in("/chain"), keys: in("/keys"), under: in("/of")}
}

func partOfChannel(entity string, part int) string { return store.InPart(Channel(entity), part) }

// atKey is the key of an entry of `at`: the entity's key, a zero byte, and the version of the first event, so that entries of one entity stand in the
// order of versions. A key with a zero byte in it is written as 00 FF, the end as 00 00: none is the beginning of another.
func atKey(key string, version int64) []byte {
	dst := make([]byte, 0, len(key)+10)
	for i := range len(key) {
		if dst = append(dst, key[i]); key[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	dst = append(dst, 0, 0)
	return binary.BigEndian.AppendUint64(dst, uint64(version))
}
