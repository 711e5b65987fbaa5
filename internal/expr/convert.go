package expr

import (
	"errors"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"penstock.dev/penstock"
	ptypes "penstock.dev/penstock/types"
)

// scalarRef gives a value that is neither container nor node as cel-go has it.
func scalarRef(v penstock.Value) ref.Val {
	switch v.Kind() {
	case penstock.KindNull:
		return types.NullValue
	case penstock.KindBool:
		return types.Bool(v.Bool())
	case penstock.KindInt:
		return types.Int(v.Int())
	case penstock.KindUint:
		return types.Uint(v.Uint())
	case penstock.KindDouble:
		if text := v.NumberText(); text != "" {
			return textDouble{types.Double(v.Double()), text}
		}
		return types.Double(v.Double())
	case penstock.KindDecimal:
		return decimalVal{v.Decimal()}
	case penstock.KindString:
		return types.String(v.Str())
	case penstock.KindBytes:
		return types.Bytes(v.Bytes())
	case penstock.KindTimestamp:
		return types.Timestamp{Time: v.Timestamp()}
	case penstock.KindDuration:
		return types.Duration{Duration: v.Duration()}
	case penstock.KindType:
		return typeNamed(v.Str())
	case penstock.KindError:
		return types.WrapErr(v.Err())
	}
	return types.NewErr("the value is absent")
}

// typeNamed finds a CEL type by its name.
func typeNamed(name string) ref.Val {
	for _, t := range []*types.Type{types.BoolType, types.BytesType, types.DoubleType, types.DurationType, types.IntType, types.ListType,
		types.MapType, types.NullType, types.StringType, types.TimestampType, types.TypeType, types.UintType, types.OptionalType, decimalType} {
		if t.TypeName() == name {
			return t
		}
	}
	return types.NewObjectType(name)
}

// toRef gives any value as cel-go has it; a node is read with type t.
func toRef(v penstock.Value, t *ptypes.Type, p *place) ref.Val {
	switch v.Kind() {
	case penstock.KindNode:
		d, n := v.Node()
		return readNode(d, n, t, p)
	case penstock.KindOptional:
		inner := v.Optional()
		if inner.IsAbsent() {
			return types.OptionalNone
		}
		if t != nil && t.Kind == ptypes.Optional {
			t = t.Elem
		}
		r := toRef(inner, t, p)
		if types.IsError(r) {
			return r
		}
		return types.OptionalOf(r)
	case penstock.KindAbsent:
		return types.OptionalNone
	case penstock.KindList:
		var elem *ptypes.Type
		if t != nil && t.Kind == ptypes.List {
			elem = t.Elem
		}
		vals := make([]ref.Val, len(v.List().Elems))
		for i, e := range v.List().Elems {
			vals[i] = toRef(e, elem, p.index(i))
		}
		return types.NewRefValList(types.DefaultTypeAdapter, vals)
	case penstock.KindMap:
		m := &orderedMap{}
		for _, e := range v.Map().Entries {
			k := toRef(e.Key, nil, nil)
			var ft *ptypes.Type
			if name, ok := k.(types.String); ok && t != nil {
				ft = (&nodeMap{t: t}).fieldType(string(name))
			}
			name, _ := k.(types.String)
			m.keys, m.vals = append(m.keys, k), append(m.vals, toRef(e.Value, ft, p.field(string(name))))
		}
		return m
	}
	return scalarRef(v)
}

// fromRef gives what cel-go computed as a value.
func fromRef(v ref.Val) penstock.Value {
	switch x := v.(type) {
	case types.Null:
		return penstock.Null
	case types.Bool:
		return penstock.BoolValue(bool(x))
	case types.Int:
		return penstock.IntValue(int64(x))
	case types.Uint:
		return penstock.UintValue(uint64(x))
	case types.Double:
		return penstock.DoubleValue(float64(x))
	case textDouble:
		return penstock.DoubleTextValue(float64(x.Double), []byte(x.text))
	case decimalVal:
		return penstock.DecimalValue(x.d)
	case types.String:
		return penstock.StringValue(string(x))
	case types.Bytes:
		return penstock.BytesValue([]byte(x))
	case types.Timestamp:
		return penstock.TimestampValue(x.Time)
	case types.Duration:
		return penstock.DurationValue(x.Duration)
	case *types.Type:
		return penstock.TypeValue(x.TypeName())
	case *types.Optional:
		if !x.HasValue() {
			return penstock.OptionalValue(penstock.Absent)
		}
		inner := fromRef(x.GetValue())
		if inner.IsError() {
			return inner
		}
		return penstock.OptionalValue(inner)
	case *nodeMap:
		return penstock.NodeValue(x.d, x.n)
	case *nodeList:
		return penstock.NodeValue(x.d, x.n)
	case *types.Err:
		return fail(x)
	case traits.Mapper:
		m := &penstock.Map{}
		for _, k := range mapKeys(x) {
			val, _ := x.Find(k)
			e := penstock.Entry{Key: fromRef(k), Value: fromRef(val)}
			if e.Value.IsError() {
				return e.Value
			}
			m.Entries = append(m.Entries, e)
		}
		return penstock.MapValue(m)
	case traits.Lister:
		l := &penstock.List{}
		for _, e := range elements(x) {
			val := fromRef(e)
			if val.IsError() {
				return val
			}
			l.Elems = append(l.Elems, val)
		}
		return penstock.ListValue(l)
	}
	return fail(errors.New("a value of type " + v.Type().TypeName() + " cannot leave an expression"))
}

// fail makes an error value: the *penstock.Error in err's chain, else one that says
// unprocessable.
func fail(err error) penstock.Value {
	var e *penstock.Error
	if errors.As(err, &e) {
		return penstock.ErrorValue(e)
	}
	return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Err: errors.New(err.Error())})
}
