package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Request is one request. It is not changed, and may be used again.
type Request struct {
	Method string
	Origin Origin
	// Target is the path and query as they go over the wire: they begin with / and are percent-encoded.
	Target []byte
	// Header holds the header lines, each ended by CR LF, as [AppendField] makes them. The client adds host, content-length and connection.
	Header []byte
	// Body is sent with a content-length; nil is none, empty is one of no bytes. It is not copied.
	Body []byte
	// Parts, if there are any, are sent behind Body, as one.
	Parts [][]byte
	// Repeatable says that a second request has no second effect.
	Repeatable bool
	// Deadline is when the answer must be there, by the machine's clock; zero is never. The client's own times act beside it.
	Deadline time.Time
	// MaxBody bounds the body of the answer, in bytes; 0 is 16 MiB.
	MaxBody int64
	// Alloc gives the memory for the body of an answer; nil is the heap. It is not called for more than 64 KiB.
	Alloc func(n int) []byte
}

// DefaultMaxBody is the largest body of an answer where Request.MaxBody says nothing.
const DefaultMaxBody = 16 << 20

func (r *Request) maxBody() int64 {
	if r.MaxBody > 0 {
		return r.MaxBody
	}
	return DefaultMaxBody
}

// hasBody says that a content-length is sent.
func (r *Request) hasBody() bool { return r.Body != nil || len(r.Parts) > 0 }

func (r *Request) bodySize() int {
	n := len(r.Body)
	for _, p := range r.Parts {
		n += len(p)
	}
	return n
}

// check refuses what would change the meaning of the bytes around it.
func (r *Request) check() error {
	refuse := func(format string, args ...any) error {
		return &Error{Kind: Refused, Op: "request", Err: fmt.Errorf(format, args...)}
	}
	if !isToken(r.Method) {
		return refuse("%q is no method", r.Method)
	}
	if len(r.Target) == 0 || r.Target[0] != '/' {
		return refuse("the target %q does not begin with /", clip(string(r.Target)))
	}
	for i := range len(r.Target) {
		if c := r.Target[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return refuse("the target %q has the character %q, which must be percent-encoded", clip(string(r.Target)), c)
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

// AppendField appends one header line to dst. It refuses names that are no token, and values with control characters, which could
// end the line (RFC 9110, section 5.5). White space around the value is left out.
func AppendField(dst []byte, name, value string) ([]byte, error) {
	if !isToken(name) {
		return dst, fmt.Errorf("%q is no name of a header", clip(name))
	}
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return dst, fmt.Errorf("the value of the header %s has a control character (%#02x)", name, c)
		}
	}
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...), nil
}

// ReservedField reports whether a header is the client's own business: the framing of messages and the use of connections.
func ReservedField(name string) bool {
	switch strings.ToLower(name) {
	case "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "expect", "http2-settings":
		return true
	}
	return false
}

// Response is an answer. It may be used again for the next, which keeps its memory. What its methods return lives as long as it is not.
type Response struct {
	Status int
	Body   []byte // nil: there is none

	head   []byte // header lines
	fields []field
	h2     bool
}

type field struct{ name, colon, value, end int32 } // name ends at colon

// Get gives the value of the first header of a name, which is written in lower case; nil if there is none.
func (r *Response) Get(name string) []byte {
	for i := range r.fields {
		f := &r.fields[i]
		if equalFold(r.head[f.name:f.colon], name) {
			return r.head[f.value:f.end]
		}
	}
	return nil
}

// Each calls fn with every header, in order. The name is as it came.
func (r *Response) Each(fn func(name, value []byte)) {
	for i := range r.fields {
		f := &r.fields[i]
		fn(r.head[f.name:f.colon], r.head[f.value:f.end])
	}
}

// HTTP2 says that the answer came over HTTP/2.
func (r *Response) HTTP2() bool { return r.h2 }

func (r *Response) reset() {
	r.Status, r.Body, r.head, r.fields, r.h2 = 0, nil, r.head[:0], r.fields[:0], false
}

// add appends a header that did not come as a line.
func (r *Response) add(name, value string) {
	start := len(r.head)
	r.head = append(r.head, name...)
	colon := len(r.head)
	r.head = append(r.head, value...)
	r.fields = append(r.fields, field{int32(start), int32(colon), int32(colon), int32(len(r.head))})
}

// equalFold compares with a name in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChars[s[i]] {
			return false
		}
	}
	return s != ""
}

// tokenChars are those of a token (RFC 9110, section 5.6.2).
var tokenChars = func() (t [256]bool) {
	for c := byte('0'); c <= '9'; c++ {
		t[c] = true
	}
	for c := byte('a'); c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] = true
	}
	return t
}()

// framing is how the end of an answer's body is found.
type framing struct {
	length  int64 // -1: not said
	chunked bool
	close   bool // the connection is not used again
}

var (
	errBareLF  = errors.New("a line ends without CR LF")
	errFold    = errors.New("a header goes on in the next line (obs-fold)")
	errControl = errors.New("a header holds a control character")
)

