package ops

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

func dec(t testing.TB, s string) penstock.Value {
	t.Helper()
	d, err := penstock.ParseDecimal(s)
	if err != nil {
		t.Fatal(err)
	}
	return penstock.DecimalValue(d)
}

func node(t testing.TB, text string) penstock.Value {
	t.Helper()
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(text))
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	return penstock.NodeValue(d, 0)
}

func text(v penstock.Value) string {
	if v.IsError() {
		return "error: " + v.Err().Error()
	}
	return v.String()
}

func TestArith(t *testing.T) {
	i, u, f, s := penstock.IntValue, penstock.UintValue, penstock.DoubleValue, penstock.StringValue
	d, ts := penstock.DurationValue, penstock.TimestampValue
	at := time.Date(2024, 2, 29, 0, 0, 0, 5, time.UTC)
	for _, c := range []struct {
		o    Operator
		a, b penstock.Value
		want string
	}{
		{OpAdd, i(1), i(2), "3"}, {OpAdd, i(math.MaxInt64), i(1), "error: integer overflow"}, {OpAdd, i(math.MinInt64), i(-1), "error: integer overflow"}, {OpAdd, i(5), i(0), "5"}, {OpAdd, i(0), i(0), "0"},
		{OpSub, i(math.MinInt64), i(1), "error: integer overflow"}, {OpSub, i(0), i(math.MinInt64), "error: integer overflow"}, {OpSub, i(-1), i(math.MinInt64), "9223372036854775807"}, {OpSub, i(3), i(0), "3"},
		{OpMul, i(math.MinInt64), i(-1), "error: integer overflow"}, {OpMul, i(math.MinInt64), i(1), "-9223372036854775808"}, {OpMul, i(1 << 62), i(-2), "-9223372036854775808"}, {OpMul, i(1 << 62), i(2), "error: integer overflow"}, {OpMul, i(0), i(math.MinInt64), "0"},
		{OpDiv, i(-7), i(2), "-3"}, {OpDiv, i(1), i(0), "error: division by zero"}, {OpDiv, i(math.MinInt64), i(-1), "error: integer overflow"}, {OpMod, i(-7), i(2), "-1"}, {OpMod, i(1), i(0), "error: modulus by zero"},
		{OpAdd, u(math.MaxUint64), u(1), "error: unsigned integer overflow"}, {OpSub, u(1), u(2), "error: unsigned integer overflow"}, {OpMul, u(1 << 63), u(2), "error: unsigned integer overflow"}, {OpDiv, u(7), u(2), "3"}, {OpMod, u(7), u(0), "error: modulus by zero"},
		{OpAdd, i(1), f(0.5), "1.5"}, {OpAdd, u(1), f(0.5), "1.5"}, {OpDiv, f(1), f(0), "error: json: +Inf is no JSON number"}, {OpMod, f(1), f(1), "error: no such overload: % of double, double"}, {OpAdd, i(1), u(1), "error: no such overload: + of int, uint"},
		{OpAdd, dec(t, "1.10"), i(1), "2.10"}, {OpMul, u(3), dec(t, "0.1"), "0.3"}, {OpDiv, dec(t, "1"), dec(t, "3"), "0.3333333333333333333333333333333333"}, {OpAdd, dec(t, "1"), f(1), "error: no such overload: + of decimal, double"}, {OpDiv, dec(t, "1"), dec(t, "0"), "error: division by zero"},
		{OpAdd, s("a"), s("b"), `"ab"`}, {OpSub, s("a"), s("b"), "error: no such overload: - of string, string"}, {OpAdd, s("a"), i(1), "error: no such overload: + of string, int"},
		{OpAdd, ts(at), d(time.Second), `"2024-02-29T00:00:01.000000005Z"`}, {OpAdd, d(time.Second), ts(at), `"2024-02-29T00:00:01.000000005Z"`}, {OpSub, ts(at), ts(at.Add(time.Hour)), `"-3600s"`}, {OpSub, d(1), ts(at), "error: no such overload: - of google.protobuf.Duration, google.protobuf.Timestamp"},
		{OpAdd, ts(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)), d(time.Second), "error: timestamp overflow: the years 0001 to 9999 are supported"}, {OpAdd, d(math.MaxInt64), d(1), "error: duration overflow"},
		{OpSub, ts(at), d(math.MinInt64), "error: duration overflow"}, {OpSub, ts(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)), ts(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), "error: duration overflow"},
		{OpAdd, node(t, `[1]`), penstock.ListValue(&penstock.List{Elems: []penstock.Value{i(2)}}), "[1,2]"}, {OpAdd, node(t, `1.50`), i(1), "2.5"}, {OpMul, node(t, `3`), node(t, `4`), "12"}, {OpAdd, node(t, `{}`), i(1), "error: no such overload: + of map, int"},
		{OpAdd, errDivZero, errModZero, "error: division by zero"}, {OpAdd, i(1), errModZero, "error: modulus by zero"},
	} {
		if got := text(Arith(c.o, c.a, c.b, nil)); got != c.want {
			t.Errorf("%s %s %s = %s, want %s", text(c.a), c.o, text(c.b), got, c.want)
		}
	}
}

