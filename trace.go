package penstock

import (
	"context"
	"encoding/hex"
)

// TraceContext names a span of a distributed trace (W3C Trace Context). The zero TraceContext is none.
type TraceContext struct {
	TraceID [16]byte
	SpanID  [8]byte
	Flags   byte // bit 0: sampled
	// State is the header tracestate that came with it, which is handed on as it is; "" for none.
	State string
}

// IsZero reports that there is no trace.
func (t TraceContext) IsZero() bool { return t.TraceID == [16]byte{} }

// Sampled reports that the trace is recorded.
func (t TraceContext) Sampled() bool { return t.Flags&1 != 0 }

// Traceparent writes the value of the header traceparent, version 00; "" for no trace.
func (t TraceContext) Traceparent() string {
	if t.IsZero() {
		return ""
	}
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, t.TraceID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, t.SpanID[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, []byte{t.Flags})
	return string(b)
}

// ParseTraceparent reads a header traceparent (W3C Trace Context, section 3.2). What is malformed is no trace, as the
// specification wants it; fields behind those of version 00 are left to later versions.
func ParseTraceparent(s string) (TraceContext, bool) {
	var t TraceContext
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" || s[:2] == "00" && len(s) != 55 || len(s) > 55 && s[55] != '-' {
		return TraceContext{}, false
	}
	var version, flags [1]byte
	for _, f := range []struct {
		to   []byte
		text string
	}{{version[:], s[:2]}, {t.TraceID[:], s[3:35]}, {t.SpanID[:], s[36:52]}, {flags[:], s[53:55]}} {
		if !lowerHex(f.to, f.text) {
			return TraceContext{}, false
		}
	}
	t.Flags = flags[0] & 1
	if t.IsZero() || t.SpanID == [8]byte{} {
		return TraceContext{}, false
	}
	return t, true
}

// lowerHex decodes hexadecimal digits; the specification refuses upper-case ones.
func lowerHex(to []byte, s string) bool {
	digit := func(c byte) (byte, bool) {
		switch {
		case c >= '0' && c <= '9':
			return c - '0', true
		case c >= 'a' && c <= 'f':
			return c - 'a' + 10, true
		}
		return 0, false
	}
	for i := range to {
		high, ok := digit(s[2*i])
		low, ok2 := digit(s[2*i+1])
		if !ok || !ok2 {
			return false
		}
		to[i] = high<<4 | low
	}
	return true
}

// Annotator takes attributes of the span that a driver works in, under the names of OpenTelemetry's semantic conventions
// (http.request.method, server.address). It is safe for concurrent use.
type Annotator interface {
	SetText(name, value string)
	SetInt(name string, value int64)
}

type traceKey struct{}

type traceValue struct {
	trace TraceContext
	span  Annotator
}

// ContextWithTrace returns a context that carries the span which what is done with it belongs to. The engine calls
// drivers with one where a trace is recorded or came with the message; a driver that speaks to others hands it on.
func ContextWithTrace(ctx context.Context, t TraceContext) context.Context {
	return context.WithValue(ctx, traceKey{}, traceValue{trace: t})
}

// ContextWithSpan is [ContextWithTrace] for a span that is recorded: a takes its attributes.
func ContextWithSpan(ctx context.Context, t TraceContext, a Annotator) context.Context {
	return context.WithValue(ctx, traceKey{}, traceValue{t, a})
}

// TraceFrom finds the span that ctx belongs to; zero where there is none. A sink that is given a batch of several messages finds
// the trace of each in its header traceparent instead.
func TraceFrom(ctx context.Context) TraceContext {
	v, _ := ctx.Value(traceKey{}).(traceValue)
	return v.trace
}

// AnnotatorFrom finds what takes the attributes of the span that ctx belongs to; nil where nothing is recorded, so that a
// driver makes up attributes only where somebody wants them.
func AnnotatorFrom(ctx context.Context) Annotator {
	v, _ := ctx.Value(traceKey{}).(traceValue)
	return v.span
}