// parse reads the head of an answer: the status line and header lines, up to and with the empty line. The head is copied.
func (r *Response) parse(head []byte) (framing, error) {
	f := framing{length: -1}
	r.reset()
	r.head = append(r.head, head...)
	head = r.head
	line, at, err := cutLine(head, 0)
	if err != nil {
		return f, err
	}
	minor, err := r.statusLine(line)
	if err != nil {
		return f, err
	}
	keepAlive := false
	var codings int
	for {
		start := at
		if line, at, err = cutLine(head, at); err != nil {
			return f, err
		}
		if len(line) == 0 {
			break
		}
		if len(r.fields) == maxFields {
			return f, fmt.Errorf("more than %d headers", maxFields)
		}
		fl, err := cutField(line, start)
		if err != nil {
			return f, err
		}
		r.fields = append(r.fields, fl)
		name, value := head[fl.name:fl.colon], head[fl.value:fl.end]
		switch {
		case equalFold(name, "content-length"):
			if f.length >= 0 {
				return f, errors.New("two content-lengths")
			}
			if f.length, err = parseLength(value); err != nil {
				return f, err
			}
		case equalFold(name, "transfer-encoding"):
			codings++
			if f.chunked = equalFold(value, "chunked"); !f.chunked || codings > 1 {
				return f, fmt.Errorf("the transfer coding %q is not chunked alone", clip(string(value)))
			}
		case equalFold(name, "connection"):
			f.close = f.close || hasWord(value, "close")
			keepAlive = keepAlive || hasWord(value, "keep-alive")
		}
	}
	switch {
	case f.chunked && f.length >= 0:
		return f, errors.New("a content-length beside chunks")
	case f.chunked && minor == 0:
		return f, errors.New("chunks in an answer of HTTP/1.0")
	case minor == 0 && !keepAlive:
		f.close = true
	}
	return f, nil
}

// maxFields bounds the headers of an answer.
const maxFields = 256

// cutLine gives the line that begins at from, without its CR LF, and where the next begins.
func cutLine(b []byte, from int) (line []byte, next int, err error) {
	i := bytes.IndexByte(b[from:], '\n')
	if i < 1 || b[from+i-1] != '\r' {
		return nil, 0, errBareLF
	}
	return b[from : from+i-1], from + i + 1, nil
}

// statusLine reads HTTP/1.x 200 reason (RFC 9112, section 4).
func (r *Response) statusLine(line []byte) (minor int, err error) {
	bad := func() (int, error) { return 0, fmt.Errorf("%q is no status line of HTTP/1", clip(string(line))) }
	if len(line) < len("HTTP/1.1 200") || string(line[:7]) != "HTTP/1." || line[7] < '0' || line[7] > '9' || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return bad()
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return bad()
		}
		r.Status = 10*r.Status + int(c-'0')
	}
	if r.Status < 100 {
		return bad()
	}
	for _, c := range line[12:] {
		if c < ' ' && c != '\t' || c == 0x7f {
			return bad()
		}
	}
	return int(line[7] - '0'), nil
}

// cutField reads name: value (RFC 9112, section 5); start is where the line stands in the head.
func cutField(line []byte, start int) (field, error) {
	if line[0] == ' ' || line[0] == '\t' {
		return field{}, errFold
	}
	colon := 0
	for colon < len(line) && tokenChars[line[colon]] {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return field{}, fmt.Errorf("%q is no header", clip(string(line)))
	}
	from, to := colon+1, len(line)
	for from < to && (line[from] == ' ' || line[from] == '\t') {
		from++
	}
	for to > from && (line[to-1] == ' ' || line[to-1] == '\t') {
		to--
	}
	for _, c := range line[from:to] {
		if c < ' ' && c != '\t' || c == 0x7f {
			return field{}, errControl
		}
	}
	return field{int32(start), int32(start + colon), int32(start + from), int32(start + to)}, nil
}

// parseLength reads a content-length: digits, nothing else.
func parseLength(v []byte) (int64, error) {
	if len(v) == 0 || len(v) > 18 {
		return -1, fmt.Errorf("%q is no content-length", clip(string(v)))
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return -1, fmt.Errorf("%q is no content-length", clip(string(v)))
		}
		n = 10*n + int64(c-'0')
	}
	return n, nil
}

// hasWord looks for a word in a list that is separated by commas.
func hasWord(list []byte, lower string) bool {
	for len(list) > 0 {
		word := list
		if i := bytes.IndexByte(list, ','); i >= 0 {
			word, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		if equalFold(bytes.Trim(word, " \t"), lower) {
			return true
		}
	}
	return false
}

// appendHead appends the head of a request in the form of HTTP/1.1.
func (r *Request) appendHead(dst []byte, absolute bool, proxyHeader []byte) []byte {
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	if absolute {
		dst = append(dst, r.Origin.String()...)
	}
	dst = append(dst, r.Target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = appendAuthority(dst, r.Origin)
	dst = append(dst, "\r\n"...)
	dst = append(dst, r.Header...)
	if absolute {
		dst = append(dst, proxyHeader...)
	}
	if r.hasBody() {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(r.bodySize()), 10)
		dst = append(dst, "\r\n"...)
	}
	return append(dst, "\r\n"...)
}

func appendAuthority(dst []byte, o Origin) []byte {
	bracket := strings.IndexByte(o.Host, ':') >= 0
	if bracket {
		dst = append(dst, '[')
	}
	dst = append(dst, o.Host...)
	if bracket {
		dst = append(dst, ']')
	}
	if o.Secure && o.Port == "443" || !o.Secure && o.Port == "80" {
		return dst
	}
	dst = append(dst, ':')
	return append(dst, o.Port...)
}
