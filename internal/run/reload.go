package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// ErrRestart is in the chain of what Apply returns where the new plan can't be applied to a run, but to the next one.
var ErrRestart = errors.New("the run has to be started anew for it")

// Applied is what Apply has done.
type Applied struct {
	*plan.Difference
	// Again are flows that are the same in both plans, had ended, and have begun again, since what feeds them has.
	Again []string `json:"again"`
	// Notes say what else is to be known.
	Notes []Note `json:"notes"`
	// Took is how long it took; Paused how long flows that are not the same did not read.
	Took   time.Duration `json:"tookNanoseconds"`
	Paused time.Duration `json:"pausedNanoseconds"`
}

// Note is something to know of a flow after a reload.
type Note struct {
	Flow string `json:"flow"`
	Text string `json:"text"`
}

// Apply has a run that goes on do what another plan says. Flows that are the same go on and don't notice. What is new is built and opened
// before anything that runs is touched. Then flows that are not the same read no further, finish what is in flight, and others go on in
// their place: with the same sources, sinks and callers where those are the same, and with their open groups. A source that is
// another one begins when the old one has drained. Where anything of that fails, or what is in flight doesn't finish within Options.Drain,
// the plan is refused as a whole: the old flows go on as if nothing had been, and the error says why. An error in whose chain
// ErrRestart is says that only another run can do it. One plan at a time is applied.
func (r *Runner) Apply(ctx context.Context, p *plan.Plan) (*Applied, error) {
	r.applyM.Lock()
	defer r.applyM.Unlock()
	began := time.Now()
	s := &swap{r: r, plan: p, done: &Applied{Difference: plan.Diff(r.current(), p), Again: []string{}, Notes: []Note{}}}
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer r.ended()
	err := s.prepare(ctx)
	if err == nil {
		err = s.take(ctx)
	}
	if err != nil {
		s.refuse()
		return nil, err
	}
	s.commit()
	s.done.Took = time.Since(began)
	return s.done, r.failure()
}

// swap is one reload.
type swap struct {
	r    *Runner
	plan *plan.Plan
	net  *wiring
	done *Applied

	flows []*flow   // all of the new plan, in its order
	fresh []*flow   // those of them that are new, or take the place of others
	old   []*flow   // those that are to go
	still []*flow   // of old: those that must have nothing in flight before; the others finish meanwhile
	late  []*sink   // of fresh: those that can be opened only when the old ones are closed
	shut  []*sink   // of old: those that were closed for that
	began []*server // of fresh: those whose drivers serve already
	halt  time.Time
}

