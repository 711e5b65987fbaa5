package fast

import (
	"errors"

	"cel.dev/cel-go/common/ast"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// list compiles [a, b, ?c].
func (c *compiler) list(e ast.Expr) (code, error) {
	l := e.AsList()
	xs, err := c.compileAll(l.Elements())
	if err != nil {
		return code{}, err
	}
	parts := make([]code, len(xs))
	optional := make([]bool, len(xs))
	refs := make([]*code, len(xs))
	for i := range xs {
		parts[i] = xs[i]
		if l.IsOptional(int32(i)) {
			optional[i] = true
			parts[i] = unboxed(xs[i])
		}
		refs[i] = &parts[i]
	}
	t := types.ListOf(unify(refs...))
	in := make([]eval, len(xs))
	writers := make([]emitter, len(xs))
	for i := range parts {
		in[i], writers[i] = parts[i].eval, xs[i].emitter()
	}
	x := code{typ: t, eval: func(f *penstock.Frame) penstock.Value {
		out := &penstock.List{Elems: make([]penstock.Value, 0, len(in))}
		for i, e := range in {
			v := e(f)
			if v.IsError() {
				return v
			}
			if optional[i] && v.IsAbsent() {
				continue
			}
			out.Elems = append(out.Elems, v)
		}
		return penstock.ListValue(out)
	}}
	x.write = func(dst []byte, f *penstock.Frame) ([]byte, error) {
		out := append(dst, '[')
		for _, w := range writers {
			var err error
			if out, err = w(out, f); errors.Is(err, errOmit) {
				continue
			} else if err != nil {
				return dst, err
			}
			out = append(out, ',')
		}
		return closeWith(out, ']'), nil
	}
	return fold(x, xs...), nil
}

// closeWith ends a list or object whose members each end in a comma.
func closeWith(out []byte, end byte) []byte {
	if last := len(out) - 1; out[last] == ',' {
		out[last] = end
		return out
	}
	return append(out, end)
}

// unboxed is what an optional holds as a code of its own: Absent for none.
func unboxed(x code) code {
	t := types.DynType
	if x.typ.Kind == types.Optional {
		t = x.typ.Elem
	}
	return code{eval: x.optional(), typ: t, path: x.path, con: x.con, val: x.val}
}

// mapping compiles {k: v, ?k: v}. Entries keep their order.
func (c *compiler) mapping(e ast.Expr) (code, error) {
	type entry struct {
		key, value eval
		optional   bool
	}
	var entries []entry
	var all []code
	write := &objectWriter{}
	t := &types.Type{Kind: types.Object}
	for _, en := range e.AsMap().Entries() {
		me := en.AsMapEntry()
		k, err := c.compile(me.Key())
		if err != nil {
			return code{}, err
		}
		v, err := c.compile(me.Value())
		if err != nil {
			return code{}, err
		}
		part := v
		if me.IsOptional() {
			part = unboxed(v)
		}
		if newKey(t, k) {
			write.add(k.val.Str(), v.emitter())
			t.Fields = append(t.Fields, types.Field{Name: k.val.Str(), Type: part.typ, Required: true})
		} else {
			t.Open = true
		}
		entries = append(entries, entry{key: k.eval, value: part.eval, optional: me.IsOptional()})
		all = append(all, k, v)
	}
	if t.Open { // nobody will know the types of the entries
		t = types.MapOf(types.DynType)
		for i := range entries {
			v := all[2*i+1]
			if entries[i].value = deep(v); entries[i].optional {
				entries[i].value = deepInner(v)
			}
		}
	}
	x := code{typ: t, eval: func(f *penstock.Frame) penstock.Value {
		m := &penstock.Map{Entries: make([]penstock.Entry, 0, len(entries))}
		for i := range entries {
			k := entries[i].key(f)
			if k.IsError() {
				return k
			}
			v := entries[i].value(f)
			if v.IsError() {
				return v
			}
			if entries[i].optional && v.IsAbsent() {
				continue
			}
			if bad := insert(m, k, v); bad.IsError() {
				return bad
			}
		}
		return penstock.MapValue(m)
	}}
	if t.Kind == types.Object {
		keys := write.keys
		x.eval = func(f *penstock.Frame) penstock.Value {
			m := &penstock.Map{Entries: make([]penstock.Entry, 0, len(entries))}
			for i := range entries {
				v := entries[i].value(f)
				if v.IsError() {
					return v
				}
				if !v.IsAbsent() {
					m.Entries = append(m.Entries, penstock.Entry{Key: keys[i], Value: v})
				}
			}
			return penstock.MapValue(m)
		}
		x.write = write.write
	}
	return fold(x, all...), nil
}

// newKey reports whether k is a constant text that t has no field for yet.
func newKey(t *types.Type, k code) bool {
	if !k.con || k.val.Kind() != penstock.KindString {
		return false
	}
	_, twice := t.Field(k.val.Str())
	return !twice
}

// objectWriter writes a map literal whose keys are constant texts.
type objectWriter struct {
	keys  []penstock.Value
	names [][]byte // as they stand in JSON, with colon
	parts []emitter
}

func (w *objectWriter) add(name string, part emitter) {
	w.keys = append(w.keys, penstock.StringValue(name))
	w.names = append(w.names, append(jsonview.AppendString(nil, name), ':'))
	w.parts = append(w.parts, part)
}

func (w *objectWriter) write(dst []byte, f *penstock.Frame) ([]byte, error) {
	out := append(dst, '{')
	for i, part := range w.parts {
		mark := len(out)
		out = append(out, w.names[i]...)
		var err error
		if out, err = part(out, f); errors.Is(err, errOmit) {
			out = out[:mark]
			continue
		} else if err != nil {
			return dst, err
		}
		out = append(out, ',')
	}
	return closeWith(out, '}'), nil
}

// insert adds an entry that must be new, with a key that a map may have.
func insert(m *penstock.Map, k, v penstock.Value) penstock.Value {
	switch k.Kind() {
	case penstock.KindBool, penstock.KindInt, penstock.KindUint, penstock.KindString:
	default:
		return ops.Errorf("a map key must be a bool, int, uint or string, not %s", ops.TypeName(k))
	}
	if _, twice := ops.Find(penstock.MapValue(m), k); twice {
		return ops.Errorf("the map key %s is there twice", k.String())
	}
	m.Entries = append(m.Entries, penstock.Entry{Key: k, Value: v})
	return penstock.Absent
}

// collection compiles size and what makes maps.
func (c *compiler) collection(name string, xs []code) (code, bool, error) {
	switch {
	case name == "size" && len(xs) == 1:
		if m := xs[0].made; m != nil {
			return code{typ: types.IntType, eval: m.count}, true, nil
		}
		in := xs[0].eval
		return code{typ: types.IntType, eval: func(f *penstock.Frame) penstock.Value { return ops.Size(in(f)) }}, true, nil
	case name == "cel.@mapInsert" && (len(xs) == 2 || len(xs) == 3):
		return nary(xs, types.MapOf(types.DynType), func(_ *penstock.Frame, vs []penstock.Value) penstock.Value {
			if !ops.IsMap(vs[0]) {
				return ops.NoOverload("@mapInsert", vs...)
			}
			m := &penstock.Map{}
			it := ops.Entries(vs[0])
			for k, v, more := it.Next(); more; k, v, more = it.Next() {
				m.Entries = append(m.Entries, penstock.Entry{Key: k, Value: v})
			}
			if bad := insertAll(m, vs[1:]); bad.IsError() {
				return bad
			}
			return penstock.MapValue(m)
		}), true, nil
	}
	return code{}, false, nil
}

// insertAll adds a key with its value, or all entries of one map.
func insertAll(m *penstock.Map, vs []penstock.Value) penstock.Value {
	if len(vs) == 2 {
		return insert(m, ops.Resolve(vs[0], nil), vs[1])
	}
	if !ops.IsMap(vs[0]) {
		return ops.NoOverload("@mapInsert", vs...)
	}
	it := ops.Entries(vs[0])
	for k, v, more := it.Next(); more; k, v, more = it.Next() {
		if bad := insert(m, k, v); bad.IsError() {
			return bad
		}
	}
	return penstock.Absent
}
