package httpd_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/httpd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// says is a handler that answers with a word.
func says(word string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, word) })
}

// make1 makes a listener without routes.
func make1(t *testing.T, o httpd.Options) *httpd.Server {
	t.Helper()
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	s, err := httpd.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// get asks once, on a connection of its own, and gives status and body.
func get(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.Status[:3] + " " + strings.TrimSpace(string(b))
}

func mount(t *testing.T, s *httpd.Server, owner, method, path, word string) func() {
	t.Helper()
	return mountOn(t, s, false, owner, method, path, word)
}

func mountOn(t *testing.T, s *httpd.Server, brief bool, owner, method, path, word string) func() {
	t.Helper()
	un, err := s.Mount(penstock.HTTPRoute{Owner: owner, Method: method, Path: path, Handler: says(word), Brief: brief})
	if err != nil {
		t.Fatal(err)
	}
	return un
}

func TestMounts(t *testing.T) {
	s := make1(t, httpd.Options{})
	unA := mount(t, s, "a", "GET", "/x", "a")
	mount(t, s, "b", "POST", "/x", "b")
	mount(t, s, "c", "", "/x", "c")
	mount(t, s, "d", "GET", "/{id}", "d")
	url := s.URL()
	for path, want := range map[string]string{"/x": "200 a", "/y": "200 d", "/y/z": `404 {"type":"about:blank","title":"Not Found","status":404,"detail":"there is nothing at this path","instance":"/y/z"}`} {
		if got := get(t, url+path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, r := range []penstock.HTTPRoute{{Method: "GET", Path: "/x"}, {Path: "/x"}, {Method: "GET", Path: "/{other}"}} {
		r.Owner, r.Handler = "e", says("e")
		_, err := s.Mount(r)
		if err == nil || !strings.Contains(err.Error(), "e: ") || !strings.Contains(err.Error(), "in conflict with") || penstock.CodeOf(err) != penstock.Config {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, r := range []penstock.HTTPRoute{{Path: "x", Handler: says("")}, {Path: "/x"}} {
		if _, err := s.Mount(r); err == nil {
			t.Errorf("%+v can be mounted", r)
		}
	}
	unA2 := mount(t, s, "a", "GET", "/x", "a2") // takes over
	unA()                                       // no longer matters
	if got := get(t, url+"/x"); got != "200 a2" {
		t.Errorf("after the new one came and the old one went: %s", got)
	}
	unA2()
	if got := get(t, url+"/x"); got != "200 c" {
		t.Errorf("after both went: %s", got)
	}
	if n := len(s.Routes()); n != 3 {
		t.Errorf("%d routes", n)
	}
}

// TestTakeover holds that no request falls between an old handler and a new one, and that the old one is done when its unmount
// returns.
func TestTakeover(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) { takeover(t, path.brief) })
	}
}

func takeover(t *testing.T, brief bool) {
	s := make1(t, httpd.Options{})
	mount(t, s, "a", "", "/x", "0")
	url := s.URL() + "/x"
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := client.Get(url)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				if _ = res.Body.Close(); res.StatusCode != http.StatusOK {
					t.Errorf("a request was answered with %d while its handler changed", res.StatusCode)
				}
			}
		})
	}
	var un func()
	for range 300 {
		var mu sync.Mutex
		over := false
		next, err := s.Mount(penstock.HTTPRoute{Owner: "a", Path: "/x", Brief: brief, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if over {
				t.Error("a handler is asked whose unmount has returned")
			}
			_, _ = io.WriteString(w, "x")
		})})
		if err != nil {
			t.Fatal(err)
		}
		if un != nil {
			un()
		}
		un = func() {
			next()
			mu.Lock()
			over = true
			mu.Unlock()
		}
		runtime.Gosched()
	}
	close(stop)
	wg.Wait()
}

func TestUnmountWaits(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) { unmountWaits(t, path.brief) })
	}
}

func unmountWaits(t *testing.T, brief bool) {
	s := make1(t, httpd.Options{})
	begun, release := make(chan struct{}), make(chan struct{})
	un, err := s.Mount(penstock.HTTPRoute{Owner: "a", Path: "/x", Brief: brief, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		_, _ = io.WriteString(w, "done")
	})})
	if err != nil {
		t.Fatal(err)
	}
	answer := make(chan string, 1)
	go func() { answer <- get(t, s.URL()+"/x") }()
	<-begun
	gone := make(chan struct{})
	go func() { un(); close(gone) }()
	for len(s.Routes()) > 0 {
		runtime.Gosched()
	}
	if got := get(t, s.URL()+"/x"); !strings.HasPrefix(got, "404") {
		t.Errorf("a request behind it: %s", got)
	}
	select {
	case <-gone:
		t.Error("unmount did not wait")
	default:
	}
	close(release)
	<-gone
	if got := <-answer; got != "200 done" {
		t.Errorf("the request: %s", got)
	}
}

