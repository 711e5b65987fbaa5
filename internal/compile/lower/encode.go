package lower

import (
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// encoded is what encode makes: text, or bytes where a codec's output is no UTF-8.
var encoded = algebra.Unite(types.StringType, types.BytesType)

// lowerEncode writes the body in a format.
func (b *builder) lowerEncode(s *resource.Step, v *resource.EncodeBody) {
	if v.CloudEvent != nil {
		b.lowerWriteEvent(s, v.CloudEvent)
		return
	}
	format := v.Format
	codec, _ := b.f.o.World.Codec(&format, b.state.body(), b.diags())
	b.leaf(s, &step.Encode{Codec: codec}, format.Name)
	b.state = b.state.withBody(encoded)
}
