package http_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http"
)

// kept is a penstock.State in memory, whose writes a test can make fail.
type kept struct {
	mu      sync.Mutex
	entries map[string][]byte
	fail    error
	window  time.Duration // of the last entry
}

// Get implements penstock.State.
func (k *kept) Get(_ context.Context, key string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.entries[key], nil
}

// CompareAndSet implements penstock.State.
func (k *kept) CompareAndSet(_ context.Context, key string, old, value []byte, window time.Duration) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return false, k.fail
	}
	if !bytes.Equal(k.entries[key], old) {
		return false, nil
	}
	k.entries[key], k.window = bytes.Clone(value), window
	return true, nil
}

func idempotent(t *testing.T, c http.IdempotencyConfig, k *kept, h penstock.Handler) *service {
	t.Helper()
	return idempotentWith(t, http.ServerConfig{Any: "/{rest...}", Idempotency: &c, Reply: http.ReplyConfig{Status: 201}}, k, h)
}

func idempotentWith(t *testing.T, config http.ServerConfig, k *kept, h penstock.Handler) *service {
	t.Helper()
	c := config.Idempotency
	if c.Header == "" {
		c.Header = "Idempotency-Key"
	}
	if c.Window == 0 {
		c.Window = penstock.Duration(time.Hour)
	}
	if k.entries == nil {
		k.entries = map[string][]byte{}
	}
	return start(t, config, h, func(e *penstock.Env) { e.State = k })
}

func TestIdempotency(t *testing.T) {
	var n atomic.Int64
	count := handler(func(_ context.Context, b *penstock.Batch, m *penstock.Message) error {
		m.Body.Reset(0, fmt.Appendf(nil, `{"n":%d}`, n.Add(1)))
		return nil
	})
	var k kept
	s := idempotent(t, http.IdempotencyConfig{}, &k, count)
	for _, tc := range []struct {
		method, path, body, key, also string
		status                        int
		want                          string
		again                         bool
	}{
		{body: "1", status: 201, want: `{"n":1}`},
		{body: "1", status: 201, want: `{"n":2}`},
		{body: "1", key: "a", status: 201, want: `{"n":3}`},
		{body: "1", key: "a", status: 201, want: `{"n":3}`, again: true},
		{body: "1", key: `"a"`, status: 201, want: `{"n":3}`, again: true},
		{body: "2", key: "a", status: 422, want: "was used for another request"},
		{body: "1", key: "a", path: "/other", status: 422, want: "was used for another request"},
		{body: "1", key: "a", path: "/x?q=1", status: 422, want: "was used for another request"},
		{body: "1", key: "a", method: "PUT", status: 422, want: "was used for another request"},
		{body: "1", key: "a", also: "Authorization: Basic x", status: 422, want: "was used for another request"},
		{body: "1", key: "b", status: 201, want: `{"n":4}`},
		{body: "1", key: "a b", status: 400, want: "is no key"},
		{body: "1", key: `""`, status: 400, want: "is no key"},
		{body: "1", key: strings.Repeat("x", 256), status: 400, want: "is no key"},
		{body: "1", key: "c", also: "Idempotency-Key: d", status: 400, want: "two Idempotency-Key headers"},
		{body: "{", key: "e", status: 400, want: "no JSON document"},
		{body: "1", key: "e", status: 201, want: `{"n":5}`},
	} {
		method, path := "POST", "/x"
		if tc.method != "" {
			method = tc.method
		}
		if tc.path != "" {
			path = tc.path
		}
		var headers []string
		if tc.key != "" {
			headers = append(headers, "Idempotency-Key: "+tc.key)
		}
		if tc.also != "" {
			headers = append(headers, tc.also)
		}
		got := s.do(method, path, tc.body, headers...)
		if got.status != tc.status || !strings.Contains(got.body, tc.want) || (got.header.Get("Idempotency-Replayed") == "true") != tc.again {
			t.Errorf("%+v: %d %s, replayed %q", tc, got.status, got.body, got.header.Get("Idempotency-Replayed"))
		}
		if tc.again && got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%+v: a reply that was recorded has the type %q", tc, got.header.Get("Content-Type"))
		}
	}
	if k.window != time.Hour {
		t.Errorf("keys are kept for %s", k.window)
	}
}

