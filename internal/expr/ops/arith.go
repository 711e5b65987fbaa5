package ops

import (
	"errors"
	"math"
	"math/bits"
	"time"

	"penstock.dev/penstock"
)

const (
	minUnix = -62135596800 // 0001-01-01T00:00:00Z
	maxUnix = 253402300799 // 9999-12-31T23:59:59Z
)

// pair folds two kinds to one number, to switch on.
func pair(a, b penstock.Kind) uint16 { return uint16(a)<<8 | uint16(b) }

const (
	intInt       = uint16(penstock.KindInt)<<8 | uint16(penstock.KindInt)
	intDouble    = uint16(penstock.KindInt)<<8 | uint16(penstock.KindDouble)
	intDecimal   = uint16(penstock.KindInt)<<8 | uint16(penstock.KindDecimal)
	doubleInt    = uint16(penstock.KindDouble)<<8 | uint16(penstock.KindInt)
	decimalInt   = uint16(penstock.KindDecimal)<<8 | uint16(penstock.KindInt)
	uintDouble   = uint16(penstock.KindUint)<<8 | uint16(penstock.KindDouble)
	doubleUint   = uint16(penstock.KindDouble)<<8 | uint16(penstock.KindUint)
	uintDecimal  = uint16(penstock.KindUint)<<8 | uint16(penstock.KindDecimal)
	decimalUint  = uint16(penstock.KindDecimal)<<8 | uint16(penstock.KindUint)
	uintUint     = uint16(penstock.KindUint)<<8 | uint16(penstock.KindUint)
	doubleDouble = uint16(penstock.KindDouble)<<8 | uint16(penstock.KindDouble)
	decimals     = uint16(penstock.KindDecimal)<<8 | uint16(penstock.KindDecimal)
	strings2     = uint16(penstock.KindString)<<8 | uint16(penstock.KindString)
	bytes2       = uint16(penstock.KindBytes)<<8 | uint16(penstock.KindBytes)
	timeTime     = uint16(penstock.KindTimestamp)<<8 | uint16(penstock.KindTimestamp)
	timeDur      = uint16(penstock.KindTimestamp)<<8 | uint16(penstock.KindDuration)
	durTime      = uint16(penstock.KindDuration)<<8 | uint16(penstock.KindTimestamp)
	durDur       = uint16(penstock.KindDuration)<<8 | uint16(penstock.KindDuration)
	bools        = uint16(penstock.KindBool)<<8 | uint16(penstock.KindBool)
)

// Operator names an arithmetic operator, for messages and for Arith.
type Operator uint8

// The operators.
const (
	OpAdd Operator = iota
	OpSub
	OpMul
	OpDiv
	OpMod
)

var operatorText = [...]string{"+", "-", "*", "/", "%"}

// String gives the operator as it is written.
func (o Operator) String() string { return operatorText[o] }

// Arith is a o b. int overflow, uint overflow and division by zero are errors, as in CEL; int
// and uint widen to double and to decimal; int with uint, and double with decimal, have no overload (LANGUAGE.md §3).
func Arith(o Operator, a, b penstock.Value, ar *penstock.Arena) penstock.Value {
	switch pair(a.Kind(), b.Kind()) {
	case intInt:
		return IntArith(o, a.Int(), b.Int())
	case doubleDouble:
		return doubleArith(o, a.Double(), b.Double(), a, b)
	case intDouble:
		return doubleArith(o, float64(a.Int()), b.Double(), a, b)
	case doubleInt:
		return doubleArith(o, a.Double(), float64(b.Int()), a, b)
	case uintUint:
		return uintArith(o, a.Uint(), b.Uint())
	case uintDouble:
		return doubleArith(o, float64(a.Uint()), b.Double(), a, b)
	case doubleUint:
		return doubleArith(o, a.Double(), float64(b.Uint()), a, b)
	case decimals:
		return decimalArith(o, a.Decimal(), b.Decimal())
	case intDecimal:
		return decimalArith(o, penstock.DecimalFromInt(a.Int()), b.Decimal())
	case decimalInt:
		return decimalArith(o, a.Decimal(), penstock.DecimalFromInt(b.Int()))
	case uintDecimal:
		return decimalArith(o, penstock.DecimalFromUint(a.Uint()), b.Decimal())
	case decimalUint:
		return decimalArith(o, a.Decimal(), penstock.DecimalFromUint(b.Uint()))
	case strings2:
		if o == OpAdd {
			return concat(a.Str(), b.Str(), ar)
		}
	case bytes2:
		if o == OpAdd {
			x, y := a.Bytes(), b.Bytes()
			if len(x)+len(y) > MaxText {
				return TooLarge
			}
			return penstock.BytesValue(append(append(alloc(ar, len(x)+len(y)), x...), y...))
		}
	case timeTime, timeDur, durTime, durDur:
		if o == OpAdd || o == OpSub {
			return timeArith(o, a, b)
		}
	}
	return arithSlow(o, a, b, ar)
}

