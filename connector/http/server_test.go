package http_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	nethttp "net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"penstock.dev/penstock"
	octets "penstock.dev/penstock/codec/bytes"
	"penstock.dev/penstock/codec/csv"
	"penstock.dev/penstock/codec/form"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/codec/text"
	"penstock.dev/penstock/connector/http"
	"penstock.dev/penstock/internal/httpd"
	"penstock.dev/penstock/jsonview"
)

// handler is a flow, made of a function of one message.
type handler func(ctx context.Context, b *penstock.Batch, m *penstock.Message) error

// Handle implements penstock.Handler.
func (h handler) Handle(ctx context.Context, b *penstock.Batch) error {
	for i, m := range b.Msgs {
		if b.Err(i) != nil {
			continue // it can't be read
		}
		if err := h(ctx, b, m); err != nil {
			b.Fail(i, err)
		}
	}
	return nil
}

// echo is the flow that does nothing.
func echo(context.Context, *penstock.Batch, *penstock.Message) error { return nil }

// format makes a codec of its name.
func format(t testing.TB, name string) penstock.Format {
	t.Helper()
	var c penstock.Codec
	var err error
	switch name {
	case "json":
		c, err = json.New(json.Config{}, penstock.CodecOptions{})
	case "csv":
		c, err = csv.New(csv.Config{}, penstock.CodecOptions{})
	case "form":
		c, err = form.New(form.Config{}, penstock.CodecOptions{})
	case "bytes":
		c, err = octets.New(octets.Config{}, penstock.CodecOptions{})
	case "text":
		c, err = text.New(text.Config{Whole: true}, penstock.CodecOptions{})
	default:
		t.Fatalf("no codec %s", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return penstock.Format{Name: name, Codec: c}
}

// with completes a configuration with its defaults.
func with(t testing.TB, c http.ServerConfig) http.ServerConfig {
	t.Helper()
	if c.Format.IsZero() {
		c.Format = format(t, "json")
	}
	if c.Reply.Format.IsZero() {
		c.Reply.Format = format(t, "json")
	}
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.Timeout == 0 {
		c.Timeout = penstock.Duration(30 * time.Second)
	}
	if c.MaxRequests == 0 {
		c.MaxRequests = 64
	}
	return c
}

// service is a server that runs.
type service struct {
	t      testing.TB
	url    string
	log    *logged
	client *nethttp.Client
	stop   func() // ends the server and waits for it
}

// logged keeps a log.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all of it.
func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a server on a listener of its own.
func start(t testing.TB, c http.ServerConfig, h penstock.Handler, change func(*penstock.Env)) *service {
	t.Helper()
	return startOn(t, httpd.Options{Address: "127.0.0.1:0", Await: 1}, c, h, change)
}

// ways are the two that a request can take: the listener's own, and through net/http. What is promised is the same.
var ways = []struct {
	name string
	take func(*penstock.Env)
}{
	{"plain", func(*penstock.Env) {}},
	{"net-http", func(e *penstock.Env) { e.Listener = thorough{e.Listener} }},
}

// thorough is a listener whose requests all go through net/http.
type thorough struct{ penstock.Listener }

// Mount implements penstock.Listener.
func (l thorough) Mount(r penstock.HTTPRoute) (func(), error) {
	r.Brief = false
	return l.Listener.Mount(r)
}

// startOn runs a server on a listener with options.
func startOn(t testing.TB, o httpd.Options, c http.ServerConfig, h penstock.Handler, change func(*penstock.Env)) *service {
	t.Helper()
	s := &service{t: t, log: &logged{}}
	l, err := httpd.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	env := penstock.Env{
		Name: "flow/from", Logger: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Clock: penstock.SystemClock{},
		Runtime:  &penstock.Runtime{Clock: penstock.SystemClock{}, UUID: func() string { n++; return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }},
		Listener: l, Replies: true, RequestSlot: -1,
	}
	if change != nil {
		change(&env)
	}
	srv, err := http.NewServer(with(t, c), env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, h) }()
	s.url = l.URL()
	s.client = &nethttp.Client{Transport: &nethttp.Transport{DisableCompression: true}}
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Serve:", err)
		}
		s.client.CloseIdleConnections()
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// answer is what came back.
type answer struct {
	status int
	header nethttp.Header
	body   string
}

// do sends a request with headers given as "name: value".
func (s *service) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := nethttp.NewRequestWithContext(s.t.Context(), method, s.url+path, in)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	if body != "" && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := s.client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

func zstandard(s string) string {
	z, _ := zstd.NewWriter(nil)
	defer z.Close()
	return string(z.EncodeAll([]byte(s), nil))
}

func TestRequests(t *testing.T) {
	for _, tc := range []struct {
		name         string
		config       http.ServerConfig
		method, path string
		body         string
		headers      []string
		status       int
		want         string // of the answer's body; of a problem, its detail
		header       string // "name: value" that the answer has
	}{
		{name: "json", body: `{"a": 1}`, status: 200, want: `{"a": 1}`, header: "Content-Type: application/json"},
		{name: "json by its suffix", body: `[]`, headers: []string{"Content-Type: application/vnd.shop+json; charset=UTF-8"}, status: 200, want: `[]`},
		{name: "no body", method: "GET", status: 200, want: "null"},
		{name: "an empty body", method: "POST", headers: []string{"Content-Type: text/x"}, status: 200, want: "null"},
		{name: "head", method: "HEAD", status: 200, header: "Content-Type: application/json"},
		{name: "another type", body: `{}`, headers: []string{"Content-Type: text/plain"}, status: 415, want: "this path reads application/json: say so in content-type"},
		{name: "what curl says of its own", body: `{}`, headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 415, want: "this path reads application/json: say so in content-type"},
		{name: "another type that is allowed", config: http.ServerConfig{ContentTypes: []string{"text/json"}}, body: `{}`, headers: []string{"Content-Type: text/json"}, status: 200, want: "{}"},
		{name: "a type that is none", body: `{}`, headers: []string{"Content-Type: ;;"}, status: 415, want: "this path reads application/json: say so in content-type"},
		{name: "two types", body: `{}`, headers: []string{"Content-Type: application/json", "Content-Type: text/plain"}, status: 400, want: "there are two content-type headers"},
		{name: "another character set", body: `{}`, headers: []string{"Content-Type: application/json; charset=latin1"}, status: 415, want: "the body must be UTF-8"},
		{name: "malformed", body: `{"a":1,}`, status: 400, want: "the body is no JSON document that can be read: byte 7 (line 1)"},
		{name: "a name twice", body: "{\"a\":1,\n\"a\":2}", status: 400, want: "byte 8 (line 2)"},
		{name: "too deep", body: strings.Repeat("[", 600) + strings.Repeat("]", 600), status: 400, want: "no JSON document"},
		{name: "at the limit", config: http.ServerConfig{MaxBody: 8}, body: `{"a": 1}`, status: 200, want: `{"a": 1}`},
		{name: "over the limit", config: http.ServerConfig{MaxBody: 7}, body: `{"a": 1}`, status: 413, want: "the body is larger than 7, which is the limit here"},
		{name: "gzip", body: zipped(`{"a":1}`), headers: []string{"Content-Encoding: gzip"}, status: 200, want: `{"a":1}`},
		{name: "zstd", body: zstandard(`{"a":1}`), headers: []string{"Content-Encoding: zstd"}, status: 200, want: `{"a":1}`},
		{name: "identity", body: `{"a":1}`, headers: []string{"Content-Encoding: identity"}, status: 200, want: `{"a":1}`},
		{name: "not gzip", body: `{"a":1}`, headers: []string{"Content-Encoding: gzip"}, status: 400, want: "the body is not compressed as content-encoding says"},
		{name: "half a gzip", body: zipped(`{"a":1}`)[:20], headers: []string{"Content-Encoding: gzip"}, status: 400, want: "the body is not compressed as content-encoding says"},
		{name: "not zstd", body: `{"a":1}`, headers: []string{"Content-Encoding: zstd"}, status: 400, want: "the body is not compressed as content-encoding says"},
		{name: "brotli", body: `{"a":1}`, headers: []string{"Content-Encoding: br"}, status: 415, want: "compressed in a way that is not read here", header: "Accept-Encoding: gzip, zstd"},
		{name: "two codings", body: `{"a":1}`, headers: []string{"Content-Encoding: gzip, gzip"}, status: 415, want: "compressed in a way that is not read here"},
		{name: "a bomb", body: zipped(strings.Repeat(" ", 4<<20)), headers: []string{"Content-Encoding: gzip"}, status: 413, want: "the body is larger than 1Mi"},
		{name: "a bomb where much is allowed", config: http.ServerConfig{MaxBody: 1 << 30}, body: zipped(strings.Repeat(" ", 16<<20)), headers: []string{"Content-Encoding: gzip"}, status: 413, want: "more than two hundredfold"},
		{name: "a bomb of zstd", config: http.ServerConfig{MaxBody: 1 << 30}, body: zstandard(strings.Repeat(" ", 64<<20)), headers: []string{"Content-Encoding: zstd"}, status: 413, want: "more than two hundredfold"},
		{name: "csv", config: http.ServerConfig{Format: format(t, "csv")}, body: "a,b\n1,2\n3,4\n", headers: []string{"Content-Type: text/csv"}, status: 200, want: `[{"a":"1","b":"2"},{"a":"3","b":"4"}]`},
		{name: "malformed csv", config: http.ServerConfig{Format: format(t, "csv")}, body: "a,b\n\"1,2\n", headers: []string{"Content-Type: text/csv"}, status: 400, want: "the body is not csv"},
		{name: "text", config: http.ServerConfig{Format: format(t, "text")}, body: "a\nb", headers: []string{"Content-Type: text/x-log"}, status: 200, want: `"a\nb"`},
		{name: "a form", config: http.ServerConfig{Format: format(t, "form")}, body: "a=1&a=2&b=x+y", headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 200, want: `{"a":["1","2"],"b":"x y"}`},
		{name: "a malformed form", config: http.ServerConfig{Format: format(t, "form")}, body: "a=%zz", headers: []string{"Content-Type: application/x-www-form-urlencoded"}, status: 400, want: "the body is not form: a % is not followed"},
		{name: "bytes", config: http.ServerConfig{Format: format(t, "bytes")}, body: "\x00\xff", headers: []string{"Content-Type: image/png"}, status: 200, want: `"AP8="`},
		{name: "bytes there and back", config: http.ServerConfig{Format: format(t, "bytes"), Reply: http.ReplyConfig{Format: format(t, "bytes")}}, body: "\x00\xff", headers: []string{"Content-Type: image/png"}, status: 200, want: "\x00\xff", header: "Content-Type: application/octet-stream"},
		{name: "text back", config: http.ServerConfig{Reply: http.ReplyConfig{Format: format(t, "text")}}, body: `"a"`, status: 200, want: "a", header: "Content-Type: text/plain; charset=utf-8"},
		{name: "a type of its own back", config: http.ServerConfig{Reply: http.ReplyConfig{ContentType: "application/hal+json", Status: 201}}, body: `{}`, status: 201, want: "{}", header: "Content-Type: application/hal+json"},
		{name: "the caller's correlation", body: "{}", headers: []string{"X-Correlation-Id: abc-1"}, status: 200, want: "{}", header: "X-Correlation-Id: abc-1"},
		{name: "a correlation that is none", body: "{}", headers: []string{"X-Correlation-Id: a b"}, status: 200, want: "{}", header: "X-Correlation-Id: 0000000000004000-1"},
		{name: "a new correlation", body: "{}", status: 200, want: "{}", header: "X-Correlation-Id: 0000000000004000-1"},
		{name: "a large answer", body: `"` + strings.Repeat("x", 100_000) + `"`, status: 200, want: `"` + strings.Repeat("x", 100_000) + `"`, header: "Content-Length: 100002"},
	} {
		for _, way := range ways {
			t.Run(tc.name+", "+way.name, func(t *testing.T) {
				tc.config.Any = "/x"
				s := start(t, tc.config, handler(echo), way.take)
				method := tc.method
				if method == "" {
					method = "POST"
				}
				got := s.do(method, "/x", tc.body, tc.headers...)
				if got.status != tc.status || tc.status < 400 && got.body != tc.want || !strings.Contains(got.body, tc.want) && tc.status >= 400 {
					t.Errorf("status %d, %.300q; want %d, %.300q", got.status, got.body, tc.status, tc.want)
				}
				if tc.header != "" {
					name, value, _ := strings.Cut(tc.header, ": ")
					if got.header.Get(name) != value {
						t.Errorf("%s is %q, want %q", name, got.header.Get(name), value)
					}
				}
				if tc.status >= 400 && got.header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("a refusal has the type %s", got.header.Get("Content-Type"))
				}
			})
		}
	}
}

