package lower

import (
	"fmt"

	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// deadErrorType is the root `error` in a condition over dead letters: meta.dead, with a count that is always there.
var deadErrorType = &types.Type{Kind: types.Object, Name: "error", Fields: append(append([]types.Field{}, ErrorType.Fields...),
	types.Field{Name: "flow", Type: types.StringType, Required: true},
	types.Field{Name: "origin", Type: types.StringType, Required: true},
	types.Field{Name: "time", Type: types.StringType, Required: true},
	types.Field{Name: "redriven", Type: types.IntType, Required: true},
	types.Field{Name: "entry", Type: types.StringType, Required: true},
	types.Field{Name: "offset", Type: types.IntType},
	types.Field{Name: "trace", Type: types.StringType},
	types.Field{Name: "held", Type: types.StringType},
	types.Field{Name: "number", Type: types.IntType},
)}

var redrivenType = &types.Type{Kind: types.Object, Name: "redriven", Fields: []types.Field{
	{Name: "redriven", Type: types.IntType, Required: true},
	{Name: "left", Type: types.IntType, Required: true},
}}

// lowerRedrive gives dead letters of a flow in again. It asks the engine, as a call asks a connector.
func (b *builder) lowerRedrive(s *resource.Step, v *resource.Redrive) {
	name := b.f.names[s]
	if !v.Flow.IsZero() {
		b.f.o.World.Redriven(v.Flow, b.f.o.Name, b.diags())
	}
	op := &plan.Redrive{Flow: v.Flow.Name, Error: b.f.local(s, "error"), Limit: v.Limit, Rate: v.Rate.PerSecond()}
	label := "dead letters of " + v.Flow.Name
	if v.Limit > 0 {
		label = fmt.Sprintf("%d %s", v.Limit, label)
	}
	if !v.Where.IsZero() {
		op.Where = b.exprs().Expr(v.Where, b.deadScope(op.Error), types.BoolType).Program
		label += " where " + v.Where.Source
	}
	ep := &plan.Endpoint{Name: b.f.o.Name + "/" + name, Pos: s.VerbPos, Label: label, Redrive: op, Type: redrivenType}
	b.emit(s, &plan.Call{Endpoint: ep, Into: b.target(into(s)), Idempotent: true}, label)
	b.nodes[len(b.nodes)-1].Volatile = true // done again, it finds others
	b.next()
	b.state.sent = true // asked for its effect
	b.state = b.put(b.state, into(s), redrivenType)
}

// deadScope is what a condition over dead letters may speak of: what is theirs, and beside that what is known of the message that asks.
func (b *builder) deadScope(slot int) *scope.Scope {
	sc := b.state.sc
	for _, r := range []scope.Root{
		{Name: "body", Source: scope.Body, Type: types.DynType},
		{Name: "meta", Source: scope.Meta},
		{Name: "key", Source: scope.Key, Type: types.StringType},
		{Name: "error", Source: scope.Slot, Slot: slot, Type: deadErrorType},
	} {
		sc = sc.With(r)
	}
	return sc
}
