package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/stage"
	"penstock.dev/penstock/internal/store/channel"
	"penstock.dev/penstock/jsonview"
)

// flow is a flow of the plan with everything that runs it.
type flow struct {
	r            *Runner
	plan         *plan.Flow
	log          *slog.Logger
	stats        FlowStats
	prog         *program
	pumps        []*pump
	sinks        []*sink
	callers      []*caller
	groups       []*groups
	feeds        []*handover // one entry for each step that sends
	feedsDurable []*durable  // likewise
	dead         *sink
	deadFile     *deadFile
	envelope     bool // dead letters are written as {body, key, meta}

	width    int // lanes
	lanes    []*lane
	queue    *queue // shared by the lanes, but with order: per-key
	queues   []*queue
	gate     *gate  // order: total
	tail     int    // first order-sensitive node
	water    *water // event time without total order
	aside    *exec  // runs what timers complete, in the tail
	budget   *budget
	forks    *slots         // window of forks and loops that wait
	beside   sync.WaitGroup // calls in flight, pauses and taps
	tapSlots *slots
	works    pool[work]
	batches  *pool[penstock.Batch] // the run's
	numbers  *slots                // who numbers works
	seq      uint64
	ctx      context.Context
	abort    chan struct{}

	// In a run that keeps state.
	durable  bool
	keyed    bool         // order: per-key
	stages   []*stageNode // in the order of the program
	commit   *committer
	redriven *pump   // reads the dead letters that are given in again
	parked   *parked // onError.order: park

	outM    sync.Mutex
	outCond cond
	outN    int // works handed to lanes, messages away from them
}

func newFlow(r *Runner, p *plan.Flow) (*flow, error) {
	f := &flow{r: r, plan: p, log: r.opts.Logger.With("flow", p.Name), ctx: r.ctx, abort: make(chan struct{}), tapSlots: newSlots(r, 4), forks: newSlots(r, defaultWindow), numbers: newSlots(r, 1)}
	f.stats.Name = p.Name
	f.durable, f.keyed = r.plan.Durable, p.Order == plan.PerKey
	if f.durable {
		f.commit = newCommitter(f)
		if p.OnError.Park {
			f.parked = newParked()
		}
	}
	f.outCond.init(r, &f.outM)
	f.batches = &r.batches
	f.budget = newBudget(r, p.Budget.Messages, p.Budget.Bytes)
	f.width = p.Concurrency
	if f.width <= 0 {
		f.width = runtime.GOMAXPROCS(0)
	}
	var err error
	if f.prog, err = f.build(p.Nodes); err != nil {
		return f, err
	}
	if f.plan.Order == plan.Total || f.plan.Order == "" {
		f.gate, f.tail = newGate(r), tailOf(f.prog)
		f.aside = newExec(f.ctx, f, f.prog, &p.OnError.Retry)
		for i := range f.prog.nodes[:min(f.tail, len(f.prog.nodes))] {
			if f.prog.nodes[i].waits { // lanes that wait for calls cost nothing: more of them keep the window full
				f.width = max(f.width, 16)
			}
		}
	} else if p.Time != nil && len(f.groups) > 0 {
		f.water = newWater()
	}
	if err := f.buildDead(); err != nil {
		return f, err
	}
	for _, ep := range p.Sources {
		if err := f.buildSource(ep); err != nil {
			return f, err
		}
	}
	f.buildDurable()
	f.queue = newQueue(r, f.width)
	f.queues = append(f.queues, f.queue)
	for i := range f.width {
		l := &lane{f: f, id: i, in: f.queue, wake: make(chan struct{}, 1), chains: map[string]*chain{}}
		if p.Order == plan.PerKey {
			l.in = newQueue(r, 2)
			f.queues = append(f.queues, l.in)
		}
		l.main = *newExec(f.ctx, f, f.prog, &p.OnError.Retry)
		l.main.lane = l
		f.lanes = append(f.lanes, l)
	}
	return f, nil
}

// tailOf finds the first node whose order matters: what sends, gathers, or asks somebody
// that may remember the order of questions.
func tailOf(p *program) int {
	for i := range p.nodes {
		switch p.nodes[i].Op.(type) {
		case *plan.Send, *plan.Group, *plan.Stage:
			return i
		case *plan.Fork, *plan.Loop:
			if sends(&p.nodes[i]) {
				return i
			}
		}
	}
	return len(p.nodes)
}

func sends(n *node) bool {
	for _, s := range n.subs {
		for i := range s.nodes {
			if _, ok := s.nodes[i].Op.(*plan.Send); ok || sends(&s.nodes[i]) {
				return true
			}
		}
	}
	return false
}

// detaches says that a message may leave its lane while it waits.
func (f *flow) detaches() bool { return f.gate == nil }

