package run

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// flow is a flow of the plan with everything that runs it.
type flow struct {
	r            *Runner
	plan         *plan.Flow
	log          *slog.Logger
	stats        *FlowStats
	runtime      *penstock.Runtime
	net          *wiring
	instances    map[string]*instance
	statNodes    []*NodeStats
	later        bool  // it is not of the plan that the run began with
	before       *flow // while it is made to take the place of another: that one
	prog         *program
	pumps        []*pump
	sinks        []*sink
	callers      []*caller
	guards       []*guard
	groups       []*groups
	subs         []*subscription
	feeds        []*handover // one entry for each step that sends
	feedsDurable []*durable  // likewise
	dead         *sink
	deadFile     *deadFile
	envelope     bool // dead letters are written as {body, key, meta}

	width      int // lanes
	lanes      []*lane
	queue      *queue // shared by the lanes, but with order: per-key
	queues     []*queue
	gate       *gate  // order: total
	tail       int    // first order-sensitive node
	rounds     bool   // several steps ask entities, in an order that is kept: see exec.inRounds
	water      *water // event time without total order
	aside      *exec  // runs what timers complete, in the tail
	budget     *budget
	forks      *slots         // window of forks and loops that wait
	beside     sync.WaitGroup // calls in flight, pauses and taps
	tapSlots   *slots
	served     *slots // requests at once, where the plan says how many; else nil
	turns      *turns // requests of the same key, with order: per-key; else nil
	works      pool[work]
	batches    *pool[penstock.Batch] // the run's
	numbers    *slots                // who numbers works
	seq        uint64
	ctx        context.Context // of everything that the flow does; ends when it is killed
	cancel     context.CancelFunc
	abort      chan struct{} // closed then
	killed     sync.Once
	reading    context.Context // ends when the flow is to read no more
	stop       context.CancelFunc
	done       chan struct{} // closed when run has returned
	labelsOnce sync.Once
	labels     map[string]string // fields that a look hides, by name: their class
	paused     atomic.Bool       // by an operator
	parting

	tx    *transactions // nil: it has none
	knows bool          // something that it sends to knows what it is given once more

	// In a run that keeps state.
	durable  bool
	keyed    bool         // order: per-key
	stages   []*stageNode // in the order of the program
	commit   *committer
	events   []*channelSource // of the pumps, those that read events of entities
	redriven *pump            // reads the dead letters that are given in again
	parked   *parked          // onError.order: park

	outM    sync.Mutex
	outCond cond
	outN    int // works handed to lanes, messages away from them
}

// detaches says that a message may leave its lane while it waits.
func (f *flow) detaches() bool { return f.gate == nil }

// releaseFeeds says that the flow sends no more.
func (f *flow) releaseFeeds() {
	for _, c := range f.feeds {
		c.release()
	}
	for _, d := range f.feedsDurable {
		d.release(f.r.opts.Replicas)
	}
}

// run reads until the sources end or reading is done, drains, completes what the end
// completes, and settles.
func (f *flow) run(reading context.Context) error {
	defer f.releaseFeeds()
	if f.durable {
		return f.runDurable(reading)
	}
	var lanes, settlers sync.WaitGroup
	for _, l := range f.lanes {
		f.r.busy()
		lanes.Go(l.loop)
	}
	if f.tx != nil {
		f.r.busy()
		settlers.Go(func() {
			defer f.guard("transaction")
			if err := f.tx.run(f.ctx); err != nil {
				f.r.abort(err)
			}
		})
	}
	for _, p := range f.pumps {
		if p.server != nil || f.tx != nil { // its callers wait, or its transactions settle
			continue
		}
		settlers.Go(func() {
			defer f.guard("settle")
			if err := p.settle(f.ctx); err != nil {
				f.r.abort(err) // reading on would only add to what has to be read again
			}
		})
	}
	timers, stopTimers := context.WithCancel(f.ctx)
	var clocks sync.WaitGroup
	for _, g := range f.groups {
		if g.timed() {
			f.r.busy()
			clocks.Go(func() {
				defer f.guard(g.n.Name)
				g.watch(timers)
			})
		}
	}
	f.r.all(len(f.pumps), func(i int) {
		defer f.guard("from")
		if err := f.pumps[i].read(f.pumps[i].until(reading)); err != nil {
			f.r.abort(err)
		}
	})
	if f.tx != nil {
		f.tx.finish()
	}
	if !f.leaving.Load() {
		f.phase.Store(phaseEnding)
		f.drained()
		if reading.Err() == nil && f.ctx.Err() == nil {
			f.complete(reading)
		}
	}
	if f.leaving.Load() {
		f.left()
	}
	stopTimers()
	clocks.Wait()
	f.drained()
	f.stopLanes()
	lanes.Wait()
	f.beside.Wait() // after the lanes: where the run was aborted, they may have added to it till now
	switch {
	case f.leaving.Load():
		close(f.gone)
	case reading.Err() != nil: // open groups are not settled: their source reads them again
		for _, p := range f.pumps {
			p.forget()
		}
	}
	settlers.Wait()
	if f.tx != nil {
		f.tx.close()
	}
	if f.ctx.Err() != nil {
		return nil // who aborted said why
	}
	return f.flushSinks(f.ctx)
}

