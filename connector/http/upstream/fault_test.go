package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestStalls: wherever the other side falls silent, its time ends, and the connection is given up.
func TestStalls(t *testing.T) {
	for name, answer := range map[string]string{
		"before the answer":    "",
		"within the head":      "HTTP/1.1 200 OK\r\nConte",
		"behind information":   "HTTP/1.1 100 Continue\r\n\r\n",
		"within a body":        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
		"within a chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
		"between chunks":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"within the trailers":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
		"before the end comes": "HTTP/1.1 200 OK\r\n\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			said := make(chan struct{}, 10)
			_, o := answering(t, func(c *peerConn, _ int) {
				c.request()
				c.say(answer)
				said <- struct{}{}
				c.stall()
			})
			c := client(t, Options{Times: Times{Header: 30 * time.Millisecond, Stall: 30 * time.Millisecond}})
			if err := c.Do(context.Background(), get(o), new(Response)); kindOf(err) != "timeout" {
				t.Errorf("%v", err)
			}
			<-said
			// The same with a deadline of the request's own, and with the end of the caller's context.
			c = client(t, Options{})
			q := get(o)
			q.Deadline = time.Now().Add(30 * time.Millisecond)
			if err := c.Do(context.Background(), q, new(Response)); kindOf(err) != "timeout" {
				t.Errorf("deadline: %v", err)
			}
			<-said
			cause := errors.New("no longer wanted")
			ctx, cancel := context.WithCancelCause(context.Background())
			var wg sync.WaitGroup
			wg.Go(func() { <-said; cancel(cause) })
			if err := c.Do(ctx, get(o), new(Response)); !errors.Is(err, cause) {
				t.Errorf("cancelled: %v", err)
			}
			wg.Wait()
			if s := c.Stats(); s.Open != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestSlowButSteady: what goes on coming is no stall, however long it takes as a whole.
func TestSlowButSteady(t *testing.T) {
	_, o := answering(t, func(c *peerConn, _ int) {
		c.request()
		c.say("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
		pace := time.NewTicker(10 * time.Millisecond) // of the other side
		defer pace.Stop()
		for range 20 {
			<-pace.C
			c.say("x")
		}
	})
	var res Response
	if err := client(t, Options{Times: Times{Header: 100 * time.Millisecond, Stall: 100 * time.Millisecond}}).Do(context.Background(), get(o), &res); err != nil || len(res.Body) != 20 {
		t.Errorf("%v, %d bytes", err, len(res.Body))
	}
}

// TestCancelledBefore: nothing is sent for somebody who is gone.
func TestCancelledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, o := answering(t, func(c *peerConn, _ int) { c.stall() })
	if err := client(t, Options{}).Do(ctx, get(o), new(Response)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestGoneWhileIdle: a kept connection that ends before an answer begins is found out, and the request repeated, once, where it may be.
func TestGoneWhileIdle(t *testing.T) {
	for _, tt := range []struct {
		name       string
		end        func(c *peerConn)
		repeatable bool
		err        string
		requests   int // that reach the peer, the first included
	}{
		{"closed at the next request", func(c *peerConn) { c.request() }, true, "", 3},
		{"reset at the next request", func(c *peerConn) { c.request(); c.reset() }, true, "", 3},
		{"closed at the next request, which may not be repeated", func(c *peerConn) { c.request() }, false, "closed", 2},
		{"half an answer is an answer", func(c *peerConn) { c.request(); c.say("HTTP/1.1 2") }, true, "broken", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var requests atomic.Int64
			_, o := answering(t, func(c *peerConn, n int) {
				for i := 0; ; i++ {
					if n == 0 && i == 1 {
						requests.Add(1)
						tt.end(c)
						return
					}
					if _, more := c.request(); !more {
						return
					}
					requests.Add(1)
					c.say(ok)
				}
			})
			c := client(t, Options{})
			if err := c.Do(context.Background(), get(o), new(Response)); err != nil {
				t.Fatal(err)
			}
			q := get(o)
			q.Repeatable = tt.repeatable
			err := c.Do(context.Background(), q, new(Response))
			if kindOf(err) != tt.err || requests.Load() != int64(tt.requests) {
				t.Errorf("%v, %d requests; want %q, %d", err, requests.Load(), tt.err, tt.requests)
			}
			var e *Error
			if errors.As(err, &e) && !e.Sent {
				t.Error("it says that nothing was sent")
			}
		})
	}
}

// TestClosedWhileIdle: a connection that the other side has closed, or spoken on unasked, is not used again, also not for what can't be
// repeated.
func TestClosedWhileIdle(t *testing.T) {
	for name, then := range map[string]func(c *peerConn){
		"closed":  func(c *peerConn) { _ = c.Close() },
		"reset":   func(c *peerConn) { c.reset() },
		"unasked": func(c *peerConn) { c.say("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned") },
	} {
		t.Run(name, func(t *testing.T) {
			next, done := make(chan struct{}), make(chan struct{})
			_, o := answering(t, func(c *peerConn, n int) {
				c.request()
				c.say(ok)
				if n == 0 {
					<-next
					then(c)
					close(done)
				}
				c.stall()
			})
			c := client(t, Options{})
			if err := c.Do(context.Background(), get(o), new(Response)); err != nil {
				t.Fatal(err)
			}
			close(next)
			<-done
			// What it did arrives a moment later: wait for that on the socket itself.
			h, _ := c.host(o)
			nc := h.idle[0]
			for nc.fresh() {
				runtime.Gosched()
			}
			var res Response
			q := get(o)
			q.Repeatable = false
			if err := c.Do(context.Background(), q, &res); err != nil || string(res.Body) != "ok" {
				t.Errorf("%q, %v", res.Body, err)
			}
			if s := c.Stats(); s.Dialled != 2 || s.Open != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestUploads: large bodies, to others who don't want them.
func TestUploads(t *testing.T) {
	large := make([]byte, 8<<20)
	for _, tt := range []struct {
		name   string
		peer   func(c *peerConn, stop chan struct{})
		status int
		err    string
	}{
		{"read", func(c *peerConn, _ chan struct{}) { c.request(); c.say(ok) }, 200, ""},
		{"refused at once", func(c *peerConn, _ chan struct{}) {
			c.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			c.stall()
		}, 413, ""},
		{"refused at once, and on to the next", func(c *peerConn, _ chan struct{}) {
			c.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
			c.stall()
		}, 413, ""},
		{"never read", func(_ *peerConn, stop chan struct{}) { <-stop }, 0, "timeout"},
		{"read, and never answered", func(c *peerConn, _ chan struct{}) { c.request(); c.stall() }, 0, "timeout"},
		{"reset in the middle", func(c *peerConn, _ chan struct{}) { _, _ = io.CopyN(io.Discard, c.r, 1<<20); c.reset() }, 0, "closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stop := make(chan struct{})
			defer close(stop)
			_, o := answering(t, func(c *peerConn, _ int) { tt.peer(c, stop) })
			c := client(t, Options{Times: Times{Header: 200 * time.Millisecond, Stall: 200 * time.Millisecond}})
			var res Response
			err := c.Do(context.Background(), &Request{Method: "POST", Origin: o, Target: []byte("/"), Body: large}, &res)
			if kindOf(err) != tt.err || err == nil && res.Status != tt.status {
				t.Errorf("%v, %d; want %q, %d", err, res.Status, tt.err, tt.status)
			}
			if s := c.Stats(); s.Open != s.Idle {
				t.Errorf("%+v", s)
			}
		})
	}
	// Cancelled in the middle.
	begun, end := make(chan struct{}), make(chan struct{})
	defer close(end)
	_, o := answering(t, func(c *peerConn, _ int) { _, _ = io.CopyN(io.Discard, c.r, 1); close(begun); <-end })
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { <-begun; cancel() })
	if err := client(t, Options{}).Do(ctx, &Request{Method: "POST", Origin: o, Target: []byte("/"), Body: large}, new(Response)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	wg.Wait()
}

// TestDialling: who is not there, and who takes too long.
func TestDialling(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := originOf(t, "http://"+l.Addr().String())
	_ = l.Close()
	for _, tt := range []struct {
		name string
		o    Origin
		dial func(ctx context.Context, network, address string) (net.Conn, error)
		kind string
	}{
		{"nobody listens", nobody, nil, "dial"},
		{"no such name", Origin{Host: "nobody.invalid", Port: "80"}, func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "nobody.invalid", IsNotFound: true}
		}, "dial"},
		{"too slow", nobody, func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }, "timeout"},
	} {
		c := client(t, Options{DialContext: tt.dial, Times: Times{Dial: 30 * time.Millisecond}})
		err := c.Do(context.Background(), get(tt.o), new(Response))
		var e *Error
		if kindOf(err) != tt.kind || !errors.As(err, &e) || e.Sent {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// The deadline of the request, and the end of the caller's context, act while it is dialled.
	hang := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	c := client(t, Options{DialContext: hang})
	q := get(nobody)
	q.Deadline = time.Now().Add(20 * time.Millisecond)
	if err := c.Do(context.Background(), q, new(Response)); kindOf(err) != "timeout" {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := c.Do(ctx, get(nobody), new(Response)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestStorm: whatever goes wrong, and however much at once, the bounds hold, and nothing is left behind.
func TestStorm(t *testing.T) {
	_, o := answering(t, func(c *peerConn, n int) {
		for i := 0; ; i++ {
			if _, more := c.request(); !more {
				return
			}
			switch (n*7 + i) % 11 {
			case 3:
				c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
				return
			case 5:
				c.reset()
				return
			case 7:
				c.say("garbage\r\n\r\n")
			case 8:
				c.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more")
			case 9:
				return
			default:
				c.say(ok)
			}
		}
	})
	c := client(t, Options{PerHost: 8, Idle: 4, Times: Times{Header: 5 * time.Second, Stall: 5 * time.Second}})
	var wg sync.WaitGroup
	var good, most atomic.Int64
	for g := range 32 {
		wg.Go(func() {
			var res Response
			for i := range 60 {
				ctx, cancel := context.WithCancel(context.Background())
				if (g+i)%13 == 0 {
					cancel()
				}
				err := c.Do(ctx, get(o), &res)
				cancel()
				switch {
				case err == nil && string(res.Body) != "ok":
					t.Errorf("%q", res.Body)
				case err == nil:
					good.Add(1)
				}
				if s := c.Stats(); s.Open > 8 || s.Idle > 4 {
					t.Errorf("%+v", s)
				} else {
					most.Store(max(most.Load(), int64(s.Open)))
				}
			}
		})
	}
	wg.Wait()
	if s := c.Stats(); good.Load() < 500 || s.Waiting != 0 || s.Open != s.Idle {
		t.Errorf("%d good ones, %+v", good.Load(), s)
	}
}

// TestMemoryAfterLargeAnswers: what a connection keeps while it lies idle is small, however large what came over it was.
func TestMemoryAfterLargeAnswers(t *testing.T) {
	large := strings.Repeat("x", 4<<20)
	_, o := answering(t, func(c *peerConn, _ int) {
		for {
			r, more := c.request()
			switch {
			case !more:
				return
			case r.URL.Path == "/chunks":
				c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: " + large[:60<<10] + "\r\n\r\n400000\r\n" + large + "\r\n0\r\n\r\n")
			default:
				c.say("HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n" + large)
			}
		}
	})
	c := client(t, Options{PerHost: 8})
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, target := range []string{"/", "/chunks"} {
				q := &Request{Method: "POST", Origin: o, Target: []byte(target), Header: []byte("X: " + large[:20<<10] + "\r\n"), MaxBody: 8 << 20}
				if err := c.Do(context.Background(), q, new(Response)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, s := heap()-before, c.Stats(); got > 4<<20 || s.Idle != 8 {
		t.Errorf("%d connections keep %d bytes", s.Idle, got)
	}
}

// FuzzAnswer: no bytes bring the reader down, or over its limits; and how they come in makes no difference.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{ok, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 204 \r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\nabc", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "HTTP/1.1 200 OK\nX: y\n\n", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"} {
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(7))
	}
	f.Fuzz(func(t *testing.T, answer []byte, size uint8) {
		read := func(size int) string {
			c := New(Options{MaxHeader: 4 << 10, Times: Times{Header: time.Hour, Stall: time.Hour}, DialContext: func(context.Context, string, string) (net.Conn, error) {
				return &canned{answer: answer, size: size}, nil
			}})
			defer func() { _ = c.Close() }()
			var res Response
			err := c.Do(context.Background(), &Request{Method: "GET", Origin: Origin{Host: "x", Port: "80"}, Target: []byte("/"), MaxBody: 1000}, &res)
			if err != nil {
				return "error"
			}
			if len(res.Body) > 1000 || res.Status < 200 || res.Status > 999 {
				t.Fatalf("%d, %d bytes", res.Status, len(res.Body))
			}
			fields := ""
			res.Each(func(n, v []byte) { fields += fmt.Sprintf("%q:%q,", n, v) })
			return fmt.Sprintf("%d %s %q", res.Status, fields, res.Body)
		}
		if whole, parts := read(1<<20), read(max(int(size), 1)); whole != parts {
			t.Errorf("as a whole %s, in parts of %d %s", whole, size, parts)
		}
	})
}

// canned is a connection that answers with fixed bytes, in parts.
type canned struct {
	answer []byte
	at     int
	size   int
	again  bool // begins anew with each request
}

func (c *canned) Read(b []byte) (int, error) {
	if c.at == len(c.answer) {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.size)], c.answer[c.at:])
	c.at += n
	return n, nil
}

func (c *canned) Write(b []byte) (int, error) {
	if c.again {
		c.at = 0
	}
	return len(b), nil
}
func (*canned) Close() error                     { return nil }
func (*canned) LocalAddr() net.Addr              { return nil }
func (*canned) RemoteAddr() net.Addr             { return nil }
func (*canned) SetDeadline(time.Time) error      { return nil }
func (*canned) SetReadDeadline(time.Time) error  { return nil }
func (*canned) SetWriteDeadline(time.Time) error { return nil }

// TestAllocations holds what a request costs, beside what is the caller's.
func TestAllocations(t *testing.T) {
	c := client(t, Options{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return &canned{answer: []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: x\r\nContent-Length: 2\r\n\r\n{}"), size: 1 << 20, again: true}, nil
	}})
	head, err := AppendField(nil, "Content-Type", "application/json")
	if err != nil {
		t.Fatal(err)
	}
	room := make([]byte, 100)
	q := &Request{Method: "POST", Origin: Origin{Host: "x", Port: "80"}, Target: []byte("/a"), Header: head, Body: []byte(`{"a":1}`), Alloc: func(n int) []byte { return room[:n] }}
	var res Response
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, tt := range map[string]struct {
		ctx  context.Context
		most float64
	}{"no end": {context.Background(), 0}, "a context that may end": {ctx, 4}} {
		if n := testing.AllocsPerRun(200, func() {
			if err := c.Do(tt.ctx, q, &res); err != nil || string(res.Body) != "{}" {
				t.Fatal(err)
			}
		}); n > tt.most {
			t.Errorf("%s: %g allocations, want at most %g", name, n, tt.most)
		}
	}
}
