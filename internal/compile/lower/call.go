package lower

import (
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// lowerCall asks an endpoint. Its value is the reply, which a keyed look-up that misses leaves absent.
func (b *builder) lowerCall(s *resource.Step, v *resource.Call) {
	t := &v.Target
	ep, reply := b.f.o.World.Caller(Use{Target: t, Name: b.f.o.Name + "/" + b.f.names[s], Scope: b.state.sc, Exprs: b.exprs(), Dry: b.f.dry > 0}, b.diags())
	typ := orDyn(reply.Type)
	if reply.Maybe {
		typ = types.OptionalOf(typ)
	}
	op := &plan.Call{Endpoint: ep, Maybe: reply.Maybe, Into: b.target(into(s))}
	for _, option := range []string{"key", "body"} {
		if t.Has(option) {
			b.diags().Errorf(t.AtKey(option), "unsupported", option, "say it in the configuration of `"+t.Connector+"`",
				"no connector of this version takes `%s` beside a call", option)
		}
	}
	op.Cache = b.cache(t, ep, reply)
	label := t.Connector
	if ep != nil {
		label = ep.Label
		op.Idempotent, op.Local = ep.Driver.Spec.Idempotent, ep.Driver.Spec.Local
	}
	b.emit(s, op, label)
	b.next()
	if into(s).Root == "none" {
		b.state.sent = true // asked for its effect
	}
	b.state = b.put(b.state, into(s), typ)
}
