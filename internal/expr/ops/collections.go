package ops

import (
	"math"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// IsList reports whether v is a list: materialised, or an array of a document.
func IsList(v penstock.Value) bool {
	switch v.Kind() {
	case penstock.KindList:
		return true
	case penstock.KindNode:
		d, n := v.Node()
		return d.Kind(n) == jsonview.Array
	}
	return false
}

// IsMap reports whether v is a map: materialised, or an object of a document.
func IsMap(v penstock.Value) bool {
	switch v.Kind() {
	case penstock.KindMap:
		return true
	case penstock.KindNode:
		d, n := v.Node()
		return d.Kind(n) == jsonview.Object
	}
	return false
}

// Len is the number of elements of a list or entries of a map, 0 for everything else.
func Len(v penstock.Value) int {
	switch v.Kind() {
	case penstock.KindList:
		return len(v.List().Elems)
	case penstock.KindMap:
		return len(v.Map().Entries)
	case penstock.KindNode:
		d, n := v.Node()
		return d.Len(n)
	}
	return 0
}

// Size is CEL's size(): code points of a string, bytes, elements, entries.
func Size(v penstock.Value) penstock.Value {
	switch v.Kind() {
	case penstock.KindString:
		return penstock.IntValue(int64(utf8.RuneCountInString(v.Str())))
	case penstock.KindBytes:
		return penstock.IntValue(int64(len(v.Bytes())))
	case penstock.KindList, penstock.KindMap:
		return penstock.IntValue(int64(Len(v)))
	case penstock.KindNode:
		if isScalarNode(v) {
			return Size(Resolve(v, nil))
		}
		return penstock.IntValue(int64(Len(v)))
	}
	return NoOverload("size", v)
}

// ElemIter walks a list. It is a plain struct so that it stays on the stack.
type ElemIter struct {
	list []penstock.Value
	doc  *jsonview.Doc
	node jsonview.Node
	i    int
}

// Elems begins a walk over a list; of everything else it has no elements.
func Elems(v penstock.Value) ElemIter {
	switch v.Kind() {
	case penstock.KindList:
		return ElemIter{list: v.List().Elems}
	case penstock.KindNode:
		if d, n := v.Node(); d.Kind(n) == jsonview.Array {
			return ElemIter{doc: d, node: d.First(n)}
		}
	}
	return ElemIter{}
}

// Next gives the next element; those of a document are nodes, unread. more is false at the end.
func (it *ElemIter) Next() (elem penstock.Value, more bool) {
	if it.doc != nil {
		if it.node == jsonview.None {
			return penstock.Absent, false
		}
		elem = penstock.NodeValue(it.doc, it.node)
		it.node = it.doc.Next(it.node)
		return elem, true
	}
	if it.i >= len(it.list) {
		return penstock.Absent, false
	}
	elem = it.list[it.i]
	it.i++
	return elem, true
}

// EntryIter walks a map in insertion order, as the text of a document has it.
type EntryIter struct {
	entries []penstock.Entry
	doc     *jsonview.Doc
	key     jsonview.Node
	i       int
}

// Entries begins a walk over a map; everything else has no entries.
func Entries(v penstock.Value) EntryIter {
	switch v.Kind() {
	case penstock.KindMap:
		return EntryIter{entries: v.Map().Entries}
	case penstock.KindNode:
		if d, n := v.Node(); d.Kind(n) == jsonview.Object {
			return EntryIter{doc: d, key: d.First(n)}
		}
	}
	return EntryIter{}
}

// Next gives the next entry; values of a document are nodes, unread. more is false at the end.
func (it *EntryIter) Next() (key, value penstock.Value, more bool) {
	if it.doc != nil {
		if it.key == jsonview.None {
			return penstock.Absent, penstock.Absent, false
		}
		v := it.doc.Value(it.key)
		key = bytesAsString(it.doc.Key(it.key, nil))
		value = penstock.NodeValue(it.doc, v)
		it.key = it.doc.Next(v)
		return key, value, true
	}
	if it.i >= len(it.entries) {
		return penstock.Absent, penstock.Absent, false
	}
	e := &it.entries[it.i]
	it.i++
	return e.Key, e.Value, true
}

// Find looks a key up in a map. Numeric keys match by value whatever their kind, as CEL has
// it ({1: "a"}[1u]). ok is false where the key is not there or m is no map.
func Find(m, key penstock.Value) (v penstock.Value, ok bool) {
	switch m.Kind() {
	case penstock.KindMap:
		if key.Kind() == penstock.KindNode {
			key = Resolve(key, nil)
		}
		for i := range m.Map().Entries {
			e := &m.Map().Entries[i]
			if e.Key.Kind() == penstock.KindString && key.Kind() == penstock.KindString {
				if e.Key.Str() == key.Str() {
					return e.Value, true
				}
			} else if Equal(e.Key, key) {
				return e.Value, true
			}
		}
	case penstock.KindNode:
		if key = Resolve(key, nil); key.Kind() != penstock.KindString {
			return penstock.Absent, false
		}
		d, n := m.Node()
		if f := d.Field(n, key.Str(), nil); f != jsonview.None {
			return penstock.NodeValue(d, f), true
		}
	}
	return penstock.Absent, false
}

// At gives element i of a list. ok is false where there is none.
func At(l penstock.Value, i int64) (v penstock.Value, ok bool) {
	switch l.Kind() {
	case penstock.KindList:
		if e := l.List().Elems; i >= 0 && i < int64(len(e)) {
			return e[i], true
		}
	case penstock.KindNode:
		d, n := l.Node()
		if i < 0 || i > math.MaxInt32 {
			return penstock.Absent, false
		}
		if e := d.Index(n, int(i)); e != jsonview.None {
			return penstock.NodeValue(d, e), true
		}
	}
	return penstock.Absent, false
}

// Position reads a list index: an int, or a uint or double that is a whole number.
func Position(v penstock.Value) (i int64, bad penstock.Value) {
	v = Resolve(v, nil)
	switch v.Kind() {
	case penstock.KindInt:
		return v.Int(), penstock.Absent
	case penstock.KindUint:
		if v.Uint() <= math.MaxInt64 {
			return int64(v.Uint()), penstock.Absent
		}
	case penstock.KindDouble:
		if f := v.Double(); f == math.Trunc(f) && f > -1<<63 && f < 1<<63 {
			return int64(f), penstock.Absent
		}
	case penstock.KindError:
		return 0, v
	}
	return 0, Errorf("a list is indexed by whole numbers, not by %s", TypeName(v))
}

// Lookup is c[key] for lists and maps: the element, Absent if it is not there, or an error where c
// is no container or key is no index.
func Lookup(c, key penstock.Value) penstock.Value {
	if c.IsError() {
		return c
	}
	if key.IsError() {
		return key
	}
	switch {
	case IsMap(c):
		v, _ := Find(c, key)
		return v
	case IsList(c):
		i, bad := Position(key)
		if bad.IsError() {
			return bad
		}
		v, _ := At(c, i)
		return v
	}
	return NoOverload("_[_]", c, key)
}

// Missing is the error for a Lookup that gave Absent.
func Missing(c, key penstock.Value) penstock.Value {
	if IsList(c) {
		i, _ := Position(key)
		return Errorf("index out of range: %s of a list of %d", index(i), Len(c))
	}
	k := Resolve(key, nil)
	text, err := AppendText(nil, k)
	if err.IsError() {
		return NoSuchKey(TypeName(k))
	}
	return NoSuchKey(string(text))
}

// In is CEL's in: an element of a list, a key of a map.
func In(elem, c penstock.Value) penstock.Value {
	if elem.IsError() {
		return elem
	}
	switch {
	case IsMap(c):
		_, ok := Find(c, elem)
		return penstock.BoolValue(ok)
	case IsList(c):
		elem = Resolve(elem, nil)
		it := Elems(c)
		for {
			e, more := it.Next()
			if !more {
				return penstock.False
			}
			if Equal(elem, e) {
				return penstock.True
			}
		}
	}
	return NoOverload("in", elem, c)
}

// ConcatLists is a + b of lists.
func ConcatLists(a, b penstock.Value) penstock.Value {
	n := Len(a)
	if n == 0 {
		return b
	}
	if Len(b) == 0 {
		return a
	}
	if n+Len(b) > MaxElems {
		return TooLarge
	}
	elems := make([]penstock.Value, 0, n+Len(b))
	for _, l := range [...]penstock.Value{a, b} {
		it := Elems(l)
		for e, more := it.Next(); more; e, more = it.Next() {
			elems = append(elems, e)
		}
	}
	return penstock.ListValue(&penstock.List{Elems: elems})
}
