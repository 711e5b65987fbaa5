package run

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
)

// entitySteps counts what the node asks of entities, itself or inside.
func (n *node) entitySteps() (commands, queries int) {
	if c, ok := n.Op.(*plan.Call); ok && c.Endpoint != nil {
		switch {
		case c.Endpoint.Command != nil:
			commands++
		case c.Endpoint.Query != nil:
			queries++
		}
	}
	for _, s := range n.subs {
		c, q := s.entitySteps()
		commands, queries = commands+c, queries+q
	}
	return commands, queries
}

func (p *program) entitySteps() (commands, queries int) {
	for i := range p.nodes {
		c, q := p.nodes[i].entitySteps()
		commands, queries = commands+c, queries+q
	}
	return commands, queries
}

// inRounds says that a batch must not come to the node as a whole. Where several steps ask entities, all messages would be through with the first of these
// steps before one came to the next, or to that of another branch, whatever their order.
func (x *exec) inRounds(n *node, ms []*penstock.Message) bool {
	if !x.f.rounds || len(ms) < 2 || mutation.On("steps-overtake") {
		return false
	}
	if _, ok := n.Op.(*plan.Route); ok {
		return true
	}
	c, q := n.entitySteps()
	return c+q > 0
}

// round takes the messages off that may go on side by side: one, or with `order: per-key` one of each key. The rest keeps its order.
func (x *exec) round(ms []*penstock.Message) (now, rest []*penstock.Message) {
	now = x.take()
	if !x.f.keyed {
		return append(now, ms[0]), ms[1:]
	}
	seen, rest := make(map[string]struct{}, len(ms)), ms[:0]
	for _, m := range ms {
		if _, ok := seen[m.Key]; ok {
			rest = append(rest, m)
			continue
		}
		seen[m.Key] = struct{}{}
		now = append(now, m)
	}
	return now, rest
}
