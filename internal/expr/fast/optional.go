package fast

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// optionalFunction compiles the functions of optional values. What an optional holds is passed
// on without a box where both sides are known.
func (c *compiler) optionalFunction(name string, xs []code) (code, bool, error) {
	switch {
	case name == "optional.of" && len(xs) == 1:
		return newOptional(xs[0].eval, heldType(xs[0])), true, nil
	case name == "optional.none" && len(xs) == 0:
		return newOptional(func(*penstock.Frame) penstock.Value { return penstock.Absent }, types.DynType), true, nil
	case name == "optional.ofNonZeroValue" && len(xs) == 1:
		in := deep(xs[0])
		return newOptional(func(f *penstock.Frame) penstock.Value {
			v := in(f)
			if v.IsError() || v.Kind() == penstock.KindOptional || !ops.IsZero(v) {
				return plain(v)
			}
			return penstock.Absent
		}, heldType(xs[0])), true, nil
	case name == "value" && len(xs) == 1:
		in := xs[0].optional()
		return code{typ: elemOf(xs[0]), eval: func(f *penstock.Frame) penstock.Value {
			v := in(f)
			if v.IsAbsent() {
				return ops.Errorf("optional.none() has no value")
			}
			return v
		}}, true, nil
	case name == "hasValue" && len(xs) == 1:
		in := xs[0].optional()
		if xs[0].raw != nil && elemOf(xs[0]).IsDyn() {
			in = xs[0].raw
		}
		return code{typ: types.BoolType, eval: func(f *penstock.Frame) penstock.Value {
			v := in(f)
			if v.IsError() {
				return v
			}
			return penstock.BoolValue(!v.IsAbsent())
		}}, true, nil
	case name == "hasValue" && len(xs) == 2:
		in, other := xs[0].optional(), deep(xs[1])
		return code{typ: types.BoolType, eval: func(f *penstock.Frame) penstock.Value {
			v := in(f)
			w := other(f)
			switch {
			case v.IsError():
				return v
			case w.IsError():
				return w
			case v.IsAbsent():
				return penstock.False
			}
			return penstock.BoolValue(ops.Equal(v, w))
		}}, true, nil
	case name == "orValue" && len(xs) == 2:
		held, other := unboxed(xs[0]), xs[1]
		t := unify(&held, &other)
		return code{typ: t, eval: func(f *penstock.Frame) penstock.Value {
			if v := held.eval(f); !v.IsAbsent() {
				return v
			}
			return other.eval(f)
		}}, true, nil
	case name == "or" && len(xs) == 2:
		a, b := unboxed(xs[0]), unboxed(xs[1])
		t := unify(&a, &b)
		return newOptional(func(f *penstock.Frame) penstock.Value {
			if v := a.eval(f); !v.IsAbsent() {
				return v
			}
			return b.eval(f)
		}, t), true, nil
	case (name == "optional.unwrap" || name == "unwrapOpt") && len(xs) == 1:
		return unary(xs[0], types.ListOf(types.DynType), unwrap), true, nil
	case (name == "first" || name == "last") && len(xs) == 1:
		in, last := xs[0].eval, name == "last"
		r := newReader(elemType(xs[0].typ), xs[0].path+"[]", "")
		return newOptional(func(f *penstock.Frame) penstock.Value {
			v := in(f)
			if v.IsError() {
				return v
			}
			if !ops.IsList(v) {
				return ops.NoOverload(name, v)
			}
			at := 0
			if last {
				at = ops.Len(v) - 1
			}
			w, ok := ops.At(v, int64(at))
			if !ok {
				return penstock.Absent
			}
			return r.read(f, w)
		}, heldType(code{typ: elemType(xs[0].typ)})), true, nil
	}
	return code{}, false, nil
}

// elemOf is the type of what the optional x holds.
func elemOf(x code) *types.Type {
	if x.typ.Kind == types.Optional {
		return x.typ.Elem
	}
	return types.DynType
}

// heldType is the type of x within an optional: an optional in an optional keeps its box, which its
// type does not show (types.OptionalOf).
func heldType(x code) *types.Type {
	if x.typ.Kind == types.Optional {
		return types.DynType
	}
	return x.typ
}

// unwrap keeps what is there of a list of optionals.
func unwrap(_ *penstock.Frame, v penstock.Value) penstock.Value {
	if !ops.IsList(v) {
		return ops.NoOverload("unwrap", v)
	}
	out := &penstock.List{}
	it := ops.Elems(v)
	for e, more := it.Next(); more; e, more = it.Next() {
		in, ok := ops.Unbox(e)
		if !ok {
			return ops.NoOverload("unwrap", e)
		}
		if !in.IsAbsent() {
			out.Elems = append(out.Elems, in)
		}
	}
	return penstock.ListValue(out)
}
