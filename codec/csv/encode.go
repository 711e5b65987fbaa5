package csv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// encoder writes a stream of rows.
type encoder struct {
	codec   *codec
	columns []string
	targets []column
	hints   []jsonview.Hint
	choose  bool // the columns were chosen by the configuration: other fields are left out on purpose
	out     *outEncoding
	header  bool // is still to be written
	buf     []byte
	cellBuf []byte
}

// Begin implements penstock.Encoder.
func (e *encoder) Begin(dst []byte) []byte {
	c := e.codec
	e.out = newOutEncoding(c.encoding)
	e.columns, e.header = nil, c.header
	switch {
	case len(c.columns) > 0:
		e.choose = true
		e.use(c.columns)
	case c.typ != nil:
		names := make([]string, len(c.typ.Fields))
		for i, f := range c.typ.Fields {
			names[i] = f.Name
		}
		e.use(names)
	}
	if e.out != nil {
		dst = e.out.begin(dst)
	}
	if e.columns != nil {
		if out, err := e.names(dst); err == nil {
			return out
		}
		// The names can't be written in this encoding: the first row will say so.
	}
	return dst
}

// use sets the columns.
func (e *encoder) use(names []string) {
	e.columns = names
	e.hints = make([]jsonview.Hint, len(names))
	e.targets = make([]column, len(names))
	for i, name := range names {
		e.targets[i] = e.codec.column(name)
	}
}

// names appends the header row, if it is still to be written.
func (e *encoder) names(dst []byte) ([]byte, error) {
	if !e.header {
		return dst, nil
	}
	row := e.buf[:0]
	for i, name := range e.columns {
		if i > 0 {
			row = append(row, e.codec.sepText...)
		}
		var err error
		if row, err = e.text(row, []byte(name), i, true); err != nil {
			return dst, err
		}
	}
	out, err := e.finish(dst, row)
	e.header = err != nil
	return out, err
}

// finish appends a row to the stream.
func (e *encoder) finish(dst, row []byte) ([]byte, error) {
	row = append(row, e.codec.eolText...)
	e.buf = row
	if e.out != nil {
		return e.out.append(dst, row)
	}
	return append(dst, row...), nil
}

// Continue implements penstock.Continuer: the columns are those of the stream.
func (e *encoder) Continue(head []byte) error {
	e.Begin(nil)
	if e.out != nil {
		return &penstock.Error{Code: penstock.Config, Op: "csv", Err: fmt.Errorf("a stream in %s can't be gone on with", e.codec.encoding), Hint: "write utf-8, or a new file each time"}
	}
	e.header = false
	if !e.codec.header {
		return nil
	}
	f := &framer{codec: e.codec, skip: e.codec.skip}
	saw := *e.codec.dialect
	saw.columns = nil
	f.codec = &codec{dialect: &saw}
	for f.table == nil {
		n, _, err := f.Frame(head, true)
		if err != nil {
			return err
		}
		if n == 0 {
			e.header = true // nothing but blank lines
			return nil
		}
		head = head[n:]
	}
	names := f.table.shape.Columns()
	if e.columns != nil && !slices.Equal(e.columns, names) {
		return &penstock.Error{Code: penstock.Config, Op: "csv", Err: fmt.Errorf("the file has the columns %s, but %s are to be written", strings.Join(names, ", "), strings.Join(e.columns, ", ")),
			Hint: "write to a new file, or set columns to those of the file"}
	}
	if e.columns == nil {
		e.use(names)
	}
	return nil
}

// Append implements penstock.Encoder.
func (e *encoder) Append(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if err := d.Parse(jsonview.Limits{MaxDepth: e.codec.depth}); err != nil {
		return dst, err
	}
	return e.row(dst, d, 0)
}

// End implements penstock.Encoder.
func (e *encoder) End(dst []byte) []byte { return dst }

// row appends the object n of d. A row that can't be written leaves no trace: neither does the stream have its
// header yet, nor were the columns chosen by it.
func (e *encoder) row(dst []byte, d *jsonview.Doc, n jsonview.Node) ([]byte, error) {
	header, columns := e.header, e.columns
	out, err := e.write(dst, d, n)
	if err != nil {
		e.header, e.columns = header, columns
		return dst, err
	}
	return out, nil
}

