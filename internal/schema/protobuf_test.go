package schema

import (
	"io/fs"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// TestFromProtobuf reads a message as a type, and holds documents to it.
func TestFromProtobuf(t *testing.T) {
	s := penstock.SchemaText{Language: penstock.Protobuf, Text: []byte(`syntax = "proto3"; package p;
import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/wrappers.proto"; import "google/protobuf/struct.proto"; import "google/protobuf/any.proto";
message M {
  int64 big_number = 1; uint64 u = 2; double d = 3; bytes b = 4; E e = 5; // what it is
  optional string note = 6;
  google.protobuf.Timestamp at = 7; google.protobuf.Duration took = 8; google.protobuf.Int32Value maybe = 9; google.protobuf.Value any = 10; google.protobuf.Struct s = 11; google.protobuf.Any a = 12;
  repeated M below = 13; map<int32, bool> flags = 14;
  oneof x { string left = 15; int32 right = 16; }
}
enum E { NONE = 0; SOME = 1; }`)}
	text, err := FromProtobuf(&s, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
	if err != nil {
		t.Fatal(err)
	}
	if s.Message != "p.M" {
		t.Errorf("the message is %q", s.Message)
	}
	read, err := Parse("m", text)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		kind     types.Kind
		required bool
	}{
		"bigNumber": {types.Int, true}, "u": {types.Uint, true}, "d": {types.Double, true}, "b": {types.Bytes, true}, "e": {types.String, true}, "note": {types.String, false},
		"at": {types.Timestamp, false}, "took": {types.Duration, false}, "maybe": {types.Int, false}, "any": {types.Dyn, false}, "a": {types.Map, false},
		"below": {types.List, true}, "left": {types.String, false}, "right": {types.Int, false},
	} {
		f, ok := read.Type.Field(name)
		if !ok || f.Type.Kind != want.kind || f.Required != want.required {
			t.Errorf("%s: %+v %+v, want %+v", name, f, f.Type, want)
		}
	}
	v := read.Validator()
	for text, faults := range map[string]int{
		`{"bigNumber":1,"u":1,"d":1,"b":"","e":"SOME","below":[],"flags":{"1":true}}`:           0,
		`{"bigNumber":1.5,"u":-1,"d":1,"b":"","e":"ANY","below":[],"flags":{},"at":"x","no":1}`: 5,
	} {
		d := new(jsonview.Doc)
		d.Reset(jsonview.JSON, []byte(text))
		if err := d.Parse(jsonview.Limits{}); err != nil {
			t.Fatal(err)
		}
		if got := v.Validate(d); len(got) != faults {
			t.Errorf("%s: %v", text, got)
		}
	}
}
