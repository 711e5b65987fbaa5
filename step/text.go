package step

import (
	"unsafe"

	"penstock.dev/penstock/jsonview"
)

// text2string gives b as a string without a copy. b must not change afterwards.
func text2string(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// span says where in the text of d, a JSON document, node n lies. The text of a node is a part of the document's text,
// and the distance of the two is its offset.
func span(d *jsonview.Doc, n jsonview.Node) (start, end int) {
	raw := d.Raw(n)
	start = int(uintptr(unsafe.Pointer(unsafe.SliceData(raw))) - uintptr(unsafe.Pointer(unsafe.SliceData(d.Bytes()))))
	return start, start + len(raw)
}

// string2text gives the bytes of s without a copy, for reading only.
func string2text(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
