package expr

import (
	"fmt"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"penstock.dev/penstock/jsonview"
	ptypes "penstock.dev/penstock/types"
)

var (
	_ traits.Mapper = (*nodeMap)(nil)
	_ traits.Lister = (*nodeList)(nil)
	_ traits.Mapper = (*orderedMap)(nil)
)

// container is what our maps and lists have in common.
type container struct{}

func (container) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("no conversion to %v", t)
}

// nodeMap is an object of a document, read as it is selected from.
type nodeMap struct {
	container
	d     *jsonview.Doc
	n     jsonview.Node
	t     *ptypes.Type // Object, Map, or dyn
	at    *place
	plain bool // doubles come without their text
}

// fieldType is the declared type below m of a name.
func (m *nodeMap) fieldType(name string) *ptypes.Type {
	switch m.t.Kind {
	case ptypes.Map:
		return m.t.Elem
	case ptypes.Object:
		if f, ok := m.t.Field(name); ok {
			return f.Type
		}
		return m.t.Rest
	}
	return nil
}

// Find reads a field. Keys of JSON are strings: no other key is ever there.
func (m *nodeMap) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		if types.IsUnknownOrError(key) {
			return key, false
		}
		return nil, false
	}
	f := m.d.Field(m.n, string(name), nil)
	if f == jsonview.None {
		return nil, false
	}
	v := readNode(m.d, f, m.fieldType(string(name)), m.at.field(string(name)))
	if m.plain {
		v = deepPlain(v)
	}
	return v, true
}

// Get reads a field that must be there.
func (m *nodeMap) Get(key ref.Val) ref.Val {
	if v, ok := m.Find(key); ok {
		return v
	}
	return types.NewErr("no such key: %v", keyString(key))
}

// Contains tells whether a field is there.
func (m *nodeMap) Contains(key ref.Val) ref.Val {
	name, ok := key.(types.String)
	return types.Bool(ok && m.d.Field(m.n, string(name), nil) != jsonview.None)
}

// Iterator walks the names in the order of the text.
func (m *nodeMap) Iterator() traits.Iterator {
	keys := make([]ref.Val, 0, m.d.Len(m.n))
	for k := m.d.First(m.n); k != jsonview.None; k = m.d.Next(m.d.Value(k)) {
		keys = append(keys, types.String(m.d.Str(k, nil)))
	}
	return &sliceIterator{vals: keys}
}

func (m *nodeMap) Size() ref.Val           { return types.Int(m.d.Len(m.n)) }
func (m *nodeMap) Equal(o ref.Val) ref.Val { return types.Bool(equalVals(m, o)) }
func (m *nodeMap) IsZeroValue() bool       { return m.d.Len(m.n) == 0 }
func (*nodeMap) Type() ref.Type            { return types.MapType }
func (m *nodeMap) Value() any              { return m }
func (*nodeMap) ConvertToType(t ref.Type) ref.Val {
	return convertContainer(types.MapType, t)
}

func convertContainer(own, t ref.Type) ref.Val {
	if t == types.TypeType {
		return own.(*types.Type)
	}
	return types.NewErr("type conversion error from %s to %s", own.TypeName(), t.TypeName())
}

// nodeList is an array of a document, its elements read as they are asked for.
type nodeList struct {
	container
	d     *jsonview.Doc
	n     jsonview.Node
	elem  *ptypes.Type
	at    *place
	plain bool
}

func (l *nodeList) read(n jsonview.Node, i int) ref.Val {
	v := readNode(l.d, n, l.elem, l.at.index(i))
	if l.plain {
		v = deepPlain(v)
	}
	return v
}

// Get reads an element.
func (l *nodeList) Get(index ref.Val) ref.Val {
	i, ok := wholeNumber(index)
	if !ok || i < 0 || i >= int64(l.d.Len(l.n)) {
		return types.NewErr("index out of range: [%v] of a list of %d", keyString(index), l.d.Len(l.n))
	}
	return l.read(l.d.Index(l.n, int(i)), int(i))
}

// Add concatenates.
func (l *nodeList) Add(o ref.Val) ref.Val {
	other, ok := o.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(o)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, append(elements(l), elements(other)...))
}

// Contains tells whether an element equals v.
func (l *nodeList) Contains(v ref.Val) ref.Val { return containsVal(l, v) }

// Iterator walks the elements.
func (l *nodeList) Iterator() traits.Iterator {
	vals := make([]ref.Val, 0, l.d.Len(l.n))
	for e := l.d.First(l.n); e != jsonview.None; e = l.d.Next(e) {
		vals = append(vals, l.read(e, len(vals)))
	}
	return &sliceIterator{vals: vals}
}

func (l *nodeList) Size() ref.Val           { return types.Int(l.d.Len(l.n)) }
func (l *nodeList) Equal(o ref.Val) ref.Val { return types.Bool(equalVals(l, o)) }
func (l *nodeList) IsZeroValue() bool       { return l.d.Len(l.n) == 0 }
func (*nodeList) Type() ref.Type            { return types.ListType }
func (l *nodeList) Value() any              { return l }
func (*nodeList) ConvertToType(t ref.Type) ref.Val {
	return convertContainer(types.ListType, t)
}

