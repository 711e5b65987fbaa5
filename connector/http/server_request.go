package http

import (
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// readBody reads the body, as it came, into x.buf. Memory is taken as bytes come, whatever length was announced.
func (x *exchange) readBody() error {
	x.buf = x.buf[:0]
	r, limit := x.r, int64(x.s.config.MaxBody)
	if r.Body == nil || r.Body == nethttp.NoBody {
		if x.s.signature != nil {
			return x.s.signature.check(r.Header, nil)
		}
		return nil
	}
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	if err := x.s.types.check(r.Header["Content-Type"]); err != nil {
		return err
	}
	coding, err := contentCoding(r.Header["Content-Encoding"])
	if err != nil {
		return err
	}
	if x.s.signature != nil {
		return x.signed(coding)
	}
	var from io.Reader = r.Body
	if coding != "" {
		unpacked, err := unpack(coding, r.Body)
		if err != nil {
			return err
		}
		defer unpacked.Close() //nolint:errcheck // it was read
		from = unpacked
	}
	x.buf, err = x.readAll(x.buf, from, limit, r.ContentLength)
	return x.readError(err, limit)
}

var errTooLarge = errors.New("too large")

// errCrowded refuses a body where so many are being received that there is no memory for one more: peers that send without an end in sight, at
// as many connections as there may be, would take all that there is.
var errCrowded = &penstock.Error{Code: penstock.Unavailable, Op: "http", RetryAfter: time.Second, Err: errors.New("too much is being received at once")}

// first is how much of a body is read before it counts.
const first = 4 << 10

// readAll appends at most limit bytes; expected is a hint, -1 if there is none. What is being received of all bodies together is bounded by what the
// flow may work on at a time.
func (x *exchange) readAll(b []byte, from io.Reader, limit, expected int64) ([]byte, error) {
	most := int64(x.s.config.MaxBody) * int64(x.s.config.MaxRequests)
	var counted int64
	defer func() {
		if counted > 0 {
			x.s.coming.Add(-counted)
		}
	}()
	if need := min(max(expected, 512)+1, 16*first); int64(cap(b)) < need {
		b = make([]byte, 0, max(need, first))
	}
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
		n, err := from.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if len(b) > first {
			counted += int64(n)
			if x.s.coming.Add(int64(n)) > most {
				return b, errCrowded
			}
		}
		switch {
		case int64(len(b)) > limit:
			return b, errTooLarge
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, err
		}
	}
}

// readError is what is wrong with a body that could not be read.
func (x *exchange) readError(err error, limit int64) error {
	if err == nil {
		return nil
	}
	return x.unread(err, limit)
}

func (x *exchange) unread(err error, limit int64) error {
	var ne net.Error
	var own *status
	switch {
	case errors.Is(err, errTooLarge):
		return tooLarge(limit)
	case errors.Is(err, errCrowded):
		return err
	case errors.As(err, &own):
		return err
	case errors.As(err, &ne) && ne.Timeout():
		return &status{nethttp.StatusRequestTimeout, "the body did not come in time"}
	case x.r.Context().Err() != nil && gone(err):
		return &penstock.Error{Code: penstock.Cancelled, Op: "http", Err: err}
	}
	return &status{nethttp.StatusBadRequest, "the body could not be read: it is shorter than announced, or malformed"}
}

// gone reports that the peer has closed the connection. The context of a request alone does not say so: it ends with whatever goes wrong while its
// body is read, also a chunk that is refused.
func gone(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &op)
}

