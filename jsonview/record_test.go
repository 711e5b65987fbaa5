package jsonview

import (
	"reflect"
	"strings"
	"testing"
)

func shapeOf(t testing.TB, columns ...string) *Shape {
	t.Helper()
	s, err := NewShape(columns)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewShape(t *testing.T) {
	for _, c := range []struct {
		columns []string
		msg     string
	}{
		{[]string{"a", ""}, "column 2 has no name"},
		{[]string{"a", "b", "a"}, `columns 1 and 3 have the same name "a"`},
		{[]string{"\xff"}, `column 1: the name "\xff" is not valid UTF-8`},
	} {
		if s, err := NewShape(c.columns); err == nil || err.Error() != c.msg || s != nil {
			t.Errorf("NewShape(%q) = %v, %v; want %s", c.columns, s, err, c.msg)
		}
	}
	columns := []string{"a", "b c", `say "x"`}
	s := shapeOf(t, columns...)
	columns[0] = "changed"
	if got := s.Columns(); !reflect.DeepEqual(got, []string{"a", "b c", `say "x"`}) {
		t.Errorf("Columns = %q", got)
	}
	if s.Index("b c") != 1 || s.Index("none") != -1 {
		t.Error("Index is wrong")
	}
}

func TestRecord(t *testing.T) {
	s := shapeOf(t, "id", "name", "price", "gift", "paid", "note", `odd "col`)
	var d Doc
	d.ResetRecord([]byte(`7|six "plate" é|-2.50|TRUE|0||x`), s)
	d.AddCell(0, Number, 0, 1)
	d.AddCell(1, String, 2, 16)
	d.AddCell(2, Number, 17, 22)
	d.AddCell(3, True, 23, 27)
	d.AddCell(4, False, 28, 29)
	d.AddCell(5, Null, 30, 30)
	d.AddCell(6, String, 31, 32)
	d.EndRecord()
	const want = `{"id":7,"name":"six \"plate\" é","price":-2.50,"gift":true,"paid":false,"note":null,"odd \"col":"x"}`
	if got := string(d.AppendJSON(nil, 0)); got != want {
		t.Errorf("renders as\n%s, want\n%s", got, want)
	}
	if d.Format() != Record || !d.Parsed() || d.Parse(Limits{}) != nil || d.Kind(0) != Object || d.Len(0) != 7 || d.Bytes() != nil || d.Raw(0) != nil {
		t.Error("a Record does not read as an object")
	}
	if got, want := toAny(t, &d, 0), stdAny(t, []byte(want)); !reflect.DeepEqual(got, want) {
		t.Errorf("reads as %v, want %v", got, want)
	}
	if v, ok := d.Int(d.Field(0, "id", nil)); !ok || v != 7 {
		t.Errorf("id = %d, %t", v, ok)
	}
	if v, ok := d.Float(d.Field(0, "price", nil)); !ok || v != -2.5 || d.IsInt(d.Field(0, "price", nil)) {
		t.Errorf("price = %v, %t", v, ok)
	}
	if got := string(d.Raw(d.Field(0, "gift", nil))); got != "TRUE" {
		t.Errorf("Raw(gift) = %s", got)
	}
	key := d.First(0)
	if string(d.Raw(key)) != "id" || string(d.AppendJSON(nil, key)) != `"id"` {
		t.Errorf("the first key is %s", d.Raw(key))
	}
	var c Doc
	d.CloneInto(&c, nil)
	clear(d.src)
	if got := string(c.AppendJSON(nil, 0)); got != want {
		t.Errorf("the copy renders as %s", got)
	}
}

func TestRecordWithAbsentCells(t *testing.T) {
	s := shapeOf(t, "a", "b", "c", "d")
	var d Doc
	var h Hint
	for _, c := range []struct {
		cols []int
		want string
	}{
		{[]int{0, 1, 2, 3}, `{"a":"0","b":"1","c":"2","d":"3"}`}, {[]int{0, 1}, `{"a":"0","b":"1"}`}, {[]int{1, 3}, `{"b":"1","d":"3"}`}, {[]int{2}, `{"c":"2"}`},
		{nil, `{}`}, {[]int{3, 0}, `{"a":"0","d":"3"}`}, {[]int{1, 1, 1, 1}, `{"b":"1"}`}, {[]int{0, 1, 2, 3}, `{"a":"0","b":"1","c":"2","d":"3"}`},
	} {
		d.ResetRecord([]byte("0123"), s)
		for _, col := range c.cols {
			d.AddCell(col, String, col, col+1)
		}
		d.EndRecord()
		if got := string(d.AppendJSON(nil, 0)); got != c.want {
			t.Errorf("cells %v render as %s", c.cols, got)
		}
		if got, want := toAny(t, &d, 0), stdAny(t, []byte(c.want)); !reflect.DeepEqual(got, want) {
			t.Errorf("cells %v read as %v", c.cols, got)
		}
		for _, name := range []string{"c", "c", "d", "zz"} {
			if got, want := d.Field(0, name, &h) != None, strings.Contains(c.want, `"`+name+`"`); got != want {
				t.Errorf("cells %v: Field(%s) = %t", c.cols, name, got)
			}
		}
	}
}

// TestHintBetweenFormats uses one hint on records and JSON in turn.
func TestHintBetweenFormats(t *testing.T) {
	var r, small Doc
	r.ResetRecord([]byte("xyz"), shapeOf(t, "a", "b", "c"))
	for i := range 3 {
		r.AddCell(i, String, i, i+1)
	}
	r.EndRecord()
	small.ResetRecord([]byte("w"), shapeOf(t, "c"))
	small.AddCell(0, String, 0, 1)
	small.EndRecord()
	j := parse(t, `{"n":[1,2,3,4,5,6,7,8],"c":"j"}`)
	var h Hint
	for range 3 {
		for _, c := range []struct {
			d    *Doc
			want string
		}{{&r, "z"}, {j, "j"}, {&small, "w"}, {&small, "w"}, {j, "j"}, {j, "j"}, {&r, "z"}} {
			if got := c.d.Str(c.d.Field(0, "c", &h), nil); got != c.want {
				t.Errorf("c = %q, want %q", got, c.want)
			}
		}
	}
}

func TestNumberCellThatIsNone(t *testing.T) {
	s := shapeOf(t, "n")
	var d Doc
	for _, text := range []string{"", "1,5", "007", "abc", "1.", "+1", "1 "} {
		d.ResetRecord([]byte(text), s)
		d.AddCell(0, Number, 0, len(text))
		d.EndRecord()
		if got := string(d.AppendJSON(nil, 0)); got != `{"n":"`+text+`"}` {
			t.Errorf("%q renders as %s", text, got)
		}
	}
}

func TestRecordMisuse(t *testing.T) {
	s := shapeOf(t, "a")
	for name, f := range map[string]func(d *Doc){
		"column":  func(d *Doc) { d.AddCell(1, String, 0, 1) },
		"range":   func(d *Doc) { d.AddCell(0, String, 0, 4) },
		"reverse": func(d *Doc) { d.AddCell(0, String, 2, 1) },
		"kind":    func(d *Doc) { d.AddCell(0, Object, 0, 1) },
	} {
		func() {
			var d Doc
			d.ResetRecord([]byte("abc"), s)
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f(&d)
		}()
	}
	var d Doc
	d.Reset(Record, []byte("abc"))
	if d.Len(0) != 0 || d.Field(0, "a", new(Hint)) != None || string(d.AppendJSON(nil, 0)) != "{}" || d.First(0) != None {
		t.Error("a Record without a Shape is not an empty object")
	}
	d.EndRecord()
	empty := shapeOf(t)
	d.ResetRecord(nil, empty)
	d.EndRecord()
	if string(d.AppendJSON([]byte("{,"), 0)) != "{,{}" {
		t.Errorf("a Record without columns renders as %s", d.AppendJSON(nil, 0))
	}
}
