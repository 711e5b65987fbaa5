package http_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http"
	"penstock.dev/penstock/internal/httpd"
)

// dial opens a connection to the service.
func (s *service) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// first reads the first answer that is none of 100, and says whether the connection is closed behind it.
func first(t testing.TB, c net.Conn) (status int, body string, closed bool) {
	t.Helper()
	r := bufio.NewReader(c)
	for {
		res, err := nethttp.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode == nethttp.StatusContinue {
			continue
		}
		return res.StatusCode, string(b), res.Close
	}
}

const rawHead = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

// TestBodiesThatDoNotEnd holds that nobody waits for what is too much already, nor reads it.
func TestBodiesThatDoNotEnd(t *testing.T) {
	for _, tc := range []struct {
		name, head, again string
		want              int
		detail            string
	}{
		{"chunks without an end", rawHead + "Transfer-Encoding: chunked\r\n\r\n", "1000\r\n" + strings.Repeat(" ", 0x1000) + "\r\n", 413, "larger than 64Ki"},
		{"a length that is too much", rawHead + "Content-Length: 1000000000\r\n\r\n", "", 413, "larger than 64Ki"},
		{"a length that is too much, and asked before it is sent", rawHead + "Expect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n", "", 413, "larger than 64Ki"},
		{"zeros that unpack to more", rawHead + "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(zipped(strings.Repeat(" ", 1<<20))), "", 413, "larger than 64Ki"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start(t, http.ServerConfig{Post: "/x", MaxBody: 64 << 10}, handler(echo), nil)
			c := s.dial()
			defer c.Close()
			go func() {
				_, err := io.WriteString(c, tc.head)
				for tc.again != "" && err == nil {
					_, err = io.WriteString(c, tc.again)
				}
			}()
			if status, body, closed := first(t, c); status != tc.want || !strings.Contains(body, tc.detail) || !closed {
				t.Errorf("status %d, closed %v, %s", status, closed, body)
			}
		})
	}
}

// chunked is text as one chunk, and the end.
func chunked(text string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(text), text) }

// TestBodiesThatBreakOff holds that half a body is no body.
func TestBodiesThatBreakOff(t *testing.T) {
	asked := make(chan string, 8)
	flow := handler(func(_ context.Context, _ *penstock.Batch, m *penstock.Message) error {
		asked <- string(m.Body.Original())
		return nil
	})
	for _, send := range []string{
		rawHead + "Content-Length: 10\r\n\r\n123",
		rawHead + "Transfer-Encoding: chunked\r\n\r\n3\r\n123\r\n",
		rawHead + "Transfer-Encoding: chunked\r\n\r\n3\r\n123\r\n0\r\n",
		rawHead + "Transfer-Encoding: chunked\r\n\r\nzz\r\n123\r\n0\r\n\r\n",
	} {
		s := start(t, http.ServerConfig{Post: "/x"}, flow, nil)
		c := s.dial()
		_, _ = io.WriteString(c, send)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
		s.stop()
		select {
		case body := <-asked:
			t.Errorf("%q reached the flow as %q", send, body)
		default:
		}
	}
}

