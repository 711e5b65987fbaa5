package benchdata

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Totals are what a table must hold that was filled from a file of [OrdersCSV].
type Totals struct {
	Rows, Quantity      int64
	Customers           int64 // rows that name a customer
	First, Last         string
	DescriptionsMissing int64
}

// CopyCSV reads a file of [OrdersCSV] and writes it as PostgreSQL's COPY takes it into a table with types: a customer 17850.0 is no integer there. All else
// stays as it is.
func CopyCSV(w io.Writer, r io.Reader) (t Totals, err error) {
	in, out := csv.NewReader(r), csv.NewWriter(w)
	in.ReuseRecord = true
	for line := 0; ; line++ {
		f, err := in.Read()
		if errors.Is(err, io.EOF) {
			out.Flush()
			return t, out.Error()
		}
		if err != nil {
			return t, fmt.Errorf("benchdata: %w", err)
		}
		if line > 0 {
			f[6] = strings.TrimSuffix(f[6], ".0")
			n, err := strconv.Atoi(f[3])
			if err != nil {
				return t, fmt.Errorf("benchdata: line %d: %w", line+1, err)
			}
			t.Rows++
			t.Quantity += int64(n)
			if f[6] != "" {
				t.Customers++
			}
			if f[2] == "" {
				t.DescriptionsMissing++
			}
			if date := f[4]; t.First == "" || date < t.First {
				t.First = date
			}
			t.Last = max(t.Last, f[4])
		}
		if err := out.Write(f); err != nil {
			return t, err
		}
	}
}
