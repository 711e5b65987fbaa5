package fast

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// arith is an arithmetic operator. The closure tries the static kinds first.
func arith(o ops.Operator, a, b code, t *types.Type) code {
	l, r := a.eval, b.eval
	if a.typ.Kind == types.List || b.typ.Kind == types.List {
		l, r = deep(a), deep(b)
	}
	if t.Kind == types.Dyn && a.typ == b.typ {
		t = a.typ
	}
	general := func(f *penstock.Frame, x, y penstock.Value) penstock.Value { return ops.Arith(o, x, y, f.Arena) }
	x := code{typ: t}
	switch {
	case a.typ.Kind == types.Double && b.typ.Kind == types.Double && o != ops.OpMod:
		x.eval = doubles(o, l, r, general)
	case a.typ.Kind == types.Int && b.typ.Kind == types.Int:
		x.eval = func(f *penstock.Frame) penstock.Value {
			v := l(f)
			w := r(f)
			if v.Kind() == penstock.KindInt && w.Kind() == penstock.KindInt {
				return ops.IntArith(o, v.Int(), w.Int())
			}
			return general(f, v, w)
		}
	default:
		x.eval = func(f *penstock.Frame) penstock.Value {
			v := l(f)
			return general(f, v, r(f))
		}
	}
	return x
}

func doubles(o ops.Operator, l, r eval, general func(*penstock.Frame, penstock.Value, penstock.Value) penstock.Value) eval {
	both := func(v, w penstock.Value) bool {
		return v.Kind() == penstock.KindDouble && w.Kind() == penstock.KindDouble
	}
	switch o {
	case ops.OpAdd:
		return func(f *penstock.Frame) penstock.Value {
			v := l(f)
			w := r(f)
			if both(v, w) {
				return penstock.DoubleValue(v.Double() + w.Double())
			}
			return general(f, v, w)
		}
	case ops.OpSub:
		return func(f *penstock.Frame) penstock.Value {
			v := l(f)
			w := r(f)
			if both(v, w) {
				return penstock.DoubleValue(v.Double() - w.Double())
			}
			return general(f, v, w)
		}
	case ops.OpMul:
		return func(f *penstock.Frame) penstock.Value {
			v := l(f)
			w := r(f)
			if both(v, w) {
				return penstock.DoubleValue(v.Double() * w.Double())
			}
			return general(f, v, w)
		}
	}
	return func(f *penstock.Frame) penstock.Value {
		v := l(f)
		w := r(f)
		if both(v, w) {
			return penstock.DoubleValue(v.Double() / w.Double())
		}
		return general(f, v, w)
	}
}
