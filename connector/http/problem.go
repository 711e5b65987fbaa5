package http

import (
	"errors"
	"log/slog"
	nethttp "net/http"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// status is a refusal whose HTTP status says more than a penstock.Code could, with text that is meant for the caller.
type status struct {
	code   int
	detail string
}

// Error is the text.
func (s *status) Error() string { return s.detail }

// problemTypes is where the types of problems are explained: the code is appended.
const problemTypes = "https://penstock.dev/problems/"

// problem makes the answer of what went wrong (RFC 9457).
func (x *exchange) problem(err error) answer {
	p := problemOf(err)
	x.logProblem(p, err)
	a := answer{status: p.status, contentType: "application/problem+json", header: [][2]string{{"X-Content-Type-Options", "nosniff"}, {"Cache-Control", "no-store"}}}
	more := func(name, value string) { a.header = append(a.header, [2]string{name, value}) }
	switch p.status {
	case nethttp.StatusServiceUnavailable, nethttp.StatusTooManyRequests:
		more("Retry-After", strconv.FormatInt(max(1, int64((p.retryAfter+time.Second-1)/time.Second)), 10))
		if errors.Is(err, errCrowded) {
			more("Connection", "close") // what is left of the body is not waited for
		}
	case nethttp.StatusUnsupportedMediaType:
		if errors.Is(err, errCoding) {
			more("Accept-Encoding", "gzip, zstd") // RFC 9110, section 12.5.3
		}
	case nethttp.StatusUnauthorized:
		if x.s.signature != nil {
			more("WWW-Authenticate", "Signature") // RFC 9110, section 15.5.2: some challenge is demanded
		}
	case nethttp.StatusRequestEntityTooLarge, nethttp.StatusRequestTimeout:
		more("Connection", "close") // what is left of the body is not waited for
	}
	x.out = p.appendTo(x.out[:0], x.r.URL.EscapedPath(), x.id)
	a.body = x.out
	return a
}

// problem is what a caller is told.
type problem struct {
	status     int
	code       string // the last part of the type; "" for about:blank
	title      string
	detail     string
	errors     []penstock.Detail
	retryAfter time.Duration
}

// problemOf decides what a caller is told of a failure: the code, and of what is wrong with the request as much as helps; nothing of
// what is inside.
func problemOf(err error) problem {
	var st *status
	if errors.As(err, &st) {
		return problem{status: st.code, title: nethttp.StatusText(st.code), detail: st.detail}
	}
	code := penstock.CodeOf(err)
	p := problem{status: code.HTTPStatus(), code: string(code), title: titles[code]}
	if code == penstock.Config {
		p.code, p.title = string(penstock.Internal), titles[penstock.Internal]
	}
	var e *penstock.Error
	if errors.As(err, &e) {
		p.retryAfter = e.RetryAfter
	}
	p.detail = detailOf(err, code)
	var detailed penstock.Detailed
	if p.detail != "" && errors.As(err, &detailed) {
		p.errors = detailed.Details()
	}
	return p
}

// titles say what a code means, the same each time (RFC 9457, section 3.1.3).
var titles = map[penstock.Code]string{
	penstock.Invalid: "The request is malformed", penstock.Unauthenticated: "The caller is not known", penstock.Forbidden: "The caller may not do this",
	penstock.NotFound: "There is nothing of this name", penstock.Conflict: "The request contradicts what is there", penstock.TooLarge: "The request is too large",
	penstock.Unprocessable: "The request breaks a rule", penstock.Internal: "Something went wrong here", penstock.Limited: "There are too many requests",
	penstock.Unavailable: "The service is not available at the moment", penstock.Timeout: "The answer took too long", penstock.Cancelled: "The request was given up",
}

// spoken are what errors say that they were doing when it was the message that was at fault: the text of such an error speaks of the
// request's own content.
var spoken = map[string]bool{
	"map": true, "set": true, "remove": true, "mask": true, "filter": true, "validate": true, "decode": true, "encode": true, "sort": true,
	"choice": true, "split": true, "forEach": true, "key": true, "when": true, "query": true,
}

// detailOf is what a caller is told beside the code: what a `fail` step says, and what is wrong with the request's content. Of all else,
// which may name hosts, files and tables, nothing.
func detailOf(err error, code penstock.Code) string {
	for next := err; next != nil; {
		var e *penstock.Error
		if !errors.As(next, &e) {
			return ""
		}
		switch {
		case e.Op == "fail" && e.Err != nil:
			return e.Err.Error()
		case (code == penstock.Invalid || code == penstock.Unprocessable) && spoken[e.Op]:
			text := innermost(e)
			if e.Path != "" {
				text = e.Path + ": " + text
			}
			return text
		}
		next = e.Err
	}
	return ""
}

// appendTo appends the document.
func (p *problem) appendTo(b []byte, instance, id string) []byte {
	b = append(b, `{"type":`...)
	if p.code == "" {
		b = append(b, `"about:blank"`...)
	} else {
		b = jsonview.AppendString(b, problemTypes+p.code)
	}
	b = jsonview.AppendString(append(b, `,"title":`...), p.title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.status), 10)
	if p.detail != "" {
		b = jsonview.AppendString(append(b, `,"detail":`...), p.detail)
	}
	b = jsonview.AppendString(append(b, `,"instance":`...), instance)
	if p.code != "" {
		b = jsonview.AppendString(append(b, `,"code":`...), p.code)
	}
	b = jsonview.AppendString(append(b, `,"correlationId":`...), id)
	for i, d := range p.errors {
		if i == 0 {
			b = append(b, `,"errors":[`...)
		} else {
			b = append(b, ',')
		}
		b = jsonview.AppendString(append(b, `{"path":`...), d.Path)
		b = jsonview.AppendString(append(b, `,"detail":`...), d.Message)
		b = append(b, '}')
		if i == len(p.errors)-1 {
			b = append(b, ']')
		}
	}
	return append(b, '}', '\n')
}

// logProblem keeps what the caller is not told, where the engine has not done so.
func (x *exchange) logProblem(p problem, err error) {
	level := slog.LevelDebug
	switch {
	case x.logged:
	case p.status == nethttp.StatusServiceUnavailable || p.status == nethttp.StatusGatewayTimeout:
		level = slog.LevelWarn // too many requests at once, a run that ends, a store that is full
	case p.status >= nethttp.StatusInternalServerError:
		level = slog.LevelError
	}
	ctx := x.r.Context()
	if !x.s.log.Enabled(ctx, level) {
		return
	}
	x.s.log.LogAttrs(ctx, level, "request refused", slog.String("route", x.r.Pattern), slog.String("correlation_id", x.id), slog.Int("status", p.status), slog.Any("error", err))
}
