package channel

// Messages that are not acknowledged stand in pages by their positions, so that one that is stuck keeps a
// page and not all that came after it.
const (
	pageShift = 8
	pageSize  = 1 << pageShift
)

type page struct {
	left    int   // entries in use
	time    int64 // of the segment of its first message
	entries [pageSize]entry
}

// entry is a message that was read.
type entry struct {
	record []byte
	reader *Reader
	line   *line // nil: without a key, or lines are not kept
	state  state
	again  bool // a reader had it before
}

type state uint8

const (
	free    state = iota
	flying        // with a reader
	pending       // waits in its line
)

type pages struct {
	m    map[int64]*page
	last int64 // number of at
	at   *page // the page that was used last
	kept []*page
}

// entry finds the place of a position; nil where there is none.
func (ps *pages) entry(pos int64) *entry {
	if p := ps.page(pos); p != nil {
		return &p.entries[pos&(pageSize-1)]
	}
	return nil
}

func (ps *pages) page(pos int64) *page {
	n := pos >> pageShift
	if ps.at != nil && ps.last == n {
		return ps.at
	}
	p := ps.m[n]
	if p != nil {
		ps.last, ps.at = n, p
	}
	return p
}

// use takes the place of a position.
func (ps *pages) use(pos, time int64) *entry {
	p := ps.page(pos)
	if p == nil {
		if n := len(ps.kept); n > 0 {
			p = ps.kept[n-1]
			ps.kept = ps.kept[:n-1]
		} else {
			p = new(page)
		}
		p.time = time
		n := pos >> pageShift
		ps.m[n] = p
		ps.last, ps.at = n, p
	}
	p.left++
	return &p.entries[pos&(pageSize-1)]
}

// keptPages is how many pages are kept for use again: 128 of 14 KiB.
const keptPages = 128

// release frees the entry of a position.
func (ps *pages) release(pos int64) {
	p := ps.page(pos)
	p.entries[pos&(pageSize-1)] = entry{}
	if p.left--; p.left > 0 {
		return
	}
	delete(ps.m, pos>>pageShift)
	ps.at = nil
	if len(ps.kept) < keptPages {
		ps.kept = append(ps.kept, p)
	}
}

// finish frees the messages of a range that are in memory.
func (g *Group) finish(r Range) {
	to := min(r.To, g.read)
	for pos := r.From; pos < to; pos++ {
		if g.pages.page(pos) == nil {
			if len(g.pages.m) == 0 {
				return
			}
			pos |= pageSize - 1 // to the next page
			continue
		}
		e := g.pages.entry(pos)
		if e.state == free {
			continue
		}
		l := e.line
		if e.state == pending {
			g.waiting--
			g.hold(-len(e.record))
		} else {
			g.flight--
			g.leaves(l, e.reader)
		}
		g.pages.release(pos)
		g.place(l)
	}
}