// containsVal is CEL's `v in l`.
func containsVal(l traits.Lister, v ref.Val) ref.Val {
	for it := l.Iterator(); it.HasNext() == types.True; {
		if equalVals(it.Next(), v) {
			return types.True
		}
	}
	return types.False
}

// elements lists a list.
func elements(l traits.Lister) []ref.Val {
	n, _ := l.Size().(types.Int)
	out := make([]ref.Val, 0, n)
	for it := l.Iterator(); it.HasNext() == types.True; {
		out = append(out, it.Next())
	}
	return out
}

// orderedMap is a map that keeps the order of insertion, as map literals do here.
type orderedMap struct {
	container
	keys, vals []ref.Val
	growing    bool // being built by a comprehension: nobody else sees it yet
}

// Find looks a key up; numbers match by value whatever their kind.
func (m *orderedMap) Find(key ref.Val) (ref.Val, bool) {
	if types.IsUnknownOrError(key) {
		return key, false
	}
	for i, k := range m.keys {
		if equalVals(k, key) {
			return m.vals[i], true
		}
	}
	return nil, false
}

// Get looks up a key that must be there.
func (m *orderedMap) Get(key ref.Val) ref.Val {
	if v, ok := m.Find(key); ok {
		return v
	}
	return types.NewErr("no such key: %v", keyString(key))
}

// Contains tells whether a key is there.
func (m *orderedMap) Contains(key ref.Val) ref.Val {
	_, ok := m.Find(key)
	return types.Bool(ok)
}

func (m *orderedMap) Iterator() traits.Iterator { return &sliceIterator{vals: m.keys} }
func (m *orderedMap) Size() ref.Val             { return types.Int(len(m.keys)) }
func (m *orderedMap) Equal(o ref.Val) ref.Val   { return types.Bool(equalVals(m, o)) }
func (m *orderedMap) IsZeroValue() bool         { return len(m.keys) == 0 }
func (*orderedMap) Type() ref.Type              { return types.MapType }
func (m *orderedMap) Value() any                { return m }
func (*orderedMap) ConvertToType(t ref.Type) ref.Val {
	return convertContainer(types.MapType, t)
}

// insertVal is what the map-building comprehensions call: a key must be new.
func insertVal(m traits.Mapper, k, v ref.Val) ref.Val {
	switch k.(type) {
	case types.String, types.Int, types.Uint, types.Bool:
	default:
		return types.NewErr("unsupported key type: %s", k.Type().TypeName())
	}
	if _, found := m.Find(k); found {
		return types.NewErr("insert failed: key %v already exists", keyString(k))
	}
	om, ok := m.(*orderedMap)
	if !ok || !om.growing {
		keys := mapKeys(m)
		om = &orderedMap{keys: keys, growing: true}
		for _, key := range keys {
			om.vals = append(om.vals, m.Get(key))
		}
	}
	om.keys, om.vals = append(om.keys, k), append(om.vals, v)
	return om
}

// mapKeys lists the keys of a map.
func mapKeys(m traits.Mapper) []ref.Val {
	var out []ref.Val
	for it := m.Iterator(); it.HasNext() == types.True; {
		out = append(out, it.Next())
	}
	return out
}

// sliceIterator walks values.
type sliceIterator struct {
	container
	vals []ref.Val
	i    int
}

func (it *sliceIterator) HasNext() ref.Val { return types.Bool(it.i < len(it.vals)) }

func (it *sliceIterator) Next() ref.Val {
	if it.i >= len(it.vals) {
		return nil
	}
	it.i++
	return it.vals[it.i-1]
}

func (*sliceIterator) ConvertToType(t ref.Type) ref.Val {
	return convertContainer(types.IteratorType, t)
}
func (*sliceIterator) Equal(ref.Val) ref.Val { return types.False }
func (*sliceIterator) Type() ref.Type        { return types.IteratorType }
func (it *sliceIterator) Value() any         { return it }

// deepPlain gives v with doubles of cel-go's own kind only, for functions that know no
// other.
func deepPlain(v ref.Val) ref.Val {
	switch x := v.(type) {
	case textDouble:
		return x.Double
	case *nodeList:
		c := *x
		c.plain = true
		return &c
	case *nodeMap:
		c := *x
		c.plain = true
		return &c
	case *orderedMap:
		c := &orderedMap{keys: x.keys, vals: make([]ref.Val, len(x.vals))}
		for i, e := range x.vals {
			c.vals[i] = deepPlain(e)
		}
		return c
	case traits.Lister:
		vals := elements(x)
		for i, e := range vals {
			vals[i] = deepPlain(e)
		}
		return types.NewRefValList(types.DefaultTypeAdapter, vals)
	}
	return v
}