// TestBodiesThatComeTogether holds that what is received at a time is bounded, whoever sends, and that the room is there again.
func TestBodiesThatComeTogether(t *testing.T) {
	s := start(t, http.ServerConfig{Post: "/x", MaxBody: 16 << 10, MaxRequests: 2}, handler(echo), nil)
	half := rawHead + "Content-Length: 16000\r\n\r\n" + strings.Repeat(" ", 15_000)
	var slow []net.Conn
	for range 2 {
		c := s.dial()
		defer c.Close()
		if _, err := io.WriteString(c, half); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	full := func() bool {
		c := s.dial()
		defer c.Close()
		_, _ = io.WriteString(c, half+strings.Repeat(" ", 999)+"1")
		status, body, closed := first(t, c)
		if status != 200 && (status != 503 || !closed) {
			t.Fatalf("%d, closed %v: %s", status, closed, body)
		}
		return status == 503
	}
	for !full() {
	}
	if got := s.do("POST", "/x", `{"small":1}`); got.status != 200 { // what takes next to nothing is let in
		t.Errorf("a small one: %+v", got)
	}
	for _, c := range slow {
		_ = c.Close()
	}
	for full() {
	}
}

// TestBodiesThatCanNotBeRead holds that a peer who is still there is told what is wrong with its body.
func TestBodiesThatCanNotBeRead(t *testing.T) {
	for _, tc := range []struct {
		name, send, detail string
		status             int
	}{
		{"a size that is none", rawHead + "Transfer-Encoding: chunked\r\n\r\n0x3\r\n123\r\n0\r\n\r\n", "malformed", 400},
		{"a line without CR", rawHead + "Transfer-Encoding: chunked\r\n\r\n3;a\n123\r\n0\r\n\r\n", "malformed", 400},
		{"a chunk that is longer than it says", rawHead + "Transfer-Encoding: chunked\r\n\r\n3\r\n1234\r\n0\r\n\r\n", "malformed", 400},
		{"a body that does not come", rawHead + "Content-Length: 10\r\n\r\n123", "in time", 408},
		{"a chunk that does not come", rawHead + "Transfer-Encoding: chunked\r\n\r\n3\r\n12", "in time", 408},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := false
			s := startOn(t, httpd.Options{Address: "127.0.0.1:0", Await: 1, BodyTimeout: 50 * time.Millisecond}, http.ServerConfig{Post: "/x"},
				handler(func(context.Context, *penstock.Batch, *penstock.Message) error { asked = true; return nil }), nil)
			c := s.dial()
			defer c.Close()
			if _, err := io.WriteString(c, tc.send); err != nil {
				t.Fatal(err)
			}
			if status, body, closed := first(t, c); status != tc.status || !closed || !strings.Contains(body, tc.detail) {
				t.Errorf("%d, closed: %v, %s", status, closed, body)
			}
			s.stop()
			if asked {
				t.Error("the flow was asked")
			}
		})
	}
}

// TestWholeRequestsBesideAStorm holds that hostile requests in numbers disturb no other, and leave no memory behind.
func TestWholeRequestsBesideAStorm(t *testing.T) {
	before := resident(t)
	s := start(t, http.ServerConfig{Post: "/x", MaxBody: 64 << 10}, handler(echo), func(*penstock.Env) {})
	bomb := rawHead + "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(zipped(strings.Repeat(" ", 8<<20)))
	storm := []string{
		bomb, rawHead + "Content-Length: 60000\r\n\r\n" + strings.Repeat("[", 30_000), rawHead + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n1234",
		rawHead + "Content-Length: 40\r\n\r\n{\"a\":", rawHead + strings.Repeat("X-A: b\r\n", 500) + "\r\n", "POST /x HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A", 100<<10),
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				c := s.dial()
				_, _ = io.WriteString(c, storm[(i+j)%len(storm)])
				if j%2 == 0 {
					_ = c.(*net.TCPConn).SetLinger(0)
				} else {
					_ = c.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, c)
				}
				_ = c.Close()
			}
		})
	}
	for i := range 100 {
		body := fmt.Sprintf(`{"n":%d}`, i)
		if got := s.do("POST", "/x", body); got.status != 200 || got.body != body {
			t.Errorf("%s was answered with %d %s", body, got.status, got.body)
		}
	}
	close(stop)
	wg.Wait()
	s.stop()
	if grown := resident(t) - before; grown > 128<<20 {
		t.Errorf("%d MiB more than before the storm", grown>>20)
	}
}

// resident is how much memory the process has.
func resident(t testing.TB) int64 {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("this system does not say how much memory a process has")
	}
	var total, pages int64
	if _, err := fmt.Sscan(string(b), &total, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestStoppingServesWhoIsThere holds that a request which has begun when its server ends is answered, and one that comes then is sent elsewhere.
func TestStoppingServesWhoIsThere(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	var l penstock.Listener
	s := start(t, http.ServerConfig{Post: "/x"}, handler(func(context.Context, *penstock.Batch, *penstock.Message) error {
		close(begun)
		<-release
		return nil
	}), func(e *penstock.Env) { l = e.Listener })
	c := s.dial()
	defer c.Close()
	_, _ = io.WriteString(c, rawHead+"Content-Length: 1\r\n\r\n1")
	<-begun
	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	for len(l.(*httpd.Server).Routes()) > 0 {
		runtime.Gosched()
	}
	other := s.dial()
	defer other.Close()
	_, _ = io.WriteString(other, rawHead+"Content-Length: 1\r\n\r\n1")
	if status, _, _ := first(t, other); status != 404 {
		t.Errorf("a request behind it got %d", status)
	}
	close(release)
	if status, body, _ := first(t, c); status != 200 || body != "1" {
		t.Errorf("the request got %d %s", status, body)
	}
	<-stopped
}
