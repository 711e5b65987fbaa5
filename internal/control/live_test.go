package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
	"penstock.dev/penstock/internal/control/operate"
)

const people = `apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: person }
spec: { jsonSchema: { type: object, properties: { name: { type: string, x-class: pii }, age: { type: integer } }, required: [name, age] } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: people }
spec: { schema: person, key: body.name }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: adults }
spec:
  from: { channel: people }
  steps:
    - filter: body.age >= 18
  to: { drop: {} }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: timed }
spec:
  from: { generate: { body: { age: 1 }, rate: 1/h } }
  steps: [ { map: { twice: "${body.age * 2}" } } ]
  to: { drop: {} }
`

// running runs a configuration, and gives what can be asked of it.
func running(t *testing.T, text string) *operate.Operations {
	t.Helper()
	p, at := config(t, text), filepath.Join(t.TempDir(), "store.db")
	s := &control.Service{Registry: edition.Standard()}
	c := s.Check(p, false)
	if !c.OK {
		t.Fatal(c.Findings)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := s.Run(ctx, c, control.RunOptions{Store: at, Listen: true})
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for {
		ops, err := s.Operate(context.Background(), control.Place{Store: at, Project: p})
		if err != nil {
			t.Fatal(err)
		}
		if ops.Remote {
			t.Cleanup(func() { _ = ops.Close() })
			return ops
		}
		_ = ops.Close()
		select {
		case err := <-ended:
			t.Fatalf("the run has ended: %v", err)
		default:
		}
	}
}

var errEnough = errors.New("enough")

func TestTapAndSend(t *testing.T) {
	ops := running(t, people)
	seen := make(chan *operate.Glimpse, 16)
	tapped := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		first := true
		tapped <- ops.Live.Tap(context.Background(), operate.TapQuery{Flow: "adults", Rate: 100}, func(g *operate.Glimpse) error {
			if first {
				close(ready)
				first = false
			}
			seen <- g
			if string(g.Body) == `{"name":"[pii]","age":40}` && g.What == "done" {
				return errEnough
			}
			return nil
		})
	}()
	send := func(s operate.Sending) *operate.Sent {
		t.Helper()
		sent, err := ops.Live.Send(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		return sent
	}
	for looking := false; !looking; { // until the tap is there
		send(operate.Sending{Channel: "people", Body: json.RawMessage(`{"name":"Ann","age":7}`), Meta: map[string]json.RawMessage{"Who": json.RawMessage(`"Ann"`)}})
		select {
		case <-ready:
			looking = true
		default:
		}
	}
	if sent := send(operate.Sending{Flow: "adults", Body: json.RawMessage(`{"name":"Bob","age":40}`)}); sent.To != "people" {
		t.Errorf("%+v", sent)
	}
	if err := <-tapped; !errors.Is(err, errEnough) {
		t.Error(err)
	}
	close(seen)
	var filtered, done int
	for g := range seen {
		if strings.Contains(string(g.Body)+g.Key+string(g.Meta), "Ann") || strings.Contains(string(g.Body)+g.Key, "Bob") {
			t.Errorf("a name is shown: %+v %s %s", g, g.Body, g.Meta)
		}
		switch g.What {
		case "filtered":
			filtered++
		case "done":
			done++
		}
	}
	if filtered == 0 || done != 1 {
		t.Errorf("%d filtered, %d done", filtered, done)
	}
}

func TestSendIsRefused(t *testing.T) {
	ops := running(t, people)
	for name, c := range map[string]struct {
		s    operate.Sending
		code penstock.Code
	}{
		"no such flow":    {operate.Sending{Flow: "adlts", Body: json.RawMessage("1")}, penstock.NotFound},
		"no such channel": {operate.Sending{Channel: "x", Body: json.RawMessage("1")}, penstock.NotFound},
		"nowhere":         {operate.Sending{Body: json.RawMessage("1")}, penstock.Invalid},
		"both":            {operate.Sending{Flow: "adults", Channel: "people", Body: json.RawMessage("1")}, penstock.Invalid},
	} {
		if _, err := ops.Live.Send(context.Background(), c.s); penstock.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if sent, err := ops.Live.Send(context.Background(), operate.Sending{Flow: "timed", Body: json.RawMessage(`{"age":3}`)}); err != nil || sent.To != "timed#in" {
		t.Errorf("%+v, %v", sent, err)
	}
	for _, q := range []operate.TapQuery{{Flow: "x"}, {Flow: "adults", Step: "x"}} {
		if err := ops.Live.Tap(context.Background(), q, nil); penstock.CodeOf(err) != penstock.NotFound {
			t.Errorf("%+v: %v", q, err)
		}
	}
}
