package entity_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/internal/store/sqlite"
	"penstock.dev/penstock/test/service"
)

const accounts = `apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: opened }
spec: { jsonSchema: { type: object, additionalProperties: false, required: [ owner ], properties: { owner: { type: string, x-class: pii }, city: { type: string } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: money }
spec: { jsonSchema: { type: object, additionalProperties: false, required: [ amount ], properties: { amount: { type: integer } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Entity
metadata: { name: account }
spec:
  state: { initial: { balance: 0 } }
  personal: { subject: "${key}" }
  commands:
    open:
      schema: opened
      require: [ { that: version == 0, message: "account ${key} is open" } ]
      emit: [ { event: Opened } ]
    deposit: { schema: money, emit: [ { event: Deposited } ] }
    withdraw:
      schema: money
      require: [ { that: body.amount <= state.balance, message: "not enough" } ]
      emit: [ { event: Withdrawn }, { event: Charged, when: body.amount > 100, data: { amount: 1 } } ]
    look: { emit: [ { event: Deposited, when: "false", data: { amount: 0 } } ] }
  events:
    Opened: { schema: opened, apply: { owner: "${body.owner}", city: "${body.?city}" } }
    Deposited: { schema: money, apply: { balance: "${state.balance + body.amount}" } }
    Withdrawn: { schema: money, apply: { balance: "${state.balance - body.amount}" } }
    Charged: { schema: money, apply: { balance: "${state.balance - body.amount}" } }
  snapshot: { every: 5 }
`

// compiled makes the plan of a configuration.
func compiled(t testing.TB, text string) *plan.Plan {
	t.Helper()
	reg := penstock.NewRegistry()
	set, found := resource.Load(resource.Options{FS: fstest.MapFS{"a.yaml": {Data: []byte(text)}}, Paths: []string{"."}, Registry: reg})
	p, more := compile.Compile(set, reg, compile.Options{})
	found.Merge(more)
	if found.HasErrors() {
		t.Fatal(found.Sorted())
	}
	return p
}

// world is entities on a store.
type world struct {
	t  testing.TB
	st store.Store
	r  *entity.Runtime
	x  *entity.Entity
}

func newWorld(t testing.TB, text string, st store.Store) *world {
	t.Helper()
	p := compiled(t, text)
	r := entity.New(p.Entities, entity.Options{Store: func() (store.Store, error) { return st, nil }, UUID: func() string { return "u" }})
	return &world{t, st, r, r.Entity("account")}
}

// again is the same store, as another process finds it.
func (w *world) again(text string) *world { return newWorld(w.t, text, w.st) }

type reply struct {
	Version int64
	Events  []struct {
		Type string
		Data json.RawMessage
	}
	State json.RawMessage
}

func (w *world) try(q entity.Request) (*reply, error) {
	out, err := w.x.Command(w.t.Context(), nil, q)
	if err != nil {
		return nil, err
	}
	r := &reply{}
	if err := json.Unmarshal(out, r); err != nil {
		w.t.Errorf("%s: %v", out, err)
	}
	return r, nil
}

func (w *world) do(command, key, data string) *reply {
	w.t.Helper()
	r, err := w.try(entity.Request{Command: command, Key: key, Data: []byte(data), Expect: entity.AnyVersion})
	if err != nil {
		w.t.Fatalf("%s %s: %v", command, data, err)
	}
	return r
}

func (w *world) state(key string, as entity.AsOf) string {
	w.t.Helper()
	s, v, err := w.x.State(w.t.Context(), key, as)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", v, s)
}

