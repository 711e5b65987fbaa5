package http

import (
	"context"
	"encoding/json"
	"io"
	nethttp "net/http"
	"net/url"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
)

func TestCallerConforms(t *testing.T) {
	s := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch q := strings.TrimPrefix(r.URL.Path, "/q/"); q {
		case "nobody":
			nethttp.NotFound(w, r)
		case "broken":
			w.WriteHeader(nethttp.StatusInternalServerError)
		default:
			_, _ = io.WriteString(w, `{"asked":"`+q+`"}`)
		}
	})
	conform.Caller(t, conform.CallerHarness{
		New: func(t testing.TB) penstock.Caller {
			k, err := newCaller(penstock.NewRegistry(), CallConfig{Connection: penstock.ConnectionRef{Name: "server", Config: connection(s.URL)},
				Get: text("/q/${body.q}"), Missing: "absent"}, environment(t))
			if err != nil {
				t.Fatal(err)
			}
			return k
		},
		Replies: map[string]string{`"a"`: `{"asked":"a"}`, `"b"`: `{"asked":"b"}`},
		Misses:  []string{`"nobody"`},
		Fails:   `"broken"`,
	})
}

// asked is what a server was asked, as JSON.
func asked(w nethttp.ResponseWriter, r *nethttp.Request) {
	body, _ := io.ReadAll(r.Body)
	headers := map[string]string{}
	for name, v := range r.Header {
		headers[strings.ToLower(name)] = strings.Join(v, "|")
	}
	out, _ := json.Marshal(map[string]any{"method": r.Method, "uri": r.RequestURI, "body": string(body), "headers": headers})
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out)
}

type question struct {
	Method, URI, Body string
	Headers           map[string]string
}

func TestRequests(t *testing.T) {
	s := serve(t, asked)
	conn := connection(s.URL + "/v1/")
	conn.Headers = map[string]penstock.Template{"X-App": {Source: "penstock"}, "X-Both": {Source: "connection"}}
	bearer := penstock.NewSecret("to-ken\n")
	conn.Auth.Bearer = &bearer
	for _, tt := range []struct {
		name   string
		config CallConfig
		body   string
		doc    jsonview.Format
		want   question
	}{
		{"a look-up", CallConfig{Get: text("/countries/${body.c")}, `{"c":"a/../b?x"}`, jsonview.JSON,
			question{"GET", "/v1/countries/a%2F..%2Fb%3Fx", "", map[string]string{"x-app": "penstock", "authorization": "Bearer to-ken", "accept-encoding": "gzip", "user-agent": "penstock", "content-type": ""}}},
		{"a query", CallConfig{Get: text("/find"), Query: tree(`{"q":"a&b=c","n":3.50,"ok":true,"none":null,"l":["x","y z"]}`)}, `{}`, jsonview.JSON,
			question{"GET", "/v1/find?q=a%26b%3Dc&n=3.50&ok=true&l=x&l=y%20z", "", nil}},
		{"a query behind one", CallConfig{Delete: text("/find?a=1"), Query: tree(`{"b":2}`)}, `{}`, jsonview.JSON,
			question{"DELETE", "/v1/find?a=1&b=2", "", map[string]string{"content-length": "", "content-type": ""}}},
		{"the message's body", CallConfig{Post: text("/orders")}, ` {"n": 1.50} `, jsonview.JSON,
			question{"POST", "/v1/orders", ` {"n": 1.50} `, map[string]string{"content-type": "application/json"}}},
		{"text", CallConfig{Put: text("/orders")}, `grün`, jsonview.Text,
			question{"PUT", "/v1/orders", `grün`, map[string]string{"content-type": "text/plain; charset=utf-8"}}},
		{"bytes", CallConfig{Patch: text("/orders")}, "\xff", jsonview.Binary,
			question{"PATCH", "/v1/orders", "\ufffd", map[string]string{"content-type": "application/octet-stream"}}},
		{"an empty body", CallConfig{Post: text("/orders")}, ``, jsonview.Text,
			question{"POST", "/v1/orders", "", map[string]string{"content-length": "0"}}},
		{"a body of its own", CallConfig{Post: text(""), Body: tree(`{"a":1}`)}, `{}`, jsonview.JSON,
			question{"POST", "/v1", `{"a":1}`, nil}},
		{"headers", CallConfig{Get: text("/"), Headers: map[string]penstock.Template{"x-both": text("call ${body.c}"), "x-none": text("${body.none}"), "accept": text("text/csv"), "authorization": text("Basic ${body.c}")}},
			`{"c":"1"}`, jsonview.JSON, question{"GET", "/v1/", "", map[string]string{"x-both": "call 1", "accept": "text/csv", "x-none": "", "authorization": "Basic 1"}}},
		{"handed on", CallConfig{Get: text("/"), Forward: []string{"X-Tenant"}}, `{}`, jsonview.JSON,
			question{"GET", "/v1/", "", map[string]string{"x-tenant": "acme", "x-correlation-id": "c-1", "x-other": "", "traceparent": "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01", "tracestate": "a=1"}}},
		{"an idempotency key", CallConfig{Post: text("/"), IdempotencyKey: text("order-${body.c}")}, `{"c":"7"}`, jsonview.JSON,
			question{"POST", "/v1/", `{"c":"7"}`, map[string]string{"idempotency-key": "order-7"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.config.Reply = "body"
			k := calling(t, conn, tt.config)
			trace, _ := penstock.ParseTraceparent("00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01")
			trace.State = "a=1"
			got, _, err := ask(penstock.ContextWithTrace(context.Background(), trace), k, tt.body, func(m *penstock.Message) {
				m.Body.Reset(tt.doc, []byte(tt.body))
				m.Meta.Set("x-tenant", penstock.StringValue("acme"))
				m.Meta.Set("x-other", penstock.StringValue("other"))
				m.Meta.Set("x-correlation-id", penstock.StringValue("c-1"))
			})
			if err != nil {
				t.Fatal(err)
			}
			var q question
			if err := json.Unmarshal([]byte(got), &q); err != nil {
				t.Fatal(err)
			}
			if q.Method != tt.want.Method || q.URI != tt.want.URI || q.Body != tt.want.Body {
				t.Errorf("%s %s %q, want %s %s %q", q.Method, q.URI, q.Body, tt.want.Method, tt.want.URI, tt.want.Body)
			}
			for n, v := range tt.want.Headers {
				if q.Headers[n] != v {
					t.Errorf("%s: %q, want %q", n, q.Headers[n], v)
				}
			}
		})
	}
}

// span notes what a driver says of a span.
type span map[string]any

func (s span) SetText(name, value string)      { s[name] = value }
func (s span) SetInt(name string, value int64) { s[name] = value }

func TestSpans(t *testing.T) {
	s := serve(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.WriteHeader(nethttp.StatusTeapot)
		_, _ = io.WriteString(w, r.Header.Get("Traceparent"))
	})
	k := calling(t, connection(s.URL+"/v1"), CallConfig{Get: text("/c/${body.c}"), Expect: []int{418}})
	const own, others = "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01", "00-ff02030405060708090a0b0c0d0e0f10-0102030405060708-00"
	trace, _ := penstock.ParseTraceparent(own)
	got := span{}
	meta := func(m *penstock.Message) { m.Meta.Set("traceparent", penstock.StringValue(others)) }
	reply, _, err := ask(penstock.ContextWithSpan(context.Background(), trace, got), k, `{"c":"secret"}`, meta)
	if err != nil || reply != `"`+own+`"` || got["http.request.method"] != "GET" || got["http.response.status_code"] != int64(418) || got["url.template"] != "/v1/c/${body.c}" || got["server.address"] != "127.0.0.1" {
		t.Errorf("%s, %v, %v", reply, err, got)
	}
	if reply, _, err := ask(context.Background(), k, `{}`, meta); err != nil || reply != `"`+others+`"` {
		t.Errorf("%s, %v: the message's own trace", reply, err)
	}
}

