package schema

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"penstock.dev/penstock/jsonview"
)

// TestAcceptIsTheLibrarysYes draws schemas and documents: what the quick way accepts, the
// library accepts.
func TestAcceptIsTheLibrarysYes(t *testing.T) {
	quick, slow := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.Marshal(drawSchema(t, 0))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse("drawn", text)
		if err != nil {
			t.Skip(err)
		}
		v := s.Validator()
		if v.quick == nil {
			slow++
			return
		}
		for range 20 {
			body, err := json.Marshal(drawValue(t, 0))
			if err != nil {
				t.Fatal(err)
			}
			var d jsonview.Doc
			d.Reset(jsonview.JSON, body)
			if err := d.Parse(jsonview.Limits{}); err != nil {
				t.Fatal(err)
			}
			if !v.quick(&d, 0) {
				continue
			}
			quick++
			library := Validator{s: v.s}
			if bad := library.Validate(&d); bad != nil {
				t.Fatalf("%s is accepted by the quick way, but breaks %s: %v", body, text, bad)
			}
		}
	})
	if quick < 100 {
		t.Errorf("only %d documents took the quick way (%d schemas did not): the test holds nothing", quick, slow)
	}
}

func drawSchema(t *rapid.T, depth int) map[string]any {
	kinds := []string{"string", "integer", "number", "boolean", "null"}
	if depth < 2 {
		kinds = append(kinds, "object", "array", "object")
	}
	kind := rapid.SampledFrom(kinds).Draw(t, "type")
	s := map[string]any{"type": kind}
	some := func(label string) bool { return rapid.IntRange(0, 3).Draw(t, label) == 0 }
	switch kind {
	case "object":
		props := map[string]any{}
		for _, name := range []string{"a", "b", "c"} {
			if !some("without " + name) {
				props[name] = drawSchema(t, depth+1)
			}
		}
		s["properties"] = props
		if some("required") {
			s["required"] = []string{rapid.SampledFrom([]string{"a", "b", "d"}).Draw(t, "name")}
		}
		if some("closed") {
			s["additionalProperties"] = false
		} else if some("rest") {
			s["additionalProperties"] = drawSchema(t, depth+1)
		}
		if some("min") {
			s["minProperties"] = rapid.IntRange(0, 3).Draw(t, "n")
		}
	case "array":
		s["items"] = drawSchema(t, depth+1)
		if some("max") {
			s["maxItems"] = rapid.IntRange(0, 3).Draw(t, "n")
		}
	case "string":
		if some("length") {
			s["minLength"] = rapid.IntRange(0, 3).Draw(t, "n")
		}
		if some("enum") {
			s["enum"] = []any{"a", "DE", 7}
		}
		if some("pattern") {
			s["pattern"] = "^[a-zA-Z0-9]*$"
		}
		if some("format") {
			s["format"] = rapid.SampledFrom([]string{"date-time", "decimal", "date", "duration", "byte"}).Draw(t, "format")
		}
	case "number", "integer":
		if some("minimum") {
			s["minimum"] = rapid.SampledFrom([]any{0, -1.5, 10, 2.5}).Draw(t, "at")
		}
		if some("exclusive") {
			s["exclusiveMaximum"] = rapid.SampledFrom([]any{3, 2.5, 100}).Draw(t, "at")
		}
		if some("format") {
			s["format"] = rapid.SampledFrom([]string{"decimal", "int64", "double"}).Draw(t, "format")
		}
	}
	if some("nullable") {
		s["type"] = []string{kind, "null"}
	}
	return s
}

func drawValue(t *rapid.T, depth int) any {
	top := 6
	if depth > 2 {
		top = 4
	}
	switch rapid.IntRange(0, top).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]any{0, 1, -2, 3, 10, 100, 2.5, -1.5, 1e20, json.Number("1.0"), json.Number("2.50")}).Draw(t, "number")
	case 1:
		return rapid.SampledFrom([]string{"", "a", "DE", "ü", "1.5", "2024-01-01T00:00:00Z", "2024-02-30T00:00:00Z", "2024-01-01", "90s", "YQ=="}).Draw(t, "text")
	case 2:
		return rapid.Bool().Draw(t, "bool")
	case 3, 4:
		return nil
	case 5:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			list = append(list, drawValue(t, depth+1))
		}
		return list
	}
	m := map[string]any{}
	for _, name := range []string{"a", "b", "c", "d"} {
		if rapid.Bool().Draw(t, name) {
			m[name] = drawValue(t, depth+1)
		}
	}
	return m
}

// TestAcceptAllocatesNothing holds the quick way to no allocation on an ordinary line.
func TestAcceptAllocatesNothing(t *testing.T) {
	s, err := Parse("test", []byte(`{"type":"object","additionalProperties":false,"required":["id","n","at"],"properties":{
		"id":{"type":"string","minLength":1},"n":{"type":"integer","minimum":0},"price":{"type":"number","format":"decimal"},
		"at":{"type":"string","format":"date-time"},"tags":{"type":"array","items":{"type":"string"}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	v := s.Validator()
	var d jsonview.Doc
	d.Reset(jsonview.JSON, fmt.Appendf(nil, `{"id":"x1","n":17,"price":2.50,"at":"2024-01-01T10:00:00Z","tags":["a","b"]}`))
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	if !v.quick(&d, 0) {
		t.Fatal("not accepted the quick way")
	}
	if n := testing.AllocsPerRun(100, func() { v.Validate(&d) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
