package run

import (
	"context"
	"sync"

	"penstock.dev/penstock"
)

// runDurable is run for a flow that keeps state: what it settles is committed, each durable step is followed by a source of its own, and
// a flow that is stopped leaves what stands in channels for the next run.
func (f *flow) runDurable(reading context.Context) error {
	var lanes sync.WaitGroup
	for _, l := range f.lanes {
		f.r.busy()
		lanes.Go(l.loop)
	}
	f.r.busy()
	go func() {
		defer close(f.commit.done) // after the run has heard of what went wrong
		defer f.guard("commit")
		if err := f.commit.run(f.ctx); err != nil {
			f.r.abort(err)
		}
	}()
	// The sources of the configuration end first; then, in the order of the program, those behind durable steps.
	var first []*pump
	ended := map[*pump]chan struct{}{}
	for _, p := range f.pumps {
		if p.stage == nil && p != f.redriven {
			first = append(first, p)
			continue
		}
		over := make(chan struct{})
		ended[p] = over
		f.r.busy() // who waits for its end takes over from it
		go func() {
			defer close(over)
			f.pump(reading, p)
		}()
	}
	f.r.all(len(first), func(i int) { f.pump(reading, first[i]) })
	if f.r.opts.Part == Back && !f.r.opts.Once { // what comes in goes to others
		f.r.idle()
		select {
		case <-reading.Done():
		case <-f.ctx.Done():
		}
		f.r.busy()
	}
	f.end(reading, f.redriven, ended, first...)
	for _, s := range f.stages {
		if reading.Err() == nil && f.ctx.Err() == nil {
			f.commit.endStage(reading, s)
		}
		f.end(reading, s.pump, ended)
	}
	f.stopLanes()
	lanes.Wait()
	f.beside.Wait()
	f.commit.close()
	<-f.commit.done
	if f.ctx.Err() == nil {
		return f.flushSinks(f.ctx)
	}
	return nil // who aborted said why
}

// end waits until what these pumps read is committed, and then until the reader behind them, p, has seen the end of its channel and
// its messages are committed, too.
func (f *flow) end(reading context.Context, p *pump, ended map[*pump]chan struct{}, before ...*pump) {
	wait := func(ps ...*pump) {
		f.drained()
		f.commit.settled(f.ctx, ps...)
	}
	wait(before...)
	if p == nil {
		return
	}
	if p == f.redriven {
		f.awaitRedrivers(reading)
	}
	if g := p.channel.group.Load(); g != nil && reading.Err() == nil {
		g.End()
	}
	f.r.idle()
	<-ended[p]
	wait(p)
}

// pump reads a source to its end.
func (f *flow) pump(reading context.Context, p *pump) {
	defer f.guard("from")
	if err := p.read(p.until(reading)); err != nil {
		f.r.abort(err)
	}
}

// begun completes messages that come from a durable step.
func (f *flow) begun(x *exec, w *work, ms []*penstock.Message) []*penstock.Message {
	s := w.in.entry.behind
	if s == nil {
		return ms
	}
	kept := ms[:0]
	for _, m := range ms {
		if err := s.begun(w.batch, m); err != nil {
			x.f.dead.fail(x, w, failure{m: m, err: err})
			continue
		}
		kept = append(kept, m)
	}
	return kept
}
