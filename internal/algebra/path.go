package algebra

import (
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// PathError says that a path can't exist in a type.
type PathError struct {
	At      string // the path up to the step that is wrong, without the root
	Message string
	// Field and Known are the undeclared field and those that are declared, for a suggestion; empty
	// where the fault is another one.
	Field string
	Known []string
}

// Error is the message.
func (e *PathError) Error() string { return e.Message }

// Get is the type of what path names below a value of type t. A field that may be missing gives
// an optional.
func Get(t *types.Type, path []penstock.PathStep) (*types.Type, error) {
	missing := false
	for i, s := range path {
		f, err := step(t, s, path[:i+1])
		if err != nil {
			return nil, err
		}
		missing = missing || !f.Required || t.Nullable
		t = inner(f.Type)
	}
	if missing && !t.IsDyn() {
		return types.OptionalOf(t), nil
	}
	return t, nil
}

// step goes one step down. A field of an open object that is not declared is its Rest.
func step(t *types.Type, s penstock.PathStep, upTo []penstock.PathStep) (types.Field, error) {
	if t.IsDyn() {
		return types.Field{Type: types.DynType}, nil
	}
	at := PathText(upTo)
	switch t.Kind {
	case types.Object:
		if s.Name == "" {
			break
		}
		if f, ok := t.Field(s.Name); ok {
			return f, nil
		}
		if t.Open {
			return types.Field{Name: s.Name, Type: orDyn(t.Rest)}, nil
		}
		return types.Field{}, &PathError{At: at, Field: s.Name, Known: names(t),
			Message: fmt.Sprintf("%s has no field %q", name(t), s.Name)}
	case types.Map:
		if s.Name != "" {
			return types.Field{Name: s.Name, Type: t.Elem}, nil
		}
	case types.List:
		if s.Name == "" {
			return types.Field{Type: t.Elem}, nil
		}
	case types.Union:
		return stepUnion(t, s, upTo)
	case types.Never:
		return types.Field{Type: types.NeverType, Required: true}, nil
	}
	return types.Field{}, wrongStep(t, s, at)
}

func wrongStep(t *types.Type, s penstock.PathStep, at string) error {
	if s.Name == "" {
		return &PathError{At: at, Message: fmt.Sprintf("%s is no list; it has no element %d", name(t), s.Index)}
	}
	return &PathError{At: at, Message: fmt.Sprintf("%s has no fields", name(t))}
}

func stepUnion(t *types.Type, s penstock.PathStep, upTo []penstock.PathStep) (types.Field, error) {
	out := types.Field{Name: s.Name, Type: types.NeverType, Required: true}
	var first error
	found := false
	for _, v := range t.Variants {
		f, err := step(v, s, upTo)
		if err != nil {
			out.Required = false
			if first == nil {
				first = err
			}
			continue
		}
		found = true
		out.Type, out.Required = Unite(out.Type, f.Type), out.Required && f.Required
	}
	if !found {
		return types.Field{}, first
	}
	return out, nil
}

// Put is what t becomes when path is set to a value of type v. An optional v that is
// none takes the path away. Objects on the way that may be missing are made. A path that can't be set (a field of a string) is
// a *PathError.
func Put(t *types.Type, path []penstock.PathStep, v *types.Type) (*types.Type, error) {
	return put(t, path, 0, v)
}

func put(t *types.Type, path []penstock.PathStep, i int, v *types.Type) (*types.Type, error) {
	if i == len(path) {
		return v, nil
	}
	s := path[i]
	if t.IsDyn() || t.Kind == types.Null {
		if s.Name == "" {
			return types.DynType, nil
		}
		t = &types.Type{Kind: types.Object, Open: t.IsDyn()}
	}
	switch t.Kind {
	case types.Never:
		return t, nil
	case types.Object:
		if s.Name != "" {
			return putField(t, path, i, v)
		}
	case types.Map, types.List:
		if (t.Kind == types.Map) == (s.Name != "") {
			below, err := put(t.Elem, path, i+1, v)
			if err != nil {
				return nil, err
			}
			c := *t
			c.Elem = Unite(t.Elem, inner(below))
			return &c, nil
		}
	case types.Union:
		return putUnion(t, path, i, v)
	}
	return nil, wrongStep(t, s, PathText(path[:i+1]))
}

func putField(t *types.Type, path []penstock.PathStep, i int, v *types.Type) (*types.Type, error) {
	old, had := t.Field(path[i].Name)
	under := types.NullType // what the rest of the path is set in: nothing yet
	if had {
		under = inner(old.Type)
	} else if t.Open {
		under = orDyn(t.Rest)
	}
	below, err := put(under, path, i+1, v)
	if err != nil {
		return nil, err
	}
	f := types.Field{Name: path[i].Name, Type: below, Required: true, Doc: old.Doc}
	if below.Kind == types.Optional {
		f.Type, f.Required = below.Elem, false
	}
	c := *t
	c.Nullable = false
	c.Name = ""
	c.Fields = append([]types.Field(nil), t.Fields...)
	for j := range c.Fields {
		if c.Fields[j].Name == f.Name {
			if Equal(c.Fields[j].Type, f.Type) {
				c.Name = t.Name // still the schema's
				f.Required = f.Required || old.Required
			}
			c.Fields[j] = f
			return &c, nil
		}
	}
	c.Fields = append(c.Fields, f)
	return &c, nil
}

func putUnion(t *types.Type, path []penstock.PathStep, i int, v *types.Type) (*types.Type, error) {
	c := *t
	c.Name, c.Variants = "", nil
	var first error
	for _, variant := range t.Variants {
		u, err := put(variant, path, i, v)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		c.Variants = append(c.Variants, u)
	}
	switch {
	case len(c.Variants) == 0:
		return nil, first
	case len(c.Variants) == 1:
		return c.Variants[0], nil
	case len(c.Variants) < len(t.Variants) || path[i].Name == t.Discriminator:
		c.Discriminator, c.Tags = "", nil
	}
	return &c, nil
}

// Drop is what t becomes when path is removed. A path that t can't have is a *PathError.
func Drop(t *types.Type, path []penstock.PathStep) (*types.Type, error) {
	if len(path) == 0 {
		return types.NullType, nil
	}
	last := path[len(path)-1]
	parent, err := Get(t, path[:len(path)-1])
	if err != nil {
		return nil, err
	}
	if parent = inner(parent); parent.Kind != types.Object || last.Name == "" {
		_, err := step(parent, last, path)
		return t, err // a map or list keeps its type without one of its elements
	}
	if _, err := step(parent, last, path); err != nil {
		return nil, err
	}
	c := *parent
	c.Name, c.Fields = "", nil
	for _, f := range parent.Fields {
		if f.Name != last.Name {
			c.Fields = append(c.Fields, f)
		}
	}
	return Replace(t, path[:len(path)-1], &c), nil
}

// Replace puts v where path already is, and leaves what may be missing on the way as it is. The index −1 is
// every element of a list, or every value of a map.
func Replace(t *types.Type, path []penstock.PathStep, v *types.Type) *types.Type {
	if len(path) == 0 {
		return v
	}
	c := *inner(t)
	switch {
	case c.Kind == types.Object && path[0].Name != "":
		c.Name = ""
		c.Fields = append([]types.Field(nil), c.Fields...)
		for i, f := range c.Fields {
			if f.Name == path[0].Name {
				c.Fields[i].Type = Replace(f.Type, path[1:], inner(v))
			}
		}
	case c.Kind == types.List || c.Kind == types.Map:
		elem := Replace(c.Elem, path[1:], v)
		if path[0].Name != "" || path[0].Index >= 0 {
			elem = Unite(c.Elem, elem)
		}
		c.Elem = elem
	default:
		return types.DynType
	}
	return &c
}

// PathText writes the steps of a path below its root.
func PathText(path []penstock.PathStep) string {
	s := penstock.Path{Steps: path}.String()
	if len(s) > 0 && s[0] == '.' {
		s = s[1:]
	}
	return s
}

func orDyn(t *types.Type) *types.Type {
	if t == nil {
		return types.DynType
	}
	return t
}

func names(t *types.Type) []string {
	out := make([]string, len(t.Fields))
	for i, f := range t.Fields {
		out[i] = f.Name
	}
	return out
}
