package schema

import (
	"math/big"
	"reflect"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// remarks are fields of a schema that say nothing of what is valid.
var remarks = []string{"DraftVersion", "Location", "ID", "Anchor", "Title", "Description", "Default", "Comment", "ReadOnly", "WriteOnly", "Examples", "Deprecated"}

// same says that two schemas surely take the same documents, since they say the same.
func same(a, b *jsonschema.Schema) bool { return sameAny(a, b) }

func sameAny(a, b any) bool {
	return (&likeness{seen: map[[2]*jsonschema.Schema]bool{}}).values(reflect.ValueOf(a), reflect.ValueOf(b))
}

// likeness compares schemas that may refer back to themselves.
type likeness struct {
	seen map[[2]*jsonschema.Schema]bool
}

func (l *likeness) values(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	if a.Type() != b.Type() {
		return false
	}
	switch x := a.Interface().(type) {
	case *jsonschema.Schema:
		return l.schemas(x, b.Interface().(*jsonschema.Schema))
	case *jsonschema.Format:
		y := b.Interface().(*jsonschema.Format)
		return (x == nil) == (y == nil) && (x == nil || x.Name == y.Name)
	case *jsonschema.Decoder:
		y := b.Interface().(*jsonschema.Decoder)
		return (x == nil) == (y == nil) && (x == nil || x.Name == y.Name)
	case *jsonschema.MediaType:
		y := b.Interface().(*jsonschema.MediaType)
		return (x == nil) == (y == nil) && (x == nil || x.Name == y.Name)
	case *jsonschema.Enum:
		y := b.Interface().(*jsonschema.Enum)
		return (x == nil) == (y == nil) && (x == nil || reflect.DeepEqual(x.Values, y.Values))
	case *big.Rat:
		y := b.Interface().(*big.Rat)
		return (x == nil) == (y == nil) && (x == nil || x.Cmp(y) == 0)
	case map[jsonschema.Regexp]*jsonschema.Schema:
		return l.values(reflect.ValueOf(byPattern(x)), reflect.ValueOf(byPattern(b.Interface().(map[jsonschema.Regexp]*jsonschema.Schema))))
	}
	if r, ok := a.Interface().(jsonschema.Regexp); ok {
		other, ok := b.Interface().(jsonschema.Regexp)
		return ok && r.String() == other.String()
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		return a.IsNil() == b.IsNil() && (a.IsNil() || l.values(a.Elem(), b.Elem()))
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !l.values(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for _, k := range a.MapKeys() {
			if v := b.MapIndex(k); !v.IsValid() || !l.values(a.MapIndex(k), v) {
				return false
			}
		}
		return true
	default:
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
}

func (l *likeness) schemas(a, b *jsonschema.Schema) bool {
	if a == nil || b == nil {
		return a == b
	}
	pair := [2]*jsonschema.Schema{a, b}
	if a == b || l.seen[pair] {
		return true
	}
	l.seen[pair] = true
	v, w := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.IsExported() && !slices.Contains(remarks, f.Name) && !l.values(v.Field(i), w.Field(i)) {
			return false
		}
	}
	return true
}

func byPattern(all map[jsonschema.Regexp]*jsonschema.Schema) map[string]*jsonschema.Schema {
	out := map[string]*jsonschema.Schema{}
	for r, s := range all {
		out[r.String()] = s
	}
	return out
}
