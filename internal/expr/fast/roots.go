package fast

import (
	"strings"

	"cel.dev/cel-go/common/ast"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// ident compiles a name: a variable of a comprehension, a root of the scope, a type.
func (c *compiler) ident(e ast.Expr) (code, error) {
	name := strings.TrimPrefix(e.AsIdent(), ".")
	for i := len(c.locals) - 1; i >= 0; i-- {
		if c.locals[i].name == name {
			return c.locals[i].code, nil
		}
	}
	if r, ok := c.in.Scope.Root(name); ok {
		return c.root(r)
	}
	// The checker writes a qualified name that is declared as a whole as one identifier.
	if root, field, dotted := strings.Cut(name, "."); dotted {
		if r, ok := c.in.Scope.Root(root); ok {
			x, err := c.root(r)
			for _, part := range strings.Split(field, ".") {
				if err == nil {
					x, err = c.extend(x, step{name: part})
				}
			}
			return x, err
		}
	}
	if t := c.in.AST.GetType(e.ID()); t != nil && t.Kind() == celtypes.TypeKind {
		return constant(penstock.TypeValue(name), types.DynType), nil
	}
	if ref, ok := c.in.AST.ReferenceMap()[e.ID()]; ok && ref.Value != nil {
		return code{}, refuse("the constant %s", name)
	}
	return code{}, refuse("the name %s", name)
}

// root compiles a bare root of the scope.
func (c *compiler) root(r *scope.Root) (code, error) {
	t := r.Type
	if t == nil {
		t = types.DynType
	}
	switch r.Source {
	case scope.Body:
		return c.pathCode(&chain{base: bodyRoot, body: true, root: r.Name}, t), nil
	case scope.Key:
		return code{eval: func(f *penstock.Frame) penstock.Value { return penstock.StringValue(f.Msg.Key) },
			typ: types.StringType}, nil
	case scope.Now:
		return code{eval: func(f *penstock.Frame) penstock.Value { return penstock.TimestampValue(f.Now()) },
			typ: types.TimestampType}, nil
	case scope.Slot:
		slot := r.Slot
		return c.pathCode(&chain{root: r.Name, base: func(f *penstock.Frame) penstock.Value {
			return variable(f.Msg.Vars, slot)
		}}, t), nil
	case scope.Meta:
		return c.pathCode(&chain{base: metaMap, root: r.Name}, t), nil
	case scope.Vars, scope.Params:
		params, fields := r.Source == scope.Params, r.Fields
		return c.pathCode(&chain{root: r.Name, base: func(f *penstock.Frame) penstock.Value {
			return slotMap(f, params, fields)
		}}, t), nil
	}
	return code{}, refuse("the root %s", r.Name)
}

// variable reads a slot; one that was never set is absent.
func variable(vars []penstock.Value, slot int) penstock.Value {
	if uint(slot) < uint(len(vars)) {
		return vars[slot]
	}
	return penstock.Absent
}

func bodyRoot(f *penstock.Frame) penstock.Value {
	d := f.Msg.Body
	if d.Kind(0) == jsonview.Invalid {
		return ops.Unparsed(d)
	}
	return penstock.NodeValue(d, 0)
}

// metaMap makes a map of all headers, for the few who read meta whole.
func metaMap(f *penstock.Frame) penstock.Value {
	entries := f.Msg.Meta.Entries()
	m := &penstock.Map{Entries: make([]penstock.Entry, len(entries))}
	for i, e := range entries {
		m.Entries[i] = penstock.Entry{Key: penstock.StringValue(e.Name), Value: e.Value}
	}
	return penstock.MapValue(m)
}

// slotMap makes a map of all vars or params that are there.
func slotMap(f *penstock.Frame, params bool, fields []scope.Field) penstock.Value {
	m := &penstock.Map{Entries: make([]penstock.Entry, 0, len(fields))}
	from := f.Msg.Vars
	if params {
		from = f.Runtime.Params
	}
	for i := range fields {
		if v := variable(from, fields[i].Slot); !v.IsAbsent() {
			m.Entries = append(m.Entries, penstock.Entry{Key: penstock.StringValue(fields[i].Name), Value: v})
		}
	}
	return penstock.MapValue(m)
}

// member finds root.name for the roots whose fields are no entries of a container. ok is false for
// all others.
func (c *compiler) member(e ast.Expr, name string) (ch *chain, t *types.Type, ok bool) {
	if e.Kind() != ast.IdentKind {
		return nil, nil, false
	}
	id := strings.TrimPrefix(e.AsIdent(), ".")
	for i := range c.locals {
		if c.locals[i].name == id {
			return nil, nil, false
		}
	}
	r, found := c.in.Scope.Root(id)
	if !found {
		return nil, nil, false
	}
	switch r.Source {
	case scope.Meta:
		t = fieldType(r.Type, name)
		for i := range r.Fields {
			if r.Fields[i].Name == name && r.Fields[i].Type != nil {
				t = r.Fields[i].Type
			}
		}
		return &chain{root: join(r.Name, name), base: func(f *penstock.Frame) penstock.Value {
			return f.Msg.Meta.Get(name)
		}}, t, true
	case scope.Vars, scope.Params:
		for i := range r.Fields {
			if r.Fields[i].Name != name {
				continue
			}
			slot := r.Fields[i].Slot
			if t = r.Fields[i].Type; t == nil {
				t = types.DynType
			}
			base := func(f *penstock.Frame) penstock.Value { return variable(f.Msg.Vars, slot) }
			if r.Source == scope.Params {
				base = func(f *penstock.Frame) penstock.Value { return variable(f.Runtime.Params, slot) }
			}
			return &chain{root: join(r.Name, name), base: base}, t, true
		}
	}
	return nil, nil, false
}
