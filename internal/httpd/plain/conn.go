package plain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// conn is a connection that is served here.
type conn struct {
	net.Conn
	s     *Server
	state atomic.Int32 // a waiting …

	buf   []byte    // what was read and belongs to no request that was answered
	until time.Time // the deadline of reading that is set; zero: none

	head   head
	fields http.Header // of the request
	values []string    // memory of fields
	reply  reply
	clock  clock
	common *http.Request // what all requests have in common

	spare  int     // empty lines that may stand in front of the next request
	early  [1]byte // of the next request, which the watcher of a peer has read
	hasOne bool
}

// What a connection does.
const (
	waiting int32 = iota // for the first byte of a request
	working
	retired // it was closed while it waited
)

// The sizes of the memory of a connection.
const (
	firstBuffer = 4 << 10
	keepBuffer  = 16 << 10 // what is larger is not kept for the next request
)

func newConn(s *Server, c net.Conn) *conn {
	own := &conn{Conn: c, s: s, buf: make([]byte, 0, firstBuffer), fields: http.Header{}, values: make([]string, 0, 16)}
	own.reply.header = http.Header{}
	own.common = &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: c.RemoteAddr().String()}
	return own
}

// serve serves requests until one ends the connection, or it is handed over.
func (c *conn) serve() {
	c.deadline(time.Now().Add(c.s.opts.First))
	for {
		end, v := c.receive()
		switch {
		case v == foreign && len(c.buf) > 0:
			c.handOver()
			return
		case v != whole:
			_ = c.Close() // it said nothing
			return
		}
		if !c.answer(end) {
			return
		}
		if !c.goOn(end + c.head.length) {
			_ = c.Close() // nobody waits for anything
			return
		}
	}
}

// retire closes the connection if it waits for a request.
func (c *conn) retire() {
	if c.state.CompareAndSwap(waiting, retired) {
		_ = c.Close() // it said nothing
	}
}

// deadline bounds the time until reads return.
func (c *conn) deadline(t time.Time) {
	c.until = t
	_ = c.SetReadDeadline(t) // fails only where Read does
}

// unbound lets reads take as long as they may.
func (c *conn) unbound() {
	if !c.until.IsZero() {
		c.deadline(time.Time{})
	}
}

// receive reads until a request is whole, with its body, and finds the end of its head. If v is foreign what was read is none for this package; with
// nothing read the connection has ended.
func (c *conn) receive() (end int, v verdict) {
	looked, patient := 0, false
	for {
		if c.spare > 0 && len(c.buf) >= len(emptyLine) && !c.skip() {
			return 0, foreign
		}
		if end == 0 && len(c.buf) > 0 {
			end, v = ends(c.buf, looked, c.s.opts.MaxHead)
			looked = len(c.buf)
			if v == foreign || v == whole && !c.understand(end) {
				return 0, foreign
			}
		}
		if end > 0 && len(c.buf) >= end+c.head.length {
			return end, whole
		}
		if len(c.buf) > 0 && !patient {
			patient = true
			c.deadline(time.Now().Add(c.s.opts.Patience))
		}
		if !c.more() {
			return 0, foreign
		}
	}
}

var emptyLine = []byte("\r\n")

// skip forgets empty lines in front of a request: some clients send one behind the body of a POST (RFC 9112, section 2.2). It is false if the connection
// has ended.
func (c *conn) skip() bool {
	for c.spare > 0 && bytes.HasPrefix(c.buf, emptyLine) {
		c.buf = append(c.buf[:0], c.buf[len(emptyLine):]...)
		if c.spare--; len(c.buf) == 0 {
			return c.rest()
		}
	}
	c.spare = 0
	return true
}

// understand reads the head that ends there.
func (c *conn) understand(end int) bool {
	clear(c.fields)
	c.head = head{}
	// One copy for all texts of the request: they live as long as whoever keeps one of them.
	return c.head.read(string(c.buf[:end]), c.fields, c.values[:0]) && end+c.head.length <= maxRequest
}

// more reads what comes next; false if nothing came.
func (c *conn) more() bool {
	if len(c.buf) == cap(c.buf) {
		grown := make([]byte, len(c.buf), min(2*cap(c.buf), maxRequest))
		copy(grown, c.buf)
		c.buf = grown
	}
	n, err := c.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 && c.state.Load() == waiting && !c.state.CompareAndSwap(waiting, working) {
		c.buf = c.buf[:0] // it was retired
		return false
	}
	return n > 0 || err == nil
}

// exchange is what the handler of a request gets, and may keep.
type exchange struct {
	life life
	url  url.URL
	body body
}

