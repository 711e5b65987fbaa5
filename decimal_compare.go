package penstock

import (
	"cmp"
	"math"
	"math/big"
)

// Cmp compares the numbers: -1, 0 or 1.
func (d Decimal) Cmp(o Decimal) int {
	if x, y, _, ok := align64(d, o); ok {
		return cmp.Compare(x, y)
	}
	if s, t := d.Sign(), o.Sign(); s != t || s == 0 {
		return cmp.Compare(s, t)
	}
	// Far apart in magnitude: no need to align thousands of digits.
	if m, n := digits(d.int())-int(d.scale), digits(o.int())-int(o.scale); m != n {
		return cmp.Compare(m, n) * d.Sign()
	}
	x, y, _ := align(d, o)
	return x.Cmp(y)
}

// CmpInt compares d with i.
func (d Decimal) CmpInt(i int64) int { return d.Cmp(Decimal{coef: i}) }

// CmpUint compares d with u.
func (d Decimal) CmpUint(u uint64) int { return d.Cmp(DecimalFromUint(u)) }

// CmpDouble compares d with the exact value of f, which must not be NaN: that has no order.
func (d Decimal) CmpDouble(f float64) int {
	switch {
	case math.IsInf(f, 1):
		return -1
	case math.IsInf(f, -1):
		return 1
	}
	o, err := DecimalFromFloat(f)
	if err != nil {
		return 1
	}
	return d.Cmp(o)
}

// Int gives the value of d if it is an integer that fits.
func (d Decimal) Int() (int64, bool) {
	if d.scale == 0 && d.big == nil {
		return d.coef, true
	}
	if d.tooBig() {
		return 0, false
	}
	n := d.Normal()
	return n.coef, n.scale == 0 && n.big == nil
}

// Uint gives the value of d if it is an integer that fits.
func (d Decimal) Uint() (uint64, bool) {
	if d.Sign() < 0 || d.tooBig() {
		return 0, false
	}
	n := d.Normal()
	switch {
	case n.scale != 0:
		return 0, false
	case n.big == nil:
		return uint64(n.coef), true
	}
	return n.big.Uint64(), n.big.IsUint64()
}

// tooBig says that d is over 10^20, without computing it.
func (d Decimal) tooBig() bool { return digits(d.int())-int(d.scale) > 20 && d.Sign() != 0 }

// Float gives the float64 nearest to d, ties to even; ±Inf beyond its range.
func (d Decimal) Float() float64 {
	if d.big == nil && d.scale >= 0 && int(d.scale) <= 15 && magnitude(d.coef) < 1<<53 {
		return float64(d.coef) / float64(pow10[d.scale]) // both exact: one rounding
	}
	if d.Sign() == 0 {
		return 0
	}
	switch m := digits(d.int()) - int(d.scale); { // d is below 10^m
	case m > 310:
		return math.Inf(d.Sign())
	case m < -330:
		return math.Copysign(0, float64(d.Sign()))
	}
	r := new(big.Rat)
	if d.scale >= 0 {
		r.SetFrac(d.int(), bigPow10(int(d.scale)))
	} else {
		r.SetInt(new(big.Int).Mul(d.int(), bigPow10(-int(d.scale))))
	}
	f, _ := r.Float64()
	return f
}
