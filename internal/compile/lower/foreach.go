package lower

import (
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// lowerForEach makes a Fork of one program over the elements of a list. Its value is the list of what the
// body is at the end of each run.
func (b *builder) lowerForEach(s *resource.Step, v *resource.ForEach) {
	each := b.exprs().Expr(v.Each, b.state.sc, nil)
	start, as, index := b.bindElement(s, b.state, v.As, v.At("as"), b.element(each.Type, v.Each))
	sub, end, _ := b.branch("forEach", "", v.Steps, start)
	b.emit(s, &plan.Fork{
		Branches: []plan.Sub{sub}, Each: each.Program, As: as, Index: index,
		Concurrency: max(v.Concurrency, 1), Into: b.target(into(s)), Partial: partialOf(s, nil),
	}, v.Each.Source)
	b.next()
	b.state.sent = b.state.sent || end.sent
	typ := types.ListOf(result(end))
	if s.Partial != nil {
		typ = okFailed(typ, types.ListOf(elementFailure))
	}
	b.state = b.put(b.state, into(s), typ)
}
