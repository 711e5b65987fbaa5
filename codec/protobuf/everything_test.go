package protobuf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/protobuf/protofile"
	"penstock.dev/penstock/jsonview"
)

// everything has a field of each kind.
const everything = `syntax = "proto3";
package test;
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

message Everything {
  int32 a_int32 = 1; int64 a_int64 = 2; uint32 a_uint32 = 3; uint64 a_uint64 = 4; sint32 a_sint32 = 5; sint64 a_sint64 = 6;
  fixed32 a_fixed32 = 7; fixed64 a_fixed64 = 8; sfixed32 a_sfixed32 = 9; sfixed64 a_sfixed64 = 10;
  float a_float = 11; double a_double = 12; bool a_bool = 13; string a_string = 14; bytes a_bytes = 15; Color a_color = 16;
  optional int32 o_int32 = 21; optional string o_string = 22; optional double o_double = 23; optional Color o_color = 24; optional bytes o_bytes = 25;
  repeated int32 r_int32 = 31; repeated sint64 r_sint64 = 32; repeated fixed64 r_fixed64 = 33; repeated float r_float = 34; repeated bool r_bool = 35;
  repeated string r_string = 36; repeated bytes r_bytes = 37; repeated Color r_color = 38; repeated Everything r_message = 39; repeated int64 r_unpacked = 40 [packed = false];
  map<string, string> m_string = 51; map<int32, Everything> m_message = 52; map<bool, double> m_bool = 53; map<uint64, Color> m_uint64 = 54; map<sint32, bytes> m_sint32 = 55; map<fixed64, sfixed32> m_fixed64 = 56;
  oneof choice { int64 c_int64 = 61; string c_string = 62; Everything c_message = 63; google.protobuf.NullValue c_null = 64; }
  oneof other { bool d_bool = 1000; bytes d_bytes = 70000; }
  Everything again = 71;
  Inner inner = 72;
  google.protobuf.Timestamp w_timestamp = 81; google.protobuf.Duration w_duration = 82; google.protobuf.Any w_any = 83; google.protobuf.Struct w_struct = 84; google.protobuf.Value w_value = 85;
  google.protobuf.ListValue w_list = 86; google.protobuf.FieldMask w_mask = 87; google.protobuf.Empty w_empty = 88; google.protobuf.Int64Value w_int64 = 89; google.protobuf.StringValue w_string = 90;
  google.protobuf.DoubleValue w_double = 91; google.protobuf.BoolValue w_bool = 92; google.protobuf.BytesValue w_bytes = 93; google.protobuf.UInt32Value w_uint32 = 94;
  repeated google.protobuf.Timestamp r_timestamp = 95; repeated google.protobuf.Value r_value = 96; map<string, google.protobuf.Any> m_any = 97;
  message Inner { string x = 1; Deeper deeper = 2; message Deeper { repeated Inner back = 1; } }
}
enum Color { COLOR_NONE = 0; COLOR_RED = 1; COLOR_GREEN = 2; COLOR_NEGATIVE = -3; COLOR_FAR = 100000; }
`

func newCodec(t testing.TB, source, message string) *codec {
	t.Helper()
	c, err := New(Config{Schema: penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.Protobuf, Text: []byte(source), Message: message}}}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c.(*codec)
}

func document(t testing.TB, text string) *jsonview.Doc {
	t.Helper()
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(text))
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

// maker makes messages at random.
type maker struct {
	r   *rand.Rand
	any protoreflect.MessageDescriptor // what an Any may hold
}

func (k *maker) text() string {
	out := ""
	for range k.r.IntN(6) {
		out += []string{"a", "Z", "\"", "\\", "\n", "é", "😀", "0", " ", "\u2028"}[k.r.IntN(10)]
	}
	return out
}

