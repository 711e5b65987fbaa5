package penstock

import (
	"fmt"

	"penstock.dev/penstock/jsonview"
)

// Load reads a node without a schema: null, booleans, numbers, strings and binary become
// values; arrays and objects stay nodes; a node that is not there is Absent. A number
// without fraction and exponent is an int where it fits and a decimal where it doesn't, so
// that no digit is lost; every other number is a double that remembers its text. One beyond
// the range of double is an error. Strings are put into a where they have escapes (nil: the
// heap). Every other value is returned as it is.
func (v Value) Load(a *Arena) Value {
	if v.kind != KindNode {
		return v
	}
	d, n := v.Node()
	switch d.Kind(n) {
	case jsonview.Null:
		return Null
	case jsonview.True:
		return True
	case jsonview.False:
		return False
	case jsonview.Number:
		return LoadNumber(d, n)
	case jsonview.String:
		return StringValue(d.Str(n, a.alloc()))
	case jsonview.Bytes:
		return BytesValue(d.Bytes())
	case jsonview.Invalid:
		return Absent
	}
	return v
}

// alloc is Alloc as a function; nil for a nil arena.
func (a *Arena) alloc() func(int) []byte {
	if a == nil {
		return nil
	}
	return a.Alloc
}

// LoadNumber reads a number node by the rules that [Value.Load] states.
func LoadNumber(d *jsonview.Doc, n jsonview.Node) Value {
	if i, ok := d.Int(n); ok {
		return IntValue(i)
	}
	text := d.Raw(n)
	if isWhole(text) {
		dec, err := ParseDecimal(string(text))
		if err != nil {
			return ErrorValue(&Error{Code: Unprocessable, Op: "read", Err: err})
		}
		return DecimalValue(dec)
	}
	f, ok := d.Float(n)
	if !ok {
		return ErrorValue(&Error{Code: Unprocessable, Op: "read", Hint: "declare it decimal in the schema",
			Err: fmt.Errorf("the number %.40s is beyond the range of double", text)})
	}
	return DoubleTextValue(f, text)
}

// isWhole says that text has neither fraction nor exponent.
func isWhole(text []byte) bool {
	for _, c := range text {
		if c == '.' || c == 'e' || c == 'E' {
			return false
		}
	}
	return true
}
