package avro

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hamba/avro/v2"

	"penstock.dev/penstock/jsonview"
)

// op is what stands in the bytes, and how it is shown in a document.
type op uint8

const (
	opNull op = iota
	opBool
	opInt       // 32 bits
	opLong      // 64 bits
	opFloat     // IEEE 754 binary32
	opDouble    // IEEE 754 binary64
	opBytes     // text of base64
	opString    //
	opFixed     // size bytes; text of base64
	opEnum      // an index of symbols
	opArray     //
	opMap       //
	opRecord    //
	opUnion     //
	opDecimal   // bytes with a scale; an exact number
	opDecimalIn // … in size bytes
	opDate      // days since 1970
	opTime      // of day, in units of a second
	opInstant   // since 1970, in units of a second, UTC
	opLocal     // … without a zone
)

// node is a compiled schema: what a writer wrote, as a reader wants to see it. It is read-only once it is compiled, and may lead back to itself.
type node struct {
	op      op
	name    string // of a record, enum or fixed
	size    int    // of a fixed
	scale   int    // of a decimal
	units   int64  // of a second: 1e3 or 1e6
	elem    *node
	fields  []field
	kinds   []*node  // of a union
	symbols [][]byte // of an enum, as JSON texts
	texts   []string // … as they are
	whole   bool     // an integer that a reader sees as a floating-point number
	missing []byte   // of a record: `"name":default,…` for what the reader has and the writer doesn't
}

// field is one of a record.
type field struct {
	name    string
	key     []byte // `"name":`
	node    *node
	skip    bool   // the reader has no such field
	preset  []byte // the default in Avro's bytes, where the field has one; for writing
	hasNull bool
}

// compiler compiles one schema.
type compiler struct {
	done map[pair]*node
}

type pair struct{ writer, reader avro.Schema }

// parse reads a schema. Names are its own: nothing is shared with other schemas.
func parse(text []byte) (avro.Schema, error) { return parseWith(text, nil) }

// parseWith reads a schema whose names are partly declared in others, as the references of a registry give them.
func parseWith(text []byte, others map[string][]byte) (s avro.Schema, err error) {
	if len(text) == 0 {
		return nil, errors.New("there is no schema")
	}
	defer refused(&err)
	cache := &avro.SchemaCache{}
	left := slices.Sorted(maps.Keys(others))
	for range others { // what others need comes first, and nobody says what that is
		left = slices.DeleteFunc(left, func(name string) bool {
			attempt := &avro.SchemaCache{}
			attempt.AddAll(cache)
			if _, err := avro.ParseBytesWithCache(others[name], "", attempt); err != nil {
				return false
			}
			cache.AddAll(attempt)
			return true
		})
	}
	return avro.ParseBytesWithCache(text, "", cache)
}

// refused makes an error of a panic: the library panics where a schema contradicts itself in some ways, such as a field whose default
// is a record that is not yet declared to its end.
func refused(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the schema contradicts itself: %v", p)
	}
}

// compile makes the node by which bytes of writer are read as reader has it, which may be the same schema (Avro 1.11, "Schema Resolution").
func compile(writer, reader avro.Schema) (n *node, err error) {
	defer refused(&err)
	if writer != reader {
		if err := avro.NewSchemaCompatibility().Compatible(reader, writer); err != nil {
			return nil, err
		}
	}
	c := &compiler{done: map[pair]*node{}}
	return c.node(writer, reader)
}

// behind is what a reference leads to.
func behind(s avro.Schema) avro.Schema {
	if r, ok := s.(*avro.RefSchema); ok {
		return r.Schema()
	}
	return s
}

