package channel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

func want(t testing.TB, what string, ds []Delivery, ps ...int64) {
	t.Helper()
	if got := positions(ds); !slices.Equal(got, ps) {
		t.Fatalf("%s: got %v, want %v", what, got, ps)
	}
}

func TestOrderByKey(t *testing.T) {
	eachDriver(t, func(t *testing.T, s store.Store, reopen func(store.Store) store.Store) {
		clock := newClock()
		_, c := open(t, s, clock, Options{}, Config{Name: "q", Queue: true})
		g := group(t, c, "queue", Stored())
		a, b := join(g), join(g)
		sendKeys(t, s, "q", "x", "y", "x", "z", "x", "", "") // 0 … 6
		want(t, "a takes two", a.poll(t, 2), 0, 1)
		want(t, "b takes what is not x or y", b.poll(t, 10), 3, 5, 6)
		want(t, "a takes its own", a.poll(t, 1), 2)
		ack(t, s, g, 0, 2)
		want(t, "x is free: b", b.poll(t, 10), 4)
		b.Leave()
		ds := a.poll(t, 10)
		want(t, "what b left", slices.SortedFunc(slices.Values(ds), func(x, y Delivery) int { return int(x.Position - y.Position) }), 3, 4, 5, 6)
		for _, d := range ds {
			if !d.Redelivered || bodyOf(t, d.Record) != fmt.Sprint(d.Position) {
				t.Errorf("%+v", d)
			}
		}
		if n, _ := g.Lag(); n != 5 {
			t.Errorf("lag %d", n)
		}
		nack(t, s, g, 3, time.Minute)
		sendKeys(t, s, "q", "z", "x")
		want(t, "z waits behind 3", a.poll(t, 10), 8)
		ack(t, s, g, 1, 4, 5, 6, 8)

		// a crash
		s = reopen(s)
		h, c := open(t, s, clock, Options{}, Config{Name: "q", Queue: true})
		g = group(t, c, "queue", Stored())
		a = join(g)
		want(t, "nothing before its time", a.poll(t, 10))
		clock.move(-time.Hour)
		want(t, "the clock jumped back", a.poll(t, 10))
		clock.move(time.Hour + time.Minute)
		ds = a.poll(t, 10)
		want(t, "it is due", ds, 3, 7)
		if ds[0].Nacks != 1 || bodyOf(t, ds[0].Record) != "3" {
			t.Errorf("%+v", ds[0])
		}
		nack(t, s, g, 3, time.Second)
		clock.move(time.Second)
		if ds = a.poll(t, 10); len(ds) != 1 || ds[0].Nacks != 2 {
			t.Errorf("%+v", ds)
		}
		ack(t, s, g, 3, 7)
		g.End()
		if _, err := a.Next(context.Background(), 1); !errors.Is(err, io.EOF) {
			t.Errorf("got %v", err)
		}
		if n, err := h.Retain(context.Background(), clock.Now()); err != nil || n != 9 {
			t.Errorf("%d segments dropped, %v", n, err)
		}
		_ = s.View(context.Background(), func(v store.View) error {
			cs, err := Cursors(v, "q")
			if err != nil || len(cs) != 1 || (cs[0] != Cursor{Group: "queue", Low: 9, Next: 9}) {
				t.Errorf("%+v, %v", cs, err)
			}
			if all, _ := v.State().Scan(backSpace("q"), nil, 10); len(all) != 0 {
				t.Errorf("%d given back are left", len(all))
			}
			return nil
		})
		h.Close()
	})
}

func TestStarts(t *testing.T) {
	s, _ := drivers["memory"](t)
	clock := newClock()
	for i := range 4 {
		send(t, s, "t", epoch.Add(time.Duration(i)*time.Minute), message("", fmt.Sprint(2*i)), message("", fmt.Sprint(2*i+1)))
	}
	for _, c := range []struct {
		from Start
		want []int64
	}{
		{Stored(), []int64{0, 1, 2, 3, 4, 5, 6, 7}},
		{End(), nil},
		{Beginning(), []int64{0, 1, 2, 3, 4, 5, 6, 7}},
		{Stored(), []int64{1, 2, 3, 4, 5, 6, 7}}, // 0 was acknowledged
		{At(epoch.Add(2 * time.Minute)), []int64{4, 5, 6, 7}},
		{Position(5), []int64{5, 6, 7}},
		{Position(99), nil},
		{Position(-1), []int64{0, 1, 2, 3, 4, 5, 6, 7}},
	} {
		h, ch := open(t, s, clock, Options{Page: 1}, Config{Name: "t"})
		g := group(t, ch, "flow/from", c.from)
		if group(t, ch, "flow/from", End()) != g {
			t.Error("a group is there twice")
		}
		r := join(g)
		var got []int64
		for {
			ds := r.poll(t, 3)
			if len(ds) == 0 {
				break
			}
			got = append(got, positions(ds)...)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("from %v: got %v, want %v", c.from, got, c.want)
		}
		if len(got) > 0 {
			ack(t, s, g, got[0])
		}
		r.Leave()
		h.Close()
		if _, err := r.Next(context.Background(), 1); !errors.Is(err, ErrLeft) {
			t.Errorf("got %v", err)
		}
	}
}

