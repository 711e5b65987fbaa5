package jsonview

import (
	"math"
	"math/bits"
	"strconv"
)

// digitsEnd marks, in the high bit of each byte of w, the bytes that are no decimal digits. The lowest mark is
// exact.
func digitsEnd(w uint64) uint64 {
	x := w ^ ('0' * ones)
	return ((x + 0x76*ones) | x) & highs
}

// scanDigits gives the first offset from i on that holds no digit.
func scanDigits(src []byte, i int) int {
	for len(src)-i >= 8 {
		if m := digitsEnd(load8(src, i)); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(src) && src[i]-'0' < 10 {
		i++
	}
	return i
}

// scanNumber checks the number that begins at i (RFC 8259 §6) and gives the offset after it, −1 if it is none, and
// flagPlain if it has neither fraction nor exponent.
func scanNumber(src []byte, i int) (end int, flags uint32) {
	if src[i] == '-' {
		i++
	}
	end = scanDigits(src, i)
	if end == i || src[i] == '0' && end > i+1 {
		return -1, 0
	}
	if end >= len(src) {
		return end, flagPlain
	}
	c := src[end]
	if c != '.' && c|0x20 != 'e' {
		return end, flagPlain
	}
	if c == '.' {
		i = end + 1
		if end = scanDigits(src, i); end == i {
			return -1, 0
		}
	}
	if end < len(src) && src[end]|0x20 == 'e' {
		i = end + 1
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		if end = scanDigits(src, i); end == i {
			return -1, 0
		}
	}
	return end, 0
}

// failNumber explains why the number that begins at start is none.
func failNumber(src []byte, start int) *SyntaxError {
	i := start
	if src[i] == '-' {
		i++
	}
	end := scanDigits(src, i)
	switch {
	case end == i:
		return failWant(src, end, "a digit after '-'")
	case src[i] == '0' && end > i+1:
		return fail(src, i, "a number must not begin with a needless 0")
	}
	if src[end] == '.' {
		if i, end = end+1, scanDigits(src, end+1); end == i {
			return failWant(src, end, "a digit after the decimal point")
		}
	}
	if end++; end < len(src) && (src[end] == '+' || src[end] == '-') {
		end++
	}
	return failWant(src, end, "a digit in the exponent")
}

// ValidNumber reports whether text is one JSON number (RFC 8259 §6) and nothing else.
func ValidNumber(text []byte) bool {
	if len(text) == 0 || text[0] != '-' && text[0]-'0' > 9 {
		return false
	}
	end, _ := scanNumber(text, 0)
	return end == len(text)
}

// IsInt reports whether n is a number written without fraction and exponent that fits an int64.
func (d *Doc) IsInt(n Node) bool {
	_, ok := d.Int(n)
	return ok
}

// Int gives the value of a number written without fraction and exponent. It is false for every other node, and
// for a number that does not fit an int64: nothing is ever rounded. "-0" is 0.
func (d *Doc) Int(n Node) (int64, bool) {
	if uint(n) >= uint(len(d.nodes)) {
		return 0, false
	}
	nd := &d.nodes[n]
	if nd.meta&(kindMask|flagPlain) != uint32(Number)|flagPlain {
		return 0, false
	}
	return parseInt(d.src[nd.start:nd.end])
}

// parseInt reads a whole number that scanNumber accepted.
func parseInt(text []byte) (int64, bool) {
	digits := text
	if digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) > 19 {
		return 0, false
	}
	var u uint64 // 19 digits cannot overflow it
	for _, c := range digits {
		u = u*10 + uint64(c-'0')
	}
	if len(digits) != len(text) {
		return -int64(u), u <= 1<<63
	}
	return int64(u), u <= math.MaxInt64
}

// exact10 are the powers of ten that a float64 holds exactly.
var exact10 = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// Float gives the float64 nearest to the value of a number node (ties to even). It is false for every other node,
// and for a number whose magnitude no finite float64 comes near to.
func (d *Doc) Float(n Node) (float64, bool) {
	if uint(n) >= uint(len(d.nodes)) {
		return 0, false
	}
	nd := &d.nodes[n]
	if nd.meta&kindMask != uint32(Number) {
		return 0, false
	}
	return parseFloat(d.src[nd.start:nd.end])
}

// parseFloat reads a number that scanNumber accepted. A significand below 2^53 and a power of ten up to 22 are both
// exact as float64, so one multiplication or division rounds once, rightly (W. Clinger, "How to Read Floating Point
// Numbers Accurately", 1990). The rest is strconv's.
func parseFloat(text []byte) (float64, bool) {
	var (
		u   uint64
		exp int
		i   int
		neg = text[0] == '-'
	)
	if len(text) > 19 { // u might overflow
		return parseFloatSlow(text)
	}
	if neg {
		i++
	}
	for ; i < len(text) && text[i]-'0' < 10; i++ {
		u = u*10 + uint64(text[i]-'0')
	}
	if i < len(text) && text[i] == '.' {
		point := i + 1
		for i = point; i < len(text) && text[i]-'0' < 10; i++ {
			u = u*10 + uint64(text[i]-'0')
		}
		exp = point - i
	}
	if i < len(text) || u >= 1<<53 { // an exponent is rare
		return parseFloatSlow(text)
	}
	f := float64(u)
	if exp < 0 {
		f /= exact10[-exp] // at most 17 digits follow the point
	}
	if neg {
		f = -f
	}
	return f, true
}

func parseFloatSlow(text []byte) (float64, bool) {
	f, err := strconv.ParseFloat(alias(text), 64)
	return f, err == nil
}
