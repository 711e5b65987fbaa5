package schema

import (
	"strconv"
	"strings"

	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// reader turns schema nodes into types.
type reader struct {
	d       *jsonview.Doc
	anchors map[string]jsonview.Node
	open    map[jsonview.Node]bool // being read: a reference back is recursive
	done    map[jsonview.Node]*types.Type
	cuts    int // how many references back were cut off so far
	notes   []Note
}

// place is a schema node and where it is.
type place struct {
	n       jsonview.Node
	pointer string
}

func (p place) below(step string, n jsonview.Node) place {
	return place{n: n, pointer: p.pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(step)}
}

func (r *reader) note(p place, hint, format string) {
	r.notes = append(r.notes, Note{Pointer: p.pointer, Message: format, Hint: hint})
}

// get finds a keyword.
func (r *reader) get(p place, name string) (place, bool) {
	n := r.d.Field(p.n, name, nil)
	if n == jsonview.None {
		return place{n: n}, false
	}
	return p.below(name, n), true
}

func (r *reader) text(p place, name string) string {
	q, ok := r.get(p, name)
	if !ok || r.d.Kind(q.n) != jsonview.String {
		return ""
	}
	return r.d.Str(q.n, nil)
}

// each walks the fields of an object in the order of the text.
func (r *reader) each(p place, f func(name string, q place)) {
	if r.d.Kind(p.n) != jsonview.Object {
		return
	}
	for k := r.d.First(p.n); k != jsonview.None; k = r.d.Next(r.d.Value(k)) {
		name := r.d.Str(k, nil)
		f(name, p.below(name, r.d.Value(k)))
	}
}

// items walks a list.
func (r *reader) items(p place, f func(q place)) {
	if r.d.Kind(p.n) != jsonview.Array {
		return
	}
	i := 0
	for e := r.d.First(p.n); e != jsonview.None; e = r.d.Next(e) {
		f(p.below(strconv.Itoa(i), e))
		i++
	}
}

// findAnchors notes every $anchor.
func (r *reader) findAnchors(n jsonview.Node) {
	switch r.d.Kind(n) {
	case jsonview.Object:
		if a := r.text(place{n: n}, "$anchor"); a != "" {
			r.anchors[a] = n
		}
		r.each(place{n: n}, func(_ string, q place) { r.findAnchors(q.n) })
	case jsonview.Array:
		r.items(place{n: n}, func(q place) { r.findAnchors(q.n) })
	}
}

// resolve finds what a reference within the document leads to.
func (r *reader) resolve(ref string) (place, bool) {
	fragment, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return place{}, false
	}
	if fragment == "" {
		return place{n: 0}, true
	}
	if !strings.HasPrefix(fragment, "/") {
		n, ok := r.anchors[fragment]
		return place{n: n, pointer: "/" + fragment}, ok
	}
	p := place{n: 0}
	for _, step := range strings.Split(fragment[1:], "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~", "%25", "%", "%22", `"`).Replace(step)
		next := jsonview.None
		switch r.d.Kind(p.n) {
		case jsonview.Object:
			next = r.d.Field(p.n, step, nil)
		case jsonview.Array:
			if i, err := strconv.Atoi(step); err == nil {
				next = r.d.Index(p.n, i)
			}
		}
		if next == jsonview.None {
			return place{}, false
		}
		p = p.below(step, next)
	}
	return p, true
}

// read gives the type of a schema.
func (r *reader) read(p place) *types.Type {
	switch r.d.Kind(p.n) {
	case jsonview.True:
		return types.DynType
	case jsonview.False:
		return types.NeverType
	case jsonview.Object:
	default:
		r.note(p, "", "this is no schema: it is taken for anything")
		return types.DynType
	}
	if t, ok := r.done[p.n]; ok {
		return t
	}
	if r.open[p.n] {
		r.cuts++
		r.note(p, "cast what you read below", "the schema refers back to itself here: what lies below has no type")
		return types.DynType
	}
	r.open[p.n] = true
	defer delete(r.open, p.n)
	cuts := r.cuts
	t := r.decorate(p, r.combined(p))
	if cuts == r.cuts { // else it looks different from another side of the circle
		r.done[p.n] = t
	}
	return t
}

// combined joins what a schema says itself with what it refers to.
func (r *reader) combined(p place) *types.Type {
	r.unknownKeywords(p)
	t := r.own(p)
	if ref := r.text(p, "$ref"); ref != "" {
		t = meet(r.referred(p, ref), t)
	}
	if all, ok := r.get(p, "allOf"); ok {
		r.items(all, func(q place) { t = meet(t, r.read(q)) })
	}
	t = require(t, r.strings(p, "required"))
	for _, name := range []string{"then", "else"} {
		if q, ok := r.get(p, name); ok {
			t = mayHave(t, r.read(q))
		}
	}
	for _, name := range []string{"oneOf", "anyOf"} {
		if q, ok := r.get(p, name); ok {
			t = r.alternatives(p, q, t)
		}
	}
	return t
}

