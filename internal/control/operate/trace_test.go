package operate_test

import (
	"strings"
	"testing"

	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/journal"
)

// A line of a file of a watched folder is found by its name, whatever version of the file it was in.
func TestTraceOfWatchedFile(t *testing.T) {
	w := newWorld(t)
	var d journal.Draft
	d.Reset("orders")
	d.Message("in/a.csv@1f00c3d2", 0, 1, "k1", journal.Done, 1)
	d.Appended("lines", 0)
	d.Message("in/a.csv@1f00c3d2", 20, 2, "k2", journal.Filtered, 0)
	d.Message("in/a.csv@0a00c3d2.2", 0, 1, "k3", journal.Dead, 0)
	d.Message("in/a.csv@other", 0, 1, "k4", journal.Dead, 0)
	d.Message("in/a.csv@1f00c3d2.x", 0, 1, "k5", journal.Dead, 0)
	w.append(journal.Channel, start, d.Append(start.UnixNano(), func(string) (int64, bool) { return 7, true }))
	for id, want := range map[string]string{
		"in/a.csv:1":          "in/a.csv@1f00c3d2:1 in/a.csv@0a00c3d2.2:1",
		"in/a.csv@1f00c3d2:1": "in/a.csv@1f00c3d2:1",
		"in/a.csv:2":          "in/a.csv@1f00c3d2:2",
		"in/a.csv@other:1":    "in/a.csv@other:1",
		"lines@7":             "in/a.csv@1f00c3d2:1",
		"in/a.csv:3":          "",
		"in/a.csv:x":          "",
		"a.csv:1":             "",
	} {
		tr, err := w.ops.Journal.Trace(t.Context(), operate.TraceQuery{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range tr.Hops {
			got = append(got, h.ID)
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s: got %q, want %q", id, g, want)
		}
	}
}
