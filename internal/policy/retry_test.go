package policy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

func TestAgain(t *testing.T) {
	three := plan.Retry{Attempts: 3}
	coded := func(c penstock.Code) error { return fmt.Errorf("while: %w", &penstock.Error{Code: c}) }
	for _, c := range []struct {
		name    string
		retry   plan.Retry
		attempt int
		err     error
		want    bool
	}{
		{"first of three", three, 1, coded(penstock.Unavailable), true},
		{"second of three", three, 2, coded(penstock.Limited), true},
		{"third of three", three, 3, coded(penstock.Unavailable), false},
		{"a time-out", three, 1, context.DeadlineExceeded, true},
		{"cancelled", three, 1, context.Canceled, false},
		{"an error without a code", three, 1, errors.New("x"), false},
		{"no error", three, 1, nil, false},
		{"one try is no retry", plan.Retry{Attempts: 1}, 1, coded(penstock.Timeout), false},
		{"the zero policy", plan.Retry{}, 1, coded(penstock.Timeout), false},
	} {
		if got := Again(c.retry, c.attempt, c.err); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	for _, code := range penstock.Codes() {
		want := code == penstock.Limited || code == penstock.Unavailable || code == penstock.Timeout
		if got := Again(three, 1, coded(code)); got != want {
			t.Errorf("%s is tried again: %t", code, got)
		}
	}
}

func TestPause(t *testing.T) {
	half := func() float64 { return 0.5 }
	standard := plan.Retry{Initial: 100 * time.Millisecond, Factor: 2, Max: time.Second}
	jitter := standard
	jitter.Jitter = 0.2
	for _, c := range []struct {
		name    string
		retry   plan.Retry
		attempt int
		want    time.Duration
	}{
		{"first", standard, 1, 100 * time.Millisecond},
		{"second", standard, 2, 200 * time.Millisecond},
		{"fourth", standard, 4, 800 * time.Millisecond},
		{"bounded", standard, 5, time.Second},
		{"bounded for good", standard, math.MaxInt, time.Second},
		{"half of the jitter", jitter, 2, 180 * time.Millisecond},
		{"jitter of the bound", jitter, 50, 900 * time.Millisecond},
		{"all is random", plan.Retry{Initial: time.Second, Jitter: 5}, 1, 500 * time.Millisecond},
		{"a factor below 1 is 1", plan.Retry{Initial: time.Second, Factor: 0.5}, 3, time.Second},
		{"no pause", plan.Retry{}, 3, 0},
		{"not bounded", plan.Retry{Initial: time.Second, Factor: 10}, 1000, math.MaxInt64},
		{"not bounded, with jitter", plan.Retry{Initial: time.Second, Factor: 10, Jitter: 0.5}, 1000, math.MaxInt64/4*3 + 2},
		{"the longest bound", plan.Retry{Initial: time.Second, Factor: 10, Max: math.MaxInt64}, 1000, math.MaxInt64},
	} {
		if got := Pause(c.retry, c.attempt, half); got-c.want > 1024 || c.want-got > 1024 {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestPauseStaysWithin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := plan.Retry{
			Initial: time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "initial")),
			Factor:  rapid.Float64().Draw(t, "factor"),
			Max:     time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "max")),
			Jitter:  rapid.Float64Range(0, 1).Draw(t, "jitter"),
		}
		random := rapid.Float64Range(0, 0.999).Draw(t, "random")
		d := Pause(r, rapid.IntRange(1, 100).Draw(t, "attempt"), func() float64 { return random })
		if d < 0 || float64(d) > float64(r.Max) {
			t.Fatalf("pause %d, at most %d", d, r.Max)
		}
		if low := min(float64(r.Initial), float64(r.Max)) * (1 - r.Jitter); float64(d) < low*0.999-1 {
			t.Fatalf("pause %d, at least %g", d, low)
		}
	})
}
