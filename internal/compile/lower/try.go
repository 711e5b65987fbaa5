package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// ErrorType is the type of the root `error`.
var ErrorType = &types.Type{Kind: types.Object, Name: "error", Fields: []types.Field{
	{Name: "code", Type: types.StringType, Required: true},
	{Name: "message", Type: types.StringType, Required: true},
	{Name: "step", Type: types.StringType, Required: true},
	{Name: "path", Type: types.StringType, Required: true},
	{Name: "attempts", Type: types.IntType, Required: true},
}}

// lowerTry makes no node of its own, unless it has a condition: the nodes in steps carry where their
// failures go on. In catch is known what is known at the entry of every node that may have failed.
func (b *builder) lowerTry(s *resource.Step, v *resource.Try, when penstock.Program) {
	var ends []exit
	if b.when != nil {
		b.when = nil
		r := &plan.Route{Cases: []plan.Case{{When: when, Target: plan.End, Label: s.When.Source}}, Else: plan.End}
		at := b.emit(s, r, "")
		ends = append(ends, exit{node: at, kind: exitElse})
		b.open = []exit{{node: at, kind: exitCase}}
	}
	frame := &tryFrame{outer: b.try, entries: state{dead: true}, slot: b.f.local(s, "error")}
	b.try = frame
	b.steps(v.Steps)
	b.try = frame.outer
	ends = append(ends, b.take()...)
	after := b.state

	if len(frame.nodes) > 0 {
		for _, n := range frame.nodes {
			b.open = append(b.open, exit{node: n, kind: exitCatch})
		}
		b.state = frame.entries
		b.state.sc = b.state.sc.With(scope.Root{Name: "error", Source: scope.Slot, Slot: frame.slot, Type: ErrorType})
		b.steps(v.Catch)
		ends = append(ends, b.take()...)
		caught := b.state
		if !caught.dead {
			caught.sc = without(caught.sc, "error", frame.entries.sc)
		}
		after = uniteStates(after, caught)
	}
	b.open, b.state = ends, after
}

// without takes a scoped name out of force: it means what it meant in outer, or nothing.
func without(sc *scope.Scope, name string, outer *scope.Scope) *scope.Scope {
	if r, ok := outer.Root(name); ok {
		return sc.With(*r)
	}
	out := &scope.Scope{}
	for _, r := range sc.Roots {
		if r.Name != name {
			out.Roots = append(out.Roots, r)
		}
	}
	return out
}
