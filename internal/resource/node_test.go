package resource_test

import (
	"encoding/json"
	"testing"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

func TestNodeJSON(t *testing.T) {
	for src, want := range map[string]string{
		"a: 1.50":                                 `{"a":1.50}`,
		"a: [ +1, -0x1F, .5, 1., ~ ]":             "", // a signed hexadecimal is refused
		"a: [ +1, 0x1F, .5, 1., ~, -.5, 00 ]":     "",
		"a: [ +1, 0x1F, .5, 1., ~, -.5, 1.5e+3 ]": `{"a":[1,31,0.5,1.0,null,-0.5,1.5e+3]}`,
		`a: "x\u0001<é\"\\"`:                      `{"a":"x\u0001<é\"\\"}`,
		"z: { b: true, a: False }":                `{"z":{"b":true,"a":false}}`,
		"a: |\n  x\n   y\n\nb: >-\n  p\n  q\n":    `{"a":"x\n y\n","b":"p q"}`,
		"a: ''":                                   `{"a":""}`,
	} {
		l := &diag.List{}
		nodes := resource.ParseYAML("a.yaml", []byte(src), l)
		if want == "" {
			if !l.HasErrors() {
				t.Errorf("%q is not refused", src)
			}
			continue
		}
		if l.Len() > 0 || len(nodes) != 1 {
			t.Errorf("%q: %v", src, l.Sorted())
			continue
		}
		if got := string(nodes[0].JSON()); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%q is %s, want %s", src, got, want)
		}
		tree := nodes[0].Tree()
		if got := string(resource.AppendTree(nil, &tree)); got != want {
			t.Errorf("the tree of %q is %s", src, got)
		}
	}
}

func TestNodeLookup(t *testing.T) {
	n := resource.ParseYAML("a.yaml", []byte("a:\n  - b: 1\n  - x/y: { ~z: 2 }\n"), &diag.List{})[0]
	for _, c := range []struct {
		pointer string
		line    int
		ok      bool
	}{
		{"", 1, true}, {"/a", 2, true}, {"/a/0/b", 2, true}, {"/a/1/x~1y/~0z", 3, true},
		{"/a/2", 2, false}, {"/a/0/c", 2, false}, {"/x", 1, false}, {"a", 1, false}, {"/a/x", 2, false}, {"/a/0/b/", 2, false}, {"/a/-1", 2, false},
	} {
		got, ok := n.Lookup(c.pointer)
		if ok != c.ok || got.Pos.Line != c.line {
			t.Errorf("%q: line %d, %v", c.pointer, got.Pos.Line, ok)
		}
	}
}

// What stands in YAML reads the same by both versions, or is refused.
func FuzzBothReadings(f *testing.F) {
	for _, s := range []string{"1e3", "yes", "0x1F", "1_0", "12:30:00", "~", "x: y", "[ a, b ]", "|\n  x", ">-\n  a\n  b", "'x'", "\"\\u00e9\"", "2010-12-01", "-.5", "=", "<<"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1<<12 {
			t.Skip()
		}
		l := &diag.List{}
		for _, n := range resource.ParseYAML("a.yaml", []byte("a: "+s), l) {
			if text := n.JSON(); l.Len() == 0 && !json.Valid(text) {
				t.Errorf("%q gives %s", s, text)
			}
		}
		checkPlaces(t, "a: "+s, l)
	})
}
