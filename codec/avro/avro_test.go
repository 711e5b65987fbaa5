package avro

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

const orderSchema = `{"type":"record","name":"Order","namespace":"shop","fields":[
	{"name":"id","type":"string"},
	{"name":"placed","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"customer","type":{"type":"record","name":"Customer","fields":[
		{"name":"name","type":"string"},
		{"name":"email","type":["null","string"],"default":null},
		{"name":"vip","type":"boolean","default":false}]}},
	{"name":"status","type":{"type":"enum","name":"Status","symbols":["OPEN","PAID","SENT"]}},
	{"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}},
	{"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
		{"name":"sku","type":"string"},{"name":"quantity","type":"int"},{"name":"price","type":"double"}]}}},
	{"name":"tags","type":{"type":"map","values":"string"},"default":{}}]}`

const orderText = `{"id":"A-1","placed":"2026-01-05T10:15:00.25Z","customer":{"name":"Ada","email":null,"vip":true},"status":"PAID","total":19.90,` +
	`"lines":[{"sku":"cup","quantity":2,"price":4.5},{"sku":"pot","quantity":1,"price":10.9}],"tags":{"channel":"web"}}`

func newCodec(t testing.TB, schema string) *codec {
	t.Helper()
	c, err := New(Config{Schema: penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.Avro, Text: []byte(schema)}}}, penstock.CodecOptions{})
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
		t.Fatal(err)
	}
	return d
}

