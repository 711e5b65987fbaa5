package csv

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

var errUTF8 = errors.New("the row is not valid UTF-8")

const hintEncoding = "say how the file is encoded, for example encoding: windows-1252"

// table is what the rows of a stream have in common: it decodes them when they are read. It is
// immutable and safe for concurrent use.
type table struct {
	*dialect
	shape   *jsonview.Shape
	columns []column
	extra   int       // memory that rewriting a row may take beyond twice its length
	wider   *sync.Map // of *table by how many cells its rows have, where surplus cells are allowed
}

func newTable(d *dialect, names []string) (*table, error) {
	shape, err := jsonview.NewShape(names)
	if err != nil {
		return nil, err
	}
	t := &table{dialect: d, shape: shape, columns: make([]column, len(names)), wider: new(sync.Map)}
	for i, name := range shape.Columns() {
		t.columns[i] = d.column(name)
		t.extra += t.columns[i].extra()
	}
	return t, nil
}

// widened is the table for rows of n cells, more than there are columns.
func (t *table) widened(n int) (*table, error) {
	if w, ok := t.wider.Load(n); ok {
		return w.(*table), nil
	}
	names := append([]string(nil), t.shape.Columns()...)
	for i := len(names); i < n; i++ {
		names = append(names, "c"+strconv.Itoa(i+1))
	}
	w, err := newTable(t.dialect, names)
	if err != nil {
		return nil, err
	}
	t.wider.Store(n, w)
	return w, nil
}

// DecodeRecord implements jsonview.Decoder.
func (t *table) DecodeRecord(d *jsonview.Doc, src []byte) error {
	if !utf8.Valid(src) {
		return &penstock.Error{Code: penstock.Invalid, Op: "csv", Err: errUTF8, Hint: hintEncoding}
	}
	r := row{table: t, d: d, src: src}
	for {
		d.ResetRecord(src, t.shape)
		r.table, r.mem = t, nil
		var (
			n   int
			err error
		)
		if t.sep != 0 && (t.quote == 0 || bytes.IndexByte(src, t.quote) < 0) {
			n = r.plain()
		} else {
			n, err = r.quoted()
		}
		if err != nil {
			return err
		}
		switch {
		case n == len(t.columns) || n < len(t.columns) && t.ragged:
		case t.ragged:
			if t, err = t.widened(n); err != nil {
				return err
			}
			continue
		default:
			return &penstock.Error{Code: penstock.Invalid, Op: "csv", Err: fmt.Errorf("the row has %d cells, but there are %d columns", n, len(t.columns)),
				Hint: "if rows may differ set ragged: allow"}
		}
		if r.mem != nil {
			d.Rebase(r.mem)
		}
		d.EndRecord()
		return nil
	}
}

// row is one row on its way to cells.
type row struct {
	*table
	d   *jsonview.Doc
	src []byte
	mem []byte // src and after it what was rewritten; nil while nothing was
}

// plain cuts a row without quotes.
func (r *row) plain() (cells int) {
	src, sep, columns := r.src, r.sep, r.columns
	start := 0
	for {
		end := bytes.IndexByte(src[start:], sep)
		last := end < 0
		if last {
			end = len(src)
		} else {
			end += start
		}
		if cells < len(columns) {
			r.cell(cells, start, end, false, false)
		}
		cells++
		if last {
			return cells
		}
		start = end + 1
	}
}

// quoted cuts a row that has quotes, or whose separator takes more than a byte.
func (r *row) quoted() (cells int, err error) {
	src, size := r.src, len(r.sepText)
	at := 0
	for {
		start, end, next, doubled, isQuoted, err := r.cellAt(src, at)
		if err != nil {
			return 0, &penstock.Error{Code: penstock.Invalid, Op: "csv", Path: fmt.Sprintf("cell %d", cells+1), Err: err,
				Hint: "if quotes come as they like set lazyQuotes: true; if they don't enclose cells quote: none"}
		}
		if cells < len(r.columns) {
			r.cell(cells, start, end, isQuoted, doubled)
		}
		cells++
		if next >= len(src) {
			return cells, nil
		}
		at = next + size
	}
}

var (
	errStray    = errors.New("a quote stands within a cell that does not begin with one")
	errAfter    = errors.New("text follows the closing quote")
	errUnclosed = errors.New("the quote is not closed in this row")
)

// cellAt finds the cell of src that begins at at: its text src[start:end], the offset of the separator after it or the end of the
// row, and whether it is quoted and has quotes that are doubled.
func (d *dialect) cellAt(src []byte, at int) (start, end, next int, doubled, quoted bool, err error) {
	start = at
	if d.trim {
		for start < len(src) && blank(src[start]) && !d.separates(src[start:]) {
			start++
		}
	}
	if d.quote == 0 || start == len(src) || src[start] != d.quote {
		next = d.findSeparator(src[at:])
		if next < 0 {
			next = len(src)
		} else {
			next += at
		}
		if d.quote != 0 && !d.lazy && bytes.IndexByte(src[at:next], d.quote) >= 0 {
			return 0, 0, 0, false, false, errStray
		}
		return at, next, next, false, false, nil
	}
	start++
	for i := start; ; i++ {
		n := bytes.IndexByte(src[i:], d.quote)
		if n < 0 {
			if d.lazy {
				return start, len(src), len(src), doubled, true, nil
			}
			return 0, 0, 0, false, false, errUnclosed
		}
		i += n
		next = i + 1
		if d.trim {
			for next < len(src) && blank(src[next]) && !d.separates(src[next:]) {
				next++
			}
		}
		switch {
		case next == len(src) || d.separates(src[next:]):
			return start, i, next, doubled, true, nil
		case src[i+1] == d.quote:
			doubled = true
			i++
		case !d.lazy:
			return 0, 0, 0, false, false, errAfter
		}
	}
}

// cells gives the texts of the cells of a header row.
func (d *dialect) cells(src []byte) ([]string, error) {
	var out []string
	for at := 0; ; {
		start, end, next, doubled, _, err := d.cellAt(src, at)
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Invalid, Op: "csv", Path: fmt.Sprintf("header, cell %d", len(out)+1), Err: err}
		}
		text := src[start:end]
		if doubled {
			text = d.undouble(nil, text)
		}
		out = append(out, string(text))
		if next >= len(src) {
			return out, nil
		}
		at = next + len(d.sepText)
	}
}

// undouble appends text with its doubled quotes made single.
func (d *dialect) undouble(dst, text []byte) []byte {
	for {
		n := bytes.IndexByte(text, d.quote)
		if n < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:n+1]...)
		if text = text[n+1:]; len(text) > 0 && text[0] == d.quote {
			text = text[1:]
		}
	}
}

// room makes the row's source writable: what is appended to the returned slice is part of it once keep was called.
func (r *row) room() []byte {
	if r.mem == nil {
		size := 2*len(r.src) + r.extra
		r.mem = append(r.d.Scratch(size)[:0], r.src...)
		r.d.Rebase(r.mem)
	}
	return r.mem
}

// keep makes what was appended to room's result part of the source and returns where it begins.
func (r *row) keep(mem []byte) (start, end int) {
	start = len(r.mem)
	r.mem = mem
	r.d.Rebase(mem)
	return start, len(mem)
}
