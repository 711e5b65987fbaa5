package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// Times bound how long the other side may take. A negative one is without end.
type Times struct {
	Dial   time.Duration // for the name, the connection and TLS; 0 is 5 s
	Header time.Duration // from the last byte of the request to the last of the answer's headers; 0 is 30 s
	Stall  time.Duration // silence within a body, of the request or of the answer; 0 is 30 s
}

// Protocols says which versions of HTTP are spoken.
type Protocols uint8

// The choices.
const (
	HTTP1     Protocols = iota // HTTP/1.1 only
	Negotiate                  // over TLS what the other side chooses (ALPN): HTTP/2 or HTTP/1.1; HTTP/1.1 without TLS
	HTTP2                      // HTTP/2 only: with prior knowledge where there is no TLS
)

// Options configure a [Client]. The zero Options are HTTP/1.1 with the defaults that stand at the fields.
type Options struct {
	// DialContext makes connections; nil is net.Dialer, which resolves the name for each connection anew and tries the addresses as RFC
	// 6555 says.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS gives the configuration for a handshake; it is asked each time, so that certificates may change. Nil is Go's default. ServerName
	// and NextProtos are the client's to set, ServerName only where it is empty.
	TLS       func() (*tls.Config, error)
	Protocols Protocols
	// Proxy gives the HTTP proxy that connections go through; nil is none.
	Proxy *Proxy
	// PerHost bounds the connections to one host, in use or not; further requests wait. 0 is 128. With HTTP/2, each carries many.
	PerHost int
	// Idle is how many connections to one host are kept while nobody uses them. 0 is 64.
	Idle int
	// IdleTimeout is how long one is kept so. 0 is 30 s.
	IdleTimeout time.Duration
	// Lifetime is how long a connection is used at most, so that a name which comes to stand for other machines is followed. 0 is 5
	// minutes. Connections end up to a tenth earlier, not all at once.
	Lifetime time.Duration
	Times    Times
	// MaxHeader bounds the headers of an answer, in bytes. 0 is 64 KiB.
	MaxHeader int
	// Now is the clock of the pool; nil is time.Now.
	Now func() time.Time
}

// Proxy is an HTTP proxy: requests without TLS are given to it whole, for those with TLS it is asked for a tunnel (CONNECT).
type Proxy struct {
	Origin Origin
	// Authorization gives the value of Proxy-Authorization, each time; nil or "" is none.
	Authorization func() string
}

// Client is a pool of connections to any number of hosts. It is safe for concurrent use.
type Client struct {
	opts      Options
	times     Times
	maxHeader int
	now       func() time.Time

	mu     sync.Mutex
	hosts  map[Origin]*host
	closed bool
}

// New makes a client. It dials nothing yet.
func New(o Options) *Client {
	orDefault := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	orDefault(&o.Times.Dial, 5*time.Second)
	orDefault(&o.Times.Header, 30*time.Second)
	orDefault(&o.Times.Stall, 30*time.Second)
	orDefault(&o.IdleTimeout, 30*time.Second)
	orDefault(&o.Lifetime, 5*time.Minute)
	if o.PerHost <= 0 {
		o.PerHost = 128
	}
	if o.Idle <= 0 {
		o.Idle = 64
	}
	if o.MaxHeader <= 0 {
		o.MaxHeader = 64 << 10
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.DialContext == nil {
		o.DialContext = (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext
	}
	return &Client{opts: o, times: o.Times, maxHeader: o.MaxHeader, now: o.Now, hosts: map[Origin]*host{}}
}

// Do sends a request and reads the whole answer into res. An answer of any status is no error. Errors are *Error, but where ctx ended:
// then the error is its cause.
func (c *Client) Do(ctx context.Context, q *Request, res *Response) error {
	if err := q.check(); err != nil {
		return err
	}
	h, err := c.host(q.Origin)
	if err != nil {
		return err
	}
	for fresh := false; ; fresh = true {
		l, err := h.lease(ctx, fresh, q.Deadline)
		if err != nil {
			return err
		}
		if l.h2 != nil {
			err := l.h2.do(ctx, q, res)
			var e *Error
			if !fresh && q.Repeatable && errors.As(err, &e) && e.Kind == Closed && l.h2.cc.Err() != nil {
				continue // the connection had ended
			}
			return err
		}
		o := l.conn.do(ctx, q, res)
		if o.reusable {
			h.give(l.conn)
		} else {
			h.drop(l.conn)
		}
		if o.again && !fresh {
			continue
		}
		return o.err
	}
}

func (c *Client) host(o Origin) (*host, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errStopped
	}
	h := c.hosts[o]
	if h == nil {
		h = &host{client: c, origin: o}
		c.hosts[o] = h
	}
	return h, nil
}

var errStopped = &Error{Kind: Stopped, Op: "request", Err: errors.New("the client is closed")}

// Close ends the connections that lie idle; those in use end with their answer. Requests that wait for a connection fail.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	hosts := make([]*host, 0, len(c.hosts))
	for _, h := range c.hosts {
		hosts = append(hosts, h)
	}
	c.mu.Unlock()
	for _, h := range hosts {
		h.close()
	}
	return nil
}

// CloseIdle ends the connections that lie idle. The client goes on.
func (c *Client) CloseIdle() {
	c.mu.Lock()
	hosts := make([]*host, 0, len(c.hosts))
	for _, h := range c.hosts {
		hosts = append(hosts, h)
	}
	c.mu.Unlock()
	for _, h := range hosts {
		h.closeIdle()
	}
}

// Stats counts connections.
type Stats struct {
	Open    int   // of HTTP/1.1, in use or not, and being made
	Idle    int   // of them
	Waiting int   // requests that wait for one
	Dialled int64 // ever, with those that failed
	HTTP2   int   // connections of HTTP/2
}

// Stats counts the connections to all hosts.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	var s Stats
	for _, h := range c.hosts {
		h.mu.Lock()
		s.Open += h.open
		s.Idle += len(h.idle)
		s.Waiting += len(h.waiting)
		s.Dialled += h.dialled
		s.HTTP2 += len(h.h2)
		h.mu.Unlock()
	}
	return s
}
