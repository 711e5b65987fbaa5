package protobuf

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/reflect/protoreflect"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// maxDepth is how deep messages may be.
const maxDepth = 512

func text2string(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func appendVarint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// entry is one value of a field, where it stands in the bytes.
type entry struct {
	field      int32
	wire       uint8
	at         uint32 // of its tag
	start, end uint32 // of what has a length
	v          uint64 // of what has none
}

// reading is one message that is being read. The first error stays. A reading is used again for others.
type reading struct {
	src     []byte
	limit   int // of the JSON text, in bytes: a few bytes can stand for very many
	depth   int
	refuse  bool // unknown fields
	entries []entry
	at      int
	text    string
	code    penstock.Code
	path    string
	merged  []byte // messages that came in pieces
}

var readings = sync.Pool{New: func() any { return new(reading) }}

// keepEntries is how many entries a reading keeps for the next.
const keepEntries = 1 << 14

// read appends the JSON text of the message that is all of src.
func (m *message) read(dst, src []byte, limit int, refuse bool) ([]byte, error) {
	r := readings.Get().(*reading)
	*r = reading{src: src, limit: len(dst) + limit, refuse: refuse, entries: r.entries[:0]}
	out := m.append(r, dst, 0, len(src))
	err := r.error()
	r.src = nil
	if cap(r.entries) > keepEntries {
		r.entries = nil
	}
	readings.Put(r)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (r *reading) failed() bool { return r.text != "" }

func (r *reading) error() error {
	if !r.failed() {
		return nil
	}
	return &penstock.Error{Code: r.code, Op: "protobuf", Path: "body" + r.path + ", byte " + strconv.Itoa(r.at), Err: errors.New(r.text)}
}

func (r *reading) fail(code penstock.Code, at int, text string) {
	if r.text == "" {
		r.code, r.at, r.text = code, at, text
	}
}

// below adds a step to the path of the error, on the way out.
func (r *reading) below(step string) { r.path = step + r.path }

// varint reads one at i, which must end before end; 0 bytes are a fault.
func varint(src []byte, i, end int) (v uint64, n int) {
	if i < end && src[i] < 0x80 {
		return uint64(src[i]), 1
	}
	v, n = binary.Uvarint(src[i:end])
	return v, max(n, 0)
}

const (
	cutOff   = "it ends in the middle of a value"
	badTag   = "the tag of a field is cut off, or has more bits than can be"
	tooLarge = "the document is too large"
)

// scan finds the fields of a message; false after an error. Their order is that of the bytes, unless it says that they are sorted.
func (r *reading) scan(m *message, start, end int) (sorted, ok bool) {
	sorted = true
	last := int32(-1)
	var oneofs uint64
	again := false
	src := r.src
	for i := start; i < end; {
		at := i
		tag, n := varint(src, i, end)
		if n == 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			r.fail(penstock.Invalid, at, badTag)
			return false, false
		}
		i += n
		e := entry{field: m.at(int32(tag >> 3)), wire: uint8(tag & 7), at: uint32(at)}
		switch e.wire {
		case wireVarint:
			e.v, n = varint(src, i, end)
			if n == 0 {
				r.fail(penstock.Invalid, i, "a number is cut off, or has more than 64 bits")
				return false, false
			}
			i += n
		case wireFixed8:
			if end-i < 8 {
				r.fail(penstock.Invalid, i, cutOff)
				return false, false
			}
			e.v = binary.LittleEndian.Uint64(src[i:])
			i += 8
		case wireFixed4:
			if end-i < 4 {
				r.fail(penstock.Invalid, i, cutOff)
				return false, false
			}
			e.v = uint64(binary.LittleEndian.Uint32(src[i:]))
			i += 4
		case wireBytes:
			size, n := varint(src, i, end)
			if n == 0 || size > uint64(end-i-n) {
				r.fail(penstock.Invalid, i, cutOff)
				return false, false
			}
			i += n
			e.start, e.end = uint32(i), uint32(i+int(size))
			i = int(e.end)
		case wireBegin:
			e.start = uint32(i)
			body, next, ok := r.group(i, end, uint32(tag>>3))
			if !ok {
				return false, false
			}
			e.end = uint32(body)
			i = next
		default:
			r.fail(penstock.Invalid, at, fmt.Sprintf("the field number %d has the wire type %d, which stands for nothing here", tag>>3, e.wire))
			return false, false
		}
		if e.field < 0 {
			if r.refuse {
				r.fail(penstock.Unprocessable, at, fmt.Sprintf("%s has no field number %d", m.name, tag>>3))
				return false, false
			}
			continue
		}
		f := &m.fields[e.field]
		if e.wire != f.wire && (f.packTag == nil || e.wire != wireBytes) {
			r.below("." + f.name)
			r.fail(penstock.Unprocessable, at, fmt.Sprintf("the schema wants %s, and the wire type is %s: it was written with another schema", f.what(), wireNames[e.wire]))
			return false, false
		}
		if f.oneof >= 0 {
			bit := uint64(1) << (f.oneof & 63)
			again = again || oneofs&bit != 0
			oneofs |= bit
		}
		sorted = sorted && e.field >= last
		last = e.field
		r.entries = append(r.entries, e)
	}
	return sorted && !again, true
}

var wireNames = [...]string{wireVarint: "varint", wireFixed8: "64 bits", wireBytes: "length-delimited", wireBegin: "a group", wireFixed4: "32 bits"}

// group finds the end of a group that begins before i.
func (r *reading) group(i, end int, num uint32) (body, next int, ok bool) {
	open := []uint32{num}
	for {
		at := i
		tag, n := varint(r.src, i, end)
		if n == 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			r.fail(penstock.Invalid, i, "a group is not closed")
			return 0, 0, false
		}
		i += n
		switch tag & 7 {
		case wireVarint:
			_, n = varint(r.src, i, end)
			if n == 0 {
				r.fail(penstock.Invalid, i, cutOff)
				return 0, 0, false
			}
			i += n
		case wireFixed8:
			i += 8
		case wireFixed4:
			i += 4
		case wireBytes:
			size, n := varint(r.src, i, end)
			if n == 0 || size > uint64(end-i-n) {
				r.fail(penstock.Invalid, i, cutOff)
				return 0, 0, false
			}
			i += n + int(size)
		case wireBegin:
			if len(open) >= maxDepth {
				r.fail(penstock.Invalid, at, fmt.Sprintf("it is nested more than %d deep", maxDepth))
				return 0, 0, false
			}
			open = append(open, uint32(tag>>3))
		case wireEnd:
			if open[len(open)-1] != uint32(tag>>3) {
				r.fail(penstock.Invalid, at, "a group ends that has not begun")
				return 0, 0, false
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				return at, i, true
			}
		default:
			r.fail(penstock.Invalid, at, badTag)
			return 0, 0, false
		}
		if i > end {
			r.fail(penstock.Invalid, end, cutOff)
			return 0, 0, false
		}
	}
}

