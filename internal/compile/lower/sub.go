package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// branch lowers steps as a program inside a node: name is the branch's, prepare what is known at its
// start. It gives the type of its result (never if there is none), and whether a message may end in it without
// one.
func (b *builder) branch(verb, name string, steps []resource.Step, start state) (plan.Sub, state, bool) {
	sub := newBuilder(b.f, start, verb)
	sub.steps(steps)
	end := uniteStates(sub.state, sub.stopped)
	return plan.Sub{Name: name, Nodes: sub.seal()}, end, sub.drops
}

// result is the type of the body at the end of a branch.
func result(end state) *types.Type {
	if end.dead {
		return types.NeverType
	}
	return end.body()
}

// bindElement brings the element of a list and its number into scope, as names or, without as, as
// the body.
func (b *builder) bindElement(s *resource.Step, st state, as string, asPos penstock.Pos, elem *types.Type) (state, int, int) {
	index := b.f.local(s, "index")
	st.sc = st.sc.With(scope.Root{Name: "index", Source: scope.Slot, Slot: index, Type: types.IntType})
	if as == "" {
		return st.withBody(bodyType(elem)), -1, index
	}
	b.scopedName(as, asPos, st.sc)
	slot := b.f.local(s, "as")
	st.sc = st.sc.With(scope.Root{Name: as, Source: scope.Slot, Slot: slot, Type: elem})
	return st, slot, index
}

var fixedRoots = map[string]bool{"body": true, "meta": true, "key": true, "vars": true, "params": true, "now": true, "index": true, "error": true}

// scopedName refuses a name that would hide one of the language, and warns of one that hides another
// element.
func (b *builder) scopedName(name string, pos penstock.Pos, sc *scope.Scope) {
	if fixedRoots[name] {
		b.diags().Errorf(pos, "name-collision", name, "choose another name", "`%s` already means something in expressions", name)
		return
	}
	if _, hides := sc.Root(name); hides {
		b.diags().Warnf(pos, "name-collision", name, "give one of them another name with `as`", "`%s` hides the element of the list around it", name)
	}
}

// element is the type of the elements of a list expression.
func (b *builder) element(t *types.Type, e penstock.Expr) *types.Type {
	t = unwrap(orDyn(t))
	switch t.Kind {
	case types.Dyn:
		return types.DynType
	case types.List:
		return orDyn(t.Elem)
	case types.Union:
		elem := types.NeverType
		for _, v := range t.Variants {
			if v.Kind == types.List {
				elem = algebra.Unite(elem, orDyn(v.Elem))
			}
		}
		if elem.Kind != types.Never {
			return elem
		}
	}
	b.diags().Errorf(e.Pos, "type-mismatch", e.Source, "", "%s is %s, where a list is needed", e.Source, algebra.Article(t))
	return types.DynType
}
