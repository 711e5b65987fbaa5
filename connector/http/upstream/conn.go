package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	readBuffer  = 4 << 10
	smallBody   = 16 << 10  // a body of up to so many bytes is copied behind the head: one write
	parallel    = 64 << 10  // one of more is written beside reading, since the other side may answer before it has read all
	writeChunk  = 256 << 10 // how much of a body one deadline stands for
	arenaBody   = 64 << 10  // bodies of up to so many bytes go to the caller's memory
	maxInterims = 16        // 1xx answers to one request
)

// conn is one connection of HTTP/1.1. It is used by one goroutine at a time.
type conn struct {
	nc     net.Conn
	raw    syscall.RawConn // of the TCP connection, to look whether it was closed; nil where that can't be asked
	secure bool
	host   *host

	buf   []byte // read, not used: buf[r:w]
	r, w  int
	wbuf  []byte
	spare []byte // scratch for bodies of unknown length

	born   time.Time
	idle   time.Time // since when it has lain idle
	expiry time.Time // when it is old
	kept   bool      // it has answered before
	latest time.Time // the deadline of the request that it serves; zero: none

	aborted atomic.Bool
	abort   func() // ends what is being waited for; it is told so by the caller's context

	peeked  [1]byte
	peekFn  func(fd uintptr) bool
	peekN   int
	peekErr error
}

func newConn(nc net.Conn) *conn {
	c := &conn{nc: nc, buf: make([]byte, readBuffer)}
	c.abort = func() {
		c.aborted.Store(true)
		_ = c.nc.SetDeadline(longAgo)
	}
	c.watchable()
	return c
}

var longAgo = time.Unix(1, 0)

// patience sets the deadline for reading and writing; 0 is none. What was aborted stays so.
func (c *conn) patience(d time.Duration) {
	_ = c.nc.SetDeadline(c.deadline(d))
	c.stillAborted()
}

func (c *conn) readPatience(d time.Duration) {
	_ = c.nc.SetReadDeadline(c.deadline(d))
	c.stillAborted()
}

func (c *conn) stillAborted() {
	if c.aborted.Load() {
		_ = c.nc.SetDeadline(longAgo)
	}
}

// deadline is d from now, but no later than the request's own.
func (c *conn) deadline(d time.Duration) time.Time {
	if d <= 0 {
		return c.latest
	}
	at := time.Now().Add(d)
	if !c.latest.IsZero() && c.latest.Before(at) {
		return c.latest
	}
	return at
}

// silentTLS reports that a TLS session has nothing to read that it has received already. A read whose time is over returns what is
// there, and asks the socket for no more.
func (c *conn) silentTLS() bool {
	_ = c.nc.SetReadDeadline(longAgo)
	n, err := c.nc.Read(c.peeked[:])
	c.patience(c.host.client.times.Header)
	return n == 0 && isTimeout(err)
}

// outcome is what became of a connection and a request.
type outcome struct {
	reusable bool // the connection is as new
	again    bool // the request may be sent once more: the connection was closed while it lay idle
	err      error
}

// do sends a request and reads its answer.
func (c *conn) do(ctx context.Context, q *Request, res *Response) outcome {
	stop := afterFunc(ctx, c.abort)
	o := c.exchange(q, res)
	if !stop() { // the context has ended: perhaps the abort is still to come
		o.reusable = false
		if o.err != nil {
			o.again, o.err = false, context.Cause(ctx)
		}
	}
	return o
}

// afterFunc is context.AfterFunc, without what that puts around a context that knows it itself.
func afterFunc(ctx context.Context, f func()) (stop func() bool) {
	if own, ok := ctx.(interface {
		AfterFunc(func()) func() bool
	}); ok {
		return own.AfterFunc(f)
	}
	if ctx.Done() == nil { // it has no end
		return unneeded
	}
	return context.AfterFunc(ctx, f)
}

func unneeded() bool { return true }

// exchange is do without the context.
func (c *conn) exchange(q *Request, res *Response) outcome {
	c.r, c.w = 0, 0
	px := c.host.proxied()
	c.wbuf = q.appendHead(c.wbuf[:0], px != nil, px.header())
	size := q.bodySize()
	if size > parallel {
		return c.upload(q, res)
	}
	n, err := c.send(q, size)
	if err != nil {
		return c.unsent(q, res, n, err)
	}
	return c.answer(q, res)
}

// send writes the head and a body that is not large.
func (c *conn) send(q *Request, size int) (n int64, err error) {
	if size > 0 && size <= smallBody {
		c.wbuf = append(c.wbuf, q.Body...)
		for _, p := range q.Parts {
			c.wbuf = append(c.wbuf, p...)
		}
		size = 0
	}
	if size == 0 {
		w, err := c.nc.Write(c.wbuf)
		return int64(w), err
	}
	pieces := make(net.Buffers, 0, 2+len(q.Parts))
	pieces = append(pieces, c.wbuf, q.Body)
	pieces = append(pieces, q.Parts...)
	return pieces.WriteTo(c.nc)
}

// unsent is the outcome of a request that could not be written. The other side may have answered all the same, and closed then.
func (c *conn) unsent(q *Request, res *Response, n int64, err error) outcome {
	if c.aborted.Load() {
		return outcome{err: errAborted}
	}
	if n > 0 && isGone(err) {
		if o := c.answer(q, res); o.err == nil {
			o.reusable = false
			return o
		}
	}
	kind := Closed
	if isTimeout(err) {
		kind = Timeout
	}
	return outcome{again: c.kept && isGone(err) && (n == 0 || q.Repeatable), err: &Error{Kind: kind, Sent: n > 0, Op: "write the request", Err: err}}
}

