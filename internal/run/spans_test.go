package run

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// tape is a recorder that keeps everything.
type tape struct {
	mu    sync.Mutex
	spans []*taped
}

type taped struct {
	observe.Start
	t      *tape
	id     penstock.TraceContext
	attrs  map[string]string
	failed penstock.Code
	ended  int
}

func (t *tape) Begin(s observe.Start) observe.Recording {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &taped{Start: s, t: t, attrs: map[string]string{}}
	r.id = penstock.TraceContext{TraceID: s.Trace, Flags: 1}
	if !s.Parent.IsZero() {
		r.id.TraceID, r.id.State = s.Parent.TraceID, s.Parent.State
	}
	binary.BigEndian.PutUint64(r.id.SpanID[:], uint64(len(t.spans)+1))
	t.spans = append(t.spans, r)
	r.note(s.Attrs)
	return r
}

func (s *taped) note(attrs []observe.Attr) {
	for _, a := range attrs {
		if s.attrs[a.Name] = a.Text; a.Text == "" {
			s.attrs[a.Name] = fmt.Sprint(a.Int)
		}
	}
}

func (s *taped) Context() penstock.TraceContext { return s.id }
func (s *taped) Annotate(attrs ...observe.Attr) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.note(attrs)
}

func (s *taped) Fail(code penstock.Code, _ string) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.failed = code
}

func (s *taped) End(time.Time) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.ended++
}

// tree writes the spans as a tree, each below its parent.
func (t *tape) tree(tb testing.TB) string {
	tb.Helper()
	var b strings.Builder
	var write func(above penstock.TraceContext, depth int)
	seen := 0
	write = func(above penstock.TraceContext, depth int) {
		for _, s := range t.spans {
			if s.Parent.SpanID != above.SpanID || depth > 0 && s.id.TraceID != above.TraceID {
				continue
			}
			seen++
			fmt.Fprintf(&b, "%s%s", strings.Repeat("  ", depth), s.Name)
			if s.failed != "" {
				fmt.Fprintf(&b, " !%s", s.failed)
			}
			if o := s.attrs["penstock.outcome"]; o != "" {
				fmt.Fprintf(&b, " %s", o)
			}
			if n := s.attrs["penstock.messages"]; n != "" {
				fmt.Fprintf(&b, " x%s", n)
			}
			if len(s.Links) > 0 {
				fmt.Fprintf(&b, " links=%d", len(s.Links))
			}
			if s.ended != 1 {
				fmt.Fprintf(&b, " ENDED %d TIMES", s.ended)
			}
			b.WriteByte('\n')
			write(s.id, depth+1)
		}
	}
	write(penstock.TraceContext{}, 0)
	if seen != len(t.spans) {
		for _, s := range t.spans {
			tb.Logf("%s parent %x id %x", s.Name, s.Parent.SpanID, s.id.SpanID)
		}
		tb.Errorf("%d of %d spans hang on nothing", len(t.spans)-seen, len(t.spans))
	}
	return b.String()
}

func always(t *tape) *observe.Tracer { return observe.NewTracer(t, observe.Sampling{Ratio: 1}, nil) }

// runTraced runs a bench with a tracer.
func (b *bench) runTraced(t testing.TB, tr *observe.Tracer, channels ...*plan.Channel) *Summary {
	t.Helper()
	b.dead = &noted{}
	p := &plan.Plan{Flows: []*plan.Flow{b.flow}, Channels: channels}
	return b.runPlan(t, p, tr)
}

