package compile

import (
	"reflect"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// schemaRegistry is the technology of connections that are one.
const schemaRegistry = "schemaRegistry"

// completeCodec fills in what a codec's configuration refers to: Schema resources, and the connection to a registry of schemas. False says that
// something is not there.
func (c *compiler) completeCodec(name string, config any, l *diag.List) bool {
	ok := true
	said := map[string]bool{} // when it was decoded
	resolver, _ := config.(penstock.Resolver)
	refs := refsOf(config)
	for _, s := range refs.schemas { // what an earlier compilation has filled in
		*s = penstock.SchemaRef{Name: s.Name, Pos: s.Pos}
	}
	for _, r := range refs.connections {
		*r = penstock.ConnectionRef{Name: r.Name, Pos: r.Pos}
	}
	if resolver != nil {
		for _, err := range resolver.Validate() {
			said[err.Error()], ok = true, false
		}
	}
	for _, p := range refs.schemas {
		s := c.Schema(resource.Ref{Name: p.Name, Pos: p.Pos}, l)
		if s == nil {
			ok = false
			continue
		}
		p.Schema, p.Type = s.Text, s.Type
	}
	for _, r := range refs.connections {
		if conn := c.connect(r, schemaRegistry, l); conn == nil || conn.config == nil {
			ok = false
		}
	}
	if resolver != nil && ok && len(refs.schemas)+len(refs.connections) > 0 {
		for _, err := range resolver.Validate() {
			if !said[err.Error()] {
				l.Errorf(refs.first, "driver-config", name, "", "%s: %v", name, err)
			}
			ok = false
		}
	}
	if p, is := config.(penstock.Publisher); is && ok {
		if r, subject, s := p.Publishes(); r != nil {
			c.plan.Published = append(c.plan.Published, plan.Published{Subject: subject, Schema: s, Registry: r, Pos: refs.first})
		}
	}
	return ok
}

// references are what a codec's configuration refers to.
type references struct {
	schemas     []*penstock.SchemaRef
	connections []*penstock.ConnectionRef
	first       penstock.Pos // where the first of them stands
}

// refsOf gathers those that are set.
func refsOf(config any) (out references) {
	v := reflect.ValueOf(config).Elem()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		var at penstock.Pos
		switch p := v.Field(i).Addr().Interface().(type) {
		case *penstock.SchemaRef:
			if p.IsZero() {
				continue
			}
			out.schemas, at = append(out.schemas, p), p.Pos
		case *penstock.ConnectionRef:
			if p.IsZero() {
				continue
			}
			out.connections, at = append(out.connections, p), p.Pos
		default:
			continue
		}
		if !out.first.IsValid() {
			out.first = at
		}
	}
	return out
}
