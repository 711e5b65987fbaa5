package flowtest

import (
	"strings"
	"testing"

	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

// FuzzYAML writes a document as YAML, alone and as a list that an update makes, and reads it with
// both readings of YAML: it must be the same.
func FuzzYAML(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"on":"off","x y":[1.50,-2e-7,1e3,12345678901234567890],"":{},"é":"☃"}`, `"it's # a, \" \\ ] }"`, `[[],{},null,true]`,
		`{"y":"~","k":"- x","m":"2001-01-01","t":"0x1f","e":"1e3","d":".5","c":"a: b","n":"\n\t\u0085\u2028"}`, `0.0`, `-0`, `1E+05`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		tree, err := parse([]byte(src))
		if err != nil || len(src) > 1000 {
			t.Skip()
		}
		l := &diag.List{}
		docs := resource.ParseYAML("x.yaml", []byte("a: "+yamlFlow(&tree)+"\n"), l)
		if l.Len() > 0 {
			for _, d := range l.Sorted() {
				if strings.Contains(d.Message, "would round the number") {
					t.Skip() // no configuration may hold it, however it is written
				}
				if d.Code == "yaml-versions" || d.Code == "yaml-syntax" {
					t.Fatalf("%s\nis read as %v", yamlFlow(&tree), l.Sorted())
				}
			}
			t.Skip() // a number or a depth that no configuration may hold
		}
		if len(docs) != 1 || canonNode(docs[0].Get("a")) != canon(&tree) {
			t.Fatalf("%s\nis read as %s", yamlFlow(&tree), docs[0].JSON())
		}
	})
}

func TestCanonNumber(t *testing.T) {
	equal := [][]string{
		{"2.50", "2.5", "25e-1", "0.25E1", "2500e-3"}, {"0", "-0", "0.000", "0e9"}, {"100", "1e2", "1.00e+2"}, {"-1.5", "-15e-1"},
		{"9007199254740993", "9007199254740993.0"}, {"12345678901234567890123", "1234567890123456789012.3e1"},
	}
	for i, group := range equal {
		for _, s := range group {
			if canonNumber(s) != canonNumber(group[0]) {
				t.Errorf("%s is %s, %s is %s", s, canonNumber(s), group[0], canonNumber(group[0]))
			}
			for j := range equal {
				if j != i && canonNumber(s) == canonNumber(equal[j][0]) {
					t.Errorf("%s equals %s", s, equal[j][0])
				}
			}
		}
	}
	if canonNumber("9007199254740993") == canonNumber("9007199254740992") {
		t.Error("not exact")
	}
}
