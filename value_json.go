package penstock

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"penstock.dev/penstock/jsonview"
)

// AppendJSON appends v as JSON text: bytes as base64 (RFC 4648 §4), timestamps as RFC 3339
// in UTC, durations as seconds ("3.5s"), decimals as numbers with all their digits, a double
// that was read and not changed as it was written, nodes as
// they stand in their document. A map's absent values are left out, a list's as well. The
// error is an *Error with the path below v: for what has no JSON form (NaN, infinities,
// Absent at the top), and for a KindError its own. On an error the returned slice is dst,
// unchanged.
func (v Value) AppendJSON(dst []byte) ([]byte, error) {
	out, err := v.appendJSON(dst)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (v Value) appendJSON(dst []byte) ([]byte, error) {
	switch v.kind {
	case KindNull:
		return append(dst, "null"...), nil
	case KindBool:
		return strconv.AppendBool(dst, v.Bool()), nil
	case KindInt:
		return strconv.AppendInt(dst, v.Int(), 10), nil
	case KindUint:
		return strconv.AppendUint(dst, v.Uint(), 10), nil
	case KindDouble:
		if text := v.NumberText(); text != "" {
			return append(dst, text...), nil
		}
		f := v.Double()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return dst, E(Unprocessable, "json", "", fmt.Sprintf("%v is no JSON number", f))
		}
		return jsonview.AppendFloat(dst, f), nil
	case KindDecimal:
		return v.Decimal().AppendText(dst), nil
	case KindString, KindType:
		return jsonview.AppendString(dst, v.Str()), nil
	case KindBytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
		return append(dst, '"'), nil
	case KindTimestamp:
		dst = append(dst, '"')
		dst = AppendTimestamp(dst, v.Timestamp())
		return append(dst, '"'), nil
	case KindDuration:
		dst = append(dst, '"')
		dst = AppendDuration(dst, v.Duration())
		return append(dst, '"'), nil
	case KindList:
		return v.appendList(dst)
	case KindMap:
		return v.appendMap(dst)
	case KindOptional:
		return v.Optional().appendJSON(dst)
	case KindNode:
		d, n := v.Node()
		return d.AppendJSON(dst, n), nil
	case KindError:
		return dst, v.Err()
	}
	return dst, E(Unprocessable, "json", "", "the value is absent")
}

// none reports whether v is absent, itself or as an empty optional.
func (v Value) none() bool {
	return v.kind == KindAbsent || v.kind == KindOptional && v.Optional().none()
}

func (v Value) appendList(dst []byte) ([]byte, error) {
	dst = append(dst, '[')
	first := true
	for i, e := range v.List().Elems {
		if e.none() {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		var err error
		if dst, err = e.appendJSON(dst); err != nil {
			return dst, below("["+strconv.Itoa(i)+"]", err)
		}
	}
	return append(dst, ']'), nil
}

func (v Value) appendMap(dst []byte) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	for _, e := range v.Map().Entries {
		if e.Value.none() {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		var err error
		if dst, err = appendKey(dst, e.Key); err != nil {
			return dst, err
		}
		dst = append(dst, ':')
		if dst, err = e.Value.appendJSON(dst); err != nil {
			return dst, below(keyText(e.Key), err)
		}
	}
	return append(dst, '}'), nil
}

// appendKey appends a map key: JSON knows only strings.
func appendKey(dst []byte, k Value) ([]byte, error) {
	switch k.kind {
	case KindString:
		return jsonview.AppendString(dst, k.Str()), nil
	case KindBool, KindInt, KindUint:
		dst = append(dst, '"')
		dst, _ = k.appendJSON(dst)
		return append(dst, '"'), nil
	}
	return dst, E(Unprocessable, "json", "", "a map key must be a string, int, uint or bool")
}

func keyText(k Value) string {
	if k.kind == KindString {
		return k.Str()
	}
	b, _ := k.appendJSON(nil)
	return string(b)
}

// below puts step in front of the path of err.
func below(step string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Code: Unprocessable, Op: "json", Path: step, Err: err}
	}
	c := *e
	switch {
	case c.Path == "":
		c.Path = step
	case c.Path[0] == '[':
		c.Path = step + c.Path
	default:
		c.Path = step + "." + c.Path
	}
	return &c
}

// AppendTimestamp appends t in RFC 3339 form, in UTC, with as many digits of the second as
// it has.
func AppendTimestamp(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, time.RFC3339Nano)
}

// AppendDuration appends d as CEL and protobuf's JSON write it: seconds with up to nine
// decimals and an "s".
func AppendDuration(dst []byte, d time.Duration) []byte {
	u := uint64(d)
	if d < 0 {
		dst = append(dst, '-')
		u = -u
	}
	dst = strconv.AppendUint(dst, u/1e9, 10)
	if nanos := u % 1e9; nanos > 0 {
		var frac [9]byte
		for i := 8; i >= 0; i-- {
			frac[i] = byte('0' + nanos%10)
			nanos /= 10
		}
		n := 9
		for frac[n-1] == '0' {
			n--
		}
		dst = append(append(dst, '.'), frac[:n]...)
	}
	return append(dst, 's')
}

// AppendText appends v as it stands in free text (a template with other text around it):
// a string as it is, everything else as in JSON, without quotes. Null and what is absent
// have no text: an error.
func (v Value) AppendText(dst []byte) ([]byte, error) {
	switch v.kind {
	case KindString, KindType:
		return append(dst, v.Str()...), nil
	case KindBytes:
		return base64.StdEncoding.AppendEncode(dst, v.Bytes()), nil
	case KindTimestamp:
		return AppendTimestamp(dst, v.Timestamp()), nil
	case KindDuration:
		return AppendDuration(dst, v.Duration()), nil
	case KindOptional:
		return v.Optional().AppendText(dst)
	case KindNode:
		d, n := v.Node()
		switch d.Kind(n) {
		case jsonview.String:
			return append(dst, d.Str(n, nil)...), nil
		case jsonview.Null:
			return dst, E(Unprocessable, "text", "", "null has no text")
		}
	case KindNull:
		return dst, E(Unprocessable, "text", "", "null has no text")
	case KindAbsent:
		return dst, E(Unprocessable, "text", "", "the value is absent")
	}
	return v.AppendJSON(dst)
}

// String shows v for people: its JSON text, or what is wrong with it.
func (v Value) String() string {
	b, err := v.AppendJSON(nil)
	switch {
	case v.kind == KindAbsent:
		return "absent"
	case err != nil:
		return "error: " + err.Error()
	}
	return string(b)
}
