package lower

import (
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
)

// lowerSample lets pass a part of the messages. A window with a name is kept in the store, where the run keeps state; that is known only
// when everything was seen, so what it is then is noted.
func (b *builder) lowerSample(s *resource.Step, v *resource.Sample) {
	sm := &step.Sample{}
	label := ""
	switch {
	case v.Every != nil && v.Every.Count > 0:
		sm.Every, label = v.Every.Count, fmt.Sprintf("every %d", v.Every.Count)
	case v.Every != nil:
		sm.Interval, label = v.Every.Interval, "every "+v.Every.Interval.String()
	case v.Rate != nil && v.Rate.Share > 0:
		sm.Share, label = float64(v.Rate.Share), v.Rate.Share.String()
	case v.Rate != nil:
		sm.Rate, label = v.Rate.Rate.PerSecond(), v.Rate.Rate.String()
	}
	if w, ok := window(v); ok && s.Name != "" && b.sub == "" && b.f.dry == 0 && !b.f.o.Replies { // a durable window would be a stage boundary
		b.f.windows[len(b.nodes)] = w
	}
	b.leaf(s, built(b, s.VerbPos, func() (penstock.Step, error) { return step.NewSample(sm) }), label)
	b.drops = true
}

// window is what a sample is in a run that keeps state. A share has no window: it keeps nothing.
func window(v *resource.Sample) (*plan.Stage, bool) {
	switch {
	case v.Every != nil && v.Every.Count > 0:
		return &plan.Stage{Spec: &plan.Window{Every: int64(v.Every.Count)}, Keyed: "sample every n-th"}, true
	case v.Every != nil && v.Every.Interval > 0:
		return &plan.Stage{Spec: &plan.Window{Interval: v.Every.Interval}, Keyed: "sample every so long"}, true
	case v.Rate != nil && !v.Rate.Rate.IsZero():
		return &plan.Stage{Spec: &plan.Window{Rate: v.Rate.Rate.PerSecond()}, Keyed: "sample a rate"}, true
	}
	return nil, false
}
