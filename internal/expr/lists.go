package expr

import (
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

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
	m := target
	from := update.(traits.Mapper)
	for _, k := range mapKeys(from) {
		if m = insertVal(m.(traits.Mapper), k, from.Get(k)); types.IsError(m) {
			return m
		}
	}
	return m
}
