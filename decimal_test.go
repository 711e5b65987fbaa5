package penstock

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
)

func mustDecimal(t testing.TB, s string) Decimal {
	t.Helper()
	d, err := ParseDecimal(s)
	if err != nil {
		t.Fatalf("ParseDecimal(%q): %v", s, err)
	}
	return d
}

func TestDecimalText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0", "0"}, {"-0", "0"}, {"007", "7"}, {"+5", "5"}, {".5", "0.5"}, {"5.", "5"},
		{"1.50", "1.50"}, {"-0.001", "-0.001"}, {"1e3", "1000"}, {"12.5e-3", "0.0125"}, {"1E+2", "100"},
		{"9223372036854775807", "9223372036854775807"}, {"-9223372036854775808", "-9223372036854775808"},
		{"123456789012345678901234567890.123", "123456789012345678901234567890.123"},
		{"1e60", "1" + strings.Repeat("0", 60)}, {"1e61", "1e61"}, {"-12.5e-70", "-1.25e-69"}, {"0e99", "0"}, {"0.000", "0.000"},
	} {
		if got := mustDecimal(t, c.in).String(); got != c.want {
			t.Errorf("ParseDecimal(%q) = %s, want %s", c.in, got, c.want)
		}
	}
	for _, bad := range []string{"", "-", ".", "1e", "1e+", "1x", "NaN", "Inf", " 1", "1 ", "1_000", "1,5", "0x10", "--1", "1.2.3"} {
		if d, err := ParseDecimal(bad); !errors.Is(err, ErrDecimalSyntax) {
			t.Errorf("ParseDecimal(%q) = %v, %v", bad, d, err)
		}
	}
	for _, huge := range []string{strings.Repeat("9", MaxDecimalDigits+1), "1e10001", "1e-10001", "1e99999999999999999999"} {
		if _, err := ParseDecimal(huge); !errors.Is(err, ErrDecimalLimit) {
			t.Errorf("ParseDecimal(%.20q…) = %v, want the limit", huge, err)
		}
	}
}

func TestDecimalArithmetic(t *testing.T) {
	type op func(a, b Decimal) (Decimal, error)
	add, sub, mul, quo, mod := op(Decimal.Add), op(Decimal.Sub), op(Decimal.Mul), op(Decimal.Quo), op(Decimal.Rem)
	for _, c := range []struct {
		name string
		op   op
		a, b string
		want string
	}{
		{"add", add, "0.1", "0.2", "0.3"},
		{"add keeps the larger scale", add, "1", "2.50", "3.50"},
		{"add overflows int64", add, "9223372036854775807", "1", "9223372036854775808"},
		{"add comes back", add, "9223372036854775808", "-1", "9223372036854775807"},
		{"sub", sub, "1", "0.9", "0.1"},
		{"sub min", sub, "0", "-9223372036854775808", "9223372036854775808"},
		{"mul", mul, "1.1", "1.1", "1.21"},
		{"mul overflows", mul, "9223372036854775807", "-9223372036854775808", "-85070591730234615856620279821087277056"},
		{"quo exact", quo, "10", "4", "2.5"},
		{"quo keeps scale", quo, "1.50", "0.5", "3.0"},
		{"quo repeats", quo, "1", "3", "0.3333333333333333333333333333333333"},
		{"quo rounds", quo, "2", "3", "0.6666666666666666666666666666666667"},
		{"quo half to even down", quo, "10000000000000000000000000000000005", "10", "1000000000000000000000000000000000"},
		{"quo half to even up", quo, "10000000000000000000000000000000015", "10", "1000000000000000000000000000000002"},
		{"quo carries over", quo, "99999999999999999999999999999999995", "10", "10000000000000000000000000000000000"},
		{"mod has the sign of the dividend", mod, "-7.5", "2", "-1.5"},
		{"mod min", mod, "-9223372036854775808", "-1", "0"},
	} {
		got, err := c.op(mustDecimal(t, c.a), mustDecimal(t, c.b))
		if err != nil || got.String() != c.want {
			t.Errorf("%s: %s, %s = %v, %v; want %s", c.name, c.a, c.b, got, err, c.want)
		}
	}
	for name, f := range map[string]op{"quo": quo, "mod": mod} {
		if _, err := f(mustDecimal(t, "1"), mustDecimal(t, "0.00")); !errors.Is(err, ErrDecimalZero) {
			t.Errorf("%s by zero: %v", name, err)
		}
	}
	if _, err := mustDecimal(t, "1e10000").Mul(mustDecimal(t, "10e1")); !errors.Is(err, ErrDecimalLimit) {
		t.Errorf("mul over the limit: %v", err)
	}
	if _, err := mustDecimal(t, "1e10000").Add(mustDecimal(t, "1e-10000")); !errors.Is(err, ErrDecimalLimit) {
		t.Errorf("add over the limit: %v", err)
	}
}

