package channel

import (
	"container/heap"
	"hash/maphash"
	"slices"
)

// line is the messages of one key that are not acknowledged. A message without a key that has to wait has a line of its
// own.
type line struct {
	hash    uint64
	named   bool    // it is in Group.lines
	owner   *Reader // who has messages of it; nil if nobody
	n       int     // … how many
	pending []int64 // positions of messages that wait, in order; some may be gone
	queued  bool    // it is in a fifo: that of its reader, or (nil) the group's
	in      *Reader
	beyond  bool  // it is in Group.beyond
	timer   int64 // due time that it stands in delays with; 0: none
}

// lineOf finds or makes the line of a key.
func (g *Group) lineOf(key string) *line {
	if key == "" {
		return &line{}
	}
	hash := maphash.String(keySeed, key) // two keys with one hash share a line: more order than promised
	l := g.lines[hash]
	if l == nil {
		l = &line{hash: hash, named: true}
		g.lines[hash] = l
	}
	return l
}

// insert puts a position among those that wait.
func (l *line) insert(pos int64) {
	if n := len(l.pending); n == 0 || l.pending[n-1] < pos {
		l.pending = append(l.pending, pos)
		return
	}
	if i, found := slices.BinarySearch(l.pending, pos); !found {
		l.pending = slices.Insert(l.pending, i, pos)
	}
}

// leaves says that a reader no longer has a message of l.
func (g *Group) leaves(l *line, r *Reader) {
	if l == nil || r == nil {
		return
	}
	if l.n--; l.n == 0 {
		l.owner = nil
	}
}

// place puts l where it belongs after something of it has changed: among those that are ready, those that wait for their
// time, or, where it has no messages any more, nowhere.
func (g *Group) place(l *line) {
	if l == nil {
		return
	}
	for len(l.pending) > 0 && !g.waits(l.pending[0]) {
		l.pending = l.pending[1:]
	}
	if len(l.pending) == 0 {
		l.pending = nil
		if l.n == 0 && l.named && g.lines[l.hash] == l {
			delete(g.lines, l.hash)
		}
		return
	}
	if b := g.back[l.pending[0]]; b != nil {
		if l.pending[0] >= g.read { // after a restart: one of its key before it may not have been read again yet
			if !l.beyond {
				l.beyond = true
				g.beyond = append(g.beyond, l)
			}
			return
		}
		if b.due > g.c.hub.clock.Now().UnixNano() {
			if l.timer == 0 || b.due < l.timer {
				l.timer = b.due
				heap.Push(&g.delays, delayed{b.due, l})
				g.poke = true // who waits has to wait less
			}
			return
		}
	}
	if l.queued && l.in == l.owner {
		return
	}
	l.queued, l.in = true, l.owner
	if l.owner != nil {
		l.owner.ready.push(l)
	} else {
		g.ready.push(l)
	}
	g.poke = true
}

// waits says that the message at pos is with nobody.
func (g *Group) waits(pos int64) bool {
	if b := g.back[pos]; b != nil {
		return b.reader == nil
	}
	e := g.pages.entry(pos)
	return e != nil && e.state == pending
}

// due places the lines whose time has come.
func (g *Group) due(now int64) {
	for len(g.delays) > 0 && g.delays[0].due <= now {
		d := heap.Pop(&g.delays).(delayed)
		if d.line.timer == d.due {
			d.line.timer = 0
		}
		g.place(d.line)
	}
}

// reached places the lines whose first message was given back, and has now been read past.
func (g *Group) reached() {
	waiting := g.beyond
	g.beyond = nil
	for _, l := range waiting {
		l.beyond = false
		g.place(l)
	}
}

// take gives r messages of lines that are ready: of its own first.
func (g *Group) take(r *Reader, out []Delivery, most int) []Delivery {
	for len(out) < most {
		l := r.ready.pop()
		if l == nil {
			l = g.ready.pop()
		}
		if l == nil {
			break
		}
		if !l.queued || l.in != nil && l.in != r || l.owner != nil && l.owner != r {
			continue // it has gone elsewhere meanwhile
		}
		l.queued = false
		for len(out) < most && len(l.pending) > 0 {
			pos := l.pending[0]
			if !g.waits(pos) {
				l.pending = l.pending[1:]
				continue
			}
			if b := g.back[pos]; b != nil {
				if pos >= g.read || b.due > g.c.hub.clock.Now().UnixNano() {
					break
				}
				b.reader = r
				out = append(out, Delivery{Position: pos, Redelivered: true, Nacks: b.nacks, Record: b.record})
			} else {
				e := g.pages.entry(pos)
				e.state, e.reader = flying, r
				g.hold(-len(e.record))
				out = append(out, Delivery{Position: pos, Redelivered: e.again, Record: e.record})
			}
			l.pending = l.pending[1:]
			l.owner = r
			l.n++
			g.waiting--
			g.flight++
		}
		g.place(l)
	}
	return out
}

// hold counts the bytes of messages that wait in memory.
func (g *Group) hold(n int) { g.held += int64(n) }

// full says that no more can be read before some of what waits is given out.
func (g *Group) full() bool {
	return g.held > g.c.hub.opts.Held || g.waiting-len(g.back) >= maxHeld
}

// track begins to keep lines: every message that a reader has is put into its own.
func (g *Group) track() {
	if g.keyed {
		return
	}
	g.keyed = true
	for _, p := range g.pages.m {
		for i := range p.entries {
			e := &p.entries[i]
			if e.state != flying || e.line != nil {
				continue
			}
			if key := g.c.hub.opts.Key(e.record); key != "" {
				e.line = g.lineOf(key)
				e.line.owner = e.reader
				e.line.n++
			}
		}
	}
}

// untrack ends that where one reader has everything.
func (g *Group) untrack() {
	if g.keyed && g.readers <= 1 && len(g.lines) == 0 && len(g.back) == 0 && g.waiting == 0 {
		g.keyed = false
		g.delays = nil
	}
}

// fifo is a list of lines.
type fifo struct {
	lines []*line
	head  int
}

func (f *fifo) push(l *line) { f.lines = append(f.lines, l) }

func (f *fifo) pop() *line {
	if f.head == len(f.lines) {
		f.lines, f.head = f.lines[:0], 0
		return nil
	}
	l := f.lines[f.head]
	f.lines[f.head] = nil
	f.head++
	if f.head > 1024 && f.head > len(f.lines)/2 {
		n := copy(f.lines, f.lines[f.head:])
		clear(f.lines[n:])
		f.lines, f.head = f.lines[:n], 0
	}
	return l
}

// replace puts lines in order again that many messages came back to.
func (g *Group) replace(lines map[*line]struct{}) {
	for l := range lines {
		slices.Sort(l.pending)
		l.pending = slices.Compact(l.pending)
		g.place(l)
	}
}
