package expr

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/types"
)

func TestTemplates(t *testing.T) {
	p := newProfile(t)
	for _, c := range []struct {
		src   string
		place Place
		want  string // JSON text of the value; "error: " and a word
		typ   string
	}{
		{`plain`, Plain, `"plain"`, "string"},
		{``, Plain, `""`, "string"},
		{`Hello, ${body.id}!`, Plain, `"Hello, 536365!"`, "string"},
		{`${body.total}`, Plain, `12.50`, "decimal"},
		{` ${body.total}`, Plain, `" 12.50"`, "string"},
		{`${body.count}${body.count}`, Plain, `"33"`, "string"},
		{`${body.lines}`, Plain, `[{"sku":"a","quantity":2,"price":1.10,"note":"n"},{"sku":"b","quantity":1,"price":10.30}]`, orderType().Fields[10].Type.String()},
		{`${body.?note}`, Plain, `absent`, "optional(string)"},
		{`tags ${body.tags}`, Plain, `"tags [\"x\", \"y\"]"`, "string"},
		{`$${body.id}`, Plain, `"${body.id}"`, "string"},
		{`$$${body.id}`, Plain, `"$${body.id}"`, "string"},
		{`costs $5 {and} $`, Plain, `"costs $5 {and} $"`, "string"},
		{`${{"a": "}"}["a"]}`, Plain, `"}"`, "string"},
		{`${'}'}${"}"}${'''}'''}${"""}"}"""}`, Plain, `"}}}}\"}"`, "string"},
		{`${r'\'}${r"\}"}x`, Plain, `"\\\\}x"`, "string"},
		{`${"\"}"}x`, Plain, `"\"}x"`, "string"},
		{`${bar"}`, Plain, "error: check", ""},
		{"${body.id // }\n}x", Plain, `"536365x"`, "string"},
		{"${ \n body.id \n }x", Plain, `"536365x"`, "string"},
		{`${body.lines.map(l, {"s": l.sku})[0].s}!`, Plain, `"a!"`, "string"},
		{`${body.at} ${body.took} ${body.paid} ${body.raw}`, Plain, `"2010-12-01T08:26:00Z 90s true AAE="`, "string"},
		// places
		{`/orders/${"a/b ü?"}/x`, URLPath, `"/orders/a%2Fb%20%C3%BC%3F/x"`, "string"},
		{`/orders/${""}`, URLPath, "error: empty", ""},
		{`/orders/${".."}`, URLPath, "error: leave", ""},
		{`/orders/${body.count}`, URLPath, `"/orders/3"`, "string"},
		{`${body.id}`, URLPath, `"536365"`, "string"},
		{`/${raw("a/b")}`, URLPath, `"/a/b"`, "string"},
		{`/orders?id=${"a&b=c#/?"}&n=${""}`, URLPath, `"/orders?id=a%26b%3Dc%23%2F%3F&n="`, "string"},
		{`/${"?"}/${"a&b"}`, URLPath, `"/%3F/a&b"`, "string"},
		{`q=${"a&b=c d"}`, Query, `"q=a%26b%3Dc+d"`, "string"},
		{`${"a\r\nx: y"}`, Header, "error: line break", ""},
		{`v ${"a"}`, Header, `"v a"`, "string"},
		{`select * from o where id = ${body.id} and n > ${body.count}`, SQL, `["select * from o where id = \u0000 and n > \u0000","536365",3]`, "list(dyn)"},
		{`select 1`, SQL, `["select 1"]`, "list(dyn)"},
		{`select * from ${raw("t")} where id = ${body.id}`, SQL, `["select * from t where id = \u0000","536365"]`, "list(dyn)"},
	} {
		var l diag.List
		compiled := p.Template(c.src, penstock.Pos{}, orderScope(), c.place, &l)
		if compiled == nil {
			if c.want != "error: check" {
				t.Errorf("%s: %v", c.src, l.Sorted())
			}
			continue
		}
		for name, v := range map[string]penstock.Value{"program": compiled.Program.Eval(orderFrame(orderBody)), "cel-go": compiled.EvalOracle(orderFrame(orderBody))} {
			got := v.String()
			if word, isError := strings.CutPrefix(c.want, "error: "); isError && strings.HasPrefix(got, "error: ") && strings.Contains(got, word) {
				continue
			}
			if compact([]byte(got)) != c.want || compiled.Type.String() != c.typ {
				t.Errorf("%s: the %s gives %s of type %v, want %s of type %s", c.src, name, got, compiled.Type, c.want, c.typ)
			}
		}
	}
}

