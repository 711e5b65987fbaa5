package run

import (
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock/internal/plan"
)

// TestAReloadKeepsTheOrderOfWhatWasRead changes a flow all the time while it reads a channel of large messages: what its source had read and not handed on when the new
// one began comes before what stands behind it.
func TestAReloadKeepsTheOrderOfWhatWasRead(t *testing.T) {
	w := newWorks(t)
	in := newTap()
	w.sources["a/from"] = in
	v := 0
	build := func() *plan.Plan {
		p := &plan.Plan{Channels: inMemory("x"), Flows: []*plan.Flow{version(&plan.Flow{Name: "a", Order: plan.Total, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(through("x", "a"))})}}
		if v > 0 {
			p.Flows = append(p.Flows, version(&plan.Flow{Name: "b", Order: plan.Total, Sources: []*plan.Endpoint{{Name: "b/from", Channel: "x"}}, Nodes: next(marking(v), into("b"))}, v))
		}
		return durably(p)
	}
	r, over := running(t, build(), w.durable(t))
	const n = 400
	pad := strings.Repeat("x", 3*readBytes/readMessages) // so that what is read at once goes on in several batches
	for i := range n {
		in.in <- fmt.Sprintf(`{"n":%d,"k":"k","pad":%q}`, i, pad)
	}
	sink := func() int {
		if s := w.sinks["b/to"]; s != nil {
			return s.count()
		}
		return 0
	}
	eventually(t, "all are in the channel", func() bool { return r.Snapshot().Flows[0].Read == n && r.Snapshot().Flows[0].Unsettled == 0 })
	for v = 1; v < 3 || sink() < n; v++ {
		w.apply(r, build())
	}
	close(in.in)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	w.exactlyOnce("b/to", n, false)
	for i, m := range w.sinks["b/to"].got {
		if number(m) != i {
			t.Fatalf("message %d comes at %d", number(m), i)
		}
	}
}
