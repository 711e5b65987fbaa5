package flowtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
)

// mishap is what goes wrong at a boundary of a flow.
type mishap uint8

const (
	crashBefore mishap = iota + 1 // the process dies before the other side has seen anything
	crashAfter                    // … when the other side has done it, and before the flow hears of it
	lateSuccess                   // the other side has done it, and its answer is lost: the flow sees a time-out
	duplicate                     // the source gives the message once more
)

// String names the mishap as reports do.
func (m mishap) String() string {
	return [...]string{"", "a crash before", "a crash after", "a time-out after the success of", "a duplicate of"}[m]
}

// boundary is a place where a flow touches what is outside of it, as it was come to.
type boundary struct {
	what    string   // "message 2 of from", "call country", "commit 3"
	mishaps []mishap // that can happen there
}

// fault lets one thing go wrong at one boundary. Of the zero fault nothing goes wrong, and the boundaries are listed.
type fault struct {
	at   int    // which boundary, from 0, with a mishap
	what mishap // 0: none

	mu        sync.Mutex
	met       []boundary
	happened  bool
	recovered bool // the flow was started again
}

// meet says what goes wrong at the boundary that is come to now; 0 is nothing.
func (f *fault) meet(what string, can ...mishap) mishap {
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.met)
	f.met = append(f.met, boundary{what, can})
	if f.what == 0 || n != f.at || f.happened {
		return 0
	}
	f.happened = true
	return f.what
}

// crashed says that the process has died and was not started again yet.
func (f *fault) crashed() bool {
	if f == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.happened && !f.recovered && (f.what == crashBefore || f.what == crashAfter)
}

func (f *fault) again() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recovered = true
}

// fall is the death of the process, from within: nothing that it still does counts.
func (w *world) fall() {
	w.life.over.Store(true)
	if w.store != nil {
		w.store.Fail(errCrashed)
	}
	w.life.end()
}

// recover starts the flow again after a fall.
func (w *world) recover() error {
	if !w.fault.crashed() {
		return nil
	}
	w.fault.again()
	if err := w.crash(); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	return w.pace.settle(w.ctx)
}

// faulty is the store of a run in which commits are boundaries.
type faulty struct {
	*memory.Store
	w *world
	n int
	m sync.Mutex
}

// Submit implements store.Store.
func (s *faulty) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	s.m.Lock()
	s.n++
	what := s.w.fault.meet(fmt.Sprintf("commit %d", s.n), crashBefore, crashAfter)
	s.m.Unlock()
	switch what {
	case crashBefore:
		s.w.fall()
	case crashAfter:
		inner, outer := s.Store.Submit(c, f), store.NewCommit()
		go func() {
			_ = inner.Wait(context.Background()) // whether it was durable is seen after the start
			s.w.fall()
			outer.Finish(errCrashed)
		}()
		return outer
	}
	return s.Store.Submit(c, f)
}

// errLate is what the flow sees of an answer that was lost.
var errLate = &penstock.Error{Code: penstock.Timeout, Op: "crash test", Err: errors.New("the answer was lost")}
