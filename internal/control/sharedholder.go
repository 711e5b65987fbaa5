package control

import (
	"context"
	"errors"
	"strings"

	"penstock.dev/penstock/internal/store/lease"
)

// Gained implements lease.Holder.
func (s *shared) Gained(l lease.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &duty{s: s, db: s.db, l: l, before: s.tails[l.Part], started: make(chan struct{}), ended: make(chan struct{})}
	d.lost, d.lose = context.WithCancel(context.Background())
	s.tails[l.Part], s.duties[l.Part] = d.ended, d
	var units []*unit
	if s.opts.Once { // all flows, once all parts are here
		if len(s.duties) < s.parts {
			if l.Part == 0 {
				s.log.Info("waiting for what other replicas drive: a run that ends by itself needs all of the store")
			}
			d.idle()
			return
		}
		d.idle()
		d = s.together()
		s.work.Go(func() { d.start(s.units) })
		return
	}
	for _, u := range s.units {
		if u.part == l.Part {
			units = append(units, u)
			s.log.Info("this replica drives flows from now on", "flows", strings.Join(u.flows, ", "), "part", l.Part, "epoch", l.Epoch)
		}
	}
	s.work.Go(func() { d.start(units) })
}

// together is the duty of all parts as one, in the place of that of part 0. mu must be held.
func (s *shared) together() *duty {
	d := &duty{s: s, db: s.db, l: s.duties[0].l, before: s.tails[-1], started: make(chan struct{}), ended: make(chan struct{})}
	d.lost, d.lose = context.WithCancel(context.Background())
	s.duties[0], s.tails[-1] = d, d.ended
	return d
}

// take forgets what is done for a part.
func (s *shared) take(l lease.Lease) *duty {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.duties[l.Part]
	if d == nil || d.l != l {
		return nil
	}
	delete(s.duties, l.Part)
	return d
}

// Lost implements lease.Holder.
func (s *shared) Lost(l lease.Lease) {
	d := s.take(l)
	if d == nil {
		return
	}
	s.work.Go(func() {
		d.kill(l.Lost())
		d.end()
	})
	if s.opts.Once && l.Part != 0 { // then not all are here any more
		s.mu.Lock()
		all := s.duties[0]
		s.mu.Unlock()
		if all != nil {
			s.work.Go(func() { all.fail(nil, l.Lost()) })
		}
	}
	select { // a store that does not answer may be lost
	case s.broken <- struct{}{}:
	default:
	}
}

// Yield implements lease.Holder.
func (s *shared) Yield(l lease.Lease, done func()) {
	s.mu.Lock()
	d := s.duties[l.Part]
	s.mu.Unlock()
	if d == nil || d.l != l {
		go done()
		return
	}
	s.work.Go(func() {
		d.yield()
		s.take(l)
		done()
	})
}

// failed gives a part back that can't be driven here. Where no other replica is there to do better, the process ends.
func (s *shared) failed(d *duty, u *unit, err error) {
	if s.take(d.l) == nil {
		return // it was lost, which is why
	}
	what := "what is driven part by part"
	if u != nil {
		what = strings.Join(u.flows, ", ")
	}
	s.keeper.Return(d.l)
	if errors.Is(err, lease.ErrLost) {
		s.log.Warn("the lease of flows was lost", "flows", what, "part", d.l.Part)
		return
	}
	if s.lostBy(d.db, err) {
		s.lose()
		return
	}
	others := 0
	for _, r := range s.keeper.Table().Replicas {
		if r.ID != s.self.ID && !r.Stopping {
			others++
		}
	}
	if others == 0 {
		s.give(err)
		return
	}
	s.log.Error("flows can't run here; they are left to another replica", "flows", what, "part", d.l.Part, "error", err)
}
