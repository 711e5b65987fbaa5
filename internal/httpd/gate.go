package httpd

import (
	"bytes"
	"strings"
)

// gate watches the bytes of an HTTP/1.1 connection and refuses what different readers understand differently, so that nobody in
// front of this server can be made to see other requests in them than it does (RFC 9112, sections 2.2, 5.2, 6 and 11.2). net/http is
// lenient with most of it. What it refuses:
//
//   - a line that ends in a bare LF, and a CR that is not part of a line's end, in heads, chunk sizes and trailers;
//   - a header that is continued on the next line (obs-fold);
//   - white space in front of a header's colon, or in front of the first header;
//   - Transfer-Encoding beside Content-Length, twice, in HTTP/1.0, or as anything but "chunked";
//   - Content-Length twice, even if it says the same, as a list, with a sign, or with more than 18 digits;
//   - a size of a chunk that is not hexadecimal digits, at most 15, or whose extensions are longer than 256 bytes.
//
// It passes bytes on as they are. The zero gate with max set is ready.
type gate struct {
	max   int // bytes of a head, and of trailers; a little leeway is net/http's
	err   error
	state gateState
	part  []byte // of a line that has not ended yet
	lines int    // of this head
	size  int    // bytes of this head
	left  int64  // of a body or chunk

	length  int64 // Content-Length; -1: none
	chunked bool
	oldHTTP bool // HTTP/1.0
}

type gateState uint8

const (
	inHead gateState = iota
	inContent
	inChunkSize
	inChunk
	inChunkEnd
	inTrailer
)

// refusal is why a connection is not read any further. net/http answers it with 400 and closes.
type refusal string

// Error says why.
func (r refusal) Error() string { return "refused: " + string(r) }

// inBody reports whether a body has begun and not ended.
func (g *gate) inBody() bool { return g.state != inHead }

// pass looks at what was read next, and says how much of it may be read on. If that is less than all, err says why, and nothing
// more passes.
func (g *gate) pass(p []byte) int {
	for at := 0; at < len(p); {
		switch g.state {
		case inContent, inChunk:
			n := min(g.left, int64(len(p)-at))
			at += int(n)
			if g.left -= n; g.left == 0 {
				if g.state == inContent {
					g.next()
				} else {
					g.state = inChunkEnd
				}
			}
		default:
			n, line, whole := g.line(p[at:])
			if g.err == nil && whole {
				g.read(line)
				g.part = g.part[:0]
			}
			if g.err != nil {
				return at
			}
			at += n
		}
	}
	return len(p)
}

// line takes the next line, without its end, or what there is of it.
func (g *gate) line(p []byte) (n int, line []byte, whole bool) {
	end := bytes.IndexByte(p, '\n')
	n = end + 1
	if end < 0 {
		n = len(p)
	}
	if g.size += n; g.size > g.max+8<<10 { // net/http answers before, with 431; chunk sizes are counted one by one
		g.err = refusal("a head that is too long")
		return 0, nil, false
	}
	line = p[:n]
	if len(g.part) > 0 || end < 0 {
		g.part = append(g.part, line...)
		line = g.part
	}
	cr := bytes.IndexByte(line, '\r')
	switch {
	case end < 0 && cr >= 0 && cr < len(line)-1, end >= 0 && cr >= 0 && cr < len(line)-2:
		g.err = refusal("a CR that does not end a line")
	case end < 0:
		return n, nil, false
	case cr < 0 || cr != len(line)-2:
		g.err = refusal("a line that ends without CR")
	}
	if g.err != nil {
		return 0, nil, false
	}
	return n, line[:len(line)-2], true
}

// read understands a line.
func (g *gate) read(line []byte) {
	switch g.state {
	case inChunkSize:
		g.chunkSize(line)
	case inChunkEnd:
		if len(line) > 0 {
			g.err = refusal("a chunk that is longer than it says")
		}
		g.state, g.size = inChunkSize, 0
	case inTrailer:
		switch {
		case len(line) == 0:
			g.next()
		case !g.field(line):
		}
	case inHead:
		g.head(line)
	}
}

// head understands a line of a head.
func (g *gate) head(line []byte) {
	switch {
	case len(line) == 0:
		g.body()
	case g.lines == 0:
		g.lines, g.length = 1, -1
		g.oldHTTP = !bytes.HasSuffix(line, []byte(" HTTP/1.1"))
	default:
		g.lines++
		if !g.field(line) {
			return
		}
		switch line[0] {
		case 'c', 'C', 't', 'T':
			name, value, _ := bytes.Cut(line, []byte{':'})
			switch {
			case is(name, "content-length"):
				g.contentLength(bytes.Trim(value, " \t"))
			case is(name, "transfer-encoding"):
				if g.chunked || !is(bytes.Trim(value, " \t"), "chunked") {
					g.err = refusal("a Transfer-Encoding other than chunked")
				}
				g.chunked = true
			}
		}
	}
}

// field checks the form of a header.
func (g *gate) field(line []byte) bool {
	colon := bytes.IndexByte(line, ':')
	switch {
	case line[0] == ' ' || line[0] == '\t':
		g.err = refusal("a header that is continued on the next line")
	case colon <= 0:
		g.err = refusal("a header without a name")
	case line[colon-1] == ' ' || line[colon-1] == '\t':
		g.err = refusal("white space in front of a colon")
	}
	return g.err == nil
}

func (g *gate) contentLength(value []byte) {
	if g.length >= 0 {
		g.err = refusal("Content-Length twice")
		return
	}
	if len(value) == 0 || len(value) > 18 {
		g.err = refusal("a Content-Length that is no length")
		return
	}
	g.length = 0
	for _, c := range value {
		if c < '0' || c > '9' {
			g.err = refusal("a Content-Length that is no length")
			return
		}
		g.length = g.length*10 + int64(c-'0')
	}
}

// body begins what follows a head.
func (g *gate) body() {
	switch {
	case g.chunked && g.length >= 0:
		g.err = refusal("Transfer-Encoding beside Content-Length")
	case g.chunked && g.oldHTTP:
		g.err = refusal("Transfer-Encoding before HTTP/1.1")
	case g.chunked:
		g.state, g.size = inChunkSize, 0
	case g.length > 0 && g.lines > 0:
		g.state, g.left = inContent, g.length
	default:
		g.next()
	}
}

// next begins the next request.
func (g *gate) next() {
	g.state, g.lines, g.size, g.chunked, g.length = inHead, 0, 0, false, -1
	if cap(g.part) > 4<<10 {
		g.part = nil
	}
}

func (g *gate) chunkSize(line []byte) {
	digits, extension, _ := bytes.Cut(line, []byte{';'})
	digits = bytes.TrimRight(digits, " \t")
	if len(digits) == 0 || len(digits) > 15 || len(extension) > 256 {
		g.err = refusal("a size of a chunk that is no size")
		return
	}
	g.left, g.size = 0, 0
	for _, c := range digits {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			g.err = refusal("a size of a chunk that is no size")
			return
		}
		g.left = g.left<<4 | int64(c)
	}
	g.state = inChunk
	if g.left == 0 {
		g.state = inTrailer
	}
}

// is compares a word without regard to case.
func is(b []byte, word string) bool {
	return len(b) == len(word) && strings.EqualFold(string(b), word)
}
