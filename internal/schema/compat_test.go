package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"penstock.dev/penstock/jsonview"
)

func TestBackward(t *testing.T) {
	const amount = `{"type":"object","required":["amount"],"properties":{"amount":{"type":"integer"}}}`
	for _, c := range []struct{ name, old, now, want string }{
		{"the same", amount, amount, ""},
		{"remarks", amount, `{"title":"money","type":"object","description":"x","required":["amount"],"properties":{"amount":{"type":"integer","description":"in cents"}}}`, ""},
		{"an optional field more", amount, `{"type":"object","required":["amount"],"properties":{"amount":{"type":"integer"},"currency":{"type":"string"}}}`, ""},
		{"an optional field more, closed", `{"type":"object","additionalProperties":false,"properties":{}}`, `{"type":"object","additionalProperties":false,"properties":{"a":{"type":"string"}}}`, ""},
		{"an optional field more, open", `{"type":"object","additionalProperties":true,"properties":{"a":{}}}`, `{"type":"object","properties":{"a":{},"b":{"type":"string"}}}`, "body.b was anything, and is a string now"},
		{"a required field more", amount, `{"type":"object","required":["amount","currency"],"properties":{"amount":{"type":"integer"},"currency":{"type":"string"}}}`, "body.currency is required now, and was not there"},
		{"required, no longer optional", `{"type":"object","properties":{"a":{}}}`, `{"type":"object","required":["a"],"properties":{"a":{}}}`, "body.a is required now, and was optional"},
		{"optional, no longer required", amount, `{"type":"object","properties":{"amount":{"type":"integer"}}}`, ""},
		{"a field less", `{"type":"object","properties":{"a":{},"b":{}}}`, `{"type":"object","properties":{"a":{}}}`, ""},
		{"a field less, closed", `{"type":"object","properties":{"a":{},"b":{}}}`, `{"type":"object","additionalProperties":false,"properties":{"a":{}}}`, "body.b is not declared any more, and no other fields may be there"},
		{"closed", `{"type":"object","properties":{"a":{}}}`, `{"type":"object","additionalProperties":false,"properties":{"a":{}}}`, ""},
		{"closed, was open", `{"type":"object"}`, `{"type":"object","additionalProperties":false,"properties":{"a":{}}}`, "body may have no other fields now, and could have some"},
		{"a map", `{"type":"object","additionalProperties":{"type":"integer"}}`, `{"type":"object","additionalProperties":{"type":"number"}}`, ""},
		{"a map of less", `{"type":"object","additionalProperties":{"type":"number"}}`, `{"type":"object","additionalProperties":{"type":"integer"}}`, "body.* was a number, and is a whole number now"},
		{"another type", amount, `{"type":"object","required":["amount"],"properties":{"amount":{"type":"string"}}}`, "body.amount was a whole number, and is a string now"},
		{"a wider number", amount, `{"type":"object","properties":{"amount":{"type":"number"}}}`, ""},
		{"null as well", `{"type":"string"}`, `{"type":["string","null"]}`, ""},
		{"null no longer", `{"type":["string","null"]}`, `{"type":"string"}`, "body was a string or null, and is a string now"},
		{"null by anyOf", `{"type":["string","null"]}`, `{"anyOf":[{"type":"null"},{"type":"string"}]}`, ""},
		{"null by anyOf, no longer", `{"anyOf":[{"type":"null"},{"type":"string"}]}`, `{"type":["string"]}`, "body could be null, which is refused now"},
		{"bytes for text", `{"type":"string"}`, `{"type":"string","contentEncoding":"base64"}`, "body is encoded as base64 now, and could be something else"},
		{"a word more", `{"enum":["EUR","USD"]}`, `{"enum":["EUR","USD","CHF"]}`, ""},
		{"a word less", `{"enum":["EUR","USD"]}`, `{"enum":["EUR"]}`, `body could be "USD", which is refused now`},
		{"words for text", `{"type":"string"}`, `{"enum":["EUR"]}`, "body may have certain values only (`enum`, `const`), and could have others"},
		{"words that have the pattern", `{"enum":["EUR","USD"]}`, `{"type":"string","pattern":"^[A-Z]{3}$"}`, ""},
		{"a shorter text", `{"type":"string","maxLength":10}`, `{"type":"string","maxLength":5}`, "body has at most 5 characters now, and could have more"},
		{"a longer text", `{"type":"string","maxLength":10,"minLength":2}`, `{"type":"string","maxLength":15,"minLength":1}`, ""},
		{"another format", `{"type":"string","format":"date"}`, `{"type":"string","format":"date-time"}`, "body has the format date-time now, and could be something else"},
		{"no format", `{"type":"string","format":"date"}`, `{"type":"string"}`, ""},
		{"bounds", `{"type":"integer","minimum":1,"exclusiveMaximum":10}`, `{"type":"number","minimum":0,"maximum":10}`, ""},
		{"narrower bounds", `{"type":"integer","minimum":0}`, `{"type":"number","exclusiveMinimum":0,"maximum":10}`, "body is at least 0 now, and could be less; body is at most 10 now, and could be more"},
		{"a longer integer", `{"type":"integer","minimum":-2147483648,"maximum":2147483647}`, `{"type":"integer","format":"int64"}`, ""},
		{"a shorter integer", `{"type":"integer","format":"int64"}`, `{"type":"integer","format":"int32"}`, "body is at least -2147483648 now, and could be less; body is at most 2147483647 now, and could be more"},
		{"multiples", `{"type":"integer","multipleOf":10}`, `{"type":"integer","multipleOf":5}`, ""},
		{"fewer multiples", `{"type":"integer"}`, `{"type":"number","multipleOf":2}`, "body is a multiple of 2 now, and could be something else"},
		{"lists", `{"type":"array","items":{"type":"integer"},"maxItems":3}`, `{"type":"array","items":{"type":"number"},"maxItems":4}`, ""},
		{"elements", `{"type":"array","items":{"properties":{"a":{"type":"integer"}}}}`, `{"type":"array","minItems":1,"items":{"properties":{"a":{"type":"null"}},"type":"object"}}`, "body[].a was a whole number, and is null now; body has at least 1 elements now, and could have fewer"},
		{"references", `{"$ref":"#/$defs/a","$defs":{"a":{"type":"integer"}}}`, `{"allOf":[{"$ref":"#/$defs/b"}],"$defs":{"b":{"type":"number"}}}`, ""},
		{"a tree", `{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"$ref":"#/$defs/n"}}}}}`,
			`{"$ref":"#/$defs/m","$defs":{"m":{"type":"object","properties":{"v":{"type":"number"},"w":{"type":"string"},"next":{"$ref":"#/$defs/m"}}}}}`, ""},
		{"a tree of less", `{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"number"},"next":{"$ref":"#/$defs/n"}}}}}`,
			`{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"$ref":"#/$defs/n"}}}}}`, "body.next.v was a number, and is a whole number now; body.v was a number, and is a whole number now"},
		{"an alternative more", `{"oneOf":[{"required":["k"],"properties":{"k":{"const":"card"}}}]}`, `{"oneOf":[{"required":["k"],"properties":{"k":{"const":"card"}}},{"required":["k"],"properties":{"k":{"const":"cash"}}}]}`, ""},
		{"an alternative that is not told apart", `{"oneOf":[{"properties":{"a":{}}}]}`, `{"oneOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}]}`, "body may fit several alternatives of `oneOf` now"},
		{"an alternative less", `{"anyOf":[{"type":"object","required":["k"],"properties":{"k":{"const":"card"}}},{"type":"integer"}]}`, `{"anyOf":[{"type":"object","required":["k"],"properties":{"k":{"const":"card"}}},{"type":"boolean"}]}`,
			"body could be what none of the alternatives takes now; in the nearest, body was a whole number, and is an object now"},
		{"a condition", `{"type":"object"}`, `{"type":"object","not":{"required":["a"]}}`, "body has another `not` than before, or has one now: whether older documents fit can't be told"},
		{"the same condition", `{"type":"object","not":{"required":["a"]}}`, `{"not":{"required":["a"]}}`, ""},
		{"a condition gone", `{"type":"object","if":{"required":["a"]},"then":{"required":["b"]}}`, `{"type":"object"}`, ""},
		{"nothing was said", `{}`, `{"type":"object","properties":{"a":{}}}`, "body was anything, and is an object now"},
		{"nothing is said", `{"type":"object"}`, `true`, ""},
		{"nothing is allowed", `{"type":"object"}`, `false`, "body may not be there any more"},
	} {
		found, err := Backward([]byte(c.old), []byte(c.now))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, f := range found {
			got = append(got, f.String())
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, strings.Join(got, "; "), c.want)
		}
	}
	for _, bad := range [][2]string{{`{"type":"strin"}`, `{}`}, {`{}`, `{"type":"strin"}`}, {`{`, `{}`}} {
		if found, err := Backward([]byte(bad[0]), []byte(bad[1])); err == nil {
			t.Errorf("%v: %v, and no error", bad, found)
		}
	}
}

