package expr

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator writes random expressions that are mostly well typed, over orderScope, and
// random bodies that are mostly orders.
type generator struct {
	*rand.Rand
	vars []variable // bound by the macros around
	n    int
}

type variable struct{ name, kind string }

func newGenerator(seed uint64) *generator { return &generator{Rand: rand.New(rand.NewPCG(seed, 7))} }

func (g *generator) pick(options ...string) string { return options[g.IntN(len(options))] }

// of writes an expression of a kind.
func (g *generator) of(kind string, depth int) string {
	for _, v := range g.vars {
		if v.kind == kind && g.IntN(3) == 0 {
			return v.name
		}
	}
	if depth <= 0 {
		return g.leaf(kind)
	}
	choice := g.IntN(12)
	if strings.HasPrefix(kind, "optional ") && choice == 2 {
		choice = 5 // an optional within an optional is nobody's meaning
	}
	switch choice {
	case 0:
		return g.leaf(kind)
	case 1:
		return "(" + g.of("bool", depth-1) + " ? " + g.of(kind, depth-1) + " : " + g.of(kind, depth-1) + ")"
	case 2:
		return g.of("optional "+kind, depth-1) + ".orValue(" + g.of(kind, depth-1) + ")"
	case 3:
		return g.list(kind, depth-1) + "[" + g.pick("0", "1", "2", "-1", "dyn(1.0)", "dyn(1u)") + "]"
	case 4:
		g.n++
		name := fmt.Sprintf("v%d", g.n)
		bound := g.pick("int", "string", "decimal")
		value := g.of(bound, depth-1)
		return "cel.bind(" + name + ", " + value + ", " + g.with(name, bound, func() string { return g.of(kind, depth-1) }) + ")"
	}
	return g.made(kind, depth-1)
}

// with writes what stands within a macro's scope.
func (g *generator) with(name, kind string, f func() string) string {
	g.vars = append(g.vars, variable{name, kind})
	out := f()
	g.vars = g.vars[:len(g.vars)-1]
	return out
}

func (g *generator) leaf(kind string) string {
	switch kind {
	case "bool":
		return g.pick("true", "false", "body.paid", "body.paid", "has(body.note)", "has(body.extra.n)", "has(body.extra.zz)", "has(body.address)")
	case "int":
		return g.pick("0", "1", "-7", "42", "9223372036854775807", "-9223372036854775808", "body.count", "body.lines[0].quantity", "body.lines[1].quantity", "size(body.tags)")
	case "uint":
		return g.pick("0u", "1u", "18446744073709551615u", "body.small")
	case "double":
		return g.pick("0.0", "1.5", "-2.25", "1e300", "0.1", "body.weight", "body.rates.eur", "body.rates['usd']", "double('NaN')", "9007199254740993.0")
	case "decimal":
		return g.pick(`decimal("0")`, `decimal("1.10")`, `decimal("-3.333")`, `decimal("123456789012345678901.5")`, "body.total", "body.lines[0].price", "body.pay.amount", "vars.rate")
	case "string":
		return g.pick(`""`, `"a"`, `"Grüße"`, `"日本"`, `"a}b"`, "body.id", "body.country", "body.note", "body.tags[0]", "body.lines[0].sku", "body.email", "body.phone", "vars.region", "key", "body.address.city", "params.drop")
	case "timestamp":
		return g.pick(`timestamp("2010-12-01T08:26:00Z")`, `timestamp("0001-01-01T00:00:00Z")`, `timestamp("9999-12-31T23:59:59.999999999Z")`, "body.at", "now")
	case "duration":
		return g.pick(`duration("1h")`, `duration("-1.5s")`, "body.took")
	case "bytes":
		return g.pick(`b""`, `b"ab"`, "body.raw")
	case "dyn":
		return g.pick("body.extra.a", "body.extra.b", "body.extra.n", "body.extra.l", "body.extra.big", "body.extra.zz", "item", "meta.x", "dyn(1)", "dyn(1.5)", `dyn("s")`, "dyn(null)", "body.extra.l[1]", `body[?"extra"].orValue(1)`)
	}
	if rest, ok := strings.CutPrefix(kind, "optional "); ok {
		if rest == "string" {
			return g.pick("body.?note", "body.?email", "body.?phone", "body.?address.?zip", "body.?address.city", "vars.?region")
		}
		return g.pick("optional.none()", "optional.of("+g.leaf(rest)+")")
	}
	return "[" + g.leaf(kind) + "]"
}

