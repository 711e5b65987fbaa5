package reference_test

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/internal/reference"
)

// TestExamplesOfFunctions evaluates what the page of functions says.
func TestExamplesOfFunctions(t *testing.T) {
	p, err := expr.NewProfile(expr.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &penstock.Batch{Runtime: &penstock.Runtime{Clock: penstock.SystemClock{}, UUID: func() string { return "123e4567-e89b-42d3-a456-426614174000" }}}
	seen := map[string]bool{}
	for _, f := range reference.Functions() {
		if seen[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		seen[f.Name] = true
		l := &diag.List{}
		c := p.Expr(f.Example, penstock.Pos{File: f.Name, Line: 1, Col: 1}, &scope.Scope{}, nil, l)
		if l.HasErrors() || c == nil {
			t.Errorf("%s: %v", f.Name, l.Sorted())
			continue
		}
		got, err := c.Program.Eval(b.Frame(b.Append())).AppendJSON(nil)
		if err != nil || string(got) != f.Result {
			t.Errorf("%s: %s gives %s, %v; the page says %s", f.Name, f.Example, got, err, f.Result)
		}
	}
}
