package flowtest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/fstest"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/flowtest"
)

type topicConfig struct {
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	Topic      string                 `json:"topic" penstock:"required"`
}

// TestMishapsOfTransactions crashes flows that read and write a broker with transactions, at each boundary.
func TestMishapsOfTransactions(t *testing.T) {
	never := errors.New("no test may build it")
	r := edition.Standard()
	penstock.RegisterConnection[struct{}](r, penstock.Spec{Name: "ledger"})
	penstock.RegisterSource(r, penstock.Spec{Name: "ledger", Settle: penstock.Cumulative, Replay: penstock.ReplayPosition, Keeps: true, Transacts: true},
		func(topicConfig, penstock.Env) (penstock.Source, error) { return nil, never })
	penstock.RegisterSink(r, penstock.Spec{Name: "ledger", Headers: true, Transacts: true},
		func(topicConfig, penstock.Env) (penstock.Sink, error) { return nil, never })
	const connection = "---\n" + head + "kind: Connection\nmetadata: { name: c }\nspec: { ledger: {} }\n"
	const dead = "  onError: { deadLetter: { ledger: { connection: c, topic: dead } } }\n"
	for name, c := range map[string]struct {
		flow, delivery string
		twice          []string
	}{
		"in transactions": {"  from: { ledger: { connection: c, topic: in } }\n  delivery: effectively-once\n  steps:\n    - map: { id: \"${body.id}\", at: \"${now}\" }\n    - to: { ledger: { connection: c, topic: other } }\n" +
			"  to: { ledger: { connection: c, topic: out } }\n" + dead, "effectively-once", nil},
		"without": {"  from: { ledger: { connection: c, topic: in } }\n  to: { ledger: { connection: c, topic: out } }\n" + dead, "at-least-once", []string{"ledger c"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := flowtest.Run(context.Background(), flowtest.Options{Paths: []string{"f.yaml"}, Registry: r, Crash: true,
				FS: fstest.MapFS{"f.yaml": {Data: []byte(flowOf(c.flow) + connection + twoMessages)}}})
			if err != nil {
				t.Fatal(err)
			}
			if !got.Cases[0].Passed {
				t.Fatalf("%+v", got.Cases[0].Failures)
			}
			if cr := got.Cases[0].Crashes; cr.Delivery != c.delivery || !slices.Equal(cr.Twice, c.twice) || len(cr.Lost) > 0 || cr.Runs < 6 {
				t.Errorf("%+v", cr)
			}
		})
	}
}
