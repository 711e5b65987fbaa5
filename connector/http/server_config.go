package http

import (
	"errors"
	"fmt"
	"maps"
	nethttp "net/http"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// ServerConfig is the configuration of the server: `from: {http: {post: /orders}}`.
type ServerConfig struct {
	// The path that GET requests come to; HEAD requests are answered as GET, without the body. A path matches exactly, also at its
	// end: /orders and /orders/ are two paths. `{name}` stands for one segment, which expressions read as
	// request.path.name, and `{name...}` at the end for all that follows. Segments are decoded once, an encoded slash is data, and a path with
	// segments of dots is refused. Where several flows have paths that match, the one that says more is asked.
	Get string `json:"get" penstock:"literal"`
	// The path that POST requests come to.
	Post string `json:"post" penstock:"literal"`
	// The path that PUT requests come to.
	Put string `json:"put" penstock:"literal"`
	// The path that PATCH requests come to.
	Patch string `json:"patch" penstock:"literal"`
	// The path that DELETE requests come to.
	Delete string `json:"delete" penstock:"literal"`
	// The path that requests of every method come to, for which there is no other.
	Any string `json:"any" penstock:"literal"`
	// How bodies are read. json: one document, application/json or any type that ends in +json, and it is checked before the flow sees it. Any other codec
	// reads the whole body, as a decode step does: csv gives the list of its records. A request whose content-type is another is
	// answered with 415; one that says nothing about it is read as if it did. A request without a body has the body null, whatever the
	// format.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// Read the body as a stream of the format's records (json: one document after the other, as in lines; csv: rows), each of which is a message of its own,
	// with its line in meta.line. However large a body is, little of it is in memory at a time: it is read as fast as the flow works. maxBody is then the
	// bound of one record, and timeout that of the next records, to come and to be worked on. The flow sends them elsewhere (`to`); when all of them are
	// durable the answer is 202 with {accepted}. Records that fail take no other with them: the answer is then a problem document with
	// accepted, failed and, of the first 100 that failed, records: line, code and detail. A failure that may pass (unavailable, timeout …) ends the reading there. What was
	// accepted stays so, also where the connection breaks; `id` beside the server tells records that come again.
	Stream bool `json:"stream"`
	// Further content types that are read with the format, such as `text/xml`. `*/*` is any.
	ContentTypes []string `json:"contentTypes"`
	// The largest body, in bytes, also of what comes out of one that is compressed. A larger one is answered with 413. Bodies may
	// come with a content-encoding of gzip or zstd; they may not grow more than two hundredfold beyond 1 MiB.
	MaxBody penstock.Size `json:"maxBody" penstock:"min=1,default=1Mi"`
	// How long the flow may take to answer; then the request is answered with 504. What of the flow was done by then stays done.
	Timeout penstock.Duration `json:"timeout" penstock:"min=1ms,default=30s"`
	// How many requests the flow works on at a time. Those beyond are answered with 503 and asked to come again. Bodies that are being received take at most
	// as much memory as so many of the largest (maxRequests × maxBody); beyond that, too, the answer is 503.
	MaxRequests int `json:"maxRequests" penstock:"min=1,max=1000000,default=1024"`
	// Headers that become meta although they are left out by default, since they hold credentials: authorization, cookie, proxy-authorization. All
	// other headers of a request become meta, under their names in lower case, but for those that are about the connection.
	Credentials []string `json:"credentials"`
	// How requests prove where they come from. Left out, they need not.
	Signature *SignatureConfig `json:"signature"`
	// How requests that are sent again are known. Left out, each is a new one.
	Idempotency *IdempotencyConfig `json:"idempotency"`
	// How requests are answered.
	Reply ReplyConfig `json:"reply"`
}

// ReplyConfig says how requests are answered that went through.
type ReplyConfig struct {
	// The status of an answer with a body. Default: 200. A flow that sends its messages elsewhere (`to`) answers with 202 when they are durable, and one that has
	// filtered the message out with 204, both without a body; where a status is said here, it is that.
	Status int `json:"status" penstock:"min=200,max=599"`
	// How the answer's body is written.
	Format penstock.Format `json:"format" penstock:"default=json,at=reply"`
	// The content-type of the answer. Default: that of the format, such as application/json.
	ContentType string `json:"contentType" penstock:"nonempty"`
	// Further headers of the answer, by name. They may speak of what the flow has made: body, meta, vars, key and request; one whose template gives nothing is left
	// out. A failure is answered without them.
	Header map[string]penstock.Template `json:"header" penstock:"place=header,at=reply"`
	// Compress answers of text (JSON, CSV, XML, text) from 1 KiB on with gzip, for callers whose accept-encoding takes it. It costs about 2 µs of a processor for
	// each KiB, so leave it to what stands in front where something does. Where an answer holds a secret beside what its caller has sent, its length tells of the
	// secret (BREACH): leave it out there.
	Gzip bool `json:"gzip"`
}

// RegisterServer adds the server.
func RegisterServer(r *penstock.Registry) {
	penstock.RegisterServer(r, penstock.Spec{
		Name: "http",
		Summary: "Answers HTTP requests: what the flow makes of a request is the reply, and a failure is a problem document (RFC 9457). " +
			"A flow that sends its messages elsewhere answers when they are durable.",
		Settle: penstock.Each,
		Replay: penstock.ReplayAgain,
	}, NewServer)
}

// Routes implements penstock.Routed.
func (c *ServerConfig) Routes() []penstock.HTTPRoute {
	var out []penstock.HTTPRoute
	for _, r := range []penstock.HTTPRoute{
		{Method: nethttp.MethodGet, Path: c.Get}, {Method: nethttp.MethodPost, Path: c.Post}, {Method: nethttp.MethodPut, Path: c.Put},
		{Method: nethttp.MethodPatch, Path: c.Patch}, {Method: nethttp.MethodDelete, Path: c.Delete}, {Path: c.Any},
	} {
		if r.Path != "" {
			out = append(out, r)
		}
	}
	return out
}

// Validate implements penstock.Resolver.
func (c *ServerConfig) Validate() []error {
	var errs []error
	if len(c.Routes()) == 0 {
		errs = append(errs, errors.New("there is no path: write `get: /path`, or post, put, patch, delete or any"))
	}
	for _, t := range c.ContentTypes {
		if kind, sub, ok := strings.Cut(t, "/"); !ok || !isToken(kind) || !isToken(sub) || t != strings.ToLower(t) {
			errs = append(errs, fmt.Errorf("contentTypes: %q is no content type: write it in lower case and without parameters, as text/xml or */*", t))
		}
	}
	for _, h := range c.Credentials {
		if !isCredential(h) {
			errs = append(errs, fmt.Errorf("credentials: %q is not left out of meta anyway; only authorization, cookie and proxy-authorization are", h))
		}
	}
	if c.Reply.Status == nethttp.StatusNoContent || c.Reply.Status == nethttp.StatusResetContent || c.Reply.Status == nethttp.StatusNotModified {
		errs = append(errs, fmt.Errorf("reply.status: an answer of %d has no body; a flow that filters its message out answers with 204", c.Reply.Status))
	}
	if !isHeaderValue(c.Reply.ContentType) {
		errs = append(errs, errors.New("reply.contentType: it has characters that no header may have"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Reply.Header)) {
		if !isToken(name) {
			errs = append(errs, fmt.Errorf("reply.header: %q is no name of a header", name))
		} else if why, ok := ownHeaders[strings.ToLower(name)]; ok {
			errs = append(errs, fmt.Errorf("reply.header: %s %s", name, why))
		}
	}
	if c.Stream {
		errs = append(errs, c.streamable()...)
	}
	if c.Signature != nil {
		errs = append(errs, c.Signature.validate()...)
	}
	if c.Idempotency != nil && !isToken(c.Idempotency.Header) {
		errs = append(errs, fmt.Errorf("idempotency.header: %q is no name of a header", c.Idempotency.Header))
	}
	return errs
}

// streamable says what can't be where bodies are streams.
func (c *ServerConfig) streamable() []error {
	var errs []error
	if c.Signature != nil {
		errs = append(errs, errors.New("stream: a signature is that of a whole body, which is not read at once here; leave one of them out"))
	}
	if c.Idempotency != nil {
		errs = append(errs, errors.New("stream: records are known one by one; write `id: …` beside the server in place of idempotency"))
	}
	r := c.Reply
	if r.Status != 0 || r.ContentType != "" || len(r.Header) > 0 || r.Gzip || r.Format.Name != "" && r.Format.Name != "json" {
		errs = append(errs, errors.New("stream: the answer says how many records were accepted, and nothing else; leave reply out"))
	}
	if c.Get != "" || c.Delete != "" {
		errs = append(errs, errors.New("stream: requests with get and delete have no body; write post, put or patch"))
	}
	return errs
}

// Streamed implements penstock.Streamed.
func (c *ServerConfig) Streamed() bool { return c.Stream }

// ownHeaders are headers of answers that nobody sets but the server.
var ownHeaders = map[string]string{
	"content-type": "is said with reply.contentType", "content-length": "is set by the server", "transfer-encoding": "is set by the server",
	"connection": "is set by the server", "keep-alive": "is set by the server", "upgrade": "is set by the server", "te": "is set by the server", "trailer": "is set by the server",
	"date": "is set by the server", "x-correlation-id": "is set by the server: it is the request's, or a new one",
}

// OutputType implements penstock.Typed: what a request brings is anything, unless a schema says more.
func (c *ServerConfig) OutputType() *types.Type { return types.DynType }

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// isHeaderValue reports whether s can stand in a header: nothing that ends a line, or controls anything.
func isHeaderValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func isCredential(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "cookie", "proxy-authorization":
		return true
	}
	return false
}