// order brings the entries of a message into the order of its fields; those of a field stay in the order of the bytes. What a later member of
// its oneof replaces is left out.
func (r *reading) order(m *message, base int) {
	es := r.entries[base:]
	if m.oneofs > 0 {
		type member struct {
			field  int32
			closed bool
		}
		winners := map[int32]member{}
		kept := len(es)
		for i := len(es) - 1; i >= 0; i-- {
			if o := m.fields[es[i].field].oneof; o >= 0 {
				w, ok := winners[o]
				switch {
				case !ok:
					winners[o] = member{field: es[i].field}
				case w.closed || w.field != es[i].field:
					winners[o] = member{w.field, true}
					continue
				}
			}
			kept--
			es[kept] = es[i]
		}
		es = es[:copy(es, es[kept:])]
		r.entries = r.entries[:base+len(es)]
	}
	slices.SortStableFunc(es, func(a, b entry) int { return int(a.field - b.field) })
}

// append appends the JSON of a message whose bytes are between start and end.
func (m *message) append(r *reading, dst []byte, start, end int) []byte {
	if len(dst) > r.limit {
		r.fail(penstock.TooLarge, start, tooLarge)
		return dst
	}
	if r.depth++; r.depth > maxDepth {
		r.fail(penstock.Invalid, start, fmt.Sprintf("it is nested more than %d deep", maxDepth))
		return dst
	}
	base := len(r.entries)
	sorted, ok := r.scan(m, start, end)
	if !ok {
		return dst
	}
	if !sorted {
		r.order(m, base)
	}
	if m.as == plain {
		dst = closed(m.members(r, append(dst, '{'), base, start), '}')
	} else {
		dst = m.special(r, dst, r.entries[base:], start)
	}
	r.entries = r.entries[:base]
	r.depth--
	return dst
}

