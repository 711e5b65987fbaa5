// Package form is the codec for HTML forms (application/x-www-form-urlencoded, WHATWG URL Standard, section 5): names and values, as
// browsers and many webhooks send them. The body is an object of texts; a name that occurs several times holds a list of them.
package form

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Config is the configuration of the codec: there is nothing to say.
type Config struct{}

// Register adds the codec.
func Register(r *penstock.Registry) {
	penstock.RegisterCodec(r, penstock.Spec{
		Name:    "form",
		Summary: "HTML forms (application/x-www-form-urlencoded), one a line: an object of texts; a name that occurs several times holds a list.",
		Output:  &types.Type{Kind: types.Object, Open: true, Rest: types.DynType},
	}, New)
}

// DefaultMaxRecord is the largest form in bytes where CodecOptions.MaxRecord is 0.
const DefaultMaxRecord = 16 << 20

// maxFields bounds the fields of a form: each costs more than its bytes.
const maxFields = 10_000

// New makes the codec.
func New(_ Config, o penstock.CodecOptions) (penstock.Codec, error) {
	c := &codec{max: o.MaxRecord}
	if c.max <= 0 {
		c.max = DefaultMaxRecord
	}
	return c, nil
}

type codec struct{ max int }

var (
	_ penstock.Codec    = (*codec)(nil)
	_ penstock.Splitter = (*codec)(nil)
	_ penstock.Limiter  = (*codec)(nil)
)

// NewFramer implements penstock.Codec.
func (c *codec) NewFramer(string) penstock.Framer { return &framer{codec: c} }

// NewEncoder implements penstock.Codec.
func (c *codec) NewEncoder() penstock.Encoder { return encoder{c} }

// WithMaxRecord implements penstock.Limiter.
func (c *codec) WithMaxRecord(bytes int) penstock.Codec { return &codec{max: bytes} }

// Split implements penstock.Splitter.
func (c *codec) Split(data []byte) int {
	if end := bytes.IndexByte(data, '\n'); end >= 0 {
		return end + 1
	}
	return -1
}

func invalid(msg string) error {
	return &penstock.Error{Code: penstock.Invalid, Op: "form", Err: errors.New(msg)}
}

// field is a name with its values, in the order of the form.
type field struct {
	name   string
	values []string
}

// Decode implements penstock.Codec: src becomes one JSON object.
func (c *codec) Decode(dst, src []byte) ([]byte, error) {
	var fields []field
	at := map[string]int{}
	n := 0
	for part := range bytes.SplitSeq(bytes.TrimRight(src, "\r\n"), []byte{'&'}) {
		if len(part) == 0 {
			continue
		}
		if n++; n > maxFields {
			return dst, &penstock.Error{Code: penstock.TooLarge, Op: "form", Err: fmt.Errorf("a form of more than %d fields", maxFields)}
		}
		name, value, _ := bytes.Cut(part, []byte{'='})
		key, err := unescape(name)
		if err != nil {
			return dst, err
		}
		text, err := unescape(value)
		if err != nil {
			return dst, err
		}
		i, there := at[key]
		if !there {
			i = len(fields)
			at[key] = i
			fields = append(fields, field{name: key})
		}
		fields[i].values = append(fields[i].values, text)
	}
	dst = append(dst, '{')
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(jsonview.AppendString(dst, f.name), ':')
		if len(f.values) == 1 {
			dst = jsonview.AppendString(dst, f.values[0])
			continue
		}
		for j, v := range f.values {
			if j == 0 {
				dst = append(dst, '[')
			} else {
				dst = append(dst, ',')
			}
			dst = jsonview.AppendString(dst, v)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil
}

// unescape reads a name or a value.
func unescape(b []byte) (string, error) {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '+':
			out = append(out, ' ')
		case c != '%':
			out = append(out, c)
		default:
			if i+2 >= len(b) {
				return "", invalid("a % is not followed by two hexadecimal digits")
			}
			high, ok := unhex(b[i+1])
			low, ok2 := unhex(b[i+2])
			if !ok || !ok2 {
				return "", invalid("a % is not followed by two hexadecimal digits")
			}
			out = append(out, high<<4|low)
			i += 2
		}
	}
	if !utf8.Valid(out) {
		return "", invalid("a name or a value is not UTF-8")
	}
	return string(out), nil
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// Encode implements penstock.Codec: an object of texts, numbers and truth values, or lists of them. What is null is left out.
func (c *codec) Encode(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, &penstock.Error{Code: penstock.Invalid, Op: "form", Err: err}
	}
	if d.Kind(0) != jsonview.Object {
		return dst, refused("the body is " + d.Kind(0).String() + ", not an object")
	}
	out := dst
	for k := d.First(0); k != jsonview.None; k = d.Next(d.Value(k)) {
		name, v := d.Key(k, nil), d.Value(k)
		if d.Kind(v) != jsonview.Array {
			var err error
			if out, err = appendField(out, len(dst), d, name, v); err != nil {
				return dst, err
			}
			continue
		}
		for e := d.First(v); e != jsonview.None; e = d.Next(e) {
			var err error
			if out, err = appendField(out, len(dst), d, name, e); err != nil {
				return dst, err
			}
		}
	}
	return out, nil
}

