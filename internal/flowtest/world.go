package flowtest

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/run"
)

// world is what stands around the flow under test: its plan, with everything outside replaced.
type world struct {
	test    *test
	ctx     context.Context
	flow    *plan.Flow
	runtime *penstock.Runtime
	pace    *pace
	feeds   map[*plan.Endpoint]*feed
	places  map[*plan.Endpoint]*place
	reply   *plan.Endpoint // made for a flow that has no `to`; else nil
	log     records
	mocks   *mocks
}

// place is where in the flow an endpoint is used.
type place struct {
	node  *plan.Node
	index int      // order of the nodes in the file
	forks []branch // those it is inside of, the outermost first
	loose bool     // several messages may come to it at once
}

type branch struct {
	fork *plan.Fork
	n    int
}

// newWorld replaces what the flow of a test reads, writes and asks.
func newWorld(ctx context.Context, t *test, f *plan.Flow, params []penstock.Value) *world {
	w := &world{test: t, ctx: ctx, pace: newPace(), feeds: map[*plan.Endpoint]*feed{}, places: map[*plan.Endpoint]*place{}}
	ids := &uuids{}
	w.runtime = &penstock.Runtime{Params: params, Clock: w.pace.clock, UUID: ids.next}
	own := *f
	own.Concurrency = 1 // what is worked on at once must not depend on the machine
	w.flow = &own
	if spec, ok := t.suite.set.Find(resource.KindFlow, f.Name); ok && spec.Spec.(*resource.Flow).To == nil {
		w.reply = &plan.Endpoint{Name: f.Name + "/reply", Pos: f.Pos, Label: "reply"}
		own.Nodes = withReply(f.Nodes, w.reply)
	}
	for _, ep := range own.Sources {
		fd := newFeed()
		w.feeds[ep] = fd
		w.pace.feeds = append(w.pace.feeds, fd)
	}
	w.walk(own.Nodes, nil, false)
	w.mocks = newMocks(w)
	return w
}

// withReply lets everything that ends at the end of the steps go to one more node, that
// sends it to ep.
func withReply(nodes []plan.Node, ep *plan.Endpoint) []plan.Node {
	out := slices.Clone(nodes)
	last := len(out)
	to := func(at *int) {
		if *at == plan.End || *at >= last {
			*at = last
		}
	}
	for i := range out {
		if _, over := out[i].Op.(*plan.Finish); over {
			continue
		}
		to(&out[i].Next)
		if r, ok := out[i].Op.(*plan.Route); ok {
			route := plan.Route{Cases: slices.Clone(r.Cases), Else: r.Else}
			for c := range route.Cases {
				to(&route.Cases[c].Target)
			}
			to(&route.Else)
			out[i].Op = &route
		}
	}
	return append(out, plan.Node{Name: "reply", Verb: "to", Op: &plan.Send{Endpoint: ep, Idempotent: true}, Next: plan.End, Catch: plan.End, ErrorSlot: -1, Label: "reply"})
}

// walk notes the place of each endpoint.
func (w *world) walk(nodes []plan.Node, forks []branch, loose bool) {
	for i := range nodes {
		n := &nodes[i]
		at := &place{node: n, index: len(w.places), forks: forks, loose: loose}
		switch op := n.Op.(type) {
		case *plan.Send:
			at.loose = loose || op.NoWait
			w.places[op.Endpoint] = at
		case *plan.Call:
			w.places[op.Endpoint] = at
		case *plan.Fork:
			for b := range op.Branches {
				w.walk(op.Branches[b].Nodes, append(slices.Clip(forks), branch{op, b}), loose || op.Concurrency != 1)
			}
		case *plan.Loop:
			w.walk(op.Body.Nodes, forks, loose)
		}
	}
}

// path is where in its forks a message is: for each the branch, or the number of the element.
func (p *place) path(m *penstock.Message) []int {
	var out []int
	for _, b := range p.forks {
		n := b.n
		if b.fork.Each != nil && b.fork.Index >= 0 && b.fork.Index < len(m.Vars) {
			if v := m.Vars[b.fork.Index]; v.Kind() == penstock.KindInt {
				n = int(v.Int())
			}
		}
		out = append(out, n)
	}
	return out
}

// replace gives the engine what stands for an endpoint.
func (w *world) replace(f *plan.Flow, role run.Role, ep *plan.Endpoint) (any, bool) {
	switch {
	case role == run.RoleSource:
		return w.feeds[ep], true
	case role == run.RoleDeadLetter, ep == f.OnError.DeadLetter && role == run.RoleSink:
		return w.recorder(ep, true), true
	case role == run.RoleSink:
		return w.recorder(ep, false), true
	case ep.Driver != nil && ep.Driver.Spec.Local && !w.mocks.of(ep):
		return nil, false // answers from files: it really runs
	default:
		return &mockCaller{w: w, ep: ep, at: w.places[ep]}, true
	}
}

// start opens the flow and begins to run it.
func (w *world) start() error {
	r, err := run.New(&plan.Plan{Flows: []*plan.Flow{w.flow}, Params: w.runtime.Params}, run.Options{
		Clock: w.pace.clock, UUID: w.runtime.UUID, Random: func() float64 { return 0 }, // no jitter: a retry comes when its backoff says
		OnIdle: w.pace.notify, Replace: w.replace,
		Drain: time.Millisecond, // a test that is given up leaves messages that wait for a clock which stands still
	})
	if err != nil {
		return err
	}
	w.pace.runner = r
	w.pace.start(w.ctx)
	return nil
}

// samePath compares paths as they are written: ./out/a and out/a are the same.
func samePath(a, b string) bool { return filepath.Clean(a) == filepath.Clean(b) }
