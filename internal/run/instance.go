package run

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// instance is what a driver has built for an endpoint of a flow. Where the flow is replaced by another with the same endpoint, it
// goes on there.
type instance struct {
	v        any // a Source, Server, Sink or Caller; nil: the endpoint is a channel of the run
	role     Role
	ep       *plan.Endpoint
	ordered  bool                 // a source that was told to keep its order
	total    bool                 // a ParallelSink that was told to keep all of it
	patience time.Duration        // … and how long a request of its may take
	owner    atomic.Pointer[flow] // who closes it; nil: it is closed
	opened   bool
	shared   map[string]bool // keys of shared values that it uses; Runner.sharedM

	delivery *delivery // of a sink
	pump     *pump     // of a source
	station  *station  // of a server
}

// identity of an instance among those of its flow.
func instanceKey(role Role, name string) string { return string(role) + " " + name }

// instance gives what an endpoint stands for: what the flow before this one has, the replacement of a test, or the driver's.
func (f *flow) instance(role Role, ep *plan.Endpoint) (*instance, error) {
	key := instanceKey(role, ep.Name)
	if in := f.inherited(key, ep); in != nil {
		f.instances[key] = in
		return in, nil
	}
	return f.newInstance(role, ep)
}

// newInstance builds what an endpoint stands for.
func (f *flow) newInstance(role Role, ep *plan.Endpoint) (*instance, error) {
	key := instanceKey(role, ep.Name)
	in := &instance{role: role, ep: ep, ordered: f.plan.Order != plan.None, shared: map[string]bool{}}
	in.owner.Store(f)
	f.instances[key] = in
	if f.r.opts.Replace != nil {
		if v, ok := f.r.opts.Replace(f.plan, role, ep); ok {
			in.v = v
			return in, nil
		}
	}
	if ep.Channel != "" {
		return in, nil
	}
	if ep.Queue != "" {
		return in, f.jobSource(in)
	}
	if ep.Redrive != nil {
		in.v = &redriver{f, ep.Name, ep.Redrive}
		return in, nil
	}
	if c := f.entityRunner(ep); c != nil {
		in.v = c
		return in, nil
	}
	if ep.Ask != nil {
		if f.r.opts.Ask == nil {
			return nil, &penstock.Error{Code: penstock.Config, Op: ep.Name, Path: ep.Pos.String(), Err: errors.New("this run has no views")}
		}
		in.v = f.r.opts.Ask(ep.Ask)
		return in, nil
	}
	return in, f.make(in)
}

// make has the driver build an instance.
func (f *flow) make(in *instance) error {
	v, err := in.ep.Driver.Build(in.ep.Config, f.env(in.ep.Name, in))
	if err != nil {
		return fmt.Errorf("%s: %s: %w", in.ep.Pos, in.ep.Name, err)
	}
	in.v = v
	return nil
}

// inherited is the instance of the flow before this one that does for ep; nil where there is none.
func (f *flow) inherited(key string, ep *plan.Endpoint) *instance {
	if f.before == nil || ep.Hash == "" {
		return nil
	}
	in := f.before.instances[key]
	switch {
	case in == nil || in.v == nil || in.ep.Hash != ep.Hash || in.ep.Channel != ep.Channel:
		return nil
	case f.plan.Transaction.Has(ep) != f.before.plan.Transaction.Has(in.ep):
		return nil // it works otherwise
	case in.role == RoleSource && f.plan.Order != plan.None && !in.ordered:
		return nil // it may read in parallel
	case in.role == RoleServer && (ep.Server.Replies != in.ep.Server.Replies || ep.Server.Request != in.ep.Server.Request):
		return nil
	}
	return in
}

// continues says that the flow takes up where another was: what an endpoint has written so far must stay.
func (f *flow) continues(in *instance) bool {
	if f.before == nil {
		return false
	}
	_, there := f.before.instances[instanceKey(in.role, in.ep.Name)]
	return there
}

// ready opens an instance, once.
func (in *instance) ready(ctx context.Context, open func(context.Context) error) error {
	if in.opened {
		return nil
	}
	if err := open(ctx); err != nil {
		return &penstock.Error{Code: penstock.CodeOf(err), Op: "open " + in.ep.Name, Path: in.ep.Pos.String(), Err: err}
	}
	in.opened = true
	return nil
}

// closes closes an instance of this flow, and lets go of the values that it shared with others.
func (f *flow) closes(ctx context.Context, in *instance, closing func(context.Context) error) error {
	if !in.owner.CompareAndSwap(f, nil) {
		return nil
	}
	err := closing(ctx)
	return errors.Join(err, f.r.unshare(in))
}

// envOf is what a driver of this flow is built with, where it is no instance.
func (f *flow) envOf(name string) penstock.Env {
	return penstock.Env{
		Name: name, Logger: f.r.opts.Logger.With("flow", f.plan.Name), Clock: f.r.clock, Runtime: f.runtime,
		Shared: func(key string, build func() (any, error)) (any, error) { return f.r.share(nil, key, build) },
		Stdin:  f.r.opts.Stdin, Stdout: f.r.opts.Stdout,
		Concurrency: f.width, Ordered: f.plan.Order != plan.None, Total: f.total(), Resumes: f.durable, Anew: !f.later && f.r.opts.From.anew(), Once: f.r.opts.Once,
		Batch: f.batchOf(),
	}
}

// batchOf is how many messages at a time the flow's sinks are best given.
func (f *flow) batchOf() (n int) {
	for _, s := range f.sinks {
		if s.ep.Driver != nil {
			n = max(n, s.ep.Driver.Spec.Batch)
		}
	}
	return n
}

// total says that the flow keeps the order of all its messages.
func (f *flow) total() bool { return f.plan.Order == plan.Total || f.plan.Order == "" }

// env is what an instance is built with.
func (f *flow) env(name string, in *instance) penstock.Env {
	e := f.envOf(name)
	ep := in.ep
	space := ""
	if ep.Connection != "" {
		space = ep.ConnectionHash + "\x00" // a connection of the same name may become another one
	}
	e.Shared = func(key string, build func() (any, error)) (any, error) { return f.r.share(in, space+key, build) }
	e.Type = ep.Type
	e.State = f.driverState(name)
	if f.plan.Transaction.Has(ep) {
		e.Transaction = f.plan.Name
	}
	e.Resumes = f.durable || in.role == RoleSink && f.continues(in)
	if ep.Server != nil {
		e.Replies, e.RequestSlot = ep.Server.Replies, ep.Server.Request
		in.station = newStation(f.r)
		e.Listener = noListener{}
		if f.r.opts.Listener != nil {
			routes := 0
			if c, ok := ep.Config.(penstock.Routed); ok {
				routes = len(c.Routes())
			}
			in.station.mounts = newMounts(f.r.opts.Listener, routes)
			e.Listener = in.station.mounts
		}
	}
	return e
}
