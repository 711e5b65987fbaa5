package fast

import (
	"math"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// mathematics compiles cel-go's extension "math".
func (c *compiler) mathematics(name string, xs []code) (code, bool, error) {
	name, isMath := strings.CutPrefix(name, "math.")
	if !isMath {
		return code{}, false, nil
	}
	if len(xs) == 0 {
		return code{}, false, nil
	}
	t := types.DynType // of the result, where it is that of the argument
	if k := xs[0].typ; k.IsNumeric() && !k.Nullable && (len(xs) == 1 || xs[1].typ.Kind == k.Kind) {
		t = k
	}
	switch len(xs) {
	case 1:
		if op := doubleFunction(name); op != nil {
			if strings.HasPrefix(name, "is") {
				t = types.BoolType
			}
			return number1(xs[0], t, func(v penstock.Value) penstock.Value {
				if v.Kind() == penstock.KindDecimal {
					return decimalFunction(name, v)
				}
				if v.Kind() != penstock.KindDouble {
					return ops.NoOverload("math."+name, v)
				}
				return op(v.Double())
			}), true, nil
		}
		if op := numberFunction(name); op != nil {
			if name == "sqrt" || name == "sign" {
				t = types.DynType
			}
			return number1(xs[0], t, op), true, nil
		}
		if name == "@min" || name == "@max" {
			return extremeOf(name, xs[0], t), true, nil
		}
	case 2:
		if name == "@min" || name == "@max" {
			want := 1
			if name == "@max" {
				want = -1
			}
			return binary2(xs[0], xs[1], t, func(f *penstock.Frame, a, b penstock.Value) penstock.Value {
				return extreme("math."+name, ops.Resolve(a, f.Arena), ops.Resolve(b, f.Arena), want)
			}), true, nil
		}
		if op := bitFunction(name); op != nil {
			return binary2(xs[0], xs[1], types.DynType, func(f *penstock.Frame, a, b penstock.Value) penstock.Value {
				return op(ops.Resolve(a, f.Arena), ops.Resolve(b, f.Arena))
			}), true, nil
		}
	}
	return code{}, false, nil
}

func number1(x code, t *types.Type, op func(penstock.Value) penstock.Value) code {
	return unary(x, t, func(f *penstock.Frame, v penstock.Value) penstock.Value { return op(ops.Resolve(v, f.Arena)) })
}

func doubleFunction(name string) func(float64) penstock.Value {
	plain := func(g func(float64) float64) func(float64) penstock.Value {
		return func(x float64) penstock.Value { return penstock.DoubleValue(g(x)) }
	}
	switch name {
	case "ceil":
		return plain(math.Ceil)
	case "floor":
		return plain(math.Floor)
	case "round":
		return plain(math.Round)
	case "trunc":
		return plain(math.Trunc)
	case "isInf":
		return func(x float64) penstock.Value { return penstock.BoolValue(math.IsInf(x, 0)) }
	case "isNaN":
		return func(x float64) penstock.Value { return penstock.BoolValue(math.IsNaN(x)) }
	case "isFinite":
		return func(x float64) penstock.Value { return penstock.BoolValue(!math.IsInf(x, 0) && !math.IsNaN(x)) }
	}
	return nil
}

func numberFunction(name string) func(penstock.Value) penstock.Value {
	switch name {
	case "abs":
		return absolute
	case "sign":
		return sign
	case "sqrt":
		return func(v penstock.Value) penstock.Value {
			d := ops.ToDouble(v)
			if k := v.Kind(); k != penstock.KindDouble && k != penstock.KindInt && k != penstock.KindUint {
				return ops.NoOverload("math.sqrt", v)
			}
			return penstock.DoubleValue(math.Sqrt(d.Double()))
		}
	case "bitNot":
		return func(v penstock.Value) penstock.Value {
			switch v.Kind() {
			case penstock.KindInt:
				return penstock.IntValue(^v.Int())
			case penstock.KindUint:
				return penstock.UintValue(^v.Uint())
			}
			return ops.NoOverload("math.bitNot", v)
		}
	}
	return nil
}

func absolute(v penstock.Value) penstock.Value {
	switch v.Kind() {
	case penstock.KindDouble:
		return penstock.DoubleValue(math.Abs(v.Double()))
	case penstock.KindInt:
		if v.Int() < 0 {
			return ops.Neg(v)
		}
		return v
	case penstock.KindUint:
		return v
	case penstock.KindDecimal:
		return penstock.DecimalValue(v.Decimal().Abs())
	}
	return ops.NoOverload("math.abs", v)
}

func sign(v penstock.Value) penstock.Value {
	switch v.Kind() {
	case penstock.KindDouble:
		x := v.Double()
		switch {
		case x > 0:
			return penstock.DoubleValue(1)
		case x < 0:
			return penstock.DoubleValue(-1)
		case x == 0:
			return penstock.DoubleValue(0)
		}
		return v
	case penstock.KindInt:
		return penstock.IntValue(int64(compareInts(v.Int(), 0)))
	case penstock.KindUint:
		return penstock.UintValue(min(v.Uint(), 1))
	case penstock.KindDecimal:
		return penstock.IntValue(int64(v.Decimal().Sign()))
	}
	return ops.NoOverload("math.sign", v)
}

// decimalFunction is math.ceil, floor, round (half away from zero) and trunc of a decimal.
func decimalFunction(name string, v penstock.Value) penstock.Value {
	d := v.Decimal()
	cut := d.Trunc()
	step := int64(0)
	switch name {
	case "trunc":
	case "ceil":
		step = int64(max(d.Cmp(cut), 0))
	case "floor":
		step = int64(min(d.Cmp(cut), 0))
	case "round":
		rest, err := d.Sub(cut)
		if err == nil {
			rest, err = rest.Add(rest)
		}
		if err != nil {
			return ops.WrapError(err)
		}
		if rest.Abs().CmpInt(1) >= 0 {
			step = int64(d.Sign())
		}
	default:
		return ops.NoOverload("math."+name, v)
	}
	if step == 0 {
		return penstock.DecimalValue(cut)
	}
	out, err := cut.Add(penstock.DecimalFromInt(step))
	if err != nil {
		return ops.WrapError(err)
	}
	return penstock.DecimalValue(out)
}

// extreme gives b if it compares to a as the caller wants, else a.
func extreme(name string, a, b penstock.Value, want int) penstock.Value {
	c, bad := ops.Compare(a, b)
	if bad.IsError() {
		return ops.NoOrder(name, bad)
	}
	if c == want {
		a = b
	}
	return plain(a)
}

// plain gives a double without the text that it was read from: what a function gives is computed.
func plain(v penstock.Value) penstock.Value {
	if v.Kind() == penstock.KindDouble {
		return penstock.DoubleValue(v.Double())
	}
	return v
}

// extremeOf is math.@min and math.@max of a list, or of one number.
func extremeOf(name string, x code, t *types.Type) code {
	over := visitorOf(x)
	want := 1
	if name == "@max" {
		want = -1
	}
	if x.typ.IsNumeric() {
		return unary(x, x.typ, func(_ *penstock.Frame, v penstock.Value) penstock.Value { return plain(v) })
	}
	return code{typ: t, eval: func(f *penstock.Frame) penstock.Value {
		var cur cursor
		if bad := over.start(f, &cur); bad.IsError() {
			return bad
		}
		best := penstock.Absent
		for {
			v, more := over.next(f, &cur)
			if !more {
				switch {
				case v.IsError():
					return v
				case best.IsAbsent():
					return ops.Errorf("math.%s of an empty list", name)
				}
				return plain(best)
			}
			switch v.Kind() {
			case penstock.KindInt, penstock.KindUint, penstock.KindDouble, penstock.KindDecimal:
			default:
				return ops.NoOverload("math."+name, v)
			}
			if best.IsAbsent() {
				best = v
			} else if best = extreme("math."+name, best, v, want); best.IsError() {
				return best
			}
		}
	}}
}

// bitFunction compiles the functions of bits. A shift by 64 or more gives 0.
func bitFunction(name string) func(a, b penstock.Value) penstock.Value {
	var op func(x, y uint64) uint64
	shift := false
	switch name {
	case "bitAnd":
		op = func(x, y uint64) uint64 { return x & y }
	case "bitOr":
		op = func(x, y uint64) uint64 { return x | y }
	case "bitXor":
		op = func(x, y uint64) uint64 { return x ^ y }
	case "bitShiftLeft":
		op, shift = func(x, y uint64) uint64 { return x << y }, true
	case "bitShiftRight":
		op, shift = func(x, y uint64) uint64 { return x >> y }, true
	default:
		return nil
	}
	return func(a, b penstock.Value) penstock.Value {
		isBits := a.Kind() == penstock.KindInt || a.Kind() == penstock.KindUint
		if !isBits || shift && b.Kind() != penstock.KindInt || !shift && a.Kind() != b.Kind() {
			return ops.NoOverload("math."+name, a, b)
		}
		if shift && b.Int() < 0 {
			return ops.Errorf("math.%s by a negative number: %d", name, b.Int())
		}
		z := op(a.Uint(), b.Uint())
		if a.Kind() == penstock.KindInt {
			return penstock.IntValue(int64(z))
		}
		return penstock.UintValue(z)
	}
}
