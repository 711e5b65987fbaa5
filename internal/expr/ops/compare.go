package ops

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"strings"

	"penstock.dev/penstock"
)

// Relation names a comparison.
type Relation uint8

// The relations.
const (
	Less Relation = iota
	LessEqual
	Greater
	GreaterEqual
)

var relationText = [...]string{"<", "<=", ">", ">="}

// String gives the relation as it is written.
func (r Relation) String() string { return relationText[r] }

// Holds tells whether r is true of a Compare result.
func (r Relation) Holds(c int) bool {
	switch r {
	case Less:
		return c < 0
	case LessEqual:
		return c <= 0
	case Greater:
		return c > 0
	}
	return c >= 0
}

// Mirror is the relation with its sides exchanged.
func (r Relation) Mirror() Relation {
	switch r {
	case Less:
		return Greater
	case LessEqual:
		return GreaterEqual
	case Greater:
		return Less
	}
	return LessEqual
}

// Relate is a r b as a bool value, or an error. NaN is in no relation to any number: false.
func Relate(r Relation, a, b penstock.Value) penstock.Value {
	c, bad := Compare(a, b)
	if bad.IsError() {
		if bad == errNaNOrder {
			return penstock.False
		}
		return NoOrder(r.String(), bad)
	}
	return penstock.BoolValue(r.Holds(c))
}

// NoOrder gives the error that Compare gave to a function or operator its name.
func NoOrder(op string, bad penstock.Value) penstock.Value {
	var e *overloadError
	if errors.As(bad.Err(), &e) {
		return NoOverload(op, e.a, e.b)
	}
	return bad
}

// overloadError carries the operands to whoever knows the operator's name.
type overloadError struct{ a, b penstock.Value }

func (e *overloadError) Error() string {
	return "no such overload: comparison of " + TypeName(e.a) + ", " + TypeName(e.b)
}

// Compare orders a and b: −1, 0 or 1. bad is an error value where they have no order (kinds
// that do not compare, NaN) or one of them is an error; else it is Absent. All numeric kinds
// compare with each other, exactly. Strings compare by code point, false < true.
func Compare(a, b penstock.Value) (c int, bad penstock.Value) {
	switch pair(a.Kind(), b.Kind()) {
	case intInt:
		return cmp.Compare(a.Int(), b.Int()), penstock.Absent
	case doubleDouble:
		x, y := a.Double(), b.Double()
		if x != x || y != y {
			return 0, errNaNOrder
		}
		return compareDoubles(x, y), penstock.Absent
	case strings2:
		return strings.Compare(a.Str(), b.Str()), penstock.Absent
	case bytes2:
		return bytes.Compare(a.Bytes(), b.Bytes()), penstock.Absent
	case timeTime:
		return a.Timestamp().Compare(b.Timestamp()), penstock.Absent
	case durDur:
		return cmp.Compare(a.Duration(), b.Duration()), penstock.Absent
	case bools:
		switch {
		case a.Bool() == b.Bool():
			return 0, penstock.Absent
		case b.Bool():
			return -1, penstock.Absent
		}
		return 1, penstock.Absent
	}
	if isNumber(a) && isNumber(b) {
		if isNaN(a) || isNaN(b) {
			return 0, errNaNOrder
		}
		return compareNumbers(a, b), penstock.Absent
	}
	if a.IsError() {
		return 0, a
	}
	if b.IsError() {
		return 0, b
	}
	if isScalarNode(a) || isScalarNode(b) {
		return Compare(Resolve(a, nil), Resolve(b, nil))
	}
	return 0, penstock.ErrorValue(&overloadError{a, b})
}

func isNumber(v penstock.Value) bool {
	switch v.Kind() {
	case penstock.KindInt, penstock.KindUint, penstock.KindDouble, penstock.KindDecimal:
		return true
	}
	return false
}

func isNaN(v penstock.Value) bool {
	return v.Kind() == penstock.KindDouble && v.Double() != v.Double()
}

