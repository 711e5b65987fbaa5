package csv

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// framer cuts a stream into rows. Finding the end of a row is a search for the line end, unless the line has a
// quote; then the cells are walked through, as far as it takes to know which line ends are text.
type framer struct {
	codec *codec
	table *table // nil until the columns are known
	skip  int    // lines still to step over
	begun bool   // past the byte order mark

	at    int       // how much of the row was looked at
	state cellState // where in the row that is
	mode  rowMode
	plain int  // bytes whose lines are rows, after a quote that never closes
	lost  bool // within a row over the limit: looking for its end
}

// cellState is where in a row the walk is.
type cellState uint8

const (
	cellStart cellState = iota
	inPlain             // in a cell without quotes
	inQuoted            // after the opening quote
	quoteSeen           // after a quote within a quoted cell
)

// rowMode is how the end of the row is found.
type rowMode uint8

const (
	unknown rowMode = iota
	byLine          // the next line end
	byCells         // the next line end that is not within quotes
)

var bom = []byte("\ufeff")

// Frame implements penstock.Framer.
func (f *framer) Frame(data []byte, atEOF bool) (int, []byte, error) {
	if !f.begun {
		if len(data) < len(bom) && !atEOF && bytes.HasPrefix(bom, data) {
			return 0, nil, nil
		}
		f.begun = true
		if bytes.HasPrefix(data, bom) {
			return len(bom), nil, nil
		}
	}
	if len(data) == 0 {
		return 0, nil, nil
	}
	end := f.end(data)
	next := end + 1
	switch {
	case end >= 0:
	case !atEOF && len(data) <= f.codec.max && !f.lost:
		return 0, nil, nil
	case !atEOF || f.state == inQuoted && f.mode == byCells && !f.lost:
		return f.giveUp(data, atEOF)
	default:
		end, next = len(data), len(data)
	}
	f.at, f.state, f.mode = 0, cellStart, unknown
	f.plain = max(f.plain-next, 0)
	return f.row(data, end, next)
}

// end finds where the row ends that data begins with; -1 if that can't be told yet.
func (f *framer) end(data []byte) int {
	c := f.codec
	if f.mode == unknown {
		nl := bytes.IndexByte(data, c.eol)
		line := data
		if nl >= 0 {
			line = data[:nl]
		}
		f.mode = byCells
		switch {
		case c.quote == 0, !c.multiline, f.skip > 0, f.plain > 0, f.lost, c.comment != 0 && data[0] == c.comment:
			f.mode = byLine
		case bytes.IndexByte(line, c.quote) >= 0:
			return f.walk(data)
		}
		if nl < 0 && f.mode == byCells {
			f.mode = unknown // a quote may follow
		} else {
			f.at = len(line)
		}
		return nl
	}
	if f.mode == byCells {
		return f.walk(data)
	}
	nl := bytes.IndexByte(data[f.at:], c.eol)
	if nl < 0 {
		f.at = len(data)
		return -1
	}
	return f.at + nl
}

