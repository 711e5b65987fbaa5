package run

import (
	"context"
	"sync/atomic"
)

// The phases of a flow's run, as far as a reload has to know them.
const (
	phaseReading int32 = iota
	phaseEnding        // the sources have ended, and groups are being completed
	phaseResting       // … and it waits for its clock
)

// parting is what a flow knows of being followed by another.
type parting struct {
	halted  atomic.Bool // a reload waits until nothing is in flight
	leaving atomic.Bool // another goes on in its place, or nobody
	phase   atomic.Int32
	gone    chan struct{} // closed when its lanes have ended, after it left
}

// shares says that the flow has a state that no two programs may have at once: then another can take its place only when nothing is in
// flight. Else, where all it does is to answer requests, the other begins while it still answers.
func (f *flow) shares() bool {
	if len(f.groups)+len(f.stages) > 0 || f.parked != nil {
		return true
	}
	for _, p := range f.pumps {
		if p != f.redriven && (p.server == nil || p.inbox != nil) {
			return true
		}
	}
	return false
}

// halt keeps everything from beginning in the flow that was not begun; what is in flight goes on. reads says which pumps are to go on
// reading; nil: none.
func (f *flow) halt(on bool, reads func(*pump) bool) {
	f.halted.Store(on)
	for _, p := range f.pumps {
		switch {
		case p.server != nil:
			p.server.station.halt(on)
		default:
			p.hold.change(func() { p.hold.halted = on && (reads == nil || !reads(p)) })
		}
	}
	for _, g := range f.groups {
		g.halt(on)
	}
	for _, ch := range f.feeds { // who waits to send waits no longer
		for _, s := range ch.readers() {
			s.wake()
		}
	}
	if f.commit != nil {
		f.commit.hasten(on)
	}
	if f.tx != nil {
		f.tx.hasten(on)
	}
}

// quiet says that a halted flow has nothing in flight: all that it has read is done, or stands in open groups.
func (f *flow) quiet() bool {
	select {
	case <-f.done:
		return true
	default:
	}
	reading := false
	for _, p := range f.pumps {
		switch {
		case p.server != nil:
			if p.server.inFlight.Load() > 0 {
				return false
			}
			reading = true
		case p.over():
		case p.hold.standing():
			reading = true
		default:
			return false
		}
	}
	if !f.durable && !reading && f.phase.Load() != phaseResting {
		return false
	}
	for _, g := range f.groups {
		if g.busy() {
			return false
		}
	}
	f.outM.Lock()
	out := f.outN
	f.outM.Unlock()
	return out == 0 && (f.commit == nil || f.commit.quiet()) && (f.tx == nil || f.tx.quiet())
}

// leave ends a flow in whose place another goes on. A flow that shares its state must be quiet.
func (f *flow) leave() {
	f.leaving.Store(true)
	for _, p := range f.pumps {
		p.hold.change(func() { p.hold.leaving = true })
	}
	if f.commit != nil {
		f.commit.depart()
	}
	f.stop()
}

// left ends what leave has begun, after the last pump has returned: groups that nobody takes over are completed.
func (f *flow) left() {
	for _, g := range f.groups {
		if !g.kept {
			g.release(g.all(reasonReload))
			f.drained()
		}
	}
}

// halt keeps the clock from completing groups.
func (g *groups) halt(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.halted = on
	if !on {
		g.wakeWatch()
	}
}

// busy says that groups are complete that were not sent on yet.
func (g *groups) busy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.releasing
}

// released says that what expired gave is sent on.
func (g *groups) released() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.releasing = false
	g.moved.wake()
}

// takeOver takes the open groups of the same step of the flow before. They fall due as this step says.
func (g *groups) takeOver(old *groups) {
	old.mu.Lock()
	defer old.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open, g.age, g.bytes, g.high = old.open, old.age, old.bytes, old.high
	g.count.Store(int64(len(g.open)))
	old.open, old.age, old.due, old.bytes = map[string]*openGroup{}, ageList{}, nil, 0
	for grp := g.age.oldest; grp != nil; grp = grp.younger {
		grp.heapAt = -1
		g.schedule(grp)
	}
}

// heir is the step of a flow that takes over the open groups of this one; nil: none does. It must gather by the same.
func (g *groups) heir(f *flow) *groups {
	for _, o := range f.groups {
		if o.n.Name == g.n.Name && o.op.Keyed == g.op.Keyed && o.eventTime() == g.eventTime() && (o.op.By == nil) == (g.op.By == nil) {
			return o
		}
	}
	return nil
}

// parted is what a committer knows of being followed by another; guarded by its lock.
type parted struct {
	hurry   bool // not to wait for more
	halted  bool // to do nothing
	rests   bool // it does nothing
	departs bool // to end as it is
}

// hasten lets the committer not wait for more.
func (c *committer) hasten(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hurry = on
	if !on {
		c.halted = false
		c.moved.wake()
	}
	c.wake()
}

// quiet says that everything is committed, and has the committer do nothing more; it is asked until it holds.
func (c *committer) quiet() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.f.pumps {
		if p.open > 0 {
			return false
		}
	}
	if c.over() {
		return true
	}
	if !c.halted {
		c.halted = true
		c.wake()
	}
	return c.rests
}

// depart lets a committer that rests end at once: what its durable steps have to do, others do.
func (c *committer) depart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.departs = c.halted
	c.moved.wake()
}

// rest waits while the committer is halted. It says whether it is to end.
func (c *committer) rest(ctx context.Context) (over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.halted {
		return false
	}
	stop := c.moved.wakeAfter(ctx)
	defer stop()
	for c.halted && !c.departs && ctx.Err() == nil {
		c.rests = true
		c.moved.wait()
	}
	c.rests = false
	return c.departs || ctx.Err() != nil
}
