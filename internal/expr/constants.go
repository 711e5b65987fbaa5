package expr

import (
	"errors"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/fast"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

// constants finds what fails for every message: parts of an expression that read nothing, are always evaluated, and have no
// value, as 1 / 0 has none. What a condition may leave out is let be: the branches of ?:, both sides of && and ||, what orValue and or
// fall back to, the rounds of a loop.
type constants struct {
	p     *Profile
	r     *reporter
	a     *ast.AST
	facts map[int64]*types.Type
}

// constantCost bounds the evaluation of one part. What needs more is left to the run.
const constantCost = 10_000

// look reports what fails in e, and whether anything does.
func (k *constants) look(e ast.Expr) bool {
	var err error
	switch e.Kind() {
	case ast.LiteralKind, ast.IdentKind, ast.UnspecifiedExprKind:
		return false
	default:
		switch {
		case closed(e, nil):
			if _, err = k.eval(e); err == nil {
				return false
			}
		case k.byZero(e):
			err = errors.New("division by zero")
		}
	}
	found := false
	for _, x := range strict(e) {
		found = k.look(x) || found
	}
	if err == nil || found {
		return found
	}
	char, text := span(k.a, e.ID()), ""
	if e.Kind() == ast.CallKind {
		name := e.AsCall().FunctionName()
		if sign, operator := symbols[name]; operator {
			text = strings.TrimSuffix(sign, "…]")
		} else {
			text, char = name, k.r.src.called(char, name)
		}
	}
	k.r.add(diag.Error, char, "always-fails", text, "it would fail with every message", "this has no value: "+err.Error())
	return true
}

// byZero says that e divides whole or exact numbers by what is always zero. Doubles have a quotient then.
func (k *constants) byZero(e ast.Expr) bool {
	if e.Kind() != ast.CallKind {
		return false
	}
	call := e.AsCall()
	if name := call.FunctionName(); name != opDiv && name != opMod || len(call.Args()) != 2 {
		return false
	}
	t := k.facts[e.ID()]
	if t == nil || t.Kind != types.Int && t.Kind != types.Uint && t.Kind != types.Decimal || !closed(call.Args()[1], nil) {
		return false
	}
	switch v, err := k.eval(call.Args()[1]); {
	case err != nil:
		return false // said there
	case v.Kind() == penstock.KindInt:
		return v.Int() == 0
	case v.Kind() == penstock.KindUint:
		return v.Uint() == 0
	case v.Kind() == penstock.KindDecimal:
		return v.Decimal().Sign() == 0
	}
	return false
}

// eval evaluates a part by itself. What is none, or costs too much, has no error.
func (k *constants) eval(e ast.Expr) (penstock.Value, error) {
	part := ast.NewCheckedAST(ast.NewAST(e, k.a.SourceInfo()), k.a.TypeMap(), k.a.ReferenceMap())
	sc := &scope.Scope{}
	prog, err := fast.Compile(fast.Input{AST: part, Scope: sc, TypeOf: func(id int64) *types.Type { return k.facts[id] }, CostLimit: constantCost})
	if err != nil {
		if prog, err = k.p.engine.newOracle(part, k.facts, sc, constantCost); err != nil {
			return penstock.Absent, nil //nolint:nilerr // it is no expression by itself
		}
	}
	b := new(penstock.Batch)
	v := prog.Eval(&penstock.Frame{Msg: b.Append(), Arena: new(penstock.Arena), Runtime: &penstock.Runtime{Clock: penstock.SystemClock{}}})
	if !v.IsError() || strings.Contains(v.Err().Error(), "cost limit") {
		return v, nil
	}
	var known *penstock.Error
	if errors.As(v.Err(), &known) && known.Err != nil {
		return v, known.Err
	}
	return v, v.Err()
}

// strict lists what is evaluated whenever e is.
func strict(e ast.Expr) []ast.Expr {
	switch e.Kind() {
	case ast.SelectKind:
		return []ast.Expr{e.AsSelect().Operand()}
	case ast.ListKind:
		return e.AsList().Elements()
	case ast.MapKind:
		var out []ast.Expr
		for _, entry := range e.AsMap().Entries() {
			out = append(out, entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
		return out
	case ast.ComprehensionKind:
		m := e.AsComprehension()
		if r := m.IterRange(); r.Kind() != ast.ListKind || r.AsList().Size() > 0 {
			return []ast.Expr{r}
		}
		return []ast.Expr{m.Result()} // cel.bind, whose value is evaluated where it is used
	case ast.CallKind:
		call := e.AsCall()
		switch args := call.Args(); call.FunctionName() {
		case operators.LogicalAnd, operators.LogicalOr, operators.NotStrictlyFalse:
			return nil
		case operators.Conditional:
			return args[:1]
		case "orValue", "or":
			if call.IsMemberFunction() {
				return []ast.Expr{call.Target()}
			}
			return nil
		default:
			if call.IsMemberFunction() {
				return append([]ast.Expr{call.Target()}, args...)
			}
			return args
		}
	}
	return nil
}

// closed says that e speaks of nothing that is bound outside of it, and gives the same whenever it is evaluated.
func closed(e ast.Expr, bound []string) bool {
	all := func(list []ast.Expr) bool {
		for _, x := range list {
			if !closed(x, bound) {
				return false
			}
		}
		return true
	}
	switch e.Kind() {
	case ast.LiteralKind:
		return true
	case ast.IdentKind:
		for _, name := range bound {
			if name == e.AsIdent() {
				return true
			}
		}
		return false
	case ast.SelectKind:
		return closed(e.AsSelect().Operand(), bound)
	case ast.ListKind:
		return all(e.AsList().Elements())
	case ast.MapKind:
		return all(strict(e))
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() == "uuid" || call.IsMemberFunction() && !closed(call.Target(), bound) {
			return false
		}
		return all(call.Args())
	case ast.ComprehensionKind:
		m := e.AsComprehension()
		if !closed(m.IterRange(), bound) || !closed(m.AccuInit(), bound) {
			return false
		}
		accu := append(bound[:len(bound):len(bound)], m.AccuVar())
		if !closed(m.Result(), accu) {
			return false
		}
		inner := append(accu, m.IterVar())
		if m.HasIterVar2() {
			inner = append(inner, m.IterVar2())
		}
		return closed(m.LoopCondition(), inner) && closed(m.LoopStep(), inner)
	}
	return false
}