// details is an error with several faults.
type details struct{}

func (details) Error() string { return "body.a is wrong; body.b is wrong" }
func (details) Details() []penstock.Detail {
	return []penstock.Detail{{Path: "body.a", Message: "is wrong"}, {Path: "body.b", Message: "is \"wrong\""}}
}

func TestProblems(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error
		status int
		want   string
		header string
		logged string
	}{
		{name: "fail says what it likes", err: penstock.E(penstock.Conflict, "fail", "", "there is \"one\" already"), status: 409,
			want: `{"type":"https://penstock.dev/problems/conflict","title":"The request contradicts what is there","status":409,"detail":"there is \"one\" already","instance":"/x","code":"conflict","correlationId":"c"}`},
		{name: "also of what is inside", err: &penstock.Error{Code: penstock.Internal, Op: "step", Err: penstock.E(penstock.Internal, "fail", "", "ask Ann")}, status: 500,
			want: `{"type":"https://penstock.dev/problems/internal","title":"Something went wrong here","status":500,"detail":"ask Ann","instance":"/x","code":"internal","correlationId":"c"}`},
		{name: "what is wrong with the content", err: penstock.E(penstock.Unprocessable, "map", "name", "no such key: name"), status: 422,
			want: `{"type":"https://penstock.dev/problems/unprocessable","title":"The request breaks a rule","status":422,"detail":"name: no such key: name","instance":"/x","code":"unprocessable","correlationId":"c"}`},
		{name: "what a query is asked with", err: &penstock.Error{Code: penstock.Unprocessable, Op: "step", Err: penstock.E(penstock.Unprocessable, "query", "asOf", "it is neither a timestamp nor a version")}, status: 422,
			want: `{"type":"https://penstock.dev/problems/unprocessable","title":"The request breaks a rule","status":422,"detail":"asOf: it is neither a timestamp nor a version","instance":"/x","code":"unprocessable","correlationId":"c"}`},
		{name: "nothing of what a query has not found", err: penstock.E(penstock.NotFound, "query", "account a", "it has no version 9 yet: the newest is 3"), status: 404,
			want: `{"type":"https://penstock.dev/problems/notFound","title":"There is nothing of this name","status":404,"instance":"/x","code":"notFound","correlationId":"c"}`},
		{name: "each fault", err: &penstock.Error{Code: penstock.Unprocessable, Op: "validate", Err: details{}}, status: 422,
			want: `{"type":"https://penstock.dev/problems/unprocessable","title":"The request breaks a rule","status":422,"detail":"body.a is wrong; body.b is wrong","instance":"/x","code":"unprocessable","correlationId":"c","errors":[{"path":"body.a","detail":"is wrong"},{"path":"body.b","detail":"is \"wrong\""}]}`},
		{name: "nothing of another system", err: penstock.E(penstock.NotFound, "http.call", "http://10.0.0.1/secret", "404"), status: 404,
			want: `{"type":"https://penstock.dev/problems/notFound","title":"There is nothing of this name","status":404,"instance":"/x","code":"notFound","correlationId":"c"}`},
		{name: "nor of one that is malformed itself", err: penstock.E(penstock.Invalid, "http.call", "http://10.0.0.1/secret", "400"), status: 400,
			want: `{"type":"https://penstock.dev/problems/invalid","title":"The request is malformed","status":400,"instance":"/x","code":"invalid","correlationId":"c"}`},
		{name: "nothing of this program", err: errors.New("table users: no such column"), status: 500, logged: "correlation_id=c",
			want: `{"type":"https://penstock.dev/problems/internal","title":"Something went wrong here","status":500,"instance":"/x","code":"internal","correlationId":"c"}`},
		{name: "nor of its configuration", err: penstock.E(penstock.Config, "sql", "orders.yaml", "no such table"), status: 500, logged: "no such table",
			want: `{"type":"https://penstock.dev/problems/internal","title":"Something went wrong here","status":500,"instance":"/x","code":"internal","correlationId":"c"}`},
		{name: "limited", err: &penstock.Error{Code: penstock.Limited, RetryAfter: 1500 * time.Millisecond}, status: 429, header: "Retry-After: 2",
			want: `{"type":"https://penstock.dev/problems/limited","title":"There are too many requests","status":429,"instance":"/x","code":"limited","correlationId":"c"}`},
		{name: "unavailable", err: penstock.E(penstock.Unavailable, "sql", "", "connection refused"), status: 503, header: "Retry-After: 1",
			want: `{"type":"https://penstock.dev/problems/unavailable","title":"The service is not available at the moment","status":503,"instance":"/x","code":"unavailable","correlationId":"c"}`},
		{name: "timeout", err: context.DeadlineExceeded, status: 504, want: `{"type":"https://penstock.dev/problems/timeout","title":"The answer took too long","status":504,"instance":"/x","code":"timeout","correlationId":"c"}`},
	} {
		for _, way := range ways {
			t.Run(tc.name+", "+way.name, func(t *testing.T) {
				s := start(t, http.ServerConfig{Post: "/x"}, handler(func(context.Context, *penstock.Batch, *penstock.Message) error { return tc.err }), way.take)
				got := s.do("POST", "/x?q=1", "{}", "X-Correlation-Id: c")
				if got.status != tc.status || got.body != tc.want+"\n" {
					t.Errorf("status %d, %s\nwant %d, %s", got.status, got.body, tc.status, tc.want)
				}
				if name, value, _ := strings.Cut(tc.header, ": "); name != "" && got.header.Get(name) != value {
					t.Errorf("%s is %q, want %q", name, got.header.Get(name), value)
				}
				if !strings.Contains(s.log.String(), tc.logged) {
					t.Errorf("the log has no %q: %s", tc.logged, s.log)
				}
			})
		}
	}
}

