package conform

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// ServerHarness describes a server.
type ServerHarness struct {
	// New makes a server for the requests of one flow, whose bodies and replies are JSON.
	New func(t testing.TB) penstock.Server
	// Send sends one request to the server that New made last, which serves or is about to, and returns the reply; "" where there is none. A failure is
	// an error whose code is what the caller was told. When ctx ends, the caller goes away. It is called by many goroutines at once.
	Send func(ctx context.Context, t testing.TB, body string) (reply string, err error)
	// Codes are the codes that callers are told apart by; nil is all but internal, cancelled and config.
	Codes []penstock.Code
	// Cancels says that the server learns of a caller that went away.
	Cancels bool
}

// Server runs the suite.
func Server(t *testing.T, h ServerHarness) {
	t.Run("replies", h.replies)
	t.Run("answers many at once", h.concurrent)
	t.Run("keeps requests apart", h.apart)
	t.Run("tells failures", h.failures)
	t.Run("answers without a reply", h.without)
	t.Run("tells that the run refuses", h.refused)
	t.Run("answers before it ends", h.drains)
	t.Run("learns that a caller is gone", h.gone)
	t.Run("ends at once where nothing is to be done", h.idle)
}

// serves is a server that runs, and how it ends.
type serves struct {
	stop func() error // asks it to end, and waits
	ctx  context.Context
	end  context.CancelFunc
	done chan error
}

// handlerFunc is a flow of requests.
type handlerFunc func(ctx context.Context, b *penstock.Batch) error

// Handle implements penstock.Handler.
func (f handlerFunc) Handle(ctx context.Context, b *penstock.Batch) error { return f(ctx, b) }

// each makes a flow of what becomes of one message.
func each(f func(ctx context.Context, b *penstock.Batch, m *penstock.Message) error) handlerFunc {
	return func(ctx context.Context, b *penstock.Batch) error {
		for i, m := range b.Msgs {
			if err := f(ctx, b, m); err != nil {
				b.Fail(i, err)
			}
		}
		return nil
	}
}

// answer makes a reply in the memory of the batch: the body, in a list.
func answer(b *penstock.Batch, m *penstock.Message) error {
	if err := m.Body.Parse(jsonview.Limits{}); err != nil {
		return &penstock.Error{Code: penstock.Invalid, Op: "body", Err: err}
	}
	text := append(b.Arena().Tail(64), '[')
	text = append(m.Body.AppendJSON(text, 0), ']')
	d := b.NewDoc()
	d.Reset(jsonview.JSON, b.Arena().Keep(text))
	m.Body = d
	return nil
}

func (h ServerHarness) serve(t testing.TB, f penstock.Handler) *serves {
	t.Helper()
	s := &serves{done: make(chan error, 1)}
	srv := h.New(t)
	s.ctx, s.end = context.WithCancel(context.Background())
	go func() { s.done <- srv.Serve(s.ctx, f) }()
	s.stop = sync.OnceValue(func() error {
		s.end()
		return <-s.done
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error("Serve:", err)
		}
	})
	return s
}

// send sends a request that must be answered.
func (h ServerHarness) send(t testing.TB, body string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	reply, err := h.Send(ctx, t, body)
	if err != nil {
		t.Errorf("%s: %v", body, err)
	}
	return reply
}

func (h ServerHarness) replies(t *testing.T) {
	h.serve(t, each(func(_ context.Context, b *penstock.Batch, m *penstock.Message) error { return answer(b, m) }))
	for _, body := range []string{`{"a":1}`, `null`, `"ä\n"`, `[1.50,{"b":[]}]`} {
		if got := h.send(t, body); got != "["+body+"]" {
			t.Errorf("%s: %s", body, got)
		}
	}
}

func (h ServerHarness) concurrent(t *testing.T) {
	const n = 8
	var all sync.WaitGroup
	all.Add(n)
	h.serve(t, each(func(_ context.Context, b *penstock.Batch, m *penstock.Message) error {
		all.Done()
		all.Wait() // for the others
		return answer(b, m)
	}))
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if got, want := h.send(t, fmt.Sprint(i)), fmt.Sprintf("[%d]", i); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	wg.Wait()
}

