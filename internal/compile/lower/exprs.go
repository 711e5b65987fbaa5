package lower

import (
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/types"
)

// Exprs compiles expressions for one flow: findings go to Diags, and what is read is counted
// in Cover. Results are never nil: where there was an error, the type is dyn and the program nil, and
// the plan is thrown away in the end.
type Exprs struct {
	Profile *expr.Profile
	Diags   *diag.List
	Cover   *plan.Coverage // nil doesn't count
	// Volatile is set by an expression that reads now or uuid(); nil isn't.
	Volatile *bool
	// Asked is set by an expression that reads `request`; nil isn't.
	Asked *bool
}

// Expr compiles a CEL expression.
func (x Exprs) Expr(e penstock.Expr, sc *scope.Scope, want *types.Type) *expr.Compiled {
	var c *expr.Compiled
	if !e.IsZero() || e.Pos.IsValid() { // else it could not be read, which was said then
		c = x.Profile.Expr(e.Source, e.Pos, sc, want, x.Diags)
	}
	if c == nil {
		return &expr.Compiled{Type: orDyn(want), Source: e.Source, Pos: e.Pos}
	}
	x.count(c.Reads, c.Typed, c.Total, c.Volatile)
	return c
}

// Cond compiles a condition, and gives what is known where it holds and where it doesn't.
func (x Exprs) Cond(e penstock.Expr, sc *scope.Scope) (c *expr.Compiled, yes, no *scope.Scope) {
	c = x.Expr(e, sc, types.BoolType)
	if c.Program == nil {
		return c, sc, sc
	}
	return c, expr.Narrow(c, sc, true), expr.Narrow(c, sc, false)
}

// Template compiles free text with ${…} parts.
func (x Exprs) Template(t penstock.Template, sc *scope.Scope, place expr.Place) *expr.Compiled {
	if t.IsZero() {
		return &expr.Compiled{Type: types.DynType}
	}
	c := x.Profile.Template(t.Source, t.Pos, sc, place, x.Diags)
	if c == nil {
		return &expr.Compiled{Type: types.DynType, Source: t.Source, Pos: t.Pos}
	}
	x.count(c.Reads, c.Typed, c.Total, c.Volatile)
	return c
}

// Tree compiles a data tree.
func (x Exprs) Tree(t penstock.Tree, sc *scope.Scope) *expr.CompiledTree {
	c := x.Profile.Tree(t, sc, x.Diags)
	if c == nil {
		return &expr.CompiledTree{Type: types.DynType}
	}
	x.count(c.Reads, c.Typed, c.Total, c.Volatile)
	return c
}

func (x Exprs) count(reads [][]string, typed, total int, volatile bool) {
	if x.Asked != nil && !*x.Asked {
		*x.Asked = slices.ContainsFunc(reads, func(path []string) bool { return len(path) > 0 && path[0] == requestRoot })
	}
	if volatile && x.Volatile != nil {
		*x.Volatile = true
	}
	if x.Cover != nil {
		x.Cover.Typed += typed
		x.Cover.Total += total
	}
}

func orDyn(t *types.Type) *types.Type {
	if t == nil {
		return types.DynType
	}
	return t
}
