// Package ops is what CEL's operators and conversions do to penstock values, decided by
// the kinds that the values have at run time: the semantics of the fast evaluator in its
// slow form, on which internal/expr/fast puts closures that are specialised by static
// types. Both sides of the profile (LANGUAGE.md §3) may use it.
//
// # Conventions
//
// Errors are values: an operand that is an error is the result (the left one first). A
// node, that is a lazy reference into a document, is read as dyn: null, bool, string; a
// number is an int if it is written as an integer that fits 64 bits, a decimal if it is
// written as an integer that does not (so that no digit is lost), else the nearest double; arrays
// and objects stay nodes. An Absent value is an optional that is none.
//
// Functions that make text take the arena that it goes to; a nil arena means the heap.
// Nothing here keeps state: all functions may be called concurrently, with an arena each.
package ops

import (
	"errors"
	"fmt"
	"strconv"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Errors that have no detail are made once.
var (
	errIntOverflow  = fail("integer overflow")
	errUintOverflow = fail("unsigned integer overflow")
	errDivZero      = fail("division by zero")
	errModZero      = fail("modulus by zero")
	errNaNOrder     = fail("NaN cannot be ordered")
	errTimeRange    = fail("timestamp overflow: the years 0001 to 9999 are supported")
	errDurRange     = fail("duration overflow")
)

func fail(msg string) penstock.Value {
	return penstock.ErrorValue(penstock.E(penstock.Unprocessable, "", "", msg))
}

// Errorf makes an error value of code unprocessable: an evaluation that failed because of
// the data.
func Errorf(format string, args ...any) penstock.Value {
	return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Err: fmt.Errorf(format, args...)})
}

// WrapError makes an error value of err: itself if it is an *penstock.Error, else with the
// code unprocessable.
func WrapError(err error) penstock.Value {
	var e *penstock.Error
	if errors.As(err, &e) {
		return penstock.ErrorValue(e)
	}
	return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Err: err})
}

// NoOverload is the error of an operation that is not defined for its operands, or the
// first operand that is an error.
func NoOverload(op string, args ...penstock.Value) penstock.Value {
	names := ""
	for i, a := range args {
		if a.IsError() {
			return a
		}
		if i > 0 {
			names += ", "
		}
		names += TypeName(a)
	}
	return Errorf("no such overload: %s of %s", op, names)
}

// NoSuchKey is CEL's error for a key that is not there.
func NoSuchKey(key string) penstock.Value { return Errorf("no such key: %s", key) }

// Resolve reads a node as dyn; every other value is itself. Arrays and objects stay nodes.
func Resolve(v penstock.Value, ar *penstock.Arena) penstock.Value {
	if v.Kind() != penstock.KindNode {
		return v
	}
	d, n := v.Node()
	switch d.Kind(n) {
	case jsonview.Null:
		return penstock.Null
	case jsonview.True:
		return penstock.True
	case jsonview.False:
		return penstock.False
	case jsonview.Number:
		return penstock.LoadNumber(d, n)
	case jsonview.String:
		return penstock.StringValue(Str(d, n, ar))
	case jsonview.Bytes:
		return penstock.BytesValue(d.Raw(n))
	case jsonview.Array, jsonview.Object:
		return v
	}
	return Unparsed(d)
}

// Unparsed parses d, or explains why it has no nodes.
func Unparsed(d *jsonview.Doc) penstock.Value {
	if err := d.Parse(jsonview.Limits{}); err != nil {
		code := penstock.Invalid
		if errors.Is(err, jsonview.ErrLimit) {
			code = penstock.TooLarge
		}
		return penstock.ErrorValue(&penstock.Error{Code: code, Path: "body", Err: err})
	}
	return penstock.NodeValue(d, 0)
}

// Str reads a string node; an arena keeps it where it has escapes.
func Str(d *jsonview.Doc, n jsonview.Node, ar *penstock.Arena) string {
	if ar == nil {
		return d.Str(n, nil)
	}
	return d.Str(n, ar.Alloc)
}

// clip shortens text for a message.
func clip(text []byte) string {
	const most = 40
	if len(text) > most {
		return string(text[:most]) + "…"
	}
	return string(text)
}

// TypeName is CEL's name of a value's type.
func TypeName(v penstock.Value) string {
	switch v.Kind() {
	case penstock.KindNull:
		return "null_type"
	case penstock.KindBool:
		return "bool"
	case penstock.KindInt:
		return "int"
	case penstock.KindUint:
		return "uint"
	case penstock.KindDouble:
		return "double"
	case penstock.KindDecimal:
		return "decimal"
	case penstock.KindString:
		return "string"
	case penstock.KindBytes:
		return "bytes"
	case penstock.KindTimestamp:
		return "google.protobuf.Timestamp"
	case penstock.KindDuration:
		return "google.protobuf.Duration"
	case penstock.KindList:
		return "list"
	case penstock.KindMap:
		return "map"
	case penstock.KindAbsent, penstock.KindOptional:
		return "optional_type"
	case penstock.KindType:
		return "type"
	case penstock.KindNode:
		switch d, n := v.Node(); d.Kind(n) {
		case jsonview.Array:
			return "list"
		case jsonview.Object:
			return "map"
		case jsonview.Invalid:
			return "error"
		}
		return TypeName(Resolve(v, nil))
	}
	return "error"
}

// alloc gives n bytes with length 0.
func alloc(ar *penstock.Arena, n int) []byte {
	if ar == nil {
		return make([]byte, 0, n)
	}
	return ar.Alloc(n)[:0]
}

// IsNone reports whether an optional holds nothing.
func IsNone(v penstock.Value) bool {
	return v.IsAbsent() || v.Kind() == penstock.KindOptional && v.Optional().IsAbsent()
}

// None is the optional that holds nothing. Programs give Absent for it; within expressions, and within
// lists and maps, it has this box, so that Absent there always means "not there".
var None = penstock.OptionalValue(penstock.Absent)

// Unbox gives what an optional holds, Absent if it is none; ok is false for a value that is no
// optional.
func Unbox(v penstock.Value) (inner penstock.Value, ok bool) {
	switch v.Kind() {
	case penstock.KindAbsent:
		return v, true
	case penstock.KindOptional:
		return v.Optional(), true
	}
	return v, false
}

// index formats a position for messages.
func index(i int64) string { return "[" + strconv.FormatInt(i, 10) + "]" }
