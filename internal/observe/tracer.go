package observe

import (
	"math/rand/v2"
	"time"

	"penstock.dev/penstock"
)

// Kind is the part that a span plays between two processes, as OpenTelemetry has it.
type Kind uint8

// The kinds of spans.
const (
	Internal Kind = iota // inside of this process
	Server               // answers a request
	Client               // asks, and waits for the answer
	Producer             // sends a message
	Consumer             // works on a message
)

// Attr is an attribute of a span: a text, or a number where Text is "".
type Attr struct {
	Name string
	Text string
	Int  int64
}

// Text makes an attribute.
func Text(name, value string) Attr { return Attr{Name: name, Text: value} }

// Int makes an attribute.
func Int(name string, value int64) Attr { return Attr{Name: name, Int: value} }

// Start is how a span begins.
type Start struct {
	Name   string
	Kind   Kind
	Parent penstock.TraceContext // zero: it begins the trace whose identity is Trace
	Local  bool                  // Parent is a span of this process, which was not handed on by a message
	Trace  [16]byte
	Links  []penstock.TraceContext // of others that had a part in it
	At     time.Time
	Attrs  []Attr
}

// Recorder keeps spans, and sends them somewhere. It is safe for concurrent use, and never blocks: what it has no room for it
// drops, and counts.
type Recorder interface {
	Begin(s Start) Recording
}

// Recording is one span that is being recorded. It is safe for concurrent use. After End nothing has an effect.
type Recording interface {
	// Context names the span, for those below it.
	Context() penstock.TraceContext
	// Annotate adds attributes.
	Annotate(attrs ...Attr)
	// Fail says that what the span is about has failed: the code of the failure, and its text.
	Fail(code penstock.Code, text string)
	// End ends the span.
	End(at time.Time)
}

// Tracer begins the spans of messages. It is safe for concurrent use. A nil *Tracer records nothing: who has one that may be
// nil asks for that once a batch.
type Tracer struct {
	recorder Recorder
	sampling Sampling
	random   func() uint64
	limit    limiter
}

// NewTracer makes a tracer. random gives random numbers to any goroutine; nil is math/rand/v2's.
func NewTracer(r Recorder, s Sampling, random func() uint64) *Tracer {
	if random == nil {
		random = rand.Uint64
	}
	t := &Tracer{recorder: r, sampling: s, random: random}
	t.limit.init(s.Limit)
	return t
}

// Sampled decides for one message that brings no trace along, at now.
func (t *Tracer) Sampled(now time.Time) bool {
	return t.random()>>1 < t.sampling.bound() && t.limit.allow(now)
}

// Allow lets a message that the dice fell on begin a trace at now, unless there are too many (Sampling.Limit).
func (t *Tracer) Allow(now time.Time) bool { return t.limit.allow(now) }

// Passed is how many messages began no trace since there were too many.
func (t *Tracer) Passed() int64 { return t.limit.passed.Load() }

// Keeps decides for a message that came with a trace.
func (t *Tracer) Keeps(parent penstock.TraceContext) bool { return t.sampling.keeps(parent) }

// Begin begins the span of a message or of a request that is recorded. Where s has no parent it begins a trace.
func (t *Tracer) Begin(s Start) *Span {
	if s.Parent.IsZero() {
		s.Trace = t.sampling.identity(t.random)
	}
	return &Span{tracer: t, Recording: t.recorder.Begin(s)}
}