// complete ends the groups that the end of the sources ends; the others wait for their
// clock. Groups that nothing will ever complete are dead-lettered: nothing is lost silently. Where the
// run is stopped meanwhile they stay unsettled.
func (f *flow) complete(reading context.Context) {
	for _, g := range f.groups {
		switch {
		case g.op.AtEnd:
			g.release(g.rest())
		case g.eventTime():
			g.release(g.advance(maxTime))
		case g.timed():
			f.phase.Store(phaseResting)
			g.untilEmpty(reading)
			f.phase.Store(phaseEnding)
		}
		f.drained()
		if reading.Err() != nil {
			return
		}
		if left := g.rest(); len(left) > 0 {
			f.incomplete(g, left)
		}
	}
}

const maxTime = 1<<62 - 1

// incomplete dead-letters groups that can't be completed any more.
func (f *flow) incomplete(g *groups, left []*openGroup) {
	w := f.groupWork(g, left)
	run := func() {
		w.mem = len(w.msgs) + len(w.early)
		for _, e := range w.early {
			w.msgs = append(w.msgs, e.m)
		}
		for _, m := range w.msgs {
			f.aside.dead(w, m, &penstock.Error{Code: penstock.Unprocessable, Op: g.n.Name, Err: errors.New("the group was not complete when the sources ended"), Hint: "say complete: {atEnd: true} to let the end complete it"}, g.n.Name, 1)
		}
	}
	if f.gate != nil {
		f.gate.between(run)
		return
	}
	if f.aside == nil {
		f.aside = newExec(f.ctx, f, f.prog, &f.plan.OnError.Retry)
	}
	run()
}

// runAside runs a work outside of any lane, in the tail of a flow of total order.
func (f *flow) runAside(w *work) {
	w.mem = len(w.msgs) + len(w.early)
	n := &f.prog.nodes[0]
	for _, e := range w.early {
		f.aside.giveUp(w, n, e, 1)
	}
	f.aside.run(w, w.start, append(f.aside.take(), w.msgs...))
	f.free(w)
}

// outstanding counts what lanes still have to do.
func (f *flow) outstanding(n int) {
	f.outM.Lock()
	f.outN += n
	if f.outN == 0 {
		f.outCond.wake()
	}
	f.outM.Unlock()
}

// drained waits until the lanes have nothing left to do, or the run was aborted.
func (f *flow) drained() {
	stop := f.outCond.wakeAfter(f.ctx)
	defer stop()
	f.outM.Lock()
	defer f.outM.Unlock()
	for f.outN > 0 && f.ctx.Err() == nil {
		f.outCond.wait()
	}
}

func (f *flow) stopLanes() {
	for _, q := range f.queues {
		q.close()
	}
}

// flushSinks makes durable what was written so far.
func (f *flow) flushSinks(ctx context.Context) error {
	for _, s := range f.sinks {
		if err := s.flushed(ctx); err != nil {
			return &penstock.Error{Code: penstock.CodeOf(err), Op: "flush " + s.ep.Name, Err: err}
		}
	}
	return nil
}

// fatal stops the run.
func (f *flow) fatal(err error) { f.r.abort(err) }

// recycle takes a batch back for another use.
func (f *flow) recycle(b *penstock.Batch) { f.r.recycle(b) }

func (r *Runner) recycle(b *penstock.Batch) {
	b.Reset()
	r.batches.put(b)
}

// text evaluates a program to text: keys may be numbers, too.
func text(p penstock.Program, f *penstock.Frame, op string) (string, error) {
	v := p.Eval(f)
	if v.Kind() == penstock.KindNode {
		d, n := v.Node()
		switch d.Kind(n) {
		case jsonview.String:
			return d.Str(n, f.Arena.Alloc), nil
		case jsonview.Null:
			return "", nil
		case jsonview.Number, jsonview.True, jsonview.False:
			return string(d.Raw(n)), nil
		}
	}
	switch v.Kind() {
	case penstock.KindString:
		return v.Str(), nil
	case penstock.KindInt:
		return strconv.FormatInt(v.Int(), 10), nil
	case penstock.KindUint:
		return strconv.FormatUint(v.Uint(), 10), nil
	case penstock.KindBool:
		return strconv.FormatBool(v.Bool()), nil
	case penstock.KindDecimal:
		return v.Decimal().String(), nil
	case penstock.KindAbsent, penstock.KindNull:
		return "", nil
	case penstock.KindError:
		return "", v.Err()
	}
	return "", &penstock.Error{Code: penstock.Invalid, Op: op, Err: errors.New("a key is text or a whole number")}
}
