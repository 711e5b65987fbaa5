package jsonview

import (
	"encoding/base64"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the JSON text of n to dst. For JSON that is the text as it stands in the source; the root of a document
// that was not parsed gives the whole source, unchecked. A Record renders as an object of its cells in the order of the columns, Text as a
// string, Binary as a base64 string (RFC 4648 §4). A node that is not there appends null.
func (d *Doc) AppendJSON(dst []byte, n Node) []byte {
	if d.format == JSON {
		if n == 0 && !d.parsed {
			return append(dst, d.src...)
		}
		if uint(n) < uint(len(d.nodes)) {
			nd := &d.nodes[n]
			return append(dst, d.src[nd.start:nd.end]...)
		}
		return append(dst, "null"...)
	}
	if uint(n) >= uint(len(d.nodes)) {
		if n == 0 && !d.parsed {
			return d.appendLazy(dst)
		}
		return append(dst, "null"...)
	}
	nd := &d.nodes[n]
	switch Kind(nd.meta & kindMask) {
	case Object:
		return d.appendRecord(dst)
	case String:
		return AppendString(dst, d.Str(n, nil))
	case Bytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, d.src)
		return append(dst, '"')
	case Number:
		return append(dst, d.src[nd.start:nd.end]...)
	case True:
		return append(dst, "true"...)
	case False:
		return append(dst, "false"...)
	default:
		return append(dst, "null"...)
	}
}

// appendRecord renders the whole record.
func (d *Doc) appendRecord(dst []byte) []byte {
	dst = append(dst, '{')
	for v := 2; v < len(d.nodes); v += 2 {
		nd := &d.nodes[v]
		switch nd.meta & kindMask {
		case uint32(Invalid):
			continue
		case uint32(String):
			dst = append(dst, d.shape.keys[v/2-1]...)
			dst = AppendString(dst, alias(d.src[nd.start:nd.end]))
		default:
			dst = append(dst, d.shape.keys[v/2-1]...)
			dst = d.AppendJSON(dst, Node(v))
		}
		dst = append(dst, ',')
	}
	if last := len(dst) - 1; dst[last] == ',' {
		dst[last] = '}'
		return dst
	}
	return append(dst, '}')
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string with the least escaping that RFC 8259 §7 allows: quote, backslash and control
// characters. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	b := stringBytes(s)
	done := 0 // b[:done] is written
	for i := 0; ; {
		i = plainEnd(b, i)
		if i == len(b) {
			break
		}
		c := b[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(b[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(append(dst, b[done:i]...), "\ufffd"...)
			i++
			done = i
			continue
		}
		dst = append(dst, b[done:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		done = i
	}
	dst = append(dst, b[done:]...)
	return append(dst, '"')
}

// plainEnd gives the first offset from i on that holds no plain ASCII.
func plainEnd(b []byte, i int) int {
	for len(b)-i >= 8 {
		if m := special(load8(b, i)); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(b) && b[i] >= ' ' && b[i] < utf8.RuneSelf && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// AppendFloat appends the shortest decimal that reads back as f, in the form that ECMAScript and encoding/json give it: plain
// between 1e-6 and 1e21, else with an exponent; -0 keeps its sign. f must be finite: JSON has no other numbers.
func AppendFloat(dst []byte, f float64) []byte {
	a := math.Abs(f)
	if a < 1e9 {
		// Most numbers are written with few decimals. Below 10^15 no two decimals share a float64, so the first
		// count of decimals that reads back as f gives the shortest.
		scale := 1.0
		for decimals := 0; decimals <= 4; decimals++ {
			u := uint64(a*scale + 0.5)
			if float64(u)/scale == a && (u != 0 || !math.Signbit(f)) {
				return appendFixed(dst, math.Signbit(f), u, decimals)
			}
			scale *= 10
		}
	}
	if a != 0 && (a < 1e-6 || a >= 1e21) {
		dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
		if n := len(dst); dst[n-4] == 'e' && dst[n-2] == '0' { // e-09 → e-9
			dst[n-2] = dst[n-1]
			dst = dst[:n-1]
		}
		return dst
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

// appendFixed appends u / 10^decimals.
func appendFixed(dst []byte, neg bool, u uint64, decimals int) []byte {
	var room [24]byte
	i := len(room)
	for ; decimals > 0; decimals-- {
		i--
		room[i] = byte('0' + u%10)
		u /= 10
		if decimals == 1 {
			i--
			room[i] = '.'
		}
	}
	for {
		i--
		room[i] = byte('0' + u%10)
		if u /= 10; u == 0 {
			break
		}
	}
	if neg {
		i--
		room[i] = '-'
	}
	return append(dst, room[i:]...)
}