// upload writes a large body while it waits for the answer.
func (c *conn) upload(q *Request, res *Response) outcome {
	t := &c.host.client.times
	c.readPatience(0) // the answer's time begins when the request is out
	type result struct {
		n    int64
		err  error
		late bool // it was ended, since there was an answer, or there will be none
	}
	done := make(chan result, 1)
	var over atomic.Bool
	go func() {
		var r result
		defer func() { done <- r }()
		write := func(b []byte) bool {
			for len(b) > 0 && r.err == nil {
				_ = c.nc.SetWriteDeadline(c.deadline(t.Stall))
				if over.Load() {
					c.abortWrite()
				}
				c.stillAborted()
				var n int
				n, r.err = c.nc.Write(b[:min(len(b), writeChunk)])
				r.n += int64(n)
				b = b[n:]
			}
			return r.err == nil
		}
		ok := write(c.wbuf) && write(q.Body)
		for _, p := range q.Parts {
			ok = ok && write(p)
		}
		r.late = over.Load()
		switch {
		case ok:
			c.readPatience(t.Header)
		case r.late:
		case isTimeout(r.err):
			c.readPatience(time.Nanosecond) // it neither reads nor answers
		default:
			c.readPatience(t.Stall)
		}
	}()
	o := c.answer(q, res)
	over.Store(true)
	c.abortWrite()
	w := <-done
	if w.err == nil {
		return o
	}
	o.reusable = false
	if o.err != nil && !w.late && !c.aborted.Load() {
		return c.unsentLarge(q, w.n, w.err, o)
	}
	return o
}

func (c *conn) abortWrite() { _ = c.nc.SetWriteDeadline(longAgo) }

// unsentLarge names why a large body did not get through.
func (c *conn) unsentLarge(q *Request, n int64, err error, o outcome) outcome {
	switch {
	case isTimeout(err):
		return outcome{err: &Error{Kind: Timeout, Sent: true, Op: "write the request", Err: err}}
	case isGone(err):
		return outcome{again: c.kept && (n == 0 || q.Repeatable && o.again), err: &Error{Kind: Closed, Sent: n > 0, Op: "write the request", Err: err}}
	}
	return o
}

// fill reads more into the buffer, which has room.
func (c *conn) fill() error {
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// answer reads the answer to a request that was sent.
func (c *conn) answer(q *Request, res *Response) outcome {
	for range maxInterims {
		f, o := c.head(q, res)
		if o.err != nil {
			return o
		}
		switch {
		case res.Status == 101:
			return outcome{err: protocol("the other side changes the protocol, which was not asked for")}
		case res.Status < 200: // informational (RFC 9110, section 15.2): the answer is still to come
			if f.chunked || f.length > 0 {
				return outcome{err: protocol("an informational answer with a body")}
			}
			continue
		}
		return c.body(q, res, f)
	}
	return outcome{err: protocol("too many informational answers")}
}

// head reads the next head of an answer.
func (c *conn) head(q *Request, res *Response) (framing, outcome) {
	seen := c.r
	limit := c.host.client.maxHeader
	for {
		end := bytes.Index(c.buf[seen:c.w], crlfcrlf)
		if end >= 0 {
			end += seen + len(crlfcrlf)
			f, err := res.parse(c.buf[c.r:end])
			if err != nil {
				return f, outcome{err: &Error{Kind: Protocol, Sent: true, Op: "read the answer", Err: err}}
			}
			c.r = end
			return f, outcome{}
		}
		if err := looksWrong(c.buf[c.r:c.w]); err != nil { // don't wait for the end of what is no answer
			return framing{}, outcome{err: &Error{Kind: Protocol, Sent: true, Op: "read the answer", Err: err}}
		}
		seen = max(c.r, c.w-len(crlfcrlf)+1)
		if c.w-c.r >= limit {
			return framing{}, outcome{err: &Error{Kind: TooLarge, Sent: true, Op: "read the answer", Err: errors.New("its headers are over the limit")}}
		}
		if c.w == len(c.buf) {
			if c.r > 0 {
				copy(c.buf, c.buf[c.r:c.w])
				c.w, seen, c.r = c.w-c.r, seen-c.r, 0
			} else {
				c.buf = append(c.buf, make([]byte, len(c.buf))...)
			}
		}
		nothing := c.w == c.r
		if err := c.fill(); err != nil {
			return framing{}, c.silent(q, nothing, err)
		}
	}
}

var crlfcrlf = []byte("\r\n\r\n")

// looksWrong finds out early that something is no answer, or has lines that end otherwise.
func looksWrong(b []byte) error {
	want := "HTTP/1."
	if n := min(len(b), len(want)); string(b[:n]) != want[:n] {
		return errors.New("this is no HTTP/1 answer: it begins with " + quote(b[:min(len(b), 20)]))
	}
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return nil
		}
		if i == 0 || b[from+i-1] != '\r' {
			return errBareLF
		}
		from += i + 1
	}
}

// silent is the outcome where reading the head failed.
func (c *conn) silent(q *Request, nothing bool, err error) outcome {
	switch {
	case c.aborted.Load():
		return outcome{err: errAborted}
	case isTimeout(err):
		return outcome{err: &Error{Kind: Timeout, Sent: true, Op: "wait for the answer", Err: err}}
	case isAlert(err):
		return outcome{err: &Error{Kind: TLS, Sent: true, Op: "wait for the answer", Err: err}}
	case nothing && isGone(err):
		return outcome{again: c.kept && q.Repeatable, err: &Error{Kind: Closed, Sent: true, Op: "wait for the answer", Err: err}}
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return outcome{err: &Error{Kind: Broken, Sent: true, Op: "read the answer", Err: err}}
}
