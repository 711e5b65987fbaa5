package policy

import (
	"math"
	"sync"
	"time"
)

// The retry budget of a connection looks at so much time, and allows so many retries in it whatever the share says: where
// little is asked, a share of it is nothing.
const (
	BudgetWindow  = 10 * time.Second
	BudgetMinimum = 10
)

// Budget bounds the tries after the first to a share of the first ones, so that repeating does not keep down who is
// down already. It is safe for concurrent use; times are since any fixed moment.
type Budget struct {
	share  int64 // millionths
	mu     sync.Mutex
	window window // first tries, retries
}

// NewBudget makes a budget; share is that of retries to first tries, 0.2 for 20 %.
func NewBudget(share float64) *Budget {
	return &Budget{share: int64(math.Round(share * 1e6)), window: window{width: BudgetWindow}}
}

// First counts n first tries.
func (b *Budget) First(now time.Duration, n int) {
	b.mu.Lock()
	b.window.add(now, 0, int64(n))
	b.mu.Unlock()
}

// Retry takes up to n retries from the budget, and says how many there were.
func (b *Budget) Retry(now time.Duration, n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.window.roll(now)
	left := b.share*b.window.sums[0]/1e6 + BudgetMinimum - b.window.sums[1]
	k := max(min(int64(n), left), 0)
	b.window.add(now, 1, k)
	return int(k)
}

// Refund gives retries back that were not made after all.
func (b *Budget) Refund(now time.Duration, n int) {
	b.mu.Lock()
	b.window.add(now, 1, -int64(n))
	b.mu.Unlock()
}
