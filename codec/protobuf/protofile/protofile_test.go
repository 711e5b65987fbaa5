package protofile_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/protobuf/protofile"
)

func source(text, message string, files ...string) penstock.SchemaText {
	s := penstock.SchemaText{Language: penstock.Protobuf, Text: []byte(text), Message: message, Files: map[string][]byte{}}
	for i := 0; i < len(files); i += 2 {
		s.Files[files[i]] = []byte(files[i+1])
	}
	return s
}

const order = `syntax = "proto3"; package shop; import "shop/money.proto"; import "google/protobuf/timestamp.proto";
message Order { Money total = 1; google.protobuf.Timestamp placed = 2; map<string, Line> lines = 3; message Line { string sku = 1; message Part { int32 n = 1; } } }
message Other { repeated sint64 x = 1 [packed = false]; oneof y { int32 a = 2; string b = 3; } }`

const money = `syntax = "proto3"; package shop; message Money { int64 units = 1; Currency currency = 2; } enum Currency { NONE = 0; EUR = 1; }`

func TestCompile(t *testing.T) {
	for name, c := range map[string]struct {
		s    penstock.SchemaText
		want string // the message, or a part of the error
	}{
		"in full":            {source(order, "shop.Order", "shop/money.proto", money), "shop.Order"},
		"within the package": {source(order, "Order.Line", "shop/money.proto", money), "shop.Order.Line"},
		"the only one":       {source(money, ""), "shop.Money"},
		"which one":          {source(order, "", "shop/money.proto", money), "declares 2 messages (shop.Order, shop.Other)"},
		"of an import":       {source(order, "shop.Money", "shop/money.proto", money), "declares no message shop.Money"},
		"no import":          {source(order, "Order"), `could not resolve path "shop/money.proto"`},
		"a fault":            {source("syntax = \"proto3\";\nmessage M {\n  strng x = 1;\n}", ""), "line 3, column 3: field M.x: unknown type strng"},
		"a fault elsewhere":  {source(order, "Order", "shop/money.proto", "syntax = \"proto3\";\nmessage"), "shop/money.proto: line 2"},
		"it imports itself":  {source(order, "Order", "shop/money.proto", `syntax = "proto3"; import "shop/money.proto";`), "import"},
		"nothing":            {source("", ""), "there is no schema"},
		"no message":         {source(`syntax = "proto3";`, ""), "declares no message"},
	} {
		d, err := protofile.Compile(c.s)
		switch {
		case err == nil:
			if string(d.FullName()) != c.want {
				t.Errorf("%s: %s, want %s", name, d.FullName(), c.want)
			}
		case !strings.Contains(err.Error(), c.want) || !errors.As(err, new(*protofile.Error)):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// TestIndexPath does not count the entries of maps.
func TestIndexPath(t *testing.T) {
	f, err := protofile.File(source(order, "", "shop/money.proto", money))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[protoreflect.Name][]int{"Order": {0}, "Other": {1}} {
		if got := protofile.IndexPath(f.Messages().ByName(name)); !slices.Equal(got, want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	part := f.Messages().ByName("Order").Messages().ByName("Line").Messages().ByName("Part")
	if got := protofile.IndexPath(part); !slices.Equal(got, []int{0, 0, 0}) || protofile.AtIndex(f, got) != part {
		t.Errorf("%v", got)
	}
	for _, none := range [][]int{{2}, {0, 1}, {-1}, {1, 0}} {
		if m := protofile.AtIndex(f, none); m != nil {
			t.Errorf("%v: %s", none, m.FullName())
		}
	}
}

// TestFromDescriptors makes of a descriptor set what the sources were.
func TestFromDescriptors(t *testing.T) {
	f, err := protofile.File(source(order, "", "shop/money.proto", money))
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	for i := range f.Imports().Len() {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f.Imports().Get(i).FileDescriptor))
	}
	own := protodesc.ToFileDescriptorProto(f)
	own.Name = proto.String("shop/order.proto")
	set.File = append(set.File, own)
	raw, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	s, err := protofile.FromDescriptors(raw, "shop.Other")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Files) != 1 || s.Files["shop/money.proto"] == nil {
		t.Errorf("%q", s.Files)
	}
	again, err := protofile.Compile(s)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.Text)
	}
	is := protodesc.ToFileDescriptorProto(again.ParentFile())
	is.Name, is.SourceCodeInfo, own.SourceCodeInfo = own.Name, nil, nil // where things stand is another matter
	if !proto.Equal(is, own) {
		a, b := is.String(), own.String()
		n := 0
		for n < min(len(a), len(b)) && a[n] == b[n] {
			n++
		}
		t.Errorf("…%s\nwant …%s", a[n:], b[n:])
	}
	own.Dependency = append(own.Dependency, "gone.proto")
	broken, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{own}})
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		raw     []byte
		message string
	}{
		"is no descriptor set":     {[]byte("x"), "M"},
		"is not whole":             {broken, "shop.Other"},
		"has no message shop.None": {raw, "shop.None"},
		"with `message`":           {raw, ""},
	} {
		if _, err := protofile.FromDescriptors(c.raw, c.message); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
