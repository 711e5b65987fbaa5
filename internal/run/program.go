package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/plan"
)

// program is a plan's nodes with their instances: what a lane runs.
type program struct {
	nodes []node
	execs pool[exec] // of branches, used again
}

type node struct {
	*plan.Node
	step     penstock.Step // of Apply
	sink     *sink         // of Send
	caller   *caller       // of Call
	groups   *groups       // of Group, in memory
	stage    *stageNode    // of Group and Stage, where the run keeps state
	subs     []*program    // of Fork and Loop
	balancer *balancer     // of a Fork that picks one of its branches
	waits    bool          // calls out or sends somewhere inside: worth goroutines
	stats    *NodeStats
	attrs    []observe.Attr // of its spans
}

// sink is one opened sink, or the sending end of a channel in memory. Writes are
// exclusive, as the seam promises.
type sink struct {
	*delivery
	ep     *plan.Endpoint
	outlet *outlet       // a durable channel: what goes there is recorded
	tx     *transactions // what it writes is part of these; else nil
	guard  *guard
	sent   *atomic.Int64
}

// delivery is the driver's part of a sink, which may go on where its flow is replaced.
type delivery struct {
	mu    sync.Mutex // of s, and of setting dirty to false
	s     penstock.Sink
	flush penstock.Flusher // nil: Write is durable by itself
	many  bool             // a penstock.ParallelSink
	dirty atomic.Bool
	inst  *instance
}

// newDelivery makes the delivery of an instance, which v is or stands for.
func newDelivery(in *instance, v penstock.Sink) *delivery {
	d := &delivery{s: v, inst: in}
	d.flush, _ = v.(penstock.Flusher)
	_, d.many = v.(penstock.ParallelSink)
	in.delivery = d
	return d
}

// write writes a batch. retry says that it was tried before.
func (s *sink) write(ctx context.Context, b *penstock.Batch, retry bool) error {
	if s.guard != nil {
		return s.guarded(ctx, b, retry)
	}
	return s.through(ctx, b)
}

