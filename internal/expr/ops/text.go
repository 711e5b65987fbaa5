package ops

import (
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"

	"penstock.dev/penstock"
)

// bytesAsString makes a string value of b, which must not change afterwards.
func bytesAsString(b []byte) penstock.Value {
	return penstock.StringValue(unsafe.String(unsafe.SliceData(b), len(b)))
}

// TextValue makes a string value that aliases b, which must not change afterwards.
func TextValue(b []byte) penstock.Value { return bytesAsString(b) }

// AppendText appends what CEL's string(v) gives. bad is an error value where there is no such
// conversion (lists, maps, null, bytes that are not UTF-8), else Absent.
func AppendText(dst []byte, v penstock.Value) (out []byte, bad penstock.Value) {
	switch v.Kind() {
	case penstock.KindString:
		return append(dst, v.Str()...), penstock.Absent
	case penstock.KindInt:
		return strconv.AppendInt(dst, v.Int(), 10), penstock.Absent
	case penstock.KindUint:
		return strconv.AppendUint(dst, v.Uint(), 10), penstock.Absent
	case penstock.KindDouble:
		return strconv.AppendFloat(dst, v.Double(), 'g', -1, 64), penstock.Absent
	case penstock.KindDecimal:
		return v.Decimal().AppendText(dst), penstock.Absent
	case penstock.KindBool:
		return strconv.AppendBool(dst, v.Bool()), penstock.Absent
	case penstock.KindBytes:
		if !utf8.Valid(v.Bytes()) {
			return dst, Errorf("invalid UTF-8 in bytes, cannot convert to string")
		}
		return append(dst, v.Bytes()...), penstock.Absent
	case penstock.KindTimestamp:
		return v.Timestamp().AppendFormat(dst, time.RFC3339Nano), penstock.Absent
	case penstock.KindDuration:
		return append(strconv.AppendFloat(dst, v.Duration().Seconds(), 'f', -1, 64), 's'), penstock.Absent
	case penstock.KindNode:
		if r := Resolve(v, nil); r.Kind() != penstock.KindNode {
			return AppendText(dst, r)
		}
	case penstock.KindAbsent:
		return dst, Errorf("an absent value has no text; give a default with orValue")
	}
	return dst, NoOverload("string", v)
}

// ToString is CEL's string(v).
func ToString(v penstock.Value, ar *penstock.Arena) penstock.Value {
	switch v = Resolve(v, ar); v.Kind() {
	case penstock.KindString:
		return v
	case penstock.KindType:
		return NoOverload("string", v)
	}
	if ar == nil {
		b, bad := AppendText(nil, v)
		if bad.IsError() {
			return bad
		}
		return bytesAsString(b)
	}
	b, bad := AppendText(ar.Tail(64), v)
	if bad.IsError() {
		return bad
	}
	return bytesAsString(ar.Keep(b))
}
