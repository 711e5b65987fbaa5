package jsonview

import "testing"

// TestAllocations holds the promise that a reused Doc allocates nothing on the hot paths.
func TestAllocations(t *testing.T) {
	lines, _ := orderLines(1)
	nested := []byte(`{"a":{"b":[{"c":[1,2,{"d":"e"}]}]},"k\u0065y":"v\n"}`)
	wide := []byte(wideObject(200))
	shape, cells := shapeOf(t, "a", "b"), []byte("ab")
	var (
		d, c Doc
		h    Hint
		buf  = make([]byte, 0, 16<<10)
	)
	alloc := func(n int) []byte { return buf[:n] }
	read := func(src []byte) {
		d.Reset(JSON, src)
		if err := d.Parse(Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range map[string]func(){
		"Parse":        func() { read(lines[0]) },
		"Parse nested": func() { read(nested) },
		"Parse wide":   func() { read(wide) },
		"read": func() {
			read(lines[0])
			d.Float(d.Field(0, "amount", &h))
			d.Int(d.Field(0, "quantity", nil))
			_ = d.Str(d.Field(0, "country", nil), nil)
		},
		"read escapes": func() {
			read(nested)
			_ = d.Str(d.Field(0, "key", &h), alloc)
			d.Key(d.First(0), buf)
		},
		"write": func() {
			out := AppendString(buf[:0], "Köln \"x\"\n")
			out = AppendFloat(out, 2.55)
			_ = AppendFloat(out, 1e-300)
		},
		"record": func() {
			d.ResetRecord(cells, shape)
			d.AddCell(0, String, 0, 1)
			d.EndRecord()
			d.Field(0, "a", &h)
			_ = d.AppendJSON(buf[:0], 0)
		},
		"clone": func() { read(nested); d.CloneInto(&c, alloc) },
		"text":  func() { d.Reset(Text, nested); _ = d.Str(0, nil) },
	} {
		f()
		if n := testing.AllocsPerRun(50, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
