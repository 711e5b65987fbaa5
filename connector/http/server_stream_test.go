package http_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	nethttp "net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http"
	"penstock.dev/penstock/internal/httpd"
	"penstock.dev/penstock/jsonview"
)

// seen are the messages of a stream, and what becomes of them.
type seen struct {
	mu    sync.Mutex
	lines []string
}

func (s *seen) flow(_ context.Context, _ *penstock.Batch, m *penstock.Message) error {
	if err := m.Body.Parse(jsonview.Limits{}); err != nil {
		return &penstock.Error{Code: penstock.Invalid, Op: "decode", Err: err}
	}
	body := string(m.Body.AppendJSON(nil, 0))
	switch {
	case strings.Contains(body, "bad"):
		return &penstock.Error{Code: penstock.Unprocessable, Op: "fail", Err: fmt.Errorf("%s is bad", body)}
	case strings.Contains(body, "down"):
		return penstock.E(penstock.Unavailable, "call", "db", "db-1.internal is down")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	line, err := m.Meta.Get("line").AppendJSON(nil)
	if err != nil {
		return err
	}
	s.lines = append(s.lines, fmt.Sprintf("%s:%s", line, body))
	m.Body = nil
	return nil
}

func TestStreams(t *testing.T) {
	csv := func(c *http.ServerConfig) { c.Format = format(t, "csv") }
	long := `{"a":"` + strings.Repeat("x", 300) + `"}`
	for _, tc := range []struct {
		name, body string
		header     []string
		change     func(*http.ServerConfig)
		status     int
		answer     []string // parts of it
		flow       []string
	}{
		{"documents", "1\n{\"a\":2}\n\n[3]", nil, nil, 202, []string{`{"accepted":3}`}, []string{"1:1", `2:{"a":2}`, "4:[3]"}},
		{"nothing", "", nil, nil, 202, []string{`{"accepted":0}`}, nil},
		{"blank lines", "\n \n", nil, nil, 202, []string{`{"accepted":0}`}, nil},
		{"rows", "a,b\n1,x\n\n2,\"y\nz\"\n3,w\n", []string{"Content-Type: text/csv"}, csv, 202, []string{`{"accepted":3}`}, []string{`2:{"a":"1","b":"x"}`, `4:{"a":"2","b":"y\nz"}`, `6:{"a":"3","b":"w"}`}},
		{"compressed", zipped("1\n2\n"), []string{"Content-Encoding: gzip"}, nil, 202, []string{`{"accepted":2}`}, []string{"1:1", "2:2"}},
		{"some are bad", "1\n\"bad 2\"\n3\n\"bad 4\"\n", nil, nil, 422, []string{`"status":422`, `"accepted":2,"failed":2,"records":[{"line":2,"code":"unprocessable","detail":"\"bad 2\" is bad"},{"line":4,`}, []string{"1:1", "3:3"}},
		{"one is none", "1\n{\"a\":}\n3\n", nil, nil, 400, []string{`"accepted":2,"failed":1,"records":[{"line":2,"code":"invalid","detail":"`}, []string{"1:1", "3:3"}},
		{"what may pass ends it", "1\n\"down\"\n", nil, nil, 503, []string{`"status":503`, `"accepted":1,"failed":1,"records":[{"line":2,"code":"unavailable"}]`}, []string{"1:1"}},
		{"it breaks off", "1\n{\"a\":", nil, nil, 400, []string{`"accepted":1,"failed":`}, []string{"1:1"}},
		{"a record that is too large", "1\n" + long + "\n", nil, func(c *http.ServerConfig) { c.MaxBody = 100 }, 413, []string{`"accepted":1`}, []string{"1:1"}},
		{"many small ones beyond the bound of one", strings.Repeat("1\n", 500), nil, func(c *http.ServerConfig) { c.MaxBody = 100 }, 202, []string{`{"accepted":500}`}, nil},
		{"another type", "<a/>", []string{"Content-Type: text/xml"}, nil, 415, []string{`"status":415`}, nil},
		{"another coding", "1", []string{"Content-Encoding: br"}, nil, 415, []string{`"status":415`}, nil},
		{"not compressed", "1\n2\n", []string{"Content-Encoding: gzip"}, nil, 400, []string{`"status":400`}, nil},
		{"half compressed", zipped(strings.Repeat("1\n", 40_000))[:60], []string{"Content-Encoding: gzip"}, nil, 400, []string{`"status":400`}, nil},
		{"a bomb", zipped(strings.Repeat(" ", 64<<20)), []string{"Content-Encoding: gzip"}, nil, 413, []string{`"accepted":0`}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := http.ServerConfig{Post: "/x", Stream: true}
			if tc.change != nil {
				tc.change(&c)
			}
			var got seen
			s := start(t, c, handler(got.flow), func(e *penstock.Env) { e.Replies = false })
			a := s.do("POST", "/x", tc.body, tc.header...)
			if a.status != tc.status {
				t.Errorf("status %d, want %d: %s", a.status, tc.status, a.body)
			}
			for _, part := range tc.answer {
				if !strings.Contains(a.body, part) {
					t.Errorf("%s is not in %s", part, a.body)
				}
			}
			if strings.Contains(a.body, "db-1") {
				t.Errorf("it tells what is inside: %s", a.body)
			}
			if want := "application/problem+json"; a.status >= 300 && a.header.Get("Content-Type") != want {
				t.Errorf("content-type %s", a.header.Get("Content-Type"))
			}
			if tc.flow != nil && !slices.Equal(got.lines, tc.flow) || a.status >= 413 && a.status < 416 && len(got.lines) > 1 {
				t.Errorf("the flow saw %q", got.lines)
			}
		})
	}
}

