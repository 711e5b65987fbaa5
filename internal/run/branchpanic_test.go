package run

import (
	"context"
	"errors"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/step"
)

// TestAPanicInABranchDoesNotEndTheProcess has a step panic in a goroutine of its own: the message fails, as where a caller panics.
func TestAPanicInABranchDoesNotEndTheProcess(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			boom := parsed(func(_ *penstock.Batch, m *penstock.Message) error {
				if n, _ := m.Body.Int(m.Body.Field(0, "n", nil)); n == 3 {
					panic("boom")
				}
				return nil
			})
			branch := func() []plan.Node {
				return next(plan.Node{Op: &plan.Apply{Step: boom}}, send("out"))
			}
			b := &bench{
				flow: &plan.Flow{Name: "f", Order: order, Key: field("n"), Nodes: next(plan.Node{Name: "both", Verb: "parallel", Op: &plan.Fork{
					Branches: []plan.Sub{{Name: "x", Nodes: branch()}, {Name: "y", Nodes: branch()}}, As: -1, Index: -1, Into: step.Target{Root: step.Body}}})},
				source: &lines{docs: docs(10, `{"n":%d}`), batch: 4},
				sinks:  map[string]*noted{"out": {}},
			}
			_, err := b.try(t, context.Background())
			var fault *Fault
			if err != nil && !errors.As(err, &fault) {
				t.Fatal(err)
			}
			if len(b.dead.got) != 1 {
				t.Errorf("dead: %v", b.dead.got)
			}
		})
	}
}
