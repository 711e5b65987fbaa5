package policy

import (
	"sync"
	"time"

	"penstock.dev/penstock/internal/plan"
)

// RateLimit gives every request its moment, so that no more than the rate go on, and no more than the burst at once. It is
// the generic cell rate algorithm (ATM Forum TM 4.1): one time instead of a bucket of tokens. It is safe for
// concurrent use; times are since any fixed moment.
type RateLimit struct {
	interval time.Duration
	slack    time.Duration // what a burst may be ahead
	mu       sync.Mutex
	next     time.Duration // when the request after the last one would be due at the bare rate
}

// NewRateLimit makes a limit that has not been used yet.
func NewRateLimit(rules plan.RateLimit) *RateLimit {
	interval := max(time.Duration(float64(time.Second)/rules.Rate), 1)
	return &RateLimit{interval: interval, slack: time.Duration(max(rules.Burst, 1)) * interval}
}

// Take gives n requests their moment: how long from now all of them may go. Where that is not within patience (0: without
// end), it takes nothing and says no. A moment that is not used is lost.
func (l *RateLimit) Take(now time.Duration, n int, patience time.Duration) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := max(l.next, now) + time.Duration(n)*l.interval
	wait = max(next-l.slack-now, 0)
	if patience > 0 && wait >= patience {
		return wait, false
	}
	l.next = next
	return wait, true
}