func TestDecimalRound(t *testing.T) {
	for _, c := range []struct {
		in     string
		places int
		want   string
	}{
		{"2.345", 2, "2.34"}, {"2.355", 2, "2.36"}, {"-2.5", 0, "-2"}, {"-3.5", 0, "-4"}, {"1", 2, "1.00"},
		{"1250", -2, "1200"}, {"1350", -2, "1400"}, {"0.004", 2, "0.00"}, {"1e-900", 2, "0.00"}, {"0.5", 0, "0"}, {"0.51", 0, "1"},
	} {
		if got, err := mustDecimal(t, c.in).Round(c.places); err != nil || got.String() != c.want {
			t.Errorf("%s.Round(%d) = %v, %v; want %s", c.in, c.places, got, err, c.want)
		}
	}
}

func TestDecimalCompare(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.0", "1", 0}, {"-1", "1", -1}, {"1e9999", "1e9998", 1}, {"-1e9999", "-1e9998", -1}, {"0", "0.000", 0},
		{"1e10000", "1e-10000", 1}, {"123456789012345678901", "123456789012345678901.0", 0}, {"0", "1e-9999", -1},
	} {
		if got := mustDecimal(t, c.a).Cmp(mustDecimal(t, c.b)); got != c.want {
			t.Errorf("%s cmp %s = %d, want %d", c.a, c.b, got, c.want)
		}
	}
	if c := mustDecimal(t, "0.1").CmpDouble(0.1); c != -1 {
		t.Errorf("0.1 against the double 0.1 = %d: the double is a little more", c)
	}
	for f, want := range map[float64]int{0.5: 0, math.Inf(1): -1, math.Inf(-1): 1, 5e-324: 1} {
		if c := mustDecimal(t, "0.5").CmpDouble(f); c != want {
			t.Errorf("0.5 against %v = %d, want %d", f, c, want)
		}
	}
	if c := mustDecimal(t, "18446744073709551615").CmpUint(math.MaxUint64); c != 0 {
		t.Errorf("max uint: %d", c)
	}
}

func TestDecimalConvert(t *testing.T) {
	for _, c := range []struct {
		in string
		i  int64
		ok bool
	}{
		{"17850.0", 17850, true}, {"17850.5", 0, false}, {"9223372036854775808", 0, false}, {"-9223372036854775808.000", math.MinInt64, true},
		{"1e18", 1e18, true}, {"1e19", 0, false}, {"1e9999", 0, false}, {"0e9999", 0, true}, {"1e-3", 0, false},
	} {
		if i, ok := mustDecimal(t, c.in).Int(); ok != c.ok || ok && i != c.i {
			t.Errorf("%s.Int() = %d, %v", c.in, i, ok)
		}
	}
	if u, ok := mustDecimal(t, "18446744073709551615.0").Uint(); !ok || u != math.MaxUint64 {
		t.Errorf("max uint = %d, %v", u, ok)
	}
	for _, bad := range []string{"-1", "18446744073709551616", "1.5"} {
		if u, ok := mustDecimal(t, bad).Uint(); ok {
			t.Errorf("%s.Uint() = %d", bad, u)
		}
	}
	for _, f := range []float64{0, 1, -1.5, 0.1, 1e300, 5e-324, math.MaxFloat64, 1 << 62, -(1 << 62)} {
		d, err := DecimalFromFloat(f)
		if err != nil || d.Float() != f {
			t.Errorf("DecimalFromFloat(%g) = %v, %v, back %g", f, d, err, d.Float())
		}
	}
	if d, _ := DecimalFromFloat(0.1); d.String() != "0.1000000000000000055511151231257827021181583404541015625" {
		t.Errorf("0.1 is exactly %v", d)
	}
	if f := mustDecimal(t, "1e400").Float(); !math.IsInf(f, 1) {
		t.Errorf("1e400 = %g", f)
	}
}

