package expr

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"penstock.dev/penstock"
)

// operatorFunctions declares the internal operators with all the overloads of the profile
// (LANGUAGE.md §3, numbers).
func operatorFunctions() []cel.EnvOption {
	var out []cel.EnvOption
	for _, op := range []struct {
		name string
		fn   func(a, b ref.Val) ref.Val
	}{{opAdd, addVals}, {opSub, subVals}, {opMul, mulVals}, {opDiv, divVals}, {opMod, modVals}} {
		out = append(out, arithmetic(op.name, op.fn))
	}
	out = append(out, cel.Function(opNeg,
		cel.Overload("@neg_int", []*cel.Type{cel.IntType}, cel.IntType),
		cel.Overload("@neg_double", []*cel.Type{cel.DoubleType}, cel.DoubleType),
		cel.Overload("@neg_decimal", []*cel.Type{decimalType}, decimalType),
		cel.SingletonUnaryBinding(negVal)))
	for _, op := range []struct {
		name  string
		holds func(c int) bool
	}{
		{opLt, func(c int) bool { return c < 0 }}, {opLe, func(c int) bool { return c <= 0 }},
		{opGt, func(c int) bool { return c > 0 }}, {opGe, func(c int) bool { return c >= 0 }},
	} {
		out = append(out, relation(op.name, op.holds))
	}
	a, b, c := cel.TypeParamType("A"), cel.TypeParamType("B"), cel.TypeParamType("C")
	equality := func(name string, want bool) cel.EnvOption {
		return cel.Function(name, cel.Overload(name, []*cel.Type{a, b}, cel.BoolType),
			cel.SingletonBinaryBinding(func(x, y ref.Val) ref.Val { return types.Bool(equalVals(x, y) == want) }))
	}
	return append(out, equality(opEq, true), equality(opNe, false),
		cel.Function(opIndex,
			cel.Overload("@index_list", []*cel.Type{cel.ListType(a), cel.IntType}, a),
			cel.Overload("@index_map", []*cel.Type{cel.MapType(a, b), a}, b),
			cel.Overload("@index_optional_list", []*cel.Type{cel.OptionalType(cel.ListType(a)), cel.IntType}, cel.OptionalType(a)),
			cel.Overload("@index_optional_map", []*cel.Type{cel.OptionalType(cel.MapType(a, c)), a}, cel.OptionalType(c)),
			cel.SingletonBinaryBinding(indexVal)))
}

// word names a type in overload ids.
func word(t *cel.Type) string {
	switch t {
	case cel.TimestampType:
		return "timestamp"
	case cel.DurationType:
		return "duration"
	}
	return t.TypeName()
}

// binary declares an overload `name_a_b`.
func binary(name string, a, b, result *cel.Type) cel.FunctionOpt {
	return cel.Overload(name+"_"+word(a)+"_"+word(b), []*cel.Type{a, b}, result)
}

// arithmetic declares +, -, *, / or %.
func arithmetic(name string, fn func(a, b ref.Val) ref.Val) cel.EnvOption {
	i, u, d, dec := cel.IntType, cel.UintType, cel.DoubleType, decimalType
	ts, dur := cel.TimestampType, cel.DurationType
	opts := []cel.FunctionOpt{
		binary(name, i, i, i), binary(name, u, u, u),
		binary(name, dec, dec, dec), binary(name, i, dec, dec), binary(name, dec, i, dec), binary(name, u, dec, dec), binary(name, dec, u, dec),
	}
	if name != opMod {
		opts = append(opts, binary(name, d, d, d), binary(name, i, d, d), binary(name, d, i, d), binary(name, u, d, d), binary(name, d, u, d))
	}
	switch name {
	case opAdd:
		list := cel.ListType(cel.TypeParamType("A"))
		opts = append(opts, binary(name, cel.StringType, cel.StringType, cel.StringType), binary(name, cel.BytesType, cel.BytesType, cel.BytesType),
			binary(name, list, list, list), binary(name, ts, dur, ts), binary(name, dur, ts, ts), binary(name, dur, dur, dur))
	case opSub:
		opts = append(opts, binary(name, ts, ts, dur), binary(name, ts, dur, ts), binary(name, dur, dur, dur))
	}
	return cel.Function(name, append(opts, cel.SingletonBinaryBinding(fn))...)
}

