package expr

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/types"
)

// expect is a finding: where it is, its code, and a word of its message and of its hint.
type expect struct {
	col           int
	severity      diag.Severity
	code, text    string
	message, hint string
}

func errorAt(col int, code, text, message, hint string) expect {
	return expect{col, diag.Error, code, text, message, hint}
}

func warningAt(col int, code, text, message, hint string) expect {
	return expect{col, diag.Warning, code, text, message, hint}
}

func (x expect) holds(d diag.Diagnostic) bool {
	return d.Pos == penstock.Pos{File: "flow.yaml", Line: 7, Col: 10 + x.col} && d.Severity == x.severity && d.Code == x.code &&
		d.Text == x.text && strings.Contains(d.Message, x.message) && strings.Contains(d.Hint, x.hint) && (x.hint != "" || d.Hint == "")
}

// TestFindings: columns count from 0 within the expression, which begins in column 10.
func TestFindings(t *testing.T) {
	p := newProfile(t)
	for _, c := range []struct {
		src  string
		want []expect
	}{
		{`body.total > 10`, nil},
		// names
		{`body.totl > 10`, []expect{errorAt(5, "unknown-field", "totl", "`order` declares no field `totl`", "did you mean `total`?")}},
		{`body.lines[0].skuu`, []expect{errorAt(14, "unknown-field", "skuu", "`line` declares no field", "`sku`")}},
		{`body.lines.map(l, l.prize)`, []expect{errorAt(20, "unknown-field", "prize", "no field `prize`", "`price`")}},
		{`body.lines.exists(l, has(l.nope))`, []expect{errorAt(27, "unknown-field", "nope", "no field `nope`", "`note`")}},
		{`has(body.nope)`, []expect{errorAt(9, "unknown-field", "nope", "declares no field", "`note`")}},
		{`body.?nope`, []expect{errorAt(6, "unknown-field", "nope", "declares no field", "`note`")}},
		{`body["totl"]`, []expect{errorAt(6, "unknown-field", "totl", "declares no field", "`total`")}},
		{`bod.total`, []expect{errorAt(0, "unknown-name", "bod", "there is no `bod` here", "`body`")}},
		{`total > 1`, []expect{errorAt(0, "unknown-name", "total", "there is no `total` here", "`body.total`")}},
		{`vars.regoin`, []expect{errorAt(5, "unknown-field", "regoin", "declares no field", "`region`")}},
		{`body.id.startWith("a")`, []expect{errorAt(8, "unknown-function", "startWith", "no function `startWith`", "`startsWith`")}},
		{`sizee(body.id)`, []expect{errorAt(0, "unknown-function", "sizee", "no function `sizee`", "`size`")}},
		{`math.flor(1.5)`, []expect{errorAt(5, "unknown-function", "flor", "no function `math.flor`", "`math.floor`")}},
		{`body.lines.groupBy(l, l.sku).map(g, g.keys)`, []expect{errorAt(38, "unknown-field", "keys", "declares no field `keys`", "`key`")}},
		{`{"a": 1, "b": 2}.c`, []expect{errorAt(17, "unknown-field", "c", "declares no field `c`", "it has: a, b")}},
		{`body.extra.anything.goes`, nil},
		{`body[?"nope"].orValue(1)`, nil},
		{`meta.anything`, nil},
		// numbers
		{`body.total * 1.2`, []expect{errorAt(11, "type-mismatch", "*", "does not mix decimal and double", "write `decimal(\"1.2\")`")}},
		{`body.weight + body.total`, []expect{errorAt(12, "type-mismatch", "+", "does not mix decimal and double", "decimal(…)")}},
		{`body.count + body.small`, []expect{errorAt(11, "type-mismatch", "+", "no meaning for int and uint", "int(…) or uint(…)")}},
		{`body.count + body.total + body.small`, nil},
		{`body.count * body.weight`, nil},
		{`body.extra.a / 2`, []expect{errorAt(13, "untyped-division", "/", "the left side has no type", "int(…), double(…) or decimal(…)")}},
		{`2 % body.extra.a`, []expect{errorAt(2, "untyped-division", "%", "the right side has no type", "int(…)")}},
		{`int(body.extra.a) / 2`, nil},
		{`body.extra.a + 2 * body.extra.b`, nil},
		{`body.weight % 2.0`, []expect{errorAt(12, "type-mismatch", "%", "no meaning for double and double", "")}},
		{`body.total > 0.1`, []expect{warningAt(13, "inexact-comparison", "0.1", "not exactly 0.1", "decimal(\"0.1\")")}},
		{`body.total > 0.5`, nil},
		{`body.count < 1.5 && body.small >= 1 && body.total <= 2u && body.weight == 3`, nil},
		// texts and other kinds
		{`"n: " + body.count`, []expect{errorAt(6, "type-mismatch", "+", "no meaning for", "string(…)")}},
		{`body.id == 5`, []expect{errorAt(8, "type-mismatch", "==", "string and int are never equal", "")}},
		{`body.id in [1, 2]`, []expect{errorAt(8, "type-mismatch", "in", "never equal", "")}},
		{`body.id < 5`, []expect{errorAt(8, "type-mismatch", "<", "no meaning for string and int", "")}},
		{`body.country == "DEE"`, []expect{warningAt(13, "not-in-enum", `"DEE"`, "no value \"DEE\"", "`DE`")}},
		{`body.country == "DE"`, nil},
		{`body.id && true`, []expect{errorAt(5, "type-mismatch", "id", "expected type 'bool' but found 'string'", "")}},
		{`body.count.sum()`, []expect{errorAt(11, "type-mismatch", "sum", "`sum` does not take (int)", "list.sum()")}},
		{`body.tags.sum()`, []expect{errorAt(10, "type-mismatch", "sum", "`sum` does not take (list(string))", "list.sum()")}},
		{`"abc".matches("(")`, []expect{errorAt(14, "bad-pattern", "(", "missing closing", "RE2")}},
		{`timestamp("2010-13-01T00:00:00Z")`, []expect{errorAt(10, "bad-literal", "2010-13-01T00:00:00Z", "is no timestamp", "RFC 3339")}},
		{`duration("1 hour")`, []expect{errorAt(9, "bad-literal", "1 hour", "is no duration", "90s")}},
		{`decimal("1,5")`, []expect{errorAt(8, "bad-literal", "1,5", "is no decimal", "12.50")}},
		{`{"a": 1, "a": 2}`, []expect{errorAt(9, "duplicate-key", "a", "key \"a\" twice", "remove")}},
		// what fails with every message
		{`1 / 0`, []expect{errorAt(2, "always-fails", "/", "this has no value: ", "with every message")}},
		{`body.count + 1 / 0`, []expect{errorAt(15, "always-fails", "/", "division by zero", "with every message")}},
		{`body.count + (2 + (3 % 0))`, []expect{errorAt(21, "always-fails", "%", "by zero", "with every message")}},
		{`[1 / 0, 2 / 0]`, []expect{errorAt(3, "always-fails", "/", "by zero", "every message"), errorAt(10, "always-fails", "/", "by zero", "every message")}},
		{`{"a": body.count, "b": decimal("1") / 0}`, []expect{errorAt(36, "always-fails", "/", "by zero", "every message")}},
		{`int("x") > body.count`, []expect{errorAt(0, "always-fails", "int", "", "every message")}},
		{`9223372036854775807 + 1`, []expect{errorAt(20, "always-fails", "+", "overflow", "every message")}},
		{`[1, 2][5]`, []expect{errorAt(6, "always-fails", "[", "", "every message")}},
		{`optional.none().value() == body.count`, []expect{errorAt(16, "always-fails", "value", "", "every message")}},
		{`1 / 0 > 1 ? body.count : 2`, []expect{errorAt(2, "always-fails", "/", "by zero", "every message")}},
		{`cel.bind(x, 1, x / 0 + body.count)`, []expect{errorAt(17, "always-fails", "/", "division by zero", "every message")}},
		{`cel.bind(x, 0, 1 / x + body.count)`, nil}, // x is no constant to us
		{`body.count / 0`, []expect{errorAt(11, "always-fails", "/", "division by zero", "every message")}},
		{`body.count % (2 - 2) + 1`, []expect{errorAt(11, "always-fails", "%", "division by zero", "every message")}},
		{`body.total / decimal("0.00")`, []expect{errorAt(11, "always-fails", "/", "division by zero", "every message")}},
		{`body.count > 0 ? body.count / 0 : 1`, nil},
		{`body.count / body.count`, nil},
		{`double(body.count) / 0.0`, nil},
		{`1.0 / 0.0`, nil}, // infinite, as IEEE 754 has it
		{`body.count > 0 ? 1 / 0 : 2`, nil},
		{`body.count > 0 && 1 / 0 > 1`, nil},
		{`body.count > 0 || 1 / 0 > 1`, nil},
		{`true || 1 / 0 > 1`, nil},
		{`body.?note.orValue(string(1 / 0))`, nil},
		{`body.lines.map(l, 1 / 0)`, nil},
		{`[1, 2].map(x, x / 1).size() == body.count`, nil},
		{`[1, 0].map(x, 1 / x).size() == body.count`, []expect{errorAt(10, "always-fails", "(", "by zero", "every message")}},
		{`[0, 1].exists(x, 1 / x == 1)`, nil},
		{`cel.bind(unused, 1 / 0, body.count)`, nil},
		{`lists.range(100000000).map(x, x).size() > body.count`, nil}, // left to the run, and its limit
		{`uuid() == string(now)`, nil},
		// what may be absent
		{`body.note`, []expect{warningAt(5, "may-be-absent", "note", "`body.note` may be absent", "`body.?note.orValue(…)`")}},
		{`body.note.size() > 1`, []expect{warningAt(5, "may-be-absent", "note", "`body.note`", "has(…)")}},
		{`body.address.zip`, []expect{warningAt(5, "may-be-absent", "address", "`body.address`", "body.?address"), warningAt(13, "may-be-absent", "zip", "`body.address.zip`", "body.address.?zip")}},
		{`vars.region`, []expect{warningAt(5, "may-be-absent", "region", "`vars.region`", "vars.?region")}},
		{`body.lines.map(l, l.note)`, []expect{warningAt(20, "may-be-absent", "note", "`l.note` may be absent", "l.?note")}},
		{`body.?note.orValue("")`, nil},
		{`body.?address.zip.orValue("")`, nil},
		{`has(body.note) && body.note == "a"`, nil},
		{`body.note == "a" && has(body.note)`, nil},
		{`!has(body.note) || body.note == "a"`, nil},
		{`has(body.note) || body.note == "a"`, []expect{warningAt(23, "may-be-absent", "note", "body.note", "orValue")}},
		{`has(body.note) ? body.note : "none"`, nil},
		{`has(body.note) ? "none" : body.note`, []expect{warningAt(31, "may-be-absent", "note", "body.note", "orValue")}},
		{`!has(body.note) ? "none" : body.note`, nil},
		{`has(body.address) && has(body.address.zip) && body.address.zip == "1"`, nil},
		{`body.note != null && body.note.size() > 1`, nil},
		{`body.note == null || body.note.size() > 1`, nil},
		{`body.note == null`, nil},
		{`body.?note.hasValue() && body.note == "a"`, nil},
		{`body.lines.filter(l, has(l.note)).map(l, l.note)`, nil},
		{`body.lines.all(l, has(l.note) && l.note != "")`, nil},
		{`has(body.lines[0].note) && body.lines[0].note == "a"`, nil},
		{`has(body.lines[0].note) && body.lines[1].note == "a"`, []expect{warningAt(41, "may-be-absent", "note", "`body.lines[1].note`", "orValue")}},
		// what may be null
		{`body.email + "x"`, []expect{warningAt(5, "may-be-null", "email", "`body.email` may be null", "!= null")}},
		{`body.email`, nil},
		{`body.email == "a"`, nil},
		{`body.email.size() > 1`, []expect{warningAt(5, "may-be-null", "email", "may be null", "!= null")}},
		{`body.email.startsWith("a")`, []expect{warningAt(5, "may-be-null", "email", "may be null", "!= null")}},
		{`body.email != null && body.email.startsWith("a")`, nil},
		{`body.email == null ? "" : body.email + "x"`, nil},
		{`body.customer.name`, []expect{warningAt(5, "may-be-null", "customer", "`body.customer` may be null", "!= null")}},
		{`body.customer != null && body.customer.name == "a"`, nil},
		{`body.phone != null && body.phone.startsWith("+")`, nil},
		{`has(body.phone) && body.phone.startsWith("+")`, []expect{warningAt(24, "may-be-null", "phone", "may be null", "!= null")}},
		// alternatives
		{`body.pay.amount > 1`, nil},
		{`body.pay.iban`, []expect{warningAt(9, "may-be-absent", "iban", "`body.pay.iban`", "body.pay.?iban")}},
		{`body.pay.kind == "bank" && body.pay.iban == "DE"`, nil},
		{`body.pay.kind != "card" && body.pay.iban == "DE"`, nil},
		{`body.pay.ibann`, []expect{errorAt(9, "unknown-field", "ibann", "declares no field", "`iban`")}},
		// where and how
		{`${body.id}`, []expect{errorAt(0, "template-in-expression", "${body.id}", "takes no ${…}", "write `body.id`")}},
		{`body.id = "a"`, []expect{errorAt(8, "expression-syntax", "=", "", "`==`")}},
		{``, []expect{errorAt(0, "expression-syntax", "", "empty", "write")}},
		{`body.`, []expect{errorAt(5, "expression-syntax", "", "", "")}},
		{`body["id"`, []expect{errorAt(9, "expression-syntax", "", "", "")}},
		{strings.Repeat("(", 600) + "1" + strings.Repeat(")", 600), []expect{errorAt(0, "expression-syntax", "(", "recursion", "")}},
		{strings.Repeat("[", 300) + strings.Repeat("]", 300), []expect{errorAt(0, "expression-limit", "…", "deeper than 250", "cel.bind")}},
		{`raw(body.id) + "x"`, []expect{warningAt(0, "raw-interpolation", "raw", "whole interpolation", "outermost")}},
		{`body.paid ? body.count : body.total`, []expect{errorAt(10, "type-mismatch", "?:", "int and decimal", "convert one")}},
		{`yaml.encode(1)`, []expect{errorAt(5, "unknown-function", "encode", "no function `yaml.encode`", "")}},
	} {
		var l diag.List
		compiled := p.Expr(c.src, penstock.Pos{File: "flow.yaml", Line: 7, Col: 10}, orderScope(), nil, &l)
		got := l.Sorted()
		ok := len(got) == len(c.want)
		for i := range got {
			ok = ok && c.want[i].holds(got[i])
		}
		if !ok {
			t.Errorf("%.80s\n got %v\nwant %+v", c.src, show2(got), c.want)
		}
		if (compiled == nil) != l.HasErrors() {
			t.Errorf("%s: compiled %v with findings %v", c.src, compiled != nil, got)
		}
	}
}

