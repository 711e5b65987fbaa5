package schema

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/hamba/avro/v2"
)

// FromAvro gives the JSON Schema of what documents of an Avro schema are, as package codec/avro reads and writes them: what is said of types, and
// checked of documents, is said and checked in one language. Records are closed; bytes are text of base64, decimals are exact
// numbers, times are as in RFC 3339. Labels (x-class, x-residency) beside a field or a type are kept.
func FromAvro(text []byte) (asJSON []byte, err error) {
	defer func() { // the library panics where a schema contradicts itself in some ways
		if p := recover(); p != nil {
			asJSON, err = nil, fmt.Errorf("avro: the schema contradicts itself: %v", p)
		}
	}()
	s, err := avro.ParseBytesWithCache(text, "", &avro.SchemaCache{})
	if err != nil {
		return nil, err
	}
	a := &avroReader{defs: map[string]any{}}
	root := a.schema(s)
	if len(a.defs) > 0 {
		root["$defs"] = a.defs
	}
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(root); err != nil {
		return nil, err
	}
	return w.Bytes(), nil
}

type object = map[string]any

// avroReader gathers named types under $defs, so that one that holds itself can be said.
type avroReader struct{ defs map[string]any }

func (a *avroReader) schema(s avro.Schema) object {
	switch s := s.(type) {
	case *avro.RefSchema:
		return a.named(s.Schema())
	case avro.NamedSchema:
		return a.named(s)
	case *avro.PrimitiveSchema:
		return withLabels(a.primitive(s), s)
	case *avro.NullSchema:
		return object{"type": "null"}
	case *avro.ArraySchema:
		return withLabels(object{"type": "array", "items": a.schema(s.Items())}, s)
	case *avro.MapSchema:
		return withLabels(object{"type": "object", "additionalProperties": a.schema(s.Values())}, s)
	case *avro.UnionSchema:
		var kinds []any
		for _, t := range s.Types() {
			kinds = append(kinds, a.schema(t))
		}
		if len(kinds) == 1 {
			return kinds[0].(object)
		}
		return object{"anyOf": kinds}
	}
	return object{}
}

// named refers to a record, enum or fixed.
func (a *avroReader) named(s avro.NamedSchema) object {
	name := s.FullName()
	ref := object{"$ref": "#/$defs/" + name}
	if _, ok := a.defs[name]; ok {
		return ref
	}
	a.defs[name] = object{} // for those that it holds
	switch s := s.(type) {
	case *avro.RecordSchema:
		properties, required := object{}, []any{}
		order := []string{}
		for _, f := range s.Fields() {
			p := a.schema(f.Type())
			if extra := labels(f); len(extra) > 0 || f.Doc() != "" {
				p = object{"allOf": []any{p}}
				for k, v := range extra {
					p[k] = v
				}
				if f.Doc() != "" {
					p["description"] = f.Doc()
				}
			}
			properties[f.Name()] = p
			order = append(order, f.Name())
			required = append(required, f.Name())
		}
		out := object{"type": "object", "properties": ordered{order, properties}, "required": required, "additionalProperties": false}
		if s.Doc() != "" {
			out["description"] = s.Doc()
		}
		a.defs[name] = withLabels(out, s)
	case *avro.EnumSchema:
		a.defs[name] = withLabels(object{"type": "string", "enum": s.Symbols()}, s)
	case *avro.FixedSchema:
		out := object{"type": "string", "contentEncoding": "base64"}
		if s.Logical() != nil && s.Logical().Type() == avro.Decimal {
			out = object{"type": "number", "format": "decimal"}
		}
		a.defs[name] = withLabels(out, s)
	}
	return ref
}

func (a *avroReader) primitive(s *avro.PrimitiveSchema) object {
	logical := avro.LogicalType("")
	if l := s.Logical(); l != nil {
		logical = l.Type()
	}
	switch s.Type() {
	case avro.Boolean:
		return object{"type": "boolean"}
	case avro.Int, avro.Long:
		switch logical {
		case avro.Date:
			return object{"type": "string", "format": "date"}
		case avro.TimestampMillis, avro.TimestampMicros:
			return object{"type": "string", "format": "date-time"}
		case avro.TimeMillis, avro.TimeMicros, avro.LocalTimestampMillis, avro.LocalTimestampMicros:
			return object{"type": "string"}
		}
		if s.Type() == avro.Int {
			return object{"type": "integer", "minimum": -1 << 31, "maximum": 1<<31 - 1}
		}
		return object{"type": "integer"}
	case avro.Float, avro.Double:
		return object{"type": "number"}
	case avro.Bytes:
		if logical == avro.Decimal {
			return object{"type": "number", "format": "decimal"}
		}
		return object{"type": "string", "contentEncoding": "base64"}
	}
	return object{"type": "string"}
}

// props is what schemas and fields share.
type props interface{ Prop(name string) any }

// labels are what a schema says beside Avro's own words.
func labels(p props) object {
	out := object{}
	for _, name := range []string{"x-class", "x-residency"} {
		if v := p.Prop(name); v != nil {
			out[name] = v
		}
	}
	return out
}

func withLabels(o object, p props) object {
	for k, v := range labels(p) {
		o[k] = v
	}
	return o
}

// ordered is an object that keeps the order of its members.
type ordered struct {
	names  []string
	values object
}

// MarshalJSON implements json.Marshaler.
func (o ordered) MarshalJSON() ([]byte, error) {
	var w bytes.Buffer
	w.WriteByte('{')
	for i, name := range o.names {
		if i > 0 {
			w.WriteByte(',')
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(o.values[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		w.Write(key)
		w.WriteByte(':')
		w.Write(value)
	}
	w.WriteByte('}')
	return w.Bytes(), nil
}
