package port

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddressesOfOthersAreRefused(t *testing.T) {
	for _, a := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.168.1.1:0", "example.com:0", "9090", "127.0.0.1"} {
		s, err := Listen(context.Background(), a, Routes{}, nil)
		if penstock.CodeOf(err) != penstock.Config {
			t.Errorf("%s: %v", a, err)
		}
		if s != nil {
			s.Close(context.Background())
		}
	}
}

func TestPort(t *testing.T) {
	s, err := Listen(context.Background(), "127.0.0.1:0", Routes{
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") }),
		Ready:   []health.Check{{Name: "started", Probe: func(context.Context) error { return errors.New("not yet") }}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, c := range []struct {
		method, path, host string
		header             map[string]string
		code               int
		body               string
	}{
		{"GET", "/metrics", "", nil, 200, "up 1"},
		{"GET", "/livez", "", nil, 200, "ok"},
		{"GET", "/readyz", "", nil, 503, "[-]started failed: not yet"},
		{"GET", "/readyz/started", "", nil, 503, "readyz check failed"},
		{"GET", "/debug/pprof/cmdline", "", nil, 200, "port.test"},
		{"GET", "/debug/pprof/", "", nil, 200, "goroutine"},
		{"GET", "/", "", nil, 404, ""},
		{"POST", "/metrics", "", nil, 405, ""},
		{"GET", "/livez", "localhost:9090", nil, 200, "ok"},
		{"GET", "/livez", "rebound.example", nil, 421, "this machine"},
		{"GET", "/livez", "127.0.0.1.example", nil, 421, "this machine"},
		{"GET", "/livez", "", map[string]string{"Origin": "https://evil.example"}, 403, "other sites"},
		{"GET", "/livez", "", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, "other sites"},
		{"GET", "/livez", "", map[string]string{"Sec-Fetch-Site": "none"}, 200, "ok"},
	} {
		r, err := http.NewRequestWithContext(context.Background(), c.method, "http://"+s.Address()+c.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = c.host
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != c.code || !strings.Contains(string(body), c.body) {
			t.Errorf("%s %s of %q %v: %d %.200q", c.method, c.path, c.host, c.header, resp.StatusCode, body)
		}
	}
}

func TestAddressInUseIsSaid(t *testing.T) {
	s, err := Listen(context.Background(), "127.0.0.1:0", Routes{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	if _, err := Listen(context.Background(), s.Address(), Routes{}, nil); penstock.CodeOf(err) != penstock.Unavailable || !strings.Contains(err.Error(), s.Address()) {
		t.Errorf("%v", err)
	}
}

// TestStrangers: with a token the port may be reached by others, and answers nobody who does not show it, but the probes.
func TestStrangers(t *testing.T) {
	token := penstock.NewSecret("s3cret")
	var said lockedBuffer
	s, err := Listen(context.Background(), "127.0.0.1:0", Routes{Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), Token: &token}, slog.New(slog.NewJSONHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	if err := s.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "asked by "+Who(r.Context())) })); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, c := range []struct {
		path, auth string
		code       int
		body       string
		header     string // one more
	}{
		{path: "/v1/status", auth: "Bearer s3cret", code: 200, body: "asked by token"},
		{path: "/v1/status", code: 401, body: "token"},
		{path: "/v1/status", auth: "Bearer ", code: 401},
		{path: "/v1/status", auth: "Bearer s3cre", code: 401},
		{path: "/v1/status", auth: "Bearer s3cret1", code: 401},
		{path: "/v1/status", auth: "Basic s3cret", code: 401},
		{path: "/v1/status", auth: "bearer s3cret", code: 401},
		{path: "/metrics", code: 401},
		{path: "/metrics", auth: "Bearer s3cret", code: 200},
		{path: "/debug/pprof/heap", code: 401},
		{path: "/livez", code: 200, body: "ok"},
		{path: "/readyz", code: 200, body: "ok"},
		{path: "/livez/../v1/status", code: 301}, // the path as it is cleaned is asked for again, and then refused
		{path: "/livez%2f..%2fv1/status", code: 404},
		{path: "/livezv1", code: 401},
		{path: "//v1/status", code: 401},
		{path: "/v1/status", auth: "Bearer s3cret", header: "Origin: https://evil.example", code: 403, body: "other sites"},
		{path: "/v1/status", auth: "Bearer s3cret", header: "Sec-Fetch-Site: cross-site", code: 403, body: "other sites"},
	} {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+s.Address()+c.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if c.auth != "" {
			r.Header.Set("Authorization", c.auth)
		}
		if name, value, ok := strings.Cut(c.header, ": "); ok {
			r.Header.Set(name, value)
		}
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if (resp.StatusCode != c.code && (c.code != 301 || resp.StatusCode/100 != 3)) || !strings.Contains(string(body), c.body) {
			t.Errorf("%s %q: %d %.200q", c.path, c.auth, resp.StatusCode, body)
		}
	}
	if log := said.String(); strings.Count(log, "somebody who is not known") != 10 || strings.Contains(log, "s3cre") {
		t.Errorf("the log says of strangers: %s", log)
	}
}

// lockedBuffer keeps a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestACertificateIsNoConsent: a browser shows its certificate to whatever page makes it ask.
func TestACertificateIsNoConsent(t *testing.T) {
	s := &Server{routes: Routes{TLS: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}}, log: slog.New(slog.DiscardHandler)}
	asked := false
	h := s.admit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	for _, c := range []struct {
		header, value string
		want          bool
	}{{"", "", true}, {"Sec-Fetch-Site", "none", true}, {"Origin", "https://evil.example", false}, {"Sec-Fetch-Site", "same-site", false}} {
		asked = false
		r := httptest.NewRequest(http.MethodPost, "https://ops:9090/v1/drain", http.NoBody)
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{}}}, PeerCertificates: []*x509.Certificate{{}}}
		if c.header != "" {
			r.Header.Set(c.header, c.value)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		if asked != c.want {
			t.Errorf("%s %s: answered: %v", c.header, c.value, asked)
		}
	}
}

func TestOperationsNeedAToken(t *testing.T) {
	s, err := Listen(context.Background(), "127.0.0.1:0", Routes{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	if err := s.Serve(http.NotFoundHandler()); !errors.Is(err, ErrOpen) {
		t.Errorf("an open port takes operations: %v", err)
	}
	empty := penstock.NewSecret("")
	s.routes.Token = &empty
	if _, ok := s.caller(&http.Request{Header: http.Header{"Authorization": {"Bearer "}}}); ok {
		t.Error("an empty token lets everybody in")
	}
}
