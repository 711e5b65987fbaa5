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
	case t == types.StringType:
		return concatenation(a, b)
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

// concatenation is + of texts; a chain of them is put together once.
func concatenation(a, b code) code {
	var parts []code
	for _, x := range []code{a, b} {
		if x.texts != nil {
			parts = append(parts, x.texts...)
		} else {
			parts = append(parts, x)
		}
	}
	const most = 8 // values that fit on the stack
	if len(parts) > most {
		parts = []code{a, b}
	}
	return code{typ: types.StringType, texts: parts, eval: func(f *penstock.Frame) penstock.Value {
		var room [most]penstock.Value
		vs := room[:len(parts)]
		size := 0
		for i := range parts {
			if vs[i] = parts[i].eval(f); vs[i].Kind() != penstock.KindString {
				return addAll(f, parts, vs, i)
			}
			size += len(vs[i].Str())
		}
		if size > ops.MaxText {
			return ops.TooLarge
		}
		out := f.Arena.Alloc(size)[:0]
		for i := range vs {
			out = append(out, vs[i].Str()...)
		}
		return ops.TextValue(out)
	}}
}

// addAll adds one by one, since part i is no text after all. The parts before it have been evaluated.
func addAll(f *penstock.Frame, parts []code, vs []penstock.Value, i int) penstock.Value {
	sum := vs[0]
	for j := 1; j < len(parts); j++ {
		if j > i {
			vs[j] = parts[j].eval(f)
		}
		sum = ops.Arith(ops.OpAdd, sum, vs[j], f.Arena)
	}
	return sum
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
