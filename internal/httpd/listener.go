package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock/internal/httpd/plain"
	"penstock.dev/penstock/internal/observe"
)

// listener accepts the connections: bounded in number, with the handshake of TLS done. Those without TLS are served by package plain for as long as their
// requests are for it. All others it gives to net/http, those of HTTP/1.1 behind the gate.
type listener struct {
	net.Listener
	s     *Server
	plain *plain.Server
	slots chan struct{} // one in it for each open connection
	ready chan net.Conn // for net/http
	work  sync.WaitGroup

	accepting context.Context // ends when no more are accepted
	refuses   context.CancelFunc
	handing   context.Context // ends when net/http takes no more, either
	stop      context.CancelFunc

	mu   sync.Mutex
	open map[*conn]bool
}

func newListener(inner net.Listener, s *Server) *listener {
	l := &listener{Listener: inner, s: s, slots: make(chan struct{}, s.opts.MaxConnections), ready: make(chan net.Conn), open: map[*conn]bool{}}
	l.accepting, l.refuses = context.WithCancel(context.Background())
	l.handing, l.stop = context.WithCancel(context.Background())
	o := plain.Options{Handler: s, HandOver: l.hand, First: s.opts.HeaderTimeout, Idle: s.opts.IdleTimeout, MaxHead: s.opts.MaxHeader, Logger: s.opts.Logger}
	if s.opts.Tracer != nil {
		o.Base = observe.Decide(context.Background())
	}
	l.plain = plain.New(o)
	l.work.Go(l.take)
	return l
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.handing.Done():
		return nil, net.ErrClosed
	}
}

// next accepts a connection as soon as there may be one more.
func (l *listener) next() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.accepting.Done():
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &counted{Conn: c, slots: l.slots, timeout: l.s.opts.WriteTimeout}, nil
}

// take accepts connections, and serves each beside the others.
func (l *listener) take() {
	for {
		c, err := l.next()
		if ne, ok := err.(interface{ Temporary() bool }); ok && ne.Temporary() { // out of descriptors
			select {
			case <-time.After(5 * time.Millisecond):
				continue
			case <-l.accepting.Done():
			}
		}
		switch {
		case err != nil && !errors.Is(err, net.ErrClosed):
			l.s.opts.Logger.Error("the HTTP listener has failed: no more connections are accepted", "error", err)
			return
		case err != nil:
			return
		case l.s.tls != nil:
			l.work.Go(func() { l.secure(c) })
		default:
			go l.plain.Serve(c)
		}
	}
}

// hand gives net/http a connection whose next request is not plain.
func (l *listener) hand(c net.Conn) {
	g := l.guarded(c, nil)
	g.spoke.Store(true)
	select {
	case l.ready <- g:
	case <-l.handing.Done():
		_ = g.Close()
	}
}

// secure does the handshake of a connection and hands it on.
func (l *listener) secure(raw net.Conn) {
	config, err := l.s.tls.current()
	if err != nil {
		l.s.opts.Logger.Error("the HTTP listener's new certificate can't be used; the one before stays", "error", err)
	}
	ctx, cancel := context.WithTimeout(l.accepting, l.s.opts.HeaderTimeout)
	defer cancel()
	secured := tls.Server(raw, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		l.s.opts.Logger.Debug("TLS handshake failed", "op", "http listener", "from", raw.RemoteAddr(), "error", err)
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) && plain.Conn != nil && speaksHTTP(plain.RecordHeader) {
			_, _ = io.WriteString(raw, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nthis is https: write the address as https://…\n") // as net/http does
		}
		_ = raw.Close() // it failed already
		return
	}
	var c net.Conn = secured
	if state := secured.ConnectionState(); state.NegotiatedProtocol != "h2" {
		c = l.guarded(secured, &state)
	}
	select {
	case l.ready <- c:
	case <-l.accepting.Done():
		_ = c.Close()
	}
}

// speaksHTTP says that what came in place of a record of TLS is the beginning of a request.
func speaksHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		return true
	}
	return false
}

// guarded puts a connection of HTTP/1.1 behind the gate.
func (l *listener) guarded(c net.Conn, state *tls.ConnectionState) *conn {
	g := &conn{Conn: c, gate: gate{max: l.s.opts.MaxHeader}, bodyTimeout: l.s.opts.BodyTimeout, tls: state, in: l}
	l.mu.Lock()
	l.open[g] = true
	l.mu.Unlock()
	return g
}

