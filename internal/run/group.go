package run

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// Why a group was completed: meta.aggregate.reason.
const (
	reasonSize     = "size"
	reasonWhen     = "when"
	reasonIdle     = "idle"
	reasonInterval = "interval"
	reasonEnd      = "end"
	reasonBound    = "bound"
	reasonLate     = "late"
	reasonReload   = "reload"
)

// groups is the state of one aggregate step: open groups by key, and when each is due.
// All lanes share it.
type groups struct {
	f    *flow
	n    *node
	op   *plan.Group
	next int // node behind

	mu      sync.Mutex
	open    map[string]*openGroup
	due     dueHeap
	age     ageList
	bytes   int64
	high    int64         // event time: the watermark, Unix nanoseconds; engine time: unused
	poke    chan struct{} // the earliest due time changed
	moved   cond          // the clock completed groups
	watched bool          // a watch runs
	halted  bool          // the clock completes nothing for now
	kept    bool          // the flow that follows takes over what is open

	releasing bool // some that the clock completed are not sent on yet
	count     atomic.Int64
}

func newGroups(f *flow, n *node, op *plan.Group) *groups {
	g := &groups{f: f, n: n, op: op, next: n.Next, open: map[string]*openGroup{}, high: minTime, poke: make(chan struct{}, 1)}
	g.watched = g.timed()
	g.moved.init(f.r, &g.mu)
	return g
}

const minTime = -1 << 62

func (g *groups) eventTime() bool { return g.f.plan.Time != nil }

// timed says that groups may fall due by the engine's clock.
func (g *groups) timed() bool { return !g.eventTime() && (g.op.Idle > 0 || g.op.Interval > 0) }

// group adds messages to their groups and sends on those that are complete.
func (x *exec) group(w *work, n *node, op *plan.Group, ms []*penstock.Message) {
	g := n.groups
	var late []*penstock.Message
	var done []*openGroup
	absorbed := x.take()
	for _, m := range ms {
		a, err := g.read(w.batch, m)
		if err != nil {
			x.fail(m, err)
			continue
		}
		if g.eventTime() {
			w.maxAt = max(w.maxAt, a.at)
		}
		var isLate bool
		before := len(done)
		done, isLate = g.add(m, a, done)
		for _, grp := range done[before:] {
			grp.seq = m.Seq // it stands where the message stood that completed it
		}
		if isLate {
			late = append(late, m)
		} else {
			absorbed = append(absorbed, m)
		}
	}
	x.give(ms)
	x.end(w, absorbed, fateGrouped)
	x.give(absorbed)
	x.late(w, n, op, late)
	if len(done) > 0 {
		x.emitHere(w, n, done)
	}
}

func (x *exec) late(w *work, n *node, op *plan.Group, late []*penstock.Message) {
	if len(late) == 0 {
		return
	}
	x.f.stats.Late.Add(int64(len(late)))
	if op.Late == plan.LateDrop {
		n.stats.Dropped.Add(int64(len(late)))
		x.end(w, late, fateLate)
		return
	}
	for _, m := range late {
		x.dead(w, m, &penstock.Error{Code: penstock.Conflict, Op: n.Name, Err: errors.New("late: its group was completed before it came")}, n.Name, 1)
	}
}

// arrival is what a group needs to know of a message, read before the lock is taken.
type arrival struct {
	key      string
	at       int64
	complete bool
}

func (g *groups) read(b *penstock.Batch, m *penstock.Message) (a arrival, err error) {
	if g.op.By != nil {
		if a.key, err = text(g.op.By, b.Frame(m), g.n.Name+" by"); err != nil {
			return a, err
		}
	}
	if g.eventTime() {
		if a.at, err = eventTime(g.f.plan.Time, b.Frame(m)); err != nil {
			return a, err
		}
	} else {
		a.at = g.f.r.clock.Now().UnixNano()
	}
	if g.op.When != nil {
		if a.complete, err = test(g.op.When, b.Frame(m), g.n.Name+" when"); err != nil {
			return a, err
		}
	}
	if err := m.Body.Parse(jsonview.Limits{}); err != nil {
		return a, &penstock.Error{Code: penstock.Invalid, Op: g.n.Name, Path: "body", Err: err}
	}
	return a, nil
}

// eventTime is when a message happened, by the flow's time expression.
func eventTime(p penstock.Program, f *penstock.Frame) (int64, error) {
	v := p.Eval(f)
	switch v.Kind() {
	case penstock.KindTimestamp:
		return nanos(v.Timestamp()), nil
	case penstock.KindError:
		return 0, v.Err()
	case penstock.KindNode, penstock.KindString: // untyped: RFC 3339 text
		s := ""
		if v.Kind() == penstock.KindString {
			s = v.Str()
		} else if d, n := v.Node(); d.Kind(n) == jsonview.String {
			s = d.Str(n, f.Arena.Alloc)
		}
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return nanos(t), nil
		}
	}
	return 0, &penstock.Error{Code: penstock.Invalid, Op: "time", Err: errors.New("the flow's time is not a timestamp"), Hint: "give the field format: date-time (and x-layout) in the schema, or use timestamp()"}
}

// nanos is a time in Unix nanoseconds, or, where it is so far away that there is no such number, the farthest that can still be
// reckoned with.
func nanos(t time.Time) int64 {
	const far int64 = 1 << 62 // the year 2116
	switch s := t.Unix(); {
	case s >= far/1e9:
		return far
	case s <= -far/1e9:
		return -far
	}
	return t.UnixNano()
}

