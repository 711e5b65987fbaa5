package flowtest

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity/engine"
	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
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
	asked   asked
	fault   *fault        // what goes wrong; nil: nothing
	store   *memory.Store // nil: the run keeps no state
	kept    kept
	life    *life // the process that runs, or ran last

	transactions int // of a broker, that were to be committed
}

// life is from one start to the end, or to a crash.
type life struct {
	ctx  context.Context
	end  context.CancelFunc
	over atomic.Bool // what is still on its way no longer counts

	views *view.Engine // nil: there are none
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
	w := &world{test: t, ctx: ctx, fault: t.fault, pace: newPace(), feeds: map[*plan.Endpoint]*feed{}, places: map[*plan.Endpoint]*place{}}
	w.pace.ended = t.suite.cover.ran
	ids := &uuids{}
	w.runtime = &penstock.Runtime{Params: params, Clock: w.pace.clock, UUID: ids.next}
	own := *f
	own.Concurrency = 1 // what is worked on at once must not depend on the machine
	w.flow = &own
	if spec, ok := t.suite.set.Find(resource.KindFlow, f.Name); ok && spec.Spec.(*resource.Flow).To == nil {
		w.reply = &plan.Endpoint{Name: f.Name + "/reply", Pos: f.Pos, Label: "reply"}
		if !called(f) {
			own.Nodes = withReply(f.Nodes, w.reply)
		}
	}
	if called(f) && w.reply == nil { // its callers are answered
		w.reply = &plan.Endpoint{Name: f.Name + "/reply", Pos: f.Pos, Label: "reply"}
	}
	if t.suite.plan.Durable {
		w.store = memory.New()
	}
	for _, ep := range own.Sources {
		fd := newFeed(w.comesAgain(ep))
		fd.cumulative = ep.Driver != nil && ep.Driver.Spec.Settle == penstock.Cumulative
		if w.fault != nil {
			fd.met = w.met(ep)
		}
		if ep.Server != nil {
			newAsker(w, ep, fd)
		}
		w.feeds[ep] = fd
		w.pace.feeds = append(w.pace.feeds, fd)
	}
	w.walk(own.Nodes, nil, false)
	w.mocks = newMocks(w)
	return w
}

// called says that a flow is called, and does not read.
func called(f *plan.Flow) bool {
	return slices.ContainsFunc(f.Sources, func(ep *plan.Endpoint) bool { return ep.Server != nil })
}

