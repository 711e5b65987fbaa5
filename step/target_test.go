package step

import (
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

func node(src string) penstock.Value {
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(src))
	return penstock.NodeValue(d, 0)
}

func list(elems ...penstock.Value) penstock.Value {
	return penstock.ListValue(&penstock.List{Elems: elems})
}

func object(kv ...any) penstock.Value {
	m := new(penstock.Map)
	for i := 0; i < len(kv); i += 2 {
		m.Entries = append(m.Entries, penstock.Entry{Key: penstock.StringValue(kv[i].(string)), Value: kv[i+1].(penstock.Value)})
	}
	return penstock.MapValue(m)
}

func TestAssignBody(t *testing.T) {
	for _, c := range []struct {
		name, src, path string
		value           penstock.Value
		want            string
	}{
		{"replace", `{"a":1,"b":2}`, "body.a", penstock.IntValue(7), `{"a":7,"b":2}`},
		{"last", `{"a":1,"b":2}`, "body.b", penstock.StringValue("x\ny"), `{"a":1,"b":"x\ny"}`},
		{"insert", `{"a":1}`, "body.b", penstock.True, `{"a":1,"b":true}`},
		{"insert into empty", `{ }`, "body.b", penstock.Null, `{"b":null }`},
		{"insert nested", `{"a":1}`, "body.b.c.d", penstock.DoubleValue(1.5), `{"a":1,"b":{"c":{"d":1.5}}}`},
		{"null on the way", `{"a":null}`, "body.a.b", penstock.IntValue(1), `{"a":{"b":1}}`},
		{"null body", `null`, "body.a", penstock.IntValue(1), `{"a":1}`},
		{"padded null body", " null\n", "body.a", penstock.IntValue(1), " {\"a\":1}\n"},
		{"empty body", ``, "body.a", penstock.IntValue(1), `{"a":1}`},
		{"white space stays", "{ \"a\" : 1.50 ,\n\t\"b\" : [ 1 , 2 ]\n}", "body.b[0]", penstock.IntValue(9), "{ \"a\" : 1.50 ,\n\t\"b\" : [ 9 , 2 ]\n}"},
		{"inserted before the white space", "{\n  \"a\": 1\n}", "body.b", penstock.IntValue(2), "{\n  \"a\": 1,\"b\":2\n}"},
		{"numbers keep their text", `{"n":12345678901234567890.10,"e":1E+2,"a":0}`, "body.a", penstock.IntValue(1), `{"n":12345678901234567890.10,"e":1E+2,"a":1}`},
		{"escaped key", `{"x\u002dy":1}`, `body["x-y"]`, penstock.IntValue(2), `{"x\u002dy":2}`},
		{"new key is escaped", `{}`, `body["a\"b"]`, penstock.IntValue(2), `{"a\"b":2}`},
		{"element", `[1,2,3]`, "body[1]", penstock.IntValue(9), `[1,9,3]`},
		{"append", `[1,2]`, "body[2]", penstock.IntValue(3), `[1,2,3]`},
		{"append to empty", `{"l":[]}`, "body.l[0].x", penstock.IntValue(3), `{"l":[{"x":3}]}`},
		{"new list", `{}`, "body.l[0]", penstock.IntValue(3), `{"l":[3]}`},
		{"inside element", `[{"a":1},{"a":2}]`, "body[1].a", penstock.IntValue(9), `[{"a":1},{"a":9}]`},
		{"decimal", `{}`, "body.d", penstock.DecimalValue(must(penstock.ParseDecimal("1234.5600"))), `{"d":1234.5600}`},
		{"timestamp", `{}`, "body.t", penstock.TimestampValue(time.Unix(0, 5e8)), `{"t":"1970-01-01T00:00:00.5Z"}`},
		{"duration", `{}`, "body.t", penstock.DurationValue(3500 * time.Millisecond), `{"t":"3.5s"}`},
		{"bytes", `{}`, "body.t", penstock.BytesValue([]byte("hi")), `{"t":"aGk="}`},
		{"list and map", `{}`, "body.t", object("a", list(penstock.IntValue(1), penstock.Null)), `{"t":{"a":[1,null]}}`},
		{"node", `{}`, "body.t", node(`{"x": 1.0}`), `{"t":{"x": 1.0}}`},
		{"optional", `{}`, "body.t", penstock.OptionalValue(penstock.IntValue(1)), `{"t":1}`},
		{"absent takes away", `{"a":1,"b":2}`, "body.a", penstock.Absent, `{"b":2}`},
		{"none takes away", `{"a":1,"b":2}`, "body.b", penstock.OptionalValue(penstock.Absent), `{"a":1}`},
		{"nothing to take away", `{"a":1}`, "body.b.c", penstock.Absent, `{"a":1}`},
		{"nothing to take away in a string", `{"a":"x"}`, "body.a.c", penstock.Absent, `{"a":"x"}`},
		{"whole body", `{"a":"x"}`, "body", penstock.StringValue("x"), `"x"`},
		{"whole body absent", `{"a":"x"}`, "body", penstock.Absent, `null`},
		{"whole body node", `{"a":"x"}`, "body", node(`[1, 2]`), `[1, 2]`},
		{"discard", `{"a":1}`, "none", penstock.IntValue(3), `{"a":1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := batch(c.src)
			m := b.Msgs[0]
			before := m.Body
			if err := Assign(b, m, path(t, c.path), c.value); err != nil {
				t.Fatal(err)
			}
			if got := body(m); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if got := string(before.Bytes()); got != c.src {
				t.Errorf("the old document became %s", got)
			}
		})
	}
}

func TestAssignErrors(t *testing.T) {
	for _, c := range []struct {
		src, path string
		value     penstock.Value
		code      penstock.Code
		want      string
	}{
		{`{"a":"x"}`, "body.a.b", penstock.IntValue(1), penstock.Unprocessable, `body.a: is a string, not an object`},
		{`{"a":{"b":[true]}}`, "body.a.b[0].c", penstock.IntValue(1), penstock.Unprocessable, `body.a.b[0]: is a bool, not an object`},
		{`{"a":[1]}`, "body.a.b", penstock.IntValue(1), penstock.Unprocessable, `body.a: is a list, not an object`},
		{`{"a":{}}`, "body.a[0]", penstock.IntValue(1), penstock.Unprocessable, `body.a: is an object, not a list`},
		{`{"a":[1]}`, "body.a[3]", penstock.IntValue(1), penstock.Unprocessable, `body.a[3]: is beyond the end of the list, which has 1 elements (the next free index is 1)`},
		{`{}`, "body.a[1]", penstock.IntValue(1), penstock.Unprocessable, `body.a[1]: is beyond the end of the list, which has 0 elements (the next free index is 0)`},
		{`{"a":`, "body.a", penstock.IntValue(1), penstock.Invalid, `body: invalid JSON at byte 5 (line 1): the document ends where a value is needed`},
		{`{}`, "body.a", node(`{"x"`), penstock.Invalid, `body.a: invalid JSON at byte 4 (line 1): the document ends where ':' after a key is needed`},
		{`{}`, "body.a", penstock.ErrorValue(errBoom), penstock.Unprocessable, `/: division by zero`},
		{`{}`, "key", node(`[]`), penstock.Unprocessable, `key: the key can't be a list (a key is a string, a number or a bool)`},
		{`{}`, "key", object(), penstock.Unprocessable, `key: the key can't be a map (a key is a string, a number or a bool)`},
		{`{}`, "vars.x.a", penstock.IntValue(1), penstock.Unprocessable, `vars.x: is a string, not an object`},
		{`{}`, "vars.x[0]", penstock.IntValue(1), penstock.Unprocessable, `vars.x: is a string, not a list`},
		{`{}`, "meta.ce.type", penstock.IntValue(1), penstock.Unprocessable, `meta.ce: is an int, not an object`},
	} {
		t.Run(c.want, func(t *testing.T) {
			b := batch(c.src)
			m := b.Msgs[0]
			m.Vars = []penstock.Value{penstock.StringValue("s")}
			m.Meta.Set("ce", penstock.IntValue(1))
			m.Key = "k"
			wantError(t, Assign(b, m, path(t, c.path), c.value), c.code, c.want)
			if string(m.Body.Bytes()) != c.src || m.Key != "k" || m.Vars[0].Str() != "s" {
				t.Error("the message was changed")
			}
		})
	}
}

func TestAssignSharesDocuments(t *testing.T) {
	b := batch(`{"a":[1, 2]}`)
	m := b.Msgs[0]
	d := b.NewDoc()
	d.Reset(jsonview.JSON, []byte(`{"x":1}`))
	if err := Assign(b, m, Target{}, penstock.NodeValue(d, 0)); err != nil || m.Body != d {
		t.Errorf("a whole document was copied (%v)", err)
	}
	m = b.Append()
	m.Body.Reset(jsonview.JSON, []byte(`{"a":[1, 2]}`))
	_ = m.Body.Parse(jsonview.Limits{})
	old := m.Body
	if err := Assign(b, m, Target{}, penstock.NodeValue(old, old.Field(0, "a", nil))); err != nil {
		t.Fatal(err)
	}
	if got := body(m); got != "[1, 2]" || &m.Body.Bytes()[0] != &old.Bytes()[5] {
		t.Errorf("%s is a copy", got)
	}
}

func TestAssignVars(t *testing.T) {
	for _, c := range []struct {
		name   string
		before penstock.Value
		path   string
		value  penstock.Value
		want   string
	}{
		{"plain", penstock.Absent, "vars.x", penstock.IntValue(1), `1`},
		{"absent", penstock.IntValue(1), "vars.x", penstock.Absent, `absent`},
		{"created", penstock.Absent, "vars.x.a[0].b", penstock.IntValue(1), `{"a":[{"b":1}]}`},
		{"in a map", object("a", penstock.IntValue(1)), "vars.x.a", penstock.IntValue(2), `{"a":2}`},
		{"new in a map", object("a", penstock.IntValue(1)), "vars.x.b", penstock.IntValue(2), `{"a":1,"b":2}`},
		{"out of a map", object("a", penstock.IntValue(1), "b", penstock.IntValue(2)), "vars.x.a", penstock.Absent, `{"b":2}`},
		{"not in the map", object("a", penstock.IntValue(1)), "vars.x.b.c", penstock.Absent, `{"a":1}`},
		{"in a list", list(penstock.IntValue(1), penstock.IntValue(2)), "vars.x[1]", penstock.IntValue(3), `[1,3]`},
		{"after a list", list(penstock.IntValue(1)), "vars.x[1]", penstock.IntValue(3), `[1,3]`},
		{"out of a list", list(penstock.IntValue(1), penstock.IntValue(2)), "vars.x[0]", penstock.Absent, `[2]`},
		{"not in the list", list(penstock.IntValue(1)), "vars.x[5]", penstock.Absent, `[1]`},
		{"in a document", node(`{"a":{"b":1.0},"c":[1]}`), "vars.x.a.b", penstock.IntValue(3), `{"a":{"b":3},"c":[1]}`},
		{"in a list of a document", node(`{"a":{"b":1.0},"c":[1]}`), "vars.x.c[1]", penstock.IntValue(3), `{"a":{"b":1.0},"c":[1,3]}`},
		{"null", node(`null`), "vars.x.a", penstock.IntValue(3), `{"a":3}`},
		{"a scalar holds nothing", node(`1`), "vars.x.a", penstock.Absent, `1`},
		{"optional", penstock.OptionalValue(object()), "vars.x.a", penstock.IntValue(3), `{"a":3}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := batch(`{}`)
			m := b.Msgs[0]
			target := path(t, c.path)
			target.Slot = 2
			m.Vars = []penstock.Value{penstock.True, penstock.True, c.before}
			was := c.before.String()
			if err := Assign(b, m, target, c.value); err != nil {
				t.Fatal(err)
			}
			if got := m.Vars[2].String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if c.before.String() != was {
				t.Errorf("the old value became %s", c.before)
			}
		})
	}
	b := batch(`{}`)
	if err := Assign(b, b.Msgs[0], Target{Root: Vars, Slot: 3}, penstock.True); err != nil || len(b.Msgs[0].Vars) != 4 {
		t.Errorf("%d variables (%v)", len(b.Msgs[0].Vars), err)
	}
}

func TestAssignMetaAndKey(t *testing.T) {
	b := batch(`{"s":"a\tb","n":1.50}`)
	m := b.Msgs[0]
	assign := func(p string, v penstock.Value) {
		t.Helper()
		if err := Assign(b, m, path(t, p), v); err != nil {
			t.Fatal(err)
		}
	}
	assign("meta.priority", penstock.IntValue(3))
	assign("meta.ce.type", penstock.StringValue("order"))
	assign("meta.ce.id", penstock.StringValue("1"))
	v := m.Meta.Get("ce")
	if got := m.Meta.Get("priority").Int(); got != 3 || v.String() != `{"type":"order","id":"1"}` {
		t.Errorf("priority %d, ce %s", got, v)
	}
	assign("meta.priority", penstock.Absent)
	if !m.Meta.Get("priority").IsAbsent() {
		t.Error("the header is still there")
	}
	for _, c := range []struct {
		v    penstock.Value
		want string
	}{
		{penstock.StringValue("k"), "k"},
		{penstock.Null, ""},
		{penstock.IntValue(-5), "-5"},
		{field("s").Eval(b.Frame(m)), "a\tb"},
		{field("n").Eval(b.Frame(m)), "1.50"},
		{node(`null`), ""},
		{penstock.Absent, ""},
		{penstock.TimestampValue(time.Unix(0, 0)), "1970-01-01T00:00:00Z"},
		{penstock.True, "true"},
	} {
		assign("key", c.v)
		if m.Key != c.want {
			t.Errorf("%s became the key %q, want %q", c.v, m.Key, c.want)
		}
	}
}

func TestTargetString(t *testing.T) {
	for _, s := range []string{"body", "body.a", `body["x-y"][0].b1`, "vars.x", "vars.x.a", "meta.priority", "meta.ce.type", "key", "none"} {
		if got := path(t, s).String(); got != s {
			t.Errorf("%s is written as %s", s, got)
		}
	}
	if got := (Target{Steps: []PathStep{{Name: "l"}, {Index: Each}, {Name: "1"}}}).String(); got != `body.l[*]["1"]` {
		t.Error(got)
	}
}
