package channel

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// TestWake: a reader that waits is woken by what is appended, by what is given back when it is due, by messages that another one
// leaves, and by its context; each time it counts as busy before it goes on.
func TestWake(t *testing.T) {
	s, _ := drivers["memory"](t)
	clock := newClock()
	h, c := open(t, s, clock, Options{}, Config{Name: "q", Queue: true})
	defer h.Close()
	g := group(t, c, "g", Stored())
	waits := make(chan string, 10)
	r := g.Join(Waits{Idle: func() { waits <- "idle" }, Busy: func() { waits <- "busy" }})
	ctx, cancel := context.WithCancelCause(context.Background())
	type result struct {
		ds  []Delivery
		err error
	}
	got := make(chan result)
	next := func(what string, wake func()) result {
		t.Helper()
		go func() {
			ds, err := r.Next(ctx, 10)
			got <- result{ds, err}
		}()
		if w := <-waits; w != "idle" {
			t.Errorf("%s: %s before it waits", what, w)
		}
		wake()
		res := <-got
		if len(waits)%2 != 1 { // it may look in vain in between
			t.Errorf("%s: the count is off", what)
		}
		for len(waits) > 0 {
			<-waits
		}
		return res
	}
	res := next("append", func() { sendKeys(t, s, "q", "a", "b") })
	first := slices.Clone(res.ds)
	for len(first) < 2 && res.err == nil { // it is woken by the first of two transactions
		more, err := r.Next(ctx, 10)
		if err != nil {
			t.Fatal(err)
		}
		first = append(first, more...)
	}
	want(t, "append", first, 0, 1)
	commit(t, s, func(tx store.Tx) error { return g.Nack(tx, 0, time.Hour) })
	g.Nacked(0)
	res = next("due", func() { clock.move(time.Hour) })
	want(t, "due", res.ds, 0)
	other := join(g)
	sendKeys(t, s, "q", "c")
	want(t, "other", other.poll(t, 1), 2)
	res = next("leave", other.Leave)
	want(t, "leave", res.ds, 2)
	stop := errors.New("stop")
	if res = next("context", func() { cancel(stop) }); !errors.Is(res.err, stop) {
		t.Errorf("got %v", res.err)
	}
}

// TestTwoAtTheEnd: segments stay in memory until all who read at the end have them.
func TestTwoAtTheEnd(t *testing.T) {
	s, _ := drivers["memory"](t)
	counted := &countViews{Store: s}
	h, c := open(t, counted, newClock(), Options{}, Config{Name: "t"})
	defer h.Close()
	a, b := join(group(t, c, "a", Stored())), join(group(t, c, "b", Stored()))
	views := counted.n
	for i := range 10 {
		sendKeys(t, counted, "t", "x", "y")
		want(t, "a", a.poll(t, 5), int64(2*i), int64(2*i+1))
		want(t, "b", b.poll(t, 5), int64(2*i), int64(2*i+1))
		if h.size != 0 {
			t.Errorf("%d bytes are kept that both have", h.size)
		}
	}
	if counted.n != views {
		t.Errorf("%d views", counted.n-views)
	}
}

// BenchmarkCatchUp reads what is on the disk: messages of 300 bytes, in segments of 1000.
func BenchmarkCatchUp(b *testing.B) {
	s, _ := drivers["sqlite"](b)
	const n = 200_000
	body := make([]byte, 300)
	var bundle store.Bundle
	bundle.N, bundle.MinTime, bundle.MaxTime = 1000, 1, 1
	for range 1000 {
		bundle.Data = store.AppendFrame(bundle.Data, message("key", string(body)))
	}
	for range n / 1000 {
		commit(b, s, func(tx store.Tx) error { _, err := tx.Append("t", bundle); return err })
	}
	for b.Loop() {
		h, c := open(b, s, penstock.SystemClock{}, Options{}, Config{Name: "t"})
		g := group(b, c, "g", Beginning())
		r := g.Join(Waits{})
		for read := 0; read < n; {
			ds, err := r.Next(context.Background(), 256)
			if err != nil {
				b.Fatal(err)
			}
			read += len(ds)
			rs := []Range{{ds[0].Position, ds[len(ds)-1].Position + 1}}
			if read%(256*16) < 256 { // a commit for about 4096, as a flow makes them
				commit(b, s, func(tx store.Tx) error { return g.Ack(tx, rs) })
			}
			g.Acked(rs)
		}
		h.Close()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
