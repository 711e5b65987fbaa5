package fast

import (
	"cel.dev/cel-go/common/ast"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

func (c *compiler) binary(args []ast.Expr, build func(a, b code) code) (code, error) {
	xs, err := c.compileAll(args)
	if err != nil {
		return code{}, err
	}
	return fold(build(xs[0], xs[1]), xs...), nil
}

// and is a && b: false on either side wins over an error on the other.
func and(a, b code) code {
	l, r := a.eval, b.eval
	return code{typ: types.BoolType, eval: func(f *penstock.Frame) penstock.Value {
		v := l(f)
		if v.Kind() == penstock.KindBool {
			if !v.Bool() {
				return v
			}
			w := r(f)
			if w.Kind() != penstock.KindBool {
				return notBool("&&", w)
			}
			return w
		}
		if w := r(f); w.Kind() == penstock.KindBool && !w.Bool() {
			return w
		}
		return notBool("&&", v)
	}}
}

// or is a || b: true on either side wins over an error on the other.
func or(a, b code) code {
	l, r := a.eval, b.eval
	return code{typ: types.BoolType, eval: func(f *penstock.Frame) penstock.Value {
		v := l(f)
		if v.Kind() == penstock.KindBool {
			if v.Bool() {
				return v
			}
			w := r(f)
			if w.Kind() != penstock.KindBool {
				return notBool("||", w)
			}
			return w
		}
		if w := r(f); w.Kind() == penstock.KindBool && w.Bool() {
			return w
		}
		return notBool("||", v)
	}}
}

func notBool(op string, v penstock.Value) penstock.Value { return ops.NoOverload(op, v) }

func not(a code) code {
	in := a.eval
	return code{typ: types.BoolType, eval: func(f *penstock.Frame) penstock.Value {
		v := in(f)
		if v.Kind() == penstock.KindBool {
			return penstock.BoolValue(!v.Bool())
		}
		return notBool("!", v)
	}}
}

// conditional is a ? b : c; only the chosen branch is evaluated.
func (c *compiler) conditional(args []ast.Expr) (code, error) {
	xs, err := c.compileAll(args)
	if err != nil {
		return code{}, err
	}
	cond, yes, no := xs[0].eval, &xs[1], &xs[2]
	t := unify(yes, no)
	choose := func(a, b eval) eval {
		return func(f *penstock.Frame) penstock.Value {
			v := cond(f)
			if v.Kind() != penstock.KindBool {
				return notBool("?:", v)
			}
			if v.Bool() {
				return a(f)
			}
			return b(f)
		}
	}
	x := code{typ: t, eval: choose(yes.eval, no.eval)}
	if yes.write != nil || no.write != nil {
		a, b := yes.emitter(), no.emitter()
		x.write = func(dst []byte, f *penstock.Frame) ([]byte, error) {
			v := cond(f)
			switch {
			case v.Kind() != penstock.KindBool:
				return dst, notBool("?:", v).Err()
			case v.Bool():
				return a(dst, f)
			}
			return b(dst, f)
		}
	}
	if t.Kind == types.Optional {
		// What an optional holds, without a box for it.
		x = newOptional(choose(yes.optional(), no.optional()), t.Elem)
	}
	return fold(x, xs...), nil
}
