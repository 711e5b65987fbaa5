package step

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// BenchmarkSteps works on batches of 100 order lines of 250 bytes; a parse is part of it.
func BenchmarkSteps(b *testing.B) {
	src := []byte(`{"invoice":"536365","line":3,"stockCode":"85123A","description":"WHITE HANGING HEART T-LIGHT HOLDER, A SET OF SIX","quantity":6,"date":"2010-12-01T08:26:00Z","price":2.55,"customer":"17850","country":"United Kingdom","currency":"GBP","amount":15.30,"gift":false}`)
	leaves := [...]func([]byte, *penstock.Frame) ([]byte, error){leaf("invoice"), leaf("country"), leaf("price"), leaf("quantity")}
	for name, step := range map[string]penstock.Step{
		"read": &Filter{Condition: field("gift")},
		"map": &Map{Mapping: mapping(func(dst []byte, f *penstock.Frame) ([]byte, error) {
			for i := range leaves {
				dst = append(dst, `{"name`[min(i, 1):]...)
				dst = append(dst, byte('0'+i), '"', ':')
				dst, _ = leaves[i](dst, f)
				dst = append(dst, ',')
			}
			dst[len(dst)-1] = '}'
			return dst, nil
		})},
		"set": must(NewSet([]Edit{
			{Target: path(b, "body.price"), Program: field("amount")},
			{Target: path(b, "body.total"), Program: field("quantity")},
		})),
		"remove": must(NewRemove(paths(b, "body.description", "body.gift"))),
		"mask":   must(NewMask(paths(b, "body.customer"))),
	} {
		b.Run(name, func(b *testing.B) {
			batch := batch()
			b.ReportAllocs()
			for i := 0; i < b.N; i += 100 {
				batch.Reset()
				for range 100 {
					batch.Append().Body.Reset(jsonview.JSON, src)
				}
				process(b, step, batch)
			}
		})
	}
}
