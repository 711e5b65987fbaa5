package run

import (
	"context"
	"strings"
	"time"

	"penstock.dev/penstock/internal/plan"
)

// loop runs the lane until its queue is closed and everything that left it came back.
func (l *lane) loop() {
	defer l.f.r.idle()
	defer l.f.guard("lane")
	for {
		switch w, ok := l.in.next(l); {
		case !ok:
			return
		case w != nil:
			l.start(w)
		default:
			l.mail()
		}
	}
}

// mail handles what came back to the lane.
func (l *lane) mail() {
	items, works := l.in.empty(l)
	for _, w := range works {
		l.group(w)
		l.f.outstanding(-1)
	}
	for _, p := range items {
		l.back(p)
		l.f.outstanding(-1)
	}
}

// group runs a work of completed groups.
func (l *lane) group(w *work) {
	w.no = l.number()
	w.mem = len(w.msgs) + len(w.early)
	for _, e := range w.early {
		l.main.giveUp(w, &l.main.prog.nodes[0], e, 1)
	}
	l.main.run(w, w.start, append(l.main.take(), w.msgs...))
	l.finished(w)
}

// start runs a work from the first step.
func (l *lane) start(w *work) {
	x := &l.main
	f := l.f
	w.no = l.number()
	w.mem = len(w.msgs) + len(w.early)
	w.start = w.in.entry.at
	for _, e := range w.early {
		x.f.dead.fail(x, w, e)
	}
	ms := append(x.take(), w.msgs...)
	if ms = f.begun(x, w, ms); f.plan.Key != nil && f.plan.Order != plan.PerKey && w.in.first() { // per-key computed it to find the lane
		kept := ms[:0]
		for _, m := range ms {
			if err := f.setKey(w.batch, m); err != nil {
				x.f.dead.fail(x, w, failure{m: m, err: err})
			} else {
				kept = append(kept, m)
			}
		}
		ms = kept
	}
	seq := w.in.seq
	w.maxAt = minTime
	if f.parked != nil {
		for _, m := range ms {
			t := m.Lineage.(*track)
			if t.number != 0 { // it was dead: its key is that of then
				continue
			}
			t.heldKey = strings.Clone(m.Key)
			t.parkKey = parkKey(w.in.entry.name, m.Key)
			if t.redriven {
				f.parked.enter(t.parkKey, 0)
			}
		}
		ms = x.park(w, ms)
	}
	x.run(w, w.start, ms)
	w.leaveTail(f)
	w.in.through()
	if f.water != nil {
		if high, rose := f.water.passed(seq, w.maxAt); rose {
			for _, g := range f.groups {
				g.release(g.advance(high))
			}
		}
	}
	l.finished(w)
	f.outstanding(-1)
}

// number numbers the lane's works.
func (l *lane) number() uint64 {
	l.works++
	return l.works
}

// fail dead-letters a message that failed before the first step.
func (s *sink) fail(x *exec, w *work, e failure) { x.dead(w, e.m, e.err, "from", 1) }

// finished frees the work's memory once no message needs it.
func (l *lane) finished(w *work) {
	if w.mem == 0 {
		l.f.free(w)
	}
}

func (f *flow) free(w *work) {
	for _, b := range w.extra {
		f.recycle(b)
	}
	in, n, own := w.in, w.handled, w.own
	*w = work{own: own, msgs: w.msgs[:0], early: w.early[:0], extra: w.extra[:0], spans: w.spans[:0]}
	if own != nil {
		own.Reset()
	}
	if in != nil {
		in.memDone(n)
	}
	f.works.put(w)
}

// watch completes groups as the engine's clock comes to them.
func (g *groups) watch(ctx context.Context) {
	for {
		done, next, any := g.expired(g.f.r.clock.Now().UnixNano())
		if len(done) > 0 {
			g.release(done)
			g.released()
			continue
		}
		var c <-chan time.Time
		stop := func() {}
		if any {
			c, stop = g.f.r.clock.NewTimer(until(g.f.r.clock, next))
		}
		g.f.r.idle()
		select {
		case <-c:
			g.f.r.busy()
		case <-g.poke: // counted by who poked
		case <-ctx.Done():
			stop()
			g.leave()
			return
		}
		stop()
	}
}

// leave ends the watch.
func (g *groups) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watched = false
	select {
	case <-g.poke:
		g.f.r.idle()
	default:
	}
}

// wakeWatch tells the watch that the earliest due time has changed.
func (g *groups) wakeWatch() {
	if !g.watched {
		return
	}
	g.f.r.busy()
	select {
	case g.poke <- struct{}{}:
	default:
		g.f.r.idle()
	}
}

// untilEmpty waits until the clock has completed all open groups that it can, or ctx has ended.
func (g *groups) untilEmpty(ctx context.Context) {
	stop := g.moved.wakeAfter(ctx)
	defer stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.due) > 0 && ctx.Err() == nil {
		g.moved.wait()
	}
}

// forget lets the settler end though messages are not settled: the run was stopped.
func (p *pump) forget() {
	p.mu.Lock()
	p.ended, p.forgotten = true, true
	p.mu.Unlock()
	p.signal()
}