// TestBackwardIsTrue draws a schema, changes it, and draws documents of the old one: where Backward lets the change pass, all are valid under the new one.
func TestBackwardIsTrue(t *testing.T) {
	passed, refused, documents := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		old := drawRich(t, 0)
		now := redraw(t, old, 0)
		was, is := text(t, old), text(t, now)
		before, err := Parse("old", was)
		if err != nil {
			t.Skip(err)
		}
		after, err := Parse("now", is)
		if err != nil {
			t.Skip(err)
		}
		changes, err := Backward(was, is)
		if err != nil {
			t.Fatal(err)
		}
		if len(changes) > 0 {
			refused++
			return
		}
		passed++
		for range 10 {
			body := text(t, drawOf(t, old))
			var d jsonview.Doc
			d.Reset(jsonview.JSON, body)
			if err := d.Parse(jsonview.Limits{}); err != nil {
				t.Fatal(err)
			}
			if before.Validator().Validate(&d) != nil {
				continue
			}
			documents++
			if bad := after.Validator().Validate(&d); bad != nil {
				t.Fatalf("%s is valid under the old schema\n%s\nand not under the new one\n%s\nwhich passes: %v", body, was, is, bad)
			}
		}
	})
	t.Logf("%d changes passed, %d were refused; %d documents", passed, refused, documents)
	if passed < 20 || refused < 20 || documents < 100 {
		t.Errorf("%d changes passed, %d were refused, and there were %d documents: the test holds nothing", passed, refused, documents)
	}
}

