package penstock

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/jsonview"
)

func nodeOf(t testing.TB, text string) Value {
	t.Helper()
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, []byte(text))
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	return NodeValue(d, 0)
}

func list(vs ...Value) Value { return ListValue(&List{Elems: vs}) }

func dict(kv ...Value) Value {
	m := &Map{}
	for i := 0; i < len(kv); i += 2 {
		m.Entries = append(m.Entries, Entry{kv[i], kv[i+1]})
	}
	return MapValue(m)
}

func TestValueJSON(t *testing.T) {
	s := StringValue
	for _, c := range []struct {
		v    Value
		want string
	}{
		{Null, "null"}, {True, "true"}, {IntValue(math.MinInt64), "-9223372036854775808"}, {UintValue(math.MaxUint64), "18446744073709551615"},
		{DoubleValue(1e21), "1e+21"}, {DoubleTextValue(12.5, []byte("12.50")), "12.50"}, {DecimalValue(mustDecimal(t, "1.50")), "1.50"},
		{s("a\"\n"), `"a\"\n"`}, {BytesValue([]byte{0, 255}), `"AP8="`},
		{TimestampValue(time.Date(2010, 12, 1, 8, 26, 0, 5e8, time.FixedZone("", 3600))), `"2010-12-01T07:26:00.5Z"`},
		{DurationValue(-1500 * time.Millisecond), `"-1.5s"`}, {DurationValue(math.MinInt64), `"-9223372036.854775808s"`}, {DurationValue(0), `"0s"`},
		{list(IntValue(1), OptionalValue(Absent), OptionalValue(IntValue(2))), "[1,2]"},
		{dict(s("b"), IntValue(1), s("a"), Absent, IntValue(3), list()), `{"b":1,"3":[]}`},
		{nodeOf(t, ` {"x" : 1.00} `), `{"x" : 1.00}`},
	} {
		if got, err := c.v.AppendJSON(nil); err != nil || strings.TrimSpace(string(got)) != c.want {
			t.Errorf("got %s, %v; want %s", got, err, c.want)
		}
	}
	for path, v := range map[string]Value{
		"":     Absent,
		"a[1]": dict(s("a"), list(Null, DoubleValue(math.NaN()))),
		"a.b":  dict(s("a"), dict(s("b"), ErrorValue(E(Unprocessable, "", "", "bad")))),
	} {
		got, err := v.AppendJSON([]byte("keep"))
		var e *Error
		if !errors.As(err, &e) || e.Path != path || string(got) != "keep" {
			t.Errorf("want an error at %q and dst unchanged, got %q, %v", path, got, err)
		}
	}
}

func TestValueText(t *testing.T) {
	for _, c := range []struct {
		v    Value
		want string
	}{
		{StringValue(`a"b`), `a"b`}, {IntValue(-3), "-3"}, {DurationValue(90 * time.Second), "90s"}, {nodeOf(t, `"x\n"`), "x\n"},
		{nodeOf(t, `[1, 2]`), "[1, 2]"}, {OptionalValue(True), "true"}, {TimestampValue(time.Unix(0, 0)), "1970-01-01T00:00:00Z"},
	} {
		if got, err := c.v.AppendText(nil); err != nil || string(got) != c.want {
			t.Errorf("got %q, %v; want %q", got, err, c.want)
		}
	}
	for _, v := range []Value{Null, Absent, OptionalValue(Absent), nodeOf(t, "null")} {
		if got, err := v.AppendText(nil); err == nil {
			t.Errorf("%v has the text %q", v, got)
		}
	}
}

func TestValueEqual(t *testing.T) {
	s := StringValue
	one := DecimalValue(mustDecimal(t, "1.0"))
	groups := [][]Value{
		{IntValue(1), UintValue(1), DoubleValue(1), one, nodeOf(t, "1"), nodeOf(t, "1.0")},
		{DoubleValue(0.1), nodeOf(t, "0.1")},
		{DecimalValue(mustDecimal(t, "0.1"))},
		{UintValue(1 << 63), DoubleValue(1 << 63), nodeOf(t, "9223372036854775808")},
		{IntValue(1<<53 + 1), nodeOf(t, "9007199254740993")},
		{DoubleValue(1 << 53)},
		{list(IntValue(1), s("a")), nodeOf(t, `[1.0, "a"]`)},
		{dict(s("a"), IntValue(1), s("b"), Null), dict(s("b"), Null, s("a"), one), nodeOf(t, `{"b": null, "a": 1}`)},
		{dict(s("a"), IntValue(1))}, {list()}, {dict()}, {Null, nodeOf(t, "null")}, {Absent}, {s("1")}, {BytesValue([]byte("1"))}, {True},
		{OptionalValue(IntValue(1)), OptionalValue(one)}, {TypeValue("int")}, {TimestampValue(time.Unix(1, 0))}, {DurationValue(1)},
	}
	for i, g := range groups {
		for j, h := range groups {
			for _, a := range g {
				for _, b := range h {
					if a.Equal(b) != (i == j) {
						t.Errorf("%v == %v is %v", a, b, i != j)
					}
					if c, ok := a.Compare(b); ok && (c == 0) != (i == j) {
						t.Errorf("%v cmp %v is %d", a, b, c)
					}
				}
			}
		}
	}
	nan := DoubleValue(math.NaN())
	if nan.Equal(nan) {
		t.Error("NaN equals itself")
	}
	if _, ok := nan.Compare(one); ok {
		t.Error("NaN has an order")
	}
}

func TestValueLoad(t *testing.T) {
	for _, c := range []struct {
		text string
		kind Kind
	}{
		{"1", KindInt}, {"-0", KindInt}, {"9223372036854775807", KindInt}, {"9223372036854775808", KindDecimal}, {"1.0", KindDouble}, {"1e3", KindDouble},
		{"1e999", KindError}, {"null", KindNull}, {"true", KindBool}, {`"é"`, KindString}, {"[]", KindNode}, {"{}", KindNode},
	} {
		if got := nodeOf(t, c.text).Load(new(Arena)); got.Kind() != c.kind {
			t.Errorf("%s reads as kind %d: %v", c.text, got.Kind(), got)
		}
	}
	d, _ := nodeOf(t, "1").Node()
	if v := NodeValue(d, jsonview.None).Load(nil); !v.IsAbsent() {
		t.Errorf("no node reads as %v", v)
	}
}

func TestValueClone(t *testing.T) {
	src := []byte(`{"a": "text", "b": [1.50, {"c": "d"}]}`)
	d := new(jsonview.Doc)
	d.Reset(jsonview.JSON, src)
	if err := d.Parse(jsonview.Limits{}); err != nil {
		t.Fatal(err)
	}
	b := d.Field(0, "b", nil)
	v := dict(StringValue("k"), NodeValue(d, b), StringValue("s"), NodeValue(d, d.Field(0, "a", nil)).Load(nil),
		StringValue("n"), NodeValue(d, d.Index(b, 0)).Load(nil), StringValue("o"), OptionalValue(BytesValue(src[0:1])), StringValue("whole"), NodeValue(d, 0))
	want := v.String()
	c := v.Clone()
	for i := range src {
		src[i] = '#'
	}
	if got := c.String(); got != want {
		t.Errorf("the clone changed with its source:\n%s\n%s", got, want)
	}
}
