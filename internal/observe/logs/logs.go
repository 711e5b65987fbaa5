// Package logs writes the log: JSON for machines, text for people, with the same names for the same things.
//
//	time level msg                  of every line
//	flow step                       what it is about
//	trace_id span_id                of the message, where it has a trace
//	correlation_id message_id       of the message: what it belongs to, and where it came from
//	code err                        what went wrong: the code of the error, and its text
//	suppressed                      how many lines of this kind were left out before this one
//
// Whatever else a line says stands under names of its own.
package logs

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"time"

	"penstock.dev/penstock"
)

// Names of attributes that lines have in common.
const (
	Trace       = "trace_id"
	Span        = "span_id"
	Correlation = "correlation_id"
	Message     = "message_id"
	Code        = "code"
	Err         = "err"
	Suppressed  = "suppressed"
)

// Options say how the log is written.
type Options struct {
	JSON  bool
	Level slog.Level
	// Terminal says that a person reads along: lines have the time of day alone, and leave out identities of messages.
	Terminal bool
	// Every is how long lines of one kind that tell of an error are counted together; 0 is [DefaultEvery], negative never.
	Every time.Duration
	// Clock paces that; nil is the machine's.
	Clock penstock.Clock
}

// New makes a logger that writes to w. Close flushes what it has to say of lines that were left out; afterwards it says all.
func New(w io.Writer, o Options) (l *slog.Logger, closing func()) {
	h := &slog.HandlerOptions{Level: o.Level}
	var out slog.Handler
	switch {
	case o.JSON:
		out = slog.NewJSONHandler(w, h)
	default:
		if o.Terminal {
			h.ReplaceAttr = forPeople
		}
		out = slog.NewTextHandler(w, h)
	}
	if o.Clock == nil {
		o.Clock = penstock.SystemClock{}
	}
	limit := newLimit(out, o.Every, o.Clock)
	return slog.New(&handler{next: limit}), limit.all.flush
}

// forPeople shortens the time, and leaves out what no person reads.
func forPeople(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch a.Key {
	case slog.TimeKey:
		return slog.String(slog.TimeKey, a.Value.Time().Format(time.TimeOnly))
	case Trace, Span, Correlation, Message:
		return slog.Attr{}
	}
	return a
}

// handler gives errors and traces their names.
type handler struct {
	next slog.Handler
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	trace := penstock.TraceFrom(ctx)
	change := !trace.IsZero()
	r.Attrs(func(a slog.Attr) bool {
		change = change || a.Key == "error" || a.Key == Err
		return !change
	})
	if !change {
		return h.next.Handle(ctx, r)
	}
	out := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(named(a)...)
		if a.Key == Trace {
			trace = penstock.TraceContext{} // it says so itself
		}
		return true
	})
	if !trace.IsZero() {
		out.AddAttrs(slog.String(Trace, hex.EncodeToString(trace.TraceID[:])), slog.String(Span, hex.EncodeToString(trace.SpanID[:])))
	}
	return h.next.Handle(ctx, out)
}

// named gives an error its code.
func named(a slog.Attr) []slog.Attr {
	if a.Key != "error" && a.Key != Err {
		return []slog.Attr{a}
	}
	v := a.Value.Resolve()
	err, ok := v.Any().(error)
	if !ok || err == nil {
		return []slog.Attr{{Key: Err, Value: v}}
	}
	return []slog.Attr{slog.String(Code, string(penstock.CodeOf(err))), slog.String(Err, err.Error())}
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	var out []slog.Attr
	for _, a := range attrs {
		out = append(out, named(a)...)
	}
	return &handler{h.next.WithAttrs(out)}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler { return &handler{h.next.WithGroup(name)} }
