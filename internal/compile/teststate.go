package compile

import (
	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
	"penstock.dev/penstock/types"
)

// checkGiven holds the events that a test begins with to the entity that they are of.
func (c *compiler) checkGiven(t *resource.Test) {
	for i := range t.Given {
		g := &t.Given[i]
		x := c.Entity(g.Entity, c.diags)
		if x == nil {
			continue
		}
		var known []string
		for _, e := range x.Events {
			known = append(known, e.Name)
		}
		for j := range g.Events {
			ev := &g.Events[j]
			if ev.Event == "" {
				continue // it was refused
			}
			kind := x.EventType(ev.Event)
			switch {
			case kind == nil:
				c.diags.Errorf(ev.At("event"), "dangling-reference", ev.Event, lower.Hint(ev.Event, known), "entity %s has no event %q", x.Name, ev.Event)
				continue
			case ev.Version > kind.Version:
				c.diags.Errorf(ev.At("version"), "out-of-range", ev.Event, "leave it out, or raise `version` of the event", "event %s has version %d of its schema, and this one %d", ev.Event, kind.Version, ev.Version)
				continue
			case kind.Check == nil || ev.Data.Kind != penstock.TreeNone && ev.Data.Kind != penstock.TreeMap || ev.Version > 0 && ev.Version < kind.Version:
				continue // an upcast has to bring it to that schema, which the test shows
			}
			var doc jsonview.Doc
			doc.Reset(jsonview.JSON, ev.Text())
			if doc.Parse(jsonview.Limits{}) != nil {
				continue
			}
			if wrong := kind.Check.Validate(&doc); len(wrong) > 0 {
				pos := ev.At("data")
				if !ev.Has("data") {
					pos = ev.At("event")
				}
				c.diags.Errorf(pos, "schema-mismatch", ev.Event, "mend the data, or give the `version` of an older schema", "the data does not fit the schema of event %s: %v", ev.Event, &step.ValidationError{Violations: wrong})
			}
		}
	}
}

// checkState finds the type of what an expectation of an entity or of a view looks at; false after a finding.
func (c *compiler) checkState(e *resource.Expect) (body *types.Type, ok bool) {
	if !e.View.IsZero() {
		v := c.views[e.View.Name]
		if v == nil {
			c.dangling(c.diags, e.View, resource.KindView)
			return nil, false
		}
		return v.out.Row, true
	}
	x := c.Entity(e.Entity, c.diags)
	if x == nil {
		return nil, false
	}
	if t := x.State; t != nil && t.Kind == types.Object && !t.Open {
		for i, name := range e.State.Keys {
			if _, there := t.Field(name); !there {
				var known []string
				for _, f := range t.Fields {
					known = append(known, f.Name)
				}
				c.diags.Errorf(e.State.Elems[i].Pos, "unknown-field", name, lower.Hint(name, known), "the state of entity %s declares no field `%s`", x.Name, name)
			}
		}
	}
	return x.Event, true
}
