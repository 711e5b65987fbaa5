package lower

import (
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// lowerStop ends the message. Inside another step it ends the branch, whose result is the body as it
// is here.
func (b *builder) lowerStop(s *resource.Step) {
	conditional := b.when != nil
	b.emit(s, &plan.Finish{}, "")
	if conditional {
		b.next()
	}
	b.stopped = uniteStates(b.stopped, b.state)
	b.state.dead = true
}
