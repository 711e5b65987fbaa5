package penstock

import (
	"cmp"
	"errors"
	"math"
	"math/big"
	"math/bits"
)

// Decimal is an exact decimal number: coef × 10^-scale, or big × 10^-scale where the
// coefficient does not fit 63 bits. The zero Decimal is 0. It is immutable and safe for
// concurrent use. Trailing zeros are kept (1.50 stays 1.50) and never matter to
// comparisons.
type Decimal struct {
	coef  int64
	scale int32
	big   *big.Int // nil unless the coefficient needs it; then coef is 0
}

// MaxDecimalDigits bounds the digits of a coefficient and the size of an exponent, so
// that a hostile number cannot make arithmetic expensive.
const MaxDecimalDigits = 10_000

// divisionDigits is the precision of a quotient: that of IEEE 754 decimal128.
const divisionDigits = 34

// The errors of decimal arithmetic.
var (
	ErrDecimalSyntax = errors.New("not a decimal number")
	ErrDecimalLimit  = errors.New("decimal has more than 10000 digits")
	ErrDecimalZero   = errors.New("division by zero")
)

// DecimalFromInt makes a decimal of i.
func DecimalFromInt(i int64) Decimal { return Decimal{coef: i} }

// DecimalFromUint makes a decimal of u.
func DecimalFromUint(u uint64) Decimal {
	if u <= math.MaxInt64 {
		return Decimal{coef: int64(u)}
	}
	return Decimal{big: new(big.Int).SetUint64(u)}
}

// DecimalFromFloat makes the decimal that is exactly f: 0.1 becomes
// 0.1000000000000000055511151231257827021181583404541015625. NaN and infinities are an error.
func DecimalFromFloat(f float64) (Decimal, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Decimal{}, ErrDecimalSyntax
	}
	if f == math.Trunc(f) && math.Abs(f) < 1<<62 {
		return Decimal{coef: int64(f)}, nil
	}
	mant, exp := math.Frexp(f)
	m, exp := int64(mant*(1<<53)), exp-53
	if exp >= 0 {
		return fromBig(new(big.Int).Lsh(big.NewInt(m), uint(exp)), 0), nil
	}
	shift := min(bits.TrailingZeros64(uint64(m)), -exp)
	m, exp = m>>shift, exp+shift
	// m / 2^n = m·5^n / 10^n
	five := new(big.Int).Exp(big.NewInt(5), big.NewInt(int64(-exp)), nil)
	return fromBig(five.Mul(five, big.NewInt(m)), int32(-exp)), nil
}

// fromBig makes a decimal of b, which it takes over, inline where that fits.
func fromBig(b *big.Int, scale int32) Decimal {
	if b.IsInt64() {
		return Decimal{coef: b.Int64(), scale: scale}
	}
	return Decimal{big: b, scale: scale}
}

// int gives the coefficient as a big.Int that must not be changed.
func (d Decimal) int() *big.Int {
	if d.big != nil {
		return d.big
	}
	return big.NewInt(d.coef)
}

// Sign is -1, 0 or 1.
func (d Decimal) Sign() int {
	if d.big != nil {
		return d.big.Sign()
	}
	return cmp.Compare(d.coef, 0)
}

// Scale is how many digits stand after the point; negative where zeros before the point
// are not held as digits.
func (d Decimal) Scale() int { return int(d.scale) }

// pow10 are the powers of ten that fit int64.
var pow10 = [19]int64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18}

func bigPow10(n int) *big.Int {
	if n < len(pow10) {
		return big.NewInt(pow10[n])
	}
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

// mul64 multiplies, telling whether the product fits.
func mul64(a, b int64) (int64, bool) {
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	if hi != 0 || lo > math.MaxInt64 {
		return 0, false
	}
	if (a < 0) != (b < 0) {
		return -int64(lo), true
	}
	return int64(lo), true
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return -uint64(a)
	}
	return uint64(a)
}

func add64(a, b int64) (int64, bool) {
	s := a + b
	return s, (a > 0) != (b > 0) || (s > 0) == (a > 0)
}

