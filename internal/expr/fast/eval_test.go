package fast_test

import (
	"testing"

	"penstock.dev/penstock/types"
)

// TestTyped reads the sample by its schema.
func TestTyped(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		// Leaves by their types.
		{`body.id`, `"A-1"`}, {`body.amount`, `150.50`}, {`body.amount + 0.0`, `150.5`}, {`body.count`, `3`}, {`body.total`, `12.50`},
		{`body.at`, `"2024-02-29T10:30:45.5Z"`}, {`body.took`, `"1.5s"`}, {`body.data`, `"aGk="`}, {`string(body.data)`, `"hi"`},
		{`body.paid`, `true`}, {`body.big`, `18446744073709551615`}, {`body.note`, `null`}, {`body.text`, `7.00`},
		{`body.address.city`, `"Köln"`}, {`body.rates.EUR`, `1`}, {`body.rates["USD"]`, `1.25`}, {`body.tags[1]`, `"b\n"`},
		{`body.lines[0].at`, `"2024-01-01T00:00:00Z"`}, {`body.lines[1].cost`, `2.20`},
		// Below what is declared, and below dyn.
		{`body.any.i + 1`, `8`}, {`body.any.d`, `2.50`}, {`body.any.l[3][0]`, `3`}, {`body.any.o.k.z`, `1`},
		{`body.any.huge`, `12345678901234567890`}, {`body.any.exp`, `1e3`}, {`type(body.any.i) == int`, `true`}, {`type(body.any.exp) == double`, `true`},
		// Types that the text does not show.
		{`body.at.getHours()`, `10`}, {`body.at < timestamp("2024-03-01T00:00:00Z")`, `true`}, {`body.took + duration("500ms")`, `"2s"`},
		{`body.at + body.took`, `"2024-02-29T10:30:47Z"`}, {`body.lines[1].at - body.lines[0].at`, `"86400s"`},
		{`body.lines.map(l, l.at)[1] == timestamp("2024-01-02T00:00:00Z")`, `true`},
		{`timestamp("2024-01-01T00:00:00Z") in body.lines.map(l, l.at)`, `true`},
		{`body.lines[0] == {"sku": "x", "quantity": 2, "price": 1.5, "cost": decimal("1.10"), "at": timestamp("2024-01-01T00:00:00Z")}`, `true`},
		{`body.lines.map(l, l.cost).sum()`, `3.30`}, {`body.lines.map(l, l.quantity * l.price).sum()`, `7`},
		{`body.lines.exists(l, l.at == timestamp("2024-01-02T00:00:00Z"))`, `true`}, {`dyn(body.lines)[0].at == timestamp("2024-01-01T00:00:00Z")`, `true`},
		{`body.rates.EUR == 1`, `true`}, {`body.big > 1u`, `true`}, {`body.total == 12.5`, `true`}, {`body.note == null`, `true`}, {`body.note != null`, `false`},
		{`body.id == "A-1" && body.id != "A"`, `true`}, {`"A-1" == body.id`, `true`}, {`body.count in [1, 2, 3]`, `true`}, {`body.id in ["a", "A-1"]`, `true`},
		// What is not there.
		{`body[body.id.size() > 0 ? "at" : "id"].getDate()`, `29`}, {`body[key]`, `error: no such key: k1`},
		{`body.lines[2].sku`, `error: body.lines[2]: no such key`}, {`body.nothing`, `error: body.nothing: no such key: nothing`},
		{`body.address.street`, `error: body.address.street: no such key: street`}, {`body.id.x`, `error: body.id.x: no such key: a value of type string has no field x`}, {`body.any.n.x`, `error: body.any.n.x: no such key: null has no field x`},
		{`has(body.note)`, `true`}, {`has(body.nothing)`, `false`}, {`has(body.address.street)`, `false`}, {`has(body.gone.street)`, `error: body.gone: no such key`},
		{`body.?nothing.orValue("-")`, `"-"`}, {`body.?id.orValue("-")`, `"A-1"`}, {`body.?gone.street.zip.orValue(1)`, `1`}, {`body.?address.?zip`, `50667`},
		{`body.?address.zip.hasValue()`, `true`}, {`body[?"x"].hasValue()`, `false`}, {`body.lines[?7]`, `absent`}, {`body.lines[?1].sku.value()`, `"y"`},
		{`body.?note`, `null`}, {`body.?at.optMap(x, x.getFullYear()).orValue(0)`, `2024`}, {`body.?gone.optMap(x, x + 1).orValue(7)`, `7`},
		{`body.?address.optFlatMap(a, a.?zip).or(optional.of(1)).value()`, `50667`}, {`optional.none().orValue(3)`, `3`}, {`optional.of(optional.none()).hasValue()`, `true`},
		{`optional.ofNonZeroValue("").hasValue()`, `false`}, {`[body.?gone, body.?count].unwrapOpt()`, `[3]`}, {`[?body.?gone, ?body.?count]`, `[3]`},
		{`{?"a": body.?gone, ?"b": body.?count, "c": 1}`, `{"b":3,"c":1}`}, {`body.?count == optional.of(3)`, `true`}, {`body.tags.first()`, `"a"`}, {`body.tags.last().value()`, `"ü"`},
		// The other roots.
		{`key`, `"k1"`}, {`now`, `"2024-05-06T07:08:09Z"`}, {`meta.source`, `"shop"`}, {`meta["source"]`, `"shop"`}, {`has(meta.x)`, `false`}, {`meta.?x.orValue("d")`, `"d"`},
		{`meta`, `{"source":"shop"}`}, {`vars.rate * 2.0`, `3`}, {`vars.gone`, `error: vars.gone: no such key: gone`}, {`has(vars.gone)`, `false`}, {`vars.?gone.orValue("x")`, `"x"`},
		{`vars.opt.orValue(4)`, `4`}, {`params.limit + body.count`, `13`}, {`item`, `9`}, {`meta.map(k, k)`, `["source"]`}, {`params`, `{"limit":10}`},
		// Mixed numbers, exactly.
		{`body.big == 18446744073709551615u`, `true`}, {`dyn(9007199254740993) == 9007199254740992.0`, `false`}, {`dyn(9007199254740993) > 9007199254740992.0`, `true`},
		{`decimal("0.1") == 0.1`, `false`}, {`decimal("0.5") == 0.5`, `true`}, {`decimal("0.1") + decimal("0.2") == decimal("0.3")`, `true`},
		{`decimal(1) / decimal(3)`, `0.3333333333333333333333333333333333`}, {`body.total * 2`, `25.00`}, {`body.total + 0.5`, `error: no such overload: + of decimal, double`},
		{`body.any.huge == decimal("12345678901234567890")`, `true`}, {`body.any.i < 7.5`, `true`}, {`body.any.i >= 7`, `true`}, {`7.0 <= body.any.i`, `true`},
		{`body.any.s > 1`, `error: no such overload: > of string, int`}, {`body.any.n > 1`, `error: no such overload: > of null_type, int`}, {`0.0/0.0 < 1.0`, `false`},
	} {
		p := compile(t, newEnv(t), c.src, order())
		if got := show(p.Eval(newFrame(sample))); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.src, got, c.want)
		}
	}
}

