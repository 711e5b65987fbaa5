package observe

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
)

type decidedKey struct{}

// Decide returns a context that says that whoever made it has decided about the tracing of what is done with it: what carries no
// trace is not to be recorded.
func Decide(ctx context.Context) context.Context { return context.WithValue(ctx, decidedKey{}, true) }

// Decided reports whether it was decided before.
func Decided(ctx context.Context) bool { return ctx.Value(decidedKey{}) != nil }

// ServeHTTP answers a request with h, and records a span of it where it is sampled. r.Pattern is its route ("POST /orders/{id}").
// The server's base context must be a decided one (see [Decide]).
func (t *Tracer) ServeHTTP(w http.ResponseWriter, r *http.Request, h http.Handler) {
	parent, came, now := penstock.TraceContext{}, false, time.Now()
	if v := r.Header["Traceparent"]; len(v) == 1 {
		if parent, came = penstock.ParseTraceparent(v[0]); came {
			parent.State = strings.Join(r.Header["Tracestate"], ",")
		}
	}
	if came && !t.Keeps(parent) || !came && !t.Sampled(now) {
		h.ServeHTTP(w, r)
		return
	}
	_, route, ok := strings.Cut(r.Pattern, " ")
	if !ok {
		route = r.Pattern
	}
	attrs := []Attr{Text("http.request.method", r.Method), Text("url.path", r.URL.Path), Text("url.scheme", scheme(r)), Text("network.protocol.version", strings.TrimPrefix(r.Proto, "HTTP/")), Text("server.address", r.Host)}
	name := r.Method
	if route != "" {
		name += " " + route
		attrs = append(attrs, Text("http.route", route))
	}
	if ua := r.UserAgent(); ua != "" {
		attrs = append(attrs, Text("user_agent.original", ua))
	}
	if r.ContentLength > 0 {
		attrs = append(attrs, Int("http.request.body.size", r.ContentLength))
	}
	s := t.Begin(Start{Name: name, Kind: Server, Parent: parent, At: now, Attrs: attrs})
	seen := &status{ResponseWriter: w}
	defer func() {
		code := seen.code
		if code == 0 {
			code = http.StatusOK
		}
		s.Annotate(Int("http.response.status_code", int64(code)), Int("http.response.body.size", seen.bytes))
		if code >= http.StatusInternalServerError { // what the caller did wrong is no error of the server's span
			s.SetText("error.type", strconv.Itoa(code))
			s.Fail(codeOf(code), http.StatusText(code))
		}
		s.Close(time.Now())
	}()
	h.ServeHTTP(seen, r.WithContext(penstock.ContextWithSpan(r.Context(), s.Context(), s)))
}

func scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func codeOf(status int) penstock.Code {
	for _, c := range penstock.Codes() {
		if c.HTTPStatus() == status {
			return c
		}
	}
	return penstock.Internal
}

// status is a ResponseWriter that notes what is answered.
type status struct {
	http.ResponseWriter
	code  int
	bytes int64
}

// WriteHeader implements http.ResponseWriter.
func (s *status) WriteHeader(code int) {
	if s.code == 0 && code >= http.StatusOK {
		s.code = code
	}
	s.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (s *status) Write(p []byte) (int, error) {
	n, err := s.ResponseWriter.Write(p)
	s.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }
