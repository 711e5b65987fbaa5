package lower

import (
	"log/slog"

	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
)

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// lowerLog writes a line for each message.
func (b *builder) lowerLog(s *resource.Step, v *resource.Log) {
	c := b.exprs().Template(v.Message, b.state.sc, expr.Plain)
	b.leaf(s, &step.Log{Message: c.Program, Level: levels[v.Level]}, v.Message.Source)
}
