package httpd_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/httpd"
)

// twins are two listeners, of which one serves without net/http what it can.
type twins [2]*twin

// twin is a listener whose handler tells all that can be seen of a request.
type twin struct {
	*site
	told []string
}

// ServeHTTP answers in the ways that its path and its headers ask for.
func (w *twin) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	var headers []string
	for name, values := range r.Header {
		headers = append(headers, fmt.Sprintf("%s: %q", name, values))
	}
	slices.Sort(headers)
	w.mu.Lock()
	w.told = append(w.told, fmt.Sprintf("%s %s %q %s host %q length %d close %v body %q %v headers %v rest %q pattern %s chunks %v tls %v",
		r.Method, r.RequestURI, r.URL.EscapedPath(), r.Proto, r.Host, r.ContentLength, r.Close, b, err, headers, r.PathValue("rest"), r.Pattern, r.TransferEncoding, r.TLS))
	w.mu.Unlock()
	h := rw.Header()
	h["X-Echo"] = r.Header["X-Echo"]
	switch r.URL.Path {
	case "/204", "/304":
		h.Set("Content-Type", "text/plain")
		rw.WriteHeader(map[string]int{"/204": 204, "/304": 304}[r.URL.Path])
		_, _ = io.WriteString(rw, "nothing of it")
	case "/close":
		h.Set("Connection", "close")
		rw.WriteHeader(http.StatusTeapot)
	case "/typed":
		h.Set("Content-Type", "application/json")
		h.Set("Date", "today")
		h["X-Several"] = []string{" a ", "b\r\nc: d"}
		_, _ = io.WriteString(rw, `{"a":`)
		rw.WriteHeader(http.StatusAccepted) // too late
		_, _ = io.WriteString(rw, `1}`)
	case "/length":
		h.Set("Content-Length", "5")
		_, _ = io.WriteString(rw, "12345")
	case "/head":
		if h.Set("Content-Length", "77"); r.Method != http.MethodHead {
			_, _ = rw.Write(make([]byte, 77))
		}
	case "/large":
		h.Set("Content-Length", "100000")
		_, _ = rw.Write(make([]byte, 100_000))
	case "/strange":
		rw.WriteHeader(799)
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/empty":
	default:
		if len(b) > 2000 { // below that net/http counts
			h.Set("Content-Length", strconv.Itoa(len(b)))
		}
		_, _ = rw.Write(b)
	}
}

