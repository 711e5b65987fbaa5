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
	found := ""
	if d, n := v.Node(); v.Kind() == penstock.KindNode {
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
	s := ""
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
		if r.typ.DecimalText && isText || (record || !r.typ.DecimalText) && isNumber {
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
	switch {
	case r.typ.Kind == types.String:
		return func(f *penstock.Frame) penstock.Value {
			v := raw(f)
			if v.Kind() == penstock.KindNode {
				if d, n := v.Node(); d.Kind(n) == jsonview.String {
					return penstock.StringValue(text(f, d, n))
				}
			}
			return r.rest(f, v)
		}
	case r.typ.Kind == types.Double:
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
	case r.typ.Kind == types.Int:
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

// coerced reports whether values of type t, or values within them, are something else in
// the document's text than a dyn reading gives.
func coerced(t *types.Type, depth int) bool {
	if t == nil || depth > 16 {
		return false
	}
	switch t.Kind {
	case types.Timestamp, types.Duration, types.Bytes, types.Decimal, types.Uint, types.Double:
		return true
	case types.List, types.Map, types.Optional:
		return coerced(t.Elem, depth+1)
	case types.Object:
		for i := range t.Fields {
			if coerced(t.Fields[i].Type, depth+1) {
				return true
			}
		}
		return coerced(t.Rest, depth+1)
	}
	return false
}

// deep gives the closure for consumers that look into lists and maps without knowing their types
// (equality, in, functions): nodes whose parts need a reading by type are read whole.
func deep(x code) eval {
	if x.con || !contained(x.typ) {
		return x.eval
	}
	in, t, path := x.eval, x.typ, x.path
	if t.Kind == types.Optional {
		inner := deepInner(x)
		return func(f *penstock.Frame) penstock.Value {
			v := inner(f)
			switch v.Kind() {
			case penstock.KindAbsent:
				return ops.None
			case penstock.KindError:
				return v
			}
			return penstock.OptionalValue(v)
		}
	}
	return func(f *penstock.Frame) penstock.Value { return materialize(f, in(f), t, path) }
}

// deepInner is deep for what an optional holds.
func deepInner(x code) eval {
	in, t, path := x.optional(), x.typ, x.path
	if x.con || !contained(t) || t.Kind != types.Optional {
		return in
	}
	return func(f *penstock.Frame) penstock.Value { return materialize(f, in(f), t.Elem, path) }
}

// contained reports whether nodes within a value of type t need a reading by type.
func contained(t *types.Type) bool {
	if t.Kind == types.Optional {
		t = t.Elem
	}
	switch t.Kind {
	case types.List, types.Map, types.Object:
		return coerced(t, 0)
	}
	return false
}

// unify prepares values of several sources that become one: it gives their common type, or sees to it that
// none of them needs its type any more. The checker's type for the result is no help: it takes dyn
// for whatever it is put together with.
func unify(xs ...*code) *types.Type {
	if len(xs) == 0 {
		return types.DynType
	}
	kind, equal := xs[0].typ.Kind, true
	for _, x := range xs {
		equal = equal && identical(x.typ, xs[0].typ)
		if x.typ.Kind != kind {
			kind = types.Dyn
		}
	}
	if equal {
		return xs[0].typ
	}
	for _, x := range xs {
		y := code{eval: deep(*x), typ: x.typ, con: x.con, val: x.val, path: x.path}
		if x.typ.Kind == types.Optional {
			y.inner = deepInner(*x)
		}
		*x = y
	}
	switch kind {
	case types.List:
		return types.ListOf(types.DynType)
	case types.Optional:
		return types.OptionalOf(types.DynType)
	}
	return types.DynType
}

// identical reports whether two types read all text the same way.
func identical(a, b *types.Type) bool {
	if a == b || alike(a, b) {
		return true
	}
	if a.Kind != b.Kind || a.Nullable != b.Nullable {
		return false
	}
	switch a.Kind {
	case types.List, types.Optional:
		return a.Elem != nil && b.Elem != nil && identical(a.Elem, b.Elem)
	case types.Map:
		return a.Elem != nil && b.Elem != nil && identical(a.Elem, b.Elem) && (a.Key == b.Key || a.Key != nil && b.Key != nil && identical(a.Key, b.Key))
	}
	return a.Kind == types.Dyn
}

// materialize reads a node and all below it by type. What is of another kind than its type says is an error
// where it stands, for whoever reads it.
func materialize(f *penstock.Frame, v penstock.Value, t *types.Type, path string) penstock.Value {
	if v.Kind() != penstock.KindNode {
		return v
	}
	if v = (&reader{typ: t, path: path}).read(f, v); v.Kind() != penstock.KindNode {
		return v
	}
	d, n := v.Node()
	if d.Kind(n) == jsonview.Array {
		elem := elemType(t)
		l := &penstock.List{Elems: make([]penstock.Value, 0, d.Len(n))}
		for e := d.First(n); e != jsonview.None; e = d.Next(e) {
			l.Elems = append(l.Elems, materialize(f, penstock.NodeValue(d, e), elem, path+"[]"))
		}
		return penstock.ListValue(l)
	}
	m := &penstock.Map{Entries: make([]penstock.Entry, 0, d.Len(n))}
	it := ops.Entries(v)
	for key, val, more := it.Next(); more; key, val, more = it.Next() {
		m.Entries = append(m.Entries, penstock.Entry{Key: key, Value: materialize(f, val, fieldType(t, key.Str()), join(path, key.Str()))})
	}
	return penstock.MapValue(m)
}

// elemType is the type of what a list holds.
func elemType(t *types.Type) *types.Type {
	if t != nil && t.Kind == types.List && t.Elem != nil {
		return t.Elem
	}
	return types.DynType
}

// fieldType is the type of a field or entry.
func fieldType(t *types.Type, name string) *types.Type {
	if t == nil {
		return types.DynType
	}
	switch t.Kind {
	case types.Optional:
		return fieldType(t.Elem, name)
	case types.Map:
		if t.Elem != nil {
			return t.Elem
		}
	case types.Object:
		if fd, ok := t.Field(name); ok && fd.Type != nil {
			return fd.Type
		}
		if t.Rest != nil {
			return t.Rest
		}
	case types.Union:
		// A field that all alternatives have alike has that type.
		var same *types.Type
		for _, v := range t.Variants {
			ft := fieldType(v, name)
			if ft.Kind == types.Dyn || same != nil && same != ft && !alike(same, ft) {
				return types.DynType
			}
			same = ft
		}
		if same != nil {
			return same
		}
	}
	return types.DynType
}

// alike reports whether two scalar types read text the same way.
func alike(a, b *types.Type) bool {
	return a.Kind == b.Kind && a.Kind >= types.Null && a.Kind <= types.Duration &&
		a.Nullable == b.Nullable && a.DecimalText == b.DecimalText && a.Layout == b.Layout
}
