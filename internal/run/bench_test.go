package run

import (
	"context"
	"io"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// counted is a source of n equal documents in batches of 128.
type counted struct {
	n, next int
	doc     []byte
}

func (*counted) Open(context.Context) error  { return nil }
func (*counted) Close(context.Context) error { return nil }
func (c *counted) Read(_ context.Context, into *penstock.Batch) error {
	if c.next >= c.n {
		return io.EOF
	}
	for i := 0; i < 128 && c.next < c.n; i++ {
		m := into.Append()
		m.Body.Reset(jsonview.JSON, into.Arena().Copy(c.doc))
		c.next++
	}
	return nil
}
func (*counted) Settle(context.Context, []penstock.Outcome) error { return nil }

// nowhere is a sink that counts.
type nowhere struct{ n int }

func (*nowhere) Open(context.Context) error  { return nil }
func (*nowhere) Close(context.Context) error { return nil }
func (s *nowhere) Write(_ context.Context, b *penstock.Batch) error {
	s.n += len(b.Msgs)
	return nil
}

func throughput(tb testing.TB, order plan.Order, n int) { traced(tb, nil, order, n) }

func traced(tb testing.TB, tracer *observe.Tracer, order plan.Order, n int) {
	f := &plan.Flow{Name: "f", Order: order, Key: field("k"), Sources: []*plan.Endpoint{endpoint("in")}, Nodes: next(
		plan.Node{Op: &plan.Apply{Step: parsed(func(*penstock.Batch, *penstock.Message) error { return nil })}}, send("out"))}
	sink := &nowhere{}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{Tracer: tracer, Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
		if role == RoleSource {
			return &counted{n: n, doc: []byte(`{"k":"abc","amount":12.5,"country":"DE","items":[1,2,3],"text":"some longer text that is here to fill a realistic message"}`)}, true
		}
		return sink, true
	}})
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := r.Run(context.Background()); err != nil || sink.n != n {
		tb.Fatal(err, sink.n)
	}
}

func BenchmarkEngine(b *testing.B) {
	for _, order := range orders {
		b.Run(string(order), func(b *testing.B) {
			b.ReportAllocs()
			throughput(b, order, b.N)
		})
	}
}

// TestAllocationsPerMessage holds the engine's own hot path to less than one allocation in
// ten messages.
func TestAllocationsPerMessage(t *testing.T) {
	const n = 50_000
	for _, order := range orders {
		per := testing.AllocsPerRun(1, func() { throughput(t, order, n) }) / n
		if per > 0.1 {
			t.Errorf("%s: %.3f allocations a message", order, per)
		}
	}
}

// BenchmarkTracing is what a message costs with nobody who records spans, with a tracer that records none, and with one that
// records one in a hundred, at most 200 a second.
func BenchmarkTracing(b *testing.B) {
	for _, c := range []struct {
		name string
		s    *observe.Sampling
	}{{"off", nil}, {"never", &observe.Sampling{}}, {"1%", &observe.Sampling{Ratio: .01, Limit: 200}}, {"1% without a limit", &observe.Sampling{Ratio: .01}}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var tr *observe.Tracer
			if c.s != nil {
				tr = observe.NewTracer(nobody{}, *c.s, nil)
			}
			traced(b, tr, plan.Total, b.N)
		})
	}
}

// nobody is a recorder that forgets.
type nobody struct{}

func (nobody) Begin(s observe.Start) observe.Recording {
	return nothingness{penstock.TraceContext{TraceID: s.Trace, SpanID: [8]byte{1}, Flags: 1}}
}

type nothingness struct{ id penstock.TraceContext }

func (n nothingness) Context() penstock.TraceContext { return n.id }
func (nothingness) Annotate(...observe.Attr)         {}
func (nothingness) Fail(penstock.Code, string)       {}
func (nothingness) End(time.Time)                    {}

// TestTracingAllocates holds a tracer that records one in a hundred to what those few cost, and one that records none to nothing.
func TestTracingAllocates(t *testing.T) {
	const n = 50_000
	off := testing.AllocsPerRun(3, func() { throughput(t, plan.Total, n) }) / n
	never := testing.AllocsPerRun(3, func() { traced(t, observe.NewTracer(nobody{}, observe.Sampling{}, nil), plan.Total, n) }) / n
	few := testing.AllocsPerRun(3, func() {
		traced(t, observe.NewTracer(nobody{}, observe.Sampling{Ratio: .01}, nil), plan.Total, n)
	}) / n
	if never > off+.01 || few > off+.6 {
		t.Errorf("%.3f allocations a message without a tracer, %.3f with one that records nothing, %.3f with one message in a hundred", off, never, few)
	}
}
