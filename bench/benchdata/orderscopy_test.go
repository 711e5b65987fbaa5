package benchdata

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"
)

func TestCopyCSV(t *testing.T) {
	var in, out bytes.Buffer
	f, err := OrdersCSV(&in, 1, 2000)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(in.Bytes())).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	got, err := CopyCSV(&out, &in)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := csv.NewReader(&out).ReadAll()
	if err != nil || got.Rows != int64(f.Lines) || len(copied) != len(rows) {
		t.Fatalf("%d rows of %d, %v", got.Rows, f.Lines, err)
	}
	customers := int64(0)
	for i, r := range copied {
		if strings.Contains(r[6], ".") {
			t.Errorf("row %d: the customer %s is no integer", i, r[6])
		}
		if i > 0 && r[6] != "" {
			customers++
		}
		rows[i][6] = r[6]
		if strings.Join(r, "|") != strings.Join(rows[i], "|") {
			t.Errorf("row %d is %q, not %q", i, r, rows[i])
		}
	}
	if got.Customers != customers || customers == 0 || got.First > got.Last || got.First == "" {
		t.Error(got, customers)
	}
	for _, bad := range []string{"a,b\nc\n", "1,2,3,4,5,6,7,8\n1,2,3,many,5,6,7,8\n"} {
		if _, err := CopyCSV(&out, strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
