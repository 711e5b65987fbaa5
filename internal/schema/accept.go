package schema

import (
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
)

// accept is the quick way to say that a node is surely valid, straight on the document. It
// knows the everyday keywords. False means "ask the library", which also words what is
// wrong: the two can differ in speed only, and a test holds that.
type accept func(d *jsonview.Doc, n jsonview.Node) bool

// newAccept makes the quick way for a schema; nil where it has a keyword that is left to the
// library.
func newAccept(s *jsonschema.Schema) accept { return acceptOf(s, 0) }

// maxAcceptDepth bounds schemas that refer to themselves.
const maxAcceptDepth = 16

func acceptOf(s *jsonschema.Schema, depth int) accept {
	if s == nil || depth > maxAcceptDepth || beyond(s) {
		return nil
	}
	if s.Bool != nil {
		if !*s.Bool {
			return nil
		}
		return func(*jsonview.Doc, jsonview.Node) bool { return true }
	}
	if s.Ref != nil { // beside $ref there may be other keywords: only the plain case is ours
		if s.Types != nil || s.Properties != nil || s.Enum != nil || s.Const != nil || s.Format != nil || s.Required != nil {
			return nil
		}
		return acceptOf(s.Ref, depth+1)
	}
	var all []accept
	for _, part := range s.AllOf {
		p := acceptOf(part, depth+1)
		if p == nil {
			return nil
		}
		all = append(all, p)
	}
	byKind := [...]accept{
		jsonview.Object: acceptObject(s, depth),
		jsonview.Array:  acceptArray(s, depth),
		jsonview.String: acceptText(s),
		jsonview.Number: acceptNumber(s),
	}
	for _, p := range byKind[jsonview.Number:] {
		if p == nil {
			return nil
		}
	}
	kinds := kindsOf(s.Types)
	plainOnly := s.Enum == nil && s.Const == nil
	return func(d *jsonview.Doc, n jsonview.Node) bool {
		k := d.Kind(n)
		if !kinds[k] && (k != jsonview.Number || !kinds[wholeNumber] || !d.IsInt(n)) {
			return false
		}
		switch k {
		case jsonview.Object, jsonview.Array, jsonview.String, jsonview.Number:
			if !byKind[k](d, n) {
				return false
			}
		case jsonview.True, jsonview.False, jsonview.Null:
			if !plainOnly {
				return false
			}
		default:
			return false
		}
		for _, p := range all {
			if !p(d, n) {
				return false
			}
		}
		return true
	}
}

// beyond says that the schema has a keyword that only the library does.
func beyond(s *jsonschema.Schema) bool {
	return s.RecursiveRef != nil || s.DynamicRef != nil || s.Not != nil || s.AnyOf != nil || s.OneOf != nil || s.If != nil ||
		s.PropertyNames != nil || s.PatternProperties != nil || s.Dependencies != nil || s.DependentRequired != nil ||
		s.DependentSchemas != nil || s.UnevaluatedProperties != nil || s.UniqueItems || s.Contains != nil ||
		s.MinContains != nil || s.MaxContains != nil || s.AdditionalItems != nil || s.PrefixItems != nil ||
		s.UnevaluatedItems != nil || s.ContentEncoding != nil || s.ContentMediaType != nil || s.ContentSchema != nil ||
		s.MultipleOf != nil || len(s.Extensions) > 0
}

// wholeNumber stands beside the kinds of nodes for the type integer: a number that lexes as one.
const wholeNumber = jsonview.Bytes + 1

// kindsOf is what the type keyword allows.
func kindsOf(types *jsonschema.Types) (kinds [wholeNumber + 1]bool) {
	names := []string{"object", "array", "string", "number", "boolean", "null"}
	if types != nil {
		names = types.ToStrings()
	}
	for _, t := range names {
		switch t {
		case "object":
			kinds[jsonview.Object] = true
		case "array":
			kinds[jsonview.Array] = true
		case "string":
			kinds[jsonview.String] = true
		case "number":
			kinds[jsonview.Number] = true
		case "integer":
			kinds[wholeNumber] = true
		case "boolean":
			kinds[jsonview.True], kinds[jsonview.False] = true, true
		case "null":
			kinds[jsonview.Null] = true
		}
	}
	return kinds
}

// property is a declared property with the place where it was last found.
type property struct {
	name     string
	required bool
	accept   accept
	hint     jsonview.Hint
}

func acceptObject(s *jsonschema.Schema, depth int) accept {
	if s.Enum != nil || s.Const != nil {
		return refuse
	}
	var props []*property
	for name, sub := range s.Properties {
		p := &property{name: name, required: slices.Contains(s.Required, name), accept: acceptOf(sub, depth+1)}
		if p.accept == nil {
			return nil
		}
		props = append(props, p)
	}
	slices.SortFunc(props, func(x, y *property) int { return strings.Compare(x.name, y.name) })
	for _, name := range s.Required {
		if _, declared := s.Properties[name]; !declared {
			props = append(props, &property{name: name, required: true})
		}
	}
	closed, rest := false, accept(nil)
	switch more := s.AdditionalProperties.(type) {
	case nil:
	case bool:
		closed = !more
	case *jsonschema.Schema:
		if rest = acceptOf(more, depth+1); rest == nil {
			return nil
		}
	default:
		return nil
	}
	declared := func(name []byte) bool {
		for _, p := range props {
			if p.accept != nil && p.name == string(name) {
				return true
			}
		}
		return false
	}
	return func(d *jsonview.Doc, n jsonview.Node) bool {
		size := d.Len(n)
		if s.MinProperties != nil && size < *s.MinProperties || s.MaxProperties != nil && size > *s.MaxProperties {
			return false
		}
		found := 0
		for _, p := range props {
			v := d.Field(n, p.name, &p.hint)
			if v == jsonview.None {
				if p.required {
					return false
				}
				continue
			}
			if p.accept != nil {
				found++
				if !p.accept(d, v) {
					return false
				}
			}
		}
		if closed {
			return found == size
		}
		if rest == nil || found == size {
			return true
		}
		for k := d.First(n); k != jsonview.None; k = d.Next(k) {
			if !declared(d.Key(k, nil)) && !rest(d, d.Value(k)) {
				return false
			}
		}
		return true
	}
}

