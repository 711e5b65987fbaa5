package expr

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

// fact is what a condition proves of a path.
type fact uint8

const (
	present fact = iota // it is there
	notNull             // it is there and not null
	equals              // it is a certain text
	differs             // it is not a certain text
)

// proof is a fact about a path.
type proof struct {
	path []string
	fact fact
	text string // of equals and differs
}

// proven looks for a proof of exactly this path. What is proven of something below a path
// proves that the path itself is there.
func proven(ps []proof, path []string, want fact) bool {
	if path == nil {
		return false
	}
	for _, p := range ps {
		if len(p.path) < len(path) || !slices.Equal(p.path[:len(path)], path) {
			continue
		}
		if len(p.path) > len(path) || p.fact == want || want == present || p.fact == equals {
			return true
		}
	}
	return false
}

// proves gathers what holds where e is true, or is false.
func proves(e ast.Expr, c context, truth bool) []proof {
	switch e.Kind() {
	case ast.SelectKind:
		sel := e.AsSelect()
		if sel.IsTestOnly() && truth {
			if path := extend(pathOf(sel.Operand(), c), sel.FieldName()); path != nil {
				return []proof{{path: path, fact: present}}
			}
		}
		if !sel.IsTestOnly() && truth { // a boolean field that is true
			if path := pathOf(e, c); path != nil {
				return []proof{{path: path, fact: notNull}}
			}
		}
	case ast.CallKind:
		return callProves(e.AsCall(), c, truth)
	}
	return nil
}

func callProves(call ast.CallExpr, c context, truth bool) []proof {
	args := call.Args()
	switch name := call.FunctionName(); name {
	case operators.LogicalNot:
		return proves(args[0], c, !truth)
	case operators.LogicalAnd, operators.LogicalOr:
		if truth == (name == operators.LogicalAnd) {
			var out []proof
			for _, a := range args {
				out = append(out, proves(a, c, truth)...)
			}
			return out
		}
	case opEq:
		return equalProves(args, c, truth)
	case opNe:
		return equalProves(args, c, !truth)
	case opLt, opLe, opGt, opGe:
		return known(args, c)
	case opIn:
		if truth {
			return known(args[:1], c)
		}
	case "hasValue":
		if truth && call.IsMemberFunction() {
			if path := pathOf(call.Target(), c); path != nil {
				return []proof{{path: path, fact: present}}
			}
		}
	case "matches", "startsWith", "endsWith", "contains":
		if call.IsMemberFunction() {
			return known([]ast.Expr{call.Target()}, c)
		}
	}
	return nil
}

// known says of paths that were computed with that they are there and not null: else the
// condition had failed.
func known(args []ast.Expr, c context) []proof {
	var out []proof
	for _, a := range args {
		if path := pathOf(a, c); path != nil {
			out = append(out, proof{path: path, fact: notNull})
		}
	}
	return out
}

// equalProves is what a == b, or its opposite, proves.
func equalProves(args []ast.Expr, c context, equal bool) []proof {
	for i, j := range []int{1, 0} {
		path := pathOf(args[i], c)
		if path == nil {
			continue
		}
		if isNull(args[j]) {
			if !equal {
				return []proof{{path: path, fact: notNull}}
			}
			return nil
		}
		if text, ok := literalText(args[j]); ok {
			if equal {
				return []proof{{path: path, fact: equals, text: text}}
			}
			return []proof{{path: path, fact: differs, text: text}}
		}
		if equal && args[j].Kind() == ast.LiteralKind {
			return []proof{{path: path, fact: notNull}}
		}
	}
	return nil
}