// TestReplayForgets: what was given back is read again by a replay, and once.
func TestReplayForgets(t *testing.T) {
	s, _ := drivers["memory"](t)
	clock := newClock()
	h, c := open(t, s, clock, Options{}, Config{Name: "t"})
	g := group(t, c, "g", Stored())
	r := join(g)
	sendKeys(t, s, "t", "a", "b", "c")
	r.poll(t, 10)
	nack(t, s, g, 0, time.Hour)
	nack(t, s, g, 2, time.Hour)
	h.Close()
	h, c = open(t, s, clock, Options{}, Config{Name: "t"})
	g = group(t, c, "g", Position(1))
	r = join(g)
	want(t, "replay", r.poll(t, 10), 1, 2)
	ack(t, s, g, 1, 2)
	clock.move(time.Hour)
	want(t, "older ones stay", r.poll(t, 10), 0)
	h.Close()
}

func TestEnd(t *testing.T) {
	s, _ := drivers["memory"](t)
	for _, queue := range []bool{false, true} {
		name := fmt.Sprint("c", queue)
		h, c := open(t, s, newClock(), Options{}, Config{Name: name, Queue: queue})
		g := group(t, c, "g", Stored())
		sendKeys(t, s, name, "a", "b")
		waits := make(chan bool, 8)
		r := g.Join(Waits{Idle: func() { waits <- true }, Busy: func() { waits <- false }})
		ds, err := r.Next(context.Background(), 10)
		if err != nil || len(ds) != 2 {
			t.Fatal(ds, err)
		}
		over := make(chan error)
		go func() {
			_, err := r.Next(context.Background(), 10)
			over <- err
		}()
		if !<-waits {
			t.Error("busy before idle")
		}
		g.End()
		if queue {
			for idle := <-waits; !idle; idle = <-waits { // woken, and waits again: not all is acknowledged
			}
			ack(t, s, g, 0, 1)
		}
		if err := <-over; !errors.Is(err, io.EOF) {
			t.Errorf("got %v", err)
		}
		if <-waits {
			t.Error("it is not counted as busy")
		}
		h.Close()
	}
}

func TestRollback(t *testing.T) {
	s, _ := drivers["memory"](t)
	clock := newClock()
	h, c := open(t, s, clock, Options{}, Config{Name: "q", Queue: true})
	g := group(t, c, "g", Stored())
	r := join(g)
	sendKeys(t, s, "q", "a", "b", "c")
	want(t, "all", r.poll(t, 10), 0, 1, 2)
	no := errors.New("no")
	err := s.Submit(store.Bulk, func(tx store.Tx) error {
		if err := errors.Join(g.Ack(tx, []Range{{0, 2}}), g.Nack(tx, 2, 0)); err != nil {
			t.Error(err)
		}
		return no
	}).Wait(context.Background())
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	ack(t, s, g, 2)
	h.Close()
	_, c = open(t, s, clock, Options{}, Config{Name: "q", Queue: true})
	g = group(t, c, "g", Stored())
	want(t, "what was not acknowledged", join(g).poll(t, 10), 0, 1)
	if err := s.Submit(store.Bulk, func(tx store.Tx) error { return g.Nack(tx, 2, 0) }).Wait(context.Background()); err == nil {
		t.Error("a message that nobody has was given back")
	}
	if err := s.Submit(store.Bulk, func(tx store.Tx) error { return g.Ack(tx, []Range{{3, 1}}) }).Wait(context.Background()); err == nil {
		t.Error("a range that ends before it begins was acknowledged")
	}
}

