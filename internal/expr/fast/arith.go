package fast

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// arith is an arithmetic operator. The closure tries the static kinds first.
func arith(o ops.Operator, a, b code) code {
	t := arithType(o, a.typ, b.typ)
	if a.typ.Kind == types.List || b.typ.Kind == types.List {
		t = unify(&a, &b)
	}
	l, r := a.eval, b.eval
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

// arithType is the type of a result, where those of the operands tell.
func arithType(o ops.Operator, a, b *types.Type) *types.Type {
	if a.Nullable || b.Nullable {
		return types.DynType
	}
	switch {
	case a.Kind == types.Int && b.Kind == types.Int:
		return types.IntType
	case a.Kind == types.Uint && b.Kind == types.Uint:
		return types.UintType
	case a.Kind == types.Decimal && (b.Kind == types.Decimal || b.Kind == types.Int), a.Kind == types.Int && b.Kind == types.Decimal:
		return types.DecimalType
	case a.Kind == types.Double && (b.Kind == types.Double || b.Kind == types.Int), a.Kind == types.Int && b.Kind == types.Double:
		return types.DoubleType
	case a.Kind == types.String && b.Kind == types.String && o == ops.OpAdd:
		return types.StringType
	}
	return types.DynType
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
