package protobuf

import (
	"sort"

	"google.golang.org/protobuf/reflect/protoreflect"

	"penstock.dev/penstock/codec/protobuf/protofile"
	"penstock.dev/penstock/jsonview"
)

// The types of the wire (Protocol Buffers, "Encoding").
const (
	wireVarint = 0
	wireFixed8 = 1 // 64 bits
	wireBytes  = 2
	wireBegin  = 3 // of a group
	wireEnd    = 4
	wireFixed4 = 5 // 32 bits
)

// special is a message that a document shows in a way of its own (ProtoJSON).
type special uint8

const (
	plain special = iota
	timestamp
	duration
	wrapper // of google.protobuf: a value that may be missing
	anyMessage
	fieldMask
	structMessage
	structValue
	listValue
)

// message is a compiled message type. It is read-only once it is compiled, and may lead back to itself.
type message struct {
	name   string
	as     special
	fields []field // by number
	dense  []int32 // index of a field by its number, plus one
	sparse map[int32]int32
	byName map[string]int32
	oneofs int
	needs  bool                                    // there are required fields
	known  func(fullName string) (*message, error) // of an Any
}

// field is one of a message.
type field struct {
	name     string // as documents have it
	key      []byte // `"name":`
	kind     protoreflect.Kind
	num      int32
	wire     uint8 // of one value
	tag      []byte
	packTag  []byte // where a list of it may be packed
	packed   bool   // … and is written so
	list     bool
	isMap    bool
	mapKey   *field
	mapValue *field
	implicit bool   // without presence: what is not there is zero
	zero     []byte // `"name":0,` for what is not there; nil: the document has no such member
	required bool
	utf8     bool
	oneof    int32 // index, or -1
	null     bool  // an enum that is google.protobuf.NullValue
	msg      *message
	enum     *enum
}

// enum is a compiled enum type.
type enum struct {
	name   string
	texts  map[int32][]byte // as JSON
	dense  [][]byte         // … of small numbers
	byName map[string]int32
}

func (e *enum) text(n int32) []byte {
	if uint(n) < uint(len(e.dense)) {
		return e.dense[n]
	}
	return e.texts[n]
}

// compiler compiles the messages that one leads to.
type compiler struct {
	done  map[protoreflect.FullName]*message
	enums map[protoreflect.FullName]*enum
	all   map[protoreflect.FullName]protoreflect.MessageDescriptor // for Any; made at the first need
}

func compile(d protoreflect.MessageDescriptor) *message {
	c := &compiler{done: map[protoreflect.FullName]*message{}, enums: map[protoreflect.FullName]*enum{}}
	if usesAny(d, map[protoreflect.FullName]bool{}) { // everything that may come in one, so that nothing changes later
		c.all = protofile.All(d.ParentFile())
		for _, other := range c.all {
			c.message(other)
		}
	}
	return c.message(d)
}

func usesAny(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if d.FullName() == "google.protobuf.Any" {
		return true
	}
	if seen[d.FullName()] {
		return false
	}
	seen[d.FullName()] = true
	for i := range d.Fields().Len() {
		if m := d.Fields().Get(i).Message(); m != nil && usesAny(m, seen) {
			return true
		}
	}
	return false
}

var specials = map[protoreflect.FullName]special{
	"google.protobuf.Timestamp": timestamp, "google.protobuf.Duration": duration, "google.protobuf.Any": anyMessage, "google.protobuf.FieldMask": fieldMask,
	"google.protobuf.Struct": structMessage, "google.protobuf.Value": structValue, "google.protobuf.ListValue": listValue,
	"google.protobuf.DoubleValue": wrapper, "google.protobuf.FloatValue": wrapper, "google.protobuf.Int64Value": wrapper, "google.protobuf.UInt64Value": wrapper,
	"google.protobuf.Int32Value": wrapper, "google.protobuf.UInt32Value": wrapper, "google.protobuf.BoolValue": wrapper, "google.protobuf.StringValue": wrapper,
	"google.protobuf.BytesValue": wrapper,
}

// denseNumbers is up to which number fields and enums are looked up in a list.
const denseNumbers = 512