// met is what a source asks of each message that it gives.
func (w *world) met(ep *plan.Endpoint) func(bool) bool {
	n := 0
	return func(again bool) bool {
		n++
		can := []mishap{crashAfter}
		if again {
			can = append(can, duplicate)
		}
		switch w.fault.meet(fmt.Sprintf("reading message %d of %s", n, ep.Name), can...) {
		case crashAfter:
			w.fall()
		case duplicate:
			return true
		}
		return false
	}
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

// comesAgain says what of a source comes again after a crash.
func (w *world) comesAgain(ep *plan.Endpoint) again {
	replay := penstock.ReplayPosition // a durable channel
	if c := w.channel(ep.Channel); ep.Entity != "" {
		replay = penstock.ReplayPosition
	} else if ep.Driver != nil {
		replay = ep.Driver.Spec.Replay
	} else if c == nil || !c.Durable {
		replay = penstock.ReplayNone
	}
	switch {
	case ep.Server != nil:
		return againUnsettled
	case replay == penstock.ReplayNone:
		return againNone
	case replay == penstock.ReplayAgain:
		return againUnsettled
	case w.flow.Transaction.Has(ep), w.store == nil && ep.Driver != nil && ep.Driver.Spec.Keeps:
		return againKept
	case w.store == nil:
		return againAll
	}
	return againPosition
}

// channel finds a channel of the plan, or nil.
func (w *world) channel(name string) *plan.Channel {
	for _, c := range w.test.suite.plan.Channels {
		if c.Name == name && name != "" {
			return c
		}
	}
	return nil
}

// stored says that what is sent to an endpoint goes to the store, with the transaction that settles its message. A dead letter's endpoint is
// nil where the flow names none.
func (w *world) stored(ep *plan.Endpoint) bool {
	if w.store == nil {
		return false
	}
	if ep == nil {
		return true
	}
	c := w.channel(ep.Channel)
	return c != nil && c.Durable
}

// replace gives the engine what stands for an endpoint.
func (w *world) replace(f *plan.Flow, role run.Role, ep *plan.Endpoint) (any, bool) {
	switch {
	case role == run.RoleServer:
		return w.feeds[ep].asker, true
	case role == run.RoleSource:
		return w.feeds[ep].source(), true
	case (role == run.RoleDeadLetter || role == run.RoleSink) && w.stored(ep):
		return nil, false // looked at in the store
	case role == run.RoleDeadLetter, ep == f.OnError.DeadLetter && role == run.RoleSink:
		return w.recorder(ep, true), true
	case role == run.RoleSink:
		return w.recorder(ep, false), true
	case (ep.Command != nil || ep.Query != nil || ep.Ask != nil) && !w.mocks.of(ep):
		return nil, false // entities and views are in the test's store
	case ep.Driver != nil && ep.Driver.Spec.Local && !w.mocks.of(ep):
		return nil, false // answers from files: it really runs
	default:
		return &mockCaller{w: w, life: w.life, ep: ep, at: w.places[ep]}, true
	}
}

// start opens the flow and begins to run it.
func (w *world) start() error {
	w.life = &life{}
	w.life.ctx, w.life.end = context.WithCancel(w.ctx)
	p := &plan.Plan{Flows: []*plan.Flow{w.flow}, Params: w.runtime.Params}
	o := run.Options{
		Clock: w.pace.clock, UUID: w.runtime.UUID, Random: func() float64 { return 0 }, // no jitter: a retry comes when its backoff says
		OnIdle: w.pace.notify, Replace: w.replace,
		Drain: time.Millisecond, // a test that is given up leaves messages that wait for a clock which stands still
	}
	if w.store != nil {
		p.Durable, p.Store = true, w.test.suite.plan.Store
		for _, c := range w.test.suite.plan.Channels {
			if c.Durable {
				p.Channels = append(p.Channels, c)
			}
		}
		var st store.Store = w.store
		if w.fault != nil {
			st = &faulty{Store: w.store, w: w}
		}
		o.Store = func() (store.Store, error) { return st, nil }
		o.Jobs = enqueued{}
		all := w.entities(st)
		o.Entities = engine.New(all)
		if err := w.follow(all, &o); err != nil {
			return err
		}
		w.watch(w.store)
	}
	r, err := run.New(p, o)
	if err != nil {
		return err
	}
	w.pace.runner = r
	w.pace.start(w.life.ctx)
	return nil
}

// crash ends the flow as if its process had been killed: whatever it still does no longer counts, and the next start finds what was
// durable.
func (w *world) crash() error {
	w.life.over.Store(true)
	if w.store != nil {
		w.store = w.store.Reopen()
	}
	w.life.end()
	select {
	case <-w.pace.done:
	case <-w.ctx.Done():
		return fmt.Errorf("the test was stopped: %w", context.Cause(w.ctx))
	}
	w.answers()
	w.life.unfollow()
	w.pace.crashed()
	return nil
}

// answers waits until no request is under way. The run must have ended.
func (w *world) answers() {
	for _, fd := range w.feeds {
		if fd.asker != nil {
			fd.asker.flight.Wait()
		}
	}
}

// end waits for the end of a run whose context has ended.
func (w *world) end() {
	if w.pace.running {
		<-w.pace.done
	}
	w.answers()
	if w.life != nil {
		w.life.end()
		w.life.unfollow()
	}
}

// close forgets what the test kept.
func (w *world) close() {
	if w.store != nil {
		_ = w.store.Close() // in memory
	}
}

// samePath compares paths as they are written: ./out/a and out/a are the same.
func samePath(a, b string) bool { return filepath.Clean(a) == filepath.Clean(b) }
