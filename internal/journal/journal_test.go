package journal

import (
	"reflect"
	"testing"
)

func TestWhatIsNotedIsRead(t *testing.T) {
	var d Draft
	d.Reset("orders")
	if !d.Empty() {
		t.Fatal("a draft that begins is not empty")
	}
	d.Message("day.csv", 100, 17, "536365", Done, 2)
	d.Appended("lines", 3)
	d.Sent("orders/to")
	d.Message("lines", 9, 0, "", Absorbed, 1)
	d.Absorbed("orders/invoices", "536365")
	d.Emitted("orders/invoices", 1, "536365", "day.csv:17")
	d.Message("lines", 10, 0, "", Dead, 0)
	rec := d.Append(42, func(c string) (int64, bool) {
		switch c {
		case "lines":
			return 1000, true
		case "orders/invoices":
			return 50, true
		}
		return 0, false
	})
	var got []Entry
	if err := Read(rec, func(e *Entry) bool {
		c := *e
		c.Hops = append([]Hop(nil), e.Hops...)
		got = append(got, c)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Time: 42, Flow: "orders", Stream: "day.csv", Offset: 100, Line: 17, Key: "536365", Fate: Done, Hops: []Hop{{To: "lines", Position: 1003}, {To: "orders/to", Position: -1}}},
		{Time: 42, Flow: "orders", Stream: "lines", Offset: 9, Fate: Absorbed, Hops: []Hop{{To: "orders/invoices", Position: -1, Key: "536365"}}},
		{Time: 42, Flow: "orders", Stream: "orders/invoices", Offset: 51, Key: "536365", Fate: Emitted, Hops: []Hop{{To: "day.csv:17", Position: -1}}},
		{Time: 42, Flow: "orders", Stream: "lines", Offset: 10, Fate: Dead},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got[0].ID() != "day.csv:17" || got[1].ID() != "lines@9" {
		t.Errorf("ids %s, %s", got[0].ID(), got[1].ID())
	}
	for cut := range rec {
		_ = Read(rec[:cut], func(*Entry) bool { return true }) // no panic
	}
}

func TestNotingAllocatesNothing(t *testing.T) {
	var d Draft
	note := func() {
		d.Reset("orders")
		for i := range 100 {
			d.Message("lines", int64(i), 0, "key", Done, 1)
			d.Appended("orders", i)
		}
		d.Append(1, func(string) (int64, bool) { return 0, true })
	}
	note()
	if n := testing.AllocsPerRun(100, note); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRead(f *testing.F) {
	var d Draft
	d.Reset("f")
	d.Message("s", 1, 2, "k", Done, 1)
	d.Appended("c", 0)
	f.Add(d.Append(1, func(string) (int64, bool) { return 7, true }))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'f', 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, rec []byte) {
		n := 0
		_ = Read(rec, func(e *Entry) bool {
			n += 1 + len(e.Hops)
			return true
		})
		if n > len(rec) {
			t.Errorf("%d entries and hops of %d bytes", n, len(rec))
		}
	})
}