// TestStreamsHaveHeadersAndRequest: all messages of a request have what is its own.
func TestStreamsHaveHeadersAndRequest(t *testing.T) {
	var n atomic.Int64
	s := start(t, http.ServerConfig{Post: "/x/{id}", Stream: true}, handler(func(_ context.Context, _ *penstock.Batch, m *penstock.Message) error {
		n.Add(1)
		v := m.Vars[2]
		text, err := v.AppendJSON(nil)
		if err != nil || !strings.Contains(string(text), `"path":{"id":"7"}`) || !strings.Contains(string(text), `"x-a":"b"`) || m.Meta.Get("x-a").Str() != "b" || m.Meta.Get("x-correlation-id").Str() != "c-1" {
			t.Errorf("%s, %v, %v", text, err, m.Meta.Entries())
		}
		return nil
	}), func(e *penstock.Env) { e.Replies, e.RequestSlot = false, 2 })
	if a := s.do("POST", "/x/7", "1\n2\n3\n", "X-A: b", "X-Correlation-Id: c-1"); a.status != 202 || n.Load() != 3 {
		t.Errorf("%d %s, %d messages", a.status, a.body, n.Load())
	}
}

// TestStreamsAreReadAsTheyCome: the flow works on records while others have not come yet, and reading waits for the flow.
func TestStreamsAreReadAsTheyCome(t *testing.T) {
	came := make(chan string)
	s := start(t, http.ServerConfig{Post: "/x", Stream: true}, handler(func(_ context.Context, _ *penstock.Batch, m *penstock.Message) error {
		if err := m.Body.Parse(jsonview.Limits{}); err != nil {
			return err
		}
		came <- string(m.Body.AppendJSON(nil, 0))
		return nil
	}), func(e *penstock.Env) { e.Replies = false })
	r, w := io.Pipe()
	done := make(chan answer, 1)
	go func() {
		q, err := nethttp.NewRequestWithContext(t.Context(), "POST", s.url+"/x", r)
		if err != nil {
			t.Error(err)
			return
		}
		q.Header.Set("Content-Type", "application/json")
		res, err := s.client.Do(q)
		if err != nil {
			t.Error(err)
			done <- answer{}
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		done <- answer{status: res.StatusCode, body: string(b)}
	}()
	for i := range 5 {
		if _, err := fmt.Fprintf(w, "%d\n", i); err != nil {
			t.Fatal(err)
		}
		if got := <-came; got != fmt.Sprint(i) {
			t.Errorf("%s came, want %d", got, i)
		}
	}
	_ = w.Close()
	if a := <-done; a.status != 202 || a.body != "{\"accepted\":5}\n" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestStreamsTakeLittleMemory: however much comes.
func TestStreamsTakeLittleMemory(t *testing.T) {
	var n atomic.Int64
	var peak atomic.Uint64
	s := start(t, http.ServerConfig{Post: "/x", Stream: true}, handler(func(context.Context, *penstock.Batch, *penstock.Message) error {
		if n.Add(1)%50_000 == 0 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
		}
		return nil
	}), func(e *penstock.Env) { e.Replies = false })
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	const records = 400_000
	r, w := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(w, 64<<10)
		for i := range records {
			_, _ = fmt.Fprintf(out, "{\"id\":%d,\"text\":\"%0200d\"}\n", i, i)
		}
		_ = out.Flush()
		_ = w.Close()
	}()
	q, err := nethttp.NewRequestWithContext(t.Context(), "POST", s.url+"/x", r)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); res.StatusCode != nethttp.StatusAccepted || string(b) != fmt.Sprintf("{\"accepted\":%d}\n", records) {
		t.Errorf("%d %s", res.StatusCode, b)
	}
	if grown := int64(peak.Load()) - int64(m.HeapInuse); grown > 32<<20 {
		t.Errorf("%d MiB more for 90 MiB of records", grown>>20)
	}
}