func (g *generator) made(kind string, d int) string {
	arithmetic := func(kinds ...string) string {
		op := g.pick("+", "-", "*", "/", "%")
		if kind == "double" && op == "%" {
			op = "*"
		}
		return "(" + g.of(kinds[0], d) + " " + op + " " + g.of(kinds[1], d) + ")"
	}
	switch kind {
	case "bool":
		return g.condition(d)
	case "int":
		switch g.IntN(8) {
		case 0, 1, 2:
			return arithmetic("int", "int")
		case 3:
			return "-" + g.of("int", d)
		case 4:
			return "size(" + g.list(g.pick("int", "string"), d) + ")"
		case 5:
			return g.of("string", d) + ".size()"
		case 6:
			return "int(" + g.of(g.pick("double", "uint", "decimal", "string", "timestamp"), d) + ")"
		}
		return g.list("int", d) + g.pick(".sum()", ".min()", ".max()")
	case "uint":
		return g.pick(arithmetic("uint", "uint"), "uint("+g.of(g.pick("int", "double", "decimal"), d)+")")
	case "double":
		switch g.IntN(6) {
		case 0, 1:
			return arithmetic(g.pick("double", "int"), "double")
		case 2:
			return "double(" + g.of(g.pick("int", "uint", "decimal"), d) + ")"
		case 3:
			return g.list(g.pick("int", "double"), d) + ".avg()"
		case 4:
			return "math." + g.pick("abs", "ceil", "floor", "round", "trunc", "sqrt") + "(" + g.of("double", d) + ")"
		}
		return g.list("double", d) + g.pick(".sum()", ".min()", ".max()")
	case "decimal":
		switch g.IntN(6) {
		case 0, 1:
			return arithmetic(g.pick("decimal", "int"), "decimal")
		case 2:
			return "decimal(" + g.of(g.pick("int", "string", "dyn", "double"), d) + ")"
		case 3:
			return "round(" + g.of("decimal", d) + ", " + g.pick("0", "2", "-1") + ")"
		case 4:
			return "body.lines.map(l, l.price * l.quantity).sum()"
		}
		return g.list("decimal", d) + g.pick(".sum()", ".min()", ".max()", ".avg()")
	case "string":
		switch g.IntN(9) {
		case 0, 1:
			return "(" + g.of("string", d) + " + " + g.of("string", d) + ")"
		case 2:
			return "string(" + g.of(g.pick("int", "uint", "double", "decimal", "bool", "timestamp", "duration", "dyn"), d) + ")"
		case 3:
			return g.of("string", d) + g.pick(".lowerAscii()", ".upperAscii()", ".trim()", ".reverse()", ".substring(1)", ".charAt(0)", ".replace('a', 'b')")
		case 4:
			return g.list("string", d) + g.pick(".join()", ".join(', ')", ".min()", ".max()")
		case 5:
			return "mask(" + g.of("string", d) + ", 2)"
		case 6:
			return "hash(" + g.of("string", d) + ")"
		case 7:
			return "json.encode(" + g.of(g.pick("dyn", "int", "string", "decimal"), d) + ")"
		}
		return `{"a": ` + g.of("string", d) + `, "b": ` + g.of("string", d) + `}[` + g.pick(`"a"`, `"b"`) + `]`
	case "timestamp":
		return "(" + g.of("timestamp", d) + g.pick(" + ", " - ") + g.of("duration", d) + ")"
	case "duration":
		return g.pick("("+g.of("timestamp", d)+" - "+g.of("timestamp", d)+")", "("+g.of("duration", d)+" + "+g.of("duration", d)+")")
	case "bytes":
		return g.pick("bytes("+g.of("string", d)+")", "("+g.of("bytes", d)+" + "+g.of("bytes", d)+")", "base64.decode("+g.of("string", d)+")")
	case "dyn":
		return g.pick("dyn("+g.of(g.pick("int", "string", "decimal", "double"), d)+")", "("+g.of("dyn", d)+" + "+g.of("dyn", d)+")", g.of("dyn", d)+"."+g.pick("a", "zz"), g.of("dyn", d)+"["+g.pick("0", `"a"`)+"]")
	}
	if rest, ok := strings.CutPrefix(kind, "optional "); ok {
		switch g.IntN(5) {
		case 0:
			return "optional.of(" + g.of(rest, d) + ")"
		case 1:
			return g.list(rest, d) + g.pick(".first()", ".last()", "[?0]", "[?9]")
		case 2:
			return g.of(kind, d) + ".or(" + g.of(kind, d) + ")"
		case 3:
			g.n++
			name := fmt.Sprintf("o%d", g.n)
			return g.of("optional int", d) + ".optMap(" + name + ", " + g.with(name, "int", func() string { return g.of(rest, d) }) + ")"
		}
		return g.leaf(kind)
	}
	return g.leaf(kind)
}

