package httpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/httpd/route"
	"penstock.dev/penstock/internal/observe"
)

// DefaultAddress is where the listener listens if nothing is said: this machine only.
const DefaultAddress = "127.0.0.1:8080"

// Options are the settings of a [Server]. Zero fields mean the defaults.
type Options struct {
	// Address is host:port; port 0 is one that is free. Default: [DefaultAddress].
	Address string
	// TLS makes it an HTTPS listener, with HTTP/2.
	TLS *TLS
	// HeaderTimeout bounds how long the head of a request, and the handshake of TLS, may take. Default 10 s.
	HeaderTimeout time.Duration
	// BodyTimeout bounds how long a request's body may take. Default 1 min.
	BodyTimeout time.Duration
	// WriteTimeout bounds how long the peer may take to accept what is written next. Default 30 s.
	WriteTimeout time.Duration
	// IdleTimeout bounds how long a connection may wait for its next request. Default 2 min.
	IdleTimeout time.Duration
	// MaxHeader bounds the head of a request, in bytes. Default 64 KiB.
	MaxHeader int
	// MaxConnections bounds the open connections; those beyond wait in the system's queue. Default 10,000.
	MaxConnections int
	// Await is how many owners must have mounted a route before the first connection is accepted; until then they wait in the
	// system's queue instead of being told that there is nothing here.
	Await int
	// Tracer records requests; nil: nobody does.
	Tracer *observe.Tracer
	// Logger gets what is worth a look; nil: none.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	or := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	or(&o.HeaderTimeout, 10*time.Second)
	or(&o.BodyTimeout, time.Minute)
	or(&o.WriteTimeout, 30*time.Second)
	or(&o.IdleTimeout, 2*time.Minute)
	if o.Address == "" {
		o.Address = DefaultAddress
	}
	if o.MaxHeader <= 0 {
		o.MaxHeader = 64 << 10
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 10_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Server is the listener. It implements [penstock.Listener], and is safe for concurrent use.
//
// It holds its address from [Server.Listen] or the first route on, and has no goroutine until a route is mounted.
type Server struct {
	opts Options
	http *http.Server
	tls  *certificates // nil: plain

	mu       sync.Mutex
	listener net.Listener
	mounts   []*mount
	owners   map[string]bool // that have mounted since the start
	accepts  *listener       // what connections come through; nil before the accept loop began
	serving  chan struct{}   // closed when the accept loop has ended; nil before it began
	closed   bool

	table    atomic.Pointer[route.Table[*mount]]
	draining atomic.Bool
}

// mount is one route that is served.
type mount struct {
	penstock.HTTPRoute
	pattern *route.Pattern
	name    string // "POST /orders/{id}", as http.Request.Pattern has it

	gone  atomic.Bool   // requests that find it look again
	count atomic.Int64  // requests that it answers
	quiet chan struct{} // has one in it when the last of them has been answered, once it is gone
}

// enter begins a request, unless the route was taken away after it was found.
func (m *mount) enter() bool {
	m.count.Add(1)
	if !m.gone.Load() {
		return true
	}
	m.leave()
	return false
}

// leave ends a request.
func (m *mount) leave() {
	if m.count.Add(-1) == 0 && m.gone.Load() {
		select {
		case m.quiet <- struct{}{}:
		default:
		}
	}
}

// drained waits for the requests that are being answered. The route is gone.
func (m *mount) drained() {
	for m.count.Load() > 0 {
		<-m.quiet
	}
	select {
	case m.quiet <- struct{}{}: // for whoever else waits
	default:
	}
}

var _ penstock.Listener = (*Server)(nil)

// New makes a server; nothing is opened yet. Its errors are about the certificates.
func New(o Options) (*Server, error) {
	s := &Server{opts: o.withDefaults(), owners: map[string]bool{}}
	if o.TLS != nil {
		var err error
		if s.tls, err = newCertificates(o.TLS); err != nil {
			return nil, err
		}
	}
	s.table.Store(route.NewTable[*mount](nil))
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.tls != nil)
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.opts.HeaderTimeout,
		IdleTimeout:       s.opts.IdleTimeout,
		MaxHeaderBytes:    s.opts.MaxHeader,
		Protocols:         protocols,
		ErrorLog:          log.New(lines{s.opts.Logger}, "", 0),
		ConnContext:       connContext,
	}
	if s.opts.Tracer != nil {
		s.http.BaseContext = func(net.Listener) context.Context { return observe.Decide(context.Background()) }
	}
	if s.tls != nil {
		s.http.HTTP2 = &http.HTTP2Config{SendPingTimeout: s.opts.BodyTimeout, PingTimeout: s.opts.HeaderTimeout, WriteByteTimeout: s.opts.WriteTimeout}
	}
	return s, nil
}

// lines gives what net/http logs, a line each, to the structured log: peers' faults, which are nobody's concern but whoever looks
// for them.
type lines struct{ l *slog.Logger }

// Write implements io.Writer.
func (l lines) Write(p []byte) (int, error) {
	l.l.Debug(strings.TrimSuffix(string(p), "\n"), "op", "http listener")
	return len(p), nil
}

