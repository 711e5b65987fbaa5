package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// states gives the state of an endpoint in a run that keeps state, and in one that doesn't.
func states(t *testing.T, c penstock.Clock, visit func(t *testing.T, r *Runner, s *driverState)) {
	t.Helper()
	for name, durable := range map[string]bool{"in the store": true, "in memory": false} {
		t.Run(name, func(t *testing.T) {
			db := memory.New()
			r := &Runner{clock: c, opts: Options{Store: func() (store.Store, error) { return db, nil }}}
			f := &flow{r: r, plan: &plan.Flow{Name: "f"}, durable: durable}
			visit(t, r, f.driverState("f/from"))
			if !durable && r.store != nil {
				t.Error("the store was opened for what is kept in memory")
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDriverState(t *testing.T) {
	c := newClock()
	states(t, c, func(t *testing.T, r *Runner, s *driverState) {
		ctx := t.Context()
		set := func(key string, old, value []byte, keep time.Duration, want bool) {
			t.Helper()
			ok, err := s.CompareAndSet(ctx, key, old, value, keep)
			if err != nil || ok != want {
				t.Errorf("%s: %v, %v; want %v", key, ok, err, want)
			}
		}
		holds := func(key string, want []byte) {
			t.Helper()
			v, err := s.Get(ctx, key)
			if err != nil || !bytes.Equal(v, want) || (v == nil) != (want == nil) {
				t.Errorf("%s is %q, %v; want %q", key, v, err, want)
			}
		}
		holds("a", nil)
		set("a", []byte("x"), []byte("1"), 0, false)
		set("a", nil, []byte("1"), 0, true)
		set("a", nil, []byte("2"), 0, false)
		holds("a", []byte("1"))
		set("a", []byte("1"), []byte{}, 0, true)
		holds("a", []byte{})
		set("a", nil, []byte("2"), 0, false)
		set("a", []byte{}, nil, 0, true)
		holds("a", nil)
		set("b", nil, []byte("1"), time.Minute, true)
		c.advance(time.Minute - 1)
		holds("b", []byte("1"))
		c.advance(1)
		holds("b", nil)
		set("b", []byte("1"), []byte("2"), 0, false)
		set("b", nil, []byte("2"), time.Hour, true)
		holds("b", []byte("2"))
		other := (&flow{r: r, plan: &plan.Flow{Name: "g"}, durable: s.durable}).driverState("g/from")
		if v, err := other.Get(ctx, "b"); v != nil || err != nil {
			t.Errorf("another endpoint sees %q, %v", v, err)
		}
		if _, err := s.CompareAndSet(ctx, strings.Repeat("x", 2000), nil, []byte("1"), 0); err == nil {
			t.Error("a key of 2000 bytes is taken")
		}
	})
}

func TestDriverStateIsTakenOnce(t *testing.T) {
	states(t, newClock(), func(t *testing.T, _ *Runner, s *driverState) {
		var won atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for k := range 50 {
					ok, err := s.CompareAndSet(context.Background(), fmt.Sprint(k), nil, fmt.Append(nil, i), time.Hour)
					if err != nil {
						t.Error(err)
					}
					if ok {
						won.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if won.Load() != 50 {
			t.Errorf("50 keys were won %d times", won.Load())
		}
	})
}

func TestDriverStateIsTidied(t *testing.T) {
	c := newClock()
	states(t, c, func(t *testing.T, r *Runner, s *driverState) {
		if !s.durable {
			t.Skip("memory is bounded")
		}
		for i := range 3 {
			if _, err := s.CompareAndSet(t.Context(), fmt.Sprint(i), nil, []byte("x"), time.Duration(i)*time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		c.advance(time.Hour)
		if err := r.tidyDrivers(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left int64
		_ = r.store.View(t.Context(), func(v store.View) error {
			spaces, err := v.State().Spaces(driverSpace)
			for _, sp := range spaces {
				left += sp.Entries
			}
			return err
		})
		if left != 2 {
			t.Errorf("%d entries are left, want those for good and for two hours", left)
		}
	})
}

func TestDriverMemoryIsBounded(t *testing.T) {
	m := (&Runner{}).memoryOf("x")
	for i := range memoryEntries + 10 {
		m.swap(fmt.Sprint(i), nil, []byte("x"), 0, 0)
	}
	if len(m.entries) != memoryEntries || m.get("9", 0) != nil || m.get("10", 0) == nil {
		t.Errorf("%d entries, the oldest is there: %v", len(m.entries), m.get("9", 0) != nil)
	}
	m.swap("large", nil, make([]byte, memoryBytes), 0, 0)
	if len(m.entries) != 1 || m.get("large", 0) == nil {
		t.Errorf("%d entries beside one that takes all the room", len(m.entries)-1)
	}
}

// TestKnownCommandsAreTidied: what commands of entities are known by goes when its time is over, in every part, and nothing else of an entity.
func TestKnownCommandsAreTidied(t *testing.T) {
	c := newClock()
	states(t, c, func(t *testing.T, r *Runner, s *driverState) {
		if !s.durable {
			t.Skip("there is no store")
		}
		db, err := r.theStore()
		if err != nil {
			t.Fatal(err)
		}
		now := c.Now().UnixNano()
		over, kept := store.InPart("entity/account/cause", 0), store.InPart("entity/account/head", 0)
		if err := db.Submit(store.Small, func(tx store.Tx) error {
			return errors.Join(tx.Put(over, store.Entry{Key: []byte("over"), Due: now}), tx.Put(over, store.Entry{Key: []byte("known"), Due: now + int64(time.Hour)}),
				tx.Put(kept, store.Entry{Key: []byte("ada"), Due: now}))
		}).Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.advance(time.Minute)
		if err := r.tidyCommands(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.View(t.Context(), func(v store.View) error {
			known, err1 := v.State().Scan(over, nil, 10)
			heads, err2 := v.State().Scan(kept, nil, 10)
			if len(known) != 1 || string(known[0].Key) != "known" || len(heads) != 1 {
				t.Errorf("left are %v of the known commands, and %v of the entities", known, heads)
			}
			return errors.Join(err1, err2)
		}); err != nil {
			t.Fatal(err)
		}
	})
}
