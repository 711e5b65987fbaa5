package postgres

import (
	"slices"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// cacheBytes bounds what the writer remembers.
const cacheBytes = 16 << 20

// group is what a commit gathers before it is written, over what the writer remembers. It belongs to the writer's goroutine.
type group struct {
	d     *DB
	parts []part
	size  int64   // of what is remembered, about
	ids   []int64 // numbers that nothing has yet
	turn  int64   // of the transaction that runs

	// Of this commit.
	touched map[int]bool    // parts that were read or written
	fences  map[int]*fence  // leases that were found to hold
	wants   wants           // what has to be fetched
	known   map[string]any  // what was fetched and is not remembered: by question
	used    used            // what was looked at
	locked  map[int]bool    // parts whose rows are locked; nil: none, so what is remembered may not be so any more
	direct  bool            // questions are asked at once
	lacks   bool            // a transaction has to be run again
	journal journal         // how to take back what was gathered
	dirty   []*cell         // each once
	opened  []*channel      // that were appended to, or shortened
	cleared []*space        // whose names are taken from them
	written []store.Segment // by the commit
	bytes   int64           // gathered
	count   int64           // messages that are gathered
}

// part is what the writer remembers of a part. It is right as long as the version in the part's row is this one.
type part struct {
	known    bool
	version  int64
	owner    string
	epoch    int64
	spaces   map[string]*space
	channels map[string]*channel
}

type fence struct {
	owner string
	epoch int64
}

// space is one as after everything that is gathered.
type space struct {
	id    int64 // 0: none yet
	name  string
	p     int
	saved bool // has its row
	cells map[string]*cell
}

// What is stored of a cell, if not its size.
const (
	storedUnknown = -2
	storedNothing = -1
)

// cell is an entry that was read or written.
type cell struct {
	sp     *space
	key    string
	value  []byte
	due    int64
	there  bool  // false: there is no such entry
	known  bool  // value and due are known
	dirty  bool  // differs from what is stored
	queued bool  // in group.dirty
	turn   int64 // the transaction that changed it last
	stored int64 // bytes of key and value in the table
	used   bool  // in group.used
}

// row is a channel as it is stored.
type row struct {
	first, next, firstSeq, firstTotal, oldest, seq, total, hi int64
}

// channel is one as after everything that is gathered: its row, with what was dropped, and what is appended to it.
type channel struct {
	row
	was    row // as it is stored
	id     int64
	name   string
	p      int
	saved  bool
	queued bool // in group.opened
	used   bool
	added  []bundle
}

// bundle is what one transaction appends to a channel.
type bundle struct {
	base, n  int64
	min, max int64
	data     []byte
	turn     int64
	sealed   bool // ends its segment: somebody has read up to here
}

func (b *bundle) end() int64 { return b.base + b.n }

// end is the position that the next message gets.
func (ch *channel) end() int64 {
	if n := len(ch.added); n > 0 {
		return ch.added[n-1].end()
	}
	return ch.next
}

// journal takes back what transactions did, the last first.
type journal struct {
	cells    []cell // as they were
	of       []*cell
	channels []channelBefore
	others   []func()
}

type channelBefore struct {
	ch    *channel
	row   row
	added int
}

type mark struct{ cells, channels, others int }

func (j *journal) mark() mark { return mark{len(j.cells), len(j.channels), len(j.others)} }

func (j *journal) undo(to mark) {
	for i := len(j.cells) - 1; i >= to.cells; i-- {
		c := j.of[i]
		queued, used := c.queued, c.used
		*c = j.cells[i]
		c.queued, c.used = queued, used
	}
	for i := len(j.channels) - 1; i >= to.channels; i-- {
		b := &j.channels[i]
		clear(b.ch.added[b.added:])
		b.ch.row, b.ch.added = b.row, b.ch.added[:b.added]
	}
	for i := len(j.others) - 1; i >= to.others; i-- {
		j.others[i]()
	}
	j.cut(to)
}

func (j *journal) cut(to mark) {
	clear(j.cells[to.cells:])
	clear(j.of[to.cells:])
	clear(j.channels[to.channels:])
	clear(j.others[to.others:])
	j.cells, j.of, j.channels, j.others = j.cells[:to.cells], j.of[:to.cells], j.channels[:to.channels], j.others[:to.others]
}

// used is what transactions have looked at in this commit: what is fetched again where it turns out that it is not so any more.
type used struct {
	spaces   map[string]bool
	channels map[string]bool
	cells    []*cell
	chans    []*channel
}

func newGroup(d *DB) *group {
	g := &group{d: d, parts: make([]part, d.parts), touched: map[int]bool{}, fences: map[int]*fence{}, known: map[string]any{}}
	g.used = used{spaces: map[string]bool{}, channels: map[string]bool{}}
	g.wants.init()
	for p := range g.parts {
		g.forget(p)
	}
	return g
}

// forget forgets a part. Nothing may be gathered.
func (g *group) forget(p int) {
	g.parts[p] = part{spaces: map[string]*space{}, channels: map[string]*channel{}}
}

// forgetAll takes back what is gathered, and forgets everything: another connection may see something else.
func (g *group) forgetAll() {
	g.undo()
	for p := range g.parts {
		g.forget(p)
	}
	g.ids, g.size = nil, 0
}

// first runs the transactions for the first time, over what is remembered, and takes bulk ones to them as they fit in.
func (g *group) first(work []task) []task {
	g.lacks = false
	for i := range work {
		g.do(&work[i])
	}
	for {
		k, ok := g.d.nextBulk()
		if !ok {
			return work
		}
		g.do(&k)
		if work = append(work, k); g.count >= bulkMessages || g.bytes >= bulkBytes {
			return work
		}
	}
}

// again runs them again.
func (g *group) again(work []task) {
	g.undo()
	g.lacks = false
	for i := range work {
		g.do(&work[i])
	}
}

// undo takes back all that is gathered.
func (g *group) undo() {
	g.journal.undo(mark{})
	for _, c := range g.dirty {
		c.queued = false
	}
	for _, ch := range g.opened {
		ch.queued = false
	}
	clear(g.dirty)
	clear(g.opened)
	clear(g.fences)
	g.dirty, g.opened, g.cleared = g.dirty[:0], g.opened[:0], g.cleared[:0]
	g.bytes, g.count = 0, 0
}

// reset makes the group ready for the next commit. What was gathered is either kept or undone.
func (g *group) reset() {
	g.undo()
	clear(g.touched)
	clear(g.known)
	clear(g.used.spaces)
	clear(g.used.channels)
	for _, c := range g.used.cells {
		c.used = false
	}
	for _, ch := range g.used.chans {
		ch.used = false
	}
	g.used.cells, g.used.chans = g.used.cells[:0], g.used.chans[:0]
	g.wants.clear()
	g.locked, g.direct, g.written = nil, false, nil
	if g.size > cacheBytes {
		for p := range g.parts {
			old := g.parts[p]
			g.forget(p)
			g.parts[p].known, g.parts[p].version, g.parts[p].owner, g.parts[p].epoch = old.known, old.version, old.owner, old.epoch
		}
		g.size = 0
	}
}

// kept says that what is gathered is durable: it is what is remembered.
func (g *group) kept(rows []channelRow, wrote []int) {
	for _, c := range g.dirty {
		c.queued = false
		if !c.dirty { // undone: of what is stored it may know nothing
			continue
		}
		c.dirty, c.turn = false, 0
		if c.stored = storedNothing; c.there {
			c.stored = int64(len(c.key) + len(c.value))
		}
		c.sp.saved = c.sp.saved || c.there
	}
	for _, r := range rows {
		r.ch.row, r.ch.was, r.ch.saved = r.row, r.row, true
	}
	for _, ch := range g.opened {
		ch.queued = false
		clear(ch.added)
		ch.added = ch.added[:0]
	}
	for _, p := range wrote {
		if !mutation.On("pg-version-stays") {
			g.parts[p].version++
		}
	}
	g.journal.cut(mark{})
	clear(g.dirty)
	clear(g.opened)
	g.dirty, g.opened, g.cleared = g.dirty[:0], g.opened[:0], g.cleared[:0]
}

// id gives a new number.
func (g *group) id(t *tx) int64 {
	if len(g.ids) == 0 {
		t.need(func(w *wants) { w.ids = true })
	}
	id := g.ids[len(g.ids)-1]
	g.ids = g.ids[:len(g.ids)-1]
	return id
}

// parted lists the parts of a set, in their order.
func parted(set map[int]bool) []int {
	all := make([]int, 0, len(set))
	for p := range set {
		all = append(all, p)
	}
	slices.Sort(all)
	return all
}
