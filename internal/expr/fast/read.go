package fast

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/expr/ops"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// reader reads one value by its static type.
type reader struct {
	typ     *types.Type
	path    string
	missing penstock.Value // the error for a path whose last step is not there
}

func newReader(t *types.Type, path, last string) *reader {
	if t.Kind == types.Optional {
		t = t.Elem
	}
	msg := "no such key"
	if last != "" {
		msg += ": " + last
	}
	return &reader{typ: t, path: path, missing: penstock.ErrorValue(&penstock.Error{
		Code: penstock.Unprocessable, Path: path, Err: errors.New(msg)})}
}

// mismatch is the error for a value of another kind than the static type says.
func (r *reader) mismatch(v penstock.Value) penstock.Value {
	var found string
	if v.Kind() == penstock.KindNode {
		d, n := v.Node()
		switch k := d.Kind(n); k {
		case jsonview.Number, jsonview.String:
			found = "a " + k.String() + " " + clipText(d.Raw(n))
		case jsonview.Array, jsonview.Object:
			found = "an " + k.String()
		case jsonview.True, jsonview.False:
			found = "a bool"
		case jsonview.Null:
			found = "null"
		default:
			return ops.Unparsed(d)
		}
	} else {
		found = ops.TypeName(v)
	}
	return penstock.ErrorValue(&penstock.Error{Code: penstock.Unprocessable, Path: r.path,
		Err: fmt.Errorf("want %s, found %s", wanted(r.typ), found)})
}

func clipText(b []byte) string {
	const most = 32
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}

func wanted(t *types.Type) string {
	var s string
	switch t.Kind {
	case types.Null:
		return "null"
	case types.Bool:
		s = "a bool"
	case types.Int:
		s = "an integer of 64 bits"
	case types.Uint:
		s = "an unsigned integer of 64 bits"
	case types.Double:
		s = "a number"
	case types.Decimal:
		s = "a decimal number"
		if t.DecimalText {
			s = "a decimal number as a string"
		}
	case types.String:
		s = "a string"
	case types.Bytes:
		s = "bytes as base64"
	case types.Timestamp:
		s = "an RFC 3339 timestamp"
	case types.Duration:
		s = "a duration such as 3.5s"
	case types.List:
		s = "an array"
	case types.Map, types.Object:
		s = "an object"
	default:
		return "another value"
	}
	if t.Nullable {
		s += " or null"
	}
	return s
}

// read gives the value of v, which raw gave and which is neither Absent nor an error. Cells of a
// record are text that a codec could not always tell apart from numbers: there, either is taken for
// the other.
func (r *reader) read(f *penstock.Frame, v penstock.Value) penstock.Value {
	if v.Kind() != penstock.KindNode {
		return v
	}
	d, n := v.Node()
	k := d.Kind(n)
	if k == jsonview.Null && r.typ.Nullable {
		return penstock.Null
	}
	record := d.Format() == jsonview.Record
	isNumber := k == jsonview.Number || record && k == jsonview.String
	isText := k == jsonview.String || record && k == jsonview.Number
	switch r.typ.Kind {
	case types.String:
		if isText {
			return penstock.StringValue(r.text(f, d, n))
		}
	case types.Double:
		if isNumber {
			return r.double(d, n)
		}
	case types.Int:
		if i, ok := d.Int(n); ok {
			return penstock.IntValue(i)
		}
		if isNumber {
			return r.wholeNumber(d, n)
		}
	case types.Bool:
		switch {
		case k == jsonview.True, record && isText && r.text(f, d, n) == "true":
			return penstock.True
		case k == jsonview.False, record && isText && r.text(f, d, n) == "false":
			return penstock.False
		}
	case types.Decimal:
		if isNumber || r.typ.DecimalText && isText { // what was computed is a number also where a text is declared
			return r.decimal(r.text(f, d, n), v)
		}
	case types.Timestamp:
		if isText {
			return r.timestamp(r.text(f, d, n), v)
		}
	case types.List:
		if k == jsonview.Array {
			return v
		}
	case types.Map, types.Object:
		if k == jsonview.Object {
			return v
		}
	case types.Uint:
		if isNumber {
			return r.unsigned(d, n)
		}
	case types.Duration:
		if isText {
			if dur, ok := ops.ParseDuration(r.text(f, d, n)); ok {
				return penstock.DurationValue(dur)
			}
		}
	case types.Bytes:
		if isText || k == jsonview.Bytes {
			return r.bytes(f, d, n)
		}
	case types.Null:
		if k == jsonview.Null {
			return penstock.Null
		}
	case types.Union:
		if k == jsonview.Null {
			break
		}
		if variant(f, r.typ, d, n) == nil {
			return untagged(r.typ, r.path)
		}
		return ops.Resolve(v, f.Arena)
	default:
		return ops.Resolve(v, f.Arena)
	}
	return r.mismatch(v)
}

// text is the text of a string, or of a number of a record.
func (r *reader) text(f *penstock.Frame, d *jsonview.Doc, n jsonview.Node) string {
	if d.Kind(n) == jsonview.Number {
		return alias(d.Raw(n))
	}
	return text(f, d, n)
}