// members appends `"name":value,` for each field.
func (m *message) members(r *reading, dst []byte, base, start int) []byte {
	es := r.entries[base:]
	k := 0
	for i := range m.fields {
		f := &m.fields[i]
		if k >= len(es) || es[k].field != int32(i) {
			if f.required {
				r.below("." + f.name)
				r.fail(penstock.Unprocessable, start, "the schema requires it, and it is not there")
				return dst
			}
			dst = append(dst, f.zero...)
			continue
		}
		first := k
		for k++; k < len(es) && es[k].field == int32(i); k++ {
		}
		dst = append(dst, f.key...)
		switch {
		case f.isMap:
			dst = f.appendMap(r, dst, es[first:k])
		case f.list:
			dst = f.appendList(r, dst, es[first:k])
		case f.msg != nil && k-first > 1:
			dst = f.appendMerged(r, dst, es[first:k])
		default:
			dst = f.append(r, dst, &es[k-1])
		}
		if r.failed() {
			r.below("." + f.name)
			return dst
		}
		dst = append(dst, ',')
	}
	return dst
}

// append appends one value.
func (f *field) append(r *reading, dst []byte, e *entry) []byte {
	switch f.kind {
	case protoreflect.StringKind:
		return f.string(r, dst, e)
	case protoreflect.BytesKind:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, r.src[e.start:e.end])
		return append(dst, '"')
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return f.msg.append(r, dst, int(e.start), int(e.end))
	}
	return f.scalar(r, dst, e.v, int(e.at))
}

func (f *field) string(r *reading, dst []byte, e *entry) []byte {
	b := r.src[e.start:e.end]
	if !utf8.Valid(b) {
		r.fail(penstock.Invalid, int(e.start), "a string is no UTF-8")
		return dst
	}
	return jsonview.AppendString(dst, text2string(b))
}

// scalar appends what has no length.
func (f *field) scalar(r *reading, dst []byte, v uint64, at int) []byte {
	switch f.kind {
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, v != 0)
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		return strconv.AppendInt(dst, int64(int32(v)), 10)
	case protoreflect.Int64Kind, protoreflect.Sfixed64Kind:
		return strconv.AppendInt(dst, int64(v), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.AppendUint(dst, uint64(uint32(v)), 10)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(dst, v, 10)
	case protoreflect.Sint32Kind:
		u := uint32(v)
		return strconv.AppendInt(dst, int64(int32(u>>1)^-int32(u&1)), 10)
	case protoreflect.Sint64Kind:
		return strconv.AppendInt(dst, int64(v>>1)^-int64(v&1), 10)
	case protoreflect.FloatKind:
		return appendFloat(dst, float64(math.Float32frombits(uint32(v))), 32)
	case protoreflect.DoubleKind:
		return appendFloat(dst, math.Float64frombits(v), 64)
	case protoreflect.EnumKind:
		if f.null {
			return append(dst, "null"...)
		}
		if t := f.enum.text(int32(v)); t != nil {
			return append(dst, t...)
		}
		r.fail(penstock.Unprocessable, at, fmt.Sprintf("the enum %s has no value of the number %d", f.enum.name, int32(v)))
	}
	return dst
}

