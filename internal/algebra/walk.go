package algebra

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// Walk visits t and every type below it with its path; the index −1 stands for every element of a list
// and every value of a map. Visit says whether to go below.
func Walk(t *types.Type, visit func(path []penstock.PathStep, t *types.Type) bool) {
	walk(nil, t, visit)
}

func walk(path []penstock.PathStep, t *types.Type, visit func([]penstock.PathStep, *types.Type) bool) {
	if t = inner(orDyn(t)); !visit(path, t) {
		return
	}
	below := path[:len(path):len(path)]
	for _, f := range t.Fields {
		walk(append(below, penstock.PathStep{Name: f.Name}), f.Type, visit)
	}
	if t.Kind == types.List || t.Kind == types.Map {
		walk(append(below, penstock.PathStep{Index: -1}), t.Elem, visit)
	}
	for _, v := range t.Variants {
		walk(path, v, visit)
	}
}

// Masked is the type of what the mask step leaves of a t: text stays text, any other scalar becomes null, and
// shapes stay.
func Masked(t *types.Type) *types.Type {
	switch t.Kind {
	case types.Dyn, types.Never:
		return t
	case types.String, types.Bytes, types.Timestamp, types.Duration:
		return &types.Type{Kind: types.String, Nullable: t.Nullable}
	case types.List, types.Map, types.Optional:
		c := *t
		c.Elem = Masked(orDyn(t.Elem))
		return &c
	case types.Object:
		c := *t
		c.Name, c.Fields = "", append([]types.Field(nil), t.Fields...)
		for i := range c.Fields {
			c.Fields[i].Type = Masked(c.Fields[i].Type)
		}
		if c.Rest != nil {
			c.Rest = Masked(c.Rest)
		}
		return &c
	case types.Union:
		out := types.NeverType
		for _, v := range t.Variants {
			out = Unite(out, Masked(v))
		}
		return out
	case types.Decimal:
		if t.DecimalText {
			return &types.Type{Kind: types.String, Nullable: t.Nullable}
		}
	}
	return types.NullType
}

// Refine is the type of a value of type t that was found to be valid for type to as well: to's view of what
// it declares, and what t knows beyond it.
func Refine(t, to *types.Type) *types.Type {
	t = inner(orDyn(t))
	if t.Kind != types.Object || to.Kind != types.Object {
		return to
	}
	c := *to
	c.Fields = append([]types.Field(nil), to.Fields...)
	for _, f := range t.Fields {
		if _, declared := to.Field(f.Name); !declared {
			c.Fields = append(c.Fields, f)
			c.Name = ""
		}
	}
	return &c
}
