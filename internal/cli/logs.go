package cli

import (
	"io"
	"log/slog"

	"penstock.dev/penstock/internal/observe/logs"
)

// newLogger logs to w: text for people, with the time of day alone, or JSON for machines. Close says what was left out.
func newLogger(w io.Writer, level string, asJSON, onTerminal bool) (l *slog.Logger, closing func()) {
	var min slog.Level
	_ = min.UnmarshalText([]byte(level)) // the flag takes only levels that are there
	return logs.New(w, logs.Options{JSON: asJSON, Level: min, Terminal: onTerminal})
}
