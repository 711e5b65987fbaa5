package expr

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/jsonview"
	ptypes "penstock.dev/penstock/types"
)

// oracle evaluates a checked, rewritten tree with cel-go.
type oracle struct {
	prog cel.Program
	sc   *scope.Scope
}

// newOracle plans the tree. The tree itself is not changed.
func (e *engine) newOracle(a *ast.AST, facts map[int64]*ptypes.Type, sc *scope.Scope, costLimit uint64) (*oracle, error) {
	a = ast.Copy(a)
	e.widen(a, facts)
	plainCalls(a)
	optional := map[int64][]bool{} // of map literals: which entries are ?key
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() != ast.MapKind {
			return
		}
		for _, en := range x.AsMap().Entries() {
			optional[x.ID()] = append(optional[x.ID()], en.AsMapEntry().IsOptional())
		}
	}))
	prog, err := e.env.PlanProgram(a, cel.CostLimit(costLimit), cel.CustomDecoratorV2(func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		if c, ok := i.(interpreter.InterpretableConstructor); ok && c.Type() == types.MapType {
			return &mapLiteral{InterpretableConstructor: c, optional: optional[c.ID()]}, nil
		}
		return i, nil
	}))
	if err != nil {
		return nil, err
	}
	return &oracle{prog: prog, sc: sc}, nil
}

// widen lets the run choose among all overloads of a function where an operand has no type.
// cel-go's checker ties what has no type, such as dyn(x).value(), to the first overload that
// it meets.
func (e *engine) widen(a *ast.AST, facts map[int64]*ptypes.Type) {
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() != ast.CallKind || len(a.GetOverloadIDs(x.ID())) != 1 {
			return
		}
		call := x.AsCall()
		args := call.Args()
		if call.IsMemberFunction() {
			args = append([]ast.Expr{call.Target()}, args...)
		}
		if !slices.ContainsFunc(args, func(arg ast.Expr) bool { t := facts[arg.ID()]; return t != nil && unknown(t) }) {
			return
		}
		ref := ast.NewFunctionReference()
		for _, o := range e.env.Functions()[call.FunctionName()].OverloadDecls() {
			if o.IsMemberFunction() == call.IsMemberFunction() && len(o.ArgTypes()) == len(args) {
				ref.AddOverload(o.ID())
			}
		}
		if len(ref.OverloadIDs) > 1 {
			a.SetReference(x.ID(), ref)
		}
	}))
}

// plainCalls wraps the arguments of cel-go's own functions that tell doubles by their Go
// type, so that they see no double with a text.
func plainCalls(a *ast.AST) {
	fac := ast.NewExprFactory()
	next := ast.MaxID(a)
	wrap := func(x ast.Expr) ast.Expr {
		if x.Kind() == ast.LiteralKind {
			return x
		}
		next++
		a.SetReference(next, ast.NewFunctionReference("@plain"))
		a.SetType(next, types.DynType)
		return fac.NewCall(next, "@plain", x)
	}
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() != ast.CallKind {
			return
		}
		call := x.AsCall()
		name := call.FunctionName()
		if name != "format" && (len(name) < 5 || name[:5] != "math.") && name != "optional.ofNonZeroValue" {
			return
		}
		args := make([]ast.Expr, len(call.Args()))
		for i, arg := range call.Args() {
			args[i] = wrap(arg)
		}
		if call.IsMemberFunction() {
			x.SetKindCase(fac.NewMemberCall(x.ID(), name, call.Target(), args...))
		} else {
			x.SetKindCase(fac.NewCall(x.ID(), name, args...))
		}
	}))
}

// lazyOracle plans a tree when it is first evaluated, which most never are: the fast
// evaluator takes them.
type lazyOracle struct {
	once   sync.Once
	engine *engine
	ast    *ast.AST
	facts  map[int64]*ptypes.Type
	sc     *scope.Scope
	limit  uint64
	prog   *oracle
	err    error
}

// Eval evaluates with cel-go.
func (o *lazyOracle) Eval(f *penstock.Frame) penstock.Value {
	if err := o.plan(); err != nil {
		return fail(err)
	}
	return o.prog.Eval(f)
}

func (o *lazyOracle) plan() error {
	o.once.Do(func() { o.prog, o.err = o.engine.newOracle(o.ast, o.facts, o.sc, o.limit) })
	return o.err
}

// Eval evaluates for a frame. A result that is an empty optional is Absent.
func (o *oracle) Eval(f *penstock.Frame) (v penstock.Value) {
	out, _, err := o.prog.Eval(&activation{f: f, sc: o.sc})
	if err != nil {
		if errors.As(err, new(interpreter.EvalCancelledError)) {
			return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Err: errors.New("the expression runs too long: cost limit exceeded")})
		}
		return fail(err)
	}
	v = fromRef(out)
	if v.Kind() == penstock.KindOptional && v.Optional().IsAbsent() {
		return penstock.Absent
	}
	return v
}

