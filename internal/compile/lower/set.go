package lower

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
)

// lowerSet writes values to paths. All are computed from the message as it came, then written in
// order.
func (b *builder) lowerSet(s *resource.Step, v *resource.Assign) {
	var edits []step.Edit
	after := b.state
	var paths []string
	for _, a := range v.Values {
		val, t := b.value(a.Value, b.state.sc)
		b.writable(a.Path)
		edits = append(edits, step.Edit{Target: b.target(a.Path), Program: val.program, Mapping: val.mapping})
		after = b.put(after, a.Path, t)
		paths = append(paths, a.Path.Source)
	}
	b.leaf(s, built(b, s.VerbPos, func() (penstock.Step, error) { return step.NewSet(edits) }), strings.Join(paths, ", "))
	b.state = after
}

// writable refuses paths that only `into` knows, and headers that could never be found.
func (b *builder) writable(p penstock.Path) {
	switch {
	case p.Root == "none":
		b.diags().Errorf(p.Pos, "unknown-path", p.Source, "name a place: body.x, vars.x, meta.x or key", "none is no place for a value")
	case p.Root == "meta" && len(p.Steps) > 0 && p.Steps[0].Name != strings.ToLower(p.Steps[0].Name):
		b.diags().Errorf(p.Pos, "unknown-path", p.Source, "write it "+strings.ToLower(p.Source), "headers are lower-case")
	}
}

// built is what a step's constructor makes. A refusal is a finding; where there are findings already,
// its programs may be missing, and it isn't asked.
func built(b *builder, pos penstock.Pos, make func() (penstock.Step, error)) penstock.Step {
	if b.diags().HasErrors() {
		return nil
	}
	st, err := make()
	if err != nil {
		b.diags().Errorf(pos, "bad-step", "", "", "%v", err)
		return nil
	}
	return st
}
