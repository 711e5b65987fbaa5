package control

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
)

// from reads where a run begins to read: see RunOptions.From.
func (s *Service) from(p *plan.Plan, text string) (run.From, error) {
	var from run.From
	if text == "" {
		return from, nil
	}
	if d, err := penstock.ParseDuration(text); err == nil && d > 0 {
		from.Time = s.clock().Now().Add(-time.Duration(d))
	} else if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		from.Position = &n
	} else if t, ok := parseTime(text); ok {
		from.Time = t
	} else if text == "start" {
		from.Start = true
	} else {
		return from, &penstock.Error{Code: penstock.Config, Op: "--from", Err: fmt.Errorf("%q is no place to begin at", text),
			Hint: "write start, a duration (2h), a time (2026-11-23T08:00:00Z), or a position (1234)"}
	}
	if !p.Durable {
		return from, &penstock.Error{Code: penstock.Config, Op: "--from", Err: errors.New("these flows keep no positions: each run begins with the first message"),
			Hint: "leave --from out; or name a store in the Integration, so that runs go on where the last one stopped"}
	}
	return from, nil
}

// parseTime reads a time or a day.
func parseTime(text string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
