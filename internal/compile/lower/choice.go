package lower

import (
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// lowerChoice makes a Route and the branches behind it. In a branch its own condition is known to
// hold and those before it not to; behind the branches what they have in common is known.
func (b *builder) lowerChoice(s *resource.Step, v *resource.Choice) {
	r := &plan.Route{Else: plan.End}
	at := b.emit(s, r, "")
	if s.When.IsZero() {
		b.nodes[at].Next = plan.End // not taken: a Route goes by its cases
	}
	var ends []exit
	if !s.When.IsZero() {
		ends = append(ends, exit{node: at, kind: exitNext})
	}
	before, rest := b.state, b.state
	changed := false // a branch did something to what is known
	after := state{dead: true}
	elsewhere := false
	for i := range v.Branches {
		br := &v.Branches[i]
		b.state = rest
		steps := br.Steps
		if br.IsOtherwise() {
			steps, elsewhere = br.Otherwise, true
			b.open = []exit{{node: at, kind: exitElse}}
		} else {
			c, yes, no := b.exprs().Cond(br.When, rest.sc)
			b.also(at)
			b.state.sc, rest.sc = yes, no
			r.Cases = append(r.Cases, plan.Case{When: c.Program, Target: plan.End, Label: br.When.Source})
			b.open = []exit{{node: at, kind: exitCase, i: len(r.Cases) - 1}}
		}
		start := b.state.sc
		b.steps(steps)
		changed = changed || b.state.dead || b.state.sc != start
		ends = append(ends, b.take()...)
		after = uniteStates(after, b.state)
	}
	if !elsewhere {
		ends = append(ends, exit{node: at, kind: exitElse})
		after = uniteStates(after, rest)
	}
	if !changed {
		after.sc = before.sc // the conditions narrowed it, and together they are everything
	}
	b.open, b.state = ends, after
}