// relation declares <, <=, > or >=: all numbers mix, everything else only with its own kind.
func relation(name string, holds func(c int) bool) cel.EnvOption {
	var opts []cel.FunctionOpt
	numbers := []*cel.Type{cel.IntType, cel.UintType, cel.DoubleType, decimalType}
	for _, a := range numbers {
		for _, b := range numbers {
			opts = append(opts, binary(name, a, b, cel.BoolType))
		}
	}
	for _, t := range []*cel.Type{cel.BoolType, cel.StringType, cel.BytesType, cel.TimestampType, cel.DurationType} {
		opts = append(opts, binary(name, t, t, cel.BoolType))
	}
	return cel.Function(name, append(opts, cel.SingletonBinaryBinding(func(a, b ref.Val) ref.Val {
		a, b = plain(a), plain(b)
		if isNumber(a) && isNumber(b) {
			c, ok := compareNumbers(a, b)
			return types.Bool(ok && holds(c)) // NaN has no order: false, as IEEE 754 and CEL have it
		}
		x, ok := a.(traits.Comparer)
		if !ok || a.Type() != b.Type() {
			return noOverload(name, a, b)
		}
		c, ok := x.Compare(b).(types.Int)
		if !ok {
			return noOverload(name, a, b)
		}
		return types.Bool(holds(int(c)))
	}))...)
}

// noOverload is the run-time error of an operation that is not defined for its operands.
func noOverload(name string, args ...ref.Val) ref.Val {
	if s, ok := symbols[name]; ok {
		name = s
	}
	names := ""
	for i, a := range args {
		if types.IsUnknownOrError(a) {
			return a
		}
		if i > 0 {
			names += ", "
		}
		names += a.Type().TypeName()
	}
	return types.NewErr("no such overload: %s of %s", name, names)
}

func addVals(a, b ref.Val) ref.Val {
	return arith(opAdd, a, b, penstock.Decimal.Add, func(x, y ref.Val) ref.Val {
		if l, ok := x.(traits.Adder); ok {
			return l.Add(y)
		}
		return noOverload(opAdd, a, b)
	})
}

func subVals(a, b ref.Val) ref.Val {
	return arith(opSub, a, b, penstock.Decimal.Sub, func(x, y ref.Val) ref.Val {
		if l, ok := x.(traits.Subtractor); ok {
			return l.Subtract(y)
		}
		return noOverload(opSub, a, b)
	})
}

func mulVals(a, b ref.Val) ref.Val {
	return arith(opMul, a, b, penstock.Decimal.Mul, func(x, y ref.Val) ref.Val {
		if l, ok := x.(traits.Multiplier); ok {
			return l.Multiply(y)
		}
		return noOverload(opMul, a, b)
	})
}

func divVals(a, b ref.Val) ref.Val {
	return arith(opDiv, a, b, penstock.Decimal.Quo, func(x, y ref.Val) ref.Val {
		if l, ok := x.(traits.Divider); ok {
			return l.Divide(y)
		}
		return noOverload(opDiv, a, b)
	})
}

func modVals(a, b ref.Val) ref.Val {
	return arith(opMod, a, b, penstock.Decimal.Rem, func(x, y ref.Val) ref.Val {
		if l, ok := x.(traits.Modder); ok {
			return l.Modulo(y)
		}
		return noOverload(opMod, a, b)
	})
}

