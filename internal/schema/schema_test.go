package schema

import (
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

func parse(t testing.TB, text string) *Schema {
	t.Helper()
	s, err := Parse("order", []byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func TestTypes(t *testing.T) {
	for _, c := range []struct{ name, schema, want string }{
		{"scalars", `{"type": "object", "properties": {"b": {"type": "boolean"}, "i": {"type": "integer"}, "n": {"type": "number"}, "s": {"type": "string"}}, "required": ["i", "b"]}`,
			`{b: bool, i: int, n?: double, s?: string}`},
		{"order of the text", `{"properties": {"z": {"type": "integer"}, "a": {"type": "integer"}}}`, `{z?: int, a?: int}`},
		{"decimals", `{"properties": {"n": {"type": "number", "format": "decimal"}, "s": {"type": "string", "format": "decimal"}}}`, `{n?: decimal, s?: decimal}`},
		{"formats", `{"properties": {"t": {"type": "string", "format": "date-time"}, "d": {"format": "date"}, "u": {"type": "string", "format": "duration"}, "b": {"type": "string", "format": "byte"}, "e": {"type": "string", "contentEncoding": "base64"}, "m": {"type": "string", "format": "email"}}}`,
			`{t?: timestamp, d?: timestamp, u?: duration, b?: bytes, e?: bytes, m?: string}`},
		{"integers", `{"properties": {"a": {"type": "integer", "format": "uint64"}, "b": {"type": "number", "format": "int64"}}}`, `{a?: uint, b?: int}`},
		{"null in type", `{"properties": {"a": {"type": ["string", "null"]}, "b": {"type": "null"}, "c": {"type": "integer", "nullable": true}}}`, `{a?: string|null, b?: null, c?: int|null}`},
		{"several types", `{"type": ["string", "integer"]}`, `string|int`},
		{"list", `{"type": "array", "items": {"type": "integer"}}`, `list(int)`},
		{"list of anything", `{"type": "array"}`, `list(dyn)`},
		{"tuple", `{"type": "array", "prefixItems": [{"type": "integer"}, {"type": "number"}]}`, `list(double)`},
		{"object of anything", `{"type": "object"}`, `{…}`},
		{"map", `{"type": "object", "additionalProperties": {"type": "integer"}}`, `map(string, int)`},
		{"patterns", `{"type": "object", "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": false}`, `map(string, int)`},
		{"open", `{"properties": {"a": {"type": "integer"}}, "additionalProperties": true}`, `{a?: int, …}`},
		{"open with a type", `{"properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}}`, `{a?: int, …: string}`},
		{"closed", `{"properties": {"a": {"type": "integer"}}, "additionalProperties": false}`, `{a?: int}`},
		{"nothing said", `{}`, `dyn`},
		{"true", `true`, `dyn`},
		{"enum", `{"enum": ["a", "b", null]}`, `"a"|"b"|null`},
		{"enum of numbers", `{"enum": [1, 2]}`, `int`},
		{"const", `{"properties": {"k": {"const": "card"}}}`, `{k?: "card"}`},
		{"ref", `{"properties": {"l": {"type": "array", "items": {"$ref": "#/$defs/line"}}}, "$defs": {"line": {"properties": {"p": {"type": "integer"}}}}}`, `{l?: list({p?: int})}`},
		{"definitions", `{"properties": {"l": {"$ref": "#/definitions/l"}}, "definitions": {"l": {"type": "string"}}}`, `{l?: string}`},
		{"anchor", `{"properties": {"l": {"$ref": "#l"}}, "$defs": {"x": {"$anchor": "l", "type": "integer"}}}`, `{l?: int}`},
		{"ref with keywords beside it", `{"$ref": "#/$defs/a", "required": ["x"], "$defs": {"a": {"properties": {"x": {"type": "integer"}}}}}`, `{x: int}`},
		{"allOf", `{"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"type": "string"}}, "required": ["a"]}]}`, `{a: int, b?: string}`},
		{"allOf narrows", `{"properties": {"a": {"type": "number"}}, "allOf": [{"properties": {"a": {"type": "integer"}}}]}`, `{a?: int}`},
		{"oneOf with null", `{"oneOf": [{"type": "string"}, {"type": "null"}]}`, `string|null`},
		{"oneOf of numbers", `{"oneOf": [{"type": "integer"}, {"type": "number"}]}`, `double`},
		{"conditions only", `{"properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}`, `{a?: dyn, b?: dyn}`},
		{"then", `{"properties": {"a": {"type": "integer"}}, "if": {"required": ["a"]}, "then": {"properties": {"b": {"type": "string"}}, "required": ["b"]}}`, `{a?: int, b?: string}`},
		{"recursive", `{"properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}}`, `{v?: int, next?: dyn}`},
	} {
		if got := parse(t, c.schema).Type.String(); got != c.want {
			t.Errorf("%s: %s\n got %s\nwant %s", c.name, c.schema, got, c.want)
		}
	}
}

func TestDetails(t *testing.T) {
	s := parse(t, `{"properties": {
		"when": {"type": "string", "x-layout": "2006-01-02 15:04:05"},
		"price": {"type": "string", "format": "decimal"},
		"mail": {"type": "string", "x-class": "pii", "x-residency": ["eu", "uk"], "description": "where to write to"},
		"person": {"type": "object", "x-class": ["pii", "secret"], "x-residency": {"field": "region", "values": {"EU": "eu"}}}}}`)
	field := func(name string) types.Field {
		f, ok := s.Type.Field(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		return f
	}
	if f := field("when"); f.Type.Kind != types.Timestamp || f.Type.Layout != "2006-01-02 15:04:05" {
		t.Errorf("when: %+v", f.Type)
	}
	if f := field("price"); !f.Type.DecimalText {
		t.Errorf("price: %+v", f.Type)
	}
	if f := field("mail"); f.Doc != "where to write to" || fmt.Sprint(f.Type.Labels.Class, f.Type.Labels.Residency) != "[pii] [eu uk]" {
		t.Errorf("mail: %+v", f)
	}
	if f := field("person"); len(f.Type.Labels.Class) != 2 || f.Type.Labels.ResidencyField != "region" || f.Type.Labels.ResidencyValues["EU"] != "eu" {
		t.Errorf("person: %+v", f.Type.Labels)
	}
	if s.Type.Name != "order" {
		t.Errorf("the type is named %q", s.Type.Name)
	}
	if types.StringType.Labels.Class != nil {
		t.Error("a shared type was changed")
	}
}

func TestUnion(t *testing.T) {
	for _, schema := range []string{
		`{"oneOf": [{"properties": {"kind": {"const": "card"}, "number": {"type": "string"}}, "required": ["kind"]}, {"properties": {"kind": {"const": "bank"}, "iban": {"type": "string"}}, "required": ["kind"]}]}`,
		`{"oneOf": [{"$ref": "#/$defs/card"}, {"$ref": "#/$defs/bank"}], "discriminator": {"propertyName": "kind"}, "$defs": {
			"card": {"type": "object", "properties": {"kind": {"type": "string"}, "number": {"type": "string"}}}, "bank": {"type": "object", "properties": {"kind": {"type": "string"}}}}}`,
		`{"properties": {"kind": {"type": "string"}}, "anyOf": [{"properties": {"kind": {"enum": ["card"]}}}, {"properties": {"kind": {"enum": ["bank"]}}}]}`,
	} {
		u := parse(t, schema).Type
		if u.Kind != types.Union || u.Discriminator != "kind" || fmt.Sprint(u.Tags) != "[card bank]" || len(u.Variants) != 2 {
			t.Errorf("%s\ngives %v, told apart by %q %v", schema, u, u.Discriminator, u.Tags)
		}
	}
}

func TestNotes(t *testing.T) {
	for _, c := range []struct{ schema, pointer, part, hint string }{
		{`{"properties": {"a": {"type": "integer", "minimun": 1}}}`, "/properties/a/minimun", "no keyword", "minimum"},
		{`{"properties": {"v": {"$ref": "#"}}}`, "", "refers back", ""},
		{`{"type": "array", "prefixItems": [{"type": "integer"}]}`, "/prefixItems", "position", ""},
		{`{"properties": {"a": {"type": "number", "format": "money"}}}`, "/properties/a", "money", "decimal"},
		{`{"properties": {"a": {"type": "integer"}}, "required": ["b"]}`, "", "not declared", "properties"},
		{`{"oneOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"type": "integer"}}}]}`, "", "apart", "const"},
		{`{"x-residency": {"field": "a"}}`, "/x-residency", "values", ""},
	} {
		found := false
		for _, n := range parse(t, c.schema).Notes {
			found = found || n.Pointer == c.pointer && strings.Contains(n.Message, c.part) && strings.Contains(n.Hint, c.hint)
		}
		if !found {
			t.Errorf("%s: no note at %q with %q, hint %q, but %+v", c.schema, c.pointer, c.part, c.hint, parse(t, c.schema).Notes)
		}
	}
}

func TestBadSchemas(t *testing.T) {
	for _, c := range []struct{ schema, part string }{
		{`{"type": `, "line 1"},
		{`{"type": "integr"}`, "type"},
		{`{"properties": []}`, "properties"},
		{`{"$ref": "http://example.com/x.json"}`, "within the schema"},
		{`{"$ref": "../other.json"}`, "within the schema"},
		{`{"$ref": "#/$defs/none"}`, "none"},
		{`{"type": "string", "pattern": "("}`, "pattern"},
	} {
		if _, err := Parse("s", []byte(c.schema)); err == nil || !strings.Contains(err.Error(), c.part) || !strings.Contains(err.Error(), "schema s") {
			t.Errorf("%s: %v, want a word of %q", c.schema, err, c.part)
		}
	}
}

func TestValidate(t *testing.T) {
	s := parse(t, `{"type": "object", "required": ["id", "lines"], "additionalProperties": false, "properties": {
		"id": {"type": "string", "minLength": 1},
		"when": {"type": "string", "x-layout": "2006-01-02 15:04:05"},
		"at": {"type": "string", "format": "date-time"},
		"big": {"type": "integer", "format": "int64"},
		"span": {"type": "string", "format": "duration"},
		"x-y": {"type": "integer"},
		"lines": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number", "format": "decimal", "multipleOf": 0.01, "maximum": 12345678901234567.89}}}},
		"pay": {"oneOf": [{"properties": {"kind": {"const": "card"}, "n": {"type": "string"}}, "required": ["kind", "n"]}, {"properties": {"kind": {"const": "bank"}, "iban": {"type": "string"}}, "required": ["kind", "iban"]}]}}}`)
	v := s.Validator()
	for _, c := range []struct{ body, want string }{
		{`{"id": "a", "lines": [{"price": 1.10}], "when": "2010-12-01 08:26:00", "at": "2010-12-01T08:26:00Z", "big": 17850.0, "span": "PT1H", "x-y": 1}`, ""},
		{`{"id": "a", "lines": [{"price": 12345678901234567.89}], "span": "1.5s"}`, ""},
		{`{"id": "a", "lines": [{"price": 1}, {"price": 12345678901234567.90}]}`, "body.lines[1].price"},
		{`{"id": "a", "lines": [{"price": 0.001}]}`, "body.lines[0].price"},
		{`{"id": "", "lines": []}`, "body.id"},
		{`{"lines": []}`, "id"},
		{`{"id": "a", "lines": [], "extra": 1}`, "extra"},
		{`{"id": "a", "lines": [], "when": "2010-12-01X08:26:00Z"}`, "body.when"},
		{`{"id": "a", "lines": [], "at": "yesterday"}`, "body.at"},
		{`{"id": "a", "lines": [], "big": 9223372036854775808}`, "body.big"},
		{`{"id": "a", "lines": [], "span": "P1Y"}`, "body.span"},
		{`{"id": "a", "lines": [], "x-y": "no"}`, `body["x-y"]`},
		{`{"id": "a", "lines": [], "pay": {"kind": "card"}}`, "nearest fails at body.pay"},
		{`{"id": "a", "lines": [], "big": 1e999999999}`, "out of bounds"},
		{`[]`, "body: "},
	} {
		d := new(jsonview.Doc)
		d.Reset(jsonview.JSON, []byte(c.body))
		if err := d.Parse(jsonview.Limits{}); err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(v.Validate(d))
		if c.want == "" && got != "[]" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %q", c.body, got, c.want)
		}
	}
}

func TestValidateIsBounded(t *testing.T) {
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte("["+strings.Repeat(`"x",`, 500)+`"x"]`))
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	if n := len(parse(t, `{"items": {"type": "integer"}}`).Validator().Validate(d)); n != maxViolations {
		t.Errorf("%d violations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"oneOf": [{"const": 1}, {"type": "null"}]}}}`, `{"a": 1}`)
	f.Add(`{"allOf": [true, false, {"$ref": "#"}], "x-layout": "2006"}`, `[]`)
	f.Add(`{"oneOf": [{"properties": {"k": {"const": "a"}}}, {"properties": {"k": {"const": "b"}}}]}`, `{"k": "c"}`)
	f.Fuzz(func(t *testing.T, schema, body string) {
		s, err := Parse("s", []byte(schema))
		if err != nil {
			return
		}
		_ = s.Type.String()
		d := new(jsonview.Doc)
		d.Reset(jsonview.JSON, []byte(body))
		if d.Parse(jsonview.Limits{}) == nil {
			_ = s.Validator().Validate(d)
		}
	})
}

// Each definition refers twice to the one before: read once each, this takes no time.
func TestManyReferences(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"$ref": "#/$defs/d40", "$defs": {"d0": {"type": "integer"}`)
	for i := 1; i <= 40; i++ {
		fmt.Fprintf(&b, `, "d%d": {"properties": {"a": {"$ref": "#/$defs/d%d"}, "b": {"$ref": "#/$defs/d%d"}}}`, i, i-1, i-1)
	}
	if s := parse(t, b.String()+"}}"); s.Type.Text(0) != "d40" {
		t.Errorf("%v", s.Type.Text(0))
	}
}