func compareDoubles(x, y float64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// compareNumbers orders two numbers exactly; neither is NaN.
func compareNumbers(a, b penstock.Value) int {
	switch a.Kind() {
	case penstock.KindInt:
		switch b.Kind() {
		case penstock.KindInt:
			return cmp.Compare(a.Int(), b.Int())
		case penstock.KindUint:
			return compareIntUint(a.Int(), b.Uint())
		case penstock.KindDouble:
			return CompareIntDouble(a.Int(), b.Double())
		}
		return -b.Decimal().CmpInt(a.Int())
	case penstock.KindUint:
		switch b.Kind() {
		case penstock.KindInt:
			return -compareIntUint(b.Int(), a.Uint())
		case penstock.KindUint:
			return cmp.Compare(a.Uint(), b.Uint())
		case penstock.KindDouble:
			return compareUintDouble(a.Uint(), b.Double())
		}
		return -b.Decimal().CmpUint(a.Uint())
	case penstock.KindDouble:
		switch b.Kind() {
		case penstock.KindInt:
			return -CompareIntDouble(b.Int(), a.Double())
		case penstock.KindUint:
			return -compareUintDouble(b.Uint(), a.Double())
		case penstock.KindDouble:
			return compareDoubles(a.Double(), b.Double())
		}
		return -b.Decimal().CmpDouble(a.Double())
	}
	switch b.Kind() {
	case penstock.KindInt:
		return a.Decimal().CmpInt(b.Int())
	case penstock.KindUint:
		return a.Decimal().CmpUint(b.Uint())
	case penstock.KindDouble:
		return a.Decimal().CmpDouble(b.Double())
	}
	return a.Decimal().Cmp(b.Decimal())
}

func compareIntUint(i int64, u uint64) int {
	if i < 0 {
		return -1
	}
	return cmp.Compare(uint64(i), u)
}

// CompareIntDouble orders an int and a double that is not NaN without rounding either.
func CompareIntDouble(i int64, f float64) int {
	if i > -1<<53 && i < 1<<53 {
		return compareDoubles(float64(i), f)
	}
	switch {
	case f >= 1<<63:
		return -1
	case f < -1<<63:
		return 1
	}
	whole := math.Trunc(f) // |f| is large or i is: a fraction decides only among equals
	if c := cmp.Compare(i, int64(whole)); c != 0 {
		return c
	}
	return compareDoubles(whole, f)
}

func compareUintDouble(u uint64, f float64) int {
	switch {
	case f < 0:
		return 1
	case f >= 1<<64:
		return -1
	}
	whole := math.Trunc(f)
	if c := cmp.Compare(u, uint64(whole)); c != 0 {
		return c
	}
	return compareDoubles(whole, f)
}

// Equal is CEL's ==: numbers of all kinds by value, NaN equal to nothing, lists and maps by
// content (maps without regard to order), values of different kinds unequal. Errors equal nothing.
func Equal(a, b penstock.Value) bool {
	switch pair(a.Kind(), b.Kind()) {
	case intInt:
		return a.Int() == b.Int()
	case strings2:
		return a.Str() == b.Str()
	case doubleDouble:
		return a.Double() == b.Double()
	case bools:
		return a.Bool() == b.Bool()
	}
	if isNumber(a) && isNumber(b) {
		return !isNaN(a) && !isNaN(b) && compareNumbers(a, b) == 0
	}
	if isScalarNode(a) || isScalarNode(b) {
		return Equal(Resolve(a, nil), Resolve(b, nil))
	}
	switch {
	case IsList(a):
		return IsList(b) && equalLists(a, b)
	case IsMap(a):
		return IsMap(b) && equalMaps(a, b)
	}
	if x, ok := Unbox(a); ok {
		y, ok := Unbox(b)
		if !ok || x.IsAbsent() || y.IsAbsent() {
			return ok && x.IsAbsent() && y.IsAbsent()
		}
		return Equal(x, y)
	}
	if a.Kind() != b.Kind() {
		return false
	}
	switch a.Kind() {
	case penstock.KindNull:
		return true
	case penstock.KindBytes:
		return bytes.Equal(a.Bytes(), b.Bytes())
	case penstock.KindTimestamp:
		return a.Timestamp().Equal(b.Timestamp())
	case penstock.KindDuration:
		return a.Duration() == b.Duration()
	case penstock.KindType:
		return a.Str() == b.Str()
	}
	return false
}

func equalLists(a, b penstock.Value) bool {
	if Len(a) != Len(b) {
		return false
	}
	x, y := Elems(a), Elems(b)
	for {
		p, more := x.Next()
		if !more {
			return true
		}
		q, _ := y.Next()
		if !Equal(p, q) {
			return false
		}
	}
}

func equalMaps(a, b penstock.Value) bool {
	if Len(a) != Len(b) {
		return false
	}
	it := Entries(a)
	for {
		k, v, more := it.Next()
		if !more {
			return true
		}
		w, ok := Find(b, k)
		if !ok || !Equal(v, w) {
			return false
		}
	}
}
