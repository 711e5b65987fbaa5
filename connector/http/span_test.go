package http

import (
	"context"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

func TestTraceOfAMessage(t *testing.T) {
	const came = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	doc := new(jsonview.Doc)
	doc.Reset(jsonview.JSON, []byte(`"`+came+`"`))
	if err := doc.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	own := penstock.TraceContext{TraceID: [16]byte{1}, SpanID: [8]byte{2}}
	for _, c := range []struct {
		name string
		ctx  penstock.TraceContext
		meta penstock.Value
		want string
	}{
		{"none", penstock.TraceContext{}, penstock.Absent, ""},
		{"of the context", own, penstock.StringValue(came), own.Traceparent()},
		{"of the message", penstock.TraceContext{}, penstock.StringValue(came), came},
		{"of the message, as it was read", penstock.TraceContext{}, penstock.NodeValue(doc, 0), came},
		{"malformed", penstock.TraceContext{}, penstock.StringValue(came + "x"), ""},
		{"no text", penstock.TraceContext{}, penstock.IntValue(1), ""},
	} {
		m := &penstock.Message{}
		m.Meta.Set("traceparent", c.meta)
		m.Meta.Set("tracestate", penstock.StringValue("a=1"))
		ctx := context.Background()
		if !c.ctx.IsZero() {
			ctx = penstock.ContextWithTrace(ctx, c.ctx)
		}
		got := traceOf(ctx, m)
		if got.Traceparent() != c.want || c.name == "of the message" && got.State != "a=1" {
			t.Errorf("%s: %s %q", c.name, got.Traceparent(), got.State)
		}
	}
}
