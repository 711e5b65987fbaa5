package run

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// tap is a source that gives what is poured into it, one message at a time, until it is shut.
type tap struct {
	in     chan string
	read   int64
	mu     sync.Mutex
	opens  int
	closes int
	told   []penstock.Outcome
}

func newTap() *tap { return &tap{in: make(chan string)} }

func (s *tap) pour(from, to int) {
	for i := from; i < to; i++ {
		s.in <- fmt.Sprintf(`{"n":%d,"k":"k%d"}`, i, i%7)
	}
}

func (s *tap) Open(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens++
	return nil
}

func (s *tap) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closes++
	return nil
}

func (s *tap) Read(ctx context.Context, into *penstock.Batch) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case doc, ok := <-s.in:
		if !ok {
			return io.EOF
		}
		m := into.Append()
		m.Body.Reset(jsonview.JSON, into.Arena().Copy([]byte(doc)))
		m.Pos = penstock.Position{Stream: "tap", Offset: s.read, Next: s.read + 1}
		s.read++
		return nil
	}
}

func (s *tap) Settle(_ context.Context, o []penstock.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, o...)
	return nil
}

func (s *tap) settled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.told)
}

// eventually waits until a condition holds; one that never does ends with the tests' own limit.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	t.Log("waiting for", what)
	for !holds() {
		runtime.Gosched()
	}
}

func (s *noted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

// running starts a run with these instances, and stops it when the test ends.
func running(t testing.TB, p *plan.Plan, o Options) (r *Runner, over <-chan error) {
	t.Helper()
	if o.DeadLetters == "" && o.Store == nil {
		o.DeadLetters = t.TempDir()
	}
	r, err := New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := r.Run(ctx)
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		<-done
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		default:
		}
	})
	select {
	case <-r.lives.begun:
	case <-done:
	}
	return r, ended
}

func TestAPausedFlowReadsNothing(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			src, other, out, rest := newTap(), newTap(), &noted{}, &noted{}
			flow := func(name string) *plan.Flow {
				return &plan.Flow{Name: name, Order: order, Key: field("k"), Sources: []*plan.Endpoint{{Name: name + "/from", Driver: &penstock.Driver{Spec: penstock.Spec{Settle: penstock.Each}}}}, Nodes: next(send(name + "/to"))}
			}
			r, over := running(t, &plan.Plan{Flows: []*plan.Flow{flow("a"), flow("b")}}, Options{Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
				if ep == nil {
					return &noted{}, true
				}
				v, ok := map[string]any{"a/from": src, "b/from": other, "a/to": out, "b/to": rest}[ep.Name]
				return v, ok
			}})
			src.pour(0, 10)
			eventually(t, "ten messages", func() bool { return out.count() == 10 && src.settled() == 10 })
			if err := r.Pause("a"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the source stands still", r.list()[0].pumps[0].hold.standing)
			poured := make(chan struct{})
			go func() {
				src.pour(10, 20)
				close(poured)
			}()
			other.pour(0, 5)
			eventually(t, "the other flow", func() bool { return rest.count() == 5 })
			if s := r.Snapshot(); out.count() != 10 || s.Flows[0].State != StatePaused || s.Flows[1].State != StateRunning {
				t.Errorf("%+v", s.Flows)
			}
			if err := r.Resume("a"); err != nil {
				t.Fatal(err)
			}
			<-poured
			eventually(t, "the rest", func() bool { return out.count() == 20 })
			if err := r.Pause("c"); penstock.CodeOf(err) != penstock.NotFound {
				t.Error(err)
			}
			close(src.in)
			close(other.in)
			if err := <-over; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAPausedServerRefuses(t *testing.T) {
	b := &bench{flow: &plan.Flow{Name: "hello", Nodes: next(plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}})}}
	h := b.serve(t, Options{})
	if err := b.runner.Pause("hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(h, `{"name":"Ada"}`); penstock.CodeOf(err) != penstock.Unavailable || penstock.RetryAfterOf(err) == 0 {
		t.Errorf("a paused flow answers %v", err)
	}
	if err := b.runner.Resume("hello"); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(h, `{"name":"Ada"}`); err != nil || got != `{"greeting":"Hello, Ada"}` {
		t.Errorf("%s, %v", got, err)
	}
}
