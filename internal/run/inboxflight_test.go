package run

import (
	"context"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/step"
)

// acknowledging is a source that hears of each message.
type acknowledging struct {
	lines
	heard chan int64
}

func (s *acknowledging) Settle(_ context.Context, out []penstock.Outcome) error {
	for _, o := range out {
		s.heard <- o.Pos.Offset
	}
	return nil
}

// TestAnotherOfAnIdentityIsNotSettledBeforeTheFirst has a broker deliver a message again while the first delivery is worked on: would the
// second be acknowledged, the broker forgot the message, which nothing has made durable yet.
func TestAnotherOfAnIdentityIsNotSettledBeforeTheFirst(t *testing.T) {
	for _, order := range []plan.Order{plan.PerKey, plan.None} {
		t.Run(string(order), func(t *testing.T) {
			release := make(chan struct{})
			ep := []*plan.Endpoint{{Name: "a/from", Driver: sourceEndpoint().Driver, ID: field("n"), Remember: time.Hour}}
			p := newPlant(t, &plan.Flow{Name: "a", Order: order, Key: field("n"), Sources: ep, Nodes: next(
				plan.Node{Name: "call", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true, Into: step.Target{Root: step.Discard}}},
				toChannel("c"))})
			src := &acknowledging{lines: lines{docs: []string{`{"n":1}`, `{"n":1}`, `{"n":2}`, `{"n":3}`}, batch: 1}, heard: make(chan int64, 10)}
			p.source = func() penstock.Source { return src }
			p.callers["ask"] = answer(func(body string) (string, error) {
				if body == `{"n":1}` {
					<-release
				}
				return "{}", nil
			})
			var wg sync.WaitGroup
			wg.Go(func() { p.run(t.Context()) })
			early := map[int64]bool{}
			for !early[2] || !early[3] {
				early[<-src.heard] = true
			}
			if early[0] || early[1] {
				t.Errorf("settled while the message is worked on: %v", early)
			}
			close(release)
			wg.Wait()
			if got := p.holds("c"); len(got) != 3 {
				t.Errorf("the channel holds %v", got)
			}
			if len(early)+len(src.heard) != 4 {
				t.Errorf("%d were settled", len(early)+len(src.heard))
			}
		})
	}
}
