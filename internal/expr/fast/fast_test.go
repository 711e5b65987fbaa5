package fast_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	celtypes "cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/fast"
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// order is the schema of the body in these tests.
func order() *types.Type {
	f := func(name string, t *types.Type) types.Field { return types.Field{Name: name, Type: t, Required: true} }
	line := &types.Type{Kind: types.Object, Fields: []types.Field{
		f("sku", types.StringType), f("quantity", types.IntType), f("price", types.DoubleType), f("cost", types.DecimalType),
		f("at", types.TimestampType)}}
	return &types.Type{Kind: types.Object, Open: true, Fields: []types.Field{
		f("id", types.StringType), f("amount", types.DoubleType), f("country", types.StringType), f("count", types.IntType),
		f("total", types.DecimalType), f("at", types.TimestampType), f("took", types.DurationType), f("data", types.BytesType),
		f("paid", types.BoolType), f("big", types.UintType), f("note", &types.Type{Kind: types.String, Nullable: true}),
		f("lines", types.ListOf(line)), f("tags", types.ListOf(types.StringType)), f("rates", types.MapOf(types.DoubleType)),
		f("address", &types.Type{Kind: types.Object, Fields: []types.Field{f("city", types.StringType), f("zip", types.IntType)}}),
		f("text", &types.Type{Kind: types.Decimal, DecimalText: true}),
	}}
}

const sample = `{"id":"A-1","amount":150.50,"country":"DE","count":3,"total":12.50,"at":"2024-02-29T12:30:45.5+02:00",
"took":"1.5s","data":"aGk=","paid":true,"big":18446744073709551615,"note":null,
"lines":[{"sku":"x","quantity":2,"price":1.5,"cost":1.10,"at":"2024-01-01T00:00:00Z"},{"sku":"y","quantity":1,"price":4,"cost":2.20,"at":"2024-01-02T00:00:00Z"}],
"tags":["a","b\n","ü"],"rates":{"EUR":1,"USD":1.25},"address":{"city":"Köln","zip":50667},"text":"7.00",
"any":{"i":7,"d":2.50,"s":"s","n":null,"b":false,"l":[1,2.5,"x",[3]],"o":{"k":{"z":1}},"huge":12345678901234567890,"exp":1e3}}`

// bodyScope has body of the given type and the roots of every flow.
func bodyScope(t *types.Type) *scope.Scope {
	return &scope.Scope{Roots: []scope.Root{
		{Name: "body", Source: scope.Body, Type: t},
		{Name: "meta", Source: scope.Meta},
		{Name: "key", Source: scope.Key, Type: types.StringType},
		{Name: "now", Source: scope.Now, Type: types.TimestampType},
		{Name: "vars", Source: scope.Vars, Fields: []scope.Field{
			{Name: "rate", Slot: 0, Type: types.DoubleType}, {Name: "gone", Slot: 1, Type: types.StringType, Maybe: true},
			{Name: "opt", Slot: 2, Type: types.OptionalOf(types.IntType)}}},
		{Name: "params", Source: scope.Params, Fields: []scope.Field{{Name: "limit", Slot: 0, Type: types.IntType}}},
		{Name: "item", Source: scope.Slot, Slot: 3},
	}}
}

func newEnv(tb testing.TB) *cel.Env {
	tb.Helper()
	env, err := cel.NewEnv(cel.OptionalTypes(), ext.Strings(), ext.Math(), ext.Lists(), ext.Sets(), ext.Encoders(), ext.Bindings(),
		ext.TwoVarComprehensions(), ext.Regex(),
		cel.Variable("body", cel.DynType), cel.Variable("meta", cel.MapType(cel.StringType, cel.DynType)), cel.Variable("key", cel.StringType),
		cel.Variable("now", cel.TimestampType), cel.Variable("vars", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("params", cel.MapType(cel.StringType, cel.DynType)), cel.Variable("item", cel.DynType),
		cel.Function("decimal", cel.Overload("decimal_dyn", []*cel.Type{cel.DynType}, cel.DynType)),
		cel.Function("sum", cel.MemberOverload("sum_dyn", []*cel.Type{cel.ListType(cel.DynType)}, cel.DynType)),
	)
	if err != nil {
		tb.Fatal(err)
	}
	return env
}

func compile(tb testing.TB, env *cel.Env, src string, t *types.Type) penstock.Program {
	tb.Helper()
	a, iss := env.Compile(src)
	if iss.Err() != nil {
		tb.Fatalf("%s: %v", src, iss.Err())
	}
	p, err := fast.Compile(fast.Input{AST: a.NativeRep(), Scope: bodyScope(t), CostLimit: 1000})
	if err != nil {
		tb.Fatalf("%s: %v", src, err)
	}
	return p
}

type fixedClock struct{ penstock.SystemClock }

func (fixedClock) Now() time.Time { return time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC) }