func (f *flow) buildDead() error {
	if ep := f.plan.OnError.DeadLetter; ep != nil {
		// Where the sink has no place for meta, the reason would be lost.
		f.envelope = ep.Driver != nil && !ep.Driver.Spec.Headers && f.r.opts.Replace == nil
		s, err := f.openSink(ep)
		f.dead = s
		return err
	}
	f.dead = &sink{ep: &plan.Endpoint{Name: f.plan.Name + "/dead"}}
	if f.r.opts.Replace != nil {
		if v, ok := f.r.opts.Replace(f.plan, RoleDeadLetter, nil); ok {
			f.dead.s = v.(penstock.Sink)
			f.dead.flush, _ = v.(penstock.Flusher)
		}
	}
	if f.dead.s == nil && f.r.opts.DeadLetters == "" && f.r.opts.Store != nil {
		name := deadChannel(f.plan.Name)
		if f.durable {
			d := f.r.durable(name, nil)
			d.producers.Add(1)
			f.feedsDurable = append(f.feedsDurable, d)
			f.dead.outlet, f.dead.s = d.out, d.out
		} else {
			f.dead.s = &deadStore{f: f, name: name}
		}
	}
	if f.dead.s == nil {
		f.deadFile = &deadFile{path: f.r.deadPath(f.plan.Name)}
		f.dead.s, f.dead.flush = f.deadFile, f.deadFile
	}
	f.sinks = append(f.sinks, f.dead)
	return nil
}

func (f *flow) buildSource(ep *plan.Endpoint) error {
	v, err := f.instance(RoleSource, ep)
	if err != nil {
		return err
	}
	if d := f.r.durables[ep.Channel]; v == nil && d != nil {
		src := f.r.newChannelSource(d, f, ep.Name)
		p := newPump(f, ep, src)
		p.channel = src
		f.pumps = append(f.pumps, p)
		return nil
	}
	if v == nil {
		ch := f.r.channels[ep.Channel]
		if ch == nil {
			return penstock.E(penstock.Config, ep.Name, ep.Pos.String(), "there is no channel "+ep.Channel)
		}
		v = ch.subscribe(f.r)
	}
	s, ok := v.(penstock.Source)
	if !ok {
		return fmt.Errorf("%s: %s is not a source", ep.Pos, ep.Name)
	}
	p := newPump(f, ep, s)
	if f.durable {
		_, p.keeps = s.(penstock.Positioned)
		if !p.keeps && ep.Driver != nil && ep.Driver.Spec.Replay == penstock.ReplayPosition {
			// What check promised of the flow rests on it.
			return &penstock.Error{Code: penstock.Internal, Op: ep.Name, Path: ep.Pos.String(),
				Err:  fmt.Errorf("the driver %s says that its messages come again by position, and is no penstock.Positioned", ep.Driver.Spec.Name),
				Hint: "mend the driver: implement Resume, or register it without Replay: position; conform.Source tells"}
		}
		if ep.ID != nil {
			p.inbox = newInbox(p)
		}
	}
	f.pumps = append(f.pumps, p)
	return nil
}

// buildDurable completes a flow of a run that keeps state: the readers behind its durable steps, and that of the dead letters
// that are given in again.
func (f *flow) buildDurable() {
	if !f.durable {
		return
	}
	for _, s := range f.stages {
		f.pumps = append(f.pumps, s.pump)
	}
	if f.dead.outlet != nil {
		name := inChannel(f.plan.Name)
		src := f.r.newChannelSource(f.r.durable(name, nil), f, name)
		src.redrive = true
		f.redriven = newPump(f, &plan.Endpoint{Name: name, Channel: name, Pos: f.plan.Pos, Label: "redriven"}, src)
		f.redriven.channel, f.redriven.counts = src, false
		f.pumps = append(f.pumps, f.redriven)
	}
	f.commit.unit.appends = map[*outlet]*bundle{}
	f.commit.unit.acks = map[*pump][]channel.Range{}
	f.commit.unit.journal.Reset(f.plan.Name)
	f.commit.unit.identities = map[*pump][]*identity{}
	f.commit.unit.fates = map[*pump][]penstock.Outcome{}
	f.commit.unit.items = make([][]stage.Item, len(f.stages))
	f.commit.unit.sources = make([][]*track, len(f.stages))
}

// run reads until the sources end or reading is done, drains, completes what the end
// completes, and settles.
func (f *flow) run(reading context.Context) error {
	defer func() {
		for _, c := range f.feeds {
			c.release()
		}
		for _, d := range f.feedsDurable {
			d.release()
		}
	}()
	if f.durable {
		return f.runDurable(reading)
	}
	var lanes, settlers sync.WaitGroup
	for _, l := range f.lanes {
		f.r.busy()
		lanes.Go(l.loop)
	}
	for _, p := range f.pumps {
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
	f.drained()
	if reading.Err() == nil && f.ctx.Err() == nil {
		f.complete(reading)
	}
	stopTimers()
	clocks.Wait()
	f.drained()
	f.stopLanes()
	lanes.Wait()
	f.beside.Wait()           // after the lanes: where the run was aborted, they may have added to it till now
	if reading.Err() != nil { // open groups are not settled: their source reads them again
		for _, p := range f.pumps {
			p.forget()
		}
	}
	settlers.Wait()
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
			g.untilEmpty(reading)
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
func (f *flow) recycle(b *penstock.Batch) {
	b.Reset()
	f.batches.put(b)
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
