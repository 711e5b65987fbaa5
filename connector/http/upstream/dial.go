package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

type netConn = net.Conn

// proxied is the proxy that requests are given to whole; nil where there is none, or a tunnel goes through it.
func (h *host) proxied() *Proxy {
	if h.origin.Secure {
		return nil
	}
	return h.client.opts.Proxy
}

// header is the line with which requests show who they are to the proxy. A nil proxy has none.
func (p *Proxy) header() []byte {
	if p == nil || p.Authorization == nil {
		return nil
	}
	v := p.Authorization()
	if v == "" {
		return nil
	}
	line, err := AppendField(nil, "Proxy-Authorization", v)
	if err != nil {
		return nil // the proxy then says that it is missing, which an error here could not without showing it
	}
	return line
}

// within bounds a context by a request's own deadline; zero is none.
func within(ctx context.Context, latest time.Time, op string) (context.Context, context.CancelFunc) {
	if latest.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadlineCause(ctx, latest, &Error{Kind: Timeout, Op: op, Err: errors.New("the request's time is over")})
}

// dial makes a connection, with TLS where the origin wants it, within its own time.
func (h *host) dial(parent context.Context, latest time.Time) (net.Conn, error) {
	parent, done := within(parent, latest, "connect to "+h.origin.Address())
	defer done()
	ctx := parent
	if d := h.client.times.Dial; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(parent, d)
		defer cancel()
	}
	h.mu.Lock()
	h.dialled++
	h.mu.Unlock()
	nc, err := h.connect(ctx)
	if err == nil {
		return nc, nil
	}
	if parent.Err() != nil {
		return nil, context.Cause(parent)
	}
	var known *Error
	switch {
	case ctx.Err() != nil:
		return nil, &Error{Kind: Timeout, Op: "connect to " + h.origin.Address(), Err: fmt.Errorf("no connection within %s", h.client.times.Dial)}
	case errors.As(err, &known):
		return nil, err
	}
	return nil, &Error{Kind: Dial, Op: "connect to " + h.origin.Address(), Err: err}
}

func (h *host) connect(ctx context.Context) (net.Conn, error) {
	to, px := h.origin, h.client.opts.Proxy
	if px != nil {
		to = px.Origin
	}
	nc, err := h.client.opts.DialContext(ctx, "tcp", to.Address())
	if err != nil {
		return nil, err
	}
	if px != nil && px.Origin.Secure {
		if nc, err = h.handshake(ctx, nc, px.Origin, []string{"http/1.1"}); err != nil {
			return nil, err
		}
	}
	if !h.origin.Secure {
		return nc, nil
	}
	if px != nil {
		if err := h.tunnel(ctx, nc); err != nil {
			_ = nc.Close()
			return nil, err
		}
	}
	return h.handshake(ctx, nc, h.origin, h.offers())
}

// offers is what is offered for the protocol (RFC 7301).
func (h *host) offers() []string {
	switch h.client.opts.Protocols {
	case HTTP2:
		return []string{"h2"}
	case Negotiate:
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.speaks != HTTP1 || !h.known {
			return []string{"h2", "http/1.1"}
		}
	}
	return []string{"http/1.1"}
}

// handshake makes a connection secure. It closes nc where it fails.
func (h *host) handshake(ctx context.Context, nc net.Conn, o Origin, protocols []string) (net.Conn, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if h.client.opts.TLS != nil {
		own, err := h.client.opts.TLS()
		if err != nil {
			_ = nc.Close()
			return nil, &Error{Kind: TLS, Op: "prepare TLS", Err: err}
		}
		config = own.Clone()
	}
	switch {
	case o != h.origin: // the proxy: it is not told who we are to the origin
		config.ServerName, config.Certificates, config.GetClientCertificate = o.Host, nil, nil
	case config.ServerName == "":
		config.ServerName = o.Host
	}
	config.NextProtos = protocols
	tc := tls.Client(nc, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		if ctx.Err() == nil && !isTimeout(err) && !isGone(err) {
			err = &Error{Kind: TLS, Op: "connect to " + o.Address(), Err: err}
		}
		return nil, err
	}
	return tc, nil
}

// tunnel asks the proxy for a connection to the origin (RFC 9110, section 9.3.6).
func (h *host) tunnel(ctx context.Context, nc net.Conn) error {
	c := newConn(nc)
	c.host = h
	c.patience(h.client.times.Dial)
	stop := context.AfterFunc(ctx, c.abort)
	defer stop()
	px := h.client.opts.Proxy
	head := append([]byte("CONNECT "), h.origin.Address()...)
	head = append(head, " HTTP/1.1\r\nHost: "...)
	head = append(head, h.origin.Address()...)
	head = append(head, "\r\n"...)
	head = append(head, px.header()...)
	if _, err := nc.Write(append(head, "\r\n"...)); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	var res Response
	_, o := c.head(&Request{Method: "CONNECT"}, &res)
	switch {
	case o.err != nil:
		return &Error{Kind: Dial, Op: "connect through the proxy", Err: errors.Unwrap(o.err)}
	case res.Status < 200 || res.Status > 299:
		return &Error{Kind: Dial, Op: "connect through the proxy", Err: fmt.Errorf("it answers with %d", res.Status)}
	case c.r != c.w:
		return &Error{Kind: Protocol, Op: "connect through the proxy", Err: errors.New("it sends more than its answer")}
	}
	c.patience(0)
	return nil
}
