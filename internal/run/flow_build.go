package run

import (
	"context"
	"fmt"
	"runtime"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/stage"
	"penstock.dev/penstock/internal/store/channel"
)

func newFlow(r *Runner, p *plan.Flow, rt *penstock.Runtime, net *wiring) (*flow, error) {
	return newFlowAfter(r, p, rt, net, nil)
}

// newFlowAfter makes a flow that takes the place of old (nil: of none), with what of it is the same.
func newFlowAfter(r *Runner, p *plan.Flow, rt *penstock.Runtime, net *wiring, old *flow) (*flow, error) {
	f := &flow{r: r, plan: p, runtime: rt, net: net, instances: map[string]*instance{}, parting: parting{gone: make(chan struct{})}, stats: &FlowStats{Name: p.Name, Duration: observe.NewHistogram(r.opts.Bounds...)}, log: r.opts.Logger.With("flow", p.Name), abort: make(chan struct{}), done: make(chan struct{}), tapSlots: newSlots(r, 4), forks: newSlots(r, defaultWindow), numbers: newSlots(r, 1)}
	f.ctx, f.cancel = context.WithCancel(r.ctx)
	if old != nil {
		f.stats, f.later = old.stats, true
		select {
		case <-old.done: // it has nothing more to hand on
		default:
			f.before = old
		}
	}
	f.durable, f.keyed = r.current().Durable && p.Transaction == nil, p.Order == plan.PerKey
	if p.Transaction != nil {
		f.tx = newTransactions(f)
	}
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
	if commands, queries := f.prog.entitySteps(); f.plan.Order != plan.None {
		f.rounds = commands > 0 && commands+queries > 1
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
	for _, s := range f.sinks {
		f.knows = f.knows || s.ep.Driver != nil && s.ep.Driver.Spec.Rewrite == penstock.RewriteKnown
	}
	if f.tx != nil {
		return f, f.tx.prepare()
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
		case *plan.Call:
			if p.nodes[i].commands() {
				return i
			}
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
			if _, ok := s.nodes[i].Op.(*plan.Send); ok || s.nodes[i].commands() || sends(&s.nodes[i]) {
				return true
			}
		}
	}
	return false
}

func (f *flow) buildDead() error {
	if ep := f.plan.OnError.DeadLetter; ep != nil {
		// Where the sink has no place for meta, the reason would be lost.
		f.envelope = ep.Driver != nil && !ep.Driver.Spec.Headers && f.r.opts.Replace == nil
		s, err := f.openSink(ep, ep.Timeout)
		f.dead = s
		if s != nil {
			s.guard = nil // a dead letter that can't be written stops the run: nothing of ours may be the reason
		}
		return err
	}
	ep := &plan.Endpoint{Name: f.plan.Name + "/dead", Pos: f.plan.Pos}
	f.dead = &sink{ep: ep, sent: f.stats.sent(ep.Name)}
	f.sinks = append(f.sinks, f.dead)
	key := instanceKey(RoleDeadLetter, ep.Name)
	if f.before != nil && f.before.instances[key] != nil {
		in := f.before.instances[key]
		f.instances[key], f.dead.delivery, f.dead.outlet, f.deadFile = in, in.delivery, f.before.dead.outlet, f.before.deadFile
	} else {
		in := &instance{role: RoleDeadLetter, ep: ep}
		in.owner.Store(f)
		f.instances[key], f.dead.delivery = in, newDelivery(in, f.deadPlace())
	}
	if f.dead.outlet != nil {
		d := f.net.internal(deadChannel(f.plan.Name), f.r.wiring())
		d.producers.Add(1)
		f.feedsDurable = append(f.feedsDurable, d)
	}
	return nil
}

// deadPlace is where dead letters go that the flow says nothing of.
func (f *flow) deadPlace() penstock.Sink {
	if f.r.opts.Replace != nil {
		if v, ok := f.r.opts.Replace(f.plan, RoleDeadLetter, nil); ok {
			return v.(penstock.Sink)
		}
	}
	name := deadChannel(f.plan.Name)
	switch {
	case f.r.opts.DeadLetters != "" || f.r.opts.Store == nil:
		f.deadFile = &deadFile{path: f.r.deadPath(f.plan.Name)}
		return f.deadFile
	case f.durable:
		f.dead.outlet = f.net.internal(name, f.r.wiring()).out
		return f.dead.outlet
	}
	return &deadStore{r: f.r, name: name}
}

func (f *flow) buildSource(ep *plan.Endpoint) error {
	if ep.Server != nil {
		return f.buildServer(ep)
	}
	if f.r.opts.Part == Back {
		return nil
	}
	in, err := f.instance(RoleSource, ep)
	if err != nil {
		return err
	}
	if in.v == nil && ep.Entity != "" {
		return f.buildEntity(ep)
	}
	if d := f.net.durables[ep.Channel]; in.v == nil && d != nil {
		src := f.r.newChannelSource(d, f, ep.Name)
		p := newPump(f, in, src)
		p.channel = src
		f.pumps = append(f.pumps, p)
		return nil
	}
	v, heir := in.v, in.pump
	if v == nil {
		if v, heir, err = f.subscribe(ep); err != nil {
			return err
		}
	}
	s, ok := v.(penstock.Source)
	if !ok {
		return fmt.Errorf("%s: %s is not a source", ep.Pos, ep.Name)
	}
	p := newPump(f, in, s)
	if p.heir = heir; heir == nil {
		in.pump = p
	}
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

// subscribe makes the flow a reader of a channel in memory, or goes on where the flow before it is.
func (f *flow) subscribe(ep *plan.Endpoint) (*subscription, *pump, error) {
	ch := f.net.channels[ep.Channel]
	if ch == nil {
		return nil, nil, penstock.E(penstock.Config, ep.Name, ep.Pos.String(), "there is no channel "+ep.Channel)
	}
	if f.before != nil {
		for _, p := range f.before.pumps {
			if s, ok := p.source.(*subscription); ok && s.ch == ch && p.ep.Name == ep.Name {
				return s, p, nil
			}
		}
	}
	s := ch.subscribe(f.r)
	f.subs = append(f.subs, s)
	return s, nil, nil
}

// inner is the instance of an endpoint that is the engine's own.
func (f *flow) inner(ep *plan.Endpoint) *instance {
	in := &instance{role: RoleSource, ep: ep}
	in.owner.Store(f)
	return in
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
	if f.dead.outlet != nil && f.r.opts.Part != Front {
		name := inChannel(f.plan.Name)
		src := f.r.newChannelSource(f.net.internal(name, f.r.wiring()), f, name)
		src.redrive = true
		f.redriven = newPump(f, f.inner(&plan.Endpoint{Name: name, Channel: name, Pos: f.plan.Pos, Label: "redriven"}), src)
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
