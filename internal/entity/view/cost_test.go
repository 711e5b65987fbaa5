package view_test

import (
	"encoding/json"
	"testing"

	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/jsonview"
)

// TestFoldingAllocatesLittle holds the folding of one event into its row to a ceiling, which also holds under the race detector: it has none, where the row has room.
func TestFoldingAllocatesLittle(t *testing.T) {
	pl := compiled(t, base+balances)
	body, err := json.Marshal(movement{"a", "paid", 1})
	if err != nil {
		t.Fatal(err)
	}
	rec := record.Draft{Time: 1, Key: "a", Format: jsonview.JSON, Body: body}.Append(nil)
	fold := view.Folding(pl.Views[0], rec)
	n := testing.AllocsPerRun(1000, func() {
		if err := fold(); err != nil {
			t.Fatal(err)
		}
	})
	if n > 2 {
		t.Errorf("%.0f allocations an event", n)
	}
}
