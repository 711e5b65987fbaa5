package run

import (
	"context"
	"sync"
)

// awaited is the context of a request of which others wait for the end: it ends with that of its caller, when the flow is aborted (with [errAborted]), and
// when the request was answered. It does what context.WithCancelCause and context.AfterFunc would, for a fifth of their price: nothing is
// registered anywhere before somebody asks for its end, and then once.
type awaited struct {
	context.Context // the caller's
	s               *server

	mu    sync.Mutex
	err   error         // why it has ended; nil: it has not
	done  chan struct{} // nil: nobody has asked for it
	calls []*func()     // what is done when it ends
	first [2]*func()    // memory of calls
	stop  func() bool   // lets go of the caller's context; nil: nobody waits yet
	at    int           // place among those of the server that are waited for
}

var _ context.Context = (*awaited)(nil)

// await gives a request's context.
func (s *server) await(ctx context.Context) *awaited { return &awaited{Context: ctx, s: s} }

// Done implements context.Context.
func (a *awaited) Done() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done == nil {
		a.done = make(chan struct{})
		if a.err != nil {
			close(a.done)
		}
		a.arm()
	}
	return a.done
}

// Err implements context.Context.
func (a *awaited) Err() error {
	a.mu.Lock()
	err, armed := a.err, a.stop != nil
	a.mu.Unlock()
	switch {
	case err != nil || armed:
		return err
	case a.s.f.ctx.Err() != nil:
		return errAborted
	}
	return a.Context.Err()
}

// AfterFunc does what context.AfterFunc says, which asks for it.
func (a *awaited) AfterFunc(f func()) (stop func() bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		go f()
		return func() bool { return false }
	}
	if a.calls == nil {
		a.calls = a.first[:0]
	}
	a.calls = append(a.calls, &f)
	a.arm()
	return func() bool { return a.forget(&f) }
}

// forget takes a call back that was not made.
func (a *awaited) forget(f *func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, c := range a.calls {
		if c == f {
			last := len(a.calls) - 1
			a.calls[i], a.calls[last] = a.calls[last], nil
			a.calls = a.calls[:last]
			return true
		}
	}
	return false
}

// arm has it end with what it depends on. mu must be held.
func (a *awaited) arm() {
	if a.stop != nil || a.err != nil {
		return
	}
	a.stop = afterFunc(a.Context, func() { a.end(a.Context.Err()) })
	if !a.s.awaiting.add(a) { // the flow was aborted
		go a.end(errAborted)
	}
}

// end ends it, once.
func (a *awaited) end(why error) {
	a.mu.Lock()
	if a.err != nil {
		a.mu.Unlock()
		return
	}
	a.err = why
	calls, armed, stop := a.calls, a.stop != nil, a.stop
	a.calls = nil
	if a.done != nil {
		close(a.done)
	}
	a.mu.Unlock()
	if armed {
		stop()
		a.s.awaiting.remove(a)
	}
	for _, f := range calls {
		go (*f)()
	}
}

// afterFunc is context.AfterFunc, without what that puts around a context that knows it itself.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	if own, ok := ctx.(interface {
		AfterFunc(func()) func() bool
	}); ok {
		return own.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

// waiters are the requests of a server that end when its flow is aborted.
type waiters struct {
	mu   sync.Mutex
	all  []*awaited
	over bool
}

// add says whether the flow still runs.
func (w *waiters) add(a *awaited) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		a.at = -1
		return false
	}
	a.at = len(w.all)
	w.all = append(w.all, a)
	return true
}

func (w *waiters) remove(a *awaited) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.at < 0 {
		return
	}
	last := len(w.all) - 1
	w.all[a.at] = w.all[last]
	w.all[a.at].at = a.at
	w.all[last], a.at = nil, -1
	w.all = w.all[:last]
}

// abort ends them all, and those that come later.
func (w *waiters) abort() {
	w.mu.Lock()
	w.over = true
	all := append([]*awaited(nil), w.all...)
	w.mu.Unlock()
	for _, a := range all {
		a.end(errAborted)
	}
}
