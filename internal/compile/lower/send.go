package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// lowerSend sends the message, or what `body` makes of it, and goes on with the message as it is.
func (b *builder) lowerSend(s *resource.Step, v *resource.Send) {
	op, label := b.send(&v.Target, b.f.names[s])
	b.emit(s, op, label)
	b.next()
	b.state.sent = true
}

// finalTo is the flow's own `to`.
func (b *builder) finalTo(t *resource.Target) {
	if b.state.dead {
		if b.f.cut {
			return
		}
		b.diags().Warnf(t.Pos, "unreachable", "to", "remove it, or give what ends the message before it a condition", "no message gets to `to`")
		return
	}
	op, label := b.send(t, "to")
	b.place(plan.Node{Name: "to", Verb: "to", Op: op, Catch: plan.End, ErrorSlot: -1, Pos: t.Pos, Label: label})
}

func (b *builder) send(t *resource.Target, name string) (*plan.Send, string) {
	op := &plan.Send{NoWait: !t.Wait}
	sent, keyed := b.state.body(), b.state.keyed
	if t.Body.Kind != penstock.TreeNone {
		c := b.exprs().Tree(t.Body, b.state.sc)
		op.Body, sent = c.Mapping, orDyn(c.Type)
	}
	if !t.Key.IsZero() {
		k := b.exprs().Expr(t.Key, b.state.sc, nil)
		b.keyType(k.Type, t.Key)
		op.Key, keyed = k.Program, true
	}
	if !t.Schema.IsZero() {
		if schema := b.f.o.World.Schema(t.Schema, b.diags()); schema != nil {
			b.fits(t.At("schema"), schema.Name, sent, schema.Type, "what is sent")
			sent = declared(sent, schema.Type)
		}
	}
	// The connector's own expressions see what is sent.
	op.Endpoint = b.f.o.World.Sink(Use{Target: t, Name: b.f.o.Name + "/" + name, Scope: b.state.withBody(sent).sc, Type: sent, Exprs: b.exprs(), Dry: b.f.dry > 0}, b.diags())
	label := t.Connector
	if op.Endpoint != nil {
		label = op.Endpoint.Label
		op.Idempotent = op.Endpoint.Driver != nil && op.Endpoint.Driver.Spec.Idempotent || op.Endpoint.Channel != ""
	}
	if !t.Channel.IsZero() && b.f.dry == 0 {
		b.f.o.World.Sent(t.Channel.Name, Sent{Flow: b.f.o.Name, Type: sent, Keyed: keyed, Pos: t.Pos})
	}
	return op, label
}

// declared is the type of what is sent under a schema: the schema's where nothing better is known.
func declared(sent, schema *types.Type) *types.Type {
	if sent.IsDyn() {
		return schema
	}
	return sent
}
