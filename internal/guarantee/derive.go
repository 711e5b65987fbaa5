package guarantee

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// BestEffort is the delivery of a flow that promises nothing: an effect may be lost, and another may happen
// twice. It can't be declared.
const BestEffort plan.Delivery = "best-effort"

// Covers reports whether got gives all that want promises.
func Covers(got, want plan.Delivery) bool {
	g, w := bitsOf(got), bitsOf(want)
	return (!g.loses || w.loses) && (!g.repeats || w.repeats)
}

// Breaks reports whether r leaves less than what f declares.
func Breaks(f *plan.Flow, r plan.Reason) bool {
	if r.Delivery == "" {
		return rank(r.Order) < rank(f.Order)
	}
	return !Covers(r.Delivery, f.Delivery)
}

// bits are the two things that can go wrong.
type bits struct{ loses, repeats bool }

func bitsOf(d plan.Delivery) bits {
	return bits{loses: d == plan.AtMostOnce || d == BestEffort, repeats: d == plan.AtLeastOnce || d == BestEffort}
}

func (b bits) delivery() plan.Delivery {
	switch {
	case b.loses && b.repeats:
		return BestEffort
	case b.loses:
		return plan.AtMostOnce
	case b.repeats:
		return plan.AtLeastOnce
	}
	return plan.EffectivelyOnce
}

// Derive says what flow f of p gives. Its reasons are in the order of the program: from, the steps, onError. Each names what it
// alone leaves, so that those which break a promise can be told from those that only explain. It reads the plan only.
func Derive(p *plan.Plan, f *plan.Flow) plan.Guarantee {
	d := &deriver{p: p, f: f, channels: map[string]*plan.Channel{}, readers: map[string]int{}}
	for _, ch := range p.Channels {
		d.channels[ch.Name] = ch
	}
	for _, other := range p.Flows {
		for _, s := range other.Sources {
			if s.Channel != "" {
				d.readers[s.Channel]++
			}
		}
	}
	end := d.program(f.Nodes, d.sources())
	if d.sends == 0 {
		d.order = end.order // a reply, or nothing
	}
	d.deadLetters()
	g := plan.Guarantee{Delivery: d.all.delivery(), Order: cmp.Or(d.order, f.Order), Reasons: d.reasons}
	if !d.all.repeats {
		g.Within = d.within
	}
	return g
}

// deriver derives one flow.
type deriver struct {
	p        *plan.Plan
	f        *plan.Flow
	channels map[string]*plan.Channel
	readers  map[string]int // flows that read a channel

	all     bits
	within  time.Duration // the shortest retention of an inbox that is needed; 0: none is
	reasons []plan.Reason
	order   plan.Order // of what was sent so far; "" before the first
	sends   int
	again   bool // some message may come a second time
}

// state is what is known of the messages at a node.
type state struct {
	reached bool
	// again says that a message may come here a second time, after a crash.
	again bool
	// differs names a step since the last boundary that may make something else of a message that comes again; nil if there is none.
	differs *differs
	order   plan.Order
}

type differs struct {
	step, why string
	pos       penstock.Pos
}

// doubt notes that step n may make something else of the same message. Where none comes again, that is no matter.
func (s *state) doubt(n *plan.Node, why string) {
	if s.again && s.differs == nil {
		s.differs = &differs{step: n.Name, why: why, pos: n.Pos}
	}
}

func unite(a, b state) state {
	if !a.reached {
		return b
	}
	if !b.reached {
		return a
	}
	a.again = a.again || b.again
	if a.differs == nil {
		a.differs = b.differs
	}
	a.order = weaker(a.order, b.order)
	return a
}

// because adds a reason of delivery.
func (d *deriver) because(b bits, step string, pos penstock.Pos, hint, format string, args ...any) {
	d.all.loses, d.all.repeats = d.all.loses || b.loses, d.all.repeats || b.repeats
	d.add(plan.Reason{Delivery: b.delivery(), Step: step, Text: fmt.Sprintf(format, args...), Hint: hint, Pos: pos})
}

func (d *deriver) add(r plan.Reason) {
	if !slices.Contains(d.reasons, r) {
		d.reasons = append(d.reasons, r)
	}
}

