package policy

import (
	"time"

	"github.com/maypok86/otter/v2"
)

// Cache keeps values within a bound of memory, each for a time. What is asked for least makes room (W-TinyLFU). It is safe
// for concurrent use; times are since any fixed moment, and nothing in it runs by itself.
type Cache[V any] struct {
	c *otter.Cache[string, entry[V]]
}

type entry[V any] struct {
	value        V
	fresh, stale time.Duration // until when it is either
	size         uint32
}

// entryCost is what an entry takes beside its key and value, about.
const entryCost = 160

// NewCache makes an empty cache of so many bytes.
func NewCache[V any](bytes int64) *Cache[V] {
	return &Cache[V]{otter.Must(&otter.Options[string, entry[V]]{
		MaximumWeight: uint64(max(bytes, 1)),
		Weigher:       func(key string, e entry[V]) uint32 { return uint32(len(key)) + e.size + entryCost },
		Executor:      func(f func()) { f() }, // here and now: what a test sees must not depend on a goroutine
	})}
}

// Get finds a value. It is fresh within its time; behind that it is stale for as long as was said with it, and then it is not there.
func (c *Cache[V]) Get(now time.Duration, key string) (v V, fresh, ok bool) {
	e, ok := c.c.GetIfPresent(key)
	if !ok || now >= e.stale {
		return v, false, false
	}
	return e.value, now < e.fresh, true
}

// Put keeps a value of so many bytes: fresh for ttl, and usable for stale more. One that is larger than a quarter of the
// bound is not kept: it would only drive out everything else.
func (c *Cache[V]) Put(now time.Duration, key string, v V, bytes int, ttl, stale time.Duration) {
	if uint64(bytes) > c.c.GetMaximum()/4 {
		c.c.Invalidate(key)
		return
	}
	c.c.Set(key, entry[V]{v, now + ttl, now + ttl + stale, uint32(bytes)})
}

// Remove forgets a value.
func (c *Cache[V]) Remove(key string) { c.c.Invalidate(key) }

// Bytes is how much memory the entries take, about.
func (c *Cache[V]) Bytes() int64 { return int64(c.c.WeightedSize()) }