func (c *compiler) node(w, r avro.Schema) (*node, error) {
	w, r = behind(w), behind(r)
	if n, ok := c.done[pair{w, r}]; ok {
		return n, nil
	}
	n := &node{}
	c.done[pair{w, r}] = n
	if u, ok := w.(*avro.UnionSchema); ok {
		n.op = opUnion
		for _, t := range u.Types() {
			k, err := c.node(t, pick(t, r))
			if err != nil {
				return nil, err
			}
			n.kinds = append(n.kinds, k)
		}
		return n, nil
	}
	if u, ok := r.(*avro.UnionSchema); ok { // the writer had one of the reader's kinds
		r = behind(pick(w, u))
	}
	switch w := w.(type) {
	case *avro.PrimitiveSchema:
		return n, c.primitive(n, w, r)
	case *avro.NullSchema:
		n.op = opNull
	case *avro.FixedSchema:
		n.op, n.name, n.size = opFixed, w.FullName(), w.Size()
		if d, ok := w.Logical().(*avro.DecimalLogicalSchema); ok {
			n.op, n.scale = opDecimalIn, d.Scale()
		}
	case *avro.EnumSchema:
		c.enum(n, w, r)
	case *avro.ArraySchema:
		n.op = opArray
		return n, c.below(n, w.Items(), r, func(r avro.Schema) (avro.Schema, bool) {
			a, ok := r.(*avro.ArraySchema)
			if !ok {
				return nil, false
			}
			return a.Items(), true
		})
	case *avro.MapSchema:
		n.op = opMap
		return n, c.below(n, w.Values(), r, func(r avro.Schema) (avro.Schema, bool) {
			m, ok := r.(*avro.MapSchema)
			if !ok {
				return nil, false
			}
			return m.Values(), true
		})
	case *avro.RecordSchema:
		return n, c.record(n, w, r)
	default:
		return nil, fmt.Errorf("a schema of type %s is not read", w.Type())
	}
	return n, nil
}

func (c *compiler) below(n *node, w, r avro.Schema, of func(avro.Schema) (avro.Schema, bool)) (err error) {
	elem, ok := of(r)
	if !ok {
		return fmt.Errorf("the reader has %s where the writer has a collection", r.Type())
	}
	n.elem, err = c.node(w, elem)
	return err
}

// pick is what a reader's schema has for one kind of a writer's: of a union the first that can read it.
func pick(w, r avro.Schema) avro.Schema {
	u, ok := behind(r).(*avro.UnionSchema)
	if !ok {
		return r
	}
	w = behind(w)
	for _, exact := range []bool{true, false} {
		for _, t := range u.Types() {
			t = behind(t)
			if t.Type() == w.Type() && (!exact || fullName(t) == fullName(w)) {
				return t
			}
		}
	}
	for _, t := range u.Types() {
		if avro.NewSchemaCompatibility().Compatible(t, w) == nil {
			return t
		}
	}
	return w // never written by who keeps to the reader's schema
}

func fullName(s avro.Schema) string {
	if n, ok := s.(avro.NamedSchema); ok {
		return n.FullName()
	}
	return ""
}

func (c *compiler) primitive(n *node, w *avro.PrimitiveSchema, r avro.Schema) error {
	logical := avro.LogicalType("")
	if l := w.Logical(); l != nil {
		logical = l.Type()
	}
	switch w.Type() {
	case avro.Boolean:
		n.op = opBool
	case avro.Int:
		n.op = opInt
		switch logical {
		case avro.Date:
			n.op = opDate
		case avro.TimeMillis:
			n.op, n.units = opTime, 1e3
		}
	case avro.Long:
		n.op = opLong
		switch logical {
		case avro.TimeMicros:
			n.op, n.units = opTime, 1e6
		case avro.TimestampMillis:
			n.op, n.units = opInstant, 1e3
		case avro.TimestampMicros:
			n.op, n.units = opInstant, 1e6
		case avro.LocalTimestampMillis:
			n.op, n.units = opLocal, 1e3
		case avro.LocalTimestampMicros:
			n.op, n.units = opLocal, 1e6
		}
	case avro.Float:
		n.op = opFloat
	case avro.Double:
		n.op = opDouble
	case avro.Bytes:
		n.op = opBytes
		if d, ok := w.Logical().(*avro.DecimalLogicalSchema); ok {
			n.op, n.scale = opDecimal, d.Scale()
		} else if r.Type() == avro.String {
			n.op = opString
		}
	case avro.String:
		n.op = opString
		if r.Type() == avro.Bytes {
			n.op = opBytes
		}
	default:
		return fmt.Errorf("a schema of type %s is not read", w.Type())
	}
	n.whole = (n.op == opInt || n.op == opLong) && (r.Type() == avro.Float || r.Type() == avro.Double)
	return nil
}

