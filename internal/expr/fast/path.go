package fast

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	celtypes "cel.dev/cel-go/common/types"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// chain is a path: a base and the steps from it. Longer paths repeat the steps of shorter
// ones, so that every step has a hint of its own.
type chain struct {
	base    eval
	body    bool   // the base is the message's body
	optBase bool   // the base is an optional: Absent means none
	root    string // the base, for messages
	steps   []step
}

// optional reports whether the path gives an optional: from the first optional step on all are.
func (ch *chain) optional() bool {
	for i := range ch.steps {
		if ch.steps[i].opt {
			return true
		}
	}
	return ch.optBase
}

// step is one field or index of a path.
type step struct {
	name string // of a field; a constant key
	pos  int64  // of a constant index
	key  eval   // of a computed one
	kind stepKind
	opt  bool          // written .? or [?]
	of   *types.Type   // the static type of what the step is taken from
	from *types.Type   // the same, where it is a union whose tag must be known
	path string        // up to and with this step
	hint jsonview.Hint // where the field was last
}

type stepKind uint8

const (
	stepField stepKind = iota
	stepIndex
	stepComputed
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

// pathCode makes the code of a path. t is the type of what it finds.
func (c *compiler) pathCode(ch *chain, t *types.Type) code {
	path, last := ch.root, ""
	if n := len(ch.steps); n > 0 {
		path, last = ch.steps[n-1].path, ch.steps[n-1].name
	} else if i := strings.LastIndexByte(path, '.'); i >= 0 {
		last = path[i+1:]
	}
	x := code{chain: ch, typ: t, path: path, raw: ch.walk}
	if len(ch.steps) == 0 {
		x.raw = ch.base
	}
	if ch.body {
		x.raw = ch.fromBody()
	}
	r := newReader(t, path, last)
	switch {
	case ch.optional():
		o := newOptional(r.inner(x.raw), r.typ)
		o.chain, o.path, o.raw = ch, path, x.raw
		return o
	case t.Kind == types.Optional:
		// What is found is itself an optional: vars that a branch may have left out.
		found := x.raw
		steps := len(ch.steps) > 0
		raw := func(f *penstock.Frame) penstock.Value {
			v := found(f)
			if v.IsAbsent() && steps {
				return r.missing
			}
			if in, ok := ops.Unbox(v); ok {
				return in
			}
			return v
		}
		o := newOptional(r.inner(raw), r.typ)
		o.chain, o.path, o.raw = &chain{base: raw, optBase: true, root: path}, path, raw
		return o
	}
	x.eval = r.eval(x.raw)
	return x
}

// chainOf gives a chain that x is the base or the beginning of, with room for a step more.
func chainOf(x code) *chain {
	switch {
	case x.chain != nil:
		ch := *x.chain
		ch.steps = make([]step, len(x.chain.steps), len(x.chain.steps)+1)
		for i := range ch.steps {
			o := &x.chain.steps[i]
			ch.steps[i] = step{name: o.name, pos: o.pos, key: o.key, kind: o.kind, opt: o.opt, of: o.of, from: o.from, path: o.path}
		}
		return &ch
	case x.typ.Kind == types.Optional:
		return &chain{base: x.optional(), optBase: true}
	}
	return &chain{base: x.eval}
}

// extend adds a step to a code.
func (c *compiler) extend(x code, s step) (code, error) {
	ch, before := chainOf(x), x.path
	if err := s.taken(x.typ); err != nil {
		return x, err
	}
	switch s.kind {
	case stepField:
		s.path = join(before, s.name)
	case stepIndex:
		s.name = "[" + strconv.FormatInt(s.pos, 10) + "]"
		s.path = before + s.name
	default:
		s.path = before + "[]"
	}
	ch.steps = append(ch.steps, s)
	t := stepType(x.typ, &s)
	if t.Kind == types.Optional && ch.optional() {
		t = t.Elem
	}
	return c.pathCode(ch, t), nil
}

// taken prepares a step from a value of type t. Of a union that a field tells apart, the tag is
// verified, and a field that the alternatives read differently is not for us.
func (s *step) taken(t *types.Type) error {
	if t.Kind == types.Optional {
		t = t.Elem
	}
	s.of = t
	if t.Kind != types.Union || t.Discriminator == "" {
		return nil
	}
	s.from = t
	if s.kind != stepField || s.name != t.Discriminator && fieldType(t, s.name).IsDyn() {
		return refuse("%s: a field of oneOf whose alternatives differ", s.name)
	}
	return nil
}

// tagged verifies the tag of a union; Absent is fine.
func (s *step) tagged(f *penstock.Frame, v penstock.Value) (bad penstock.Value) {
	if v.Kind() != penstock.KindNode {
		return penstock.Absent
	}
	d, n := v.Node()
	tag := d.Field(n, s.from.Discriminator, nil)
	if d.Kind(tag) == jsonview.String {
		have := text(f, d, tag)
		for i, want := range s.from.Tags {
			if want == have && i < len(s.from.Variants) {
				return penstock.Absent
			}
		}
	}
	return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Path: s.path,
		Err: fmt.Errorf("the field %s does not name one of the alternatives", s.from.Discriminator)})
}

// join writes a field after a path as the language has it.
func join(path, name string) string {
	for i := 0; i < len(name); i++ {
		ch := name[i]
		if ch != '_' && (ch < '0' || ch > '9' || i == 0) && (ch|0x20 < 'a' || ch|0x20 > 'z') {
			return path + "[" + strconv.Quote(name) + "]"
		}
	}
	if path == "" || name == "" {
		return path + "[" + strconv.Quote(name) + "]"
	}
	return path + "." + name
}

