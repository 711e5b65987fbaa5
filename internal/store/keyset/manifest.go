package keyset

import (
	"encoding/binary"
	"math"
)

// The entries of the space:
//
//	b run number   a piece of a run's filter
//	c              the set's clock, and which pages are durable
//	f run number   a piece of a run's fences
//	l number       log: keys that are in no run yet
//	m              the manifest: which runs there are
//	p run number   a page
var (
	clockKey    = []byte{'c'}
	manifestKey = []byte{'m'}
)

func logKey(dst []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(append(dst, 'l'), n) }

func pageKey(dst []byte, run uint64, page int) []byte { return partKey(dst, 'p', run, page) }

func partKey(dst []byte, kind byte, run uint64, n int) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, kind), run)
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

// dead is a run that is being deleted.
type dead struct {
	id      uint64
	pages   int
	filters int // pieces
	fences  int // pieces
	done    int // of all these; begins anew with a start
}

func (d dead) parts() int { return d.pages + d.filters + d.fences }

// part is the key of the i-th thing to delete.
func (d dead) part(dst []byte, i int) []byte {
	switch {
	case i < d.pages:
		return pageKey(dst, d.id, i)
	case i < d.pages+d.filters:
		return partKey(dst, 'b', d.id, i-d.pages)
	}
	return partKey(dst, 'f', d.id, i-d.pages-d.filters)
}

func pieces(n, chunk int) int { return (n + chunk - 1) / chunk }

// bury says what of a run has to be deleted.
func (s *Set) bury(r *run, pages int) {
	s.dead = append(s.dead, dead{id: r.id, pages: pages, filters: pieces(len(r.filter), s.shape.chunk), fences: pieces(max(pages, len(r.fences)), s.shape.chunk)})
	s.dirty = true
}

const manifestVersion = 1

func (s *Set) writeManifest(out Putter) {
	b := []byte{manifestVersion}
	put := func(vs ...int64) {
		for _, v := range vs {
			b = binary.AppendVarint(b, v)
		}
	}
	put(int64(s.next), int64(s.log.first), int64(s.shape.chunk))
	put(int64(len(s.runs)))
	for _, r := range s.runs {
		put(int64(r.id), r.entries, int64(r.pages), r.base, int64(r.width), r.newest, int64(len(r.filter)))
	}
	var building []*build
	for _, x := range []*build{s.flush, s.merge} {
		if x != nil {
			building = append(building, x)
		}
	}
	put(int64(len(building)))
	for _, x := range building {
		put(int64(x.out.id), int64(len(x.out.filter)), int64(x.most))
	}
	put(int64(len(s.dead)))
	for _, d := range s.dead {
		put(int64(d.id), int64(d.pages), int64(d.filters), int64(d.fences))
	}
	out.Put(manifestKey, b, 0)
	s.dirty = false
}

// stored is what a manifest says.
type stored struct {
	chunk    int
	words    []int      // of the runs' filters
	building [][3]int64 // id, words of the filter, most pages
}

// readManifest sets what the manifest tells; false: it is damaged.
func (s *Set) readManifest(b []byte) (stored, bool) {
	var st stored
	ok := true
	get := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	// size reads a number of things of which each takes a byte or more.
	size := func() int {
		n := get()
		if n < 0 || n > int64(len(b)) {
			ok = false
			return 0
		}
		return int(n)
	}
	// natural reads what is counted.
	natural := func() int {
		n := get()
		if n < 0 || n > math.MaxInt32 {
			ok = false
			return 0
		}
		return int(n)
	}
	s.next, s.log.first, st.chunk = uint64(get()), uint64(get()), natural()
	for range size() {
		r := &run{id: uint64(get()), entries: get(), pages: natural(), base: get(), width: natural(), newest: get()}
		words := natural()
		ok = ok && r.width <= 8 && r.entries > 0 && r.pages > 0 && words > 0 && words%blockWords == 0
		s.runs, st.words = append(s.runs, r), append(st.words, words)
	}
	for range size() {
		st.building = append(st.building, [3]int64{get(), int64(natural()), int64(natural())})
	}
	for range size() {
		s.dead = append(s.dead, dead{id: uint64(get()), pages: natural(), filters: natural(), fences: natural()})
	}
	return st, ok && len(b) == 0 && st.chunk > 0
}

func (s *Set) writeClock(out Putter) {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], uint64(s.clock))
	binary.BigEndian.PutUint64(b[8:], uint64(s.ahead))
	binary.BigEndian.PutUint64(b[16:], s.sequence)
	out.Put(clockKey, b[:], 0)
	s.stored = s.clock
}

func (s *Set) readClock(b []byte) (clock, ahead int64, sequence uint64, err error) {
	if len(b) != 24 {
		return 0, 0, 0, s.damaged("its clock has %d bytes", len(b))
	}
	return int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), binary.BigEndian.Uint64(b[16:]), nil
}
