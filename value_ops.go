package penstock

import (
	"math"
	"strings"
	"unsafe"

	"penstock.dev/penstock/jsonview"
)

// DoubleTextValue makes a double that remembers the text it was read from, so that a
// number which nobody changes is written as it came ("12.50" stays "12.50", LANGUAGE.md
// §3). text must be a JSON number (RFC 8259 §6) whose nearest double is f; the value
// aliases it.
func DoubleTextValue(f float64, text []byte) Value {
	if len(text) > math.MaxInt32 {
		return DoubleValue(f)
	}
	return Value{kind: KindDouble, num: math.Float64bits(f), aux: int32(len(text)), ptr: unsafe.Pointer(unsafe.SliceData(text))}
}

// NumberText returns the text that a KindDouble was read from, "" if it was computed. It
// aliases v's memory.
func (v Value) NumberText() string {
	if v.kind != KindDouble || v.ptr == nil {
		return ""
	}
	return unsafe.String((*byte)(v.ptr), int(v.aux))
}

// Clone returns v with memory of its own, for what outlives the message: strings and
// bytes are copied, lists and maps deeply, a node with the text of its subtree alone.
func (v Value) Clone() Value {
	switch v.kind {
	case KindString, KindType:
		c := StringValue(strings.Clone(v.Str()))
		c.kind = v.kind
		return c
	case KindBytes:
		return BytesValue(append([]byte(nil), v.Bytes()...))
	case KindDouble:
		if t := v.NumberText(); t != "" {
			return DoubleTextValue(v.Double(), []byte(t))
		}
	case KindList:
		src := v.List().Elems
		elems := make([]Value, len(src))
		for i := range src {
			elems[i] = src[i].Clone()
		}
		return ListValue(&List{Elems: elems})
	case KindMap:
		src := v.Map().Entries
		entries := make([]Entry, len(src))
		for i := range src {
			entries[i] = Entry{Key: src[i].Key.Clone(), Value: src[i].Value.Clone()}
		}
		return MapValue(&Map{Entries: entries})
	case KindOptional:
		return OptionalValue(v.Optional().Clone())
	case KindNode:
		return cloneNode(v.Node())
	}
	return v
}

// cloneNode copies what lies below one node.
func cloneNode(d *jsonview.Doc, n jsonview.Node) Value {
	c := new(jsonview.Doc)
	if n == 0 {
		d.CloneInto(c, nil)
		return NodeValue(c, 0)
	}
	if d.Kind(n) == jsonview.String {
		return StringValue(strings.Clone(d.Str(n, nil)))
	}
	c.Reset(jsonview.JSON, d.AppendJSON(nil, n))
	if err := c.Parse(jsonview.Limits{}); err != nil {
		return ErrorValue(&Error{Code: Internal, Op: "clone", Err: err})
	}
	return NodeValue(c, 0)
}
