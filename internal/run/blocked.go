package run

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"penstock.dev/penstock"
)

// UnreadableEvent is the error of [Entities].Event for an event that the configuration can't read: nothing knows its type or the version of its
// schema, or bringing it to what is known fails. Who reads stands there until there is another configuration; nothing is skipped.
type UnreadableEvent struct {
	Event string // entity/account#00@12
	Type  string
	Key   string // of the entity that it happened to
	Err   error  // what is wrong with it; Error gives its text
}

// Error implements error.
func (e *UnreadableEvent) Error() string { return e.Err.Error() }

// Unwrap gives what is wrong.
func (e *UnreadableEvent) Unwrap() error { return e.Err }

// Blocked says at which event a flow stands, and why. Other parts of the entity's events, and other flows, go on.
type Blocked struct {
	Event   string        `json:"event"` // entity/account#00@12
	Type    string        `json:"type"`
	Key     string        `json:"key"` // of the entity that it happened to
	Code    penstock.Code `json:"code"`
	Message string        `json:"message"` // what is wrong with it
	Since   time.Time     `json:"since"`   // when this process came to it
}

// standing is where a source stands that has come to an event which it can't read. It is safe for concurrent use.
type standing struct {
	mu   sync.Mutex
	cond cond
	at   *Blocked // nil: it doesn't
	turn uint64   // counts what may have changed what can be read
}

// block notes that the source stands at an event, and waits: until it is to try again (nil), ctx ends, or, where nobody sends any more and so nothing
// can change in this run, with io.EOF. What is wrong stays noted until an event was read. turn is that of when the event was tried.
func (s *channelSource) block(ctx context.Context, u *UnreadableEvent, turn uint64) error {
	f, w := s.f, &s.standing
	b := &Blocked{Event: u.Event, Type: u.Type, Key: u.Key, Code: penstock.CodeOf(u), Message: f.hide(u).Error(), Since: f.r.clock.Now()}
	stop := w.cond.wakeAfter(ctx)
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at == nil || w.at.Event != b.Event || w.at.Message != b.Message {
		w.at = b
		f.log.Error("the flow stands at an event that it can't read, and goes on once the configuration knows it", "event", b.Event, "error", b.Message)
	}
	for w.turn == turn && ctx.Err() == nil {
		if s.d.ended.Load() && !f.r.opts.Stays {
			return io.EOF
		}
		w.cond.wait()
	}
	return context.Cause(ctx)
}

// look has the source look whether it still has to stand: again says that the event is to be tried again.
func (w *standing) look(again bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if again {
		w.turn++
	}
	w.cond.wake()
}

// tries says which turn it is.
func (w *standing) tries() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.turn
}

// goesOn says that the source has read an event, and at which one it stood before; nil: at none.
func (w *standing) goesOn() *Blocked {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.at
	w.at = nil
	return was
}

func (w *standing) blocked() *Blocked {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// unblock has the flow try the events again at which it stands.
func (f *flow) unblock() {
	for _, s := range f.events {
		s.standing.look(true)
	}
}

// blocks lists the events at which the flow stands.
func (f *flow) blocks() []Blocked {
	var out []Blocked
	for _, s := range f.events {
		if b := s.standing.blocked(); b != nil {
			out = append(out, *b)
		}
	}
	return out
}

// blocked is the error of a run that has ended with flows before events that they can't read; nil: there are none.
func (r *Runner) blocked() error {
	for _, f := range r.list() {
		if all := f.blocks(); len(all) > 0 {
			b := all[0]
			return &penstock.Error{Code: b.Code, Op: "read " + f.plan.Name, Path: b.Event, Err: fmt.Errorf("the flow has stopped at an event that it can't read: %s", b.Message),
				Hint: "have the configuration know the event (`events`, `version`, `upcast`): the next run goes on there"}
		}
	}
	return nil
}
