package run

import (
	"context"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// echo is a caller that answers without any memory.
type echo struct{}

func (echo) Open(context.Context) error  { return nil }
func (echo) Close(context.Context) error { return nil }
func (echo) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	if ctx.Done() == nil {
		return penstock.E(penstock.Internal, "echo", "", "a call can't be stopped")
	}
	into.Body.Reset(jsonview.JSON, f.Msg.Body.Original())
	return nil
}

// costs are flows whose requests have a price.
var costs = []struct {
	name   string
	nodes  func() []plan.Node
	allocs float64
}{
	{"map", func() []plan.Node { return next(plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}}) }, 0},
	{"call and map", func() []plan.Node {
		return next(plan.Node{Verb: "call", Op: &plan.Call{Endpoint: endpoint("other"), Into: step.Target{Root: step.Discard}}}, plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}})
	}, 10},
	{"parallel", func() []plan.Node {
		branch := func() []plan.Node { return next(plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}}) }
		return next(plan.Node{Verb: "parallel", Op: &plan.Fork{Branches: []plan.Sub{{Name: "a", Nodes: branch()}, {Name: "b", Nodes: branch()}}}})
	}, 16},
	{"parallel calls", func() []plan.Node {
		branch := func() []plan.Node {
			return next(plan.Node{Verb: "call", Op: &plan.Call{Endpoint: endpoint("other")}})
		}
		return next(plan.Node{Verb: "parallel", Op: &plan.Fork{Branches: []plan.Sub{{Name: "a", Nodes: branch()}, {Name: "b", Nodes: branch()}}}})
	}, 48},
	{"call with a timeout", func() []plan.Node {
		return next(plan.Node{Verb: "call", Timeout: time.Minute, Op: &plan.Call{Endpoint: endpoint("other")}})
	}, 18},
}

func (b *bench) asked(t testing.TB) func() {
	h := b.serve(t, Options{})
	batch := &penstock.Batch{}
	ctx := context.Background()
	body := []byte(`{"name":"Ada"}`)
	return func() {
		batch.Reset()
		m := batch.Append()
		m.Body.Reset(jsonview.JSON, body)
		if err := h.Handle(ctx, batch); err != nil || batch.Failed() > 0 {
			t.Fatal(err, batch.Err(0))
		}
	}
}

func TestRequestsCostLittleMemory(t *testing.T) {
	for _, tt := range costs {
		t.Run(tt.name, func(t *testing.T) {
			b := &bench{flow: &plan.Flow{Name: "f", Nodes: tt.nodes()}, callers: map[string]penstock.Caller{"other": echo{}}}
			ask := b.asked(t)
			for range 10 {
				ask()
			}
			if n := testing.AllocsPerRun(200, ask); n > tt.allocs {
				t.Errorf("%v allocations, at most %v", n, tt.allocs)
			}
		})
	}
}

func BenchmarkHandle(b *testing.B) {
	for _, tt := range costs {
		b.Run(tt.name, func(b *testing.B) {
			w := &bench{flow: &plan.Flow{Name: "f", Nodes: tt.nodes()}, callers: map[string]penstock.Caller{"other": echo{}}}
			ask := w.asked(b)
			b.ReportAllocs()
			for b.Loop() {
				ask()
			}
		})
	}
}

func BenchmarkHandleByMany(b *testing.B) {
	w := &bench{flow: &plan.Flow{Name: "f", Nodes: costs[0].nodes()}}
	h := w.serve(b, Options{})
	body := []byte(`{"name":"Ada"}`)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		batch := &penstock.Batch{}
		for pb.Next() {
			batch.Reset()
			batch.Append().Body.Reset(jsonview.JSON, body)
			if err := h.Handle(context.Background(), batch); err != nil {
				b.Error(err)
			}
		}
	})
}