// TestRoundTrip writes documents and reads them again, and lets another implementation read the bytes.
func TestRoundTrip(t *testing.T) {
	field := func(schema string) string {
		return `{"type":"record","name":"r","fields":[{"name":"v","type":` + schema + `}]}`
	}
	for _, c := range []struct{ name, schema, text, want string }{
		{name: "an order", schema: orderSchema, text: orderText},
		{name: "defaults", schema: orderSchema, text: `{"id":"","placed":"1969-12-31T23:59:59.999Z","customer":{"name":"x"},"status":"OPEN","total":-0.01,"lines":[]}`,
			want: `{"id":"","placed":"1969-12-31T23:59:59.999Z","customer":{"name":"x","email":null,"vip":false},"status":"OPEN","total":-0.01,"lines":[],"tags":{}}`},
		{name: "null", schema: field(`"null"`), text: `{"v":null}`},
		{name: "a long", schema: field(`"long"`), text: `{"v":-9223372036854775808}`},
		{name: "an int", schema: field(`"int"`), text: `{"v":2147483647}`},
		{name: "a float", schema: field(`"float"`), text: `{"v":0.1}`},
		{name: "bytes", schema: field(`"bytes"`), text: `{"v":"AAEC"}`},
		{name: "fixed", schema: field(`{"type":"fixed","name":"f","size":3}`), text: `{"v":"AAEC"}`},
		{name: "text with escapes", schema: field(`"string"`), text: `{"v":"\"\n€😀"}`},
		{name: "a date", schema: field(`{"type":"int","logicalType":"date"}`), text: `{"v":"1969-12-31"}`},
		{name: "a time", schema: field(`{"type":"int","logicalType":"time-millis"}`), text: `{"v":"23:59:59.999"}`},
		{name: "a time in micros", schema: field(`{"type":"long","logicalType":"time-micros"}`), text: `{"v":"00:00:00.000001"}`},
		{name: "an instant in micros", schema: field(`{"type":"long","logicalType":"timestamp-micros"}`), text: `{"v":"2026-01-05T10:15:00.123456Z"}`},
		{name: "an instant with a zone", schema: field(`{"type":"long","logicalType":"timestamp-millis"}`), text: `{"v":"2026-01-05T10:15:00.123999+02:00"}`, want: `{"v":"2026-01-05T08:15:00.123Z"}`},
		{name: "a local time", schema: field(`{"type":"long","logicalType":"local-timestamp-millis"}`), text: `{"v":"2026-01-05T10:15:00"}`},
		{name: "a large decimal", schema: field(`{"type":"bytes","logicalType":"decimal","precision":40,"scale":3}`), text: `{"v":-1234567890123456789012345678901234567.125}`},
		{name: "a decimal of zeros", schema: field(`{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`), text: `{"v":1.5e1}`, want: `{"v":15.00}`},
		{name: "a fixed decimal", schema: field(`{"type":"fixed","name":"d","size":9,"logicalType":"decimal","precision":20,"scale":0}`), text: `{"v":-5}`},
		{name: "a union", schema: field(`["null","int","string",{"type":"array","items":"long"},{"type":"map","values":"boolean"}]`), text: `{"v":{"a":true}}`},
		{name: "a union of numbers", schema: field(`["int","double"]`), text: `{"v":3000000000}`},
		{name: "a list that holds itself", schema: `{"type":"record","name":"n","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","n"],"default":null}]}`, text: `{"v":1,"next":{"v":2,"next":{"v":3,"next":null}}}`},
		{name: "not a record", schema: `{"type":"array","items":"int"}`, text: `[1,2,3]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newCodec(t, c.schema)
			raw, err := k.Encode([]byte("before"), document(t, c.text))
			if err != nil {
				t.Fatal(err)
			}
			raw = raw[len("before"):]
			var theirs any
			if err := avro.Unmarshal(k.schema, raw, &theirs); err != nil {
				t.Fatalf("another reader: %v", err)
			}
			again, err := avro.Marshal(k.schema, theirs)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range [][]byte{raw, again} {
				text, err := k.Decode([]byte("x"), b)
				if err != nil {
					t.Fatal(err)
				}
				want := c.want
				if want == "" {
					want = c.text
				}
				if string(text) != "x"+want {
					t.Errorf("read %s\nwant %s", text[1:], want)
				}
			}
		})
	}
}

func TestMisfits(t *testing.T) {
	for text, want := range map[string]string{
		`{"id":1,"placed":"2026-01-05T10:15:00Z","customer":{"name":"x"},"status":"OPEN","total":1,"lines":[]}`:                                               "body.id: the schema wants text, and this is 1",
		`{"placed":"2026-01-05T10:15:00Z","customer":{"name":"x"},"status":"OPEN","total":1,"lines":[]}`:                                                      "body.id: the schema wants a value here",
		`{"id":"1","placed":"soon","customer":{"name":"x"},"status":"OPEN","total":1,"lines":[]}`:                                                             `body.placed: the schema wants a time as in RFC 3339, and this is the text "soon"`,
		`{"id":"1","placed":"2026-01-05T10:15:00Z","customer":{"name":"x","email":5},"status":"OPEN","total":1,"lines":[]}`:                                   "body.customer.email: the schema wants one of null, string, and this is 5",
		`{"id":"1","placed":"2026-01-05T10:15:00Z","customer":{"name":"x"},"status":"GONE","total":1,"lines":[]}`:                                             "body.status: the schema wants one of OPEN, PAID, SENT",
		`{"id":"1","placed":"2026-01-05T10:15:00Z","customer":{"name":"x"},"status":"OPEN","total":1.005,"lines":[]}`:                                         "body.total: the schema wants a number with at most 2 decimals, and this is 1.005",
		`{"id":"1","placed":"2026-01-05T10:15:00Z","customer":{"name":"x"},"status":"OPEN","total":1,"lines":[{"sku":"a","quantity":1,"price":1},{"sku":7}]}`: "body.lines[1].sku: the schema wants text",
		`{"id":"1","placed":"2026-01-05T10:15:00Z","customer":{"name":"x"},"status":"OPEN","total":1,"lines":[{"sku":"a","quantity":3000000000,"price":1}]}`:  "body.lines[0].quantity: the schema wants a whole number of 32 bits",
		`{"id":"1","placed":"2026-01-05T10:15:00Z","customer":{"name":"x","nme":1},"status":"OPEN","total":1,"lines":[]}`:                                     "body.customer.nme: the record shop.Customer of the schema has no such field",
		`[]`: "body: the schema wants a record shop.Order, and this is a list",
	} {
		dst, err := newCodec(t, orderSchema).Encode([]byte("kept"), document(t, text))
		if err == nil || !strings.Contains(err.Error(), want) || penstock.CodeOf(err) != penstock.Unprocessable {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		if string(dst) != "kept" {
			t.Errorf("something was written: %q", dst)
		}
	}
}

func TestBadBytes(t *testing.T) {
	k := newCodec(t, orderSchema)
	raw, err := k.Encode(nil, document(t, orderText))
	if err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		if _, err := k.Decode(nil, raw[:n]); penstock.CodeOf(err) != penstock.Invalid {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	if _, err := k.Decode(nil, append(raw, 0)); err == nil || !strings.Contains(err.Error(), "1 bytes stand behind the datum") {
		t.Errorf("a byte behind it: %v", err)
	}
	for name, c := range map[string]struct {
		schema string
		raw    []byte
		code   penstock.Code
	}{
		"a bomb of nulls":      {`{"type":"array","items":"null"}`, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, penstock.TooLarge},
		"a negative length":    {`"string"`, []byte{0x01}, penstock.Invalid},
		"no UTF-8":             {`"string"`, []byte{0x02, 0xff}, penstock.Invalid},
		"a boolean that is 2":  {`"boolean"`, []byte{2}, penstock.Invalid},
		"not a number":         {`"double"`, []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x7f}, penstock.Unprocessable},
		"an unknown kind":      {`["null","int"]`, []byte{0x04}, penstock.Invalid},
		"a year too far":       {`{"type":"long","logicalType":"timestamp-millis"}`, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, penstock.Unprocessable},
		"an endless recursion": {`{"type":"record","name":"n","fields":[{"name":"n","type":["null","n"]}]}`, bytes.Repeat([]byte{2}, 100_000), penstock.Invalid},
	} {
		k := newCodec(t, c.schema)
		k.max = 1 << 20
		if _, err := k.Decode(nil, c.raw); penstock.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
}

// registry is a schema registry in memory.
type registry struct {
	schemas map[int]string
	asked   int
}

func (r *registry) ByID(_ context.Context, id int) (penstock.SchemaText, error) {
	r.asked++
	s, ok := r.schemas[id]
	if !ok {
		return penstock.SchemaText{}, penstock.E(penstock.NotFound, "registry", "", fmt.Sprintf("there is no schema %d", id))
	}
	return penstock.SchemaText{Language: penstock.Avro, Text: []byte(s)}, nil
}

func (r *registry) ID(_ context.Context, _ string, s penstock.SchemaText, register bool) (int, error) {
	r.asked++
	for id, text := range r.schemas {
		if text == string(s.Text) {
			return id, nil
		}
	}
	if !register {
		return 0, penstock.E(penstock.NotFound, "registry", "", "the subject has no such schema")
	}
	id := 300 + len(r.schemas)
	r.schemas[id] = string(s.Text)
	return id, nil
}

func (r *registry) Compatible(context.Context, string, penstock.SchemaText) ([]string, error) {
	return nil, nil
}

// TestResolution reads what was written with other schemas.
func TestResolution(t *testing.T) {
	record := func(name, fields string) string {
		return `{"type":"record","name":"` + name + `","fields":[` + fields + `]}`
	}
	for _, c := range []struct{ name, writer, reader, text, want string }{
		{"a field less", record("r", `{"name":"a","type":"int"},{"name":"gone","type":{"type":"array","items":"string"}},{"name":"b","type":"int"}`), record("r", `{"name":"a","type":"int"},{"name":"b","type":"int"}`),
			`{"a":1,"gone":["x","y"],"b":2}`, `{"a":1,"b":2}`},
		{"a field more", record("r", `{"name":"a","type":"int"}`), record("r", `{"name":"a","type":"int"},{"name":"b","type":["null","string"],"default":null},{"name":"c","type":{"type":"array","items":"int"},"default":[1,2]}`),
			`{"a":1}`, `{"a":1,"b":null,"c":[1,2]}`},
		{"another name", record("r", `{"name":"a","type":"int"}`), record("r", `{"name":"b","aliases":["a"],"type":"long"}`), `{"a":1}`, `{"b":1}`},
		{"wider", record("r", `{"name":"a","type":"int"}`), record("r", `{"name":"a","type":"double"}`), `{"a":1}`, `{"a":1}`},
		{"may be null now", record("r", `{"name":"a","type":"int"}`), record("r", `{"name":"a","type":["null","int"]}`), `{"a":1}`, `{"a":1}`},
		{"never null again", record("r", `{"name":"a","type":["null","int"]}`), record("r", `{"name":"a","type":["int","null"]}`), `{"a":null}`, `{"a":null}`},
		{"a symbol that is unknown", record("r", `{"name":"a","type":{"type":"enum","name":"e","symbols":["A","B"]}}`), record("r", `{"name":"a","type":{"type":"enum","name":"e","symbols":["A","X"],"default":"X"}}`), `{"a":"B"}`, `{"a":"X"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := &registry{schemas: map[int]string{}}
			codecOf := func(schema string) penstock.Codec {
				k, err := New(Config{Schema: penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.Avro, Text: []byte(schema)}},
					Registry: penstock.ConnectionRef{Name: "reg", Config: reg}, Subject: "x-value", Register: true}, penstock.CodecOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return k
			}
			raw, err := codecOf(c.writer).Encode(nil, document(t, c.text))
			if err != nil {
				t.Fatal(err)
			}
			if raw[0] != 0 || raw[4] != 300&0xff {
				t.Errorf("header % x", raw[:5])
			}
			reader := codecOf(c.reader)
			reg.asked = 0
			for range 3 {
				text, err := reader.Decode(nil, raw)
				if err != nil {
					t.Fatal(err)
				}
				if string(text) != c.want {
					t.Errorf("read %s, want %s", text, c.want)
				}
			}
			if reg.asked != 1 {
				t.Errorf("the registry was asked %d times", reg.asked)
			}
		})
	}
}

