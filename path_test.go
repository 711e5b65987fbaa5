package penstock_test

import (
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		in, root string
		steps    []penstock.PathStep
		bad      string // part of the error
	}{
		{in: "body", root: "body"},
		{in: "body.total", root: "body", steps: []penstock.PathStep{{Name: "total"}}},
		{in: `body["x-y"][0].a_1`, root: "body", steps: []penstock.PathStep{{Name: "x-y"}, {Index: 0}, {Name: "a_1"}}},
		{in: `body["a\"b"]`, root: "body", steps: []penstock.PathStep{{Name: `a"b`}}},
		{in: "vars.country", root: "vars", steps: []penstock.PathStep{{Name: "country"}}},
		{in: "vars.country.code", root: "vars", steps: []penstock.PathStep{{Name: "country"}, {Name: "code"}}},
		{in: "meta.priority", root: "meta", steps: []penstock.PathStep{{Name: "priority"}}},
		{in: "meta.ce.type", root: "meta", steps: []penstock.PathStep{{Name: "ce"}, {Name: "type"}}},
		{in: "key", root: "key"},
		{in: "none", root: "none"},
		{in: "", bad: "must begin with"},
		{in: "total", bad: "begins with"},
		{in: "bodyx.y", bad: "begins with"},
		{in: "key.x", bad: "nothing can follow"},
		{in: "none.x", bad: "nothing can follow"},
		{in: "vars", bad: "name of a variable"},
		{in: "vars[0]", bad: "name of a variable"},
		{in: "meta", bad: "one header"},
		{in: "meta.a.b", bad: "one header"},
		{in: "body.", bad: "character 5"},
		{in: "body.é", bad: "character 5"},
		{in: "body.a-b", bad: "character 7"},
		{in: `body["a`, bad: "not closed"},
		{in: `body["a"`, bad: "not closed"},
		{in: `body[""]`, bad: "no name"},
		{in: "body[x]", bad: "quoted name or a number"},
		{in: "body[1", bad: "quoted name or a number"},
		{in: "body[99999999999999999999]", bad: "quoted name or a number"},
		{in: "body" + strings.Repeat(".a", penstock.MaxPathSteps+1), bad: "more than 64"},
	} {
		p, err := penstock.ParsePath(c.in)
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("ParsePath(%q) = %v, %v; want an error with %q", c.in, p, err, c.bad)
			}
			continue
		}
		if err != nil || p.Root != c.root || !slices.Equal(p.Steps, c.steps) || p.String() != c.in {
			t.Errorf("ParsePath(%q) = %+v, %v", c.in, p, err)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"body.a.b", `body["x-y"][0]`, "vars.x", "meta.ce.id", "key", `body["\u00e9"]`, "body[", "body.\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := penstock.ParsePath(s)
		if err != nil {
			return
		}
		again, err := penstock.ParsePath(p.String())
		if err != nil || again.Root != p.Root || !slices.Equal(again.Steps, p.Steps) {
			t.Errorf("%q → %q → %+v, %v", s, p.String(), again, err)
		}
	})
}
