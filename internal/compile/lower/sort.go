package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// lowerSort orders the body, a list.
func (b *builder) lowerSort(s *resource.Step, v *resource.Sort) {
	elem := b.element(b.state.body(), penstock.Expr{Source: "body", Pos: s.VerbPos})
	slot := b.f.local(s, "item")
	sc := b.state.sc.With(scope.Root{Name: "item", Source: scope.Slot, Slot: slot, Type: elem})
	by := b.exprs().Expr(v.By, sc, nil)
	switch t := unwrap(orDyn(by.Type)); t.Kind {
	case types.List, types.Map, types.Object, types.Null:
		b.diags().Errorf(v.By.Pos, "type-mismatch", v.By.Source, "sort by numbers, text, bools or times", "%s is %s, which has no order", v.By.Source, algebra.Article(t))
	}
	label := v.By.Source
	if v.Descending {
		label += ", descending"
	}
	b.leaf(s, &step.Sort{By: by.Program, Slot: slot, Descending: v.Descending}, label)
}