// text reads a string node; where it has escapes the arena holds it.
func text(f *penstock.Frame, d *jsonview.Doc, n jsonview.Node) string {
	return d.Str(n, f.Arena.Alloc)
}

func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// bytesOf gives the bytes of s without a copy, for reading only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

func (r *reader) double(d *jsonview.Doc, n jsonview.Node) penstock.Value {
	x, ok := d.Float(n)
	if ok {
		return penstock.DoubleTextValue(x, d.Raw(n))
	}
	if d.Kind(n) == jsonview.String {
		// Words that Go reads as numbers (Inf, 0x1p4, 1_000) are none.
		s := d.Str(n, nil)
		if x, err := strconv.ParseFloat(s, 64); err == nil && !strings.ContainsAny(s, "xXnN_pP") {
			return penstock.DoubleValue(x)
		}
	}
	return r.mismatch(penstock.NodeValue(d, n))
}

// wholeNumber reads an int that is written with a fraction or exponent of no effect: 17850.0.
func (r *reader) wholeNumber(d *jsonview.Doc, n jsonview.Node) penstock.Value {
	if x, err := penstock.ParseDecimal(alias(d.Raw(n))); err == nil {
		if i, ok := x.Int(); ok {
			return penstock.IntValue(i)
		}
	}
	return r.mismatch(penstock.NodeValue(d, n))
}

func (r *reader) unsigned(d *jsonview.Doc, n jsonview.Node) penstock.Value {
	if i, ok := d.Int(n); ok && i >= 0 {
		return penstock.UintValue(uint64(i))
	}
	if x, err := penstock.ParseDecimal(alias(d.Raw(n))); err == nil {
		if u, ok := x.Uint(); ok {
			return penstock.UintValue(u)
		}
	}
	return r.mismatch(penstock.NodeValue(d, n))
}

func (r *reader) decimal(s string, v penstock.Value) penstock.Value {
	dec, err := penstock.ParseDecimal(s)
	if err != nil {
		return r.mismatch(v)
	}
	return penstock.DecimalValue(dec)
}

func (r *reader) timestamp(s string, v penstock.Value) penstock.Value {
	// RFC 3339 also where there is a layout: a codec of text leaves times so.
	if t, ok := ops.ParseTimestamp(s); ok && t.Year() >= 1 && t.Year() <= 9999 {
		return penstock.TimestampValue(t)
	}
	layout := r.typ.Layout
	if layout == "" {
		layout = time.RFC3339 // more lenient than CEL's timestamp(), as data may be
	}
	t, err := time.Parse(layout, s)
	if y := t.UTC().Year(); err != nil || y < 1 || y > 9999 {
		return r.mismatch(v)
	}
	return penstock.TimestampValue(t)
}

func (r *reader) bytes(f *penstock.Frame, d *jsonview.Doc, n jsonview.Node) penstock.Value {
	if d.Kind(n) == jsonview.Bytes {
		return penstock.BytesValue(d.Raw(n))
	}
	s := r.text(f, d, n)
	out := f.Arena.Alloc(base64.StdEncoding.DecodedLen(len(s)))
	k, err := base64.StdEncoding.Decode(out, bytesOf(s))
	if err != nil {
		return r.mismatch(penstock.NodeValue(d, n))
	}
	return penstock.BytesValue(out[:k:k])
}

// eval makes the closure that reads what raw finds.
func (r *reader) eval(raw eval) eval {
	switch r.typ.Kind {
	case types.String:
		return func(f *penstock.Frame) penstock.Value {
			v := raw(f)
			if v.Kind() == penstock.KindNode {
				if d, n := v.Node(); d.Kind(n) == jsonview.String {
					return penstock.StringValue(text(f, d, n))
				}
			}
			return r.rest(f, v)
		}
	case types.Double:
		return func(f *penstock.Frame) penstock.Value {
			v := raw(f)
			if v.Kind() == penstock.KindNode {
				d, n := v.Node()
				if x, ok := d.Float(n); ok {
					return penstock.DoubleTextValue(x, d.Raw(n))
				}
			}
			return r.rest(f, v)
		}
	case types.Int:
		return func(f *penstock.Frame) penstock.Value {
			v := raw(f)
			if v.Kind() == penstock.KindNode {
				d, n := v.Node()
				if i, ok := d.Int(n); ok {
					return penstock.IntValue(i)
				}
			}
			return r.rest(f, v)
		}
	}
	return func(f *penstock.Frame) penstock.Value { return r.rest(f, raw(f)) }
}

// rest is eval for all cases.
func (r *reader) rest(f *penstock.Frame, v penstock.Value) penstock.Value {
	switch v.Kind() {
	case penstock.KindNode:
		return r.read(f, v)
	case penstock.KindAbsent:
		return r.missing
	}
	return v
}

// inner is eval for optionals: what is not there is Absent.
func (r *reader) inner(raw eval) eval {
	return func(f *penstock.Frame) penstock.Value {
		v := raw(f)
		if v.Kind() == penstock.KindNode {
			return r.read(f, v)
		}
		return v
	}
}
