package expr

import (
	"fmt"
	"strconv"

	"cel.dev/cel-go/common/ast"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/types"
)

func (in *inferrer) list(e ast.Expr, c context) result {
	elem := types.NeverType
	for i, x := range e.AsList().Elements() {
		t := in.value(x, c)
		if e.AsList().IsOptional(int32(i)) && t.Kind == types.Optional {
			t = t.Elem
		}
		elem = in.unite(elem, t)
	}
	if elem.Kind == types.Never && in.celType(e).Kind == types.List {
		elem = types.NeverType
	}
	return result{t: types.ListOf(elem)}
}

// unite is algebra.Unite, with texts of one enumeration each taken for any text, and forms
// of one kind for the form that readers take the other for as well.
func (in *inferrer) unite(a, b *types.Type) *types.Type {
	a, b = general(a), general(b)
	if a != b && a.Kind == b.Kind && (a.DecimalText != b.DecimalText || a.Layout == "" != (b.Layout == "")) {
		u := *a
		u.DecimalText = a.DecimalText || b.DecimalText
		if u.Layout == "" {
			u.Layout = b.Layout
		}
		u.Nullable, u.Labels = a.Nullable || b.Nullable, a.Labels.With(b.Labels)
		return &u
	}
	return algebra.Unite(a, b)
}

// general forgets that a literal is one certain text. The layout of a time stays: a list
// of what was read may be written as it was read, and readers take either form.
func general(t *types.Type) *types.Type {
	if t.Kind == types.String && len(t.Enum) == 1 && t.Name == "" && t.Labels.IsZero() && !t.Nullable {
		return types.StringType
	}
	return t
}

// mapping gives a map literal with constant names an object type, in their order.
func (in *inferrer) mapping(e ast.Expr, c context) result {
	o := &types.Type{Kind: types.Object}
	key, elem, named := types.NeverType, types.NeverType, true
	for _, en := range e.AsMap().Entries() {
		entry := en.AsMapEntry()
		k := in.value(entry.Key(), c)
		v := in.value(entry.Value(), c)
		required := true
		if entry.IsOptional() {
			required = false
			if v.Kind == types.Optional {
				v = v.Elem
			}
		}
		key, elem = in.unite(key, k), in.unite(elem, v)
		if entry.Key().Kind() != ast.LiteralKind {
			named = false
			continue
		}
		name, ok := entry.Key().AsLiteral().(celtypes.String)
		if !ok {
			named = false
			continue
		}
		if _, twice := o.Field(string(name)); twice {
			in.report(entry.Key(), "duplicate-key", string(name), "remove one", fmt.Sprintf("the map has the key %q twice", name))
		}
		o.Fields = append(o.Fields, types.Field{Name: string(name), Type: general(v), Required: required})
	}
	if named && len(o.Fields) > 0 {
		return result{t: o}
	}
	m := types.MapOf(elem)
	if key.Kind != types.String && key.Kind != types.Never {
		m.Key = key
	}
	return result{t: m}
}

// comprehension follows a macro.
func (in *inferrer) comprehension(e ast.Expr, c context) result {
	m := e.AsComprehension()
	if m.IterRange().Kind() == ast.ListKind && m.IterRange().AsList().Size() == 0 {
		in.facts[m.IterRange().ID()] = types.ListOf(types.NeverType)
		bound := in.infer(m.AccuInit(), c) // cel.bind, and what is built on it
		in.infer(m.LoopCondition(), c)
		res := in.infer(m.Result(), c.bind(m.AccuVar(), bound))
		in.infer(m.LoopStep(), c.bind(m.AccuVar(), bound))
		return res
	}
	rng := in.infer(m.IterRange(), c)
	in.notNull(m.IterRange(), rng, c)
	before := len(in.reads)
	inner := in.iterate(m, rng, c)
	accu := in.infer(m.AccuInit(), c)
	in.use(accu)
	in.infer(m.LoopCondition(), inner.bind(m.AccuVar(), accu))
	step := in.infer(m.LoopStep(), inner.bind(m.AccuVar(), accu))
	in.use(step)
	if len(in.reads) == before {
		in.use(result{read: rng.read}) // at least how many there are
	}
	accu.t = in.unite(accu.t, step.t)
	return result{t: in.value(m.Result(), c.bind(m.AccuVar(), result{t: accu.t}))}
}

// iterate binds the variables of a loop over rng.
func (in *inferrer) iterate(m ast.ComprehensionExpr, rng result, c context) context {
	in.vars++
	number := "#" + strconv.Itoa(in.vars)
	one := func(name string, t *types.Type, read []string) result {
		if t == nil {
			t = types.DynType
		}
		return result{t: t, path: []string{name + number}, read: read}
	}
	key, elem := types.DynType, types.DynType
	switch rng.t.Kind {
	case types.List:
		key, elem = types.IntType, rng.t.Elem
		if elem != nil && elem.Kind == types.Never {
			elem = types.DynType
		}
		if !m.HasIterVar2() {
			return c.bind(m.IterVar(), one(m.IterVar(), elem, extend(rng.read, "[]")))
		}
	case types.Map:
		key, elem = types.StringType, rng.t.Elem
		if rng.t.Key != nil {
			key = rng.t.Key
		}
	case types.Object:
		key, elem = types.StringType, types.NeverType
		for _, f := range rng.t.Fields {
			elem = in.unite(elem, f.Type)
		}
		if rng.t.Open || elem.Kind == types.Never {
			elem = types.DynType
		}
	}
	if !m.HasIterVar2() && rng.t.IsDyn() {
		return c.bind(m.IterVar(), one(m.IterVar(), types.DynType, extend(rng.read, "[]")))
	}
	c = c.bind(m.IterVar(), one(m.IterVar(), key, nil))
	if m.HasIterVar2() {
		c = c.bind(m.IterVar2(), one(m.IterVar2(), elem, extend(rng.read, "[]")))
	}
	return c
}
