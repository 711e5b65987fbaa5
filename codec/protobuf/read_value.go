package protobuf

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

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

// closed ends a list or object whose elements have a comma behind each.
func closed(dst []byte, end byte) []byte {
	if dst[len(dst)-1] == ',' {
		dst[len(dst)-1] = end
		return dst
	}
	return append(dst, end)
}
