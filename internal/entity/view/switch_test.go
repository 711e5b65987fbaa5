package view_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// lateStore is a store whose next transaction that switches a view to new rows is durable some time before who made it hears of that.
type lateStore struct {
	store.Store
	noted   func() (building int64)
	mu      sync.Mutex
	armed   bool
	durable chan struct{} // closed when it is
	release chan struct{} // whoever made it hears of it when this is closed
}

// Submit implements store.Store.
func (s *lateStore) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.armed {
		return s.Store.Submit(c, f)
	}
	before := s.noted()
	commit := s.Store.Submit(c, f)
	<-commit.Done()
	if before == 0 || s.noted() != 0 {
		return commit
	}
	s.armed = false
	close(s.durable)
	late := store.NewCommit()
	go func() {
		<-s.release
		late.Finish(commit.Err())
	}()
	return late
}

// TestARebuildBeginsWhileAnotherIsSwitchedTo asks for the next one after the switch is durable, and before who made it knows: it is built, and not forgotten.
func TestARebuildBeginsWhileAnotherIsSwitchedTo(t *testing.T) {
	for _, reader := range []string{"", "a reader notices it first"} {
		t.Run(reader, func(t *testing.T) {
			st := &lateStore{Store: memory.NewParts(4), durable: make(chan struct{}), release: make(chan struct{})}
			b := newBank(t, st, purses+sums)
			st.noted = func() int64 {
				_, building, err := b.e.Noted(t.Context(), "sums")
				if err != nil {
					t.Error(err)
				}
				return building
			}
			drain(t, b.e)
			b.must("put", "a", 1)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			st.mu.Lock()
			st.armed = true
			st.mu.Unlock()
			if err := b.e.Rebuild(ctx, "sums"); err != nil {
				t.Fatal(err)
			}
			<-st.durable
			if reader != "" {
				b.sum("a")
			}
			if err := b.e.Rebuild(ctx, "sums"); err != nil {
				t.Fatal(err)
			}
			close(st.release)
			if err := b.e.Built(ctx, "sums"); err != nil {
				t.Fatal(err)
			}
			s, err := b.e.State(ctx, "sums")
			if err != nil || s.Generation != 3 {
				t.Errorf("%+v, %v", s, err)
			}
			if is, building, err := b.e.Noted(ctx, "sums"); err != nil || is != 3 || building != 0 {
				t.Errorf("generation %d is read, %d is said to be built, %v", is, building, err)
			}
			if got := b.sum("a"); got != 1 {
				t.Errorf("a has %d", got)
			}
		})
	}
}
