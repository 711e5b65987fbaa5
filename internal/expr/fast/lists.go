package fast

import (
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/types"
)

// lists compiles cel-go's extensions "lists" and "sets". Elements are compared and ordered by the
// profile's rules: numbers of all kinds by value.
func (c *compiler) lists(name string, xs []code) (code, bool, error) {
	if len(xs) == 0 {
		return code{}, false, nil
	}
	switch list := listReader(xs[0]); {
	case name == "slice" && len(xs) == 3:
		return list.with(xs, func(f *penstock.Frame, vs []penstock.Value) penstock.Value { return slice(vs[0], vs[1], vs[2]) }), true, nil
	case name == "sort" && len(xs) == 1:
		return list.with(xs, func(f *penstock.Frame, vs []penstock.Value) penstock.Value { return sortBy(vs[0], vs[0]) }), true, nil
	case name == "@sortByAssociatedKeys" && len(xs) == 2:
		keys := listReader(xs[1])
		return list.with(xs, func(f *penstock.Frame, vs []penstock.Value) penstock.Value { return sortBy(vs[0], keys.read(f, vs[1])) }), true, nil
	case name == "reverse" && len(xs) == 1:
		return list.with(xs, func(f *penstock.Frame, vs []penstock.Value) penstock.Value { return reverseAny(f, vs[0]) }), true, nil
	case name == "distinct" && len(xs) == 1:
		c.counts()
		return unary(xs[0], xs[0].typ, distinct), true, nil
	case name == "flatten" && (len(xs) == 1 || len(xs) == 2):
		return nary(xs, types.ListOf(types.DynType), flatten), true, nil
	case name == "lists.range" && len(xs) == 1:
		return unary(xs[0], types.ListOf(types.IntType), c.rangeOf), true, nil
	}
	if len(xs) == 2 {
		if test := setTest(name); test != nil {
			c.counts()
			return binary2(xs[0], xs[1], types.BoolType, func(f *penstock.Frame, a, b penstock.Value) penstock.Value {
				if !ops.IsList(a) || !ops.IsList(b) {
					return ops.NoOverload(name, a, b)
				}
				return test(f, a, b)
			}), true, nil
		}
	}
	return code{}, false, nil
}

// setTest finds the functions that take lists for sets.
func setTest(name string) func(f *penstock.Frame, a, b penstock.Value) penstock.Value {
	superset := func(f *penstock.Frame, a, b penstock.Value) penstock.Value { return subset(f, b, a) }
	same := func(f *penstock.Frame, a, b penstock.Value) penstock.Value {
		if v := subset(f, a, b); v != penstock.True {
			return v
		}
		return subset(f, b, a)
	}
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

func subset(f *penstock.Frame, a, b penstock.Value) penstock.Value {
	it := ops.Elems(a)
	for e, more := it.Next(); more; e, more = it.Next() {
		if v := in(f, e, b); v != penstock.True {
			return v
		}
	}
	return penstock.True
}

func intersects(f *penstock.Frame, a, b penstock.Value) penstock.Value {
	it := ops.Elems(a)
	for e, more := it.Next(); more; e, more = it.Next() {
		if v := in(f, e, b); v != penstock.False {
			return v
		}
	}
	return penstock.False
}

// typedList reads lists for functions that give the same elements again: scalars are read by their
// type, arrays and objects stay nodes, and the result has the type of the list.
type typedList struct {
	typ  *types.Type
	elem *reader
}

func listReader(x code) *typedList {
	return &typedList{typ: x.typ, elem: newReader(elemType(x.typ), x.path+"[]", "")}
}

// read gives a materialised list of a list; everything else is itself.
func (l *typedList) read(f *penstock.Frame, v penstock.Value) penstock.Value {
	if !ops.IsList(v) {
		return v
	}
	out := make([]penstock.Value, 0, ops.Len(v))
	it := ops.Elems(v)
	for e, more := it.Next(); more; e, more = it.Next() {
		out = append(out, l.elem.read(f, e))
	}
	return listOf(out)
}

// with makes the code of a function whose first argument is the list.
func (l *typedList) with(xs []code, op func(f *penstock.Frame, vs []penstock.Value) penstock.Value) code {
	lazy := append([]code(nil), xs...)
	for i := range lazy {
		lazy[i].con, lazy[i].typ = false, types.DynType // no deep reading
	}
	return nary(lazy, l.typ, func(f *penstock.Frame, vs []penstock.Value) penstock.Value {
		vs[0] = l.read(f, vs[0])
		return op(f, vs)
	})
}

func listOf(elems []penstock.Value) penstock.Value {
	return penstock.ListValue(&penstock.List{Elems: elems})
}

func slice(l, from, to penstock.Value) penstock.Value {
	if from, to = ops.Resolve(from, nil), ops.Resolve(to, nil); l.Kind() != penstock.KindList || from.Kind() != penstock.KindInt || to.Kind() != penstock.KindInt {
		return ops.NoOverload("slice", l, from, to)
	}
	a, b, all := from.Int(), to.Int(), l.List().Elems
	if a < 0 || a > b || b > int64(len(all)) {
		return ops.Errorf("cannot slice(%d, %d) a list of %d", a, b, len(all))
	}
	return listOf(all[a:b:b])
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
	out := flattenInto(f, nil, vs[0], depth)
	if len(out) > ops.MaxElems {
		return ops.TooLarge
	}
	return listOf(out)
}

func flattenInto(f *penstock.Frame, out []penstock.Value, l penstock.Value, depth int64) []penstock.Value {
	it := ops.Elems(l)
	for e, more := it.Next(); more && len(out) <= ops.MaxElems; e, more = it.Next() {
		if depth > 0 && ops.IsList(e) {
			out = flattenInto(f, out, e, depth-1)
			continue
		}
		out = append(out, ops.Resolve(e, f.Arena))
	}
	return out
}

// sortBy sorts by keys, stably.
func sortBy(l, by penstock.Value) penstock.Value {
	if l.Kind() != penstock.KindList || by.Kind() != penstock.KindList {
		return ops.NoOverload("sort", l, by)
	}
	items, keys := l.List().Elems, by.List().Elems
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
	it := ops.Elems(v)
next:
	for e, more := it.Next(); more; e, more = it.Next() {
		if e = ops.Resolve(e, f.Arena); e.Kind() == penstock.KindString {
			if _, seen := texts[e.Str()]; seen {
				continue
			}
			texts[e.Str()] = struct{}{}
		} else {
			if !spend(f, len(out)/compared+weigh(e)) {
				return errCost
			}
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
	case v.Kind() == penstock.KindList:
		out := slices.Clone(v.List().Elems)
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