// answer has the request answered that ends its head there. It is false when the connection is none of ours any more.
func (c *conn) answer(end int) (more bool) {
	x := new(exchange)
	if !c.head.url(&x.url) {
		c.handOver()
		return false
	}
	c.clock.at = time.Now()
	x.life.Context, x.life.c, x.life.begun = c.s.opts.Base, c, c.clock.at
	r := c.common.WithContext(&x.life)
	r.Method, r.RequestURI, r.URL, r.Host, r.Close = c.head.method, c.head.target, &x.url, c.head.host, c.head.close
	r.Header, r.ContentLength, r.Body = c.fields, int64(c.head.length), http.NoBody
	if c.head.length > 0 {
		x.body.left = c.buf[end : end+c.head.length]
		r.Body = &x.body
	}
	c.reply.begin(r.Method)
	answered, survived := c.ask(r, x)
	switch {
	case !survived:
		_ = c.Close() // the handler wants it so
		return false
	case !answered:
		c.handOver()
		return false
	}
	return c.send()
}

// ask asks the handler. Where that panics, the connection can't go on: what was answered nobody knows.
func (c *conn) ask(r *http.Request, x *exchange) (answered, survived bool) {
	defer func() {
		x.life.end()
		x.body.left = nil
		if v := recover(); v != nil {
			survived = false
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				c.s.opts.Logger.Error("a request's handler panicked; this is a fault of the program", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			}
		}
	}()
	return c.s.opts.Handler.Answer(&c.reply, r), true
}

// send sends the answer; false if the connection has ended with it.
func (c *conn) send() bool {
	out, rest, closes := c.reply.finish(&c.clock, c.head.close || c.s.draining.Load())
	_, err := c.Write(out)
	if err == nil && len(rest) > 0 {
		_, err = c.Write(rest)
	}
	if err != nil || closes {
		_ = c.Close() // the peer is gone, or was told
		return false
	}
	return true
}

// goOn makes ready for the next request, behind one of n bytes; false if there is none to wait for.
func (c *conn) goOn(n int) bool {
	rest := c.buf[n:]
	if cap(c.buf) > keepBuffer && len(rest) < keepBuffer {
		c.buf = make([]byte, 0, max(firstBuffer, len(rest)))
	}
	c.buf = append(c.buf[:0], rest...)
	if c.hasOne {
		c.buf, c.hasOne = append(c.buf, c.early[0]), false
	}
	if cap(c.reply.body) > keepBuffer {
		c.reply.body = nil
	}
	if cap(c.reply.head) > 2*keepBuffer {
		c.reply.head = nil
	}
	if c.spare = 0; c.head.method == http.MethodPost {
		c.spare = 2 // as many as net/http skips
	}
	return len(c.buf) > 0 || c.rest()
}

// rest begins to wait for the next request; false if there is none to wait for.
func (c *conn) rest() bool {
	// A deadline that is set costs a call of the system's timers, so one is kept for as long as it gives time enough.
	now, idle := time.Now(), c.s.opts.Idle
	if left := c.until.Sub(now); left < idle || left > idle+idle/2 {
		c.deadline(now.Add(idle + idle/2))
	}
	c.state.Store(waiting)
	if c.s.draining.Load() { // since it was looked at
		c.retire()
		return false
	}
	return true
}

// handOver leaves the connection to who takes what is not plain.
func (c *conn) handOver() {
	c.unbound()
	if c.hasOne {
		c.buf, c.hasOne = append(c.buf, c.early[0]), false
	}
	c.s.opts.HandOver(&replayed{Conn: c.Conn, left: c.buf})
}

// peerLeft waits for what comes of the peer while its request is being answered, and reports whether that is the end. A byte of a next request is kept, and
// ends the watch: who sends on is there.
func (c *conn) peerLeft() bool {
	n, err := c.Read(c.early[:])
	c.hasOne = n > 0
	var ne net.Error
	return n == 0 && (!errors.As(err, &ne) || !ne.Timeout())
}

// wake ends a watch.
func (c *conn) wake(ended <-chan struct{}) {
	_ = c.SetReadDeadline(time.Unix(1, 0)) // long ago
	<-ended
	c.deadline(time.Time{})
}

// body is the body of a request. It has come already.
type body struct{ left []byte }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if len(b.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.left)
	if b.left = b.left[n:]; len(b.left) == 0 {
		return n, io.EOF
	}
	return n, nil
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.left = nil
	return nil
}

// replayed is a connection from which something was read, which is read again first.
type replayed struct {
	net.Conn
	left []byte
}

// Read implements net.Conn.
func (r *replayed) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.left)
	if r.left = r.left[n:]; len(r.left) == 0 {
		r.left = nil
	}
	return n, nil
}

// CloseWrite tells the peer that no more comes, where the connection can.
func (r *replayed) CloseWrite() error {
	if w, ok := r.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
