package lower

import (
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// lowerSplit makes a message of each element. With a name the element is in scope from here on;
// without one it becomes the body.
func (b *builder) lowerSplit(s *resource.Step, v *resource.Split) {
	if b.misplaced(s) || b.unanswered(s) {
		return
	}
	each := b.exprs().Expr(v.Each, b.state.sc, nil)
	after, as, index := b.bindElement(s, b.state, v.As, v.At("as"), b.element(each.Type, v.Each))
	b.emit(s, &plan.Split{Each: each.Program, As: as, Index: index}, v.Each.Source)
	b.next()
	b.state = after
}
