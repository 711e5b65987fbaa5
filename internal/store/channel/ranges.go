package channel

import (
	"encoding/binary"
	"errors"
	"slices"
	"sort"
)

// Range is positions from From up to, and without, To.
type Range struct{ From, To int64 }

// done is a set of positions: all below low, and ranges above it, in order, that neither touch one another nor low.
type done struct {
	low    int64
	ranges []Range
}

// add puts a range into the set.
func (d *done) add(r Range) {
	if r.To <= d.low || r.To <= r.From {
		return
	}
	if r.From <= d.low {
		d.low = r.To
		d.absorb()
		return
	}
	// i: the first that touches r or lies behind it; j: the first that lies behind it without touching
	i := sort.Search(len(d.ranges), func(i int) bool { return d.ranges[i].To >= r.From })
	j := i
	for j < len(d.ranges) && d.ranges[j].From <= r.To {
		r.From, r.To = min(r.From, d.ranges[j].From), max(r.To, d.ranges[j].To)
		j++
	}
	if j == i+1 {
		d.ranges[i] = r
		return
	}
	d.ranges = slices.Replace(d.ranges, i, j, r)
}

// absorb takes ranges that low has reached into it.
func (d *done) absorb() {
	n := 0
	for n < len(d.ranges) && d.ranges[n].From <= d.low {
		d.low = max(d.low, d.ranges[n].To)
		n++
	}
	d.ranges = slices.Delete(d.ranges, 0, n)
}

// overlaps says that a position of r is in the set.
func (d *done) overlaps(r Range) bool {
	if r.From >= r.To {
		return false
	}
	if r.From < d.low {
		return true
	}
	i := sort.Search(len(d.ranges), func(i int) bool { return d.ranges[i].To > r.From })
	return i < len(d.ranges) && d.ranges[i].From < r.To
}

// gap finds the first positions from pos on that are not in the set: from, up to end.
func (d *done) gap(pos int64) (from, end int64) {
	pos = max(pos, d.low)
	i := sort.Search(len(d.ranges), func(i int) bool { return d.ranges[i].To > pos })
	if i < len(d.ranges) && d.ranges[i].From <= pos {
		pos = d.ranges[i].To
		i++
	}
	if i < len(d.ranges) {
		return pos, d.ranges[i].From
	}
	return pos, 1<<63 - 1
}

// above counts the positions of the ranges, up to end.
func (d *done) above(end int64) (n int64) {
	for _, r := range d.ranges {
		n += max(0, min(r.To, end)-min(r.From, end))
	}
	return n
}

// cursorVersion is the first byte of a stored cursor: low and the number of ranges as varints, then for each how far it lies
// from what was before, and how long it is.
const cursorVersion = 1

var errCursor = errors.New("the stored cursor is damaged")

func (d *done) value() []byte {
	dst := []byte{cursorVersion}
	dst = binary.AppendUvarint(dst, uint64(d.low))
	dst = binary.AppendUvarint(dst, uint64(len(d.ranges)))
	at := d.low
	for _, r := range d.ranges {
		dst = binary.AppendUvarint(dst, uint64(r.From-at))
		dst = binary.AppendUvarint(dst, uint64(r.To-r.From))
		at = r.To
	}
	return dst
}

func parseDone(b []byte) (done, error) {
	if len(b) == 0 || b[0] != cursorVersion {
		return done{}, errCursor
	}
	b = b[1:]
	bad := false
	next := func() int64 {
		u, n := binary.Uvarint(b)
		if n <= 0 || u > 1<<62 {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return int64(u)
	}
	d := done{low: next()}
	count := next()
	if bad || count > int64(len(b)/2) {
		return done{}, errCursor
	}
	if count > 0 {
		d.ranges = make([]Range, 0, count)
	}
	at := d.low
	for range count {
		from := at + next()
		to := from + next()
		if bad || from <= at || to <= from {
			return done{}, errCursor
		}
		d.ranges = append(d.ranges, Range{from, to})
		at = to
	}
	if len(b) != 0 {
		return done{}, errCursor
	}
	return d, nil
}
