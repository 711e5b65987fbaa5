package run

import (
	"slices"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/step"
)

// TestARedrivenGroupIsWhatItWas has groups die behind their step, in flows with a key of their own, and be given in again.
func TestARedrivenGroupIsWhatItWas(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey, plan.None} {
		for name, into := range map[string]step.Target{"body": {Root: step.Body}, "vars": {Root: step.Vars, Slot: 0}} {
			t.Run(string(order)+" into "+name, func(t *testing.T) {
				sick := true
				var bodies []string
				check := steps(func(_ *penstock.Batch, m *penstock.Message) error {
					if sick {
						return penstock.E(penstock.Invalid, "check", "", "sick")
					}
					group := m.Body
					if into.Root == step.Vars {
						group, _ = m.Vars[0].Node()
					}
					bodies = append(bodies, m.Key+string(m.Body.AppendJSON(nil, 0))+string(group.AppendJSON(nil, 0)))
					return nil
				})
				flow := &plan.Flow{Name: "a", Order: order, Key: field("k"), Concurrency: 1, Sources: fromLines("a"), Slots: 1, Vars: []string{"group"}, Nodes: next(
					plan.Node{Name: "pairs", Verb: "aggregate", Op: &plan.Group{By: field("k"), Size: 2, Into: into}},
					plan.Node{Name: "check", Verb: "map", Op: &plan.Apply{Step: check}}, toChannel("c"))}
				p := newPlant(t, flow)
				p.source = func() penstock.Source {
					return &resumable{lines: lines{docs: []string{`{"k":"x","n":1}`, `{"k":"x","n":2}`}, batch: 3}}
				}
				p.run(t.Context())
				for range 2 { // once to die again
					if n := p.redrive("a"); n != 1 {
						t.Fatalf("%d dead letters", n)
					}
					p.run(t.Context())
					sick = false
				}
				want := `x[{"k":"x","n":1},{"k":"x","n":2}][{"k":"x","n":1},{"k":"x","n":2}]`
				if into.Root == step.Vars {
					want = `x{}[{"k":"x","n":1},{"k":"x","n":2}]`
				}
				if !slices.Equal(bodies, []string{want}) {
					t.Errorf("what went through is %v", bodies)
				}
				p.each("c", func(v record.View) {
					if v.Key() != "x" {
						t.Errorf("its key is %q", v.Key())
					}
				})
			})
		}
	}
}
