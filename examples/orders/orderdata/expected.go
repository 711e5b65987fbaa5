package orderdata

import "strings"

// Expected holds the exact figures of the generated files: what a flow that loses nothing must
// arrive at. Each can be counted again from the files alone.
type Expected struct {
	Seed        uint64 `json:"seed"`
	Days        int    `json:"days"`        // files
	LinesPerDay int    `json:"linesPerDay"` // as asked for; Lines is what came of it

	Lines    int `json:"lines"`    // rows, without the headers
	Invoices int `json:"invoices"` // distinct InvoiceNo over all lines; a C or A belongs to the number

	CancellationLines    int `json:"cancellationLines"`    // InvoiceNo starts with C
	CancellationInvoices int `json:"cancellationInvoices"` // distinct of those
	AdjustmentLines      int `json:"adjustmentLines"`      // InvoiceNo starts with A

	LinesWithoutCustomer    int `json:"linesWithoutCustomer"`    // CustomerID is empty
	LinesWithoutDescription int `json:"linesWithoutDescription"` // Description is empty
	LinesPriceNotPositive   int `json:"linesPriceNotPositive"`   // UnitPrice <= 0
	Countries               int `json:"countries"`               // distinct Country, Unspecified included

	SalesLines    int `json:"salesLines"`    // UnitPrice > 0, Quantity > 0 and InvoiceNo does not start with C
	SalesInvoices int `json:"salesInvoices"` // distinct InvoiceNo of those
	// SalesTotal is the exact sum of Quantity * UnitPrice over the sales lines, in its shortest
	// decimal form. Compare it as a number: 10.50 and 10.5 are the same total.
	SalesTotal string `json:"salesTotal"`

	InvoicesInTwoFiles int `json:"invoicesInTwoFiles"` // lines in more than one file
	CarriedLines       int `json:"carriedLines"`       // in the file right after the first file of their invoice
	LateLines          int `json:"lateLines"`          // in a file after that
}

// tally counts lines as they are written.
type tally struct {
	e       Expected
	total   price
	country map[string]bool
	seen    map[string]*invoiceFate
}

// invoiceFate is what is known of an invoice across the files.
type invoiceFate struct {
	firstDay      int
	sale, several bool
}

func newTally() *tally {
	return &tally{country: map[string]bool{}, seen: map[string]*invoiceFate{}}
}

func (t *tally) add(l *line, day int) {
	cancelled := strings.HasPrefix(l.invoice, "C")
	f := t.seen[l.invoice]
	if f == nil {
		f = &invoiceFate{firstDay: day}
		t.seen[l.invoice] = f
		t.e.Invoices++
		if cancelled {
			t.e.CancellationInvoices++
		}
	}
	t.e.Lines++
	if cancelled {
		t.e.CancellationLines++
	}
	if strings.HasPrefix(l.invoice, "A") {
		t.e.AdjustmentLines++
	}
	if l.customer == 0 {
		t.e.LinesWithoutCustomer++
	}
	if l.description == "" {
		t.e.LinesWithoutDescription++
	}
	if l.price <= 0 {
		t.e.LinesPriceNotPositive++
	}
	t.country[l.country] = true
	if l.price > 0 && l.quantity > 0 && !cancelled {
		t.e.SalesLines++
		t.total += l.price * price(l.quantity)
		if !f.sale {
			f.sale = true
			t.e.SalesInvoices++
		}
	}
	switch after := day - f.firstDay; {
	case after == 1:
		t.e.CarriedLines++
	case after > 1:
		t.e.LateLines++
	}
	if day != f.firstDay && !f.several {
		f.several = true
		t.e.InvoicesInTwoFiles++
	}
}

func (t *tally) expected(c Config) *Expected {
	e := t.e
	e.Seed, e.Days, e.LinesPerDay = c.Seed, c.Days, c.LinesPerDay
	e.Countries = len(t.country)
	e.SalesTotal = strings.TrimSuffix(string(t.total.append(nil)), ".0")
	return &e
}