// align brings both coefficients to the larger scale.
func align(a, b Decimal) (x, y *big.Int, scale int32) {
	x, y, scale = a.int(), b.int(), a.scale
	switch {
	case a.scale < b.scale:
		x, scale = new(big.Int).Mul(x, bigPow10(int(b.scale-a.scale))), b.scale
	case a.scale > b.scale:
		y = new(big.Int).Mul(y, bigPow10(int(a.scale-b.scale)))
	}
	return x, y, scale
}

// align64 is align where everything fits.
func align64(a, b Decimal) (x, y int64, scale int32, ok bool) {
	if a.big != nil || b.big != nil {
		return 0, 0, 0, false
	}
	x, y, scale = a.coef, b.coef, a.scale
	switch n := int(a.scale) - int(b.scale); {
	case n == 0:
		return x, y, scale, true
	case n > 0 && n < len(pow10):
		y, ok = mul64(y, pow10[n])
	case n < 0 && -n < len(pow10):
		scale = b.scale
		x, ok = mul64(x, pow10[-n])
	}
	return x, y, scale, ok
}

// Add gives d + o, exactly.
func (d Decimal) Add(o Decimal) (Decimal, error) {
	if x, y, scale, ok := align64(d, o); ok {
		if s, ok := add64(x, y); ok {
			return Decimal{coef: s, scale: scale}, nil
		}
	}
	x, y, scale := align(d, o)
	return bounded(new(big.Int).Add(x, y), scale)
}

// Sub gives d - o, exactly.
func (d Decimal) Sub(o Decimal) (Decimal, error) { return d.Add(o.Neg()) }

// Mul gives d × o, exactly.
func (d Decimal) Mul(o Decimal) (Decimal, error) {
	scale := int64(d.scale) + int64(o.scale)
	if scale > MaxDecimalDigits || scale < -MaxDecimalDigits {
		return Decimal{}, ErrDecimalLimit
	}
	if d.big == nil && o.big == nil {
		if p, ok := mul64(d.coef, o.coef); ok {
			return Decimal{coef: p, scale: int32(scale)}, nil
		}
	}
	return bounded(new(big.Int).Mul(d.int(), o.int()), int32(scale))
}

// Quo gives d / o to 34 significant digits, rounded half to even, without trailing zeros
// beyond those that the operands have. Dividing by zero is ErrDecimalZero.
func (d Decimal) Quo(o Decimal) (Decimal, error) {
	if o.Sign() == 0 {
		return Decimal{}, ErrDecimalZero
	}
	ideal := int(d.scale) - int(o.scale)
	if d.big == nil && o.big == nil && ideal >= 0 && d.coef != math.MinInt64 && d.coef%o.coef == 0 {
		return Decimal{coef: d.coef / o.coef, scale: int32(ideal)}, nil
	}
	num, den := d.int(), o.int()
	shift := max(divisionDigits+1+digits(den)-digits(num), 0)
	num = new(big.Int).Mul(num, bigPow10(shift))
	q, r := new(big.Int).QuoRem(num, den, new(big.Int))
	scale := ideal + shift
	if drop := digits(q) - divisionDigits; drop > 0 {
		q = roundOff(q, drop, r.Sign() != 0)
		scale -= drop
		if digits(q) > divisionDigits { // 999…9 rounded up
			q.Quo(q, big.NewInt(10))
			scale--
		}
	}
	q, scale = trimZeros(q, scale, max(ideal, 0))
	if scale > MaxDecimalDigits || scale < -MaxDecimalDigits {
		return Decimal{}, ErrDecimalLimit
	}
	return fromBig(q, int32(scale)), nil
}

// roundOff drops the last n digits of q, half to even; more says that q itself was cut.
func roundOff(q *big.Int, n int, more bool) *big.Int {
	unit := bigPow10(n)
	q, rest := new(big.Int).QuoRem(q, unit, new(big.Int))
	sign := rest.Sign()
	half := rest.Abs(rest).Lsh(rest, 1).Cmp(unit)
	if half > 0 || half == 0 && (more || q.Bit(0) == 1) {
		if sign == 0 {
			sign = 1
		}
		q.Add(q, big.NewInt(int64(sign)))
	}
	return q
}

