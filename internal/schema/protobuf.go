package schema

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/protobuf/protofile"
)

// FromProtobuf gives the JSON Schema of what documents of a Protobuf message are, as package codec/protobuf reads and writes them. Messages are
// closed. Fields without presence are required, since a message that lacks them has zeros there; all others may be absent. read gives what the source imports,
// by the path that the import says; it is put into s, which is what a registry and the codec need, with the full name of the message.
func FromProtobuf(s *penstock.SchemaText, read func(path string) ([]byte, error)) ([]byte, error) {
	d, err := protofile.Load(s, read)
	if err != nil {
		return nil, err
	}
	p := &protoReader{defs: map[string]any{}}
	root := p.message(d)
	if len(p.defs) > 0 {
		root["$defs"] = p.defs
	}
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if err := e.Encode(root); err != nil {
		return nil, err
	}
	return w.Bytes(), nil
}

// protoReader gathers messages and enums under $defs, so that one that holds itself can be said.
type protoReader struct{ defs map[string]any }

// wellKnown are the messages that documents show in a way of their own (ProtoJSON).
var wellKnown = map[protoreflect.FullName]object{
	"google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
	"google.protobuf.Duration":  {"type": "string", "format": "duration"},
	"google.protobuf.FieldMask": {"type": "string"},
	"google.protobuf.Struct":    {"type": "object", "additionalProperties": true},
	"google.protobuf.Value":     {},
	"google.protobuf.ListValue": {"type": "array"},
	"google.protobuf.Any":       {"type": "object", "additionalProperties": true},
}

func (p *protoReader) message(d protoreflect.MessageDescriptor) object {
	name := d.FullName()
	if known, ok := wellKnown[name]; ok {
		out := object{}
		for k, v := range known {
			out[k] = v
		}
		return out
	}
	if name.Parent() == "google.protobuf" && strings.HasSuffix(string(name), "Value") && d.Fields().Len() == 1 { // a wrapper
		return p.single(d.Fields().Get(0))
	}
	ref := object{"$ref": "#/$defs/" + string(name)}
	if _, ok := p.defs[string(name)]; ok {
		return ref
	}
	p.defs[string(name)] = object{} // for those that it holds
	properties, required, order := object{}, []any{}, []string{}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		s := p.field(f)
		if doc := comment(f); doc != "" {
			s = object{"allOf": []any{s}, "description": doc}
		}
		properties[f.JSONName()] = s
		order = append(order, f.JSONName())
		if f.IsList() || f.IsMap() || !f.HasPresence() || f.Cardinality() == protoreflect.Required {
			required = append(required, f.JSONName())
		}
	}
	out := object{"type": "object", "properties": ordered{order, properties}, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	if doc := comment(d); doc != "" {
		out["description"] = doc
	}
	p.defs[string(name)] = out
	return ref
}

// comment is what stands before a declaration.
func comment(d protoreflect.Descriptor) string {
	return strings.TrimSpace(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments)
}

func (p *protoReader) field(f protoreflect.FieldDescriptor) object {
	switch {
	case f.IsMap():
		return object{"type": "object", "additionalProperties": p.single(f.MapValue())}
	case f.IsList():
		return object{"type": "array", "items": p.single(f)}
	}
	return p.single(f)
}

func (p *protoReader) single(f protoreflect.FieldDescriptor) object {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return object{"type": "integer", "minimum": math.MinInt32, "maximum": math.MaxInt32}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return object{"type": "integer", "format": "int64"}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return object{"type": "integer", "minimum": 0, "maximum": math.MaxUint32}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{"type": "integer", "format": "uint64", "minimum": 0}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return object{"type": "number"}
	case protoreflect.StringKind:
		return object{"type": "string"}
	case protoreflect.BytesKind:
		return object{"type": "string", "contentEncoding": "base64"}
	case protoreflect.EnumKind:
		return p.enum(f.Enum())
	}
	return p.message(f.Message())
}

func (p *protoReader) enum(d protoreflect.EnumDescriptor) object {
	name := string(d.FullName())
	if name == "google.protobuf.NullValue" {
		return object{"type": "null"}
	}
	if _, ok := p.defs[name]; !ok {
		var names []any
		for i := range d.Values().Len() {
			names = append(names, string(d.Values().Get(i).Name()))
		}
		p.defs[name] = object{"type": "string", "enum": names}
	}
	return object{"$ref": "#/$defs/" + name}
}
