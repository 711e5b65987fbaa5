package sql

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// table is what a database says of a table.
type table struct {
	quoted  string // as statements have it
	columns []column
	unique  [][]string // the columns of each unique index that holds for all rows
	dialect dialect
	like    []string // where it is not there: tables whose names differ little
	plain   string   // its engine, where that has no transactions
}

// column is a column of a table.
type column struct {
	name, typ string
	class     class
	notNull   bool
	preset    bool // it gets a value by itself: a default, an identity
	computed  bool // nobody may write it
	pg        pgType
}

// class is what values a column takes.
type class uint8

const (
	classAny class = iota
	classInt
	classFloat
	classNumeric
	classBool
	classText
	classBytes
	classTime
	classInterval
	classJSON
	classArray
	classOther // has a text: uuid, inet, an enum
)

// takes says which kinds of values a class takes without loss.
var takes = map[class][]types.Kind{
	classInt:      {types.Int, types.Uint},
	classFloat:    {types.Int, types.Uint, types.Double},
	classNumeric:  {types.Int, types.Uint, types.Double, types.Decimal},
	classBool:     {types.Bool},
	classText:     {types.String, types.Int, types.Uint, types.Double, types.Decimal, types.Bool, types.Bytes, types.Timestamp, types.Duration, types.List, types.Map, types.Object},
	classBytes:    {types.Bytes, types.String},
	classTime:     {types.Timestamp, types.String},
	classInterval: {types.Duration, types.String},
	classJSON:     {types.String, types.Int, types.Uint, types.Double, types.Decimal, types.Bool, types.Bytes, types.Timestamp, types.Duration, types.List, types.Map, types.Object},
	classArray:    {types.List},
	classOther:    {types.String},
}

func (c class) takes(k types.Kind) bool {
	switch k {
	case types.Dyn, types.Null, types.Union, types.Never, types.Optional:
		return true // seen at run time
	}
	return c == classAny || slices.Contains(takes[c], k)
}

// dialect is what two databases write differently.
type dialect struct {
	types map[types.Kind]string // what a column is declared as
	alter string                // how a column's type is changed: a format of table, column, type; "" if it can't
	// anyIndex says that an upsert takes any unique index for the key.
	anyIndex bool
}

var postgresDialect = dialect{
	types: map[types.Kind]string{types.Int: "bigint", types.Uint: "numeric(20)", types.Double: "double precision", types.Decimal: "numeric", types.Bool: "boolean", types.String: "text", types.Bytes: "bytea",
		types.Timestamp: "timestamptz", types.Duration: "interval", types.List: "jsonb", types.Map: "jsonb", types.Object: "jsonb"},
	alter: "ALTER TABLE %s ALTER COLUMN %s TYPE %s",
}

var sqliteDialect = dialect{
	types: map[types.Kind]string{types.Int: "INTEGER", types.Uint: "INTEGER", types.Double: "REAL", types.Decimal: "TEXT", types.Bool: "BOOLEAN", types.String: "TEXT", types.Bytes: "BLOB",
		types.Timestamp: "TIMESTAMP", types.Duration: "TEXT", types.List: "JSON", types.Map: "JSON", types.Object: "JSON"},
}

// declare is the type that a column for values of t is declared with.
func (d dialect) declare(t *types.Type) string {
	if s, ok := d.types[kindOf(t)]; ok {
		return s
	}
	return d.types[types.String]
}

func (t *table) column(name string) *column {
	for i := range t.columns {
		if t.columns[i].name == name {
			return &t.columns[i]
		}
	}
	return nil
}

// create is the statement that makes a table for values of a type; "" if nobody knows what is in it.
func (d dialect) create(quoted string, typ *types.Type, key []string) string {
	if typ == nil || len(typ.Fields) == 0 {
		return ""
	}
	var parts []string
	for _, f := range typ.Fields {
		part := quote(f.Name) + " " + d.declare(plain(f.Type))
		if t := f.Type; f.Required && t != nil && t.Kind != types.Optional && !t.Nullable && !t.IsDyn() {
			part += " NOT NULL"
		}
		parts = append(parts, part)
	}
	if len(key) > 0 {
		parts = append(parts, "PRIMARY KEY ("+quoteAll(key, ", ")+")")
	}
	return "CREATE TABLE " + quoted + " (" + strings.Join(parts, ", ") + ")"
}

// rowType is what is known of the rows, as an object; nil if nothing is.
func (s *sink) rowType() *types.Type {
	t := s.env.Type
	if s.config.Columns.Mapping != nil {
		t = s.config.Columns.Type
	}
	if t = plain(t); kindOf(t) == types.Object {
		return t
	}
	return nil
}

// missing is the error of a table that is not there.
func (s *sink) missing(name []string) error {
	e := &penstock.Error{Code: penstock.Config, Op: "sql", Path: s.env.Name, Err: fmt.Errorf("there is no table %s", s.config.Table)}
	switch ddl := s.table.dialect.create(quoteAll(name, "."), s.rowType(), s.config.Key); {
	case len(s.table.like) > 0:
		e.Hint = "there is " + strings.Join(s.table.like, ", ")
	case ddl != "":
		e.Hint = "make it: " + ddl
	default:
		e.Hint = "make it, or check its name and schema"
	}
	return e
}

