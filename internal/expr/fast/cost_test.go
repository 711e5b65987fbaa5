package fast_test

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// TestCostOfLargeValues: what compares or searches large values runs out of its rounds as loops do, within loops or
// without any; large values that are looked at once do not. (The limit is 1000 here.)
func TestCostOfLargeValues(t *testing.T) {
	list := func(unit string, n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(unit+",", n), ",") + "]"
	}
	object := "{"
	for i := range 200 {
		object += `"` + strings.Repeat("k", i+1) + `":1,`
	}
	body := `{"l":` + list("1234", 400) + `,"o":` + list(`{"a":1234}`, 400) + `,"m":` + object + `"x":1},"s":"` + strings.Repeat("a", 10_000) + `"}`
	constant := list("1", 200)
	for _, c := range []struct{ src, want string }{ // "": the limit
		{`7 in body.l`, `false`},
		{`body.l == body.l`, `true`},
		{`body.o == body.o`, `true`},
		{`body.l.distinct().size()`, `1`},
		{constant + ` == ` + constant, `true`},
		{`2 in ` + constant, `false`},
		{`body.s.matches("b$")`, `false`},
		{`sets.intersects([1, 2], body.l)`, `false`},
		{`body.l.map(x, x in body.l).size()`, ``},
		{`body.l.all(x, body.l == body.l)`, ``},
		{`body.l.all(x, body.o != body.l)`, ``},
		{`body.l.all(x, [body.o] != [body.l])`, ``},
		{`body.m == body.m`, ``},
		{`sets.contains(body.l, body.l)`, ``},
		{`sets.equivalent(body.l, body.l)`, ``},
		{`sets.intersects([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20], body.l)`, ``},
		{`body.l.transformList(i, x, i).distinct().size()`, ``},
		{`body.l.exists(x, body.s.matches("b$"))`, ``},
		{`body.l.exists(x, body.s.matches(body.s.substring(0, 1) + "b$"))`, ``},
	} {
		p, f := compile(t, newEnv(t), c.src, types.DynType), newFrame(body)
		for range 2 { // the budget is that of one evaluation
			v := p.Eval(f)
			switch {
			case c.want != "":
				if got := show(v); got != c.want {
					t.Errorf("%.100s gives %.100s, want %s", c.src, got, c.want)
				}
			case !v.IsError() || penstock.CodeOf(v.Err()) != penstock.Unprocessable || !strings.Contains(v.Err().Error(), "cost limit"):
				t.Errorf("%.100s gives %.100s, want the cost limit", c.src, show(v))
			}
		}
	}
}
