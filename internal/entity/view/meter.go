package view

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/internal/store"
)

// meter counts what this process has done for a view. It is safe for concurrent use.
type meter struct {
	folded  atomic.Int64 // events, also those of rows that are built beside
	halted  atomic.Int64 // times that it stopped at an event
	delayed atomic.Int64 // times that events could not be read, or rows not be written, and it tries again
}

// meters are those of all views that there were, so that they go on where a view gets another definition.
type meters struct {
	mu  sync.Mutex
	all map[string]*meter
}

func (m *meters) of(view string) *meter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[string]*meter{}
	}
	x := m.all[view]
	if x == nil {
		x = &meter{}
		m.all[view] = x
	}
	return x
}

// Measured is a State, and what this process has done for the view since it began to keep it.
type Measured struct {
	State
	Folded int64 // events, also those of rows that are built beside
	Stops  int64 // times that it stopped at an event
	Delays int64 // times that events could not be read, or rows not be written, and it tried again
}

// Measure is how all views stand, in the order of the plan.
func (e *Engine) Measure(ctx context.Context) ([]Measured, error) {
	states, err := e.States(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Measured, len(states))
	for i, s := range states {
		m := e.meters.of(s.View)
		out[i] = Measured{State: s, Folded: m.folded.Load(), Stops: m.halted.Load(), Delays: m.delayed.Load()}
	}
	return out, nil
}

// Phase is what a view does, in a word.
type Phase string

// The phases of a view.
const (
	Running    Phase = "running"    // it follows its source
	Rebuilding Phase = "rebuilding" // … and its rows are built anew beside those that are read (which may have stopped: Built), or do not change with their events yet though they are to
	Waiting    Phase = "waiting"    // its events can't be read for now, or its rows not be written; it tries again
	Halted     Phase = "stopped"    // it has stopped at an event
)

// Phases are all of them.
func Phases() []Phase { return []Phase{Running, Rebuilding, Waiting, Halted} }

// phase is what the view does; of several the worst.
func (s *State) phase() Phase {
	b := s.Building
	switch {
	case s.Stopped != nil:
		return Halted
	case s.Error != "" || b != nil && b.Error != "":
		return Waiting
	case b != nil && (!b.Hold || b.Compared == nil || b.Stopped != nil), s.Lagging:
		return Rebuilding
	}
	return Running
}

// age is for how long the oldest event between a vector of positions and another one has been there, in seconds; 0 where there is none.
func age(v store.View, logs []string, from, to []int64, now time.Time) (seconds float64, err error) {
	for p, name := range logs {
		if p < len(from) && from[p] >= to[p] {
			continue
		}
		at := int64(0)
		if p < len(from) {
			at = from[p]
		}
		segs, err := v.Log().Segments(name, at, 1)
		if err != nil {
			return 0, err
		}
		if len(segs) > 0 {
			seconds = max(seconds, now.Sub(time.Unix(0, segs[0].MinTime)).Seconds())
		}
	}
	return seconds, nil
}
