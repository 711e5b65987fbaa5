package fast_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/fast"
	"penstock.dev/penstock/internal/expr/scope"
)

// generator makes expressions that mostly pass the check.
type generator struct{ *rand.Rand }

func (g generator) pick(from ...string) string { return from[g.IntN(len(from))] }

// value gives an expression of any type.
func (g generator) value(depth int) string {
	if depth <= 0 {
		return g.pick(`1`, `0`, `-3`, `9223372036854775807`, `2u`, `1.5`, `0.0`, `"a"`, `""`, `"ü😀"`, `true`, `false`, `null`, `b"x"`, `decimal("1.10")`, `duration("1s")`, `timestamp("2024-01-01T00:00:00Z")`,
			`body.id`, `body.amount`, `body.count`, `body.total`, `body.at`, `body.took`, `body.data`, `body.paid`, `body.big`, `body.note`, `body.text`, `body.address.zip`, `body.nothing`,
			`body.any.i`, `body.any.d`, `body.any.s`, `body.any.n`, `body.any.b`, `body.any.huge`, `body.any.exp`, `body.any.l[1]`, `body.any.o.k`, `body.lines[0].price`, `body.rates.EUR`, `body.tags[0]`,
			`vars.rate`, `params.limit`, `key`, `item`, `dyn(1)`, `dyn("a")`, `dyn(1.0)`)
	}
	d := depth - 1
	switch g.IntN(16) {
	case 0, 1, 2:
		return fmt.Sprintf("(%s %s %s)", g.value(d), g.pick("+", "-", "*", "/", "%"), g.value(d))
	case 3, 4:
		return g.truth(d)
	case 5:
		return fmt.Sprintf("(%s ? %s : %s)", g.truth(d), g.value(d), g.value(d))
	case 6:
		return fmt.Sprintf("%s(%s)", g.pick("int", "uint", "double", "string", "bool", "bytes", "decimal", "dyn", "type", "size", "timestamp", "duration", "json.encode", "math.abs", "-", "hash"), g.value(d))
	case 7:
		return g.list(d)
	case 8:
		return fmt.Sprintf("%s.%s", g.list(d), g.pick("size()", "sum()", "avg()", "min()", "max()", "first()", "last()", "sort()", "distinct()", "reverse()", "flatten()", "join('-')", "unwrapOpt()"))
	case 9:
		return fmt.Sprintf("%s[%s]", g.pick("body", "body.any", "body.any.l", "body.lines", "body.tags", "{1: 2, 'a': 3}", "[1, 2.0]"), g.value(d))
	case 10:
		return fmt.Sprintf("%s.%s", g.optional(d), g.pick("orValue("+g.value(d)+")", "value()", "hasValue()", "optMap(x, x)", "or("+g.optional(d)+")"))
	case 11:
		return fmt.Sprintf("cel.bind(v, %s, %s)", g.value(d), g.pick("v", "[v, v]", "v == v", "v + v"))
	case 12:
		return fmt.Sprintf("string(%s).%s", g.value(d), g.pick("upperAscii()", "trim()", "split('')", "charAt(1)", "substring(1)", "indexOf('a')", "replace('a', 'b')", "size()", "reverse()", "matches('^a')"))
	case 13:
		return fmt.Sprintf("{%s: %s, ?'o': %s}", g.pick(`"k"`, `1`, `true`, g.value(0)), g.value(d), g.optional(d))
	case 14:
		return g.list(d) + g.pick(".groupBy(x, x)", ".sortBy(x, x)", ".map(x, x == null, x)", ".transformMap(i, x, x)", ".transformList(i, x, [i, x])")
	}
	return g.optional(d)
}

func (g generator) truth(depth int) string {
	if depth <= 0 {
		return g.pick(`true`, `false`, `body.paid`, `body.any.b`, `has(body.nothing)`, `has(body.note)`, `has(body.any.n)`, `has(body.any.s.x)`, `body.count > 2`, `body.id == "A-1"`, `(1 / 0 > 0)`)
	}
	d := depth - 1
	switch g.IntN(8) {
	case 0, 1:
		return fmt.Sprintf("(%s %s %s)", g.truth(d), g.pick("&&", "||"), g.truth(d))
	case 2:
		return "!" + g.truth(d)
	case 3, 4:
		return fmt.Sprintf("(%s %s %s)", g.value(d), g.pick("<", "<=", ">", ">=", "==", "!="), g.value(d))
	case 5:
		return fmt.Sprintf("(%s in %s)", g.value(d), g.list(d))
	}
	return fmt.Sprintf("%s.%s(x, %s)", g.list(d), g.pick("all", "exists", "exists_one"), g.pick("x == "+g.value(d), "x > "+g.value(d), "1 / x > 0", g.truth(d), "x"))
}