func TestTemplateFindings(t *testing.T) {
	p := newProfile(t)
	for _, c := range []struct {
		src   string
		place Place
		want  []expect
	}{
		{`Hello ${body.naem}`, Plain, []expect{errorAt(13, "unknown-field", "naem", "declares no field", "")}},
		{`Grüße ${body.naem}`, Plain, []expect{errorAt(13, "unknown-field", "naem", "declares no field", "")}},
		{`${body.totl} and ${body.idd}`, Plain, []expect{errorAt(7, "unknown-field", "totl", "", "total"), errorAt(24, "unknown-field", "idd", "", "id")}},
		{`a ${body.id`, Plain, []expect{errorAt(2, "template-syntax", "${", "not closed", "$${")}},
		{`a ${"b} c`, Plain, []expect{errorAt(4, "template-syntax", "${", "text in this", "closing \"")}},
		{"a ${body.id // }", Plain, []expect{errorAt(2, "template-syntax", "${", "comment", "line")}},
		{`${}`, Plain, []expect{errorAt(2, "expression-syntax", "", "empty", "write")}},
		{`n: ${body.?note}`, Plain, []expect{errorAt(5, "may-be-absent", "body.?note", "may be absent", "orValue")}},
		{`n: ${body.email}`, Plain, []expect{warningAt(5, "may-be-null", "body.email", "may be null", "!= null")}},
		{`n: ${null}`, Plain, []expect{errorAt(5, "type-mismatch", "null", "null has no text", "")}},
		{`/x/${raw(body.id)}`, URLPath, []expect{warningAt(5, "raw-interpolation", "raw(body.id)", "URL path", "")}},
		{`body.id`, Plain, []expect{errorAt(0, "expression-in-template", "body.id", "is an expression", "`${body.id}`")}},
		{`body["id"]`, Plain, []expect{errorAt(0, "expression-in-template", `body["id"]`, "is an expression", `${body["id"]}`)}},
		{`body.id + "x"`, Plain, []expect{errorAt(0, "expression-in-template", `body.id + "x"`, "is an expression", "${")}},
		{`body. Now for the rest`, Plain, nil},
		{`key.pem`, Plain, nil},
		{`nobody.knows`, Plain, nil},
		{`body`, Plain, nil},
	} {
		var l diag.List
		compiled := p.Template(c.src, penstock.Pos{File: "flow.yaml", Line: 7, Col: 10}, orderScope(), c.place, &l)
		got := l.Sorted()
		ok := len(got) == len(c.want) && (compiled == nil) == l.HasErrors()
		for i := range got {
			if ok && c.want[i].hint == "" {
				got[i].Hint = ""
			}
			ok = ok && c.want[i].holds(got[i])
		}
		if !ok {
			t.Errorf("%s\n got %v\nwant %+v", c.src, show2(got), c.want)
		}
	}
}

func text(s string) penstock.Tree { return penstock.Tree{Kind: penstock.TreeText, Text: s} }

func mapTree(kv ...any) penstock.Tree {
	t := penstock.Tree{Kind: penstock.TreeMap}
	for i := 0; i < len(kv); i += 2 {
		t.Keys = append(t.Keys, kv[i].(string))
		t.Elems = append(t.Elems, kv[i+1].(penstock.Tree))
	}
	return t
}

func TestTree(t *testing.T) {
	p := newProfile(t)
	number := func(s string) penstock.Tree { return penstock.Tree{Kind: penstock.TreeNumber, Text: s} }
	list := func(ts ...penstock.Tree) penstock.Tree { return penstock.Tree{Kind: penstock.TreeList, Elems: ts} }
	for _, c := range []struct {
		name       string
		tree       penstock.Tree
		want, typ  string
		typed, all int
	}{
		{"order of the text", mapTree("z", text("${body.id}"), "a", text("x ${body.count}"), "when", text("w")), `{"z":"536365","a":"x 3","when":"w"}`, "{z: string, a: string, when: string}", 2, 2},
		{"absent is left out", mapTree("a", text("${body.?note}"), "b", text("${body.?id}")), `{"b":"536365"}`, "{a?: string, b?: string}", 2, 2},
		{"null stays", mapTree("a", text("${body.email}")), `{"a":null}`, "{a: string|null}", 1, 1},
		{"constants", mapTree("a", number("1.00"), "b", penstock.Tree{Kind: penstock.TreeBool, Bool: true}, "c", penstock.Tree{Kind: penstock.TreeNull}, "d", number("12345678901234567890")),
			`{"a":1.00,"b":true,"c":null,"d":12345678901234567890}`, "{a: double, b: bool, c: null, d: decimal}", 0, 0},
		{"lists", list(text("${body.count}"), number("1.5"), text("${body.?note}")), `[3,1.5]`, "", 2, 2},
		{"nested", mapTree("a", mapTree("b", list(text("${body.total}")))), `{"a":{"b":[12.50]}}`, "{a: {b: list(decimal)}}", 1, 1},
		{"a text alone", text("${body.lines.map(l, l.sku)}"), `["a","b"]`, "list(string)", 2, 2},
		{"literal braces", mapTree("a", text("$${x}")), `{"a":"${x}"}`, "{a: string}", 0, 0},
		{"empty", mapTree(), `{}`, "{}", 0, 0},
		{"by cel-go", mapTree("a", text(`${"%d".format([body.count])}`)), `{"a":"3"}`, "{a: string}", 1, 1},
	} {
		var l diag.List
		compiled := p.Tree(c.tree, orderScope(), &l)
		if compiled == nil {
			t.Errorf("%s: %v", c.name, l.Sorted())
			continue
		}
		got, err := compiled.Mapping.Append([]byte("x"), orderFrame(orderBody))
		if err != nil || string(got) != "x"+c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, got, err, c.want)
		}
		if c.typ != "" && compiled.Type.String() != c.typ || compiled.Typed != c.typed || compiled.Total != c.all || compiled.Constant != (c.all == 0) {
			t.Errorf("%s has type %v, typed %d of %d, constant %v; want %s, %d of %d", c.name, compiled.Type, compiled.Typed, compiled.Total, compiled.Constant, c.typ, c.typed, c.all)
		}
	}
	var l diag.List
	bad := mapTree("a", text("${body.nope}"), "b", list(text("${body.neither}"), number("0x1")))
	bad.Elems[0].Pos = penstock.Pos{File: "f", Line: 2, Col: 3}
	if c := p.Tree(bad, orderScope(), &l); c != nil || l.Len() != 3 {
		t.Errorf("%v", l.Sorted())
	}
	var none diag.List
	c := p.Tree(text("${body.?note}"), orderScope(), &none)
	if c == nil {
		t.Fatal(none.Sorted())
	}
	if got, err := c.Mapping.Append([]byte("x"), orderFrame(orderBody)); err == nil || string(got) != "x" {
		t.Errorf("a tree that is absent gives %s, %v", got, err)
	}
}