func refuse(*jsonview.Doc, jsonview.Node) bool { return false }

func acceptArray(s *jsonschema.Schema, depth int) accept {
	if s.Enum != nil || s.Const != nil {
		return refuse
	}
	var each accept
	items := s.Items2020
	if sub, ok := s.Items.(*jsonschema.Schema); ok && items == nil {
		items = sub
	} else if s.Items != nil {
		return nil
	}
	if items != nil {
		if each = acceptOf(items, depth+1); each == nil {
			return nil
		}
	}
	return func(d *jsonview.Doc, n jsonview.Node) bool {
		size := d.Len(n)
		if s.MinItems != nil && size < *s.MinItems || s.MaxItems != nil && size > *s.MaxItems {
			return false
		}
		if each == nil {
			return true
		}
		for e := d.First(n); e != jsonview.None; e = d.Next(e) {
			if !each(d, e) {
				return false
			}
		}
		return true
	}
}

func acceptText(s *jsonschema.Schema) accept {
	if s.Const != nil {
		return refuse
	}
	var among []string
	if s.Enum != nil {
		for _, v := range s.Enum.Values {
			if t, ok := v.(string); ok {
				among = append(among, t)
			}
		}
	}
	format := formatOf(s.Format)
	return func(d *jsonview.Doc, n jsonview.Node) bool {
		t := d.Str(n, nil)
		if s.Enum != nil && !slices.Contains(among, t) {
			return false
		}
		if s.MinLength != nil || s.MaxLength != nil {
			size := utf8.RuneCountInString(t)
			if s.MinLength != nil && size < *s.MinLength || s.MaxLength != nil && size > *s.MaxLength {
				return false
			}
		}
		return (s.Pattern == nil || s.Pattern.MatchString(t)) && (format == nil || format(t))
	}
}

// formatOf is the quick check of a format; nil where there is none.
func formatOf(f *jsonschema.Format) func(string) bool {
	switch {
	case f == nil:
		return nil
	case f.Name == "date-time" || strings.HasPrefix(f.Name, "x-layout:"):
		return func(t string) bool {
			if _, ok := ops.ParseTimestamp(t); ok && len(t) == len("2006-01-02T15:04:05Z") && t[10] == 'T' && t[19] == 'Z' && t[17] != '6' {
				return true
			}
			return f.Validate(t) == nil
		}
	}
	return func(t string) bool { return f.Validate(t) == nil }
}

// maxPlainNumber is how long a number may be to be checked the quick way.
const maxPlainNumber = 32

func hasExponent(number []byte) bool {
	for _, c := range number {
		if c|0x20 == 'e' {
			return true
		}
	}
	return false
}

func acceptNumber(s *jsonschema.Schema) accept {
	if s.Enum != nil || s.Const != nil {
		return refuse
	}
	format := s.Format
	if format != nil && (format.Name == "decimal" || format.Name == "double" || format.Name == "float") {
		format = nil // they are about texts, or hold for every number that is not huge
	}
	if format != nil && format.Name != "int64" {
		return refuse
	}
	bounds := []struct {
		at   *big.Rat
		okay func(c int) bool
	}{
		{s.Minimum, func(c int) bool { return c >= 0 }}, {s.ExclusiveMinimum, func(c int) bool { return c > 0 }},
		{s.Maximum, func(c int) bool { return c <= 0 }}, {s.ExclusiveMaximum, func(c int) bool { return c < 0 }},
	}
	bounds = slices.DeleteFunc(bounds, func(b struct {
		at   *big.Rat
		okay func(c int) bool
	}) bool {
		return b.at == nil
	})
	limits := make([]float64, len(bounds))
	for i, b := range bounds {
		var exact bool
		if limits[i], exact = b.at.Float64(); !exact {
			return refuse
		}
	}
	return func(d *jsonview.Doc, n jsonview.Node) bool {
		raw := d.Raw(n)
		if len(raw) > maxPlainNumber || hasExponent(raw) {
			return false
		}
		if format != nil && !d.IsInt(n) {
			return false
		}
		if len(bounds) == 0 {
			return true
		}
		// The nearest double of a number compares with an exact bound as the number does, but where it is
		// the bound itself: then the text decides.
		v, ok := d.Float(n)
		if !ok {
			return false
		}
		for i, b := range bounds {
			c := 0
			switch {
			case v < limits[i]:
				c = -1
			case v > limits[i]:
				c = 1
			case !d.IsInt(n):
				return false
			default:
				if exact, _ := d.Int(n); big.NewRat(exact, 1).Cmp(b.at) != 0 {
					return false
				}
			}
			if !b.okay(c) {
				return false
			}
		}
		return true
	}
}