func (w *world) verified() *entity.Verified {
	w.t.Helper()
	v, err := entity.Verify(w.t.Context(), w.st, "account", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// stores runs a test on each kind of store: that of PostgreSQL, too, where it is installed.
func stores(t *testing.T, test func(t *testing.T, st store.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, memory.New()) })
	t.Run("parts", func(t *testing.T) { test(t, memory.NewParts(7)) })
	t.Run("sqlite", func(t *testing.T) {
		db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "store.db"), Reserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		test(t, db)
	})
	t.Run("postgres", func(t *testing.T) {
		db, err := postgres.Open(t.Context(), postgres.Options{Connection: service.Postgres(t), Parts: 4, Volatile: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		test(t, db)
	})
}

func TestCommandsMakeEventsAndStates(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store) {
		w := newWorld(t, accounts, st)
		if r := w.do("open", "a", `{"owner":"Ada"}`); r.Version != 1 || string(r.State) != `{"balance":0,"owner":"Ada"}` {
			t.Errorf("%+v", r)
		}
		w.do("deposit", "a", `{"amount":500}`)
		if r := w.do("withdraw", "a", `{"amount":120}`); r.Version != 4 || len(r.Events) != 2 || string(r.State) != `{"balance":379,"owner":"Ada"}` {
			t.Errorf("%+v %s", r, r.State)
		}
		if _, err := w.try(entity.Request{Command: "withdraw", Key: "a", Data: []byte(`{"amount":9000}`), Expect: -1}); penstock.CodeOf(err) != penstock.Conflict || !strings.Contains(err.Error(), "not enough") {
			t.Error(err)
		}
		if _, err := w.try(entity.Request{Command: "deposit", Key: "a", Data: []byte(`{"amount":"x"}`), Expect: -1}); penstock.CodeOf(err) != penstock.Unprocessable || strings.Count(err.Error(), "body.amount") != 1 {
			t.Error(err)
		}
		if r := w.do("look", "a", `{}`); r.Version != 4 || len(r.Events) != 0 || string(r.State) != `{"balance":379,"owner":"Ada"}` {
			t.Errorf("%+v", r)
		}
		for i := range 20 {
			w.do("deposit", "b", fmt.Sprintf(`{"amount":%d}`, i))
		}
		for _, o := range []*world{w, w.again(accounts)} {
			for as, want := range map[entity.AsOf]string{
				{}: `20 {"balance":190}`, {Version: 3}: `3 {"balance":3}`, {Version: 17}: `17 {"balance":136}`, {Start: true}: `0 {"balance":0}`,
			} {
				if got := o.state("b", as); got != want {
					t.Errorf("as of %+v: %s, want %s", as, got, want)
				}
			}
			if got := o.state("a", entity.AsOf{}); got != `4 {"balance":379,"owner":"Ada"}` {
				t.Error(got)
			}
			if got := o.state("nobody", entity.AsOf{}); got != `0 {"balance":0}` {
				t.Error(got)
			}
		}
		if v := w.verified(); len(v.Broken) > 0 || v.Events != 24 {
			t.Errorf("%+v", v)
		}
	})
}

// TestAnExpectedVersionIsTested has two who saw the same version: one of them is told.
func TestAnExpectedVersionIsTested(t *testing.T) {
	w := newWorld(t, accounts, memory.New())
	w.do("deposit", "a", `{"amount":1}`)
	for expect, want := range map[int64]bool{0: false, 2: false, 1: true} {
		_, err := w.try(entity.Request{Command: "look", Key: "a", Data: []byte(`{}`), Expect: expect})
		if (err == nil) != want || err != nil && penstock.CodeOf(err) != penstock.Conflict {
			t.Errorf("expecting %d: %v", expect, err)
		}
	}
}

// TestTheSameCommandIsDoneOnce does a command again that is known by something: in the same process, in another one, when it would now be refused.
func TestTheSameCommandIsDoneOnce(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store) {
		w := newWorld(t, accounts, st)
		w.do("deposit", "a", `{"amount":100}`)
		q := entity.Request{Command: "withdraw", Key: "a", Data: []byte(`{"amount":70}`), Cause: "m1", Expect: -1}
		first, err := w.try(q)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 7 { // snapshots lie between
			w.do("deposit", "a", `{"amount":0}`)
			_ = i
		}
		for _, o := range []*world{w, w.again(accounts)} {
			again, err := o.try(q)
			if err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
				t.Errorf("%v, %v; at first %v", again, err, first)
			}
		}
		if got := w.state("a", entity.AsOf{}); got != `9 {"balance":30}` {
			t.Error(got)
		}
		more := entity.Request{Command: "deposit", Key: "a", Data: []byte(`{"amount":1}`), Cause: "m2", Expect: -1} // which would be done once more
		for _, o := range []*world{w, w.again(accounts), w} {
			if r, err := o.try(more); err != nil || r.Version != 10 || string(r.State) != `{"balance":31}` {
				t.Errorf("%+v, %v", r, err)
			}
		}
		if got := w.state("a", entity.AsOf{}); got != `10 {"balance":31}` {
			t.Error(got)
		}
		q.Key = "b"
		if _, err := w.try(q); penstock.CodeOf(err) != penstock.Conflict {
			t.Errorf("to another key: %v", err)
		}
	})
}

