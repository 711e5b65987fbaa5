package exprbench

import "testing"

func TestMessageIs300Bytes(t *testing.T) {
	if n := len(Message); n < 290 || n > 310 {
		t.Errorf("%d bytes", n)
	}
}

func BenchmarkPenstock(b *testing.B) { bench(b, Penstock) }
func BenchmarkOrdinary(b *testing.B) { bench(b, Ordinary) }

func bench(b *testing.B, make func() (func() (bool, error), error)) {
	eval, err := make()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := eval(); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}