// TestAllocations holds what a call costs, beside what the connection does.
func TestAllocations(t *testing.T) {
	s := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) { _, _ = io.WriteString(w, `{}`) })
	k := calling(t, connection(s.URL), CallConfig{Post: penstock.Template{Source: "/x"}}).(*caller)
	b, m := message(`{"c":"x"}`)
	f := b.Frame(m)
	w := new(work)
	if n := testing.AllocsPerRun(100, func() {
		if err := k.request(context.Background(), w, f); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("making a request takes %g allocations", n)
	}
}

// TestTargets: how a path is put behind that of the Connection, and what is no path.
func TestTargets(t *testing.T) {
	made := func(s string) *penstock.Template {
		return &penstock.Template{Source: "${body.x}", Program: program(func(*penstock.Frame) penstock.Value { return penstock.StringValue(s) })}
	}
	b, m := message(`{}`)
	for _, tt := range []struct{ base, path, want string }{
		{"", "", "/"}, {"", "/", "/"}, {"", "a", "/a"}, {"", "?a=1", "/?a=1"}, {"", "/a/b", "/a/b"},
		{"/v1", "", "/v1"}, {"/v1", "/", "/v1/"}, {"/v1", "a", "/v1/a"}, {"/v1", "?a=1", "/v1?a=1"},
		{"", "/a?b=/../c", "/a?b=/../c"}, {"", "/...", "/..."}, {"", "/.a/..b/a.b", "/.a/..b/a.b"}, {"", "/%2e%2e%2e", "/%2e%2e%2e"},
		{"", "/..", ""}, {"", "/a/./b", ""}, {"", "/%2E", ""}, {"", "/.%2e", ""}, {"", "..", ""}, {"/v1", "/..;a", ""}, {"", "/a/..?x", ""},
	} {
		got, err := appendTarget(nil, tt.base, made(tt.path), b.Frame(m))
		if tt.want == "" && penstock.CodeOf(err) != penstock.Unprocessable || tt.want != "" && string(got) != tt.want {
			t.Errorf("%s and %q: %s, %v; want %q", tt.base, tt.path, got, err, tt.want)
		}
	}
}

// FuzzTarget: no value in a path leads elsewhere.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"a", "..", "%2e%2e", "a/b", ".;x", "\x00", "ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, m := message(`{}`)
		for _, around := range []string{"/a/%s/b", "/a/.%s", "/%s.", "/%s%s"} {
			path := strings.ReplaceAll(around, "%s", url.PathEscape(s))
			p := penstock.Template{Source: path, Program: program(func(*penstock.Frame) penstock.Value { return penstock.StringValue(path) })}
			got, err := appendTarget(nil, "", &p, b.Frame(m))
			if err != nil {
				continue
			}
			u, err := url.Parse("http://host" + string(got))
			if err != nil {
				t.Fatalf("%q: %v", got, err)
			}
			if r := u.ResolveReference(&url.URL{Path: u.Path, RawPath: u.RawPath}); r.EscapedPath() != string(got) || u.Host != "host" {
				t.Fatalf("%q becomes %q", got, r.EscapedPath())
			}
		}
	})
}
