package stage

import (
	"cmp"
	"encoding/binary"
	"slices"

	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

// What an aggregate stores is the watermark, and a log: one entry for each Absorb, Fire or End that has changed open groups,
// however many. It has a piece for each group that was added to, with what was added, and the number of
// each that was completed. So a commit writes one row or two where thousands of groups are open.
//
// Entries are deleted oldest first, once none of the groups with a piece in them is open. A group that is open for long would keep
// all entries since, so where most of the log is of completed groups, the pieces of open ones in the oldest entries move to its
// end. Each byte is written twice or so at most, and the log is about twice as large as what is open.
//
//	byte    version, 1
//	pieces: varint number × 2 + 1                  the group is complete
//	        varint number × 2, varint place of the piece in the group,
//	        varint messages, zigzag first, zigzag last, … of the group
//	        string key, string head                in its first piece
//	        string bodies

var highKey = []byte("w")

const (
	logKind    = 'l'
	logVersion = 1
	// logSlack is how much of the log may be of completed groups in any case, and cleanBytes how much is moved at a time.
	logSlack   = 256 << 10
	cleanBytes = 1 << 20
	// trimEntries is how many entries are deleted at a time; others stay for the next.
	trimEntries = 2048
)

// groupLog is the log of an aggregate.
type groupLog struct {
	first   uint64 // number of entries[0]
	entries []logEntry
	total   int64 // bytes of entries
	live    int64 // bytes of the pieces of open groups
	done    []doneGroup
	key     []byte
	value   []byte
	spare   [][]piece
	slack   int64
}

// logEntry is what is known of an entry.
type logEntry struct {
	size   int64
	live   int // pieces of open groups
	pieces []piece
}

// piece is a part of a group.
type piece struct {
	g      *openGroup
	number uint64 // g is used again, for others
	place  int
}

// part is where a group finds a piece: the body's until end.
type part struct {
	end   int
	entry uint64
}

// doneGroup is a group that was completed, with the last entry that it has a piece in.
type doneGroup struct{ number, last uint64 }

// mirror stores what has changed.
func (a *Aggregate) mirror(out Output) {
	a.log.flush(out, a.touched)
	clear(a.touched)
	a.touched = a.touched[:0]
	if a.high != a.highSaved {
		a.highSaved = a.high
		a.scratch = binary.BigEndian.AppendUint64(a.scratch[:0], uint64(a.high))
		out.Put(highKey, a.scratch, 0)
	}
}

func readHigh(value []byte) (int64, error) {
	if len(value) != 8 {
		return 0, errDamaged
	}
	return int64(binary.BigEndian.Uint64(value)), nil
}

// drop notes that a group is complete.
func (l *groupLog) drop(g *openGroup) {
	if len(g.parts) == 0 {
		return
	}
	d := doneGroup{number: g.number}
	for _, p := range g.parts {
		l.entries[p.entry-l.first].live--
		d.last = max(d.last, p.entry)
	}
	l.live -= g.logged
	l.done = append(l.done, d)
}

// flush stores what was added to groups, and which are complete.
func (l *groupLog) flush(out Output, touched []*openGroup) {
	l.trim(out)
	v := append(l.value[:0], logVersion)
	for _, d := range l.done {
		if d.last >= l.first { // else nothing of it is left
			v = binary.AppendUvarint(v, d.number<<1|1)
		}
	}
	l.done = l.done[:0]
	e := logEntry{}
	if n := len(l.spare); n > 0 {
		e.pieces, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	for _, g := range touched {
		g.touched = false
		if g.open {
			before := len(v)
			g.parts = append(g.parts, part{end: len(g.body)})
			v = l.appendPiece(v, &e, g, len(g.parts)-1)
			g.logged += int64(len(v) - before)
			l.live += int64(len(v) - before)
		}
	}
	for limit := len(v) + max(cleanBytes, len(v)); l.total > 2*l.live+l.slack && len(v) < limit; {
		for _, p := range l.entries[0].pieces {
			if p.g.open && p.g.number == p.number {
				v = l.appendPiece(v, &e, p.g, p.place)
			}
		}
		l.pop(out)
		l.trim(out)
	}
	l.value = v
	if len(v) == 1 {
		l.keep(e.pieces)
		return
	}
	e.size = int64(len(v))
	l.total += e.size
	l.key = numberKey(l.key[:0], logKind, l.first+uint64(len(l.entries)))
	l.entries = append(l.entries, e)
	out.Put(l.key, v, 0)
	if cap(l.value) > portionBytes {
		l.value = nil
	}
}

// appendPiece appends a piece of a group to the entry that is about to be stored.
func (l *groupLog) appendPiece(v []byte, e *logEntry, g *openGroup, place int) []byte {
	from := 0
	if place > 0 {
		from = g.parts[place-1].end
	}
	p := &g.parts[place]
	p.entry = l.first + uint64(len(l.entries))
	e.live++
	e.pieces = append(e.pieces, piece{g, g.number, place})
	v = binary.AppendUvarint(v, g.number<<1)
	v = binary.AppendUvarint(v, uint64(place))
	v = binary.AppendUvarint(v, uint64(g.n))
	v = binary.AppendVarint(v, g.firstAt)
	v = binary.AppendVarint(v, g.lastAt)
	if place == 0 {
		v = binary.AppendUvarint(v, uint64(len(g.key)))
		v = append(v, g.key...)
		v = binary.AppendUvarint(v, uint64(len(g.head)))
		v = append(v, g.head...)
	}
	v = binary.AppendUvarint(v, uint64(p.end-from))
	return append(v, g.body[from:p.end]...)
}

// trim deletes the oldest entries, as far as nothing in them is open.
func (l *groupLog) trim(out Output) {
	for range trimEntries {
		if len(l.entries) == 0 || l.entries[0].live > 0 {
			return
		}
		l.pop(out)
	}
}

// pop deletes the oldest entry.
func (l *groupLog) pop(out Output) {
	l.key = numberKey(l.key[:0], logKind, l.first)
	out.Delete(l.key)
	l.total -= l.entries[0].size
	l.keep(l.entries[0].pieces)
	l.entries[0] = logEntry{}
	l.entries = l.entries[1:]
	l.first++
}

// keep keeps memory for other entries.
func (l *groupLog) keep(p []piece) {
	if cap(p) > 0 && len(l.spare) < 8 {
		clear(p)
		l.spare = append(l.spare, p[:0])
	}
}

// stored is a group as the log has it.
type stored struct {
	g      *openGroup
	pieces []storedPiece
}

type storedPiece struct {
	place int
	entry uint64
	size  int
	// What holds for the group as of this piece.
	n               int
	firstAt, lastAt int64
	body            []byte
}

// logReader reads the log, entry by entry.
type logReader struct {
	log    *groupLog
	groups map[uint64]*stored
	next   uint64 // behind the greatest number of a group
}

func (r *logReader) entry(e store.Entry) error {
	number, err := readNumberKey(e.Key)
	if err != nil {
		return err
	}
	l := r.log
	if len(l.entries) == 0 {
		l.first = number
	}
	if number != l.first+uint64(len(l.entries)) || len(e.Value) == 0 || e.Value[0] != logVersion {
		return errDamaged
	}
	l.entries = append(l.entries, logEntry{size: int64(len(e.Value))})
	l.total += int64(len(e.Value))
	for v := e.Value[1:]; len(v) > 0; {
		if v, err = r.piece(v, number); err != nil {
			return err
		}
	}
	return nil
}

func (r *logReader) piece(v []byte, entry uint64) (rest []byte, err error) {
	c := record.Fields{Rest: v}
	id := c.Uvarint()
	number := id >> 1
	r.next = max(r.next, number+1)
	if id&1 != 0 {
		delete(r.groups, number)
		return c.Rest, nil
	}
	s := r.groups[number]
	if s == nil {
		s = &stored{g: &openGroup{number: number, heapAt: -1}}
		r.groups[number] = s
	}
	p := storedPiece{place: int(c.Uvarint()), entry: entry, n: int(c.Uvarint()), firstAt: c.Varint(), lastAt: c.Varint()}
	if p.place == 0 {
		s.g.key, s.g.head = string(c.Bytes()), slices.Clone(c.Bytes())
	}
	p.body = c.Bytes()
	p.size = len(v) - len(c.Rest)
	if c.Bad {
		return nil, errDamaged
	}
	s.pieces = append(s.pieces, p)
	return c.Rest, nil
}

// open gives the groups that are open, in the order in which they began.
func (r *logReader) open() ([]*openGroup, error) {
	gs := make([]*openGroup, 0, len(r.groups))
	for _, s := range r.groups {
		g := s.g
		slices.SortFunc(s.pieces, func(a, b storedPiece) int { return cmp.Compare(a.place, b.place) })
		for i, p := range s.pieces {
			if p.place != i || p.n <= 0 {
				return nil, errDamaged
			}
			g.n, g.firstAt, g.lastAt = p.n, p.firstAt, p.lastAt
			g.body = append(g.body, p.body...)
			g.parts = append(g.parts, part{end: len(g.body), entry: p.entry})
			g.logged += int64(p.size)
			e := &r.log.entries[p.entry-r.log.first]
			e.live++
			e.pieces = append(e.pieces, piece{g, g.number, i})
		}
		r.log.live += g.logged
		gs = append(gs, g)
	}
	slices.SortFunc(gs, func(a, b *openGroup) int { return cmp.Compare(a.number, b.number) })
	return gs, nil
}
