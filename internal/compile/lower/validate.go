package lower

import (
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
)

// lowerValidate checks the whole body: behind it, it has the schema's type.
func (b *builder) lowerValidate(s *resource.Step, v *resource.Validate) {
	schema := b.f.o.Schema
	if !v.Schema.IsZero() {
		schema = b.f.o.World.Schema(v.Schema, b.diags())
	} else if schema == nil {
		b.diags().Errorf(s.VerbPos, "missing-schema", "validate", "name one: `validate: {schema: …}`",
			"the sources of %s don't name one schema that validate could go by", b.f.o.Name)
	}
	if schema == nil {
		return
	}
	b.fits(s.VerbPos, schema.Name, b.state.body(), schema.Type, "the body")
	b.leaf(s, &step.Validate{Validator: schema.Check}, schema.Name)
	b.state = b.state.withBody(algebra.Refine(b.state.body(), schema.Type))
}
