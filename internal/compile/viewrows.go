package compile

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// ownColumns are those that a table of rows has beside the fields of the schema.
var ownColumns = []string{"row_key", "row_json"}

// viewName is how long the name of a table may be: databases cut what is longer than 63 bytes, and the number of a generation stands behind it.
const viewName = 48

// viewRows finds the place of a view's rows, where that is not the store.
func (c *compiler) viewRows(v *view) {
	spec := &v.spec.In.SQL
	if !v.spec.Has("in") || spec.Connection.IsZero() || spec.Table == "" {
		return
	}
	driver, ok := c.reg.Lookup(penstock.KindOfRows, "sql")
	if !ok {
		c.diags.Errorf(v.spec.In.Pos, "unknown-name", "sql", "", "this program keeps no rows in sql")
		return
	}
	ref := spec.Connection
	conn := c.connect(&ref, "sql", c.diags)
	if conn == nil {
		return
	}
	at := spec.At("table")
	last := spec.Table[strings.LastIndexByte(spec.Table, '.')+1:]
	if len(last) > viewName || strings.Contains(last, "@") || last == "penstock_view" {
		c.diags.Errorf(at, "wrong-value", spec.Table, "choose another name, of at most 48 bytes and without @", "%q can't be the name of a view's rows", spec.Table)
	}
	taken := map[string]string{}
	for _, name := range ownColumns {
		taken[name] = name
	}
	for _, f := range v.row.Type.Fields {
		low := strings.ToLower(f.Name)
		if other, is := taken[low]; is {
			c.diags.Errorf(v.spec.Schema.Pos, "schema-mismatch", f.Name, "give the field another name in the schema", "the rows can't have the columns %s and %s both: databases take them for the same", other, f.Name)
		}
		taken[low] = f.Name
	}
	place := "sql " + ref.Name + " " + strings.ToLower(spec.Table)
	for _, other := range c.plan.Views {
		if other.Rows != nil && other.Rows.Place == place {
			c.diags.Errorf(at, "duplicate-name", spec.Table, "name another table", "view %s has its rows in table %s, too", other.Name, spec.Table)
		}
	}
	v.out.Rows = &plan.ViewRows{Driver: driver, Config: &penstock.RowsConfig{Connection: ref, Table: spec.Table, Row: v.row.Type}, Place: place, ConnectionHash: plan.HashFacts(c.connectionFacts(ref.Name))}
	c.use(resource.KindConnection, ref.Name)
}

// viewInline holds a view whose rows are to change with their events to what can do so.
func (c *compiler) viewInline(v *view) {
	if !v.spec.Inline {
		return
	}
	at := v.spec.At("inline")
	switch {
	case v.of == nil:
		c.diags.Errorf(at, "not-inline", v.out.Name, "leave `inline` out and have queries `wait`, or read the entity whose events they are", "view %s reads channel %s: only the events of an entity are appended by a command that its rows can change with", v.out.Name, v.out.Channel)
	case v.spec.Has("in"):
		c.diags.Errorf(at, "not-inline", v.out.Name, "leave `inline` out, or `in`", "the rows of view %s are in a database, and a transaction of the store can't change them", v.out.Name)
	case !v.spec.Key.IsZero() && c.set.Integration() != nil && c.set.Integration().Store.Driver == "postgres":
		c.diags.Errorf(v.spec.At("key"), "not-inline", v.out.Name, "leave `key` out, so that a row is about one entity, or leave `inline` out", "a store on PostgreSQL has the events of entities in 64 parts, and a row of view %s that several entities share can't change with the events of each", v.out.Name)
	}
}
