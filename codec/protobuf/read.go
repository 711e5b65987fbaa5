package protobuf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"unsafe"

	"penstock.dev/penstock"
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
