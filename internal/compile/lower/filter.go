package lower

import (
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
)

// lowerFilter lets pass what the condition holds for: behind it, it is known to hold.
func (b *builder) lowerFilter(s *resource.Step, v *resource.Filter) {
	c, yes, _ := b.exprs().Cond(v.Condition, b.state.sc)
	b.leaf(s, &step.Filter{Condition: c.Program}, v.Condition.Source)
	b.state.sc = yes
	b.drops = true
}