// TestLayouts: what is copied keeps the layout of its schema, what is computed is written in
// the standard way, and either can be read again by its type.
func TestLayouts(t *testing.T) {
	p := newProfile(t)
	sc := orderScope()
	sc.Roots[0].Type = object("o", req("at", &types.Type{Kind: types.Timestamp, Layout: "2006-01-02 15:04:05"}), req("price", &types.Type{Kind: types.Decimal, DecimalText: true}))
	var l diag.List
	c := p.Tree(mapTree("copied", text("${body.at}"), "made", text(`${body.at + duration("0s")}`), "price", text("${body.price}"), "twice", text("${body.price * 2}"),
		"list", text("${[body.at]}"), "one", text("${true ? body.at : body.at}"), "either", text("${[body.price, body.price + 1]}")), sc, &l)
	if c == nil {
		t.Fatal(l.Sorted())
	}
	got, err := c.Mapping.Append(nil, frame(`{"at": "2010-12-01 08:26:00", "price": "1.50"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"copied":"2010-12-01 08:26:00"`, `"made":"2010-12-01T08:26:00Z"`, `"price":"1.50"`, `"twice":3.00`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	next := orderScope()
	next.Roots[0].Type = c.Type
	again := p.Expr(`body.copied == body.made && body.list[0] == body.one && body.copied == body.one && body.price * 2 == body.twice && body.either[0] + 1 == body.either[1]`, penstock.Pos{}, next, nil, &l)
	if again == nil {
		t.Fatal(l.Sorted())
	}
	for name, prog := range map[string]penstock.Program{"program": again.Program, "cel-go": again.oracle} {
		if v := prog.Eval(frame(string(got))); v.String() != "true" {
			t.Errorf("the %s reads %s as %v: %v", name, got, c.Type, v)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"", "plain", "${body.id}", "a${body.id}b${body.count}", "$${", "$$${'}'}", "${", "${'", `${"""}`, "${r'\\'}", "${{'a': '}'}}", "${// }\n1}", "${`x`}", "$", "${}", "}{"} {
		f.Add(s)
	}
	p := newProfile(f)
	f.Fuzz(func(t *testing.T, src string) {
		segments, bad := cut(src)
		if bad == nil {
			// The segments cover the text: what is written out again is the same.
			var b strings.Builder
			for _, s := range segments {
				if s.cel {
					b.WriteString("${" + s.text + "}")
					if src[s.start:s.start+len(s.text)] != s.text {
						t.Fatalf("%q: the segment %q is not at %d", src, s.text, s.start)
					}
				} else {
					b.WriteString(strings.ReplaceAll(s.text, "${", "$${"))
				}
			}
			if b.String() != src {
				t.Fatalf("%q is cut to %q", src, b.String())
			}
		}
		for place := Plain; place <= SQL; place++ {
			var l diag.List
			c := p.Template(src, penstock.Pos{File: "f", Line: 1, Col: 1}, orderScope(), place, &l)
			if (c == nil) != l.HasErrors() {
				t.Fatalf("%q: compiled %v, findings %v", src, c != nil, l.Sorted())
			}
			if c != nil && !c.Volatile {
				if what := disagreement(c, orderBody); what != "" {
					t.Fatalf("%q: %s", src, what)
				}
			}
		}
	})
}
