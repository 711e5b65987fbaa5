package view_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
	"penstock.dev/penstock/internal/store/memory"
)

// failing is a store of which some transactions are refused: those that write a row of a view.
type failing struct {
	*memory.Store
	mu   sync.Mutex
	left int // how many are refused
}

var errRefused = errors.New("refused for the test")

func (s *failing) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	return s.Store.Submit(c, func(tx store.Tx) error {
		w := &watchedTx{Tx: tx}
		if err := f(w); err != nil {
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if w.rows && s.left > 0 {
			s.left--
			return errRefused
		}
		return nil
	})
}

type watchedTx struct {
	store.Tx
	rows bool
}

func (w *watchedTx) Put(space string, e store.Entry) error {
	w.rows = w.rows || strings.HasPrefix(space, "view/") && !strings.HasSuffix(space, "/at")
	return w.Tx.Put(space, e)
}

// TestRowsAndPositionAreOneTransaction refuses the transaction of rows once: nothing of it may count.
func TestRowsAndPositionAreOneTransaction(t *testing.T) {
	pl := compiled(t, base+balances)
	st := &failing{Store: memory.New(), left: 1}
	clock := stillClock{}
	e, err := view.Open(t.Context(), pl.Views, view.Options{Store: st, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	events := []movement{{"a", "paid", 5}, {"b", "paid", 6}}
	send(t, st, events)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := e.Drain(ctx); !errors.Is(err, errRefused) {
		t.Fatalf("the refused transaction should be seen: %v", err)
	}
	e.Close()
	again, err := view.Open(t.Context(), pl.Views, view.Options{Store: st, Clock: penstock.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	drain(t, again)
	same(t, rowsOf(t, again, "balances"), folded(events))
}

// stillClock stands still.
type stillClock struct{}

func (stillClock) Now() time.Time { return time.Unix(0, 0) }

func (stillClock) NewTimer(time.Duration) (<-chan time.Time, func()) { return nil, func() {} }

// TestRebuildCatchesUpBeforeItSwitches builds rows anew while events come: at no time is a row read that older events came to than were read before.
func TestRebuildCatchesUpBeforeItSwitches(t *testing.T) {
	pl := compiled(t, base+balances)
	st := memory.New()
	e := open(t, st, pl)
	var events []movement
	for range 3000 {
		events = append(events, movement{"a", "paid", 1})
	}
	send(t, st, events)
	drain(t, e)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for round := range 5 {
		if err := e.Rebuild(ctx, "balances"); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- e.Built(ctx, "balances") }()
		last := int64(0)
		for over := false; !over; {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				over = true
			default:
			}
			row, err := e.Get(ctx, "balances", "a")
			if err != nil {
				t.Fatal(err)
			}
			var b balance
			if row != nil {
				if err := json.Unmarshal(row, &b); err != nil {
					t.Fatal(err)
				}
			}
			if b.Balance < 3000 || b.Balance < last {
				t.Fatalf("round %d: a row of %d was read, and before %d", round, b.Balance, last)
			}
			last = b.Balance
		}
		state, err := e.State(ctx, "balances")
		if err != nil || state.Generation != int64(round+2) {
			t.Fatalf("%+v, %v", state, err)
		}
		if c, err := e.Last("balances"); err != nil || c.Differ != 0 || !c.Level || c.Checksum != c.Built || c.Rows != 1 {
			t.Fatalf("%+v, %v", c, err)
		}
	}
}

// TestChecksumsTellRowsApart changes one row behind the view's back.
func TestChecksumsTellRowsApart(t *testing.T) {
	pl := compiled(t, base+balances)
	st := memory.New()
	e := open(t, st, pl)
	send(t, st, []movement{{"a", "paid", 5}, {"b", "paid", 6}})
	drain(t, e)
	c, err := e.Diff(t.Context(), "balances", 5)
	if err != nil || c.Differ != 0 || c.Checksum != c.Built {
		t.Fatalf("%+v, %v", c, err)
	}
	err = st.Submit(store.Small, func(tx store.Tx) error {
		return tx.Put("view/balances@1", store.Entry{Key: []byte("a"), Value: []byte(`{"balance":7,"count":1}`)})
	}).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if c, err = e.Diff(t.Context(), "balances", 5); err != nil || c.Differ != 1 || c.Checksum == c.Built || c.Differences[0].Key != "a" {
		t.Fatalf("%+v, %v", c, err)
	}
}

// TestTwoEnginesOfOneView has two processes keep the same view, which no lease keeps apart: what they write must still be what the events come to.
func TestTwoEnginesOfOneView(t *testing.T) {
	pl := compiled(t, base+balances)
	for seed := range uint64(10) {
		st := memory.New()
		one, other := open(t, st, pl), open(t, st, pl)
		r := rand.New(rand.NewPCG(seed, 7))
		var all []movement
		for range 20 {
			some := drawn(r, 1+r.IntN(50), 5)
			send(t, st, some)
			all = append(all, some...)
		}
		drain(t, one)
		drain(t, other)
		same(t, rowsOf(t, one, "balances"), folded(all))
		if s, err := one.State(t.Context(), "balances"); err != nil || s.Rows != int64(len(folded(all))) {
			t.Fatalf("it counts %+v (%v), and there are %d", s, err, len(folded(all)))
		}
		one.Close()
		other.Close()
	}
}

// TestAChannelKeepsWhatItsViewsHaveNotRead shortens a channel while its view stands still.
func TestAChannelKeepsWhatItsViewsHaveNotRead(t *testing.T) {
	pl := compiled(t, base+balances)
	st := memory.New()
	e := open(t, st, pl)
	before := []movement{{"a", "paid", 5}}
	send(t, st, before)
	drain(t, e)
	e.Close()
	behind := []movement{{"a", "paid", 7}, {"b", "paid", 8}}
	send(t, st, behind)
	hub := channel.NewHub(st, penstock.SystemClock{}, channel.Options{})
	defer hub.Close()
	if _, err := hub.Open(channel.Config{Name: "movements", Retain: time.Nanosecond}); err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Retain(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	again := open(t, st, pl)
	drain(t, again)
	same(t, rowsOf(t, again, "balances"), folded(append(before, behind...)))
}

const people = `
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: named }
spec: { jsonSchema: { type: object, required: [name], properties: { name: { type: string, x-class: pii }, city: { type: string } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: person }
spec: { jsonSchema: { type: object, properties: { name: { type: string }, city: { type: string } } } }
---
apiVersion: penstock.dev/v1alpha1
kind: Entity
metadata: { name: person }
spec:
  commands:
    name: { schema: named, emit: [ { event: Named } ] }
  events:
    Named: { schema: named }
  personal: {}
---
apiVersion: penstock.dev/v1alpha1
kind: View
metadata: { name: people }
spec:
  from: { entity: person }
  schema: person
  events: { Named: { upsert: { name: "${body.name}", city: "${body.?city}" } } }
`

// TestAnErasedSubjectLeavesTheRows erases a person whose name is in a row: the rows are made anew without it.
func TestAnErasedSubjectLeavesTheRows(t *testing.T) {
	pl := compiled(t, people)
	st := memory.New()
	all := entity.New(pl.Entities, entity.Options{Store: func() (store.Store, error) { return st, nil }})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for _, p := range []string{"ada", "bob"} {
		if _, err := all.Entity("person").Command(ctx, nil, entity.Request{Command: "name", Key: p, Data: []byte(`{"name":"` + p + `","city":"Ulm"}`), Expect: entity.AnyVersion}); err != nil {
			t.Fatal(err)
		}
	}
	e, err := view.Open(ctx, pl.Views, view.Options{Store: st, Entities: all, Clock: penstock.SystemClock{}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	drain(t, e)
	row, err := e.Get(ctx, "people", "ada")
	if err != nil || string(row) != `{"name":"ada","city":"Ulm"}` {
		t.Fatalf("ada is %s, %v", row, err)
	}
	if _, err := entity.Erase(ctx, st, "person", "ada", "tester", penstock.SystemClock{}, nil); err != nil {
		t.Fatal(err)
	}
	for {
		drain(t, e)
		s, err := e.State(ctx, "people")
		if err != nil {
			t.Fatal(err)
		}
		if s.Generation == 2 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the rows are not made anew")
		}
	}
	if row, err = e.Get(ctx, "people", "ada"); err != nil || string(row) != `{"city":"Ulm"}` {
		t.Fatalf("ada is %s, %v", row, err)
	}
}
