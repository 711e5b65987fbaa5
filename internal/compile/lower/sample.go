package lower

import (
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
)

// lowerSample lets pass a part of the messages.
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
	b.leaf(s, built(b, s.VerbPos, func() (penstock.Step, error) { return step.NewSample(sm) }), label)
	b.drops = true
}
