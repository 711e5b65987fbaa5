package lower

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// lowerRemove takes paths away: fields leave the body's type, variables their scope.
func (b *builder) lowerRemove(s *resource.Step, v *resource.Remove) {
	var targets []step.Target
	var paths []string
	after := b.state
	for _, p := range v.Paths {
		b.writable(p)
		targets = append(targets, b.target(p))
		paths = append(paths, p.Source)
		after = b.drop(after, p)
	}
	b.leaf(s, built(b, s.VerbPos, func() (penstock.Step, error) { return step.NewRemove(targets) }), strings.Join(paths, ", "))
	b.state = after
}

// drop is what is known after path was removed.
func (b *builder) drop(s state, p penstock.Path) state {
	switch p.Root {
	case "body":
		t, err := algebra.Drop(s.body(), p.Steps)
		if err != nil {
			b.badPath(p, err)
			return s
		}
		return s.withBody(t)
	case "key":
		s.keyed = false
	case "vars", "meta":
		return b.dropField(s, p)
	}
	return s
}

func (b *builder) dropField(s state, p penstock.Path) state {
	r, _ := s.sc.Root(p.Root)
	f := fieldOf(r.Fields, p.Steps[0].Name)
	if f == nil {
		if p.Root == "vars" {
			b.unknownVar(p, r.Fields)
		}
		return s
	}
	c := *r
	c.Fields = nil
	for _, old := range r.Fields {
		if old.Name == f.Name {
			if len(p.Steps) == 1 {
				continue
			}
			t, err := algebra.Drop(orDyn(old.Type), p.Steps[1:])
			if err != nil {
				b.badPath(p, err)
				return s
			}
			old.Type = t
		}
		c.Fields = append(c.Fields, old)
	}
	s.sc = s.sc.With(c)
	return s
}

func (b *builder) unknownVar(p penstock.Path, known []scope.Field) {
	var names []string
	for _, f := range known {
		names = append(names, f.Name)
	}
	b.diags().Errorf(p.Pos, "unknown-path", p.Source, Hint(p.Steps[0].Name, names), "no step before this one writes %s", p.Source)
}

// known is the type of what is at a path now; nil after a finding.
func (b *builder) known(s state, p penstock.Path) *types.Type {
	switch p.Root {
	case "body":
		t, err := algebra.Get(s.body(), p.Steps)
		if err != nil {
			b.badPath(p, err)
			return nil
		}
		return t
	case "vars", "meta":
		r, _ := s.sc.Root(p.Root)
		f := fieldOf(r.Fields, p.Steps[0].Name)
		if f == nil {
			if p.Root == "vars" {
				b.unknownVar(p, r.Fields)
				return nil
			}
			return types.DynType
		}
		t, err := algebra.Get(orDyn(f.Type), p.Steps[1:])
		if err != nil {
			b.badPath(p, err)
			return nil
		}
		if f.Maybe && !t.IsDyn() {
			t = types.OptionalOf(t)
		}
		return t
	}
	return types.StringType
}