// TestStreamsThatStall: a peer has as long for each piece as the flow has, also beyond what the listener allows for a whole body; and no longer.
func TestStreamsThatStall(t *testing.T) {
	var got seen
	s := startOn(t, httpd.Options{Address: "127.0.0.1:0", Await: 1, BodyTimeout: 50 * time.Millisecond}, http.ServerConfig{Post: "/x", Stream: true, Timeout: penstock.Duration(400 * time.Millisecond)}, handler(got.flow), func(e *penstock.Env) { e.Replies = false })
	c := s.dial()
	defer c.Close()
	_, _ = io.WriteString(c, rawHead+"Transfer-Encoding: chunked\r\n\r\n2\r\n1\n\r\n")
	for range 3 { // together longer than the listener's bound
		<-time.After(40 * time.Millisecond)
		_, _ = io.WriteString(c, "2\r\n2\n\r\n")
	}
	status, body, closed := first(t, c) // nothing more comes
	if status != 408 || !closed || !strings.Contains(body, `"accepted":4`) || len(got.lines) != 4 {
		t.Errorf("%d %s, closed %t, the flow saw %v", status, body, closed, got.lines)
	}
}

func TestStreamsAreNothingElse(t *testing.T) {
	for name, c := range map[string]http.ServerConfig{
		"signature":   {Post: "/x", Stream: true, Signature: &http.SignatureConfig{}},
		"idempotency": {Post: "/x", Stream: true, Idempotency: &http.IdempotencyConfig{Header: "k"}},
		"status":      {Post: "/x", Stream: true, Reply: http.ReplyConfig{Status: 201}},
		"reply type":  {Post: "/x", Stream: true, Reply: http.ReplyConfig{ContentType: "text/plain"}},
		"get":         {Get: "/x", Stream: true},
		"delete":      {Delete: "/x", Post: "/y", Stream: true},
	} {
		found := false
		for _, err := range c.Validate() {
			found = found || strings.HasPrefix(err.Error(), "stream: ")
		}
		if !found {
			t.Errorf("%s is not refused", name)
		}
	}
	c := http.ServerConfig{Post: "/x", Stream: true}
	if errs := c.Validate(); len(errs) > 0 || !c.Streamed() {
		t.Error(errs)
	}
}
