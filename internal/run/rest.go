package run

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A run is at rest when none of its goroutines can go on before its clock or a source gives it
// something. Each goroutine that can go on counts as one. Who waits for another goroutine
// takes itself off the count, and who wakes it counts it again beforehand, so that the count
// never touches zero in between. Who waits for the clock counts itself again before it stops its timer:
// a clock that fires a timer knows by its stop that the run has taken notice.

// busy counts one more goroutine that can go on.
func (r *Runner) busy() { r.busyN.Add(1) }

// idle takes one off the count.
func (r *Runner) idle() {
	if r.busyN.Add(-1) == 0 && r.opts.OnIdle != nil {
		r.opts.OnIdle()
	}
}

// Idle reports whether the run is at rest. It is not before Run has begun.
func (r *Runner) Idle() bool { return r.busyN.Load() == 0 }

// Await waits for a timer of the run's clock without keeping the run from its rest: what a
// replaced caller or sink does to take its time. It returns false when ctx has ended. The
// timer must be stopped afterwards.
func (r *Runner) Await(ctx context.Context, c <-chan time.Time) bool {
	r.idle()
	defer r.busy()
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

// Waiter is a replaced source, or server, that says itself when it waits. It calls idle when Read, or Serve, begins to
// wait, and whoever wakes it calls busy beforehand. Any other source counts as waiting all
// through Read, any other server all through Serve but for its requests; those of a Waiter are counted by who makes them.
type Waiter interface {
	Waits(idle, busy func())
}

// all runs f for each i at once and waits for all. The caller counts as busy only through them.
func (r *Runner) all(n int, f func(i int)) {
	if n == 0 {
		return
	}
	r.busyN.Add(int64(n) - 1)
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			f(i)
			if left.Add(-1) > 0 { // the last one's is the caller's again
				r.idle()
			}
		})
	}
	wg.Wait()
}

// cond is a condition variable whose waiters don't count as busy.
type cond struct {
	sync.Cond
	r *Runner
	n int64 // waiters
}

func (c *cond) init(r *Runner, l sync.Locker) { c.r, c.L = r, l }

// wait is Wait. What it waits for must be looked at again: wake wakes all.
func (c *cond) wait() {
	c.n++
	c.r.idle()
	c.Wait()
}

// wake is Broadcast, under the lock.
func (c *cond) wake() {
	c.r.busyN.Add(c.n)
	c.n = 0
	c.Broadcast()
}

// wakeAfter wakes the waiters when ctx ends, until it is stopped.
func (c *cond) wakeAfter(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		c.L.Lock()
		defer c.L.Unlock()
		c.wake()
	})
}

// slots lets so many in at a time. Who waits to be let in does not count as busy.
type slots struct {
	r    *Runner
	mu   sync.Mutex
	free int
	line []chan struct{}
}

func newSlots(r *Runner, n int) *slots { return &slots{r: r, free: n} }

// take waits for a slot; false when done is closed.
func (s *slots) take(done <-chan struct{}) bool {
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return true
	}
	c := make(chan struct{})
	s.line = append(s.line, c)
	s.mu.Unlock()
	s.r.idle()
	select {
	case <-c:
		return true
	case <-done:
	}
	s.mu.Lock()
	i := slices.Index(s.line, c)
	if i >= 0 {
		s.line = slices.Delete(s.line, i, i+1)
		s.r.busy()
	}
	s.mu.Unlock()
	if i < 0 { // let in at the same moment
		s.give()
	}
	return false
}

// within is take for as long as ctx lasts. Its end is only asked for where there is something to wait for.
func (s *slots) within(ctx context.Context) bool {
	s.mu.Lock()
	free := s.free > 0
	if free {
		s.free--
	}
	s.mu.Unlock()
	return free || s.take(ctx.Done())
}

// give gives a slot back.
func (s *slots) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.line) == 0 {
		s.free++
		return
	}
	s.r.busy()
	close(s.line[0])
	s.line = slices.Delete(s.line, 0, 1)
}
