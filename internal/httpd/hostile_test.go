package httpd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/httpd"
)

// site is a listener that runs, whose handler notes what requests it has seen.
type site struct {
	t       testing.TB
	s       *httpd.Server
	mu      sync.Mutex
	seen    []string
	stopped func()
}

// ServeHTTP reads the body and tells what came.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	text := fmt.Sprintf("%s %s %d", r.Method, r.URL.EscapedPath(), len(b))
	if v := r.PathValue("rest"); v != "" {
		text += " rest=" + v
	}
	s.mu.Lock()
	if err == nil {
		s.seen = append(s.seen, text)
	}
	s.mu.Unlock()
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header()["X-Test"] = []string{r.Header.Get("X-Echo")}
	_, _ = io.WriteString(w, text)
}

// requests are those that were handled.
func (s *site) requests() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.seen, ", ")
}

// paths are the two ways that a request of HTTP/1.1 can take. What is seen from outside must not depend on which it is.
var paths = []struct {
	name  string
	brief bool
}{{"net-http", false}, {"plain", true}}

// open starts a listener with one handler for everything, which net/http serves.
func open(t testing.TB, o httpd.Options) *site { return openOn(t, o, false) }

// openOn starts a listener with one handler for everything, which is served without net/http where it can be.
func openOn(t testing.TB, o httpd.Options, brief bool) *site {
	t.Helper()
	o.Address = "127.0.0.1:0"
	srv, err := httpd.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, s: srv}
	if err := srv.Listen(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.Mount(penstock.HTTPRoute{Owner: "test", Path: "/{rest...}", Handler: s, Brief: brief}); err != nil {
		t.Fatal(err)
	}
	s.stopped = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := srv.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stopped)
	return s
}

// dial opens a connection that gives up at the end of the test's patience.
func (s *site) dial() *net.TCPConn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.s.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		s.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// statuses reads answers until the server closes the connection, or as many as count, and gives their statuses.
func statuses(t testing.TB, c net.Conn, count int) string {
	t.Helper()
	var out []string
	r := bufio.NewReader(c)
	for len(out) < count || count == 0 {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return strings.Join(append(out, "closed"), " ")
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusContinue {
			out = append(out, strconv.Itoa(res.StatusCode))
		}
	}
	return strings.Join(out, " ")
}

