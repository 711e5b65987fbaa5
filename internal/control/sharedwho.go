package control

import (
	"fmt"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/run"
)

// first says that a unit was not begun with before by anybody who may run now: then it begins where the caller has said.
func (s *shared) first(u *unit, side run.Side) bool {
	s.mu.Lock()
	known, keeper := s.known[u.key], s.keeper
	s.mu.Unlock()
	// Not under s.mu: the keeper calls its holder, who takes that.
	return side == run.Whole && !known && len(keeper.Table().Replicas) <= 1
}

func (s *shared) begunWith(u *unit, side run.Side) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if side == run.Whole {
		s.known[u.key] = true
	}
}

func (s *shared) frontStints() []*stint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.fronts)
}

// stints are all runs of this process, fronts first.
func (s *shared) stints() []*stint {
	s.mu.Lock()
	out := slices.Clone(s.fronts)
	var duties []*duty
	for _, d := range s.duties {
		duties = append(duties, d)
	}
	s.mu.Unlock()
	for _, d := range duties {
		d.mu.Lock()
		out = append(out, d.stints...)
		d.mu.Unlock()
	}
	return slices.DeleteFunc(out, func(t *stint) bool {
		select {
		case <-t.done:
			return true
		default:
			return !t.begun.Load()
		}
	})
}

// of is who runs a flow here.
func (s *shared) of(op, flow string) ([]*run.Runner, error) {
	var out []*run.Runner
	for _, t := range s.stints() {
		if t.u.plan.Flow(flow) != nil {
			out = append(out, t.r)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.units {
		if slices.Contains(u.flows, flow) {
			return nil, &penstock.Error{Code: penstock.Unavailable, Op: op, Path: flow, Err: fmt.Errorf("the flow runs %s", s.where(u)), Hint: "ask that one: penstock ps lists all replicas"}
		}
	}
	return nil, &penstock.Error{Code: penstock.NotFound, Op: op, Path: flow, Err: fmt.Errorf("no flow of this run is called %s", flow)}
}

// where says who drives a unit. mu must be held.
func (s *shared) where(u *unit) string {
	if s.keeper != nil {
		t := s.keeper.Table()
		if u.part < len(t.Parts) && t.Parts[u.part].Owner != "" && !t.Parts[u.part].Free() {
			owner := t.Parts[u.part].Owner
			for _, r := range t.Replicas {
				if r.ID == owner && r.Address != "" {
					return "at replica " + owner + ", " + r.Address
				}
			}
			return "at replica " + owner
		}
	}
	return "nowhere at this moment: a replica is about to take it over"
}

// sample follows messages, also of what begins later.
func (s *shared) sample(o run.SampleOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples = append(s.samples, o)
}
