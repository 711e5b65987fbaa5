package conform

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"penstock.dev/penstock"
)

// CallerHarness describes a caller.
type CallerHarness struct {
	// New makes a caller that reads its question from the field "q" of the message's body.
	New func(t testing.TB) penstock.Caller
	// Replies are questions, as JSON, and the JSON of the reply to each.
	Replies map[string]string
	// Misses are questions to which there is no answer; none if the caller is no look-up.
	Misses []string
	// Fails is a question that fails; empty if there is none.
	Fails string
}

// Caller runs the suite.
func Caller(t *testing.T, h CallerHarness) {
	t.Run("replies", h.replies)
	t.Run("misses without an error", h.misses)
	t.Run("fails alone", h.fails)
	t.Run("is asked by many at once", h.concurrent)
	t.Run("leaves the message alone", h.untouched)
	t.Run("is closed at any time", h.closed)
}

// ask asks one question in a batch of its own.
func ask(ctx context.Context, c penstock.Caller, question string) (*penstock.Message, error) {
	b := Batch(`{"q":` + question + `}`)
	b.Runtime = &penstock.Runtime{Clock: penstock.SystemClock{}}
	into := b.NewMessage()
	return into, c.Call(ctx, b.Frame(b.Msgs[0]), into)
}

func (h CallerHarness) open(t testing.TB) (context.Context, penstock.Caller) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	c := h.New(t)
	if err := c.Open(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(ctx); err != nil {
			t.Error("Close:", err)
		}
		cancel()
	})
	return ctx, c
}

func (h CallerHarness) replies(t *testing.T) {
	ctx, c := h.open(t)
	for range 2 {
		for q, want := range h.Replies {
			m, err := ask(ctx, c, q)
			if err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			if got := Text(t, m.Body); got != want {
				t.Errorf("%s: %s, want %s", q, got, want)
			}
			if !m.Meta.Get("absent").IsAbsent() {
				t.Errorf("%s: a reply is marked as absent", q)
			}
		}
	}
}

func (h CallerHarness) misses(t *testing.T) {
	if len(h.Misses) == 0 {
		t.Skip("the harness has no misses")
	}
	ctx, c := h.open(t)
	for _, q := range h.Misses {
		m, err := ask(ctx, c, q)
		if err != nil {
			t.Errorf("%s: %v", q, err)
			continue
		}
		if got := Text(t, m.Body); got != "null" || !m.Meta.Get("absent").Bool() {
			t.Errorf("%s: body %s, absent %v; want null and true", q, got, m.Meta.Get("absent"))
		}
	}
}

func (h CallerHarness) fails(t *testing.T) {
	if h.Fails == "" {
		t.Skip("the harness has no question that fails")
	}
	ctx, c := h.open(t)
	if _, err := ask(ctx, c, h.Fails); err == nil {
		t.Fatalf("%s: no error", h.Fails)
	}
	for q := range h.Replies {
		if _, err := ask(ctx, c, q); err != nil {
			t.Errorf("%s, after a failure: %v", q, err)
		}
	}
}

func (h CallerHarness) concurrent(t *testing.T) {
	ctx, c := h.open(t)
	errs := make(chan error, 8)
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 50 {
				for q, want := range h.Replies {
					m, err := ask(ctx, c, q)
					if err == nil {
						if got := string(m.Body.AppendJSON(nil, 0)); got != want {
							err = fmt.Errorf("%s: %s, want %s", q, got, want)
						}
					}
					if err != nil {
						errs <- err
						return
					}
				}
			}
		}()
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

func (h CallerHarness) untouched(t *testing.T) {
	ctx, c := h.open(t)
	for q := range h.Replies {
		b := Batch(`{"q":` + q + `}`)
		b.Runtime = &penstock.Runtime{Clock: penstock.SystemClock{}}
		m := b.Msgs[0]
		m.Key = "key"
		if err := c.Call(ctx, b.Frame(m), b.NewMessage()); err != nil {
			t.Fatal(err)
		}
		if Text(t, m.Body) != `{"q":`+q+`}` || m.Key != "key" || len(m.Meta.Entries()) > 0 || len(b.Msgs) != 1 {
			t.Errorf("%s: the message that asked was changed", q)
		}
	}
}

func (h CallerHarness) closed(t *testing.T) {
	ctx := context.Background()
	if err := h.New(t).Close(ctx); err != nil {
		t.Error("Close before Open:", err)
	}
	c := h.New(t)
	if err := errors.Join(c.Open(ctx), c.Close(ctx), c.Close(ctx)); err != nil {
		t.Error(err)
	}
}

// BenchmarkCaller measures one question after the other.
func BenchmarkCaller(b *testing.B, h CallerHarness) {
	ctx, c := h.open(b)
	var question string
	for q := range h.Replies {
		question = q
	}
	batch := Batch(`{"q":` + question + `}`)
	batch.Runtime = &penstock.Runtime{Clock: penstock.SystemClock{}}
	f := batch.Frame(batch.Msgs[0])
	into := batch.NewMessage()
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Call(ctx, f, into); err != nil {
			b.Fatal(err)
		}
	}
}
