package lower

import (
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// groupMeta is the type of meta.aggregate behind an aggregate.
var groupMeta = &types.Type{Kind: types.Object, Name: "meta.aggregate", Fields: []types.Field{
	{Name: "count", Type: types.IntType, Required: true},
	{Name: "reason", Type: types.StringType, Required: true},
}}

// lowerAggregate gathers messages into lists. By becomes the key; variables and scoped names end, since the group
// is a new message.
func (b *builder) lowerAggregate(s *resource.Step, v *resource.Aggregate) {
	if !b.stateful(s) {
		return
	}
	by := b.exprs().Expr(v.By, b.state.sc, nil)
	b.keyType(by.Type, v.By)
	g := &plan.Group{
		By: by.Program, Size: v.Complete.Size, Idle: v.Complete.Idle.Std(), Interval: v.Complete.Interval.Std(),
		AtEnd: v.Complete.AtEnd, Late: plan.Late(v.Late), MaxGroups: v.Bound.Groups, MaxBytes: int64(v.Bound.Bytes),
		Into: b.target(into(s)), Keyed: keyed("aggregate", v.By),
	}
	if !v.Complete.When.IsZero() {
		c, _, _ := b.exprs().Cond(v.Complete.When, b.state.sc)
		g.When = c.Program
	}
	if g.Size == 0 && g.Idle == 0 && g.Interval == 0 && g.When == nil && v.Complete.When.IsZero() && !g.AtEnd {
		b.diags().Errorf(v.At("complete"), "incomplete", "complete", "say size, idle, interval, when or atEnd", "a group of %s would never be complete", b.f.names[s])
	}
	b.emit(s, g, "by "+v.By.Source)
	b.next()

	body := b.state.body()
	after := b.state
	after.sc = groupScope(b.f.start, b.state.sc)
	after.keyed = true
	after = after.withBody(types.NullType)
	b.state = b.put(after, into(s), types.ListOf(body))
}

// groupScope is what may be spoken of behind an aggregate: headers are the first message's.
func groupScope(start, before *scope.Scope) *scope.Scope {
	meta, _ := before.Root("meta")
	m := *meta
	m.Fields = nil
	for _, f := range meta.Fields {
		if f.Name != "aggregate" {
			f.Maybe = true
			m.Fields = append(m.Fields, f)
		}
	}
	m.Fields = append(m.Fields, scope.Field{Name: "aggregate", Type: groupMeta})
	after := start.With(m)
	after.Roots = slices.DeleteFunc(after.Roots, func(r scope.Root) bool { return r.Name == requestRoot }) // of which of them?
	return after
}

func (b *builder) keyType(t *types.Type, e penstock.Expr) { KeyType(b.diags(), t, e) }

// KeyType refuses keys that have no text.
func KeyType(l *diag.List, t *types.Type, e penstock.Expr) {
	t = unwrap(orDyn(t))
	switch t.Kind {
	case types.List, types.Map, types.Object, types.Bytes, types.Null:
		hint := "text, a number, a bool or a timestamp can be a key"
		if t.Kind == types.Object && len(t.Fields) > 0 {
			hint = "use one of its fields: " + e.Source + "." + t.Fields[0].Name
		}
		l.Errorf(e.Pos, "type-mismatch", e.Source, hint, "%s is %s, which can't be a key", e.Source, algebra.Article(t))
	}
}
