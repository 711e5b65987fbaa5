package lower

import (
	"strconv"

	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// lowerParallel makes a Fork of one program per branch. Its value is an object with a field for each
// branch; one that may filter its message out has an optional field. What branches write to variables
// and headers ends with them.
func (b *builder) lowerParallel(s *resource.Step, v *resource.Parallel) {
	fork := &plan.Fork{As: -1, Index: -1, Into: b.target(into(s))}
	value := &types.Type{Kind: types.Object}
	for _, e := range v.Branches.Entries {
		sub, end, drops := b.branch("parallel", e.Key, e.Value, b.state)
		fork.Branches = append(fork.Branches, sub)
		b.state.sent = b.state.sent || end.sent
		if t := result(end); t.Kind != types.Never {
			value.Fields = append(value.Fields, types.Field{Name: e.Key, Type: t, Required: !drops})
		}
	}
	typ := value
	if fork.Partial = partialOf(s, fork.Branches); fork.Partial != nil {
		typ = partialType(fork.Partial, fork.Branches, value)
	}
	b.emit(s, fork, strconv.Itoa(len(fork.Branches))+" branches")
	b.next()
	b.state = b.put(b.state, into(s), typ)
}
