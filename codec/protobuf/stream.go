package protobuf

import (
	"encoding/binary"
	"errors"
	"fmt"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// NewFramer implements penstock.Codec.
func (c *codec) NewFramer(string) penstock.Framer { return &framer{codec: c} }

// NewEncoder implements penstock.Codec.
func (c *codec) NewEncoder() penstock.Encoder { return &encoder{codec: c} }

type framer struct {
	codec *codec
	lost  bool  // the stream, which is one message, is over the limit
	skip  int64 // what is left of a message that is
}

// Exact implements penstock.Exact.
func (c *codec) Exact() bool { return true }

// Frame implements penstock.Framer.
func (f *framer) Frame(data []byte, atEOF bool) (int, []byte, error) {
	switch {
	case len(data) == 0:
		return 0, nil, nil
	case f.codec.delimited:
		return f.delimited(data, atEOF)
	case f.lost:
		return len(data), nil, nil
	case len(data) > f.codec.max:
		f.lost = true
		return len(data), nil, f.tooLarge(uint64(len(data)))
	case !atEOF:
		return 0, nil, nil
	}
	return len(data), data, nil
}

func (f *framer) tooLarge(size uint64) error {
	return &penstock.Error{Code: penstock.TooLarge, Op: "protobuf", Err: fmt.Errorf("a message of %d bytes or more; %d are read", size, f.codec.max), Hint: "raise maxRecord if it is meant"}
}

// delimited finds a message with its length before it.
func (f *framer) delimited(data []byte, atEOF bool) (int, []byte, error) {
	if f.skip > 0 {
		n := int(min(f.skip, int64(len(data))))
		f.skip -= int64(n)
		return n, nil, nil
	}
	size, n := binary.Uvarint(data)
	switch {
	case n < 0 || size > 1<<40:
		return 0, nil, &penstock.Error{Code: penstock.Invalid, Op: "protobuf", Err: errors.New("no message begins here: its length would be absurd"), Hint: "is it a stream of messages with their lengths? If it is one message, say `delimited: false`"}
	case size > uint64(f.codec.max) && n > 0:
		f.skip = int64(size)
		return n, nil, f.tooLarge(size)
	case n > 0 && size <= uint64(len(data)-n):
		return n + int(size), data[n : n+int(size) : n+int(size)], nil
	case atEOF:
		return 0, nil, &penstock.Error{Code: penstock.Invalid, Op: "protobuf", Err: errors.New("the stream ends in the middle of a message")}
	}
	return 0, nil, nil
}

// Bind implements penstock.Framer. A message that can't be read fails when it is: its document is the text of nothing.
func (f *framer) Bind(d *jsonview.Doc, record []byte) { d.ResetLazy(record, lazy{f.codec}) }

// lazy reads a message when a document is first looked at.
type lazy struct{ codec *codec }

// DecodeRecord implements jsonview.Decoder.
func (l lazy) DecodeRecord(d *jsonview.Doc, src []byte) error {
	text, err := l.codec.Decode(make([]byte, 0, 2*len(src)+64), src)
	if err != nil {
		return err
	}
	d.Reset(jsonview.JSON, text)
	return d.Parse(jsonview.Limits{})
}

type encoder struct {
	codec *codec
	begun bool
}

// Begin implements penstock.Encoder.
func (e *encoder) Begin(dst []byte) []byte { return dst }

// Append implements penstock.Encoder.
func (e *encoder) Append(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if !e.codec.delimited {
		if e.begun {
			return dst, &penstock.Error{Code: penstock.Config, Op: "protobuf", Err: errors.New("with `delimited: false` a stream holds one message, and this is a second"), Hint: "write each message to a file of its own, or leave `delimited: false` out"}
		}
		out, err := e.codec.Encode(dst, d)
		e.begun = err == nil
		return out, err
	}
	begin := len(dst) + 1
	out, err := e.codec.Encode(append(dst, 0), d)
	if err != nil {
		return dst, err
	}
	return lengthBefore(out, begin), nil
}

// End implements penstock.Encoder.
func (e *encoder) End(dst []byte) []byte { return dst }
