package penstock

import (
	"math/big"
	"strconv"
)

// plainZeros is how many zeros a text may be padded with before it takes an exponent.
const plainZeros = 60

// ParseDecimal reads a decimal: an optional sign, digits with an optional point, an
// optional exponent ("17.50", "-3", "+007", ".5", "1e-9"). Every digit is kept. Spaces,
// separators, NaN and infinities are ErrDecimalSyntax; over MaxDecimalDigits it is
// ErrDecimalLimit.
func ParseDecimal(s string) (Decimal, error) {
	i, neg := 0, false
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		neg = s[i] == '-'
		i++
	}
	start := i
	var coef uint64 // of the first 18 digits from the first that is not zero
	held, seen, point := 0, 0, -1
	for ; i < len(s); i++ {
		c := s[i]
		if c == '.' && point < 0 {
			point = seen
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		seen++
		if held > 0 || c != '0' {
			if held++; held <= 18 {
				coef = coef*10 + uint64(c-'0')
			}
		}
	}
	if seen == 0 {
		return Decimal{}, ErrDecimalSyntax
	}
	mantissa := s[start:i]
	exp, err := parseExponent(s[i:])
	if err != nil {
		return Decimal{}, err
	}
	scale := -exp
	if point >= 0 {
		scale += seen - point
	}
	if held > MaxDecimalDigits || scale > MaxDecimalDigits || scale < -MaxDecimalDigits {
		return Decimal{}, ErrDecimalLimit
	}
	if held <= 18 {
		d := Decimal{coef: int64(coef), scale: int32(scale)}
		if neg {
			d.coef = -d.coef
		}
		return d, nil
	}
	return parseLong(mantissa, neg, int32(scale)), nil
}

// parseExponent reads "", "e5", "E-12". What is out of any range is clamped to what the
// caller refuses.
func parseExponent(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	if s[0] != 'e' && s[0] != 'E' {
		return 0, ErrDecimalSyntax
	}
	i, neg := 1, false
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		neg = s[i] == '-'
		i++
	}
	if i == len(s) {
		return 0, ErrDecimalSyntax
	}
	exp := 0
	for ; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, ErrDecimalSyntax
		}
		if exp <= 3*MaxDecimalDigits {
			exp = exp*10 + int(s[i]-'0')
		}
	}
	if neg {
		exp = -exp
	}
	return exp, nil
}

func parseLong(mantissa string, neg bool, scale int32) Decimal {
	text := make([]byte, 0, len(mantissa)+1)
	if neg {
		text = append(text, '-')
	}
	for i := 0; i < len(mantissa); i++ {
		if mantissa[i] != '.' {
			text = append(text, mantissa[i])
		}
	}
	b, _ := new(big.Int).SetString(string(text), 10) // digits only: cannot fail
	return fromBig(b, scale)
}

// AppendText appends the text of d: all its digits, with no exponent unless more than 60
// zeros would have to be written. It is a JSON number (RFC 8259 §6).
func (d Decimal) AppendText(dst []byte) []byte {
	if d.scale == 0 && d.big == nil {
		return strconv.AppendInt(dst, d.coef, 10)
	}
	var buf [20]byte
	var ds []byte
	if d.big == nil {
		ds = strconv.AppendUint(buf[:0], magnitude(d.coef), 10)
	} else {
		ds = d.big.Append(nil, 10)
		if ds[0] == '-' {
			ds = ds[1:]
		}
	}
	if d.Sign() < 0 {
		dst = append(dst, '-')
	}
	scale := int(d.scale)
	switch {
	case d.Sign() == 0 && scale < 0:
		return append(dst, '0')
	case scale < -plainZeros || scale-len(ds) > plainZeros:
		dst = append(dst, ds[0])
		if len(ds) > 1 {
			dst = append(append(dst, '.'), ds[1:]...)
		}
		return strconv.AppendInt(append(dst, 'e'), int64(len(ds)-1-scale), 10)
	case scale <= 0:
		return appendZeros(append(dst, ds...), -scale)
	case scale < len(ds):
		dst = append(dst, ds[:len(ds)-scale]...)
		return append(append(dst, '.'), ds[len(ds)-scale:]...)
	}
	return append(appendZeros(append(dst, "0."...), scale-len(ds)), ds...)
}

func appendZeros(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, '0')
	}
	return dst
}

// String is the text that AppendText appends.
func (d Decimal) String() string { return string(d.AppendText(nil)) }

// MarshalJSON gives the number with all its digits.
func (d Decimal) MarshalJSON() ([]byte, error) { return d.AppendText(nil), nil }