// TestStuck: one message that nobody acknowledges keeps neither memory nor a large cursor, however many come behind it.
func TestStuck(t *testing.T) {
	s, _ := drivers["memory"](t)
	h, c := open(t, s, newClock(), Options{}, Config{Name: "q", Queue: true})
	defer h.Close()
	g := group(t, c, "queue", Stored())
	r, other := join(g), join(g)
	const n, per = 1_000_000, 10_000
	var b store.Bundle
	b.N, b.MinTime, b.MaxTime = per, epoch.UnixNano(), epoch.UnixNano()
	for i := range per {
		b.Data = store.AppendFrame(b.Data, message(fmt.Sprint("k", i), "x"))
	}
	first := true
	for range n / per {
		commit(t, s, func(tx store.Tx) error { _, err := tx.Append("q", b); return err })
		if first {
			want(t, "stuck", other.poll(t, 1), 0)
			first = false
		}
		for {
			ds := r.poll(t, 1000)
			if len(ds) == 0 {
				break
			}
			rs := rangesOf(positions(ds))
			commit(t, s, func(tx store.Tx) error { return g.Ack(tx, rs) })
			g.Acked(rs)
		}
	}
	// of key k0, all wait behind the one that is stuck
	if len(g.pages.m) > n/per || g.flight != 1 || g.waiting != n/per-1 || len(g.lines) != 1 {
		t.Errorf("%d pages, %d in flight, %d wait, %d lines", len(g.pages.m), g.flight, g.waiting, len(g.lines))
	}
	ack(t, s, g, 0)
	want(t, "the first behind it", r.poll(t, 1), per)
	var all []int64
	for i := 1; i < n/per; i++ {
		all = append(all, int64(i*per))
	}
	ack(t, s, g, all...)
	err := s.View(context.Background(), func(v store.View) error {
		e, _, err := v.State().Get(cursorSpace("q"), []byte("queue"))
		if d, _ := parseDone(e.Value); d.low != n || len(e.Value) > 8 {
			t.Errorf("the cursor is %+v, %d bytes", d, len(e.Value))
		}
		return err
	})
	if err != nil || len(g.pages.m) != 0 || g.held != 0 || g.waiting != 0 || g.flight != 0 {
		t.Errorf("left: %d pages, %d bytes, %d wait, %d in flight, %v", len(g.pages.m), g.held, g.waiting, g.flight, err)
	}
}

// TestNoDisk: who reads at the end takes everything from memory, and who is behind gets it from the disk.
func TestNoDisk(t *testing.T) {
	s, _ := drivers["memory"](t)
	counted := &countViews{Store: s}
	h, c := open(t, counted, newClock(), Options{Cache: 1000, Page: 100}, Config{Name: "t"})
	defer h.Close()
	live, behind := group(t, c, "live", Stored()), group(t, c, "behind", Stored())
	r, late := join(live), join(behind)
	views := counted.n
	for i := range 200 {
		send(t, counted, "t", epoch, message("", fmt.Sprintf("%0100d", i)))
		want(t, "at the end", r.poll(t, 10), int64(i))
	}
	if counted.n != views {
		t.Errorf("%d views", counted.n-views)
	}
	if h.size > 1000 || h.recent.Len() > 10 {
		t.Errorf("%d bytes in memory", h.size)
	}
	for i := range 200 {
		want(t, "behind", late.poll(t, 1), int64(i))
	}
	if n := counted.n - views; n == 0 || n > 200 {
		t.Errorf("%d views", n)
	}
	if h.size != 0 || len(c.tail) != 0 {
		t.Errorf("%d bytes in memory that all have read", h.size)
	}
}

type countViews struct {
	store.Store
	n int
}

func (c *countViews) View(ctx context.Context, f func(store.View) error) error {
	c.n++
	return c.Store.View(ctx, f)
}

