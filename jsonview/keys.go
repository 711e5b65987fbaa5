package jsonview

import (
	"bytes"
	"hash/maphash"
	"math/bits"
)

// Duplicate keys. While an object is small, 64 bits remember the hashes of its keys and only a hit leads to a
// comparison, with the earlier keys whose 24-bit hash is the same. A large object is checked once when it closes, by a
// hash set under a random seed: linear, whatever keys an adversary chooses.

const (
	// smallObject is up to how many keys an object is checked key by key.
	smallObject = 32
	// hashShift leaves the 24 bits of a hash that a node has room for.
	hashShift = 40
)

// mix stirs a word into a hash: a multiplication spreads to the high bits, the rotation brings them down for the
// next one.
func mix(x uint64) uint64 { return bits.RotateLeft64(x*0x9e3779b97f4a7c15, 32) * 0xd6e8feb86659fd93 }

// below masks the bytes of a word that lie below the lowest set bit of m, a result of special.
func below(m uint64) uint64 { return (m&-m)>>7 - 1 }

// hashName gives the part of the hash of a name that nodes hold.
func hashName(name string) uint32 { return uint32(hashText(stringBytes(name)) >> hashShift) }

// hashKey hashes a key; text is what stands between its quotes.
func (d *Doc) hashKey(text []byte, flags uint32) uint64 {
	if flags&flagEscaped != 0 {
		w := d.scratch()
		w.a = appendUnescaped(w.a[:0], text)
		text = w.a
	}
	return hashText(text)
}

// hashText is the hash that scan computes in line while it looks for the end of a key.
func hashText(text []byte) (h uint64) {
	for len(text) >= 8 {
		h = mix(h ^ load8(text, 0))
		text = text[8:]
	}
	var w uint64
	for i := len(text) - 1; i >= 0; i-- {
		w = w<<8 | uint64(text[i])
	}
	return mix(h ^ w)
}

// unescapedKey gives the name of key node k; an escaped one is written to *buf.
func (d *Doc) unescapedKey(nd *node, buf *[]byte) []byte {
	text := d.src[nd.start+1 : nd.end-1]
	if nd.meta&flagEscaped == 0 {
		return text
	}
	*buf = appendUnescaped((*buf)[:0], text)
	return *buf
}

// duplicateInSmall compares key node k of object obj with the keys before it.
func (d *Doc) duplicateInSmall(nodes []node, obj, k int) *SyntaxError {
	const same = ^uint32(flagEscaped)
	meta := nodes[k].meta & same
	w := d.scratch()
	for e := obj + 1; e < k; e = int(nodes[e+1].next) {
		if nodes[e].meta&same == meta && bytes.Equal(d.unescapedKey(&nodes[e], &w.a), d.unescapedKey(&nodes[k], &w.b)) {
			return d.failDuplicate(&nodes[e], &nodes[k])
		}
	}
	return nil
}

// keySeed makes the hashes of large objects unpredictable.
var keySeed = maphash.MakeSeed()

// duplicateInLarge looks for a duplicate among all the keys of the object obj, which has count of them.
func (d *Doc) duplicateInLarge(nodes []node, obj, count int) *SyntaxError {
	w := d.scratch()
	size := 1 << bits.Len(uint(count)*2) // at most half full
	if cap(w.seen) < size {
		w.seen = make([]uint32, size)
	}
	seen := w.seen[:size]
	clear(seen) // 0 is the root, never a key: an empty slot
	for k := obj + 1; k > 0; k = int(nodes[k+1].next) {
		name := d.unescapedKey(&nodes[k], &w.b)
		at := int(maphash.Bytes(keySeed, name)) & (size - 1)
		for ; seen[at] != 0; at = (at + 1) & (size - 1) {
			e := &nodes[seen[at]]
			if e.meta>>countShift == nodes[k].meta>>countShift && bytes.Equal(d.unescapedKey(e, &w.a), name) {
				return d.failDuplicate(e, &nodes[k])
			}
		}
		seen[at] = uint32(k)
	}
	return nil
}

// failDuplicate makes the error for key k, which e already had.
func (d *Doc) failDuplicate(e, k *node) *SyntaxError {
	return fail(d.src, int(k.start), "duplicate key %q, first seen at byte %d", clip(string(d.unescapedKey(k, &d.scratch().b))), e.start)
}
