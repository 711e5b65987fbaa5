// Package policy decides about failures: whether a try is repeated, and after what
// pause. It is pure: time and randomness come in as arguments.
package policy

import (
	"math"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// Again reports whether a failure of the attempt-th try (from 1) is worth another: only
// transient codes are, and only while tries are left (LANGUAGE.md §5).
func Again(r plan.Retry, attempt int, err error) bool {
	return attempt < r.Attempts && penstock.CodeOf(err).Transient()
}

// Pause is how long to wait after the attempt-th try (from 1) failed: exponential, bounded,
// and shortened by up to the jitter's share. random gives a number in [0,1).
func Pause(r plan.Retry, attempt int, random func() float64) time.Duration {
	factor := r.Factor
	if factor < 1 {
		factor = 1
	}
	d := float64(r.Initial) * math.Pow(factor, float64(attempt-1))
	if r.Max > 0 && d > float64(r.Max) {
		d = float64(r.Max)
	}
	if d > math.MaxInt64 {
		d = math.MaxInt64 / 2
	}
	if r.Jitter > 0 {
		d -= d * min(r.Jitter, 1) * random()
	}
	return time.Duration(d)
}
