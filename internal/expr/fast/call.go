package fast

import (
	"cel.dev/cel-go/common/ast"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// call compiles an operator or function. Those that do not evaluate all their arguments, or look
// at their form, come first; then the families of functions, each in its file.
func (c *compiler) call(e ast.Expr) (code, error) {
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	if call.IsMemberFunction() {
		if full, ok := c.namespaced(call); ok {
			name = full
		} else {
			args = append([]ast.Expr{call.Target()}, args...)
		}
	}
	switch {
	case name == "_&&_" && len(args) == 2:
		return c.binary(args, and)
	case name == "_||_" && len(args) == 2:
		return c.binary(args, or)
	case name == "_?:_" || name == "_?_:_":
		return c.conditional(args)
	case (name == "_?._" || name == "_[?_]") && len(args) == 2:
		return c.optionalStep(args[0], args[1])
	case (name == "_[_]" || name == "@index") && len(args) == 2:
		return c.indexed(args[0], args[1])
	}
	xs, err := c.compileAll(args)
	if err != nil {
		return code{}, err
	}
	c.overloads = c.in.AST.GetOverloadIDs(e.ID())
	x, ok, err := c.function(name, xs)
	if err != nil {
		return code{}, err
	}
	if !ok {
		return code{}, refuse("the function %s with %d arguments", name, len(xs))
	}
	if name == "uuid" {
		return x, nil
	}
	return fold(x, xs...), nil
}

// namespaced finds functions such as math.greatest, whose namespace the parser takes for a
// target until the checker has resolved it.
func (c *compiler) namespaced(call ast.CallExpr) (string, bool) {
	t := call.Target()
	if t.Kind() != ast.IdentKind {
		return "", false
	}
	switch ns := t.AsIdent(); ns {
	case "math", "optional", "lists", "sets", "base64", "json", "regex", "strings", "cel", "strs":
		if _, isRoot := c.in.Scope.Root(ns); isRoot {
			return "", false
		}
		for i := range c.locals {
			if c.locals[i].name == ns {
				return "", false
			}
		}
		return ns + "." + call.FunctionName(), true
	}
	return "", false
}

// function compiles a function of evaluated arguments; the target of a member function is the first.
// ok is false for a function, or a number of arguments, that is not known.
func (c *compiler) function(name string, xs []code) (x code, ok bool, err error) {
	for _, family := range [...]func(string, []code) (code, bool, error){
		c.operator, c.conversion, c.collection, c.optionalFunction, c.text, c.time, c.mathematics, c.regex,
		c.aggregate, c.lists, c.encoder,
	} {
		if x, ok, err = family(name, xs); ok || err != nil {
			return x, ok, err
		}
	}
	return code{}, false, nil
}

// operator compiles operators without short-cuts.
func (c *compiler) operator(name string, xs []code) (code, bool, error) {
	switch len(xs) {
	case 1:
		switch name {
		case "!_", "@not":
			return not(xs[0]), true, nil
		case "-_", "@neg":
			return unary(xs[0], xs[0].typ, func(_ *penstock.Frame, v penstock.Value) penstock.Value { return ops.Neg(v) }), true, nil
		case "@not_strictly_false", "__not_strictly_false__":
			in := xs[0].eval
			return code{typ: types.BoolType, eval: func(f *penstock.Frame) penstock.Value {
				v := in(f)
				return penstock.BoolValue(v.Kind() != penstock.KindBool || v.Bool())
			}}, true, nil
		}
	case 2:
		a, b := xs[0], xs[1]
		switch name {
		case "_+_", "@add":
			return arith(ops.OpAdd, a, b), true, nil
		case "_-_", "@sub":
			return arith(ops.OpSub, a, b), true, nil
		case "_*_", "@mul":
			return arith(ops.OpMul, a, b), true, nil
		case "_/_", "@div":
			return arith(ops.OpDiv, a, b), true, nil
		case "_%_", "@mod":
			return arith(ops.OpMod, a, b), true, nil
		case "_==_", "@eq":
			c.counts()
			return equals(a, b, false), true, nil
		case "_!=_", "@ne":
			c.counts()
			return equals(a, b, true), true, nil
		case "_<_", "@lt":
			return relation(ops.Less, a, b), true, nil
		case "_<=_", "@le":
			return relation(ops.LessEqual, a, b), true, nil
		case "_>_", "@gt":
			return relation(ops.Greater, a, b), true, nil
		case "_>=_", "@ge":
			return relation(ops.GreaterEqual, a, b), true, nil
		case "@in", "_in_":
			c.counts()
			return within(a, b), true, nil
		}
	}
	return code{}, false, nil
}

// unary makes the code of a function of one value; errors pass by it.
func unary(x code, t *types.Type, op func(*penstock.Frame, penstock.Value) penstock.Value) code {
	in := deep(x)
	return code{typ: t, eval: func(f *penstock.Frame) penstock.Value {
		v := in(f)
		if v.IsError() {
			return v
		}
		return op(f, v)
	}}
}

// binary2 makes the code of a function of two values; the first error is the result.
func binary2(x, y code, t *types.Type, op func(f *penstock.Frame, a, b penstock.Value) penstock.Value) code {
	l, r := deep(x), deep(y)
	return code{typ: t, eval: func(f *penstock.Frame) penstock.Value {
		a := l(f)
		b := r(f)
		if a.IsError() {
			return a
		}
		if b.IsError() {
			return b
		}
		return op(f, a, b)
	}}
}

// nary makes the code of a function of a few values, at most 8.
func nary(xs []code, t *types.Type, op func(f *penstock.Frame, vs []penstock.Value) penstock.Value) code {
	in := make([]eval, len(xs))
	for i := range xs {
		in[i] = deep(xs[i])
	}
	return code{typ: t, eval: func(f *penstock.Frame) penstock.Value {
		var room [8]penstock.Value
		vs := room[:0]
		for _, e := range in {
			v := e(f)
			if v.IsError() {
				return v
			}
			vs = append(vs, v)
		}
		return op(f, vs)
	}}
}