// TestIntArith holds every operator to math/big.
func TestIntArith(t *testing.T) {
	edge := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{0, 1, -1, math.MaxInt64, math.MinInt64, 1 << 32, -1 << 32, 3037000500}))
	rapid.Check(t, func(t *rapid.T) {
		x, y := edge.Draw(t, "x"), edge.Draw(t, "y")
		o := Operator(rapid.IntRange(0, 4).Draw(t, "o"))
		a, b, want := big.NewInt(x), big.NewInt(y), new(big.Int)
		switch {
		case o == OpAdd:
			want.Add(a, b)
		case o == OpSub:
			want.Sub(a, b)
		case o == OpMul:
			want.Mul(a, b)
		case y == 0:
			want = nil
		case o == OpDiv:
			want.Quo(a, b)
		default:
			if x == math.MinInt64 && y == -1 {
				want = nil // as cel-go has it
				break
			}
			want.Rem(a, b)
		}
		got := IntArith(o, x, y)
		if ok := want != nil && want.IsInt64(); ok == got.IsError() || ok && got.Int() != want.Int64() {
			t.Fatalf("%d %s %d = %s, want %s", x, o, y, text(got), want)
		}
	})
}

// TestCompareNumbers holds comparisons of all kinds of numbers to exact arithmetic.
func TestCompareNumbers(t *testing.T) {
	number := rapid.Custom(func(t *rapid.T) penstock.Value {
		near := rapid.SampledFrom([]float64{0, 1, 1 << 53, 1<<53 + 2, 1 << 63, -1 << 63, 1 << 64, 0.5, 1e300, -2.5}).Draw(t, "near")
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			return penstock.IntValue(rapid.SampledFrom([]int64{0, 1, -1, 1 << 53, 1<<53 + 1, math.MaxInt64, math.MaxInt64 - 1, math.MinInt64}).Draw(t, "i"))
		case 1:
			return penstock.UintValue(rapid.SampledFrom([]uint64{0, 1, 1 << 53, 1<<53 + 1, 1 << 63, math.MaxUint64}).Draw(t, "u"))
		case 2:
			return penstock.DoubleValue(near)
		case 3:
			return penstock.DoubleValue(rapid.Float64().Draw(t, "f"))
		}
		d, err := penstock.DecimalFromFloat(near)
		if err != nil {
			t.Fatal(err)
		}
		return penstock.DecimalValue(d)
	})
	exact := func(v penstock.Value) *big.Rat {
		switch v.Kind() {
		case penstock.KindInt:
			return new(big.Rat).SetInt64(v.Int())
		case penstock.KindUint:
			return new(big.Rat).SetUint64(v.Uint())
		case penstock.KindDouble:
			return new(big.Rat).SetFloat64(v.Double())
		}
		r, _ := new(big.Rat).SetString(v.Decimal().String())
		return r
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		want := exact(a).Cmp(exact(b))
		if c, bad := Compare(a, b); bad.IsError() || c != want {
			t.Fatalf("%s against %s: %d, want %d", text(a), text(b), c, want)
		}
		if Equal(a, b) != (want == 0) {
			t.Fatalf("%s == %s is %v", text(a), text(b), want != 0)
		}
		for r := Less; r <= GreaterEqual; r++ {
			if Relate(r, a, b).Bool() != Relate(r.Mirror(), b, a).Bool() {
				t.Fatalf("%s %s %s and its mirror differ", text(a), r, text(b))
			}
		}
	})
}

