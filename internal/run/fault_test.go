package run

import (
	"context"
	"errors"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// TestAPanicEndsTheRun has a step panic in the middle: the run ends with a fault, and what was
// in flight is not settled.
func TestAPanicEndsTheRun(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			b := &bench{
				flow: &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 3, Nodes: next(plan.Node{Op: &plan.Apply{Step: parsed(func(_ *penstock.Batch, m *penstock.Message) error {
					if n, _ := m.Body.Int(m.Body.Field(0, "n", nil)); n == 500 {
						panic("boom")
					}
					return nil
				})}}, send("out"))},
				source: &lines{docs: docs(1000, `{"n":%d,"k":"a"}`), batch: 7},
				sinks:  map[string]*noted{"out": {}},
			}
			_, err := b.try(t, context.Background())
			var fault *Fault
			if !errors.As(err, &fault) || fault.Cause != "boom" || len(fault.Stack) == 0 {
				t.Fatalf("got %v", err)
			}
			for _, o := range b.source.settled {
				if o.Pos.Offset == 500 {
					t.Error("the message that broke the step was settled")
				}
			}
		})
	}
}

func TestAPanicOfACallerFailsItsMessage(t *testing.T) {
	b := &bench{
		flow:   &plan.Flow{Name: "f", Order: plan.None, Nodes: next(plan.Node{Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true}}, send("out"))},
		source: &lines{docs: docs(10, `{"n":%d}`), batch: 4},
		sinks:  map[string]*noted{"out": {}},
		callers: map[string]penstock.Caller{"ask": answer(func(body string) (string, error) {
			if number(body) == 3 {
				panic("boom")
			}
			return "1", nil
		})},
	}
	b.run(t)
	if len(b.sinks["out"].got) != 9 || len(b.dead.got) != 1 {
		t.Fatalf("%d sent, dead %v", len(b.sinks["out"].got), b.dead.got)
	}
}
