package fast

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// deep gives the closure for consumers that look into lists and maps without knowing their types
// (equality, in, functions): nodes whose parts need a reading by type are read whole.
func deep(x code) eval {
	if x.con || !contained(x.typ) {
		return x.eval
	}
	in, t, path := x.eval, x.typ, x.path
	if t.Kind == types.Optional {
		inner := deepInner(x)
		return func(f *penstock.Frame) penstock.Value {
			v := inner(f)
			switch v.Kind() {
			case penstock.KindAbsent:
				return ops.None
			case penstock.KindError:
				return v
			}
			return penstock.OptionalValue(v)
		}
	}
	return func(f *penstock.Frame) penstock.Value { return materialize(f, in(f), t, path) }
}

// deepInner is deep for what an optional holds.
func deepInner(x code) eval {
	in, t, path := x.optional(), x.typ, x.path
	if x.con || !contained(t) || t.Kind != types.Optional {
		return in
	}
	return func(f *penstock.Frame) penstock.Value { return materialize(f, in(f), t.Elem, path) }
}

// materialize reads a node and all below it by type. What is of another kind than its type says is an error
// where it stands, for whoever reads it.
func materialize(f *penstock.Frame, v penstock.Value, t *types.Type, path string) penstock.Value {
	if v.Kind() != penstock.KindNode {
		return v
	}
	if v = (&reader{typ: t, path: path}).read(f, v); v.Kind() != penstock.KindNode {
		return v
	}
	d, n := v.Node()
	if t.Kind == types.Union {
		t = variant(f, t, d, n) // which read has verified
	}
	if d.Kind(n) == jsonview.Array {
		elem := elemType(t)
		l := &penstock.List{Elems: make([]penstock.Value, 0, d.Len(n))}
		for e := d.First(n); e != jsonview.None; e = d.Next(e) {
			l.Elems = append(l.Elems, materialize(f, penstock.NodeValue(d, e), elem, path+"[]"))
		}
		return penstock.ListValue(l)
	}
	m := &penstock.Map{Entries: make([]penstock.Entry, 0, d.Len(n))}
	it := ops.Entries(v)
	for key, val, more := it.Next(); more; key, val, more = it.Next() {
		m.Entries = append(m.Entries, penstock.Entry{Key: key, Value: materialize(f, val, fieldType(t, key.Str()), join(path, key.Str()))})
	}
	return penstock.MapValue(m)
}
