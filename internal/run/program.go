package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// program is a plan's nodes with their instances: what a lane runs.
type program struct {
	nodes []node
}

type node struct {
	*plan.Node
	step   penstock.Step // of Apply
	sink   *sink         // of Send
	caller *caller       // of Call
	groups *groups       // of Group, in memory
	stage  *stageNode    // of Group and Stage, where the run keeps state
	subs   []*program    // of Fork and Loop
	waits  bool          // calls out or sends somewhere inside: worth goroutines
	stats  *NodeStats
}

// sink is one opened sink, or the sending end of a channel in memory. Writes are
// exclusive, as the seam promises.
type sink struct {
	ep     *plan.Endpoint
	mu     sync.Mutex
	s      penstock.Sink
	outlet *outlet          // a durable channel: what goes there is recorded
	flush  penstock.Flusher // nil: Write is durable by itself
	dirty  atomic.Bool
	sent   atomic.Int64
}

func (s *sink) write(ctx context.Context, b *penstock.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.s.Write(ctx, b)
	if s.flush != nil {
		s.dirty.Store(true)
	}
	return err
}

// flushed makes what was written durable.
func (s *sink) flushed(ctx context.Context) error {
	if s.flush == nil || !s.dirty.Swap(false) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.flush.Flush(ctx); err != nil {
		s.dirty.Store(true)
		return err
	}
	return nil
}

// caller is one opened caller with its window: the calls in flight at once.
type caller struct {
	ep     *plan.Endpoint
	c      penstock.Caller
	window *slots
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
		n.stats = f.stats.node(nodes[i].Name, nodes[i].Verb)
		errs = append(errs, f.buildOp(n, i))
	}
	return p, errors.Join(errs...)
}

func (f *flow) buildOp(n *node, at int) (err error) {
	switch op := n.Op.(type) {
	case *plan.Apply:
		n.step = op.Step
		if b, ok := op.Step.(binder); ok {
			env := f.env(f.plan.Name+"/"+n.Name, nil)
			env.Logger = f.r.opts.Logger // what a step logs names flow and step itself
			n.step = b.Bind(env)
		}
	case *plan.Send:
		n.waits = true
		n.sink, err = f.openSink(op.Endpoint)
	case *plan.Call:
		n.waits = !op.Local
		n.caller, err = f.openCaller(op.Endpoint, op.Window)
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

// instance builds what an endpoint stands for: the replacement of a test, or the driver's.
func (f *flow) instance(role Role, ep *plan.Endpoint) (any, error) {
	if f.r.opts.Replace != nil {
		if v, ok := f.r.opts.Replace(f.plan, role, ep); ok {
			return v, nil
		}
	}
	if ep.Channel != "" {
		return nil, nil
	}
	v, err := ep.Driver.Build(ep.Config, f.env(ep.Name, ep))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", ep.Pos, ep.Name, err)
	}
	return v, nil
}

func (f *flow) openSink(ep *plan.Endpoint) (*sink, error) {
	v, err := f.instance(RoleSink, ep)
	if err != nil {
		return nil, err
	}
	s := &sink{ep: ep}
	if d := f.r.durables[ep.Channel]; v == nil && d != nil {
		d.producers.Add(1)
		f.feedsDurable = append(f.feedsDurable, d)
		s.outlet, v = d.out, d.out
	}
	if v == nil {
		ch := f.r.channels[ep.Channel]
		if ch == nil {
			return nil, penstock.E(penstock.Config, ep.Name, ep.Pos.String(), "there is no channel "+ep.Channel)
		}
		ch.producers.Add(1)
		f.feeds = append(f.feeds, ch)
		v = &channelSink{ch: ch, flow: f}
	}
	var ok bool
	if s.s, ok = v.(penstock.Sink); !ok {
		return nil, fmt.Errorf("%s: %s is not a sink", ep.Pos, ep.Name)
	}
	s.flush, _ = v.(penstock.Flusher)
	f.sinks = append(f.sinks, s)
	return s, nil
}

// defaultWindow is how many calls a flow has in flight at one call step.
const defaultWindow = 64

func (f *flow) openCaller(ep *plan.Endpoint, window int) (*caller, error) {
	v, err := f.instance(RoleCaller, ep)
	if err != nil {
		return nil, err
	}
	if window <= 0 {
		window = defaultWindow
	}
	c := &caller{ep: ep, window: newSlots(f.r, window)}
	var ok bool
	if c.c, ok = v.(penstock.Caller); !ok {
		return nil, fmt.Errorf("%s: %s is not a caller", ep.Pos, ep.Name)
	}
	f.callers = append(f.callers, c)
	return c, nil
}

// open connects everything that the flow writes to and asks, then its sources.
func (f *flow) open(ctx context.Context) error {
	for _, s := range f.sinks {
		if err := s.s.Open(ctx); err != nil {
			return f.opening(s.ep, err)
		}
	}
	for _, c := range f.callers {
		if err := c.c.Open(ctx); err != nil {
			return f.opening(c.ep, err)
		}
	}
	for _, p := range f.pumps {
		if err := p.source.Open(ctx); err != nil {
			return f.opening(p.ep, err)
		}
		p.opened = true
	}
	return nil
}

func (f *flow) opening(ep *plan.Endpoint, err error) error {
	return &penstock.Error{Code: penstock.CodeOf(err), Op: "open " + ep.Name, Path: ep.Pos.String(), Err: err}
}

// close releases everything, in the order that loses nothing: sinks complete what they
// have before the sources are let go.
func (f *flow) close(ctx context.Context) error {
	var errs []error
	for _, s := range f.sinks {
		if err := s.s.Close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", s.ep.Name, err))
		}
	}
	for _, c := range f.callers {
		errs = append(errs, c.c.Close(ctx))
	}
	for _, p := range f.pumps {
		if p.opened {
			errs = append(errs, p.source.Close(ctx))
		}
	}
	return errors.Join(errs...)
}

// env is what a driver of this flow is built with.
func (f *flow) env(name string, ep *plan.Endpoint) penstock.Env {
	e := penstock.Env{
		Name: name, Logger: f.r.opts.Logger.With("flow", f.plan.Name), Clock: f.r.clock, Runtime: f.r.runtime,
		Shared: f.r.share, Stdin: f.r.opts.Stdin, Stdout: f.r.opts.Stdout,
		Concurrency: f.width, Ordered: f.plan.Order != plan.None, Resumes: f.durable, Once: f.r.opts.Once,
	}
	if ep != nil {
		e.Type = ep.Type
	}
	return e
}

var _ io.Closer = (*shared)(nil)