func openTwins(t testing.TB) *twins {
	var out twins
	for i, path := range paths {
		s := open(t, httpd.Options{})
		out[i] = &twin{site: s}
		for _, r := range []penstock.HTTPRoute{{Path: "/t/{rest...}"}, {Path: "/204"}, {Path: "/304"}, {Path: "/close"}, {Path: "/typed"}, {Path: "/length"}, {Path: "/head"}, {Path: "/large"}, {Path: "/strange"}, {Path: "/abort"}, {Path: "/empty"}, {Method: "GET", Path: "/get"}, {Path: "/"}} {
			r.Owner, r.Handler, r.Brief = "twin", out[i], path.brief
			if _, err := s.s.Mount(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &out
}

// ask sends bytes, says that no more come, and tells what was answered and what the handler saw. Where the server closes the connection with something unread, the
// last answers may not arrive (cut).
func (w *twin) ask(send []byte) (answers []string, seen string, cut bool) {
	c := w.dial()
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(8 * time.Second))
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = c.Write(send) // the server may close before it has all
		_ = c.CloseWrite()
	}()
	r := bufio.NewReader(c)
	methods := strings.Split(string(send), "\r\n\r\n")
	for i := 0; ; i++ {
		asked := &http.Request{Method: http.MethodGet}
		if i < len(methods) && strings.HasPrefix(methods[i], "HEAD ") { // no body of these requests has an empty line
			asked.Method = http.MethodHead
		}
		res, err := http.ReadResponse(r, asked)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.t.Fatalf("%.2000q: the connection is not ended", send)
		}
		if err != nil {
			cut = errors.Is(err, syscall.ECONNRESET)
			break
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if cut = errors.Is(err, syscall.ECONNRESET); cut {
			break
		}
		if res.StatusCode == http.StatusContinue {
			i--
			continue
		}
		if d := res.Header["Date"]; len(d) == 1 && len(d[0]) == len(http.TimeFormat) {
			res.Header.Set("Date", "now")
		}
		var headers []string
		for _, name := range slices.Sorted(maps.Keys(res.Header)) {
			headers = append(headers, fmt.Sprintf("%s: %q", name, res.Header[name]))
		}
		answers = append(answers, fmt.Sprintf("%s close %v length %d %q %v %v", res.Status, res.Close, res.ContentLength, b, err, headers))
	}
	<-sent
	w.mu.Lock()
	defer w.mu.Unlock()
	seen = strings.Join(w.told, "\n") + w.seenAndForget()
	w.told = nil
	return answers, seen, cut
}

// seenAndForget is what the handler of all other paths saw. mu is held.
func (w *twin) seenAndForget() string {
	out := "\n" + strings.Join(w.seen, "\n")
	w.seen = nil
	return out
}

// differ holds that both paths answer the same, to the same requests.
func (w *twins) differ(t *testing.T, send []byte) {
	t.Helper()
	w[0].t, w[1].t = t, t
	want, saw, cutOne := w[0].ask(send)
	got, sees, cutOther := w[1].ask(send)
	if len(got) == len(want)+1 && strings.HasPrefix(got[len(got)-1], "400") {
		got = got[:len(got)-1] // of up to three bytes of a head behind a request net/http says nothing
	}
	if cutOne || cutOther {
		n := min(len(got), len(want))
		got, want = got[:n], want[:n]
	}
	if !slices.Equal(got, want) || sees != saw {
		t.Errorf("%.2000q:\nplain\n%.4000s\n%.4000s\nnet/http\n%.4000s\n%.4000s", send, strings.Join(got, "\n"), sees, strings.Join(want, "\n"), saw)
	}
}

// alike is what differs least between the two paths: what both serve.
var alike = []string{
	"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /t/a/b?c=d&e HTTP/1.1\r\nHost: x:80\r\nContent-Length: 3\r\nX-Echo: a\r\nX-Echo: b\r\nUser-Agent: c\r\n\r\nabc",
	"POST /t/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\r\nGET /t/x HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /t/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n\r\n\r\nGET /t/x HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /t/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n\r\n\r\n\r\nGET /t/x HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /t/ HTTP/1.1\r\nHost: x\r\n\r\n\r\nGET /t/x HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /204 HTTP/1.1\r\nHost: x\r\n\r\nGET /304 HTTP/1.1\r\nHost: x\r\n\r\nGET /typed HTTP/1.1\r\nHost: x\r\n\r\nGET /length HTTP/1.1\r\nHost: x\r\n\r\n",
	"HEAD /t/ HTTP/1.1\r\nHost: x\r\n\r\nHEAD /204 HTTP/1.1\r\nHost: x\r\n\r\nHEAD /head HTTP/1.1\r\nHost: x\r\n\r\nHEAD /typed HTTP/1.1\r\nHost: x\r\n\r\nHEAD /nowhere/ HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /head HTTP/1.1\r\nHost: x\r\n\r\nGET /large HTTP/1.1\r\nHost: x\r\n\r\nGET /strange HTTP/1.1\r\nHost: x\r\n\r\nGET /empty HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /close HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /abort HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST /get HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nabOPTIONS /get HTTP/1.1\r\nHost: x\r\n\r\nGET /t/%2e%2e/a HTTP/1.1\r\nHost: x\r\n\r\nGET /t/a%20b/!'()* HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /t/? HTTP/1.1\r\nHost: x\r\nPragma: no-cache\r\nTE: trailers\r\nCookie: a=b; c=d\r\n\r\n",
	"PUT /t/ HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("a", 20_000) + "PUT /t/ HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("b", 60_000) + "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"PUT /t/ HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n" + strings.Repeat("a", 65_000) + "PUT /t/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n" + strings.Repeat("b", 99_999) + "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nGET /t/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	strings.Repeat("GET /t/x HTTP/1.1\r\nHost: x\r\n\r\n", 500),
}

// TestPathsAreAlike holds that nobody can tell from outside which of the two paths served a request.
func TestPathsAreAlike(t *testing.T) {
	w := openTwins(t)
	for _, send := range alike {
		w.differ(t, []byte(send))
	}
	for _, tc := range hostile {
		w.differ(t, []byte(tc.send))
	}
}

// FuzzPaths holds the same of whatever else may come.
func FuzzPaths(f *testing.F) {
	for _, send := range alike {
		f.Add([]byte(send))
	}
	for _, tc := range hostile {
		if len(tc.send) < 4<<10 {
			f.Add([]byte(tc.send))
		}
	}
	w := openTwins(f)
	f.Fuzz(func(t *testing.T, send []byte) { w.differ(t, send) })
}