func (g *generator) condition(d int) string {
	numbers := []string{"int", "uint", "double", "decimal", "dyn"}
	switch g.IntN(12) {
	case 0, 1:
		return "(" + g.of("bool", d) + g.pick(" && ", " || ") + g.of("bool", d) + ")"
	case 2:
		return "!" + g.of("bool", d)
	case 3, 4:
		return "(" + g.of(g.pick(numbers...), d) + g.pick(" < ", " <= ", " > ", " >= ", " == ", " != ") + g.of(g.pick(numbers...), d) + ")"
	case 5:
		k := g.pick("string", "timestamp", "duration", "bytes", "bool")
		return "(" + g.of(k, d) + g.pick(" < ", " <= ", " > ", " >= ", " == ", " != ") + g.of(k, d) + ")"
	case 6:
		k := g.pick("int", "string", "decimal")
		return "(" + g.of(k, d) + " in " + g.list(k, d) + ")"
	case 7:
		return g.of("string", d) + g.pick(".startsWith(", ".endsWith(", ".contains(") + g.of("string", d) + ")"
	case 8, 9:
		k := g.pick("int", "string", "decimal")
		g.n++
		name := fmt.Sprintf("x%d", g.n)
		return g.list(k, d) + "." + g.pick("all", "exists", "exists_one") + "(" + name + ", " + g.with(name, k, func() string { return g.of("bool", d) }) + ")"
	case 10:
		return g.of("optional "+g.pick("string", "int"), d) + ".hasValue()"
	}
	return "(" + g.of("dyn", d) + g.pick(" == ", " != ") + g.pick("null", g.of("dyn", d)) + ")"
}

