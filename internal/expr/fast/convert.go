package fast

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// conversion compiles the conversions between types, type() and dyn().
func (c *compiler) conversion(name string, xs []code) (code, bool, error) {
	if len(xs) != 1 {
		return code{}, false, nil
	}
	x := xs[0]
	switch name {
	case "dyn":
		// Nothing changes at run time: what is read is still read by its schema.
		return x, true, nil
	case "type":
		if x.typ.Kind == types.Object {
			return code{}, false, refuse("type() of an object")
		}
		return unary(x, types.DynType, func(f *penstock.Frame, v penstock.Value) penstock.Value {
			return penstock.TypeValue(ops.TypeName(v))
		}), true, nil
	case "int", "@int":
		return convert(x, types.Int, types.IntType, func(_ *penstock.Frame, v penstock.Value) penstock.Value { return ops.ToInt(v) }), true, nil
	case "uint":
		return convert(x, types.Uint, types.UintType, func(_ *penstock.Frame, v penstock.Value) penstock.Value { return ops.ToUint(v) }), true, nil
	case "double":
		return convert(x, types.Double, types.DoubleType, func(_ *penstock.Frame, v penstock.Value) penstock.Value { return ops.ToDouble(v) }), true, nil
	case "decimal":
		return convert(x, types.Decimal, types.DecimalType, func(_ *penstock.Frame, v penstock.Value) penstock.Value { return ops.ToDecimal(v) }), true, nil
	case "bool":
		return convert(x, types.Bool, types.BoolType, func(_ *penstock.Frame, v penstock.Value) penstock.Value { return ops.ToBool(v) }), true, nil
	case "bytes":
		return convert(x, types.Bytes, types.BytesType, func(_ *penstock.Frame, v penstock.Value) penstock.Value { return ops.ToBytes(v) }), true, nil
	case "string":
		return convert(x, types.String, types.StringType, func(f *penstock.Frame, v penstock.Value) penstock.Value { return ops.ToString(v, f.Arena) }), true, nil
	case "timestamp":
		return convert(x, types.Timestamp, types.TimestampType, func(_ *penstock.Frame, v penstock.Value) penstock.Value { return ops.ToTimestamp(v) }), true, nil
	case "duration":
		return convert(x, types.Duration, types.DurationType, func(_ *penstock.Frame, v penstock.Value) penstock.Value { return ops.ToDuration(v) }), true, nil
	}
	return code{}, false, nil
}

// convert makes a conversion; what has the type already, by the checker, passes as it is.
func convert(x code, from types.Kind, to *types.Type, op func(*penstock.Frame, penstock.Value) penstock.Value) code {
	if x.typ.Kind == from && !x.typ.Nullable {
		if alike(x.typ, to) {
			return x
		}
		return code{eval: x.eval, typ: to, path: x.path} // text that is read as its schema says, no longer to be copied
	}
	return unary(x, to, op)
}