// enter waits until the run has started, and makes sure that it goes on meanwhile.
func (s *swap) enter(ctx context.Context) error {
	r := s.r
	select {
	case <-r.lives.begun:
	case <-r.ctx.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.lives.mu.Lock()
	defer r.lives.mu.Unlock()
	if r.lives.reading == nil || r.lives.reading.Err() != nil || r.lives.closed || r.ctx.Err() != nil {
		return &penstock.Error{Code: penstock.Unavailable, Op: "reload", Err: errors.New("the run ends")}
	}
	r.lives.running++
	r.busy()
	return nil
}

// prepare builds and opens what is new, as far as that touches nothing that runs.
func (s *swap) prepare(ctx context.Context) error {
	r := s.r
	if s.plan.Durable != r.current().Durable {
		return restart("the flows of this configuration keep state, and those that run don't: " + durableWhy(s.plan.Durable))
	}
	if a, b := r.current().Store, s.plan.Store; a != nil && b != nil && !a.Same(b) {
		return restart("the store is another one")
	}
	s.net = newWiring(s.plan, r.wiring())
	if err := s.build(); err != nil {
		return &penstock.Error{Code: penstock.Config, Op: "reload", Err: err}
	}
	if err := s.hub(); err != nil {
		return err
	}
	if err := r.ensureTopology(ctx, s.plan, r.current()); err != nil {
		return err
	}
	for _, f := range s.fresh {
		if err := s.openEnds(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

func durableWhy(now bool) string {
	if now {
		return "something in it needs the store"
	}
	return "nothing in it needs the store any more"
}

func restart(why string) error {
	return &penstock.Error{Code: penstock.Config, Op: "reload", Err: fmt.Errorf("%s: %w", why, ErrRestart), Hint: "stop the run and start it again"}
}

// build makes the flows that are not the same, and those that begin again because of them.
func (s *swap) build() error {
	r := s.r
	runtime := r.runtimeOf(s.plan)
	running := map[string]*flow{}
	for _, f := range r.list() {
		running[f.plan.Name] = f
	}
	same := map[string]bool{}
	for _, name := range s.done.Unchanged {
		same[name] = true
	}
	var errs []error
	follow := func(i int, pf *plan.Flow) {
		old := running[pf.Name]
		if old != nil {
			s.old = append(s.old, old)
		}
		f, err := s.follow(old, pf, runtime)
		errs = append(errs, err)
		s.fresh, s.flows[i] = append(s.fresh, f), f
	}
	s.flows = slices.Grow(s.flows, len(s.plan.Flows))[:len(s.plan.Flows)]
	for i, pf := range s.plan.Flows {
		if same[pf.Name] {
			s.flows[i] = running[pf.Name]
			s.net.keep(s.flows[i])
		} else {
			follow(i, pf)
		}
	}
	for _, name := range s.done.Removed {
		s.old = append(s.old, running[name])
	}
	for more := true; more; {
		more = false
		for i, pf := range s.plan.Flows {
			if f := s.flows[i]; f == running[pf.Name] && f.revives() {
				follow(i, pf)
				s.done.Again = append(s.done.Again, pf.Name)
				s.done.Unchanged = slices.DeleteFunc(s.done.Unchanged, func(name string) bool { return name == pf.Name })
				more = true
			}
		}
	}
	for _, f := range s.old {
		if f.shares() {
			s.still = append(s.still, f)
		}
	}
	return errors.Join(errs...)
}

// revives says that a channel that the flow reads had come to its end, and has senders again.
func (f *flow) revives() bool {
	for _, p := range f.pumps {
		switch src := p.source.(type) {
		case *subscription:
			if src.ended() && src.ch.producers.Load() > 0 {
				return true
			}
		case *channelSource:
			if p.stage == nil && p != f.redriven && src.d.ended.Load() && src.d.producers.Load() > 0 {
				return true
			}
		}
	}
	return false
}

// follow makes the flow that takes the place of old; nil: of none.
func (s *swap) follow(old *flow, pf *plan.Flow, rt *penstock.Runtime) (*flow, error) {
	f, err := newFlowAfter(s.r, pf, rt, s.net, old)
	if old != nil {
		f.paused.Store(old.paused.Load())
		for _, p := range f.pumps {
			s.noteSource(f, old, p)
		}
	}
	return f, err
}

// noteSource says what becomes of a source that is not the one of before.
func (s *swap) noteSource(f, old *flow, p *pump) {
	if p.inst == nil || p.inst.owner.Load() != f || p.stage != nil || p == f.redriven || p.server != nil || p.channel != nil || p.ep.Driver == nil {
		return
	}
	if _, there := old.instances[instanceKey(RoleSource, p.ep.Name)]; !there {
		return
	}
	switch over := f.before == nil; {
	case !over && !p.keeps && p.ep.Driver.Spec.Replay != penstock.ReplayPosition: // it gives what is there
	case p.keeps && over:
		s.note(f, "it had ended, and "+p.ep.Label+" goes on where it stopped")
	case p.keeps:
		s.note(f, p.ep.Label+" goes on where it stopped")
	case over:
		s.note(f, "it had ended, and begins anew")
	default:
		s.note(f, p.ep.Label+" is read from its beginning: this run keeps no positions")
	}
}

func (s *swap) note(f *flow, text string) {
	s.done.Notes = append(s.done.Notes, Note{f.plan.Name, text})
}

// hub opens the channels of the store that were not open yet.
func (s *swap) hub() error {
	if !s.plan.Durable {
		return nil
	}
	var errs []error
	for _, d := range s.net.durables {
		if d.c != nil || d.out.jobs != nil || d.plan != nil && d.plan.Jobs != nil {
			continue
		}
		c, err := s.r.hub.Open(d.config())
		d.c = c
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// openEnds opens what a flow writes to and asks. What only the instance that it replaces stands in the way of, waits for that.
func (s *swap) openEnds(ctx context.Context, f *flow) error {
	for _, k := range f.sinks {
		err := k.inst.ready(ctx, k.s.Open)
		if penstock.CodeOf(err) == penstock.Conflict && k.inst.owner.Load() == f {
			s.late = append(s.late, k)
			continue
		}
		if err != nil {
			return err
		}
	}
	for _, c := range f.callers {
		if err := c.inst.ready(ctx, c.c.Open); err != nil {
			return err
		}
	}
	return nil
}

// take brings the old flows to a rest, and the new ones to where they could begin.
func (s *swap) take(ctx context.Context) error {
	r := s.r
	s.halt = time.Now()
	if err := s.quiesce(ctx); err != nil {
		return err
	}
	if err := s.openLate(ctx); err != nil {
		return err
	}
	if s.plan.Durable {
		if err := r.checkSteps(ctx, r.store, s.flows, s.plan.Known); err != nil {
			return err
		}
	}
	for _, f := range s.fresh {
		if s.plan.Durable {
			if err := f.restore(ctx, r.store); err != nil {
				return err
			}
		}
		if err := f.openSources(ctx); err != nil {
			return err
		}
	}
	return s.serve(ctx)
}

// openLate closes the old sinks that stand in the way of new ones, and opens those.
func (s *swap) openLate(ctx context.Context) error {
	if len(s.late) == 0 {
		return nil
	}
	for _, f := range s.old {
		if err := f.flushSinks(ctx); err != nil {
			return err
		}
		for _, k := range f.sinks {
			if k.inst.owner.Load() != f || k.inst.v == nil || s.inherited(k.inst) {
				continue
			}
			s.shut = append(s.shut, k)
			if err := k.s.Close(ctx); err != nil {
				return err
			}
		}
	}
	for _, k := range s.late {
		if err := k.inst.ready(ctx, k.s.Open); err != nil {
			return err
		}
	}
	return nil
}

// inherited says that a new flow goes on with an instance.
func (s *swap) inherited(in *instance) bool {
	for _, f := range s.fresh {
		for _, own := range f.instances {
			if own == in {
				return true
			}
		}
	}
	return false
}

// serve has the servers of the new flows take the place of old ones; requests wait from there until the flow begins.
func (s *swap) serve(ctx context.Context) error {
	var yields []string
	for _, f := range s.old {
		for _, p := range f.pumps {
			if p.server != nil && p.server.station.mounts != nil && !s.inherited(p.inst) {
				yields = append(yields, p.server.station.mounts.owners()...)
			}
		}
	}
	bounded, cancel := context.WithTimeout(ctx, s.r.opts.Drain)
	defer cancel()
	for _, f := range s.fresh {
		for _, p := range f.pumps {
			if p.server == nil || p.inst.owner.Load() != f || s.r.opts.Once || s.r.opts.Part == Back {
				continue
			}
			st := p.server.station
			st.halt(true)
			if st.mounts != nil {
				st.mounts.yields = yields
			}
			s.began = append(s.began, p.server)
			st.begin(s.r.lives.reading)
			if err := st.prepare(bounded); err != nil {
				return &penstock.Error{Code: penstock.CodeOf(err), Op: "serve " + p.ep.Name, Path: p.ep.Pos.String(), Err: err}
			}
		}
	}
	return nil
}