func (c *compiler) message(d protoreflect.MessageDescriptor) *message {
	if m, ok := c.done[d.FullName()]; ok {
		return m
	}
	m := &message{name: string(d.FullName()), as: specials[d.FullName()], byName: map[string]int32{}, oneofs: d.Oneofs().Len()}
	c.done[d.FullName()] = m
	if m.as == anyMessage {
		m.known = func(name string) (*message, error) { return c.done[protoreflect.FullName(name)], nil }
	}
	fields := make([]protoreflect.FieldDescriptor, d.Fields().Len())
	for i := range fields {
		fields[i] = d.Fields().Get(i)
	}
	sort.Slice(fields, func(i, j int) bool { return fields[i].Number() < fields[j].Number() })
	m.fields = make([]field, len(fields))
	for i, f := range fields {
		c.field(&m.fields[i], f)
		m.needs = m.needs || m.fields[i].required
		n := int32(f.Number())
		if n < denseNumbers {
			for int(n) >= len(m.dense) {
				m.dense = append(m.dense, 0)
			}
			m.dense[n] = int32(i) + 1
		} else {
			if m.sparse == nil {
				m.sparse = map[int32]int32{}
			}
			m.sparse[n] = int32(i) + 1
		}
	}
	for i, f := range fields { // names of the source, too; those of JSON win
		m.byName[string(f.Name())] = int32(i)
	}
	for i := range m.fields {
		m.byName[m.fields[i].name] = int32(i)
	}
	return m
}

// at is the index of a field by its number, -1 where there is none.
func (m *message) at(num int32) int32 {
	if uint(num) < uint(len(m.dense)) {
		return m.dense[num] - 1
	}
	return m.sparse[num] - 1
}

func wireOf(k protoreflect.Kind) uint8 {
	switch k {
	case protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return wireFixed8
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return wireFixed4
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return wireBytes
	case protoreflect.GroupKind:
		return wireBegin
	}
	return wireVarint
}

func appendTag(dst []byte, num int32, wire uint8) []byte {
	return appendVarint(dst, uint64(uint32(num))<<3|uint64(wire))
}

func (c *compiler) field(out *field, f protoreflect.FieldDescriptor) {
	*out = field{name: f.JSONName(), kind: f.Kind(), num: int32(f.Number()), wire: wireOf(f.Kind()), list: f.IsList(), isMap: f.IsMap(), oneof: -1,
		required: f.Cardinality() == protoreflect.Required, utf8: f.Kind() == protoreflect.StringKind}
	if f.IsExtension() {
		out.name = string(f.FullName())
	}
	out.key = append(jsonview.AppendString(nil, out.name), ':')
	out.tag = appendTag(nil, out.num, out.wire)
	if out.list && out.wire != wireBytes && out.wire != wireBegin {
		out.packTag, out.packed = appendTag(nil, out.num, wireBytes), f.IsPacked()
	}
	if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
		out.oneof = int32(o.Index())
	}
	if e := f.Enum(); e != nil {
		out.enum = c.enumOf(e)
		out.null = e.FullName() == "google.protobuf.NullValue"
	}
	switch {
	case out.isMap:
		out.mapKey, out.mapValue = new(field), new(field)
		c.field(out.mapKey, f.MapKey())
		c.field(out.mapValue, f.MapValue())
	case f.Message() != nil:
		out.msg = c.message(f.Message())
	}
	out.implicit = !out.list && !out.isMap && !f.HasPresence()
	switch {
	case out.isMap:
		out.zero = append(append([]byte{}, out.key...), "{},"...)
	case out.list:
		out.zero = append(append([]byte{}, out.key...), "[],"...)
	case out.implicit:
		out.zero = append(out.zeroOf(append([]byte{}, out.key...)), ',')
	}
}

// zeroOf appends the JSON of a value of a field that is zero, where it is no message.
func (f *field) zeroOf(dst []byte) []byte {
	switch f.kind {
	case protoreflect.BoolKind:
		return append(dst, "false"...)
	case protoreflect.StringKind, protoreflect.BytesKind:
		return append(dst, `""`...)
	case protoreflect.EnumKind:
		if f.null {
			return append(dst, "null"...)
		}
		if t := f.enum.text(0); t != nil {
			return append(dst, t...)
		}
		return append(dst, '"', '"')
	}
	return append(dst, '0')
}

func (c *compiler) enumOf(d protoreflect.EnumDescriptor) *enum {
	if e, ok := c.enums[d.FullName()]; ok {
		return e
	}
	e := &enum{name: string(d.FullName()), texts: map[int32][]byte{}, byName: map[string]int32{}}
	c.enums[d.FullName()] = e
	for i := range d.Values().Len() {
		v := d.Values().Get(i)
		n := int32(v.Number())
		e.byName[string(v.Name())] = n
		if e.texts[n] == nil { // the first of several names is the one that is shown
			e.texts[n] = jsonview.AppendString(nil, string(v.Name()))
		}
	}
	for n := int32(0); n < denseNumbers && e.texts[n] != nil; n++ {
		e.dense = append(e.dense, e.texts[n])
	}
	return e
}

func (f *field) what() string {
	if f.msg != nil {
		return f.msg.name
	}
	if f.enum != nil {
		return f.enum.name
	}
	return f.kind.String()
}
