package json

import (
	"bytes"

	"penstock.dev/penstock/jsonview"
)

// encoder writes a stream of documents.
type encoder struct {
	codec *codec
	begun bool   // a document was written
	buf   []byte // scratch
}

// Begin implements penstock.Encoder.
func (e *encoder) Begin(dst []byte) []byte {
	e.begun = false
	if e.codec.config.Array {
		return append(dst, "[\n"...)
	}
	return dst
}

// Append implements penstock.Encoder.
func (e *encoder) Append(dst []byte, d *jsonview.Doc) ([]byte, error) {
	out := dst
	if e.codec.config.Array && e.begun {
		out = append(out, ",\n"...)
	}
	out, err := e.document(out, d)
	if err != nil {
		return dst, err
	}
	e.begun = true
	if !e.codec.config.Array {
		out = append(out, '\n')
	}
	return out, nil
}

// End implements penstock.Encoder.
func (e *encoder) End(dst []byte) []byte {
	switch {
	case !e.codec.config.Array:
		return dst
	case e.begun:
		return append(dst, "\n]\n"...)
	}
	return append(dst, "]\n"...)
}

// document appends one document. JSON that stands on one line goes out as it is, read or not.
func (e *encoder) document(dst []byte, d *jsonview.Doc) ([]byte, error) {
	src := d.Bytes()
	isJSON := d.Format() == jsonview.JSON
	if isJSON && len(src) == 0 {
		return append(dst, "null"...), nil
	}
	if isJSON && !e.codec.config.Pretty && bytes.IndexByte(src, '\n') < 0 && (!d.Parsed() || d.Kind(0) != jsonview.Invalid) {
		return append(dst, src...), nil
	}
	if err := d.Parse(e.codec.limits); err != nil {
		return dst, invalid(err)
	}
	if !isJSON && !e.codec.config.Pretty {
		return d.AppendJSON(dst, 0), nil
	}
	e.buf = d.AppendJSON(e.buf[:0], 0)
	if e.codec.config.Pretty {
		return indent(dst, e.buf), nil
	}
	return compact(dst, e.buf), nil
}

// compact appends src, a valid document, without the white space between its tokens.
func compact(dst, src []byte) []byte {
	for i := 0; i < len(src); {
		switch c := src[i]; c {
		case ' ', '\t', '\r', '\n':
			i++
		case '"':
			end := stringEnd(src, i)
			dst = append(dst, src[i:end]...)
			i = end
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// stringEnd is where the string that begins at i ends.
func stringEnd(src []byte, i int) int {
	for i++; i < len(src); i++ {
		switch src[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(src)
}

// indent appends src, a valid document, with each member on its own line.
func indent(dst, src []byte) []byte {
	depth := 0
	line := func() {
		dst = append(dst, '\n')
		for range depth {
			dst = append(dst, "  "...)
		}
	}
	for i := 0; i < len(src); i++ {
		switch c := src[i]; c {
		case ' ', '\t', '\r', '\n':
		case '"':
			end := stringEnd(src, i)
			dst = append(dst, src[i:end]...)
			i = end - 1
		case '{', '[':
			dst = append(dst, c)
			next := skipSpace(src, i+1)
			if next < len(src) && (src[next] == '}' || src[next] == ']') {
				dst = append(dst, src[next])
				i = next
				continue
			}
			depth++
			line()
		case '}', ']':
			depth--
			line()
			dst = append(dst, c)
		case ',':
			dst = append(dst, c)
			line()
		case ':':
			dst = append(dst, ": "...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