func tooLarge(limit int64) error {
	return &status{nethttp.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %s, which is the limit here", penstock.Size(limit))}
}

// body makes the message's body of what was read.
func (x *exchange) body(m *penstock.Message) error {
	s := x.s
	switch {
	case len(x.buf) == 0: // null
		return nil
	case s.json:
		m.Body.Reset(jsonview.JSON, x.buf)
	case s.opaque:
		m.Body.Reset(jsonview.Binary, x.buf)
	default:
		dst, err := s.config.Format.Codec.Decode(x.batch.Arena().Tail(len(x.buf)), x.buf)
		if err != nil {
			return &status{nethttp.StatusBadRequest, "the body is not " + s.config.Format.Name + ": " + innermost(err)}
		}
		m.Body.Reset(jsonview.JSON, x.batch.Arena().Keep(dst))
	}
	if err := m.Body.Parse(jsonview.Limits{}); err != nil {
		var at *jsonview.SyntaxError
		if errors.As(err, &at) {
			return &status{nethttp.StatusBadRequest, fmt.Sprintf("the body is no JSON document that can be read: byte %d (line %d): %s", at.Offset, at.Line, at.Msg)}
		}
		return &status{nethttp.StatusBadRequest, "the body is no JSON document that can be read"}
	}
	return nil
}

// maxHeaders bounds the number of headers: each becomes meta.
const maxHeaders = 200

// meta makes headers of the message of those of the request.
func (x *exchange) meta(m *penstock.Message) error {
	h := x.r.Header
	if len(h) > maxHeaders {
		return &status{nethttp.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("there are more than %d headers", maxHeaders)}
	}
	for name, values := range h {
		lower, ok := x.s.lower(name)
		if !ok {
			continue
		}
		v := values[0]
		if len(values) > 1 {
			v = strings.Join(values, ", ") // RFC 9110, section 5.3
		}
		if strings.HasPrefix(lower, penstock.EventPrefix) {
			v = decodeAttribute(v)
		}
		m.Meta.Add(lower, penstock.StringValue(valid(v)))
	}
	m.Meta.Add("x-correlation-id", penstock.StringValue(x.id))
	return nil
}

// lower is the name that a header has in meta; not ok for one that is left out: what is about the connection (RFC 9110, section
// 7.6.1), and what holds credentials.
func (s *server) lower(name string) (string, bool) {
	switch name {
	case "Accept":
		return "accept", true
	case "Accept-Encoding":
		return "accept-encoding", true
	case "Accept-Language":
		return "accept-language", true
	case "Content-Type":
		return "content-type", true
	case "Content-Length":
		return "content-length", true
	case "User-Agent":
		return "user-agent", true
	case "Idempotency-Key":
		return "idempotency-key", true
	case "Traceparent":
		return "traceparent", true
	case "Tracestate":
		return "tracestate", true
	case "X-Forwarded-For":
		return "x-forwarded-for", true
	case "X-Forwarded-Proto":
		return "x-forwarded-proto", true
	case "X-Request-Id":
		return "x-request-id", true
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "X-Correlation-Id", "Content-Encoding":
		return "", false
	case "Authorization", "Cookie", "Proxy-Authorization":
		if !slices.Contains(s.credentials, name) {
			return "", false
		}
	}
	return strings.ToLower(name), true
}

// valid makes text of a header, which may have any bytes.
func valid(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return strings.ToValidUTF8(s, "\uFFFD")
		}
	}
	return s
}

// request makes what expressions read as request.
func (x *exchange) request(m *penstock.Message) error {
	r := x.r
	b := x.batch.Arena().Tail(512)
	b = jsonview.AppendString(append(b, `{"method":`...), r.Method)
	b = append(b, `,"path":{`...)
	first := true
	for _, name := range namesOf(r.Pattern) {
		b = field(b, &first, name, r.PathValue(name))
	}
	b = append(b, `},"query":{`...)
	if r.URL.RawQuery != "" {
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return &status{nethttp.StatusBadRequest, "the query is malformed"}
		}
		first = true
		for name, values := range q {
			b = field(b, &first, valid(name), values[0])
		}
	}
	b = append(b, `},"header":{`...)
	first = true
	for _, e := range m.Meta.Entries() {
		b = field(b, &first, e.Name, e.Value.Str())
	}
	b = append(b, "}}"...)
	doc := x.batch.NewDoc()
	doc.Reset(jsonview.JSON, x.batch.Arena().Keep(b))
	if err := doc.Parse(jsonview.Limits{}); err != nil { // two names that are the same once they are text
		return &status{nethttp.StatusBadRequest, "the request has two names that can't be told apart"}
	}
	for len(m.Vars) <= x.s.env.RequestSlot {
		m.Vars = append(m.Vars, penstock.Absent)
	}
	m.Vars[x.s.env.RequestSlot] = penstock.NodeValue(doc, 0)
	return nil
}

// field appends a member of an object of texts.
func field(b []byte, first *bool, name, value string) []byte {
	if !*first {
		b = append(b, ',')
	}
	*first = false
	b = append(jsonview.AppendString(b, name), ':')
	return jsonview.AppendString(b, value)
}
