package keyset

import (
	"encoding/binary"
	"math"

	"penstock.dev/penstock/internal/mutation"
)

// logTail is the log entry that is being filled: keys that are in no run yet. Small transactions write it again, with more keys, until it
// is large; so there are never many.
type logTail struct {
	number uint64
	first  uint64 // the oldest that is there
	data   []byte // when, and then hash and milliseconds since the one before
	last   int64
}

func (l *logTail) add(e entry) {
	if len(l.data) == 0 {
		l.data = binary.BigEndian.AppendUint64(l.data, uint64(e.at))
		l.last = e.at
	}
	l.data = binary.BigEndian.AppendUint64(l.data, e.hash.hi)
	l.data = binary.BigEndian.AppendUint64(l.data, e.hash.lo)
	l.data = binary.AppendUvarint(l.data, uint64(e.at-l.last))
	l.last = e.at
}

func (l *logTail) write(s *Set, out Putter) {
	s.keybuf = logKey(s.keybuf[:0], l.number)
	if !mutation.On("key-not-put") {
		out.Put(s.keybuf, l.data, 0)
	}
	if len(l.data) >= s.shape.log {
		l.turn()
	}
}

// turn begins the next entry.
func (l *logTail) turn() {
	if len(l.data) > 0 {
		l.number++
		l.data = l.data[:0]
	}
}

// readLog calls f with the keys of a log entry; false: it is damaged.
func readLog(data []byte, f func(entry)) bool {
	if len(data) < 8 {
		return false
	}
	at := int64(binary.BigEndian.Uint64(data))
	for data = data[8:]; len(data) > 0; {
		if len(data) < hashSize+1 {
			return false
		}
		h := Hash{binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])}
		d, n := binary.Uvarint(data[hashSize:])
		if n <= 0 || d > math.MaxInt64/2 {
			return false
		}
		at += int64(d)
		f(entry{h, at})
		data = data[hashSize+n:]
	}
	return true
}
