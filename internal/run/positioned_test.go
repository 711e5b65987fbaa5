package run

import (
	"context"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// TestAPositionMustBeKept: a driver that promises to go on at a position, and can't, is refused before anything is read. Where the run keeps
// no state, nothing rests on it.
func TestAPositionMustBeKept(t *testing.T) {
	for _, c := range []struct {
		name    string
		replay  penstock.Replay
		source  penstock.Source
		durable bool
		refused bool
	}{
		{"promised, not kept", penstock.ReplayPosition, &lines{}, true, true},
		{"promised and kept", penstock.ReplayPosition, &resumable{}, true, false},
		{"not promised", penstock.ReplayAgain, &lines{}, true, false},
		{"no state", penstock.ReplayPosition, &lines{}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ep := fromLines("a")
			ep[0].Driver.Spec.Name, ep[0].Driver.Spec.Replay = "tape", c.replay
			p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: ep, Nodes: next(send("out"))})
			p.plan.Durable = c.durable
			p.source = func() penstock.Source { return c.source }
			p.sinks["out"] = &noted{}
			r, err := New(p.plan, p.options())
			if err == nil {
				_, err = r.Run(context.Background())
			}
			if (err != nil) != c.refused || c.refused && (penstock.CodeOf(err) != penstock.Internal || !strings.Contains(err.Error(), "tape")) {
				t.Errorf("%v", err)
			}
		})
	}
}
