package orderdata

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// memory keeps generated files by name.
type memory map[string]*bytes.Buffer

type memoryFile struct{ *bytes.Buffer }

func (memoryFile) Close() error { return nil }

func (m memory) create(name string) (io.WriteCloser, error) {
	m[name] = &bytes.Buffer{}
	return memoryFile{m[name]}, nil
}

func generate(t *testing.T, c Config) (memory, *Expected) {
	t.Helper()
	m := memory{}
	e, err := Generate(c, m.create)
	if err != nil {
		t.Fatal(err)
	}
	return m, e
}

type row struct {
	file                                                                 string
	invoice, code, description, quantity, time, price, customer, country string
}

func rows(t *testing.T, m memory) []row {
	t.Helper()
	var out []row
	for _, name := range slices.Sorted(maps.Keys(m)) {
		r := csv.NewReader(bytes.NewReader(m[name].Bytes()))
		r.FieldsPerRecord = 8
		all, err := r.ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := strings.Join(all[0], ","); got != Header {
			t.Fatalf("%s: header %s", name, got)
		}
		for _, f := range all[1:] {
			out = append(out, row{name, f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]})
		}
	}
	return out
}

// recount arrives at the figures from the files alone, with exact rationals.
func recount(t *testing.T, c Config, m memory) Expected {
	t.Helper()
	names := slices.Sorted(maps.Keys(m))
	e := Expected{Seed: c.Seed, Days: len(names), LinesPerDay: c.LinesPerDay}
	invoices, cancelled, sales, countries := map[string][]string{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	total := new(big.Rat)
	for _, r := range rows(t, m) {
		e.Lines++
		invoices[r.invoice] = append(invoices[r.invoice], r.file)
		countries[r.country] = true
		price, ok := new(big.Rat).SetString(r.price)
		if !ok {
			t.Fatalf("price %q", r.price)
		}
		quantity, err := strconv.ParseInt(r.quantity, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		isC := r.invoice[0] == 'C'
		if isC {
			e.CancellationLines++
			cancelled[r.invoice] = true
		}
		if r.invoice[0] == 'A' {
			e.AdjustmentLines++
		}
		if r.customer == "" {
			e.LinesWithoutCustomer++
		}
		if r.description == "" {
			e.LinesWithoutDescription++
		}
		if price.Sign() <= 0 {
			e.LinesPriceNotPositive++
		}
		if price.Sign() > 0 && quantity > 0 && !isC {
			e.SalesLines++
			sales[r.invoice] = true
			total.Add(total, price.Mul(price, new(big.Rat).SetInt64(quantity)))
		}
	}
	for _, files := range invoices {
		several := false
		for _, f := range files {
			switch slices.Index(names, f) - slices.Index(names, files[0]) {
			case 0:
			case 1:
				e.CarriedLines++
				several = true
			default:
				e.LateLines++
				several = true
			}
		}
		if several {
			e.InvoicesInTwoFiles++
		}
	}
	e.Invoices, e.CancellationInvoices, e.SalesInvoices, e.Countries = len(invoices), len(cancelled), len(sales), len(countries)
	e.SalesTotal = total.FloatString(3)
	return e
}

func TestExpectedIsWhatTheFilesHold(t *testing.T) {
	for _, c := range []Config{
		{Seed: 1, Days: 30, LinesPerDay: 1500},
		{Seed: 2, Days: 8, LinesPerDay: 400},
		{Seed: 3, Days: 2, LinesPerDay: 40},
		{Seed: 4, Days: 1, LinesPerDay: 1},
		{Seed: 0, Days: 60, LinesPerDay: 7},
	} {
		m, got := generate(t, c)
		want := recount(t, c, m)
		gotTotal, _ := new(big.Rat).SetString(got.SalesTotal)
		wantTotal, _ := new(big.Rat).SetString(want.SalesTotal)
		if gotTotal == nil || gotTotal.Cmp(wantTotal) != 0 {
			t.Errorf("%+v: sales total %s, the files hold %s", c, got.SalesTotal, want.SalesTotal)
		}
		want.SalesTotal = got.SalesTotal
		if *got != want {
			t.Errorf("%+v:\n got %+v\nwant %+v", c, *got, want)
		}
	}
}

func TestSameSeedSameBytes(t *testing.T) {
	digest := func(c Config) string {
		m, _ := generate(t, c)
		h := sha256.New()
		for _, name := range slices.Sorted(maps.Keys(m)) {
			h.Write([]byte(name))
			h.Write(m[name].Bytes())
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	c := Config{Seed: 7, Days: 5, LinesPerDay: 300}
	first := digest(c)
	if again := digest(c); again != first {
		t.Error("two runs with one seed differ")
	}
	// Fixed, so that a change of the toolchain or of the generator is seen and meant.
	const known = "dfc4f0342c81af62c4ee37f6f0ca31d3f14238ab8b6ea7b5fb9f5e7a437b77a7"
	if first != known {
		t.Errorf("seed 7 gives %s, not %s any more: expected figures that others wrote down change with it", first, known)
	}
	c.Seed = 8
	if digest(c) == first {
		t.Error("another seed gives the same data")
	}
}

func TestDirtIsPresent(t *testing.T) {
	m, e := generate(t, Config{Seed: 1, Days: 30, LinesPerDay: 1500})
	all := rows(t, m)
	dirt := map[string]func(r row) bool{
		"customer as a floating point number": func(r row) bool { return len(r.customer) == 7 && strings.HasSuffix(r.customer, ".0") },
		"no customer":                         func(r row) bool { return r.customer == "" },
		"comma in the description":            func(r row) bool { return strings.Contains(r.description, ",") },
		"quote in the description":            func(r row) bool { return strings.Contains(r.description, `"`) },
		"description not ASCII":               func(r row) bool { return strings.Contains(r.description, "£") },
		"description ends in a blank":         func(r row) bool { return strings.HasSuffix(r.description, " ") },
		"description starts with a blank":     func(r row) bool { return strings.HasPrefix(r.description, " ") },
		"two blanks in a description":         func(r row) bool { return strings.Contains(r.description, "  ") },
		"no description":                      func(r row) bool { return r.description == "" },
		"a note for a description":            func(r row) bool { return r.description == "?" },
		"cancellation":                        func(r row) bool { return r.invoice[0] == 'C' && r.quantity[0] == '-' },
		"negative quantity, not cancelled":    func(r row) bool { return r.invoice[0] != 'C' && r.quantity[0] == '-' },
		"adjustment":                          func(r row) bool { return r.invoice[0] == 'A' },
		"price below zero":                    func(r row) bool { return r.price[0] == '-' },
		"price zero":                          func(r row) bool { return r.price == "0.0" },
		"price of a tenth of a penny":         func(r row) bool { return r.price == "0.001" },
		"stock code with small letter":        func(r row) bool { return r.code != strings.ToUpper(r.code) && len(r.code) == 6 },
		"stock code of words":                 func(r row) bool { return r.code == "BANK CHARGES" },
		"stock code POST":                     func(r row) bool { return r.code == "POST" },
		"line of an earlier day":              func(r row) bool { return r.time[:10] != r.file[:10] },
		"time to the second":                  func(r row) bool { _, err := time.Parse(time.DateTime, r.time); return err == nil },
	}
	for name, is := range dirt {
		if !slices.ContainsFunc(all, is) {
			t.Errorf("no line with: %s", name)
		}
	}
	for _, c := range append(countries, weighted[string]{home, 0}) {
		if !slices.ContainsFunc(all, func(r row) bool { return r.country == c.value }) {
			t.Errorf("no line from %s", c.value)
		}
	}
	if e.LateLines == 0 || e.CarriedLines == 0 {
		t.Errorf("%d late and %d carried lines", e.LateLines, e.CarriedLines)
	}
	twice := map[row]int{}
	moved := map[string]map[string]bool{}
	buyers := map[string]string{}
	duplicates, minutes := 0, 0
	for _, r := range all {
		if twice[r]++; twice[r] == 2 {
			duplicates++
		}
		if moved[r.invoice] == nil {
			moved[r.invoice] = map[string]bool{}
		}
		if moved[r.invoice][r.time] = true; len(moved[r.invoice]) == 2 {
			minutes++
		}
		if b, ok := buyers[r.invoice]; ok && b != r.customer+r.country {
			t.Errorf("invoice %s has two customers", r.invoice)
		}
		buyers[r.invoice] = r.customer + r.country
	}
	if duplicates == 0 || minutes == 0 {
		t.Errorf("%d lines twice, %d invoices of two minutes", duplicates, minutes)
	}
}

// A carried line stands at the start of the next file, before any of that day's own.
func TestCarriedLinesComeFirst(t *testing.T) {
	m, _ := generate(t, Config{Seed: 5, Days: 12, LinesPerDay: 300})
	all := rows(t, m)
	files, carried := map[string]bool{}, 0
	for i, r := range all {
		if files[r.file] || i == 0 {
			files[r.file] = true
			continue
		}
		files[r.file] = true
		if before := all[i-1]; before.invoice == r.invoice {
			carried++
			if r.time[:10] == r.file[:10] {
				t.Errorf("%s: carried line %+v has the new day's date", r.file, r)
			}
		}
	}
	if carried == 0 {
		t.Error("no invoice spans two files")
	}
}

func TestNamesSkipSaturdays(t *testing.T) {
	got := Config{Days: 4}.Names()
	want := []string{"2010-12-01.csv", "2010-12-02.csv", "2010-12-03.csv", "2010-12-05.csv"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestPriceText(t *testing.T) {
	for p, want := range map[price]string{0: "0.0", 1: "0.001", 10: "0.01", 100: "0.1", 2100: "2.1", 2550: "2.55", 18000: "18.0",
		-11062060: "-11062.06", 1005: "1.005"} {
		if got := string(p.append(nil)); got != want {
			t.Errorf("%d thousandths: %s, want %s", p, got, want)
		}
	}
}

type brokenFile struct{ write, close error }

func (b brokenFile) Write(p []byte) (int, error) { return len(p), b.write }
func (b brokenFile) Close() error                { return b.close }

func TestErrorsAreReported(t *testing.T) {
	full := errors.New("disk full")
	ok := Config{Days: 1, LinesPerDay: 10}
	for name, c := range map[string]struct {
		cfg    Config
		create func(string) (io.WriteCloser, error)
		want   string
	}{
		"no days":  {Config{LinesPerDay: 1}, nil, "0 days"},
		"no lines": {Config{Days: 1}, nil, "0 lines per day"},
		"create":   {ok, func(string) (io.WriteCloser, error) { return nil, full }, "create 2010-12-01.csv: disk full"},
		"write":    {ok, func(string) (io.WriteCloser, error) { return brokenFile{write: full}, nil }, "write 2010-12-01.csv: disk full"},
		"close":    {ok, func(string) (io.WriteCloser, error) { return brokenFile{close: full}, nil }, "write 2010-12-01.csv: disk full"},
	} {
		if _, err := Generate(c.cfg, c.create); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
