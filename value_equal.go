package penstock

import (
	"bytes"
	"cmp"
	"math"

	"penstock.dev/penstock/jsonview"
)

// Equal compares deeply, as CEL's == does: numbers of all kinds by their exact value, NaN
// equal to nothing, lists by element, maps without regard to order; nodes count as what
// [Value.Load] gives. Values of different kinds differ. Errors are equal to nothing.
func (v Value) Equal(o Value) bool {
	v, o = v.Load(nil), o.Load(nil)
	if v.isNumber() && o.isNumber() {
		c, ok := compareNumbers(v, o)
		return ok && c == 0
	}
	if v.kind == KindNode || o.kind == KindNode {
		return equalContainers(v, o)
	}
	if v.kind != o.kind {
		return false
	}
	switch v.kind {
	case KindAbsent, KindNull:
		return true
	case KindBool, KindDuration:
		return v.num == o.num
	case KindTimestamp:
		return v.num == o.num && v.aux == o.aux
	case KindString, KindType:
		return v.Str() == o.Str()
	case KindBytes:
		return bytes.Equal(v.Bytes(), o.Bytes())
	case KindOptional:
		return v.Optional().Equal(o.Optional())
	case KindList, KindMap:
		return equalContainers(v, o)
	}
	return false
}

// isNumber reports whether v is one of the four numbers.
func (v Value) isNumber() bool {
	return v.kind == KindInt || v.kind == KindUint || v.kind == KindDouble || v.kind == KindDecimal
}

// equalContainers compares lists and maps, materialised or not.
func equalContainers(v, o Value) bool {
	if v.isMap() && o.isMap() {
		a, b := v.entries(), o.entries()
		if len(a) != len(b) {
			return false
		}
		for _, e := range a {
			if w := lookup(b, e.Key); w.IsAbsent() || !e.Value.Equal(w) {
				return false
			}
		}
		return true
	}
	if v.isMap() || o.isMap() {
		return false
	}
	a, okA := v.elements()
	b, okB := o.elements()
	if !okA || !okB || len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

func (v Value) isMap() bool {
	if v.kind == KindNode {
		d, n := v.Node()
		return d.Kind(n) == jsonview.Object
	}
	return v.kind == KindMap
}

// elements lists a list's elements; not ok for anything else.
func (v Value) elements() ([]Value, bool) {
	if v.kind == KindList {
		return v.List().Elems, true
	}
	if v.kind != KindNode {
		return nil, false
	}
	d, n := v.Node()
	if d.Kind(n) != jsonview.Array {
		return nil, false
	}
	out := make([]Value, 0, d.Len(n))
	for e := d.First(n); e != jsonview.None; e = d.Next(e) {
		out = append(out, NodeValue(d, e))
	}
	return out, true
}

// entries lists a map's entries.
func (v Value) entries() []Entry {
	if v.kind == KindMap {
		return v.Map().Entries
	}
	d, n := v.Node()
	out := make([]Entry, 0, d.Len(n))
	for k := d.First(n); k != jsonview.None; k = d.Next(d.Value(k)) {
		out = append(out, Entry{StringValue(d.Str(k, nil)), NodeValue(d, d.Value(k))})
	}
	return out
}

func lookup(entries []Entry, key Value) Value {
	for _, e := range entries {
		if e.Key.Equal(key) {
			return e.Value
		}
	}
	return Absent
}

// Compare orders two values of kinds that have an order: numbers of all kinds by their
// exact value, strings by code point, bytes, booleans, timestamps, durations. It is not
// ok for anything else, for kinds that don't mix, and for NaN.
func (v Value) Compare(o Value) (c int, ok bool) {
	v, o = v.Load(nil), o.Load(nil)
	if v.isNumber() && o.isNumber() {
		return compareNumbers(v, o)
	}
	if v.kind != o.kind {
		return 0, false
	}
	switch v.kind {
	case KindBool:
		return cmp.Compare(v.num, o.num), true
	case KindDuration:
		return cmp.Compare(int64(v.num), int64(o.num)), true
	case KindTimestamp:
		return cmp.Or(cmp.Compare(int64(v.num), int64(o.num)), cmp.Compare(v.aux, o.aux)), true
	case KindString:
		return cmp.Compare(v.Str(), o.Str()), true
	case KindBytes:
		return bytes.Compare(v.Bytes(), o.Bytes()), true
	}
	return 0, false
}

// compareNumbers compares exactly; not ok where one is NaN.
func compareNumbers(a, b Value) (int, bool) {
	if a.kind == b.kind {
		switch a.kind {
		case KindInt:
			return cmp.Compare(a.Int(), b.Int()), true
		case KindUint:
			return cmp.Compare(a.Uint(), b.Uint()), true
		case KindDouble:
			x, y := a.Double(), b.Double()
			if math.IsNaN(x) || math.IsNaN(y) {
				return 0, false
			}
			return cmp.Compare(x, y), true
		case KindDecimal:
			return a.Decimal().Cmp(b.Decimal()), true
		}
	}
	switch {
	case b.kind == KindDouble:
		f := b.Double()
		return a.exact().CmpDouble(f), !math.IsNaN(f)
	case a.kind == KindDouble:
		f := a.Double()
		return -b.exact().CmpDouble(f), !math.IsNaN(f)
	}
	return a.exact().Cmp(b.exact()), true
}

// exact gives an int, uint or decimal as a decimal.
func (v Value) exact() Decimal {
	switch v.kind {
	case KindInt:
		return DecimalFromInt(v.Int())
	case KindUint:
		return DecimalFromUint(v.Uint())
	}
	return v.Decimal()
}