func (g generator) list(depth int) string {
	if depth <= 0 {
		return g.pick(`[]`, `[1, 2, 3]`, `[1, 2.5, 3u]`, `["a", "b"]`, `[decimal("1.5"), decimal("2")]`, `body.tags`, `body.any.l`, `body.lines.map(l, l.price)`, `body.lines.map(l, l.at)`, `body.lines.map(l, l.cost)`, `body.lines`, `body.rates`, `[[1], [2]]`)
	}
	d := depth - 1
	return g.pick(fmt.Sprintf("[%s, %s]", g.value(d), g.value(d)), fmt.Sprintf("%s.map(x, %s)", g.list(d), g.pick("x", "[x]", "x + x", "x == 1", g.value(d))),
		fmt.Sprintf("%s.filter(x, %s)", g.list(d), g.pick("x != null", "x == "+g.value(d), g.truth(d))), fmt.Sprintf("(%s + %s)", g.list(d), g.list(d)), g.list(0), fmt.Sprintf("[?%s, %s]", g.optional(d), g.value(d)))
}

func (g generator) optional(depth int) string {
	return g.pick(`optional.none()`, `body.?id`, `body.?nothing`, `body.?any.?n`, `body.any.?s.?x`, `body.?address.zip`, `body[?"at"]`, `body.lines[?5]`, `body.any.l[?0]`, `vars.?gone`, `meta.?source`, "optional.of("+g.value(depth-1)+")",
		"optional.ofNonZeroValue("+g.value(depth-1)+")")
}

// compareGenerated makes one expression and compares; it reports whether the profile took it.
func compareGenerated(t *testing.T, p *expr.Profile, scopes map[string]*scope.Scope, seed uint64) (taken bool) {
	t.Helper()
	g := generator{rand.New(rand.NewPCG(seed, 7))}
	src := g.value(1 + g.IntN(3))
	for name, sc := range scopes {
		var l diag.List
		c := p.Expr(src, penstock.Pos{File: "f.yaml", Line: 1, Col: 1}, sc, nil, &l)
		if c == nil {
			continue
		}
		if taken = true; !c.Fast {
			t.Logf("%s (%s) is left to cel-go", src, name)
			continue
		}
		body := bodies[g.IntN(len(bodies))]
		for _, b := range []string{sample, body} {
			out := c.EvalOracle(profileFrame(b))
			got, want := settle(c.Program.Eval(profileFrame(b))), settle(out)
			if got != want && known(src, got, out) == "" {
				t.Errorf("seed %d: %s (%s) of %.80s\n got %s\nwant %s", seed, src, name, b, got, want)
			}
			compareWritten(t, c, src, b)
		}
	}
	return taken
}

// compareWritten compares what a mapping writes with what the value is. Times, and decimals that are texts, are
// written as they stand in the data, so those are left out.
func compareWritten(t *testing.T, c *expr.Compiled, src, body string) {
	t.Helper()
	v := c.Program.Eval(profileFrame(body))
	want, errWant := v.AppendJSON(nil)
	got, errGot := fast.NewMapping(&fast.Node{Kind: fast.Leaf, Program: c.Program}).Append(nil, profileFrame(body))
	if (errWant == nil) != (errGot == nil) && !strings.HasSuffix(settle(v), "without JSON") || errWant == nil && string(got) != string(want) && !strings.Contains(src, "at") && !strings.Contains(src, "took") && !strings.Contains(src, "text") {
		t.Errorf("%s of %.80s\nwritten %s %v\n  value %s %v", src, body, got, errGot, want, errWant)
	}
}

// known names the difference of testdata/differences.txt that explains why the two answers to
// src differ; "" if none does.
func known(src, got string, oracle penstock.Value) string {
	switch {
	case strings.Contains(src, "ofNonZeroValue") && !oracle.IsError():
		return "non-zero-keeps-text"
	case strings.HasSuffix(got, "without JSON"):
		return "read-at-once"
	case oracle.IsError() && strings.Contains(src, "cel.bind(v, type("):
		return "types-in-variables"
	}
	return ""
}

// TestDifferencesAreListed holds the list to what the tests excuse. (Timestamps are compared as
// instants: the zone is excused everywhere.)
func TestDifferencesAreListed(t *testing.T) {
	text, err := os.ReadFile("testdata/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(text)) {
		if name, reason, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && !strings.HasPrefix(line, "#") && reason != "" {
			listed = append(listed, name)
		}
	}
	excused := []string{
		known("optional.ofNonZeroValue(1)", "", penstock.Null),
		known("", "x without JSON", penstock.Null),
		known("cel.bind(v, type(1), v)", "", penstock.ErrorValue(os.ErrInvalid)),
		"zone",
	}
	if !slices.Equal(listed, excused) {
		t.Errorf("listed are %v, excused are %v", listed, excused)
	}
}

// TestGenerated compares with cel-go on expressions that nobody thought of.
func TestGenerated(t *testing.T) {
	p, scopes := profileOf(t)
	taken := 0
	for seed := range uint64(1500) {
		if compareGenerated(t, p, scopes, seed) {
			taken++
		}
	}
	if taken < 500 {
		t.Errorf("the profile took only %d expressions", taken)
	}
}

// FuzzGenerated goes on where TestGenerated ends.
func FuzzGenerated(f *testing.F) {
	p, scopes := profileOf(f)
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { compareGenerated(t, p, scopes, seed) })
}