// arith widens the operands as the profile has it and leaves equal kinds to cel-go.
func arith(name string, a, b ref.Val, exact func(x, y penstock.Decimal) (penstock.Decimal, error), same func(x, y ref.Val) ref.Val) ref.Val {
	a, b = plain(a), plain(b)
	da, aIsDec := a.(decimalVal)
	db, bIsDec := b.(decimalVal)
	switch {
	case aIsDec || bIsDec:
		var ok bool
		if !aIsDec {
			da, ok = widenToDecimal(a)
		} else if !bIsDec {
			db, ok = widenToDecimal(b)
		} else {
			ok = true
		}
		if !ok {
			return noOverload(name, a, b)
		}
		z, err := exact(da.d, db.d)
		if err != nil {
			return types.WrapErr(err)
		}
		return decimalVal{z}
	case isNumber(a) && isNumber(b) && a.Type() != b.Type():
		x, okA := widenToDouble(a)
		y, okB := widenToDouble(b)
		if _, hasDouble := a.(types.Double); !hasDouble {
			_, hasDouble = b.(types.Double)
			okA = okA && hasDouble // int with uint is no overload
		}
		if !okA || !okB {
			return noOverload(name, a, b)
		}
		switch name {
		case opAdd:
			return x + y
		case opSub:
			return x - y
		case opMul:
			return x * y
		case opDiv:
			return x / y
		}
		return noOverload(name, a, b)
	}
	v := same(a, b)
	if e, ok := v.(*types.Err); ok && e.Error() == "no such overload" {
		return noOverload(name, a, b)
	}
	return v
}

// widenToDecimal widens an int or uint.
func widenToDecimal(v ref.Val) (decimalVal, bool) {
	switch v := v.(type) {
	case types.Int:
		return decimalVal{penstock.DecimalFromInt(int64(v))}, true
	case types.Uint:
		return decimalVal{penstock.DecimalFromUint(uint64(v))}, true
	}
	return decimalVal{}, false
}

func widenToDouble(v ref.Val) (types.Double, bool) {
	switch v := v.(type) {
	case types.Int:
		return types.Double(v), true
	case types.Uint:
		return types.Double(v), true
	case types.Double:
		return v, true
	}
	return 0, false
}

func negVal(v ref.Val) ref.Val {
	switch x := plain(v).(type) {
	case decimalVal:
		return decimalVal{x.d.Neg()}
	case types.Int:
		return x.Negate()
	case types.Double:
		return x.Negate()
	}
	return noOverload(opNeg, v)
}

// indexVal is c[key]; of an optional it is the optional element.
func indexVal(c, key ref.Val) ref.Val {
	switch x := c.(type) {
	case *types.Optional:
		if !x.HasValue() {
			return types.OptionalNone
		}
		v, ok := find(x.GetValue(), key)
		if !ok {
			return types.OptionalNone
		}
		if types.IsError(v) {
			return v
		}
		return types.OptionalOf(v)
	case traits.Mapper:
		if v, ok := x.Find(key); ok {
			return v
		}
		return types.NewErr("no such key: %v", keyString(key))
	case traits.Lister:
		v, ok := find(c, key)
		if !ok {
			return types.NewErr("index out of range: [%v] of a list of %v", keyString(key), x.Size().Value())
		}
		return v
	}
	return noOverload(opIndex, c, key)
}

// find looks an element up; not ok where it is not there.
func find(c, key ref.Val) (ref.Val, bool) {
	switch x := c.(type) {
	case traits.Mapper:
		return x.Find(key)
	case traits.Lister:
		i, ok := wholeNumber(key)
		if !ok {
			return types.NewErr("a list is indexed by whole numbers, not by %v", keyString(key)), true
		}
		if n, ok := x.Size().(types.Int); !ok || i < 0 || i >= int64(n) {
			return nil, false
		}
		return x.Get(types.Int(i)), true
	}
	return noOverload(opIndex, c, key), true
}

// wholeNumber reads a list index: an int, or a uint or double without fraction.
func wholeNumber(v ref.Val) (int64, bool) {
	switch x := plain(v).(type) {
	case types.Int:
		return int64(x), true
	case types.Uint:
		return int64(x), x <= 1<<62
	case types.Double:
		i := int64(x)
		return i, types.Double(i) == x
	}
	return 0, false
}

// keyString shows a key in a message.
func keyString(v ref.Val) any {
	if s, ok := v.(types.String); ok {
		return string(s)
	}
	return v.Value()
}
