package fast_test

import (
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// profiled are expressions that only the profile knows, beside those of the other tables.
var profiled = []string{
	`body.lines.map(l, l.price * l.quantity).sum()`, `body.lines.map(l, l.cost * l.quantity).sum()`, `body.lines.map(l, l.cost).avg()`, `body.lines.map(l, l.price).min()`,
	`body.lines.map(l, l.at).max()`, `sum([1, 2, 3])`, `[1.5, 2.5].avg()`, `[].sum()`, `[].avg()`, `["b", "a"].min()`, `[duration("1s"), duration("2s")].sum()`, `body.tags.sum()`,
	`body.lines.groupBy(l, l.quantity).map(g, {"n": g.key, "s": g.items.size()})`, `body.lines.groupBy(l, l.sku > "x")[0].items[0].sku`, `body.lines.sortBy(l, l.price).map(l, l.sku)`,
	`mask("1234567890", 4)`, `mask(body.id)`, `mask("ab", -1)`, `hash("a")`, `hash(b"a", "sha512")`, `hash("a", "md5")`, `uuid()`, `raw(body.id)`, `round(decimal("1.25"), 1)`, `round(body.total, -1)`,
	`decimal(1.5)`, `decimal("x")`, `decimal(body.amount)`, `decimal("1.10") + 1`, `decimal("1") / 3`, `decimal("7") % 4`, `-decimal("1.5")`, `int(decimal("1.9"))`, `double(decimal("0.1"))`, `string(decimal("1.10"))`, `uint(decimal("-1"))`,
	`math.round(decimal("-2.5"))`, `math.floor(decimal("-2.1"))`, `math.ceil(decimal("2.1"))`, `math.trunc(decimal("2.9"))`, `math.abs(decimal("-2.9"))`, `math.sign(decimal("-2"))`, `math.greatest(body.amount, 1.0)`,
	`body.total > 10 && body.id == "A-1"`, `body.total == 12.5`, `body.amount == 150.5`, `body.big > 1`, `body.count * 1.5`, `body.count + body.total`, `body.count == 3.0`, `body.count in [1.0, 3.0]`, `body.at > now`, `body.took < duration("2s")`,
	`body["id"]`, `body[?"any"].hasValue()`, `body[body.count > 2 ? "at" : "id"]`, `body.lines[body.count - 3].at`, `body.any.l[0] == 1`, `body.any.d * 2.0`, `body.any.huge > 1`, `body.any.huge + 1`, `body.any.exp + 1`, `body.any.i / 2`, `dyn(body.lines)[0].at`, `dyn(body).at`,
	`json.encode(body.any)`, `json.encode({"a": body.amount})`, `json.parse("{\"a\": 1.50}").a`, `json.parse("x").hasValue()`, `[1, 2].distinct()`, `[dyn(1), 1.0].distinct()`, `cel.bind(t, body.total * 2, t + t)`, `body.address`, `body.lines`, `body.rates.map(k, k)`, `body.rates.all(k, v, v >= 1)`,
	`body.rates.transformMap(k, v, v * 2.0)`, `body.lines.exists(l, l.at == timestamp("2024-01-02T00:00:00Z"))`, `body.lines == body.lines`, `body.lines[0] in body.lines`, `body.data == b"hi"`, `body.text + 1`, `body.note == null`, `body.note != null && body.note.startsWith("x")`,
	`body.opt`, `body.?opt.orValue(5)`, `has(body.opt)`, `body.opt == null`, `body.opt != null && body.opt > 1`, `body.none == null`, `body.lines.map(l, has(l.sku))`, `vars.rate`, `vars.?gone.orValue("x")`, `meta.source`, `meta["source"]`, `meta.?x.orValue("y")`, `has(meta.source)`,
	`key + "!"`, `params.limit + 1`, `item`, `item + 1`, `vars`, `params`, `"%s is %d".format(["a", 1])`, `optional.of(body.total).value()`, `body.?address.?city`, `body.?gone`, `[body.?any.i, optional.none()]`, `{"a": body.at, "b": body.took, "c": body.data}`, `type(body.total) == decimal`, `type(body.at)`,
}

// profileOf makes the profile, and a scope over the schema, twice: with it and without.
func profileOf(tb testing.TB) (*expr.Profile, map[string]*scope.Scope) {
	tb.Helper()
	p, err := expr.NewProfile(expr.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	typed := order()
	typed.Name = "order"
	typed.Fields = append(typed.Fields, types.Field{Name: "opt", Type: types.IntType}, types.Field{Name: "none", Type: types.StringType})
	return p, map[string]*scope.Scope{"typed": bodyScope(typed), "dyn": bodyScope(types.DynType)}
}

// TestProfile compares with cel-go on the very tree that the profile made.
func TestProfile(t *testing.T) {
	p, scopes := profileOf(t)
	sources := append(append([]string{}, expressions...), profiled...)
	refused, compiled := 0, 0
	for name, sc := range scopes {
		for _, src := range sources {
			var l diag.List
			c := p.Expr(src, penstock.Pos{File: "f.yaml", Line: 1, Col: 1}, sc, nil, &l)
			if c == nil {
				continue // the profile refuses some, by type
			}
			compiled++
			if !c.Fast {
				t.Logf("%s (%s) is left to cel-go", src, name)
				refused++
				continue
			}
			for _, body := range bodies {
				got, want := settle(c.Program.Eval(profileFrame(body))), settle(c.EvalOracle(profileFrame(body)))
				if got != want {
					t.Errorf("%s (%s) of %.60s\n got %s\nwant %s", src, name, body, got, want)
				}
			}
		}
	}
	if compiled < 500 {
		t.Errorf("only %d expressions were compared", compiled)
	}
	if refused > 12 {
		t.Errorf("%d expressions are left to cel-go", refused)
	}
}

// TestUnion: alternatives that a field tells apart.
func TestUnion(t *testing.T) {
	f := func(name string, t *types.Type) types.Field { return types.Field{Name: name, Type: t, Required: true} }
	card := &types.Type{Kind: types.Object, Name: "card", Fields: []types.Field{f("kind", types.StringType), f("at", types.TimestampType), f("fee", types.DecimalType), f("number", types.StringType)}}
	cash := &types.Type{Kind: types.Object, Name: "cash", Fields: []types.Field{f("kind", types.StringType), f("at", types.StringType), f("fee", types.DecimalType), f("till", types.IntType)}}
	pay := &types.Type{Kind: types.Union, Variants: []*types.Type{card, cash}, Discriminator: "kind", Tags: []string{"card", "cash"}}
	body := &types.Type{Kind: types.Object, Name: "sale", Fields: []types.Field{f("pay", pay), f("all", types.ListOf(pay))}}
	p, _ := profileOf(t)
	sc := bodyScope(body)
	compared := 0
	for _, src := range []string{`body.pay.kind`, `body.pay.kind == "card"`, `body.pay.fee`, `body.pay.fee * 2`, `body.pay`, `body.all`, `body.pay == body.all[0]`, `body.pay in body.all`, `has(body.pay.kind)`, `body.all.map(x, x.fee).sum()`,
		`body.pay.kind == "card" ? body.pay.number : "-"`, `body.pay.kind == "card" && body.pay.at > timestamp("2024-01-01T00:00:00Z")`, `body.all.exists(x, x.kind == "cash" && x.till > 1)`, `body.all.filter(x, x.kind == "card")`, `body.?pay.?fee`, `[body.pay, body.all[1]].size()`} {
		var l diag.List
		c := p.Expr(src, penstock.Pos{File: "f.yaml", Line: 1, Col: 1}, sc, nil, &l)
		if c == nil {
			t.Errorf("%s: %v", src, l.Sorted())
			continue
		}
		if !c.Fast {
			t.Logf("%s is left to cel-go", src)
			continue
		}
		compared++
		for _, b := range []string{`{"pay":{"kind":"card","at":"2024-05-05T00:00:00Z","fee":1.10,"number":"4711"},"all":[{"kind":"card","at":"2024-05-05T00:00:00Z","fee":1.10,"number":"4711"},{"kind":"cash","at":"x","fee":2.2,"till":3}]}`,
			`{"pay":{"kind":"cash","at":"x","fee":2.2,"till":3},"all":[]}`, `{"pay":{"kind":"gold","fee":1},"all":[{"kind":"gold"}]}`, `{"pay":{},"all":[{}]}`, `{"pay":7,"all":[null]}`, `{"pay":{"kind":1,"fee":2},"all":7}`} {
			got, want := settle(c.Program.Eval(profileFrame(b))), settle(c.EvalOracle(profileFrame(b)))
			if got != want {
				t.Errorf("%s of %.60s\n got %s\nwant %s", src, b, got, want)
			}
		}
	}
	if compared < 12 {
		t.Errorf("only %d expressions are fast", compared)
	}
}

var bodies = []string{sample, `{}`, `null`, `[1]`, `"x"`, `{`, strings.NewReplacer(`"A-1"`, `null`, `12.50`, `"x"`, `"DE"`, `3`, `"2024-01-01T00:00:00Z"`, `null`, `"1.5s"`, `7`).Replace(sample),
	`{"lines":[],"tags":[],"any":{"i":9223372036854775807,"d":-0.0,"s":"","l":[],"o":{}},"count":0,"amount":0,"total":0,"opt":null,"none":""}`}

func profileFrame(body string) *penstock.Frame {
	f := newFrame(body)
	f.Runtime.UUID = func() string { return "0198c7f2" }
	return f
}

// settle shows a value with its kind; which error it is does not matter.
func settle(v penstock.Value) string {
	switch v.Kind() {
	case penstock.KindError:
		return "error"
	case penstock.KindAbsent:
		return "absent"
	case penstock.KindNode:
		d, n := v.Node()
		if k := d.Kind(n); k != jsonview.Array && k != jsonview.Object {
			return "node " + k.String()
		}
	case penstock.KindOptional:
		if !v.Optional().IsAbsent() {
			return "some(" + settle(v.Optional().Load(nil)) + ")"
		}
		return "absent"
	}
	b, err := v.AppendJSON(nil)
	if err != nil {
		return fmt.Sprint(v.Kind(), " without JSON")
	}
	kind := v.Kind()
	if kind == penstock.KindNode || kind == penstock.KindMap {
		kind = penstock.KindList
	}
	return fmt.Sprint(kind, " ", string(b))
}

// FuzzProfile compares with cel-go whatever the profile accepts.
func FuzzProfile(f *testing.F) {
	p, scopes := profileOf(f)
	for i, src := range append(append([]string{}, expressions...), profiled...) {
		f.Add(src, bodies[i%len(bodies)])
	}
	f.Fuzz(func(t *testing.T, src, body string) {
		if len(src) > 200 || len(body) > 1000 || strings.Contains(src, "range") {
			return
		}
		for name, sc := range scopes {
			var l diag.List
			c := p.Expr(src, penstock.Pos{File: "f.yaml", Line: 1, Col: 1}, sc, nil, &l)
			if c == nil || !c.Fast {
				continue
			}
			got, want := settle(c.Program.Eval(profileFrame(body))), settle(c.EvalOracle(profileFrame(body)))
			if got != want {
				t.Errorf("%s (%s) of %s\n got %s\nwant %s", src, name, body, got, want)
			}
		}
	})
}
