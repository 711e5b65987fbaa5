package lower

import (
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// state is what is known of a message at one point of the program. It is a value; the scope in
// it is shared and never changed. As long as nothing changes the scope stays the same pointer, which
// is what the environments of expressions are cached by.
type state struct {
	sc    *scope.Scope
	dead  bool // no message gets here
	sent  bool // on every way here the message was sent somewhere
	keyed bool // on every way here it has a key
}

// uniteStates is what is known where two ways meet.
func uniteStates(a, b state) state {
	switch {
	case a.sc == nil: // the neutral element: no way at all
		return b
	case a.dead && b.sc != nil:
		return b
	case b.dead:
		return a
	}
	return state{sc: uniteScopes(a.sc, b.sc), sent: a.sent && b.sent, keyed: a.keyed && b.keyed}
}

// uniteScopes unites the types of roots; a scoped name that one side lacks ends, and a variable that one
// side did not write may be absent.
func uniteScopes(a, b *scope.Scope) *scope.Scope {
	if a == b {
		return a
	}
	out := &scope.Scope{}
	same := len(a.Roots) == len(b.Roots)
	for i := range a.Roots {
		ra := a.Roots[i]
		rb, ok := b.Root(ra.Name)
		if !ok {
			same = false
			continue
		}
		r := ra
		r.Type = uniteTypes(ra.Type, rb.Type)
		r.Fields = uniteFields(ra.Fields, rb.Fields)
		same = same && r.Type == ra.Type && len(r.Fields) == len(ra.Fields) && equalFields(r.Fields, ra.Fields)
		out.Roots = append(out.Roots, r)
	}
	if same {
		return a
	}
	return out
}

func uniteTypes(a, b *types.Type) *types.Type {
	if a == b {
		return a
	}
	return algebra.Unite(orDyn(a), orDyn(b))
}

func uniteFields(a, b []scope.Field) []scope.Field {
	if len(a) == 0 && len(b) == 0 || len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] {
		return a
	}
	var out []scope.Field
	for _, fa := range a {
		if fb := fieldOf(b, fa.Name); fb != nil {
			fa.Type, fa.Maybe = uniteTypes(fa.Type, fb.Type), fa.Maybe || fb.Maybe
		} else {
			fa.Maybe = true
		}
		out = append(out, fa)
	}
	for _, fb := range b {
		if fieldOf(a, fb.Name) == nil {
			fb.Maybe = true
			out = append(out, fb)
		}
	}
	return out
}

func equalFields(a, b []scope.Field) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func fieldOf(fields []scope.Field, name string) *scope.Field {
	for i := range fields {
		if fields[i].Name == name {
			return &fields[i]
		}
	}
	return nil
}

// body is the type of the body.
func (s state) body() *types.Type { return rootType(s.sc, "body") }

func rootType(sc *scope.Scope, name string) *types.Type {
	if r, ok := sc.Root(name); ok {
		return orDyn(r.Type)
	}
	return types.DynType
}

// withBody is s after the body has become a t.
func (s state) withBody(t *types.Type) state {
	r, _ := s.sc.Root("body")
	if r.Type == t {
		return s
	}
	c := *r
	c.Type = t
	s.sc = s.sc.With(c)
	return s
}

// put is what is known after a value of type t was written to path. An optional t may leave the place
// empty. Findings about the path go to the flow's list.
func (b *builder) put(s state, path penstock.Path, t *types.Type) state {
	t = orDyn(t)
	switch path.Root {
	case "body":
		if len(path.Steps) == 0 {
			return s.withBody(bodyType(t))
		}
		under, err := algebra.Put(s.body(), path.Steps, t)
		if err != nil {
			b.badPath(path, err)
			return s
		}
		return s.withBody(under)
	case "vars", "meta":
		return b.putField(s, path, t)
	case "key":
		if inner := unwrap(t); !inner.IsDyn() && (inner.Kind == types.List || inner.Kind == types.Map || inner.Kind == types.Object || inner.Kind == types.Bytes) {
			b.diags().Errorf(path.Pos, "type-mismatch", path.Source, "a key is text, a number or a bool", "the key can't be %s", algebra.Article(inner))
		}
		s.keyed = true
	}
	return s
}

// bodyType is the type of a body that is written from t: a body is never absent, but null.
func bodyType(t *types.Type) *types.Type {
	if t.Kind == types.Optional {
		return algebra.Unite(orDyn(t.Elem), types.NullType)
	}
	return t
}

func unwrap(t *types.Type) *types.Type {
	if t.Kind == types.Optional {
		return t.Elem
	}
	return t
}

// putField writes to a variable or a header, or to a place inside one.
func (b *builder) putField(s state, path penstock.Path, t *types.Type) state {
	name := path.Steps[0].Name
	r, _ := s.sc.Root(path.Root)
	old := fieldOf(r.Fields, name)
	if len(path.Steps) > 1 {
		under := types.NullType
		if old != nil {
			under = unwrap(orDyn(old.Type))
		}
		nt, err := algebra.Put(under, path.Steps[1:], t)
		if err != nil {
			b.badPath(path, err)
			return s
		}
		t = nt
	}
	f := scope.Field{Name: name, Type: unwrap(t), Maybe: t.Kind == types.Optional}
	if path.Root == "vars" {
		f.Slot = b.f.slot(name)
	}
	if old != nil && *old == f {
		return s
	}
	c := *r
	c.Fields = append([]scope.Field(nil), r.Fields...)
	if was := fieldOf(c.Fields, name); was != nil {
		b.varType(path, was.Type, f.Type)
		*was = f
	} else {
		c.Fields = append(c.Fields, f)
	}
	s.sc = s.sc.With(c)
	return s
}

// varType warns when a variable changes its type half-way: branches that rejoin behind it see neither.
func (b *builder) varType(path penstock.Path, old, now *types.Type) {
	if len(path.Steps) > 1 || path.Root != "vars" || orDyn(old).IsDyn() || now.IsDyn() {
		return
	}
	u := algebra.Unite(old, now)
	if u.IsDyn() || u.Kind == types.Union && old.Kind != types.Union && now.Kind != types.Union {
		b.diags().Warnf(path.Pos, "variable-type", path.Source, "give the second value a name of its own",
			"%s was %s and becomes %s here", path.Source, algebra.Article(old), algebra.Article(now))
	}
}

// badPath reports a path that can't be.
func (b *builder) badPath(path penstock.Path, err error) {
	hint := ""
	var pe *algebra.PathError
	if errors.As(err, &pe) && pe.Field != "" {
		hint = Hint(pe.Field, pe.Known)
	}
	b.diags().Errorf(path.Pos, "unknown-path", path.Source, hint, "%s: %v", path.Source, err)
}

// target compiles a path that is written to.
func (b *builder) target(path penstock.Path) step.Target {
	t := step.Target{}
	switch path.Root {
	case "none":
		t.Root = step.Discard
	case "vars":
		t.Root, t.Name, t.Slot, t.Steps = step.Vars, path.Steps[0].Name, b.f.slot(path.Steps[0].Name), path.Steps[1:]
	case "meta":
		t.Root, t.Name, t.Steps = step.Meta, path.Steps[0].Name, path.Steps[1:]
	case "key":
		t.Root = step.Key
	default:
		t.Steps = path.Steps
	}
	return t
}