func TestRegistryFaults(t *testing.T) {
	reg := &registry{schemas: map[int]string{1: `"string"`, 2: `{"broken`}}
	at := func(o Config) penstock.Codec {
		o.Registry = penstock.ConnectionRef{Name: "reg", Config: reg}
		k, err := New(o, penstock.CodecOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	order := penstock.SchemaRef{Name: "order", Schema: penstock.SchemaText{Language: penstock.Avro, Text: []byte(orderSchema)}}
	for name, c := range map[string]struct {
		k    penstock.Codec
		raw  string
		code penstock.Code
	}{
		"no header":            {at(Config{}), "{}", penstock.Invalid},
		"an unknown id":        {at(Config{}), "\x00\x00\x00\x00\x09x", penstock.NotFound},
		"a schema that broke":  {at(Config{}), "\x00\x00\x00\x00\x02x", penstock.Invalid},
		"not compatible":       {at(Config{Schema: order}), "\x00\x00\x00\x00\x01\x02a", penstock.Unprocessable},
		"cut off in the datum": {at(Config{}), "\x00\x00\x00\x00\x01\x04a", penstock.Invalid},
	} {
		if _, err := c.k.Decode(nil, []byte(c.raw)); penstock.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", name, err, c.code)
		}
	}
	if text, err := at(Config{}).Decode(nil, []byte("\x00\x00\x00\x00\x01\x02a")); err != nil || string(text) != `"a"` {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := at(Config{Schema: order}).Encode(nil, document(t, orderText)); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("without a subject: %v", err)
	}
	if _, err := at(Config{Schema: order, Subject: "x"}).Encode(nil, document(t, orderText)); penstock.CodeOf(err) != penstock.NotFound {
		t.Errorf("without register: %v", err)
	}
	if _, err := at(Config{}).Encode(nil, document(t, orderText)); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("without a schema: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"can't be read without its schema": {},
		"is one of protobuf":               {Schema: penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.Protobuf}}},
		"mean nothing without `registry`":  {Schema: penstock.SchemaRef{Name: "s"}, Subject: "x"},
		"is no schema registry":            {Registry: penstock.ConnectionRef{Name: "r", Config: 7}},
	} {
		if errs := c.Validate(); len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%v, want %s", errs, want)
		}
	}
	if _, err := New(Config{Schema: penstock.SchemaRef{Name: "s", Schema: penstock.SchemaText{Language: penstock.Avro, Text: []byte(`{"type":"recrd"}`)}}}, penstock.CodecOptions{}); err == nil {
		t.Error("a broken schema is taken")
	}
}

