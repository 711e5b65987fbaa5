package compile

import (
	"slices"
	"strconv"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/guarantee"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// storeOf is the store of the plan: the Integration's, or the default one.
func (c *compiler) storeOf() *plan.Store {
	// A field that could not be read is empty, which was said; the plan is thrown away then.
	s := resource.DefaultStore()
	if in := c.set.Integration(); in != nil {
		s = in.Store
	}
	c.wants(s.Password)
	return StoreOf(&s)
}

// StoreOf is a store as plans have it.
func StoreOf(s *resource.Store) *plan.Store {
	return &plan.Store{Driver: s.Driver, Path: s.Path, Reserve: int64(s.Reserve), Journal: int64(s.Journal), Pos: s.Pos,
		URL: s.URL, Password: s.Password, Schema: s.Schema, Lease: s.Lease.Std(), Volatile: s.Volatile}
}

// keepState says where state is kept, and whether the run keeps any (ADR 6): where the Integration names a store, or
// something needs one.
func (c *compiler) keepState() {
	c.plan.Store = c.storeOf()
	in := c.set.Integration()
	for _, f := range c.plan.Flows {
		if f.Delivery == plan.EffectivelyOnce && !c.diags.HasErrors() { // of half a flow nothing true can be said
			f.Transaction, _ = guarantee.Transaction(f)
		}
	}
	c.plan.Durable = in != nil && in.Has("store") || len(c.plan.Views) > 0 || slices.ContainsFunc(c.plan.Flows, c.needsStore)
	if !c.plan.Durable {
		return
	}
	for f, windows := range c.windows {
		for at, st := range windows {
			f.Nodes[at].Op = st
		}
	}
	c.outboxes()
}

// needsStore reports whether something in a flow can't do without the store.
func (c *compiler) needsStore(f *plan.Flow) bool {
	if f.Delivery == plan.EffectivelyOnce && f.Transaction == nil && !c.onceAnyway(f) || f.OnError.Park || c.keeps(f.Nodes) || c.durable(f.OnError.DeadLetter) {
		return true
	}
	if dead := c.channels[f.Name+".dead"]; dead != nil && dead.out.Durable {
		return true // somebody reads it
	}
	for _, s := range f.Sources {
		if s.Server != nil && beyond(f) {
			return true // what callers were told is accepted must not be in memory only
		}
		// What knows the messages of a broker by itself helps a run that keeps state, and asks for none.
		if c.durable(s) || s.Entity != "" || s.Queue != "" || s.ID != nil && s.Broker == "" || f.Delivery == plan.AtMostOnce && s.Driver != nil && s.Driver.Spec.Replay == penstock.ReplayPosition {
			return true // at-most-once: else each run would do everything once more
		}
		if why, ok := s.Config.(penstock.Stateful); ok && why.NeedsState() != "" {
			return true
		}
	}
	return false
}

// onceAnyway reports whether a flow gives effectively-once without state: what it reads keeps the position, and what it writes knows what comes again.
func (c *compiler) onceAnyway(f *plan.Flow) bool {
	if c.diags.HasErrors() {
		return false
	}
	without := *c.plan
	without.Durable = false
	return guarantee.Covers(guarantee.Derive(&without, f).Delivery, plan.EffectivelyOnce)
}

// durable reports whether an endpoint is a channel of the store.
func (c *compiler) durable(ep *plan.Endpoint) bool {
	return ep != nil && c.channels[ep.Channel] != nil && c.channels[ep.Channel].out.Durable
}

// keeps reports whether a step of a program can't do without the store. An aggregate and a sample can: they work in memory, too.
func (c *compiler) keeps(nodes []plan.Node) bool {
	for i := range nodes {
		switch op := nodes[i].Op.(type) {
		case *plan.Stage, *plan.Claim:
			return true
		case *plan.Call:
			if ep := op.Endpoint; ep != nil && (ep.Redrive != nil || ep.Command != nil || ep.Query != nil || ep.Ask != nil) {
				return true
			}
		case *plan.Send:
			if c.durable(op.Endpoint) {
				return true
			}
		case *plan.Fork:
			for _, b := range op.Branches {
				if c.keeps(b.Nodes) {
					return true
				}
			}
		case *plan.Loop:
			if c.keeps(op.Body.Nodes) {
				return true
			}
		}
	}
	return false
}

// identities compiles what the sources say of the identity of their messages.
func (c *compiler) identities(lf *lower.Flow, in inputs) {
	for _, s := range in.own {
		id, remember := s.t.ID, s.t.Remember.Std()
		if own, ok := s.ep.Config.(penstock.Identified); ok && id.IsZero() && (s.ep.Server != nil && !in.replies() || s.ep.Broker != "") {
			var name string
			if name, remember = own.Identity(); name != "" {
				id = penstock.Expr{Source: "meta[" + strconv.Quote(name) + "]", Pos: s.t.Pos}
				if s.ep.Broker != "" { // other programs may write to it, and give their messages none
					id.Source = "meta[?" + strconv.Quote(name) + `].orValue("")`
				}
			}
		}
		if id.IsZero() {
			continue
		}
		sc := lf.Scope()
		if body, ok := sc.Root("body"); ok && s.ep.Type != nil { // its own, of several sources
			own := *body
			own.Type = s.ep.Type
			sc = sc.With(own)
		}
		c.identity(s, lf.Exprs().Expr(id, sc, nil), id)
		s.ep.Remember = remember
	}
}

// identity makes a compiled expression the identity of a source's messages.
func (c *compiler) identity(s source, id *expr.Compiled, as penstock.Expr) {
	lower.KeyType(c.diags, id.Type, as)
	if id.Volatile {
		c.diags.Errorf(as.Pos, "volatile", as.Source, "use what the message brings along: a field of its own, or a header",
			"a message that comes again would have another id: `%s` reads now or uuid()", as.Source)
	}
	s.ep.ID = id.Program
}

// mayPark refuses to hold messages back where they have no sequence, or nothing could ever let them go on.
func (c *compiler) mayPark(f *plan.Flow, spec *resource.Flow, in inputs) bool {
	pos := spec.OnError.At("order")
	switch {
	case f.Order == plan.None:
		c.diags.Errorf(pos, "wrong-order", "park", "write `order: per-key` or leave the flow's `order` out, or write `order: skip` here",
			"park keeps later messages of a key behind a dead letter, and with order: none flow %s has no sequence to keep", f.Name)
	case spec.Key.IsZero() && !in.keyed:
		c.diags.Errorf(pos, "missing-key", "park", "add `key: …` to the flow", "park holds back what has the key of a dead letter, and the messages of flow %s have none", f.Name)
	case spec.OnError.DeadLetter != nil:
		c.diags.Errorf(pos, "wrong-field", "park", "remove `deadLetter`: the dead letters are then kept in "+f.Name+".dead",
			"what is parked goes on when its dead letter is redriven or dropped, which is done in the store; the dead letters of flow %s go elsewhere", f.Name)
	default:
		return true
	}
	return false
}
