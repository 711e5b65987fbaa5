package operate

import (
	"testing"
	"time"
)

func TestShape(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"price -1.50 is not above 0", "price -# is not above #"},
		{`no such key: "qty" at line 17`, `no such key: "…" at line #`},
		{`said "a \"b\" c" twice "d"`, `said "…" twice "…"`},
		{"it can't be 3 o'clock", "it can't be # o'clock"},
		{`'x' is not 'y'`, `'…' is not '…'`},
		{`open " alone`, `open " alone`},
		{"ends with 3.", "ends with #."},
		{"größe 10 µm", "größe # µm"},
	} {
		if got := shape(tc.in); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestShapeOfPath(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""}, {"body.a", "body.a"}, {"body.lines[12].price", "body.lines[*].price"}, {"a[0][1]", "a[*][*]"}, {`a["3"]`, `a["3"]`}, {"a[", "a["}, {"a[]", "a[]"}, {"a[3", "a[3"},
	} {
		if got := shapeOfPath(tc.in); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
}

func FuzzShape(f *testing.F) {
	f.Add(`price 3 "x" [4]`)
	f.Add(`'\`)
	f.Fuzz(func(t *testing.T, s string) {
		if once := shape(s); len(once) > 3*len(s)+4 {
			t.Errorf("%q grew to %q", s, once)
		}
		if p := shapeOfPath(s); len(p) > len(s) {
			t.Errorf("%q grew to %q", s, p)
		}
	})
}

func TestClusters(t *testing.T) {
	c := newClusterer()
	add := func(id, step, message, path, at string) {
		c.add("orders", id, &Reason{Step: step, Code: "invalid", Message: message, Path: path, Time: at})
	}
	add("orders.dead@0", "check", "price -1 is bad", "body.lines[0].price", "2026-01-05T09:00:02Z")
	add("orders.dead@1", "check", "price -2 is bad", "body.lines[7].price", "2026-01-05T09:00:03Z")
	add("orders.dead@2", "check", "price -3 is bad", "body.lines[7].price", "2026-01-05T09:00:01Z")
	add("orders.dead@3", "map", "price -3 is bad", "", "by hand")
	got := c.result()
	if got.Count != 4 || len(got.Clusters) != 2 {
		t.Fatalf("%+v", got)
	}
	first := got.Clusters[0]
	want := Cluster{Flow: "orders", Step: "check", Code: "invalid", Message: "price -2 is bad", Path: "body.lines[*].price", Count: 3, Example: "orders.dead@1",
		Oldest: time.Date(2026, 1, 5, 9, 0, 1, 0, time.UTC), Newest: time.Date(2026, 1, 5, 9, 0, 3, 0, time.UTC)}
	if first != want {
		t.Errorf("got  %+v\nwant %+v", first, want)
	}
	if last := got.Clusters[1]; last.Step != "map" || last.Example != "orders.dead@3" || !last.Newest.IsZero() {
		t.Errorf("%+v", last)
	}
}

func TestClustersAreBounded(t *testing.T) {
	c := newClusterer()
	for i := range 2 * maxClusters {
		c.add("f", "id", &Reason{Message: string(rune('à' + i))})
	}
	if got := c.result(); len(got.Clusters) != maxClusters+1 || got.Clusters[0].Message != otherReasons || got.Clusters[0].Count != maxClusters {
		t.Errorf("%d clusters, the first %+v", len(got.Clusters), got.Clusters[0])
	}
}
