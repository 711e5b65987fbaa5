package ops

import (
	"math"

	"penstock.dev/penstock"
)

func parseDecimal(s string) penstock.Value {
	d, err := penstock.ParseDecimal(s)
	if err != nil {
		return WrapError(err)
	}
	return penstock.DecimalValue(d)
}

// decimalToInt cuts toward zero.
func decimalToInt(d penstock.Decimal) penstock.Value {
	i, ok := d.Trunc().Int()
	if !ok {
		return errIntOverflow
	}
	return penstock.IntValue(i)
}

// decimalToUint cuts toward zero.
func decimalToUint(d penstock.Decimal) penstock.Value {
	u, ok := d.Trunc().Uint()
	if !ok {
		return errUintOverflow
	}
	return penstock.UintValue(u)
}

// decimalToDouble rounds to nearest, ties to even.
func decimalToDouble(d penstock.Decimal) penstock.Value {
	f := d.Float()
	if math.IsInf(f, 0) {
		return Errorf("the decimal %s is beyond the range of double", clip(d.AppendText(nil)))
	}
	return penstock.DoubleValue(f)
}
