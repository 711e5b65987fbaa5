// Package csv is the codec for comma-separated values: RFC 4180, and what legacy systems
// write under the name. A record is one row; it reads as an object of its cells, coerced to
// what the schema says of each column.
package csv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Config is the configuration of the codec.
type Config struct {
	// The character between cells: one character, or `tab`. Default: a comma.
	Separator string `json:"separator"`
	// The first row names the columns. When writing: write such a row.
	Header *bool `json:"header" penstock:"default=true"`
	// The names of the columns, in order. When reading, they take the place of a header row's names; without
	// them and without a header row the columns are c1, c2 and so on. When writing, they say which
	// fields are written, and in what order; default: the fields of the schema, or those of the first document.
	Columns []string `json:"columns"`
	// The character around cells that hold a separator, a quote (doubled) or a line end; `none` if there is
	// no such thing and every quote is text. Default: ".
	Quote string `json:"quote"`
	// Take stray quotes as they come: a quote within an unquoted cell, or in a quoted one before anything but a
	// separator or line end, is text. Otherwise such a row fails.
	LazyQuotes bool `json:"lazyQuotes"`
	// A quoted cell may hold line ends. With false every line is a row, so that one quote that is not
	// closed spoils one row only, and a large file can be read in several parts at once.
	Multiline *bool `json:"multiline" penstock:"default=true"`
	// What ends a row: auto (a line feed, with or without a carriage return before it), lf, crlf, or cr
	// (as old Macs had it). When writing, auto is lf.
	LineEnd string `json:"lineEnd" penstock:"enum=auto|lf|crlf|cr,default=auto"`
	// The character encoding: auto (by the byte order mark, else utf-8), utf-8, utf-16 (by the byte order
	// mark, else little endian), utf-16le, utf-16be, windows-1252 or iso-8859-1. When writing, auto is utf-8.
	Encoding string `json:"encoding" penstock:"enum=auto|utf-8|utf-16|utf-16le|utf-16be|windows-1252|iso-8859-1,default=auto"`
	// Lines that begin with this character are stepped over. Default: none.
	Comment string `json:"comment"`
	// Cut spaces and tabs off both ends of every cell that is not quoted.
	Trim bool `json:"trim"`
	// What stands between the whole and the fraction of a number, in columns that the schema says are numbers:
	// a point or a comma. Default: a point.
	Decimal string `json:"decimal"`
	// How many lines to step over before the header row, or the first row.
	SkipRows int `json:"skipRows" penstock:"min=0"`
	// The text that stands for null, as `NULL` or `\N`; only in cells that are not quoted. Default: there is none.
	Null string `json:"null"`
	// What becomes of a row with more or fewer cells than there are columns: it is an error, or with allow
	// missing cells are absent and surplus ones are named c9, c10 and so on by their place.
	Ragged string `json:"ragged" penstock:"enum=error|allow,default=error"`
}

// Validate implements penstock.Resolver.
func (c Config) Validate() []error {
	_, errs := c.compile()
	return errs
}

// Register adds the codec.
func Register(r *penstock.Registry) {
	penstock.RegisterCodec(r, penstock.Spec{
		Name:    "csv",
		Summary: "Rows of cells (RFC 4180) with any separator, quote and encoding, each row an object; cells are coerced to the schema's types.",
		Rows:    true,
	}, New)
}

// DefaultMaxRecord is the largest row in bytes where CodecOptions.MaxRecord is 0.
const DefaultMaxRecord = 16 << 20

// New makes the codec.
func New(c Config, o penstock.CodecOptions) (penstock.Codec, error) {
	d, errs := c.compile()
	if len(errs) > 0 {
		return nil, &penstock.Error{Code: penstock.Config, Op: "csv", Err: errors.Join(errs...)}
	}
	d.typ = recordType(o.Type)
	if d.max = o.MaxRecord; d.max <= 0 {
		d.max = DefaultMaxRecord
	}
	d.depth = o.MaxDepth
	return &codec{dialect: d}, nil
}

// dialect is a Config that was looked through.
type dialect struct {
	sep       byte   // a single byte, or 0
	sepText   string // the separator, of one or more bytes
	quote     byte   // 0: none
	header    bool
	lazy      bool
	multiline bool
	eol       byte   // the last byte of a line end
	eolText   string // what is written
	encoding  string
	comment   byte // 0: none
	decimal   byte // between the whole and the fraction of a number
	trim      bool
	skip      int
	null      string
	ragged    bool
	columns   []string

	typ   *types.Type // of a record; nil if unknown
	max   int
	depth int
}

