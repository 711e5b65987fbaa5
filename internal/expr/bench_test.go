package expr

import (
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/diag"
)

// BenchmarkCompile is one expression in a scope of its own, as most are.
func BenchmarkCompile(b *testing.B) {
	p := newProfile(b)
	sc := orderScope()
	b.ReportAllocs()
	for b.Loop() {
		own := *sc
		var l diag.List
		if c := p.Expr(`body.lines.filter(l, l.quantity > 0).map(l, l.price * l.quantity).sum() > 1000 && body.country in ["DE", "FR"]`, penstock.Pos{}, &own, nil, &l); c == nil {
			b.Fatal(l.Sorted())
		}
	}
}

func BenchmarkProfile(b *testing.B) {
	for b.Loop() {
		newProfile(b)
	}
}
