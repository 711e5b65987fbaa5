package run

import (
	"container/heap"
	"strings"

	"penstock.dev/penstock"
)

// openGroup gathers one group. Its bodies are copied: it holds the lineage of its inputs,
// not their memory.
type openGroup struct {
	key            string
	body           []byte // JSON list, without the end
	n              int
	tracks         []*track
	first, firstID string
	meta           penstock.Meta
	firstAt        int64
	lastAt         int64
	dueAt          int64
	dueWhy         string
	heapAt         int
	older, younger *openGroup
	reason         string
	seq            uint64 // where the message stood that completed it
}

// isLate says that the group this message would start is over already, by the watermark.
func (g *groups) isLate(a arrival) bool {
	if !g.eventTime() || g.high == minTime {
		return false
	}
	allowed := g.op.Idle
	if g.op.Interval > allowed {
		allowed = g.op.Interval
	}
	return allowed > 0 && a.at+int64(allowed) <= g.high
}

func (g *groups) start(a arrival, m *penstock.Message) *openGroup {
	a.key = strings.Clone(a.key) // its text ends with its message
	grp := &openGroup{key: a.key, firstAt: a.at, lastAt: a.at, heapAt: -1, body: make([]byte, 0, 256), first: m.Lineage.Origin(), firstID: string(m.Lineage.AppendIdentity(nil, m.Descent))}
	for _, e := range m.Meta.Entries() {
		grp.meta.Set(e.Name, e.Value.Clone())
	}
	g.open[a.key] = grp
	g.age.push(grp)
	g.count.Store(int64(len(g.open)))
	return grp
}

func (grp *openGroup) add(m *penstock.Message, a arrival) {
	if grp.n == 0 {
		grp.body = append(grp.body, '[')
	} else {
		grp.body = append(grp.body, ',')
	}
	grp.body = m.Body.AppendJSON(grp.body, 0)
	grp.n++
	grp.firstAt, grp.lastAt = min(grp.firstAt, a.at), max(grp.lastAt, a.at)
	grp.tracks = append(grp.tracks, tracksOf(m.Lineage)...)
}

// schedule computes when the group falls due.
func (g *groups) schedule(grp *openGroup) {
	at, why := int64(0), ""
	if g.op.Idle > 0 {
		at, why = grp.lastAt+int64(g.op.Idle), reasonIdle
	}
	if g.op.Interval > 0 {
		if t := grp.firstAt + int64(g.op.Interval); why == "" || t < at {
			at, why = t, reasonInterval
		}
	}
	if why == "" {
		return
	}
	grp.dueAt, grp.dueWhy = at, why
	if grp.heapAt < 0 {
		heap.Push(&g.due, grp)
	} else {
		heap.Fix(&g.due, grp.heapAt)
	}
	if grp.heapAt == 0 && !g.eventTime() {
		g.wakeWatch()
	}
}

// take removes a group that is complete.
func (g *groups) take(grp *openGroup, reason string) *openGroup {
	grp.reason = reason
	delete(g.open, grp.key)
	g.age.remove(grp)
	if grp.heapAt >= 0 {
		heap.Remove(&g.due, grp.heapAt)
	}
	g.bytes -= int64(len(grp.body))
	g.count.Store(int64(len(g.open)))
	return grp
}

// sweep takes the groups that are due at now.
func (g *groups) sweep(done []*openGroup, now int64) []*openGroup {
	for len(g.due) > 0 && g.due[0].dueAt <= now {
		grp := g.due[0]
		done = append(done, g.take(grp, grp.dueWhy))
	}
	return done
}

// advance moves the watermark of event time and takes what is due.
func (g *groups) advance(at int64) []*openGroup {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at <= g.high {
		return nil
	}
	g.high = at
	return g.sweep(nil, at)
}

// expired takes what is due by the engine's clock, and says when the next is due.
func (g *groups) expired(now int64) (done []*openGroup, next int64, any bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.halted {
		return nil, 0, false
	}
	done = g.sweep(nil, now)
	g.releasing = len(done) > 0
	if len(g.due) > 0 {
		return done, g.due[0].dueAt, true
	}
	return done, 0, false
}

// rest takes all open groups, oldest first: the sources have ended.
func (g *groups) rest() []*openGroup { return g.all(reasonEnd) }

// all takes all open groups, oldest first.
func (g *groups) all(reason string) []*openGroup {
	g.mu.Lock()
	defer g.mu.Unlock()
	var done []*openGroup
	for g.age.oldest != nil {
		done = append(done, g.take(g.age.oldest, reason))
	}
	return done
}

// dueHeap orders open groups by when they fall due.
type dueHeap []*openGroup

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].dueAt < h[j].dueAt }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapAt, h[j].heapAt = i, j
}
func (h *dueHeap) Push(v any) {
	grp := v.(*openGroup)
	grp.heapAt = len(*h)
	*h = append(*h, grp)
}
func (h *dueHeap) Pop() any {
	old := *h
	grp := old[len(old)-1]
	*h = old[:len(old)-1]
	grp.heapAt = -1
	return grp
}

// ageList orders open groups by when they were started.
type ageList struct{ oldest, youngest *openGroup }

func (l *ageList) push(grp *openGroup) {
	grp.older = l.youngest
	if l.youngest != nil {
		l.youngest.younger = grp
	} else {
		l.oldest = grp
	}
	l.youngest = grp
}

func (l *ageList) remove(grp *openGroup) {
	if grp.older != nil {
		grp.older.younger = grp.younger
	} else {
		l.oldest = grp.younger
	}
	if grp.younger != nil {
		grp.younger.older = grp.older
	} else {
		l.youngest = grp.older
	}
	grp.older, grp.younger = nil, nil
}