// trimZeros removes trailing zeros while the scale is above floor.
func trimZeros(q *big.Int, scale, floor int) (*big.Int, int) {
	ten, rest := big.NewInt(10), new(big.Int)
	for scale > floor {
		next, r := new(big.Int).QuoRem(q, ten, rest)
		if r.Sign() != 0 {
			break
		}
		q, scale = next, scale-1
	}
	return q, scale
}

// Rem gives the rest of the truncated division d / o: it has the sign of d, as CEL's %.
func (d Decimal) Rem(o Decimal) (Decimal, error) {
	if o.Sign() == 0 {
		return Decimal{}, ErrDecimalZero
	}
	if x, y, scale, ok := align64(d, o); ok {
		if y == -1 { // MinInt64 % -1 faults on some machines
			return Decimal{scale: scale}, nil
		}
		return Decimal{coef: x % y, scale: scale}, nil
	}
	x, y, scale := align(d, o)
	return bounded(new(big.Int).Rem(x, y), scale)
}

// Neg gives -d.
func (d Decimal) Neg() Decimal {
	if d.big == nil && d.coef != math.MinInt64 {
		return Decimal{coef: -d.coef, scale: d.scale}
	}
	return fromBig(new(big.Int).Neg(d.int()), d.scale)
}

// Abs gives the magnitude of d.
func (d Decimal) Abs() Decimal {
	if d.Sign() < 0 {
		return d.Neg()
	}
	return d
}

// Round gives d with at most places digits after the point, rounded half to even;
// negative places round before the point. A number with fewer digits gets zeros, so that
// the result has exactly that scale (for places ≥ 0).
func (d Decimal) Round(places int) (Decimal, error) {
	if places > MaxDecimalDigits || places < -MaxDecimalDigits {
		return Decimal{}, ErrDecimalLimit
	}
	switch n := int(d.scale) - places; {
	case n > 0:
		if n > digits(d.int())+1 {
			return Decimal{scale: int32(places)}, nil
		}
		return fromBig(roundOff(d.int(), n, false), int32(places)), nil
	case n < 0 && places >= 0:
		return bounded(new(big.Int).Mul(d.int(), bigPow10(-n)), int32(places))
	}
	return d, nil
}

// Trunc gives the integer part of d, towards zero.
func (d Decimal) Trunc() Decimal {
	if d.scale <= 0 {
		return d
	}
	if d.big == nil {
		if int(d.scale) >= len(pow10) {
			return Decimal{}
		}
		return Decimal{coef: d.coef / pow10[d.scale]}
	}
	return fromBig(new(big.Int).Quo(d.big, bigPow10(int(d.scale))), 0)
}

// Normal gives d without trailing zeros after the point: numbers that are equal have the
// same normal form, and the same text then.
func (d Decimal) Normal() Decimal {
	if d.scale < 0 {
		return fromBig(new(big.Int).Mul(d.int(), bigPow10(-int(d.scale))), 0)
	}
	if d.big == nil {
		for d.scale > 0 && d.coef%10 == 0 {
			d.coef, d.scale = d.coef/10, d.scale-1
		}
		return d
	}
	q, scale := trimZeros(d.big, int(d.scale), 0)
	return fromBig(q, int32(scale))
}

// bounded makes a decimal of b unless it is over the limits.
func bounded(b *big.Int, scale int32) (Decimal, error) {
	// A digit has more than 3 bits: the cheap test comes first.
	if n := b.BitLen(); n/4 > MaxDecimalDigits || n/3 > MaxDecimalDigits && digits(b) > MaxDecimalDigits {
		return Decimal{}, ErrDecimalLimit
	}
	return fromBig(b, scale), nil
}

// digits counts the decimal digits of b; 1 for zero.
func digits(b *big.Int) int {
	if b.Sign() == 0 {
		return 1
	}
	n := int(float64(b.BitLen()-1)*0.30102999566398120) + 1
	if b.CmpAbs(bigPow10(n)) >= 0 {
		n++
	}
	return n
}
