package plain

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Handler answers requests.
type Handler interface {
	// Answer answers a request, whose body is there; or says that it is none for this path, and has then done nothing. Of what it gets only the
	// request itself, its texts and its context may be kept, not its headers and not its body.
	Answer(w http.ResponseWriter, r *http.Request) bool
}

// Options are the settings of a [Server]; all but MaxHead, Patience and Base must be set.
type Options struct {
	Handler Handler
	// HandOver takes a connection over, with all that was read from it, when the next request is none for this path. It may block.
	HandOver func(net.Conn)
	// First bounds how long a new connection may say nothing, Idle how long one may wait for its next request; it may be half as much longer.
	First, Idle time.Duration
	// MaxHead bounds the head of a request that is served here, in bytes. Default, and at most: 8 KiB.
	MaxHead int
	// Patience is how long a request may be incomplete before its connection is handed over. Default: 20 ms.
	Patience time.Duration
	// Base is the context that those of all requests come from; nil: one that never ends.
	Base   context.Context
	Logger *slog.Logger
}

// Server serves connections. It is safe for concurrent use.
type Server struct {
	opts     Options
	draining atomic.Bool

	mu    sync.Mutex
	open  map[*conn]struct{}
	quiet chan struct{} // closed when none is open and none comes any more
}

// New makes a server.
func New(o Options) *Server {
	if o.Patience <= 0 {
		o.Patience = 20 * time.Millisecond
	}
	if o.MaxHead <= 0 || o.MaxHead > maxHead {
		o.MaxHead = maxHead
	}
	if o.Base == nil {
		o.Base = context.Background()
	}
	return &Server{opts: o, open: map[*conn]struct{}{}, quiet: make(chan struct{})}
}

// Serve serves a connection until it has ended or was handed over. The writes of c are bounded in time by c itself.
func (s *Server) Serve(c net.Conn) {
	own := newConn(s, c)
	s.mu.Lock()
	if s.draining.Load() {
		s.mu.Unlock()
		_ = c.Close() // it has said nothing
		return
	}
	s.open[own] = struct{}{}
	s.mu.Unlock()
	defer s.left(own)
	own.serve()
}

// left forgets a connection.
func (s *Server) left(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	if s.draining.Load() && len(s.open) == 0 {
		close(s.quiet)
	}
}

// Drain closes the connections that wait for a request, and has the others end with their next answer.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Swap(true) {
		return
	}
	for c := range s.open {
		c.retire()
	}
	if len(s.open) == 0 {
		close(s.quiet)
	}
}

// Wait waits until the last connection has ended, after [Server.Drain]. When ctx ends first, those that are open are cut off, which is an
// error; their handlers may still be at work.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-s.quiet:
		return nil
	default:
	}
	select {
	case <-s.quiet:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.Close() // nobody waits for it
	}
	return ctx.Err()
}