func TestRetain(t *testing.T) {
	fill := func(s store.Store, name string) {
		for i := range 10 { // 10 segments of 10 messages, a minute apart
			var ms [][]byte
			for j := range 10 {
				ms = append(ms, message("", fmt.Sprintf("%050d", j)))
			}
			send(t, s, name, epoch.Add(time.Duration(i)*time.Minute), ms...)
		}
	}
	now := epoch.Add(10 * time.Minute)
	for name, c := range map[string]struct {
		config Config
		acked  int64 // by the group; -1: there is none
		want   int64 // first position that is left
	}{
		"queue":               {Config{Queue: true}, 35, 30},
		"queue without group": {Config{Queue: true}, -1, 0},
		"age":                 {Config{Retain: 5 * time.Minute}, 100, 50},
		"age, not all read":   {Config{Retain: 5 * time.Minute}, 25, 20},
		"age without group":   {Config{Retain: 5 * time.Minute}, -1, 50},
		"size":                {Config{RetainBytes: 1500}, 100, 80},
		"size and age":        {Config{RetainBytes: 1500, Retain: 90 * time.Second}, 100, 90},
		"for ever":            {Config{}, 100, 0},
		"all":                 {Config{Retain: time.Nanosecond}, 100, 100},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := drivers["memory"](t)
			c.config.Name = "c"
			fill(s, "c")
			h, ch := open(t, s, newClock(), Options{}, c.config)
			defer h.Close()
			if c.acked >= 0 {
				g := group(t, ch, "g", Stored())
				commit(t, s, func(tx store.Tx) error { return g.Ack(tx, []Range{{0, c.acked}}) })
			}
			if _, err := h.Retain(context.Background(), now); err != nil {
				t.Fatal(err)
			}
			_ = s.View(context.Background(), func(v store.View) error {
				if b, _ := v.Log().Bounds("c"); b.First != c.want || b.Next != 100 {
					t.Errorf("left %d to %d, want from %d", b.First, b.Next, c.want)
				}
				return nil
			})
			if c.acked == 35 {
				if err := h.Forget(context.Background(), "c", "g"); err != nil {
					t.Fatal(err)
				}
				_ = s.View(context.Background(), func(v store.View) error {
					if cs, _ := Cursors(v, "c"); len(cs) != 0 {
						t.Errorf("%+v", cs)
					}
					return nil
				})
			}
		})
	}
}

