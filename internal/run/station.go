package run

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
)

// station stands between a driver that is called and the flow that answers: the driver knows one Handler for as long as it serves, and
// behind it one flow may follow another.
type station struct {
	r       *Runner
	driver  penstock.Server
	mounts  *mounts                // nil: it speaks no HTTP
	to      atomic.Pointer[server] // who answers; nil: nobody yet
	gate    atomic.Bool            // paused or halted
	mu      sync.Mutex
	paused  bool
	halted  bool
	changed chan struct{} // closed when one of these changes

	begun sync.Once
	says  bool // the driver says itself when it waits; it counts as busy for as long as it serves
	stop  context.CancelFunc
	over  chan struct{} // closed when the driver serves no more
	err   error         // … and why, if it was not asked to
}

var _ penstock.Handler = (*station)(nil)

func newStation(r *Runner) *station {
	return &station{r: r, changed: make(chan struct{}), over: make(chan struct{})}
}

// prepare waits until the driver can be reached, or has failed.
func (s *station) prepare(ctx context.Context) error {
	var reached <-chan struct{}
	if s.mounts != nil {
		reached = s.mounts.done
	} else {
		at := make(chan struct{})
		close(at)
		reached = at
	}
	select {
	case <-reached:
		return nil
	case <-s.over:
		if s.err == nil {
			return errors.New("the server has ended")
		}
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// begin lets the driver serve until ctx ends or stop is called.
func (s *station) begin(ctx context.Context) {
	s.begun.Do(func() {
		ctx, s.stop = context.WithCancel(ctx)
		if w, ok := s.driver.(Waiter); ok {
			s.says = true
			w.Waits(s.r.idle, s.r.busy)
			s.r.busy()
		}
		go func() {
			defer close(s.over)
			defer func() {
				if v := recover(); v != nil {
					s.err = NewFault("serve", v)
				}
			}()
			if err := s.driver.Serve(ctx, s); err != nil && ctx.Err() == nil {
				s.err = err
			}
		}()
	})
}

// retryAfter is how long who is refused by a paused flow is asked to wait.
const retryAfter = 5 * time.Second

// Handle implements penstock.Handler.
func (s *station) Handle(ctx context.Context, b *penstock.Batch) error {
	for {
		if s.gate.Load() {
			if err := s.wait(ctx); err != nil {
				return err
			}
		}
		to := s.to.Load()
		err := to.Handle(ctx, b)
		if !errors.Is(err, errStopping) || !s.gate.Load() && s.to.Load() == to {
			return err
		}
		// Nothing was done: another flow takes over, or has.
	}
}

// wait waits while one flow takes over from another. A paused flow refuses.
func (s *station) wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		paused, halted, changed := s.paused, s.halted, s.changed
		s.mu.Unlock()
		switch {
		case paused:
			return &penstock.Error{Code: penstock.Unavailable, Op: "serve", Err: errors.New("the flow is paused"), RetryAfter: retryAfter, Unsent: true, Hint: "ask again later: nothing was done"}
		case !halted:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ended(ctx)
		}
	}
}

func (s *station) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.gate.Store(s.paused || s.halted)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *station) pause(on bool) { s.change(func() { s.paused = on }) }
func (s *station) halt(on bool)  { s.change(func() { s.halted = on }) }