// stepType is the type behind one step of a value of type t.
func stepType(t *types.Type, s *step) *types.Type {
	if t.Kind == types.Optional {
		t = t.Elem
	}
	switch s.kind {
	case stepField:
		return fieldType(t, s.name)
	case stepIndex:
		if t.Kind == types.List {
			return elemType(t)
		}
	}
	switch t.Kind {
	case types.List:
		return elemType(t)
	case types.Map:
		return fieldType(t, "")
	}
	return types.DynType
}

// fromBody specialises the common case: fields of the body.
func (ch *chain) fromBody() eval {
	for i := range ch.steps {
		if ch.steps[i].kind != stepField || ch.steps[i].from != nil {
			return ch.walk
		}
	}
	switch len(ch.steps) {
	case 0:
		return bodyRoot
	case 1:
		s := &ch.steps[0]
		return func(f *penstock.Frame) penstock.Value {
			d := f.Msg.Body
			if n := d.Field(0, s.name, &s.hint); n != jsonview.None {
				return penstock.NodeValue(d, n)
			}
			return ch.walk(f)
		}
	}
	return func(f *penstock.Frame) penstock.Value {
		d, n := f.Msg.Body, jsonview.Node(0)
		for i := range ch.steps {
			s := &ch.steps[i]
			if n = d.Field(n, s.name, &s.hint); n == jsonview.None {
				return ch.walk(f)
			}
		}
		return penstock.NodeValue(d, n)
	}
}

// walk takes all steps: Absent if the last one, or any that is optional, finds nothing.
func (ch *chain) walk(f *penstock.Frame) penstock.Value {
	v := ch.base(f)
	optional := ch.optBase
	for i := range ch.steps {
		s := &ch.steps[i]
		if v.IsError() {
			return v
		}
		if v.IsAbsent() {
			if optional {
				return v
			}
			return ch.missingBefore(i)
		}
		optional = optional || s.opt
		v = s.apply(f, v, optional)
	}
	return v
}

// present is has(): whether the last step finds something. Earlier ones must. What is there must be of its
// type.
func (ch *chain) present(f *penstock.Frame, r *reader) penstock.Value {
	last := len(ch.steps) - 1
	front := chain{base: ch.base, optBase: ch.optBase, root: ch.root, steps: ch.steps[:last]}
	v := front.walk(f)
	if v.IsError() {
		return v
	}
	if v.IsAbsent() {
		if front.optional() {
			return penstock.False
		}
		return ch.missingBefore(last)
	}
	if v = ch.steps[last].apply(f, v, true); v.IsAbsent() {
		return penstock.False
	}
	if v = r.read(f, v); v.IsError() {
		return v
	}
	return penstock.True
}

// missingBefore is the error for a path that ends before its last step.
func (ch *chain) missingBefore(i int) penstock.Value {
	path := ch.root
	if i > 0 {
		path = ch.steps[i-1].path
	}
	return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Path: path, Err: errNoKey})
}

var errNoKey = errors.New("no such key")

// apply takes one step from v, which is neither Absent nor an error. What is no container has
// nothing where the step is lenient, and is an error elsewhere.
func (s *step) apply(f *penstock.Frame, v penstock.Value, lenient bool) penstock.Value {
	if s.from != nil {
		if bad := s.tagged(f, v); bad.IsError() {
			return bad
		}
	}
	switch s.kind {
	case stepField:
		switch v.Kind() {
		case penstock.KindNode:
			d, n := v.Node()
			if m := d.Field(n, s.name, &s.hint); m != jsonview.None {
				return penstock.NodeValue(d, m)
			}
		case penstock.KindMap:
			e := v.Map().Entries
			for i := range e {
				if e[i].Key.Kind() == penstock.KindString && e[i].Key.Str() == s.name {
					return e[i].Value
				}
			}
		}
		if ops.IsMap(v) {
			return penstock.Absent
		}
	case stepIndex:
		if ops.IsList(v) && !s.ofObject() {
			w, _ := ops.At(v, s.pos)
			return w
		}
		if ops.IsMap(v) && s.of.Kind != types.List {
			w, _ := ops.Find(v, penstock.IntValue(s.pos))
			return w
		}
	default:
		key := s.key(f)
		if ops.IsList(v) && !s.ofObject() || ops.IsMap(v) && s.of.Kind != types.List {
			return ops.Lookup(v, key)
		}
		if key.IsError() {
			return key
		}
	}
	if lenient && !ops.IsList(v) && !s.declared(v) {
		return penstock.Absent
	}
	return s.noContainer(v)
}

// ofObject reports whether the step is taken from what is declared an object or map.
func (s *step) ofObject() bool { return s.of.Kind == types.Object || s.of.Kind == types.Map }

// declared reports whether v should be a container, by its static type.
func (s *step) declared(v penstock.Value) bool {
	switch s.of.Kind {
	case types.Object, types.Map, types.List:
		return !s.of.Nullable || ops.Resolve(v, nil).Kind() != penstock.KindNull
	}
	return false
}

func (s *step) noContainer(v penstock.Value) penstock.Value {
	if s.declared(v) {
		path := strings.TrimSuffix(strings.TrimSuffix(s.path, s.name), ".")
		return (&reader{typ: s.of, path: path}).mismatch(v)
	}
	what := ops.TypeName(v)
	if s.kind == stepField {
		return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Path: s.path,
			Err: fmt.Errorf("no such key: a value of type %s has no field %s", what, s.name)})
	}
	return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Path: s.path,
		Err: fmt.Errorf("a value of type %s has no elements", what)})
}

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
