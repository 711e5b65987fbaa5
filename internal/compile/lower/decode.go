package lower

import (
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// lowerDecode reads text or bytes into a document of the schema's type, or into a list of such
// records where the format has many of them.
func (b *builder) lowerDecode(s *resource.Step, v *resource.DecodeBody) {
	t := types.DynType
	if !v.Schema.IsZero() {
		if schema := b.f.o.World.Schema(v.Schema, b.diags()); schema != nil {
			t = schema.Type
		}
	}
	if v.CloudEvent != nil {
		b.lowerReadEvent(s, t)
		return
	}
	body := unwrap(b.state.body())
	switch body.Kind {
	case types.Dyn, types.String, types.Bytes, types.Union, types.Never:
	default:
		b.diags().Errorf(s.VerbPos, "type-mismatch", "decode", "remove the step, or decode where the body is still text",
			"decode reads text or bytes, and the body is %s here", algebra.Article(body))
	}
	format := v.Format
	codec, decoded := b.f.o.World.Codec(&format, t, b.diags())
	b.leaf(s, &step.Decode{Codec: codec, Into: b.target(into(s))}, format.Name)
	b.state = b.put(b.state, into(s), decoded)
}
