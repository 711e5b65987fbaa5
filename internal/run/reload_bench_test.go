package run

import (
	"fmt"
	"testing"

	"penstock.dev/penstock/internal/plan"
)

// BenchmarkReloadOneOf500 changes one of 500 flows that run.
func BenchmarkReloadOneOf500(b *testing.B) {
	w := newWorks(b)
	flows := make([]*plan.Flow, 500)
	for i := range flows {
		name := fmt.Sprintf("flow%d", i)
		w.sources[name+"/from"] = newTap()
		flows[i] = version(&plan.Flow{Name: name, Order: plan.Total, Sources: []*plan.Endpoint{endpoint(name + "/from")}, Nodes: next(marking(0), into(name))})
	}
	r, _ := running(b, &plan.Plan{Flows: flows}, w.options())
	v := 0
	var paused float64
	for b.Loop() {
		v++
		next := &plan.Plan{Flows: append([]*plan.Flow(nil), flows...)}
		changed := *flows[250]
		next.Flows[250] = version(&changed, v)
		paused += w.apply(r, next).Paused.Seconds()
	}
	b.ReportMetric(paused/float64(b.N)*1e6, "µs-paused/op")
}