// refuse accepts no more connections. Those that have said nothing so far are closed: net/http would wait for them, five seconds long.
func (l *listener) refuse() {
	l.refuses()
	_ = l.Listener.Close() // it may be closed
	l.plain.Drain()
	var silent []*conn
	l.mu.Lock()
	for c := range l.open {
		if !c.spoke.Load() {
			silent = append(silent, c)
		}
	}
	l.mu.Unlock()
	for _, c := range silent {
		_ = c.Close() // nobody misses it
	}
}

// Close implements net.Listener: net/http gets no more.
func (l *listener) Close() error {
	l.refuse()
	l.stop()
	return nil
}

// drop ends what is left when nobody accepts any more.
func (l *listener) drop() {
	_ = l.Close() // it has no error
	l.work.Wait()
}

// counted is a connection that gives its slot back when it is closed, and whose peer must take what is written in time.
type counted struct {
	net.Conn
	slots   chan struct{}
	once    sync.Once
	timeout time.Duration
	until   time.Time   // the deadline that is set
	own     atomic.Bool // somebody else sets deadlines
}

// Write implements net.Conn.
func (c *counted) Write(p []byte) (int, error) {
	if !c.own.Load() {
		// Half a timeout of leeway saves most of the calls.
		if now := time.Now(); c.until.Sub(now) < c.timeout {
			c.until = now.Add(c.timeout + c.timeout/2)
			_ = c.Conn.SetWriteDeadline(c.until) // fails only where Write does
		}
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline implements net.Conn.
func (c *counted) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() {
		c.own.Store(true)
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *counted) SetDeadline(t time.Time) error {
	if !t.IsZero() {
		c.own.Store(true)
	}
	return c.Conn.SetDeadline(t)
}

// Close implements net.Conn.
func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slots })
	return err
}

// CloseWrite tells the peer that no more comes, so that it can read the last answer before the connection is closed.
func (c *counted) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// conn is a connection of HTTP/1.1, read through the gate.
type conn struct {
	net.Conn
	gate        gate
	bodyTimeout time.Duration
	bodyUntil   atomic.Int64         // Unix time in ns; 0 outside of bodies that had to be waited for
	tls         *tls.ConnectionState // nil: plain
	in          *listener
	spoke       atomic.Bool // something was read
}

type connKey struct{}

// connContext lets a handler find the connection; only those of HTTP/1.1 over TLS are looked for.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if own, ok := c.(*conn); ok && own.tls != nil {
		return context.WithValue(ctx, connKey{}, own)
	}
	return ctx
}

// SetReadDeadline implements net.Conn. While a body is read it gives that more time: who reads a body piece by piece says how long the
// next one may take.
func (c *conn) SetReadDeadline(t time.Time) error {
	if until := c.bodyUntil.Load(); until != 0 && !t.IsZero() && t.UnixNano() > until {
		c.bodyUntil.Store(t.UnixNano())
	}
	return c.Conn.SetReadDeadline(t)
}

// Read implements net.Conn. net/http bounds the time of a head; a body is bounded here.
func (c *conn) Read(p []byte) (int, error) {
	if c.gate.err != nil {
		return 0, c.gate.err
	}
	if c.gate.inBody() {
		until := c.bodyUntil.Load()
		if until == 0 {
			until = time.Now().Add(c.bodyTimeout).UnixNano()
			c.bodyUntil.Store(until)
		}
		_ = c.Conn.SetReadDeadline(time.Unix(0, until)) // fails only where Read does
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		if !c.spoke.Load() {
			c.spoke.Store(true)
		}
		if pass := c.gate.pass(p[:n]); pass < n {
			n, err = pass, nil
			if pass == 0 {
				err = c.gate.err
			}
		}
	}
	if c.bodyUntil.Load() != 0 && !c.gate.inBody() {
		c.bodyUntil.Store(0)
		_ = c.Conn.SetReadDeadline(time.Time{})
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.in.mu.Lock()
	delete(c.in.open, c)
	c.in.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite tells the peer that no more comes; see counted.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
