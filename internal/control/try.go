package control

import (
	"context"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/plan"
)

// Try runs the flows of a checked configuration over their open dead letters (s.Flow: of one flow) without any effect, and
// says how many would pass now: sinks write nothing, the store is not touched, and a call that would leave this process is not
// made. progress, where it is there, is told how many were tried so far.
func (s *Service) Try(ctx context.Context, c *Checked, dead operate.DeadLetters, sel operate.Selection, progress func(tried int64)) (*operate.Tried, error) {
	if _, err := c.selectFlows(nil); err != nil {
		return nil, err
	}
	sel.Records = true
	trials := map[string]*trial{}
	stop := func() {
		for _, t := range trials {
			t.cancel()
		}
	}
	defer stop()
	var n int64
	err := dead.Each(ctx, sel, func(d *operate.DeadLetter) error {
		flow, _, _ := strings.Cut(d.ID, ".dead@")
		t := trials[flow]
		if t == nil {
			t = s.newTrial(ctx, flow, c.plan)
			trials[flow] = t
		}
		n++
		if progress != nil {
			progress(n)
		}
		return t.give(d)
	})
	if err != nil {
		return nil, err
	}
	out := &operate.Tried{Flows: []operate.TriedFlow{}}
	for _, t := range trials {
		f, err := t.finish()
		if err != nil {
			return nil, err
		}
		out.Flows = append(out.Flows, *f)
	}
	slices.SortFunc(out.Flows, func(a, b operate.TriedFlow) int { return strings.Compare(a.Flow, b.Flow) })
	return out, nil
}

// flowFrom is a flow that begins at a place of its program and ends in front of what keeps state.
func flowFrom(f *plan.Flow, at int, note func(step, id string)) *plan.Flow {
	own := *f
	own.OnError.DeadLetter, own.OnError.Park = nil, false
	own.Delivery = plan.AtLeastOnce
	told := &penstock.Driver{Spec: penstock.Spec{Name: "dead letters", Settle: penstock.Each}} // of each, when it is through
	own.Sources = []*plan.Endpoint{{Name: f.Name + "/dead", Driver: told, Label: "dead letters", Pos: f.Pos}}
	if at > 0 { // the key of a message that was under way is the one that it had
		own.Key = nil
	}
	own.Nodes = harmless(f.Nodes, note)
	if at > 0 { // nothing goes back, so that the first node is free
		own.Nodes[0] = plan.Node{Name: own.Nodes[0].Name, Verb: "choice", Op: &plan.Route{Else: at}, Next: at, Catch: plan.End}
	}
	return &own
}

// harmless is a program without effects on a store.
func harmless(nodes []plan.Node, note func(step, id string)) []plan.Node {
	out := slices.Clone(nodes)
	for i := range out {
		n := &out[i]
		switch op := n.Op.(type) {
		case *plan.Stage:
			n.Op, n.Next = &plan.Apply{Step: &admission{name: n.Name, needs: op}}, plan.End
		case *plan.Group:
			n.Op, n.Next = &plan.Apply{Step: &admission{name: n.Name, group: op}}, plan.End
		case *plan.Claim:
			n.Op = &plan.Apply{Step: &unmade{step: n.Name, note: note}}
		case *plan.Fork:
			own := *op
			own.Branches = slices.Clone(op.Branches)
			for j := range own.Branches {
				own.Branches[j].Nodes = harmless(own.Branches[j].Nodes, note)
			}
			n.Op = &own
		case *plan.Loop:
			own := *op
			own.Body.Nodes = harmless(op.Body.Nodes, note)
			n.Op = &own
		}
	}
	return out
}

// entry is the node at which a dead letter goes on: see meta.dead.entry. A step that is not there any more leaves it the beginning.
func entry(f *plan.Flow, name string) int {
	kind, step, _ := strings.Cut(name, " ")
	for i := range f.Nodes {
		n := &f.Nodes[i]
		_, stage := n.Op.(*plan.Stage)
		_, group := n.Op.(*plan.Group)
		if n.Name != step || !stage && !group {
			continue
		}
		switch kind {
		case "behind":
			return n.Next
		case "at":
			return i
		}
	}
	return 0
}