// activation resolves the roots of a scope in a frame.
type activation struct {
	f  *penstock.Frame
	sc *scope.Scope
}

func (*activation) Parent() interpreter.Activation { return nil }

// ResolveFunction gives the functions whose result depends on the run.
func (a *activation) ResolveFunction(name string) (functions.LateBoundOp, bool) {
	if name != "uuid" || a.f.Runtime == nil || a.f.Runtime.UUID == nil {
		return nil, false
	}
	return func(string, ...ref.Val) ref.Val { return types.String(a.f.Runtime.UUID()) }, true
}

// ResolveName gives a root.
func (a *activation) ResolveName(name string) (any, bool) {
	r, ok := a.sc.Root(name)
	if !ok {
		return nil, false
	}
	at := (*place)(nil).field(name)
	switch r.Source {
	case scope.Body:
		d := a.f.Msg.Body
		if err := d.Parse(jsonview.Limits{}); err != nil {
			code := penstock.Invalid
			if errors.Is(err, jsonview.ErrLimit) {
				code = penstock.TooLarge
			}
			return types.WrapErr(&penstock.Error{Code: code, Path: name, Err: err}), true
		}
		return readNode(d, 0, r.Type, at), true
	case scope.Meta:
		m := &orderedMap{}
		for _, e := range a.f.Msg.Meta.Entries() {
			var t *ptypes.Type
			for _, f := range r.Fields {
				if f.Name == e.Name {
					t = f.Type
				}
			}
			m.keys, m.vals = append(m.keys, types.String(e.Name)), append(m.vals, toRef(e.Value, t, at.field(e.Name)))
		}
		return m, true
	case scope.Key:
		return types.String(a.f.Msg.Key), true
	case scope.Vars:
		return slots(r.Fields, a.f.Msg.Vars, at), true
	case scope.Params:
		return slots(r.Fields, a.f.Runtime.Params, at), true
	case scope.Now:
		return types.Timestamp{Time: a.f.Now().UTC()}, true
	case scope.Slot:
		if r.Slot >= len(a.f.Msg.Vars) || a.f.Msg.Vars[r.Slot].IsAbsent() {
			if r.Type != nil && r.Type.Kind == ptypes.Optional {
				return types.OptionalNone, true
			}
			return types.WrapErr(&penstock.Error{Code: penstock.Unprocessable, Path: name, Err: fmt.Errorf("%s is absent", name)}), true
		}
		return toRef(a.f.Msg.Vars[r.Slot], r.Type, at), true
	}
	return nil, false
}

// slots makes a map of named slots; what is absent is not in it.
func slots(fields []scope.Field, vals []penstock.Value, at *place) ref.Val {
	m := &orderedMap{}
	for _, f := range fields {
		if f.Slot < len(vals) && !vals[f.Slot].IsAbsent() {
			m.keys, m.vals = append(m.keys, types.String(f.Name)), append(m.vals, toRef(vals[f.Slot], f.Type, at.field(f.Name)))
		} else if f.Type != nil && f.Type.Kind == ptypes.Optional {
			m.keys, m.vals = append(m.keys, types.String(f.Name)), append(m.vals, types.OptionalNone)
		}
	}
	return m
}

// mapLiteral evaluates a map literal in the order in which it is written.
type mapLiteral struct {
	interpreter.InterpretableConstructor
	optional []bool
}

// Eval evaluates in an activation.
func (m *mapLiteral) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, m.Exec)
}

// Exec evaluates in a frame.
func (m *mapLiteral) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	init := m.InitVals()
	out := &orderedMap{}
	for i := 0; i+1 < len(init); i += 2 {
		k := init[i].Exec(frame)
		if types.IsUnknownOrError(k) {
			return k
		}
		v := init[i+1].Exec(frame)
		if types.IsUnknownOrError(v) {
			return v
		}
		if i/2 < len(m.optional) && m.optional[i/2] {
			opt, ok := v.(*types.Optional)
			if !ok {
				return types.NewErr("cannot initialize optional entry %v from non-optional value %v", keyString(k), v.Value())
			}
			if !opt.HasValue() {
				continue
			}
			v = opt.GetValue()
		}
		switch k.(type) {
		case types.String, types.Int, types.Uint, types.Bool:
		default:
			return types.NewErr("unsupported key type: %s", k.Type().TypeName())
		}
		if _, twice := out.Find(k); twice {
			return types.NewErr("duplicate key %v in a map", keyString(k))
		}
		out.keys, out.vals = append(out.keys, k), append(out.vals, v)
	}
	return out
}
