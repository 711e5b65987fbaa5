package expr

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// TestRecord: the cells of a text format are read by the schema's types, whether the codec
// took them for numbers or texts (LANGUAGE.md §3).
func TestRecord(t *testing.T) {
	shape, err := jsonview.NewShape([]string{"invoice", "quantity", "date", "price", "customer", "gift"})
	if err != nil {
		t.Fatal(err)
	}
	src := "5363656" + "2010-12-01 08:26:00" + "2.55" + "17850.0" + "true"
	ends := []int{6, 7, 26, 30, 37, 41}
	record := func(kinds ...jsonview.Kind) *penstock.Frame {
		f := orderFrame(`{}`)
		f.Msg.Body.ResetRecord([]byte(src), shape)
		start := 0
		for i, k := range kinds {
			if k != jsonview.Invalid {
				f.Msg.Body.AddCell(i, k, start, ends[i])
			}
			start = ends[i]
		}
		f.Msg.Body.EndRecord()
		return f
	}
	typ := object("line", req("invoice", types.StringType), req("quantity", types.IntType), req("date", &types.Type{Kind: types.Timestamp, Layout: "2006-01-02 15:04:05"}),
		req("price", types.DecimalType), opt("customer", types.IntType), req("gift", types.BoolType))
	typed := &scope.Scope{Roots: []scope.Root{{Name: "body", Source: scope.Body, Type: typ}}}
	untyped := &scope.Scope{Roots: []scope.Root{{Name: "body", Source: scope.Body}}}
	s, n, none := jsonview.String, jsonview.Number, jsonview.Invalid
	p := newProfile(t)
	for _, c := range []struct {
		src  string
		sc   *scope.Scope
		f    *penstock.Frame
		want string
	}{
		{`body.invoice + ":" + string(body.quantity * body.price)`, typed, record(s, n, s, n, n, s), `"536365:15.30"`},
		{`body.invoice + ":" + string(body.quantity * body.price)`, typed, record(n, s, s, s, s, s), `"536365:15.30"`},
		{`body.date.getHours() * 100 + body.date.getMinutes()`, typed, record(s, s, s, s, s, s), "826"},
		{`body.?customer.orValue(0)`, typed, record(s, s, s, s, s, s), "17850"},
		{`body.?customer.orValue(0)`, typed, record(s, s, s, s, none, s), "0"},
		{`has(body.customer)`, typed, record(s, s, s, s, none, s), "false"},
		{`body.gift`, typed, record(s, s, s, s, s, s), "true"},
		{`body.quantity`, untyped, record(s, s, s, s, s, s), `"6"`},
		{`int(body.quantity) * decimal(body.price)`, untyped, record(s, s, s, s, s, s), "15.30"},
		{`decimal(body.price)`, untyped, record(s, n, s, n, n, s), "2.55"},
		{`body == body && body.size() == 6`, untyped, record(s, n, s, n, n, s), "true"},
		{`body.map(k, k)`, untyped, record(s, n, s, n, none, s), `["invoice","quantity","date","price","gift"]`},
	} {
		var l diag.List
		compiled := p.Expr(c.src, penstock.Pos{}, c.sc, nil, &l)
		if compiled == nil {
			t.Errorf("%s: %v", c.src, l.Sorted())
			continue
		}
		for name, prog := range map[string]penstock.Program{"program": compiled.Program, "cel-go": compiled.oracle} {
			if got := prog.Eval(c.f).String(); got != c.want {
				t.Errorf("%s: the %s gives %s, want %s", c.src, name, got, c.want)
			}
		}
	}
}
