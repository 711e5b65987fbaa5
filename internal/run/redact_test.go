package run

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// hush knows one secret, which is also a number.
type hush struct{}

func (hush) Redact(text string) string { return strings.ReplaceAll(text, "4711", "[redacted]") }

func (h hush) RedactError(err error) error {
	if h.Redact(err.Error()) == err.Error() {
		return err
	}
	return &penstock.Error{Code: penstock.CodeOf(err), Err: errors.New(h.Redact(err.Error()))}
}

// TestSecretsAreHidden: what a step's error says of a secret is neither in a catch, nor in the dead letter, nor in the summary; nor is it seen by who
// looks at the messages.
func TestSecretsAreHidden(t *testing.T) {
	s := &seen{}
	leak := parsed(func(*penstock.Batch, *penstock.Message) error {
		return &penstock.Error{Code: penstock.Forbidden, Op: "dial", Err: fmt.Errorf("the password %d is wrong", 4711)}
	})
	b := &bench{
		flow: &plan.Flow{Name: "f", Order: plan.Total, Concurrency: 1, Nodes: next(
			plan.Node{Name: "leak", Op: &plan.Apply{Step: leak}}, send("out"))},
		source: &lines{docs: []string{`{"password":"4711"}`, `{"password":4711}`}, batch: 1}, sinks: map[string]*noted{"out": {}}, clock: newClock(), hides: hush{},
	}
	b.made = func(r *Runner) {
		if _, err := r.Look("f", "", 100, s.see); err != nil {
			t.Fatal(err)
		}
	}
	sum := b.run(t)
	text := fmt.Sprintf("%+v %+v", sum, s.all)
	for _, m := range b.dead.metas {
		text += m
	}
	if strings.Contains(text, "4711") || strings.Count(text, "[redacted]") < 4 {
		t.Errorf("seen: %s", text)
	}
}