// TestStream reads a stream as one datum.
func TestStream(t *testing.T) {
	k := newCodec(t, orderSchema)
	e := k.NewEncoder()
	raw, err := e.Append(e.Begin(nil), document(t, orderText))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Append(nil, document(t, orderText)); err == nil {
		t.Error("a second datum was written")
	}
	f := k.NewFramer("x")
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
}

func FuzzDecode(f *testing.F) {
	k := newCodec(f, orderSchema)
	raw, err := k.Encode(nil, document(f, orderText))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		text, err := k.Decode(nil, raw)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("no JSON: %q", text)
		}
		d := new(jsonview.Doc)
		d.Reset(jsonview.JSON, text)
		if d.Parse(jsonview.Limits{}) != nil {
			return // a map with a key twice
		}
		again, err := k.Encode(nil, d)
		if err != nil {
			t.Fatalf("%s can't be written: %v", text, err)
		}
		back, err := k.Decode(nil, again)
		if err != nil || !bytes.Equal(back, text) {
			t.Fatalf("%s became %s, %v", text, back, err)
		}
	})
}

// FuzzSchema lets schemas be anything.
func FuzzSchema(f *testing.F) {
	f.Add([]byte(orderSchema))
	f.Add([]byte(`{"type":"record","name":"n","fields":[{"name":"n","type":["null","n"],"default":null}]}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		s, err := parse(text)
		if err != nil {
			return
		}
		if n, err := compile(s, s); err == nil {
			_, _ = n.read(nil, []byte{0, 0, 0, 0}, 1<<16)
		}
	})
}

func TestAllocations(t *testing.T) {
	k := newCodec(t, orderSchema)
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
	}); n > 1 {
		t.Errorf("reading: %v allocations", n)
	}
	if n := testing.AllocsPerRun(200, func() {
		if _, err := k.Encode(out, d); err != nil {
			t.Fatal(err)
		}
	}); n > 4 {
		t.Errorf("writing: %v allocations", n)
	}
}

// BenchmarkCopy reads a datum, looks at it, and writes it again: by this codec, and by values of any type as others do.
func BenchmarkCopy(b *testing.B) {
	k := newCodec(b, orderSchema)
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
	b.Run("values", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v any
			if err := avro.Unmarshal(k.schema, raw, &v); err != nil {
				b.Fatal(err)
			}
			if _, err := avro.Marshal(k.schema, v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestWrittenWith: what was written with another schema is read as the codec's own has it, or is refused with the reason.
func TestWrittenWith(t *testing.T) {
	own := newCodec(t, `{"type":"record","name":"o","fields":[{"name":"id","type":"string"},{"name":"n","type":["null","long"],"default":null}]}`)
	for name, c := range map[string]struct {
		schema, language, body, want string
		code                         penstock.Code
	}{
		"less":         {`{"type":"record","name":"o","fields":[{"name":"id","type":"string"}]}`, penstock.Avro, `{"id":"a"}`, `{"id":"a","n":null}`, ""},
		"more":         {`{"type":"record","name":"o","fields":[{"name":"x","type":"int"},{"name":"id","type":"string"},{"name":"n","type":"long"}]}`, penstock.Avro, `{"x":1,"id":"a","n":2}`, `{"id":"a","n":2}`, ""},
		"incompatible": {`{"type":"record","name":"o","fields":[{"name":"id","type":"int"}]}`, penstock.Avro, "", "", penstock.Unprocessable},
		"none":         {`{"type":"nothing"}`, penstock.Avro, "", "", penstock.Invalid},
		"of another":   {`{}`, penstock.JSONSchema, "", "", penstock.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := own.WrittenWith(penstock.SchemaText{Language: c.language, Text: []byte(c.schema)})
			if penstock.CodeOf(err) != c.code {
				t.Fatal(err)
			}
			if c.code != "" {
				return
			}
			raw, err := newCodec(t, c.schema).Encode(nil, document(t, c.body))
			if err != nil {
				t.Fatal(err)
			}
			if text, err := r.Decode(nil, raw); err != nil || string(text) != c.want {
				t.Errorf("%s, %v", text, err)
			}
		})
	}
}

// away is a registry that can't be reached, or knows one schema.
type away struct{ known bool }

func (a away) ByID(context.Context, int) (penstock.SchemaText, error) {
	if !a.known {
		return penstock.SchemaText{}, penstock.E(penstock.Unavailable, "registry", "", "away")
	}
	return penstock.SchemaText{Language: penstock.JSONSchema}, nil
}
func (away) ID(context.Context, string, penstock.SchemaText, bool) (int, error) { return 0, nil }
func (away) Compatible(context.Context, string, penstock.SchemaText) ([]string, error) {
	return nil, nil
}

// TestPrepare: only a registry that can't be asked now is an error; what can't be read at all is left to who reads it.
func TestPrepare(t *testing.T) {
	payload := []byte{0, 0, 0, 0, 1, 2}
	for _, c := range []struct {
		registry away
		payload  []byte
		want     penstock.Code
	}{{away{}, payload, penstock.Unavailable}, {away{true}, payload, ""}, {away{}, []byte("x"), ""}, {away{}, nil, ""}} {
		k, err := New(Config{Registry: penstock.ConnectionRef{Name: "r", Config: c.registry}}, penstock.CodecOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := k.(penstock.Preparing).Prepare(t.Context(), c.payload); penstock.CodeOf(err) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
