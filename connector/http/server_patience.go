package http

import (
	"context"
	"sync"
	"time"
)

// patience is the context of a request: that of its connection, with a deadline. It costs next to nothing as long as nobody waits for its
// end, which a flow without calls never does: a timer and what hangs on it (context.WithTimeout) would be a third of what the
// server itself does for a small request. Who waits has it armed, once, however many there are.
type patience struct {
	context.Context
	until time.Time

	mu    sync.Mutex
	err   error         // why it has ended; nil: it has not
	done  chan struct{} // nil: nobody has asked for it
	calls []*func()     // what is done when it ends
	first [1]*func()    // memory of calls
	timer *time.Timer   // nil: nobody waits
	stop  func() bool   // lets go of the connection's context
}

func newPatience(parent context.Context, d time.Duration) *patience {
	return &patience{Context: parent, until: time.Now().Add(d)}
}

// Deadline implements context.Context.
func (p *patience) Deadline() (time.Time, bool) {
	if t, ok := p.Context.Deadline(); ok && t.Before(p.until) {
		return t, true
	}
	return p.until, true
}

// Done implements context.Context.
func (p *patience) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		p.done = make(chan struct{})
		if p.err != nil {
			close(p.done)
		}
		p.arm()
	}
	return p.done
}

// Err implements context.Context.
func (p *patience) Err() error {
	p.mu.Lock()
	err, armed := p.err, p.timer != nil
	p.mu.Unlock()
	switch {
	case err != nil || armed:
		return err
	case p.Context.Err() != nil:
		return p.Context.Err()
	case !time.Now().Before(p.until):
		return context.DeadlineExceeded
	}
	return nil
}

// AfterFunc does what context.AfterFunc says, which asks for it.
func (p *patience) AfterFunc(f func()) (stop func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		go f()
		return func() bool { return false }
	}
	if p.calls == nil {
		p.calls = p.first[:0]
	}
	p.calls = append(p.calls, &f)
	p.arm()
	return func() bool { return p.forget(&f) }
}

// forget takes a call back that was not made.
func (p *patience) forget(f *func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, c := range p.calls {
		if c == f {
			last := len(p.calls) - 1
			p.calls[i], p.calls[last] = p.calls[last], nil
			p.calls = p.calls[:last]
			return true
		}
	}
	return false
}

// arm has it end with its time, and with its connection. mu must be held.
func (p *patience) arm() {
	if p.timer != nil || p.err != nil {
		return
	}
	p.timer = time.AfterFunc(time.Until(p.until), func() { p.finish(context.DeadlineExceeded) })
	p.stop = context.AfterFunc(p.Context, func() { p.finish(p.Context.Err()) })
}

// end is called when the request was answered.
func (p *patience) end() { p.finish(context.Canceled) }

// finish ends it, once.
func (p *patience) finish(why error) {
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return
	}
	p.err = why
	calls, timer, stop := p.calls, p.timer, p.stop
	p.calls = nil
	if p.done != nil {
		close(p.done)
	}
	p.mu.Unlock()
	if timer != nil {
		timer.Stop()
		stop()
	}
	for _, f := range calls {
		go (*f)()
	}
}