// TestMessage holds what of a request the flow sees.
func TestMessage(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) { message(t, way.take) })
	}
}

func message(t *testing.T, way func(*penstock.Env)) {
	got := make(chan string, 1)
	flow := func(_ context.Context, b *penstock.Batch, m *penstock.Message) error {
		text := string(m.Body.AppendJSON(nil, 0))
		for _, name := range []string{"x-a", "authorization", "cookie", "connection", "content-type", "x-correlation-id"} {
			if v := m.Meta.Get(name); !v.IsAbsent() {
				text += " " + name + "=" + v.Str()
			}
		}
		if len(m.Vars) == 3 {
			d, _ := m.Vars[2].Node()
			for _, path := range [][]string{{"method"}, {"path", "id"}, {"path", "rest"}, {"query", "q"}, {"query", "a b"}, {"header", "x-a"}, {"header", "authorization"}} {
				n := jsonview.Node(0)
				for _, p := range path {
					n = d.Field(n, p, nil)
				}
				text += fmt.Sprintf(" %s=%s", strings.Join(path, "."), d.AppendJSON(nil, n))
			}
		}
		got <- text
		return nil
	}
	c := http.ServerConfig{Put: "/orders/{id}/{rest...}", Credentials: []string{"authorization"}}
	s := start(t, c, handler(flow), func(e *penstock.Env) {
		e.RequestSlot = 2
		way(e)
	})
	s.do("PUT", "/orders/a%2Fb%25/c/d?q=1&q=2&a+b=%2e", `{"b":1}`, "X-A: 1", "X-A: 2", "Authorization: Basic x", "Cookie: a=b", "X-Correlation-Id: c")
	want := `{"b":1} x-a=1, 2 authorization=Basic x content-type=application/json x-correlation-id=c method="PUT" path.id="a/b%" path.rest="c/d" query.q="1" query.a b="." header.x-a="1, 2" header.authorization="Basic x"`
	if text := <-got; text != want {
		t.Errorf("the flow sees\n%s, want\n%s", text, want)
	}
	s.do("PUT", "/orders/a/?%zz", "{}")
	select {
	case text := <-got:
		t.Errorf("a malformed query reached the flow: %s", text)
	default:
	}
}

func TestAnswersWithoutBody(t *testing.T) {
	gone := func(_ context.Context, _ *penstock.Batch, m *penstock.Message) error {
		m.Body = nil
		return nil
	}
	for _, tc := range []struct {
		replies bool
		status  int
		want    int
	}{{true, 0, 204}, {false, 0, 202}, {false, 201, 201}} {
		s := start(t, http.ServerConfig{Post: "/x", Reply: http.ReplyConfig{Status: tc.status}}, handler(gone), func(e *penstock.Env) { e.Replies = tc.replies })
		if got := s.do("POST", "/x", "{}"); got.status != tc.want || got.body != "" || got.header.Get("Content-Type") != "" {
			t.Errorf("%+v: %+v", tc, got)
		}
	}
}
