package expr

import (
	"bytes"
	"encoding/json"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/jsonview"
)

// orderFrame is a frame for orderScope.
func orderFrame(body string) *penstock.Frame {
	f := frame(body)
	rate, _ := penstock.ParseDecimal("1.19")
	item := new(jsonview.Doc)
	item.Reset(jsonview.JSON, []byte(`{"a": [1, 2.50], "s": "t"}`))
	_ = item.Parse(jsonview.Limits{})
	f.Msg.Vars = []penstock.Value{penstock.StringValue("north"), penstock.DecimalValue(rate), penstock.NodeValue(item, 0)}
	f.Runtime.Params = []penstock.Value{penstock.StringValue("./data")}
	f.Msg.Meta.Set("x", penstock.StringValue("1"))
	return f
}

// disagreement tells how the two evaluators differ on an expression; "" where they don't.
func disagreement(c *Compiled, body string) string {
	f := orderFrame(body)
	fast, slow := c.Program.Eval(f), c.EvalOracle(f)
	if fast.IsError() || slow.IsError() {
		if fast.IsError() != slow.IsError() {
			return "fast: " + fast.String() + "\ncel-go: " + slow.String()
		}
		return ""
	}
	a, errA := fast.AppendJSON(nil)
	b, errB := slow.AppendJSON(nil)
	if !same(fast, slow) || compact(a) != compact(b) || (errA == nil) != (errB == nil) {
		return "fast: " + fast.String() + "\ncel-go: " + slow.String()
	}
	return ""
}

// compact is a JSON text without white space: a list may be copied as it stands in the body.
func compact(text []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, text) != nil {
		return string(text)
	}
	return b.String()
}

// TestDifferential holds the fast evaluator to cel-go on random expressions and bodies.
func TestDifferential(t *testing.T) {
	n := 4000
	if testing.Short() {
		n = 500
	}
	p := lenientProfile(t)
	typed, untyped := orderScope(), orderScope()
	untyped.Roots[0].Type = nil
	compiled, fast, failed := 0, 0, 0
	for seed := range uint64(n) {
		sc := typed
		if seed%4 == 3 {
			sc = untyped
		}
		c := generated(p, sc, seed)
		if c == nil {
			continue
		}
		compiled++
		if c.Fast {
			fast++
		}
		for i := range uint64(3) {
			body := newGenerator(seed*31 + i).body()
			if what := disagreement(c, body); what != "" {
				t.Errorf("seed %d: %s\non %s\n%s", seed, c.Source, body, what)
				if failed++; failed > 10 {
					t.FailNow()
				}
				break
			}
		}
	}
	t.Logf("%d of %d compile, %d are fast", compiled, n, fast)
	if compiled < n/2 || fast < compiled*9/10 {
		t.Errorf("the generator is worth little: %d of %d compile, %d are fast", compiled, n, fast)
	}
}

// generated compiles the expression of a seed; nil if it is refused.
func generated(p *Profile, sc *scope.Scope, seed uint64) *Compiled {
	g := newGenerator(seed)
	kind := g.pick("bool", "int", "uint", "double", "decimal", "string", "timestamp", "duration", "bytes", "dyn", "optional string")
	src := g.of(kind, 1+g.IntN(4))
	var l diag.List
	return p.Expr(src, penstock.Pos{}, sc, nil, &l)
}

func FuzzDifferential(f *testing.F) {
	p := lenientProfile(f)
	sc := orderScope()
	for seed := range uint64(20) {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, expression, data uint64) {
		c := generated(p, sc, expression)
		if c == nil {
			return
		}
		body := newGenerator(data).body()
		if what := disagreement(c, body); what != "" {
			t.Fatalf("%s\non %s\n%s", c.Source, body, what)
		}
	})
}

// FuzzSource feeds text: no expression panics, says nothing without a place, or differs
// between the evaluators.
func FuzzSource(f *testing.F) {
	for _, s := range []string{
		`body.total / 0 > 1 && false`, `true || body.count / 0 == 1`, `body.lines.exists(l, l.quantity / 0 == 1) || true`, `has(body.email)`, `body.count * 9223372036854775807`,
		`{1: "a", 2u: "b"}[1.0]`, `"Grüße".size() == 5`, `timestamp("2010-12-01T08:26:00Z").getFullYear("Europe/Berlin")`, `body["id"] + body.?note.orValue("}")`,
		`[1, 2].groupBy(x, x % 2).map(g, {"k": g.key, "n": g.items.size()})`, `body.tags.transformMap(i, v, v)`, `-9223372036854775808`, `r"\d" + '''x'''`, `a.b.c(`, "`", `body.`,
	} {
		f.Add(s, orderBody)
	}
	p := lenientProfile(f)
	sc := orderScope()
	f.Fuzz(func(t *testing.T, src, body string) {
		var l diag.List
		c := p.Expr(src, penstock.Pos{File: "f", Line: 1, Col: 1}, sc, nil, &l)
		if (c == nil) != l.HasErrors() {
			t.Fatalf("%q: compiled %v, findings %v", src, c != nil, l.Sorted())
		}
		for _, d := range l.Sorted() {
			if !d.Pos.IsValid() || d.Message == "" || d.Code == "" {
				t.Fatalf("%q: a finding without place or words: %+v", src, d)
			}
		}
		if c == nil || c.Volatile {
			return
		}
		if what := disagreement(c, body); what != "" {
			t.Fatalf("%s\non %s\n%s", src, body, what)
		}
	})
}
