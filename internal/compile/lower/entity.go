package lower

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// lowerCommand asks an entity to do something. It asks the engine, as a call asks a connector.
func (b *builder) lowerCommand(s *resource.Step, v *resource.Command) {
	e := b.f.o.World.Entity(v.Entity, b.diags())
	op := &plan.EntityCall{Entity: v.Entity.Name, Command: v.Name}
	state, typ := types.DynType, b.state.body()
	if v.Data.Kind != penstock.TreeNone {
		var val value
		val, typ = b.value(v.Data, b.state.sc)
		op.Data = plan.Tree{Program: val.program, Mapping: val.mapping}
	}
	if !v.Key.IsZero() {
		k := b.exprs().Expr(v.Key, b.state.sc, nil)
		KeyType(b.diags(), k.Type, v.Key)
		op.Key = k.Program
	}
	if !v.Expect.IsZero() {
		x := b.exprs().Template(v.Expect, b.state.sc, expr.Plain)
		if !x.Type.IsDyn() && x.Type.Kind != types.Int {
			b.diags().Errorf(v.Expect.Pos, "wrong-type", v.Expect.Source, "write `expect: \"${body.version}\"`", "a version is a whole number, and this is %s", x.Type.Text(1))
		}
		op.Expect = x.Program
	}
	if e != nil {
		state = e.State
		if c := e.Command(v.Name); c != nil {
			if c.Check != nil {
				pos := s.VerbPos
				if v.Data.Kind != penstock.TreeNone {
					pos = v.Data.Pos
				}
				b.fits(pos, c.Type.Name, typ, c.Type, "the data of command "+v.Name)
			}
		} else if v.Name != "" {
			names := make([]string, len(e.Commands))
			for i, c := range e.Commands {
				names[i] = c.Name
			}
			b.diags().Errorf(v.At("name"), "dangling-reference", v.Name, Hint(v.Name, names), "entity %s has no command %q", e.Name, v.Name)
		}
		if op.Key == nil && e.Key == nil {
			b.diags().Errorf(s.VerbPos, "missing-key", v.Entity.Name, "add `key: …` here, or to the entity", "nothing says which %s is meant", v.Entity.Name)
		}
	}
	reply := &types.Type{Kind: types.Object, Name: "done", Fields: []types.Field{
		{Name: "version", Type: types.IntType, Required: true},
		{Name: "events", Type: types.ListOf(&types.Type{Kind: types.Object, Name: "event", Fields: []types.Field{
			{Name: "type", Type: types.StringType, Required: true}, {Name: "data", Type: types.DynType, Required: true},
		}}), Required: true},
		{Name: "state", Type: state, Required: true},
	}}
	label := v.Name + " " + v.Entity.Name
	ep := &plan.Endpoint{Name: b.f.o.Name + "/" + b.f.names[s], Pos: s.VerbPos, Label: label, Command: op, Type: reply}
	b.emit(s, &plan.Call{Endpoint: ep, Into: b.target(into(s)), Idempotent: true}, label)
	b.next()
	b.state.sent = true // asked for its effect
	b.state = b.put(b.state, into(s), reply)
}

// asOf compiles as of when a query asks: a timestamp, or what a whole number is.
func (b *builder) asOf(v *resource.Query, number string) penstock.Program {
	x := b.exprs().Template(v.AsOf, b.state.sc, expr.Plain)
	switch t := unwrap(orDyn(x.Type)); {
	case t.IsDyn(), t.Kind == types.Int, t.Kind == types.Timestamp, t.Kind == types.String:
	default:
		b.diags().Errorf(v.AsOf.Pos, "wrong-type", v.AsOf.Source, "write a timestamp, or "+number, "what is asked for is as of a time or %s, and this is %s", number, x.Type.Text(1))
	}
	return x.Program
}

// lowerQuery asks for the state of an entity.
func (b *builder) lowerQuery(s *resource.Step, v *resource.Query) {
	e := b.f.o.World.Entity(v.Entity, b.diags())
	op := &plan.EntityQuery{Entity: v.Entity.Name}
	if !v.Key.IsZero() {
		k := b.exprs().Expr(v.Key, b.state.sc, nil)
		KeyType(b.diags(), k.Type, v.Key)
		op.Key = k.Program
	}
	if !v.AsOf.IsZero() {
		op.AsOf = b.asOf(v, "a version")
	}
	state := types.DynType
	if e != nil {
		state = e.State
	}
	reply := &types.Type{Kind: types.Object, Name: "answer", Fields: []types.Field{
		{Name: "version", Type: types.IntType, Required: true},
		{Name: "state", Type: state, Required: true},
	}}
	label := "state of " + v.Entity.Name
	ep := &plan.Endpoint{Name: b.f.o.Name + "/" + b.f.names[s], Pos: s.VerbPos, Label: label, Query: op, Type: reply}
	b.emit(s, &plan.Call{Endpoint: ep, Into: b.target(into(s)), Idempotent: true}, label)
	b.nodes[len(b.nodes)-1].Volatile = true // asked again, it may have changed
	b.next()
	b.state = b.put(b.state, into(s), reply)
}
