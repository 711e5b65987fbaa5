package plain

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reply gathers the answer to a request. It is an http.ResponseWriter for handlers that answer from memory.
type reply struct {
	header http.Header
	status int
	head   []byte // the status line and the headers, once the handler has settled them
	body   []byte
	bare   bool // the method is HEAD

	// What the handler said of it, when it settled the headers.
	typed, dated, closes bool
	length               string
}

// begin makes ready for the next request.
func (r *reply) begin(method string) {
	clear(r.header)
	*r = reply{header: r.header, head: r.head[:0], body: r.body[:0], bare: method == http.MethodHead}
}

// Header implements http.ResponseWriter.
func (r *reply) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter. What is not the last word (1xx) is not sent: the last word follows at once.
func (r *reply) WriteHeader(status int) {
	if r.status != 0 || status < 200 {
		return
	}
	r.status = status
	r.typed = r.header["Content-Type"] != nil || r.header.Get("Content-Encoding") != ""
	r.dated = r.header["Date"] != nil
	if said := r.header["Connection"]; len(said) > 0 {
		r.closes = said[0] == "close"
	}
	if said := r.header["Content-Length"]; r.bare && len(said) > 0 {
		r.length = said[0]
	}
	r.head = appendHead(r.head, r)
}

// Write implements http.ResponseWriter.
func (r *reply) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !hasBody(r.status) {
		return 0, http.ErrBodyNotAllowed
	}
	r.body = append(r.body, p...)
	return len(p), nil
}

// hasBody says whether answers of a status may have a body (RFC 9110, section 6.4.1).
func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

// appendHead appends what the handler said of the answer. What is about the connection and the length is not for it to say.
func appendHead(b []byte, r *reply) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(b, ' ')
	if text := http.StatusText(r.status); text != "" {
		b = append(b, text...)
	} else {
		b = strconv.AppendInt(append(b, "status code "...), int64(r.status), 10)
	}
	b = append(b, '\r', '\n')
	var memory [16]string
	names := memory[:0]
	for name := range r.header {
		switch name {
		case "Connection", "Content-Length", "Transfer-Encoding", "Trailer":
		case "Content-Type":
			if r.status != http.StatusNotModified {
				names = append(names, name)
			}
		default:
			if isToken(name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range r.header[name] {
			b = append(append(b, name...), ':', ' ')
			b = appendValue(b, value)
			b = append(b, '\r', '\n')
		}
	}
	return b
}

// finish completes the answer, and says whether the connection ends behind it. The body is appended where that is cheaper than a
// second piece of the answer; else it is rest.
func (r *reply) finish(now *clock, closes bool) (out, rest []byte, closed bool) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	b := r.head
	closes = closes || r.closes
	if len(r.body) > 0 && !r.typed {
		b = append(append(append(b, "Content-Type: "...), http.DetectContentType(r.body)...), '\r', '\n')
	}
	if !r.dated {
		b = append(append(append(b, "Date: "...), now.date()...), '\r', '\n')
	}
	switch {
	case !hasBody(r.status):
	case r.length != "": // of what a GET would get
		b = append(appendValue(append(b, "Content-Length: "...), r.length), '\r', '\n')
	case !r.bare || len(r.body) > 0:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(len(r.body)), 10), '\r', '\n')
	}
	if closes {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, '\r', '\n')
	r.head = b
	switch {
	case r.bare:
		return b, nil, closes
	case len(r.body) <= joined:
		r.head = append(b, r.body...)
		return r.head, nil, closes
	}
	return b, r.body, closes
}

// joined is how large a body is at most that is copied behind its head, so that one call sends both.
const joined = 8 << 10

func isToken(s string) bool {
	for i := range len(s) {
		if classes[s[i]]&inToken == 0 {
			return false
		}
	}
	return s != ""
}

// appendValue appends the value of a header. It can't end the line, whatever is in it.
func appendValue(b []byte, value string) []byte {
	if strings.ContainsAny(value, "\r\n") {
		value = strings.NewReplacer("\r", " ", "\n", " ").Replace(value)
	}
	return append(b, strings.Trim(value, " \t")...)
}

// clock writes dates, each second once.
type clock struct {
	second int64
	text   [len(http.TimeFormat)]byte
	at     time.Time
}

// date is the time as the header Date has it (RFC 9110, section 5.6.7).
func (c *clock) date() []byte {
	if s := c.at.Unix(); s != c.second {
		c.second = s
		c.at.UTC().AppendFormat(c.text[:0], http.TimeFormat)
	}
	return c.text[:]
}
