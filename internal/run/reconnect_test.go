package run

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// hasty is a clock that does not wait.
type hasty struct{ penstock.SystemClock }

func (c hasty) NewTimer(time.Duration) (<-chan time.Time, func()) { return c.SystemClock.NewTimer(0) }

// shakyLine is a source with two streams that loses its connection now and then, and reads again from what was settled.
type shakyLine struct {
	mu     sync.Mutex
	docs   []string
	next   [2]int
	settle [2]int
	reads  int
	back   bool // a position was settled that is in front of one that was settled before
}

func (s *shakyLine) Resume(_ context.Context, from []penstock.Position) error {
	for _, p := range from {
		s.settle[p.Stream[0]-'0'] = int(p.Next)
	}
	return nil
}

func (s *shakyLine) Open(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = s.settle
	return nil
}

func (s *shakyLine) Close(context.Context) error { return nil }

func (s *shakyLine) Settle(_ context.Context, out []penstock.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range out {
		at := &s.settle[o.Pos.Stream[0]-'0']
		s.back = s.back || int(o.Pos.Next) < *at
		*at = int(o.Pos.Next)
	}
	return nil
}

func (s *shakyLine) Read(_ context.Context, into *penstock.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reads++; s.reads%7 == 0 {
		return penstock.ErrDisconnected
	}
	for range 10 {
		which := s.reads % 2
		if s.next[which] == len(s.docs)/2 {
			which = 1 - which
		}
		at := s.next[which]
		if at == len(s.docs)/2 {
			break
		}
		s.next[which]++
		m := into.Append()
		m.Body.Reset(jsonview.JSON, into.Arena().Copy([]byte(s.docs[which*len(s.docs)/2+at])))
		m.Pos = penstock.Position{Stream: string(rune('0' + which)), Offset: int64(at), Next: int64(at) + 1}
	}
	if len(into.Msgs) == 0 {
		return io.EOF
	}
	return nil
}

// TestWhatASourceReadsAgainAfterADisconnectIsDropped has a source whose positions the store keeps read again what is still on its way.
func TestWhatASourceReadsAgainAfterADisconnectIsDropped(t *testing.T) {
	const n = 1000
	in := docs(n, `{"n":%d}`)
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			p := newPlant(t, &plan.Flow{Name: "a", Order: order, Key: field("n"), Sources: fromLines("a"), Nodes: next(
				plan.Node{Name: "call", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true, Into: step.Target{Root: step.Discard}}},
				toChannel("c"))})
			p.clock = hasty{}
			src := &shakyLine{docs: in}
			p.source = func() penstock.Source { return src }
			var mu sync.Mutex
			tries := map[string]int{}
			p.callers["ask"] = answer(func(body string) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				if tries[body]++; tries[body] < 3 && number(body)%5 == 0 {
					return "", penstock.E(penstock.Unavailable, "ask", "", "not now")
				}
				return "{}", nil
			})
			sum := p.run(t.Context())
			got := p.holds("c")
			slices.SortFunc(got, func(a, b string) int { return number(a) - number(b) })
			if !slices.Equal(got, in) {
				t.Errorf("%d messages of %d, again %d: %s", len(got), n, sum.Flows[0].Again, firstDifference(got, in))
			}
			if src.settle != [2]int{n / 2, n / 2} || src.back {
				t.Errorf("settled %v, went back: %v", src.settle, src.back)
			}
		})
	}
}
