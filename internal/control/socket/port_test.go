package socket_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/control/socket"
)

// TestPortThatDoesNotAnswer holds that who asks a control port in vain is told what is wrong, and what to do.
func TestPortThatDoesNotAnswer(t *testing.T) {
	says := func(status int, text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, status) })
	}
	quiet := func(s *httptest.Server) *httptest.Server {
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		return s
	}
	plain := func(h http.Handler) *httptest.Server {
		s := quiet(httptest.NewUnstartedServer(h))
		s.Start()
		t.Cleanup(s.Close)
		return s
	}
	secure := func(auth tls.ClientAuthType) *httptest.Server {
		s := quiet(httptest.NewUnstartedServer(says(http.StatusTeapot, "")))
		s.TLS = &tls.Config{ClientAuth: auth}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	tlsServer, strict := secure(tls.NoClientCert), secure(tls.RequireAnyClientCert)
	trusted := x509.NewCertPool()
	trusted.AddCert(tlsServer.Certificate())
	for name, tc := range map[string]struct {
		remote     socket.Remote
		code       penstock.Code
		says, hint string
	}{
		"nobody listens":          {socket.Remote{URL: "http://" + gone.Addr().String()}, penstock.Unavailable, "refused", "see that the process runs"},
		"an authority of its own": {socket.Remote{URL: tlsServer.URL}, penstock.Unauthenticated, "unknown authority", "--server-ca"},
		"a wrong name": {socket.Remote{URL: strings.Replace(tlsServer.URL, "127.0.0.1", "localhost", 1), TLS: &tls.Config{RootCAs: trusted}},
			penstock.Unauthenticated, "localhost", "a name that its certificate bears"},
		"no certificate of ours": {socket.Remote{URL: strict.URL, TLS: &tls.Config{RootCAs: trusted}}, penstock.Unauthenticated, "", "--client-certificate"},
		"https where it is http": {socket.Remote{URL: strings.Replace(plain(says(200, "")).URL, "http:", "https:", 1)}, penstock.Config, "does not speak TLS", "http://"},
		"http where it is https": {socket.Remote{URL: strings.Replace(tlsServer.URL, "https:", "http:", 1)}, penstock.Config, "it speaks TLS", "https://"},
		"no token":               {socket.Remote{URL: plain(says(401, "")).URL}, penstock.Unauthenticated, "who asks", "--token-file"},
		"a wrong token":          {socket.Remote{URL: plain(says(401, "")).URL, Token: "x"}, penstock.Unauthenticated, "the token is not", "control: { token"},
		"another port":           {socket.Remote{URL: plain(http.NotFoundHandler()).URL}, penstock.Config, "operation", "not the one that flows are called on"},
		"an answer that breaks off": {socket.Remote{URL: plain(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })).URL},
			penstock.Unavailable, "broke off", "ask again"},
		"redirected": {socket.Remote{URL: plain(http.RedirectHandler("http://elsewhere.example/", http.StatusTemporaryRedirect)).URL}, penstock.Unavailable, "does not send elsewhere", ""},
	} {
		t.Run(name, func(t *testing.T) {
			ops, err := socket.DialPort(tc.remote)
			if err != nil {
				t.Fatal(err)
			}
			defer ops.Close()
			_, err = ops.Flows.Status(context.Background())
			var e *penstock.Error
			if penstock.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.says) || !asError(err, &e) || !strings.Contains(e.Hint, tc.hint) || e.Op != "control port" {
				t.Errorf("%v: %#v", err, e)
			}
			if strings.Contains(err.Error(), "store is opened directly") || strings.Contains(err.Error(), "/v1/status") {
				t.Errorf("it speaks of what is not here: %v", err)
			}
		})
	}
}

func asError(err error, into **penstock.Error) bool {
	e, ok := err.(*penstock.Error)
	*into = e
	return ok
}

// looking is a process whose taps last.
type looking struct {
	fake
	began chan struct{}
}

func (l *looking) Tap(ctx context.Context, _ operate.TapQuery, _ func(*operate.Glimpse) error) error {
	l.began <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func (l *looking) Send(context.Context, operate.Sending) (*operate.Sent, error) { return nil, nil }

// TestWhoLooksOnIsInNobodysWay holds that taps, which last, leave room for what must be done meanwhile.
func TestWhoLooksOnIsInNobodysWay(t *testing.T) {
	l := &looking{began: make(chan struct{})}
	l.status = func(context.Context) (*operate.Status, error) { return &operate.Status{PID: 7}, nil }
	s := httptest.NewServer(socket.Handler(&operate.Operations{Flows: l, Live: l}))
	defer s.Close()
	ops, err := socket.DialPort(socket.Remote{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer ops.Close()
	ctx, end := context.WithCancel(context.Background())
	over := make(chan error)
	const most = 8
	for range most {
		go func() { over <- ops.Live.Tap(ctx, operate.TapQuery{Flow: "f"}, nil) }()
		<-l.began
	}
	if err := ops.Live.Tap(ctx, operate.TapQuery{Flow: "f"}, nil); penstock.CodeOf(err) != penstock.Limited {
		t.Errorf("one more: %v", err)
	}
	if st, err := ops.Flows.Status(ctx); err != nil || st.PID != 7 {
		t.Errorf("status: %v, %v", st, err)
	}
	end()
	for range most {
		<-over
	}
}
