package lower

import (
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// maxRounds is how often the types of a loop are looked at before what still changes is dyn.
const maxRounds = 4

// lowerLoop makes a Loop. What is known at the start of a round is what is known before the loop united
// with what is known at the end of a round: trial rounds find it. Variables written in the loop last
// from round to round, and end with it.
func (b *builder) lowerLoop(s *resource.Step, v *resource.Loop) {
	index := b.f.local(s, "index")
	start := b.state
	start.sc = start.sc.With(scope.Root{Name: "index", Source: scope.Slot, Slot: index, Type: types.IntType})
	for round := 0; ; round++ {
		var end state
		b.f.quiet(func() { _, end, _ = b.branch("loop", "", v.Steps, start) })
		if end.dead {
			break
		}
		next := uniteStates(start, end)
		if algebra.Equal(next.body(), start.body()) && sameScope(next.sc, start.sc) {
			break
		}
		if round == maxRounds {
			next = next.withBody(types.DynType)
			start = next
			break
		}
		start = next
	}
	sub, end, drops := b.branch("loop", "", v.Steps, start)
	if drops {
		b.diags().Errorf(s.VerbPos, "misplaced-step", "loop", "use `choice` in place of `filter` or `sample`",
			"a loop needs the message for its next round, and a step in it may drop the message")
	}
	until, yes, _ := b.exprs().Cond(v.Until, end.sc)
	end.sc = yes
	b.emit(s, &plan.Loop{Until: until.Program, Max: v.Max, Body: sub, Index: index, Into: b.target(into(s))}, "until "+v.Until.Source)
	b.next()
	if end.dead {
		b.diags().Errorf(s.VerbPos, "unreachable", "loop", "let a round end without stop or fail", "no round of the loop ever ends, so until is never looked at")
		return
	}
	b.state = b.put(b.state, into(s), end.body())
}

// sameScope reports whether two scopes hold the same fields of the same types.
func sameScope(a, b *scope.Scope) bool {
	if a == b {
		return true
	}
	if len(a.Roots) != len(b.Roots) {
		return false
	}
	for i := range a.Roots {
		x, y := a.Roots[i], b.Roots[i]
		if x.Name != y.Name || !algebra.Equal(orDyn(x.Type), orDyn(y.Type)) || len(x.Fields) != len(y.Fields) {
			return false
		}
		for j := range x.Fields {
			p, q := x.Fields[j], y.Fields[j]
			if p.Name != q.Name || p.Maybe != q.Maybe || !algebra.Equal(orDyn(p.Type), orDyn(q.Type)) {
				return false
			}
		}
	}
	return true
}
