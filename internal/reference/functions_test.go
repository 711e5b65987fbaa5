package reference

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
)

// TestExamplesOfFunctions evaluates what the page of functions says, and holds it to the profile's own list.
func TestExamplesOfFunctions(t *testing.T) {
	p, err := expr.NewProfile(expr.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &penstock.Batch{Runtime: &penstock.Runtime{Clock: penstock.SystemClock{}, UUID: func() string { return "123e4567-e89b-42d3-a456-426614174000" }}}
	seen := map[string]bool{}
	for _, e := range examples {
		if seen[e.name] {
			t.Errorf("%s is there twice", e.name)
		}
		seen[e.name] = true
		l := &diag.List{}
		c := p.Expr(e.source, penstock.Pos{File: e.name, Line: 1, Col: 1}, &scope.Scope{}, nil, l)
		if l.HasErrors() || c == nil {
			t.Errorf("%s: %v", e.name, l.Sorted())
			continue
		}
		got, err := c.Program.Eval(b.Frame(b.Append())).AppendJSON(nil)
		if err != nil || string(got) != e.result {
			t.Errorf("%s: %s gives %s, %v; the page says %s", e.name, e.source, got, err, e.result)
		}
	}
	for _, f := range expr.Functions() {
		if !seen[f.Name] {
			t.Errorf("%s has no example", f.Name)
		}
		delete(seen, f.Name)
	}
	for name := range seen {
		t.Errorf("%s is no function of the profile", name)
	}
}