func TestRelate(t *testing.T) {
	nan := penstock.DoubleValue(math.NaN())
	s, b := penstock.StringValue, penstock.BoolValue
	for _, c := range []struct {
		a    penstock.Value
		r    Relation
		b    penstock.Value
		want string
	}{
		{nan, Less, penstock.IntValue(1), "false"}, {penstock.IntValue(1), GreaterEqual, nan, "false"}, {nan, LessEqual, nan, "false"}, {s("a"), Less, s("ä"), "true"}, {s("\U0001F600"), Greater, s("\uffff"), "true"},
		{b(false), Less, b(true), "true"}, {b(true), LessEqual, b(true), "true"}, {penstock.BytesValue([]byte("a")), Less, penstock.BytesValue([]byte("b")), "true"}, {penstock.DurationValue(1), Less, penstock.DurationValue(2), "true"},
		{node(t, `3`), Less, penstock.DoubleValue(3.5), "true"}, {node(t, `"a"`), Less, s("b"), "true"}, {node(t, `12345678901234567890`), Greater, penstock.IntValue(1), "true"},
		{s("a"), Less, penstock.IntValue(1), "error: no such overload: < of string, int"}, {penstock.Null, Less, penstock.Null, "error: no such overload: < of null_type, null_type"}, {errDivZero, Less, nan, "error: division by zero"}, {nan, Less, errDivZero, "error: division by zero"},
	} {
		if got := text(Relate(c.r, c.a, c.b)); got != c.want {
			t.Errorf("%s %s %s is %s, want %s", text(c.a), c.r, text(c.b), got, c.want)
		}
	}
}

func TestEqual(t *testing.T) {
	i := penstock.IntValue
	list := func(e ...penstock.Value) penstock.Value { return penstock.ListValue(&penstock.List{Elems: e}) }
	dict := func(e ...penstock.Entry) penstock.Value { return penstock.MapValue(&penstock.Map{Entries: e}) }
	entry := func(k, v penstock.Value) penstock.Entry { return penstock.Entry{Key: k, Value: v} }
	s := penstock.StringValue
	for _, c := range []struct {
		a, b penstock.Value
		want bool
	}{
		{i(1), penstock.UintValue(1), true}, {i(1), penstock.DoubleValue(1), true}, {i(1), dec(t, "1.0"), true}, {i(1), s("1"), false}, {penstock.Null, penstock.Null, true}, {penstock.Null, i(0), false},
		{penstock.DoubleValue(math.NaN()), penstock.DoubleValue(math.NaN()), false}, {node(t, `[1,{"a":null}]`), list(penstock.DoubleValue(1), dict(entry(s("a"), penstock.Null))), true}, {node(t, `[1]`), node(t, `[1.0]`), true}, {node(t, `[1]`), node(t, `[1,2]`), false},
		{node(t, `{"a":1,"b":2}`), node(t, `{"b":2,"a":1}`), true}, {node(t, `{"a":1}`), node(t, `{"b":1}`), false}, {dict(entry(i(1), s("x"))), dict(entry(penstock.UintValue(1), s("x"))), true}, {node(t, `{}`), node(t, `[]`), false}, {node(t, `"a\n"`), s("a\n"), true},
		{None, None, true}, {None, penstock.OptionalValue(i(1)), false}, {penstock.OptionalValue(i(1)), penstock.OptionalValue(penstock.UintValue(1)), true}, {None, penstock.Null, false}, {penstock.TypeValue("int"), penstock.TypeValue("int"), true}, {penstock.TypeValue("int"), s("int"), false},
		{errDivZero, errDivZero, false},
	} {
		if Equal(c.a, c.b) != c.want || Equal(c.b, c.a) != c.want {
			t.Errorf("%s == %s is not %v", text(c.a), text(c.b), c.want)
		}
	}
}

