package run

import (
	"slices"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// TestWhatEndsEarlierIsHeldBehindWhoDiesLaterOn lets a message die at a step that the next one of its key does not come to: a filter has
// ended it, and it has written to a channel before that.
func TestWhatEndsEarlierIsHeldBehindWhoDiesLaterOn(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey} {
		t.Run(string(order), func(t *testing.T) {
			sick := true
			only := steps(func(_ *penstock.Batch, m *penstock.Message) error {
				if err := m.Body.Parse(jsonview.Limits{}); err != nil {
					return err
				}
				if n, _ := m.Body.Int(m.Body.Field(0, "n", nil)); n > 1 {
					return errDrop
				}
				return nil
			})
			p := newPlant(t,
				&plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(toChannel("in"))},
				&plan.Flow{Name: "b", Order: order, Key: field("k"), Sources: fromChannel("b", "in"), OnError: plan.ErrorPolicy{Park: true, Retry: plan.Retry{Attempts: 1}}, Nodes: next(
					toChannel("c"), plan.Node{Name: "only", Verb: "filter", Op: &plan.Apply{Step: only}},
					plan.Node{Name: "call", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true, Into: step.Target{Root: step.Discard}}})})
			p.source = func() penstock.Source {
				return &resumable{lines: lines{docs: []string{`{"k":"x","n":1}`, `{"k":"x","n":2}`, `{"k":"y","n":3}`, `{"k":"x","n":4}`}, batch: 3}}
			}
			p.callers["ask"] = answer(func(string) (string, error) {
				if sick {
					return "", penstock.E(penstock.Invalid, "ask", "", "sick")
				}
				return "{}", nil
			})
			p.run(t.Context())
			if got := p.holds("c"); !slices.Equal(got, []string{`{"k":"y","n":3}`}) {
				t.Errorf("c holds %v", got)
			}
			dead := []string{`{"k":"x","n":1}`, `{"k":"x","n":2}`, `{"k":"x","n":4}`}
			if got := p.holds("b.dead"); !slices.Equal(got, dead) {
				t.Errorf("dead: %v", got)
			}
			p.each("b.dead", func(v record.View) {
				for name, val := range v.Meta() {
					if text, _ := val.AppendJSON(nil); name == "dead" && !slices.Contains(entriesOf(text), entryFrom) {
						t.Errorf("a dead letter's way back: %s", text)
					}
				}
			})
			sick = false
			p.redrive("b")
			p.run(t.Context())
			if got := p.holds("c"); !slices.Equal(got, append([]string{`{"k":"y","n":3}`}, dead...)) {
				t.Errorf("c holds %v after a redrive", got)
			}
		})
	}
}

// entriesOf reads the entry of a meta.dead.
func entriesOf(text []byte) []string {
	d := &jsonview.Doc{}
	d.Reset(jsonview.JSON, text)
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return nil
	}
	return []string{textField(d, 0, "entry")}
}
