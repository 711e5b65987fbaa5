package expr

import "penstock.dev/penstock/types"

// deepLabels gathers the labels of a value and of what it holds.
func deepLabels(t *types.Type) types.Labels {
	var l types.Labels
	seen := map[*types.Type]bool{}
	var walk func(t *types.Type)
	walk = func(t *types.Type) {
		if t == nil || seen[t] {
			return
		}
		seen[t] = true
		l = l.With(t.Labels)
		walk(t.Elem)
		walk(t.Rest)
		for _, f := range t.Fields {
			walk(f.Type)
		}
		for _, v := range t.Variants {
			walk(v)
		}
	}
	walk(t)
	return l
}

// labelled gives t the labels l too.
func labelled(t *types.Type, l types.Labels) *types.Type {
	if l.IsZero() {
		return t
	}
	n := *t
	n.Labels = t.Labels.With(l)
	return &n
}