// arithSlow handles nodes, lists and what has no overload.
func arithSlow(o Operator, a, b penstock.Value, ar *penstock.Arena) penstock.Value {
	if a.IsError() {
		return a
	}
	if b.IsError() {
		return b
	}
	if o == OpAdd && IsList(a) && IsList(b) {
		return ConcatLists(a, b)
	}
	if isScalarNode(a) || isScalarNode(b) {
		return Arith(o, Resolve(a, ar), Resolve(b, ar), ar)
	}
	return NoOverload(o.String(), a, b)
}

// isScalarNode reports whether Resolve would make something else of v.
func isScalarNode(v penstock.Value) bool {
	return v.Kind() == penstock.KindNode && Resolve(v, nil).Kind() != penstock.KindNode
}

// IntArith is int arithmetic with overflow checks.
func IntArith(o Operator, x, y int64) penstock.Value {
	switch o {
	case OpAdd:
		if s := x + y; (s > x) == (y > 0) {
			return penstock.IntValue(s)
		}
		return errIntOverflow
	case OpSub:
		if s := x - y; (s < x) == (y > 0) {
			return penstock.IntValue(s)
		}
		return errIntOverflow
	case OpMul:
		hi, lo := bits.Mul64(magnitude(x), magnitude(y))
		if hi != 0 {
			return errIntOverflow
		}
		if (x < 0) != (y < 0) {
			if lo > 1<<63 {
				return errIntOverflow
			}
			return penstock.IntValue(-int64(lo))
		}
		if lo > math.MaxInt64 {
			return errIntOverflow
		}
		return penstock.IntValue(int64(lo))
	case OpDiv:
		if y == 0 {
			return errDivZero
		}
		if x == math.MinInt64 && y == -1 {
			return errIntOverflow
		}
		return penstock.IntValue(x / y)
	default:
		if y == 0 {
			return errModZero
		}
		if x == math.MinInt64 && y == -1 {
			return errIntOverflow
		}
		return penstock.IntValue(x % y)
	}
}

func magnitude(x int64) uint64 {
	if x < 0 {
		return uint64(-x)
	}
	return uint64(x)
}

func uintArith(o Operator, x, y uint64) penstock.Value {
	switch o {
	case OpAdd:
		if s := x + y; s >= x {
			return penstock.UintValue(s)
		}
		return errUintOverflow
	case OpSub:
		if y > x {
			return errUintOverflow
		}
		return penstock.UintValue(x - y)
	case OpMul:
		hi, lo := bits.Mul64(x, y)
		if hi != 0 {
			return errUintOverflow
		}
		return penstock.UintValue(lo)
	case OpDiv:
		if y == 0 {
			return errDivZero
		}
		return penstock.UintValue(x / y)
	default:
		if y == 0 {
			return errModZero
		}
		return penstock.UintValue(x % y)
	}
}