// TestMismatch: a body that is not what its schema says.
func TestMismatch(t *testing.T) {
	for _, c := range []struct{ src, body, want string }{
		{`body.amount`, `{"amount":"1"}`, `error: body.amount: want a number, found a string "1"`},
		{`body.amount > 1.0`, `{"amount":"1"}`, `error: body.amount: want a number, found a string "1"`},
		{`body.amount > 1.0`, `{"amount":null}`, `error: body.amount: want a number, found null`},
		{`body.id == "x"`, `{"id":1}`, `error: body.id: want a string, found a number 1`},
		{`body.id in ["x"]`, `{"id":[]}`, `error: body.id: want a string, found an array`},
		{`body.note == "x"`, `{"note":{}}`, `error: body.note: want a string or null, found an object`},
		{`body.count`, `{"count":1.5}`, `error: body.count: want an integer of 64 bits, found a number 1.5`},
		{`body.count`, `{"count":17850.0}`, `17850`}, {`body.count == 17850`, `{"count":17850.0}`, `true`}, {`body.count > 17849`, `{"count":17850.0}`, `true`},
		{`body.count`, `{"count":9223372036854775808}`, `error: body.count: want an integer of 64 bits, found a number 9223372036854775808`},
		{`body.big`, `{"big":-1}`, `error: body.big: want an unsigned integer of 64 bits, found a number -1`},
		{`body.at`, `{"at":"2023-02-29T00:00:00Z"}`, `error: body.at: want an RFC 3339 timestamp, found a string "2023-02-29T00:00:00Z"`},
		{`body.took`, `{"took":"PT1M"}`, `"60s"`}, {`body.took`, `{"took":"soon"}`, `error: body.took: want a duration such as 3.5s, found a string "soon"`},
		{`body.data`, `{"data":"!"}`, `error: body.data: want bytes as base64, found a string "!"`},
		{`body.lines.size()`, `{"lines":{}}`, `error: body.lines: want an array, found an object`},
		{`body.lines.exists(l, l.sku == "x")`, `{"lines":3}`, `error: body.lines: want an array, found a number 3`},
		{`body.lines.exists(l, l.sku == "x")`, `{"lines":[{"sku":3}]}`, `error: body.lines[].sku: want a string, found a number 3`},
		{`body.address.city`, `{"address":[]}`, `error: body.address: want an object, found an array`},
		{`body.text`, `{"text":7}`, `7`}, {`body.text`, `{"text":"x"}`, `error: body.text: want a decimal number as a string, found a string "x"`},
		{`body.amount`, `{"amount":1e999}`, `error: body.amount: want a number, found a number 1e999`},
		{`body.id`, `{"id":"x"`, `error: body: invalid JSON at byte 9 (line 1): the document ends within the object that began at byte 0`},
		{`has(body.id)`, `[1,`, `error: body: invalid JSON at byte 3 (line 1): the document ends where a value is needed`},
		{`body.?id.orValue("x") == "x" || true`, `{`, `true`},
		{`body.id == "x"`, `[]`, `error: body: want an object, found an array`}, {`has(body.id)`, `7`, `error: body: want an object, found a number 7`},
		{`has(body.opt.x)`, `7`, `error: body: want an object, found a number 7`}, {`has(body.amount)`, `{"amount":"x"}`, `error: body.amount: want a number, found a string "x"`},
	} {
		p := compile(t, newEnv(t), c.src, order())
		if got := show(p.Eval(newFrame(c.body))); got != c.want {
			t.Errorf("%s of %s\n got %s\nwant %s", c.src, c.body, got, c.want)
		}
	}
}

// TestCost: loops are bounded, together.
func TestCost(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{`lists.range(100).all(x, x >= 0)`, `true`},
		{`lists.range(100).all(x, lists.range(100).all(y, y >= 0))`, `error: expression cost limit: its loops went round too often (make the lists smaller before, or divide the work with split)`},
		{`lists.range(1001).size()`, `error: expression cost limit: its loops went round too often (make the lists smaller before, or divide the work with split)`},
	} {
		p, f := compile(t, newEnv(t), c.src, types.DynType), newFrame(`{}`)
		for range 2 { // the budget is that of one evaluation
			if got := show(p.Eval(f)); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.src, got, c.want)
			}
		}
	}
}
