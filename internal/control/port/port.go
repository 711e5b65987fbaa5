// Package port is the control port of a process: one HTTP listener, apart from the one that flows are called on, for those who look after
// it. Whoever may ask shows a token or a certificate. Without either of them it answers everybody who reaches it, so that it then listens on addresses
// of this machine alone, and only says how the process is.
package port

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe/health"
)

// Routes is what the port answers with. Nil handlers are not there.
type Routes struct {
	Metrics http.Handler   // GET /metrics
	Live    []health.Check // GET /livez
	Ready   []health.Check // GET /readyz
	// Token is what callers show as a bearer token (RFC 6750); nil: none.
	Token *penstock.Secret
	// TLS makes it HTTPS, and may ask for certificates; nil: it is HTTP.
	TLS *tls.Config
}

// closed says that callers must show who they are.
func (r *Routes) closed() bool {
	return r.Token != nil || r.TLS != nil && r.TLS.ClientAuth == tls.RequireAndVerifyClientCert
}

// Server is a control port that listens.
type Server struct {
	listener net.Listener
	http     *http.Server
	routes   Routes
	log      *slog.Logger
	api      atomic.Pointer[http.Handler]
	done     sync.WaitGroup
}

// ErrOpen says that a port answers everybody who reaches it, so that it does nothing for anybody.
var ErrOpen = errors.New("the control port asks nobody who he is")

// Serve answers operations, below /v1/, with h from now on; nil ends that. h runs with the caller's name in its context, as by [As].
// [ErrOpen] where the port has neither a token nor clients' certificates.
func (s *Server) Serve(h http.Handler) error {
	if s == nil {
		return nil
	}
	if !s.routes.closed() {
		return ErrOpen
	}
	if h == nil {
		s.api.Store(nil)
		return nil
	}
	s.api.Store(&h)
	return nil
}

// Listen takes the address, host:port, and begins to answer. Port 0 is one that is free. An address that others than this machine can
// reach is refused.
func Listen(ctx context.Context, address string, routes Routes, logger *slog.Logger) (*Server, error) {
	if !routes.closed() {
		if err := local(address); err != nil {
			return nil, err
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, unopened(address, err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if routes.TLS != nil {
		l = tls.NewListener(l, routes.TLS)
	}
	s := &Server{listener: l, routes: routes, log: logger}
	s.http = &http.Server{
		Handler: s.admit(s.mux(routes)), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: log.New(lines{logger}, "", 0),
	}
	s.done.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("the control port has failed", "err", err)
		}
	})
	return s, nil
}

// unopened says why an address can't be had.
func unopened(address string, err error) error {
	e := &penstock.Error{Code: penstock.Unavailable, Op: "control port", Path: address, Err: err, Hint: "choose another with --control host:port, or `control: { address: … }` of the Integration"}
	var of *net.OpError
	if errors.As(err, &of) {
		e.Err = of.Err
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		e.Err = errors.New("the address is in use")
	case errors.Is(err, syscall.EACCES):
		e.Err, e.Hint = errors.New("this user may not listen there"), "choose a port from 1024 on"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Err, e.Hint = errors.New("this machine does not have the address"), "127.0.0.1 is this machine only, 0.0.0.0 all that it is reached by"
	}
	return e
}

// local refuses addresses that other machines can reach.
func local(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return &penstock.Error{Code: penstock.Config, Op: "control port", Path: address, Err: fmt.Errorf("%q is not host:port", address), Hint: "write it as 127.0.0.1:9090"}
	}
	if !loopback(host) {
		return &penstock.Error{Code: penstock.Config, Op: "control port", Path: address, Err: errors.New("others than this machine can reach the address, and whoever reaches the port is let in"), Hint: "write it as 127.0.0.1:9090, or give the Integration's control a token or a clientCA"}
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// mux is what the port answers.
func (s *Server) mux(r Routes) http.Handler {
	m := http.NewServeMux()
	if r.Metrics != nil {
		m.Handle("GET /metrics", r.Metrics)
	}
	for path, checks := range map[string][]health.Check{"/livez": r.Live, "/readyz": r.Ready} {
		h := health.Handler(path, checks)
		m.Handle(path, h)
		m.Handle(path+"/", h)
	}
	m.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		h := s.api.Load()
		if h == nil {
			http.Error(w, "no operations here now: the process is starting or ending, or its control has neither token nor clientCA", http.StatusServiceUnavailable)
			return
		}
		(*h).ServeHTTP(w, r)
	})
	m.HandleFunc("GET /debug/pprof/", pprof.Index)
	m.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	m.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	m.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	m.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	m.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return m
}

