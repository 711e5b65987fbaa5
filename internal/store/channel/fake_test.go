package channel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/internal/store/sqlite"
	"penstock.dev/penstock/jsonview"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2010, 12, 1, 8, 0, 0, 0, time.UTC)

// fakeClock stands still until it is moved, forwards or backwards.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*fakeTimer
}

type fakeTimer struct {
	at time.Time
	c  chan time.Time
}

func newClock() *fakeClock { return &fakeClock{now: epoch} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{c.now.Add(d), make(chan time.Time, 1)}
	c.timers = append(c.timers, t)
	return t.c, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.timers = slices.DeleteFunc(c.timers, func(o *fakeTimer) bool { return o == t })
	}
}

func (c *fakeClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.timers = slices.DeleteFunc(c.timers, func(t *fakeTimer) bool {
		due := !t.at.After(c.now)
		if due {
			t.c <- c.now
		}
		return due
	})
}

// drivers makes the stores that tests run over. reopen gives what a crash would leave.
var drivers = map[string]func(t testing.TB) (s store.Store, reopen func(store.Store) store.Store){
	"memory": func(testing.TB) (store.Store, func(store.Store) store.Store) {
		return memory.New(), func(s store.Store) store.Store { return s.(*memory.Store).Reopen() }
	},
	"sqlite": func(t testing.TB) (store.Store, func(store.Store) store.Store) {
		path := filepath.Join(t.TempDir(), "store.db")
		open := func() store.Store {
			s, err := sqlite.Open(context.Background(), sqlite.Options{Path: path, Reserve: -1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		}
		return open(), func(s store.Store) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open()
		}
	},
}

// message makes a record.
func message(key, body string) []byte {
	return record.Draft{Key: key, Format: jsonview.Text, Body: []byte(body)}.Append(nil)
}

func bodyOf(t testing.TB, rec []byte) string {
	v, err := record.Parse(rec)
	if err != nil {
		t.Fatal(err)
	}
	return string(v.Body())
}

// send appends messages to a channel, and waits until they are durable.
func send(t testing.TB, s store.Store, channel string, at time.Time, messages ...[]byte) {
	t.Helper()
	b := store.Bundle{N: len(messages), MinTime: at.UnixNano(), MaxTime: at.UnixNano()}
	for _, m := range messages {
		b.Data = store.AppendFrame(b.Data, m)
	}
	commit(t, s, func(tx store.Tx) error { _, err := tx.Append(channel, b); return err })
}

func commit(t testing.TB, s store.Store, f func(store.Tx) error) {
	t.Helper()
	if err := s.Submit(store.Bulk, f).Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// polled is a reader that does not wait: poll comes back empty where Next would.
type polled struct {
	*Reader
	cancel context.CancelFunc
	busy   int // 1, but while it waits
}

func join(g *Group) *polled {
	p := &polled{busy: 1}
	p.Reader = g.Join(Waits{
		Idle: func() { p.busy--; p.cancel() },
		Busy: func() { p.busy++ },
	})
	return p
}

func (p *polled) poll(t testing.TB, most int) []Delivery {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.cancel = cancel
	ds, err := p.Next(ctx, most)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if p.busy != 1 {
		t.Fatalf("the count of who is busy is off by %d", p.busy-1)
	}
	return ds
}

func positions(ds []Delivery) (all []int64) {
	for _, d := range ds {
		all = append(all, d.Position)
	}
	return all
}

// ranges makes ranges of positions, in any order.
func rangesOf(ps []int64) (all []Range) {
	ps = slices.Clone(ps)
	slices.SortFunc(ps, cmp.Compare[int64])
	for _, p := range ps {
		if n := len(all); n > 0 && all[n-1].To == p {
			all[n-1].To++
			continue
		}
		all = append(all, Range{p, p + 1})
	}
	return all
}

func ack(t testing.TB, s store.Store, g *Group, ps ...int64) {
	t.Helper()
	rs := rangesOf(ps)
	commit(t, s, func(tx store.Tx) error { return g.Ack(tx, rs) })
	g.Acked(rs)
}

func nack(t testing.TB, s store.Store, g *Group, pos int64, delay time.Duration) {
	t.Helper()
	commit(t, s, func(tx store.Tx) error { return g.Nack(tx, pos, delay) })
	g.Nacked(pos)
}

func open(t testing.TB, s store.Store, clock penstock.Clock, o Options, config Config) (*Hub, *Channel) {
	t.Helper()
	h := NewHub(s, clock, o)
	c, err := h.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	return h, c
}

func group(t testing.TB, c *Channel, name string, from Start) *Group {
	t.Helper()
	g, err := c.Group(context.Background(), name, from)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func eachDriver(t *testing.T, f func(t *testing.T, s store.Store, reopen func(store.Store) store.Store)) {
	for name, open := range drivers {
		t.Run(name, func(t *testing.T) {
			s, reopen := open(t)
			f(t, s, reopen)
		})
	}
}

func sendKeys(t testing.TB, s store.Store, channel string, keys ...string) {
	t.Helper()
	for i, k := range keys {
		send(t, s, channel, epoch, message(k, fmt.Sprint(i)))
	}
}