func (b *bench) runPlan(t testing.TB, p *plan.Plan, tr *observe.Tracer) *Summary {
	t.Helper()
	b.dead = &noted{}
	for _, f := range p.Flows {
		if f.OnError.Retry.Attempts == 0 {
			f.OnError.Retry = plan.Retry{Attempts: 5, Factor: 2}
		}
		if f.Sources == nil {
			f.Sources = []*plan.Endpoint{sourceEndpoint()}
		}
	}
	r, err := New(p, Options{Clock: b.clock, DeadLetters: t.TempDir(), Tracer: tr, Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		switch {
		case role == RoleDeadLetter:
			return b.dead, true
		case ep.Channel != "":
			return nil, false
		case role == RoleSource:
			return b.source, true
		case role == RoleSink:
			s := b.sinks[ep.Name]
			return s, s != nil
		}
		c := b.callers[ep.Name]
		return c, c != nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := r.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func apply(name string, s steps) plan.Node {
	return plan.Node{Name: name, Verb: "map", Op: &plan.Apply{Step: parsed(s)}}
}

func nothing(*penstock.Batch, *penstock.Message) error { return nil }

// asker is a caller that sees its context.
type asker func(ctx context.Context, f *penstock.Frame) error

func (asker) Open(context.Context) error  { return nil }
func (asker) Close(context.Context) error { return nil }
func (a asker) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	into.Body.Reset(jsonview.JSON, []byte("{}"))
	return a(ctx, f)
}

func TestSpansOfOneMessage(t *testing.T) {
	failsOnce := map[string]bool{}
	var mu sync.Mutex
	for _, c := range []struct {
		name  string
		nodes []plan.Node
		want  string
	}{
		{"steps and a sink", next(apply("a", nothing), send("out")),
			"process f done\n  map a\n  to out\n"},
		{"filtered", next(apply("a", func(*penstock.Batch, *penstock.Message) error { return errDrop }), send("out")),
			"process f filtered\n  map a\n"},
		{"dead", next(apply("a", func(*penstock.Batch, *penstock.Message) error { return penstock.E(penstock.Conflict, "a", "", "no") }), send("out")),
			"process f !conflict dead\n  map a !conflict\n"},
		{"tried again", next(apply("a", func(_ *penstock.Batch, m *penstock.Message) error {
			mu.Lock()
			defer mu.Unlock()
			key := string(m.Body.Bytes())
			if !failsOnce[key] {
				failsOnce[key] = true
				return penstock.E(penstock.Unavailable, "a", "", "not now")
			}
			failsOnce[key] = false
			return nil
		}), send("out")),
			"process f done\n  map a !unavailable\n  map a\n  to out\n"},
		{"call", next(plan.Node{Name: "c", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true}}, send("out")),
			"process f done\n  call c\n  to out\n"},
		{"split", next(plan.Node{Name: "s", Verb: "split", Op: &plan.Split{Each: field("list"), As: -1, Index: -1}}, send("out")),
			"process f done\n  split s\n  to out x3\n"},
		{"branches", next(plan.Node{Name: "p", Verb: "parallel", Op: &plan.Fork{Branches: []plan.Sub{
			{Name: "x", Nodes: next(apply("inx", nothing))},
			{Name: "y", Nodes: next(plan.Node{Name: "iny", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true}})},
		}, Concurrency: 1}}, send("out")),
			"process f done\n  parallel p\n    map inx\n    call iny\n  to out\n"},
	} {
		for _, order := range orders {
			t.Run(c.name+"/"+string(order), func(t *testing.T) {
				clear(failsOnce)
				tp := &tape{}
				b := &bench{
					flow:    &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 2, Nodes: slices.Clone(c.nodes), OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: 3}}},
					source:  &lines{docs: docs(1, `{"n":%d,"k":"a","list":[1,2,3]}`)},
					sinks:   map[string]*noted{"out": {}},
					callers: map[string]penstock.Caller{"ask": asker(func(context.Context, *penstock.Frame) error { return nil })},
				}
				b.runTraced(t, always(tp))
				if got := tp.tree(t); got != c.want {
					t.Errorf("got\n%swant\n%s", got, c.want)
				}
			})
		}
	}
}

