package run

import (
	"context"
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
)

// refuse lets the old flows go on, and takes back everything that was begun.
func (s *swap) refuse() {
	ctx := context.WithoutCancel(s.r.ctx)
	s.yieldBack()
	for _, k := range s.shut {
		if err := k.reopen(ctx); err != nil {
			s.r.abort(err)
		}
	}
	for _, f := range s.fresh {
		f.discard(ctx)
	}
	for _, f := range s.still {
		for _, p := range f.pumps {
			if sub, ok := p.source.(*subscription); ok {
				sub.mend()
			}
		}
		f.halt(false, nil)
	}
}

// yieldBack gives routes back to the servers that had them. Requests that wait meanwhile go to those, too.
func (s *swap) yieldBack() {
	if len(s.began) == 0 {
		return
	}
	var others []string
	for _, sv := range s.began {
		if sv.station.mounts != nil {
			others = append(others, sv.station.mounts.owners()...)
		}
	}
	for _, f := range s.old {
		for _, p := range f.pumps {
			if p.server != nil && p.server.station.mounts != nil {
				if err := p.server.station.mounts.restore(others); err != nil {
					s.r.abort(err)
				}
			}
		}
	}
	for _, sv := range s.began {
		if old := s.r.running(sv.f.plan.Name); old != nil {
			for _, p := range old.pumps {
				if p.server != nil && p.ep.Name == sv.p.ep.Name {
					sv.station.to.Store(p.server)
				}
			}
		}
		sv.station.halt(false)
		sv.station.stop()
		<-sv.station.over
	}
}

// running finds a flow by its name.
func (r *Runner) running(name string) *flow {
	for _, f := range r.list() {
		if f.plan.Name == name {
			return f
		}
	}
	return nil
}

// reopen has the driver build a sink once more that was closed for another.
func (k *sink) reopen(ctx context.Context) error {
	f, in := k.inst.owner.Load(), k.inst
	env := f.env(in.ep.Name, in)
	env.Resumes = true
	v, err := in.ep.Driver.Build(in.ep.Config, env)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.s = v.(penstock.Sink)
	k.flush, _ = v.(penstock.Flusher)
	in.v = v
	return k.s.Open(ctx)
}

// discard lets go of a flow that is not to run.
func (f *flow) discard(ctx context.Context) {
	f.close(ctx) //nolint:errcheck // nothing was written
	f.releaseFeeds()
	for _, p := range f.pumps {
		if p.channel != nil {
			_ = p.channel.Close(ctx) // it has no error
		}
	}
}

// commit is the point of no return: the old flows leave, the new ones begin.
func (s *swap) commit() {
	r := s.r
	for _, f := range s.old {
		s.noteGroups(f)
		for _, p := range f.pumps {
			if p.server != nil {
				p.server.kept.Store(s.inherited(p.inst))
			}
		}
	}
	for _, f := range s.still {
		f.leave()
	}
	for _, f := range s.still {
		r.idle()
		<-f.done
		r.busy()
	}
	r.lives.mu.Lock()
	if r.ctx.Err() != nil { // aborted meanwhile: nothing begins any more
		r.lives.mu.Unlock()
		s.refuse()
		return
	}
	s.become()
	for _, f := range s.fresh {
		for _, old := range s.still { // others read on until they have ended
			if old.plan.Name == f.plan.Name {
				f.readsOn(old)
			}
		}
		if f.before != nil {
			f.takeOver(f.before)
		}
		f.attach()
	}
	for _, f := range s.old {
		r.lives.former = append(r.lives.former, f)
		for _, p := range f.pumps {
			if sub, ok := p.source.(*subscription); ok && p.flow == f {
				sub.goes()
			}
		}
	}
	r.lives.flows = s.flows
	r.net.Store(s.net)
	s.net.circles(s.flows)
	s.net.reopen(s.fresh)
	for _, f := range s.fresh {
		f.stats.become(f.statNodes)
		f.pause(f.paused.Load())
		r.start(f)
		for _, p := range f.pumps {
			if p.server != nil {
				p.server.station.to.Store(p.server)
				p.server.station.halt(false)
			}
		}
	}
	s.done.Paused = time.Since(s.halt)
	for _, f := range s.old {
		if !slices.Contains(s.still, f) {
			f.leave()
		}
		s.release(f)
	}
	r.lives.mu.Unlock()
	for _, f := range s.flows {
		f.unblock() // the new configuration may know the event
	}
}

