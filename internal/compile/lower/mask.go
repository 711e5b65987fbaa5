package lower

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// lowerMask hides what is at paths, or every field of a class that the body's type knows.
func (b *builder) lowerMask(s *resource.Step, v *resource.Mask) {
	paths := v.Paths
	if v.Class != "" {
		paths = append(paths, b.classPaths(v)...)
	}
	var targets []step.Target
	var texts []string
	after := b.state
	for _, p := range paths {
		b.writable(p)
		t := b.known(after, p)
		if t == nil {
			continue
		}
		targets = append(targets, b.target(p))
		texts = append(texts, p.String())
		after = b.masked(after, p, t)
	}
	b.leaf(s, built(b, s.VerbPos, func() (penstock.Step, error) { return step.NewMask(targets) }), strings.Join(texts, ", "))
	b.state = after
}

// masked is what is known after the value of type t at p was masked.
func (b *builder) masked(s state, p penstock.Path, t *types.Type) state {
	t = algebra.Masked(t)
	if p.Root == "body" {
		return s.withBody(algebra.Replace(s.body(), p.Steps, t))
	}
	if p.Root == "key" {
		return s
	}
	return b.put(s, p, t)
}

// classPaths finds the fields of a class in the type of the body.
func (b *builder) classPaths(v *resource.Mask) []penstock.Path {
	var out []penstock.Path
	algebra.Walk(b.state.body(), func(path []penstock.PathStep, t *types.Type) bool {
		for _, c := range t.Labels.Class {
			if c == v.Class {
				out = append(out, penstock.Path{Source: "class " + v.Class, Pos: v.At("class"), Root: "body", Steps: append([]penstock.PathStep(nil), path...)})
				return false
			}
		}
		return true
	})
	if len(out) == 0 {
		why := "no field of the body has the class " + v.Class
		hint := "classes come from `x-class` in a schema"
		if b.state.body().IsDyn() {
			why = "the body has no declared type here, so nothing is known of the class " + v.Class
			hint = "name a schema at the source, or list the paths"
		}
		b.diags().Errorf(v.At("class"), "unknown-class", v.Class, hint, "%s", why)
	}
	return out
}