// behind is a second request on the connection; where it is seen although what came before it is ambiguous, it was smuggled.
const behind = "GET /behind HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// hostile are inputs, and what must become of them. Any server of HTTP/1.1 that takes the place of this one must pass them all.
var hostile = []struct {
	name string
	send string
	want string // statuses of the answers; "closed" where the server ends the connection, as it does after each of these
	seen string // requests that reached the handler
}{
	// What is well-formed, so that the rest proves something.
	{"a length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + behind, "200 200 closed", "POST / 3, GET /behind 0 rest=behind"},
	{"chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n" + behind, "200 200 closed", "POST / 13, GET /behind 0 rest=behind"},
	{"chunks in capitals", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n" + behind, "200 200 closed", "POST / 0, GET /behind 0 rest=behind"},
	{"a head without headers", "GET / HTTP/1.0\r\n\r\n", "200 closed", "GET / 0"},
	{"expects to go on", "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + behind, "200 200 closed", "POST / 3, GET /behind 0 rest=behind"},

	// Where a message ends.
	{"length beside chunks", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG" + behind, "400 closed", ""},
	{"chunks beside length", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG" + behind, "400 closed", ""},
	{"length of zero beside chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd" + behind, "400 closed", ""},
	{"the same length twice", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc" + behind, "400 closed", ""},
	{"a list of lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc" + behind, "400 closed", ""},
	{"a length with a sign", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc" + behind, "400 closed", ""},
	{"a negative length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\nabc" + behind, "400 closed", ""},
	{"a length in hexadecimal", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc" + behind, "400 closed", ""},
	{"an empty length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n" + behind, "400 closed", ""},
	{"a length beyond numbers", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabc" + behind, "400 closed", ""},
	{"a length with a space in front of its colon", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc" + behind, "400 closed", ""},
	{"chunks with a space in front of the colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"chunks with a tab in front of the colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"chunks with a control character", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"another encoding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"an encoding that is none", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"identity", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc" + behind, "400 closed", ""},
	{"two encodings", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a second encoding that is none", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"chunks before HTTP/1.1", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"an encoding on a line of its own", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a body where none is announced", "GET / HTTP/1.1\r\nHost: x\r\n\r\nabc\r\n\r\n" + behind, "200 400 closed", "GET / 0"},

	// Where a line ends.
	{"bare line feeds", "GET / HTTP/1.1\nHost: x\n\n" + behind, "400 closed", ""},
	{"a bare line feed behind the first line", "GET / HTTP/1.1\nHost: x\r\n\r\n" + behind, "400 closed", ""},
	{"a bare line feed in the middle", "GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n" + behind, "400 closed", ""},
	{"a bare line feed at the end", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\nabc" + behind, "400 closed", ""},
	{"a bare carriage return", "GET / HTTP/1.1\r\nHost: x\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n" + behind, "400 closed", ""},
	{"two carriage returns", "GET / HTTP/1.1\r\nHost: x\r\r\n\r\n" + behind, "400 closed", ""},
	{"a header that is continued", "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n" + behind, "400 closed", ""},
	{"a header that is continued by a tab", "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n\tb\r\n\r\n" + behind, "400 closed", ""},
	{"a first header behind a space", "GET / HTTP/1.1\r\n Host: x\r\n\r\n" + behind, "400 closed", ""},
	{"NUL in a header", "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n" + behind, "400 closed", ""},
	{"NUL in a name", "GET / HTTP/1.1\r\nHost: x\r\nX\x00: a\r\n\r\n" + behind, "400 closed", ""},
	{"a header without a name", "GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n" + behind, "400 closed", ""},
	{"a header without a colon", "GET / HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n" + behind, "400 closed", ""},

	// Chunks.
	{"a bare line feed behind a chunk's size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a bare line feed behind a chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a bare line feed in an extension", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a bare carriage return in an extension", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a long extension", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;" + strings.Repeat("x", 300) + "\r\nabc\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a chunk that is longer than it says", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a size with a prefix", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a size with a sign", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a size behind a space", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"an empty size", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a size beyond numbers", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n" + behind, "400 closed", ""},
	{"a trailer that is continued", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n b\r\n\r\n" + behind, "400 closed", ""},
	{"a trailer with a bare line feed", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\n\r\n" + behind, "400 closed", ""},

	// The first line and Host.
	{"no host", "GET / HTTP/1.1\r\n\r\n" + behind, "400 closed", ""},
	{"two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + behind, "400 closed", ""},
	{"a host that is none", "GET / HTTP/1.1\r\nHost: x y\r\n\r\n" + behind, "400 closed", ""},
	{"an empty line in front", "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "400 closed", ""},
	{"no version", "GET /\r\nHost: x\r\n\r\n" + behind, "400 closed", ""},
	{"a version of the future", "GET / HTTP/3.0\r\nHost: x\r\n\r\n" + behind, "505 closed", ""},
	{"a version that is none", "GET / HTTP/1.10\r\nHost: x\r\n\r\n" + behind, "400 closed", ""},
	{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + behind, "400 closed", ""},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "400 closed", ""},
	{"a tab", "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "400 closed", ""},
	{"a method that is none", "G<T / HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "400 closed", ""},
	{"a connect", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n" + behind, "400 200 closed", "GET /behind 0 rest=behind"},
	{"a trace", "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "405 200 closed", "GET /behind 0 rest=behind"},
	{"a tunnel", "CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "405 200 closed", "GET /behind 0 rest=behind"},
	{"noise", "\x16\x03\x01\x00\xa5\x01\x00\x00\r\n\r\n" + behind, "400 closed", ""},
	{"a huge line", "GET /" + strings.Repeat("a", 100<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "431 closed", ""},
	{"a huge header", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 100<<10) + "\r\n\r\n" + behind, "431 closed", ""},
	{"many headers", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: aaaaaaaa\r\n", 10_000) + "\r\n" + behind, "431 closed", ""},
	{"a head without an end", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: aaaaaaaa\r\n", 20_000), "431 closed", ""},
	{"a line without an end", "GET /" + strings.Repeat("a", 200<<10), "431 closed", ""},

	// Paths.
	{"upwards", "GET /a/../behind HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "400 200 closed", "GET /behind 0 rest=behind"},
	{"upwards, encoded", "GET /a/%2e%2E/b HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "400 200 closed", "GET /behind 0 rest=behind"},
	{"upwards, encoded twice", "GET /a/%252e%252e/b HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "200 200 closed", "GET /a/%252e%252e/b 0 rest=a/%2e%2e/b, GET /behind 0 rest=behind"},
	{"an encoded slash among segments", "GET /a%2fb HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "400 200 closed", "GET /behind 0 rest=behind"},
	{"two slashes", "GET //a//b HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "200 200 closed", "GET //a//b 0 rest=/a//b, GET /behind 0 rest=behind"},
	{"NUL in a path", "GET /a%00 HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "400 200 closed", "GET /behind 0 rest=behind"},
	{"a path that is no encoding", "GET /a%zz HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "400 closed", ""},
	{"another host's path", "GET http://other/a HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "200 200 closed", "GET /a 0 rest=a, GET /behind 0 rest=behind"},
	{"a backslash", "GET /a\\..\\b HTTP/1.1\r\nHost: x\r\n\r\n" + behind, "200 200 closed", "GET /a%5C..%5Cb 0 rest=a\\..\\b, GET /behind 0 rest=behind"},
}

func TestHostileInput(t *testing.T) {
	for _, pieces := range []struct {
		name  string
		size  int
		brief bool
	}{
		{"net-http, at once", 0, false}, {"net-http, byte by byte", 1, false}, {"net-http, in pieces", 7, false},
		{"plain, at once", 0, true}, {"plain, byte by byte", 1, true}, {"plain, in pieces", 7, true},
	} {
		t.Run(pieces.name, func(t *testing.T) {
			for _, tc := range hostile {
				t.Run(tc.name, func(t *testing.T) {
					t.Parallel()
					if pieces.size > 0 && len(tc.send) > 4<<10 {
						t.Skip("large input is sent at once")
					}
					s := openOn(t, httpd.Options{}, pieces.brief)
					c := s.dial()
					defer c.Close()
					go func() {
						if pieces.size == 0 {
							_, _ = io.WriteString(c, tc.send) // the server may close before it has all
							return
						}
						for piece := range slices.Chunk([]byte(tc.send), pieces.size) {
							if _, err := c.Write(piece); err != nil {
								return
							}
						}
					}()
					got := statuses(t, c, 0)
					s.stopped()
					if seen := s.requests(); got != tc.want || seen != tc.seen {
						t.Errorf("answers %q and requests %q, want %q and %q", got, seen, tc.want, tc.seen)
					}
				})
			}
		})
	}
}

// TestHeadersOfAnswers holds that what a request brings can't end a line of an answer.
func TestHeadersOfAnswers(t *testing.T) {
	for _, path := range paths {
		s := open(t, httpd.Options{})
		if _, err := s.s.Mount(penstock.HTTPRoute{Owner: "test", Path: "/inject", Brief: path.brief, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-A", "a\r\nSet-Cookie: b=c\r\n\r\n<script>")
			w.Header()["X-B\r\nSet-Cookie"] = []string{"c"}
		})}); err != nil {
			t.Fatal(err)
		}
		c := s.dial()
		_, _ = io.WriteString(c, "GET /inject HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		b, err := io.ReadAll(c)
		_ = c.Close()
		if err != nil || strings.Contains(string(b), "\nSet-Cookie") || !strings.HasSuffix(string(b), "\r\n\r\n") {
			t.Errorf("%s: %v: %q", path.name, err, b)
		}
	}
}

// TestSlowPeers holds that who sends too slowly, or nothing, is not waited for.
func TestSlowPeers(t *testing.T) {
	o := httpd.Options{HeaderTimeout: 50 * time.Millisecond, BodyTimeout: 50 * time.Millisecond, IdleTimeout: 50 * time.Millisecond, WriteTimeout: 50 * time.Millisecond}
	for _, tc := range []struct {
		name, send string
		drip       string // sent again and again, as long as it goes
		want, seen string
		plain      string // what the other path answers, where that differs
	}{
		{name: "nothing", want: "closed"},
		{name: "half a head", send: "GET / HTTP/1.1\r\nHo", want: "400 closed"},
		{name: "a head that drips", send: "GET / HTTP/1.1\r\n", drip: "X: y\r\n", want: "closed"},
		{name: "half a body", send: "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", want: "400 closed"},
		{name: "a body that drips", send: "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", drip: "x", want: "400 closed"},
		{name: "chunks that drip", send: "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", drip: "1\r\nx\r\n", want: "400 closed"},
		{name: "silence behind a request", send: "GET / HTTP/1.1\r\nHost: x\r\n\r\n", want: "200 closed", seen: "GET / 0"},
		{name: "silence in the next head", send: "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET", want: "200 closed", seen: "GET / 0", plain: "200 400 closed"}, // a head that is cut, as at the beginning
	} {
		for _, path := range paths {
			t.Run(tc.name+", "+path.name, func(t *testing.T) {
				t.Parallel()
				s := openOn(t, o, path.brief)
				c := s.dial()
				defer c.Close()
				go func() {
					_, err := io.WriteString(c, tc.send)
					for tc.drip != "" && err == nil {
						_, err = io.WriteString(c, tc.drip)
						<-time.After(time.Millisecond)
					}
				}()
				want := tc.want
				if path.brief && tc.plain != "" {
					want = tc.plain
				}
				if got := statuses(t, c, 0); got != want {
					t.Errorf("answers %q, want %q", got, want)
				}
				s.stopped()
				if seen := s.requests(); seen != tc.seen {
					t.Errorf("requests %q, want %q", seen, tc.seen)
				}
			})
		}
	}
}

// TestPeerThatDoesNotRead holds that an answer nobody takes does not keep its connection.
func TestPeerThatDoesNotRead(t *testing.T) {
	s := open(t, httpd.Options{WriteTimeout: 50 * time.Millisecond})
	ended := make(chan error, 1)
	if _, err := s.s.Mount(penstock.HTTPRoute{Owner: "test", Path: "/much", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for err == nil {
			_, err = w.Write(make([]byte, 1<<20))
		}
		ended <- err
	})}); err != nil {
		t.Fatal(err)
	}
	c := s.dial()
	defer c.Close()
	_, _ = io.WriteString(c, "GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
	<-ended
}

// TestPeerThatIsGone holds that a request whose peer went away is told so.
func TestPeerThatIsGone(t *testing.T) {
	for _, path := range paths {
		for _, half := range []bool{false, true} {
			for name, ends := range map[string]func(context.Context){
				"waits": func(ctx context.Context) { <-ctx.Done() },
				"asks": func(ctx context.Context) {
					for ctx.Err() == nil {
						runtime.Gosched()
					}
				},
				"is told": func(ctx context.Context) {
					told := make(chan struct{})
					context.AfterFunc(ctx, func() { close(told) })
					<-told
				},
			} {
				t.Run(fmt.Sprintf("%s, half %v, %s", path.name, half, name), func(t *testing.T) {
					s := open(t, httpd.Options{})
					begun, ended := make(chan struct{}), make(chan struct{})
					if _, err := s.s.Mount(penstock.HTTPRoute{Owner: "test", Path: "/wait", Brief: path.brief, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						close(begun)
						ends(r.Context())
						close(ended)
					})}); err != nil {
						t.Fatal(err)
					}
					c := s.dial()
					_, _ = io.WriteString(c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
					<-begun
					if half {
						_ = c.CloseWrite()
					} else {
						_ = c.Close()
					}
					<-ended
					_ = c.Close()
					s.stopped()
				})
			}
		}
	}
}

// TestStorm holds that hostile peers in numbers leave nothing behind.
func TestStorm(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many connections")
	}
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) { storm(t, path.brief) })
	}
}

func storm(t *testing.T, brief bool) {
	before := resident(t)
	s := openOn(t, httpd.Options{HeaderTimeout: 200 * time.Millisecond, BodyTimeout: 200 * time.Millisecond, MaxConnections: 300}, brief)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 60 {
				c := s.dial()
				tc := hostile[(i*60+j)%len(hostile)]
				_, _ = io.WriteString(c, tc.send)
				switch j % 3 {
				case 0:
					_ = c.SetLinger(0) // resets it
				case 1:
					_ = c.CloseWrite()
				}
				if j%2 == 0 {
					_, _ = io.Copy(io.Discard, c)
				}
				_ = c.Close()
			}
		})
	}
	wg.Wait()
	s.stopped()
	if grown := resident(t) - before; grown > 64<<20 {
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
