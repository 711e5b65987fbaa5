package control

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// jumping is the clock of a machine that somebody sets. Timers are the machine's: they don't notice that. As who waits for a time of the machine's clock looks at it again and again, they all fire soon:
// there is no instant at which a timer could be set by a clock that is another one by then. It is safe for concurrent use.
type jumping struct{ ahead atomic.Int64 }

func newJumping(ahead time.Duration) *jumping {
	c := &jumping{}
	c.jump(ahead)
	return c
}

func (c *jumping) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *jumping) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	return penstock.SystemClock{}.NewTimer(min(d, 100*time.Millisecond))
}

// jump sets the clock.
func (c *jumping) jump(d time.Duration) { c.ahead.Add(int64(d)) }

const timed = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: timed }
spec: { store: {} }
---
apiVersion: penstock.dev/v1alpha1
kind: Schema
metadata: { name: number }
spec: { jsonSchema: { type: object, properties: { seq: { type: integer } }, required: [seq] } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: a }
spec: { schema: number, mode: topic, retention: { time: 1h } }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: b }
spec: { schema: number, mode: topic }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: ticks }
spec: { mode: topic }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: hold }
spec: { from: { channel: a }, order: total, steps: [ { delay: { for: 1h }, name: wait } ], to: { channel: b } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: clock }
spec: { from: { timer: { every: 5s, catchUp: all } }, to: { channel: ticks } }
`

// bodies are the bodies of all messages of a channel, in order.
func (c *cluster) bodies(channel string) (all []string) {
	c.t.Helper()
	if err := c.at.View(c.t.Context(), func(v store.View) error {
		got, err := v.Log().Segments(channel, 0, 1<<20)
		for _, g := range got {
			for data := g.Data; len(data) > 0; {
				var frame []byte
				if frame, data, err = store.NextFrame(data); err != nil {
					return err
				}
				m, err := record.Parse(frame)
				if err != nil {
					return err
				}
				all = append(all, string(m.AppendBody(nil)))
			}
		}
		return err
	}); err != nil {
		c.t.Fatal(err)
	}
	return all
}

// ticked holds what a timer has made: each instant once, none left out. It says which was the last.
func (c *cluster) ticked() (last time.Time) {
	c.t.Helper()
	for _, b := range c.bodies("ticks") {
		var m struct{ Scheduled time.Time }
		if err := json.Unmarshal([]byte(b), &m); err != nil {
			c.t.Fatal(err)
		}
		if !last.IsZero() && !m.Scheduled.Equal(last.Add(5*time.Second)) {
			c.t.Fatalf("%s follows %s", m.Scheduled, last)
		}
		last = m.Scheduled
	}
	return last
}

// TestReplicasWhoseClocksJump: on PostgreSQL. Clocks of replicas are set forwards and backwards by hours, and differ by hours when one takes over from the other. Nothing that waits is lost,
// is let go twice, or waits for longer than it was to; a timer makes each instant once.
func TestReplicasWhoseClocksJump(t *testing.T) {
	c := newCluster(t, timed)
	c.server, c.ttl = service.Postgres(t), 3*time.Second
	first := newJumping(0)
	c.clock = first
	a := c.join()
	db, err := postgres.Open(t.Context(), postgres.Options{Connection: c.server, Lease: c.ttl, Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	c.at = db
	runs := func(m *member) func() bool { return func() bool { return len(m.drives()) == 2 } }
	held := func(n int64) func() bool {
		return func() bool {
			info, err := a.x.ops.Store.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range info.Steps {
				if s.Entries >= n {
					return true
				}
			}
			return false
		}
	}
	c.until("it runs", runs(a))
	c.send("a", 0, 10)
	c.until("they are held", held(10))
	c.until("the timer has begun", func() bool { return !c.ticked().IsZero() })
	first.jump(30 * time.Minute) // its leases seem to have run out; it takes them again
	ahead := first.Now()
	c.until("the timer follows", func() bool { return c.ticked().After(ahead) })

	first.jump(-5 * time.Hour)               // what it made is not made again, what is held is held
	before := first.Now().Add(5 * time.Hour) // no clock has been beyond it
	c.until("it runs", runs(a))
	c.send("a", 10, 20)
	c.until("they are held, too", held(20))

	second := newJumping(-9 * time.Hour)
	c.clock = second
	b := c.join()
	a.end()
	c.until("the other has all", runs(b))
	if n := c.next("b"); n != 0 {
		t.Errorf("%d messages were let go before their hour", n)
	}
	second.jump(61 * time.Minute) // by its own clock all have waited for an hour
	c.until("all are let go", func() bool { return c.next("b") >= 20 })
	if last := c.ticked(); last.After(before) {
		t.Errorf("the instant %s was made, and no clock has been beyond %s", last, before)
	}
	second.jump(12 * time.Hour)
	c.until("the timer goes on where it was", func() bool { return c.ticked().After(before.Add(3 * time.Hour)) })
	for i, body := range c.bodies("b") {
		if body != fmt.Sprintf(`{"seq":%d}`, i) {
			t.Errorf("message %d is %s", i, body)
		}
	}
	if n := c.next("b"); n != 20 {
		t.Errorf("%d messages of 20", n)
	}
}
