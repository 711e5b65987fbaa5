package penstock

import (
	"math"
	"math/big"
	"time"
	"unsafe"

	"penstock.dev/penstock/jsonview"
)

// Kind says what a [Value] holds.
type Kind uint8

// The kinds of values: those of CEL, plus Absent (an optional that is none, a path
// that is not there), Decimal, Error (an evaluation that failed; errors are values,
// so that && and || can absorb them as CEL demands) and Node (a lazy reference into
// a document).
const (
	KindAbsent Kind = iota
	KindNull
	KindBool
	KindInt
	KindUint
	KindDouble
	KindDecimal
	KindString
	KindBytes
	KindTimestamp
	KindDuration
	KindList
	KindMap
	KindOptional
	KindType
	KindError
	KindNode
)

// Value is one value, 24 bytes, passed by value and mostly without allocation.
// Strings, bytes and nodes alias the memory of the message that they were read
// from: what outlives the message must be copied with [Value.Clone]. A Value is
// immutable and safe for concurrent use.
type Value struct {
	ptr  unsafe.Pointer // string and bytes data, *jsonview.Doc, *List, *Map, *big.Int, *boxed …
	num  uint64         // bool, int, uint, double bits, seconds, nanoseconds, length, node
	aux  int32          // nanoseconds of a timestamp, scale of a decimal
	kind Kind
}

// List is a materialised list. It is immutable once it is in a Value.
type List struct{ Elems []Value }

// Entry is one entry of a [Map].
type Entry struct{ Key, Value Value }

// Map is a materialised map that keeps insertion order. Keys are bool, int, uint or
// string (CEL spec, "Maps"). It is immutable once it is in a Value.
type Map struct{ Entries []Entry }

type boxedError struct{ err error }
type boxedOptional struct{ inner Value }

// Absent is the value that is not there.
var Absent = Value{}

// Null is JSON's and CEL's null.
var Null = Value{kind: KindNull}

// True and False are the booleans.
var (
	True  = Value{kind: KindBool, num: 1}
	False = Value{kind: KindBool}
)

// BoolValue makes a bool.
func BoolValue(b bool) Value {
	if b {
		return True
	}
	return False
}

// IntValue makes an int.
func IntValue(i int64) Value { return Value{kind: KindInt, num: uint64(i)} }

// UintValue makes a uint.
func UintValue(u uint64) Value { return Value{kind: KindUint, num: u} }

// DoubleValue makes a double.
func DoubleValue(f float64) Value { return Value{kind: KindDouble, num: math.Float64bits(f)} }

// StringValue makes a string that aliases s.
func StringValue(s string) Value {
	return Value{kind: KindString, num: uint64(len(s)), ptr: unsafe.Pointer(unsafe.StringData(s))}
}

// BytesValue makes bytes that alias b.
func BytesValue(b []byte) Value {
	return Value{kind: KindBytes, num: uint64(len(b)), ptr: unsafe.Pointer(unsafe.SliceData(b))}
}

// TimestampValue makes a timestamp; the zone is forgotten, the instant kept.
func TimestampValue(t time.Time) Value {
	return Value{kind: KindTimestamp, num: uint64(t.Unix()), aux: int32(t.Nanosecond())}
}

// DurationValue makes a duration.
func DurationValue(d time.Duration) Value { return Value{kind: KindDuration, num: uint64(d)} }

// DecimalValue makes a decimal.
func DecimalValue(d Decimal) Value {
	return Value{kind: KindDecimal, num: uint64(d.coef), aux: d.scale, ptr: unsafe.Pointer(d.big)}
}

// ListValue makes a list of l, which must not change afterwards.
func ListValue(l *List) Value { return Value{kind: KindList, ptr: unsafe.Pointer(l)} }

// MapValue makes a map of m, which must not change afterwards.
func MapValue(m *Map) Value { return Value{kind: KindMap, ptr: unsafe.Pointer(m)} }

// ErrorValue makes an error of err, which must not be nil.
func ErrorValue(err error) Value {
	return Value{kind: KindError, ptr: unsafe.Pointer(&boxedError{err})}
}

// OptionalValue makes an optional that holds v; OptionalValue(Absent) is optional.none().
func OptionalValue(v Value) Value {
	return Value{kind: KindOptional, ptr: unsafe.Pointer(&boxedOptional{v})}
}

// NodeValue refers to node n of d, unread. Null, true, false and strings without
// escapes could be read at once; a node defers even that.
func NodeValue(d *jsonview.Doc, n jsonview.Node) Value {
	return Value{kind: KindNode, ptr: unsafe.Pointer(d), num: uint64(n)}
}

// TypeValue makes a CEL type value by its name.
func TypeValue(name string) Value {
	v := StringValue(name)
	v.kind = KindType
	return v
}

// Kind says what v holds.
func (v Value) Kind() Kind { return v.kind }

// IsAbsent reports whether v is not there.
func (v Value) IsAbsent() bool { return v.kind == KindAbsent }

// IsError reports whether v is an error.
func (v Value) IsError() bool { return v.kind == KindError }

// Bool returns a KindBool's value.
func (v Value) Bool() bool { return v.num != 0 }

// Int returns a KindInt's value.
func (v Value) Int() int64 { return int64(v.num) }

// Uint returns a KindUint's value.
func (v Value) Uint() uint64 { return v.num }

// Double returns a KindDouble's value.
func (v Value) Double() float64 { return math.Float64frombits(v.num) }

// Str returns the text of a KindString or KindType; it aliases v's memory.
func (v Value) Str() string { return unsafe.String((*byte)(v.ptr), int(v.num)) }

// Bytes returns a KindBytes's value; it aliases v's memory and must not be changed.
func (v Value) Bytes() []byte { return unsafe.Slice((*byte)(v.ptr), int(v.num)) }

// Timestamp returns a KindTimestamp's instant in UTC.
func (v Value) Timestamp() time.Time { return time.Unix(int64(v.num), int64(v.aux)).UTC() }

// Duration returns a KindDuration's value.
func (v Value) Duration() time.Duration { return time.Duration(v.num) }

// Decimal returns a KindDecimal's value.
func (v Value) Decimal() Decimal {
	return Decimal{coef: int64(v.num), scale: v.aux, big: (*big.Int)(v.ptr)}
}

// List returns a KindList's elements, not to be changed.
func (v Value) List() *List { return (*List)(v.ptr) }

// Map returns a KindMap's entries, not to be changed.
func (v Value) Map() *Map { return (*Map)(v.ptr) }

// Err returns a KindError's error.
func (v Value) Err() error { return (*boxedError)(v.ptr).err }

// Optional returns what a KindOptional holds; Absent for none.
func (v Value) Optional() Value { return (*boxedOptional)(v.ptr).inner }

// Node returns a KindNode's document and node.
func (v Value) Node() (*jsonview.Doc, jsonview.Node) {
	return (*jsonview.Doc)(v.ptr), jsonview.Node(v.num)
}