func (k *maker) message(m protoreflect.Message, depth int) {
	d := m.Descriptor()
	set := func(name string, v protoreflect.Value) { m.Set(d.Fields().ByName(protoreflect.Name(name)), v) }
	switch d.FullName() {
	case "google.protobuf.Timestamp":
		set("seconds", protoreflect.ValueOfInt64(firstSecond+k.r.Int64N(lastSecond-firstSecond)))
		set("nanos", protoreflect.ValueOfInt32(int32(k.r.IntN(1e9))))
		return
	case "google.protobuf.Duration":
		set("seconds", protoreflect.ValueOfInt64(-k.r.Int64N(mostSeconds)))
		set("nanos", protoreflect.ValueOfInt32(-int32(k.r.IntN(1000))*int32(k.r.IntN(1e6))))
		return
	case "google.protobuf.Any":
		if k.r.IntN(3) == 0 || depth <= 0 {
			in := dynamicpb.NewMessage(k.any.ParentFile().Imports().Get(5).Messages().Get(0)) // a Timestamp: a value in `value`
			k.message(in, 0)
			k.pack(m, in)
			return
		}
		in := dynamicpb.NewMessage(k.any)
		k.message(in, depth-2)
		k.pack(m, in)
		return
	case "google.protobuf.FieldMask":
		l := m.Mutable(d.Fields().Get(0)).List()
		for range k.r.IntN(3) {
			l.Append(protoreflect.ValueOfString([]string{"a", "b_c", "d.e_f"}[k.r.IntN(3)]))
		}
		return
	case "google.protobuf.Value":
		f := d.Fields().Get(k.r.IntN(4))
		if depth > 0 {
			f = d.Fields().Get(k.r.IntN(6))
		}
		v := k.value(m, f, depth)
		if f.Name() == "number_value" {
			v = protoreflect.ValueOfFloat64(k.r.NormFloat64())
		}
		m.Set(f, v)
		return
	}
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if k.r.IntN(4) > 0 && d.FullName() == "test.Everything" {
			continue
		}
		switch {
		case f.IsList():
			l := m.Mutable(f).List()
			for range k.r.IntN(4) {
				if f.Message() != nil && depth <= 0 {
					break
				}
				if f.Message() != nil {
					e := l.NewElement()
					k.message(e.Message(), depth-1)
					l.Append(e)
					continue
				}
				l.Append(k.value(m, f, depth))
			}
		case f.IsMap():
			if f.MapValue().Message() != nil && depth <= 0 {
				continue
			}
			mm := m.Mutable(f).Map()
			for range k.r.IntN(12) {
				v := mm.NewValue()
				if f.MapValue().Message() != nil {
					k.message(v.Message(), depth-2)
				} else {
					v = k.value(m, f.MapValue(), depth)
				}
				mm.Set(k.value(m, f.MapKey(), depth).MapKey(), v)
			}
		case f.Message() != nil && depth <= 0:
		default:
			m.Set(f, k.value(m, f, depth))
		}
	}
}

func (k *maker) pack(m protoreflect.Message, in proto.Message) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(in)
	if err != nil {
		panic(err)
	}
	m.Set(m.Descriptor().Fields().Get(0), protoreflect.ValueOfString("type.googleapis.com/"+string(in.ProtoReflect().Descriptor().FullName())))
	m.Set(m.Descriptor().Fields().Get(1), protoreflect.ValueOfBytes(raw))
}

func (k *maker) value(m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	bits := k.r.Uint64() >> (k.r.IntN(8) * 8)
	if k.r.IntN(6) == 0 {
		bits = 0
	}
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(bits&1 == 1)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(bits))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(bits))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(bits))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(bits)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(math.Float32frombits(uint32(bits)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(math.Float64frombits(bits))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(k.text())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(k.text()))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(k.r.IntN(f.Enum().Values().Len())).Number())
	}
	v := m.NewField(f)
	k.message(v.Message(), depth-1)
	return v
}

// TestDifferential holds the codec to another implementation, with messages at random: what it reads is what that reads, and the other way round; also
// where two messages stand one behind the other, which is one in which fields come twice.
func TestDifferential(t *testing.T) {
	c := newCodec(t, everything, "Everything")
	types := dynamicpb.NewTypes(files(t, c.descriptor))
	k := &maker{r: rand.New(rand.NewPCG(1, 2)), any: c.descriptor}
	for i := range 600 {
		m := dynamicpb.NewMessage(c.descriptor)
		k.message(m, 3)
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			other := dynamicpb.NewMessage(c.descriptor)
			k.message(other, 2)
			if raw, err = (proto.MarshalOptions{}).MarshalAppend(raw, other); err != nil {
				t.Fatal(err)
			}
			if err := proto.Unmarshal(raw, m); err != nil {
				t.Fatal(err)
			}
		}
		text, err := c.Decode(nil, raw)
		if err != nil {
			t.Fatalf("%x: %v\n%v", raw, err, m)
		}
		theirs := dynamicpb.NewMessage(c.descriptor)
		if err := (protojson.UnmarshalOptions{Resolver: types}).Unmarshal(text, theirs); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !same(m, theirs) {
			t.Fatalf("read %s\nwant %s", text, protojson.Format(m))
		}
		again, err := c.Encode(nil, document(t, string(text)))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		checkBytes(t, m, again)
		text, err = protojson.MarshalOptions{Resolver: types}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if again, err = c.Encode(nil, document(t, string(text))); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		checkBytes(t, m, again)
	}
}

