package run

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
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
