package algebra

import (
	"maps"
	"slices"

	"penstock.dev/penstock/types"
)

// Equal reports whether a and b describe the same values with the same labels. Names and
// descriptions don't count; the order of fields does, because it is the order of output.
func Equal(a, b *types.Type) bool {
	switch {
	case a == b:
		return true
	case a.IsDyn() || b.IsDyn():
		return a.IsDyn() && b.IsDyn()
	}
	return a.Kind == b.Kind && a.Nullable == b.Nullable && a.Open == b.Open &&
		a.Layout == b.Layout && a.Date == b.Date && a.DecimalText == b.DecimalText && a.Discriminator == b.Discriminator &&
		slices.Equal(a.Enum, b.Enum) && slices.Equal(a.Tags, b.Tags) && equalLabels(a.Labels, b.Labels) &&
		equalParts(a, b)
}

func equalParts(a, b *types.Type) bool {
	if a.Kind == types.Map && !Equal(keyOf(a), keyOf(b)) {
		return false
	}
	if a.Open && !Equal(a.Rest, b.Rest) {
		return false
	}
	if (a.Elem == nil) != (b.Elem == nil) || a.Elem != nil && !Equal(a.Elem, b.Elem) {
		return false
	}
	return slices.EqualFunc(a.Fields, b.Fields, func(x, y types.Field) bool {
		return x.Name == y.Name && x.Required == y.Required && Equal(x.Type, y.Type)
	}) && slices.EqualFunc(a.Variants, b.Variants, Equal)
}

func equalLabels(a, b types.Labels) bool {
	return slices.Equal(a.Class, b.Class) && slices.Equal(a.Residency, b.Residency) &&
		a.ResidencyField == b.ResidencyField && maps.Equal(a.ResidencyValues, b.ResidencyValues)
}