func newFrame(body string) *penstock.Frame {
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(body))
	m := &penstock.Message{Body: d, Key: "k1", Vars: []penstock.Value{penstock.DoubleValue(1.5), penstock.Absent, penstock.Absent, penstock.IntValue(9)}}
	m.Meta.Set("source", penstock.StringValue("shop"))
	return &penstock.Frame{Msg: m, Arena: new(penstock.Arena),
		Runtime: &penstock.Runtime{Params: []penstock.Value{penstock.IntValue(10)}, Clock: fixedClock{}}}
}

func show(v penstock.Value) string {
	if v.IsError() {
		return "error: " + v.Err().Error()
	}
	return v.String()
}

// TestConcurrent: one program, many goroutines with a frame each. It says something with -race.
func TestConcurrent(t *testing.T) {
	p := compile(t, newEnv(t), `body.lines.exists(l, l.sku == "y") && body.address.city == "Köln" && body.?any.?o.k.z.orValue(0) == 1`, order())
	other := strings.Replace(sample, `"id":"A-1",`, ``, 1) // another shape for the hints
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 50 {
				f := newFrame([]string{sample, other}[i%2])
				if v := p.Eval(f); !v.Bool() {
					t.Error(show(v))
				}
			}
		})
	}
	wg.Wait()
}

// TestUnsupported: what is refused is named.
func TestUnsupported(t *testing.T) {
	a, iss := newEnv(t).Compile(`"%d".format([1])`)
	if iss.Err() != nil {
		t.Fatal(iss.Err())
	}
	_, err := fast.Compile(fast.Input{AST: a.NativeRep()})
	if err == nil || err.Error() != "not supported by the fast evaluator: the function format with 2 arguments" {
		t.Errorf("got %v", err)
	}
}

// TestGeneralLoop: a comprehension that is none of the macros.
func TestGeneralLoop(t *testing.T) {
	e := ast.NewExprFactory()
	lit := func(id, v int64) ast.Expr { return e.NewLiteral(id, celtypes.Int(v)) }
	build := func(step ast.Expr, result ast.Expr) *ast.AST {
		over := e.NewList(1, []ast.Expr{lit(2, 3), lit(3, 4), lit(4, 5)}, nil)
		cond := e.NewCall(5, "_<_", e.NewIdent(6, "acc"), lit(7, 10))
		return ast.NewAST(e.NewComprehension(8, over, "x", "acc", lit(9, 1), cond, step, result), ast.NewSourceInfo(nil))
	}
	for want, a := range map[string]*ast.AST{
		"12":                      build(e.NewCall(10, "_*_", e.NewIdent(11, "acc"), e.NewIdent(12, "x")), e.NewIdent(13, "acc")), // 1·3·4, then the condition ends it
		"error: division by zero": build(e.NewCall(10, "_/_", e.NewIdent(11, "acc"), lit(12, 0)), e.NewIdent(13, "acc")),
		"[4]":                     build(e.NewIdent(10, "x"), e.NewList(13, []ast.Expr{e.NewCall(14, "_-_", e.NewIdent(15, "acc"), lit(16, 1))}, nil)),
	} {
		p, err := fast.Compile(fast.Input{AST: a})
		if err != nil {
			t.Fatal(err)
		}
		if got := show(p.Eval(newFrame("{}"))); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// schemas are the ways to know the body: by its schema, and not at all.
func schemas() map[string]*types.Type {
	return map[string]*types.Type{"typed": order(), "dyn": types.DynType}
}
