package http

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http/upstream"
	"penstock.dev/penstock/jsonview"
)

// head makes all of a request but its body.
func (k *requester) head(ctx context.Context, w *work, f *penstock.Frame) error {
	var err error
	if w.target, err = appendTarget(w.target[:0], k.up.base, k.path, f); err != nil {
		return err
	}
	if k.query != nil && k.query.Mapping != nil {
		if err := k.addQuery(w, f); err != nil {
			return err
		}
	}
	if w.head, err = k.headers.append(w.head[:0], f); err != nil {
		return err
	}
	if w.head, err = k.up.authorize(w.head, k.headers.has); err != nil {
		return err
	}
	if w.head, err = traced(ctx, w.head, k.headers, f); err != nil {
		return err
	}
	if k.key != nil && !k.key.IsZero() {
		before := len(w.head)
		if w.head, err = appendTemplate(w.head, "Idempotency-Key", k.key, f); err != nil {
			return err
		}
		if len(w.head) == before {
			return &penstock.Error{Code: penstock.Unprocessable, Op: "http", Path: "idempotencyKey", Err: errors.New("it is empty"), Hint: "the request would not be safe to try again: give each message a key of its own"}
		}
	}
	w.req = upstream.Request{Method: k.method, Origin: k.up.origin, Target: w.target, Header: w.head, Repeatable: k.repeats, MaxBody: k.max}
	return nil
}

// headerSet is the headers of a call: those that are the same for all messages as they go over the wire, and templates.
type headerSet struct {
	fixed   []byte
	names   []string
	values  []penstock.Template
	forward []string // names of headers of the message (meta) that are handed on
	has     map[string]bool
	shared  bool // a request is of several messages: nothing of one of them speaks for all
}

// newHeaders puts the headers of a Connection and a use of it together.
func newHeaders(config *ConnectionConfig, own map[string]penstock.Template, forward []string, env penstock.Env) (*headerSet, error) {
	conn, defaults := config.Headers, []string{"Accept", "application/json, */*;q=0.5", "User-Agent", "penstock"}
	if config.Compression != "none" {
		defaults = append(defaults, "Accept-Encoding", "gzip")
	}
	h := &headerSet{has: map[string]bool{}}
	for _, n := range sortedNames(own) {
		h.has[strings.ToLower(n)] = true
		h.names, h.values = append(h.names, n), append(h.values, own[n])
	}
	add := func(name, value string) (err error) {
		if low := strings.ToLower(name); !h.has[low] {
			h.has[low] = true
			h.fixed, err = upstream.AppendField(h.fixed, name, value)
		}
		return err
	}
	for _, n := range sortedNames(conn) {
		value, err := fixedText(conn[n], env)
		if err == nil {
			err = add(n, value)
		}
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Config, Op: "http", Path: conn[n].Pos.String(), Err: err}
		}
	}
	for _, n := range forward {
		low := strings.ToLower(n)
		h.has[low] = true
		h.forward = append(h.forward, low)
	}
	for i := 0; i < len(defaults); i += 2 {
		if err := add(defaults[i], defaults[i+1]); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// append writes the headers for a message. One whose value is empty is left out.
func (h *headerSet) append(dst []byte, f *penstock.Frame) ([]byte, error) {
	dst = append(dst, h.fixed...)
	var err error
	for i, n := range h.names {
		if dst, err = appendTemplate(dst, n, &h.values[i], f); err != nil {
			return dst, err
		}
	}
	for _, n := range h.forward {
		v := f.Msg.Meta.Get(n)
		switch v.Kind() {
		case penstock.KindList, penstock.KindMap:
			continue
		case penstock.KindNode:
			if d, at := v.Node(); d.Kind(at) == jsonview.Object || d.Kind(at) == jsonview.Array {
				continue
			}
		}
		if dst, err = appendValue(dst, n, v); err != nil {
			return dst, err
		}
	}
	return h.appendEvent(dst, f.Msg)
}

// appendTemplate appends a header; none where the value is empty.
func appendTemplate(dst []byte, name string, t *penstock.Template, f *penstock.Frame) ([]byte, error) {
	v := penstock.StringValue(t.Source)
	if t.Program != nil {
		v = t.Program.Eval(f)
	}
	return appendValue(dst, name, v)
}

// traced appends the span that the request belongs to (W3C Trace Context), and the correlation ID of the message.
func traced(ctx context.Context, dst []byte, h *headerSet, f *penstock.Frame) ([]byte, error) {
	var err error
	if t := traceOf(ctx, f.Msg); !t.IsZero() && !h.has["traceparent"] {
		if dst, err = upstream.AppendField(dst, "Traceparent", t.Traceparent()); err == nil && t.State != "" && !h.has["tracestate"] {
			if out, bad := upstream.AppendField(dst, "Tracestate", t.State); bad == nil { // it came from others: where it can't be sent, it ends here
				dst = out
			}
		}
	}
	if err == nil && !h.shared && !h.has["x-correlation-id"] {
		dst, err = appendValue(dst, "X-Correlation-Id", f.Msg.Meta.Get("x-correlation-id"))
	}
	return dst, err
}

// checkHeaders is what a configuration's headers are held to.
func checkHeaders(headers map[string]penstock.Template, forward []string) []error {
	var errs []error
	names := sortedNames(headers)
	if err := twice(slices.Concat(names, forward)); err != nil {
		errs = append(errs, err)
	}
	for _, n := range names {
		if err := checkHeaderName(n, "headers"); err != nil {
			errs = append(errs, err)
			continue
		}
		if slices.Contains(credentials, strings.ToLower(n)) && !strings.Contains(headers[n].Source, "${") {
			errs = append(errs, fmt.Errorf("headers: %s holds a secret, which is never written into a file: use the Connection's auth", n))
		}
	}
	for _, n := range forward {
		if err := checkHeaderName(n, "forward"); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
