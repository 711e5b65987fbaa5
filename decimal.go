package penstock

import "math/big"

// Decimal is an exact decimal number: coef × 10^-scale, or big × 10^-scale where the
// coefficient does not fit 63 bits. The zero Decimal is 0. It is immutable.
type Decimal struct {
	coef  int64
	scale int32
	big   *big.Int // nil unless the coefficient needs it
}