func (h ServerHarness) apart(t *testing.T) {
	h.serve(t, each(func(_ context.Context, b *penstock.Batch, m *penstock.Message) error {
		if len(b.Msgs) != 1 {
			return fmt.Errorf("%d messages in the batch of one request", len(b.Msgs))
		}
		if m.Key != "" || len(m.Body.Original()) == 0 {
			return errors.New("the message has a key, or no body")
		}
		m.Key, m.Pos.Stream = "left behind", "left behind"
		m.Meta.Set("left-behind", penstock.BoolValue(true))
		return answer(b, m)
	}))
	bodies := numbered(64)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, body := range bodies {
				if got := h.send(t, body); got != "["+body+"]" {
					t.Errorf("%s was answered with %s", body, got)
				}
			}
		})
	}
	wg.Wait()
}

func (h ServerHarness) failures(t *testing.T) {
	codes := h.Codes
	if codes == nil {
		for _, c := range penstock.Codes() {
			if c != penstock.Internal && c != penstock.Cancelled && c != penstock.Config {
				codes = append(codes, c)
			}
		}
	}
	h.serve(t, each(func(_ context.Context, b *penstock.Batch, m *penstock.Message) error {
		if err := m.Body.Parse(jsonview.Limits{}); err != nil {
			return err
		}
		if code := m.Body.Str(0, nil); code != "" {
			return penstock.E(penstock.Code(code), "fail", "", "as was asked")
		}
		return answer(b, m)
	}))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for _, code := range codes {
		reply, err := h.Send(ctx, t, `"`+string(code)+`"`)
		if err == nil || penstock.CodeOf(err) != code {
			t.Errorf("%s: the caller was told %q, %v", code, reply, err)
		}
		if got := h.send(t, "1"); got != "[1]" {
			t.Errorf("behind %s: %s", code, got)
		}
	}
}

func (h ServerHarness) without(t *testing.T) {
	h.serve(t, each(func(_ context.Context, _ *penstock.Batch, m *penstock.Message) error {
		m.Body = nil
		return nil
	}))
	for range 2 {
		if got := h.send(t, `{"a":1}`); got != "" {
			t.Errorf("a request without a reply was answered with %s", got)
		}
	}
}

func (h ServerHarness) refused(t *testing.T) {
	h.serve(t, handlerFunc(func(context.Context, *penstock.Batch) error {
		return penstock.E(penstock.Cancelled, "run", "", "the run is stopping")
	}))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if reply, err := h.Send(ctx, t, "1"); !penstock.CodeOf(err).Transient() {
		t.Errorf("the caller was told %q, %v; nothing was done, so that asking again is right", reply, err)
	}
}

func (h ServerHarness) drains(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := h.serve(t, each(func(_ context.Context, b *penstock.Batch, m *penstock.Message) error {
		close(begun)
		<-release
		return answer(b, m)
	}))
	got := make(chan string, 1)
	go func() { got <- h.send(t, "1") }()
	<-begun
	s.end()
	select {
	case err := <-s.done:
		t.Fatalf("Serve returned (%v) with a request that was not answered", err)
	default:
	}
	close(release)
	if err := s.stop(); err != nil {
		t.Error("Serve:", err)
	}
	if reply := <-got; reply != "[1]" {
		t.Errorf("the request that was there got %q", reply)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if reply, err := h.Send(ctx, t, "2"); err == nil {
		t.Errorf("after the end a request got %q", reply)
	}
}

func (h ServerHarness) gone(t *testing.T) {
	if !h.Cancels {
		t.Skip("the harness does not declare that it learns of it")
	}
	begun, over := make(chan struct{}), make(chan struct{})
	h.serve(t, each(func(ctx context.Context, _ *penstock.Batch, _ *penstock.Message) error {
		close(begun)
		<-ctx.Done()
		close(over)
		return ctx.Err()
	}))
	ctx, cancel := context.WithCancel(context.Background())
	sent := make(chan error, 1)
	go func() {
		_, err := h.Send(ctx, t, "1")
		sent <- err
	}()
	<-begun
	cancel()
	<-over
	if err := <-sent; err == nil {
		t.Error("who went away got an answer")
	}
}

func (h ServerHarness) idle(t *testing.T) {
	s := h.serve(t, each(func(_ context.Context, b *penstock.Batch, m *penstock.Message) error { return answer(b, m) }))
	if err := s.stop(); err != nil {
		t.Error("Serve:", err)
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.New(t).Serve(over, each(nil)); err != nil {
		t.Error("Serve in a context that has ended:", err)
	}
}
