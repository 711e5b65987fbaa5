// Package bytes is the codec for what has no format that anybody reads: an image, an archive, whatever a request brings
// (application/octet-stream). The whole stream is one message, whose body is opaque; where it is shown as JSON, it is a text in base64
// (RFC 4648, section 4).
package bytes

import (
	"encoding/base64"
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// Config is the configuration of the codec: there is nothing to say.
type Config struct{}

// Register adds the codec.
func Register(r *penstock.Registry) {
	penstock.RegisterCodec(r, penstock.Spec{
		Name:    "bytes",
		Summary: "Opaque bytes: the whole stream is one message. What is written is a body of bytes as it is, or a text of base64, decoded.",
		Output:  types.BytesType,
	}, New)
}

// DefaultMaxRecord is the largest body in bytes where CodecOptions.MaxRecord is 0.
const DefaultMaxRecord = 16 << 20

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
	_ penstock.Codec   = (*codec)(nil)
	_ penstock.Limiter = (*codec)(nil)
)

// NewFramer implements penstock.Codec.
func (c *codec) NewFramer(string) penstock.Framer { return &framer{codec: c} }

// NewEncoder implements penstock.Codec.
func (c *codec) NewEncoder() penstock.Encoder { return encoder{c} }

// WithMaxRecord implements penstock.Limiter.
func (c *codec) WithMaxRecord(bytes int) penstock.Codec { return &codec{max: bytes} }

// Decode implements penstock.Codec: src becomes one JSON string of base64.
func (c *codec) Decode(dst, src []byte) ([]byte, error) {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, src)
	return append(dst, '"'), nil
}

// Encode implements penstock.Codec.
func (c *codec) Encode(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, &penstock.Error{Code: penstock.Invalid, Op: "bytes", Err: err}
	}
	switch d.Kind(0) {
	case jsonview.Bytes:
		return append(dst, d.Bytes()...), nil
	case jsonview.String:
		out, err := base64.StdEncoding.AppendDecode(dst, []byte(d.Str(0, nil)))
		if err != nil {
			return dst, &penstock.Error{Code: penstock.Unprocessable, Op: "bytes", Err: errors.New("the body is a text that is not base64"), Hint: "use the format text to write a text as it is"}
		}
		return out, nil
	}
	return dst, &penstock.Error{Code: penstock.Unprocessable, Op: "bytes", Err: fmt.Errorf("the body is %s, not bytes", d.Kind(0)), Hint: "use the format json or text"}
}

type framer struct {
	codec *codec
	lost  bool // the stream is over the limit
}

// Frame implements penstock.Framer.
func (f *framer) Frame(data []byte, atEOF bool) (int, []byte, error) {
	switch {
	case len(data) == 0:
		return 0, nil, nil
	case f.lost:
		return len(data), nil, nil
	case len(data) > f.codec.max:
		f.lost = true
		return len(data), nil, &penstock.Error{Code: penstock.TooLarge, Op: "bytes", Err: fmt.Errorf("a body of more than %d bytes", f.codec.max), Hint: "raise maxRecord if it is meant"}
	case !atEOF:
		return 0, nil, nil
	}
	return len(data), data, nil
}

// Bind implements penstock.Framer.
func (f *framer) Bind(d *jsonview.Doc, record []byte) { d.Reset(jsonview.Binary, record) }

type encoder struct{ codec *codec }

// Begin implements penstock.Encoder.
func (e encoder) Begin(dst []byte) []byte { return dst }

// Append implements penstock.Encoder: nothing stands between two bodies.
func (e encoder) Append(dst []byte, d *jsonview.Doc) ([]byte, error) { return e.codec.Encode(dst, d) }

// End implements penstock.Encoder.
func (e encoder) End(dst []byte) []byte { return dst }