// TestBackwardIsReflexive says that what did not change is compatible, whatever it is.
func TestBackwardIsReflexive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := text(t, drawRich(t, 0))
		changes, err := Backward(s, s)
		if err != nil {
			t.Skip(err)
		}
		if len(changes) > 0 {
			t.Fatalf("%s: %v", s, changes)
		}
	})
}

func text(t *rapid.T, v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// drawRich draws a schema of everything that documents can be drawn for.
func drawRich(t *rapid.T, depth int) map[string]any {
	if depth < 3 {
		switch rapid.IntRange(0, 9).Draw(t, "shape") {
		case 0:
			return map[string]any{rapid.SampledFrom([]string{"anyOf", "oneOf"}).Draw(t, "of"): []any{drawRich(t, depth+1), drawRich(t, depth+1)}}
		case 1:
			return map[string]any{"allOf": []any{drawRich(t, depth+1)}}
		case 2:
			return map[string]any{"enum": rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "DE"}), 1, 3, rapid.ID).Draw(t, "enum")}
		case 3:
			return map[string]any{"type": "object", "required": []string{"kind"}, "properties": map[string]any{"kind": map[string]any{"const": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "kind")}, "a": drawRich(t, depth+1)}}
		}
	}
	s := drawSchema(t, depth)
	if p, ok := s["properties"].(map[string]any); ok {
		for _, name := range []string{"a", "b", "c"} {
			if p[name] != nil {
				p[name] = drawRich(t, depth+1)
			}
		}
	}
	return s
}