// list writes a list of a kind.
func (g *generator) list(kind string, d int) string {
	if d <= 0 {
		switch kind {
		case "string":
			return g.pick("body.tags", `["b", "a", "b"]`, "body.lines.map(l, l.sku)")
		case "int":
			return g.pick("[3, 1, 2]", "body.lines.map(l, l.quantity)", "[1].filter(x, false)")
		case "decimal":
			return g.pick("body.lines.map(l, l.price)", `[decimal("1.5"), decimal("1.50")]`)
		}
		return "[" + g.leaf(kind) + ", " + g.leaf(kind) + "]"
	}
	switch g.IntN(8) {
	case 0:
		return "[" + g.of(kind, d-1) + ", " + g.of(kind, d-1) + "]"
	case 1:
		return "(" + g.list(kind, d-1) + " + " + g.list(kind, d-1) + ")"
	case 2:
		g.n++
		name := fmt.Sprintf("f%d", g.n)
		return g.list(kind, d-1) + ".filter(" + name + ", " + g.with(name, kind, func() string { return g.of("bool", d-1) }) + ")"
	case 3:
		g.n++
		name, from := fmt.Sprintf("m%d", g.n), g.pick("int", "string", "decimal")
		return g.list(from, d-1) + ".map(" + name + ", " + g.with(name, from, func() string { return g.of(kind, d-1) }) + ")"
	case 4:
		return g.list(kind, d-1) + g.pick(".reverse()", ".distinct()", ".slice(0, 1)")
	case 5:
		if kind == "int" || kind == "string" || kind == "decimal" {
			return g.list(kind, d-1) + ".sort()"
		}
	case 6:
		g.n++
		name := fmt.Sprintf("t%d", g.n)
		return g.list(kind, d-1) + ".transformList(i" + name + ", " + name + ", " + g.with(name, kind, func() string { return g.of(kind, d-1) }) + ")"
	}
	return g.list(kind, 0)
}

// body writes an order with some things missing, null or of the wrong kind.
func (g *generator) body() string {
	fields := []struct {
		name   string
		values []string
	}{
		{"id", []string{`"536365"`, `""`, `"Grüße\n\u00e9"`, `7`}},
		{"country", []string{`"DE"`, `"FR"`}},
		{"count", []string{"3", "0", "-1", "9223372036854775807", "17850.0", "1.5", `"x"`, "null"}},
		{"small", []string{"7", "0", "18446744073709551615", "-1"}},
		{"weight", []string{"1.50", "0", "1e308", "-0.0", "12345678901234567890.125"}},
		{"total", []string{"12.50", "0", "-1e-30", "123456789012345678901234567890.12", `"1"`}},
		{"paid", []string{"true", "false", "1"}},
		{"at", []string{`"2010-12-01T08:26:00Z"`, `"2010-12-01T08:26:00.5+02:00"`, `"no"`}},
		{"took", []string{`"90s"`, `"PT1H"`, `"-0.5s"`, `""`}},
		{"raw", []string{`"AAE="`, `""`, `"?"`}},
		{"lines", []string{`[]`, `[{"sku": "a", "quantity": 2, "price": 1.10, "note": "n"}, {"sku": "b", "quantity": 1, "price": 10.30}]`, `[{"sku": "a", "quantity": "2", "price": 0}]`, `{}`}},
		{"tags", []string{`["x", "y"]`, `[]`, `["y", "x", "x"]`, `["a", 1]`}},
		{"extra", []string{`{"a": 1, "b": 0.1, "n": null, "l": [1, 2.5, "s"], "big": 123456789012345678901}`, `{}`, `{"a": {"a": [1]}, "b": 1.10, "n": [], "l": [[1], {}]}`}},
		{"rates", []string{`{"eur": 1.0, "usd": 1.25}`, `{"eur": null}`}},
		{"note", []string{`"n"`, "null", ""}},
		{"email", []string{`"a@b"`, "null"}},
		{"phone", []string{`"1"`, "null", "", ""}},
		{"address", []string{`{"city": "B", "zip": "1"}`, `{"city": "B"}`, "", "", `{}`}},
		{"customer", []string{"null", `{"name": "c"}`}},
		{"pay", []string{`{"kind": "card", "number": "4111", "amount": 12.50}`, `{"kind": "bank", "iban": "DE", "amount": 1}`, `{"kind": "cash"}`}},
	}
	var b strings.Builder
	b.WriteByte('{')
	for _, f := range fields {
		value := f.values[0]
		if g.IntN(3) == 0 {
			value = f.values[g.IntN(len(f.values))]
		}
		if value == "" || g.IntN(40) == 0 {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q: %s", f.name, value)
	}
	b.WriteByte('}')
	return b.String()
}
