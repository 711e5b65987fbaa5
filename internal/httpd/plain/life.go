package plain

import (
	"context"
	"sync"
	"time"
)

// life is the context of a request. It ends with the request, and when the peer goes away. That somebody watches for the peer costs a goroutine
// that reads, so it is done for those only who wait for the end (Done, AfterFunc), and for requests that take longer than [long].
type life struct {
	context.Context // of the listener
	c               *conn
	begun           time.Time

	mu    sync.Mutex
	err   error
	done  chan struct{} // nil: nobody has asked for it
	calls []*func()
	watch chan struct{} // closed when nobody watches any more; nil: nobody ever did
}

// long is how long a request takes at least for which its peer is watched although nobody waits for its going away.
const long = 10 * time.Millisecond

// Done implements context.Context.
func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.err != nil {
			close(l.done)
		}
		l.arm()
	}
	return l.done
}

// Err implements context.Context.
func (l *life) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && l.watch == nil && time.Since(l.begun) > long {
		l.arm()
	}
	return l.err
}

// AfterFunc does what context.AfterFunc says, which asks for it.
func (l *life) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		go f()
		return func() bool { return false }
	}
	l.calls = append(l.calls, &f)
	l.arm()
	return func() bool { return l.forget(&f) }
}

// forget takes a call back that was not made.
func (l *life) forget(f *func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range l.calls {
		if c == f {
			last := len(l.calls) - 1
			l.calls[i], l.calls[last] = l.calls[last], nil
			l.calls = l.calls[:last]
			return true
		}
	}
	return false
}

// arm has the peer watched. mu is held.
func (l *life) arm() {
	if l.watch != nil || l.err != nil {
		return
	}
	l.watch = make(chan struct{})
	l.c.unbound()
	go func() {
		defer close(l.watch)
		if l.c.peerLeft() {
			l.finish()
		}
	}()
}

// end is called when the request was answered. Nobody reads from the connection any more when it returns.
func (l *life) end() {
	l.finish()
	if l.watch != nil { // nobody writes it any more
		l.c.wake(l.watch)
	}
}

// finish ends it, once.
func (l *life) finish() {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = context.Canceled
	calls := l.calls
	l.calls = nil
	if l.done != nil {
		close(l.done)
	}
	l.mu.Unlock()
	for _, f := range calls {
		go (*f)()
	}
}