// redraw changes a schema here and there.
func redraw(t *rapid.T, s map[string]any, depth int) map[string]any {
	some := func(n int) bool { return rapid.IntRange(0, n).Draw(t, "redraw") == 0 }
	if some(20) {
		return drawRich(t, depth)
	}
	out := map[string]any{}
	for _, k := range slices.Sorted(maps.Keys(s)) {
		v := s[k]
		switch x := v.(type) {
		case map[string]any:
			if k != "properties" {
				out[k] = redraw(t, x, depth+1)
				continue
			}
			p := map[string]any{}
			for _, name := range slices.Sorted(maps.Keys(x)) {
				q := x[name]
				if !some(12) {
					p[name] = redraw(t, q.(map[string]any), depth+1)
				}
			}
			if some(3) && p["e"] == nil {
				p["e"] = drawRich(t, depth+1)
			}
			out[k] = p
		case []any:
			if k != "anyOf" && k != "oneOf" && k != "allOf" {
				out[k] = v
				continue
			}
			var all []any
			for _, q := range x {
				all = append(all, redraw(t, q.(map[string]any), depth+1))
			}
			if some(4) {
				all = append(all, drawRich(t, depth+1))
			}
			out[k] = all
		default:
			if !some(8) {
				out[k] = v
			}
		}
	}
	if more := drawSchema(t, 3); some(4) {
		for k, v := range more {
			if out[k] == nil || k != "type" {
				out[k] = v
			}
		}
	}
	if out["properties"] != nil && some(3) {
		out["required"] = []string{rapid.SampledFrom([]string{"a", "b", "e"}).Draw(t, "required now")}
	}
	return out
}

// drawOf draws a document of a schema, which may miss it here and there. It has no fields but those that are declared.
func drawOf(t *rapid.T, s map[string]any) any {
	for _, k := range []string{"anyOf", "oneOf", "allOf"} {
		if all, ok := s[k].([]any); ok {
			return drawOf(t, rapid.SampledFrom(all).Draw(t, k).(map[string]any))
		}
	}
	if e, ok := s["enum"].([]string); ok {
		return rapid.SampledFrom(e).Draw(t, "word")
	}
	if e, ok := s["enum"].([]any); ok {
		return rapid.SampledFrom(e).Draw(t, "word")
	}
	if c, ok := s["const"]; ok {
		return c
	}
	kind, _ := s["type"].(string)
	if all, ok := s["type"].([]string); ok {
		kind = rapid.SampledFrom(all).Draw(t, "one of")
	}
	switch kind {
	case "object":
		m := map[string]any{}
		required := fmt.Sprint(s["required"])
		props, _ := s["properties"].(map[string]any)
		for _, name := range []string{"a", "b", "c", "d", "e", "kind"} {
			if p, ok := props[name].(map[string]any); ok && (strings.Contains(required, name) || rapid.Bool().Draw(t, name)) {
				m[name] = drawOf(t, p)
			} else if rest, ok := s["additionalProperties"].(map[string]any); props[name] == nil && ok && rapid.Bool().Draw(t, name) {
				m[name] = drawOf(t, rest)
			} else if (len(props) == 0 || s["additionalProperties"] == true) && s["additionalProperties"] != false && rapid.Bool().Draw(t, name) {
				m[name] = drawValue(t, 2)
			}
		}
		return m
	case "array":
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			if items, ok := s["items"].(map[string]any); ok {
				list = append(list, drawOf(t, items))
			}
		}
		return list
	}
	for range 5 { // one that has the type, more often than not
		switch v := drawValue(t, 3).(type) {
		case string:
			if kind == "string" {
				return v
			}
		case bool:
			if kind == "boolean" {
				return v
			}
		case nil:
			if kind == "null" {
				return v
			}
		default:
			if kind == "number" || kind == "integer" {
				return v
			}
		}
	}
	return drawValue(t, 2)
}
