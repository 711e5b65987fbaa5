package protobuf

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
)

const orderSource = `syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
message Order {
  string id = 1;
  google.protobuf.Timestamp placed = 2;
  Customer customer = 3;
  Status status = 4;
  int64 total_cents = 5;
  repeated Line lines = 6;
  map<string, string> tags = 7;
  message Customer { string name = 1; optional string email = 2; bool vip = 3; }
  message Line { string sku = 1; int32 quantity = 2; double price = 3; }
}
enum Status { OPEN = 0; PAID = 1; SENT = 2; }
`

const orderText = `{"id":"A-1","placed":"2026-01-05T10:15:00.25Z","customer":{"name":"Ada","vip":true},"status":"PAID","totalCents":1990,` +
	`"lines":[{"sku":"cup","quantity":2,"price":4.5},{"sku":"pot","quantity":1,"price":10.9}],"tags":{"channel":"web"}}`

func TestRoundTrip(t *testing.T) {
	order := func(text, want string) [4]string { return [4]string{orderSource, "Order", text, want} }
	for name, c := range map[string][4]string{
		"an order": order(orderText, ""),
		"zeros": order(`{"id":"","customer":null}`,
			`{"id":"","status":"OPEN","totalCents":0,"lines":[],"tags":{}}`),
		"names of the source": order(`{"total_cents":"9007199254740993","status":2}`,
			`{"id":"","status":"SENT","totalCents":9007199254740993,"lines":[],"tags":{}}`),
		"an empty message inside": order(`{"customer":{},"lines":[{}]}`,
			`{"id":"","customer":{"name":"","vip":false},"status":"OPEN","totalCents":0,"lines":[{"sku":"","quantity":0,"price":0}],"tags":{}}`),
		"numbers that are whole": order(`{"totalCents":1.5e3}`, `{"id":"","status":"OPEN","totalCents":1500,"lines":[],"tags":{}}`),
		"proto2": {`syntax = "proto2"; message M { required int32 a = 1; optional string b = 2 [default = "x"]; repeated group G = 3 { optional int64 n = 1; optional group H = 2 { optional bool y = 1; } } repeated int32 p = 4; }`,
			"", `{"a":0,"g":[{"n":7,"h":{"y":false}},{}],"p":[1,2]}`, ""},
		"editions": {`edition = "2023"; message M { M m = 1 [features.message_encoding = DELIMITED]; int32 z = 2 [features.field_presence = IMPLICIT]; }`,
			"", `{"m":{"m":{"z":1},"z":0},"z":0}`, ""},
		"far numbers": {`syntax = "proto3"; message M { string far = 536870911; uint64 u = 1; }`, "", `{"u":18446744073709551615,"far":"x"}`, ""},
		"anything": {`syntax = "proto3"; import "google/protobuf/struct.proto"; message M { google.protobuf.Value v = 1; repeated google.protobuf.Value l = 2; }`,
			"", `{"v":null,"l":[1,null,"x",true,{"a":[{}]}]}`, ""},
		"an Any that is known":   {`syntax = "proto3"; import "google/protobuf/any.proto"; message M { google.protobuf.Any a = 1; } message N { int32 x = 1; }`, "M", `{"a":{"@type":"type.googleapis.com/N","x":5}}`, ""},
		"an Any that is unknown": {`syntax = "proto3"; import "google/protobuf/any.proto"; message M { google.protobuf.Any a = 1; } message N { int32 x = 1; }`, "M", `{"a":{"@type":"type.googleapis.com/Q","value":"CAU="}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := newCodec(t, c[0], c[1])
			raw, err := k.Encode([]byte("before"), document(t, c[2]))
			if err != nil {
				t.Fatal(err)
			}
			raw = raw[len("before"):]
			if err := proto.Unmarshal(raw, dynamicpb.NewMessage(k.descriptor)); err != nil {
				t.Fatalf("another reader: %v", err)
			}
			text, err := k.Decode([]byte("x"), raw)
			if err != nil {
				t.Fatal(err)
			}
			want := c[3]
			if want == "" {
				want = c[2]
			}
			if string(text) != "x"+want {
				t.Errorf("read %s\nwant %s", text[1:], want)
			}
		})
	}
}

func TestMisfits(t *testing.T) {
	for text, want := range map[string]string{
		`{"id":1}`:                          "body.id: the schema wants text, and this is 1",
		`{"placed":"soon"}`:                 `body.placed: the schema wants a time as in RFC 3339, and this is the text "soon"`,
		`{"customer":{"email":5}}`:          "body.customer.email: the schema wants text, and this is 5",
		`{"status":"GONE"}`:                 "body.status: the schema wants one of OPEN, PAID, SENT",
		`{"status":7}`:                      "body.status: the schema wants one of OPEN, PAID, SENT, and this is 7",
		`{"totalCents":1.005}`:              "body.totalCents: the schema wants a whole number, and this is 1.005",
		`{"lines":[{},{"sku":7}]}`:          "body.lines[1].sku: the schema wants text",
		`{"lines":[{"quantity":1e10}]}`:     "body.lines[0].quantity: the schema wants a whole number of 32 bits",
		`{"lines":[null]}`:                  "body.lines[0]: the schema wants a message shop.Order.Line, and this is null",
		`{"customer":{"nme":1}}`:            "body.customer.nme: the message shop.Order.Customer of the schema has no such field",
		`{"tags":{"a":1}}`:                  "body.tags.a: the schema wants text",
		`{"total_cents":1,"totalCents":1}`:  "body.totalCents: it is there twice",
		`[]`:                                "body: the schema wants a message shop.Order, and this is a list",
		`{"lines":{}}`:                      "body.lines: the schema wants a list",
		`{"placed":"0000-01-01T00:00:00Z"}`: "body.placed: the schema wants a time",
	} {
		dst, err := newCodec(t, orderSource, "Order").Encode([]byte("kept"), document(t, text))
		if err == nil || !strings.Contains(err.Error(), want) || penstock.CodeOf(err) != penstock.Unprocessable {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		if string(dst) != "kept" {
			t.Errorf("something was written: %q", dst)
		}
	}
	k := newCodec(t, everything, "Everything")
	for text, want := range map[string]string{
		`{"cInt64":1,"cString":"x"}`: "body.cString: the schema has either this or cInt64, and both are there",
		`{"mInt32":{}}`:              "has no such field",
		`{"mMessage":{"x":{}}}`:      "body.mMessage.x: the schema wants keys of int32",
		`{"aUint64":-1}`:             "without a sign",
		`{"aBytes":"?"}`:             "base64",
		`{"wDuration":"5m"}`:         "a duration in seconds",
		`{"wAny":{"x":1}}`:           "`@type`",
	} {
		if _, err := k.Encode(nil, document(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	two := newCodec(t, `syntax = "proto2"; message M { required int32 a = 1; }`, "")
	if _, err := two.Encode(nil, document(t, `{}`)); err == nil || !strings.Contains(err.Error(), "body.a: the schema requires a value here") {
		t.Error(err)
	}
	if _, err := two.Decode(nil, nil); err == nil || !strings.Contains(err.Error(), "body.a, byte 0: the schema requires it") {
		t.Error(err)
	}
}

func TestBadBytes(t *testing.T) {
	k := newCodec(t, orderSource, "Order")
	raw, err := k.Encode(nil, document(t, orderText))
	if err != nil {
		t.Fatal(err)
	}
	for n := range raw { // what is cut off between two fields is a message, too
		if _, err := k.Decode(nil, raw[:n]); err != nil && penstock.CodeOf(err) != penstock.Invalid {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	e := newCodec(t, everything, "Everything")
	deep := []byte{}
	for range 600 {
		deep = append(appendVarint(append(deep[:0:0], 0xba, 0x04), uint64(len(deep))), deep...)
	}
	for name, c := range map[string]struct {
		k    *codec
		raw  []byte
		code penstock.Code
		want string
	}{
		"no UTF-8":             {k, []byte{0x0a, 1, 0xff}, penstock.Invalid, "body.id, byte 2: a string is no UTF-8"},
		"another type":         {k, []byte{0x08, 1}, penstock.Unprocessable, "body.id, byte 0: the schema wants string, and the wire type is varint"},
		"an unknown symbol":    {k, []byte{0x20, 9}, penstock.Unprocessable, "body.status, byte 0: the enum shop.Status has no value of the number 9"},
		"in a list":            {k, []byte{0x32, 0, 0x32, 3, 0x0a, 1, 0xff}, penstock.Invalid, "body.lines[1].sku, byte 6"},
		"a tag of zero":        {k, []byte{0x00}, penstock.Invalid, "byte 0"},
		"a group that ends":    {k, []byte{0x0c}, penstock.Invalid, "wire type 4"},
		"a wire type of 7":     {k, []byte{0x0f}, penstock.Invalid, "wire type 7"},
		"a length beyond it":   {k, []byte{0x0a, 0x7f}, penstock.Invalid, "byte 1"},
		"a varint without end": {k, bytes.Repeat([]byte{0xff}, 20), penstock.Invalid, "byte 0"},
		"endlessly deep":       {e, deep, penstock.Invalid, "nested more than"},
		"an open group":        {e, []byte{0xfb, 0x7f}, penstock.Invalid, "a group is not closed"},
		"a time that is none":  {k, []byte{0x12, 2, 0x10, 0xff, 1}[:4], penstock.Invalid, "body.placed"},
	} {
		_, err := c.k.Decode(nil, c.raw)
		if penstock.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := newCodecOf(t, Config{Unknown: "refuse"}, orderSource, "Order").Decode(nil, []byte{0x78, 1}); penstock.CodeOf(err) != penstock.Unprocessable || !strings.Contains(err.Error(), "shop.Order has no field number 15") {
		t.Error(err)
	}
	if text, err := k.Decode(nil, []byte{0x78, 1}); err != nil {
		t.Errorf("%s, %v", text, err)
	}
	e.max = 1 << 16
	bomb := bytes.Repeat([]byte{0xba, 0x02, 0}, 1<<14) // lists of messages that are all zeros
	if _, err := e.Decode(nil, bomb); penstock.CodeOf(err) != penstock.TooLarge {
		t.Errorf("a bomb: %v", err)
	}
}

func newCodecOf(t testing.TB, c Config, source, message string) *codec {
	t.Helper()
	c.Schema = penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.Protobuf, Text: []byte(source), Message: message}}
	k, err := New(c, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return k.(*codec)
}

// registry is a schema registry in memory.
type registry struct {
	schemas map[int]penstock.SchemaText
	asked   int
}

func (r *registry) ByID(_ context.Context, id int) (penstock.SchemaText, error) {
	r.asked++
	s, ok := r.schemas[id]
	if !ok {
		return penstock.SchemaText{}, penstock.E(penstock.NotFound, "registry", "", fmt.Sprintf("there is no schema %d", id))
	}
	return s, nil
}

func (r *registry) ID(_ context.Context, _ string, s penstock.SchemaText, register bool) (int, error) {
	r.asked++
	for id, is := range r.schemas {
		if string(is.Text) == string(s.Text) {
			return id, nil
		}
	}
	if !register {
		return 0, penstock.E(penstock.NotFound, "registry", "", "the subject has no such schema")
	}
	id := 300 + len(r.schemas)
	s.Message = "" // a registry keeps the file alone
	r.schemas[id] = s
	return id, nil
}

func (r *registry) Compatible(context.Context, string, penstock.SchemaText) ([]string, error) {
	return nil, nil
}

// TestEvolution reads what was written with other schemas.
func TestEvolution(t *testing.T) {
	const first = `syntax = "proto3"; package p; message Other { int32 x = 1; } message M { int32 a = 1; string b = 2; }`
	for _, c := range []struct{ name, reader, want, bad string }{
		{"the same", first, `{"a":5,"b":"x"}`, ""},
		{"a field less", `syntax = "proto3"; package p; message M { int32 a = 1; }`, `{"a":5}`, ""},
		{"a field more", `syntax = "proto3"; package p; message M { int32 a = 1; string b = 2; bool c = 3; }`, `{"a":5,"b":"x","c":false}`, ""},
		{"another name, wider", `syntax = "proto3"; package p; message M { int64 aa = 1; bytes b = 2; }`, `{"aa":5,"b":"eA=="}`, ""},
		{"a list now", `syntax = "proto3"; package p; message M { repeated int32 a = 1; string b = 2; }`, `{"a":[5],"b":"x"}`, ""},
		{"another type", `syntax = "proto3"; package p; message M { string a = 1; }`, "", "the field number 1 was written as p.M.a, a int32, and is read as p.M.a, a string"},
		{"another sign", `syntax = "proto3"; package p; message M { sint32 a = 1; }`, "", "the field number 1 was written as p.M.a, a int32, and is read as p.M.a, a sint32"},
		{"another message", `syntax = "proto3"; package p; message N { int32 a = 1; }`, "", "the message is a p.M, by the schema 300 of the registry, and a p.N is expected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := &registry{schemas: map[int]penstock.SchemaText{}}
			conn := penstock.ConnectionRef{Name: "reg", Config: reg}
			raw, err := newCodecOf(t, Config{Registry: conn, Subject: "x-value", Register: true}, first, "p.M").Encode(nil, document(t, `{"a":5,"b":"x"}`))
			if err != nil {
				t.Fatal(err)
			}
			if want := []byte{0, 0, 0, 300 >> 8, 300 & 0xff, 2, 2, 0x08, 5}; !bytes.HasPrefix(raw, want) {
				t.Errorf("% x, want % x", raw, want)
			}
			message := "M"
			if strings.Contains(c.reader, "message N") {
				message = "N"
			}
			reader := newCodecOf(t, Config{Registry: conn}, c.reader, message)
			reg.asked = 0
			for range 3 {
				text, err := reader.Decode(nil, raw)
				if c.bad != "" {
					if err == nil || !strings.Contains(err.Error(), c.bad) || penstock.CodeOf(err) != penstock.Unprocessable {
						t.Fatalf("%v, want %s", err, c.bad)
					}
				} else if err != nil || string(text) != c.want {
					t.Errorf("read %s, %v; want %s", text, err, c.want)
				}
			}
			if reg.asked != 1 {
				t.Errorf("the registry was asked %d times", reg.asked)
			}
			free, err := New(Config{Registry: conn}, penstock.CodecOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if text, err := free.Decode(nil, raw); err != nil || string(text) != `{"a":5,"b":"x"}` {
				t.Errorf("%s, %v", text, err)
			}
		})
	}
}

func TestRegistryFaults(t *testing.T) {
	reg := &registry{schemas: map[int]penstock.SchemaText{1: {Language: penstock.Protobuf, Text: []byte(orderSource)}, 2: {Language: penstock.Protobuf, Text: []byte("message {")}, 3: {Language: penstock.Avro, Text: []byte(`"string"`)}}}
	conn := penstock.ConnectionRef{Name: "reg", Config: reg}
	free, err := New(Config{Registry: conn}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  string
		code penstock.Code
	}{
		"no header":           {"{}", penstock.Invalid},
		"no index":            {"\x00\x00\x00\x00\x01", penstock.Invalid},
		"half an index":       {"\x00\x00\x00\x00\x01\x04\x00", penstock.Invalid},
		"an endless index":    {"\x00\x00\x00\x00\x01\xfe\xff\xff\x7f", penstock.Invalid},
		"an index too far":    {"\x00\x00\x00\x00\x01\x02\x08", penstock.Invalid},
		"an unknown id":       {"\x00\x00\x00\x00\x09\x00", penstock.NotFound},
		"a schema that broke": {"\x00\x00\x00\x00\x02\x00", penstock.Invalid},
		"a schema of Avro":    {"\x00\x00\x00\x00\x03\x00", penstock.Invalid},
	} {
		if _, err := free.Decode(nil, []byte(c.raw)); penstock.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if text, err := free.Decode(nil, []byte("\x00\x00\x00\x00\x01\x04\x00\x02\x0a\x01x")); err != nil || string(text) != `{"sku":"x","quantity":0,"price":0}` {
		t.Errorf("a message within another: %s, %v", text, err)
	}
	if _, err := free.Encode(nil, document(t, `{}`)); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("without a schema: %v", err)
	}
	if _, err := newCodecOf(t, Config{Registry: conn}, orderSource, "Order").Encode(nil, document(t, `{}`)); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("without a subject: %v", err)
	}
	if _, err := newCodecOf(t, Config{Registry: conn, Subject: "x"}, everything, "Everything").Encode(nil, document(t, `{}`)); penstock.CodeOf(err) != penstock.NotFound {
		t.Errorf("without register: %v", err)
	}
}

func TestIndex(t *testing.T) {
	for _, c := range []struct {
		path []int
		raw  string
	}{{[]int{0}, "\x00"}, {[]int{1}, "\x02\x02"}, {[]int{0, 0}, "\x04\x00\x00"}, {[]int{2, 70}, "\x04\x04\x8c\x01"}} {
		if raw := appendIndex(nil, c.path); string(raw) != c.raw {
			t.Errorf("%v: % x", c.path, raw)
		}
		if path, n := readIndex([]byte(c.raw + "rest")); n != len(c.raw) || !slices.Equal(path, c.path) {
			t.Errorf("%q: %v, %d", c.raw, path, n)
		}
	}
}

func TestConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"can't be read without its schema": {},
		"is one of avro":                   {Schema: penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.Avro}}},
		"mean nothing without `registry`":  {Schema: penstock.SchemaRef{Name: "s"}, Subject: "x"},
		"is no schema registry":            {Registry: penstock.ConnectionRef{Name: "r", Config: 7}},
	} {
		if errs := c.Validate(); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%v, want %s", errs, want)
		}
	}
	if _, err := New(Config{Schema: penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.Protobuf, Text: []byte(`syntax = "proto3"; message {`)}}}, penstock.CodecOptions{}); err == nil || !strings.Contains(err.Error(), "line 1, column 28") {
		t.Errorf("a broken schema: %v", err)
	}
}

func harness(c Config) conform.CodecHarness {
	const source = `syntax = "proto3"; message M { optional int32 a = 1; optional string b = 2; optional M m = 3; }`
	return conform.CodecHarness{
		New: func(t testing.TB, o penstock.CodecOptions) penstock.Codec {
			c.Schema = penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.Protobuf, Text: []byte(source)}}
			k, err := New(c, o)
			if err != nil {
				t.Fatal(err)
			}
			return k
		},
		Streams: map[string][]string{
			"\x02\x08\x01\x00\x03\x12\x01x": {`{"a":1}`, `{}`, `{"b":"x"}`},
			"":                              nil,
		},
		Written: []string{`{"a":1}`, `{}`, `{"m":{"a":2,"m":{"b":"` + strings.Repeat("x", 300) + `"}}}`},
		Refused: "\x02\x08",
	}
}

func TestConform(t *testing.T) { conform.Codec(t, harness(Config{})) }

// TestStream reads and writes streams.
func TestStream(t *testing.T) {
	no := false
	one := newCodecOf(t, Config{Delimited: &no}, orderSource, "Order")
	e := one.NewEncoder()
	raw, err := e.Append(e.Begin(nil), document(t, orderText))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Append(nil, document(t, orderText)); err == nil {
		t.Error("a second message was written")
	}
	f := one.NewFramer("x")
	if n, rec, err := f.Frame(raw, false); n != 0 || rec != nil || err != nil {
		t.Errorf("before the end: %d %q %v", n, rec, err)
	}
	n, rec, err := f.Frame(raw, true)
	if n != len(raw) || err != nil {
		t.Fatal(n, err)
	}
	var d jsonview.Doc
	f.Bind(&d, rec)
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	if got := string(d.AppendJSON(nil, 0)); got != orderText {
		t.Error(got)
	}
	f.Bind(&d, []byte("nonsense"))
	if err := d.Parse(jsonview.Limits{}); err == nil {
		t.Error("nonsense was read")
	}
	many := newCodec(t, orderSource, "Order")
	many.max = 100
	stream := binary.AppendUvarint(nil, 200)
	stream = append(append(stream, make([]byte, 200)...), 3, 0x0a, 1, 'x')
	f = many.NewFramer("x")
	var said []error
	var got [][]byte
	for len(stream) > 0 {
		n, rec, err := f.Frame(stream, true)
		if n == 0 {
			t.Fatal(err)
		}
		if err != nil {
			said = append(said, err)
		}
		if rec != nil {
			got = append(got, rec)
		}
		stream = stream[n:]
	}
	if len(said) != 1 || penstock.CodeOf(said[0]) != penstock.TooLarge || len(got) != 1 {
		t.Errorf("%v, %q", said, got)
	}
}

func TestAllocations(t *testing.T) {
	k := newCodec(t, orderSource, "Order")
	d := document(t, orderText)
	raw, err := k.Encode(nil, d)
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 0, 4096)
	out := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := k.Decode(text, raw); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("reading: %v allocations", n)
	}
	if n := testing.AllocsPerRun(200, func() {
		if _, err := k.Encode(out, d); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("writing: %v allocations", n)
	}
}

// BenchmarkCopy reads a message, looks at it, and writes it again: by this codec, and by values as others do.
func BenchmarkCopy(b *testing.B) {
	k := newCodec(b, orderSource, "Order")
	raw, err := k.Encode(nil, document(b, orderText))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("text", func(b *testing.B) {
		b.ReportAllocs()
		var d jsonview.Doc
		var text, out []byte
		for b.Loop() {
			if text, err = k.Decode(text[:0], raw); err != nil {
				b.Fatal(err)
			}
			d.Reset(jsonview.JSON, text)
			if err := d.Parse(jsonview.Limits{}); err != nil {
				b.Fatal(err)
			}
			if out, err = k.Encode(out[:0], &d); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("dynamic", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := dynamicpb.NewMessage(k.descriptor)
			if err := proto.Unmarshal(raw, m); err != nil {
				b.Fatal(err)
			}
			if _, err := proto.Marshal(m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestWrittenWith: what was written with another schema, which is told by its source or its descriptors, is read as the codec's own has it, or is refused with the reason.
func TestWrittenWith(t *testing.T) {
	const own = `syntax = "proto3"; package p; message M { string id = 1; optional int64 n = 2; }`
	k := newCodec(t, own, "p.M")
	for name, c := range map[string]struct {
		schema, body, want string
		code               penstock.Code
	}{
		"less":         {`syntax = "proto3"; package p; message M { string id = 1; }`, `{"id":"a"}`, `{"id":"a"}`, ""},
		"more":         {`syntax = "proto3"; package p; import "google/protobuf/timestamp.proto"; message M { string name = 1; int64 n = 2; google.protobuf.Timestamp at = 3; }`, `{"name":"a","n":2,"at":"2026-01-05T10:15:00Z"}`, `{"id":"a","n":2}`, ""},
		"incompatible": {`syntax = "proto3"; package p; message M { int32 id = 1; }`, "", "", penstock.Unprocessable},
		"another":      {`syntax = "proto3"; package p; message N { string id = 1; }`, "", "", penstock.Unprocessable},
	} {
		t.Run(name, func(t *testing.T) {
			other := newCodec(t, c.schema, "")
			set, message, file, err := other.Descriptors()
			if err != nil || file != message+".proto" {
				t.Fatalf("%s, %s, %v", message, file, err)
			}
			if again, _, _, err := newCodec(t, c.schema, "").Descriptors(); err != nil || !bytes.Equal(set, again) {
				t.Errorf("the descriptors are others each time: %v", err)
			}
			for _, text := range []penstock.SchemaText{{Language: penstock.Protobuf, Descriptors: set, Message: message}, {Language: penstock.Protobuf, Text: []byte(c.schema)}} {
				r, err := k.WrittenWith(text)
				if penstock.CodeOf(err) != c.code {
					t.Fatal(err)
				}
				if c.code != "" {
					continue
				}
				raw, err := other.Encode(nil, document(t, c.body))
				if err != nil {
					t.Fatal(err)
				}
				if text, err := r.Decode(nil, raw); err != nil || string(text) != c.want {
					t.Errorf("%s, %v", text, err)
				}
			}
		})
	}
	for _, none := range []penstock.SchemaText{{Language: penstock.Avro}, {Language: penstock.Protobuf, Descriptors: []byte("x"), Message: "p.M"}, {Language: penstock.Protobuf, Text: []byte("x")}} {
		if _, err := k.WrittenWith(none); penstock.CodeOf(err) != penstock.Invalid {
			t.Errorf("%+v: %v", none, err)
		}
	}
	bare, err := New(Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := bare.(penstock.Described).Descriptors(); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("without a schema: %v", err)
	}
	set, message, _, err := k.Descriptors()
	if err != nil {
		t.Fatal(err)
	}
	r, err := bare.(penstock.Resolving).WrittenWith(penstock.SchemaText{Language: penstock.Protobuf, Descriptors: set, Message: message})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := r.Decode(nil, []byte{0x0a, 1, 'a'}); err != nil || string(text) != `{"id":"a"}` {
		t.Errorf("as it was written: %s, %v", text, err)
	}
}
