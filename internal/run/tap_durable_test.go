package run

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// TestATapToADurableChannelThatFailsIsCounted has the key of what is tapped fail: the message itself goes on.
func TestATapToADurableChannelThatFailsIsCounted(t *testing.T) {
	key := prog(func(f *penstock.Frame) penstock.Value {
		if v := field("n").Eval(f); v.Int() != 3 {
			return v
		}
		return penstock.ErrorValue(penstock.E(penstock.Invalid, "key", "", "three"))
	})
	tap := toChannel("tapped")
	tap.Op.(*plan.Send).NoWait, tap.Op.(*plan.Send).Key = true, key
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(tap, toChannel("c"))})
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: docs(5, `{"n":%d}`), batch: 4}} }
	sum := p.run(t.Context())
	if f := sum.Flows[0]; len(p.holds("tapped")) != 4 || len(p.holds("c")) != 5 || f.Lost != 1 || f.Dead != 0 || f.Sent["to-tapped"] != 4 {
		t.Errorf("tapped %v, went on %v; lost %d, dead %d, sent %v", p.holds("tapped"), p.holds("c"), f.Lost, f.Dead, f.Sent)
	}
}
