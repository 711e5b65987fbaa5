// Package schema reads JSON Schema (2020-12, and what is common of draft-07 and OpenAPI) as
// types for the expression checker, and validates bodies against it.
//
// A type says less than a schema: ranges, patterns and conditions are left to [Validator].
// Nothing is dropped silently: what has no meaning for types, and should, is a [Note].
package schema

import (
	"bytes"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Note is something in a schema that its type does not show.
type Note struct {
	Pointer string // where, as a JSON pointer (RFC 6901)
	Message string
	Hint    string // what to do, where there is something
}

// Schema is one schema, read. It is immutable and safe for concurrent use.
type Schema struct {
	Name  string
	Type  *types.Type
	Notes []Note

	compiled *jsonschema.Schema
}

// Parse reads the JSON text of a schema. name is that of the resource, for messages and as
// the name of its type. References lead only to places within the text ("#/$defs/line",
// "#line"). The error names the line or the JSON pointer of what is wrong.
func Parse(name string, text []byte) (*Schema, error) {
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, text)
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	compiled, err := compile(name, text)
	if err != nil {
		return nil, err
	}
	r := &reader{d: d, anchors: map[string]jsonview.Node{}, open: map[jsonview.Node]bool{}, done: map[jsonview.Node]*types.Type{}}
	r.findAnchors(0)
	t := r.read(place{n: 0})
	if t.Name == "" && (t.Kind == types.Object || t.Kind == types.Union) {
		named := *t
		named.Name = name
		t = &named
	}
	return &Schema{Name: name, Type: t, Notes: r.notes, compiled: compiled}, nil
}

// Validator gives what validates bodies against s.
func (s *Schema) Validator() *Validator {
	return &Validator{s: s.compiled, quick: newAccept(s.compiled)}
}

// local refuses every reference that leaves the schema.
type local struct{}

// Load implements jsonschema.URLLoader.
func (local) Load(url string) (any, error) {
	return nil, fmt.Errorf("a $ref may only lead to a place within the schema itself (`#/$defs/…`), not to %s", url)
}

// compile makes the validating form.
func compile(name string, text []byte) (*jsonschema.Schema, error) {
	return compileWith(name, text, func(*jsonschema.Compiler) {})
}

func compileWith(name string, text []byte, set func(*jsonschema.Compiler)) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(local{})
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	set(c)
	for _, f := range formats() {
		c.RegisterFormat(f)
	}
	seen := map[string]bool{}
	adapt(doc, func(layout string) string {
		id := "x-layout:" + layout
		if !seen[id] {
			seen[id] = true
			c.RegisterFormat(layoutFormat(id, layout))
		}
		return id
	})
	url := "penstock:///" + name
	if err := c.AddResource(url, doc); err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	s, err := c.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, schemaError(err))
	}
	return s, nil
}