// Listen takes the address, if that was not done yet. It accepts nothing before routes are mounted.
func (s *Server) Listen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listen(ctx)
}

// listen takes the address. s.mu is held.
func (s *Server) listen(ctx context.Context) error {
	if s.closed {
		return penstock.E(penstock.Cancelled, "http listener", s.opts.Address, "the listener was closed")
	}
	if s.listener != nil {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.opts.Address)
	if err != nil {
		e := &penstock.Error{Code: penstock.Unavailable, Op: "http listener", Path: s.opts.Address, Err: err}
		var of *net.OpError
		if errors.As(err, &of) {
			e.Err = of.Err
		}
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			e.Err, e.Hint = errors.New("the address is in use"), "end the program that has it, or choose another with --listen host:port, or `http: { address: … }` of the Integration"
		case errors.Is(err, syscall.EACCES):
			e.Err, e.Hint = errors.New("this user may not listen there"), "choose a port from 1024 on"
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			e.Err, e.Hint = errors.New("this machine does not have the address"), "127.0.0.1 is this machine only, 0.0.0.0 all that it is reached by"
		}
		return e
	}
	s.listener = l
	s.opts.Logger.Info("listening on " + s.reached())
	if s.tls != nil {
		if at, over := s.tls.expired(time.Now()); over {
			s.opts.Logger.Warn("the HTTP listener's certificate has expired: callers refuse it", "expired", at)
		}
	}
	s.begin()
	return nil
}

// begin starts to accept connections, once there is an address and something to serve. s.mu is held.
func (s *Server) begin() {
	if s.listener == nil || s.serving != nil || s.closed || len(s.owners) < max(s.opts.Await, 1) {
		return
	}
	s.serving = make(chan struct{})
	l := newListener(s.listener, s)
	s.accepts = l
	go func() {
		defer close(s.serving)
		defer l.drop()
		_ = s.http.Serve(l) // it ends when it is told to
	}()
}

// Addr is the address that it listens on, with the real port; nil before Listen.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// URL is where it is reached: "http://127.0.0.1:8080"; "" before Listen. An address that is every address is given as localhost.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reached()
}

func (s *Server) reached() string {
	if s.listener == nil {
		return ""
	}
	a, ok := s.listener.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	u := url.URL{Scheme: "http", Host: a.String()}
	if a.IP.IsUnspecified() {
		u.Host = fmt.Sprintf("localhost:%d", a.Port)
	}
	if s.tls != nil {
		u.Scheme = "https"
	}
	return u.String()
}

// Mount implements penstock.Listener.
func (s *Server) Mount(r penstock.HTTPRoute) (func(), error) { return s.Replace(r) }

// Replace implements penstock.Replacer.
func (s *Server) Replace(r penstock.HTTPRoute, owners ...string) (func(), error) {
	if r.Handler == nil {
		return nil, penstock.E(penstock.Config, "http listener", r.Owner, "a route without a handler")
	}
	p, err := route.Parse(r.Path)
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "http listener", Path: r.Owner, Err: err}
	}
	m := &mount{HTTPRoute: r, pattern: p, name: strings.TrimSpace(r.Method + " " + r.Path), quiet: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.listen(context.Background()); err != nil {
		return nil, err
	}
	var old []*mount
	for _, o := range s.mounts {
		if o.Owner == r.Owner && o.Method == r.Method && o.Path == r.Path {
			old = append(old, o)
		} else if route.Conflict(r.Method, p, o.Method, o.pattern) {
			if slices.Contains(owners, o.Owner) {
				old = append(old, o)
				continue
			}
			return nil, &penstock.Error{Code: penstock.Config, Op: "http listener", Path: r.Owner,
				Err: fmt.Errorf("%s is in conflict with %s of %s: some requests match both", m.name, o.name, o.Owner), Hint: "give them different paths or methods"}
		}
	}
	if len(old) == 0 {
		s.mounts = append(s.mounts, m)
	} else {
		at := slices.Index(s.mounts, old[0])
		s.mounts[at] = m
		s.mounts = slices.DeleteFunc(s.mounts, func(o *mount) bool { return slices.Contains(old, o) })
	}
	s.publish()
	for _, o := range old {
		o.gone.Store(true) // after the new one is there
	}
	s.owners[r.Owner] = true
	s.begin()
	return func() { s.unmount(m) }, nil
}

// unmount takes a route away, if it is still the one that was mounted, and waits for its requests.
func (s *Server) unmount(m *mount) {
	s.mu.Lock()
	if i := slices.Index(s.mounts, m); i >= 0 {
		s.mounts = slices.Delete(s.mounts, i, i+1)
		s.publish()
		m.gone.Store(true)
	}
	s.mu.Unlock()
	m.drained()
}

// publish puts the routes in place, whole. s.mu is held.
func (s *Server) publish() {
	routes := make([]route.Route[*mount], len(s.mounts))
	for i, m := range s.mounts {
		routes[i] = route.Route[*mount]{Method: m.Method, Pattern: m.pattern, Value: m}
	}
	s.table.Store(route.NewTable(routes))
}

