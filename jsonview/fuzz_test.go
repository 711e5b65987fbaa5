package jsonview

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzParse holds Parse and the node API against encoding/json: the same verdict but for what the package comment
// says is refused beyond it, and the same values.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.5,-3e4,"x\n\u00e9",true,false,null,{}]}`, `[[[]],{"a":{"b":{}}}]`, ` "\ud83d\ude39" `, `{"a":1,"\u0061":2}`, `"\ud800"`, "\"\xff\"", `[1e400,0.1,-0]`, `{"a":1}x`, `[01]`, "\ufeff1", wideObject(40),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		compareVerdict(t, src)
		var d Doc
		d.Reset(JSON, src)
		if d.Parse(Limits{}) != nil {
			return
		}
		got, want := toAny(t, &d, 0), stdAny(t, src)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q reads as %v, want %v", src, got, want)
		}
		if !utf8.Valid(src) {
			t.Fatalf("accepted %q, which is not UTF-8", src)
		}
		// Numbers, each by its own way.
		for n := range d.nodes {
			if d.Kind(Node(n)) != Number {
				continue
			}
			num := json.Number(d.Raw(Node(n)))
			wantInt, errInt := num.Int64()
			if v, ok := d.Int(Node(n)); ok != (errInt == nil) || ok && v != wantInt {
				t.Errorf("Int(%s) = %d, %t", num, v, ok)
			}
			wantFloat, errFloat := num.Float64()
			if v, ok := d.Float(Node(n)); ok != (errFloat == nil) || ok && math.Float64bits(v) != math.Float64bits(wantFloat) {
				t.Errorf("Float(%s) = %v, %t", num, v, ok)
			}
		}
		// A reused Doc, a copy, and the text of the root give the same again.
		var again, copied Doc
		again.Reset(JSON, []byte(wideObject(50)))
		if err := again.Parse(Limits{}); err != nil {
			t.Fatal(err)
		}
		again.Reset(JSON, d.AppendJSON(nil, 0))
		if err := again.Parse(Limits{}); err != nil {
			t.Fatal(err)
		}
		again.CloneInto(&copied, nil)
		if !reflect.DeepEqual(toAny(t, &copied, 0), want) {
			t.Fatalf("the copy of %q differs", src)
		}
	})
}

// FuzzAppendString holds that every string is written as valid JSON that reads back as the same, but for bytes that are not UTF-8.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\\n\x00\x1f", "é東🐹", "\xff\xc3", strings.Repeat("x", 20) + "\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := AppendString(nil, s)
		d := parse(t, string(got))
		var want bytes.Buffer
		for _, r := range s {
			want.WriteRune(r) // U+FFFD for each byte that is not UTF-8
		}
		if back := d.Str(0, nil); back != want.String() {
			t.Fatalf("%q is written as %s and reads as %q", s, got, back)
		}
	})
}

// FuzzAppendFloat holds the fast way of writing numbers against encoding/json.
func FuzzAppendFloat(f *testing.F) {
	for _, v := range []float64{0, 2.55, -0.1, 1e-7, 1e21, 123456789.1234, math.MaxFloat64} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v float64) {
		for _, v := range []float64{v, math.Round(v*100) / 100, math.Round(v*1e4) / 1e4} {
			want, err := json.Marshal(v)
			if err != nil {
				continue
			}
			if got := AppendFloat(nil, v); !bytes.Equal(got, want) {
				t.Fatalf("%x is written as %s, want %s", v, got, want)
			}
			if got, ok := parse(t, string(want)).Float(0); !ok || math.Float64bits(got) != math.Float64bits(v) {
				t.Fatalf("%s reads as %x, want %x", want, got, v)
			}
		}
	})
}

// FuzzRecord holds that a record of any cells renders as valid JSON with those values.
func FuzzRecord(f *testing.F) {
	f.Add("a", "b", "7", uint8(4))
	f.Add(`k"`, "é", "x\n\"", uint8(5))
	f.Add("a", "", "-1.5e3", uint8(4))
	f.Fuzz(func(t *testing.T, colA, colB, cell string, kind uint8) {
		s, err := NewShape([]string{colA, colB})
		if err != nil {
			return
		}
		var d Doc
		d.ResetRecord([]byte(cell), s)
		d.AddCell(1, []Kind{Null, False, True, Number, String}[kind%5], 0, len(cell))
		d.EndRecord()
		out := parse(t, string(d.AppendJSON(nil, 0)))
		v := out.Field(0, colB, nil)
		if out.Len(0) != 1 || out.Kind(v) != d.Kind(d.Field(0, colB, nil)) {
			t.Fatalf("renders as %s", d.AppendJSON(nil, 0))
		}
		if utf8.ValidString(cell) && out.Str(v, nil) != d.Str(d.Field(0, colB, nil), nil) {
			t.Fatalf("renders as %s", d.AppendJSON(nil, 0))
		}
	})
}
