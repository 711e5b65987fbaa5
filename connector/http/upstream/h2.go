package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// h2conn is a connection of HTTP/2, shared by many requests; net/http speaks it.
type h2conn struct {
	host *host
	cc   *http.ClientConn
	end  time.Time
}

// negotiated gives a share of a connection of HTTP/2, or one of HTTP/1.1 where the other side speaks that.
func (h *host) negotiated(ctx context.Context, fresh bool, latest time.Time) (lease, error) {
	h.mu.Lock()
	if h.known && h.speaks == HTTP1 {
		h.mu.Unlock()
		c, err := h.plain(ctx, fresh, latest)
		return lease{conn: c}, err
	}
	if l, ok := h.share(fresh); ok {
		h.mu.Unlock()
		return l, nil
	}
	if h.probing == nil {
		h.probing = make(chan struct{}, 1)
	}
	h.mu.Unlock()
	wait, cancel := within(ctx, latest, "connect to "+h.origin.Address())
	defer cancel()
	select {
	case h.probing <- struct{}{}:
	case <-wait.Done():
		return lease{}, context.Cause(wait)
	}
	l, found, err := h.probe(ctx, fresh, latest)
	<-h.probing
	if err != nil || found {
		return l, err
	}
	c, err := h.plain(ctx, fresh, latest)
	return lease{conn: c}, err
}

// share finds a connection that has room for one more request. The host is locked.
func (h *host) share(fresh bool) (lease, bool) {
	if fresh {
		return lease{}, false
	}
	now := h.client.now()
	h.sweepH2(now)
	for _, c := range h.h2 {
		if c.cc.Reserve() == nil {
			return lease{h2: c}, true
		}
	}
	if len(h.h2) >= h.client.opts.PerHost {
		return lease{h2: h.h2[0]}, true // it waits for its turn there
	}
	return lease{}, false
}

// sweepH2 lets go of connections that are old or have ended. The host is locked.
func (h *host) sweepH2(now time.Time) {
	h.h2 = slices.DeleteFunc(h.h2, func(c *h2conn) bool {
		if c.cc.Err() == nil && now.Before(c.end) {
			return false
		}
		go c.retire() // it may wait for the connection's own lock
		return true
	})
}

// retire closes a connection when its last request is done.
func (c *h2conn) retire() {
	c.cc.SetStateHook(func(cc *http.ClientConn) {
		if cc.InFlight() == 0 {
			go func() { _ = cc.Close() }()
		}
	})
	if c.cc.InFlight() == 0 {
		_ = c.cc.Close()
	}
}

// probe makes a connection and finds out what the other side speaks. found is false where the request should go the way of HTTP/1.1.
func (h *host) probe(ctx context.Context, fresh bool, latest time.Time) (l lease, found bool, err error) {
	h.mu.Lock()
	switch {
	case h.closed:
		h.mu.Unlock()
		return lease{}, false, errStopped
	case h.known && h.speaks == HTTP1:
		h.mu.Unlock()
		return lease{}, false, nil
	}
	if l, ok := h.share(fresh); ok {
		h.mu.Unlock()
		return l, true, nil
	}
	h.mu.Unlock()
	nc, err := h.dial(ctx, latest)
	if err != nil {
		return lease{}, false, err
	}
	speaks := HTTP1
	if tc, ok := nc.(*tls.Conn); ok && h.origin.Secure {
		if tc.ConnectionState().NegotiatedProtocol == "h2" {
			speaks = HTTP2
		}
	} else if h.client.opts.Protocols == HTTP2 {
		speaks = HTTP2
	}
	if speaks == HTTP1 && h.client.opts.Protocols == HTTP2 {
		_ = nc.Close()
		return lease{}, false, &Error{Kind: Protocol, Op: "connect to " + h.origin.Address(), Err: errors.New("it does not speak HTTP/2")}
	}
	if speaks == HTTP1 {
		h.mu.Lock()
		h.known, h.speaks = true, HTTP1
		h.open++
		h.mu.Unlock()
		return lease{conn: h.adopt(nc, latest)}, true, nil
	}
	cc, err := clientConn(ctx, nc, h.origin)
	if err != nil {
		_ = nc.Close()
		return lease{}, false, &Error{Kind: Dial, Op: "connect to " + h.origin.Address(), Err: err}
	}
	c := &h2conn{host: h, cc: cc}
	_ = cc.Reserve()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known, h.speaks = true, HTTP2
	c.end = h.endOf(h.client.now())
	if h.closed {
		go c.retire()
		return lease{}, false, errStopped
	}
	h.h2 = append(h.h2, c)
	h.sweepLater()
	return lease{h2: c}, true, nil
}

// clientConn speaks HTTP/2 over a connection that is there.
func clientConn(ctx context.Context, nc net.Conn, o Origin) (*http.ClientConn, error) {
	var p http.Protocols
	scheme := "http"
	if o.Secure {
		scheme = "https"
		p.SetHTTP2(true)
	} else {
		p.SetUnencryptedHTTP2(true)
	}
	taken := false
	give := func(context.Context, string, string) (net.Conn, error) {
		if taken {
			return nil, errors.New("the connection is in use")
		}
		taken = true
		return nc, nil
	}
	t := &http.Transport{Protocols: &p, DisableCompression: true, DialContext: give, DialTLSContext: give, HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second}}
	return t.NewClientConn(ctx, scheme, o.Address())
}