// Routes lists what is mounted, in the order of mounting.
func (s *Server) Routes() []penstock.HTTPRoute {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]penstock.HTTPRoute, len(s.mounts))
	for i, m := range s.mounts {
		out[i] = m.HTTPRoute
	}
	return out
}

// Drain stops accepting connections, and lets those that are open end with their next answer. Requests for which there is no route
// any more are told to come again elsewhere.
func (s *Server) Drain() {
	s.draining.Store(true)
	s.http.SetKeepAlivesEnabled(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	switch {
	case s.accepts != nil:
		s.accepts.refuse()
	case s.listener != nil:
		_ = s.listener.Close() // it was open
	}
}

// Close drains, waits for the requests that are being answered, and releases everything. When ctx ends first, what is still open is
// cut off, which is an error.
func (s *Server) Close(ctx context.Context) error {
	s.Drain()
	s.mu.Lock()
	serving, accepts := s.serving, s.accepts
	s.mu.Unlock()
	var err error
	if accepts != nil { // before net/http, which some of them may yet go to
		err = accepts.plain.Wait(ctx)
	}
	if stuck := s.http.Shutdown(ctx); stuck != nil {
		_ = s.http.Close()
		err = stuck
	}
	if err != nil {
		err = &penstock.Error{Code: penstock.Timeout, Op: "http listener", Err: errors.New("requests were cut off, since they were not answered in time")}
	}
	if serving != nil {
		<-serving
	}
	return err
}

// ServeHTTP implements http.Handler: it answers what comes by net/http.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m, err := s.find(r)
	s.serve(w, r, m, err)
}

// Answer implements plain.Handler.
func (s *Server) Answer(w http.ResponseWriter, r *http.Request) bool {
	m, err := s.find(r)
	if m.Found && !m.Value.Brief {
		m.Value.leave()
		return false
	}
	s.serve(w, r, m, err)
	return true
}

// find finds the route of a request, and begins the request there.
func (s *Server) find(r *http.Request) (route.Match[*mount], error) {
	for {
		m, err := s.table.Load().Find(r.Method, r.URL.EscapedPath())
		if !m.Found || m.Value.enter() {
			return m, err
		}
	}
}

// serve answers a request that was begun.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, m route.Match[*mount], err error) {
	if m.Found {
		defer m.Value.leave()
	}
	switch {
	case err != nil:
		s.refuse(w, r, http.StatusBadRequest, "the path is malformed")
		return
	case !m.Found:
		s.notFound(w, r, m.Allowed)
		return
	case r.Method == http.MethodTrace, r.Method == http.MethodConnect:
		// TRACE gives headers to scripts that are not meant to see them; who stands in front takes success of CONNECT for a tunnel.
		w.Header().Set("Allow", strings.Join(methods(m.Value), ", "))
		s.refuse(w, r, http.StatusMethodNotAllowed, r.Method+" is not answered")
		return
	}
	r.Pattern = m.Value.name
	for i, name := range m.Names {
		r.SetPathValue(name, m.Values[i])
	}
	if s.tls != nil {
		s.secure(w, r)
	}
	defer s.recovered(w, r, m.Value)
	if s.opts.Tracer != nil {
		s.opts.Tracer.ServeHTTP(w, r, m.Value.Handler)
		return
	}
	m.Value.Handler.ServeHTTP(w, r)
}

// methods are those of a route, as far as they are known.
func methods(m *mount) []string {
	if m.Method != "" {
		return []string{m.Method}
	}
	return []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}
}

// secure completes what is known of a request that came over TLS.
func (s *Server) secure(w http.ResponseWriter, r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok && r.TLS == nil {
		r.TLS = c.tls
	}
	if r.ProtoMajor == 2 && r.Body != http.NoBody { // the gate bounds bodies of HTTP/1.1
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.opts.BodyTimeout)) // HTTP/2 has it
	}
}

// recovered answers for a handler that panicked.
func (s *Server) recovered(w http.ResponseWriter, r *http.Request, m *mount) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	s.opts.Logger.Error("a request's handler panicked; this is a fault of the program", "route", m.name, "owner", m.Owner, "panic", fmt.Sprint(v), "stack", stack())
	w.Header().Set("Connection", "close")
	s.refuse(w, r, http.StatusInternalServerError, "")
}

// notFound answers where no route has the path, or none has the method.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request, allowed []string) {
	switch {
	case len(allowed) == 0 && s.draining.Load():
		w.Header().Set("Retry-After", "1")
		s.refuse(w, r, http.StatusServiceUnavailable, "the service is stopping")
	case len(allowed) == 0:
		s.refuse(w, r, http.StatusNotFound, "there is nothing at this path")
	default:
		allowed = append(slices.Clone(allowed), http.MethodOptions)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s.refuse(w, r, http.StatusMethodNotAllowed, "the path does not have this method")
	}
}

// refuse answers with problem details.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, detail string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(problem(status, detail, r.URL.EscapedPath())) // the peer may be gone
	_, _ = io.CopyN(io.Discard, r.Body, 1<<10)                   // a small body: the connection goes on
}
