package compile

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/schema"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// anyOf holds a document to one of several schemas: those of the sources of one flow.
type anyOf []step.Validator

// Validate implements step.Validator: what it says is what the nearest schema says.
func (a anyOf) Validate(d *jsonview.Doc) []step.Violation {
	var fewest []step.Violation
	for i, v := range a {
		found := v.Validate(d)
		if len(found) == 0 {
			return nil
		}
		if i == 0 || len(found) < len(fewest) {
			fewest = found
		}
	}
	return fewest
}

// compileSchemas reads the Schema resources. One that can't be read is known by name, with a nil schema, so that
// references to it are not dangling.
func (c *compiler) compileSchemas() {
	c.schemas, c.schemaSums = map[string]*lower.Schema{}, map[string]string{}
	for _, r := range c.set.Of(resource.KindSchema) {
		spec := r.Spec.(*resource.Schema)
		if spec.Avro != nil {
			c.schemas[r.Name()] = c.readSchema(r.Name(), penstock.Avro, spec.Avro)
			continue
		}
		if spec.Protobuf != nil {
			c.schemas[r.Name()] = c.readProtobuf(r.Name(), spec.Protobuf)
			continue
		}
		c.schemas[r.Name()] = c.readSchema(r.Name(), penstock.JSONSchema, spec.JSONSchema)
	}
}

// readSchema reads the schema in n, or in the file beside it.
func (c *compiler) readSchema(name, language string, n *resource.Neighbour) *lower.Schema {
	if n == nil {
		return nil // said when it was loaded
	}
	var text []byte
	switch {
	case n.Path != "":
		var err error
		if text, err = c.set.ReadFile(n.Path); err != nil {
			c.diags.Errorf(n.At("file"), "unreadable-file", n.File, "the path is relative to the file that it stands in", "the schema of %s can't be read: %v", name, err)
			return nil
		}
	case n.Inline != nil:
		text = n.Inline.JSON()
	default:
		return nil
	}
	c.schemaSums[name] = plan.Digest(text)
	asJSON := text
	if language == penstock.Avro {
		var err error
		if asJSON, err = schema.FromAvro(text); err != nil {
			c.diags.Errorf(n.Pos, "bad-schema", n.File, "", "%v", err)
			return nil
		}
	}
	s, err := schema.Parse(name, asJSON)
	if err != nil {
		c.diags.Errorf(n.Pos, "bad-schema", n.File, "", "%v", err)
		return nil
	}
	for _, note := range s.Notes {
		pos := n.Pos
		if n.Inline != nil && language == penstock.JSONSchema {
			at, _ := n.Inline.Lookup(note.Pointer)
			pos = at.Pos
		}
		c.diags.Warnf(pos, "schema-note", note.Pointer, note.Hint, "schema %s, %s: %s", name, note.Pointer, note.Message)
	}
	return &lower.Schema{Name: name, Type: s.Type, Check: validator{s.Validator()}, Text: penstock.SchemaText{Language: language, Text: text}, Form: asJSON}
}

// validator gives what a schema finds to the validate step, whose paths are below the body.
type validator struct{ v *schema.Validator }

// Validate implements step.Validator.
func (v validator) Validate(d *jsonview.Doc) []step.Violation {
	var out []step.Violation
	for _, f := range v.v.Validate(d) {
		path := strings.TrimPrefix(strings.TrimPrefix(f.Path, "body"), ".")
		out = append(out, step.Violation{Path: path, Message: f.Message})
	}
	return out
}
