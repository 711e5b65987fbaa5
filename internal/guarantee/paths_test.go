package guarantee

import (
	"math/rand/v2"
	"slices"
	"testing"

	"penstock.dev/penstock/internal/plan"
)

// TestPaths holds the derivation, which goes over a program once, to one that walks every path of random programs and looks at
// nothing but the path.
func TestPaths(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	ops := []plan.Node{leaf, leaf, volatile(leaf), sampled, deduped, grouped, asked, posted, to(lines), to(table), to(table), to(table), to(drop),
		toChannel("kept"), toChannel("passing"), tap(table), then("stop", &plan.Finish{}), then("which", nil)}
	seen := map[plan.Delivery]int{}
	for range 20_000 {
		nodes := make([]plan.Node, 1+rnd.IntN(7))
		ahead := func(i int) int {
			if to := i + 1 + rnd.IntN(3); to < len(nodes) {
				return to
			}
			return plan.End
		}
		for i := range nodes {
			nodes[i] = ops[rnd.IntN(len(ops))]
			n := &nodes[i]
			n.Next = ahead(i)
			if rnd.IntN(5) == 0 {
				n.When = program{}
			}
			if rnd.IntN(5) == 0 {
				n.Catch = ahead(i)
			}
			if n.Name == "which" {
				n.Op = &plan.Route{Cases: []plan.Case{{Target: ahead(i)}}, Else: ahead(i)}
			}
		}
		source := []*plan.Endpoint{file, mail, stdin, fromChannel("kept")}[rnd.IntN(4)]
		f := plan.Flow{Sources: []*plan.Endpoint{source}, Nodes: nodes, Order: plan.Total, OnError: plan.ErrorPolicy{Park: true},
			Delivery: []plan.Delivery{plan.AtMostOnce, plan.AtLeastOnce}[rnd.IntN(2)]}
		g := Derive(flowOf(&f), &f)
		w := walker{nodes: nodes, once: f.Delivery == plan.AtMostOnce}
		w.all = bits{loses: source == stdin || w.once, repeats: source == mail && !w.once}
		w.walk(0, source != stdin && !w.once, false)
		if want := w.all.delivery(); g.Delivery != want {
			t.Fatalf("%s, its paths %s: declared %s, source %s, %+v, because %+v", g.Delivery, want, f.Delivery, describe(source), nodes, g.Reasons)
		}
		seen[g.Delivery]++
	}
	for _, d := range []plan.Delivery{BestEffort, plan.AtMostOnce, plan.AtLeastOnce, plan.EffectivelyOnce} {
		if seen[d] < 100 {
			t.Errorf("only %d programs give %s", seen[d], d)
		}
	}
}

type walker struct {
	nodes []plan.Node
	once  bool // settled when read
	all   bits
}

// walk follows a message that may come again, and whose content may differ when it does.
func (w *walker) walk(i int, again, differs bool) {
	if i == plan.End {
		return
	}
	n := &w.nodes[i]
	if n.Catch != plan.End {
		w.walk(n.Catch, again, differs)
	}
	if n.When != nil {
		w.walk(n.Next, again, differs)
	}
	next := []int{n.Next}
	differs = differs || n.Volatile || n.Verb == "sample"
	switch op := n.Op.(type) {
	case *plan.Finish:
		return
	case *plan.Route:
		next = []int{op.Cases[0].Target, op.Else}
	case *plan.Group, *plan.Stage:
		again, differs = !w.once, false
	case *plan.Call:
		w.all.repeats = w.all.repeats || again && !op.Idempotent
		differs = true
	case *plan.Send:
		twice := op.Endpoint == lines || op.Endpoint == table && differs || op.Endpoint.Channel == "passing"
		w.all.repeats = w.all.repeats || again && twice
		w.all.loses = w.all.loses || op.NoWait || op.Endpoint.Channel == "passing"
	}
	for _, to := range slices.Compact(next) {
		w.walk(to, again, differs)
	}
}
