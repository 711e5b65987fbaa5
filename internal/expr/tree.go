package expr

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/fast"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Tree checks a data tree: every text leaf is a template, every key is data. An entry or
// element whose value is absent is left out. Findings go to l; the result is nil if any of
// them is an error.
func (p *Profile) Tree(t penstock.Tree, sc *scope.Scope, l *diag.List) *CompiledTree {
	b := &treeBuilder{p: p, sc: sc, l: l, ok: true, out: &CompiledTree{Constant: true, Fast: true}}
	root, typ := b.node(t)
	if !b.ok {
		return nil
	}
	if typ.Kind == types.Optional {
		typ = typ.Elem
	}
	b.out.Type = typ
	b.out.Mapping = fast.NewMapping(root)
	return b.out
}

type treeBuilder struct {
	p   *Profile
	sc  *scope.Scope
	l   *diag.List
	out *CompiledTree
	ok  bool
}

// node compiles one node; the type of what may be absent is an optional.
func (b *treeBuilder) node(t penstock.Tree) (*fast.Node, *types.Type) {
	constant := func(text string, typ *types.Type) (*fast.Node, *types.Type) {
		return &fast.Node{Kind: fast.Const, JSON: []byte(text)}, typ
	}
	switch t.Kind {
	case penstock.TreeBool:
		if t.Bool {
			return constant("true", types.BoolType)
		}
		return constant("false", types.BoolType)
	case penstock.TreeNumber:
		return b.number(t)
	case penstock.TreeText:
		return b.leaf(t)
	case penstock.TreeList:
		n := &fast.Node{Kind: fast.Array}
		elem := types.NeverType
		in := &inferrer{}
		for _, e := range t.Elems {
			child, typ := b.node(e)
			n.Elems = append(n.Elems, child)
			elem = in.unite(elem, unwrapped(typ))
		}
		return n, types.ListOf(elem)
	case penstock.TreeMap:
		n := &fast.Node{Kind: fast.Object, Keys: t.Keys}
		o := &types.Type{Kind: types.Object}
		for i, e := range t.Elems {
			child, typ := b.node(e)
			n.Elems = append(n.Elems, child)
			o.Fields = append(o.Fields, types.Field{Name: t.Keys[i], Type: unwrapped(typ), Required: typ.Kind != types.Optional})
		}
		return n, o
	}
	return constant("null", types.NullType)
}

// number keeps the text of a number as it stands in the file.
func (b *treeBuilder) number(t penstock.Tree) (*fast.Node, *types.Type) {
	if !jsonview.ValidNumber([]byte(t.Text)) {
		b.ok = false
		b.l.Errorf(t.Pos, "bad-number", t.Text, "quote it if it is text", "%s is no JSON number", t.Text)
		return &fast.Node{Kind: fast.Const, JSON: []byte("null")}, types.NullType
	}
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(t.Text))
	typ := types.DoubleType
	if err := d.Parse(jsonview.Limits{}); err == nil {
		switch penstock.NodeValue(d, 0).Load(nil).Kind() {
		case penstock.KindInt:
			typ = types.IntType
		case penstock.KindDecimal, penstock.KindError:
			typ = types.DecimalType
		}
	}
	return &fast.Node{Kind: fast.Const, JSON: []byte(t.Text)}, typ
}

func (b *treeBuilder) leaf(t penstock.Tree) (*fast.Node, *types.Type) {
	c := b.p.Template(t.Text, t.Pos, b.sc, Plain, b.l)
	if c == nil {
		b.ok = false
		return &fast.Node{Kind: fast.Const, JSON: []byte("null")}, types.DynType
	}
	if c.AST == nil && c.Constant && c.Total == 0 && !strings.Contains(t.Text, "${") {
		text, err := c.Program.Eval(nil).AppendJSON(nil)
		if err == nil {
			return &fast.Node{Kind: fast.Const, JSON: text}, types.StringType
		}
	}
	o := b.out
	o.Leaves = append(o.Leaves, c)
	for _, path := range c.Reads {
		o.Reads = appendPath(o.Reads, path)
	}
	o.Typed, o.Total = o.Typed+c.Typed, o.Total+c.Total
	o.Constant, o.Fast, o.Volatile = o.Constant && c.Constant, o.Fast && c.Fast, o.Volatile || c.Volatile
	return &fast.Node{Kind: fast.Leaf, Program: c.Program}, c.Type
}
