// Package algebra computes with types: what two branches have in common, whether what is
// sent fits what is declared, what a type becomes when a path of it is set or removed.
// All functions are pure and leave their arguments unchanged.
package algebra

import (
	"slices"

	"penstock.dev/penstock/types"
)

// maxVariants is how many alternatives a union may have before it is dyn: more say nothing
// that a reader could act on.
const maxVariants = 8

// Unite is the type of a value that is of type a or of type b: where two branches rejoin, or
// two flows send to one channel. Never is its neutral element and dyn absorbs everything.
// Objects keep the fields of both, and one that a side lacks becomes optional; int widens to
// double and to decimal; what has nothing in common becomes a union.
func Unite(a, b *types.Type) *types.Type {
	switch {
	case a.IsDyn() || b.IsDyn():
		return types.DynType
	case a == b || b.Kind == types.Never:
		return a
	case a.Kind == types.Never:
		return b
	case Equal(a, b):
		return a
	case a.Kind == types.Null:
		return nullable(b)
	case b.Kind == types.Null:
		return nullable(a)
	case a.Kind == types.Optional || b.Kind == types.Optional:
		return types.OptionalOf(Unite(inner(a), inner(b)))
	}
	if u := uniteSame(a, b); u != nil {
		u.Nullable = a.Nullable || b.Nullable
		u.Labels = a.Labels.With(b.Labels)
		if a.Name == b.Name {
			u.Name = a.Name
		}
		return u
	}
	return union(a, b)
}

// UniteAll is Unite over ts; never for none.
func UniteAll(ts ...*types.Type) *types.Type {
	out := types.NeverType
	for _, t := range ts {
		out = Unite(out, t)
	}
	return out
}

// uniteSame unites two types of one shape, or two numbers; nil if they have none in common.
func uniteSame(a, b *types.Type) *types.Type {
	if a.Kind != b.Kind {
		return uniteNumbers(a, b)
	}
	switch a.Kind {
	case types.List:
		return &types.Type{Kind: types.List, Elem: Unite(a.Elem, b.Elem)}
	case types.Map:
		if !Equal(keyOf(a), keyOf(b)) {
			return nil
		}
		return &types.Type{Kind: types.Map, Key: a.Key, Elem: Unite(a.Elem, b.Elem)}
	case types.Object:
		return uniteObjects(a, b)
	case types.String:
		u := &types.Type{Kind: types.String}
		if len(a.Enum) > 0 && len(b.Enum) > 0 {
			u.Enum = mergeNames(a.Enum, b.Enum)
		}
		return u
	case types.Timestamp:
		if a.Layout != b.Layout {
			return nil
		}
		return &types.Type{Kind: types.Timestamp, Layout: a.Layout}
	case types.Decimal:
		if a.DecimalText != b.DecimalText {
			return nil
		}
		return &types.Type{Kind: types.Decimal, DecimalText: a.DecimalText}
	case types.Union:
		return nil
	}
	return &types.Type{Kind: a.Kind}
}

// uniteNumbers widens as the language does: int and uint to double or decimal. Double with
// decimal has no common type, as in arithmetic.
func uniteNumbers(a, b *types.Type) *types.Type {
	if !a.IsNumeric() || !b.IsNumeric() {
		return nil
	}
	whole := func(t *types.Type) bool { return t.Kind == types.Int || t.Kind == types.Uint }
	if !whole(a) {
		a, b = b, a
	}
	if !whole(a) || whole(b) {
		return nil
	}
	return &types.Type{Kind: b.Kind, DecimalText: b.DecimalText}
}

// uniteObjects keeps the fields of a, in order, then those that only b has.
func uniteObjects(a, b *types.Type) *types.Type {
	u := &types.Type{Kind: types.Object, Open: a.Open || b.Open}
	if a.Open && b.Open {
		u.Rest = Unite(a.Rest, b.Rest)
	} else if a.Open {
		u.Rest = a.Rest
	} else {
		u.Rest = b.Rest
	}
	for _, fa := range a.Fields {
		fb, both := b.Field(fa.Name)
		if both {
			fa.Type, fa.Required = Unite(fa.Type, fb.Type), fa.Required && fb.Required
		} else {
			fa = missingIn(b, fa)
		}
		u.Fields = append(u.Fields, fa)
	}
	for _, fb := range b.Fields {
		if _, both := a.Field(fb.Name); !both {
			u.Fields = append(u.Fields, missingIn(a, fb))
		}
	}
	return u
}

// missingIn is field f as it is known when the value may be one of t, which does not declare it.
func missingIn(t *types.Type, f types.Field) types.Field {
	f.Required = false
	if t.Open {
		f.Type = Unite(f.Type, t.Rest)
	}
	return f
}

// union is one of a and of b. A variant of b that has its like in a is united with it, unless a discriminator
// tells them apart.
func union(a, b *types.Type) *types.Type {
	u := &types.Type{Kind: types.Union, Nullable: a.Nullable || b.Nullable}
	tagged := a.Discriminator != "" || b.Discriminator != ""
	for _, t := range variants(a) {
		u.Nullable = u.Nullable || t.Nullable
		u.Variants = append(u.Variants, notNull(t))
	}
	for _, t := range variants(b) {
		u.Nullable = u.Nullable || t.Nullable
		t = notNull(t)
		i := slices.IndexFunc(u.Variants, func(have *types.Type) bool {
			return Equal(have, t) || !tagged && uniteSame(have, t) != nil
		})
		if i < 0 {
			u.Variants = append(u.Variants, t)
		} else {
			u.Variants[i] = Unite(u.Variants[i], t)
		}
	}
	switch n := len(u.Variants); {
	case n > maxVariants:
		return types.DynType
	case a.Kind == types.Union && n == len(a.Variants):
		u.Discriminator, u.Tags = a.Discriminator, a.Tags
	}
	return u
}

func variants(t *types.Type) []*types.Type {
	if t.Kind == types.Union {
		return slices.Clone(t.Variants)
	}
	return []*types.Type{t}
}

func nullable(t *types.Type) *types.Type {
	if t.Nullable || t.Kind == types.Null || t.IsDyn() {
		return t
	}
	c := *t
	c.Nullable = true
	return &c
}

func notNull(t *types.Type) *types.Type {
	if !t.Nullable {
		return t
	}
	c := *t
	c.Nullable = false
	return &c
}

// inner is what an optional holds; any other type itself.
func inner(t *types.Type) *types.Type {
	if t.Kind == types.Optional {
		return t.Elem
	}
	return t
}

func keyOf(t *types.Type) *types.Type {
	if t.Key == nil {
		return types.StringType
	}
	return t.Key
}

// mergeNames is a followed by what only b has.
func mergeNames(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
