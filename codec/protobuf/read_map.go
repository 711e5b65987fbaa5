package protobuf

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"

	"penstock.dev/penstock"
)

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
