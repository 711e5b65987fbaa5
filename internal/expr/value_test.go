package expr

import (
	"errors"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

// TestValues holds both evaluators to the rules of the profile: the JSON text of the value,
// or "error: " and a word of it.
func TestValues(t *testing.T) {
	p := lenientProfile(t)
	for _, c := range []struct{ src, want string }{
		// numbers
		{`body.count + 1.5`, "4.5"},
		{`body.count * body.total`, "37.50"},
		{`body.total / 3`, "4.166666666666666666666666666666667"},
		{`body.total % 5`, "2.50"},
		{`-body.total`, "-12.50"},
		{`body.small + 1u`, "8"},
		{`7 / 2`, "3"},
		{`-7 % 2`, "-1"},
		{`body.count / 0`, "error: division by zero"},
		{`body.total / 0`, "error: division by zero"},
		{`body.weight / 0.0 > 1e308`, "true"},
		{`9223372036854775807 + 1`, "error: overflow"},
		{`-9223372036854775808 - 1`, "error: overflow"},
		{`-(-9223372036854775808)`, "error: overflow"},
		{`0u - 1u`, "error: overflow"},
		{`dyn(1) + dyn(1u)`, "error: no such overload"},
		{`dyn(1.5) * dyn(body.total)`, "error: no such overload"},
		{`9007199254740993 == 9007199254740992.0`, "false"},
		{`9007199254740993 > 9007199254740992.0`, "true"},
		{`decimal("0.1") == 0.1`, "false"},
		{`decimal("0.5") == 0.5 && decimal("1.0") == 1 && 1u == decimal("1")`, "true"},
		{`decimal("0.1") + decimal("0.2") == decimal("0.3")`, "true"},
		{`double("NaN") < 1.0 || double("NaN") >= 1.0 || double("NaN") == double("NaN")`, "false"},
		{`[1, 2] == [1.0, 2.0] && {"a": 1} == {"a": 1u}`, "true"},
		{`1 in [1.0, 2.0] && decimal("2") in [1, 2]`, "true"},
		{`{1: "a"}[dyn(1u)] + {2u: "b"}[dyn(2)] + {1: "c"}[dyn(1.0)]`, `"abc"`},
		{`{1: "a"}[1u]`, "error: check"},
		{`{1: "a", 1u: "b"}`, "error: key"},
		{`decimal(body.extra.b)`, "0.1"},
		{`string(decimal("1.50")) + string(body.total)`, `"1.5012.50"`},
		{`int(decimal("-3.9")) + int(3.9)`, "0"},
		{`uint(decimal("-1"))`, "error: overflow"},
		{`double(decimal("1e400"))`, "error: range"},
		{`round(decimal("2.345"), 2)`, "2.34"},
		{`math.ceil(decimal("1.2")) + math.floor(decimal("-1.2")) + math.round(decimal("2.5")) + math.abs(decimal("-1")) + math.trunc(decimal("1.9"))`, "5"},
		{`math.sign(decimal("-1.2"))`, "-1"},
		// what is read
		{`body.extra.big`, "123456789012345678901"},
		{`body.extra.big + 1`, "123456789012345678902"},
		{`body.extra.b`, "0.1"},
		{`body.weight`, "1.50"},
		{`body.weight + 0.0`, "1.5"},
		{`body.extra.zz`, "error: no such key"},
		{`body.lines[7].price`, "error: 7"},
		{`body.lines[1.0].sku`, "error: check"},
		{`body.lines[dyn(1.0)].sku`, `"b"`},
		{`body.lines[dyn(1.5)].sku`, "error: whole number"},
		{`has(body.extra.n) && body.extra.n == null`, "true"},
		{`has(body.extra.zz)`, "false"},
		{`body.extra.?n.hasValue()`, "true"},
		{`body.?note.hasValue()`, "false"},
		{`body.email == null`, "true"},
		{`body.note == null`, "true"},
		{`body.note != null`, "false"},
		{`body.?note`, "absent"},
		{`optional.none()`, "absent"},
		{`body.?note.optMap(n, n + "!").orValue("none")`, `"none"`},
		{`vars.region + key + params.drop + item.s`, `"northk./datat"`},
		{`meta.x`, `"1"`},
		{`meta.nope`, "error: no such key"},
		{`now`, `"2010-12-01T08:26:00Z"`},
		{`uuid()`, `"00000000-0000-4000-8000-000000000000"`},
		// absorption
		{`body.count / 0 == 1 && false`, "false"},
		{`false && body.count / 0 == 1`, "false"},
		{`true || body.count / 0 == 1`, "true"},
		{`body.count / 0 == 1 || true`, "true"},
		{`body.count / 0 == 1 || false`, "error: division by zero"},
		{`[0, 1, 2].exists(x, 2 / x == 2)`, "true"},
		{`[0, 1].all(x, 2 / x == 3)`, "false"},
		{`[0, 1].all(x, 2 / x == 2)`, "error: division by zero"},
		{`[0, 1].exists_one(x, 2 / x == 2)`, "error: division by zero"},
		{`true ? 1 : 1 / 0`, "1"},
		// texts and times
		{`"Grüße 日本".size()`, "8"},
		{`"Grüße".substring(2, 4)`, `"üß"`},
		{`"}" + '{' + "a}b"`, `"}{a}b"`},
		{`timestamp("2010-12-01T08:26:00Z") + duration("36h") - body.at`, `"129600s"`},
		{`body.at.getFullYear() * 100 + body.at.getMonth("Europe/Berlin")`, "201011"},
		{`timestamp("9999-12-31T23:59:59Z") + duration("1s")`, "error: overflow"},
		{`duration("1h") > duration("59m") && body.took == duration("1m30s")`, "true"},
		{`bytes("é") == b"\303\251" && body.raw.size() == 2`, "true"},
		// added functions
		{`[].sum()`, "0"},
		{`body.lines.map(l, l.price * l.quantity).sum()`, "12.50"},
		{`[1, 2].avg()`, "1.5"},
		{`avg(body.lines.map(l, l.price))`, "5.70"},
		{`[1.filter]`, "error: check"},
		{`[3, 1, 2].min() + max([3, 1, 2])`, "4"},
		{`[decimal("2"), decimal("1.50")].min()`, "1.50"},
		{`["b", "a"].max()`, `"b"`},
		{`[1].filter(x, x > 1).max()`, "error: empty"},
		{`[duration("1s"), duration("2s")].sum()`, `"3s"`},
		{`mask("secret-1234", 4) + mask("ab", 4) + mask("x")`, `"****1234****b****"`},
		{`hash("abc")`, `"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"`},
		{`hash(b"abc", "sha512").size()`, "128"},
		{`hash("abc", "md5")`, "error: sha256"},
		{`[1, 2, 3].groupBy(x, x % 2 == 0)`, `[{"key":false,"items":[1,3]},{"key":true,"items":[2]}]`},
		{`groupBy(body.lines, l, l.sku).map(g, g.key + string(g.items.size()))`, `["a1","b1"]`},
		{`[decimal("1.0"), decimal("1")].groupBy(x, x).size()`, "1"},
		{`["b", "a"].sortBy(x, x)`, `["a","b"]`},
		{`[{"k": 1, "v": "x"}, {"k": 0, "v": "y"}, {"k": 1, "v": "z"}].sortBy(e, e.k).map(e, e.v)`, `["y","x","z"]`},
		{`[decimal("2"), decimal("1")].sort()`, "[1,2]"},
		{`json.encode({"b": decimal("1.50"), "a": [null, true]})`, `"{\"b\":1.50,\"a\":[null,true]}"`},
		{`json.parse('{"a": 0.10}').value().a`, "0.10"},
		{`json.parse("no").hasValue()`, "false"},
		{`raw(body.id)`, `"536365"`},
		// order
		{`{"z": 1, "a": 2, "m": {"y": 1, "b": 2}}`, `{"z":1,"a":2,"m":{"y":1,"b":2}}`},
		{`{"z": 1, ?"a": body.?note, ?"b": body.?id}`, `{"z":1,"b":"536365"}`},
		{`["z", "a"].transformMapEntry(i, v, {v: i})`, `{"z":0,"a":1}`},
		{`{"z": 1, "a": 2}.transformMap(k, v, v + 1)`, `{"z":2,"a":3}`},
		{`{"z": 1, "a": 2}.map(k, k)`, `["z","a"]`},
		{`body.extra.map(k, k)`, "error: check"},
		{`dyn(body.extra).map(k, k)`, `["a","b","n","l","big"]`},
		{`body.lines.filter(l, l.quantity > 1)`, `[{"sku":"a","quantity":2,"price":1.10,"note":"n"}]`},
		// cel-go's own
		{`"%d items for %s".format([body.count, body.id])`, `"3 items for 536365"`},
		{`"%.2f".format([body.extra.b])`, `"0.10"`},
		{`math.greatest(1, 2.5, body.count)`, "3"},
		{`sets.contains([1, 2], [1]) && ["a"].hasAny(["a", "b"])`, "true"},
		{`[1, 1.0, decimal("1"), 2].distinct()`, "[1,2]"},
		{`regex.extract("a1b22", "[0-9]{2}").orValue("")`, `"22"`},
		{`base64.encode(b"ab") + string(base64.decode("YWI="))`, `"YWI=ab"`},
		{`cel.bind(x, body.count, x * x)`, "9"},
		{`body.pay.kind == "card" ? body.pay.number : ""`, `"4111"`},
		{`type(1) == int && type(body.total) == decimal && type(dyn(body)) == map`, "true"},
	} {
		var l diag.List
		compiled := p.Expr(c.src, penstock.Pos{}, orderScope(), nil, &l)
		if compiled == nil {
			if c.want != "error: check" {
				t.Errorf("%s: %v", c.src, l.Sorted())
			}
			continue
		}
		for name, prog := range map[string]penstock.Program{"program": compiled.Program, "cel-go": compiled.oracle} {
			got := prog.Eval(orderFrame(orderBody)).String()
			if word, isError := strings.CutPrefix(c.want, "error: "); isError && strings.HasPrefix(got, "error: ") && strings.Contains(got, word) {
				continue
			}
			if compact([]byte(got)) != c.want {
				t.Errorf("%s: the %s gives %s, want %s", c.src, name, got, c.want)
			}
		}
	}
}

// TestMismatch: data that is not of its declared type fails where it is read, with its path.
func TestMismatch(t *testing.T) {
	p := lenientProfile(t)
	for _, c := range []struct{ src, body, path string }{
		{`body.count + 1`, `{"count": "3"}`, "body.count"},
		{`body.count + 1`, `{"count": 1.5}`, "body.count"},
		{`body.count + 1`, `{"count": 9223372036854775808}`, "body.count"},
		{`body.small + 1u`, `{"small": -1}`, "body.small"},
		{`body.total + 1`, `{"total": "1"}`, "body.total"},
		{`body.at > now`, `{"at": "2010-12-01"}`, "body.at"},
		{`body.took > duration("1s")`, `{"took": "P1M"}`, "body.took"},
		{`body.raw.size()`, `{"raw": "?"}`, "body.raw"},
		{`body.id + ""`, `{"id": 1}`, "body.id"},
		{`body.id + ""`, `{"id": null}`, "body.id"},
		{`body.paid && true`, `{"paid": "true"}`, "body.paid"},
		{`body.lines[0].price + 1`, `{"lines": [{"price": null}]}`, "body.lines[0].price"},
		{`size(body.lines)`, `{"lines": {}}`, "body.lines"},
		{`body.rates.eur`, `{"rates": {"eur": "1"}}`, "body.rates.eur"},
		{`body.pay.amount + 1`, `{"pay": {"kind": "cash", "amount": 1}}`, "body.pay"},
		{`body.count`, `{"count": 1`, "body"},
	} {
		var l diag.List
		compiled := p.Expr(c.src, penstock.Pos{}, orderScope(), nil, &l)
		if compiled == nil {
			t.Errorf("%s: %v", c.src, l.Sorted())
			continue
		}
		for name, prog := range map[string]penstock.Program{"program": compiled.Program, "cel-go": compiled.oracle} {
			v := prog.Eval(orderFrame(c.body))
			var e *penstock.Error
			if !v.IsError() || !errors.As(v.Err(), &e) || !strings.HasPrefix(e.Path, c.path) {
				t.Errorf("%s on %s: the %s gives %v, want an error at %s", c.src, c.body, name, v, c.path)
			}
		}
	}
}

func TestCostLimit(t *testing.T) {
	p, err := NewProfile(Options{CostLimit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var l diag.List
	c := p.Expr(`body.map(a, body.map(b, body.map(c, 1).size()).sum()).sum()`, penstock.Pos{}, &scope.Scope{Roots: []scope.Root{{Name: "body", Source: scope.Body}}}, nil, &l)
	if c == nil {
		t.Fatal(l.Sorted())
	}
	body := "[" + strings.Repeat("1,", 40) + "1]"
	for name, prog := range map[string]penstock.Program{"program": c.Program, "cel-go": c.oracle} {
		if v := prog.Eval(frame(body)); !v.IsError() || penstock.CodeOf(v.Err()) != penstock.Unprocessable || !strings.Contains(v.Err().Error(), "cost") {
			t.Errorf("the %s gives %v", name, v)
		}
	}
}

// TestNarrow: what a choice's condition proves holds in its branch, and its opposite in the
// others.
func TestNarrow(t *testing.T) {
	p := lenientProfile(t)
	for _, c := range []struct {
		cond  string
		truth bool
		then  string
		clean bool
	}{
		{`has(body.note)`, true, `body.note + "x"`, true},
		{`has(body.note)`, false, `body.note + "x"`, false},
		{`!has(body.note)`, false, `body.note + "x"`, true},
		{`body.note == null`, false, `body.note + "x"`, true},
		{`body.email != null && body.count > 1`, true, `body.email + "x"`, true},
		{`body.email == null || body.count > 1`, false, `body.email + "x"`, true},
		{`body.email == null || body.count > 1`, true, `body.email + "x"`, false},
		{`body.customer != null`, true, `body.customer.name`, true},
		{`has(body.address) && has(body.address.zip)`, true, `body.address.zip`, true},
		{`has(body.address)`, true, `body.address.zip`, false},
		{`has(vars.region)`, true, `vars.region + "x"`, true},
		{`vars.?region.hasValue()`, true, `vars.region + "x"`, true},
		{`body.pay.kind == "bank"`, true, `body.pay.iban`, true},
		{`body.pay.kind == "bank"`, false, `body.pay.number`, true},
		{`body.pay.kind == "bank"`, true, `body.pay.number`, false},
		{`body.phone.startsWith("+")`, true, `body.phone + "x"`, true},
		{`body.total > 1`, true, `body.note`, false},
	} {
		sc := orderScope()
		var l diag.List
		cond := p.Expr(c.cond, penstock.Pos{}, sc, types.BoolType, &l)
		if cond == nil {
			t.Errorf("%s: %v", c.cond, l.Sorted())
			continue
		}
		var then diag.List
		p.Expr(c.then, penstock.Pos{}, Narrow(cond, sc, c.truth), nil, &then)
		if (then.Len() == 0) != c.clean {
			t.Errorf("%s where %s is %v: %v", c.then, c.cond, c.truth, then.Sorted())
		}
	}
	if sc := orderScope(); Narrow(nil, sc, true) != sc {
		t.Error("nothing proves nothing")
	}
}

func TestReference(t *testing.T) {
	p := lenientProfile(t)
	listed := map[string]bool{}
	for _, f := range Functions() {
		if listed[f.Name] || f.Doc == "" || f.Signature == "" || strings.HasSuffix(f.Doc, ".") {
			t.Errorf("%+v", f)
		}
		listed[f.Name] = true
	}
	for name, fn := range p.engine.env.Functions() {
		if fn.IsDeclarationDisabled() || strings.ContainsAny(name, "@_!") || name == "-_" {
			continue
		}
		if !listed[name] {
			t.Errorf("%s is missing", name)
		}
		delete(listed, name)
	}
	for _, macro := range []string{"has", "all", "exists", "exists_one", "existsOne", "filter", "map", "transformList", "transformMap", "transformMapEntry",
		"cel.bind", "groupBy", "sortBy", "optMap", "optFlatMap", "math.greatest", "math.least"} {
		if !listed[macro] {
			t.Errorf("%s is missing", macro)
		}
		delete(listed, macro)
	}
	for name := range listed {
		t.Errorf("%s is in the reference, but no function", name)
	}
}
