package stage

import "strings"

// openGroup is a group that gathers. What it holds is copied.
type openGroup struct {
	key    string
	number uint64 // in the order of beginning
	head   []byte // record of the first message, without a body
	body   []byte // JSON list of the bodies, without the end
	n      int
	traces []string // traceparents of messages that are recorded; they are not stored, and gone after a restart
	// What is stored of it: its pieces, and their bytes.
	parts  []part
	logged int64

	firstAt, lastAt int64
	dueAt           int64
	why             reason // at dueAt
	heapAt          int    // in groups.due; -1: not due by time
	older, younger  *openGroup
	open            bool
	touched         bool // in this Absorb
}

func (g *openGroup) size() int64 { return int64(len(g.key) + len(g.head) + len(g.body)) }

// groups are the open groups of an aggregate, by key, by age and by when they are due.
type groups struct {
	open  map[string]*openGroup
	due   minHeap[*openGroup]
	age   ageList
	bytes int64
	next  uint64 // number of the next
	spent []*openGroup
	spare []*openGroup
}

// begin opens a group.
func (gs *groups) begin(key string, at int64) *openGroup {
	var g *openGroup
	if n := len(gs.spare); n > 0 {
		g, gs.spare = gs.spare[n-1], gs.spare[:n-1]
	} else {
		g = &openGroup{}
	}
	*g = openGroup{key: strings.Clone(key), number: gs.next, head: g.head[:0], body: g.body[:0], parts: g.parts[:0], traces: g.traces[:0], firstAt: at, lastAt: at, heapAt: -1}
	gs.next++
	gs.insert(g)
	return g
}

func (gs *groups) insert(g *openGroup) {
	g.open = true
	gs.open[g.key] = g
	gs.age.push(g)
}

// schedule says when a group is due.
func (gs *groups) schedule(g *openGroup, at int64, why reason) {
	if g.heapAt >= 0 && g.dueAt == at {
		g.why = why
		return
	}
	g.dueAt, g.why = at, why
	if g.heapAt < 0 {
		gs.due.push(g)
	} else {
		gs.due.fix(g.heapAt)
	}
}

// remove takes a group out. It can be read until recycle.
func (gs *groups) remove(g *openGroup) {
	delete(gs.open, g.key)
	gs.age.remove(g)
	if g.heapAt >= 0 {
		gs.due.remove(g.heapAt)
	}
	gs.bytes -= g.size()
	g.open = false
	gs.spent = append(gs.spent, g)
}

// What is kept of removed groups for others to come.
const (
	spareGroups = 1024
	spareBytes  = 32 << 10
	spareParts  = 256
)

// recycle keeps removed groups for others, when nothing refers to them any more.
func (gs *groups) recycle() {
	for _, g := range gs.spent {
		if len(gs.spare) < spareGroups && cap(g.body) <= spareBytes && cap(g.head) <= spareBytes && cap(g.parts) <= spareParts {
			gs.spare = append(gs.spare, g)
		}
	}
	clear(gs.spent)
	gs.spent = gs.spent[:0]
}

// before is the order in which groups are due, and those of one time that in which they began.
func (g *openGroup) before(o *openGroup) bool {
	if g.dueAt != o.dueAt {
		return g.dueAt < o.dueAt
	}
	return g.number < o.number
}

func (g *openGroup) placed(at int) { g.heapAt = at }

// ageList orders open groups by when they began.
type ageList struct{ oldest, youngest *openGroup }

func (l *ageList) push(g *openGroup) {
	g.older, g.younger = l.youngest, nil
	if l.youngest != nil {
		l.youngest.younger = g
	} else {
		l.oldest = g
	}
	l.youngest = g
}

func (l *ageList) remove(g *openGroup) {
	if g.older != nil {
		g.older.younger = g.younger
	} else {
		l.oldest = g.younger
	}
	if g.younger != nil {
		g.younger.older = g.older
	} else {
		l.youngest = g.older
	}
	g.older, g.younger = nil, nil
}
