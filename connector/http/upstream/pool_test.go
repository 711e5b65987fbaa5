package upstream

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// moved is a clock that is moved by hand.
type moved struct{ at atomic.Int64 }

func (m *moved) now() time.Time            { return time.Unix(0, m.at.Load()) }
func (m *moved) advance(d time.Duration)   { m.at.Add(int64(d)) }
func (m *moved) options(o Options) Options { o.Now = m.now; return o }

func answerAll(c *peerConn, _ int) {
	for {
		if _, more := c.request(); !more {
			return
		}
		c.say(ok)
	}
}

// TestBound: no more connections than allowed; who waits is served in turn, or leaves.
func TestBound(t *testing.T) {
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	_, o := answering(t, func(c *peerConn, _ int) {
		for {
			if _, more := c.request(); !more {
				return
			}
			asked <- struct{}{}
			<-answer
			c.say(ok)
		}
	})
	c := client(t, Options{PerHost: 2})
	results := make(chan error, 10)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { results <- c.Do(context.Background(), get(o), new(Response)) })
	}
	<-asked
	<-asked
	for c.Stats().Waiting < 3 {
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("gone")
	wg.Go(func() {
		for c.Stats().Waiting < 4 {
			runtime.Gosched()
		}
		cancel(gone)
	})
	if err := c.Do(ctx, get(o), new(Response)); !errors.Is(err, gone) {
		t.Errorf("who no longer waits: %v", err)
	}
	q := get(o)
	q.Deadline = time.Now().Add(10 * time.Millisecond)
	if err := c.Do(context.Background(), q, new(Response)); kindOf(err) != "timeout" {
		t.Errorf("whose time is over: %v", err)
	}
	for range 5 {
		answer <- struct{}{}
	}
	wg.Wait()
	for range 5 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if s := c.Stats(); s.Dialled != 2 || s.Open != 2 || s.Idle != 2 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// TestCloseWhileWaiting: who waits for a connection of a client that is closed learns it; who has one finishes.
func TestCloseWhileWaiting(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	_, o := answering(t, func(c *peerConn, _ int) { c.request(); close(asked); <-answer; c.say(ok); c.stall() })
	c := New(Options{PerHost: 1})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Do(context.Background(), get(o), new(Response)); err != nil {
			t.Error(err)
		}
	})
	<-asked
	wg.Go(func() {
		if err := c.Do(context.Background(), get(o), new(Response)); kindOf(err) != "stopped" {
			t.Error(err)
		}
	})
	for c.Stats().Waiting == 0 {
		runtime.Gosched()
	}
	_ = c.Close()
	close(answer)
	wg.Wait()
	if s := c.Stats(); s.Open != 0 {
		t.Errorf("%+v", s)
	}
	if err := c.Do(context.Background(), get(o), new(Response)); kindOf(err) != "stopped" {
		t.Error(err)
	}
}

// TestIdleTimeout: what lies idle for too long is not used again, and is closed also if nobody comes.
func TestIdleTimeout(t *testing.T) {
	_, o := answering(t, answerAll)
	var m moved
	c := client(t, m.options(Options{IdleTimeout: time.Minute}))
	do := func() {
		t.Helper()
		if err := c.Do(context.Background(), get(o), new(Response)); err != nil {
			t.Fatal(err)
		}
	}
	do()
	m.advance(59 * time.Second)
	do()
	if s := c.Stats(); s.Dialled != 1 {
		t.Errorf("%+v", s)
	}
	m.advance(61 * time.Second)
	do()
	if s := c.Stats(); s.Dialled != 2 || s.Open != 1 {
		t.Errorf("%+v", s)
	}
	m.advance(61 * time.Second)
	h, _ := c.host(o)
	h.sweep()
	if s := c.Stats(); s.Open != 0 || s.Idle != 0 {
		t.Errorf("%+v", s)
	}
}

// TestNamesChange: a name that comes to stand for another machine is followed when its connections are old, and the load goes over
// without a request that fails.
func TestNamesChange(t *testing.T) {
	named := func(name string) *peer {
		p, _ := answering(t, func(c *peerConn, _ int) {
			for {
				if _, more := c.request(); !more {
					return
				}
				c.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)
			}
		})
		return p
	}
	before, after := named("a"), named("b")
	var at atomic.Pointer[peer]
	at.Store(before)
	var m moved
	c := client(t, m.options(Options{Lifetime: time.Minute, IdleTimeout: time.Hour, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "service.example:80" {
			t.Errorf("%s is dialled", address)
		}
		var d net.Dialer
		return d.DialContext(ctx, network, at.Load().Addr().String())
	}}))
	ask := func() string {
		t.Helper()
		var res Response
		if err := c.Do(context.Background(), get(Origin{Host: "service.example", Port: "80"}), &res); err != nil {
			t.Fatal(err)
		}
		return string(res.Body)
	}
	if got := ask(); got != "a" {
		t.Fatal(got)
	}
	at.Store(after)
	m.advance(50 * time.Second)
	if got := ask(); got != "a" {
		t.Errorf("%s: the connection is not old yet", got)
	}
	m.advance(11 * time.Second)
	if got := ask(); got != "b" {
		t.Errorf("%s: the connection is over its lifetime", got)
	}
	// The machine that the name stands for goes away, and with it its connections.
	at.Store(before)
	_ = after.Close()
	after.mu.Lock()
	for _, conn := range after.conns {
		_ = conn.Close()
	}
	after.mu.Unlock()
	if got := ask(); got != "a" {
		t.Errorf("%s: the other machine is gone", got)
	}
}

// TestLifetimesDiffer: connections that were made together do not end together.
func TestLifetimesDiffer(t *testing.T) {
	h := &host{client: New(Options{Lifetime: 160 * time.Second})}
	seen := map[time.Duration]bool{}
	born := time.Unix(0, 0)
	for range 16 {
		h.dialled++
		d := h.endOf(born).Sub(born)
		if d > 160*time.Second || d < 144*time.Second {
			t.Errorf("%s", d)
		}
		seen[d] = true
	}
	if len(seen) != 16 {
		t.Errorf("%d lifetimes", len(seen))
	}
}
