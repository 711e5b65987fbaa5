package pulsar

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"

	"penstock.dev/penstock"
)

// trouble is why no connection can be made. The client says only "connection error" to who asks it for something, and the reason to its log; and it tries again
// for as long as it may, also where that is no use.
type trouble struct {
	mu    sync.Mutex
	err   error // nil: the last connection could be made
	times int
	lasts chan struct{} // closed when the reason is one that does not pass by itself; nil: nobody waits
}

// enoughTimes is how often a reason has to be met to be believed.
const enoughTimes = 2

// met notes a reason.
func (t *trouble) met(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
	t.times++
	if t.hopeless() && t.lasts != nil {
		close(t.lasts)
		t.lasts = nil
	}
}

func (t *trouble) hopeless() bool {
	return t.times >= enoughTimes && !penstock.CodeOf(failure(t.err, "")).Transient()
}

// gone notes that a connection was made.
func (t *trouble) gone() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err, t.times = nil, 0
}

// last is the reason, and says whether it is one that does not pass by itself; nil if there is none.
func (t *trouble) last() (err error, sure bool) { //nolint:revive // the error is what is asked for
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err, t.err != nil && t.hopeless()
}

// wait gives a channel that is closed when there is no use in waiting any longer.
func (t *trouble) wait() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lasts == nil {
		t.lasts = make(chan struct{})
		t.times = 0
	}
	return t.lasts
}

// failure makes an Error of what the client says, with the reason where it knows one.
func (l *link) failure(err error, at string) error {
	if err == nil {
		return nil
	}
	out := failure(err, at)
	switch penstock.CodeOf(out) {
	case penstock.Timeout, penstock.Unavailable:
		if why, sure := l.trouble.last(); why != nil && (sure || strings.Contains(err.Error(), "connection error") || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errHopeless)) {
			return failure(why, at)
		}
	}
	return out
}

// errHopeless says that no connection can be made, and why is known.
var errHopeless = errors.New("no connection can be made")

// within calls do, which knows no context, and leaves it behind where ctx ends, or no connection can be made; what it makes later is given to drop.
func within[T any](ctx context.Context, l *link, do func() (T, error), drop func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	hopeless := l.trouble.wait()
	go func() {
		v, err := do()
		done <- result{v, err}
	}()
	leave := func(err error) (T, error) {
		go func() {
			if r := <-done; r.err == nil && drop != nil {
				drop(r.v)
			}
		}()
		var none T
		return none, err
	}
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		return leave(ctx.Err())
	case <-hopeless:
		return leave(errHopeless)
	}
}

// hearsay takes what the client says to its log a step lower, since it reports each try to mend a connection as an error, and hears from it why
// connections can't be made.
type hearsay struct {
	next    slog.Handler
	trouble *trouble
	err     error // that goes with the record
}

func lowered(l slog.Level) slog.Level {
	if l >= slog.LevelError {
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// Enabled implements slog.Handler. The client's own debugging is not for anybody else.
func (h *hearsay) Enabled(_ context.Context, l slog.Level) bool { return l > slog.LevelDebug }

// refusedBy begins what the client says when the broker refuses a connection, with the broker's words behind it.
const refusedBy = "Failed to establish connection with broker: "

// Handle implements slog.Handler.
func (h *hearsay) Handle(ctx context.Context, r slog.Record) error {
	switch {
	case r.Message == "Connection is ready":
		h.trouble.gone()
	case strings.HasPrefix(r.Message, refusedBy):
		if strings.Contains(r.Message, "maximum number of connections") {
			h.trouble.met(&penstock.Error{Code: penstock.Unavailable, Op: "pulsar", Err: errors.New(strings.TrimPrefix(r.Message, refusedBy))})
			break
		}
		h.trouble.met(&penstock.Error{Code: penstock.Unauthenticated, Op: "pulsar", Err: errors.New("the broker refuses the connection: " + strings.TrimPrefix(r.Message, refusedBy)), Hint: kinds[0].hint})
	case h.err == nil:
	case r.Message == "Failed to configure TLS ", r.Message == "Failed to connect to broker.", r.Message == "Failed to load auth credentials", r.Message == "Failed to perform initial handshake":
		h.trouble.met(h.err)
	}
	r.Level = lowered(r.Level)
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *hearsay) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := &hearsay{h.next.WithAttrs(attrs), h.trouble, h.err}
	for _, a := range attrs {
		if err, ok := a.Value.Any().(error); ok && a.Key == "error" {
			out.err = err
		}
	}
	return out
}

// WithGroup implements slog.Handler.
func (h *hearsay) WithGroup(name string) slog.Handler {
	return &hearsay{h.next.WithGroup(name), h.trouble, h.err}
}
