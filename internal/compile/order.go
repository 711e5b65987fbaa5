package compile

import (
	"slices"
	"strings"

	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// inOrder lists the flows so that those which feed a channel come before those that read it. Where flows
// feed each other, what goes around has no type of its own: the channels between them need a schema,
// or are dyn.
func (c *compiler) inOrder() []*resource.Resource {
	flows := c.set.Of(resource.KindFlow)
	g := &graph{index: map[*resource.Resource]int{}, low: map[*resource.Resource]int{}, on: map[*resource.Resource]bool{}}
	readers := map[string][]*resource.Resource{}
	for _, f := range flows {
		for _, in := range f.Spec.(*resource.Flow).Inputs() {
			if n := in.Channel.Name; n != "" && !slices.Contains(readers[n], f) {
				readers[n] = append(readers[n], f)
			}
		}
	}
	// The edge of a channel with a schema is left out: its type is known before.
	g.next = func(f *resource.Resource) []*resource.Resource {
		var out []*resource.Resource
		for _, name := range sends(f.Spec.(*resource.Flow)) {
			if ch := c.channels[name]; ch != nil && ch.schema == nil {
				out = append(out, readers[name]...)
			}
		}
		return out
	}
	for _, f := range flows {
		if _, seen := g.index[f]; !seen {
			g.visit(f)
		}
	}
	slices.Reverse(g.components)
	var out []*resource.Resource
	for _, comp := range g.components {
		c.breakCycle(comp, g.next)
		out = append(out, comp...)
	}
	return out
}

// breakCycle makes the channels dyn through which the flows of a component feed each other.
func (c *compiler) breakCycle(comp []*resource.Resource, next func(*resource.Resource) []*resource.Resource) {
	if len(comp) == 1 && !slices.Contains(next(comp[0]), comp[0]) {
		return
	}
	var names []string
	for _, f := range comp {
		names = append(names, f.Name())
	}
	slices.Sort(names)
	for _, f := range comp {
		for _, in := range f.Spec.(*resource.Flow).Inputs() {
			ch := c.channels[in.Channel.Name]
			if ch == nil || ch.schema != nil || ch.cyclic || !slices.ContainsFunc(comp, func(s *resource.Resource) bool {
				return slices.Contains(sends(s.Spec.(*resource.Flow)), in.Channel.Name)
			}) {
				continue
			}
			ch.cyclic = true
			c.diags.Warnf(ch.pos, "cycle", in.Channel.Name, "give the channel a `schema`",
				"messages go round through channel %s (%s), so their type can't be inferred", in.Channel.Name, strings.Join(names, ", "))
		}
	}
}

// sends lists the channels that a flow sends to, once each.
func sends(f *resource.Flow) []string {
	var out []string
	add := func(t *resource.Target) {
		if t != nil && t.Channel.Name != "" && !slices.Contains(out, t.Channel.Name) {
			out = append(out, t.Channel.Name)
		}
	}
	lower.Walk(f.Steps, func(s *resource.Step) {
		if send, ok := s.Verb.(*resource.Send); ok {
			add(&send.Target)
		}
	})
	add(f.To)
	return out
}

// graph finds the strongly connected components of the flows (Tarjan, 1972): readers first.
type graph struct {
	next       func(*resource.Resource) []*resource.Resource
	index, low map[*resource.Resource]int
	on         map[*resource.Resource]bool
	stack      []*resource.Resource
	components [][]*resource.Resource
}

func (g *graph) visit(f *resource.Resource) {
	n := len(g.index)
	g.index[f], g.low[f], g.on[f] = n, n, true
	g.stack = append(g.stack, f)
	for _, to := range g.next(f) {
		if _, seen := g.index[to]; !seen {
			g.visit(to)
			g.low[f] = min(g.low[f], g.low[to])
		} else if g.on[to] {
			g.low[f] = min(g.low[f], g.index[to])
		}
	}
	if g.low[f] != g.index[f] {
		return
	}
	i := slices.Index(g.stack, f)
	comp := slices.Clone(g.stack[i:])
	g.stack = g.stack[:i]
	for _, m := range comp {
		g.on[m] = false
	}
	g.components = append(g.components, comp)
}

// fileOrder puts the flows back into the order of the files.
func (c *compiler) fileOrder() {
	at := map[string]int{}
	for i, r := range c.set.Of(resource.KindFlow) {
		at[r.Name()] = i
	}
	slices.SortFunc(c.plan.Flows, func(a, b *plan.Flow) int { return at[a.Name] - at[b.Name] })
}
