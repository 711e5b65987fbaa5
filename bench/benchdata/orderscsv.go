package benchdata

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"penstock.dev/penstock/examples/orders/orderdata"
)

// OrdersCSV writes one CSV file with the columns and the dirt of the orders example, of about n
// lines (between 60 % and 140 % of it, by the seed). Passing counts the lines with price and
// quantity above zero.
func OrdersCSV(w io.Writer, seed uint64, n int) (Figures, error) {
	out := &counter{w: w}
	e, err := orderdata.Generate(orderdata.Config{Seed: seed, Days: 1, LinesPerDay: n},
		func(string) (io.WriteCloser, error) { return out, nil })
	if err != nil {
		return Figures{}, err
	}
	first, err := firstSale(out.head.String())
	return Figures{Lines: e.Lines, Bytes: out.bytes, Passing: e.SalesLines, FirstOut: first}, err
}

// counter passes on what is written, counts it and keeps its beginning.
type counter struct {
	w     io.Writer
	bytes int64
	head  strings.Builder
}

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	if c.head.Len() < 64<<10 {
		c.head.Write(p)
	}
	return c.w.Write(p)
}

func (c *counter) Close() error { return nil }

// firstSale is the first line that passes, after the four-field mapping of the CSV case.
func firstSale(text string) ([]byte, error) {
	r := csv.NewReader(strings.NewReader(text))
	for {
		f, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("benchdata: no line passes the filter: take more lines")
		}
		if err != nil {
			return nil, fmt.Errorf("benchdata: %w", err)
		}
		quantity, _ := strconv.Atoi(f[3]) // the header has none: 0
		price, _ := strconv.ParseFloat(f[5], 64)
		if quantity > 0 && price > 0 {
			return json.Marshal(struct {
				Invoice string  `json:"invoice"`
				SKU     string  `json:"sku"`
				Country string  `json:"country"`
				Amount  float64 `json:"amount"`
			}{f[0], f[1], f[7], float64(quantity) * price})
		}
	}
}
