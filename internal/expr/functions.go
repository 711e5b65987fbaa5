package expr

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
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
	for name, fn := range map[string]func(ref.Val) ref.Val{"int": nil, "uint": nil, "double": nil, "string": nil,
		"math.abs": absDecimal, "math.ceil": ceilDecimal, "math.floor": floorDecimal, "math.round": roundHalfUp, "math.trunc": truncDecimal} {
		to := map[string]*cel.Type{"int": n, "uint": cel.UintType, "double": cel.DoubleType, "string": s}[name]
		if fn == nil {
			fn = func(v ref.Val) ref.Val { return v.ConvertToType(to) }
		} else {
			to = decimalType
		}
		id := map[bool]string{true: "decimal_to_" + name, false: name + "_decimal"}[to != decimalType]
		out = append(out, cel.Function(name, cel.Overload(id, []*cel.Type{decimalType}, to, cel.UnaryBinding(fn))))
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
	for name, factor := range map[string]func(a, b traits.Lister) bool{
		"hasOnly": subset, "hasAny": intersects, "hasAll": superset, "hasExactly": func(a, b traits.Lister) bool { return subset(a, b) && superset(a, b) },
	} {
		out = append(out, cel.Function(name, cel.MemberOverload("list_"+name+"_list", []*cel.Type{list, list}, cel.BoolType, cel.BinaryBinding(onLists(factor)))))
	}
	for name, factor := range map[string]func(a, b traits.Lister) bool{
		"contains": superset, "intersects": intersects, "equivalent": func(a, b traits.Lister) bool { return subset(a, b) && superset(a, b) },
	} {
		out = append(out, cel.Function("sets."+name, cel.Overload("list_sets_"+name+"_list", []*cel.Type{list, list}, cel.BoolType, cel.BinaryBinding(onLists(factor)))))
	}
	return out
}

// replaced are the functions of cel-go's libraries that addedFunctions implements anew.
var replaced = []string{"sort", "@sortByAssociatedKeys", "distinct", "json.encode", "json.parse", "yaml.encode", "yaml.parse", "cel.@mapInsert",
	"hasOnly", "hasAny", "hasAll", "hasExactly", "sets.contains", "sets.intersects", "sets.equivalent"}

// aggregates declares sum, avg, min and max, as members of lists and as functions.
func aggregates() []cel.EnvOption {
	type over struct{ elem, result *cel.Type }
	i, u, d, dec := cel.IntType, cel.UintType, cel.DoubleType, decimalType
	zeros := map[*cel.Type]ref.Val{i: types.IntZero, u: types.Uint(0), d: types.Double(0), dec: decimalVal{}, cel.DurationType: types.Duration{}}
	same := func(ts ...*cel.Type) []over {
		var out []over
		for _, t := range ts {
			out = append(out, over{t, t})
		}
		return out
	}
	var out []cel.EnvOption
	for name, f := range map[string]struct {
		overs []over
		fn    func(l, zero ref.Val) ref.Val
	}{
		"sum": {same(i, u, d, dec, cel.DurationType), sumVals},
		"avg": {[]over{{i, d}, {u, d}, {d, d}, {dec, dec}}, func(l, _ ref.Val) ref.Val { return avgVals(l) }},
		"min": {same(sortable...), func(l, _ ref.Val) ref.Val { return extreme("min", l, -1) }},
		"max": {same(sortable...), func(l, _ ref.Val) ref.Val { return extreme("max", l, 1) }},
	} {
		var opts []cel.FunctionOpt
		for _, o := range f.overs {
			args := []*cel.Type{cel.ListType(o.elem)}
			// The element type that the check found decides what the sum of nothing is.
			bind := cel.UnaryBinding(func(l ref.Val) ref.Val { return f.fn(l, zeros[o.elem]) })
			opts = append(opts, cel.MemberOverload("list_"+word(o.elem)+"_"+name, args, o.result, bind), cel.Overload(name+"_list_"+word(o.elem), args, o.result, bind))
		}
		out = append(out, cel.Function(name, append(opts, decls.DisableTypeGuards(true))...))
	}
	return out
}

func toDecimal(v ref.Val) ref.Val {
	var text string
	switch x := v.(type) {
	case decimalVal:
		return x
	case types.Int, types.Uint:
		d, _ := widenToDecimal(x)
		return d
	case textDouble:
		text = x.text
	case types.Double:
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return types.NewErr("NaN and infinity are no decimals")
		}
		text = strconv.FormatFloat(float64(x), 'g', -1, 64)
	case types.String:
		text = string(x)
	default:
		return noOverload("decimal", v)
	}
	d, err := penstock.ParseDecimal(text)
	if err != nil {
		return types.NewErr("decimal(%.40q): %w", text, err)
	}
	return decimalVal{d}
}

