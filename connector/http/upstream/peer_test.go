package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is a server that answers with bytes, whatever they are. After the requests of a connection are answered, it is closed.
type peer struct {
	net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

// answering is a peer that hands each connection, with its number from 0, to fn.
func answering(t testing.TB, fn func(c *peerConn, n int)) (*peer, Origin) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Listener: l}
	p.wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, c)
			p.mu.Unlock()
			p.wg.Go(func() {
				defer func() { _ = c.Close() }()
				fn(&peerConn{Conn: c, r: bufio.NewReader(c)}, n)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p, originOf(t, "http://"+l.Addr().String())
}

type peerConn struct {
	net.Conn
	r *bufio.Reader
}

// request reads a request; false at the end of the connection.
func (c *peerConn) request() (*http.Request, bool) {
	r, err := http.ReadRequest(c.r)
	if err != nil {
		return nil, false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return r, err == nil
}

func (c *peerConn) say(s string) { _, _ = io.WriteString(c, s) }

// reset ends the connection with RST.
func (c *peerConn) reset() { _ = c.Conn.(*net.TCPConn).SetLinger(0); _ = c.Close() }

// stall waits until the other side is gone.
func (c *peerConn) stall() { _, _ = io.Copy(io.Discard, c.r) }

// client makes a client that is closed with the test, when nothing may be open any more.
func client(t testing.TB, o Options) *Client {
	t.Helper()
	c := New(o)
	t.Cleanup(func() {
		_ = c.Close()
		if s := c.Stats(); s.Open != 0 || s.Waiting != 0 {
			t.Errorf("after Close: %+v", s)
		}
	})
	return c
}

func get(o Origin) *Request {
	return &Request{Method: "GET", Origin: o, Target: []byte("/"), Repeatable: true, MaxBody: 1 << 20}
}

func kindOf(err error) string {
	if err == nil {
		return ""
	}
	var e *Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	return [...]string{"refused", "dial", "tls", "timeout", "closed", "broken", "protocol", "tooLarge", "stopped"}[e.Kind]
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestAnswers: what is read, and whether the connection is used again.
func TestAnswers(t *testing.T) {
	long := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'x'
		}
		return string(b)
	}
	for _, tt := range []struct {
		name, answer string
		close        bool // the peer closes behind it
		body         string
		err          string
		reused       bool
	}{
		{"a length", ok, false, "ok", "", true},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", false, "", "", true},
		{"not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", false, "", "", true},
		{"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", false, "", "", true},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA ; x=\"y\"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", false, "abc0123456789", "", true},
		{"chunks of nothing", "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n000\r\n\r\n", false, "", "", true},
		{"the end", "HTTP/1.1 200 OK\r\n\r\nall of it", true, "all of it", "", false},
		{"close", "HTTP/1.1 200 OK\r\nConnection: Foo, Close\r\nContent-Length: 2\r\n\r\nok", false, "ok", "", false},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, "ok", "", false},
		{"HTTP/1.0 that goes on", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", false, "ok", "", true},
		{"informational", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + ok, false, "ok", "", true},
		{"white space around values", "HTTP/1.1 200 OK\r\nContent-Length:\t 2 \r\n\r\nok", false, "ok", "", true},
		{"a large body", "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + long(300000), false, long(300000), "", true},
		{"long headers", "HTTP/1.1 200 OK\r\nX: " + long(20000) + "\r\nContent-Length: 2\r\n\r\nok", false, "ok", "", true},

		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", false, "", "protocol", false},
		{"the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", false, "", "protocol", false},
		{"a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", false, "", "protocol", false},
		{"a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", false, "", "protocol", false},
		{"a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", false, "", "protocol", false},
		{"an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok", false, "", "protocol", false},
		{"a length of 64 bits and more", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok", false, "", "protocol", false},
		{"a length beside chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, "", "protocol", false},
		{"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false, "", "protocol", false},
		{"chunks twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, "", "protocol", false},
		{"identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", false, "", "protocol", false},
		{"chunks of HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, "", "protocol", false},
		{"a folded header", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", false, "", "protocol", false},
		{"a bare line feed", "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok", false, "", "protocol", false},
		{"a bare line feed in the headers", "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 2\r\n\r\nok", false, "", "protocol", false},
		{"a bare carriage return", "HTTP/1.1 200 OK\r\nX: a\rContent-Length: 2\r\n\r\nok", false, "", "protocol", false},
		{"NUL", "HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 2\r\n\r\nok", false, "", "protocol", false},
		{"a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", false, "", "protocol", false},
		{"a header without a name", "HTTP/1.1 200 OK\r\n: 2\r\n\r\nok", false, "", "protocol", false},
		{"a header without a colon", "HTTP/1.1 200 OK\r\nfoo\r\n\r\nok", false, "", "protocol", false},
		{"a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", false, "", "protocol", false},
		{"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", false, "", "protocol", false},
		{"a status of 99", "HTTP/1.1 099 OK\r\n\r\n", false, "", "protocol", false},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", false, "", "protocol", false},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", false, "", "protocol", false},
		{"a line before it", "\r\n" + ok, false, "", "protocol", false},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", false, "", "protocol", false},
		{"information without end", func() string {
			s := ""
			for range maxInterims {
				s += "HTTP/1.1 100 Continue\r\n\r\n"
			}
			return s + ok
		}(), false, "", "protocol", false},
		{"information with a body", "HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok" + ok, false, "", "protocol", false},
		{"headers without end", "HTTP/1.1 200 OK\r\nX: " + long(100000), false, "", "tooLarge", false},
		{"too many headers", "HTTP/1.1 200 OK\r\n" + func() string {
			s := ""
			for range maxFields + 1 {
				s += "X: y\r\n"
			}
			return s
		}() + "\r\n", false, "", "protocol", false},
		{"a body over the limit", "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n", false, "", "tooLarge", false},
		{"chunks over the limit", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n" + long(1<<20) + "\r\n1\r\nx\r\n0\r\n\r\n", false, "", "tooLarge", false},
		{"an end over the limit", "HTTP/1.1 200 OK\r\n\r\n" + long(1<<20+1), true, "", "tooLarge", false},
		{"a chunk without a size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n", false, "", "protocol", false},
		{"a chunk of a negative size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n", false, "", "protocol", false},
		{"a chunk of a huge size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n", false, "", "protocol", false},
		{"a chunk of 0x3", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n", false, "", "protocol", false},
		{"a chunk with an extension that ends otherwise", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n", false, "", "protocol", false},
		{"a chunk with an extension without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;" + long(5000), false, "", "protocol", false},
		{"a chunk that is longer than it says", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", false, "", "protocol", false},
		{"a chunk that ends otherwise", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n\n0\r\n\r\n", false, "", "protocol", false},
		{"a trailer that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nfoo\r\n\r\n", false, "", "protocol", false},
		{"trailers without end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + func() string {
			s := ""
			for range 200 {
				s += "X: " + long(900) + "\r\n"
			}
			return s
		}(), false, "", "tooLarge", false},

		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", true, "", "broken", false},
		{"half of chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", true, "", "broken", false},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", true, "", "broken", false},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-", true, "", "broken", false},
		{"nothing", "", true, "", "closed", false},
		{"more than the length says", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned", false, "ok", "", false},
		{"more than no content", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", false, "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, o := answering(t, func(c *peerConn, n int) {
				for i := 0; ; i++ {
					if _, more := c.request(); !more {
						return
					}
					switch {
					case n == 0 && i == 0:
						c.say(tt.answer)
						if tt.close {
							return
						}
					case n == 0:
						c.say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nreused")
					default:
						c.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh")
					}
				}
			})
			c := client(t, Options{Times: Times{Header: 5 * time.Second, Stall: 5 * time.Second}})
			var res Response
			if err := c.Do(context.Background(), get(o), &res); kindOf(err) != tt.err || err == nil && string(res.Body) != tt.body {
				t.Fatalf("%v (%s), %d bytes, want %d, %s", err, kindOf(err), len(res.Body), len(tt.body), tt.err)
			}
			want := "fresh"
			if tt.reused {
				want = "reused"
			}
			if err := c.Do(context.Background(), get(o), &res); err != nil || string(res.Body) != want {
				t.Errorf("the next: %q, %v; want %s", res.Body, err, want)
			}
		})
	}
}

// TestHeaders: how they are found, and that several of one name are kept.
func TestHeaders(t *testing.T) {
	_, o := answering(t, func(c *peerConn, _ int) {
		c.request()
		c.say("HTTP/1.1 200 OK\r\nX-One: 1\r\nx-TWO: a\r\nX-Two: b\r\nEmpty:\r\nContent-Length: 0\r\n\r\n")
	})
	var res Response
	if err := client(t, Options{}).Do(context.Background(), get(o), &res); err != nil {
		t.Fatal(err)
	}
	all := ""
	res.Each(func(n, v []byte) { all += string(n) + "=" + string(v) + ";" })
	if want := "X-One=1;x-TWO=a;X-Two=b;Empty=;Content-Length=0;"; all != want || string(res.Get("x-two")) != "a" || res.Get("empty") == nil || res.Get("none") != nil || res.HTTP2() {
		t.Errorf("%q", all)
	}
}

// TestRequestsAreChecked: nothing gets out that would be understood otherwise.
func TestRequestsAreChecked(t *testing.T) {
	c := client(t, Options{DialContext: func(context.Context, string, string) (net.Conn, error) {
		t.Error("it was sent")
		return nil, io.EOF
	}})
	o := Origin{Host: "localhost", Port: "80"}
	for _, q := range []Request{
		{Method: "GET", Target: []byte("/a b")}, {Method: "GET", Target: []byte("/a\r\nX: y")}, {Method: "GET", Target: []byte("/\x7f")}, {Method: "GET", Target: []byte("/ü")},
		{Method: "GET", Target: []byte("a")}, {Method: "GET"}, {Method: "GET", Target: []byte("/#x")}, {Method: "G T", Target: []byte("/")}, {Method: "", Target: []byte("/")},
		{Method: "GET\r\n", Target: []byte("/")},
	} {
		q.Origin = o
		if err := c.Do(context.Background(), &q, new(Response)); kindOf(err) != "refused" {
			t.Errorf("%s %q: %v", q.Method, q.Target, err)
		}
	}
	for _, f := range [][2]string{{"", "x"}, {"a b", "x"}, {"a:", "x"}, {"a", "x\r\ny: z"}, {"a", "x\ny"}, {"a", "\x00"}, {"a\r\n", "x"}, {"a", "\x7f"}} {
		if got, err := AppendField(nil, f[0], f[1]); err == nil || len(got) > 0 {
			t.Errorf("%q: %q was accepted as %q", f[0], f[1], got)
		}
	}
	if got, err := AppendField(nil, "X-A", " grün\t"); err != nil || string(got) != "X-A: grün\r\n" {
		t.Errorf("%q, %v", got, err)
	}
}

// quiet is the log of servers whose handshakes are meant to fail.
var quiet = log.New(io.Discard, "", 0)
