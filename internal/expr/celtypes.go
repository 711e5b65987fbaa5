package expr

import (
	"strconv"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	celtypes "cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/types"
)

// catalog gives our types to cel-go's checker: object types get names of their own, which
// no expression can write, and lead back to the type they stand for.
type catalog struct {
	celtypes.Provider // cel-go's own types

	mu     sync.Mutex
	names  map[*types.Type]string
	byName map[string]*types.Type
}

func newCatalog(base celtypes.Provider) *catalog {
	return &catalog{Provider: base, names: map[*types.Type]string{}, byName: map[string]*types.Type{}}
}

// name registers an object type.
func (c *catalog) name(t *types.Type) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.names[t]
	if !ok {
		n = "@" + strconv.Itoa(len(c.names))
		c.names[t], c.byName[n] = n, t
	}
	return n
}

// object finds a registered type by its name.
func (c *catalog) object(name string) (*types.Type, bool) {
	if !strings.HasPrefix(name, "@") {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.byName[name]
	return t, ok
}

// celType gives t as cel-go has it. Nullable scalars become its wrapper types.
func (c *catalog) celType(t *types.Type) *cel.Type {
	ct := c.bare(t)
	if t != nil && t.Nullable {
		switch t.Kind {
		case types.Bool, types.Int, types.Uint, types.Double, types.String, types.Bytes:
			return celtypes.NewNullableType(ct)
		}
	}
	return ct
}

func (c *catalog) bare(t *types.Type) *cel.Type {
	if t.IsDyn() {
		return cel.DynType
	}
	switch t.Kind {
	case types.Null:
		return cel.NullType
	case types.Bool:
		return cel.BoolType
	case types.Int:
		return cel.IntType
	case types.Uint:
		return cel.UintType
	case types.Double:
		return cel.DoubleType
	case types.Decimal:
		return decimalType
	case types.String:
		return cel.StringType
	case types.Bytes:
		return cel.BytesType
	case types.Timestamp:
		return cel.TimestampType
	case types.Duration:
		return cel.DurationType
	case types.List:
		return cel.ListType(c.celType(t.Elem))
	case types.Map:
		key := cel.StringType
		if t.Key != nil {
			key = c.celType(t.Key)
		}
		return cel.MapType(key, c.celType(t.Elem))
	case types.Optional:
		return cel.OptionalType(c.celType(t.Elem))
	case types.Object:
		return cel.ObjectType(c.name(t))
	case types.Union:
		if objects(t) {
			return cel.ObjectType(c.name(t))
		}
	}
	return cel.DynType
}

// ours gives a cel-go type back as ours; labels and the like are only there for objects.
func (c *catalog) ours(t *cel.Type) *types.Type {
	if t == nil {
		return types.DynType
	}
	params := t.Parameters()
	switch t.Kind() {
	case celtypes.NullTypeKind:
		return types.NullType
	case celtypes.BoolKind, celtypes.IntKind, celtypes.UintKind, celtypes.DoubleKind, celtypes.StringKind, celtypes.BytesKind:
		out := map[celtypes.Kind]*types.Type{celtypes.BoolKind: types.BoolType, celtypes.IntKind: types.IntType, celtypes.UintKind: types.UintType,
			celtypes.DoubleKind: types.DoubleType, celtypes.StringKind: types.StringType, celtypes.BytesKind: types.BytesType}[t.Kind()]
		if t.IsAssignableType(celtypes.NullType) {
			n := *out
			n.Nullable = true
			return &n
		}
		return out
	case celtypes.TimestampKind:
		return types.TimestampType
	case celtypes.DurationKind:
		return types.DurationType
	case celtypes.ListKind:
		if len(params) == 1 {
			return types.ListOf(c.ours(params[0]))
		}
	case celtypes.MapKind:
		if len(params) == 2 {
			m := types.MapOf(c.ours(params[1]))
			if k := c.ours(params[0]); k.Kind != types.String {
				m.Key = k
			}
			return m
		}
	case celtypes.OpaqueKind:
		switch {
		case t.TypeName() == decimalType.TypeName():
			return types.DecimalType
		case t.TypeName() == "optional_type" && len(params) == 1:
			return types.OptionalOf(c.ours(params[0]))
		}
	case celtypes.StructKind:
		if o, ok := c.object(t.TypeName()); ok {
			return o
		}
	}
	return types.DynType
}

// objects reports whether all alternatives of a union are objects.
func objects(t *types.Type) bool {
	for _, v := range t.Variants {
		if v.Kind != types.Object {
			return false
		}
	}
	return len(t.Variants) > 0
}

// fieldOf finds what is declared for a name below t: of an object its field, or what its
// open rest has; of a union the field with the types that it has in the alternatives,
// optional where one lacks it. declared tells whether the name may be used at all.
func fieldOf(t *types.Type, name string) (f types.Field, declared bool) {
	switch t.Kind {
	case types.Object:
		if f, ok := t.Field(name); ok {
			return f, true
		}
		if t.Open {
			rest := t.Rest
			if rest == nil {
				rest = types.DynType
			}
			return types.Field{Name: name, Type: rest}, true
		}
	case types.Map:
		return types.Field{Name: name, Type: t.Elem}, true
	case types.Union:
		return unionField(t, name)
	}
	return types.Field{}, false
}

func unionField(t *types.Type, name string) (types.Field, bool) {
	out := types.Field{Name: name, Required: true}
	found := false
	for _, v := range t.Variants {
		f, ok := fieldOf(v, name)
		if !ok {
			out.Required = false
			continue
		}
		found = true
		out.Required = out.Required && f.Required
		if out.Type == nil {
			out.Type, out.Doc = f.Type, f.Doc
		} else {
			out.Type = algebra.Unite(out.Type, f.Type)
		}
	}
	return out, found
}

// fieldNames lists the declared fields of t, for suggestions.
func fieldNames(t *types.Type) []string {
	var out []string
	for _, f := range t.Fields {
		out = append(out, f.Name)
	}
	for _, v := range t.Variants {
		out = append(out, fieldNames(v)...)
	}
	return out
}

// FindStructType implements celtypes.Provider.
func (c *catalog) FindStructType(name string) (*celtypes.Type, bool) {
	if _, ok := c.object(name); ok {
		return celtypes.NewTypeTypeWithParam(cel.ObjectType(name)), true
	}
	if strings.HasPrefix(name, "google.protobuf.") {
		return nil, false // there are no protobuf messages here
	}
	return c.Provider.FindStructType(name)
}

// FindStructFieldNames implements celtypes.Provider.
func (c *catalog) FindStructFieldNames(name string) ([]string, bool) {
	if t, ok := c.object(name); ok {
		return fieldNames(t), true
	}
	return c.Provider.FindStructFieldNames(name)
}

// FindStructFieldType implements celtypes.Provider. A name that is not declared is found as
// dyn: our own pass reports it, knowing more.
func (c *catalog) FindStructFieldType(structType, field string) (*celtypes.FieldType, bool) {
	t, ok := c.object(structType)
	if !ok {
		return c.Provider.FindStructFieldType(structType, field)
	}
	f, ok := fieldOf(t, field)
	if !ok {
		return &celtypes.FieldType{Type: cel.DynType}, true
	}
	return &celtypes.FieldType{Type: c.celType(f.Type)}, true
}

// EnumValue implements celtypes.Provider: there are none.
func (c *catalog) EnumValue(name string) ref.Val {
	return celtypes.NewErr("unknown enum name '%s'", name)
}
