package run

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/step"
)

func TestWhatIsInAMemoryChannelIsWorkedOffWhenARunThatKeepsStateIsStopped(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.None} {
		t.Run(string(order), func(t *testing.T) {
			in := docs(10000, `{"n":%d}`)
			p := newPlant(t,
				&plan.Flow{Name: "a", Order: order, Sources: fromLines("a"), Nodes: next(toChannel("m"))},
				&plan.Flow{Name: "b", Order: order, Sources: fromChannel("b", "m"), Nodes: next(toChannel("c"))})
			p.plan.Channels[0].Durable = false
			p.plan.Channels[0].Capacity = 10
			for i := range 10 {
				ctx, cancel := context.WithCancel(t.Context())
				p.source = func() penstock.Source {
					return &resumable{lines: lines{docs: in, batch: 10}, stopAt: 100 + i, stop: cancel}
				}
				p.run(ctx)
				cancel()
			}
			p.source = func() penstock.Source { return &resumable{lines: lines{docs: in, batch: 10}} }
			p.run(t.Context())
			got := p.holds("c")
			slices.Sort(got)
			slices.Sort(in)
			if !slices.Equal(got, in) {
				t.Error(fmt.Sprint(len(got), " messages of ", len(in), ": "), firstDifference(got, in))
			}
		})
	}
}

// TestARunThatKeepsStateIsStoppedAnywhere stops runs after some messages, some commits, or some calls, until everything is through: nothing is
// lost, and nothing that is in the store is done twice.
func TestARunThatKeepsStateIsStoppedAnywhere(t *testing.T) {
	const n = 600
	in := docs(n, `{"n":%d}`)
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			tens := prog(func(f *penstock.Frame) penstock.Value { return penstock.IntValue(field("n").Eval(f).Int() / 10) })
			p := newPlant(t,
				&plan.Flow{Name: "a", Order: order, Sources: fromLines("a"), Key: tens, Nodes: next(
					plan.Node{Name: "call", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true, Into: step.Target{Root: step.Discard}}},
					toChannel("c"),
					plan.Node{Name: "once", Verb: "dedupe", Op: &plan.Stage{Spec: &plan.Dedupe{}, By: field("n")}},
					plan.Node{Name: "tens", Verb: "aggregate", Op: &plan.Group{By: tens, Size: 10, Into: step.Target{Root: step.Body}}},
					toChannel("groups"))},
				&plan.Flow{Name: "b", Order: order, Sources: fromChannel("b", "c"), Nodes: next(
					plan.Node{Name: "call", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true, Into: step.Target{Root: step.Discard}}},
					toChannel("d"))})
			p.clock = hasty{}
			p.source = func() penstock.Source { return &resumable{lines: lines{docs: in, batch: 7}} }
			var calls, stopAt atomic.Int64
			var stop context.CancelFunc
			p.callers["ask"] = answer(func(body string) (string, error) {
				k := calls.Add(1)
				if k == stopAt.Load() {
					stop()
				}
				if k%11 == 0 {
					return "", penstock.E(penstock.Unavailable, "ask", "", "not now")
				}
				return "{}", nil
			})
			for i := range int64(60) {
				var ctx context.Context
				ctx, stop = context.WithCancel(t.Context())
				calls.Store(0)
				stopAt.Store(1 + i*i%97)
				p.run(ctx)
				stop()
			}
			stopAt.Store(-1)
			p.run(t.Context())
			for _, c := range []string{"c", "d"} {
				got := p.holds(c)
				slices.SortFunc(got, func(a, b string) int { return number(a) - number(b) })
				if !slices.Equal(got, in) {
					t.Errorf("%s holds %d of %d: %s", c, len(got), n, firstDifference(got, in))
				}
			}
			if got := p.holds("groups"); len(got) != n/10 {
				t.Errorf("%d groups", len(got))
			}
		})
	}
}
