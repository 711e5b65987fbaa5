package step

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Log writes a line to the log for each message: the text, and the attributes flow, step, key (where there is one), message_id (where the
// message came from), correlation_id (its header x-correlation-id, or else the identity of its trace, or of the message itself), and where it
// has a trace trace_id and span_id, beside those that the run's logger has. It is a [Binder]: the logger is the run's. Messages are left as they are; one whose text can't be computed
// fails. Nothing is computed where the logger doesn't write the level.
type Log struct {
	Message penstock.Program
	Level   slog.Level

	logger *slog.Logger
	flow   string
	step   string
}

// Bind gives the step of a run, which writes to env.Logger; env.Name is "flow/step".
func (s *Log) Bind(env penstock.Env) penstock.Step {
	bound := &Log{Message: s.Message, Level: s.Level, logger: env.Logger}
	bound.flow, bound.step, _ = strings.Cut(env.Name, "/")
	return bound
}

// Process writes the lines.
func (s *Log) Process(ctx context.Context, b *penstock.Batch) error {
	if s.logger == nil {
		return &penstock.Error{Code: penstock.Internal, Op: "log", Err: errors.New("the step is not bound to a run")}
	}
	if !s.logger.Enabled(ctx, s.Level) {
		return nil
	}
	for i, m := range b.Msgs {
		text, err := text(s.Message.Eval(b.Frame(m)))
		if err != nil {
			b.Fail(i, failed("log", err))
			continue
		}
		attrs := append(make([]slog.Attr, 0, 7), slog.String("flow", s.flow), slog.String("step", s.step))
		if m.Key != "" {
			attrs = append(attrs, slog.String("key", strings.Clone(m.Key))) // a handler may keep it
		}
		s.logger.LogAttrs(ctx, s.Level, text, identities(attrs, m)...)
	}
	return nil
}

// identities appends what a line says of a message, for whoever looks for it elsewhere.
func identities(attrs []slog.Attr, m *penstock.Message) []slog.Attr {
	correlation, message := header(m, "x-correlation-id"), ""
	if t, ok := penstock.ParseTraceparent(header(m, "traceparent")); ok {
		trace := hex.EncodeToString(t.TraceID[:])
		attrs = append(attrs, slog.String("trace_id", trace), slog.String("span_id", hex.EncodeToString(t.SpanID[:])))
		if correlation == "" {
			correlation = trace
		}
	}
	if m.Lineage != nil {
		message = m.Lineage.Origin()
		attrs = append(attrs, slog.String("message_id", message))
	}
	if correlation == "" {
		correlation = message
	}
	if correlation != "" {
		attrs = append(attrs, slog.String("correlation_id", correlation))
	}
	return attrs
}

// header is the text of a header, which may be kept; "" where there is none.
func header(m *penstock.Message, name string) string {
	switch v := m.Meta.Get(name); v.Kind() {
	case penstock.KindString:
		return strings.Clone(v.Str())
	case penstock.KindNode:
		if d, n := v.Node(); d.Kind(n) == jsonview.String {
			return strings.Clone(d.Str(n, nil))
		}
	}
	return ""
}
