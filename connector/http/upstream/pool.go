package upstream

import (
	"context"
	"slices"
	"sync"
	"time"
)

// host is the pool of one origin.
type host struct {
	client *Client
	origin Origin

	mu      sync.Mutex
	idle    []*conn // the last was used last
	open    int     // connections of HTTP/1.1 that there are, or that are being made
	waiting []chan grant
	dialled int64
	sweeper *time.Timer // runs while something lies idle
	closed  bool

	h2      []*h2conn
	known   bool          // what the other side speaks was found out
	speaks  Protocols     // HTTP1 or HTTP2
	probing chan struct{} // one makes a connection of which it isn't known what it will speak, or that others will share
}

// lease is a connection to use: one of HTTP/1.1, which must be given back, or a share of one of HTTP/2.
type lease struct {
	conn *conn
	h2   *h2conn
}

// grant is what a waiting request gets: a connection, or the right to make one.
type grant struct {
	conn *conn
	err  error
}

// lease finds or makes a connection. fresh wants one that was never used.
func (h *host) lease(ctx context.Context, fresh bool, latest time.Time) (lease, error) {
	if h.client.opts.Protocols == HTTP2 || h.client.opts.Protocols == Negotiate && h.origin.Secure {
		return h.negotiated(ctx, fresh, latest)
	}
	c, err := h.plain(ctx, fresh, latest)
	return lease{conn: c}, err
}

// plain gives a connection of HTTP/1.1.
func (h *host) plain(ctx context.Context, fresh bool, latest time.Time) (*conn, error) {
	for !fresh {
		c, err := h.take(ctx, latest)
		if err != nil || c == nil {
			if err != nil {
				return nil, err
			}
			break
		}
		c.latest = latest
		c.patience(h.client.times.Header)
		if c.fresh() {
			return c, nil
		}
		h.drop(c)
	}
	if fresh {
		if err := h.room(ctx, latest); err != nil {
			return nil, err
		}
	}
	return h.make(ctx, latest)
}

// make dials, with room taken already.
func (h *host) make(ctx context.Context, latest time.Time) (*conn, error) {
	nc, err := h.dial(ctx, latest)
	if err != nil {
		h.forget()
		return nil, err
	}
	return h.adopt(nc, latest), nil
}

// take gives an idle connection, or nil with room for a new one.
func (h *host) take(ctx context.Context, latest time.Time) (*conn, error) {
	h.mu.Lock()
	now := h.client.now()
	for n := len(h.idle); n > 0; n = len(h.idle) {
		c := h.idle[n-1]
		h.idle[n-1] = nil
		h.idle = h.idle[:n-1]
		if !h.expired(c, now) {
			h.mu.Unlock()
			return c, nil
		}
		h.open--
		_ = c.nc.Close()
	}
	return h.wait(ctx, latest)
}

// room waits until one more connection may be made. One that lies idle makes room.
func (h *host) room(ctx context.Context, latest time.Time) error {
	h.mu.Lock()
	if len(h.idle) > 0 && h.open >= h.client.opts.PerHost {
		c := h.idle[0]
		h.idle = slices.Delete(h.idle, 0, 1)
		h.open--
		_ = c.nc.Close()
	}
	c, err := h.wait(ctx, latest)
	if c != nil { // one that was just given back: it leaves its place to the new one
		_ = c.nc.Close()
	}
	return err
}

