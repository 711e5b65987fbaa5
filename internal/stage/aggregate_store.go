package stage

import (
	"encoding/binary"
)

// What an aggregate stores: the watermark, and entries "g", the group's number, the number of the entry. Each holds what one
// Absorb has added to the group, and the first also its key and its head. Groups are found in the order in which
// they began, and beginning a group appends to the end of the space.

var highKey = []byte("w")

const chunkKind = 'g'

// chunkVersion is the first byte of a chunk.
const chunkVersion = 1

func chunkKey(dst []byte, number uint64, chunk uint32) []byte {
	return binary.BigEndian.AppendUint32(numberKey(dst, chunkKind, number), chunk)
}

func readChunkKey(key []byte) (number uint64, chunk uint32, err error) {
	if len(key) != 13 || key[0] != chunkKind {
		return 0, 0, errDamaged
	}
	return binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint32(key[9:]), nil
}

func readHigh(value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, errDamaged
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}

// mirror stores what this Absorb has added to groups that are still open, and the watermark.
func (a *Aggregate) mirror(out Output) {
	for _, g := range a.touched {
		g.touched = false
		if !g.open {
			continue
		}
		a.key = chunkKey(a.key[:0], g.number, g.chunks)
		a.scratch = g.appendChunk(a.scratch[:0])
		out.Put(a.key, a.scratch, 0)
		g.chunks++
		g.stored = len(g.body)
	}
	clear(a.touched)
	a.touched = a.touched[:0]
	if a.high != a.highSaved {
		a.highSaved = a.high
		a.scratch = binary.BigEndian.AppendUint64(a.scratch[:0], uint64(a.high))
		out.Put(highKey, a.scratch, 0)
	}
}

// appendChunk appends the value of the group's next entry.
func (g *openGroup) appendChunk(dst []byte) []byte {
	dst = append(dst, chunkVersion)
	dst = binary.AppendUvarint(dst, uint64(g.n))
	dst = binary.AppendVarint(dst, g.firstAt)
	dst = binary.AppendVarint(dst, g.lastAt)
	if g.chunks == 0 {
		dst = binary.AppendUvarint(dst, uint64(len(g.key)))
		dst = append(dst, g.key...)
		dst = binary.AppendUvarint(dst, uint64(len(g.head)))
		dst = append(dst, g.head...)
	}
	return append(dst, g.body[g.stored:]...)
}

// load adds an entry that appendChunk has made.
func (g *openGroup) load(v []byte) error {
	if len(v) == 0 || v[0] != chunkVersion {
		return errDamaged
	}
	n, w := binary.Uvarint(v[1:])
	if w <= 0 || n > 1<<40 {
		return errDamaged
	}
	v = v[1+w:]
	for _, at := range []*int64{&g.firstAt, &g.lastAt} {
		if *at, w = binary.Varint(v); w <= 0 {
			return errDamaged
		}
		v = v[w:]
	}
	if g.chunks == 0 {
		key, rest, err := cutBytes(v)
		if err != nil {
			return err
		}
		head, rest, err := cutBytes(rest)
		if err != nil {
			return err
		}
		g.key, g.head, v = string(key), append([]byte(nil), head...), rest
	}
	g.n = int(n)
	g.body = append(g.body, v...)
	g.chunks++
	g.stored = len(g.body)
	return nil
}
