package view_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store/memory"
)

// TestEachRebuildIsOne has rows built anew again and again, while they are read: each time they are switched to, and nothing of it is forgotten because
// somebody noticed the switch before who did it has noted it.
func TestEachRebuildIsOne(t *testing.T) {
	b := newBank(t, memory.NewParts(4), purses+sums)
	drain(t, b.e)
	b.must("put", "a", 1)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if row, err := b.e.Get(ctx, "sums", "a"); err != nil || string(row) != `{"sum":1}` {
					t.Errorf("%s, %v", row, err)
					return
				}
			}
		})
	}
	for i := range 100 {
		if err := b.e.Rebuild(ctx, "sums"); err != nil {
			t.Fatal(err)
		}
		if err := b.e.Built(ctx, "sums"); err != nil {
			t.Fatal(err)
		}
		s, err := b.e.State(ctx, "sums")
		if err != nil || s.Generation != int64(i+2) {
			t.Errorf("after %d rebuilds: %+v, %v", i+1, s, err)
			break
		}
	}
	close(stop)
	wg.Wait()
}

// TestRebuildsAtOnce has several ask for a rebuild while one is just switched to: what the store says to be built, is.
func TestRebuildsAtOnce(t *testing.T) {
	for _, parts := range []int{1, 4} {
		t.Run(fmt.Sprint("parts=", parts), func(t *testing.T) {
			b := newBank(t, memory.NewParts(parts), purses+sums)
			drain(t, b.e)
			b.must("put", "a", 1)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			for range 30 {
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for range 3 {
							if err := b.e.Rebuild(ctx, "sums"); err != nil {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				if err := b.e.Built(ctx, "sums"); err != nil {
					t.Fatal(err)
				}
				s, err := b.e.State(ctx, "sums")
				if err != nil {
					t.Fatal(err)
				}
				if is, building, err := b.e.Noted(ctx, "sums"); err != nil || is != s.Generation || building != 0 {
					t.Fatalf("generation %d is read, and %d should be; %d is said to be built, %v", s.Generation, is, building, err)
				}
			}
		})
	}
}
