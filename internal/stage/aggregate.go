package stage

import (
	"context"
	"errors"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
)

// reason is why a group was completed: meta.aggregate.reason.
type reason string

const (
	bySize     reason = "size"
	byWhen     reason = "when"
	byIdle     reason = "idle"
	byInterval reason = "interval"
	byEnd      reason = "end"
	byBound    reason = "bound"
	byLate     reason = "late"
)

// Aggregate gathers messages into groups. Open groups are in memory, within the bounds of the step, and mirrored in the
// store by a log: each Absorb adds one entry with what it has added to groups that it has not completed, so a group that grows
// is not written again, and one that begins and ends within an Absorb is not written at all. A group that is complete
// leaves as one message: its key is the group's, its body the list of the bodies, its headers those of the first message and
// aggregate.
//
// By event time the watermark is the greatest time absorbed so far. It is stored, and what is due by it leaves with the message
// that has moved it; where that are very many, the rest follows by Fire at once. By the engine's time a
// group is due by a clock that does not go back (see steady); a message that comes after its group was due, and
// before Fire, begins another.
type Aggregate struct {
	op        *plan.Group
	eventTime bool
	space     string
	clock     steady
	groups    groups
	high      int64 // event time: the watermark
	highSaved int64
	touched   []*openGroup
	portion   int
	left      int // of the portion
	leftBytes int
	scratch   []byte
	log       groupLog
	now       int64 // of the engine
}

var _ Machine = (*Aggregate)(nil)

// NewAggregate makes the machine of an aggregate step that keeps its state in the space. With eventTime the flow has `time`, and
// Item.At is when messages happened.
func NewAggregate(op *plan.Group, eventTime bool, space string) *Aggregate {
	return &Aggregate{op: op, eventTime: eventTime, space: space, clock: newSteady(), high: noTime, highSaved: noTime, portion: portion,
		groups: groups{open: map[string]*openGroup{}}, log: groupLog{slack: logSlack}}
}

// Absorb adds messages to their groups, and emits those that are complete.
func (a *Aggregate) Absorb(_ context.Context, out Output, now time.Time, items []Item) error {
	t := a.clock.last
	if !a.eventTime {
		t = a.clock.tick(out, now)
	}
	a.now = now.UnixNano()
	a.left, a.leftBytes = a.portion, portionBytes
	for i := range items {
		it := &items[i]
		at := it.At
		if !a.eventTime {
			at = min(at+a.clock.ahead, t)
		} else if at > a.high {
			a.high = at
			if err := a.sweep(out, at); err != nil {
				return err
			}
		}
		if err := a.add(out, i, it, at); err != nil {
			return err
		}
	}
	a.mirror(out)
	a.groups.recycle()
	return nil
}

var errLate = errors.New("late: its group was completed before it came")

// add takes one message in.
func (a *Aggregate) add(out Output, i int, it *Item, at int64) error {
	g := a.groups.open[it.Key]
	if g != nil && g.heapAt >= 0 && g.dueAt <= at { // it is over, and only waits to leave
		if err := a.complete(out, g, g.why); err != nil {
			return err
		}
		g = nil
	}
	late := false
	if g == nil && a.late(at) {
		late = true
		out.Count(Late, 1)
		switch a.op.Late {
		case plan.LateDrop:
			out.Count(Dropped, 1)
			return nil
		case plan.LateDeadLetter:
			out.Reject(i, &penstock.Error{Code: penstock.Conflict, Op: a.space, Err: errLate})
			return nil
		}
	}
	v, err := record.Parse(it.Record)
	if err != nil {
		out.Reject(i, &penstock.Error{Code: penstock.Internal, Op: a.space, Err: err})
		return nil //nolint:nilerr // the item is bad, not the step
	}
	if g == nil {
		g = a.groups.begin(it.Key, at)
		g.head = appendHead(g.head, v)
		a.groups.bytes += g.size()
	}
	before := len(g.body)
	if g.n == 0 {
		g.body = append(g.body, '[')
	} else {
		g.body = append(g.body, ',')
	}
	g.body = appendElement(g.body, v)
	g.linked(v)
	a.groups.bytes += int64(len(g.body) - before)
	g.n++
	g.firstAt, g.lastAt = min(g.firstAt, at), max(g.lastAt, at)
	switch {
	case late:
		err = a.complete(out, g, byLate)
	case it.Flag:
		err = a.complete(out, g, byWhen)
	case a.op.Size > 0 && g.n >= a.op.Size:
		err = a.complete(out, g, bySize)
	default:
		a.schedule(g)
		if a.eventTime && g.heapAt >= 0 && g.dueAt <= a.high { // this message has moved its beginning back
			err = a.complete(out, g, g.why)
		} else if !g.touched {
			g.touched = true
			a.touched = append(a.touched, g)
		}
	}
	for err == nil && a.full() {
		out.Count(ByBound, 1)
		err = a.complete(out, a.groups.age.oldest, byBound)
	}
	return err
}