// TestIdempotencyOutlivesTheServer holds that what was recorded is given by the next server, whatever becomes of the flow.
func TestIdempotencyOutlivesTheServer(t *testing.T) {
	var k kept
	s := idempotent(t, http.IdempotencyConfig{}, &k, handler(echo))
	if got := s.do("POST", "/x", `{"a":1}`, "Idempotency-Key: a"); got.status != 201 {
		t.Fatal(got)
	}
	s.stop()
	s = idempotent(t, http.IdempotencyConfig{}, &k, handler(func(context.Context, *penstock.Batch, *penstock.Message) error { return errors.New("asked again") }))
	if got := s.do("POST", "/x", `{"a":1}`, "Idempotency-Key: a"); got.status != 201 || got.body != `{"a":1}` {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestIdempotencyOfFailures(t *testing.T) {
	for _, code := range penstock.Codes() {
		var k kept
		n := 0
		s := idempotent(t, http.IdempotencyConfig{}, &k, handler(func(context.Context, *penstock.Batch, *penstock.Message) error {
			n++
			return penstock.E(code, "fail", "", fmt.Sprint("try ", n))
		}))
		first := s.do("POST", "/x", "1", "Idempotency-Key: a", "X-Correlation-Id: c")
		second := s.do("POST", "/x", "1", "Idempotency-Key: a", "X-Correlation-Id: c")
		passes := code.Transient() || code == penstock.Internal || code == penstock.Cancelled || code == penstock.Config ||
			code == penstock.Unauthenticated || code == penstock.Forbidden // rights change
		if passes != (n == 2) || !passes && (second.body != first.body || second.status != first.status || second.header.Get("Content-Type") != "application/problem+json") {
			t.Errorf("%s: tried %d times; %d %s, then %d %s", code, n, first.status, first.body, second.status, second.body)
		}
		s.stop()
	}
}

func TestIdempotencyInFlight(t *testing.T) {
	var k kept
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := idempotent(t, http.IdempotencyConfig{}, &k, handler(func(context.Context, *penstock.Batch, *penstock.Message) error {
		once.Do(func() { close(begun) })
		<-release
		return nil
	}))
	first := make(chan answer, 1)
	go func() { first <- s.do("POST", "/x", "1", "Idempotency-Key: a") }()
	<-begun
	if got := s.do("POST", "/x", "1", "Idempotency-Key: a"); got.status != 409 || !strings.Contains(got.body, "is being worked on") {
		t.Errorf("the same at the same time: %d %s", got.status, got.body)
	}
	if got := s.do("POST", "/x", "2", "Idempotency-Key: a"); got.status != 422 {
		t.Errorf("another at the same time: %d %s", got.status, got.body)
	}
	close(release)
	if got := <-first; got.status != 201 {
		t.Errorf("the first: %+v", got)
	}
	if got := s.do("POST", "/x", "1", "Idempotency-Key: a"); got.status != 201 || got.header.Get("Idempotency-Replayed") == "" {
		t.Errorf("after it: %+v", got)
	}
}

// TestNothingIsAnsweredBeforeItIsRecorded holds that a reply whose record did not become durable is not given.
func TestNothingIsAnsweredBeforeItIsRecorded(t *testing.T) {
	k := kept{fail: errors.New("the disk is gone")}
	s := idempotent(t, http.IdempotencyConfig{}, &k, handler(echo))
	if got := s.do("POST", "/x", "1", "Idempotency-Key: a"); got.status != 503 || strings.Contains(got.body, "disk") {
		t.Errorf("%d %s", got.status, got.body)
	}
	k.mu.Lock()
	k.fail = nil
	k.mu.Unlock()
	if got := s.do("POST", "/x", "1", "Idempotency-Key: a"); got.status != 201 {
		t.Errorf("when it is back: %d %s", got.status, got.body)
	}
}

func TestIdempotencyRequired(t *testing.T) {
	var k kept
	var key string
	s := idempotent(t, http.IdempotencyConfig{Required: true, Header: "x-key"}, &k, handler(func(_ context.Context, _ *penstock.Batch, m *penstock.Message) error {
		key = m.Meta.Get("x-key").Str()
		return nil
	}))
	if got := s.do("POST", "/x", "1"); got.status != 400 || !strings.Contains(got.body, "X-Key is missing") {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("GET", "/x", ""); got.status != 201 {
		t.Errorf("a request that changes nothing: %d %s", got.status, got.body)
	}
	if got := s.do("POST", "/x", "1", `X-Key: "k"`); got.status != 201 || key != "k" {
		t.Errorf("%d %s; the flow sees the key %q", got.status, got.body, key)
	}
}

func TestIdempotencyOfLargeReplies(t *testing.T) {
	var k kept
	s := idempotent(t, http.IdempotencyConfig{}, &k, handler(func(_ context.Context, _ *penstock.Batch, m *penstock.Message) error {
		m.Body.Reset(0, []byte(`"`+strings.Repeat("x", 2<<20)+`"`))
		return nil
	}))
	if got := s.do("POST", "/x", "1", "Idempotency-Key: a"); got.status != 201 || len(got.body) != 2<<20+2 {
		t.Errorf("%d, %d bytes", got.status, len(got.body))
	}
	if got := s.do("POST", "/x", "1", "Idempotency-Key: a"); got.status != 409 || !strings.Contains(got.body, "too large to be kept") {
		t.Errorf("again: %d %.300s", got.status, got.body)
	}
}

func TestIdempotencyWithAPanic(t *testing.T) {
	var k kept
	n := 0
	s := idempotent(t, http.IdempotencyConfig{}, &k, handler(func(context.Context, *penstock.Batch, *penstock.Message) error {
		if n++; n == 1 {
			panic("once")
		}
		return nil
	}))
	if got := s.do("POST", "/x", "1", "Idempotency-Key: a"); got.status != 500 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := s.do("POST", "/x", "1", "Idempotency-Key: a"); got.status != 201 {
		t.Errorf("after it: %d %s", got.status, got.body)
	}
}

func TestLimits(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := start(t, http.ServerConfig{Post: "/x", MaxRequests: 1}, handler(func(context.Context, *penstock.Batch, *penstock.Message) error {
		close(begun)
		<-release
		return nil
	}), nil)
	first := make(chan answer, 1)
	go func() { first <- s.do("POST", "/x", "1") }()
	<-begun
	if got := s.do("POST", "/x", "1"); got.status != 503 || got.header.Get("Retry-After") != "1" {
		t.Errorf("one too many: %d %s", got.status, got.body)
	}
	close(release)
	if got := <-first; got.status != 200 {
		t.Errorf("the first: %+v", got)
	}
}

func TestTimeout(t *testing.T) {
	s := start(t, http.ServerConfig{Post: "/x", Timeout: penstock.Duration(time.Millisecond)}, handler(func(ctx context.Context, _ *penstock.Batch, _ *penstock.Message) error {
		<-ctx.Done()
		return ctx.Err()
	}), nil)
	if got := s.do("POST", "/x", "1"); got.status != 504 || !strings.Contains(got.body, `"code":"timeout"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// says is a program that reads a header, for templates.
type says string

// Eval implements penstock.Program.
func (s says) Eval(f *penstock.Frame) penstock.Value { return f.Msg.Meta.Get(string(s)) }

func TestReplyHeaders(t *testing.T) {
	c := http.ServerConfig{Post: "/x", Reply: http.ReplyConfig{Header: map[string]penstock.Template{"location": {Program: says("x-location")}, "x-none": {Program: says("none")}}}}
	s := start(t, c, handler(echo), nil)
	got := s.do("POST", "/x", "1", "X-Location: /orders/1")
	if got.status != 200 || got.header.Get("Location") != "/orders/1" || got.header.Values("X-None") != nil {
		t.Errorf("%+v", got)
	}
	split := start(t, c, handler(func(_ context.Context, _ *penstock.Batch, m *penstock.Message) error {
		m.Meta.Set("x-location", penstock.StringValue("a\r\nSet-Cookie: b=c"))
		return nil
	}), nil)
	if got := split.do("POST", "/x", "1"); got.status != 500 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a header with two lines: %+v", got)
	}
}