func refused(msg string) error {
	return &penstock.Error{Code: penstock.Unprocessable, Op: "form", Err: errors.New(msg), Hint: "a form holds texts, or lists of texts, by name"}
}

func appendField(dst []byte, begin int, d *jsonview.Doc, name []byte, v jsonview.Node) ([]byte, error) {
	var text []byte
	switch d.Kind(v) {
	case jsonview.Null:
		return dst, nil
	case jsonview.String:
		text = []byte(d.Str(v, nil))
	case jsonview.Number, jsonview.True, jsonview.False:
		text = d.Raw(v)
	default:
		return dst, refused(fmt.Sprintf("the field %q is %s within a form", name, d.Kind(v)))
	}
	if len(dst) > begin {
		dst = append(dst, '&')
	}
	return escape(append(escape(dst, name), '='), text), nil
}

// escape writes a name or a value.
func escape(dst, b []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '*', c == '-', c == '.', c == '_':
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

type framer struct {
	codec *codec
	lost  bool // within a form over the limit
}

// Frame implements penstock.Framer: a form is a line, since none has a line end within.
func (f *framer) Frame(data []byte, atEOF bool) (int, []byte, error) {
	if len(data) == 0 {
		return 0, nil, nil
	}
	end := bytes.IndexByte(data, '\n')
	next := end + 1
	switch {
	case end >= 0:
	case atEOF:
		end, next = len(data), len(data)
	case len(data) > f.codec.max || f.lost:
		first := !f.lost
		if f.lost = true; first {
			return len(data), nil, f.tooLarge()
		}
		return len(data), nil, nil
	default:
		return 0, nil, nil
	}
	line := bytes.TrimSuffix(data[:end], []byte{'\r'})
	switch {
	case f.lost:
		f.lost = false
		return next, nil, nil
	case len(line) > f.codec.max:
		return next, nil, f.tooLarge()
	case len(line) == 0:
		return next, nil, nil
	}
	return next, line, nil
}

func (f *framer) tooLarge() error {
	return &penstock.Error{Code: penstock.TooLarge, Op: "form", Err: fmt.Errorf("a form of more than %d bytes", f.codec.max), Hint: "raise maxRecord if it is meant"}
}

// Bind implements penstock.Framer. A form that can't be read stays what it is, and fails when it is read.
func (f *framer) Bind(d *jsonview.Doc, record []byte) {
	out, err := f.codec.Decode(nil, record)
	if err != nil {
		d.ResetLazy(record, broken{err})
		return
	}
	d.Reset(jsonview.JSON, out)
}

// broken fails the reading of a form that is none.
type broken struct{ err error }

// DecodeRecord implements jsonview.Decoder.
func (b broken) DecodeRecord(*jsonview.Doc, []byte) error { return b.err }

type encoder struct{ codec *codec }

// Begin implements penstock.Encoder.
func (e encoder) Begin(dst []byte) []byte { return dst }

// Append implements penstock.Encoder.
func (e encoder) Append(dst []byte, d *jsonview.Doc) ([]byte, error) {
	out, err := e.codec.Encode(dst, d)
	if err != nil {
		return dst, err
	}
	return append(out, '\n'), nil
}

// End implements penstock.Encoder.
func (e encoder) End(dst []byte) []byte { return dst }
