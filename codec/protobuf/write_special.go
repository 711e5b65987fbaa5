package protobuf

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"strings"
	"time"

	"penstock.dev/penstock/jsonview"
)

// pair of numbers: of a Timestamp or Duration.
func appendSeconds(dst []byte, seconds, nanos int64) []byte {
	if seconds != 0 {
		dst = appendVarint(append(dst, 1<<3|wireVarint), uint64(seconds))
	}
	if nanos != 0 {
		dst = appendVarint(append(dst, 2<<3|wireVarint), uint64(nanos))
	}
	return dst
}

// writeSpecial appends a message that documents show in a way of its own.
func (m *message) writeSpecial(w *writing, dst []byte, v jsonview.Node) ([]byte, *misfit) {
	d := w.d
	switch m.as {
	case timestamp:
		if d.Kind(v) == jsonview.String {
			if t, err := time.Parse(time.RFC3339Nano, d.Str(v, nil)); err == nil && t.Unix() >= firstSecond && t.Unix() <= lastSecond {
				return appendSeconds(dst, t.Unix(), int64(t.Nanosecond())), nil
			}
		}
		return dst, wants("a time as in RFC 3339", d, v)
	case duration:
		if d.Kind(v) == jsonview.String {
			if seconds, nanos, ok := parseDuration(d.Str(v, nil)); ok {
				return appendSeconds(dst, seconds, nanos), nil
			}
		}
		return dst, wants("a duration in seconds, such as 1.5s", d, v)
	case wrapper:
		return m.fields[0].write(w, dst, v)
	case structMessage:
		return m.fields[0].writeMap(w, dst, v)
	case listValue:
		return m.fields[0].writeList(w, dst, v)
	case structValue:
		return m.writeValue(w, dst, v)
	case fieldMask:
		if d.Kind(v) != jsonview.String {
			return dst, wants("paths with commas between them", d, v)
		}
		for p := range strings.SplitSeq(d.Str(v, nil), ",") {
			if p != "" {
				p = snake(p)
				dst = append(appendVarint(append(dst, m.fields[0].tag...), uint64(len(p))), p...)
			}
		}
		return dst, nil
	}
	return m.writeAny(w, dst, v)
}

// writeValue appends a google.protobuf.Value: whatever there is.
func (m *message) writeValue(w *writing, dst []byte, v jsonview.Node) ([]byte, *misfit) {
	d := w.d
	num := map[jsonview.Kind]int32{jsonview.Null: 1, jsonview.Number: 2, jsonview.String: 3, jsonview.True: 4, jsonview.False: 4, jsonview.Object: 5, jsonview.Array: 6}[d.Kind(v)]
	switch num {
	case 0:
		return dst, wants("a value of JSON", d, v)
	case 2: // here a number is never one that is written as text
		f, ok := d.Float(v)
		if !ok || math.IsInf(f, 0) {
			return dst, wants("a number", d, v)
		}
		return binary.LittleEndian.AppendUint64(append(dst, 2<<3|wireFixed8), math.Float64bits(f)), nil
	}
	f := &m.fields[m.at(num)]
	return f.value(w, append(dst, f.tag...), v)
}

// writeAny appends a google.protobuf.Any.
func (m *message) writeAny(w *writing, dst []byte, v jsonview.Node) ([]byte, *misfit) {
	d := w.d
	if d.Kind(v) != jsonview.Object {
		return dst, wants("an object with the type of a message in `@type`", d, v)
	}
	if d.Len(v) == 0 {
		return dst, nil
	}
	at := d.Field(v, "@type", nil)
	if d.Kind(at) != jsonview.String {
		return dst, &misfit{text: "the schema wants the type of a message in `@type`, and there is none"}
	}
	url := d.Str(at, nil)
	if url != "" {
		dst = append(appendVarint(append(dst, m.fields[0].tag...), uint64(len(url))), url...)
	}
	in := m.inside(url)
	value := d.Field(v, "value", nil)
	if in == nil {
		raw, err := base64.StdEncoding.DecodeString(d.Str(value, nil))
		if d.Kind(value) != jsonview.String || err != nil || d.Len(v) != 2 {
			return dst, &misfit{text: "the schema knows no message " + url + ": its bytes are wanted in `value`, as base64, and nothing else"}
		}
		if len(raw) == 0 {
			return dst, nil
		}
		return append(appendVarint(append(dst, m.fields[1].tag...), uint64(len(raw))), raw...), nil
	}
	mark := len(dst)
	dst = append(append(dst, m.fields[1].tag...), 0)
	begin := len(dst)
	var bad *misfit
	switch {
	case in.as == plain:
		dst, bad = in.object(w, dst, v, "@type")
	case value == jsonview.None:
		return dst, &misfit{text: "the schema wants a " + in.name + " in `value`, and there is none"}
	default:
		if dst, bad = in.body(w, dst, value); bad != nil {
			bad = bad.at(".value")
		}
	}
	if bad != nil {
		return dst, bad
	}
	if len(dst) == begin {
		return dst[:mark], nil
	}
	return lengthBefore(dst, begin), nil
}