// TestCommandsOfOneKeyFollowOneAnother has many ask one entity at once: each sees what those before it did.
func TestCommandsOfOneKeyFollowOneAnother(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store) {
		a := newWorld(t, accounts, st)
		b := a.again(accounts) // another process's memory
		a.do("deposit", "a", `{"amount":100}`)
		var wg sync.WaitGroup
		var mu sync.Mutex
		done, refused := 0, 0
		for i := range 40 {
			wg.Go(func() {
				w := a
				if i%2 == 1 {
					w = b
				}
				_, err := w.try(entity.Request{Command: "withdraw", Key: "a", Data: []byte(`{"amount":5}`), Cause: fmt.Sprint(i), Expect: -1})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					done++
				case penstock.CodeOf(err) == penstock.Conflict && strings.Contains(err.Error(), "not enough"):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := a.state("a", entity.AsOf{}); done != 20 || refused != 20 || got != `21 {"balance":0}` {
			t.Errorf("%d done, %d refused, %s", done, refused, got)
		}
		if v := a.verified(); len(v.Broken) > 0 || v.Events != 21 {
			t.Errorf("%+v", v)
		}
	})
}

const upcasting = `
    Deposited: { schema: money, version: 3, upcast: [ { from: 1, map: { sum: "${body.amount}" } }, { from: 2, map: { amount: "${body.sum * 100}" } } ], apply: { balance: "${state.balance + body.amount}" } }
`

// changed is the configuration with another line for an event.
func changed(t testing.TB, event, line string) string {
	t.Helper()
	var out []string
	found := false
	for _, l := range strings.Split(accounts, "\n") {
		if strings.HasPrefix(l, "    "+event+":") {
			l, found = strings.Trim(line, "\n"), true
		}
		out = append(out, l)
	}
	if !found {
		t.Fatal("no event " + event)
	}
	return strings.Join(out, "\n")
}

// TestOldEventsUnderNewCode reads events of an older schema, of a type that is gone, and such that can't be brought up.
func TestOldEventsUnderNewCode(t *testing.T) {
	old := newWorld(t, accounts, memory.New())
	for range 6 { // a snapshot of the old code is there, too
		old.do("deposit", "a", `{"amount":2}`)
	}
	now := old.again(changed(t, "Deposited", upcasting))
	if got := now.state("a", entity.AsOf{}); got != `6 {"balance":1200}` {
		t.Errorf("with two steps: %s", got)
	}
	if r := now.do("deposit", "a", `{"amount":7}`); string(r.State) != `{"balance":1207}` {
		t.Errorf("%s", r.State)
	}
	var unreadable *entity.UnreadableError
	// The old code does not know what the new one wrote; nothing is skipped.
	if _, err := old.again(accounts).try(entity.Request{Command: "deposit", Key: "a", Data: []byte(`{"amount":1}`), Expect: -1}); !errors.As(err, &unreadable) || !strings.Contains(err.Error(), "version 3 of its schema, and the configuration knows 1") {
		t.Errorf("%v", err)
	}
	fails := old.again(changed(t, "Deposited", strings.Replace(upcasting, "${body.amount}", "${body.sums}", 1)))
	if _, err := fails.try(entity.Request{Command: "deposit", Key: "a", Data: []byte(`{"amount":1}`), Expect: -1}); !errors.As(err, &unreadable) || !strings.Contains(err.Error(), "`upcast` from version 1 fails") {
		t.Errorf("%v", err)
	}
	if all := events(t, old.again(changed(t, "Deposited", upcasting))); len(all) != 7 || string(all[0].Data) != `{"amount":200}` {
		t.Errorf("%d events; the first is %s", len(all), all[0].Data)
	}
	renamed := strings.ReplaceAll(accounts, "Deposited", "Paid")
	gone := old.again(renamed)
	if _, err := gone.try(entity.Request{Command: "deposit", Key: "a", Data: []byte(`{"amount":1}`), Expect: -1}); !errors.As(err, &unreadable) || !strings.Contains(err.Error(), "no event of this type") {
		t.Errorf("%v", err)
	}
	if gone.do("deposit", "b", `{"amount":1}`).Version != 1 {
		t.Error("another entity is not affected")
	}
	rd := gone.x.Reader()
	if _, next, err := rd.Read(t.Context(), 0, 0); !errors.As(err, &unreadable) || next != 0 {
		t.Errorf("a reader goes on to %d: %v", next, err)
	}
}

// events reads all events.
func events(t testing.TB, w *world) (out []entity.Event) {
	t.Helper()
	r := w.x.Reader()
	parts, err := r.Parts()
	if err != nil {
		t.Fatal(err)
	}
	for p := range parts {
		for next := int64(0); ; {
			page, to, err := r.Read(t.Context(), p, next)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			out, next = append(out, page...), to
		}
	}
	return out
}

// TestASubjectIsErased forgets a person: nothing that is kept, or held in memory, knows the name any more, and the chain holds.
func TestASubjectIsErased(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store) {
		w := newWorld(t, accounts, st)
		other := w.again(accounts)
		for _, key := range []string{"a", "b"} {
			w.do("open", key, `{"owner":"Ada Lovelace","city":"London"}`)
			for range 6 {
				w.do("deposit", key, `{"amount":5}`)
			}
		}
		const before, after = `7 {"balance":30,"owner":"Ada Lovelace","city":"London"}`, `7 {"balance":30,"city":"London"}`
		for _, o := range []*world{w, other} {
			if got := o.state("a", entity.AsOf{}); got != before {
				t.Fatal(got)
			}
		}
		if holds(t, st, "London") == 0 || rawEvents(t, st, "Ada Lovelace") != 0 {
			t.Error("what is personal stands in clear, or what is not doesn't")
		}
		audited := 0
		got, err := entity.Erase(t.Context(), st, "account", "a", "ada", penstock.SystemClock{}, func(store.Tx) error { audited++; return nil })
		if err != nil || got.Already || fmt.Sprint(got.Keys) != "[a]" || audited == 0 {
			t.Fatalf("%+v, %v", got, err)
		}
		for _, o := range []*world{w, other, w.again(accounts)} {
			if got := o.state("a", entity.AsOf{}); got != after {
				t.Errorf("%s", got)
			}
			if got := o.state("b", entity.AsOf{}); got != before {
				t.Errorf("the other one: %s", got)
			}
			if r := o.do("look", "a", "{}"); r.Version != 7 || string(r.State) != after[2:] {
				t.Errorf("%s", r.State)
			}
		}
		var erased, told int
		for _, e := range events(t, w) {
			if e.Key == "a" && e.Type == "Opened" {
				if erased++; !e.Erased || string(e.Data) != `{"owner":null,"city":"London"}` {
					t.Errorf("%s", e.Data)
				}
			}
			if e.Type == entity.ErasedType {
				if told++; e.Key != "a" || e.Version != 0 || !strings.Contains(string(e.Data), `"by":"ada"`) {
					t.Errorf("%+v", e)
				}
			}
		}
		if erased != 1 || told != 1 {
			t.Errorf("%d erased, %d told", erased, told)
		}
		if v := w.verified(); len(v.Broken) > 0 || v.Events != 15 {
			t.Errorf("%+v", v)
		}
		// It comes back as somebody new.
		w.do("deposit", "a", `{"amount":5}`)
		if got, err := entity.Erase(t.Context(), st, "account", "a", "ada", penstock.SystemClock{}, nil); err != nil || !got.Already {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// rawEvents counts the events that hold a text in clear.
func rawEvents(t testing.TB, st store.Store, text string) (n int) {
	t.Helper()
	err := st.View(t.Context(), func(v store.View) error {
		all, err := v.Log().Channels()
		for _, c := range all {
			segs, err := v.Log().Segments(c.Channel, 0, 1<<24)
			if err != nil {
				return err
			}
			for _, s := range segs {
				n += strings.Count(string(s.Data), text)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func holds(t testing.TB, st store.Store, text string) int { return rawEvents(t, st, text) }

// TestAsOfATime asks for the state as it was.
func TestAsOfATime(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	clock := &fixed{now: at}
	p := compiled(t, accounts)
	st := memory.New()
	r := entity.New(p.Entities, entity.Options{Store: func() (store.Store, error) { return st, nil }, Clock: clock})
	w := &world{t, st, r, r.Entity("account")}
	for range 12 {
		w.do("deposit", "a", `{"amount":1}`)
		clock.now = clock.now.Add(time.Hour)
	}
	for h, want := range map[time.Duration]string{-time.Second: `0 {"balance":0}`, 0: `1 {"balance":1}`, 90 * time.Minute: `2 {"balance":2}`, 100 * time.Hour: `12 {"balance":12}`} {
		if got := w.state("a", entity.AsOf{Time: at.Add(h)}); got != want {
			t.Errorf("as of %v: %s", h, got)
		}
	}
}

type fixed struct {
	penstock.SystemClock
	now time.Time
}

func (f *fixed) Now() time.Time { return f.now }
