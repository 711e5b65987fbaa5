package expr

import (
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock/types"
)

// rewrite replaces cel-go's operators by the profile's, in place. What a macro made with its
// accumulator as first operand keeps cel-go's, whose evaluator knows how to build lists
// from it.
func rewrite(a *ast.AST) {
	fac := ast.NewExprFactory()
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		internal, ok := internalNames[call.FunctionName()]
		if !ok || call.IsMemberFunction() || isAccumulator(call.Args()[0]) {
			return
		}
		e.SetKindCase(fac.NewCall(e.ID(), internal, call.Args()...))
	}))
}

// isAccumulator reports whether e is a variable that only a macro can make.
func isAccumulator(e ast.Expr) bool {
	return e.Kind() == ast.IdentKind && strings.HasPrefix(e.AsIdent(), "@")
}

// fixer changes a tree where the types that a check found allow or demand it. It lives as
// long as the tree is checked again and again.
type fixer struct {
	a       *ast.AST
	cat     *catalog
	fac     ast.ExprFactory
	next    int64
	done    map[int64]bool // null tests that are complete
	changed bool
}

func newFixer(cat *catalog) *fixer {
	return &fixer{cat: cat, fac: ast.NewExprFactory(), done: map[int64]bool{}}
}

// fix makes the changes, in place, and reports whether there were any; the tree must then be
// checked again:
//
//   - obj["name"] becomes obj.name, obj[expr] becomes dyn(obj)[expr], and so does obj[?expr];
//   - obj.name == null becomes !has(obj.name) || obj.name == null where the field may be absent,
//     and != the opposite: what is not there counts as null in such a test.
func (f *fixer) fix(a *ast.AST) bool {
	f.a, f.next, f.changed = a, max(f.next, ast.MaxID(a)), false
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(f.visit))
	return f.changed
}

func (f *fixer) visit(e ast.Expr) {
	if e.Kind() != ast.CallKind || e.AsCall().IsMemberFunction() {
		return
	}
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case opIndex:
		f.index(e, args)
	case operators.OptIndex:
		if f.a.GetType(args[0].ID()).Kind() == celtypes.StructKind {
			e.SetKindCase(f.fac.NewCall(e.ID(), operators.OptIndex, f.dyn(args[0]), args[1]))
		}
	case opEq, opNe:
		f.nullTest(e, call.FunctionName(), args)
	}
}

// id makes a node id that stands where like stands.
func (f *fixer) id(like int64) int64 {
	f.next++
	f.changed = true
	if r, ok := f.a.SourceInfo().GetOffsetRange(like); ok {
		f.a.SourceInfo().SetOffsetRange(f.next, r)
	}
	return f.next
}

func (f *fixer) dyn(e ast.Expr) ast.Expr { return f.fac.NewCall(f.id(e.ID()), "dyn", e) }

func (f *fixer) index(e ast.Expr, args []ast.Expr) {
	if f.a.GetType(args[0].ID()).Kind() != celtypes.StructKind {
		return
	}
	if args[1].Kind() == ast.LiteralKind {
		if name, ok := args[1].AsLiteral().(celtypes.String); ok {
			e.SetKindCase(f.fac.NewSelect(e.ID(), args[0], string(name)))
			f.changed = true
			return
		}
	}
	e.SetKindCase(f.fac.NewCall(e.ID(), opIndex, f.dyn(args[0]), args[1]))
}

func (f *fixer) nullTest(e ast.Expr, op string, args []ast.Expr) {
	sel, null := args[0], args[1]
	if isNull(sel) {
		sel, null = null, sel
	}
	if !isNull(null) || sel.Kind() != ast.SelectKind || sel.AsSelect().IsTestOnly() || f.done[e.ID()] {
		return
	}
	t, ok := f.cat.object(f.a.GetType(sel.AsSelect().Operand().ID()).TypeName())
	if !ok {
		return
	}
	name := sel.AsSelect().FieldName()
	if _, declared := t.Field(name); !declared && t.Kind == types.Object {
		return
	}
	if field, ok := fieldOf(t, name); !ok || field.Required {
		return
	}
	test := f.fac.NewPresenceTest(f.id(sel.ID()), f.copy(sel.AsSelect().Operand()), name)
	inner := f.fac.NewCall(f.id(e.ID()), op, sel, null)
	f.done[inner.ID()] = true
	if op == opNe {
		e.SetKindCase(f.fac.NewCall(e.ID(), operators.LogicalAnd, test, inner))
		return
	}
	not := f.fac.NewCall(f.id(sel.ID()), operators.LogicalNot, test)
	e.SetKindCase(f.fac.NewCall(e.ID(), operators.LogicalOr, not, inner))
}

func isNull(e ast.Expr) bool {
	return e.Kind() == ast.LiteralKind && e.AsLiteral() == celtypes.NullValue
}

// copy copies a tree with ids of its own.
func (f *fixer) copy(e ast.Expr) ast.Expr {
	c := f.fac.CopyExpr(e)
	c.RenumberIDs(f.id)
	return c
}
