package plain

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// The bounds of a plain request.
const (
	maxHead    = 8 << 10
	maxHeaders = 64
	maxRequest = 64 << 10 // head and body
)

// head is what the head of a plain request says.
type head struct {
	method string
	target string // the path and the query, as they came
	host   string
	length int // of the body
	close  bool
	sized  bool // it has a Content-Length
}

// verdict is what the bytes of a connection are, so far.
type verdict uint8

const (
	foreign verdict = iota // nothing for this package
	partial                // more must come
	whole
)

var headEnd = []byte("\r\n\r\n")

// ends finds the end of a head of at most so many bytes, behind its empty line. from is how much of b was looked at before.
func ends(b []byte, from, most int) (int, verdict) {
	from = max(0, from-len(headEnd)+1)
	at := bytes.Index(b[from:min(len(b), most)], headEnd)
	switch {
	case at >= 0:
		return from + at + len(headEnd), whole
	case len(b) >= most:
		return 0, foreign
	}
	return 0, partial
}

// read understands a head, which is text with its empty line at the end, and puts its headers into fields, which is empty. They are substrings
// of text. It is false if the request is not plain; fields may then hold anything.
func (h *head) read(text string, fields http.Header, values []string) bool {
	line, rest, ok := strings.Cut(text, "\r\n")
	if !ok || !h.first(line) {
		return false
	}
	for n := 0; ; n++ {
		if line, rest, ok = strings.Cut(rest, "\r\n"); !ok || n > maxHeaders {
			return false
		}
		if line == "" {
			break
		}
		name, value, ok := field(line)
		if !ok {
			return false
		}
		name = canonical(name)
		switch name {
		case "Host":
			if h.host != "" || !isHost(value) {
				return false
			}
			h.host = value
			continue
		case "Content-Length":
			if h.sized || !h.contentLength(value) {
				return false
			}
		case "Connection":
			if fields["Connection"] != nil {
				return false
			}
			switch value {
			case "close":
				h.close = true
			case "keep-alive", "Keep-Alive":
			default:
				return false
			}
		case "Transfer-Encoding", "Trailer", "Upgrade", "Expect", "Http2-Settings":
			return false
		}
		if old := fields[name]; old != nil {
			fields[name] = append(old, value)
			continue
		}
		values = append(values, value)
		fields[name] = values[len(values)-1 : len(values) : len(values)]
	}
	if p := fields["Pragma"]; len(p) > 0 && p[0] == "no-cache" && fields["Cache-Control"] == nil {
		fields["Cache-Control"] = []string{"no-cache"} // as net/http does (RFC 7234, section 5.4)
	}
	return rest == "" && h.host != ""
}

// first reads the first line.
func (h *head) first(line string) bool {
	method, rest, _ := strings.Cut(line, " ")
	target, ok := strings.CutSuffix(rest, " HTTP/1.1")
	if !ok || len(target) == 0 || target[0] != '/' || len(target) > 1 && target[1] == '/' {
		return false
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		return false
	}
	for i := range len(target) {
		if classes[target[i]]&inTarget == 0 {
			return false
		}
	}
	h.method, h.target = method, target
	return true
}

// url makes the address of the target; false if it can't be one. Most need no more than a cut.
func (h *head) url(u *url.URL) bool {
	path, query, asked := strings.Cut(h.target, "?")
	if asked && query == "" { // net/http notes the lone question mark
		return h.parse(u)
	}
	for i := range len(path) {
		if classes[path[i]]&asItIs == 0 {
			return h.parse(u)
		}
	}
	u.Path, u.RawQuery = path, query
	return true
}

func (h *head) parse(u *url.URL) bool {
	parsed, err := url.ParseRequestURI(h.target)
	if err != nil {
		return false
	}
	*u = *parsed
	return true
}

// field cuts a header into its name and its value.
func field(line string) (name, value string, ok bool) {
	colon := 0
	for colon < len(line) && classes[line[colon]]&inToken != 0 {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return "", "", false
	}
	name, value = line[:colon], line[colon+1:]
	for i := range len(value) {
		if classes[value[i]]&inValue == 0 {
			return "", "", false
		}
	}
	return name, strings.Trim(value, " \t"), true
}

// canonical is the name as http.Header has it. Those that most requests have are as they should be.
func canonical(name string) string {
	switch name {
	case "Host", "Content-Length", "Content-Type", "User-Agent", "Accept", "Accept-Encoding", "Connection", "Traceparent", "Authorization", "X-Forwarded-For":
		return name
	case "host":
		return "Host"
	case "content-length":
		return "Content-Length"
	case "content-type":
		return "Content-Type"
	case "user-agent":
		return "User-Agent"
	case "accept":
		return "Accept"
	case "connection":
		return "Connection"
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// isHost reports whether a Host is a name or an address, with a port or not.
func isHost(s string) bool {
	for i := range len(s) {
		if classes[s[i]]&inHost == 0 {
			return false
		}
	}
	return s != ""
}

func (h *head) contentLength(s string) bool {
	if s == "" || len(s) > 6 || len(s) > 1 && s[0] == '0' {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	h.length, h.sized = n, true
	return true
}

// What a byte may stand in.
const (
	inToken  = 1 << iota // RFC 9110, section 5.6.2
	inValue              // of a header: what is visible in ASCII, space and tab
	inHost               // RFC 3986, section 3.2.2, without what nobody uses
	inTarget             // RFC 3986: a path and a query
	asItIs               // in a path, and needs neither decoding nor encoding (url.URL.EscapedPath)
)

var classes = classify()

func classify() (c [256]uint8) {
	set := func(class uint8, chars string) {
		for i := range len(chars) {
			c[chars[i]] |= class
		}
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	set(inToken, letters+"!#$%&'*+-.^_`|~")
	set(inHost, letters+"-._:[]")
	set(inTarget, letters+"-._~!$&'()*+,;=:@/?%")
	set(asItIs, letters+"-._~$&+,;=:@/")
	c['\t'] |= inValue
	for b := ' '; b <= '~'; b++ {
		c[b] |= inValue
	}
	return c
}
