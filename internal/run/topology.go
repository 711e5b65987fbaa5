package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// Need is how it stands with what a channel, or an endpoint that declares what it needs, needs on its broker.
type Need struct {
	Channel    string // the channel; or
	Endpoint   string // the endpoint, as flow/step
	Label      string // kafka; of an endpoint with what it reads or writes
	Connection string // "" if none
	Pos        penstock.Pos
	Objects    []penstock.Object
	Err        error // the broker could not be asked

	topology penstock.Topology
	env      penstock.Env
}

// Conflicts lists the objects that are in conflict.
func (n *Need) Conflicts() []penstock.Object { return n.only(penstock.ObjectConflict) }

// Changes lists the objects that would be made or changed.
func (n *Need) Changes() []penstock.Object {
	return n.only(penstock.ObjectCreate, penstock.ObjectChange)
}

func (n *Need) only(actions ...penstock.ObjectAction) (out []penstock.Object) {
	for _, o := range n.Objects {
		for _, a := range actions {
			if o.Action == a {
				out = append(out, o)
			}
		}
	}
	return out
}

// Brokers looks at what a plan needs on brokers, and makes it. It has connections of its own. Use one goroutine.
type Brokers struct {
	logger *slog.Logger
	rt     *penstock.Runtime
	clock  penstock.Clock
	mu     sync.Mutex
	shared map[string]any
}

// NewBrokers prepares for a plan, whose secrets are bound. Of o, Logger, Clock and UUID count.
func NewBrokers(p *plan.Plan, o Options) *Brokers {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = penstock.SystemClock{}
	}
	return &Brokers{logger: o.Logger, clock: o.Clock, rt: &penstock.Runtime{Params: p.Params, Clock: o.Clock, UUID: o.UUID}, shared: map[string]any{}}
}

