package run

import (
	"context"
	"strings"
	"sync"
)

// turns lets one request of a key in at a time (order: per-key): what requests of one key do is not interleaved.
type turns struct {
	r    *Runner
	mu   sync.Mutex
	keys map[string]*turn
}

// turn is a key that somebody has, or waits for.
type turn struct {
	slots *slots
	users int
}

func newTurns(r *Runner) *turns { return &turns{r: r, keys: map[string]*turn{}} }

// take waits for the key; false when ctx has ended.
func (t *turns) take(ctx context.Context, key string) bool {
	t.mu.Lock()
	k := t.keys[key]
	if k == nil {
		k = &turn{slots: newSlots(t.r, 1)}
		t.keys[strings.Clone(key)] = k // the key's text ends with its message
	}
	k.users++
	t.mu.Unlock()
	if k.slots.within(ctx) {
		return true
	}
	t.leave(key, k)
	return false
}

// give lets the next one in.
func (t *turns) give(key string) {
	t.mu.Lock()
	k := t.keys[key]
	t.mu.Unlock()
	k.slots.give()
	t.leave(key, k)
}

func (t *turns) leave(key string, k *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(t.keys, key)
	}
}
