package fast

import (
	"cel.dev/cel-go/common/ast"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// selection compiles operand.field and has(operand.field).
func (c *compiler) selection(e ast.Expr) (code, error) {
	sel := e.AsSelect()
	if sel.IsTestOnly() {
		return c.has(sel.Operand(), sel.FieldName())
	}
	if ch, t, ok := c.member(sel.Operand(), sel.FieldName()); ok {
		return c.pathCode(ch, t), nil
	}
	x, err := c.compile(sel.Operand())
	if err != nil {
		return x, err
	}
	return c.extend(c.narrowed(x, sel.Operand().ID()), step{name: sel.FieldName()})
}

func (c *compiler) has(operand ast.Expr, field string) (code, error) {
	if ch, t, ok := c.member(operand, field); ok {
		base, r := ch.base, newReader(t, ch.root, field)
		return code{typ: types.BoolType, eval: func(f *penstock.Frame) penstock.Value {
			v := base(f)
			if v.IsAbsent() {
				return penstock.False
			}
			if v = r.read(f, v); v.IsError() {
				return v
			}
			return penstock.True
		}}, nil
	}
	x, err := c.compile(operand)
	if err != nil {
		return x, err
	}
	x = c.narrowed(x, operand.ID())
	ch := chainOf(x)
	last := step{name: field, path: join(x.path, field)}
	if err := last.taken(x.typ); err != nil {
		return x, err
	}
	ch.steps = append(ch.steps, last)
	r := newReader(stepType(x.typ, &last), last.path, field)
	out := code{typ: types.BoolType, eval: func(f *penstock.Frame) penstock.Value { return ch.present(f, r) }}
	if ch.body && !ch.optional() {
		out.eval = func(f *penstock.Frame) penstock.Value {
			d, n := f.Msg.Body, jsonview.Node(0)
			for i := range ch.steps {
				s := &ch.steps[i]
				if s.kind != stepField || s.from != nil {
					return ch.present(f, r)
				}
				if n = d.Field(n, s.name, &s.hint); n == jsonview.None {
					return ch.present(f, r)
				}
			}
			if r.plainly(d, n) {
				return penstock.True
			}
			return ch.present(f, r)
		}
	}
	return fold(out, x), nil
}

// optionalStep compiles operand.?field and operand[?key].
func (c *compiler) optionalStep(operand, key ast.Expr) (code, error) {
	if name, ok := stringLiteral(key); ok {
		if ch, t, ok := c.member(operand, name); ok {
			ch.optBase = true
			if t.Kind == types.Optional {
				t = t.Elem
			}
			found := ch.base
			ch.base = func(f *penstock.Frame) penstock.Value {
				v := found(f)
				if in, ok := ops.Unbox(v); ok {
					return in
				}
				return v
			}
			return c.pathCode(ch, t), nil
		}
	}
	return c.indexStep(operand, key, true)
}

// indexed compiles operand[key].
func (c *compiler) indexed(operand, key ast.Expr) (code, error) {
	if name, ok := stringLiteral(key); ok {
		if ch, t, ok := c.member(operand, name); ok {
			return c.pathCode(ch, t), nil
		}
	}
	return c.indexStep(operand, key, false)
}

func (c *compiler) indexStep(operand, key ast.Expr, opt bool) (code, error) {
	x, err := c.compile(operand)
	if err != nil {
		return x, err
	}
	x = c.narrowed(x, operand.ID())
	k, err := c.compile(key)
	if err != nil {
		return x, err
	}
	if t := x.typ; !k.con && (t.Kind == types.Object || t.Kind == types.Optional && t.Elem.Kind == types.Object) {
		return computedField(x, k, opt), nil
	}
	s := step{kind: stepComputed, key: k.eval, opt: opt}
	if k.con {
		switch k.val.Kind() {
		case penstock.KindString:
			s = step{name: k.val.Str(), opt: opt}
		case penstock.KindInt:
			s = step{kind: stepIndex, pos: k.val.Int(), opt: opt}
		}
	}
	out, err := c.extend(x, s)
	if err != nil {
		return out, err
	}
	return fold(out, x, k), nil
}

// computedField is object[key] with a key that is known at run time, and so is the field's type.
func computedField(x, k code, opt bool) code {
	of, key, t := x.eval, k.eval, x.typ
	if t.Kind == types.Optional {
		of, t, opt = x.optional(), t.Elem, true
	}
	find := func(f *penstock.Frame) (v, name penstock.Value) {
		if v = of(f); v.IsAbsent() || v.IsError() {
			return v, v
		}
		if ops.IsList(v) {
			return (&reader{typ: t, path: x.path}).mismatch(v), v
		}
		name = key(f)
		if v = ops.Lookup(v, name); v.Kind() == penstock.KindNode && name.Kind() == penstock.KindString {
			return materialize(f, v, fieldType(t, name.Str()), join(x.path, name.Str())), name
		}
		return v, name
	}
	if opt {
		return newOptional(func(f *penstock.Frame) penstock.Value {
			v, _ := find(f)
			return v
		}, types.DynType)
	}
	return code{typ: types.DynType, path: x.path + "[]", eval: func(f *penstock.Frame) penstock.Value {
		v, name := find(f)
		if v.IsAbsent() {
			return ops.Missing(of(f), name)
		}
		return v
	}}
}

func stringLiteral(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(celtypes.String)
	return string(s), ok
}
