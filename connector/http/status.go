package http

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http/upstream"
	"penstock.dev/penstock/jsonview"
)

// codeOf is what a status means for the message that asked (RFC 9110, section 15; RFC 6585).
func codeOf(status int) penstock.Code {
	switch status {
	case 401, 407, 511:
		return penstock.Unauthenticated
	case 403, 451:
		return penstock.Forbidden
	case 404, 410:
		return penstock.NotFound
	case 408, 504:
		return penstock.Timeout
	case 409, 412, 423, 428:
		return penstock.Conflict
	case 413, 414, 431:
		return penstock.TooLarge
	case 422, 424:
		return penstock.Unprocessable
	case 425, 421:
		return penstock.Unavailable // too early, or the wrong connection: another try may do
	case 429:
		return penstock.Limited
	case 501, 505:
		return penstock.Unprocessable // it won't do that later, either
	}
	if status >= 500 {
		return penstock.Unavailable
	}
	return penstock.Invalid
}

// statusError is the failure that an answer means.
func statusError(res *upstream.Response, place string, now time.Time) error {
	e := &penstock.Error{Code: codeOf(res.Status), Op: "http", Path: place}
	text := fmt.Sprintf("the answer is %d", res.Status)
	if name := statusNames[res.Status]; name != "" {
		text += " " + name
	}
	if detail := detailFrom(res); detail != "" {
		text += ": " + detail
	}
	e.Err = errors.New(text)
	if e.Code.Transient() {
		e.RetryAfter = retryAfter(string(res.Get("retry-after")), now)
	}
	switch {
	case res.Status >= 300 && res.Status < 400:
		e.Hint = "redirects are not followed here"
	case res.Status == 401:
		e.Hint = "look at the Connection's auth"
	}
	return e
}

// statusNames are the names of the statuses that one meets.
var statusNames = map[int]string{
	301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
	408: "Request Timeout", 409: "Conflict", 410: "Gone", 412: "Precondition Failed", 413: "Content Too Large", 415: "Unsupported Media Type",
	422: "Unprocessable Content", 429: "Too Many Requests", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
	503: "Service Unavailable", 504: "Gateway Timeout",
}

// maxDetail bounds what an error repeats of what a server said, in characters.
const maxDetail = 300

// detailFrom is what the server says about its refusal: title and detail of a problem (RFC 9457), the message of the usual JSON forms, or plain
// text; never HTML. It is bounded, and holds no control characters.
func detailFrom(res *upstream.Response) string {
	if len(res.Body) == 0 || len(res.Body) > 64<<10 {
		return ""
	}
	kind, _, _ := strings.Cut(strings.ToLower(string(res.Get("content-type"))), ";")
	kind = strings.TrimSpace(kind)
	switch {
	case kind == "application/json" || strings.HasSuffix(kind, "+json"):
		return jsonDetail(res.Body)
	case kind == "text/plain":
		return printable(string(res.Body))
	}
	return ""
}

func jsonDetail(body []byte) string {
	var d jsonview.Doc
	d.Reset(jsonview.JSON, body)
	if d.Parse(jsonview.Limits{MaxDepth: 32}) != nil {
		return ""
	}
	field := func(obj jsonview.Node, name string) string {
		if v := d.Field(obj, name, nil); d.Kind(v) == jsonview.String {
			return d.Str(v, nil)
		}
		return ""
	}
	obj := jsonview.Node(0)
	if inner := d.Field(0, "error", nil); d.Kind(inner) == jsonview.Object {
		obj = inner
	}
	title, detail := field(obj, "title"), field(obj, "detail")
	switch {
	case title != "" && detail != "":
		return printable(title + ": " + detail)
	case title+detail != "":
		return printable(title + detail)
	}
	for _, name := range []string{"message", "error_description", "error", "msg"} {
		if s := field(obj, name); s != "" {
			return printable(s)
		}
	}
	return ""
}

// printable is text that can stand in a log line: bounded, on one line, without characters that act on a terminal.
func printable(s string) string {
	var b strings.Builder
	n, space := 0, false
	for _, r := range s {
		switch {
		case r == utf8.RuneError, unicode.Is(unicode.Cf, r):
			continue
		case unicode.IsSpace(r), unicode.IsControl(r):
			space = b.Len() > 0
			continue
		}
		if n++; n > maxDetail {
			return b.String() + "…"
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// maxRetryAfter bounds what a server may ask for: more is as good as nothing.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header Retry-After: seconds, or a date (RFC 9110, section 10.2.3). 0 is none, or in the past.
func retryAfter(v string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	for _, layout := range []string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC850, time.ANSIC} {
		if at, err := time.Parse(layout, v); err == nil {
			return min(max(at.Sub(now), 0), maxRetryAfter)
		}
	}
	return 0
}

// failure is the error for a request that had no answer.
func failure(err error, place string) error {
	var known *penstock.Error
	if errors.As(err, &known) {
		return err
	}
	var up *upstream.Error
	if !errors.As(err, &up) {
		return &penstock.Error{Code: contextCode(err), Op: "http", Path: place, Err: err}
	}
	e := &penstock.Error{Code: penstock.Unavailable, Op: "http", Path: place, Err: err, Unsent: !up.Sent}
	switch up.Kind {
	case upstream.Refused:
		e.Code, e.Unsent = penstock.Unprocessable, false
	case upstream.Timeout:
		e.Code = penstock.Timeout
	case upstream.TooLarge:
		e.Code, e.Hint = penstock.TooLarge, "raise maxResponse if it is meant"
	case upstream.TLS:
		e.Hint = "look at the server's certificate, and at tls of the Connection"
	case upstream.Protocol:
		e.Hint = "what answers there does not speak HTTP as it should: look at the URL, and at what stands between"
	case upstream.Dial:
		var dns *net.DNSError
		if errors.As(err, &dns) && dns.IsNotFound {
			e.Hint = "look at the host's name in the Connection's url"
		}
	}
	return e
}

func contextCode(err error) penstock.Code {
	if errors.Is(err, context.DeadlineExceeded) {
		return penstock.Timeout
	}
	return penstock.Cancelled
}
