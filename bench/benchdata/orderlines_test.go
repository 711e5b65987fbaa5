package benchdata

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
)

func TestOrderLines(t *testing.T) {
	var a, b bytes.Buffer
	f, err := OrderLines(&a, 1, 20000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OrderLines(&b, 1, 20000); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("one seed, two files")
	}
	if f.Bytes != int64(a.Len()) || f.Lines != 20000 {
		t.Errorf("%+v, %d bytes written", f, a.Len())
	}
	passing := 0
	var first []byte
	for line := range bytes.Lines(a.Bytes()) {
		if d := len(line) - LineBytes; d < -40 || d > 40 {
			t.Fatalf("a line of %d bytes: %s", len(line), line)
		}
		var l struct {
			ID      string      `json:"id"`
			Country string      `json:"country"`
			Amount  json.Number `json:"amount"`
			TS      string      `json:"ts"`
			Items   []any       `json:"items"`
			Address map[string]any
		}
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if len(l.Items) == 0 || l.Address["zip"] == nil {
			t.Fatalf("not an order line: %s", line)
		}
		if v, _ := l.Amount.Float64(); v > Threshold {
			if passing++; passing == 1 {
				first, _ = json.Marshal(struct {
					ID      string      `json:"id"`
					Country string      `json:"country"`
					Amount  json.Number `json:"amount"`
					At      string      `json:"at"`
				}{l.ID, l.Country, l.Amount, l.TS})
			}
		}
	}
	if passing != f.Passing || !bytes.Equal(first, f.FirstOut) {
		t.Errorf("%d pass, first %s; figures say %d, %s", passing, first, f.Passing, f.FirstOut)
	}
	if mean := float64(f.Bytes) / float64(f.Lines); math.Abs(mean-LineBytes) > 1 {
		t.Errorf("mean line of %.1f bytes", mean)
	}
	if share := float64(f.Passing) / float64(f.Lines); share < 0.45 || share > 0.55 {
		t.Errorf("%.0f %% pass", share*100)
	}
}
