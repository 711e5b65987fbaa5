// Package policy decides about failures: whether a try is repeated and after what pause, and whether it is made at all
// (breaker, budget of retries, limits). It is pure: time and randomness come in as arguments, and nothing in it waits.
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

// MaxRetryAfter is how long the other side may ask not to be asked again; more counts as that.
const MaxRetryAfter = 5 * time.Minute

// PauseAfter is how long to wait after the attempt-th try (from 1) failed: [Pause], and at least as long as the
// other side asked for (after, of penstock.Error.RetryAfter, up to [MaxRetryAfter]), which the jitter then makes longer by up to its share,
// so that those who were told the same do not come back together.
func PauseAfter(r plan.Retry, attempt int, after time.Duration, random func() float64) time.Duration {
	p := Pause(r, attempt, random)
	after = min(after, MaxRetryAfter)
	if after <= 0 {
		return p
	}
	if r.Jitter > 0 {
		after += time.Duration(float64(after) * min(r.Jitter, 1) * random())
	}
	return max(p, after)
}

// Pause is how long to wait after the attempt-th try (from 1) failed: Initial, multiplied by Factor (at least 1)
// after each try, bounded by Max (0: not bounded), and shortened by up to the jitter's share of it, so that what
// failed together is not tried again together. random gives a number in [0,1). A pause is never negative, and never
// longer than Max.
func Pause(r plan.Retry, attempt int, random func() float64) time.Duration {
	d := float64(r.Initial) * math.Pow(max(r.Factor, 1), float64(attempt-1))
	if r.Max > 0 {
		d = min(d, float64(r.Max))
	}
	if r.Jitter > 0 {
		d = min(d, math.MaxInt64) * (1 - min(r.Jitter, 1)*random())
	}
	switch {
	case d >= math.MaxInt64: // float64(math.MaxInt64) is one more than an int64 holds
		return math.MaxInt64
	case d > 0:
		return time.Duration(d)
	}
	return 0
}
