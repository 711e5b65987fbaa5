package run

import (
	"context"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// TestDeadLetterTakesItsReasonAlong sends dead letters to a connector with headers and to one
// without: there, the reason stands beside the body.
func TestDeadLetterTakesItsReasonAlong(t *testing.T) {
	for _, headers := range []bool{true, false} {
		out := &noted{}
		reg := penstock.NewRegistry()
		penstock.RegisterSink(reg, penstock.Spec{Name: "keep", Headers: headers}, func(struct{}, penstock.Env) (penstock.Sink, error) { return out, nil })
		penstock.RegisterSource(reg, penstock.Spec{Name: "give", Settle: penstock.Each}, func(struct{}, penstock.Env) (penstock.Source, error) {
			return &lines{docs: []string{`{"n":1}`}}, nil
		})
		keep, _ := reg.Lookup(penstock.KindOfSink, "keep")
		give, _ := reg.Lookup(penstock.KindOfSource, "give")
		f := &plan.Flow{Name: "f", Sources: []*plan.Endpoint{{Name: "in", Driver: give, Config: give.NewConfig()}},
			Nodes: next(plan.Node{Name: "bad", Op: &plan.Apply{Step: steps(func(*penstock.Batch, *penstock.Message) error {
				return penstock.E(penstock.Invalid, "bad", "body.n", "one is bad")
			})}}),
			OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: 1}, DeadLetter: &plan.Endpoint{Name: "f/dead", Driver: keep, Config: keep.NewConfig()}}}
		r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if len(out.got) != 1 {
			t.Fatalf("headers %v: %v", headers, out.got)
		}
		got, whole := out.got[0], strings.HasPrefix(out.got[0], `{"body":{"n":1},"meta":{"dead":{"code":"invalid"`)
		if headers && got != `{"n":1}` || !headers && !whole || !strings.Contains(out.metas[0], "one is bad") {
			t.Errorf("headers %v: %s, meta %s", headers, got, out.metas[0])
		}
	}
}
