package lower

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// lowerMap makes a new value of a data tree.
func (b *builder) lowerMap(s *resource.Step, v *resource.Map) {
	m, t := b.value(v.Value, b.state.sc)
	b.leaf(s, &step.Map{Mapping: m.mapping, Program: m.program, Into: b.target(into(s))}, fieldNames(t))
	b.state = b.put(b.state, into(s), t)
}

// fieldNames is what a map step makes, in a few words.
func fieldNames(t *types.Type) string {
	if t.Kind != types.Object {
		return t.Text(1)
	}
	var names []string
	for _, f := range t.Fields {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// value is a compiled data tree: a program where the tree is one text, so that its value keeps its
// type, else a mapping.
type value struct {
	program penstock.Program
	mapping penstock.Mapping
}

// value compiles a data tree, and gives its type: an optional one where it may be absent.
func (b *builder) value(t penstock.Tree, sc *scope.Scope) (value, *types.Type) {
	if t.Kind != penstock.TreeText {
		c := b.exprs().Tree(t, sc)
		return value{mapping: c.Mapping}, orDyn(c.Type)
	}
	c := b.exprs().Template(penstock.Template{Source: t.Text, Pos: t.Pos}, sc, expr.Plain)
	typ := orDyn(c.Type)
	if c.Optional && !typ.IsDyn() {
		typ = types.OptionalOf(typ)
	}
	return value{program: c.Program}, typ
}
