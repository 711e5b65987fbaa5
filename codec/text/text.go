// Package text is the codec for plain text: one message a line, one between any two delimiters, or
// one for the whole stream. The body is a string.
package text

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Config is the configuration of the codec.
type Config struct {
	// What ends a text. Default: a line feed, of which a carriage return before it is a part.
	Delimiter string `json:"delimiter"`
	// Keep the delimiter at the end of each text, and blank lines, which are stepped over otherwise.
	KeepEnds bool `json:"keepEnds"`
	// The whole stream is one text. When writing, nothing is put between texts.
	Whole bool `json:"whole"`
}

// Validate implements penstock.Resolver.
func (c Config) Validate() []error {
	if c.Whole && (c.Delimiter != "" || c.KeepEnds) {
		return []error{errors.New("whole: the stream is one text, so delimiter and keepEnds have no meaning")}
	}
	return nil
}

// Register adds the codec.
func Register(r *penstock.Registry) {
	penstock.RegisterCodec(r, penstock.Spec{
		Name:    "text",
		Summary: "Plain text: a message for each line, for what stands between two delimiters, or for the whole stream.",
		Output:  types.StringType,
	}, New)
}

// DefaultMaxRecord is the largest text in bytes where CodecOptions.MaxRecord is 0.
const DefaultMaxRecord = 16 << 20

// New makes the codec.
func New(c Config, o penstock.CodecOptions) (penstock.Codec, error) {
	if errs := c.Validate(); len(errs) > 0 {
		return nil, &penstock.Error{Code: penstock.Config, Op: "text", Err: errors.Join(errs...)}
	}
	t := &codec{delimiter: []byte(c.Delimiter), keep: c.KeepEnds, whole: c.Whole, max: o.MaxRecord, depth: o.MaxDepth}
	if len(t.delimiter) == 0 {
		t.delimiter, t.lines = []byte{'\n'}, true
	}
	if t.max <= 0 {
		t.max = DefaultMaxRecord
	}
	return t, nil
}

type codec struct {
	delimiter []byte
	lines     bool // the default delimiter
	keep      bool
	whole     bool
	max       int
	depth     int
}

var (
	_ penstock.Codec    = (*codec)(nil)
	_ penstock.Splitter = (*codec)(nil)
	_ penstock.Limiter  = (*codec)(nil)
)

// NewFramer implements penstock.Codec.
func (c *codec) NewFramer(string) penstock.Framer { return &framer{codec: c} }

// WithMaxRecord implements penstock.Limiter.
func (c *codec) WithMaxRecord(bytes int) penstock.Codec {
	d := *c
	d.max = bytes
	return &d
}

// NewEncoder implements penstock.Codec.
func (c *codec) NewEncoder() penstock.Encoder { return encoder{c} }

// Split implements penstock.Splitter. Delimiters that overlap themselves (as "--" in "---") can't be told apart from
// the middle of a stream; one byte can.
func (c *codec) Split(data []byte) int {
	if c.whole || len(c.delimiter) > 1 {
		return -1
	}
	if end := bytes.IndexByte(data, c.delimiter[0]); end >= 0 {
		return end + 1
	}
	return -1
}

// Decode implements penstock.Codec: src becomes one JSON string.
func (c *codec) Decode(dst, src []byte) ([]byte, error) {
	if !utf8.Valid(src) {
		return dst, &penstock.Error{Code: penstock.Invalid, Op: "text", Err: errors.New("the text is not valid UTF-8")}
	}
	return jsonview.AppendString(dst, string(src)), nil
}

// Encode implements penstock.Codec: a string gives its characters, anything else its JSON.
func (c *codec) Encode(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if err := d.Parse(jsonview.Limits{MaxDepth: c.depth}); err != nil {
		return dst, err
	}
	switch d.Kind(0) {
	case jsonview.String:
		return append(dst, d.Str(0, nil)...), nil
	case jsonview.Bytes:
		return append(dst, d.Bytes()...), nil
	}
	return d.AppendJSON(dst, 0), nil
}

type framer struct {
	codec *codec
	begun bool
	at    int  // looked at so far
	lost  bool // within a text over the limit
}

var bom = []byte("\ufeff")

// Frame implements penstock.Framer.
func (f *framer) Frame(data []byte, atEOF bool) (int, []byte, error) {
	c := f.codec
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
	end := -1
	if !c.whole {
		if end = bytes.Index(data[f.at:], c.delimiter); end >= 0 {
			end += f.at
		}
	}
	next := end + len(c.delimiter)
	switch {
	case end >= 0:
	case atEOF:
		end, next = len(data), len(data)
	case len(data) > c.max || f.lost:
		// Keep what may be the beginning of a delimiter.
		n := len(data) - len(c.delimiter) + 1
		first := !f.lost
		f.lost, f.at = true, 0
		if first {
			return n, nil, f.tooLarge()
		}
		return n, nil, nil
	default:
		f.at = max(len(data)-len(c.delimiter)+1, 0)
		return 0, nil, nil
	}
	f.at = 0
	switch {
	case f.lost:
		f.lost = false
		return next, nil, nil
	case end > c.max:
		return next, nil, f.tooLarge()
	case c.keep:
		return next, data[:next], nil
	}
	if c.lines && !c.whole && end > 0 && data[end-1] == '\r' {
		end--
	}
	if end == 0 {
		return next, nil, nil
	}
	return next, data[:end], nil
}

func (f *framer) tooLarge() error {
	return &penstock.Error{Code: penstock.TooLarge, Op: "text", Err: fmt.Errorf("a text of more than %d bytes", f.codec.max), Hint: "raise maxRecord if it is meant"}
}

// Bind implements penstock.Framer.
func (f *framer) Bind(d *jsonview.Doc, record []byte) {
	if utf8.Valid(record) {
		d.Reset(jsonview.Text, record)
		return
	}
	d.ResetLazy(record, broken{})
}

// broken fails the reading of a text that is none. Its bytes stay what they are.
type broken struct{}

// DecodeRecord implements jsonview.Decoder.
func (broken) DecodeRecord(*jsonview.Doc, []byte) error {
	return &penstock.Error{Code: penstock.Invalid, Op: "text", Err: errors.New("the text is not valid UTF-8")}
}

type encoder struct{ codec *codec }

// Begin implements penstock.Encoder.
func (e encoder) Begin(dst []byte) []byte { return dst }

// Append implements penstock.Encoder. A delimiter within the text is written as it is.
func (e encoder) Append(dst []byte, d *jsonview.Doc) ([]byte, error) {
	out, err := e.codec.Encode(dst, d)
	if err != nil {
		return dst, err
	}
	if e.codec.whole || e.codec.keep && bytes.HasSuffix(out[len(dst):], e.codec.delimiter) {
		return out, nil
	}
	return append(out, e.codec.delimiter...), nil
}

// End implements penstock.Encoder.
func (e encoder) End(dst []byte) []byte { return dst }
