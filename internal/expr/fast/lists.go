package fast

import (
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// lists compiles cel-go's extensions "lists" and "sets". Elements are compared and ordered by the
// profile's rules: numbers of all kinds by value.
func (c *compiler) lists(name string, xs []code, t *types.Type) (code, bool, error) {
	switch {
	case name == "slice" && len(xs) == 3:
		return nary(xs, t, slice), true, nil
	case name == "flatten" && (len(xs) == 1 || len(xs) == 2):
		return nary(xs, t, flatten), true, nil
	case name == "sort" && len(xs) == 1:
		return unary(xs[0], t, func(f *penstock.Frame, v penstock.Value) penstock.Value { return sortBy(f, v, v) }), true, nil
	case name == "@sortByAssociatedKeys" && len(xs) == 2:
		return binary2(xs[0], xs[1], t, sortBy), true, nil
	case name == "distinct" && len(xs) == 1:
		return unary(xs[0], t, distinct), true, nil
	case name == "reverse" && len(xs) == 1:
		return unary(xs[0], t, reverseAny), true, nil
	case name == "lists.range" && len(xs) == 1:
		return unary(xs[0], t, c.rangeOf), true, nil
	}
	if len(xs) == 2 {
		if test := setTest(name); test != nil {
			return binary2(xs[0], xs[1], types.BoolType, func(_ *penstock.Frame, a, b penstock.Value) penstock.Value {
				if !ops.IsList(a) || !ops.IsList(b) {
					return ops.NoOverload(name, a, b)
				}
				return penstock.BoolValue(test(a, b))
			}), true, nil
		}
	}
	return code{}, false, nil
}

// setTest finds the functions that take lists for sets.
func setTest(name string) func(a, b penstock.Value) bool {
	superset := func(a, b penstock.Value) bool { return subset(b, a) }
	same := func(a, b penstock.Value) bool { return subset(a, b) && subset(b, a) }
	switch name {
	case "sets.contains", "hasAll":
		return superset
	case "sets.intersects", "hasAny":
		return intersects
	case "sets.equivalent", "hasExactly":
		return same
	case "hasOnly":
		return subset
	}
	return nil
}

func subset(a, b penstock.Value) bool {
	it := ops.Elems(a)
	for e, more := it.Next(); more; e, more = it.Next() {
		if !ops.In(e, b).Bool() {
			return false
		}
	}
	return true
}

func intersects(a, b penstock.Value) bool {
	it := ops.Elems(a)
	for e, more := it.Next(); more; e, more = it.Next() {
		if ops.In(e, b).Bool() {
			return true
		}
	}
	return false
}

// elements lists a list, its scalars read.
func elements(f *penstock.Frame, l penstock.Value) []penstock.Value {
	out := make([]penstock.Value, 0, ops.Len(l))
	it := ops.Elems(l)
	for e, more := it.Next(); more; e, more = it.Next() {
		out = append(out, ops.Resolve(e, f.Arena))
	}
	return out
}

func listOf(elems []penstock.Value) penstock.Value {
	return penstock.ListValue(&penstock.List{Elems: elems})
}

func slice(f *penstock.Frame, vs []penstock.Value) penstock.Value {
	from, to := ops.Resolve(vs[1], nil), ops.Resolve(vs[2], nil)
	if !ops.IsList(vs[0]) || from.Kind() != penstock.KindInt || to.Kind() != penstock.KindInt {
		return ops.NoOverload("slice", vs...)
	}
	a, b, n := from.Int(), to.Int(), int64(ops.Len(vs[0]))
	if a < 0 || a > b || b > n {
		return ops.Errorf("cannot slice(%d, %d) a list of %d", a, b, n)
	}
	return listOf(elements(f, vs[0])[a:b:b])
}

func flatten(f *penstock.Frame, vs []penstock.Value) penstock.Value {
	depth := int64(1)
	if len(vs) == 2 {
		d := ops.Resolve(vs[1], nil)
		if d.Kind() != penstock.KindInt {
			return ops.NoOverload("flatten", vs...)
		}
		depth = d.Int()
	}
	if !ops.IsList(vs[0]) {
		return ops.NoOverload("flatten", vs...)
	}
	if depth < 0 {
		return ops.Errorf("flatten to a negative depth: %d", depth)
	}
	return listOf(flattenInto(f, nil, vs[0], depth))
}

func flattenInto(f *penstock.Frame, out []penstock.Value, l penstock.Value, depth int64) []penstock.Value {
	it := ops.Elems(l)
	for e, more := it.Next(); more; e, more = it.Next() {
		if depth > 0 && ops.IsList(e) {
			out = flattenInto(f, out, e, depth-1)
			continue
		}
		out = append(out, ops.Resolve(e, f.Arena))
	}
	return out
}

// sortBy sorts by keys, stably.
func sortBy(f *penstock.Frame, l, by penstock.Value) penstock.Value {
	if !ops.IsList(l) || !ops.IsList(by) {
		return ops.NoOverload("sort", l, by)
	}
	items, keys := elements(f, l), elements(f, by)
	if len(items) != len(keys) {
		return ops.Errorf("sortBy needs a key for each element")
	}
	order := make([]int, len(items))
	for i, k := range keys {
		order[i] = i
		if _, bad := ops.Compare(keys[0], k); bad.IsError() {
			return ops.NoOverload("sort", keys[0], k)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		c, _ := ops.Compare(keys[i], keys[j])
		return c
	})
	out := make([]penstock.Value, len(items))
	for i, at := range order {
		out[i] = items[at]
	}
	return listOf(out)
}

func distinct(f *penstock.Frame, v penstock.Value) penstock.Value {
	if !ops.IsList(v) {
		return ops.NoOverload("distinct", v)
	}
	var out []penstock.Value
	texts := map[string]struct{}{}
next:
	for _, e := range elements(f, v) {
		if e.Kind() == penstock.KindString {
			if _, seen := texts[e.Str()]; seen {
				continue
			}
			texts[e.Str()] = struct{}{}
		} else {
			for _, o := range out {
				if ops.Equal(o, e) {
					continue next
				}
			}
		}
		out = append(out, e)
	}
	return listOf(out)
}

// reverseAny is reverse of what may be a list or a string.
func reverseAny(f *penstock.Frame, v penstock.Value) penstock.Value {
	v = ops.Resolve(v, f.Arena)
	switch {
	case v.Kind() == penstock.KindString:
		return reversed(f, v.Str())
	case ops.IsList(v):
		out := elements(f, v)
		slices.Reverse(out)
		return listOf(out)
	}
	return ops.NoOverload("reverse", v)
}

// rangeOf is lists.range(n): 0 to n−1, as many as the cost limit allows at most.
func (c *compiler) rangeOf(_ *penstock.Frame, v penstock.Value) penstock.Value {
	v = ops.Resolve(v, nil)
	switch {
	case v.Kind() != penstock.KindInt:
		return ops.NoOverload("lists.range", v)
	case v.Int() < 0:
		return ops.Errorf("lists.range of a negative number: %d", v.Int())
	case v.Int() > c.in.CostLimit:
		return errCost
	}
	out := make([]penstock.Value, v.Int())
	for i := range out {
		out[i] = penstock.IntValue(int64(i))
	}
	return listOf(out)
}
