package lower

import (
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// View is what steps may ask of a view.
type View struct {
	Name    string
	Row     *types.Type
	Queries []plan.ViewQuery // without their programs, which may not be there yet
}

// askView asks a view. It asks the engine, as a call asks a connector.
func (b *builder) askView(s *resource.Step, q *resource.Query) {
	ask := &plan.Ask{View: q.View.Name, Name: q.Name, Wait: q.Wait.Std()}
	label := "view " + q.View.Name
	typ := types.DynType
	var v *View
	if !q.View.IsZero() {
		v = b.f.o.World.View(q.View, b.diags())
	}
	if !q.AsOf.IsZero() {
		ask.AsOf = b.asOf(q, "a position")
	}
	op := &plan.Call{Into: b.target(into(s)), Idempotent: true}
	switch {
	case q.Name != "":
		label += " " + q.Name
		typ = types.DynType
		if v != nil {
			typ = &types.Type{Kind: types.Object, Name: "page", Fields: []types.Field{
				{Name: "rows", Type: types.ListOf(v.Row), Required: true},
				{Name: "next", Type: types.StringType},
			}}
			b.queryArgs(ask, q, v)
		}
		if !q.After.IsZero() {
			c := b.exprs().Template(q.After, b.state.sc, expr.Plain)
			ask.After = c.Program
		}
	default:
		label += " by " + q.Key.Source
		k := b.exprs().Expr(q.Key, b.state.sc, nil)
		b.keyType(k.Type, q.Key)
		ask.Key = k.Program
		op.Maybe = true
		if v != nil {
			typ = v.Row
		}
	}
	op.Endpoint = &plan.Endpoint{Name: b.f.o.Name + "/" + b.f.names[s], Pos: s.VerbPos, Label: label, Ask: ask, Type: typ}
	b.emit(s, op, label)
	b.nodes[len(b.nodes)-1].Volatile = true // done again, it finds others
	b.next()
	if op.Maybe {
		typ = types.OptionalOf(typ)
	}
	b.state = b.put(b.state, into(s), typ)
}

// queryArgs compiles the arguments of a query, and holds them to what it declares.
func (b *builder) queryArgs(ask *plan.Ask, q *resource.Query, v *View) {
	var names []string
	for i := range v.Queries {
		names = append(names, v.Queries[i].Name)
	}
	i := slices.Index(names, q.Name)
	if i < 0 {
		hint := Hint(q.Name, names)
		if len(names) == 0 {
			hint = "declare it in `queries` of the view"
		}
		b.diags().Errorf(q.At("name"), "dangling-reference", q.Name, hint, "view %s has no query %q", v.Name, q.Name)
		return
	}
	declared := v.Queries[i].Args
	given := &types.Type{Kind: types.Object}
	if q.Args.Kind != penstock.TreeNone {
		if q.Args.Kind != penstock.TreeMap {
			b.diags().Errorf(q.At("args"), "wrong-type", "args", "write `args: { name: \"${…}\" }`", "the arguments of a query are a map of names")
			return
		}
		c := b.exprs().Tree(q.Args, b.state.sc)
		ask.Args, given = c.Mapping, orDyn(c.Type)
	}
	for _, a := range declared {
		i := slices.IndexFunc(given.Fields, func(f types.Field) bool { return f.Name == a.Name })
		if i < 0 {
			if !given.IsDyn() {
				b.diags().Errorf(q.AtKey("args"), "missing-argument", a.Name, "add `args: { "+a.Name+": … }`", "query %s of view %s needs the argument %s, %s", q.Name, v.Name, a.Name, algebra.Article(a.Type))
			}
			continue
		}
		b.argument(q, a, given.Fields[i].Type)
	}
	for i, f := range given.Fields {
		if !slices.ContainsFunc(declared, func(a plan.ViewArg) bool { return a.Name == f.Name }) {
			pos := q.At("args")
			if i < len(q.Args.KeyPos) {
				pos = q.Args.KeyPos[i]
			}
			var known []string
			for _, a := range declared {
				known = append(known, a.Name)
			}
			b.diags().Errorf(pos, "unknown-argument", f.Name, Hint(f.Name, known), "query %s of view %s has no argument %s", q.Name, v.Name, f.Name)
		}
	}
}

// argument holds one of them to its type. What is known only when it is there is looked at then.
func (b *builder) argument(q *resource.Query, a plan.ViewArg, t *types.Type) {
	t = unwrap(orDyn(t))
	if t.IsDyn() || a.Type.IsNumeric() && t.IsNumeric() {
		return
	}
	for _, m := range algebra.Check(t, a.Type) {
		if m.Sure && (!textual(a.Type) || t.Kind != types.String) {
			b.diags().Errorf(q.At("args"), "type-mismatch", a.Name, "", "the argument %s of query %s is %s, and this is %s", a.Name, q.Name, algebra.Article(a.Type), algebra.Article(t))
			return
		}
	}
}

// textual are types that stand as text in JSON.
func textual(t *types.Type) bool {
	return t.Kind == types.Decimal || t.Kind == types.Timestamp || t.Kind == types.Duration
}