func (a *Aggregate) full() bool {
	return a.op.MaxGroups > 0 && len(a.groups.open) > a.op.MaxGroups || a.op.MaxBytes > 0 && a.groups.bytes > a.op.MaxBytes && len(a.groups.open) > 0
}

// late says that the group which a message of this time would begin is over, by the watermark.
func (a *Aggregate) late(at int64) bool {
	allowed := int64(max(a.op.Idle, a.op.Interval))
	return a.eventTime && a.high != noTime && allowed > 0 && at+allowed <= a.high
}

func (a *Aggregate) schedule(g *openGroup) {
	switch idle, interval := g.lastAt+int64(a.op.Idle), g.firstAt+int64(a.op.Interval); {
	case a.op.Idle > 0 && (a.op.Interval <= 0 || idle <= interval):
		a.groups.schedule(g, idle, byIdle)
	case a.op.Interval > 0:
		a.groups.schedule(g, interval, byInterval)
	}
}

// complete emits a group, and removes what is stored of it.
func (a *Aggregate) complete(out Output, g *openGroup, why reason) error {
	a.groups.remove(g)
	g.body = append(g.body, ']')
	var err error
	if a.scratch, err = g.appendGroup(a.scratch[:0], why, a.now, g.lastAt-a.clock.ahead); err != nil {
		return damaged(a.space, []byte(g.key), err)
	}
	out.Emit(a.scratch)
	out.Count(Groups, 1)
	a.log.drop(g)
	a.left--
	a.leftBytes -= len(a.scratch)
	return nil
}

// sweep completes what is due at a time, until the portion is used up.
func (a *Aggregate) sweep(out Output, at int64) error {
	for len(a.groups.due) > 0 && a.groups.due[0].dueAt <= at && a.left > 0 && a.leftBytes > 0 {
		g := a.groups.due[0]
		if err := a.complete(out, g, g.why); err != nil {
			return err
		}
	}
	return nil
}

// Due says when the next group is due. By event time that is at once, or never.
func (a *Aggregate) Due() int64 {
	switch {
	case len(a.groups.due) == 0 || a.eventTime && a.groups.due[0].dueAt > a.high:
		return 0
	case a.eventTime:
		return 1
	}
	return a.clock.outside(a.groups.due[0].dueAt)
}

// Fire completes the groups that are due.
func (a *Aggregate) Fire(_ context.Context, out Output, now time.Time) (more bool, err error) {
	a.now = now.UnixNano()
	at := a.high
	if !a.eventTime {
		at = a.clock.tick(out, now)
	}
	return a.release(out, at)
}

// release completes the groups that are due at a time, in portions.
func (a *Aggregate) release(out Output, at int64) (more bool, err error) {
	a.left, a.leftBytes = a.portion, portionBytes
	if err := a.sweep(out, at); err != nil {
		return false, err
	}
	a.mirror(out)
	a.groups.recycle()
	return len(a.groups.due) > 0 && a.groups.due[0].dueAt <= at, nil
}

// End completes what the end of the sources completes: everything with atEnd, and by event time what idle and interval
// would complete some time. The watermark stays: messages of another run are not late because of the end of this
// one. Groups that nothing will complete before other messages come stay in the store, and are counted.
func (a *Aggregate) End(_ context.Context, out Output, now time.Time) (more bool, err error) {
	a.now = now.UnixNano()
	if !a.op.AtEnd && a.eventTime {
		if more, err = a.release(out, endOfTime); more || err != nil {
			return more, err
		}
	}
	if a.op.AtEnd {
		a.left, a.leftBytes = a.portion, portionBytes
		for a.groups.age.oldest != nil && a.left > 0 && a.leftBytes > 0 {
			if err := a.complete(out, a.groups.age.oldest, byEnd); err != nil {
				return false, err
			}
		}
		a.mirror(out)
		a.groups.recycle()
		return a.groups.age.oldest != nil, nil
	}
	if n := len(a.groups.open) - len(a.groups.due); n > 0 {
		out.Count(Unfinished, n)
	}
	return false, nil
}

// Load reads the open groups.
func (a *Aggregate) Load(ctx context.Context, s store.Store) error {
	r := logReader{log: &a.log, groups: map[uint64]*stored{}}
	err := scan(ctx, s, a.space, func(e store.Entry) (err error) {
		switch e.Key[0] {
		case clockKey[0]:
			return a.clock.load(e.Value)
		case highKey[0]:
			a.high, err = readHigh(e.Value)
			a.highSaved = a.high
			return err
		case logKind:
			return r.entry(e)
		}
		return errDamaged
	})
	if err != nil {
		return err
	}
	open, err := r.open()
	for _, g := range open {
		if a.groups.open[g.key] != nil {
			err = errDamaged
			break
		}
		a.clock.seen(g.lastAt)
		a.groups.insert(g)
		a.groups.bytes += g.size()
		a.schedule(g)
	}
	a.groups.next = r.next
	if err != nil {
		return damaged(a.space, []byte{logKind}, err)
	}
	return nil
}
