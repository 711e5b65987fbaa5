package benchdata

import (
	"io"
	"math/rand/v2"
	"time"
)

// openOrders is how many orders [InvoiceLines] has lines of at a time.
const openOrders = 64

// InvoiceLines writes n order lines as [OrderLines] does, but those of one order have its `id`: 1 to 39 of them, 20 in the mean,
// among those of other orders. `ts` goes on by a second every 50 lines, so that no two lines of an order that follow each other
// are a minute apart. Figures.Passing is the number of orders.
func InvoiceLines(w io.Writer, seed uint64, n int) (Figures, error) {
	r := rng{rand.NewPCG(seed, 0x696e766f696365)}
	var f Figures
	type order struct{ id, left int }
	open := make([]order, openOrders)
	start := time.Date(2010, time.December, 1, 8, 26, 0, 0, time.UTC)
	buf := make([]byte, 0, 64<<10)
	for i := range n {
		o := &open[r.n(openOrders)]
		if o.left == 0 {
			*o = order{id: f.Passing, left: 1 + r.n(39)}
			f.Passing++
		}
		o.left--
		from := len(buf)
		buf, _, _ = r.orderLine(buf, o.id, start.Add(time.Duration(i)*(time.Second/50)))
		f.Lines++
		f.Bytes += int64(len(buf) - from)
		if len(buf) > 60<<10 || i == n-1 {
			if _, err := w.Write(buf); err != nil {
				return f, err
			}
			buf = buf[:0]
		}
	}
	return f, nil
}
