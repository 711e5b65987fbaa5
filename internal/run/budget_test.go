package run

import (
	"context"
	"io"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// flood is a source that notes how much is in flight whenever it is read.
type flood struct {
	total, batch int
	size         int // of a body
	read         int
	written      *atomic.Int64
	most         int64
	eleventh     chan struct{}
	reads        int
}

func (*flood) Open(context.Context) error                       { return nil }
func (*flood) Close(context.Context) error                      { return nil }
func (*flood) Settle(context.Context, []penstock.Outcome) error { return nil }
func (s *flood) Read(_ context.Context, into *penstock.Batch) error {
	if s.read >= s.total {
		return io.EOF
	}
	s.most = max(s.most, int64(s.read)-s.written.Load())
	for range s.batch {
		body := into.Arena().Alloc(s.size)
		for i := range body {
			body[i] = ' '
		}
		body[0] = '1'
		into.Append().Body.Reset(0, body)
		s.read++
	}
	if s.reads++; s.reads == 11 {
		close(s.eleventh)
	}
	return nil
}

// stalled is a caller that answers nothing until the source was read eleven times.
type stalled struct {
	until   chan struct{}
	written *atomic.Int64
}

func (*stalled) Open(context.Context) error  { return nil }
func (*stalled) Close(context.Context) error { return nil }
func (s *stalled) Call(context.Context, *penstock.Frame, *penstock.Message) error {
	<-s.until
	s.written.Add(1)
	return nil
}

// TestTheBudgetStopsTheReader has messages that leave their lanes, so that only the budget
// can stop the reader. (What stays on the lanes is bounded by their queues already.)
func TestTheBudgetStopsTheReader(t *testing.T) {
	cases := map[string]plan.Budget{
		"messages": {Messages: 100},
		"bytes":    {Bytes: 100 * (1000 + messageOverhead)},
	}
	for name, budget := range cases {
		t.Run(name, func(t *testing.T) {
			var written atomic.Int64
			src := &flood{total: 3000, batch: 10, size: 1000, written: &written, eleventh: make(chan struct{})}
			f := &plan.Flow{Name: "f", Order: plan.None, Budget: budget, Concurrency: 2, Sources: []*plan.Endpoint{sourceEndpoint()},
				Nodes: next(plan.Node{Op: &plan.Call{Endpoint: endpoint("ask"), Window: 1000}})}
			r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
				switch role {
				case RoleSource:
					return src, true
				case RoleCaller:
					return &stalled{until: src.eleventh, written: &written}, true
				}
				return &noted{}, true
			}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Run(context.Background()); err != nil {
				t.Fatal(err)
			}
			if written.Load() != 3000 {
				t.Errorf("%d answered", written.Load())
			}
			// Beside the budget there is the one batch that waits for room.
			if src.most > 110 {
				t.Errorf("%d messages were in flight with a budget of 100", src.most)
			}
		})
	}
}
