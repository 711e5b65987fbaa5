package benchdata

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

func TestInvoiceLines(t *testing.T) {
	var a bytes.Buffer
	f, err := InvoiceLines(&a, 1, 50_000)
	if err != nil || f.Bytes != int64(a.Len()) || f.Lines != 50_000 {
		t.Fatal(f, err)
	}
	last := map[string]time.Time{}
	for line := range bytes.Lines(a.Bytes()) {
		var l struct {
			ID string    `json:"id"`
			TS time.Time `json:"ts"`
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[l.ID]; ok && l.TS.Sub(before) >= time.Minute {
			t.Fatalf("%s: a line %s after the one before", l.ID, l.TS.Sub(before))
		}
		last[l.ID] = l.TS
	}
	if len(last) != f.Passing || len(last) < 2300 || len(last) > 2700 {
		t.Errorf("%d orders, figures say %d", len(last), f.Passing)
	}
}