// admit lets those in who may ask. The probes answer everybody: whoever starts and stops processes asks them, and they tell
// nothing else.
func (s *Server) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch who, ok := s.caller(r); {
		case foreign(r): // also with a certificate, which a browser shows to whom a page asks
			http.Error(w, "the control port is not asked by other sites", http.StatusForbidden)
		case !s.routes.closed() && !loopback(hostOf(r)):
			http.Error(w, "the control port is asked by an address of this machine", http.StatusMisdirectedRequest)
		case ok:
			next.ServeHTTP(w, r.WithContext(As(r.Context(), who)))
		case !s.routes.closed() || probes(r.URL.Path):
			next.ServeHTTP(w, r)
		default:
			s.log.Warn("somebody who is not known was refused at the control port", "from", r.RemoteAddr, "path", r.URL.Path, "err", errStranger)
			w.Header().Set("WWW-Authenticate", `Bearer realm="penstock"`)
			http.Error(w, "show the token, as Authorization: Bearer …", http.StatusUnauthorized)
		}
	})
}

// errStranger is why somebody was refused.
var errStranger = penstock.E(penstock.Unauthenticated, "control port", "", "neither the token nor a certificate was shown")

// probes says that a path is one of those that answer everybody.
func probes(path string) bool {
	return path == "/livez" || path == "/readyz" || strings.HasPrefix(path, "/livez/") || strings.HasPrefix(path, "/readyz/")
}

// caller says who asks, where he has shown who he is: by his certificate, which the handshake has verified, or by the token.
func (s *Server) caller(r *http.Request) (who string, ok bool) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return "certificate " + r.TLS.PeerCertificates[0].Subject.CommonName, true
	}
	if s.routes.Token == nil {
		return "", false
	}
	shown, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	want := sha256.Sum256([]byte(s.routes.Token.Reveal()))
	have := sha256.Sum256([]byte(shown)) // of the same length, whatever is shown
	return "token", bearer && s.routes.Token.Reveal() != "" && subtle.ConstantTimeCompare(want[:], have[:]) == 1
}

type whoKey struct{}

// As says in a context who asks.
func As(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, whoKey{}, who)
}

// Who says who asks; "" where nobody has shown that.
func Who(ctx context.Context) string {
	who, _ := ctx.Value(whoKey{}).(string)
	return who
}

// foreign reports that a web page of another site has made a browser ask.
func foreign(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return r.Header.Get("Origin") != "" || site != "" && site != "none" && site != "same-origin"
}

// hostOf is the name that a port is asked by. One that others made to point here (DNS rebinding) is not that of this machine.
func hostOf(r *http.Request) string {
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		return h
	}
	return r.Host
}

// Address is where it listens, with the real port.
func (s *Server) Address() string { return s.listener.Addr().String() }

// URL is where it is asked: "http://127.0.0.1:9090". An address that is every address is given as localhost.
func (s *Server) URL() string {
	u := url.URL{Scheme: "http", Host: s.Address()}
	if s.routes.TLS != nil {
		u.Scheme = "https"
	}
	if a, ok := s.listener.Addr().(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		u.Host = fmt.Sprintf("localhost:%d", a.Port)
	}
	return u.String()
}

// Close stops answering. What is being answered is cut off when ctx ends. A nil Server is closed.
func (s *Server) Close(ctx context.Context) {
	if s == nil {
		return
	}
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	s.done.Wait()
}

// lines gives what net/http logs to the structured log.
type lines struct{ l *slog.Logger }

// Write implements io.Writer.
func (l lines) Write(p []byte) (int, error) {
	l.l.Debug(strings.TrimSuffix(string(p), "\n"), "op", "control port")
	return len(p), nil
}