func TestNothingRunsWithoutRoutes(t *testing.T) {
	before := runtime.NumGoroutine()
	s := make1(t, httpd.Options{Await: 2})
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	mount(t, s, "a", "", "/a", "a")
	mount(t, s, "a", "", "/a2", "a")
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines with a route to wait for, %d before", n, before)
	}
	answer := make(chan string, 1)
	url := s.URL()
	go func() { answer <- get(t, url+"/b") }() // waits in the system's queue
	mount(t, s, "b", "", "/b", "b")
	if got := <-answer; got != "200 b" {
		t.Errorf("a request that came before its route: %s", got)
	}
}

func TestAddress(t *testing.T) {
	var log bytes.Buffer
	s := make1(t, httpd.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if s.URL() != "" || s.Addr() != nil {
		t.Error("there is an address before it listens")
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := `msg="listening on ` + s.URL() + `"`; strings.HasSuffix(s.URL(), ":0") || !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %q: %s", want, &log)
	}
	other := make1(t, httpd.Options{Address: s.Addr().String()})
	err := other.Listen(t.Context())
	if err == nil || !strings.Contains(err.Error(), s.Addr().String()+": the address is in use (end the program that has it") || penstock.CodeOf(err) != penstock.Unavailable {
		t.Errorf("a second listener: %v", err)
	}
	if _, err := other.Mount(penstock.HTTPRoute{Path: "/", Handler: says("")}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a route on it: %v", err)
	}
	all := make1(t, httpd.Options{Address: ":0"})
	if err := all.Listen(t.Context()); err != nil || !strings.HasPrefix(all.URL(), "http://localhost:") {
		t.Errorf("every address is %s, %v", all.URL(), err)
	}
	if err := make1(t, httpd.Options{Address: "nowhere"}).Listen(t.Context()); err == nil {
		t.Error("an address without a port is listened on")
	}
}

func TestDrain(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) { drain(t, path.brief) })
	}
}

func drain(t *testing.T, brief bool) {
	s := make1(t, httpd.Options{})
	begun, release := make(chan struct{}), make(chan struct{})
	un, err := s.Mount(penstock.HTTPRoute{Owner: "a", Path: "/wait", Brief: brief, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-release
		_, _ = io.WriteString(w, "done")
	})})
	if err != nil {
		t.Fatal(err)
	}
	unB := mount(t, s, "b", "", "/b", "b")
	url, addr := s.URL(), s.Addr().String()
	type result struct {
		close bool
		body  string
	}
	answer := make(chan result, 1)
	go func() {
		res, err := http.Get(url + "/wait")
		if err != nil {
			t.Error(err)
			answer <- result{}
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		answer <- result{res.Close, string(b)}
	}()
	<-begun
	go unB()
	for len(s.Routes()) > 1 {
		runtime.Gosched()
	}
	s.Drain()
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("a new connection is accepted")
	}
	late := httptest.NewRecorder() // on a connection that was open before
	s.ServeHTTP(late, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/b", nil))
	if late.Code != http.StatusServiceUnavailable || late.Header().Get("Retry-After") != "1" {
		t.Errorf("a request whose route is gone: %d %s", late.Code, late.Body)
	}
	if _, err := s.Mount(penstock.HTTPRoute{Path: "/new", Handler: says("")}); err == nil {
		t.Error("a route is mounted on a listener that ends")
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close(context.Background()) }()
	close(release)
	un()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if got := <-answer; got != (result{true, "done"}) {
		t.Errorf("the request that was there: %+v", got)
	}
}

func TestCloseInTime(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) { closeInTime(t, path.brief) })
	}
}

func closeInTime(t *testing.T, brief bool) {
	s := make1(t, httpd.Options{})
	begun, ended := make(chan struct{}), make(chan struct{})
	if _, err := s.Mount(penstock.HTTPRoute{Path: "/x", Brief: brief, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	})}); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Close(over); penstock.CodeOf(err) != penstock.Timeout {
		t.Errorf("closing without patience: %v", err)
	}
	<-ended
}

func TestPanics(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) { panics(t, path.brief) })
	}
}

