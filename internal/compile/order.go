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
	readers := map[string][]*resource.Resource{}
	for _, f := range flows {
		for _, in := range f.Spec.(*resource.Flow).Inputs() {
			if n := in.Channel.Name; n != "" && !slices.Contains(readers[n], f) {
				readers[n] = append(readers[n], f)
			}
		}
	}
	feeds := func(through func(*channel) bool) func(*resource.Resource) []*resource.Resource {
		return func(f *resource.Resource) []*resource.Resource {
			var out []*resource.Resource
			for _, name := range sends(f.Spec.(*resource.Flow)) {
				if ch := c.channels[name]; ch != nil && through(ch) {
					out = append(out, readers[name]...)
				}
			}
			return out
		}
	}
	// Channels in memory block when they are full; those in the store do not, and break the circle.
	blocking := feeds(func(ch *channel) bool { return !ch.out.Durable })
	for _, comp := range components(flows, blocking) {
		if round(comp, blocking) {
			c.warnRound(comp)
		}
	}
	// The edge of a channel with a schema is left out: its type is known before.
	untyped := feeds(func(ch *channel) bool { return ch.schema == nil })
	var out []*resource.Resource
	for _, comp := range components(flows, untyped) {
		if round(comp, untyped) {
			c.breakCycle(comp)
		}
		out = append(out, comp...)
	}
	return out
}

// round reports whether the flows of a component feed each other, or one itself.
func round(comp []*resource.Resource, next func(*resource.Resource) []*resource.Resource) bool {
	return len(comp) > 1 || slices.Contains(next(comp[0]), comp[0])
}

// warnRound says what channels in memory do where messages go round.
func (c *compiler) warnRound(comp []*resource.Resource) {
	between := slices.DeleteFunc(c.between(comp), func(ch *channel) bool { return ch.out.Durable })
	var names []string
	for _, ch := range between {
		names = append(names, ch.name)
	}
	c.diags.Warnf(between[0].pos, "cycle", between[0].name, "let every message leave the circle at some time, and give the channels room with `capacity`",
		"messages go round through %s (%s); when the channels are full, the flows wait for each other for ever", strings.Join(names, ", "), flowNames(comp))
}

// between lists the channels through which the flows of a component feed each other.
func (c *compiler) between(comp []*resource.Resource) []*channel {
	var out []*channel
	for _, f := range comp {
		for _, in := range f.Spec.(*resource.Flow).Inputs() {
			ch := c.channels[in.Channel.Name]
			if ch != nil && !slices.Contains(out, ch) && slices.ContainsFunc(comp, func(s *resource.Resource) bool {
				return slices.Contains(sends(s.Spec.(*resource.Flow)), ch.name)
			}) {
				out = append(out, ch)
			}
		}
	}
	slices.SortFunc(out, func(a, b *channel) int { return strings.Compare(a.name, b.name) })
	return out
}

func flowNames(comp []*resource.Resource) string {
	var names []string
	for _, f := range comp {
		names = append(names, f.Name())
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// breakCycle makes the channels dyn through which the flows of a component feed each other.
func (c *compiler) breakCycle(comp []*resource.Resource) {
	for _, ch := range c.between(comp) {
		if ch.schema != nil || ch.cyclic {
			continue
		}
		ch.cyclic = true
		c.diags.Warnf(ch.pos, "untyped-cycle", ch.name, "give the channel a `schema`",
			"what goes round through channel %s (%s) has no type that could be inferred", ch.name, flowNames(comp))
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
		if job, ok := s.Verb.(*resource.Enqueue); ok && !job.Queue.IsZero() {
			add(&resource.Target{Channel: resource.Ref{Name: resource.QueuePrefix + job.Queue.Name, Pos: job.Queue.Pos}})
		}
	})
	add(f.To)
	return out
}

// components finds the strongly connected components of flows (Tarjan, 1972), those that feed others first.
func components(flows []*resource.Resource, next func(*resource.Resource) []*resource.Resource) [][]*resource.Resource {
	g := &graph{next: next, index: map[*resource.Resource]int{}, low: map[*resource.Resource]int{}, on: map[*resource.Resource]bool{}}
	for _, f := range flows {
		if _, seen := g.index[f]; !seen {
			g.visit(f)
		}
	}
	slices.Reverse(g.components)
	return g.components
}

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
	for _, f := range c.plan.Flows {
		at[f.Name] = len(c.plan.Flows) // relays come last
	}
	for i, r := range c.set.Of(resource.KindFlow) {
		at[r.Name()] = i
	}
	slices.SortStableFunc(c.plan.Flows, func(a, b *plan.Flow) int { return at[a.Name] - at[b.Name] })
}
