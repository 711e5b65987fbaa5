package lower

import (
	"sort"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// lowerReadEvent makes the data of a CloudEvent the body.
func (b *builder) lowerReadEvent(s *resource.Step, schema *types.Type) {
	if s.Has("into") {
		b.diags().Errorf(s.AtKey("into"), "wrong-field", "into", "leave it out, and `set` the variable afterwards", "the data of a CloudEvent becomes the body")
	}
	data := schema
	if body := unwrap(b.state.body()); data.IsDyn() && body.Kind == types.Object {
		if f, ok := body.Field("data"); ok {
			data = f.Type
		}
	}
	b.leaf(s, &step.ReadEvent{}, "cloudEvent")
	b.state = b.state.withBody(data)
}

// lowerWriteEvent makes a CloudEvent of the message.
func (b *builder) lowerWriteEvent(s *resource.Step, e *resource.WriteEvent) {
	st := &step.WriteEvent{Mode: step.EventMode(e.Mode), ContentType: e.ContentType}
	add := func(name string, t penstock.Template) {
		if !t.IsZero() {
			st.Attributes = append(st.Attributes, step.EventAttribute{Name: name, Value: b.exprs().Template(t, b.state.sc, expr.Plain).Program})
		}
	}
	add("id", e.ID)
	add("source", e.Source)
	add("type", e.Type)
	add("subject", e.Subject)
	add("time", e.Time)
	add("dataschema", e.DataSchema)
	names := make([]string, 0, len(e.Extensions))
	for name := range e.Extensions {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		add(name, e.Extensions[name])
	}
	b.leaf(s, st, "cloudEvent "+e.Mode)
	if st.Mode == step.Structured {
		b.state = b.state.withBody(types.DynType)
	}
}
