package lower

import (
	"strconv"

	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// lowerLoadBalance makes a Fork that runs one of its branches. Its value is what the body is at the end of that one; what the branch writes to
// variables and headers ends with it.
func (b *builder) lowerLoadBalance(s *resource.Step, v *resource.LoadBalance) {
	pick := &plan.Pick{Strategy: plan.Strategy(v.Strategy)}
	if !v.Key.IsZero() {
		k := b.exprs().Expr(v.Key, b.state.sc, nil)
		b.keyType(k.Type, v.Key)
		pick.Key = k.Program
	}
	fork := &plan.Fork{As: -1, Index: -1, Into: b.target(into(s)), Pick: pick}
	value, sent := types.NeverType, true
	for _, e := range v.Targets.Entries {
		sub, end, drops := b.branch("loadBalance", e.Key, e.Value, b.state)
		if drops {
			b.diags().Errorf(e.Pos, "misplaced-step", e.Key, "use `choice` in place of `filter` or `sample`",
				"the result of loadBalance is what a target makes of the message, and a step of `%s` may drop it", e.Key)
		}
		fork.Branches = append(fork.Branches, sub)
		sent = sent && (end.sent || end.dead)
		value = algebra.Unite(value, result(end))
		if pick.Strategy == plan.Weighted {
			weight, ok := v.Weights.Get(e.Key)
			if !ok {
				weight = 1
			}
			pick.Weights = append(pick.Weights, weight)
		}
	}
	b.emit(s, fork, strconv.Itoa(len(fork.Branches))+" targets")
	b.next()
	b.state.sent = b.state.sent || sent
	if value.Kind == types.Never {
		b.state.dead = true
		return
	}
	b.state = b.put(b.state, into(s), value)
}
