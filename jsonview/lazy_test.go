package jsonview_test

import (
	"bytes"
	"errors"
	"testing"

	"penstock.dev/penstock/jsonview"
)

// upper cuts at commas and writes the second cell in capitals.
type upper struct {
	shape *jsonview.Shape
	calls int
}

var errCells = errors.New("two cells are wanted")

func (u *upper) DecodeRecord(d *jsonview.Doc, src []byte) error {
	u.calls++
	d.ResetRecord(src, u.shape)
	at := bytes.IndexByte(src, ',')
	if at < 0 {
		return errCells
	}
	d.AddCell(0, jsonview.Number, 0, at)
	mem := d.Scratch(2*len(src) - at)
	n := copy(mem, src)
	n += copy(mem[n:], bytes.ToUpper(src[at+1:]))
	d.Rebase(mem[:n])
	d.AddCell(1, jsonview.String, len(src), n)
	d.EndRecord()
	return nil
}

func TestLazyRecord(t *testing.T) {
	shape, err := jsonview.NewShape([]string{"n", "name"})
	if err != nil {
		t.Fatal(err)
	}
	dec := &upper{shape: shape}
	var d jsonview.Doc
	d.ResetLazy([]byte("12,ann"), dec)
	if d.Parsed() || d.Format() != jsonview.Record || dec.calls != 0 {
		t.Fatalf("parsed %v, format %v, %d calls before the first read", d.Parsed(), d.Format(), dec.calls)
	}
	const want = `{"n":12,"name":"ANN"}`
	if got := string(d.AppendJSON(nil, 0)); got != want {
		t.Errorf("unread: %s, want %s", got, want)
	}
	if d.Parsed() {
		t.Error("AppendJSON changed the document")
	}
	if string(d.Bytes()) != "12,ann" {
		t.Errorf("unread: bytes %q", d.Bytes())
	}
	var unread jsonview.Doc
	d.CloneInto(&unread, nil)
	if unread.Parsed() {
		t.Error("the clone of an unread record is read")
	}
	for range 2 {
		if err := d.Parse(jsonview.Limits{}); err != nil {
			t.Fatal(err)
		}
	}
	var read jsonview.Doc
	d.CloneInto(&read, nil)
	for name, c := range map[string]*jsonview.Doc{"itself": &d, "clone before": &unread, "clone after": &read} {
		if err := c.Parse(jsonview.Limits{}); err != nil {
			t.Fatal(name, err)
		}
		if got := string(c.AppendJSON(nil, 0)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if c.Bytes() != nil {
			t.Errorf("%s: bytes %q", name, c.Bytes())
		}
		if got := string(c.Original()); got != "12,ann" {
			t.Errorf("%s: original %q", name, got)
		}
		if got := c.Str(c.Field(0, "name", nil), nil); got != "ANN" {
			t.Errorf("%s: name %q", name, got)
		}
	}

	d.ResetLazy([]byte("torn"), dec)
	for range 2 {
		if err := d.Parse(jsonview.Limits{}); !errors.Is(err, errCells) {
			t.Fatalf("error %v, want %v", err, errCells)
		}
	}
	if string(d.Bytes()) != "torn" {
		t.Errorf("refused: bytes %q", d.Bytes())
	}
	if got := string(d.Original()); got != "torn" || d.Kind(0) != jsonview.Invalid {
		t.Errorf("after a failure: original %q, kind %v", got, d.Kind(0))
	}
	d.Reset(jsonview.JSON, []byte("1"))
	if err := d.Parse(jsonview.Limits{}); err != nil || string(d.Original()) != "1" {
		t.Errorf("used again: %v, %q", err, d.Original())
	}
	d.ResetLazy([]byte("1,x"), dec)
	d.ResetRecord([]byte("7"), shape)
	d.AddCell(0, jsonview.Number, 0, 1)
	d.EndRecord()
	if got := string(d.AppendJSON(nil, 0)); got != `{"n":7}` || string(d.Original()) != "7" {
		t.Errorf("a record after a lazy one: %s, %q", got, d.Original())
	}
}

func TestLazyAllocations(t *testing.T) {
	shape, err := jsonview.NewShape([]string{"n", "name"})
	if err != nil {
		t.Fatal(err)
	}
	dec := &upper{shape: shape}
	var d jsonview.Doc
	row := []byte("12,")
	if n := testing.AllocsPerRun(100, func() {
		d.ResetLazy(row, dec)
		if d.Parse(jsonview.Limits{}) != nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations a record", n)
	}
}
