package view_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store/memory"
)

// TestDiffAfterASwitch: what a diff is about to compare is switched to meanwhile. It says so, and does not wait for itself.
func TestDiffAfterASwitch(t *testing.T) {
	pl := compiled(t, base+balances)
	st := memory.New()
	e := open(t, st, pl)
	send(t, st, drawn(rand.New(rand.NewPCG(1, 2)), 200, 20))
	drain(t, e)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	compare, err := e.HeldDiff(ctx, "balances")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Rebuild(ctx, "balances"); err != nil {
		t.Fatal(err)
	}
	if err := e.Built(ctx, "balances"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := compare()
		ended <- err
	}()
	select {
	case err := <-ended:
		if penstock.CodeOf(err) != penstock.Conflict {
			t.Errorf("it should be a conflict: %v", err)
		}
	case <-ctx.Done():
		t.Fatal("it waits for itself")
	}
	// The view goes on.
	send(t, st, []movement{{"a", "paid", 1}})
	drain(t, e)
}

// TestDiffsBesideRebuilds has all of them at once, while events come: each ends, and the rows are right.
func TestDiffsBesideRebuilds(t *testing.T) {
	pl := compiled(t, base+balances)
	st := memory.New()
	e := open(t, st, pl)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var all []movement
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 10 {
				if _, err := e.Diff(ctx, "balances", 1); err != nil && penstock.CodeOf(err) != penstock.Conflict {
					t.Errorf("diff: %v", err)
				}
				if err := e.Rebuild(ctx, "balances"); err != nil {
					t.Errorf("rebuild: %v", err)
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 30 {
		some := drawn(r, 50, 10)
		send(t, st, some)
		all = append(all, some...)
	}
	wg.Wait()
	if err := e.Built(ctx, "balances"); err != nil {
		t.Fatal(err)
	}
	drain(t, e)
	same(t, rowsOf(t, e, "balances"), folded(all))
}