func (e *encoder) write(dst []byte, d *jsonview.Doc, n jsonview.Node) ([]byte, error) {
	if d.Kind(n) != jsonview.Object {
		return dst, &penstock.Error{Code: penstock.Unprocessable, Op: "csv", Err: fmt.Errorf("a row is made of an object, not of %s", article(d.Kind(n))),
			Hint: "map the body to an object with a field for each column"}
	}
	if e.columns == nil {
		var names []string
		for k := d.First(n); k != jsonview.None; k = d.Next(k) {
			names = append(names, string(d.Key(k, nil)))
		}
		if len(names) == 0 {
			return dst, &penstock.Error{Code: penstock.Unprocessable, Op: "csv", Err: errors.New("the first object has no fields, so the columns are not known"), Hint: "name them with columns: […]"}
		}
		e.use(names)
	}
	out := dst
	if e.header {
		var err error
		if out, err = e.names(dst); err != nil {
			return dst, err
		}
	}
	row, found := e.buf[:0], 0
	for i, name := range e.columns {
		if i > 0 {
			row = append(row, e.codec.sepText...)
		}
		v := d.Field(n, name, &e.hints[i])
		if v != jsonview.None {
			found++
		}
		var err error
		if row, err = e.cell(row, d, v, i); err != nil {
			return dst, err
		}
	}
	if found < d.Len(n) && !e.choose {
		return dst, e.surplus(d, n)
	}
	return e.finish(out, row)
}

// surplus is the error for an object with a field that is no column.
func (e *encoder) surplus(d *jsonview.Doc, n jsonview.Node) error {
	for k := d.First(n); k != jsonview.None; k = d.Next(k) {
		if name := string(d.Key(k, nil)); !slices.Contains(e.columns, name) {
			return &penstock.Error{Code: penstock.Unprocessable, Op: "csv", Path: "body." + name, Err: errors.New("there is no column for this field"),
				Hint: "name the columns to write with columns: […]"}
		}
	}
	return nil
}

func article(k jsonview.Kind) string {
	switch k {
	case jsonview.Array:
		return "an array"
	case jsonview.True, jsonview.False:
		return "a boolean"
	case jsonview.Null:
		return "null"
	}
	return "a " + k.String()
}

// cell appends the value v as column i.
func (e *encoder) cell(row []byte, d *jsonview.Doc, v jsonview.Node, i int) ([]byte, error) {
	switch d.Kind(v) {
	case jsonview.Invalid: // absent
		return e.text(row, nil, i, false)
	case jsonview.Null:
		if e.codec.null != "" {
			return append(row, e.codec.null...), nil
		}
		return e.text(row, nil, i, false)
	case jsonview.String:
		text := d.Str(v, e.scratch)
		c := &e.targets[i]
		if c.want == asTime {
			if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
				text = t.Format(c.layout)
			}
		}
		e.cellBuf = append(e.cellBuf[:0], text...)
		return e.text(row, e.cellBuf, i, true)
	case jsonview.Number:
		raw := d.Raw(v)
		if e.codec.decimal != '.' {
			e.cellBuf = append(e.cellBuf[:0], raw...)
			if p := bytes.IndexByte(e.cellBuf, '.'); p >= 0 {
				e.cellBuf[p] = e.codec.decimal
			}
			raw = e.cellBuf
		}
		return e.text(row, raw, i, false)
	case jsonview.True, jsonview.False:
		return append(row, d.Kind(v).String()...), nil
	}
	e.cellBuf = d.AppendJSON(e.cellBuf[:0], v)
	return e.text(row, e.cellBuf, i, true)
}

// scratch is memory for a string without its escapes.
func (e *encoder) scratch(n int) []byte {
	if cap(e.cellBuf) < n {
		e.cellBuf = make([]byte, n+n/2)
	}
	return e.cellBuf[:n]
}

// text appends a cell, in quotes if it needs them. isText says that it is a string, which must not be read back
// as null.
func (e *encoder) text(row, cell []byte, i int, isText bool) ([]byte, error) {
	c := e.codec
	if !e.needsQuotes(cell, i, isText) {
		return append(row, cell...), nil
	}
	if c.quote == 0 {
		return row, &penstock.Error{Code: penstock.Unprocessable, Op: "csv", Path: "body." + e.columns[i], Err: fmt.Errorf("the text %q can't be written without quotes", clip(cell)),
			Hint: "allow quotes, or use a separator that does not occur"}
	}
	row = append(row, c.quote)
	for {
		n := bytes.IndexByte(cell, c.quote)
		if n < 0 {
			break
		}
		row = append(append(row, cell[:n+1]...), c.quote)
		cell = cell[n+1:]
	}
	return append(append(row, cell...), c.quote), nil
}

func (e *encoder) needsQuotes(cell []byte, i int, isText bool) bool {
	c := e.codec
	if len(cell) == 0 {
		return len(e.columns) == 1 // a blank line is no row
	}
	for _, b := range cell {
		if b == '\n' || b == '\r' || b == c.quote && c.quote != 0 || b == c.sep && c.sep != 0 {
			return true
		}
	}
	return c.sep == 0 && bytes.Contains(cell, []byte(c.sepText)) ||
		i == 0 && c.comment != 0 && cell[0] == c.comment || i == 0 && bytes.HasPrefix(cell, bom) ||
		isText && c.null != "" && string(cell) == c.null ||
		isText && c.trim && (blank(cell[0]) || blank(cell[len(cell)-1]))
}

func clip(text []byte) []byte {
	if len(text) > 40 {
		return text[:40]
	}
	return text
}
