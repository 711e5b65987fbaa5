package compile

import (
	"maps"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// given is a Policy that has a target among its own.
type given struct {
	from   *resource.Resource
	policy *resource.Policy
	named  bool // by its name; else by labels
}

// checkTargets looks whether every target of a policy is there.
func (c *compiler) checkTargets() {
	for _, r := range c.set.Of(resource.KindPolicy) {
		for i := range r.Spec.(*resource.Policy).Targets {
			c.checkTarget(&r.Spec.(*resource.Policy).Targets[i])
		}
	}
}

// attachPolicies gives every connection the rules that hold for it.
func (c *compiler) attachPolicies() {
	for _, r := range c.set.Of(resource.KindConnection) {
		if conn := c.connections[r.Name()]; conn != nil {
			c.rules(r, conn)
		}
	}
}

// checkTarget finds targets that nothing fits.
func (c *compiler) checkTarget(t *resource.PolicyTarget) {
	if t.Kind == "" || t.Name == "" && len(t.Labels) == 0 {
		return // said when it was read
	}
	for _, r := range c.set.Resources { // also those that this integration leaves out
		if r.Kind == t.Kind && (t.Name != "" && r.Name() == t.Name || t.Name == "" && carries(r, t.Labels)) {
			return
		}
	}
	if t.Name != "" {
		c.dangling(c.diags, resource.Ref{Name: t.Name, Pos: t.At("name")}, t.Kind)
		return
	}
	c.diags.Warnf(t.At("labels"), "selects-nothing", "", "look at the labels in their `metadata`", "no %s carries these labels: the policy has no effect here", t.Kind)
}

// carries says that a resource has all of some labels.
func carries(r *resource.Resource, labels map[string]string) bool {
	for k, v := range labels {
		if own, ok := r.Metadata.Labels[k]; !ok || own != v {
			return false
		}
	}
	return true
}

// policiesFor lists the policies that have r as a target.
func (c *compiler) policiesFor(r *resource.Resource) []given {
	var out []given
	for _, p := range c.set.Of(resource.KindPolicy) {
		g := given{from: p, policy: p.Spec.(*resource.Policy)}
		found := false
		for i := range g.policy.Targets {
			switch t := &g.policy.Targets[i]; {
			case t.Kind != r.Kind:
			case t.Name != "" && t.Name == r.Name():
				found, g.named = true, true
			case t.Name == "" && len(t.Labels) > 0 && carries(r, t.Labels):
				found = true
			}
		}
		if found {
			out = append(out, g)
		}
	}
	return out
}

// prevailing is the policy whose field holds for r; nil where none says it. Names beat labels; two that say it in the same way are an
// error.
func (c *compiler) prevailing(field string, r *resource.Resource, among []given) *given {
	var best []given
	for _, g := range among {
		switch {
		case !g.policy.Has(field):
		case len(best) == 0 || g.named && !best[0].named:
			best = []given{g}
		case g.named == best[0].named:
			best = append(best, g)
		}
	}
	if len(best) == 0 {
		return nil
	}
	if len(best) > 1 {
		how := "labels"
		if best[0].named {
			how = "name"
		}
		first, hint := best[0].policy.AtKey(field), "say it in one of them, or in the "+string(r.Kind)+" itself"
		if field == "slo" { // nothing else says it
			hint = "say it in one of them"
		}
		c.diags.Errorf(best[1].policy.AtKey(field), "policy-tie", field, hint,
			"policies %s and %s both say `%s` of %s %s, by %s; the other is at %s", best[0].from.Name(), best[1].from.Name(), field, r.Kind, r.Name(), how, first)
	}
	return &best[0]
}

// rules resolves what holds for a connection: for each field what stands in it, else the policy that prevails.
func (c *compiler) rules(r *resource.Resource, conn *connection) {
	among := c.policiesFor(r)
	of := func(field string) *resource.Resilience {
		if conn.spec.Has(field) {
			return &conn.spec.Resilience
		}
		if p := c.prevailing(field, r, among); p != nil {
			return &p.policy.Resilience
		}
		return nil
	}
	p := &plan.Policy{Name: r.Name()}
	if s := of("timeout"); s != nil {
		conn.timeout = s.Timeout.Std()
	}
	if s := of("retry"); s != nil && s.Retry != nil {
		conn.retry, p.Budget = lower.Retry(s.Retry), float64(s.Retry.Budget)
	}
	if s := of("breaker"); s != nil && s.Breaker != nil {
		b := s.Breaker
		p.Breaker = &plan.Breaker{Failures: float64(b.Failures), Window: b.Window.Std(), Minimum: b.Minimum, Open: b.Open.Std(), HalfOpen: b.HalfOpen}
	}
	if s := of("concurrency"); s != nil && s.Concurrency != nil {
		p.Concurrency = &plan.Concurrency{Limit: s.Concurrency.Limit, Queue: -1, Wait: s.Concurrency.Wait.Std()}
		if q := s.Concurrency.Queue; q != nil {
			p.Concurrency.Queue = *q
		}
	}
	if s := of("rateLimit"); s != nil && s.RateLimit != nil {
		p.RateLimit = &plan.RateLimit{Rate: s.RateLimit.Rate.PerSecond(), Burst: s.RateLimit.Burst}
	}
	if s := of("hedge"); s != nil && s.Hedge != nil {
		p.Hedge, conn.hedgePos = &plan.Hedge{After: s.Hedge.After.Std(), Max: s.Hedge.Max}, s.Hedge.Pos
	}
	if *p != (plan.Policy{Name: r.Name()}) {
		conn.policy = p
	}
}

// flowRules gives a flow what policies say of it.
func (c *compiler) flowRules(r *resource.Resource, f *plan.Flow, spec *resource.Flow) {
	among := c.policiesFor(r)
	if p := c.prevailing("retry", r, among); p != nil && p.policy.Retry != nil && spec.OnError.Retry == nil {
		f.OnError.Retry, f.OnError.Policy = *lower.Retry(p.policy.Retry), p.from.Name()
	}
	c.timeout = 0
	if p := c.prevailing("timeout", r, among); p != nil {
		c.timeout = p.policy.Timeout.Std()
	}
}

// checkHedges finds connections that are to be asked twice and may not be.
func (c *compiler) checkHedges() {
	calls, safe := map[string]penstock.Pos{}, map[string]bool{}
	for _, f := range c.plan.Flows {
		plan.Walk(f.Nodes, func(n *plan.Node) {
			var ep *plan.Endpoint
			idempotent := false
			switch op := n.Op.(type) {
			case *plan.Call:
				ep, idempotent = op.Endpoint, op.Idempotent
			case *plan.Send:
				ep = op.Endpoint
			}
			if ep == nil || ep.Policy == nil || ep.Policy.Hedge == nil {
				return
			}
			safe[ep.Connection] = safe[ep.Connection] || idempotent
			if _, known := calls[ep.Connection]; !known {
				calls[ep.Connection] = n.Pos
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if !safe[name] {
			c.diags.Errorf(c.connections[name].hedgePos, "never-hedged", "hedge", "leave it out, or let the calls be idempotent (their method, or an idempotency key)",
				"`hedge` would never act: nothing that is asked of connection %s may be asked twice, such as at %s", name, calls[name])
		}
	}
}