func doubleArith(o Operator, x, y float64, a, b penstock.Value) penstock.Value {
	switch o {
	case OpAdd:
		return penstock.DoubleValue(x + y)
	case OpSub:
		return penstock.DoubleValue(x - y)
	case OpMul:
		return penstock.DoubleValue(x * y)
	case OpDiv:
		return penstock.DoubleValue(x / y)
	}
	return NoOverload(o.String(), a, b)
}

func decimalArith(o Operator, x, y penstock.Decimal) penstock.Value {
	var z penstock.Decimal
	var err error
	switch o {
	case OpAdd:
		z, err = x.Add(y)
	case OpSub:
		z, err = x.Sub(y)
	case OpMul:
		z, err = x.Mul(y)
	case OpDiv:
		z, err = x.Quo(y)
	default:
		z, err = x.Rem(y)
	}
	if err != nil {
		return WrapError(err)
	}
	return penstock.DecimalValue(z)
}

// MaxText and MaxElems bound what an expression may build in one go, in bytes of a text and in
// elements of a list, so that a few nested doublings cannot take all memory.
const (
	MaxText  = 64 << 20
	MaxElems = 4 << 20
)

// TooLarge is the error for what is over MaxText or MaxElems.
var TooLarge = penstock.ErrorValue(&penstock.Error{Code: penstock.TooLarge,
	Err: errors.New("the expression makes a text of over 64 MiB or a list of over 4 Mi elements")})

func concat(x, y string, ar *penstock.Arena) penstock.Value {
	switch {
	case len(x)+len(y) > MaxText:
		return TooLarge
	case x == "":
		return penstock.StringValue(y)
	case y == "":
		return penstock.StringValue(x)
	}
	return bytesAsString(append(append(alloc(ar, len(x)+len(y)), x...), y...))
}

// timeArith is + and − of timestamps and durations.
func timeArith(o Operator, a, b penstock.Value) penstock.Value {
	switch {
	case a.Kind() == penstock.KindTimestamp && b.Kind() == penstock.KindTimestamp:
		if o == OpAdd {
			return NoOverload("+", a, b)
		}
		return subTimes(a.Timestamp(), b.Timestamp())
	case a.Kind() == penstock.KindTimestamp:
		d := b.Duration()
		if o == OpSub {
			if d == math.MinInt64 {
				return errDurRange
			}
			d = -d
		}
		return addTime(a.Timestamp(), d)
	case b.Kind() == penstock.KindTimestamp:
		if o == OpSub {
			return NoOverload("-", a, b)
		}
		return addTime(b.Timestamp(), a.Duration())
	}
	if v := IntArith(o, int64(a.Duration()), int64(b.Duration())); !v.IsError() {
		return penstock.DurationValue(time.Duration(v.Int()))
	}
	return errDurRange
}

func addTime(t time.Time, d time.Duration) penstock.Value {
	t = t.Add(d)
	if s := t.Unix(); s < minUnix || s > maxUnix {
		return errTimeRange
	}
	return penstock.TimestampValue(t)
}

// subTimes is exact or an error: time.Time.Sub saturates.
func subTimes(x, y time.Time) penstock.Value {
	sec := x.Unix() - y.Unix() // both within ± 2^38
	nsec := int64(x.Nanosecond()) - int64(y.Nanosecond())
	v := IntArith(OpMul, sec, int64(time.Second))
	if !v.IsError() {
		v = IntArith(OpAdd, v.Int(), nsec)
	}
	if v.IsError() {
		return errDurRange
	}
	return penstock.DurationValue(time.Duration(v.Int()))
}

// Neg is −a.
func Neg(a penstock.Value) penstock.Value {
	switch a.Kind() {
	case penstock.KindInt:
		if a.Int() == math.MinInt64 {
			return errIntOverflow
		}
		return penstock.IntValue(-a.Int())
	case penstock.KindDouble:
		return penstock.DoubleValue(-a.Double())
	case penstock.KindDecimal:
		return penstock.DecimalValue(a.Decimal().Neg())
	case penstock.KindNode:
		if isScalarNode(a) {
			return Neg(Resolve(a, nil))
		}
	}
	return NoOverload("-", a)
}