func roundDecimal(v, places ref.Val) ref.Val {
	n := places.(types.Int)
	if n > penstock.MaxDecimalDigits || n < -penstock.MaxDecimalDigits {
		return types.WrapErr(penstock.ErrDecimalLimit)
	}
	d, err := v.(decimalVal).d.Round(int(n))
	if err != nil {
		return types.WrapErr(err)
	}
	return decimalVal{d}
}

func absDecimal(v ref.Val) ref.Val   { return decimalVal{v.(decimalVal).d.Abs()} }
func truncDecimal(v ref.Val) ref.Val { return decimalVal{v.(decimalVal).d.Trunc()} }

func floorDecimal(v ref.Val) ref.Val { return step(v.(decimalVal).d, -1) }
func ceilDecimal(v ref.Val) ref.Val  { return step(v.(decimalVal).d, 1) }

// step cuts d and goes one on in the direction of sign if that cut anything on that side.
func step(d penstock.Decimal, sign int) ref.Val {
	t := d.Trunc()
	if d.Cmp(t) == sign {
		var err error
		if t, err = t.Add(penstock.DecimalFromInt(int64(sign))); err != nil {
			return types.WrapErr(err)
		}
	}
	return decimalVal{t}
}

// roundHalfUp rounds half away from zero, as math.round does with doubles.
func roundHalfUp(v ref.Val) ref.Val {
	d := v.(decimalVal).d
	half, err := penstock.ParseDecimal("0.5")
	if err != nil {
		return types.WrapErr(err)
	}
	if d.Sign() < 0 {
		half = half.Neg()
	}
	if d, err = d.Add(half); err != nil {
		return types.WrapErr(err)
	}
	return decimalVal{d.Trunc()}
}

// groupVals gathers the elements of a list under their keys, in the order in which the keys
// first appear: a list of {key, items}.
func groupVals(l, ks ref.Val) ref.Val {
	items, keys := elements(l.(traits.Lister)), elements(ks.(traits.Lister))
	if len(items) != len(keys) {
		return types.NewErr("groupBy needs a list")
	}
	var found []ref.Val
	groups := map[int][]ref.Val{}
	for i, k := range keys {
		if types.IsUnknownOrError(k) {
			return k
		}
		at := slices.IndexFunc(found, func(o ref.Val) bool { return equalVals(o, k) })
		if at < 0 {
			at = len(found)
			found = append(found, k)
		}
		groups[at] = append(groups[at], items[i])
	}
	out := make([]ref.Val, len(found))
	for i, k := range found {
		out[i] = &orderedMap{keys: []ref.Val{types.String("key"), types.String("items")},
			vals: []ref.Val{k, types.NewRefValList(types.DefaultTypeAdapter, groups[i])}}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, out)
}

func sumVals(l, zero ref.Val) ref.Val {
	sum := zero
	for i, e := range elements(l.(traits.Lister)) {
		if i == 0 {
			if _, ok := e.(types.String); ok || !isNumber(plain(e)) && e.Type() != types.DurationType {
				return noOverload("sum", e)
			}
			sum = plain(e)
			continue
		}
		if sum = addVals(sum, e); types.IsUnknownOrError(sum) {
			return sum
		}
	}
	return sum
}

func avgVals(l ref.Val) ref.Val {
	n, _ := l.(traits.Lister).Size().(types.Int)
	if n == 0 {
		return types.NewErr("avg of an empty list")
	}
	sum := sumVals(l, types.IntZero)
	switch x := sum.(type) {
	case decimalVal:
		return divVals(x, n)
	case types.Int, types.Uint, types.Double:
		d, _ := widenToDouble(x)
		return d / types.Double(n)
	}
	return noOverload("avg", sum)
}

// extreme finds the least (sign -1) or greatest element; the first of equal ones.
func extreme(name string, l ref.Val, sign int) ref.Val {
	var best ref.Val
	for _, e := range elements(l.(traits.Lister)) {
		if types.IsUnknownOrError(e) {
			return e
		}
		if best == nil {
			best = e
			if _, ok := compareVals(e, e); !ok {
				return noOverload(name, e)
			}
			continue
		}
		c, ok := compareVals(e, best)
		if !ok {
			return noOverload(name, e, best)
		}
		if c == sign {
			best = e
		}
	}
	if best == nil {
		return types.NewErr("%s of an empty list", name)
	}
	return best
}

