package jsonview

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func TestInt(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"-0", 0, true}, {"7", 7, true}, {"-7", -7, true}, {"9007199254740993", 9007199254740993, true},
		{"999999999999999999", 999999999999999999, true}, {"9223372036854775807", math.MaxInt64, true}, {"9223372036854775808", 0, false},
		{"-9223372036854775808", math.MinInt64, true}, {"-9223372036854775809", 0, false}, {"9999999999999999999", 0, false}, {"18446744073709551616", 0, false},
		{"10000000000000000000000", 0, false}, {"1.0", 0, false}, {"1e3", 0, false}, {"17850.0", 0, false}, {`"1"`, 0, false}, {"true", 0, false}, {"null", 0, false}, {"[]", 0, false},
	} {
		d := parse(t, c.text)
		got, ok := d.Int(0)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("Int(%s) = %d, %t", c.text, got, ok)
		}
		if d.IsInt(0) != c.ok {
			t.Errorf("IsInt(%s) = %t", c.text, !c.ok)
		}
	}
}

func TestFloat(t *testing.T) {
	texts := []string{
		"0", "-0", "1", "-1", "2.55", "-0.1", "0.30000000000000004", "1e22", "1e23", "123456789012345678", "9007199254740991", "9007199254740993", "9007199254740993.5",
		"0.0000000000000000000001", "1e308", "-1.7976931348623157e308", "5e-324", "2.2250738585072011e-308", "1e-400", "123456.789e-3", "0.1e1", "1e-7", "8.41e21", "9.5367431640625e-7",
		"12345678901234567.8", "0.12345678901234567", "0.00000000000000001", "1.00000000000000011102230246251565", "100000000000000016777215", "1234567890123456789012345678901234567890", "0e999999999",
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		texts = append(texts, strconv.FormatFloat(math.Float64frombits(r.Uint64()&^(1<<62)), "efg"[r.IntN(3)], -1, 64), strconv.FormatFloat(r.NormFloat64()*1000, 'f', r.IntN(17), 64), strconv.Itoa(r.IntN(1e9))+"."+strconv.Itoa(r.IntN(1e9)))
	}
	for _, text := range texts {
		if !ValidNumber([]byte(text)) {
			continue // NaN and the like among the random ones
		}
		want, _ := strconv.ParseFloat(text, 64)
		if got, ok := parse(t, text).Float(0); !ok || math.Float64bits(got) != math.Float64bits(want) {
			t.Errorf("Float(%s) = %v, %t; want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"1e309", "-1e309", "1" + strings.Repeat("0", 400), `"1"`, "null", "{}"} {
		if f, ok := parse(t, text).Float(0); ok {
			t.Errorf("Float(%s) = %v", text, f)
		}
	}
}

func TestValidNumber(t *testing.T) {
	for text, want := range map[string]bool{"0": true, "-1.5e+7": true, "": false, "-": false, "01": false, "1 ": false, " 1": false, "+1": false, "1.": false, ".5": false, "1,5": false, "0x1": false, "NaN": false, "12a": false} {
		if ValidNumber([]byte(text)) != want {
			t.Errorf("ValidNumber(%q) = %t", text, !want)
		}
	}
}

func TestStr(t *testing.T) {
	for _, text := range []string{
		`""`, `"plain"`, `"\"\\\/\b\f\n\r\t"`, `"\u0041\u00e9\u6771\ud83d\ude39"`, `"x\ny"`, `"\n"`, `"end\\"`, `"\u0000"`, `"é\u00e9é"`, `"\uFFFD\uffff"`, `"` + strings.Repeat(`ab\t`, 50) + `"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		d := parse(t, text)
		asked := -1
		got := d.Str(0, func(n int) []byte { asked = n; return make([]byte, n) })
		if got != want {
			t.Errorf("Str(%s) = %q, want %q", text, got, want)
		}
		if escaped := strings.Contains(text, `\`); escaped != (asked >= 0) || escaped && asked < len(want) {
			t.Errorf("Str(%s) asked for %d bytes", text, asked)
		}
		if got := d.Str(0, nil); got != want {
			t.Errorf("Str(%s, nil) = %q", text, got)
		}
	}
	// What has no escapes is not copied.
	d := parse(t, `{"key":"value"}`)
	s := d.Str(2, nil)
	d.src[8] = 'V'
	if s != "Value" || string(d.Key(1, nil)) != "key" {
		t.Error("Str copied a plain string")
	}
}

func TestKeyUsesItsBuffer(t *testing.T) {
	d := parse(t, `{"\u0061b":1}`)
	buf := make([]byte, 0, 32)
	key := d.Key(1, buf)
	if string(key) != "ab" || &key[0] != &buf[:1][0] {
		t.Errorf("Key = %q, not in the buffer", key)
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{
		"", "a", "plain text of some length", "with \"quotes\" and \\", "\b\f\n\r\t\x00\x01\x1f\x7f", "é東🐹", "<b>&amp;</b>", "\u2028\u2029", strings.Repeat("x", 100) + "\n", "12345678\"", "1234567\"", "\xff", "a\xc3", "\xed\xa0\x80", "x\xf0\x9f\x90", "é\xffé",
	} {
		got := AppendString([]byte("pre"), s)
		if string(got[:3]) != "pre" {
			t.Errorf("AppendString(%q) lost what was there", s)
		}
		var back string
		if err := json.Unmarshal(got[3:], &back); err != nil || !Valid(got[3:]) {
			t.Errorf("AppendString(%q) = %s: %v", s, got[3:], err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); back != want && !strings.ContainsAny(s, string([]byte{0xed, 0xf0})) {
			t.Errorf("AppendString(%q) reads back as %q", s, back)
		}
	}
	for s, want := range map[string]string{
		"<&>\u2028/": "\"<&>\u2028/\"", "\x7f": "\"\x7f\"", "\x01\x1f": `"\u0001\u001f"`, "\b\f\n\r\t": `"\b\f\n\r\t"`, "\xff\xfe": "\"\ufffd\ufffd\"", "\xed\xa0\x80": "\"\ufffd\ufffd\ufffd\"",
	} {
		if got := string(AppendString(nil, s)); got != want {
			t.Errorf("AppendString(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestAppendFloat(t *testing.T) {
	numbers := []float64{
		0, math.Copysign(0, -1), 1, -1, 2.55, -2.55, 0.1, 0.1 + 0.2000000000000001, 1.0 / 3, 100, 1e6, 1e9, 1e15, 1e20, 1e21, 1e22, 123456789.125, 999999999.9999, 0.0001, 0.00001, 1e-6, 9.99e-7, 1e-7, 1e-10, 1.5e-9, 5e-324,
		math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 0.5, 0.25, 0.125, 0.0625, 0.03125, 4.35, 1.005, 6304826.062, 1e8 + 0.1, 17850.0, math.Pi, 1 << 53, 1<<53 + 2, 0.00004, 0.00005, 0.00015, 99999.99995, 999999999,
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		numbers = append(numbers, float64(r.IntN(1e9))/100, float64(r.IntN(1e9))/1e4, r.NormFloat64(), math.Float64frombits(r.Uint64()), math.Nextafter(float64(r.IntN(1e6))/100, math.Inf(1)), -float64(r.IntN(1e6))/1e5)
	}
	for _, f := range numbers {
		want, err := json.Marshal(f)
		if err != nil {
			continue // NaN, Inf
		}
		if got := AppendFloat([]byte("x"), f); string(got) != "x"+string(want) {
			t.Errorf("AppendFloat(%x) = %s, want %s", f, got[1:], want)
		}
	}
}

func TestTextAndBinary(t *testing.T) {
	var d Doc
	d.Reset(Text, []byte("say \"hé\"\n"))
	if err := d.Parse(Limits{MaxBytes: 1}); err != nil {
		t.Error(err)
	}
	if !d.Parsed() || d.Format() != Text || d.Kind(0) != String || d.Str(0, nil) != "say \"hé\"\n" || string(d.Raw(0)) != "say \"hé\"\n" || d.Field(0, "a", nil) != None {
		t.Error("a Text is not one string")
	}
	if got := string(d.AppendJSON(nil, 0)); got != `"say \"hé\"\n"` {
		t.Errorf("Text renders as %s", got)
	}
	var c Doc
	d.CloneInto(&c, nil)
	if c.Str(0, nil) != d.Str(0, nil) {
		t.Error("the copy of a Text differs")
	}
	d.Reset(Binary, []byte{0, 1, 255, 254})
	if d.Kind(0) != Bytes || d.Str(0, nil) != "" || len(d.Raw(0)) != 4 || len(d.Bytes()) != 4 {
		t.Error("a Binary is not opaque bytes")
	}
	if got := string(d.AppendJSON(nil, 0)); got != `"AAH//g=="` {
		t.Errorf("Binary renders as %s", got)
	}
	d.Reset(Text, nil)
	if d.Str(0, nil) != "" || d.Kind(0) != String || string(d.AppendJSON(nil, 0)) != `""` {
		t.Error("the empty Text is not the empty string")
	}
}

func TestAppendJSONKeepsTheText(t *testing.T) {
	d := parse(t, ` {"n":1.50e+2, "o": { "a" : [ 1,  2] }} `)
	for name, want := range map[string]string{"n": "1.50e+2", "o": `{ "a" : [ 1,  2] }`, "missing": "null"} {
		if got := string(d.AppendJSON([]byte("#"), d.Field(0, name, nil))); got != "#"+want {
			t.Errorf("%s renders as %s", name, got)
		}
	}
	if got := string(d.AppendJSON(nil, 1)); got != `"n"` {
		t.Errorf("the key renders as %s", got)
	}
	d.Reset(JSON, []byte(` [ not read `))
	if got := string(d.AppendJSON(nil, 0)); got != ` [ not read ` {
		t.Errorf("an unread document renders as %q", got)
	}
}
