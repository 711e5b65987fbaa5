package fast_test

import (
	"bytes"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/fast"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// other is a program of another package: what the cel-go fallback is to a mapping.
type other struct{ v penstock.Value }

func (o other) Eval(*penstock.Frame) penstock.Value { return o.v }

func TestMapping(t *testing.T) {
	env := newEnv(t)
	leaf := func(src string) *fast.Node {
		return &fast.Node{Kind: fast.Leaf, Program: compile(t, env, src, order())}
	}
	text := func(s string) *fast.Node { return &fast.Node{Kind: fast.Const, JSON: []byte(s)} }
	object := func(keys string, elems ...*fast.Node) *fast.Node {
		return &fast.Node{Kind: fast.Object, Keys: strings.Fields(keys), Elems: elems}
	}
	list := func(elems ...*fast.Node) *fast.Node { return &fast.Node{Kind: fast.Array, Elems: elems} }
	for _, c := range []struct {
		name string
		tree *fast.Node
		want string
	}{
		{"constant", text(`{"a":1}`), `{"a":1}`},
		{"leaf", leaf("body.count"), `3`},
		{"numbers keep their text", object("a b c d", leaf("body.amount"), leaf("body.total"), leaf("body.any.exp"), leaf("body.any.huge")),
			`{"a":150.50,"b":12.50,"c":1e3,"d":12345678901234567890}`},
		{"so do texts", object("a b", leaf("body.tags"), leaf("body.at")), `{"a":["a","b\n","ü"],"b":"2024-02-29T12:30:45.5+02:00"}`},
		{"computed", object("a b c d e f", leaf("body.count + 1"), leaf("body.amount * 2.0"), leaf("body.at + body.took"), leaf(`body.id + "\"\n"`), leaf(`b"hi"`), leaf(`body.took`)),
			`{"a":4,"b":301,"c":"2024-02-29T10:30:47Z","d":"A-1\"\n","e":"aGk=","f":"1.5s"}`},
		{"nested", object("a b", object("c", leaf("body.count")), list(leaf("body.count"), text("1"), object("d", text("null")))), `{"a":{"c":3},"b":[3,1,{"d":null}]}`},
		{"empty", object("a b", object(""), list()), `{"a":{},"b":[]}`},
		{"an absent optional is left out", object("a b c", leaf("body.?gone"), leaf("body.?count"), leaf("body.?gone.x")), `{"b":3}`},
		{"all are absent", object("a b", leaf("body.?gone"), list(leaf("body.?gone"))), `{"b":[]}`},
		{"the first is there", object("a b", leaf("body.?count"), leaf("body.?gone")), `{"a":3}`},
		{"keys are escaped", &fast.Node{Kind: fast.Object, Keys: []string{"a\"b", "ü\n"}, Elems: []*fast.Node{text("1"), leaf("body.count")}}, `{"a\"b":1,"ü\n":3}`},
		{"lists and maps", object("a b", leaf(`body.lines.map(l, {"sku": l.sku, "sum": l.cost * l.quantity})`), leaf(`{"z": 1, "a": [?body.?gone, body.note]}`)),
			`{"a":[{"sku":"x","sum":2.20},{"sku":"y","sum":2.20}],"b":{"z":1,"a":[null]}}`},
		{"conditionals and filters", object("a b", leaf(`body.paid ? {"x": body.amount, ?"y": body.?gone} : {}`), leaf(`body.lines.filter(l, l.quantity > 1).map(l, [l.price, ?body.?gone, body.?gone])`)),
			`{"a":{"x":150.50},"b":[[1.5]]}`},
		{"an error within", object("a", leaf(`body.lines.map(l, {"x": [1 / (l.quantity - 1)]})`)), `error: a: division by zero`},
		{"templates", object("a b", &fast.Node{Kind: fast.Leaf, Program: fast.NewTemplate(fast.Part{Text: "<\"ü\">"}, fast.Part{Program: compile(t, env, "body.tags[1]", order())},
			fast.Part{Program: compile(t, env, "body.amount", order())}, fast.Part{Program: compile(t, env, "body.id + '\\n'", order())}, fast.Part{Program: compile(t, env, "body.tags", order())})},
			&fast.Node{Kind: fast.Leaf, Program: fast.NewTemplate(fast.Part{Text: "x"})}),
			`{"a":"<\"ü\">b\n150.50A-1\n[\"a\",\"b\\n\",\"ü\"]","b":"x"}`},
		{"other programs", object("a b c", &fast.Node{Kind: fast.Leaf, Program: other{penstock.IntValue(1)}}, &fast.Node{Kind: fast.Leaf, Program: other{penstock.Absent}},
			&fast.Node{Kind: fast.Leaf, Program: other{penstock.OptionalValue(penstock.Absent)}}), `{"a":1}`},
		{"vars keep the text of a number", object("a", leaf("vars.rate")), `{"a":1.5}`},
		{"an error names its place", object("a b", text("1"), object("c", leaf("body.gone"))), `error: b.c: body.gone: no such key: gone`},
		{"so does a mismatch", object("a", list(text("1"), leaf("body.address.zip > 'x'"))), `error: a[1]: no such overload: > of int, string`},
		{"not a number", object("a", leaf("0.0 / 0.0")), `error: a: json: NaN is no JSON number`},
		{"nothing at all", leaf("body.?gone"), `error: the value is absent; give a default with orValue`},
		{"absent text", object("a", &fast.Node{Kind: fast.Leaf, Program: fast.NewTemplate(fast.Part{Text: "x"}, fast.Part{Program: compile(t, env, "body.?gone", order())})}), `error: a: text: the value is absent`},
	} {
		m, f := fast.NewMapping(c.tree), newFrame(sample)
		before := []byte("before")
		out, err := m.Append(before, f)
		got := string(bytes.TrimPrefix(out, before))
		if err != nil {
			if got != "" {
				t.Errorf("%s: after the error there is %s", c.name, got)
			}
			got = "error: " + err.Error()
		} else if !jsonview.Valid([]byte(got)) {
			t.Errorf("%s: %s is no JSON", c.name, got)
		}
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestMappingVerifies(t *testing.T) {
	m := fast.NewMapping(&fast.Node{Kind: fast.Leaf, Program: compile(t, newEnv(t), "body.amount", order())})
	for body, want := range map[string]string{
		`{"amount":"1"}`: `body.amount: want a number, found a string "1"`, `{"amount":null}`: `body.amount: want a number, found null`,
		`{}`: `body.amount: no such key: amount`, `{"amount":[]}`: `body.amount: want a number, found an array`,
	} {
		if _, err := m.Append(nil, newFrame(body)); err == nil || err.Error() != want {
			t.Errorf("%s gave %v, want %s", body, err, want)
		}
	}
}

func TestTemplate(t *testing.T) {
	env := newEnv(t)
	part := func(src string) fast.Part { return fast.Part{Program: compile(t, env, src, order())} }
	for _, c := range []struct {
		parts []fast.Part
		want  string
	}{
		{nil, ""}, {[]fast.Part{{Text: "a"}, {Text: "b"}}, "ab"},
		{[]fast.Part{part("body.tags[1]"), {Text: "-"}, part("body.amount"), part("body.amount + 0.0"), part("body.paid")}, "b\n-150.50150.5true"},
		{[]fast.Part{part("body.at"), part("body.took"), part("body.total")}, "2024-02-29T12:30:45.5+02:001.5s12.50"},
		{[]fast.Part{part("body.lines.map(l, l.sku).join('/')"), part("1000000.0")}, "x/y1000000"},
		{[]fast.Part{part("body.note")}, "error: text: null has no text"}, {[]fast.Part{part("body.?gone")}, "error: text: the value is absent"},
		{[]fast.Part{part("body.gone")}, "error: body.gone: no such key: gone"},
	} {
		v := fast.NewTemplate(c.parts...).Eval(newFrame(sample))
		var got string
		if v.IsError() {
			got = show(v)
		} else {
			got = v.Str()
		}
		if got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestAllocations: what flows do for every message takes no memory of its own.
func TestAllocations(t *testing.T) {
	env := newEnv(t)
	for name, schema := range schemas() {
		for _, c := range []struct {
			src  string
			most float64
		}{
			{`body.amount > 100.0 && body.country in ["DE", "FR"]`, 0},
			{`body.country == "DE" || body.address.city.startsWith("K")`, 0},
			{`body.?discount.orValue(0.0) + body.amount * 1.19`, 0},
			{`has(body.note) && body.note != null && body.items >= 3`, 0},
			{`body.id + ":" + body.country`, 0},
			{`body.?note.optMap(n, n.size()).orValue(0) > 3`, 0},
			{`timestamp(body.created).getHours() == 7`, 0},
			{`body.address.city.matches("^K")`, 0},
		} {
			p, f, src := compile(t, env, c.src, schema), newFrame(line), []byte(line)
			if v := p.Eval(f); v.IsError() {
				t.Fatalf("%s: %s", c.src, show(v))
			}
			if got := testing.AllocsPerRun(100, func() {
				f.Arena.Reset()
				f.Msg.Body.Reset(jsonview.JSON, src)
				p.Eval(f)
			}); got > c.most {
				t.Errorf("%s (%s): %v allocations, %v are allowed", c.src, name, got, c.most)
			}
		}
	}
	lines := `{"lines":[{"sku":"a","quantity":2,"price":1.5,"cost":1.25},{"sku":"b","quantity":3,"price":2.5,"cost":2.50}]}`
	for _, src := range []string{
		`body.lines.exists(l, l.sku == "b")`, `body.lines.all(l, l.price > 1.0)`, `body.lines.map(l, l.quantity * l.price).sum()`, `body.lines.map(l, l.cost).sum()`,
		`body.lines.filter(l, l.quantity > 2).size()`, `body.lines.map(l, l.sku).join("-")`, `body.lines.exists_one(l, l.quantity == 2)`,
	} {
		p, f := compile(t, env, src, order()), newFrame(lines)
		if v := p.Eval(f); v.IsError() {
			t.Fatalf("%s: %s", src, show(v))
		}
		if got := testing.AllocsPerRun(100, func() {
			f.Arena.Reset()
			p.Eval(f)
		}); got > 0 {
			t.Errorf("%s: %v allocations", src, got)
		}
	}
}

func TestMappingAllocations(t *testing.T) {
	env := newEnv(t)
	for name, schema := range schemas() {
		leaf := func(src string) *fast.Node {
			return &fast.Node{Kind: fast.Leaf, Program: compile(t, env, src, schema)}
		}
		m := fast.NewMapping(&fast.Node{Kind: fast.Object, Keys: []string{"id", "country", "total", "label", "gone"}, Elems: []*fast.Node{
			leaf("body.id"), leaf("body.country"), leaf("body.amount * 1.19"),
			{Kind: fast.Leaf, Program: fast.NewTemplate(fast.Part{Text: "order "}, fast.Part{Program: compile(t, env, "body.id", schema)})}, leaf("body.?gone"),
		}})
		f, src, dst := newFrame(line), []byte(line), make([]byte, 0, 1<<10)
		if got := testing.AllocsPerRun(100, func() {
			f.Arena.Reset()
			f.Msg.Body.Reset(jsonview.JSON, src)
			if _, err := m.Append(dst, f); err != nil {
				t.Fatal(err)
			}
		}); got > 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

// TestRecord reads a row of a table, whose cells are text or numbers as a codec could tell.
func TestRecord(t *testing.T) {
	shape, err := jsonview.NewShape([]string{"id", "amount", "count", "at", "paid"})
	if err != nil {
		t.Fatal(err)
	}
	row := "00712.5017850.02010-12-01 08:26:00true"
	schema := &types.Type{Kind: types.Object, Fields: []types.Field{
		{Name: "id", Type: types.StringType}, {Name: "amount", Type: types.DecimalType}, {Name: "count", Type: types.IntType},
		{Name: "at", Type: &types.Type{Kind: types.Timestamp, Layout: "2006-01-02 15:04:05"}}, {Name: "paid", Type: types.BoolType}, {Name: "none", Type: types.StringType}}}
	f := newFrame("{}")
	d := f.Msg.Body
	d.ResetRecord([]byte(row), shape)
	d.AddCell(0, jsonview.Number, 0, 3) // no JSON number, so it stays text
	d.AddCell(1, jsonview.Number, 3, 8)
	d.AddCell(2, jsonview.String, 8, 15)
	d.AddCell(3, jsonview.String, 15, 34)
	d.AddCell(4, jsonview.String, 34, 38)
	d.EndRecord()
	env := newEnv(t)
	for _, c := range []struct{ src, want string }{
		{`body.id`, `"007"`}, {`body.amount * 2`, `25.00`}, {`body.count`, `17850`}, {`body.at.getFullYear()`, `2010`}, {`body.paid`, `true`}, {`has(body.none)`, `false`},
		{`body.?none.orValue("-")`, `"-"`}, {`body.count > 100`, `true`}, {`body.id == "007"`, `true`}, {`body`, `{"id":"007","amount":12.50,"count":"17850.0","at":"2010-12-01 08:26:00","paid":"true"}`},
	} {
		if got := show(compile(t, env, c.src, schema).Eval(f)); got != c.want {
			t.Errorf("%s: got %s, want %s", c.src, got, c.want)
		}
	}
}