// match finds the column of each field, and says everything that does not fit.
func (s *sink) match() error {
	t, typ := s.table, s.rowType()
	var said, hints []string
	wrong := func(hint, format string, args ...any) {
		said, hints = append(said, fmt.Sprintf(format, args...)), append(hints, hint)
	}
	var fields []types.Field
	if typ != nil {
		fields = typ.Fields
	}
	s.exact = typ != nil && !typ.Open
	given := map[string]*types.Type{}
	for _, f := range fields {
		want := plain(f.Type)
		given[f.Name] = want
		c := t.column(f.Name)
		switch {
		case c == nil:
			hint := "add it: ALTER TABLE " + t.quoted + " ADD COLUMN " + quote(f.Name) + " " + t.dialect.declare(want)
			if like := t.near(f.Name); like != "" {
				hint = "there is a column " + like + "; say what goes into it in `columns`, or: " + hint
			}
			wrong(hint, "there is no column %s", f.Name)
		case c.computed:
			wrong("leave it out", "the column %s is computed by the database, and can't be written", f.Name)
		case !c.class.takes(kindOf(want)):
			hint := "declare it otherwise in the schema, or convert it in a `map`"
			if t.dialect.alter != "" {
				hint += ", or change the column: " + fmt.Sprintf(t.dialect.alter, t.quoted, quote(f.Name), t.dialect.declare(want))
			}
			wrong(hint, "the column %s is %s, and what goes into it is %s", f.Name, c.typ, want.Brief())
		}
	}
	for i := range t.columns {
		c := &t.columns[i]
		want, known := given[c.name]
		if c.computed || s.exact && !known {
			if s.exact && !known && c.notNull && !c.preset && !c.computed {
				wrong("give it a value, or let it have none: a default, or no NOT NULL", "the column %s must have a value, and nothing goes into it", c.name)
			}
			continue
		}
		into := target{column: c, want: want, hint: new(jsonview.Hint), key: slices.Contains(s.config.Key, c.name)}
		if c.preset && !into.key && s.bits() < 63 { // the last one is the loader's
			into.bit = 1 << s.bits()
		}
		s.into = append(s.into, into)
	}
	s.checkKey(wrong)
	if t.plain != "" {
		wrong("ALTER TABLE "+t.quoted+" ENGINE = InnoDB", "its engine %s has no transactions: what is written could be there in part", t.plain)
	}
	if len(s.into) == 0 && len(said) == 0 {
		wrong("", "there is no column to write to")
	}
	return s.misfit(said, hints)
}

// misfit is the error of a table that is not what the flow writes to; nil where nothing is said. Of several faults each has a line, with what mends it below.
func (s *sink) misfit(said, hints []string) error {
	e := &penstock.Error{Code: penstock.Config, Op: "sql", Path: s.env.Name}
	switch len(said) {
	case 0:
		return nil
	case 1:
		e.Err, e.Hint = errors.New("table "+s.config.Table+": "+said[0]), hints[0]
		return e
	}
	var b strings.Builder
	b.WriteString("table " + s.config.Table + " does not fit")
	for i := range said {
		b.WriteString("\n- " + said[i])
		if hints[i] != "" {
			b.WriteString("\n  " + hints[i])
		}
	}
	e.Err = errors.New(b.String())
	return e
}

// bits counts the columns that may be left out.
func (s *sink) bits() (n int) {
	for _, t := range s.into {
		if t.bit != 0 {
			n++
		}
	}
	return n
}

// checkKey looks for the index that an upsert needs.
func (s *sink) checkKey(wrong func(hint, format string, args ...any)) {
	if len(s.config.Key) == 0 {
		return
	}
	for _, k := range s.config.Key {
		if !slices.ContainsFunc(s.into, func(t target) bool { return t.name == k }) {
			if s.table.column(k) == nil {
				wrong("", "there is no column %s, which is the key", k)
			} else {
				wrong("", "nothing goes into the column %s, which is the key", k)
			}
			return
		}
	}
	want := slices.Sorted(slices.Values(s.config.Key))
	found := false
	for _, u := range s.table.unique {
		if slices.Equal(want, slices.Sorted(slices.Values(u))) {
			found = true
		} else if s.table.dialect.anyIndex && s.writesAll(u) {
			wrong("leave one of its columns out, or say mode insert", "another unique index is on %s: MySQL takes a row that is there by that one for the row of the key, and would change it", strings.Join(u, ", "))
		}
	}
	if found {
		return
	}
	wrong("make one: CREATE UNIQUE INDEX "+quote(strings.ReplaceAll(s.config.Table, ".", "_")+"_"+strings.Join(s.config.Key, "_"))+" ON "+s.table.quoted+" ("+quoteAll(s.config.Key, ", ")+")",
		"no unique index is on just %s, so that mode %s can't tell which row it is", strings.Join(s.config.Key, ", "), s.mode)
}

// writesAll says that a message gives a value to every one of these columns.
func (s *sink) writesAll(columns []string) bool {
	return !slices.ContainsFunc(columns, func(name string) bool {
		return !slices.ContainsFunc(s.into, func(t target) bool { return t.name == name && (s.exact || t.bit == 0) })
	})
}

// near finds a column whose name differs by case and underscores only.
func (t *table) near(name string) string {
	for _, c := range t.columns {
		if alike(c.name, name) {
			return c.name
		}
	}
	return ""
}

func alike(a, b string) bool {
	strip := strings.NewReplacer("_", "", "-", "", " ", "")
	return strings.EqualFold(strip.Replace(a), strip.Replace(b))
}
