package http

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	t.Run("ends with its time", func(t *testing.T) {
		p := newPatience(t.Context(), time.Millisecond)
		<-p.Done()
		if !errors.Is(p.Err(), context.DeadlineExceeded) || !errors.Is(context.Cause(p), context.DeadlineExceeded) {
			t.Error(p.Err(), context.Cause(p))
		}
		p.end()
		if !errors.Is(p.Err(), context.DeadlineExceeded) {
			t.Error("after the end:", p.Err())
		}
	})
	t.Run("ends with its time although nobody waits", func(t *testing.T) {
		if p := newPatience(t.Context(), -1); !errors.Is(p.Err(), context.DeadlineExceeded) {
			t.Error(p.Err())
		}
	})
	t.Run("ends with its connection", func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		p, waited := newPatience(parent, time.Hour), newPatience(parent, time.Hour)
		done := waited.Done()
		if p.Err() != nil || waited.Err() != nil {
			t.Error(p.Err(), waited.Err())
		}
		cancel()
		<-done
		<-p.Done()
		if !errors.Is(p.Err(), context.Canceled) || !errors.Is(waited.Err(), context.Canceled) {
			t.Error(p.Err(), waited.Err())
		}
	})
	t.Run("ends with the request", func(t *testing.T) {
		p := newPatience(t.Context(), time.Hour)
		child, cancel := context.WithCancel(p)
		defer cancel()
		p.end()
		<-child.Done()
		late := newPatience(t.Context(), time.Hour)
		late.end()
		<-late.Done()
		if !errors.Is(late.Err(), context.Canceled) {
			t.Error(late.Err())
		}
	})
	t.Run("says when", func(t *testing.T) {
		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		want, _ := soon.Deadline()
		if got, ok := newPatience(soon, time.Hour).Deadline(); !ok || got != want {
			t.Error(got, want)
		}
		p := newPatience(soon, time.Second)
		if got, ok := p.Deadline(); !ok || got != p.until {
			t.Error(got, p.until)
		}
	})
	if n := testing.AllocsPerRun(100, func() {
		p := newPatience(context.Background(), time.Hour)
		_ = p.Err()
		p.end()
	}); n > 1 {
		t.Errorf("%v allocations where nobody waits", n)
	}
}