func show2(ds []diag.Diagnostic) string {
	var b strings.Builder
	for _, d := range ds {
		b.WriteString("\n  " + d.String() + " text " + d.Text)
	}
	return b.String()
}

func TestStrict(t *testing.T) {
	p, err := NewProfile(Options{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	for src, ok := range map[string]bool{`body.note`: false, `body.email + "x"`: false, `body.?note.orValue("")`: true, `body.total > 0.1`: true} {
		var l diag.List
		if c := p.Expr(src, penstock.Pos{}, orderScope(), nil, &l); (c != nil) != ok {
			t.Errorf("%s: %v", src, l.Sorted())
		}
	}
}

func TestManyLines(t *testing.T) {
	var l diag.List
	newProfile(t).Expr("body.total > 1 &&\n  body.totl > 1", penstock.Pos{File: "f", Line: 3, Col: 9}, orderScope(), nil, &l)
	if d := l.Sorted(); len(d) != 1 || d[0].Pos.Line != 4 || d[0].Pos.Col != 16 {
		t.Errorf("%v", d)
	}
}

func TestWanted(t *testing.T) {
	p := newProfile(t)
	for _, c := range []struct {
		src  string
		want *types.Type
		code string // of the finding; "" if it is taken
		kind penstock.Kind
	}{
		{`body.total > 1`, types.BoolType, "", penstock.KindBool},
		{`body.count`, types.BoolType, "type-mismatch", 0},
		{`body.count`, types.DoubleType, "", penstock.KindDouble},
		{`body.count`, types.DecimalType, "", penstock.KindDecimal},
		{`body.weight`, types.DecimalType, "type-mismatch", 0},
		{`body.?note`, types.StringType, "may-be-absent", 0},
		{`body.email`, types.StringType, "may-be-null", penstock.KindError},
		{`body.extra.a == 1`, types.BoolType, "", penstock.KindBool},
		{`body.extra.a`, types.BoolType, "", penstock.KindError},
		{`body.extra.a`, types.IntType, "", penstock.KindInt},
		{`body.extra.a`, types.DoubleType, "", penstock.KindDouble},
		{`body.extra.b`, types.DecimalType, "", penstock.KindDecimal},
		{`body.extra.l`, types.ListOf(types.DynType), "", penstock.KindNode},
		{`body.extra.l`, types.StringType, "", penstock.KindError},
		{`body.tags`, types.ListOf(types.DynType), "", penstock.KindNode},
		{`body.tags`, types.ListOf(types.IntType), "type-mismatch", 0},
		{`body.id`, types.DynType, "", penstock.KindString},
		{`body.extra.t`, types.TimestampType, "", penstock.KindTimestamp},
	} {
		var l diag.List
		compiled := p.Expr(c.src, penstock.Pos{}, orderScope(), c.want, &l)
		code := ""
		if l.Len() > 0 {
			code = l.Sorted()[0].Code
		}
		if code != c.code {
			t.Errorf("%s as %v: %v", c.src, c.want, l.Sorted())
		}
		if compiled == nil {
			continue
		}
		body := strings.Replace(orderBody, `"extra": {`, `"extra": {"t": "2010-12-01T08:26:00Z", `, 1)
		for name, v := range map[string]penstock.Value{"program": compiled.Program.Eval(orderFrame(body)), "cel-go": compiled.EvalOracle(orderFrame(body))} {
			if v.Kind() != c.kind {
				t.Errorf("%s as %v: the %s gives %v (kind %d)", c.src, c.want, name, v, v.Kind())
			}
		}
	}
}

func TestFacts(t *testing.T) {
	p := newProfile(t)
	for _, c := range []struct {
		src, typ, reads string
		typed, total    int
		constant        bool
		volatile        bool
	}{
		{src: `body.total > 10 && body.id == "a"`, typ: "bool", reads: "body.total body.id", typed: 2, total: 2},
		{src: `body.extra.a.b`, typ: "dyn", reads: "body.extra.a.b", typed: 1, total: 3},
		{src: `body.lines.map(l, l.price * l.quantity).sum()`, typ: "decimal", reads: "body.lines.[].price body.lines.[].quantity", typed: 3, total: 3},
		{src: `body.lines`, typ: `list({sku: string, quantity: int, price: decimal, note?: string})`, reads: "body.lines", typed: 1, total: 1},
		{src: `size(body.lines)`, typ: "int", reads: "body.lines", typed: 1, total: 1},
		{src: `body.lines.map(l, 1)`, typ: "list(int)", reads: "body.lines", typed: 1, total: 1},
		{src: `[1, 2.5]`, typ: "list(double)", constant: true},
		{src: `"a" + "b"`, typ: "string", constant: true},
		{src: `uuid()`, typ: "string", volatile: true},
		{src: `now`, typ: "timestamp", reads: "now", volatile: true},
		{src: `{"b": body.count, "a": body.?note}`, typ: "{b: int, a: optional(string)}", reads: "body.count body.note", typed: 2, total: 2},
		{src: `{"b": body.count, ?"a": body.?note}`, typ: "{b: int, a?: string}", reads: "body.count body.note", typed: 2, total: 2},
		{src: `body.?address.?zip`, typ: "optional(string)", reads: "body.address.zip", typed: 2, total: 2},
		{src: `body.?address.?zip.orValue("")`, typ: "string", reads: "body.address.zip", typed: 2, total: 2},
		{src: `cel.bind(p, body.pay, p.amount + 1)`, typ: "decimal", reads: "body.pay.amount", typed: 2, total: 2},
		{src: `body.lines.groupBy(l, l.sku).map(g, {"sku": g.key, "n": g.items.map(i, i.quantity).sum()})`, typ: "list({sku: string, n: int})", reads: "body.lines body.lines.[].sku", typed: 5, total: 5},
		{src: `body.lines.sortBy(l, l.price)[0].sku`, typ: "string", reads: "body.lines body.lines.[].price", typed: 4, total: 4},
		{src: `body.paid ? body.count : 2`, typ: "int", reads: "body.paid body.count", typed: 2, total: 2},
		{src: `body.rates.map(k, k)`, typ: "list(string)", reads: "body.rates", typed: 1, total: 1},
		{src: `body.rates.transformList(k, v, v)`, typ: "list(double)", reads: "body.rates.[]", typed: 1, total: 1},
		{src: `body.pay`, typ: `{kind: "card", number: string, amount: decimal}|{kind: "bank", iban: string, amount: decimal}`, reads: "body.pay", typed: 1, total: 1},
	} {
		var l diag.List
		compiled := p.Expr(c.src, penstock.Pos{}, orderScope(), nil, &l)
		if compiled == nil {
			t.Errorf("%s: %v", c.src, l.Sorted())
			continue
		}
		var reads []string
		for _, r := range compiled.Reads {
			reads = append(reads, strings.Join(r, "."))
		}
		if got := compiled.Type.String(); got != c.typ || strings.Join(reads, " ") != c.reads || compiled.Typed != c.typed || compiled.Total != c.total ||
			compiled.Constant != c.constant || compiled.Volatile != c.volatile || compiled.Optional != strings.HasPrefix(c.typ, "optional") {
			t.Errorf("%s\n got %s, reads %v, typed %d of %d, constant %v, volatile %v\nwant %s, reads %v, typed %d of %d, constant %v, volatile %v", c.src,
				got, reads, compiled.Typed, compiled.Total, compiled.Constant, compiled.Volatile, c.typ, c.reads, c.typed, c.total, c.constant, c.volatile)
		}
	}
}

// TestLabels: what is made of labelled data bears the labels.
func TestLabels(t *testing.T) {
	p := newProfile(t)
	secret := func(t *types.Type) *types.Type {
		return labelled(t, types.Labels{Class: []string{"pii"}, Residency: []string{"eu"}})
	}
	sc := orderScope()
	sc.Roots[0].Type = object("person", req("mail", secret(types.StringType)), req("plain", types.StringType), req("age", secret(types.IntType)),
		req("home", secret(object("home", req("street", types.StringType)))), req("mails", types.ListOf(secret(types.StringType))))
	for src, want := range map[string]string{
		`body.mail`: "pii", `body.plain`: "", `body.mail + "x"`: "pii", `body.plain + body.mail.lowerAscii()`: "pii", `string(body.age + 1)`: "pii",
		`body.home.street`: "pii", `mask(body.mail)`: "", `hash(body.mail)`: "", `body.mails[0]`: "pii", `body.mails.join(",")`: "pii",
		`body.mail == "a"`: "", `json.encode(body)`: "pii", `body.mails.map(m, m + "x")[0]`: "pii", `dyn(body.mail)`: "pii",
	} {
		var l diag.List
		c := p.Expr(src, penstock.Pos{}, sc, nil, &l)
		if c == nil {
			t.Errorf("%s: %v", src, l.Sorted())
			continue
		}
		if got := strings.Join(c.Type.Labels.Class, " "); got != want {
			t.Errorf("%s has the class %q, want %q", src, got, want)
		}
		if residency := strings.Join(c.Type.Labels.Residency, " "); (src[:4] == "mask" || src[:4] == "hash") && residency != "eu" {
			t.Errorf("%s lost its residency", src)
		}
	}
}
