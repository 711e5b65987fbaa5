package penstock_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
)

// awaiting is a codec that has to ask for what begins with "?", and gets no answer for a while.
type awaiting struct {
	upper
	away *int
}

// Prepare implements penstock.Preparing.
func (a awaiting) Prepare(_ context.Context, payload []byte) error {
	if payload[0] == '?' && *a.away > 0 {
		*a.away--
		return penstock.E(penstock.Unavailable, "registry", "", "nobody answers")
	}
	return nil
}

// hasty is a clock whose timers are over at once, or never.
type hasty struct {
	penstock.SystemClock
	never bool
}

// NewTimer implements penstock.Clock.
func (h hasty) NewTimer(time.Duration) (<-chan time.Time, func()) {
	c := make(chan time.Time, 1)
	if !h.never {
		c <- time.Time{}
	}
	return c, func() {}
}

func TestPreparation(t *testing.T) {
	away := 0
	ready := func(format string, clock penstock.Clock, log *strings.Builder) *penstock.Preparation {
		p, err := penstock.NewPayloads("broker", penstock.Format{Name: format, Codec: awaiting{away: &away}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return p.Preparation(penstock.Env{Name: "flow/from", Clock: clock, Logger: slog.New(slog.NewTextHandler(log, nil))})
	}
	ask := func(p *penstock.Preparation, ctx context.Context, payloads ...string) (int, error) {
		return p.Ready(ctx, len(payloads), func(i int) []byte { return []byte(payloads[i]) })
	}
	var log strings.Builder
	p := ready("upper", hasty{}, &log)
	away = 4
	for i, want := range []int{1, 0, 0, 0, 3} { // what is before it goes first; then it is waited for
		payloads := []string{"a", "?", "b", "c"}
		if i > 0 {
			payloads = payloads[1:]
		}
		if n, err := ask(p, t.Context(), payloads...); n != want || err != nil {
			t.Errorf("asked the %dth time: %d, %v; want %d", i, n, err, want)
		}
	}
	if said := log.String(); strings.Count(said, "the flow waits") != 1 || strings.Count(said, "nobody answers") != 1 || strings.Count(said, "can be read again") != 1 || strings.Count(said, "source=flow/from") != 2 {
		t.Errorf("it said %s", said)
	}
	if n, err := ask(p, t.Context()); n != 0 || err != nil {
		t.Errorf("of nothing: %d, %v", n, err)
	}

	p, away = ready("upper", hasty{never: true}, &log), 1
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if n, err := ask(p, ctx, "?"); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("when the flow ends: %d, %v", n, err)
	}

	p, away = ready("text", hasty{}, &log), 1
	if n, err := ask(p, t.Context(), "?", "?"); n != 2 || err != nil || p.Needed() {
		t.Errorf("with a format that is not asked: %d, %v", n, err)
	}
}