// appendFloat appends a number, or the text that stands for what is none (ProtoJSON).
func appendFloat(dst []byte, v float64, bits int) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, `"NaN"`...)
	case math.IsInf(v, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(dst, `"-Infinity"`...)
	case bits == 64:
		return jsonview.AppendFloat(dst, v)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 32)
}

// appendList appends a repeated field, packed or not.
func (f *field) appendList(r *reading, dst []byte, es []entry) []byte {
	dst = append(dst, '[')
	n := 0
	for k := range es {
		e := &es[k]
		if f.packTag != nil && e.wire == wireBytes {
			dst = f.appendPacked(r, dst, e, &n)
		} else {
			dst = append(f.append(r, dst, e), ',')
			n++
		}
		if len(dst) > r.limit {
			r.fail(penstock.TooLarge, int(e.at), tooLarge)
		}
		if r.failed() {
			r.below("[" + strconv.Itoa(max(n-1, 0)) + "]")
			return dst
		}
	}
	return closed(dst, ']')
}

func (f *field) appendPacked(r *reading, dst []byte, e *entry, n *int) []byte {
	for i := int(e.start); i < int(e.end); *n++ {
		at := i
		var v uint64
		switch f.wire {
		case wireVarint:
			var size int
			if v, size = varint(r.src, i, int(e.end)); size == 0 {
				*n++
				r.fail(penstock.Invalid, i, cutOff)
				return dst
			}
			i += size
		case wireFixed8:
			if int(e.end)-i < 8 {
				*n++
				r.fail(penstock.Invalid, i, cutOff)
				return dst
			}
			v = binary.LittleEndian.Uint64(r.src[i:])
			i += 8
		default:
			if int(e.end)-i < 4 {
				*n++
				r.fail(penstock.Invalid, i, cutOff)
				return dst
			}
			v = uint64(binary.LittleEndian.Uint32(r.src[i:]))
			i += 4
		}
		dst = f.scalar(r, dst, v, at)
		if r.failed() {
			*n++
			return dst
		}
		dst = append(dst, ',')
	}
	return dst
}

// appendMerged appends a message that came in pieces: they are merged, as their bytes one behind the other are.
func (f *field) appendMerged(r *reading, dst []byte, es []entry) []byte {
	whole := r.merged[len(r.merged):]
	for _, e := range es {
		whole = append(whole, r.src[e.start:e.end]...)
	}
	if len(whole) > r.limit {
		r.fail(penstock.TooLarge, int(es[0].at), tooLarge)
		return dst
	}
	src := r.src
	r.src = whole
	dst = f.msg.append(r, dst, 0, len(whole))
	r.src = src
	if r.failed() {
		r.at = int(es[0].at)
	}
	return dst
}

// appendMap appends a map. Of a key that is there twice the last counts.
func (f *field) appendMap(r *reading, dst []byte, es []entry) []byte {
	dst = append(dst, '{')
	var seen map[string]int // where a key's last entry is
	if f.doubled(r, es) {
		seen = map[string]int{}
		for i := range es {
			seen[string(f.keyOf(r, &es[i], nil))] = i
		}
	}
	for i := range es {
		if seen != nil && seen[string(f.keyOf(r, &es[i], nil))] != i {
			continue
		}
		dst = f.appendPair(r, dst, &es[i])
		if len(dst) > r.limit {
			r.fail(penstock.TooLarge, int(es[i].at), tooLarge)
		}
		if r.failed() {
			return dst
		}
		dst = append(dst, ',')
	}
	return closed(dst, '}')
}