// walk goes on through the cells of the row up to its end.
func (f *framer) walk(data []byte) (end int) {
	c := f.codec
	i, state := f.at, f.state
	eol := -1 // the first line end from i on; len(data) if there is none
	for i < len(data) {
		switch state {
		case cellStart:
			switch {
			case c.trim && blank(data[i]) && !c.separates(data[i:]):
				i++
			case data[i] == c.quote:
				state = inQuoted
				i++
			default:
				state = inPlain
			}
		case inPlain:
			if eol < i {
				if eol = bytes.IndexByte(data[i:], c.eol) + i; eol < i {
					eol = len(data)
				}
			}
			sep := c.findSeparator(data[i:eol])
			switch {
			case sep >= 0:
				i += sep + len(c.sepText)
				state = cellStart
			case eol < len(data):
				return eol
			default:
				f.at, f.state = len(data)-c.partOfSeparator(data[i:]), inPlain
				return -1
			}
		case inQuoted:
			n := bytes.IndexByte(data[i:], c.quote)
			if n < 0 {
				i = len(data)
				continue
			}
			i += n + 1
			state = quoteSeen
		case quoteSeen:
			rest, k := data[i:], 0
			for c.trim && k < len(rest) && blank(rest[k]) && !c.separates(rest[k:]) {
				k++
			}
			after := rest[k:]
			switch {
			case rest[0] == c.quote:
				i++
				state = inQuoted
			case len(after) == 0, len(after) == 1 && after[0] == '\r', c.partOfSeparator(after) == len(after):
				if len(after) > 0 && after[0] == c.eol {
					return i + k
				}
				f.at, f.state = i, state // what follows decides
				return -1
			case after[0] == c.eol:
				return i + k
			case after[0] == '\r' && after[1] == c.eol:
				return i + k + 1
			case c.separates(after):
				i += k + len(c.sepText)
				state = cellStart
			case c.lazy:
				state = inQuoted
			default:
				// A stray quote: the row fails when it is read, and goes up to the line end.
				state = inPlain
			}
		}
	}
	f.at, f.state = i, state
	return -1
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// findSeparator returns the offset of the first separator in b, -1 if there is none.
func (d *dialect) findSeparator(b []byte) int {
	if d.sep != 0 {
		return bytes.IndexByte(b, d.sep)
	}
	return bytes.Index(b, []byte(d.sepText))
}

// partOfSeparator returns how many bytes at the end of b may be the beginning of a separator.
func (d *dialect) partOfSeparator(b []byte) int {
	for k := min(len(d.sepText)-1, len(b)); k > 0; k-- {
		if d.sepText[:k] == string(b[len(b)-k:]) {
			return k
		}
	}
	return 0
}

// separates says whether b begins with the separator.
func (d *dialect) separates(b []byte) bool {
	if d.sep != 0 {
		return b[0] == d.sep
	}
	return bytes.HasPrefix(b, []byte(d.sepText))
}

// giveUp is called for a row that is over the limit, or whose quote is not closed at the end of the stream.
func (f *framer) giveUp(data []byte, atEOF bool) (int, []byte, error) {
	open := f.state == inQuoted && f.mode == byCells
	first := !f.lost
	f.at, f.state, f.mode = 0, cellStart, unknown
	if open {
		// The line that the row begins on is bad, and the lines that the quote swallowed are rows by themselves.
		next := len(data)
		if nl := bytes.IndexByte(data, f.codec.eol); nl >= 0 {
			next = nl + 1
		}
		f.plain = len(data) - next
		err := &penstock.Error{Code: penstock.Invalid, Op: "csv", Err: errors.New("a quote is opened and never closed"),
			Hint: "if quotes don't enclose cells set quote: none; if cells hold no line ends set multiline: false"}
		if !atEOF {
			err.Err = fmt.Errorf("a quote is opened and not closed within %d bytes", f.codec.max)
		}
		if f.header() {
			return 0, nil, err
		}
		return next, nil, err
	}
	f.lost, f.plain = true, 0
	if f.header() {
		return 0, nil, f.tooLarge()
	}
	if first {
		return len(data), nil, f.tooLarge()
	}
	return len(data), nil, nil
}

// header says that the row is the header row: without it the rows after it can't be read, and the next one must not be
// taken for it.
func (f *framer) header() bool { return f.codec.header && f.table == nil && f.skip == 0 }

func (f *framer) tooLarge() error {
	return &penstock.Error{Code: penstock.TooLarge, Op: "csv", Err: fmt.Errorf("a row of more than %d bytes", f.codec.max), Hint: "raise maxRecord if it is meant"}
}

// row gives the row data[:end], or steps over what is none.
func (f *framer) row(data []byte, end, next int) (int, []byte, error) {
	switch {
	case f.lost:
		f.lost = false
		f.skip = max(f.skip-1, 0)
		return next, nil, nil
	case end > f.codec.max && f.header():
		return 0, nil, f.tooLarge()
	case end > f.codec.max:
		f.skip = max(f.skip-1, 0)
		return next, nil, f.tooLarge()
	case f.skip > 0:
		f.skip--
		return next, nil, nil
	}
	if end > 0 && data[end-1] == '\r' && f.codec.eol == '\n' {
		end--
	}
	if end == 0 || f.codec.comment != 0 && data[0] == f.codec.comment {
		return next, nil, nil
	}
	record := data[:end]
	if f.table != nil {
		return next, record, nil
	}
	header := f.codec.header
	if err := f.columns(record); err != nil {
		return 0, nil, err
	}
	if header {
		return next, nil, nil
	}
	return next, record, nil
}

// columns finds the columns of the stream: first is its header row, or its first row.
func (f *framer) columns(first []byte) error {
	names := f.codec.columns
	if len(names) == 0 {
		if !utf8.Valid(first) {
			return &penstock.Error{Code: penstock.Invalid, Op: "csv", Err: errUTF8, Hint: hintEncoding}
		}
		cells, err := f.codec.cells(first)
		if err != nil {
			return err
		}
		names = make([]string, len(cells))
		for i, c := range cells {
			if f.codec.header {
				names[i] = strings.TrimSpace(c)
			}
			if names[i] == "" {
				names[i] = "c" + strconv.Itoa(i+1)
			}
		}
	}
	t, err := f.codec.table(names)
	if err != nil {
		return &penstock.Error{Code: penstock.Invalid, Op: "csv", Path: "header", Err: err, Hint: "name the columns with columns: […]"}
	}
	f.table = t
	return nil
}

// Bind implements penstock.Framer.
func (f *framer) Bind(d *jsonview.Doc, record []byte) { d.ResetLazy(record, f.table) }
