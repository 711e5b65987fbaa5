package run

import (
	"context"
	"slices"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// lives are the flows of a run, each of which is started, ends and is released by itself.
type lives struct {
	mu      sync.Mutex
	flows   []*flow         // in the order of the plan; the slice is never changed in place
	reading context.Context // ends when the run is asked to stop; nil before it has begun
	running int             // flows that have not ended, and whoever keeps the run from ending
	begun   chan struct{}   // closed when all flows were started
	over    chan struct{}   // closed when nothing runs any more
	closed  bool
	former  []*flow // those that others have followed, and that have something in flight yet; never changed in place
	stays   bool    // it does not end by itself
}

// list is the flows, in the order of the plan.
func (r *Runner) list() []*flow {
	r.lives.mu.Lock()
	defer r.lives.mu.Unlock()
	return r.lives.flows
}

// formers are flows that others have followed.
func (r *Runner) formers() []*flow {
	r.lives.mu.Lock()
	defer r.lives.mu.Unlock()
	return r.lives.former
}

// mayEnd lets a run end that stays until it is stopped.
func (r *Runner) mayEnd() {
	r.lives.mu.Lock()
	r.lives.stays = false
	r.lives.running++
	r.lives.mu.Unlock()
	r.busy()
	r.ended()
}

// begin starts all flows. Who calls it counts as busy again when lives.over is closed.
func (r *Runner) begin(reading context.Context) {
	l := &r.lives
	l.mu.Lock()
	l.reading = reading
	l.running++ // until all are started
	for _, f := range l.flows {
		r.start(f)
	}
	l.mu.Unlock()
	close(l.begun)
	r.ended()
}

// start runs a flow in a goroutine of its own. lives.mu must be held.
func (r *Runner) start(f *flow) {
	r.lives.running++
	r.busy()
	f.reading, f.stop = context.WithCancel(r.lives.reading)
	go func() {
		defer r.ended()
		defer close(f.done)
		defer f.stop()
		if err := f.run(f.reading); err != nil {
			r.abort(err)
		}
		if r.opts.Stays && !f.leaving.Load() { // what it wrote is complete
			if err := f.close(context.WithoutCancel(r.ctx)); err != nil && r.ctx.Err() == nil {
				r.abort(err)
			}
		}
	}()
}

// ended says that a flow has ended, or that the run may end without whoever calls it, who counted as busy until now.
func (r *Runner) ended() {
	l := &r.lives
	l.mu.Lock()
	l.running--
	over := l.running == 0 && !l.closed && !l.stays
	if over {
		l.closed = true
	}
	l.mu.Unlock()
	if over {
		close(l.over) // who waits for the end counts in its place
		return
	}
	r.idle()
}

// kill ends a flow at once: nothing that is in flight is settled.
func (f *flow) kill() {
	f.killed.Do(func() {
		f.cancel()
		close(f.abort)
		for _, q := range f.queues {
			q.abort()
		}
		f.budget.close()
		if f.gate != nil {
			f.gate.abort()
		}
	})
}

// runtimeOf is what the programs of a plan's flows are evaluated with.
func (r *Runner) runtimeOf(p *plan.Plan) *penstock.Runtime {
	return &penstock.Runtime{Params: slices.Clone(p.Params), Clock: r.opts.Clock, UUID: r.opts.UUID}
}
