package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is moved by the test.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	timers []chan time.Time
	asked  chan struct{} // gets one for each timer
}

func newClock() *clock { return &clock{now: time.Unix(1000, 0), asked: make(chan struct{}, 100)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) NewTimer(time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := make(chan time.Time, 1)
	c.timers = append(c.timers, t)
	c.asked <- struct{}{}
	return t, func() {}
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for _, t := range c.timers {
		t <- c.now
	}
	c.timers = nil
}

type buffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	wrote chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.wrote != nil {
		b.wrote <- struct{}{}
	}
	return b.b.Write(p)
}

func lines(t *testing.T, b *buffer) []map[string]any {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []map[string]any
	for line := range strings.Lines(b.b.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

func TestLineHasOneSchema(t *testing.T) {
	var b buffer
	l, closing := New(&b, Options{JSON: true, Clock: newClock()})
	defer closing()
	ctx := penstock.ContextWithTrace(context.Background(), penstock.TraceContext{TraceID: [16]byte{0xab}, SpanID: [8]byte{0xcd}})
	bad := fmt.Errorf("while: %w", penstock.E(penstock.Timeout, "ask", "", "no answer"))
	l = l.With("flow", "orders")
	l.InfoContext(ctx, "plain")
	l.Warn("failed", "step", "ask", "error", bad)
	l.Warn("failed", "step", "ask", "err", errors.New("plain error"))
	l.Warn("failed", "step", "ask", "error", "text")
	l.WarnContext(ctx, "its own", Trace, "123", Span, "4")
	l.With("error", bad).Error("from the logger")
	got := lines(t, &b)
	for i, want := range []map[string]any{
		{"msg": "plain", "level": "INFO", "flow": "orders", "trace_id": "ab000000000000000000000000000000", "span_id": "cd00000000000000"},
		{"msg": "failed", "level": "WARN", "flow": "orders", "step": "ask", "code": "timeout", "err": bad.Error()},
		{"msg": "failed", "code": "internal", "err": "plain error"},
		{"msg": "failed", "err": "text"},
		{"msg": "its own", "trace_id": "123", "span_id": "4"},
		{"msg": "from the logger", "code": "timeout", "err": bad.Error()},
	} {
		for k, v := range want {
			if got[i][k] != v {
				t.Errorf("line %d: %s is %v, want %v", i, k, got[i][k], v)
			}
		}
		if _, err := time.Parse(time.RFC3339Nano, got[i]["time"].(string)); err != nil || got[i]["error"] != nil {
			t.Errorf("line %d: %v", i, got[i])
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.b.String()) {
		if strings.Count(line, `"trace_id"`) > 1 {
			t.Errorf("twice in %s", line)
		}
	}
}

func TestPeopleReadLess(t *testing.T) {
	var b buffer
	l, closing := New(&b, Options{Terminal: true})
	defer closing()
	l.Info("hello", "step", "log1", Trace, "1", Span, "2", Message, "3", Correlation, "4")
	if got := b.b.String(); !strings.HasSuffix(got, " level=INFO msg=hello step=log1\n") || len(got) != len("time=15:04:05 level=INFO msg=hello step=log1\n") {
		t.Errorf("%q", got)
	}
}

func TestRepeatedErrorsAreCounted(t *testing.T) {
	b, c := &buffer{}, newClock()
	l, closing := New(b, Options{JSON: true, Clock: c, Every: 10 * time.Second})
	bad, other := penstock.E(penstock.Conflict, "", "", "no"), penstock.E(penstock.Invalid, "", "", "no")
	flow := l.With("flow", "f")
	for range 100 {
		flow.Warn("failed", "step", "a", "error", bad)
	}
	flow.Warn("failed", "step", "b", "error", bad)
	flow.Warn("failed", "step", "a", "error", other)
	for range 100 {
		flow.Info("said", "step", "a", "error", bad) // below warnings nothing is left out
		flow.Warn("said")                            // nor what is no error
	}
	if got := lines(t, b); len(got) != first+2+200 {
		t.Fatalf("%d lines", len(got))
	}
	c.move(11 * time.Second)
	flow.Warn("failed", "step", "a", "error", bad)
	closing()
	said := 0
	for _, g := range lines(t, b) {
		if g["step"] == "a" && g["code"] == "conflict" && g["level"] == "WARN" {
			said++
			if n, ok := g["suppressed"].(float64); ok {
				said += int(n)
			}
		}
	}
	if said != 101 {
		t.Errorf("%d of 101 lines are accounted for", said)
	}
}

// What was left out is said though nothing more happens.
func TestEndOfAFloodIsSaid(t *testing.T) {
	b, c := &buffer{wrote: make(chan struct{}, 100)}, newClock()
	l, closing := New(b, Options{JSON: true, Clock: c, Every: 10 * time.Second})
	defer closing()
	for i := range first + 3 {
		l.Error("failed", "n", i, "error", errors.New("no"))
	}
	<-c.asked
	for range first {
		<-b.wrote
	}
	c.move(11 * time.Second)
	<-b.wrote
	got := lines(t, b)
	if last := got[len(got)-1]; last["suppressed"] != 2.0 || last["n"] != float64(first+2) {
		t.Errorf("%v", last)
	}
}

func TestClosingSaysWhatWasLeftOut(t *testing.T) {
	b, c := &buffer{}, newClock()
	l, closing := New(b, Options{JSON: true, Clock: c})
	for range first + 10 {
		l.Error("failed", "error", errors.New("no"))
	}
	closing()
	closing()
	got := lines(t, b)
	if len(got) != first+1 || got[first]["suppressed"] != 9.0 {
		t.Errorf("%d lines, the last %v", len(got), got[len(got)-1])
	}
	l.Error("failed", "error", errors.New("no")) // after that all is said
	if n := len(lines(t, b)); n != first+2 {
		t.Errorf("%d lines", n)
	}
}

// However many kinds of errors there are, memory is bounded, and so is the log.
func TestKindsAreBounded(t *testing.T) {
	b, c := &buffer{}, newClock()
	l, closing := New(b, Options{JSON: true, Clock: c})
	for i := range 10 * maxKinds {
		l.Error(fmt.Sprintf("failed %d", i), "error", errors.New("no"))
	}
	closing()
	if n := len(lines(t, b)); n > maxKinds+2*first {
		t.Errorf("%d lines", n)
	}
}

func TestLevel(t *testing.T) {
	var b buffer
	l, closing := New(&b, Options{Level: slog.LevelWarn})
	defer closing()
	l.Info("not said")
	if l.Enabled(context.Background(), slog.LevelInfo) || b.b.Len() > 0 {
		t.Errorf("%s", b.b.String())
	}
}
