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

// ErrAbsent is the cause of the error that [Value.AppendJSON] gives for a value that is not there: whoever writes a
// field omits it then, and asks with IsAbsent before.
var ErrAbsent = errors.New("the value is absent")

// AppendJSON appends v as JSON text (RFC 8259) to dst. On an error the returned slice is dst, unchanged; the error is
// an *[Error].
//
//	int, uint      all digits
//	double         the shortest text that reads back as the same float64; NaN and the infinities are errors
//	decimal        a number with all its digits, trailing zeros too
//	string, type   a string (a type by its name)
//	bytes          a string: base64 with padding (RFC 4648 §4)
//	timestamp      a string: RFC 3339 in UTC, nanoseconds without trailing zeros
//	duration       a string: seconds, as CEL's string() writes it: "3.5s"
//	list, map      recursively; keys that are no strings become strings; an absent value of a map omits its key
//	optional       what it holds
//	a node         its text as it came, so that numbers keep theirs; a body that was not read is checked first
//	absent, none   an error whose cause is [ErrAbsent]
//	error          the error itself
func (v Value) AppendJSON(dst []byte) ([]byte, error) {
	out, err := v.appendJSON(dst)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// appendJSON is AppendJSON, but for what it returns with an error.
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
		f := v.Double()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return dst, &Error{Code: Unprocessable, Err: fmt.Errorf("%v can't be written: JSON has no such number", f),
				Hint: "test the value before it is written"}
		}
		return jsonview.AppendFloat(dst, f), nil
	case KindDecimal:
		return appendDecimal(dst, v.Decimal()), nil
	case KindString, KindType:
		return jsonview.AppendString(dst, v.Str()), nil
	case KindBytes:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
		return append(dst, '"'), nil
	case KindTimestamp:
		dst = append(dst, '"')
		dst = v.Timestamp().AppendFormat(dst, time.RFC3339Nano)
		return append(dst, '"'), nil
	case KindDuration:
		dst = append(dst, '"')
		dst = appendDuration(dst, v.Duration())
		return append(dst, '"'), nil
	case KindList:
		return v.appendList(dst)
	case KindMap:
		return v.appendMap(dst)
	case KindOptional:
		return v.Optional().appendJSON(dst)
	case KindNode:
		d, n := v.Node()
		if err := d.Parse(jsonview.Limits{}); err != nil {
			return dst, &Error{Code: Invalid, Err: err}
		}
		return d.AppendJSON(dst, n), nil
	case KindError:
		return dst, v.Err()
	}
	return dst, &Error{Code: Unprocessable, Err: ErrAbsent, Hint: "give it a value with orValue"}
}

func (v Value) appendList(dst []byte) ([]byte, error) {
	dst = append(dst, '[')
	for i, e := range v.List().Elems {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = e.appendJSON(dst); err != nil {
			return dst, within(err, "["+strconv.Itoa(i)+"]")
		}
	}
	return append(dst, ']'), nil
}