// enum gives a symbol that the reader doesn't know the reader's default.
func (c *compiler) enum(n *node, w *avro.EnumSchema, r avro.Schema) {
	n.op, n.name = opEnum, w.FullName()
	reader, _ := r.(*avro.EnumSchema)
	for _, s := range w.Symbols() {
		n.texts = append(n.texts, s)
		if reader != nil && !slices.Contains(reader.Symbols(), s) && reader.HasDefault() {
			s = reader.Default()
		}
		n.symbols = append(n.symbols, jsonview.AppendString(nil, s))
	}
}

func (c *compiler) record(n *node, w *avro.RecordSchema, r avro.Schema) error {
	reader, ok := r.(*avro.RecordSchema)
	if !ok {
		return fmt.Errorf("the reader has %s where the writer has the record %s", r.Type(), w.FullName())
	}
	n.op, n.name = opRecord, w.FullName()
	known := map[string]bool{}
	for _, f := range w.Fields() {
		out := field{name: f.Name()}
		as := findField(reader, f.Name())
		typ := f.Type()
		if as == nil {
			out.skip, as = true, f
		}
		known[as.Name()] = !out.skip
		out.key = append(jsonview.AppendString(nil, as.Name()), ':')
		var err error
		if out.node, err = c.node(typ, as.Type()); err != nil {
			return fmt.Errorf("%s.%s: %w", w.FullName(), f.Name(), err)
		}
		if u, ok := behind(typ).(*avro.UnionSchema); ok {
			out.hasNull = u.Nullable() || u.Contains(avro.Null)
		}
		n.fields = append(n.fields, out)
	}
	if w == reader {
		return c.presets(n, w)
	}
	for _, f := range reader.Fields() {
		if known[f.Name()] {
			continue
		}
		if !f.HasDefault() {
			return fmt.Errorf("%s.%s: the writer has no such field, and it has no default", w.FullName(), f.Name())
		}
		text, err := c.shown(f.Type(), f.Default())
		if err != nil {
			return fmt.Errorf("the default of %s.%s: %w", w.FullName(), f.Name(), err)
		}
		n.missing = append(append(jsonview.AppendString(n.missing, f.Name()), ':'), text...)
		n.missing = append(n.missing, ',')
	}
	return nil
}

// findField finds a reader's field by the writer's name of it, or by an alias.
func findField(r *avro.RecordSchema, name string) *avro.Field {
	for _, f := range r.Fields() {
		if f.Name() == name {
			return f
		}
	}
	for _, f := range r.Fields() {
		if slices.Contains(f.Aliases(), name) {
			return f
		}
	}
	return nil
}

// presets keeps the defaults of fields in Avro's bytes.
func (c *compiler) presets(n *node, w *avro.RecordSchema) error {
	for i, f := range w.Fields() {
		if !f.HasDefault() {
			continue
		}
		raw, err := defaultBytes(f)
		if err != nil {
			return fmt.Errorf("the default of %s.%s: %w", w.FullName(), f.Name(), err)
		}
		n.fields[i].preset = raw
	}
	return nil
}

// defaultBytes encodes a field's default. That of a union is of its first kind (Avro 1.11, "Complex Types").
func defaultBytes(f *avro.Field) ([]byte, error) {
	schema, value := f.Type(), f.Default()
	if u, ok := behind(schema).(*avro.UnionSchema); ok {
		first := u.Types()[0]
		raw, err := avro.Marshal(first, value)
		if behind(first).Type() == avro.Null {
			raw, err = nil, nil
		}
		return append([]byte{0}, raw...), err
	}
	if behind(schema).Type() == avro.Null {
		return []byte{}, nil
	}
	return avro.Marshal(schema, value)
}

// shown is a default as a document has it.
func (c *compiler) shown(schema avro.Schema, value any) ([]byte, error) {
	if u, ok := behind(schema).(*avro.UnionSchema); ok {
		schema = u.Types()[0]
	}
	if value == nil || behind(schema).Type() == avro.Null {
		return []byte("null"), nil
	}
	raw, err := avro.Marshal(schema, value)
	if err != nil {
		return nil, err
	}
	n, err := (&compiler{done: map[pair]*node{}}).node(schema, schema)
	if err != nil {
		return nil, err
	}
	text, err := n.read(nil, raw, len(raw)*4+1<<16)
	if err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		return nil, errors.New("it is no JSON")
	}
	return text, nil
}
