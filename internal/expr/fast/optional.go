package fast

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// optionalFunction compiles the functions of optional values. What an optional holds is passed
// on without a box where both sides are known.
func (c *compiler) optionalFunction(name string, xs []code, t *types.Type) (code, bool, error) {
	elem := types.DynType
	if t.Kind == types.Optional {
		elem = t.Elem
	}
	switch {
	case name == "optional.of" && len(xs) == 1:
		in := xs[0].eval
		if elem.IsDyn() {
			elem = xs[0].typ
		}
		return newOptional(func(f *penstock.Frame) penstock.Value {
			v := in(f)
			if v.IsAbsent() { // an optional that holds an optional that is none
				return penstock.OptionalValue(penstock.Absent)
			}
			return v
		}, elem), true, nil
	case name == "optional.none" && len(xs) == 0:
		return newOptional(func(*penstock.Frame) penstock.Value { return penstock.Absent }, elem), true, nil
	case name == "optional.ofNonZeroValue" && len(xs) == 1:
		in := deep(xs[0])
		return newOptional(func(f *penstock.Frame) penstock.Value {
			v := in(f)
			if v.IsError() || !ops.IsZero(v) {
				return plain(v)
			}
			return penstock.Absent
		}, elem), true, nil
	case name == "value" && len(xs) == 1:
		in := xs[0].optional()
		return code{typ: orElem(t, xs[0]), eval: func(f *penstock.Frame) penstock.Value {
			v := in(f)
			if v.IsAbsent() {
				return ops.Errorf("optional.none() has no value")
			}
			return v
		}}, true, nil
	case name == "hasValue" && len(xs) == 1:
		in := xs[0].optional()
		if xs[0].raw != nil && xs[0].typ.Elem.IsDyn() {
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
		in, other := xs[0].optional(), xs[1].eval
		return code{typ: orElem(t, xs[0]), eval: func(f *penstock.Frame) penstock.Value {
			if v := in(f); !v.IsAbsent() {
				return v
			}
			return other(f)
		}}, true, nil
	case name == "or" && len(xs) == 2:
		in, other := xs[0].optional(), xs[1].optional()
		return newOptional(func(f *penstock.Frame) penstock.Value {
			if v := in(f); !v.IsAbsent() {
				return v
			}
			return other(f)
		}, elem), true, nil
	case (name == "optional.unwrap" || name == "unwrapOpt") && len(xs) == 1:
		return unary(xs[0], t, unwrap), true, nil
	case (name == "first" || name == "last") && len(xs) == 1 && t.Kind == types.Optional:
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
		}, elem), true, nil
	}
	return code{}, false, nil
}

// orElem prefers t to what the optional x is known to hold.
func orElem(t *types.Type, x code) *types.Type {
	if t.IsDyn() && x.typ.Kind == types.Optional {
		return x.typ.Elem
	}
	return t
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
