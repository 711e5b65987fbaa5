package http

import (
	"context"
	"strconv"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// annotate says of an exchange what its span is to show, where one is recorded (OpenTelemetry's semantic conventions for HTTP
// clients). The path stands there as it is configured, and the query not at all: what is filled in may be nobody else's business.
func (k *requester) annotate(ctx context.Context, w *work, err error) {
	a := penstock.AnnotatorFrom(ctx)
	if a == nil {
		return
	}
	a.SetText("http.request.method", w.req.Method)
	a.SetText("url.template", k.up.base+k.path.Source)
	scheme := "http"
	if w.req.Origin.Secure {
		scheme = "https"
	}
	a.SetText("url.scheme", scheme)
	a.SetText("server.address", w.req.Origin.Host)
	if port, e := strconv.Atoi(w.req.Origin.Port); e == nil {
		a.SetInt("server.port", int64(port))
	}
	if err == nil {
		a.SetInt("http.response.status_code", int64(w.res.Status))
		if w.res.Status >= 400 {
			a.SetText("error.type", strconv.Itoa(w.res.Status))
		}
	}
}

// traceOf is the span that a request belongs to: that of the context, or, where a sink is given several messages at once, that of the
// message.
func traceOf(ctx context.Context, m *penstock.Message) penstock.TraceContext {
	t := penstock.TraceFrom(ctx)
	if !t.IsZero() || m == nil || len(m.Meta.Entries()) == 0 {
		return t
	}
	text := func(name string) string {
		v := m.Meta.Get(name)
		switch v.Kind() {
		case penstock.KindString:
			return v.Str()
		case penstock.KindNode:
			if d, n := v.Node(); d.Kind(n) == jsonview.String {
				return d.Str(n, nil)
			}
		}
		return ""
	}
	if t, ok := penstock.ParseTraceparent(text("traceparent")); ok {
		t.State = text("tracestate")
		return t
	}
	return penstock.TraceContext{}
}