// Close closes the connections.
func (b *Brokers) Close() error {
	var errs []error
	for _, v := range b.shared {
		if c, ok := v.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	clear(b.shared)
	return errors.Join(errs...)
}

func (b *Brokers) env(name, space string) penstock.Env {
	if space != "" {
		space += "\x00"
	}
	return penstock.Env{Name: name, Logger: b.logger, Clock: b.clock, Runtime: b.rt, Shared: func(key string, build func() (any, error)) (any, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if v, there := b.shared[space+key]; there {
			return v, nil
		}
		v, err := build()
		if err == nil {
			b.shared[space+key] = v
		}
		return v, err
	}}
}

// needs lists what p needs, as far as before does not need the same.
func (b *Brokers) needs(p, before *plan.Plan) (out []*Need) {
	known := map[string]bool{}
	if before != nil {
		for _, c := range before.Brokers {
			known[c.Hash] = true
		}
		for _, f := range before.Flows {
			endpointsOf(f, func(ep *plan.Endpoint) { known[ep.Name+" "+ep.Hash] = true })
		}
	}
	for _, c := range p.Brokers {
		if c.Topology != nil && !known[c.Hash] {
			out = append(out, &Need{Channel: c.Channel, Label: c.Tech, Connection: c.Connection, Pos: c.Pos, topology: c.Topology, env: b.env("channel "+c.Channel, c.ConnectionHash)})
		}
	}
	for _, f := range p.Flows {
		endpointsOf(f, func(ep *plan.Endpoint) {
			t, ok := ep.Config.(penstock.Topology)
			if ok && ep.Broker == "" && !known[ep.Name+" "+ep.Hash] {
				out = append(out, &Need{Endpoint: ep.Name, Label: ep.Label, Connection: ep.Connection, Pos: ep.Pos, topology: t, env: b.env(ep.Name, ep.ConnectionHash)})
			}
		})
	}
	return out
}

// patience is how long a broker may take to say how something stands, or to make it.
const topologyPatience = 30 * time.Second

// Describe asks brokers how everything stands that p needs, and changes nothing.
func (b *Brokers) Describe(ctx context.Context, p *plan.Plan) []*Need { return b.describe(ctx, p, nil) }

func (b *Brokers) describe(ctx context.Context, p, before *plan.Plan) []*Need {
	all := b.needs(p, before)
	var wg sync.WaitGroup
	for _, n := range all {
		wg.Go(func() {
			own, cancel := context.WithTimeout(ctx, topologyPatience)
			defer cancel()
			n.Objects, n.Err = n.topology.Describe(own, n.env)
			if n.Err != nil {
				n.Err = n.failed("look at", n.Err)
			}
		})
	}
	wg.Wait()
	return all
}

// Ensure has what p needs made, as far as before (nil: nothing) does not need the same. Where anything is in conflict, nothing is made.
func (b *Brokers) Ensure(ctx context.Context, p, before *plan.Plan) error {
	all := b.describe(ctx, p, before)
	var errs []error
	for _, n := range all {
		errs = append(errs, n.Err)
		for _, o := range n.Conflicts() {
			errs = append(errs, n.conflict(o))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, n := range all {
		changes := n.Changes()
		if len(changes) == 0 {
			continue
		}
		own, cancel := context.WithTimeout(ctx, topologyPatience)
		err := n.topology.Ensure(own, n.env)
		cancel()
		if err != nil {
			return n.failed("make", err)
		}
		for _, o := range changes {
			b.logger.Info("made on the broker", "for", n.who(), "action", string(o.Action), o.Kind, o.Name)
		}
	}
	return nil
}

// who needs it.
func (n *Need) who() string {
	if n.Channel != "" {
		return "channel " + n.Channel
	}
	return n.Endpoint
}

func (n *Need) failed(doing string, err error) error {
	return &penstock.Error{Code: penstock.CodeOf(err), Op: doing + " what " + n.who() + " needs (" + n.Label + ")", Path: n.Pos.String(), Err: err}
}

func (n *Need) conflict(o penstock.Object) error {
	return &penstock.Error{Code: penstock.Config, Op: n.who(), Path: n.Pos.String(), Err: errors.New(ConflictText(o)), Hint: o.Hint}
}

// ConflictText says what is wrong with an object that is in conflict.
func ConflictText(o penstock.Object) string {
	var parts []string
	for _, s := range o.Settings {
		is := s.Is
		if is == "" {
			is = "not set"
		}
		parts = append(parts, fmt.Sprintf("%s is %s there, and %s here", s.Name, is, s.Want))
	}
	if o.Why != "" {
		parts = append([]string{o.Why}, parts...)
	}
	return fmt.Sprintf("%s %s can't be used: %s", o.Kind, o.Name, strings.Join(parts, "; "))
}

// endpointsOf visits the drivers' endpoints of a flow.
func endpointsOf(f *plan.Flow, visit func(*plan.Endpoint)) {
	for _, s := range f.Sources {
		visit(s)
	}
	nodeEndpoints(f.Nodes, visit)
	if f.OnError.DeadLetter != nil {
		visit(f.OnError.DeadLetter)
	}
}

func nodeEndpoints(nodes []plan.Node, visit func(*plan.Endpoint)) {
	for i := range nodes {
		switch op := nodes[i].Op.(type) {
		case *plan.Send:
			visit(op.Endpoint)
		case *plan.Call:
			visit(op.Endpoint)
		case *plan.Fork:
			for j := range op.Branches {
				nodeEndpoints(op.Branches[j].Nodes, visit)
			}
		case *plan.Loop:
			nodeEndpoints(op.Body.Nodes, visit)
		}
	}
}

// ensureTopology has what a plan needs on brokers made, as far as before (nil: nothing) does not need the same. What a test has replaced needs no
// broker.
func (r *Runner) ensureTopology(ctx context.Context, p, before *plan.Plan) error {
	if r.opts.Replace != nil {
		return nil
	}
	b := NewBrokers(p, r.opts)
	err := b.Ensure(ctx, p, before)
	return errors.Join(err, b.Close())
}
