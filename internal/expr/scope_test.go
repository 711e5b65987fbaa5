package expr

import (
	"penstock.dev/penstock/internal/expr/scope"
	"penstock.dev/penstock/types"
)

func req(name string, t *types.Type) types.Field {
	return types.Field{Name: name, Type: t, Required: true}
}
func opt(name string, t *types.Type) types.Field { return types.Field{Name: name, Type: t} }

func object(name string, fields ...types.Field) *types.Type {
	return &types.Type{Kind: types.Object, Name: name, Fields: fields}
}

func orNull(t *types.Type) *types.Type {
	n := *t
	n.Nullable = true
	return &n
}

// lineType and orderType are what most tests speak of.
func lineType() *types.Type {
	return object("line", req("sku", types.StringType), req("quantity", types.IntType), req("price", types.DecimalType), opt("note", types.StringType))
}

func orderType() *types.Type {
	return object("order",
		req("id", types.StringType),
		req("country", &types.Type{Kind: types.String, Enum: []string{"DE", "FR", "GB"}}),
		req("count", types.IntType),
		req("small", types.UintType),
		req("weight", types.DoubleType),
		req("total", types.DecimalType),
		req("paid", types.BoolType),
		req("at", types.TimestampType),
		req("took", types.DurationType),
		req("raw", types.BytesType),
		req("lines", types.ListOf(lineType())),
		req("tags", types.ListOf(types.StringType)),
		req("extra", &types.Type{Kind: types.Object, Open: true}),
		req("rates", types.MapOf(types.DoubleType)),
		opt("note", types.StringType),
		req("email", orNull(types.StringType)),
		opt("phone", orNull(types.StringType)),
		opt("address", object("address", req("city", types.StringType), opt("zip", types.StringType))),
		req("customer", orNull(object("customer", req("name", types.StringType)))),
		req("pay", payType()),
	)
}

func payType() *types.Type {
	return &types.Type{Kind: types.Union, Discriminator: "kind", Tags: []string{"card", "bank"}, Variants: []*types.Type{
		object("card", req("kind", &types.Type{Kind: types.String, Enum: []string{"card"}}), req("number", types.StringType), req("amount", types.DecimalType)),
		object("bank", req("kind", &types.Type{Kind: types.String, Enum: []string{"bank"}}), req("iban", types.StringType), req("amount", types.DecimalType)),
	}}
}

const orderBody = `{"id": "536365", "country": "DE", "count": 3, "small": 7, "weight": 1.50, "total": 12.50, "paid": true, "at": "2010-12-01T08:26:00Z",
	"took": "90s", "raw": "AAE=", "lines": [{"sku": "a", "quantity": 2, "price": 1.10, "note": "n"}, {"sku": "b", "quantity": 1, "price": 10.30}],
	"tags": ["x", "y"], "extra": {"a": 1, "b": 0.1, "n": null, "l": [1, 2.5, "s"], "big": 123456789012345678901}, "rates": {"eur": 1.0, "usd": 1.25},
	"email": null, "customer": null, "pay": {"kind": "card", "number": "4111", "amount": 12.50}}`

func orderScope() *scope.Scope {
	return &scope.Scope{Roots: []scope.Root{
		{Name: "body", Source: scope.Body, Type: orderType()},
		{Name: "meta", Source: scope.Meta},
		{Name: "key", Source: scope.Key},
		{Name: "vars", Source: scope.Vars, Fields: []scope.Field{
			{Name: "region", Slot: 0, Type: types.StringType, Maybe: true},
			{Name: "rate", Slot: 1, Type: types.DecimalType},
		}},
		{Name: "params", Source: scope.Params, Fields: []scope.Field{{Name: "drop", Slot: 0, Type: types.StringType}}},
		{Name: "now", Source: scope.Now},
		{Name: "item", Source: scope.Slot, Slot: 2},
	}}
}