func checkBytes(t *testing.T, m *dynamicpb.Message, raw []byte) {
	t.Helper()
	got := dynamicpb.NewMessage(m.Descriptor())
	if err := proto.Unmarshal(raw, got); err != nil {
		t.Fatal(err)
	}
	if !same(m, got) {
		t.Fatalf("wrote %v\nwant  %v", got, m)
	}
}

// same compares messages, what is in an Any as well, whose fields may stand in another order.
func same(a, b *dynamicpb.Message) bool {
	if proto.Equal(a, b) {
		return true
	}
	var texts [2]string
	for i, m := range []*dynamicpb.Message{a, b} {
		text, err := protojson.MarshalOptions{Resolver: dynamicpb.NewTypes(registryOf(m.Descriptor().ParentFile()))}.Marshal(m)
		if err != nil {
			return false
		}
		var v any
		if json.Unmarshal(text, &v) != nil {
			return false
		}
		text, _ = json.Marshal(v)
		texts[i] = string(text)
	}
	return texts[0] == texts[1]
}

func registryOf(f protoreflect.FileDescriptor) *protoregistry.Files {
	out := new(protoregistry.Files)
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		_ = out.RegisterFile(f)
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
	}
	add(f)
	return out
}

func files(t testing.TB, m protoreflect.MessageDescriptor) *protoregistry.Files {
	t.Helper()
	return registryOf(m.ParentFile())
}

func FuzzDecode(f *testing.F) {
	c := newCodec(f, everything, "Everything")
	k := &maker{r: rand.New(rand.NewPCG(3, 4)), any: c.descriptor}
	for range 20 {
		m := dynamicpb.NewMessage(c.descriptor)
		k.message(m, 2)
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		theirs := dynamicpb.NewMessage(c.descriptor)
		bad := theirRead(raw, theirs)
		text, err := c.Decode(nil, raw)
		if err != nil {
			if bad == nil && penstock.CodeOf(err) == penstock.Invalid && !strings.Contains(err.Error(), "deep") && !strings.Contains(err.Error(), "group") && !bytes.Contains(raw, []byte("type.googleapis")) {
				t.Fatalf("another implementation can read it: %v", err)
			}
			return
		}
		if !json.Valid(text) {
			t.Fatalf("no JSON: %q", text)
		}
		if bad != nil { // in what is replaced by something behind it, at which this one does not look
			return
		}
		d := new(jsonview.Doc)
		d.Reset(jsonview.JSON, text)
		if err := d.Parse(jsonview.Limits{}); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := c.Encode(nil, d)
		if err != nil {
			t.Fatalf("%s can't be written: %v", text, err)
		}
		back, err := c.Decode(nil, again)
		if err != nil || !bytes.Equal(back, text) {
			t.Fatalf("%s became %s, %v", text, back, err)
		}
	})
}

// theirRead reads by the other implementation, which panics on a key of a map that is of another type.
func theirRead(raw []byte, into *dynamicpb.Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(raw, into)
}

// FuzzSchema lets schemas be anything.
func FuzzSchema(f *testing.F) {
	f.Add(everything, []byte{8, 1})
	f.Add(`syntax = "proto2"; message M { required int32 a = 1; optional group G = 2 { extensions 5 to 10; } extend G { optional string s = 5; } }`, []byte{0x13, 0x14})
	f.Add(`edition = "2023"; message M { M m = 1 [features.message_encoding = DELIMITED]; oneof x { int32 a = 2; } }`, []byte{0x0b, 0x0c})
	f.Fuzz(func(t *testing.T, source string, raw []byte) {
		d, err := protofile.Compile(penstock.SchemaText{Language: penstock.Protobuf, Text: []byte(source)})
		if err != nil {
			return
		}
		text, err := compile(d).read(nil, raw, 1<<16, false)
		if err == nil && !json.Valid(text) {
			t.Fatalf("no JSON: %q", text)
		}
	})
}
