package schema

import (
	"time"

	"slices"

	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// own reads what a schema says by its own keywords, without references and combinations.
func (r *reader) own(p place) *types.Type {
	names := r.strings(p, "type")
	nullable := slices.Contains(names, "null")
	names = slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == "null" })
	var t *types.Type
	switch {
	case len(names) == 0 && nullable:
		return types.NullType
	case len(names) == 0:
		t = r.untyped(p)
	case len(names) == 1:
		t = r.typed(p, names[0])
	default:
		t = types.NeverType
		for _, name := range names {
			t = algebra.Unite(t, r.typed(p, name))
		}
	}
	t, null := r.values(p, t)
	if (nullable || null) && !t.Nullable && !t.IsDyn() {
		n := *t
		n.Nullable = true
		t = &n
	}
	return t
}

// untyped guesses the type from the keywords that only one type has.
func (r *reader) untyped(p place) *types.Type {
	for _, c := range []struct {
		typ  string
		keys []string
	}{
		{"object", []string{"properties", "required", "additionalProperties", "patternProperties"}},
		{"array", []string{"items", "prefixItems"}},
	} {
		for _, k := range c.keys {
			if _, ok := r.get(p, k); ok && (k != "required" || !r.only(p, "required")) {
				return r.typed(p, c.typ)
			}
		}
	}
	switch f := r.text(p, "format"); f {
	case "date-time", "date", "duration", "byte":
		return r.typed(p, "string")
	case "int64", "int32", "uint64", "uint32":
		return r.typed(p, "integer")
	}
	return types.DynType
}

// only says that a schema has no other keyword: {required: [a]} is a mere condition.
func (r *reader) only(p place, name string) bool {
	alone := true
	r.each(p, func(k string, _ place) { alone = alone && k == name })
	return alone
}

func (r *reader) typed(p place, name string) *types.Type {
	switch name {
	case "boolean":
		return types.BoolType
	case "integer", "number":
		return r.number(p, name)
	case "string":
		return r.string(p)
	case "array":
		return r.list(p)
	case "object":
		return r.object(p)
	}
	r.note(p, "", "`"+name+"` is no type of JSON Schema")
	return types.DynType
}

func (r *reader) number(p place, name string) *types.Type {
	switch f := r.text(p, "format"); f {
	case "decimal":
		return types.DecimalType
	case "uint64", "uint32":
		return types.UintType
	case "int64", "int32", "int16", "int8":
		return types.IntType
	case "", "double", "float":
	default:
		r.note(p, "decimal, double, float, int32, int64, uint32 and uint64 are known", "the format `"+f+"` of a number is not known, and left out")
	}
	if name == "integer" {
		return types.IntType
	}
	return types.DoubleType
}

func (r *reader) string(p place) *types.Type {
	layout := r.text(p, "x-layout")
	if layout != "" {
		return &types.Type{Kind: types.Timestamp, Layout: layout, Date: r.text(p, "format") == "date"}
	}
	if r.text(p, "contentEncoding") == "base64" {
		return types.BytesType
	}
	switch f := r.text(p, "format"); f {
	case "date-time":
		return types.TimestampType
	case "date":
		return &types.Type{Kind: types.Timestamp, Layout: time.DateOnly, Date: true}
	case "duration":
		return types.DurationType
	case "decimal":
		return &types.Type{Kind: types.Decimal, DecimalText: true}
	case "byte":
		return types.BytesType
	case "int64", "int32", "uint64", "uint32":
		r.note(p, "convert it with int(…)", "a "+f+" that is written as text is text to expressions")
	}
	return types.StringType
}

func (r *reader) list(p place) *types.Type {
	elem := types.NeverType
	for _, k := range []string{"prefixItems", "items"} {
		q, ok := r.get(p, k)
		if !ok {
			continue
		}
		if r.d.Kind(q.n) == jsonview.Array { // a tuple; draft-07 has it in `items`
			r.items(q, func(e place) { elem = algebra.Unite(elem, r.read(e)) })
			r.note(q, "", "elements are not told apart by their position: each has the type of any")
			continue
		}
		elem = algebra.Unite(elem, r.read(q))
	}
	if elem.Kind == types.Never {
		elem = types.DynType
	}
	return types.ListOf(elem)
}

// object reads properties. With properties and no additionalProperties, what is not
// declared is an error (LANGUAGE.md §3, gradual typing).
func (r *reader) object(p place) *types.Type {
	t := &types.Type{Kind: types.Object}
	required := r.strings(p, "required")
	props, has := r.get(p, "properties")
	r.each(props, func(name string, q place) {
		f := types.Field{Name: name, Type: r.read(q), Required: slices.Contains(required, name)}
		if r.d.Kind(q.n) == jsonview.Object {
			f.Doc = r.text(q, "description")
		}
		t.Fields = append(t.Fields, f)
	})
	for _, name := range required {
		if _, ok := t.Field(name); !ok && has {
			t.Fields = append(t.Fields, types.Field{Name: name, Type: types.DynType, Required: true})
			r.note(p, "declare it under `properties`", "`"+name+"` is required but not declared: it has no type")
		}
	}
	rest, declared := r.rest(p)
	switch {
	case !declared && len(t.Fields) == 0:
		t.Open = true
	case declared && rest == nil:
	case declared && len(t.Fields) == 0:
		return types.MapOf(rest)
	case declared:
		t.Open = true
		if !rest.IsDyn() {
			t.Rest = rest
		}
	}
	return t
}

// rest is the type of what is not declared; nil where nothing else may be there.
func (r *reader) rest(p place) (t *types.Type, declared bool) {
	if q, ok := r.get(p, "patternProperties"); ok {
		t, declared = types.NeverType, true
		r.each(q, func(_ string, e place) { t = algebra.Unite(t, r.read(e)) })
	}
	for _, k := range []string{"additionalProperties", "unevaluatedProperties"} {
		q, ok := r.get(p, k)
		if !ok {
			continue
		}
		if r.d.Kind(q.n) == jsonview.False {
			return t, true
		}
		if t == nil {
			t = types.NeverType
		}
		return algebra.Unite(t, r.read(q)), true
	}
	return t, declared
}

// values reads enum and const, which may name the type where nothing else does.
func (r *reader) values(p place, t *types.Type) (_ *types.Type, null bool) {
	var all []place
	if q, ok := r.get(p, "enum"); ok {
		r.items(q, func(e place) { all = append(all, e) })
	}
	if q, ok := r.get(p, "const"); ok {
		all = []place{q}
	}
	if len(all) == 0 {
		return t, false
	}
	found := types.NeverType
	var texts []string
	for _, e := range all {
		switch r.d.Kind(e.n) {
		case jsonview.Null:
			null = true
			continue
		case jsonview.String:
			texts = append(texts, r.d.Str(e.n, nil))
			found = algebra.Unite(found, types.StringType)
		case jsonview.True, jsonview.False:
			found = algebra.Unite(found, types.BoolType)
		case jsonview.Number:
			if r.d.IsInt(e.n) {
				found = algebra.Unite(found, types.IntType)
			} else {
				found = algebra.Unite(found, types.DoubleType)
			}
		default:
			found = types.DynType
		}
	}
	if t.IsDyn() && found.Kind != types.Never {
		t = found
	}
	if found.Kind == types.Never && t.IsDyn() {
		return types.NullType, true
	}
	if t.Kind == types.String {
		t = &types.Type{Kind: types.String, Enum: texts, Nullable: t.Nullable}
	}
	return t, null
}
