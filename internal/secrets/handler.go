package secrets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"penstock.dev/penstock"
)

// Handler hides the values of secrets from everything that is logged: messages, and attributes that are text or print as text.
func (k *Keeper) Handler(next slog.Handler) slog.Handler { return &handler{next, k} }

type handler struct {
	next   slog.Handler
	keeper *Keeper
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if !h.keeper.values.Hides() {
		return h.next.Handle(ctx, r)
	}
	clean := slog.NewRecord(r.Time, r.Level, h.keeper.Redact(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.attr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = h.attr(a)
	}
	return &handler{h.next.WithAttrs(clean), h.keeper}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.next.WithGroup(name), h.keeper}
}

// attr gives a as it may be seen: itself where there is nothing to hide.
func (h *handler) attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		v = slog.StringValue(h.keeper.Redact(v.String()))
	case slog.KindGroup:
		group := v.Group()
		clean := make([]slog.Attr, len(group))
		for i, m := range group {
			clean[i] = h.attr(m)
		}
		v = slog.GroupValue(clean...)
	case slog.KindAny:
		var text string
		switch v := v.Any().(type) {
		case error:
			text = v.Error()
		case []byte:
			text = string(v)
		default:
			text = fmt.Sprintf("%+v", v)
		}
		if hidden := h.keeper.Redact(text); hidden != text {
			v = slog.StringValue(hidden)
		}
	}
	return slog.Attr{Key: a.Key, Value: v}
}

// RedactError gives err, or, where its text holds the value of a secret, an error of the same code without it. What is below it
// is then out of sight for errors.As, since it could be printed.
func (k *Keeper) RedactError(err error) error {
	if err == nil || !k.values.Hides() {
		return err
	}
	text := err.Error()
	hidden := k.Redact(text)
	if hidden == text {
		return err
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok { // each of a join by itself
		var errs []error
		for _, e := range several.Unwrap() {
			errs = append(errs, k.RedactError(e))
		}
		if joined := errors.Join(errs...); k.Redact(joined.Error()) == joined.Error() {
			return joined
		}
	}
	return &penstock.Error{Code: penstock.CodeOf(err), Err: errors.New(hidden)}
}