func TestContainers(t *testing.T) {
	l, m := node(t, `["a",2,[3],null]`), node(t, `{"k":1,"é":{"x":2}}`)
	i := penstock.IntValue
	for _, c := range []struct{ got, want string }{
		{text(Size(l)), "4"}, {text(Size(m)), "2"}, {text(Size(penstock.StringValue("é😀"))), "2"}, {text(Size(penstock.BytesValue([]byte("é")))), "2"}, {text(Size(node(t, `"é"`))), "1"}, {text(Size(i(1))), "error: no such overload: size of int"},
		{text(Lookup(l, i(1))), "2"}, {text(Lookup(l, penstock.DoubleValue(2))), "[3]"}, {text(Lookup(l, penstock.UintValue(0))), `"a"`}, {text(Lookup(l, i(4))), "absent"}, {text(Lookup(l, i(-1))), "absent"}, {text(Lookup(l, penstock.DoubleValue(0.5))), "error: a list is indexed by whole numbers, not by double"},
		{text(Lookup(l, penstock.StringValue("0"))), "error: a list is indexed by whole numbers, not by string"}, {text(Lookup(m, penstock.StringValue("é"))), `{"x":2}`}, {text(Lookup(m, i(1))), "absent"}, {text(Lookup(i(1), i(1))), "error: no such overload: _[_] of int, int"},
		{text(Missing(l, i(9))), "error: index out of range: [9] of a list of 4"}, {text(Missing(m, penstock.StringValue("z"))), "error: no such key: z"},
		{text(In(penstock.DoubleValue(2), l)), "true"}, {text(In(penstock.StringValue("b"), l)), "false"}, {text(In(node(t, `"k"`), m)), "true"}, {text(In(i(1), i(1))), "error: no such overload: in of int, int"}, {text(In(errDivZero, l)), "error: division by zero"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	big := penstock.ListValue(&penstock.List{Elems: make([]penstock.Value, MaxElems)})
	if v := ConcatLists(big, l); !v.IsError() || penstock.CodeOf(v.Err()) != penstock.TooLarge {
		t.Error("a list beyond the bound was made")
	}
}

// TestText: what string() and JSON output make of values.
func TestText(t *testing.T) {
	for _, c := range []struct {
		v          penstock.Value
		text, json string
	}{
		{penstock.DoubleValue(1e6), "1e+06", "1000000"}, {penstock.DoubleValue(0.1), "0.1", "0.1"}, {dec(t, "1.50"), "1.50", "1.50"}, {penstock.DurationValue(1500 * time.Millisecond), "1.5s", `"1.5s"`},
		{penstock.TimestampValue(time.Unix(0, 5e8)), "1970-01-01T00:00:00.5Z", `"1970-01-01T00:00:00.5Z"`}, {penstock.BytesValue([]byte("é")), "é", `"w6k="`}, {node(t, `1.50`), "1.5", "1.50"}, {node(t, `"a\\"`), "a\\", `"a\\"`},
		{penstock.Null, "error: no such overload: string of null_type", "null"}, {node(t, `[1]`), "error: no such overload: string of list", "[1]"}, {None, "error: no such overload: string of optional_type", ""}, {penstock.BytesValue([]byte{0xff}), "error: invalid UTF-8 in bytes, cannot convert to string", `"/w=="`},
		{penstock.TypeValue("int"), "error: no such overload: string of type", `"int"`}, {penstock.UintValue(7), "7", "7"}, {penstock.True, "true", "true"}, {errDivZero, "error: division by zero", ""},
	} {
		for _, ar := range []*penstock.Arena{nil, new(penstock.Arena)} {
			s := ToString(c.v, ar)
			got := text(s)
			if !s.IsError() {
				got = s.Str()
			}
			if got != c.text {
				t.Errorf("string(%s) is %s, want %s", text(c.v), got, c.text)
			}
		}
		if got, err := AppendJSON([]byte("x"), c.v); string(got) != "x"+c.json || (err != nil) != (c.json == "") {
			t.Errorf("%s is written %s, %v", text(c.v), got, err)
		}
	}
}

func TestZero(t *testing.T) {
	for _, zero := range []penstock.Value{penstock.Null, penstock.False, penstock.IntValue(0), penstock.UintValue(0), penstock.DoubleValue(0), dec(t, "0.00"), penstock.StringValue(""), penstock.DurationValue(0), node(t, `[]`), node(t, `{}`), node(t, `0`), node(t, `""`), None} {
		if !IsZero(zero) {
			t.Errorf("%s counts as something", text(zero))
		}
	}
	for _, full := range []penstock.Value{penstock.True, penstock.IntValue(1), dec(t, "0.01"), penstock.StringValue("0"), node(t, `[null]`), penstock.OptionalValue(penstock.Null)} {
		if IsZero(full) {
			t.Errorf("%s counts as nothing", text(full))
		}
	}
}

// FuzzParseTimestamp: what is accepted is what time.Parse reads, to the nanosecond.
func FuzzParseTimestamp(f *testing.F) {
	for _, s := range []string{"2024-02-29T12:30:45Z", "2023-02-29T12:30:45Z", "2024-02-29T12:30:45.123456789+02:30", "2024-02-29T12:30:45.1234567891234-23:59", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z",
		"2024-02-29T24:00:00Z", "2024-02-29T23:59:60Z", "2024-2-29T12:30:45Z", "2024-02-29t12:30:45z", "2024-02-29T12:30:45,5Z", "2024-02-29T12:30:45.Z", "2024-02-29T12:30:45+24:00", "2024-02-29 12:30:45Z", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseTimestamp(s)
		want, err := time.Parse(time.RFC3339, s)
		if ok && (err != nil || !got.Equal(want)) {
			t.Fatalf("%q is %v, time.Parse says %v, %v", s, got, want, err)
		}
	})
}

// TestParseTimestamp: and all that Go formats is accepted.
func TestParseTimestamp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(minUnix, maxUnix).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "nsec"))
		at = at.In(time.FixedZone("", 60*rapid.IntRange(-23*60, 23*60).Draw(t, "zone")))
		if at.Year() < 1 || at.Year() > 9999 {
			return
		}
		s := at.Format(time.RFC3339Nano)
		if got, ok := ParseTimestamp(s); !ok || !got.Equal(at) {
			t.Fatalf("%s was read as %v, %v", s, got, ok)
		}
	})
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{"1.5s": 1500 * time.Millisecond, "-1h30m": -90 * time.Minute, "PT1H30M": 90 * time.Minute, "P1DT0.5S": 24*time.Hour + 500*time.Millisecond, "-P1W": -168 * time.Hour, "PT0,25S": 250 * time.Millisecond} {
		if got, ok := ParseDuration(s); !ok || got != want {
			t.Errorf("%s is %v, %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "P", "PT", "P1Y", "P1M", "PT1", "1", "PT1X", "P1H", "PTS", "P99999999999W"} {
		if got, ok := ParseDuration(s); ok {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}
