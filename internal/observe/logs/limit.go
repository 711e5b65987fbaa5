package logs

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"penstock.dev/penstock"
)

// DefaultEvery is how long lines of one kind are counted together.
const DefaultEvery = 10 * time.Second

// first is how many lines of a kind are written in that time, before the others are counted.
const first = 5

// maxKinds bounds the kinds that are told apart. Where there are more, all that have no place are one.
const maxKinds = 1000

// limit leaves out lines that tell of the same error again and again: those with an err, from warnings on, with the same message, flow, step and
// code. What was left out is said on the next line that is written, and at the latest when the time is over.
type limit struct {
	next slog.Handler
	all  *kinds
	of   kind // what attributes of the logger say
}

// kind is what lines have in common that are counted together.
type kind struct {
	level slog.Level
	msg   string
	flow  string
	step  string
	code  string
	err   bool
}

// with adds what an attribute says.
func (k *kind) with(a slog.Attr) {
	switch a.Key {
	case "flow":
		k.flow = a.Value.String()
	case "step":
		k.step = a.Value.String()
	case Code:
		k.code = a.Value.String()
	case Err:
		k.err = true
	}
}

type kinds struct {
	every time.Duration
	clock penstock.Clock

	mu     sync.Mutex
	m      map[kind]*count
	waits  bool          // somebody waits for the time to be over
	closed bool          // nothing is left out any more
	stop   chan struct{} // ends who waits
	done   sync.WaitGroup
}

// count is what was written and left out of a kind.
type count struct {
	until   time.Time
	written int
	left    int
	last    slog.Record  // that was left out
	to      slog.Handler // it
}

func newLimit(next slog.Handler, every time.Duration, clock penstock.Clock) *limit {
	if every == 0 {
		every = DefaultEvery
	}
	return &limit{next: next, all: &kinds{every: every, clock: clock, m: map[kind]*count{}, stop: make(chan struct{})}}
}

// Enabled implements slog.Handler.
func (l *limit) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (l *limit) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := &limit{next: l.next.WithAttrs(attrs), all: l.all, of: l.of}
	for _, a := range attrs {
		out.of.with(a)
	}
	return out
}

// WithGroup implements slog.Handler.
func (l *limit) WithGroup(name string) slog.Handler {
	return &limit{next: l.next.WithGroup(name), all: l.all, of: l.of}
}

// Handle implements slog.Handler.
func (l *limit) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn || l.all.every < 0 {
		return l.next.Handle(ctx, r)
	}
	k := l.of
	k.level, k.msg = r.Level, r.Message
	r.Attrs(func(a slog.Attr) bool {
		k.with(a)
		return true
	})
	if !k.err {
		return l.next.Handle(ctx, r)
	}
	left, write := l.all.take(k, r, l.next)
	if !write {
		return nil
	}
	if left > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int(Suppressed, left))
	}
	return l.next.Handle(ctx, r)
}

// take counts a line. It says whether it is to be written, and how many were left out before it.
func (a *kinds) take(k kind, r slog.Record, to slog.Handler) (left int, write bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return 0, true
	}
	now := a.clock.Now()
	c := a.m[k]
	if c == nil && len(a.m) >= maxKinds {
		a.forget(now)
		if len(a.m) >= maxKinds {
			k = kind{level: k.level, err: true}
			c = a.m[k]
		}
	}
	if c == nil {
		c = &count{}
		a.m[k] = c
	}
	if !now.Before(c.until) {
		left = c.left
		*c = count{until: now.Add(a.every)}
	}
	if c.written < first {
		c.written++
		return left, true
	}
	c.left++
	c.last, c.to = r.Clone(), to
	if !a.waits {
		a.waits = true
		a.done.Go(a.wait)
	}
	return 0, false
}

// forget drops kinds that have nothing to say.
func (a *kinds) forget(now time.Time) {
	for k, c := range a.m {
		if c.left == 0 && !now.Before(c.until) {
			delete(a.m, k)
		}
	}
}

// wait says what was left out when the time is over, and ends when there is nothing to say.
func (a *kinds) wait() {
	for {
		c, stop := a.clock.NewTimer(a.every)
		select {
		case <-c:
			stop()
		case <-a.stop:
			stop()
			return
		}
		a.mu.Lock()
		over := a.due(a.clock.Now())
		a.waits = !over
		a.mu.Unlock()
		if over {
			return
		}
	}
}

// due writes the last of the lines that were left out, with how many there were, of kinds whose time is over at now. It says whether no
// other has anything left to say.
func (a *kinds) due(now time.Time) (over bool) {
	over = true
	for k, c := range a.m {
		switch {
		case now.Before(c.until):
			over = over && c.left == 0
		case c.left > 0:
			c.last.AddAttrs(slog.Int(Suppressed, c.left-1)) // itself is one of them
			_ = c.to.Handle(context.Background(), c.last)   // as slog does: where the log can't be written nothing can be said
			delete(a.m, k)
		default:
			delete(a.m, k)
		}
	}
	return over
}

// flush says what was left out, and leaves out nothing any more.
func (a *kinds) flush() {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return
	}
	a.closed = true
	a.due(a.clock.Now().Add(2 * a.every))
	a.mu.Unlock()
	close(a.stop)
	a.done.Wait()
}
