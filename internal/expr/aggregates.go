package expr

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/decls"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

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