func FuzzDecimal(f *testing.F) {
	for _, s := range [][2]string{{"0.1", "0.2"}, {"-7.50", "2"}, {"9223372036854775807", "-1"}, {"1e30", "3e-30"}, {"1", "3"}, {"x", ""}, {"123456789012345678901234567890", "0.00000000001"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, as, bs string) {
		a, errA := ParseDecimal(as)
		b, errB := ParseDecimal(bs)
		if errA != nil || errB != nil || len(as)+len(bs) > 400 || a.Scale() > 300 || a.Scale() < -300 || b.Scale() > 300 || b.Scale() < -300 {
			return
		}
		rat := func(d Decimal) *big.Rat {
			r, ok := new(big.Rat).SetString(d.String())
			if !ok {
				t.Fatalf("%q is no number", d)
			}
			return r
		}
		if back := mustDecimal(t, a.String()); back.Cmp(a) != 0 || rat(a).Cmp(func() *big.Rat { r, _ := new(big.Rat).SetString(as); return r }()) != 0 {
			t.Fatalf("%q reads as %v", as, a)
		}
		ra, rb := rat(a), rat(b)
		check := func(name string, got Decimal, err error, want *big.Rat) {
			if err != nil || rat(got).Cmp(want) != 0 {
				t.Fatalf("%v %s %v = %v, %v; want %v", a, name, b, got, err, want)
			}
			if got.big != nil && got.big.IsInt64() {
				t.Fatalf("%v %s %v: the coefficient %v fits int64 and is not inline", a, name, b, got)
			}
		}
		sum, err := a.Add(b)
		check("+", sum, err, new(big.Rat).Add(ra, rb))
		diff, err := a.Sub(b)
		check("-", diff, err, new(big.Rat).Sub(ra, rb))
		prod, err := a.Mul(b)
		check("*", prod, err, new(big.Rat).Mul(ra, rb))
		check("normal", a.Normal(), nil, ra)
		if a.Cmp(b) != ra.Cmp(rb) {
			t.Fatalf("%v cmp %v = %d", a, b, a.Cmp(b))
		}
		if want, _ := ra.Float64(); a.Float() != want {
			t.Fatalf("%v.Float() = %g, want %g", a, a.Float(), want)
		}
		if b.Sign() == 0 {
			return
		}
		if mod, err := a.Rem(b); err != nil || mod.Sign()*a.Sign() < 0 || mod.Abs().Cmp(b.Abs()) >= 0 {
			t.Fatalf("%v %% %v = %v, %v", a, b, mod, err)
		}
		q, err := a.Quo(b)
		var x, y, want apd.Decimal
		_, _, _ = x.SetString(a.String())
		_, _, _ = y.SetString(b.String())
		ctx := apd.BaseContext.WithPrecision(34)
		ctx.Rounding = apd.RoundHalfEven
		if _, apdErr := ctx.Quo(&want, &x, &y); apdErr != nil {
			t.Skip(apdErr)
		}
		w, _ := new(big.Rat).SetString(want.Text('f'))
		check("/", q, err, w)
	})
}

func BenchmarkDecimalAdd(b *testing.B) {
	x, y := mustDecimal(b, "6304826.062"), mustDecimal(b, "12.55")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Add(y); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDecimalAllocations(t *testing.T) {
	x, y := mustDecimal(t, "6304826.062"), mustDecimal(t, "12.55")
	if n := testing.AllocsPerRun(100, func() {
		s, _ := x.Add(y)
		p, _ := s.Mul(y)
		d, _ := ParseDecimal("12.55")
		if p.Cmp(d) <= 0 {
			t.Fatal("wrong")
		}
	}); n != 0 {
		t.Errorf("inline arithmetic allocates %v times", n)
	}
}
