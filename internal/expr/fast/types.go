package fast

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// coerced reports whether values of type t, or values within them, are something else in
// the document's text than a dyn reading gives.
func coerced(t *types.Type) bool { return coercedIn(t, map[*types.Type]bool{}) }

// coercedIn goes through a type that may contain itself.
func coercedIn(t *types.Type, seen map[*types.Type]bool) bool {
	if t == nil || seen[t] {
		return false
	}
	switch t.Kind {
	case types.Timestamp, types.Duration, types.Bytes, types.Decimal, types.Uint, types.Double:
		return true
	case types.List, types.Map, types.Optional:
		seen[t] = true
		return coercedIn(t.Elem, seen)
	case types.Object:
		seen[t] = true
		for i := range t.Fields {
			if coercedIn(t.Fields[i].Type, seen) {
				return true
			}
		}
		return coercedIn(t.Rest, seen)
	case types.Union:
		seen[t] = true
		for _, v := range t.Variants {
			if coercedIn(v, seen) {
				return true
			}
		}
	}
	return false
}

// contained reports whether nodes within a value of type t need a reading by type.
func contained(t *types.Type) bool {
	if t.Kind == types.Optional {
		t = t.Elem
	}
	switch t.Kind {
	case types.List, types.Map, types.Object, types.Union:
		return coerced(t)
	}
	return false
}

// unify prepares values of several sources that become one: it gives their common type, or sees to it that
// none of them needs its type any more. The checker's type for the result is no help: it takes dyn
// for whatever it is put together with.
func unify(xs ...*code) *types.Type {
	if len(xs) == 0 {
		return types.DynType
	}
	kind, equal := xs[0].typ.Kind, true
	for _, x := range xs {
		equal = equal && identical(x.typ, xs[0].typ)
		if x.typ.Kind != kind {
			kind = types.Dyn
		}
	}
	if equal {
		return xs[0].typ
	}
	for _, x := range xs {
		y := code{eval: deep(*x), typ: x.typ, con: x.con, val: x.val, path: x.path}
		if x.typ.Kind == types.Optional {
			y.inner = deepInner(*x)
		}
		*x = y
	}
	switch kind {
	case types.List:
		return types.ListOf(types.DynType)
	case types.Optional:
		return types.OptionalOf(types.DynType)
	}
	return types.DynType
}

// identical reports whether two types read all text the same way.
func identical(a, b *types.Type) bool {
	if a == b || alike(a, b) {
		return true
	}
	if a.Kind != b.Kind || a.Nullable != b.Nullable {
		return false
	}
	switch a.Kind {
	case types.List, types.Optional:
		return a.Elem != nil && b.Elem != nil && identical(a.Elem, b.Elem)
	case types.Map:
		return a.Elem != nil && b.Elem != nil && identical(a.Elem, b.Elem) && (a.Key == b.Key || a.Key != nil && b.Key != nil && identical(a.Key, b.Key))
	}
	return a.Kind == types.Dyn
}

// elemType is the type of what a list holds.
func elemType(t *types.Type) *types.Type {
	if t != nil && t.Kind == types.List && t.Elem != nil {
		return t.Elem
	}
	return types.DynType
}

// fieldType is the type of a field or entry.
func fieldType(t *types.Type, name string) *types.Type {
	if t == nil {
		return types.DynType
	}
	switch t.Kind {
	case types.Optional:
		return fieldType(t.Elem, name)
	case types.Map:
		if t.Elem != nil {
			return t.Elem
		}
	case types.Object:
		if fd, ok := t.Field(name); ok && fd.Type != nil {
			return fd.Type
		}
		if t.Rest != nil {
			return t.Rest
		}
	case types.Union:
		// A field that all alternatives have alike has that type.
		var same *types.Type
		for _, v := range t.Variants {
			ft := fieldType(v, name)
			if ft.Kind == types.Dyn || same != nil && same != ft && !alike(same, ft) {
				return types.DynType
			}
			same = ft
		}
		if same != nil {
			return same
		}
	}
	return types.DynType
}

// alike reports whether two scalar types read text the same way.
func alike(a, b *types.Type) bool {
	return a.Kind == b.Kind && a.Kind >= types.Null && a.Kind <= types.Duration &&
		a.Nullable == b.Nullable && a.DecimalText == b.DecimalText && a.Layout == b.Layout && a.Date == b.Date
}

// variant finds the alternative of a union that an object names by its tag; nil if it names none. Without a
// discriminator, and for what is no object, that is dyn.
func variant(f *penstock.Frame, t *types.Type, d *jsonview.Doc, n jsonview.Node) *types.Type {
	if t.Discriminator == "" || d.Kind(n) != jsonview.Object {
		return types.DynType
	}
	tag := d.Field(n, t.Discriminator, nil)
	if d.Kind(tag) != jsonview.String {
		return nil
	}
	have := text(f, d, tag)
	for i, want := range t.Tags {
		if want == have && i < len(t.Variants) {
			return t.Variants[i]
		}
	}
	return nil
}
