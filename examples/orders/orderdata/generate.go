package orderdata

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// Header is the first line of every file, without its line end.
const Header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"

// Config says how much is generated, and from which seed.
type Config struct {
	// Seed chooses the data; the same seed gives the same bytes. 0 is a seed like any other.
	Seed uint64
	// Days is the number of files, at least 1. Saturdays are skipped, so 6 days are a week.
	// Invoices that span two files need 2 days, late lines need 3.
	Days int
	// LinesPerDay is about how many lines a file holds, at least 1. A day ends after the invoice
	// that reaches a number drawn between 60 % and 140 % of it.
	LinesPerDay int
	// Start is the first day; the zero value means 2010-12-01. Its time of day is ignored.
	Start time.Time
}

func (c Config) check() error {
	switch {
	case c.Days < 1:
		return fmt.Errorf("orderdata: %d days: at least 1 is needed", c.Days)
	case c.LinesPerDay < 1:
		return fmt.Errorf("orderdata: %d lines per day: at least 1 is needed", c.LinesPerDay)
	}
	return nil
}

// Names lists the files that [Generate] will write for c, in order ("2010-12-01.csv", …).
func (c Config) Names() []string {
	var names []string
	for _, d := range c.days() {
		names = append(names, d.Format(time.DateOnly)+".csv")
	}
	return names
}

func (c Config) days() []time.Time {
	start := c.Start
	if start.IsZero() {
		start = time.Date(2010, time.December, 1, 0, 0, 0, 0, time.UTC)
	}
	day := time.Date(start.Year(), start.Month(), start.Day(), 0, 0, 0, 0, time.UTC)
	var days []time.Time
	for len(days) < c.Days {
		if day.Weekday() != time.Saturday {
			days = append(days, day)
		}
		day = day.AddDate(0, 0, 1)
	}
	return days
}

// Generate writes one file for each day to the writer that create returns for its name, closes
// it, and returns the exact figures of all that was written. It stops at the first error of
// create, of a write or of a close. Memory is bounded by the lines of one invoice and those
// that are still to come late, whatever the number of days.
func Generate(c Config, create func(name string) (io.WriteCloser, error)) (*Expected, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := newShop(c)
	for i, name := range c.Names() {
		w, err := create(name)
		if err != nil {
			return nil, fmt.Errorf("orderdata: create %s: %w", name, err)
		}
		err = s.writeDay(i, w)
		if err = errors.Join(err, w.Close()); err != nil {
			return nil, fmt.Errorf("orderdata: write %s: %w", name, err)
		}
	}
	return s.tally.expected(c), nil
}

// dayWriter buffers the lines of one file and counts each as it is written, so that no figure
// can differ from what the file holds.
type dayWriter struct {
	w     io.Writer
	buf   []byte
	day   int
	tally *tally
	lines int
	err   error
}

const flushAt = 64 << 10

func (d *dayWriter) line(l *line) {
	d.buf = l.append(d.buf)
	d.tally.add(l, d.day)
	d.lines++
	if len(d.buf) >= flushAt {
		d.flush()
	}
}

func (d *dayWriter) flush() {
	if d.err == nil && len(d.buf) > 0 {
		_, d.err = d.w.Write(d.buf)
	}
	d.buf = d.buf[:0]
}