func panics(t *testing.T, brief bool) {
	var log bytes.Buffer
	s := make1(t, httpd.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if _, err := s.Mount(penstock.HTTPRoute{Owner: "flow/from", Path: "/x", Brief: brief, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret") })}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s.URL()+"/x"); got != `500 {"type":"about:blank","title":"Internal Server Error","status":500,"instance":"/x"}` {
		t.Errorf("the answer is %s", got)
	}
	if got := get(t, s.URL()+"/"); !strings.HasPrefix(got, "404") {
		t.Errorf("after it: %s", got)
	}
	if !strings.Contains(log.String(), "panic=secret") || !strings.Contains(log.String(), "owner=flow/from") || !strings.Contains(log.String(), "httpd_test.panics") {
		t.Errorf("the log does not say where: %s", &log)
	}
}

func TestOptions(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) { options(t, path.brief) })
	}
}

func options(t *testing.T, brief bool) {
	s := openOn(t, httpd.Options{}, brief)
	if _, err := s.s.Mount(penstock.HTTPRoute{Owner: "a", Method: "GET", Path: "/a/{id}", Handler: s}); err != nil {
		t.Fatal(err)
	}
	s2 := make1(t, httpd.Options{})
	mountOn(t, s2, brief, "a", "GET", "/a/{id}", "a")
	mountOn(t, s2, brief, "b", "DELETE", "/a/{id}", "b")
	for _, tc := range []struct{ method, status, allow string }{{"OPTIONS", "204", "DELETE, GET, HEAD, OPTIONS"}, {"PUT", "405", "DELETE, GET, HEAD, OPTIONS"}, {"HEAD", "200", ""}} {
		c, err := net.Dial("tcp", s2.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, tc.method+" /a/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		_ = c.Close()
		if !strings.HasPrefix(string(b), "HTTP/1.1 "+tc.status) || tc.allow != "" && !strings.Contains(string(b), "Allow: "+tc.allow+"\r\n") {
			t.Errorf("%s: %q", tc.method, b)
		}
	}
}

// TestConnectionsAreBounded holds that one connection more waits until another has ended.
func TestConnectionsAreBounded(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) { connectionsAreBounded(t, path.brief) })
	}
}

func connectionsAreBounded(t *testing.T, brief bool) {
	s := openOn(t, httpd.Options{MaxConnections: 2}, brief)
	var open []*net.TCPConn
	for range 2 {
		c := s.dial()
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if got := statuses(t, c, 1); got != "200" {
			t.Fatal(got)
		}
		open = append(open, c)
	}
	third := s.dial()
	defer third.Close()
	_, _ = io.WriteString(third, "GET /third HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	_, _ = io.WriteString(open[0], "GET /first HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if got := statuses(t, open[0], 0) + ", " + statuses(t, third, 0); got != "200 closed, 200 closed" {
		t.Error(got)
	}
	if seen := s.requests(); seen != "GET / 0, GET / 0, GET /first 0 rest=first, GET /third 0 rest=third" {
		t.Errorf("the requests came as %s", seen)
	}
}

// TestSilentConnections holds that who has said nothing does not keep a stop waiting.
func TestSilentConnections(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) { silentConnections(t, path.brief) })
	}
}

func silentConnections(t *testing.T, brief bool) {
	s := openOn(t, httpd.Options{}, brief)
	c := s.dial()
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := statuses(t, c, 1); got != "200" { // so that the next is accepted, too
		t.Fatal(got)
	}
	silent := s.dial()
	defer silent.Close()
	other := s.dial()
	defer other.Close()
	_, _ = io.WriteString(other, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := statuses(t, other, 1); got != "200" {
		t.Fatal(got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second) // net/http waits for five
	defer cancel()
	if err := s.s.Close(ctx); err != nil {
		t.Error(err)
	}
	if n, err := silent.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("the silent connection is open")
	}
}

func TestReplace(t *testing.T) {
	s := make1(t, httpd.Options{})
	unA := mount(t, s, "a", "GET", "/x/{id}", "a")
	mount(t, s, "b", "GET", "/y", "b")
	url := s.URL()
	r := penstock.HTTPRoute{Owner: "c", Method: "GET", Path: "/x/{name}", Handler: says("c")}
	if _, err := s.Replace(r, "b"); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("a doesn't yield: %v", err)
	}
	if got := get(t, url+"/x/1"); got != "200 a" {
		t.Errorf("after it was refused: %s", got)
	}
	unC, err := s.Replace(r, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	unA() // no longer matters
	for path, want := range map[string]string{"/x/1": "200 c", "/y": "200 b"} {
		if got := get(t, url+path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	unC()
	if n := len(s.Routes()); n != 1 {
		t.Errorf("%d routes", n)
	}
}