// add takes one message in. It appends to done the groups that are complete with it, and
// says whether it came too late.
func (g *groups) add(m *penstock.Message, a arrival, done []*openGroup) ([]*openGroup, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.eventTime() && g.f.gate != nil && a.at > g.high {
		// In total order this message is the front: all before it have been here. Its own group may be
		// over too, and it is then the first of another.
		g.high = a.at
		done = g.sweep(done, g.high)
	}
	grp := g.open[a.key]
	if grp == nil && g.isLate(a) {
		if g.op.Late != plan.LateInclude && g.op.Late != "" {
			return done, true
		}
		grp = g.start(a, m)
		grp.reason = reasonLate
		g.f.stats.Late.Add(1)
	}
	if grp == nil {
		grp = g.start(a, m)
	}
	before := len(grp.body)
	grp.add(m, a)
	g.bytes += int64(len(grp.body) - before)
	switch {
	case grp.reason == reasonLate:
		done = append(done, g.take(grp, reasonLate))
	case a.complete:
		done = append(done, g.take(grp, reasonWhen))
	case g.op.Size > 0 && grp.n >= g.op.Size:
		done = append(done, g.take(grp, reasonSize))
	default:
		g.schedule(grp)
	}
	for (g.op.MaxGroups > 0 && len(g.open) > g.op.MaxGroups) || (g.op.MaxBytes > 0 && g.bytes > g.op.MaxBytes && len(g.open) > 0) {
		g.f.stats.Bound.Add(1)
		done = append(done, g.take(g.age.oldest, reasonBound))
	}
	return done, false
}

// message makes the group's message in b.
func (grp *openGroup) message(f *flow, b *penstock.Batch, into step.Target) (*penstock.Message, error) {
	m := b.NewMessage()
	growVars(m, f.plan.Slots)
	m.Key, m.Seq = grp.key, grp.seq
	m.Meta.CopyFrom(&grp.meta)
	str := penstock.StringValue
	m.Meta.Set("aggregate", penstock.MapValue(&penstock.Map{Entries: []penstock.Entry{
		{Key: str("count"), Value: penstock.IntValue(int64(grp.n))},
		{Key: str("reason"), Value: str(grp.reason)},
	}}))
	m.Time = time.Unix(0, grp.lastAt).UTC()
	d := b.NewDoc()
	d.Reset(jsonview.JSON, append(grp.body, ']'))
	l := &lineages{tracks: grp.tracks, first: fmt.Sprintf("%s (first of %d)", grp.first, grp.n), id: grp.firstID, orig: d}
	l.live.Store(1)
	f.groupSpan(grp, l)
	m.Lineage = l
	if into.Root == step.Body && len(into.Steps) == 0 {
		m.Body = d
		return m, nil
	}
	m.Body.Reset(jsonview.JSON, []byte("{}"))
	return m, f.assign(b, m, into, &reply{doc: d})
}

// emitHere puts completed groups behind the node. With order: per-key a group goes to the
// lane of its key.
func (x *exec) emitHere(w *work, n *node, done []*openGroup) {
	x.f.stats.Groups.Add(int64(len(done)))
	if x.lane != nil && x.f.plan.Order == plan.PerKey {
		here := done[:0]
		for _, grp := range done {
			if l, _ := x.f.laneOf(grp.key); l != x.lane.id {
				x.f.mail(l, n.groups, []*openGroup{grp})
			} else {
				here = append(here, grp)
			}
		}
		done = here
	}
	out := x.take()
	for _, grp := range done {
		m, err := grp.message(x.f, w.batch, n.groups.op.Into)
		w.mem++
		w.isRecorded(m)
		if err != nil {
			x.fail(m, err)
			continue
		}
		out = append(out, m)
	}
	x.put(w, n.Next, out)
}

// mail sends groups to a lane's mailbox as a work of their own.
func (f *flow) mail(l int, g *groups, done []*openGroup) {
	w := f.groupWork(g, done)
	f.outstanding(1)
	f.lanes[l].post(nil, w)
}

func (f *flow) groupWork(g *groups, done []*openGroup) *work {
	w := f.works.get()
	if w.own == nil {
		w.own = &penstock.Batch{}
	}
	w.own.Runtime = f.runtime
	w.in, w.batch, w.start, w.msgs = nil, w.own, g.next, w.msgs[:0]
	for _, grp := range done {
		m, err := grp.message(f, w.own, g.op.Into)
		m.Seq = place(len(w.msgs))
		w.isRecorded(m)
		if err != nil {
			w.early = append(w.early, failure{m: m, err: err})
		} else {
			w.msgs = append(w.msgs, m)
		}
	}
	return w
}

// release sends on groups that time or the end completed, outside of any lane's turn.
func (g *groups) release(done []*openGroup) {
	if len(done) == 0 {
		return
	}
	f := g.f
	f.stats.Groups.Add(int64(len(done)))
	if f.gate != nil {
		w := f.groupWork(g, done)
		f.gate.between(func() { f.runAside(w) })
		return
	}
	for _, grp := range done {
		l, _ := f.laneOf(grp.key)
		f.mail(l, g, []*openGroup{grp})
	}
}