// wait takes room, or waits for it or for a connection. It unlocks.
func (h *host) wait(ctx context.Context, latest time.Time) (*conn, error) {
	if h.closed {
		h.mu.Unlock()
		return nil, errStopped
	}
	if h.open < h.client.opts.PerHost {
		h.open++
		h.mu.Unlock()
		return nil, nil
	}
	ch := make(chan grant, 1)
	h.waiting = append(h.waiting, ch)
	h.mu.Unlock()
	ctx, cancel := within(ctx, latest, "wait for a connection to "+h.origin.Address())
	defer cancel()
	select {
	case g := <-ch:
		return g.conn, g.err
	case <-ctx.Done():
	}
	h.mu.Lock()
	if i := slices.Index(h.waiting, ch); i >= 0 {
		h.waiting = slices.Delete(h.waiting, i, i+1)
		h.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	h.mu.Unlock()
	g := <-ch // it came at the same time: for somebody else, then
	switch {
	case g.err != nil:
	case g.conn != nil:
		h.give(g.conn)
	default:
		h.forget()
	}
	return nil, context.Cause(ctx)
}

func (h *host) expired(c *conn, now time.Time) bool {
	return now.After(c.expiry) || h.client.opts.IdleTimeout > 0 && now.Sub(c.idle) > h.client.opts.IdleTimeout
}

// adopt takes up a connection that was made.
func (h *host) adopt(nc netConn, latest time.Time) *conn {
	c := newConn(nc)
	c.host, c.latest = h, latest
	h.mu.Lock()
	c.born = h.client.now()
	c.expiry = h.endOf(c.born)
	h.mu.Unlock()
	c.patience(h.client.times.Header)
	return c
}

// endOf is when a connection is old: a little earlier than the lifetime, for each a little otherwise.
func (h *host) endOf(born time.Time) time.Time {
	life := h.client.opts.Lifetime
	if life < 0 {
		return born.Add(1 << 62)
	}
	return born.Add(life - life/160*time.Duration(h.dialled%16))
}

// give takes a connection back after a good answer.
func (h *host) give(c *conn) {
	c.kept = true
	c.trim()
	h.mu.Lock()
	now := h.client.now()
	c.idle = now
	switch {
	case h.closed || now.After(c.expiry):
	case len(h.waiting) > 0:
		h.grant(grant{conn: c})
		h.mu.Unlock()
		return
	case len(h.idle) < h.client.opts.Idle:
		h.idle = append(h.idle, c)
		h.sweepLater()
		h.mu.Unlock()
		return
	}
	h.mu.Unlock()
	h.drop(c)
}

// drop closes a connection that is not used any more.
func (h *host) drop(c *conn) {
	_ = c.nc.Close()
	h.forget()
}

// forget counts a connection out; who waits may make one in its place.
func (h *host) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiting) > 0 && !h.closed {
		h.grant(grant{})
		return
	}
	h.open--
}

// grant gives to who has waited longest. The host is locked.
func (h *host) grant(g grant) {
	ch := h.waiting[0]
	h.waiting = slices.Delete(h.waiting, 0, 1)
	ch <- g
}

// sweepLater sees to it that idle connections end in time. The host is locked.
func (h *host) sweepLater() {
	d := h.client.opts.IdleTimeout
	if d <= 0 || h.sweeper != nil {
		return
	}
	h.sweeper = time.AfterFunc(d+d/8, h.sweep)
}

// sweep closes what has lain idle for too long.
func (h *host) sweep() {
	h.mu.Lock()
	h.sweeper = nil
	now := h.client.now()
	var old []*conn
	h.idle = slices.DeleteFunc(h.idle, func(c *conn) bool {
		if h.expired(c, now) {
			old = append(old, c)
			return true
		}
		return false
	})
	h.open -= len(old)
	h.sweepH2(now)
	if (len(h.idle) > 0 || len(h.h2) > 0) && !h.closed {
		h.sweepLater()
	}
	h.mu.Unlock()
	for _, c := range old {
		_ = c.nc.Close()
	}
}

// close ends what lies idle and what waits, for good.
func (h *host) close() {
	h.mu.Lock()
	h.closed = true
	waiting := h.waiting
	h.waiting = nil
	h.mu.Unlock()
	h.closeIdle()
	for _, ch := range waiting {
		ch <- grant{err: errStopped}
	}
}

// closeIdle ends what lies idle.
func (h *host) closeIdle() {
	h.mu.Lock()
	idle, shared := h.idle, h.h2
	h.idle, h.h2 = nil, nil
	h.open -= len(idle)
	if h.sweeper != nil {
		h.sweeper.Stop()
		h.sweeper = nil
	}
	h.mu.Unlock()
	for _, c := range idle {
		_ = c.nc.Close()
	}
	for _, c := range shared {
		c.retire()
	}
}

// trim lets go of memory that one large answer took.
func (c *conn) trim() {
	const keep = 64 << 10
	c.r, c.w = 0, 0
	if len(c.buf) > keep {
		c.buf = make([]byte, readBuffer)
	}
	if cap(c.wbuf) > keep {
		c.wbuf = nil
	}
	if cap(c.spare) > keep {
		c.spare = nil
	}
}
