package flowtest

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"penstock.dev/penstock/internal/resource"
)

// epoch is when every test begins.
var epoch = resource.TestBegin

// clock is virtual time: it moves only when it is told to, and gives one timer after the other its
// due. It implements penstock.Clock.
//
// A timer that has fired counts as work until it is stopped: who waits for it stops it
// only after it counts as busy itself, so that the time between is no rest.
type clock struct {
	changed func() // something happened that may have brought the run to rest

	mu     sync.Mutex
	now    time.Time
	timers []*timer
	made   int // timers so far
	fired  int // not stopped yet
}

type timer struct {
	at   time.Time
	key  string // order among timers of one instant that were made in no certain order; usually ""
	n    int
	c    chan time.Time
	done bool
}

func newClock(changed func()) *clock { return &clock{now: epoch, changed: changed} }

// Now implements penstock.Clock.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// NewTimer implements penstock.Clock. A timer never fires before it is its turn, not even one
// that is due at once.
func (c *clock) NewTimer(d time.Duration) (<-chan time.Time, func()) { return c.timer(d, "") }

func (c *clock) timer(d time.Duration, key string) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	t := &timer{at: c.now.Add(max(d, 0)), key: key, n: c.made, c: make(chan time.Time, 1)}
	c.timers = append(c.timers, t)
	return t.c, func() { c.stop(t) }
}

func (c *clock) stop(t *timer) {
	c.mu.Lock()
	if t.done {
		c.mu.Unlock()
		return
	}
	t.done = true
	if i := slices.Index(c.timers, t); i >= 0 {
		c.timers = slices.Delete(c.timers, i, i+1)
	} else {
		c.fired--
	}
	c.mu.Unlock()
	c.changed()
}

// quiet says that nobody has yet to take notice of a timer that has fired.
func (c *clock) quiet() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fired == 0
}

// next is when the next timer is due.
func (c *clock) next() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.first()
	if t == nil {
		return time.Time{}, false
	}
	return t.at, true
}

func (c *clock) first() *timer {
	if len(c.timers) == 0 {
		return nil
	}
	return slices.MinFunc(c.timers, func(a, b *timer) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.key, b.key), cmp.Compare(a.n, b.n))
	})
}

// fire lets the first timer have its due: time moves on to it. The run must be at rest.
func (c *clock) fire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.first()
	if t == nil {
		return
	}
	if t.at.After(c.now) {
		c.now = t.at
	}
	c.timers = slices.DeleteFunc(c.timers, func(o *timer) bool { return o == t })
	c.fired++
	t.c <- c.now
}

// set moves time on. No timer may be due before.
func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// uuids makes UUIDs that are the same in each run: 00000000-0000-4000-8000-000000000001 and so on.
type uuids struct {
	mu sync.Mutex
	n  int64
}

func (u *uuids) next() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.n++
	return fmt.Sprintf("00000000-0000-4000-8000-%012x", u.n)
}
