package run

import (
	"context"
	"encoding/hex"
	"log/slog"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// The headers of W3C Trace Context, in which messages carry their traces.
const (
	traceparent = "traceparent"
	tracestate  = "tracestate"
)

// spanned is a message of an intake, or of a work of groups, that is recorded. There are few of them: whoever holds messages looks
// these up among them, and not the other way round.
type spanned struct {
	idx  int    // of its track in the intake
	at   uint64 // its place among the messages of its work (see place)
	span *observe.Span
}

// placeOf is the place of a message, or of a part of it, among those that travel together.
func placeOf(m *penstock.Message) uint64 { return m.Seq >> 40 }

// traceOf reads the trace that a message came with; zero where there is none.
func traceOf(m *penstock.Message) penstock.TraceContext {
	t, ok := penstock.ParseTraceparent(header(m, traceparent))
	if !ok {
		return penstock.TraceContext{}
	}
	t.State = header(m, tracestate)
	return t
}

// linksOf takes the traces off a message that it was made of.
func linksOf(m *penstock.Message) (out []penstock.TraceContext) {
	text := header(m, observe.LinksHeader)
	if text == "" {
		return nil
	}
	for one := range strings.FieldsSeq(text) {
		if t, ok := penstock.ParseTraceparent(one); ok && len(out) < observe.MaxLinks {
			out = append(out, t)
		}
	}
	m.Meta.Set(observe.LinksHeader, penstock.Absent)
	return out
}

// header is the text of a header; "" where there is none, or it is no text.
func header(m *penstock.Message, name string) string {
	switch v := m.Meta.Get(name); v.Kind() {
	case penstock.KindString:
		return v.Str()
	case penstock.KindNode:
		if d, n := v.Node(); d.Kind(n) == jsonview.String {
			return d.Str(n, nil)
		}
	}
	return ""
}

// carry makes a message carry a trace: those that it is given to are below it.
func carry(m *penstock.Message, t penstock.TraceContext) {
	m.Meta.Set(traceparent, penstock.StringValue(t.Traceparent()))
}

// begun notes when an intake was read, and begins the spans of those of its messages that are recorded.
func (p *pump) begun(in *intake) {
	in.since = p.flow.r.clock.Now()
	in.spans = in.spans[:0]
	if p.dice == nil {
		return
	}
	msgs := in.batch.Msgs
	for i := 0; i < len(msgs); i++ {
		if m := msgs[i]; len(m.Meta.Entries()) > 0 {
			if t := traceOf(m); !t.IsZero() {
				if p.flow.r.tracer.Keeps(t) {
					p.span(in, i, t)
				}
				continue
			}
			if p.stage != nil {
				if links := linksOf(m); links != nil {
					p.span(in, i, penstock.TraceContext{}, links...)
					continue
				}
			}
		}
		// Those without headers in a row.
		to := i + 1
		for to < len(msgs) && len(msgs[to].Meta.Entries()) == 0 {
			to++
		}
		if !p.rolls {
			i = to
		}
		for i < to {
			if i += p.dice.Roll(to - i); i < to {
				if p.flow.r.tracer.Allow(in.since) {
					p.span(in, i, penstock.TraceContext{})
				}
				i++
			}
		}
		i--
	}
}

// traceable says which sources begin traces: what comes from elsewhere. What flows of this run send to one another was decided
// about where it came in.
func (f *flow) traceable() {
	if f.r.tracer == nil {
		return
	}
	for _, p := range f.pumps {
		p.dice = f.r.tracer.Dice()
		p.rolls = p.ep.Channel == "" || p.channel != nil && p.channel.d.producers.Load() == 0 && p.stage == nil && p != f.redriven
	}
}

// span begins the span of one message.
func (p *pump) span(in *intake, i int, parent penstock.TraceContext, links ...penstock.TraceContext) {
	f, m := p.flow, in.batch.Msgs[i]
	s := f.r.tracer.Begin(observe.Start{Name: "process " + f.plan.Name, Kind: observe.Consumer, Parent: parent, Links: links, At: in.since, Attrs: p.attrs(m)})
	carry(m, s.Context())
	in.spans = append(in.spans, spanned{idx: i, at: uint64(i), span: s})
}

// attrs describes a message that was read.
func (p *pump) attrs(m *penstock.Message) []observe.Attr {
	system, destination := "penstock", p.ep.Channel
	if p.ep.Driver != nil {
		system, destination = p.ep.Driver.Spec.Name, p.ep.Label
	}
	out := []observe.Attr{
		observe.Text("messaging.system", system), observe.Text("messaging.destination.name", destination),
		observe.Text("messaging.operation.name", "process"), observe.Text("messaging.operation.type", "process"),
		observe.Text("messaging.message.id", m.Lineage.Origin()), observe.Text("penstock.flow", p.flow.plan.Name),
	}
	if id := header(m, observe.CorrelationHeader); id != "" {
		out = append(out, observe.Text("messaging.message.conversation_id", id))
	}
	return out
}

// spanOf is the span of the message of the flow that a lineage belongs to; nil where it is not recorded.
func spanOf(l penstock.Lineage) *observe.Span {
	switch l := l.(type) {
	case *track:
		for i := range l.in.spans {
			if l.in.spans[i].idx == l.idx {
				return l.in.spans[i].span
			}
		}
	case *lineages:
		return l.span
	}
	return nil
}

// recorded visits those messages of ms that are recorded, each span once: its messages are ms[from:to]. ms is in the order of reading,
// as it is in front of a node.
func (x *exec) recorded(w *work, ms []*penstock.Message, visit func(s *observe.Span, from, to int)) {
	if x.span != nil { // a branch: all of it belongs to one message
		visit(x.span, 0, len(ms))
		return
	}
	if w.in != nil {
		for _, s := range w.in.spans {
			recordedOne(s, ms, visit)
		}
	}
	for _, s := range w.spans {
		recordedOne(s, ms, visit)
	}
}

func recordedOne(s spanned, ms []*penstock.Message, visit func(s *observe.Span, from, to int)) {
	low, high := 0, len(ms)
	for low < high {
		if mid := (low + high) / 2; placeOf(ms[mid]) < s.at {
			low = mid + 1
		} else {
			high = mid
		}
	}
	is := func(i int) bool { return spanOf(ms[i].Lineage) == s.span }
	for low < len(ms) && placeOf(ms[low]) == s.at && !is(low) { // a group stands where the message stood that completed it
		low++
	}
	to := low
	for to < len(ms) && placeOf(ms[to]) == s.at && is(to) {
		to++
	}
	if to > low {
		visit(s.span, low, to)
	}
}

// traces says that something of what w holds may be recorded.
func (x *exec) traces(w *work) bool {
	return x.f.r.tracer != nil && (x.span != nil || len(w.spans) > 0 || w.in != nil && len(w.in.spans) > 0)
}

// stepSpan is the span of one step over the messages that were made of one message.
type stepSpan struct {
	span, above *observe.Span
	ms          []*penstock.Message
}

// traced runs a node with a span for each message that is recorded. What asks somebody for each message has a span
// around each question instead: see asked.
func (x *exec) traced(w *work, pc int, n *node, ms []*penstock.Message) []failure {
	kind, sends := observe.Internal, false
	switch n.Op.(type) {
	case *plan.Call, *plan.Fork, *plan.Loop, *plan.Finish:
		return x.do(w, pc, n, ms)
	case *plan.Send:
		kind, sends = observe.Producer, true
	case *plan.Stage, *plan.Group:
		sends = true
	}
	now := x.f.r.clock.Now()
	var spans []stepSpan
	x.recorded(w, ms, func(above *observe.Span, from, to int) {
		s := above.Child(n.Verb+" "+n.Name, kind, now, n.attrs...)
		if s == nil {
			return
		}
		if to-from > 1 {
			s.SetInt("penstock.messages", int64(to-from))
		}
		st := stepSpan{span: s, above: above, ms: append([]*penstock.Message(nil), ms[from:to]...)}
		if sends { // what is sent is below the sending
			for _, m := range st.ms {
				carry(m, s.Context())
			}
		}
		spans = append(spans, st)
	})
	if len(spans) == 0 {
		return x.do(w, pc, n, ms)
	}
	if len(ms) == len(spans[0].ms) { // all that the driver is given belongs to one message
		x.writing = below(x.ctx, spans[0].span)
	}
	fails := x.do(w, pc, n, ms)
	x.writing = nil
	now = x.f.r.clock.Now()
	for _, st := range spans {
		for _, m := range st.ms {
			if sends {
				carry(m, st.above.Context())
			}
			for i := range fails {
				if fails[i].m == m {
					st.span.Failed(x.f.hide(fails[i].err))
				}
			}
		}
		st.span.End(now)
	}
	return fails
}

// context is what a sink is called with.
func (x *exec) context() context.Context {
	if x.writing != nil {
		return x.writing
	}
	return x.ctx
}

// describe says what the spans of a step say of it: where it stands in the configuration, and what it sends to.
func (n *node) describe(f *flow) []observe.Attr {
	out := []observe.Attr{
		observe.Text("code.function.name", f.plan.Name+"/"+n.Name), observe.Text("code.file.path", n.Pos.File), observe.Int("code.line.number", int64(n.Pos.Line)),
		observe.Text("penstock.flow", f.plan.Name), observe.Text("penstock.step", n.Name), observe.Text("penstock.verb", n.Verb),
	}
	send, ok := n.Op.(*plan.Send)
	if !ok {
		return out
	}
	system, destination := "penstock", send.Endpoint.Channel
	if send.Endpoint.Driver != nil {
		system, destination = send.Endpoint.Driver.Spec.Name, send.Endpoint.Label
	}
	return append(out, observe.Text("messaging.system", system), observe.Text("messaging.destination.name", destination),
		observe.Text("messaging.operation.name", "send"), observe.Text("messaging.operation.type", "send"))
}

// below gives what is done with ctx to a span.
func below(ctx context.Context, s *observe.Span) context.Context {
	return penstock.ContextWithSpan(context.WithValue(ctx, spanKey{}, s), s.Context(), s)
}

// spanKey finds the span that a branch belongs to in its context.
type spanKey struct{}

// asked puts a span around each question of a step.
func (x *exec) asked(w *work, n *node, t task) task {
	if !x.traces(w) {
		return t
	}
	kind := observe.Internal
	if _, ok := n.Op.(*plan.Call); ok {
		kind = observe.Client
	}
	branch := x.span
	return func(ctx context.Context, b *penstock.Batch, m *penstock.Message) (*reply, error) {
		above := branch
		if above == nil {
			above = spanOf(m.Lineage)
		}
		if above == nil {
			return t(ctx, b, m)
		}
		s := above.Child(n.Verb+" "+n.Name, kind, x.f.r.clock.Now(), n.attrs...)
		if s == nil {
			return t(below(ctx, above), b, m)
		}
		defer func() { s.End(x.f.r.clock.Now()) }() // also where it panics
		r, err := t(below(ctx, s), b, m)
		s.Failed(x.f.hide(err))
		return r, err
	}
}

// carried hands the trace on that a message came with, where it is not recorded here.
func carried(ctx context.Context, m *penstock.Message) context.Context {
	if len(m.Meta.Entries()) == 0 || !penstock.TraceFrom(ctx).IsZero() {
		return ctx
	}
	if t := traceOf(m); !t.IsZero() {
		return penstock.ContextWithTrace(ctx, t)
	}
	return ctx
}

// outcomes is what spans call the fates.
var outcomes = [...]string{
	fateDone: "done", fateStopped: "done", fateFiltered: "filtered", fateDead: "dead", fateLost: "lost", fateGrouped: "absorbed", fateLate: "late", fateFailed: "failed",
}

// noteEnds notes when messages ended, and how.
func (x *exec) noteEnds(w *work, ms []*penstock.Message, ft fate) {
	now := x.f.r.clock.Now()
	x.recorded(w, ms, func(s *observe.Span, _, _ int) { s.Done(now, outcomes[ft]) })
}

// died says on a message's span why it is dead-lettered.
func (x *exec) died(m *penstock.Message, step string, cause error) {
	if looks := x.f.r.looks.Load(); looks != nil {
		x.ends(*looks, []*penstock.Message{m}, step, "dead", cause)
	}
	if x.f.r.tracer == nil {
		return
	}
	if s := spanOf(m.Lineage); s != nil {
		s.Failed(cause)
	}
}

// over measures n messages of an intake that are through.
func (in *intake) over(n int) {
	if n > 0 && in.src.counts {
		in.took(n)
	}
}

// took counts n messages of an intake that took until now.
func (in *intake) took(n int) {
	f := in.src.flow
	now := f.r.clock.Now()
	d := now.Sub(in.since)
	f.stats.Duration.Observe(d, n)
	if len(in.spans) > 0 {
		f.stats.Duration.Example(d, in.spans[0].span.Context().TraceID, now)
	}
}

// asked notes when a request came, and begins the spans of those of its messages that are recorded: below the server's own span,
// where the server has one.
func (p *pump) asked(ctx context.Context, in *intake) {
	in.since = p.flow.r.clock.Now()
	in.spans = in.spans[:0]
	t := p.flow.r.tracer
	if t == nil {
		return
	}
	if above := penstock.TraceFrom(ctx); !above.IsZero() {
		for i := range in.batch.Msgs {
			if penstock.AnnotatorFrom(ctx) != nil {
				p.span(in, i, above)
			}
		}
		return
	}
	decided := observe.Decided(ctx)
	for i, m := range in.batch.Msgs {
		if above := traceOf(m); !above.IsZero() && t.Keeps(above) || above.IsZero() && !decided && t.Sampled(in.since) {
			p.span(in, i, above)
		}
	}
}

// answered measures a request, and ends its spans.
func (rq *request) answered() {
	in := rq.in
	in.took(len(rq.ends))
	now := in.since
	if len(in.spans) > 0 {
		now = rq.s.f.r.clock.Now()
	}
	for _, s := range in.spans {
		outcome := outcomes[fateFiltered]
		switch e := &rq.ends[s.idx]; {
		case e.err != nil:
			s.span.Failed(e.err)
			outcome = "failed"
		case e.done > 0:
			outcome = outcomes[fateDone]
		}
		s.span.Done(now, outcome)
		s.span.Close(now)
	}
}

// endSpans ends the spans of an intake of which everything has ended.
func (in *intake) endSpans() {
	if len(in.spans) == 0 {
		return
	}
	now := in.src.flow.r.clock.Now()
	for i := range in.spans {
		in.spans[i].span.Close(now)
	}
}

// groupSpan begins the span of a group's message: a trace of its own, with links to those of its inputs that are recorded.
func (f *flow) groupSpan(grp *openGroup, l *lineages) {
	if f.r.tracer == nil {
		return
	}
	var links []penstock.TraceContext
	var before *observe.Span
	for _, t := range grp.tracks {
		if s := spanOf(t); s != nil && s != before && len(links) < observe.MaxLinks {
			links = append(links, s.Context())
			before = s
		}
	}
	if links == nil {
		return
	}
	l.span = f.r.tracer.Begin(observe.Start{Name: "process " + f.plan.Name, Kind: observe.Consumer, Links: links, At: f.r.clock.Now(), Attrs: []observe.Attr{
		observe.Text("messaging.operation.name", "process"), observe.Text("messaging.operation.type", "process"),
		observe.Int("messaging.batch.message_count", int64(grp.n)), observe.Text("messaging.message.id", l.first), observe.Text("penstock.flow", f.plan.Name),
	}})
}

// isRecorded makes a group's message, and all that is made of it, known to the work that holds it.
func (w *work) isRecorded(m *penstock.Message) {
	if l, ok := m.Lineage.(*lineages); ok && l.span != nil {
		carry(m, l.span.Context())
		w.spans = append(w.spans, spanned{at: placeOf(m), span: l.span})
	}
}

// logDead writes to the log that a message is dead-lettered.
func (x *exec) logDead(m *penstock.Message, cause error, step string) {
	level := slog.LevelDebug
	if x.f.r.opts.WarnDead {
		level = slog.LevelWarn
	}
	if !x.f.log.Enabled(x.ctx, level) {
		return
	}
	attrs := identities(make([]slog.Attr, 0, 7), m)
	x.f.log.LogAttrs(x.ctx, level, "dead-lettered", append(attrs, slog.String("step", step), slog.Any("error", cause))...)
}

// logFailed writes to the log that a request failed: an error where the fault is here, a warning where it may pass by itself; what the
// caller did wrong, or gave up, is there for whoever looks for it.
func (x *exec) logFailed(m *penstock.Message, cause error, step string) {
	level := slog.LevelDebug
	switch code := penstock.CodeOf(cause); {
	case code == penstock.Internal || code == penstock.Config:
		level = slog.LevelError
	case code.Transient():
		level = slog.LevelWarn
	}
	if !x.f.log.Enabled(x.ctx, level) {
		return
	}
	attrs := identities(make([]slog.Attr, 0, 7), m)
	x.f.log.LogAttrs(x.ctx, level, "request failed", append(attrs, slog.String("step", step), slog.Any("error", cause))...)
}

// identities appends what a line of the log says of a message, for whoever looks for it elsewhere.
func identities(attrs []slog.Attr, m *penstock.Message) []slog.Attr {
	message, correlation := m.Lineage.Origin(), strings.Clone(header(m, observe.CorrelationHeader))
	if t := traceOf(m); !t.IsZero() {
		trace := hex.EncodeToString(t.TraceID[:])
		attrs = append(attrs, slog.String("trace_id", trace), slog.String("span_id", hex.EncodeToString(t.SpanID[:])))
		if correlation == "" {
			correlation = trace
		}
	}
	if correlation == "" {
		correlation = message
	}
	return append(attrs, slog.String("message_id", message), slog.String("correlation_id", correlation))
}
