package otlp

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
)

// Exporter records spans and exports them. It implements [observe.Recorder].
type Exporter struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	queue    *queue
}

var _ observe.Recorder = (*Exporter)(nil)

// New makes an exporter. Nothing is connected yet: a collector that is not there is no error, spans are then dropped and counted.
func New(ctx context.Context, c Config) (*Exporter, error) {
	protocol, err := c.protocol()
	if err != nil {
		return nil, err
	}
	endpoint, err := c.endpoint(protocol)
	if err != nil {
		return nil, err
	}
	var client otlptrace.Client
	if protocol == GRPC {
		var o []otlptracegrpc.Option
		if endpoint != "" {
			o = append(o, otlptracegrpc.WithEndpointURL(endpoint))
		}
		client = otlptracegrpc.NewClient(o...)
	} else {
		var o []otlptracehttp.Option
		if endpoint != "" {
			o = append(o, otlptracehttp.WithEndpointURL(endpoint))
		}
		client = otlptracehttp.NewClient(o...)
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "telemetry", Err: err, Hint: "look at telemetry.traces of the Integration, and at the OTEL_EXPORTER_OTLP_ variables"}
	}
	about, err := c.resource(ctx)
	if err != nil {
		return nil, err
	}
	q := newQueue(exporter, &c)
	provider := sdk.NewTracerProvider(sdk.WithResource(about), sdk.WithSampler(sdk.AlwaysSample()), sdk.WithIDGenerator(ids{}), sdk.WithSpanProcessor(q))
	return &Exporter{provider: provider, tracer: provider.Tracer("penstock.dev/penstock", trace.WithInstrumentationVersion(c.Version)), queue: q}, nil
}

// resource says who it is that the spans come from. What OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say wins.
func (c *Config) resource(ctx context.Context) (*resource.Resource, error) {
	service := c.Service
	if service == "" {
		service = "penstock"
	}
	attrs := []attribute.KeyValue{attribute.String("service.name", service)}
	if c.Version != "" {
		attrs = append(attrs, attribute.String("service.version", c.Version))
	}
	if c.Instance != "" {
		attrs = append(attrs, attribute.String("service.instance.id", c.Instance))
	}
	r, err := resource.New(ctx, resource.WithAttributes(attrs...), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "telemetry", Err: err, Hint: "OTEL_RESOURCE_ATTRIBUTES is written as key=value,key=value"}
	}
	return r, nil
}

// Stats counts spans.
type Stats struct {
	Exported int64
	Dropped  int64 // since the queue was full
	Failed   int64 // that the collector did not take
	Queued   int
}

// Stats says what has become of the spans that ended.
func (e *Exporter) Stats() Stats { return e.queue.stats() }

// Close exports what has ended, for as long as ctx lasts. Spans that end afterwards are dropped.
func (e *Exporter) Close(ctx context.Context) error {
	err := e.queue.Shutdown(ctx) // by itself: the provider does nothing once ctx has ended
	_ = e.provider.Shutdown(ctx)
	return err
}

// identityKey finds the identity of a trace that begins.
type identityKey struct{}

// ids makes identities: that of a trace was made by whoever decided to record it.
type ids struct{}

// NewIDs implements sdk.IDGenerator.
func (g ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	id, ok := ctx.Value(identityKey{}).([16]byte)
	if !ok || id == [16]byte{} {
		binary.BigEndian.PutUint64(id[:8], rand.Uint64()|1)
		binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements sdk.IDGenerator.
func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for {
		if n := rand.Uint64(); n != 0 {
			binary.BigEndian.PutUint64(id[:], n)
			return id
		}
	}
}

var kinds = [...]trace.SpanKind{
	observe.Internal: trace.SpanKindInternal, observe.Server: trace.SpanKindServer, observe.Client: trace.SpanKindClient,
	observe.Producer: trace.SpanKindProducer, observe.Consumer: trace.SpanKindConsumer,
}

// Begin implements observe.Recorder.
func (e *Exporter) Begin(s observe.Start) observe.Recording {
	ctx := context.Background()
	switch {
	case s.Parent.IsZero():
		ctx = context.WithValue(ctx, identityKey{}, s.Trace)
	case s.Local:
		ctx = trace.ContextWithSpanContext(ctx, contextOf(s.Parent))
	default:
		ctx = trace.ContextWithRemoteSpanContext(ctx, contextOf(s.Parent))
	}
	o := []trace.SpanStartOption{trace.WithSpanKind(kinds[s.Kind]), trace.WithAttributes(attributes(s.Attrs)...)}
	if !s.At.IsZero() {
		o = append(o, trace.WithTimestamp(s.At))
	}
	for _, l := range s.Links {
		o = append(o, trace.WithLinks(trace.Link{SpanContext: contextOf(l)}))
	}
	_, span := e.tracer.Start(ctx, s.Name, o...)
	return recording{span}
}

func contextOf(t penstock.TraceContext) trace.SpanContext {
	state, _ := trace.ParseTraceState(t.State) // one that is malformed is none (W3C Trace Context, section 3.3)
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: t.TraceID, SpanID: t.SpanID, TraceFlags: trace.TraceFlags(t.Flags), TraceState: state})
}

func attributes(attrs []observe.Attr) []attribute.KeyValue {
	out := make([]attribute.KeyValue, len(attrs))
	for i, a := range attrs {
		if a.Text != "" {
			out[i] = attribute.String(a.Name, valid(a.Text))
		} else {
			out[i] = attribute.Int64(a.Name, a.Int)
		}
	}
	return out
}

// maxText bounds the texts of attributes and of errors, in bytes: some hold what a message brought along.
const maxText = 2 << 10

// valid makes a text that protobuf takes.
func valid(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// recording is a span of the SDK.
type recording struct{ trace.Span }

// Context implements observe.Recording.
func (r recording) Context() penstock.TraceContext {
	c := r.SpanContext()
	return penstock.TraceContext{TraceID: c.TraceID(), SpanID: c.SpanID(), Flags: byte(c.TraceFlags()), State: c.TraceState().String()}
}

// Annotate implements observe.Recording.
func (r recording) Annotate(attrs ...observe.Attr) { r.SetAttributes(attributes(attrs)...) }

// Fail implements observe.Recording.
func (r recording) Fail(code penstock.Code, text string) {
	text = valid(text)
	r.SetStatus(codes.Error, text)
	r.SetAttributes(attribute.String("error.type", string(code)))
	r.AddEvent("exception", trace.WithAttributes(attribute.String("exception.type", string(code)), attribute.String("exception.message", text)))
}

// End implements observe.Recording.
func (r recording) End(at time.Time) { r.Span.End(trace.WithTimestamp(at)) }