// program follows messages through nodes: all jumps lead forward, so one pass is enough. It gives what is known at the end.
func (d *deriver) program(nodes []plan.Node, in state) state {
	at := make([]state, len(nodes))
	var end state
	to := func(i int, s state) {
		if i == plan.End || i >= len(nodes) {
			end = unite(end, s)
			return
		}
		at[i] = unite(at[i], s)
	}
	to(0, in)
	for i := range nodes {
		n, s := &nodes[i], at[i]
		if !s.reached {
			continue
		}
		out := d.node(n, s)
		if n.When != nil {
			out = unite(out, s)
		}
		if n.Catch != plan.End {
			to(n.Catch, s)
		}
		switch op := n.Op.(type) {
		case *plan.Route:
			for _, c := range op.Cases {
				to(c.Target, out)
			}
			to(op.Else, out)
			if n.When != nil {
				to(n.Next, s)
			}
		case *plan.Finish:
			end = unite(end, s)
			if n.When != nil {
				to(n.Next, s)
			}
		default:
			to(n.Next, out)
		}
	}
	return end
}

// node applies the rule of one node, and gives what is known behind it.
func (d *deriver) node(n *plan.Node, s state) state {
	if n.Volatile {
		s.doubt(n, "it reads now or uuid()")
	}
	switch op := n.Op.(type) {
	case *plan.Apply:
		if n.Verb == "sample" {
			s.doubt(n, "it lets pass one message or another")
		}
	case *plan.Group:
		return d.boundary(n, s, op.By != nil)
	case *plan.Stage:
		return d.stage(n, op, s)
	case *plan.Call:
		d.call(n, op, s)
		if !op.Local && op.Into.String() != "none" {
			s.doubt(n, "it may get another answer when it asks again")
		}
	case *plan.Send:
		d.send(n, op, s)
	case *plan.Fork:
		return d.fork(n, op, s)
	case *plan.Loop:
		return d.program(op.Body.Nodes, s)
	}
	return s
}

// fork follows the branches, whose results are joined in order.
func (d *deriver) fork(n *plan.Node, op *plan.Fork, s state) state {
	if op.Pick != nil && op.Pick.Strategy != plan.Sticky {
		s.doubt(n, "it may choose another target when it is done again")
	}
	inside := s
	if op.Each != nil && op.Concurrency != 1 {
		inside.order = plan.None
	}
	for _, b := range op.Branches {
		sent := d.sends
		end := d.program(b.Nodes, inside)
		if s.differs == nil {
			s.differs = end.differs
		}
		if d.sends > sent && inside.order != s.order {
			d.lessOrder(plan.None, n, "several elements are worked on at once, and sent as they are ready", "leave `concurrency` out")
		}
	}
	if op.Partial != nil && op.Partial.Deadline > 0 {
		s.doubt(n, "what is late one time may be in time another")
	}
	return s
}

// boundary is a step whose output is recorded: it comes again as it was. In a run without state it is memory, and what it makes
// depends on when messages come.
func (d *deriver) boundary(n *plan.Node, s state, byKey bool) state {
	if d.p.Durable {
		s.differs = nil
		s.again = d.f.Delivery != plan.AtMostOnce
		d.again = d.again || s.again
	} else {
		s.doubt(n, "it gathers what there is at the time")
	}
	if byKey && s.order == plan.Total {
		d.lessOrder(plan.PerKey, n, n.Verb+" lets go of each key's messages at a time of their own", "")
		s.order = plan.PerKey
	}
	return s
}

// lessOrder adds a reason of order.
func (d *deriver) lessOrder(o plan.Order, n *plan.Node, text, hint string) {
	d.add(plan.Reason{Order: o, Step: n.Name, Text: text, Hint: hint, Pos: n.Pos})
}

// rank orders the orders; none is the weakest.
func rank(o plan.Order) int { return slices.Index([]plan.Order{plan.None, plan.PerKey, plan.Total}, o) }

// weaker is the weaker of two orders; "" is not known yet.
func weaker(a, b plan.Order) plan.Order {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return slices.MinFunc([]plan.Order{a, b}, func(x, y plan.Order) int { return cmp.Compare(rank(x), rank(y)) })
}
