// Package benchdata writes the inputs of the benchmark: deterministic by seed, streamed, so that
// the harness stays small whatever the size of the file.
package benchdata

import (
	"io"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"time"
)

// LineBytes is the mean length of a line of [OrderLines], its line end included.
const LineBytes = 308

// Figures is what a case must find again at its destination.
type Figures struct {
	Lines    int    // lines in the file, a CSV header not counted
	Bytes    int64  // size of the file
	Passing  int    // lines that pass the case's filter
	FirstOut []byte // the first passing line after the mapping, as JSON
}

// Threshold is what `amount` must exceed to pass the filter of the JSON-lines case.
const Threshold = 100

var (
	countries = []string{"GB", "GB", "GB", "DE", "DE", "FR", "FR", "IE", "NL", "ES", "BE", "CH", "NO", "IT", "US", "JP"}
	euro      = map[string]string{"DE": "EUR", "FR": "EUR", "IE": "EUR", "NL": "EUR", "ES": "EUR", "BE": "EUR", "IT": "EUR", "CH": "CHF", "NO": "NOK", "US": "USD", "JP": "JPY"}
	streets   = []string{"High Street", "Station Road", "Mühlenweg", "Rue de la Gare", "Kirchgasse", "Park Lane", "Calle Mayor"}
	cities    = []string{"London", "Köln", "Lyon", "Dublin", "Utrecht", "Sevilla", "Gent", "Zürich"}
	words     = []string{"white", "hanging", "heart", "lantern", "set of 3", "red", "spotty", "cake", "tin", "vintage", "mug", "gift", "wrap", "small"}
)

type rng struct{ src *rand.PCG }

func (r rng) n(below int) int {
	hi, _ := bits.Mul64(r.src.Uint64(), uint64(below))
	return int(hi)
}

// OrderLines writes n order lines as JSON lines of [LineBytes] bytes in the mean (each within 40
// of it). An order line has an id, a customer, a country, an amount, a currency, a time, one to
// three items, an address and a note. About half have an amount above [Threshold].
func OrderLines(w io.Writer, seed uint64, n int) (Figures, error) {
	r := rng{rand.NewPCG(seed, 0x62656e6368)}
	var f Figures
	start := time.Date(2010, time.December, 1, 8, 26, 0, 0, time.UTC)
	buf := make([]byte, 0, 64<<10)
	for i := range n {
		from := len(buf)
		var amount, country string
		buf, amount, country = r.orderLine(buf, i, start.Add(time.Duration(i)*7*time.Second))
		if over(amount) {
			if f.Passing++; f.Passing == 1 {
				f.FirstOut = firstMapped(i, amount, country, start.Add(time.Duration(i)*7*time.Second))
			}
		}
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

func over(amount string) bool {
	v, err := strconv.ParseFloat(amount, 64)
	return err == nil && v > Threshold
}

// firstMapped is the four-field mapping of the JSON-lines case, written by hand.
func firstMapped(i int, amount, country string, at time.Time) []byte {
	return []byte(`{"id":"` + strconv.Itoa(536365+i) + `","country":"` + country + `","amount":` + amount + `,"at":"` + at.Format(time.RFC3339) + `"}`)
}

func (r rng) orderLine(dst []byte, i int, at time.Time) (line []byte, amount, country string) {
	from := len(dst)
	country = countries[r.n(len(countries))]
	currency := euro[country]
	if currency == "" {
		currency = "GBP"
	}
	pence := 100 + r.n(19900)
	amount = strconv.Itoa(pence/100) + "." + string([]byte{byte('0' + pence/10%10), byte('1' + pence%9)})
	dst = append(dst, `{"id":"`...)
	dst = strconv.AppendInt(dst, int64(536365+i), 10)
	dst = append(dst, `","customer":`...)
	dst = strconv.AppendInt(dst, int64(12346+r.n(5000)), 10)
	dst = append(dst, `,"country":"`...)
	dst = append(dst, country...)
	dst = append(dst, `","amount":`...)
	dst = append(dst, amount...)
	dst = append(dst, `,"currency":"`...)
	dst = append(dst, currency...)
	dst = append(dst, `","ts":"`...)
	dst = at.AppendFormat(dst, time.RFC3339)
	dst = append(dst, `","items":[`...)
	for k := range 1 + r.n(2) {
		if k > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"sku":"`...)
		dst = strconv.AppendInt(dst, int64(20600+r.n(9000)), 10)
		dst = append(dst, `","qty":`...)
		dst = strconv.AppendInt(dst, int64(1+r.n(48)), 10)
		dst = append(dst, `,"price":`...)
		dst = strconv.AppendInt(dst, int64(1+r.n(12)), 10)
		dst = append(dst, `.95}`...)
	}
	dst = append(dst, `],"address":{"street":"`...)
	dst = append(dst, streets[r.n(len(streets))]...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(1+r.n(300)), 10)
	dst = append(dst, `","city":"`...)
	dst = append(dst, cities[r.n(len(cities))]...)
	dst = append(dst, `","zip":"`...)
	dst = strconv.AppendInt(dst, int64(10000+r.n(89999)), 10)
	dst = append(dst, `"},"note":"`...)
	const tail = 3 // the note's quote, the brace and the line end
	goal := from + LineBytes - 40 + r.n(81)
	for len(dst) < goal-tail {
		word := words[r.n(len(words))]
		if room := goal - tail - len(dst); len(word) >= room {
			word = "................................"[:room]
		}
		dst = append(dst, word...)
		if len(dst) < goal-tail {
			dst = append(dst, ' ')
		}
	}
	return append(dst, "\"}\n"...), amount, country
}
