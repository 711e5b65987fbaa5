package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// body reads the body of an answer, as its head frames it (RFC 9112, section 6.3).
func (c *conn) body(q *Request, res *Response, f framing) outcome {
	t := &c.host.client.times
	limit := q.maxBody()
	var err error
	switch {
	case q.Method == http.MethodHead || res.Status == 204 || res.Status == 304:
		// There is none, whatever the headers say.
	case f.chunked:
		err = c.chunks(q, res, limit)
	case f.length > limit:
		err = tooLarge(limit)
	case f.length > 0:
		res.Body, err = c.sized(q, f.length)
	case f.length == 0:
		res.Body = empty
	default:
		f.close = true
		c.readPatience(t.Stall)
		res.Body, err = c.untilEnd(q, limit)
	}
	if err != nil {
		return outcome{err: c.broken(err)}
	}
	// Bytes behind the answer belong to nothing that was asked: what came next would be taken for an answer to somebody else's request.
	return outcome{reusable: !f.close && c.r == c.w}
}

var empty = []byte{}

func tooLarge(limit int64) error {
	return &Error{Kind: TooLarge, Sent: true, Op: "read the answer", Err: fmt.Errorf("its body is over the limit of %d bytes", limit)}
}

// broken says why a body could not be read.
func (c *conn) broken(err error) error {
	var e *Error
	switch {
	case c.aborted.Load():
		return errAborted
	case errors.As(err, &e):
		return err
	case isTimeout(err):
		return &Error{Kind: Timeout, Sent: true, Op: "read the answer", Err: err}
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return &Error{Kind: Broken, Sent: true, Op: "read the answer", Err: err}
}

// alloc gives memory for a body.
func (q *Request) alloc(n int) []byte {
	if q.Alloc != nil && n <= arenaBody {
		return q.Alloc(n)
	}
	return make([]byte, n)
}

// sized reads a body whose length is known. Memory for a large one grows with what has come: the length may be a lie.
func (c *conn) sized(q *Request, length int64) ([]byte, error) {
	const trust = 1 << 20
	b := q.alloc(int(min(length, trust)))
	n := copy(b, c.buf[c.r:c.w])
	c.r += n
	if int64(n) < length {
		c.readPatience(c.host.client.times.Stall)
	}
	for {
		for n < len(b) {
			m, err := c.read(b[n:])
			n += m
			if n == len(b) {
				break
			}
			if err != nil {
				return nil, err
			}
		}
		if int64(n) == length {
			return b, nil
		}
		b = append(b, make([]byte, min(int64(len(b)), length-int64(n)))...)
	}
}

// read reads past the buffer, which is empty. Every piece may take as long as the whole other side may be silent.
func (c *conn) read(b []byte) (int, error) {
	n, err := c.nc.Read(b)
	if n > 0 {
		if n < len(b) {
			c.readPatience(c.host.client.times.Stall)
		}
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// untilEnd reads a body that ends with the connection.
func (c *conn) untilEnd(q *Request, limit int64) ([]byte, error) {
	b := append(c.spare[:0], c.buf[c.r:c.w]...)
	c.r = c.w
	for {
		if int64(len(b)) > limit {
			return nil, tooLarge(limit)
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := c.read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return c.keep(q, b), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// keep gives a body that was read into scratch its own memory.
func (c *conn) keep(q *Request, b []byte) []byte {
	if len(b) == 0 {
		c.spare = b
		return empty
	}
	if len(b) > arenaBody {
		c.spare = nil // the scratch is the body
		return b
	}
	c.spare = b
	own := q.alloc(len(b))
	copy(own, b)
	return own
}

var errChunk = errors.New("a chunk is malformed")

// maxChunkLine bounds a chunk's size with its extensions, which are passed over.
const maxChunkLine = 1 << 10

// chunks reads a body in chunks, and its trailers, which are passed over (RFC 9112, section 7.1).
func (c *conn) chunks(q *Request, res *Response, limit int64) error {
	b := c.spare[:0]
	for {
		line, err := c.line(maxChunkLine)
		if err != nil {
			return err
		}
		size, err := chunkSize(line)
		if err != nil {
			return err
		}
		if size == 0 {
			break
		}
		if int64(len(b))+size > limit {
			return tooLarge(limit)
		}
		if b, err = c.chunk(b, size); err != nil {
			return err
		}
	}
	for left := c.host.client.maxHeader; ; {
		line, err := c.line(maxChunkLine)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			break
		}
		if _, err := cutField(line, 0); err != nil {
			return &Error{Kind: Protocol, Sent: true, Op: "read the trailers", Err: err}
		}
		if left -= len(line); left < 0 {
			return &Error{Kind: TooLarge, Sent: true, Op: "read the trailers", Err: errors.New("they are over the limit of headers")}
		}
	}
	res.Body = c.keep(q, b)
	return nil
}

// chunk appends the data of one chunk, with the CR LF behind it passed over.
func (c *conn) chunk(b []byte, size int64) ([]byte, error) {
	for size > 0 {
		if c.r == c.w {
			if err := c.more(); err != nil {
				return b, err
			}
		}
		n := int(min(size, int64(c.w-c.r)))
		b = append(b, c.buf[c.r:c.r+n]...)
		c.r += n
		size -= int64(n)
	}
	for c.w-c.r < 2 {
		if err := c.more(); err != nil {
			return b, err
		}
	}
	if c.buf[c.r] != '\r' || c.buf[c.r+1] != '\n' {
		return b, &Error{Kind: Protocol, Sent: true, Op: "read the answer", Err: errChunk}
	}
	c.r += 2
	return b, nil
}

// more reads behind what is buffered, and makes room for it.
func (c *conn) more() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		if c.r == 0 {
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		} else {
			copy(c.buf, c.buf[c.r:c.w])
			c.r, c.w = 0, c.w-c.r
		}
	}
	c.readPatience(c.host.client.times.Stall)
	return c.fill()
}

// line reads a line of at most limit bytes, which ends with CR LF. It lies in the buffer.
func (c *conn) line(limit int) ([]byte, error) {
	for seen := 0; ; {
		b := c.buf[c.r:c.w]
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			i += seen
			if i == 0 || b[i-1] != '\r' || i > limit {
				return nil, &Error{Kind: Protocol, Sent: true, Op: "read the answer", Err: errChunk}
			}
			c.r += i + 1
			return b[:i-1], nil
		}
		if len(b) > limit {
			return nil, &Error{Kind: Protocol, Sent: true, Op: "read the answer", Err: errChunk}
		}
		seen = len(b)
		if err := c.more(); err != nil {
			return nil, err
		}
	}
}

// chunkSize reads the hexadecimal size of a chunk; extensions behind a semicolon are passed over, but no control characters in them.
func chunkSize(line []byte) (int64, error) {
	bad := &Error{Kind: Protocol, Sent: true, Op: "read the answer", Err: errChunk}
	digits := 0
	var n int64
	for digits < len(line) {
		d := hexDigit(line[digits])
		if d < 0 {
			break
		}
		if digits++; digits > 15 {
			return 0, bad
		}
		n = n<<4 | int64(d)
	}
	rest := line[digits:]
	if digits == 0 {
		return 0, bad
	}
	if len(rest) > 0 {
		if trimmed := bytes.TrimLeft(rest, " \t"); len(trimmed) == 0 || trimmed[0] != ';' {
			return 0, bad
		}
		for _, c := range rest {
			if c < ' ' && c != '\t' || c == 0x7f {
				return 0, bad
			}
		}
	}
	return n, nil
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func quote(b []byte) string { return strconv.QuoteToASCII(string(b)) }