// compareVals orders two values; not ok where they have no order.
func compareVals(a, b ref.Val) (int, bool) {
	a, b = plain(a), plain(b)
	if isNumber(a) && isNumber(b) {
		return compareNumbers(a, b)
	}
	x, ok := a.(traits.Comparer)
	if !ok || a.Type() != b.Type() {
		return 0, false
	}
	c, ok := x.Compare(b).(types.Int)
	return int(c), ok
}

// sortVals sorts a list by keys, keeping the order of equals.
func sortVals(l, ks ref.Val) ref.Val {
	items, keys := elements(l.(traits.Lister)), elements(ks.(traits.Lister))
	if len(items) != len(keys) {
		return types.NewErr("sortBy needs a list")
	}
	order := make([]int, len(items))
	for i, k := range keys {
		order[i] = i
		if types.IsUnknownOrError(k) {
			return k
		}
		if _, ok := compareVals(keys[0], k); !ok {
			return types.NewErr("sort: %s and %s have no order", keys[0].Type().TypeName(), k.Type().TypeName())
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		c, _ := compareVals(keys[i], keys[j])
		return c
	})
	out := make([]ref.Val, len(items))
	for i, at := range order {
		out[i] = items[at]
	}
	return types.NewRefValList(types.DefaultTypeAdapter, out)
}

func inVal(v, c ref.Val) ref.Val {
	switch x := c.(type) {
	case traits.Mapper:
		_, ok := x.Find(v)
		return types.Bool(ok)
	case traits.Lister:
		return containsVal(x, v)
	}
	return noOverload(opIn, v, c)
}

func distinct(l ref.Val) ref.Val {
	var out []ref.Val
	for _, e := range elements(l.(traits.Lister)) {
		if !slices.ContainsFunc(out, func(o ref.Val) bool { return equalVals(o, e) }) {
			out = append(out, e)
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, out)
}

func onLists(fn func(a, b traits.Lister) bool) func(a, b ref.Val) ref.Val {
	return func(a, b ref.Val) ref.Val { return types.Bool(fn(a.(traits.Lister), b.(traits.Lister))) }
}

func superset(a, b traits.Lister) bool { return subset(b, a) }

func subset(a, b traits.Lister) bool {
	for _, e := range elements(a) {
		if containsVal(b, e) != types.True {
			return false
		}
	}
	return true
}

func intersects(a, b traits.Lister) bool {
	for _, e := range elements(a) {
		if containsVal(b, e) == types.True {
			return true
		}
	}
	return false
}

func insertAll(target, update ref.Val) ref.Val {
	var m ref.Val = target
	from := update.(traits.Mapper)
	for _, k := range mapKeys(from) {
		if m = insertVal(m.(traits.Mapper), k, from.Get(k)); types.IsError(m) {
			return m
		}
	}
	return m
}

// maskText hides a text but for its last keep characters, never more than half of it.
func maskText(v, keep ref.Val) ref.Val {
	s, n := string(v.(types.String)), int64(keep.(types.Int))
	if n < 0 {
		return types.NewErr("mask: cannot keep %d characters", n)
	}
	n = min(n, int64(utf8.RuneCountInString(s)/2))
	at := len(s)
	for ; n > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	return types.String("****" + s[at:])
}

func hashText(v, algorithm ref.Val) ref.Val {
	var b []byte
	switch x := v.(type) {
	case types.String:
		b = []byte(x)
	case types.Bytes:
		b = x
	}
	switch algorithm {
	case types.String("sha256"):
		sum := sha256.Sum256(b)
		return types.String(hex.EncodeToString(sum[:]))
	case types.String("sha512"):
		sum := sha512.Sum512(b)
		return types.String(hex.EncodeToString(sum[:]))
	}
	return types.NewErr("hash knows sha256 and sha512, not %q", algorithm.Value())
}

func jsonEncode(v ref.Val) ref.Val {
	b, err := fromRef(v).AppendJSON(nil)
	if err != nil {
		return types.WrapErr(err)
	}
	return types.String(b)
}

// jsonParse reads a JSON text; what is none gives optional.none().
func jsonParse(v ref.Val) ref.Val {
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(v.(types.String)))
	if d.Parse(jsonview.Limits{}) != nil {
		return types.OptionalNone
	}
	r := readDyn(d, 0, nil)
	if types.IsError(r) {
		return r
	}
	return types.OptionalOf(r)
}