// doubled says whether a key may be there twice.
func (f *field) doubled(r *reading, es []entry) bool {
	if len(es) > 8 {
		return true
	}
	var a, b [64]byte
	for i := 1; i < len(es); i++ {
		k := f.keyOf(r, &es[i], a[:0])
		for j := range i {
			if string(f.keyOf(r, &es[j], b[:0])) == string(k) {
				return true
			}
		}
	}
	return false
}

// pair finds key and value of an entry of a map.
func (f *field) pair(r *reading, e *entry) (key, value entry, ok bool) {
	key.field, value.field = -1, -1
	src, end := r.src, int(e.end)
	for i := int(e.start); i < end; {
		at := i
		tag, n := varint(src, i, end)
		if n == 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			r.fail(penstock.Invalid, at, badTag)
			return key, value, false
		}
		i += n
		x := entry{wire: uint8(tag & 7), at: uint32(at)}
		switch x.wire {
		case wireVarint:
			if x.v, n = varint(src, i, end); n == 0 {
				r.fail(penstock.Invalid, i, cutOff)
				return key, value, false
			}
			i += n
		case wireFixed8:
			if end-i < 8 {
				r.fail(penstock.Invalid, i, cutOff)
				return key, value, false
			}
			x.v = binary.LittleEndian.Uint64(src[i:])
			i += 8
		case wireFixed4:
			if end-i < 4 {
				r.fail(penstock.Invalid, i, cutOff)
				return key, value, false
			}
			x.v = uint64(binary.LittleEndian.Uint32(src[i:]))
			i += 4
		case wireBytes:
			size, n := varint(src, i, end)
			if n == 0 || size > uint64(end-i-n) {
				r.fail(penstock.Invalid, i, cutOff)
				return key, value, false
			}
			i += n
			x.start, x.end = uint32(i), uint32(i+int(size))
			i = int(x.end)
		default:
			r.fail(penstock.Invalid, at, "an entry of a map holds a group")
			return key, value, false
		}
		switch {
		case tag>>3 == 1 && x.wire == f.mapKey.wire:
			key = x
		case tag>>3 == 2 && x.wire == f.mapValue.wire:
			value = x
		case tag>>3 == 1 || tag>>3 == 2:
			r.fail(penstock.Unprocessable, at, fmt.Sprintf("the schema wants a map of %s to %s, and it was written with another", f.mapKey.what(), f.mapValue.what()))
			return key, value, false
		}
	}
	return key, value, true
}

// keyOf is the key of an entry as text; what can't be read has none.
func (f *field) keyOf(r *reading, e *entry, buf []byte) []byte {
	key, _, ok := f.pair(r, e)
	switch {
	case !ok:
		return nil
	case f.mapKey.kind == protoreflect.StringKind:
		return r.src[key.start:key.end]
	}
	return f.mapKey.scalar(r, buf, key.v, 0)
}

func (f *field) appendPair(r *reading, dst []byte, e *entry) []byte {
	key, value, ok := f.pair(r, e)
	if !ok {
		return dst
	}
	if f.mapKey.kind == protoreflect.StringKind {
		if dst = f.mapKey.string(r, dst, &key); r.failed() {
			return dst
		}
	} else {
		dst = append(f.mapKey.scalar(r, append(dst, '"'), key.v, 0), '"')
	}
	dst = append(dst, ':')
	if v := f.mapValue; value.field >= 0 || v.msg != nil {
		dst = v.append(r, dst, &value)
	} else {
		dst = v.zeroOf(dst)
	}
	if r.failed() {
		r.below("." + string(f.keyOf(r, e, nil)))
	}
	return dst
}

// closed ends a list or object whose elements have a comma behind each.
func closed(dst []byte, end byte) []byte {
	if dst[len(dst)-1] == ',' {
		dst[len(dst)-1] = end
		return dst
	}
	return append(dst, end)
}
