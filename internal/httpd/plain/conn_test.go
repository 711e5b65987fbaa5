package plain

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers is a handler that is a function.
type answers func(http.ResponseWriter, *http.Request) bool

// Answer implements Handler.
func (f answers) Answer(w http.ResponseWriter, r *http.Request) bool { return f(w, r) }

// echoes answers with the path and the body.
var echoes = answers(func(w http.ResponseWriter, r *http.Request) bool {
	b, _ := io.ReadAll(r.Body)
	_, _ = io.WriteString(w, r.URL.Path+" "+string(b))
	return true
})

// peer is the other end of a connection that is served.
type peer struct {
	t      *testing.T
	s      *Server
	c      net.Conn
	ended  chan struct{}
	handed chan net.Conn
	read   []byte
}

// open serves one end of a connection.
func open(t *testing.T, o Options) *peer {
	t.Helper()
	p := &peer{t: t, ended: make(chan struct{}), handed: make(chan net.Conn, 1)}
	if o.Handler == nil {
		o.Handler = echoes
	}
	if o.First == 0 {
		o.First, o.Idle = time.Minute, time.Minute
	}
	if o.Patience == 0 {
		o.Patience = time.Minute
	}
	o.HandOver, o.Logger = func(c net.Conn) { p.handed <- c }, slog.New(slog.DiscardHandler)
	p.s = New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if p.c, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	_ = p.c.SetDeadline(time.Now().Add(time.Minute))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	go func() {
		p.s.Serve(c)
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.c.Close()
		<-p.ended
		select {
		case c := <-p.handed:
			_ = c.Close()
		default:
		}
	})
	return p
}

func (p *peer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.c, text); err != nil {
		p.t.Fatal(err)
	}
}

// wants reads until the answers so far end with text.
func (p *peer) wants(text string) {
	p.t.Helper()
	for !bytes.HasSuffix(p.read, []byte(text)) {
		b := make([]byte, 64<<10)
		n, err := p.c.Read(b)
		p.read = append(p.read, b[:n]...)
		if err != nil {
			p.t.Fatalf("%v; the answers were %q, want %q at the end", err, p.read, text)
		}
	}
}

// over waits for the end of the connection.
func (p *peer) over() {
	p.t.Helper()
	if b, err := io.ReadAll(p.c); err != nil || len(b) > 0 {
		p.t.Errorf("there is more: %q, %v", b, err)
	}
	<-p.ended
}

const get = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"