func (c Config) compile() (*dialect, []error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	d := &dialect{
		header: c.Header == nil || *c.Header, lazy: c.LazyQuotes, multiline: c.Multiline == nil || *c.Multiline,
		eol: '\n', eolText: "\n", encoding: c.Encoding, decimal: '.', trim: c.Trim, skip: c.SkipRows, null: c.Null,
		columns: c.Columns,
	}
	switch c.Separator {
	case "":
		d.sepText = ","
	case "tab":
		d.sepText = "\t"
	default:
		d.sepText = c.Separator
	}
	if r, n := utf8.DecodeRuneInString(d.sepText); n != len(d.sepText) || r == utf8.RuneError || r == '\n' || r == '\r' {
		bad("separator %q: one character is needed, or the word tab", c.Separator)
	}
	if len(d.sepText) == 1 {
		d.sep = d.sepText[0]
	}
	switch {
	case c.Quote == "" && d.sep != '"':
		d.quote = '"'
	case c.Quote == "none":
	case len(c.Quote) == 1 && c.Quote[0] < utf8.RuneSelf && c.Quote != "\n" && c.Quote != "\r" && c.Quote != d.sepText:
		d.quote = c.Quote[0]
	default:
		bad("quote %q: one ASCII character other than the separator is needed, or the word none", c.Quote)
	}
	switch c.LineEnd {
	case "", "auto", "lf":
	case "crlf":
		d.eolText = "\r\n"
	case "cr":
		d.eol, d.eolText = '\r', "\r"
	default:
		bad("lineEnd %q: it is auto, lf, crlf or cr", c.LineEnd)
	}
	switch c.Encoding {
	case "":
		d.encoding = "auto"
	case "auto", "utf-8", "utf-16", "utf-16le", "utf-16be", "windows-1252", "iso-8859-1":
	default:
		bad("encoding %q is not known; it is auto, utf-8, utf-16, utf-16le, utf-16be, windows-1252 or iso-8859-1", c.Encoding)
	}
	switch {
	case len(c.Comment) == 1 && c.Comment[0] < utf8.RuneSelf && c.Comment[0] != d.sep && c.Comment[0] != d.quote && c.Comment != "\n" && c.Comment != "\r":
		d.comment = c.Comment[0]
	case c.Comment != "":
		bad("comment %q: one ASCII character is needed, other than the separator and the quote", c.Comment)
	}
	switch c.Decimal {
	case "", ".":
	case ",":
		d.decimal = ','
	default:
		bad("decimal %q: it is a point or a comma", c.Decimal)
	}
	if c.SkipRows < 0 {
		bad("skipRows can't be negative")
	}
	switch c.Ragged {
	case "", "error":
	case "allow":
		d.ragged = true
	default:
		bad("ragged %q: it is error or allow", c.Ragged)
	}
	for i, name := range c.Columns {
		switch {
		case name == "":
			bad("columns: the name of column %d is empty", i+1)
		case slices.Contains(c.Columns[:i], name):
			bad("columns: %q occurs twice", name)
		}
	}
	return d, errs
}

// recordType is the object type behind t, nil if there is none.
func recordType(t *types.Type) *types.Type {
	if t = plain(t); t != nil && t.Kind == types.List {
		t = plain(t.Elem)
	}
	if t == nil || t.Kind != types.Object {
		return nil
	}
	return t
}

// plain is t without being optional.
func plain(t *types.Type) *types.Type {
	if t != nil && t.Kind == types.Optional {
		return t.Elem
	}
	return t
}

type codec struct {
	*dialect
	// last is the table of the stream that was begun last: the next file has the same columns mostly.
	last atomic.Pointer[table]
}

var (
	_ penstock.Codec      = (*codec)(nil)
	_ penstock.Splitter   = (*codec)(nil)
	_ penstock.Transcoder = (*codec)(nil)
	_ penstock.Limiter    = (*codec)(nil)
	_ penstock.Continuer  = (*encoder)(nil)
)

// NewFramer implements penstock.Codec.
func (c *codec) NewFramer(string) penstock.Framer { return &framer{codec: c, skip: c.skip} }

// WithMaxRecord implements penstock.Limiter.
func (c *codec) WithMaxRecord(bytes int) penstock.Codec {
	d := *c.dialect
	d.max = bytes
	return &codec{dialect: &d}
}

// NewEncoder implements penstock.Codec.
func (c *codec) NewEncoder() penstock.Encoder { return &encoder{codec: c} }

// Split implements penstock.Splitter: where no cell can hold a line end, every line begins a row.
func (c *codec) Split(data []byte) int {
	if c.quote != 0 && c.multiline {
		return -1
	}
	if nl := bytes.IndexByte(data, c.eol); nl >= 0 {
		return nl + 1
	}
	return -1
}

// table makes or finds the table for the columns of a stream.
func (c *codec) table(columns []string) (*table, error) {
	if t := c.last.Load(); t != nil && slices.Equal(t.shape.Columns(), columns) {
		return t, nil
	}
	t, err := newTable(c.dialect, columns)
	if err != nil {
		return nil, err
	}
	c.last.Store(t)
	return t, nil
}

// Decode implements penstock.Codec: src is a whole document, of which a list of objects is made.
func (c *codec) Decode(dst, src []byte) ([]byte, error) {
	src, err := c.toUTF8(src)
	if err != nil {
		return dst, err
	}
	out := append(dst, '[')
	first := len(out)
	f := &framer{codec: c, skip: c.skip}
	var d jsonview.Doc
	line := 1
	for {
		n, record, err := f.Frame(src, true)
		if err == nil && record != nil {
			f.Bind(&d, record)
			err = d.Parse(jsonview.Limits{})
		}
		if err != nil {
			return dst, &penstock.Error{Code: penstock.Invalid, Op: "csv", Path: fmt.Sprintf("line %d", line), Err: err}
		}
		if n == 0 {
			return append(out, ']'), nil
		}
		if record != nil {
			if len(out) > first {
				out = append(out, ',')
			}
			out = d.AppendJSON(out, 0)
		}
		line += bytes.Count(src[:n], []byte{c.eol})
		src = src[n:]
	}
}

// Encode implements penstock.Codec: a list of objects becomes a whole document, an object one of a single row.
func (c *codec) Encode(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if err := d.Parse(jsonview.Limits{MaxDepth: c.depth}); err != nil {
		return dst, err
	}
	e := &encoder{codec: c}
	out := e.Begin(dst)
	if d.Kind(0) != jsonview.Array {
		return e.Append(out, d)
	}
	for n := d.First(0); n != jsonview.None; n = d.Next(n) {
		var err error
		if out, err = e.row(out, d, n); err != nil {
			return dst, err
		}
	}
	return out, nil
}
