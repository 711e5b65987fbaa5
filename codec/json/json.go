// Package json is the codec for JSON (RFC 8259): streams of documents in any layout, one a
// line (JSON lines), one after the other, spread over lines, or as the elements of one array.
package json

import (
	"bytes"
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Config is the configuration of the codec.
type Config struct {
	// Read: the stream is one array, and its elements are the documents. Write: put the documents into
	// one array, one a line. Otherwise an array is one document, and documents stand one a line when
	// written and in any layout when read.
	Array bool `json:"array"`
	// Write each document over several lines, indented by two spaces, instead of on one line.
	Pretty bool `json:"pretty"`
	// Read: how deep arrays and objects may be nested. A document that is deeper fails with tooLarge, as what can't be read.
	MaxDepth int `json:"maxDepth" penstock:"default=512,min=1,max=10000"`
}

// Register adds the codec.
func Register(r *penstock.Registry) {
	penstock.RegisterCodec(r, penstock.Spec{
		Name:    "json",
		Summary: "JSON documents: reads them one a line, one after the other, spread over lines, or as the elements of an array; writes them one a line.",
	}, New)
}

// DefaultMaxRecord is the largest record in bytes where CodecOptions.MaxRecord is 0.
const DefaultMaxRecord = 16 << 20

// New makes the codec.
func New(c Config, o penstock.CodecOptions) (penstock.Codec, error) {
	if o.MaxRecord <= 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	if c.MaxDepth > 0 {
		o.MaxDepth = c.MaxDepth
	}
	return &codec{config: c, max: o.MaxRecord, limits: jsonview.Limits{MaxDepth: o.MaxDepth, MaxBytes: o.MaxRecord}}, nil
}

type codec struct {
	config Config
	max    int
	limits jsonview.Limits
}

var (
	_ penstock.Codec    = (*codec)(nil)
	_ penstock.Splitter = (*codec)(nil)
	_ penstock.Limiter  = (*codec)(nil)
)

// NewFramer implements penstock.Codec.
func (c *codec) NewFramer(string) penstock.Framer {
	return &framer{max: c.max, depth: c.limits.MaxDepth, array: c.config.Array, scan: scanner{array: c.config.Array}}
}

// WithMaxRecord implements penstock.Limiter.
func (c *codec) WithMaxRecord(bytes int) penstock.Codec {
	d := *c
	d.max, d.limits.MaxBytes = bytes, bytes
	return &d
}

// NewEncoder implements penstock.Codec.
func (c *codec) NewEncoder() penstock.Encoder { return &encoder{codec: c} }

// Split implements penstock.Splitter. After a closing bracket and a line end, an opening bracket can't go
// on with a document (there would be a comma), so that a new one begins there; a line end is never
// part of a string.
func (c *codec) Split(data []byte) int {
	if c.config.Array {
		return -1
	}
	for at := 0; ; {
		nl := bytes.IndexByte(data[at:], '\n')
		if nl < 0 {
			return -1
		}
		at += nl + 1
		before := bytes.TrimRight(data[:at], " \t\r\n")
		if len(before) == 0 || before[len(before)-1] != '}' && before[len(before)-1] != ']' {
			continue
		}
		if next := skipSpace(data, at); next < len(data) && (data[next] == '{' || data[next] == '[') {
			return at
		}
	}
}

// Decode implements penstock.Codec: src is one document.
func (c *codec) Decode(dst, src []byte) ([]byte, error) {
	var d jsonview.Doc
	d.Reset(jsonview.JSON, bytes.TrimPrefix(src, bom))
	if err := d.Parse(c.limits); err != nil {
		return dst, invalid(err)
	}
	return d.AppendJSON(dst, 0), nil
}

// Encode implements penstock.Codec.
func (c *codec) Encode(dst []byte, d *jsonview.Doc) ([]byte, error) {
	e := encoder{codec: c}
	return e.document(dst, d)
}

func invalid(err error) error {
	code := penstock.Invalid
	if errors.Is(err, jsonview.ErrLimit) {
		code = penstock.TooLarge
	}
	return &penstock.Error{Code: code, Op: "json", Err: err}
}

func tooLarge(max int) error {
	return &penstock.Error{Code: penstock.TooLarge, Op: "json", Err: fmt.Errorf("a document of more than %d bytes", max), Hint: "raise maxRecord if it is meant"}
}
