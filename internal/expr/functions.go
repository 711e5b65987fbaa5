package expr

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// sortable are the types that sort and sortBy take.
var sortable = []*cel.Type{cel.IntType, cel.UintType, cel.DoubleType, decimalType, cel.BoolType, cel.DurationType, cel.TimestampType, cel.StringType, cel.BytesType}

// addedFunctions declares what the profile adds to cel-go, and what it implements anew
// because of decimals and of the order of map entries.
func addedFunctions() []cel.EnvOption {
	a, k, v := cel.TypeParamType("A"), cel.TypeParamType("K"), cel.TypeParamType("V")
	list, m := cel.ListType(a), cel.MapType(k, v)
	s, n, dyn := cel.StringType, cel.IntType, cel.DynType
	out := []cel.EnvOption{
		cel.Function("decimal",
			cel.Overload("decimal_decimal", []*cel.Type{decimalType}, decimalType),
			cel.Overload("decimal_int", []*cel.Type{n}, decimalType),
			cel.Overload("decimal_uint", []*cel.Type{cel.UintType}, decimalType),
			cel.Overload("decimal_double", []*cel.Type{cel.DoubleType}, decimalType),
			cel.Overload("decimal_string", []*cel.Type{s}, decimalType),
			cel.SingletonUnaryBinding(toDecimal)),
		cel.Function("round",
			cel.Overload("round_decimal_int", []*cel.Type{decimalType, n}, decimalType, cel.BinaryBinding(roundDecimal))),
		cel.Function("@groupBy", cel.Overload("@groupBy", []*cel.Type{list, cel.ListType(k)}, cel.ListType(dyn), cel.BinaryBinding(groupVals))),
		cel.Function("mask",
			cel.Overload("mask_string", []*cel.Type{s}, s, cel.UnaryBinding(func(v ref.Val) ref.Val { return maskText(v, types.IntZero) })),
			cel.Overload("mask_string_int", []*cel.Type{s, n}, s, cel.BinaryBinding(maskText))),
		cel.Function("hash",
			cel.Overload("hash_string", []*cel.Type{s}, s, cel.UnaryBinding(func(v ref.Val) ref.Val { return hashText(v, types.String("sha256")) })),
			cel.Overload("hash_bytes", []*cel.Type{cel.BytesType}, s, cel.UnaryBinding(func(v ref.Val) ref.Val { return hashText(v, types.String("sha256")) })),
			cel.Overload("hash_string_string", []*cel.Type{s, s}, s, cel.BinaryBinding(hashText)),
			cel.Overload("hash_bytes_string", []*cel.Type{cel.BytesType, s}, s, cel.BinaryBinding(hashText))),
		cel.Function("uuid", cel.Overload("uuid", nil, s, cel.LateFunctionBinding())),
		cel.Function("raw", cel.Overload("raw", []*cel.Type{a}, a, cel.UnaryBinding(func(v ref.Val) ref.Val { return v }))),
		cel.Function("@plain", cel.Overload("@plain", []*cel.Type{dyn}, dyn, cel.UnaryBinding(deepPlain))),
		cel.Function("@in",
			cel.Overload("@in_list", []*cel.Type{a, cel.ListType(k)}, cel.BoolType),
			cel.Overload("@in_map", []*cel.Type{a, m}, cel.BoolType),
			cel.SingletonBinaryBinding(inVal)),
		cel.Function("distinct", cel.MemberOverload("list_distinct", []*cel.Type{list}, list, cel.UnaryBinding(distinct))),
		cel.Function("json.encode", cel.Overload("json_encode_dyn", []*cel.Type{dyn}, s, cel.UnaryBinding(jsonEncode))),
		cel.Function("json.parse", cel.Overload("json_parse_string", []*cel.Type{s}, cel.OptionalType(dyn), cel.UnaryBinding(jsonParse))),
		cel.Function("cel.@mapInsert",
			cel.Overload("@mapInsert_map_key_value", []*cel.Type{m, k, v}, m, cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				return insertVal(args[0].(traits.Mapper), args[1], args[2])
			})),
			cel.Overload("@mapInsert_map_map", []*cel.Type{m, m}, m, cel.BinaryBinding(insertAll))),
	}
	for name, to := range map[string]*cel.Type{"int": n, "uint": cel.UintType, "double": cel.DoubleType, "string": s} {
		out = append(out, cel.Function(name, cel.Overload("decimal_to_"+name, []*cel.Type{decimalType}, to,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return v.ConvertToType(to) }))))
	}
	for name, fn := range map[string]func(ref.Val) ref.Val{"math.abs": absDecimal, "math.ceil": ceilDecimal, "math.floor": floorDecimal,
		"math.round": roundHalfUp, "math.trunc": truncDecimal} {
		out = append(out, cel.Function(name, cel.Overload(name+"_decimal", []*cel.Type{decimalType}, decimalType, cel.UnaryBinding(fn))))
	}
	out = append(out, cel.Function("math.sign", cel.Overload("math.sign_decimal", []*cel.Type{decimalType}, n,
		cel.UnaryBinding(func(v ref.Val) ref.Val { return types.Int(v.(decimalVal).d.Sign()) }))))
	out = append(out, aggregates()...)
	sorts, sortsBy := []cel.FunctionOpt{cel.SingletonUnaryBinding(func(l ref.Val) ref.Val { return sortVals(l, l) })}, []cel.FunctionOpt{cel.SingletonBinaryBinding(sortVals)}
	for _, t := range sortable {
		sorts = append(sorts, cel.MemberOverload("list_"+t.TypeName()+"_sort", []*cel.Type{cel.ListType(t)}, cel.ListType(t)))
		sortsBy = append(sortsBy, cel.MemberOverload("list_"+t.TypeName()+"_sortByAssociatedKeys", []*cel.Type{list, cel.ListType(t)}, list))
	}
	out = append(out, cel.Function("sort", sorts...), cel.Function("@sortByAssociatedKeys", sortsBy...))
	for name, fn := range map[string]func(a, b traits.Lister) bool{
		"hasOnly": subset, "hasAny": intersects, "hasAll": superset, "hasExactly": func(a, b traits.Lister) bool { return subset(a, b) && superset(a, b) },
	} {
		out = append(out, cel.Function(name, cel.MemberOverload("list_"+name+"_list", []*cel.Type{list, list}, cel.BoolType, cel.BinaryBinding(onLists(fn)))))
	}
	for name, fn := range map[string]func(a, b traits.Lister) bool{
		"contains": superset, "intersects": intersects, "equivalent": func(a, b traits.Lister) bool { return subset(a, b) && superset(a, b) },
	} {
		out = append(out, cel.Function("sets."+name, cel.Overload("list_sets_"+name+"_list", []*cel.Type{list, list}, cel.BoolType, cel.BinaryBinding(onLists(fn)))))
	}
	return out
}

// replaced are the functions of cel-go's libraries that addedFunctions implements anew.
var replaced = []string{"sort", "@sortByAssociatedKeys", "distinct", "json.encode", "json.parse", "yaml.encode", "yaml.parse", "cel.@mapInsert",
	"hasOnly", "hasAny", "hasAll", "hasExactly", "sets.contains", "sets.intersects", "sets.equivalent"}
