package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

var enqueuedType = &types.Type{Kind: types.Object, Name: "job", Fields: []types.Field{{Name: "id", Type: types.StringType, Required: true}}}

// lowerJob enqueues a job: it is sent to its queue, as a message to a channel.
func (b *builder) lowerJob(s *resource.Step, v *resource.Enqueue) {
	name := b.f.names[s]
	op := &plan.Send{Job: &plan.Job{Delay: v.Delay.Std()}, Idempotent: true}
	sent, keyed := b.state.body(), b.state.keyed
	if v.Data.Kind != penstock.TreeNone {
		c := b.exprs().Tree(v.Data, b.state.sc)
		op.Body, sent = c.Mapping, orDyn(c.Type)
	}
	if !v.Key.IsZero() {
		k := b.exprs().Expr(v.Key, b.state.sc, nil)
		b.keyType(k.Type, v.Key)
		op.Key, keyed = k.Program, true
	}
	if !v.Priority.IsZero() {
		op.Job.Priority = b.exprs().Expr(v.Priority, b.state.sc, types.IntType).Program
	}
	if !v.At.IsZero() {
		op.Job.At = b.exprs().Expr(v.At, b.state.sc, types.TimestampType).Program
	}
	if !v.Unique.IsZero() {
		k := b.exprs().Expr(v.Unique, b.state.sc, nil)
		b.keyType(k.Type, v.Unique)
		op.Job.Unique = k.Program
	}
	op.Job.Queue = v.Queue.Name
	op.Endpoint = b.f.o.World.Queue(v.Queue, b.f.o.Name+"/"+name, sent, b.diags())
	label := "queue " + v.Queue.Name
	if op.Endpoint != nil && b.f.dry == 0 {
		b.f.o.World.Sent(op.Endpoint.Channel, Sent{Flow: b.f.o.Name, Type: sent, Keyed: keyed, Pos: s.VerbPos})
	}
	if !s.Into.IsZero() && s.Into.Root != "none" {
		t := b.target(s.Into)
		op.Job.Into = &t
	}
	b.emit(s, op, label)
	b.next()
	b.state.sent = true
	if op.Job.Into != nil {
		b.state = b.put(b.state, s.Into, enqueuedType)
	}
}
