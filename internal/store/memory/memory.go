// Package memory is a store that keeps everything in memory: for tests of runs, and for what `penstock
// test` runs. It keeps to all that [store.Store] promises but durability: what is committed is as durable as the Store value.
package memory

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// Store is a store in memory. It is safe for concurrent use. A run that ends without closing it, however it ends,
// leaves it as a crash would leave a file: another run can use it, or what [Store.Reopen] gives.
type Store struct {
	parts     int
	mu        sync.Mutex
	idle      sync.Cond // the writer has gone
	root      root      // what is committed
	queue     []job
	running   bool  // the writer's goroutine is there
	closed    bool  // no transactions any more
	fail      error // what the next commit fails with
	failAfter bool  // it is durable nevertheless
	failed    error // what all transactions fail with
	listeners map[string][]*listener
	stats     store.Stats
}

type job struct {
	f func(store.Tx) error
	c *store.Commit
}

type listener struct{ f func(store.Segment) }

var _ store.Store = (*Store)(nil)

// New makes an empty store of one part.
func New() *Store { return NewParts(1) }

// NewParts makes an empty store of so many parts, at least 1.
func NewParts(parts int) *Store {
	s := &Store{listeners: map[string][]*listener{}, parts: max(1, parts)}
	s.idle.L = &s.mu
	return s
}

// Submit implements [store.Store]. Transactions of both classes run in the order in which they were submitted, on a
// goroutine that lasts as long as there are any. Each is a commit of its own.
func (s *Store) Submit(_ store.Class, f func(store.Tx) error) *store.Commit {
	c := store.NewCommit()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Finish(unavailable(errClosed))
		return c
	}
	s.queue = append(s.queue, job{f, c})
	if !s.running {
		s.running = true
		go s.write()
	}
	return c
}

var errClosed = errors.New("the store is closed")

func unavailable(err error) error {
	return &penstock.Error{Code: penstock.Unavailable, Op: "store", Err: err, Hint: "start again: what is durable is known then"}
}

// write runs what is queued.
func (s *Store) write() {
	s.mu.Lock()
	for len(s.queue) > 0 {
		j := s.queue[0]
		s.queue[0] = job{}
		s.queue = s.queue[1:]
		s.mu.Unlock()
		j.c.Finish(s.commit(j.f))
		s.mu.Lock()
	}
	s.running = false
	s.idle.Broadcast()
	s.mu.Unlock()
}

// commit runs one transaction. Only the writer changes s.root.
func (s *Store) commit(f func(store.Tx) error) error {
	s.mu.Lock()
	t := &tx{view: newView(s.root)}
	err := s.failed
	s.mu.Unlock()
	if err != nil {
		return err
	}
	begin := time.Now()
	err = run(f, t)
	now := t.end()
	if err != nil {
		return err
	}
	s.mu.Lock()
	if s.fail != nil {
		s.failed = unavailable(s.fail)
		if s.failAfter {
			s.root = now
		}
		s.mu.Unlock()
		return s.failed
	}
	s.root = now
	s.stats.Commits++
	s.stats.Transactions++
	for _, g := range t.added {
		s.stats.Messages += int64(g.N)
		s.stats.Bytes += int64(len(g.Data))
	}
	s.stats.CommitTime += time.Since(begin)
	s.mu.Unlock()
	for _, g := range t.added {
		s.mu.Lock()
		to := s.listeners[g.Channel]
		s.mu.Unlock()
		for _, l := range to {
			l.f(g)
		}
	}
	return nil
}

// run runs f. A panic is the failure of this transaction, not of the store.
func run(f func(store.Tx) error, t *tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &penstock.Error{Code: penstock.Internal, Op: "transaction", Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	return f(t)
}

// View implements [store.Store].
func (s *Store) View(ctx context.Context, f func(store.View) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	v, closed, failed := newView(s.root), s.closed, s.failed
	s.mu.Unlock()
	switch {
	case closed:
		return unavailable(errClosed)
	case failed != nil:
		return failed
	}
	defer func() { *v.over = true }()
	return f(v)
}

// Notify implements [store.Store].
func (s *Store) Notify(channel string, f func(store.Segment)) (cancel func()) {
	l := &listener{f}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[channel] = append(s.listeners[channel][:len(s.listeners[channel]):len(s.listeners[channel])], l)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		var rest []*listener // a new one: the writer may be going through the old one
		for _, o := range s.listeners[channel] {
			if o != l {
				rest = append(rest, o)
			}
		}
		s.listeners[channel] = rest
	}
}

// Stats implements [store.Store]. The sizes are those of the keys, the values and the messages.
func (s *Store) Stats() store.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	s.root.channels.ascend("", func(_ string, c *channel) bool { st.FileBytes += c.bytes; return true })
	s.root.spaces.ascend("", func(_ string, p *space) bool { st.FileBytes += p.bytes; return true })
	return st
}

// Parts implements [store.Store].
func (s *Store) Parts() int { return s.parts }

// Close implements [store.Store]. What is committed is not lost: see [Store.Reopen].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.running {
		s.idle.Wait()
	}
	return nil
}

// Fail lets the next transaction that wants to commit fail with err, as an error of the disk does: it and all that
// follow fail with an error of code unavailable. What it wrote is lost.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.failAfter = err, false
}

// FailUnsure is as Fail, but what the failing transaction wrote is there when the store is opened again: nobody is told
// that a commit was durable, and it was.
func (s *Store) FailUnsure(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.failAfter = err, true
}

// Reopen gives the store that another process would find now, after this one was killed, closed, or had failed. What is
// queued on s fails, and s is closed.
func (s *Store) Reopen() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	queue := s.queue
	s.queue = nil
	for s.running {
		s.idle.Wait()
	}
	for _, j := range queue {
		j.c.Finish(unavailable(errClosed))
	}
	n := NewParts(s.parts)
	n.root = s.root
	return n
}