// become gives the channels that go on their new plans. Who uses one that is another now is not running.
func (s *swap) become() {
	declared := map[string]bool{}
	for _, c := range s.plan.Channels {
		declared[c.Name] = true
		if h := s.net.channels[c.Name]; h != nil && (c.Hash == "" || h.plan.Hash != c.Hash) {
			h.plan = c
		}
		if d := s.net.durables[c.Name]; d != nil && (d.plan == nil || c.Hash == "" || d.plan.Hash != c.Hash) {
			d.become(c)
			d.configure()
		}
	}
	for name, d := range s.net.durables {
		if !declared[name] && d.plan != nil {
			d.become(nil)
			d.configure()
		}
	}
}

// release closes what an old flow has that no other goes on with, once it has ended. lives.mu must be held.
func (s *swap) release(f *flow) {
	r := s.r
	r.lives.running++
	r.busy()
	go func() {
		defer r.ended()
		r.idle()
		<-f.done
		r.busy()
		for _, k := range s.shut {
			if k.inst.owner.CompareAndSwap(f, nil) {
				r.unshare(k.inst) //nolint:errcheck // claims on names; whatever else there is, others share
			}
		}
		if err := f.close(context.WithoutCancel(r.ctx)); err != nil && r.ctx.Err() == nil {
			r.opts.Logger.Error("what a flow had before the reload was not closed well", "flow", f.plan.Name, "error", err)
		}
		r.lives.mu.Lock()
		r.lives.former = slices.DeleteFunc(slices.Clone(r.lives.former), func(o *flow) bool { return o == f })
		r.lives.mu.Unlock()
	}()
}

// noteGroups says which open groups are completed, since no step takes them over.
func (s *swap) noteGroups(f *flow) {
	heir := s.heir(f)
	for _, g := range f.groups {
		g.kept = heir != nil && heir.before == f && g.heir(heir) != nil
		if n := g.count.Load(); n > 0 && !g.kept {
			s.note(f, fmt.Sprintf("%d open groups of step %s were completed: no step goes on with them", n, g.n.Name))
		}
	}
}

// readsOn has the sources of channels of the store go on with the places in their groups that those of the flow before had, which has ended: what was
// read there and not handed on comes next, in its order.
func (f *flow) readsOn(old *flow) {
	if mutation.On("reload-gives-back") {
		return
	}
	for _, p := range f.pumps {
		for _, q := range old.pumps {
			if p.channel != nil && q.channel != nil && p.channel.d == q.channel.d && p.channel.consumer == q.channel.consumer {
				p.channel.follow(q.channel)
			}
		}
	}
}

// follow takes over the place of another source in their group. Neither may be reading.
func (s *channelSource) follow(old *channelSource) {
	if old.reader == nil || s.reader == nil {
		return
	}
	s.reader.Leave()
	s.reader, s.held = old.reader, old.held
	old.reader, old.held = nil, nil
}

// takeOver takes over what goes on of the flow before, which has ended.
func (f *flow) takeOver(old *flow) {
	f.seq = old.seq
	if f.gate != nil {
		f.gate.next = f.seq
	}
	if f.water != nil {
		f.water.next = f.seq
		if old.water != nil {
			f.water.high = old.water.high
		}
	}
	for i, p := range f.pumps {
		if q := p.heir; q != nil {
			if f.tx != nil {
				f.tx.goesOn(p, q)
			}
			old.pumps = slices.DeleteFunc(old.pumps, func(o *pump) bool { return o == q })
			q.flow, q.ep, q.inst = f, p.ep, p.inst
			q.hold.change(func() { q.hold.leaving, q.hold.halted = false, false })
			f.pumps[i] = q
			if sub, ok := q.source.(*subscription); ok {
				sub.mend()
				if sub.ended() && sub.ch.producers.Load() > 0 {
					sub.reopen()
					q.ended = false
				}
			}
		}
	}
	for _, in := range f.instances {
		in.owner.CompareAndSwap(old, f)
	}
	for _, g := range old.groups {
		if heir := g.heir(f); g.kept && heir != nil {
			heir.takeOver(g)
		}
	}
	if f.parked != nil && old.parked != nil {
		f.parked = old.parked
	}
	f.traceable()
	f.before = nil
}

// reopen takes back the end of channels of the store: of those that have senders again, and of the flows' own.
func (w *wiring) reopen(fresh []*flow) {
	for _, d := range w.durables {
		if d.ended.Load() && d.producers.Load() > 0 {
			d.ended.Store(false)
			d.sources.each((*channelSource).reopen)
		}
	}
	for _, f := range fresh {
		for _, p := range f.pumps {
			if p.stage != nil || p == f.redriven {
				p.channel.reopen()
			}
		}
	}
}

func (s *channelSource) reopen() {
	if g := s.group.Load(); g != nil {
		g.Reopen()
	}
}
