package jsonview

import (
	"bytes"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, in the high bit of each byte of w, the bytes that end the plain run of a string: quote, backslash,
// control characters and all that is not ASCII. The lowest mark is exact, those above it may be wrong.
// XOR 2 moves the quote just below 0x21 next to the control characters, so one subtraction finds both.
func special(w uint64) uint64 {
	q, b := w^(0x02*ones), w^(0x5c*ones)
	return ((q - 0x21*ones) | (b - ones) | w) & highs
}

// specialASCII is special without the marks for bytes above ASCII.
func specialASCII(w uint64) uint64 {
	q, b := w^(0x02*ones), w^(0x5c*ones)
	return ((q - 0x21*ones) | (b - ones)) &^ w & highs
}

// scanString checks the string that begins with the quote at start, from offset i on, and gives the offset after
// its closing quote, and flagEscaped if it has escapes.
func scanString(src []byte, start, i int) (end int, flags uint32, err *SyntaxError) {
	ascii := true
	for {
		for len(src)-i >= 8 {
			w := load8(src, i)
			if w&highs != 0 {
				ascii = false
			}
			if m := specialASCII(w); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		for i < len(src) && src[i] >= ' ' && src[i] != '"' && src[i] != '\\' {
			if src[i] >= utf8.RuneSelf {
				ascii = false
			}
			i++
		}
		if i >= len(src) {
			return 0, 0, fail(src, len(src), "the document ends within the string that began at byte %d", start)
		}
		switch src[i] {
		case '"':
			if !ascii && !utf8.Valid(src[start+1:i]) {
				return 0, 0, failUTF8(src, start+1, i)
			}
			return i + 1, flags, nil
		case '\\':
			flags = flagEscaped
			if i, err = scanEscape(src, i); err != nil {
				return 0, 0, err
			}
		default:
			return 0, 0, fail(src, i, "control character 0x%02x within a string; it must be escaped", src[i])
		}
	}
}

// scanEscape checks the escape whose backslash is at i and gives the offset after it.
func scanEscape(src []byte, i int) (int, *SyntaxError) {
	if i+1 >= len(src) {
		return 0, fail(src, len(src), "the document ends within an escape")
	}
	switch src[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2, nil
	case 'u':
		r := hex4(src[i+2:])
		if r < 0 {
			return 0, fail(src, i, `\u takes four hexadecimal digits`)
		}
		if !utf16.IsSurrogate(r) {
			return i + 6, nil
		}
		if r < 0xdc00 && len(src)-i >= 12 && src[i+6] == '\\' && src[i+7] == 'u' {
			if low := hex4(src[i+8:]); low >= 0xdc00 && low <= 0xdfff {
				return i + 12, nil
			}
		}
		return 0, fail(src, i, `\u%04x is half of a surrogate pair and names no character`, r)
	}
	return 0, fail(src, i, `found %s after a backslash, which is no escape`, show(src[i+1:]))
}

// hex4 reads four hexadecimal digits, −1 if they are not there.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c-'0' < 10:
			c -= '0'
		case c|0x20-'a' < 6:
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// failUTF8 finds the byte between i and end at which the text stops to be UTF-8.
func failUTF8(src []byte, i, end int) *SyntaxError {
	for i < end {
		r, size := utf8.DecodeRune(src[i:end])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		i += size
	}
	return fail(src, i, "byte 0x%02x is not valid UTF-8", src[i])
}

// appendUnescaped appends the value of text, the inside of a string that scanString accepted.
func appendUnescaped(dst, text []byte) []byte {
	for i := 0; ; {
		run := bytes.IndexByte(text[i:], '\\')
		if run < 0 {
			return append(dst, text[i:]...)
		}
		dst = append(dst, text[i:i+run]...)
		i += run
		c := text[i+1]
		i += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex4(text[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				r = utf16.DecodeRune(r, hex4(text[i+2:]))
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			continue
		}
		dst = append(dst, c)
	}
}

// Str gives the value of a string node. A string without escapes, and a cell of a Record, is not copied: it aliases
// the source. One with escapes is written to memory from alloc, which is asked for at most the length of the text
// and must return at least that much; a nil alloc means the heap. A key node gives its name. The root of a Text document gives the
// whole text. Every other node gives "".
func (d *Doc) Str(n Node, alloc func(int) []byte) string {
	if uint(n) >= uint(len(d.nodes)) {
		return ""
	}
	nd := &d.nodes[n]
	if nd.meta&(kindMask|flagEscaped) == uint32(String) {
		if n == 0 && d.format == Text {
			return alias(d.src) // its length may exceed 32 bits
		}
		q := nd.meta >> quotedShift & 1
		return alias(d.src[nd.start+q : nd.end-q])
	}
	return d.strEscaped(n, alloc)
}

func (d *Doc) strEscaped(n Node, alloc func(int) []byte) string {
	nd := &d.nodes[n]
	if nd.meta&kindMask != uint32(String) {
		return ""
	}
	if d.format == Record {
		return d.shape.column(n)
	}
	text := d.src[nd.start+1 : nd.end-1]
	var out []byte
	if alloc != nil {
		out = alloc(len(text))[:0]
	} else {
		out = make([]byte, 0, len(text))
	}
	return alias(appendUnescaped(out, text))
}