// TestRetainKeepsWhatTheSlowestGroupNeeds has several groups, each of which is the slowest in its turn.
func TestRetainKeepsWhatTheSlowestGroupNeeds(t *testing.T) {
	for _, c := range []Config{{Queue: true}, {Retain: time.Second}, {RetainBytes: 1}} {
		for slowest := range 3 {
			s, _ := drivers["memory"](t)
			for i := range 10 {
				send(t, s, "c", epoch.Add(time.Duration(i)*time.Minute), message("", fmt.Sprint(i)))
			}
			c.Name = "c"
			h, ch := open(t, s, newClock(), Options{}, c)
			for i := range 3 {
				g := group(t, ch, fmt.Sprint("g", i), Stored())
				to := int64(7)
				if i == slowest {
					to = 4
				}
				commit(t, s, func(tx store.Tx) error { return g.Ack(tx, []Range{{0, to}}) })
			}
			if _, err := h.Retain(context.Background(), epoch.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			_ = s.View(context.Background(), func(v store.View) error {
				if b, _ := v.Log().Bounds("c"); b.First != 4 {
					t.Errorf("%+v, group %d is the slowest: left from %d", c, slowest, b.First)
				}
				return nil
			})
			h.Close()
		}
	}
}

// TestGone: what somebody dropped that was not read is not waited for.
func TestGone(t *testing.T) {
	s, _ := drivers["memory"](t)
	h, c := open(t, s, newClock(), Options{Page: 1}, Config{Name: "t"})
	g := group(t, c, "g", Stored())
	sendKeys(t, s, "t", "a", "b", "c", "d")
	commit(t, s, func(tx store.Tx) error { _, err := tx.Drop("t", 2); return err })
	r := join(g)
	want(t, "the rest", r.poll(t, 1), 2)
	ack(t, s, g, 2)
	if n, _ := g.Lag(); n != 1 {
		t.Errorf("lag %d", n)
	}
	h.Close()
	_, c = open(t, s, newClock(), Options{Page: 1}, Config{Name: "t"})
	g = group(t, c, "g", Stored())
	commit(t, s, func(tx store.Tx) error { _, err := tx.Drop("t", 4); return err })
	r = join(g)
	want(t, "nothing is left", r.poll(t, 1))
	if n, _ := g.Lag(); n != 0 {
		t.Errorf("lag %d", n)
	}
}

func TestLag(t *testing.T) {
	s, _ := drivers["memory"](t)
	clock := newClock()
	h, c := open(t, s, clock, Options{Page: 1}, Config{Name: "t"})
	defer h.Close()
	g := group(t, c, "g", Stored())
	lag := func(n int64, age time.Duration) {
		t.Helper()
		if m, a := g.Lag(); m != n || a != age {
			t.Errorf("got %d, %v; want %d, %v", m, a, n, age)
		}
	}
	lag(0, 0)
	for i := range 3 {
		send(t, s, "t", epoch.Add(time.Duration(i)*time.Minute), message("", "x"))
	}
	clock.move(10 * time.Minute)
	lag(3, 10*time.Minute)
	r := join(g)
	r.poll(t, 2)
	lag(3, 10*time.Minute)
	nack(t, s, g, 0, time.Hour)
	lag(3, 10*time.Minute)
	ack(t, s, g, 1)
	clock.move(time.Hour)
	r.poll(t, 2)
	ack(t, s, g, 0)
	lag(1, 68*time.Minute)
	r.poll(t, 2)
	ack(t, s, g, 2)
	lag(0, 0)
}

// TestHeld: a group reads no further while too much waits behind a key, and goes on when it is given out.
func TestHeld(t *testing.T) {
	s, _ := drivers["memory"](t)
	h, c := open(t, s, newClock(), Options{Held: 100}, Config{Name: "q", Queue: true})
	defer h.Close()
	g := group(t, c, "g", Stored())
	a, b := join(g), join(g)
	for range 20 {
		send(t, s, "q", epoch, message("x", fmt.Sprintf("%050d", 0)))
	}
	send(t, s, "q", epoch, message("y", "free"))
	want(t, "a", a.poll(t, 1), 0)
	want(t, "b is not let through", b.poll(t, 10))
	if g.read > 5 {
		t.Errorf("read up to %d", g.read)
	}
	got := make(chan []Delivery)
	waits := make(chan struct{}, 100)
	b.Leave()
	r := g.Join(Waits{Idle: func() { waits <- struct{}{} }})
	go func() {
		ds, err := r.Next(context.Background(), 100)
		if err != nil {
			t.Error(err)
		}
		got <- slices.Clone(ds)
	}()
	<-waits
	a.Leave()
	ds := <-got
	if len(ds) == 0 || ds[0].Position != 0 {
		t.Errorf("%v", positions(ds))
	}
	for at := int64(len(ds)); at < 21; {
		ds, err := r.Next(context.Background(), 100)
		if err != nil || ds[0].Position != at {
			t.Fatalf("%v, %v", positions(ds), err)
		}
		at += int64(len(ds))
	}
}

func TestClosed(t *testing.T) {
	s, _ := drivers["memory"](t)
	h, c := open(t, s, newClock(), Options{}, Config{Name: "t"})
	g := group(t, c, "g", Stored())
	idle, over := make(chan struct{}), make(chan error)
	r := g.Join(Waits{Idle: func() { close(idle) }})
	go func() {
		_, err := r.Next(context.Background(), 1)
		over <- err
	}()
	<-idle
	h.Close()
	if err := <-over; penstock.CodeOf(err) != penstock.Cancelled {
		t.Errorf("got %v", err)
	}
	if _, err := h.Open(Config{Name: "other"}); err == nil {
		t.Error("a closed hub opens channels")
	}
	if _, err := c.Group(context.Background(), "other", Stored()); err == nil {
		t.Error("a closed hub opens groups")
	}
	sendKeys(t, s, "t", "a") // nobody listens
}

func TestDamagedLog(t *testing.T) {
	s, _ := drivers["memory"](t)
	h, c := open(t, &tornStore{s}, newClock(), Options{}, Config{Name: "t"})
	defer h.Close()
	g := group(t, c, "g", Stored())
	sendKeys(t, s, "t", "a")
	r := g.Join(Waits{})
	h.mu.Lock()
	c.trim(1)
	h.mu.Unlock()
	for range 2 {
		if _, err := r.Next(context.Background(), 1); !errors.Is(err, store.ErrTorn) {
			t.Errorf("got %v", err)
		}
	}
}

// tornStore cuts the last byte off every segment.
type tornStore struct{ store.Store }

func (s *tornStore) View(ctx context.Context, f func(store.View) error) error {
	return s.Store.View(ctx, func(v store.View) error { return f(tornView{v}) })
}

type tornView struct{ store.View }

func (v tornView) Log() store.Log { return tornLog{v.View.Log()} }

type tornLog struct{ store.Log }

func (l tornLog) Segments(channel string, from int64, most int) ([]store.Segment, error) {
	all, err := l.Log.Segments(channel, from, most)
	for i := range all {
		all[i].Data = all[i].Data[:len(all[i].Data)-1]
	}
	return all, err
}
