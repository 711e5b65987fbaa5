package control

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/entity/engine"
	"penstock.dev/penstock/internal/httpd"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// dying is a store whose process dies when a driver writes to a space of its own: after the flow has committed, and before the reply is
// recorded.
type dying struct {
	store.Store
	mu   sync.Mutex
	once bool // it has died
}

var errDied = errors.New("the process has died")

// Submit implements store.Store.
func (d *dying) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	return d.Store.Submit(c, func(tx store.Tx) error { return f(&dyingTx{tx, d}) })
}

type dyingTx struct {
	store.Tx
	d *dying
}

// Put implements store.Tx.
func (t *dyingTx) Put(space string, e store.Entry) error {
	t.d.mu.Lock()
	defer t.d.mu.Unlock()
	if strings.HasPrefix(space, "driver/") && !t.d.once {
		t.d.once = true
		return errDied
	}
	return t.Tx.Put(space, e)
}

// TestDeathBetweenTheFlowAndItsRecord holds what idempotency keys promise where the process dies at the worst moment: what a flow with a key
// that is demanded has sent to a durable channel is there once.
func TestDeathBetweenTheFlowAndItsRecord(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(`apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: intake }
spec:
  from: { http: { post: /intake, idempotency: { required: true } } }
  delivery: effectively-once
  to: { channel: lines }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: lines }
spec: {}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := (&Service{Registry: edition.Standard()}).Check(Project{Paths: []string{dir}}, false)
	if !c.OK {
		t.Fatal(c.Findings)
	}
	db := memory.New()
	d := &dying{Store: db}
	for _, want := range []string{"503", "202", "202"} { // each in a process of its own
		lifeOf(t, c, d, func(url string) {
			if got, said := askedWith(t, url+"/intake", "k", `{"a":1}`); got != want {
				t.Errorf("answered with %s, want %s: %s", got, want, said)
			}
		})
	}
	var there store.Bounds
	if err := db.View(t.Context(), func(v store.View) (err error) {
		there, err = v.Log().Bounds("lines")
		return err
	}); err != nil || there.Next != 1 {
		t.Errorf("%d messages are in the channel, %v; one request was made", there.Next, err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// lifeOf is a process, from its begin to its end, with what asks it in between.
func lifeOf(t *testing.T, c *Checked, d *dying, ask func(url string)) {
	t.Helper()
	l, err := httpd.New(httpd.Options{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	open := func() (store.Store, error) { return d, nil }
	r, err := run.New(c.plan, run.Options{Store: open, Listener: l, UUID: newUUID, Entities: engine.New(entity.New(c.plan.Entities, entity.Options{Store: open, UUID: newUUID}))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := r.Run(ctx)
		done <- err
	}()
	ask(l.URL())
	stop()
	if err := errors.Join(<-done, l.Close(context.Background())); err != nil {
		t.Error(err)
	}
}

// askedWith sends a request with an idempotency key ("": none), and returns the status and the body of the answer.
func askedWith(t *testing.T, url, key, body string) (status, said string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.Status[:3], string(b)
}

// TestACommandThatIsAskedForAgainIsDoneOnce lets the process die between the commands of a flow that replies and the record of its reply, and asks again: each
// command is done once for a key, those of a forEach, a loop and a split apart from each other; another request under the same key is another one, and so is
// one without a key.
func TestACommandThatIsAskedForAgainIsDoneOnce(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(`apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: counter }
spec: { jsonSchema: { type: object, required: [ sum ], properties: { sum: { type: integer } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Entity
metadata: { name: counter }
spec:
  state: { schema: counter, initial: { sum: 0 } }
  commands: { add: { emit: [ { event: Added } ] } }
  events: { Added: { apply: { sum: "${state.sum + 1}" } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: count }
spec:
  from: { http: { post: "/count/{id}", idempotency: {} } }
  steps:
    - command: { entity: counter, key: request.path.id, name: add, data: { at: first } }
      name: first
      into: vars.first
    - forEach:
        each: body.each
        as: one
        steps:
          - command: { entity: counter, key: request.path.id, name: add, data: { at: "${one}" } }
            name: ask
      into: vars.each
    - loop:
        until: body.turn == 2
        max: 3
        steps:
          - command: { entity: counter, key: request.path.id, name: add, data: { at: loop } }
            name: turned
            into: vars.turned
          - map: { turn: "${body.?turn.orValue(0) + 1}", sum: "${vars.turned.state.sum}" }
    - map: { first: "${vars.first.version}", each: "${vars.each.map(e, e.version)}", sum: "${body.sum}" }
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c := (&Service{Registry: edition.Standard()}).Check(Project{Paths: []string{dir}}, false)
	if !c.OK {
		t.Fatal(c.Findings)
	}
	d := &dying{Store: memory.New()}
	for _, a := range []struct {
		key, body    string
		dies         bool
		status, said string
	}{
		{"k", `{"each":[1,2]}`, true, "503", ""},
		{"k", `{"each":[1,2]}`, false, "200", `{"first":1,"each":[2,3],"sum":5}`}, // nothing was done anew
		{"k", `{"each":[1,2]}`, false, "200", `{"first":1,"each":[2,3],"sum":5}`}, // … nor now, when the reply is there
		{"k", `{"each":[3]}`, false, "422", ""},
		{"j", `{"each":[1]}`, true, "503", ""},
		{"j", `{"each":[2]}`, false, "200", `{"first":10,"each":[11],"sum":13}`}, // another one, though its key is j: 6 to 9 are the other's
		{"", `{"each":[1]}`, false, "200", `{"first":14,"each":[15],"sum":17}`},
		{"", `{"each":[1]}`, false, "200", `{"first":18,"each":[19],"sum":21}`},
	} {
		d.once = !a.dies
		lifeOf(t, c, d, func(url string) {
			if status, said := askedWith(t, url+"/count/a", a.key, a.body); status != a.status || a.said != "" && said != a.said {
				t.Errorf("%q with key %q is answered with %s %s, want %s %s", a.body, a.key, status, said, a.status, a.said)
			}
		})
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
