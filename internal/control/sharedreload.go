package control

import (
	"context"
	"errors"
	"time"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
)

// apply has this process do what another plan says, as [run.Runner.Apply] does. Units are changed one after the other; where one of them can't be,
// those that were go back to the plan of before.
func (s *shared) apply(ctx context.Context, pl *plan.Plan) (*run.Applied, error) {
	s.applying.Lock()
	defer s.applying.Unlock()
	began := time.Now()
	s.mu.Lock()
	before := s.plan
	s.mu.Unlock()
	out := &run.Applied{Difference: plan.Diff(before, pl), Again: []string{}, Notes: []run.Note{}}
	if err := s.become(ctx, pl, out); err != nil {
		undone := &run.Applied{Difference: plan.Diff(pl, before)}
		return nil, errors.Join(err, s.become(context.WithoutCancel(ctx), before, undone))
	}
	out.Took = time.Since(began)
	return out, nil
}

func (s *shared) become(ctx context.Context, pl *plan.Plan, out *run.Applied) error {
	s.mu.Lock()
	old := s.units
	s.plan, s.units = pl, unitsOf(pl, s.parts, s.opts.Once)
	units := s.units
	var duties []*duty
	for _, d := range s.duties {
		duties = append(duties, d)
	}
	fronts := s.fronts
	s.fronts = nil
	s.mu.Unlock()
	next := map[string]*unit{}
	for _, u := range units {
		next[u.key] = u
	}
	var errs []error
	has := map[string]bool{}
	for _, t := range fronts {
		u := next[t.u.key]
		if u == nil || !u.everywhere {
			t.stop()
			<-t.done
			continue
		}
		s.mu.Lock()
		s.fronts = append(s.fronts, t)
		s.mu.Unlock()
		has[u.key] = true
		errs = append(errs, t.become(ctx, u, out))
	}
	for _, d := range duties {
		<-d.started
		var own []*unit
		for _, u := range units {
			if u.part == d.l.Part {
				own = append(own, u)
			}
		}
		errs = append(errs, d.replace(ctx, own, out))
	}
	for _, u := range old {
		if next[u.key] == nil {
			s.forget(u)
		}
	}
	for _, u := range units {
		switch {
		case u.everywhere && !has[u.key]:
			errs = append(errs, s.front(u))
		case !u.everywhere && !s.drives(u):
			s.away(u)
		}
	}
	return errors.Join(errs...)
}

// drives says that this process runs a unit.
func (s *shared) drives(u *unit) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.duties[u.part] != nil
}
