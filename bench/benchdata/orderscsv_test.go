package benchdata

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strconv"
	"testing"
)

func TestOrdersCSV(t *testing.T) {
	var b bytes.Buffer
	f, err := OrdersCSV(&b, 1, 3000)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(b.Len())
	all, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	passing := 0
	for _, r := range all[1:] {
		q, _ := strconv.Atoi(r[3])
		p, _ := strconv.ParseFloat(r[5], 64)
		if q > 0 && p > 0 {
			if passing++; passing == 1 {
				var got map[string]any
				if err := json.Unmarshal(f.FirstOut, &got); err != nil {
					t.Fatal(err)
				}
				if got["invoice"] != r[0] || got["sku"] != r[1] || got["country"] != r[7] || got["amount"] != float64(q)*p {
					t.Errorf("first %s, of %q", f.FirstOut, r)
				}
			}
		}
	}
	if f.Lines != len(all)-1 || f.Passing != passing || f.Bytes != size {
		t.Errorf("%+v, but %d lines, %d pass, %d bytes", f, len(all)-1, passing, size)
	}
	if _, err := OrdersCSV(&b, 5, 1); err != nil {
		t.Log(err) // a file of one line may hold no sale; it must say so, not panic
	}
}
