package algebra

import (
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

func obj(fields ...types.Field) *types.Type { return &types.Type{Kind: types.Object, Fields: fields} }
func req(name string, t *types.Type) types.Field {
	return types.Field{Name: name, Type: t, Required: true}
}
func opt(name string, t *types.Type) types.Field { return types.Field{Name: name, Type: t} }
func open(fields ...types.Field) *types.Type {
	return &types.Type{Kind: types.Object, Fields: fields, Open: true}
}
func enum(words ...string) *types.Type { return &types.Type{Kind: types.String, Enum: words} }

func TestUnite(t *testing.T) {
	order := obj(req("id", types.StringType), req("total", types.DecimalType))
	for _, tc := range []struct {
		name string
		a, b *types.Type
		want string
	}{
		{"the same", types.IntType, types.IntType, "int"},
		{"dyn absorbs", types.DynType, order, "dyn"},
		{"never is neutral", types.NeverType, order, "{id: string, total: decimal}"},
		{"null makes nullable", types.NullType, types.StringType, "string|null"},
		{"int and double", types.IntType, types.DoubleType, "double"},
		{"decimal and uint", types.DecimalType, types.UintType, "decimal"},
		{"double and decimal have none", types.DoubleType, types.DecimalType, "double|decimal"},
		{"int and uint have none", types.IntType, types.UintType, "int|uint"},
		{"string and int", types.StringType, types.IntType, "string|int"},
		{"lists", types.ListOf(types.IntType), types.ListOf(types.DoubleType), "list(double)"},
		{"maps", types.MapOf(types.IntType), types.MapOf(types.NullType), "map(string, int|null)"},
		{"a missing field is optional", order, obj(req("id", types.StringType)), "{id: string, total?: decimal}"},
		{"a further field is optional", obj(req("id", types.StringType)), order, "{id: string, total?: decimal}"},
		{"a field of two types", obj(req("x", types.IntType)), obj(req("x", types.StringType)), "{x: int|string}"},
		{"an open object may have the field as anything", order, open(req("id", types.StringType)), "{id: string, total?: dyn, …}"},
		{"optional stays", types.OptionalOf(types.IntType), types.DoubleType, "optional(double)"},
		{"enums", enum("a", "b"), enum("b", "c"), `"a"|"b"|"c"`},
		{"an enum and any string", enum("a"), types.StringType, "string"},
		{"unions are flat", Unite(types.StringType, types.IntType), Unite(types.IntType, types.BoolType), "string|int|bool"},
		{"layouts differ", &types.Type{Kind: types.Timestamp, Layout: "2006"}, types.TimestampType, "timestamp|timestamp"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Unite(tc.a, tc.b).String(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if back := Unite(tc.b, tc.a); len(back.String()) != len(tc.want) && !strings.Contains(tc.name, "optional") {
				t.Errorf("the other way round: %s, want the like of %s", back, tc.want)
			}
		})
	}
	if u := UniteAll(); u.Kind != types.Never {
		t.Errorf("of nothing: %s", u)
	}
	many := types.NeverType
	for i := range 12 {
		many = Unite(many, types.ListOf(enum(strings.Repeat("x", i+1))))
		many = Unite(many, obj(req(strings.Repeat("x", i+1), types.IntType)))
	}
	if many.Kind != types.Union || len(many.Variants) != 2 {
		t.Errorf("lists unite with lists and objects with objects: %s", many)
	}
	for i := range 12 {
		many = Unite(many, &types.Type{Kind: types.Timestamp, Layout: strings.Repeat("x", i+1)})
	}
	if !many.IsDyn() {
		t.Errorf("a union without end: %s", many)
	}
}

func TestUniteKeepsNamesAndLabels(t *testing.T) {
	pii := &types.Type{Kind: types.String, Labels: types.Labels{Class: []string{"pii"}}}
	u := Unite(pii, types.StringType)
	if len(u.Labels.Class) != 1 || u.Labels.Class[0] != "pii" {
		t.Errorf("labels %v: what may be personal is personal", u.Labels)
	}
	eu := &types.Type{Kind: types.String, Labels: types.Labels{Residency: []string{"eu"}, ResidencyField: "region"}}
	if u = Unite(types.StringType, eu); len(u.Labels.Residency) != 1 || u.Labels.ResidencyField != "region" {
		t.Errorf("labels %v", u.Labels)
	}
	a, b := obj(req("a", types.IntType)), obj(opt("a", types.IntType))
	a.Name, b.Name = "order", "order"
	if Unite(a, b).Name != "order" {
		t.Error("two of one name lose it")
	}
	if Unite(a, obj(req("b", types.IntType))).Name != "" {
		t.Error("a mixture keeps the name of one")
	}
}

func TestCheck(t *testing.T) {
	order := obj(req("id", types.StringType), req("total", types.DecimalType), opt("note", types.StringType))
	order.Name = "order"
	for _, tc := range []struct {
		name     string
		from, to *types.Type
		want     []string // with ! where it is sure
	}{
		{"the same", order, order, nil},
		{"dyn says nothing", types.DynType, order, nil},
		{"to dyn", order, types.DynType, nil},
		{"int for decimal", obj(req("id", types.StringType), req("total", types.IntType)), order, nil},
		{"missing", obj(req("id", types.StringType)), order, []string{"!total is missing, and `order` requires it"}},
		{"missing, but open", open(req("id", types.StringType)), order, nil},
		{"may be missing", obj(req("id", types.StringType), opt("total", types.DecimalType)), order, []string{"total may be missing, and `order` requires it"}},
		{"wrong kind", obj(req("id", types.IntType), req("total", types.IntType)), order, []string{"!id is an int, where a string is declared"}},
		{"too many", obj(req("id", types.StringType), req("total", types.IntType), req("x", types.IntType)), order, []string{"x is not declared by `order`"}},
		{"null", types.NullType, order, []string{"!it is null, where `order` is declared"}},
		{"nullable", &types.Type{Kind: types.Int, Nullable: true}, types.IntType, []string{"it may be null, where an int is declared"}},
		{"a list for an object", types.ListOf(order), order, []string{"!it is a list, where `order` is declared"}},
		{"inside lists", types.ListOf(types.BoolType), types.ListOf(types.IntType), []string{"![] is a bool, where an int is declared"}},
		{"inside maps", types.MapOf(types.BoolType), types.MapOf(types.IntType), []string{"![*] is a bool, where an int is declared"}},
		{"an object for a map", obj(req("a", types.BoolType)), types.MapOf(types.IntType), []string{"!a is a bool, where an int is declared"}},
		{"a double may be an int", types.DoubleType, types.IntType, []string{"it is a double, where an int is declared"}},
		{"text for a time", types.StringType, types.TimestampType, nil},
		{"a time for text", types.TimestampType, types.StringType, nil},
		{"one of a union fits", Unite(types.StringType, types.IntType), types.IntType, []string{"it may be a string, where an int is declared"}},
		{"none of a union fits", Unite(types.StringType, types.BoolType), types.IntType, []string{"!it may be a string or a bool, where an int is declared"}},
		{"into a union", types.IntType, Unite(types.StringType, types.IntType), nil},
		{"enum", enum("a", "x"), enum("a", "b"), []string{`it may be "x", where "a"|"b" is declared`}},
		{"enum apart", enum("x"), enum("a", "b"), []string{`!it may be "x", where "a"|"b" is declared`}},
		{"rest", obj(req("a", types.BoolType)), &types.Type{Kind: types.Object, Open: true, Rest: types.IntType}, []string{"!a is a bool, where an int is declared"}},
		{"optional value", types.OptionalOf(types.IntType), types.IntType, nil},
		{"never", types.NeverType, order, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, m := range Check(tc.from, tc.to) {
				s := m.String()
				if m.Sure {
					s = "!" + s
				}
				got = append(got, s)
			}
			if strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func steps(t *testing.T, path string) []penstock.PathStep {
	t.Helper()
	p, err := penstock.ParsePath("body" + path)
	if err != nil {
		t.Fatal(err)
	}
	return p.Steps
}

func TestPaths(t *testing.T) {
	line := obj(req("price", types.DecimalType), opt("note", types.StringType))
	order := obj(req("id", types.StringType), req("lines", types.ListOf(line)), opt("buyer", obj(req("name", types.StringType))))
	order.Name = "order"
	const whole = "{id: string, lines: list({price: decimal, note?: string}), buyer?: {name: string}}"
	for _, tc := range []struct {
		op, path string
		t, v     *types.Type
		want     string // a message, where it can't be
	}{
		{"get", ".id", order, nil, "string"},
		{"get", ".lines[0].price", order, nil, "optional(decimal)"},
		{"get", ".lines[0].note", order, nil, "optional(string)"},
		{"get", ".buyer.name", order, nil, "optional(string)"},
		{"get", ".idd", order, nil, "`order` has no field \"idd\""},
		{"get", ".id.x", order, nil, "a string has no fields"},
		{"get", "[0]", order, nil, "`order` is no list; it has no element 0"},
		{"get", ".x.y", types.DynType, nil, "dyn"},
		{"get", ".x", Unite(order, types.StringType), nil, "`order` has no field \"x\""},
		{"get", ".id", Unite(order, types.IntType), nil, "optional(string)"},
		{"put", "", order, types.IntType, "int"},
		{"put", ".id", order, types.StringType, whole},
		{"put", ".total", obj(), types.DecimalType, "{total: decimal}"},
		{"put", ".a.b", obj(), types.IntType, "{a: {b: int}}"},
		{"put", ".a.b", types.DynType, types.IntType, "{a: {b: int, …}, …}"},
		{"put", ".total", obj(req("total", types.IntType)), types.OptionalOf(types.StringType), "{total?: string}"},
		{"put", ".buyer.name", order, types.IntType, "{id: string, lines: list({price: decimal, note?: string}), buyer: {name: int}}"},
		{"put", ".lines[0].price", order, types.StringType, "{id: string, lines: list({price: decimal|string, note?: string}), buyer?: {name: string}}"},
		{"put", ".id.x", order, types.IntType, "a string has no fields"},
		{"put", "[0]", types.DynType, types.IntType, "dyn"},
		{"put", ".a", types.MapOf(types.IntType), types.DoubleType, "map(string, double)"},
		{"put", ".x", Unite(obj(), types.IntType), types.IntType, "{x: int}"},
		{"put", ".x", Unite(types.StringType, types.IntType), types.IntType, "a string has no fields"},
		{"drop", ".id", order, nil, "{lines: list({price: decimal, note?: string}), buyer?: {name: string}}"},
		{"drop", ".buyer.name", order, nil, "{id: string, lines: list({price: decimal, note?: string}), buyer?: {}}"},
		{"drop", ".lines[0]", order, nil, whole},
		{"drop", ".lines[0].note", order, nil, "{id: string, lines: list({price: decimal, note?: string}), buyer?: {name: string}}"},
		{"drop", ".bayer", order, nil, "`order` has no field \"bayer\""},
		{"drop", "", order, nil, "null"},
	} {
		t.Run(tc.op+tc.path, func(t *testing.T) {
			var got *types.Type
			var err error
			switch tc.op {
			case "get":
				got, err = Get(tc.t, steps(t, tc.path))
			case "put":
				got, err = Put(tc.t, steps(t, tc.path), tc.v)
			case "drop":
				got, err = Drop(tc.t, steps(t, tc.path))
			}
			text := got.String()
			if err != nil {
				text = err.Error()
			}
			if text != tc.want {
				t.Errorf("got  %s\nwant %s", text, tc.want)
			}
		})
	}
	if got := order.String(); got != whole {
		t.Errorf("an argument was changed: %s", got)
	}
}

func TestMasked(t *testing.T) {
	pii := &types.Type{Kind: types.String, Labels: types.Labels{Class: []string{"pii"}}}
	in := obj(req("email", pii), req("age", types.IntType), req("all", types.ListOf(types.TimestampType)), opt("more", types.MapOf(types.BoolType)))
	const want = "{email: string, age: null, all: list(string), more?: map(string, null)}"
	if got := Masked(in).String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var found []string
	Walk(obj(req("buyers", types.ListOf(in))), func(path []penstock.PathStep, t *types.Type) bool {
		if len(t.Labels.Class) > 0 {
			found = append(found, PathText(path))
		}
		return true
	})
	if len(found) != 1 || found[0] != "buyers[-1].email" {
		t.Errorf("found %v", found)
	}
}

func TestRefine(t *testing.T) {
	schema := obj(req("id", types.StringType))
	schema.Name = "order"
	if got := Refine(types.DynType, schema); got != schema {
		t.Errorf("of dyn: %s", got)
	}
	got := Refine(obj(opt("id", types.StringType), req("total", types.IntType)), schema)
	if want := "{id: string, total: int}"; got.String() != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
