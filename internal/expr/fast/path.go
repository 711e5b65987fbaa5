package fast

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
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
	if d, n := v.Node(); variant(f, s.from, d, n) != nil {
		return penstock.Absent
	}
	return untagged(s.from, s.path)
}

// untagged is the error for an object that is none of a union's alternatives.
func untagged(t *types.Type, path string) penstock.Value {
	return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Path: path,
		Err: fmt.Errorf("the field %s does not name one of the alternatives", t.Discriminator)})
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
	what := "a value of type " + ops.TypeName(v)
	if ops.Resolve(v, nil).Kind() == penstock.KindNull {
		what = "null"
	}
	if s.kind == stepField {
		return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Path: s.path,
			Err: fmt.Errorf("no such key: %s has no field %s", what, s.name)})
	}
	return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Path: s.path,
		Err: fmt.Errorf("%s has no elements", what)})
}
