package schema

import (
	"slices"

	"penstock.dev/penstock/types"
)

// meet is the type of a value that is of type a and of type b: allOf, a $ref with
// keywords beside it, alternatives within a schema that says something itself.
func meet(a, b *types.Type) *types.Type {
	switch {
	case a.IsDyn():
		return labelled(b, a.Labels)
	case b.IsDyn():
		return labelled(a, b.Labels)
	case a.Kind == types.Union:
		return meetVariants(a, b)
	case b.Kind == types.Union:
		return meetVariants(b, a)
	case a.Kind == types.Map && b.Kind == types.Object:
		return meet(b, a)
	case a.Kind == types.Object && b.Kind == types.Map:
		n := *a
		n.Open, n.Rest = true, b.Elem
		return labelled(&n, b.Labels)
	case a.Kind != b.Kind:
		// An int is a number, a decimal is one too: the narrower of the two.
		if a.IsNumeric() && b.IsNumeric() && b.Kind != types.Double {
			return labelled(b, a.Labels)
		}
		return labelled(a, b.Labels)
	}
	n := *a
	n.Nullable = a.Nullable && b.Nullable
	n.Labels = a.Labels.With(b.Labels)
	if n.Name == "" {
		n.Name = b.Name
	}
	switch a.Kind {
	case types.List, types.Map:
		n.Elem = meet(a.Elem, b.Elem)
	case types.String:
		if len(b.Enum) > 0 {
			n.Enum = b.Enum
		}
	case types.Timestamp:
		if n.Layout == "" {
			n.Layout = b.Layout
		}
		n.Date = a.Date || b.Date
	case types.Object:
		meetObjects(&n, a, b)
	}
	return &n
}

func meetObjects(n, a, b *types.Type) {
	n.Fields = slices.Clone(a.Fields)
	for _, f := range b.Fields {
		i := slices.IndexFunc(n.Fields, func(g types.Field) bool { return g.Name == f.Name })
		if i < 0 {
			n.Fields = append(n.Fields, f)
			continue
		}
		g := &n.Fields[i]
		g.Type, g.Required = meet(g.Type, f.Type), g.Required || f.Required
		if g.Doc == "" {
			g.Doc = f.Doc
		}
	}
	// An open side without fields ({required: […]}) says nothing of the rest.
	switch {
	case len(a.Fields) == 0 && a.Open && a.Rest == nil:
		n.Open, n.Rest = b.Open, b.Rest
	case len(b.Fields) == 0 && b.Open && b.Rest == nil:
		n.Open, n.Rest = a.Open, a.Rest
	default:
		n.Open = a.Open || b.Open
		n.Rest = a.Rest
		if n.Rest == nil {
			n.Rest = b.Rest
		}
	}
	if len(n.Fields) > 0 && !a.Open && !b.Open {
		n.Open, n.Rest = false, nil
	}
}

func meetVariants(u, t *types.Type) *types.Type {
	n := *u
	n.Variants = nil
	for _, v := range u.Variants {
		n.Variants = append(n.Variants, meet(t, v))
	}
	n.Labels = u.Labels.With(t.Labels)
	return &n
}

// mayHave adds the fields that a condition may bring (then, else): optional ones.
func mayHave(t, extra *types.Type) *types.Type {
	if t.Kind != types.Object || extra.Kind != types.Object {
		return t
	}
	n := *t
	n.Fields = slices.Clone(t.Fields)
	for _, f := range extra.Fields {
		if _, ok := t.Field(f.Name); !ok {
			f.Required = false
			n.Fields = append(n.Fields, f)
		}
	}
	return &n
}

// require marks fields that are there, whoever declared them.
func require(t *types.Type, names []string) *types.Type {
	if t.Kind != types.Object {
		return t
	}
	n := *t
	n.Fields = slices.Clone(t.Fields)
	changed := false
	for i := range n.Fields {
		if !n.Fields[i].Required && slices.Contains(names, n.Fields[i].Name) {
			n.Fields[i].Required, changed = true, true
		}
	}
	if !changed {
		return t
	}
	return &n
}

func labelled(t *types.Type, l types.Labels) *types.Type {
	if l.IsZero() {
		return t
	}
	n := *t
	n.Labels = t.Labels.With(l)
	return &n
}