func TestRequests(t *testing.T) {
	p := open(t, Options{})
	p.send(get)
	p.wants("/a ")
	p.send("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
	p.wants("/b abc")
	p.send("POST /c HTTP/1.1\r\nHost: x\r\nCont")
	p.send("ent-Length: 5\r\n\r\nab")
	p.send("cde" + get + get[:7]) // pipelined, and the beginning of one more
	p.wants("/a ")
	p.send(get[7:])
	p.wants("/a ")
	p.send("PUT /large HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("l", 60000))
	p.wants("l")
	p.send("GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	p.wants("Connection: close\r\n\r\n/end ")
	p.over()
	if n := bytes.Count(p.read, []byte("HTTP/1.1 200 OK\r\n")); n != 7 {
		t.Errorf("there are %d answers: %q", n, p.read)
	}
}

// TestHandOver holds that who takes a connection over reads all that was not answered.
func TestHandOver(t *testing.T) {
	for _, tc := range []struct {
		name, first, other string
		answered           string
		head               int
	}{
		{"at once", "", "BREW / HTTP/1.1\r\nHost: x\r\n\r\n", "", 0},
		{"behind a request", get, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "/a ", 0},
		{"for its handler", get, "GET /none HTTP/1.1\r\nHost: x\r\n\r\nGET /b", "/a ", 0},
		{"for its path", get, "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "/a ", 0},
		{"for its head", "", "GET /" + strings.Repeat("a", maxHead) + " HTTP/1.1\r\n", "", 0},
		{"for its head, where less is allowed", "", "GET /" + strings.Repeat("a", 200) + " HTTP/1.1\r\nHost: x\r\n\r\n", "", 100},
		{"behind an empty line", "POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nc", "\r\n\r\n\r\n" + get, "/c c", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := open(t, Options{MaxHead: tc.head, Handler: answers(func(w http.ResponseWriter, r *http.Request) bool {
				return r.URL.Path != "/none" && echoes(w, r)
			})})
			p.send(tc.first + tc.other)
			if tc.answered != "" {
				p.wants(tc.answered)
			}
			c := <-p.handed
			<-p.ended
			p.send(" and more")
			want := strings.TrimPrefix(tc.other+" and more", "\r\n\r\n")
			got := make([]byte, len(want))
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
			_ = c.(interface{ CloseWrite() error }).CloseWrite()
			p.over()
			_ = c.Close()
		})
	}
}

// TestPatience holds that what does not come soon, or ends in the middle, is for somebody else, who may wait as long as he likes.
func TestPatience(t *testing.T) {
	for _, half := range []string{"GET /a HTTP/1.1\r\nHo", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab", "G"} {
		p := open(t, Options{Patience: time.Millisecond})
		p.send(get)
		p.wants("/a ")
		p.send(half)
		c := <-p.handed
		got := make([]byte, len(half)+1)
		p.send("c")
		if _, err := io.ReadFull(c, got); err != nil || string(got) != half+"c" {
			t.Errorf("%q, %v", got, err)
		}
		_ = c.Close()
		p = open(t, Options{})
		p.send(half)
		_ = p.c.(*net.TCPConn).CloseWrite()
		c = <-p.handed
		if got, err := io.ReadAll(c); err != nil || string(got) != half {
			t.Errorf("a peer that ends: %q, %v", got, err)
		}
		_ = c.Close()
	}
}

func TestSilence(t *testing.T) {
	p := open(t, Options{First: time.Millisecond, Idle: time.Minute})
	p.over()
	p = open(t, Options{First: time.Minute, Idle: time.Millisecond})
	p.send(get)
	p.wants("/a ")
	p.over() // First was longer, but a request has come
}

// TestWatch holds that what comes while a request is answered is neither lost nor taken for the end, and that the watch leaves nothing behind.
func TestWatch(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	p := open(t, Options{Handler: answers(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/wait" {
			_ = r.Context().Done()
			stop := context.AfterFunc(r.Context(), func() { t.Error("it was told of an end") })
			begun <- struct{}{}
			<-goOn
			if err := r.Context().Err(); err != nil {
				t.Error(err)
			}
			if !stop() {
				t.Error("it was told too early")
			}
		}
		return echoes(w, r)
	})})
	for range 3 {
		p.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		<-begun
		p.send(get)
		goOn <- struct{}{}
		p.wants("/a ")
		p.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
		<-begun
		goOn <- struct{}{}
		p.wants("/wait ")
	}
}

// TestContext holds that the context of a request ends with it, and stays ended.
func TestContext(t *testing.T) {
	var last context.Context
	var told sync.WaitGroup
	told.Add(1)
	type key struct{}
	p := open(t, Options{Base: context.WithValue(t.Context(), key{}, "x"), Handler: answers(func(w http.ResponseWriter, r *http.Request) bool {
		if last != nil && last.Err() == nil {
			t.Error("the context of an earlier request goes on")
		}
		if last = r.Context(); last.Err() != nil || last.Value(key{}) != "x" {
			t.Error(last.Err())
		}
		if r.URL.Path == "/a" {
			context.AfterFunc(last, told.Done)
		}
		return echoes(w, r)
	})})
	p.send(get)
	p.wants("/a ")
	told.Wait()
	p.send("GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	p.wants("/end ")
	p.over()
	<-last.Done()
	if !errors.Is(last.Err(), context.Canceled) {
		t.Error(last.Err())
	}
	over := make(chan struct{})
	if stop := context.AfterFunc(last, func() { close(over) }); stop() {
		t.Error("there is time to stop what is told of the end")
	}
	<-over
}

func TestDrain(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	o := Options{Handler: answers(func(w http.ResponseWriter, r *http.Request) bool {
		begun <- struct{}{}
		<-goOn
		return echoes(w, r)
	})}
	p := open(t, o)
	p.send(get + get)
	<-begun
	p.s.Drain()
	p.s.Drain() // no matter
	over, cancel := context.WithCancel(t.Context())
	cancel()
	waited := make(chan error)
	go func() { waited <- p.s.Wait(t.Context()) }()
	goOn <- struct{}{}
	p.wants("Connection: close\r\n\r\n/a ")
	if err := <-waited; err != nil {
		t.Error(err)
	}

	p = open(t, Options{}) // waits for a request
	p.send(get)
	p.wants("/a ")
	p.s.Drain()
	p.over()
	if err := p.s.Wait(over); err != nil {
		t.Error(err)
	}
	p.s.Serve(unused{}) // one more, too late

	p = open(t, o)
	p.send(get)
	<-begun
	p.s.Drain()
	if err := p.s.Wait(over); err == nil {
		t.Error("nobody was cut off")
	}
	goOn <- struct{}{}
	<-p.ended
}

// unused is a connection that may only be closed.
type unused struct{ net.Conn }

// Close implements net.Conn.
func (unused) Close() error { return nil }

// RemoteAddr implements net.Conn.
func (unused) RemoteAddr() net.Addr { return &net.TCPAddr{} }

func TestPanic(t *testing.T) {
	p := open(t, Options{Handler: answers(func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = io.WriteString(w, "half")
		panic("x")
	})})
	p.send(get)
	p.over()
}

// TestMemory holds that what a large request needed is not kept for small ones.
func TestMemory(t *testing.T) {
	c := &conn{s: New(Options{}), buf: make([]byte, 10, maxRequest), clock: clock{at: time.Now()}}
	c.s.opts.Idle = time.Minute
	c.until = time.Now().Add(time.Hour)
	c.reply.body, c.reply.head = make([]byte, 0, 1<<20), make([]byte, 0, 1<<20)
	if !c.goOn(7) || cap(c.buf) > firstBuffer || len(c.buf) != 3 || c.reply.body != nil || c.reply.head != nil {
		t.Errorf("%d of %d bytes are kept", len(c.buf), cap(c.buf))
	}
}

// endless is a connection that brings the same request again and again, and takes all answers.
type endless struct {
	net.Conn
	request []byte
	left    int // of the requests
}

// Read implements net.Conn.
func (e *endless) Read(p []byte) (int, error) {
	if e.left--; e.left < 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return copy(p, e.request), nil
}

// Write implements net.Conn.
func (e *endless) Write(p []byte) (int, error) { return len(p), nil }

// Close implements net.Conn.
func (e *endless) Close() error { return nil }

// SetReadDeadline implements net.Conn.
func (e *endless) SetReadDeadline(time.Time) error { return nil }

// RemoteAddr implements net.Conn.
func (e *endless) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// usual is a request with the headers that a program sends.
const usual = "POST /hello HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: x\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: 15\r\n\r\n" + `{"name": "Ann"}`

// ofMemory answers with what it read, and allocates nothing.
type ofMemory struct {
	buf  [64]byte
	kind []string
}

// Answer implements Handler.
func (m *ofMemory) Answer(w http.ResponseWriter, r *http.Request) bool {
	n, _ := r.Body.Read(m.buf[:])
	w.Header()["Content-Type"] = m.kind
	_, _ = w.Write(m.buf[:n])
	return true
}

// TestAllocations holds that a request costs three allocations: its text, itself, and what it may keep.
func TestAllocations(t *testing.T) {
	s := New(Options{Handler: &ofMemory{kind: []string{"application/json"}}, First: time.Minute, Idle: time.Minute})
	var before, after runtime.MemStats
	const n = 10_000
	s.Serve(&endless{request: []byte(usual), left: 10})
	runtime.ReadMemStats(&before)
	s.Serve(&endless{request: []byte(usual), left: n})
	runtime.ReadMemStats(&after)
	if each := float64(after.Mallocs-before.Mallocs) / n; each > 3.1 {
		t.Errorf("%.2f allocations a request", each)
	}
}

func BenchmarkRequest(b *testing.B) {
	b.ReportAllocs()
	New(Options{Handler: &ofMemory{kind: []string{"application/json"}}, First: time.Minute, Idle: time.Minute}).Serve(&endless{request: []byte(usual), left: b.N})
}
