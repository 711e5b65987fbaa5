package cli

import (
	"io"
	"log/slog"
	"time"
)

// newLogger logs to w: text for people, with the time of day alone, or JSON for machines.
func newLogger(w io.Writer, level string, asJSON, onTerminal bool) *slog.Logger {
	var min slog.Level
	_ = min.UnmarshalText([]byte(level)) // the flag takes only levels that are there
	o := &slog.HandlerOptions{Level: min}
	if asJSON {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	if onTerminal {
		o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.String(slog.TimeKey, a.Value.Time().Format(time.TimeOnly))
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(w, o))
}