// do sends a request and reads its answer.
func (c *h2conn) do(ctx context.Context, q *Request, res *Response) error {
	t := &c.host.client.times
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !q.Deadline.IsZero() {
		var done context.CancelFunc
		ctx, done = context.WithDeadlineCause(ctx, q.Deadline, errSlow)
		defer done()
	}
	timer := time.AfterFunc(1<<62, func() { cancel(errSlow) })
	defer timer.Stop()
	patience := func(d time.Duration) {
		if d > 0 {
			timer.Reset(d)
		} else {
			timer.Stop()
		}
	}
	hr, err := c.request(ctx, q)
	if err != nil {
		c.cc.Release()
		return err
	}
	if body := hr.Body; body != nil { // the answer's time begins when the request is out
		patience(t.Stall)
		hr.Body = &watched{r: body, each: func(end bool) {
			if end {
				patience(t.Header)
			} else {
				patience(t.Stall)
			}
		}}
	} else {
		patience(t.Header)
	}
	hs, err := c.cc.RoundTrip(hr)
	if err != nil {
		return c.failure(ctx, "wait for the answer", err, Closed)
	}
	defer func() { _ = hs.Body.Close() }()
	res.reset()
	res.Status, res.h2 = hs.StatusCode, true
	names := make([]string, 0, len(hs.Header))
	for name := range hs.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range hs.Header[name] {
			res.add(name, v)
		}
	}
	if len(res.head) > c.host.client.maxHeader {
		return &Error{Kind: TooLarge, Sent: true, Op: "read the answer", Err: errors.New("its headers are over the limit")}
	}
	if q.Method == http.MethodHead || hs.StatusCode == http.StatusNoContent || hs.StatusCode == http.StatusNotModified {
		return nil
	}
	return c.body(ctx, q, res, hs, func() { patience(t.Stall) })
}

func (c *h2conn) body(ctx context.Context, q *Request, res *Response, hs *http.Response, more func()) error {
	limit := q.maxBody()
	if hs.ContentLength > limit {
		return tooLarge(limit)
	}
	var b []byte
	if hs.ContentLength > 0 {
		b = q.alloc(int(min(hs.ContentLength, 1<<20)))[:0]
	}
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		more()
		n, err := hs.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if int64(len(b)) > limit {
			return tooLarge(limit)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return c.failure(ctx, "read the answer", err, Broken)
		}
	}
	if b == nil {
		b = empty
	}
	res.Body = b
	return nil
}

var errSlow = errors.New("the other side is silent")

func (c *h2conn) failure(ctx context.Context, op string, err error, kind Kind) error {
	if ctx.Err() != nil {
		if cause := context.Cause(ctx); !errors.Is(cause, errSlow) {
			return cause
		}
		kind, err = Timeout, errSlow
	}
	return &Error{Kind: kind, Sent: true, Op: op, Err: err}
}

// request makes net/http's form of a request.
func (c *h2conn) request(ctx context.Context, q *Request) (*http.Request, error) {
	path, query, forced := strings.Cut(string(q.Target), "?")
	u := &url.URL{Scheme: "http", Host: q.Origin.Authority(), Opaque: "//" + q.Origin.Authority() + path, RawQuery: query, ForceQuery: forced && query == ""}
	if q.Origin.Secure {
		u.Scheme = "https"
	}
	hr := (&http.Request{Method: q.Method, URL: u, Host: q.Origin.Authority(), Header: http.Header{}, Proto: "HTTP/2.0", ProtoMajor: 2}).WithContext(ctx)
	for rest := q.Header; len(rest) > 0; {
		line, next, err := cutLine(rest, 0)
		if err != nil {
			return nil, &Error{Kind: Refused, Op: "request", Err: err}
		}
		name, value, ok := strings.Cut(string(line), ": ")
		if !ok {
			return nil, &Error{Kind: Refused, Op: "request", Err: fmt.Errorf("%q is no header", clip(string(line)))}
		}
		hr.Header.Add(name, value)
		rest = rest[next:]
	}
	if q.hasBody() {
		readers := make([]io.Reader, 0, 1+len(q.Parts))
		readers = append(readers, bytes.NewReader(q.Body))
		for _, p := range q.Parts {
			readers = append(readers, bytes.NewReader(p))
		}
		hr.ContentLength = int64(q.bodySize())
		if hr.ContentLength == 0 {
			hr.Body = http.NoBody
		} else {
			hr.Body = io.NopCloser(io.MultiReader(readers...))
		}
	}
	return hr, nil
}

// watched tells of each read of a body.
type watched struct {
	r    io.ReadCloser
	each func(end bool)
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	w.each(err != nil)
	return n, err
}

func (w *watched) Close() error { return w.r.Close() }