func (s *sink) through(ctx context.Context, b *penstock.Batch) error {
	if s.tx != nil {
		return s.tx.write(ctx, s, b)
	}
	if s.many && s.flush == nil {
		return s.s.Write(ctx, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.s.Write(ctx, b)
	if s.flush != nil {
		s.dirty.Store(true)
	}
	return err
}

// flushed makes what was written durable. Where another does that already, it waits for it: several requests wait for one fsync.
func (s *sink) flushed(ctx context.Context) error {
	if s.flush == nil || !s.dirty.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty.Load() {
		return nil
	}
	if err := s.flush.Flush(ctx); err != nil {
		return err
	}
	s.dirty.Store(false)
	return nil
}

// caller is one opened caller with its window: the calls in flight at once.
type caller struct {
	ep     *plan.Endpoint
	c      penstock.Caller
	inst   *instance
	window *slots
	guard  *guard
	flow   *flow
	hedges bool     // a late answer is asked for once more
	cache  *answers // nil: every message asks
}

// binder is a step that needs the run's environment (a logger).
type binder interface {
	Bind(env penstock.Env) penstock.Step
}

// build makes the instances of a flow's nodes and remembers what has to be opened.
func (f *flow) build(nodes []plan.Node) (*program, error) {
	p := &program{nodes: make([]node, len(nodes))}
	var errs []error
	for i := range nodes {
		n := &p.nodes[i]
		n.Node = &nodes[i]
		n.stats = f.nodeStats(nodes[i].Name, nodes[i].Verb)
		if f.r.tracer != nil {
			n.attrs = n.describe(f)
		}
		errs = append(errs, f.buildOp(n, i))
	}
	return p, errors.Join(errs...)
}

func (f *flow) buildOp(n *node, at int) (err error) {
	switch op := n.Op.(type) {
	case *plan.Apply:
		n.step = op.Step
		if b, ok := op.Step.(binder); ok {
			env := f.envOf(f.plan.Name + "/" + n.Name)
			env.Logger = f.r.opts.Logger // what a step logs names flow and step itself
			n.step = b.Bind(env)
		}
	case *plan.Send:
		n.waits = true
		n.sink, err = f.openSink(op.Endpoint, n.patience())
	case *plan.Call:
		n.waits = !op.Local
		n.caller, err = f.openCaller(op.Endpoint, op.Window)
		f.commands(op.Endpoint)
		if err == nil {
			n.caller.hedges = op.Idempotent && !op.Local && op.Endpoint.Policy != nil && op.Endpoint.Policy.Hedge != nil
		}
		if op.Cache != nil && err == nil {
			n.caller.cache = newAnswers(f, op.Cache)
			n.caller.cache.follow(f.before, n.caller)
			n.stats.cache = n.caller.cache
		}
	case *plan.Stage:
		if !f.durable {
			return penstock.E(penstock.Internal, n.Name, n.Pos.String(), "a durable step in a run that keeps no state")
		}
		f.addStage(n, at)
	case *plan.Group:
		if f.durable {
			f.addStage(n, at)
			break
		}
		n.groups = newGroups(f, n, op)
		f.groups = append(f.groups, n.groups)
	case *plan.Fork:
		if op.Pick != nil {
			n.balancer = newBalancer(op)
		}
		for i := range op.Branches {
			sub, e := f.build(op.Branches[i].Nodes)
			n.subs, err = append(n.subs, sub), errors.Join(err, e)
		}
	case *plan.Loop:
		var sub *program
		sub, err = f.build(op.Body.Nodes)
		n.subs = append(n.subs, sub)
	}
	for _, sub := range n.subs {
		for i := range sub.nodes {
			n.waits = n.waits || sub.nodes[i].waits
		}
	}
	return err
}

// openSink makes a sink. patience is how long a try may take, for one that sees to that itself.
func (f *flow) openSink(ep *plan.Endpoint, patience time.Duration) (*sink, error) {
	in, err := f.instance(RoleSink, ep)
	if err == nil && in.delivery != nil && in.delivery.many && (in.patience != patience || in.total != f.total()) {
		in, err = f.newInstance(RoleSink, ep)
	}
	if err != nil {
		return nil, err
	}
	s := &sink{ep: ep, guard: f.guardOf(ep), delivery: in.delivery, sent: f.stats.sent(ep.Name)}
	v := in.v
	if d := f.net.durables[ep.Channel]; v == nil && d != nil {
		d.producers.Add(1)
		f.feedsDurable = append(f.feedsDurable, d)
		s.outlet, v = d.out, d.out
	}
	if v == nil {
		ch := f.net.channels[ep.Channel]
		if ch == nil {
			return nil, penstock.E(penstock.Config, ep.Name, ep.Pos.String(), "there is no channel "+ep.Channel)
		}
		ch.producers.Add(1)
		f.feeds = append(f.feeds, ch)
		v = &channelSink{ch: ch, flow: f}
	}
	if s.delivery == nil {
		to, ok := v.(penstock.Sink)
		if !ok {
			return nil, fmt.Errorf("%s: %s is not a sink", ep.Pos, ep.Name)
		}
		s.delivery = newDelivery(in, to)
		if p, ok := v.(penstock.ParallelSink); ok {
			in.patience, in.total = patience, f.total()
			p.Each(patience)
		}
	}
	f.sinks = append(f.sinks, s)
	return s, nil
}

// defaultWindow is how many calls a flow has in flight at one call step.
const defaultWindow = 64

func (f *flow) openCaller(ep *plan.Endpoint, window int) (*caller, error) {
	in, err := f.instance(RoleCaller, ep)
	if err != nil {
		return nil, err
	}
	if window <= 0 {
		window = defaultWindow
	}
	c := &caller{ep: ep, window: newSlots(f.r, window), guard: f.guardOf(ep), inst: in, flow: f}
	var ok bool
	if c.c, ok = in.v.(penstock.Caller); !ok {
		return nil, fmt.Errorf("%s: %s is not a caller", ep.Pos, ep.Name)
	}
	f.callers = append(f.callers, c)
	return c, nil
}

// open connects everything that the flow writes to and asks, then its sources.
func (f *flow) open(ctx context.Context) error {
	for _, s := range f.sinks {
		if err := s.inst.ready(ctx, s.s.Open); err != nil {
			return err
		}
	}
	for _, c := range f.callers {
		if err := c.inst.ready(ctx, c.c.Open); err != nil {
			return err
		}
	}
	return f.openSources(ctx)
}

func (f *flow) openSources(ctx context.Context) error {
	for _, p := range f.pumps {
		if err := p.inst.ready(ctx, p.source.Open); err != nil {
			return err
		}
	}
	f.traceable()
	return nil
}

func (f *flow) opening(ep *plan.Endpoint, err error) error {
	return &penstock.Error{Code: penstock.CodeOf(err), Op: "open " + ep.Name, Path: ep.Pos.String(), Err: err}
}

// close releases everything that is still the flow's, in the order that loses nothing: sinks complete what they
// have before the sources are let go.
func (f *flow) close(ctx context.Context) error {
	f.cancel()
	f.unguard()
	var errs []error
	for _, s := range f.sinks {
		if err := f.closes(ctx, s.inst, s.s.Close); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", s.ep.Name, err))
		}
	}
	for _, c := range f.callers {
		errs = append(errs, f.closes(ctx, c.inst, c.c.Close))
	}
	for _, p := range f.pumps {
		closing := p.source.Close
		if !p.inst.opened {
			closing = func(context.Context) error { return nil }
		}
		errs = append(errs, f.closes(ctx, p.inst, closing))
	}
	return errors.Join(errs...)
}

// noListener stands where the process has no HTTP listener.
type noListener struct{}

// Mount implements penstock.Listener.
func (noListener) Mount(r penstock.HTTPRoute) (func(), error) {
	return nil, penstock.E(penstock.Config, r.Owner, r.Path, "this run has no HTTP listener")
}
