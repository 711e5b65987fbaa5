package expr

import (
	"cmp"
	"fmt"
	"math"
	"reflect"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"penstock.dev/penstock"
)

// decimalType is cel-go's name for our decimals.
var decimalType = cel.OpaqueType("decimal")

// decimalVal is a decimal as cel-go holds it.
type decimalVal struct{ d penstock.Decimal }

var (
	_ ref.Val         = decimalVal{}
	_ traits.Comparer = decimalVal{}
	_ traits.Zeroer   = decimalVal{}
)

func (v decimalVal) ConvertToNative(t reflect.Type) (any, error) {
	if t == reflect.TypeFor[penstock.Decimal]() {
		return v.d, nil
	}
	return nil, fmt.Errorf("a decimal has no form as %v", t)
}

func (v decimalVal) ConvertToType(t ref.Type) ref.Val {
	switch t {
	case types.StringType:
		return types.String(v.d.String())
	case types.IntType:
		if i, ok := v.d.Trunc().Int(); ok {
			return types.Int(i)
		}
		return types.NewErr("integer overflow")
	case types.UintType:
		if u, ok := v.d.Trunc().Uint(); ok {
			return types.Uint(u)
		}
		return types.NewErr("unsigned integer overflow")
	case types.DoubleType:
		f := v.d.Float()
		if math.IsInf(f, 0) {
			return types.NewErr("the decimal is beyond the range of double")
		}
		return types.Double(f)
	case types.TypeType:
		return decimalType
	}
	if t.TypeName() == decimalType.TypeName() {
		return v
	}
	return types.NewErr("type conversion error from decimal to %s", t.TypeName())
}

func (v decimalVal) Equal(o ref.Val) ref.Val { return types.Bool(equalVals(v, o)) }

// Compare orders numbers of all kinds.
func (v decimalVal) Compare(o ref.Val) ref.Val {
	if !isNumber(o) {
		return types.MaybeNoSuchOverloadErr(o)
	}
	c, ok := compareNumbers(v, o)
	if !ok {
		return types.NewErr("NaN has no order")
	}
	return types.Int(c)
}

func (v decimalVal) IsZeroValue() bool { return v.d.Sign() == 0 }
func (decimalVal) Type() ref.Type      { return decimalType }
func (v decimalVal) Value() any        { return v.d }
func (v decimalVal) String() string    { return v.d.String() }

// isNumber reports whether v is one of the four numbers.
func isNumber(v ref.Val) bool {
	switch v.(type) {
	case types.Int, types.Uint, types.Double, decimalVal:
		return true
	}
	return false
}

// compareNumbers compares exactly; not ok where one is NaN.
func compareNumbers(a, b ref.Val) (c int, ok bool) {
	fa, aIsDouble := a.(types.Double)
	fb, bIsDouble := b.(types.Double)
	if aIsDouble && math.IsNaN(float64(fa)) || bIsDouble && math.IsNaN(float64(fb)) {
		return 0, false
	}
	switch {
	case aIsDouble && bIsDouble:
		return cmp.Compare(fa, fb), true
	case bIsDouble:
		return exactly(a).CmpDouble(float64(fb)), true
	case aIsDouble:
		return -exactly(b).CmpDouble(float64(fa)), true
	}
	return exactly(a).Cmp(exactly(b)), true
}

// exactly gives an int, uint or decimal as a decimal.
func exactly(v ref.Val) penstock.Decimal {
	if d, ok := v.(decimalVal); ok {
		return d.d
	}
	d, _ := widenToDecimal(v)
	return d.d
}

// equalVals is the profile's ==: numbers of all kinds by value, lists and maps deeply by the
// same rule, values of different kinds unequal.
func equalVals(a, b ref.Val) bool {
	a, b = plain(a), plain(b)
	if isNumber(a) && isNumber(b) {
		c, ok := compareNumbers(a, b)
		return ok && c == 0
	}
	switch x := a.(type) {
	case decimalVal:
		return false // of another kind than b
	case *types.Optional:
		y, ok := b.(*types.Optional)
		if !ok || x.HasValue() != y.HasValue() {
			return false
		}
		return !x.HasValue() || equalVals(x.GetValue(), y.GetValue())
	case traits.Mapper:
		y, ok := b.(traits.Mapper)
		if !ok || x.Size().Equal(y.Size()) != types.True {
			return false
		}
		for it := x.Iterator(); it.HasNext() == types.True; {
			k := it.Next()
			v, _ := x.Find(k)
			w, found := y.Find(k)
			if !found || !equalVals(v, w) {
				return false
			}
		}
		return true
	case traits.Lister:
		y, ok := b.(traits.Lister)
		if !ok || x.Size().Equal(y.Size()) != types.True {
			return false
		}
		n, _ := x.Size().(types.Int)
		for i := types.Int(0); i < n; i++ {
			if !equalVals(x.Get(i), y.Get(i)) {
				return false
			}
		}
		return true
	}
	return a.Equal(b) == types.True
}
