package compile

import (
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// Condition compiles a condition of a Test on messages of a type: it may speak of body, meta, key, params
// and now. It returns nil after a finding.
func Condition(set *resource.Set, e penstock.Expr, body *types.Type, l *diag.List) penstock.Program {
	profile, err := expr.NewProfile(expr.Options{})
	if err != nil {
		l.Errorf(e.Pos, "internal", e.Source, "please report this", "the expression profile can't be made: %v", err)
		return nil
	}
	c := &compiler{set: set, diags: l, profile: profile, plan: &plan.Plan{}}
	c.declareParams()
	return c.exprs().Expr(e, c.bodyScope(orDyn(body)), types.BoolType).Program
}

// checkTests looks at what tests refer to, and at their conditions.
func (c *compiler) checkTests() {
	for _, r := range c.set.Of(resource.KindTest) {
		t := r.Spec.(*resource.Test)
		f, ok := c.selected(t.Flow.Name)
		if !ok {
			if !t.Flow.IsZero() {
				c.dangling(c.diags, t.Flow, resource.KindFlow)
			}
			continue
		}
		c.checkMocks(t, f.Spec.(*resource.Flow))
		c.checkGiven(t)
		for i := range t.Expect {
			c.checkExpect(&t.Expect[i], c.planned(f.Name()))
		}
		c.checkRequests(t, c.plan.Flow(f.Name()))
	}
}

func (c *compiler) planned(flow string) *plan.Flow {
	if f := c.plan.Flow(flow); f != nil {
		return f
	}
	return &plan.Flow{Name: flow, Output: types.DynType}
}

func (c *compiler) checkExpect(e *resource.Expect, f *plan.Flow) {
	body := types.DynType
	switch {
	case !e.Queue.IsZero():
		q := c.queues[e.Queue.Name]
		if q == nil {
			c.dangling(c.diags, e.Queue, resource.KindJobQueue)
			return
		}
		body = q.ch.typ()
	case !e.Channel.IsZero():
		ch, ok := c.channels[e.Channel.Name]
		if !ok {
			c.dangling(c.diags, e.Channel, resource.KindChannel)
			return
		}
		body = ch.typ()
	case !e.Connection.IsZero():
		if _, ok := c.connections[e.Connection.Name]; !ok {
			c.dangling(c.diags, e.Connection, resource.KindConnection)
			return
		}
	case e.Step != "":
		var sends []string
		walkSends(f.Nodes, func(name string) { sends = append(sends, name) })
		if !slices.Contains(sends, e.Step) {
			c.diags.Errorf(e.At("step"), "dangling-reference", e.Step, lower.Hint(e.Step, sends), "flow %s has no step %q that sends", f.Name, e.Step)
			return
		}
	case !e.Entity.IsZero() || !e.View.IsZero():
		t, ok := c.checkState(e)
		if !ok {
			return
		}
		body = orDyn(t)
	case e.Reply && e.Status < 300:
		body = orDyn(f.Output)
	}
	if !e.When.IsZero() {
		c.exprs().Expr(e.When, c.bodyScope(body), types.BoolType)
	}
}

// checkRequests refuses requests to a flow that is not called, and expectations of their replies.
func (c *compiler) checkRequests(t *resource.Test, f *plan.Flow) {
	if f == nil || slices.ContainsFunc(f.Sources, func(ep *plan.Endpoint) bool { return ep.Server != nil }) {
		return
	}
	for i := range t.Script {
		if send := t.Script[i].Send; send != nil && send.Request != nil {
			c.diags.Errorf(send.AtKey("request"), "wrong-field", "request", "send a `body`, `bodies`, `text` or a `file`", "flow %s reads its messages; nobody makes requests to it", f.Name)
		}
	}
	for i := range t.Expect {
		if e := &t.Expect[i]; e.Status != 0 {
			c.diags.Errorf(e.AtKey("status"), "wrong-field", "status", "leave it out", "flow %s is not called, so its replies have no status", f.Name)
		}
	}
}

// checkMocks looks whether each mock can answer anything.
func (c *compiler) checkMocks(t *resource.Test, f *resource.Flow) {
	var calls []string
	for _, flow := range c.plan.Flows {
		walkCalls(flow.Nodes, func(name string) { calls = append(calls, name) })
	}
	lower.Walk(f.Steps, func(s *resource.Step) {
		if _, ok := s.Verb.(*resource.Call); ok && s.Name != "" {
			calls = append(calls, s.Name)
		}
	})
	for i := range t.Mocks {
		m := &t.Mocks[i]
		if !m.Connection.IsZero() {
			if _, ok := c.connections[m.Connection.Name]; !ok {
				c.dangling(c.diags, m.Connection, resource.KindConnection)
			}
		}
		if m.Step != "" && !slices.Contains(calls, m.Step) {
			c.diags.Errorf(m.At("step"), "dangling-reference", m.Step, lower.Hint(m.Step, calls), "there is no call step %q that a mock could answer", m.Step)
		}
		if !m.When.IsZero() {
			c.exprs().Expr(m.When, c.bodyScope(types.DynType), types.BoolType)
		}
	}
}

// walkCalls visits the names of all call nodes.
func walkCalls(nodes []plan.Node, visit func(name string)) {
	walkNodes(nodes, func(n *plan.Node) {
		if _, ok := n.Op.(*plan.Call); ok {
			visit(n.Name)
		}
	})
}

// walkSends visits the names of all nodes that send.
func walkSends(nodes []plan.Node, visit func(name string)) {
	walkNodes(nodes, func(n *plan.Node) {
		if _, ok := n.Op.(*plan.Send); ok {
			visit(n.Name)
		}
	})
}

// walkNodes visits all nodes, those of branches and loops, too.
func walkNodes(nodes []plan.Node, visit func(*plan.Node)) {
	for i := range nodes {
		visit(&nodes[i])
		switch op := nodes[i].Op.(type) {
		case *plan.Fork:
			for _, b := range op.Branches {
				walkNodes(b.Nodes, visit)
			}
		case *plan.Loop:
			walkNodes(op.Body.Nodes, visit)
		}
	}
}
