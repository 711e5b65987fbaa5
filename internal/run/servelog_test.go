package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// TestFailedRequestsAreLogged holds that what its caller is not told of a failed request is in the log: as an error where the fault is here, as
// a warning where it may pass, and only for who looks for it where it was the caller's.
func TestFailedRequestsAreLogged(t *testing.T) {
	for _, tc := range []struct {
		err         error
		level, code string
	}{
		{errors.New("table users: no such column"), "ERROR", "internal"},
		{penstock.E(penstock.Config, "sql", "", "no such table"), "ERROR", "config"},
		{&penstock.Error{Code: penstock.Unavailable, Op: "http", Err: errors.New("connection refused")}, "WARN", "unavailable"},
		{penstock.E(penstock.Timeout, "http", "", "no answer"), "WARN", "timeout"},
		{penstock.E(penstock.Limited, "http", "", "too many"), "WARN", "limited"},
		{penstock.E(penstock.Unprocessable, "map", "name", "no such key"), "DEBUG", "unprocessable"},
		{penstock.E(penstock.NotFound, "http", "", "404"), "DEBUG", "notFound"},
	} {
		t.Run(tc.code, func(t *testing.T) {
			var out bytes.Buffer
			fails := steps(func(*penstock.Batch, *penstock.Message) error { return tc.err })
			b := &bench{flow: &plan.Flow{Name: "hello", Nodes: next(plan.Node{Name: "ask", Verb: "map", Op: &plan.Apply{Step: fails}})}}
			b.flow.OnError.Retry = plan.Retry{Attempts: 1, Factor: 2}
			h := b.serve(t, Options{Logger: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			if _, err := ask(h, `{}`); err == nil {
				t.Fatal("it went through")
			}
			var found map[string]any
			for line := range strings.Lines(out.String()) {
				var got map[string]any
				if err := json.Unmarshal([]byte(line), &got); err != nil {
					t.Fatal(err)
				}
				if got["msg"] == "request failed" {
					found = got
				}
			}
			if found["level"] != tc.level || found["flow"] == nil || found["message_id"] == nil || found["correlation_id"] == nil || found["step"] == nil {
				t.Errorf("the log has %v of it, want level %s", found, tc.level)
			}
		})
	}
}
