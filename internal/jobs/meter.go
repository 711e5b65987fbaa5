package jobs

import (
	"context"
	"time"

	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/store"
)

// Meter counts how long jobs of a queue waited and took, as far as this process gave them away and heard of their end. It is safe for concurrent use.
type Meter struct {
	// Wait is from when a job could run, or its next try could, until a worker got it.
	Wait *observe.Histogram
	// Completed and Failed are from then on until the worker said so. Leases that run out are in neither: nobody said anything.
	Completed, Failed *observe.Histogram
}

func newMeter() *Meter {
	h := func() *observe.Histogram { return observe.NewHistogram(observe.DefaultBounds()...) }
	return &Meter{Wait: h(), Completed: h(), Failed: h()}
}

// count notes what a transaction that is durable has done.
func (m *Meter) count(w *Work) {
	for _, c := range w.Claims {
		for _, j := range c.Got {
			m.Wait.Observe(time.Duration(j.waited), 1)
		}
	}
	for _, f := range w.Finish {
		switch {
		case f.Err != nil || f.Extend || f.Release:
		case f.Failed:
			m.Failed.Observe(time.Duration(f.took), 1)
		default:
			m.Completed.Observe(time.Duration(f.took), 1)
		}
	}
}

// meter is that of a queue: it outlives desks and stores. mu must be held.
func (s *Service) meter(queue string) *Meter {
	m := s.meters[queue]
	if m == nil {
		m = newMeter()
		s.meters[queue] = m
	}
	return m
}

// Measured is what a queue shows, and how long its jobs took.
type Measured struct {
	QueueLook
	Meter *Meter
}

// Measure looks at all queues, by name, in a store that is open, from one view. It opens nothing, and makes no desks.
func (s *Service) Measure(ctx context.Context, st store.Store) ([]Measured, error) {
	names := s.Names()
	if len(names) == 0 {
		return nil, nil
	}
	out := make([]Measured, 0, len(names))
	now := s.o.Clock.Now().UnixNano()
	err := st.View(ctx, func(v store.View) error {
		out = out[:0]
		for _, name := range names {
			l, err := New(Config{Name: name}, st.Parts()).Look(v.State())
			if err != nil {
				return err
			}
			s.mu.Lock()
			m := s.meter(name)
			s.mu.Unlock()
			out = append(out, Measured{lookOf(name, l, now), m})
		}
		return nil
	})
	return out, err
}

// lookOf says how old the oldest is.
func lookOf(queue string, l Look, now int64) QueueLook {
	out := QueueLook{Queue: queue, Look: l}
	if l.Oldest != 0 {
		out.OldestSeconds = max(0, time.Duration(now-l.Oldest).Seconds())
	}
	return out
}