func TestSpanSaysWhatItIsAbout(t *testing.T) {
	tp := &tape{}
	nodes := next(apply("a", nothing))
	nodes[0].Pos = penstock.Pos{File: "flow.yaml", Line: 7}
	b := &bench{flow: &plan.Flow{Name: "f", Order: plan.Total, Nodes: nodes}, source: &lines{docs: docs(1, `{"n":%d}`)}}
	b.runTraced(t, always(tp))
	for name, want := range map[string]string{"messaging.message.id": "lines@0", "penstock.flow": "f", "messaging.operation.type": "process"} {
		if got := tp.spans[0].attrs[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{"code.file.path": "flow.yaml", "code.line.number": "7", "penstock.step": "a"} {
		if got := tp.spans[1].attrs[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestTraceThatCameIsGoneOnWith(t *testing.T) {
	const came = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
	for _, c := range []struct {
		flags   string
		spans   int
		calls   string // the trace that a driver is called with
		through string // … and what stands in front of it
	}{
		{"1", 3, "0af7651916cd43dd8448eb211c80319c", ""},
		{"0", 0, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"},
	} {
		tp := &tape{}
		var trace penstock.TraceContext
		out := &noted{}
		b := &bench{
			flow: &plan.Flow{Name: "f", Order: plan.None, Nodes: next(
				plan.Node{Name: "c", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask")}}, send("out"))},
			source: &lines{docs: []string{`{}`}},
			sinks:  map[string]*noted{"out": out},
			callers: map[string]penstock.Caller{"ask": asker(func(ctx context.Context, _ *penstock.Frame) error {
				trace = penstock.TraceFrom(ctx)
				return nil
			})},
		}
		src := &headed{lines: b.source, headers: map[string]string{"traceparent": came + c.flags, "tracestate": "vendor=x"}}
		b.flow.Sources = []*plan.Endpoint{sourceEndpoint()}
		b.runFrom(t, src, observe.NewTracer(tp, observe.Sampling{Ratio: 0}, nil))
		if len(tp.spans) != c.spans {
			t.Errorf("flags %s: %d spans", c.flags, len(tp.spans))
		}
		if got := fmt.Sprintf("%x", trace.TraceID); got != c.calls || trace.State != "vendor=x" {
			t.Errorf("flags %s: called with %+v", c.flags, trace)
		}
		if got := fmt.Sprintf("%x", trace.SpanID); c.through != "" && got != c.through {
			t.Errorf("flags %s: called from span %s", c.flags, got)
		}
		if c.spans > 0 && tp.spans[0].Parent.SpanID != [8]byte{0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31} {
			t.Errorf("the parent is %x", tp.spans[0].Parent.SpanID)
		}
		if !strings.Contains(out.metas[0], "0af7651916cd43dd8448eb211c80319c") {
			t.Errorf("flags %s: sent with %s", c.flags, out.metas[0])
		}
	}
}

// headed is a source whose messages have headers.
type headed struct {
	*lines
	headers map[string]string
}

func (h *headed) Read(ctx context.Context, into *penstock.Batch) error {
	err := h.lines.Read(ctx, into)
	for _, m := range into.Msgs {
		for name, v := range h.headers {
			m.Meta.Add(name, penstock.StringValue(v))
		}
	}
	return err
}

func (b *bench) runFrom(t testing.TB, src penstock.Source, tr *observe.Tracer) {
	t.Helper()
	b.dead = &noted{}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{b.flow}}, Options{DeadLetters: t.TempDir(), Tracer: tr, Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		switch role {
		case RoleSource:
			return src, true
		case RoleSink:
			return b.sinks[ep.Name], true
		case RoleCaller:
			return b.callers[ep.Name], true
		}
		return b.dead, true
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestChannelsHandTracesOn(t *testing.T) {
	first := &plan.Flow{Name: "first", Order: plan.Total, Nodes: next(plan.Node{Name: "pass", Verb: "to", Op: &plan.Send{Endpoint: &plan.Endpoint{Name: "first/pass", Channel: "mid"}, Idempotent: true}})}
	second := &plan.Flow{Name: "second", Order: plan.Total, Sources: []*plan.Endpoint{{Name: "second/from", Channel: "mid"}}, Nodes: next(send("out"))}
	const want = "process first done\n  to pass\n    process second done\n      to out\n"
	t.Run("in memory", func(t *testing.T) {
		tp := &tape{}
		b := &bench{flow: first, source: &lines{docs: []string{`{}`}}, sinks: map[string]*noted{"out": {}}}
		b.runPlan(t, &plan.Plan{Flows: []*plan.Flow{first, second}, Channels: []*plan.Channel{{Name: "mid"}}}, always(tp))
		if got := tp.tree(t); got != want {
			t.Errorf("got\n%s", got)
		}
	})
	t.Run("in the store", func(t *testing.T) {
		tp := &tape{}
		first.Sources = []*plan.Endpoint{sourceEndpoint()}
		p := newPlant(t, first, second)
		p.source = func() penstock.Source { return &lines{docs: []string{`{}`}} }
		p.sinks["out"] = &noted{}
		o := p.options()
		o.Tracer = always(tp)
		r, err := New(p.plan, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := tp.tree(t); got != want {
			t.Errorf("got\n%s", got)
		}
	})
}

func TestGroupLinksToItsInputs(t *testing.T) {
	for _, order := range orders {
		tp := &tape{}
		b := &bench{
			flow: &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 2, Nodes: next(
				plan.Node{Name: "g", Verb: "aggregate", Op: &plan.Group{By: field("k"), Size: 3}}, send("out"))},
			source: &lines{docs: docs(3, `{"n":%d,"k":"a"}`), batch: 3},
			sinks:  map[string]*noted{"out": {}},
		}
		b.runTraced(t, always(tp))
		want := strings.Repeat("process f absorbed\n  aggregate g\n", 3) + "process f done links=3\n  to out\n"
		if got := tp.tree(t); got != want {
			t.Errorf("%s: got\n%s", order, got)
		}
		group := tp.spans[len(tp.spans)-2]
		for i, l := range group.Links {
			if l.TraceID == group.id.TraceID || l.IsZero() {
				t.Errorf("link %d is %x", i, l.TraceID)
			}
		}
	}
}

func TestDurableGroupLinksToItsInputs(t *testing.T) {
	tp := &tape{}
	f := &plan.Flow{Name: "f", Order: plan.Total, Sources: []*plan.Endpoint{sourceEndpoint()}, Nodes: next(
		plan.Node{Name: "g", Verb: "aggregate", Op: &plan.Group{By: field("k"), Size: 3}}, send("out"))}
	p := newPlant(t, f)
	p.source = func() penstock.Source { return &lines{docs: docs(3, `{"n":%d,"k":"a"}`), batch: 3} }
	out := &noted{}
	p.sinks["out"] = out
	o := p.options()
	o.Tracer = always(tp)
	r, err := New(p.plan, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("process f absorbed\n  aggregate g\n", 3) + "process f done links=3\n  to out\n"
	if got := tp.tree(t); got != want {
		t.Errorf("got\n%s", got)
	}
	if len(out.metas) != 1 || strings.Contains(out.metas[0], observe.LinksHeader) || !strings.Contains(out.metas[0], "traceparent") {
		t.Errorf("sent with %v", out.metas)
	}
}

func TestSpansOfOneMessageAreBounded(t *testing.T) {
	tp := &tape{}
	b := &bench{
		flow: &plan.Flow{Name: "f", Order: plan.Total, Nodes: next(plan.Node{Name: "each", Verb: "forEach", Op: &plan.Fork{Each: field("list"), As: -1, Index: -1, Branches: []plan.Sub{
			{Nodes: next(plan.Node{Name: "c", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Local: true}})}}}})},
		source:  &lines{docs: []string{`{"list":[` + strings.Repeat("1,", 1999) + `1]}`}},
		callers: map[string]penstock.Caller{"ask": asker(func(context.Context, *penstock.Frame) error { return nil })},
	}
	b.runTraced(t, always(tp))
	if len(tp.spans) != observe.MaxChildren+1 || tp.spans[0].attrs["penstock.spans.dropped"] != fmt.Sprint(2001-observe.MaxChildren) {
		t.Errorf("%d spans, %v", len(tp.spans), tp.spans[0].attrs)
	}
}

func TestSamplingTakesItsShare(t *testing.T) {
	const n = 100_000
	tp := &tape{}
	random := rand.New(rand.NewPCG(1, 2))
	b := &bench{flow: &plan.Flow{Name: "f", Order: plan.Total, Nodes: next(send("out"))}, source: &lines{docs: docs(n, `{"n":%d}`), batch: 128}, sinks: map[string]*noted{"out": {}}}
	var mu sync.Mutex
	b.runTraced(t, observe.NewTracer(tp, observe.Sampling{Ratio: .01}, func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return random.Uint64()
	}))
	roots := 0
	for _, s := range tp.spans {
		if s.Name == "process f" {
			roots++
		}
	}
	if roots < n/100-200 || roots > n/100+200 {
		t.Errorf("%d of %d messages are recorded", roots, n)
	}
	if len(tp.spans) != 2*roots {
		t.Errorf("%d spans of %d messages", len(tp.spans), roots)
	}
}

func TestDeadLetterNamesItsTrace(t *testing.T) {
	tp := &tape{}
	b := &bench{flow: &plan.Flow{Name: "f", Order: plan.Total, Nodes: next(apply("a", func(*penstock.Batch, *penstock.Message) error { return errors.New("no") }))}, source: &lines{docs: []string{`{}`}}}
	b.runTraced(t, always(tp))
	if want := fmt.Sprintf(`"trace":"%x"`, tp.spans[0].id.TraceID); len(b.dead.metas) != 1 || !strings.Contains(b.dead.metas[0], want) {
		t.Errorf("the dead letter is %v, without %s", b.dead.metas, want)
	}
}

func TestErrorsAreCountedByCode(t *testing.T) {
	b := &bench{flow: &plan.Flow{Name: "f", Order: plan.Total, Nodes: next(apply("a", func(_ *penstock.Batch, m *penstock.Message) error {
		if number(string(m.Body.Bytes())) == 0 {
			return penstock.E(penstock.Conflict, "a", "", "no")
		}
		return penstock.E(penstock.Code("its own"), "a", "", "no")
	}))}, source: &lines{docs: docs(3, `{"n":%d}`)}}
	r := b.fresh(t)
	if _, err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	got := r.list()[0].stats.Nodes()[0].ErrorsByCode()
	if len(got) != 2 || got[penstock.Conflict] != 1 || got[penstock.Internal] != 2 {
		t.Errorf("%v", got)
	}
}

func (b *bench) fresh(t testing.TB) *Runner {
	t.Helper()
	b.dead = &noted{}
	b.flow.Sources = []*plan.Endpoint{sourceEndpoint()}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{b.flow}}, Options{DeadLetters: t.TempDir(), Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
		if role == RoleSource {
			return b.source, true
		}
		return b.dead, true
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDurationsAreMeasured(t *testing.T) {
	b := &bench{flow: &plan.Flow{Name: "f", Order: plan.Total, Nodes: next(apply("a", nothing))}, source: &lines{docs: docs(1000, `{"n":%d}`), batch: 100}}
	r := b.fresh(t)
	if _, err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := r.list()[0].stats.Duration.Snapshot().Count; got != 1000 {
		t.Errorf("%d durations", got)
	}
}

func TestSpansOfARequest(t *testing.T) {
	for _, c := range []struct {
		name string
		ctx  func(*observe.Tracer) (context.Context, *observe.Span)
		step steps
		want string
	}{
		{"of its own", func(*observe.Tracer) (context.Context, *observe.Span) { return context.Background(), nil }, nothing, "process f done\n  map a\n"},
		{"below the server's", func(tr *observe.Tracer) (context.Context, *observe.Span) {
			s := tr.Begin(observe.Start{Name: "POST /x", Kind: observe.Server})
			return penstock.ContextWithSpan(context.Background(), s.Context(), s), s
		}, nothing, "POST /x\n  process f done\n    map a\n"},
		{"decided before", func(*observe.Tracer) (context.Context, *observe.Span) {
			return observe.Decide(context.Background()), nil
		}, nothing, ""},
		{"failed", func(*observe.Tracer) (context.Context, *observe.Span) { return context.Background(), nil },
			func(*penstock.Batch, *penstock.Message) error { return penstock.E(penstock.Conflict, "a", "", "no") }, "process f !conflict failed\n  map a !conflict\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tp := &tape{}
			tr := always(tp)
			b := &bench{flow: &plan.Flow{Name: "f", Nodes: next(apply("a", c.step))}}
			h := b.serve(t, Options{Tracer: tr})
			ctx, span := c.ctx(tr)
			var batch penstock.Batch
			batch.Append().Body.Reset(jsonview.JSON, []byte(`{}`))
			if err := h.Handle(ctx, &batch); err != nil {
				t.Fatal(err)
			}
			if span != nil {
				span.Close(time.Now())
			}
			if got := tp.tree(t); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
			if got := b.runner.list()[0].stats.Duration.Snapshot().Count; got != 1 {
				t.Errorf("%d durations", got)
			}
		})
	}
}
