package lower

import (
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// cache makes the cache of a call; nil where there is none, or after a finding.
func (b *builder) cache(t *resource.Target, ep *plan.Endpoint, reply Reply) *plan.Cache {
	c := t.Cache
	if c == nil || ep == nil {
		return nil
	}
	out := &plan.Cache{TTL: c.TTL.Std(), Stale: c.Stale.Std(), Negative: c.Negative.Std(), Size: int64(c.Size)}
	spec := &ep.Driver.Spec
	switch at := t.AtKey("cache"); {
	case !spec.Idempotent:
		b.diags().Errorf(at, "not-cacheable", "cache", "leave it out", "asking %s again may have a second effect, so an answer that is remembered can't stand for it", t.Connector)
		return nil
	case c.Key.IsZero() && !spec.Reads:
		b.diags().Errorf(c.Pos, "missing-key", "cache", "add `key: …`, the same for messages that may have the same answer", "%s doesn't say what its answer depends on", t.Connector)
		return nil
	case c.Key.IsZero() && ep.Volatile:
		b.diags().Errorf(c.Pos, "missing-key", "cache", "add `key: …`, the same for messages that may have the same answer", "what is asked reads `now` or uuid(), so that no two requests are the same")
		return nil
	case c.Key.IsZero():
		out.Parts, out.Trees = reply.Parts, reply.Trees
	default:
		k := b.exprs().Expr(c.Key, b.state.sc, nil)
		b.keyType(k.Type, c.Key)
		out.Key = k.Program
	}
	if spec.Local {
		b.diags().Warnf(t.AtKey("cache"), "cached-twice", "cache", "leave it out", "%s answers from memory already: a cache in front of it costs memory and saves nothing", t.Connector)
	}
	return out
}