// pathOf names what e reads, if it is a path: variables by their binding, fields, constant
// indexes.
func pathOf(e ast.Expr, c context) []string {
	switch e.Kind() {
	case ast.IdentKind:
		if res, ok := c.lookup(e.AsIdent()); ok {
			return res.path
		}
	case ast.SelectKind:
		if !e.AsSelect().IsTestOnly() {
			return extend(pathOf(e.AsSelect().Operand(), c), e.AsSelect().FieldName())
		}
	case ast.CallKind:
		call := e.AsCall()
		switch call.FunctionName() {
		case opIndex, operators.OptIndex, operators.OptSelect:
			if step := indexStep(call.Args()[1]); step != "" {
				return extend(pathOf(call.Args()[0], c), step)
			}
		}
	}
	return nil
}

// narrow gives type t of path with what is proven of it and of what lies below it.
func narrow(t *types.Type, path []string, ps []proof) *types.Type {
	for _, p := range ps {
		if len(p.path) >= len(path) && slices.Equal(p.path[:len(path)], path) {
			t = narrowBy(t, p.path[len(path):], p)
		}
	}
	return t
}

func narrowBy(t *types.Type, rest []string, p proof) *types.Type {
	if len(rest) == 0 {
		if p.fact == notNull || p.fact == equals {
			return withoutNull(t)
		}
		return t
	}
	if t.Kind == types.Union && len(rest) == 1 && rest[0] == t.Discriminator {
		if u := choose(t, p); u != nil {
			return u
		}
	}
	if t.Kind != types.Object {
		return t
	}
	for i, f := range t.Fields {
		if f.Name != rest[0] {
			continue
		}
		inner := narrowBy(f.Type, rest[1:], p)
		if len(rest) > 1 {
			inner = withoutNull(inner)
		}
		if inner == f.Type && f.Required {
			return t
		}
		n := *t
		n.Nullable = false
		n.Fields = slices.Clone(t.Fields)
		n.Fields[i].Type, n.Fields[i].Required = inner, true
		return &n
	}
	return t
}

func withoutNull(t *types.Type) *types.Type {
	if !t.Nullable {
		return t
	}
	n := *t
	n.Nullable = false
	return &n
}

// choose keeps the alternatives of a union that agree with what is proven of its
// discriminator; nil if that says nothing.
func choose(t *types.Type, p proof) *types.Type {
	if p.fact != equals && p.fact != differs {
		return nil
	}
	u := *t
	u.Nullable = false
	u.Variants, u.Tags = nil, nil
	for i, tag := range t.Tags {
		if i < len(t.Variants) && (tag == p.text) == (p.fact == equals) {
			u.Variants, u.Tags = append(u.Variants, t.Variants[i]), append(u.Tags, tag)
		}
	}
	switch len(u.Variants) {
	case 0:
		return nil
	case 1:
		return u.Variants[0]
	}
	return &u
}

// Narrow gives the scope that holds where c, a condition checked in sc, was true, or was
// false: fields that it proves to be there or not null are so, and a union whose
// discriminator it settles is that alternative. sc itself is not changed.
func Narrow(c *Compiled, sc *scope.Scope, truth bool) *scope.Scope {
	if c == nil || c.AST == nil {
		return sc
	}
	ps := proves(c.AST.Expr(), rootContext(sc), truth)
	out := sc
	for i := range sc.Roots {
		r := sc.Roots[i]
		t := rootType(&r)
		n := narrow(t, []string{r.Name}, ps)
		if n == t {
			continue
		}
		switch r.Source {
		case scope.Vars, scope.Params, scope.Meta:
			r.Fields = slices.Clone(r.Fields)
			for j := range r.Fields {
				if f, ok := n.Field(r.Fields[j].Name); ok {
					r.Fields[j].Type, r.Fields[j].Maybe = f.Type, !f.Required
				}
			}
		default:
			r.Type = n
		}
		out = out.With(r)
	}
	return out
}

// rootContext binds the roots of a scope.
func rootContext(sc *scope.Scope) context {
	var c context
	for i := range sc.Roots {
		r := &sc.Roots[i]
		c = c.bind(r.Name, result{t: rootType(r), path: []string{r.Name}, read: []string{r.Name}})
	}
	return c
}
