package run

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestAwaited(t *testing.T) {
	t.Parallel()
	serving := func(t *testing.T) (*server, context.CancelFunc) {
		t.Helper()
		ctx, abort := context.WithCancel(t.Context())
		s := &server{f: &flow{ctx: ctx}}
		context.AfterFunc(ctx, s.awaiting.abort)
		return s, abort
	}
	left := func(s *server) int {
		s.awaiting.mu.Lock()
		defer s.awaiting.mu.Unlock()
		return len(s.awaiting.all)
	}
	// waits are the ways to learn of the end.
	waits := map[string]func(context.Context) <-chan struct{}{
		"done": context.Context.Done,
		"a context made of it": func(ctx context.Context) <-chan struct{} {
			child, cancel := context.WithTimeout(ctx, time.Hour)
			context.AfterFunc(child, cancel)
			return child.Done()
		},
		"a call": func(ctx context.Context) <-chan struct{} {
			c := make(chan struct{})
			afterFunc(ctx, func() { close(c) })
			return c
		},
		"a call by way of the library": func(ctx context.Context) <-chan struct{} {
			c := make(chan struct{})
			context.AfterFunc(ctx, func() { close(c) })
			return c
		},
	}
	errGone := errors.New("gone")
	for name, wait := range waits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, end := range []struct {
				name  string
				does  func(a *awaited, leave context.CancelCauseFunc, abort func())
				cause error
			}{
				{"the caller leaves", func(_ *awaited, leave context.CancelCauseFunc, _ func()) { leave(errGone) }, errGone},
				{"the flow is aborted", func(_ *awaited, _ context.CancelCauseFunc, abort func()) { abort() }, errAborted},
				{"it was answered", func(a *awaited, _ context.CancelCauseFunc, _ func()) { a.end(context.Canceled) }, context.Canceled},
			} {
				for _, before := range []bool{true, false} {
					s, abort := serving(t)
					caller, leave := context.WithCancelCause(t.Context())
					a := s.await(caller)
					var over <-chan struct{}
					if before {
						over = wait(a)
						if a.Err() != nil || context.Cause(a) != nil {
							t.Fatalf("%s: it has ended before: %v", end.name, a.Err())
						}
					}
					end.does(a, leave, abort)
					if !before {
						if a.Err() == nil {
							t.Errorf("%s: nobody waited, and it has no end", end.name)
						}
						over = wait(a)
					}
					<-over
					<-a.Done()
					if a.Err() == nil || !errors.Is(context.Cause(a), end.cause) {
						t.Errorf("%s: %v, %v", end.name, a.Err(), context.Cause(a))
					}
					a.end(context.Canceled)
					if left(s) > 0 {
						t.Errorf("%s: it is still waited for", end.name)
					}
					leave(nil)
					abort()
				}
			}
		})
	}
	t.Run("what was taken back is not called", func(t *testing.T) {
		t.Parallel()
		s, abort := serving(t)
		a := s.await(t.Context())
		called := make(chan int, 4)
		var stops []func() bool
		for i := range 4 {
			stops = append(stops, a.AfterFunc(func() { called <- i }))
		}
		for _, i := range []int{0, 2, 3} {
			if !stops[i]() || stops[i]() {
				t.Error("it is taken back once")
			}
		}
		abort()
		if i := <-called; i != 1 || stops[1]() {
			t.Errorf("call %d was made", i)
		}
		if len(called) > 0 {
			t.Error("more was called")
		}
	})
	t.Run("values and deadlines are the caller's", func(t *testing.T) {
		t.Parallel()
		s, _ := serving(t)
		type key struct{}
		until := time.Now().Add(time.Hour)
		caller, cancel := context.WithDeadline(context.WithValue(t.Context(), key{}, 7), until)
		defer cancel()
		a := s.await(caller)
		if d, ok := a.Deadline(); !ok || d != until || a.Value(key{}) != 7 {
			t.Error(d, ok, a.Value(key{}))
		}
	})
	t.Run("many at once", func(t *testing.T) {
		t.Parallel()
		s, abort := serving(t)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				for range 100 {
					a := s.await(t.Context())
					stop := a.AfterFunc(func() {})
					if i%2 == 0 {
						_ = a.Done()
					}
					stop()
					a.end(context.Canceled)
				}
				if i == 32 {
					abort()
				}
			})
		}
		wg.Wait()
		if left(s) > 0 {
			t.Errorf("%d are still waited for", left(s))
		}
	})
}

// TestAwaitedCosts one allocation where nobody waits for its end.
func TestAwaitedCosts(t *testing.T) {
	s := &server{f: &flow{ctx: context.Background()}}
	if n := testing.AllocsPerRun(100, func() {
		a := s.await(context.Background())
		_ = a.Err()
		a.end(context.Canceled)
	}); n > 1 {
		t.Errorf("%g allocations", n)
	}
}
