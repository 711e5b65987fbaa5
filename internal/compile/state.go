package compile

import (
	"penstock.dev/penstock"
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
	return &plan.Store{Driver: s.Driver, Path: s.Path, Reserve: int64(s.Reserve), Journal: int64(s.Journal), Pos: s.Pos}
}

// keepState says where state is kept, and whether the run keeps any (ADR 6): where the Integration names a store, or
// something needs one.
func (c *compiler) keepState() {
	c.plan.Store = c.storeOf()
	in := c.set.Integration()
	c.plan.Durable = in != nil && in.Has("store") || c.needsStore()
}

// needsStore reports whether something in the plan can't do without the store.
func (c *compiler) needsStore() bool {
	for _, ch := range c.channels {
		if ch.out.Durable && (len(ch.readers) > 0 || len(ch.senders) > 0 || len(ch.dead) > 0) {
			return true
		}
	}
	for _, f := range c.plan.Flows {
		if f.Delivery == plan.EffectivelyOnce {
			return true
		}
		for _, s := range f.Sources {
			if why, ok := s.Config.(penstock.Stateful); ok && why.NeedsState() != "" {
				return true
			}
		}
	}
	return false
}
