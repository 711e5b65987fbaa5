package csv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"penstock.dev/penstock"
)

// Character encodings. They are few and small, and a table of our own can mark what is not text: half of a
// surrogate pair becomes bytes that are no UTF-8, so that its row fails instead of losing a character.

// Transcode implements penstock.Transcoder.
func (c *codec) Transcode(head []byte) func(io.Reader) io.Reader {
	wide := func(order binary.ByteOrder) func(io.Reader) io.Reader {
		return func(r io.Reader) io.Reader { return &transcoder{r: r, convert: utf16To8(order), unit: 2} }
	}
	narrow := func(table *[256]rune) func(io.Reader) io.Reader {
		return func(r io.Reader) io.Reader { return &transcoder{r: r, convert: bytesTo8(table), unit: 1} }
	}
	little, big := bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff})
	switch c.encoding {
	case "auto":
		// A file without a byte order mark that has zeros in every other place is UTF-16 as well.
		switch {
		case little, len(head) >= 4 && head[0] != 0 && head[1] == 0 && head[2] != 0 && head[3] == 0:
			return wide(binary.LittleEndian)
		case big, len(head) >= 4 && head[0] == 0 && head[1] != 0 && head[2] == 0 && head[3] != 0:
			return wide(binary.BigEndian)
		}
	case "utf-16":
		if big {
			return wide(binary.BigEndian)
		}
		return wide(binary.LittleEndian)
	case "utf-16le":
		return wide(binary.LittleEndian)
	case "utf-16be":
		return wide(binary.BigEndian)
	case "windows-1252":
		return narrow(&windows1252)
	case "iso-8859-1":
		return narrow(&latin1)
	}
	return nil
}

// toUTF8 converts a whole document.
func (c *codec) toUTF8(src []byte) ([]byte, error) {
	wrap := c.Transcode(src[:min(len(src), 4)])
	if wrap == nil {
		return src, nil
	}
	return io.ReadAll(wrap(bytes.NewReader(src)))
}

// latin1 is ISO/IEC 8859-1: each byte is the code point of its number.
var latin1 = func() (t [256]rune) {
	for i := range t {
		t[i] = rune(i)
	}
	return t
}()

// windows1252 is ISO 8859-1 with other characters in the place of its second set of control characters (WHATWG
// Encoding Standard, index windows-1252; the five codes without a character stay control characters).
var windows1252 = func() [256]rune {
	t := latin1
	for i, r := range []rune("€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ") {
		t[0x80+i] = r
	}
	return t
}()

// transcoder reads UTF-8 from a reader of something else.
type transcoder struct {
	r       io.Reader
	convert func(dst, src []byte, atEOF bool) (out []byte, used int)
	unit    int
	in      []byte // read but not converted
	out     []byte // converted but not given
	done    int    // of out
	err     error
	buf     [32 << 10]byte
}

var errOdd = errors.New("the stream ends within a character")

// Read implements io.Reader.
func (t *transcoder) Read(p []byte) (int, error) {
	for t.done == len(t.out) {
		if t.err != nil {
			if errors.Is(t.err, io.EOF) && len(t.in) > 0 {
				t.in = nil
				return 0, errOdd
			}
			return 0, t.err
		}
		n := copy(t.buf[:], t.in)
		m, err := t.r.Read(t.buf[n:])
		t.err = err
		var used int
		t.out, used = t.convert(t.out[:0], t.buf[:n+m], err != nil)
		t.in = append(t.in[:0], t.buf[used:n+m]...)
		t.done = 0
	}
	n := copy(p, t.out[t.done:])
	t.done += n
	return n, nil
}

// bytesTo8 converts from an encoding of one byte a character.
func bytesTo8(table *[256]rune) func(dst, src []byte, atEOF bool) ([]byte, int) {
	return func(dst, src []byte, _ bool) ([]byte, int) {
		for _, b := range src {
			dst = utf8.AppendRune(dst, table[b])
		}
		return dst, len(src)
	}
}

// utf16To8 converts from UTF-16 (RFC 2781).
func utf16To8(order binary.ByteOrder) func(dst, src []byte, atEOF bool) ([]byte, int) {
	return func(dst, src []byte, atEOF bool) ([]byte, int) {
		i := 0
		for ; i+2 <= len(src); i += 2 {
			u := rune(order.Uint16(src[i:]))
			if !utf16.IsSurrogate(u) {
				dst = utf8.AppendRune(dst, u)
				continue
			}
			if u < 0xdc00 {
				if i+4 > len(src) && !atEOF {
					break
				}
				if i+4 <= len(src) {
					if r := utf16.DecodeRune(u, rune(order.Uint16(src[i+2:]))); r != utf8.RuneError {
						dst = utf8.AppendRune(dst, r)
						i += 2
						continue
					}
				}
			}
			// Half of a pair, as the three bytes that UTF-8 does not allow.
			dst = append(dst, 0xe0|byte(u>>12), 0x80|byte(u>>6)&0x3f, 0x80|byte(u)&0x3f)
		}
		return dst, i
	}
}

// outEncoding is what an encoder writes.
type outEncoding struct {
	name string
	back map[rune]byte // of an encoding of one byte a character
}

func newOutEncoding(name string) *outEncoding {
	e := &outEncoding{name: name}
	var table *[256]rune
	switch name {
	case "windows-1252":
		table = &windows1252
	case "iso-8859-1":
		table = &latin1
	case "auto", "utf-8":
		return nil
	default:
		return e
	}
	e.back = make(map[rune]byte, 256)
	for b, r := range table {
		e.back[r] = byte(b)
	}
	return e
}

// begin appends the byte order mark, where the reader needs one.
func (e *outEncoding) begin(dst []byte) []byte {
	if e.name == "utf-16" {
		return append(dst, 0xff, 0xfe)
	}
	return dst
}

// append appends text, which is UTF-8.
func (e *outEncoding) append(dst, text []byte) ([]byte, error) {
	start := len(dst)
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n <= 1 {
			return dst[:start], &penstock.Error{Code: penstock.Invalid, Op: "csv", Err: errUTF8}
		}
		i += n
		if e.back != nil {
			b, ok := e.back[r]
			if !ok {
				return dst[:start], &penstock.Error{Code: penstock.Unprocessable, Op: "csv", Err: fmt.Errorf("the character %q does not exist in %s", r, e.name),
					Hint: "write utf-8, or replace the character in a step before"}
			}
			dst = append(dst, b)
			continue
		}
		var order binary.AppendByteOrder = binary.LittleEndian
		if e.name == "utf-16be" {
			order = binary.BigEndian
		}
		if r >= 0x10000 {
			high, low := utf16.EncodeRune(r)
			dst = order.AppendUint16(dst, uint16(high))
			r = low
		}
		dst = order.AppendUint16(dst, uint16(r))
	}
	return dst, nil
}
