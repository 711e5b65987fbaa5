package compile

import (
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
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

// compileSchemas makes types and validators of the Schema resources.
func (c *compiler) compileSchemas() {
	c.schemas = map[string]*lower.Schema{}
	for _, r := range c.set.Of(resource.KindSchema) {
		c.schemas[r.Name()] = &lower.Schema{Name: r.Name(), Type: types.DynType, Check: anyOf{}}
	}
}
