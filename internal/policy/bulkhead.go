package policy

import (
	"slices"
	"sync"

	"penstock.dev/penstock/internal/plan"
)

// Bulkhead lets only so many in at a time, the others in the order in which they came. It never blocks: who must wait
// gets a place and waits on it. It is safe for concurrent use.
type Bulkhead struct {
	limit, queue int
	mu           sync.Mutex
	in           int
	line         []*Place
}

// Place is a place in the queue. Granted is closed by whoever takes what [Bulkhead.Leave] returns.
type Place struct{ Granted chan struct{} }

// NewBulkhead makes an empty one.
func NewBulkhead(rules plan.Concurrency) *Bulkhead {
	return &Bulkhead{limit: rules.Limit, queue: rules.Queue}
}

// Enter lets up to n in, and says how many. Where there is no room it gives a place to wait on, for one; where the queue is
// full, too, neither.
func (b *Bulkhead) Enter(n int) (in int, p *Place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if in = min(n, b.limit-b.in); in > 0 {
		b.in += in
		return in, nil
	}
	if b.queue >= 0 && len(b.line) >= b.queue {
		return 0, nil
	}
	p = &Place{make(chan struct{})}
	b.line = append(b.line, p)
	return 0, p
}

// More lets up to n more in, without waiting, and says how many: for who was granted a place, and has use for several.
func (b *Bulkhead) More(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	in := max(min(n, b.limit-b.in), 0)
	b.in += in
	return in
}

// Leave lets one out, and the first of the queue in: the place whose Granted the caller must close; nil where nobody waits.
func (b *Bulkhead) Leave() *Place {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.line) == 0 {
		b.in--
		return nil
	}
	p := b.line[0]
	b.line = slices.Delete(b.line, 0, 1)
	return p
}

// GiveUp leaves the queue; false where the place was granted in the same moment, so that the caller is in, and must leave.
func (b *Bulkhead) GiveUp(p *Place) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.line, p)
	if i >= 0 {
		b.line = slices.Delete(b.line, i, i+1)
	}
	return i >= 0
}

// Counts says how many are in, and how many wait.
func (b *Bulkhead) Counts() (in, waiting int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.in, len(b.line)
}