func (v Value) appendMap(dst []byte) ([]byte, error) {
	entries := v.Map().Entries
	if err := sameText(entries); err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	first := true
	for _, e := range entries {
		if e.Value.isNone() {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		if e.Key.kind == KindString {
			dst = jsonview.AppendString(dst, e.Key.Str())
		} else {
			name, err := keyText(e.Key)
			if err != nil {
				return dst, err
			}
			dst = jsonview.AppendString(dst, name)
		}
		dst = append(dst, ':')
		var err error
		if dst, err = e.Value.appendJSON(dst); err != nil {
			name, _ := keyText(e.Key)
			return dst, within(err, name)
		}
	}
	return append(dst, '}'), nil
}

// isNone reports whether v is absent or an optional that holds nothing.
func (v Value) isNone() bool {
	for v.kind == KindOptional {
		v = v.Optional()
	}
	return v.kind == KindAbsent
}

// sameText refuses keys that differ in CEL and are the same name in JSON: 1 and "1".
func sameText(entries []Entry) error {
	plain := true
	for i := range entries {
		plain = plain && entries[i].Key.kind == KindString
	}
	if plain {
		return nil
	}
	seen := make(map[string]struct{}, len(entries))
	for _, e := range entries {
		name, err := keyText(e.Key)
		if err != nil {
			return err
		}
		if _, twice := seen[name]; twice {
			return &Error{Code: Unprocessable, Err: fmt.Errorf("two keys of a map are both written as %q in JSON", name)}
		}
		seen[name] = struct{}{}
	}
	return nil
}

// keyText is the name that a key of a map gets in JSON.
func keyText(k Value) (string, error) {
	switch k.kind {
	case KindString:
		return k.Str(), nil
	case KindInt:
		return strconv.FormatInt(k.Int(), 10), nil
	case KindUint:
		return strconv.FormatUint(k.Uint(), 10), nil
	case KindBool:
		return strconv.FormatBool(k.Bool()), nil
	case KindNode:
		if d, n := k.Node(); d.Kind(n) == jsonview.String {
			return d.Str(n, nil), nil
		} else if i, ok := d.Int(n); ok {
			return strconv.FormatInt(i, 10), nil
		}
	}
	return "", &Error{Code: Unprocessable, Err: errors.New("a key of a map is no bool, int, uint or string")}
}

// within puts the place of an element before the path of its error.
func within(err error, at string) error {
	var e *Error
	if !errors.As(err, &e) || error(e) != err {
		return &Error{Code: CodeOf(err), Path: at, Err: err}
	}
	c := *e
	switch {
	case c.Path == "":
		c.Path = at
	case c.Path[0] == '[':
		c.Path = at + c.Path
	default:
		c.Path = at + "." + c.Path
	}
	return &c
}

// appendDuration writes seconds, exactly, without trailing zeros: 3.5s, -0.000000001s, 0s.
func appendDuration(dst []byte, d time.Duration) []byte {
	u := uint64(d)
	if d < 0 {
		dst = append(dst, '-')
		u = -u
	}
	dst = strconv.AppendUint(dst, u/1e9, 10)
	if nanos := u % 1e9; nanos != 0 {
		var room [10]byte
		room[0] = '.'
		for i := 9; i > 0; i-- {
			room[i] = byte('0' + nanos%10)
			nanos /= 10
		}
		end := len(room)
		for room[end-1] == '0' {
			end--
		}
		dst = append(dst, room[:end]...)
	}
	return append(dst, 's')
}

// appendDecimal writes a decimal with all its digits. A scale below 0 is written as zeros while that is short,
// else as an exponent, which JSON allows too.
func appendDecimal(dst []byte, d Decimal) []byte {
	var room [24]byte
	var digits []byte
	if d.big != nil {
		digits = d.big.Append(room[:0], 10)
	} else {
		digits = strconv.AppendInt(room[:0], d.coef, 10)
	}
	if digits[0] == '-' {
		dst = append(dst, '-')
		digits = digits[1:]
	}
	const plainZeros = 40 // beyond so many zeros the exponent is the honest form
	point := len(digits) - int(d.scale)
	switch {
	case d.scale == 0 || len(digits) == 1 && digits[0] == '0' && d.scale < 0:
		return append(dst, digits...)
	case d.scale < 0 && d.scale >= -plainZeros:
		dst = append(dst, digits...)
		for range -d.scale {
			dst = append(dst, '0')
		}
		return dst
	case d.scale > 0 && point > 0:
		dst = append(dst, digits[:point]...)
		dst = append(dst, '.')
		return append(dst, digits[point:]...)
	case d.scale > 0 && point > -plainZeros:
		dst = append(dst, '0', '.')
		for range -point {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	dst = append(dst, digits...)
	dst = append(dst, 'e')
	return strconv.AppendInt(dst, -int64(d.scale), 10)
}
