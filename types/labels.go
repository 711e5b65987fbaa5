package types

import "slices"

// With unites labels: what is made of both bears the labels of both.
func (l Labels) With(o Labels) Labels {
	out := Labels{Class: uniteNames(l.Class, o.Class), Residency: uniteNames(l.Residency, o.Residency),
		ResidencyField: l.ResidencyField, ResidencyValues: l.ResidencyValues}
	if out.ResidencyField == "" {
		out.ResidencyField, out.ResidencyValues = o.ResidencyField, o.ResidencyValues
	}
	return out
}

// uniteNames is a followed by what only b has.
func uniteNames(a, b []string) []string {
	if len(a) == 0 {
		return b
	}
	out := slices.Clip(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