// referred reads what a $ref leads to; its name becomes the type's.
func (r *reader) referred(p place, ref string) *types.Type {
	q, ok := r.resolve(ref)
	if !ok {
		r.note(p, "", "`"+ref+"` leads nowhere within this schema")
		return types.DynType
	}
	t := r.read(q)
	if t.Name == "" && (t.Kind == types.Object || t.Kind == types.Union) {
		named := *t
		named.Name = q.pointer[strings.LastIndexByte(q.pointer, '/')+1:]
		t = &named
	}
	return t
}

// decorate adds what stands beside the structure: null, labels.
func (r *reader) decorate(p place, t *types.Type) *types.Type {
	labels := r.labels(p)
	nullable := false
	if q, ok := r.get(p, "nullable"); ok { // OpenAPI 3.0
		nullable = r.d.Kind(q.n) == jsonview.True
	}
	if labels.IsZero() && !nullable {
		return t
	}
	n := *t
	n.Labels = t.Labels.With(labels)
	n.Nullable = t.Nullable || nullable
	return &n
}

func (r *reader) labels(p place) types.Labels {
	l := types.Labels{Class: r.strings(p, "x-class")}
	q, ok := r.get(p, "x-residency")
	if !ok {
		return l
	}
	if r.d.Kind(q.n) != jsonview.Object {
		l.Residency = r.strings(p, "x-residency")
		return l
	}
	l.ResidencyField = r.text(q, "field")
	if values, ok := r.get(q, "values"); ok {
		l.ResidencyValues = map[string]string{}
		r.each(values, func(name string, v place) { l.ResidencyValues[name] = r.d.Str(v.n, nil) })
	}
	if l.ResidencyField == "" || len(l.ResidencyValues) == 0 {
		r.note(q, "write `{field: …, values: {…}}`", "a computed x-residency needs `field` and `values`")
	}
	return l
}

// strings reads a text or a list of texts.
func (r *reader) strings(p place, name string) []string {
	q, ok := r.get(p, name)
	if !ok {
		return nil
	}
	if r.d.Kind(q.n) == jsonview.String {
		return []string{r.d.Str(q.n, nil)}
	}
	var out []string
	r.items(q, func(e place) {
		if r.d.Kind(e.n) == jsonview.String {
			out = append(out, r.d.Str(e.n, nil))
		}
	})
	return out
}

// alternatives reads oneOf or anyOf beside the type of the schema itself.
func (r *reader) alternatives(p, list place, base *types.Type) *types.Type {
	var variants []*types.Type
	nullable, constraints := false, true
	r.items(list, func(q place) {
		t := r.read(q)
		if t.Kind == types.Null {
			nullable, constraints = true, false
			return
		}
		if t.Nullable {
			n := *t
			n.Nullable, nullable = false, true
			t = &n
		}
		constraints = constraints && t.IsDyn()
		variants = append(variants, meet(base, t))
	})
	if constraints {
		return base // they only say what else must hold
	}
	var out *types.Type
	switch {
	case len(variants) == 0:
		out = types.NullType
	case len(variants) == 1:
		out = variants[0]
	default:
		out = r.union(p, variants)
	}
	if nullable && !out.Nullable && out.Kind != types.Null {
		n := *out
		n.Nullable = true
		out = &n
	}
	return out
}

// union joins alternatives: objects become a union that a discriminator tells apart where
// there is one; scalars of one kind are that kind.
func (r *reader) union(p place, variants []*types.Type) *types.Type {
	for _, v := range variants {
		if v.Kind != types.Object {
			out := types.NeverType
			for _, v := range variants {
				out = algebra.Unite(out, v)
			}
			return out
		}
	}
	u := &types.Type{Kind: types.Union, Variants: variants}
	if q, ok := r.get(p, "discriminator"); ok { // OpenAPI
		u.Discriminator = r.text(q, "propertyName")
	}
	u.Discriminator, u.Tags = discriminate(variants, u.Discriminator)
	if u.Discriminator == "" {
		r.note(p, "give each a property with a `const` of its own", "nothing tells these alternatives apart: only what all have in common is known to be there")
	}
	return u
}

// discriminate finds the field whose one text differs in each alternative.
func discriminate(variants []*types.Type, want string) (field string, tags []string) {
	for _, f := range variants[0].Fields {
		if want != "" && f.Name != want {
			continue
		}
		tags = nil
		seen := map[string]bool{}
		for _, v := range variants {
			g, ok := v.Field(f.Name)
			if !ok || g.Type.Kind != types.String || len(g.Type.Enum) != 1 || seen[g.Type.Enum[0]] {
				break
			}
			seen[g.Type.Enum[0]] = true
			tags = append(tags, g.Type.Enum[0])
		}
		if len(tags) == len(variants) {
			return f.Name, tags
		}
	}
	if want != "" { // OpenAPI: the names of the schemas are the tags
		tags = nil
		for _, v := range variants {
			if v.Name == "" {
				return "", nil
			}
			tags = append(tags, v.Name)
		}
		return want, tags
	}
	return "", nil
}
