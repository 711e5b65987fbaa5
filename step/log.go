package step

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"penstock.dev/penstock"
)

// Log writes a line to the log for each message: the text, and the attributes step and key (where there is one)
// beside those that the run's logger has, such as the flow. It is a [Binder]: the logger is the run's. Messages are left as they are; one whose text can't be computed
// fails. Nothing is computed where the logger doesn't write the level.
type Log struct {
	Message penstock.Program
	Level   slog.Level

	logger *slog.Logger
	step   string
}

// Bind gives the step of a run, which writes to env.Logger; env.Name is "flow/step".
func (s *Log) Bind(env penstock.Env) penstock.Step {
	bound := &Log{Message: s.Message, Level: s.Level, logger: env.Logger}
	_, bound.step, _ = strings.Cut(env.Name, "/")
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
		attrs := [2]slog.Attr{slog.String("step", s.step)}
		n := 1
		if m.Key != "" {
			attrs[n] = slog.String("key", strings.Clone(m.Key)) // a handler may keep it
			n++
		}
		s.logger.LogAttrs(ctx, s.Level, text, attrs[:n]...)
	}
	return nil
}
