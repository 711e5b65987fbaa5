package protobuf

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// of is the last value of a field, nil where there is none.
func (m *message) of(es []entry, num int32) *entry {
	i := m.at(num)
	for k := len(es) - 1; k >= 0; k-- {
		if es[k].field == i {
			return &es[k]
		}
	}
	return nil
}

// all are the values of a field.
func (m *message) all(es []entry, num int32) []entry {
	i := m.at(num)
	a := 0
	for a < len(es) && es[a].field != i {
		a++
	}
	b := a
	for b < len(es) && es[b].field == i {
		b++
	}
	return es[a:b]
}

// special appends a message that documents show in a way of its own (ProtoJSON).
func (m *message) special(r *reading, dst []byte, es []entry, start int) []byte {
	switch m.as {
	case timestamp, duration:
		var seconds, nanos int64
		if e := m.of(es, 1); e != nil {
			seconds = int64(e.v)
		}
		if e := m.of(es, 2); e != nil {
			nanos = int64(int32(e.v))
		}
		var ok bool
		if m.as == timestamp {
			dst, ok = appendTimestamp(dst, seconds, nanos)
		} else {
			dst, ok = appendDuration(dst, seconds, nanos)
		}
		if !ok {
			r.fail(penstock.Unprocessable, start, fmt.Sprintf("%d seconds and %d nanoseconds are no %s", seconds, nanos, m.name))
		}
		return dst
	case wrapper:
		if e := m.of(es, 1); e != nil {
			return m.fields[0].append(r, dst, e)
		}
		return m.fields[0].zeroOf(dst)
	case structMessage:
		return m.fields[0].appendMap(r, dst, es)
	case listValue:
		return m.fields[0].appendList(r, dst, es)
	case structValue:
		return m.value(r, dst, es)
	case fieldMask:
		dst = append(dst, '"')
		var names []string
		for _, e := range es {
			names = append(names, camel(text2string(r.src[e.start:e.end])))
		}
		text := jsonview.AppendString(nil, strings.ToValidUTF8(strings.Join(names, ","), "\ufffd"))
		return append(dst, text[1:]...)
	}
	return m.any(r, dst, es, start)
}

// value appends a google.protobuf.Value.
func (m *message) value(r *reading, dst []byte, es []entry) []byte {
	if len(es) == 0 {
		return append(dst, "null"...)
	}
	e := &es[len(es)-1]
	f := &m.fields[e.field]
	if f.kind == protoreflect.DoubleKind {
		if v := math.Float64frombits(e.v); math.IsNaN(v) || math.IsInf(v, 0) {
			r.fail(penstock.Unprocessable, int(e.at), fmt.Sprintf("a google.protobuf.Value is %v, which no document can hold", v))
			return dst
		}
	}
	if same := m.all(es, f.num); f.msg != nil && len(same) > 1 {
		return f.appendMerged(r, dst, same)
	}
	return f.append(r, dst, e)
}

// any appends a google.protobuf.Any: the message with its type in `@type`, or, of a type that the schema doesn't know, its bytes in `value`.
func (m *message) any(r *reading, dst []byte, es []entry, start int) []byte {
	url, value := m.of(es, 1), m.of(es, 2)
	if url == nil && value == nil {
		return append(dst, "{}"...)
	}
	var name string
	dst = append(dst, `{"@type":`...)
	if url == nil {
		dst = append(dst, `""`...)
	} else {
		name = text2string(r.src[url.start:url.end])
		if dst = m.fields[0].string(r, dst, url); r.failed() {
			return dst
		}
	}
	dst = append(dst, ',')
	if value == nil {
		value = &entry{}
	}
	in := m.inside(name)
	switch {
	case in == nil:
		dst = append(dst, `"value":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, r.src[value.start:value.end])
		return append(dst, '"', '}')
	case in.as != plain:
		dst = append(dst, `"value":`...)
		return append(in.append(r, dst, int(value.start), int(value.end)), '}')
	}
	if r.depth++; r.depth > maxDepth {
		r.fail(penstock.Invalid, start, fmt.Sprintf("it is nested more than %d deep", maxDepth))
		return dst
	}
	base := len(r.entries)
	sorted, ok := r.scan(in, int(value.start), int(value.end))
	if !ok {
		return dst
	}
	if !sorted {
		r.order(in, base)
	}
	dst = in.members(r, dst, base, start)
	r.entries = r.entries[:base]
	r.depth--
	if r.failed() {
		return dst
	}
	return closed(dst, '}')
}

// inside is the message that the URL of an Any names, nil where it isn't known.
func (m *message) inside(url string) *message {
	in, err := m.known(url[strings.LastIndexByte(url, '/')+1:])
	if err != nil {
		return nil
	}
	return in
}

// The first and the last second that a Timestamp may be: those of the years 1 to 9999.
const (
	firstSecond = -62135596800
	lastSecond  = 253402300799
	// mostSeconds is the longest Duration: 10000 years.
	mostSeconds = 315576000000
)

func appendTimestamp(dst []byte, seconds, nanos int64) ([]byte, bool) {
	if seconds < firstSecond || seconds > lastSecond || nanos < 0 || nanos >= 1e9 {
		return dst, false
	}
	return time.Unix(seconds, nanos).UTC().AppendFormat(dst, `"2006-01-02T15:04:05.999999999Z"`), true
}

func appendDuration(dst []byte, seconds, nanos int64) ([]byte, bool) {
	if seconds < -mostSeconds || seconds > mostSeconds || nanos <= -1e9 || nanos >= 1e9 || seconds < 0 && nanos > 0 || seconds > 0 && nanos < 0 {
		return dst, false
	}
	dst = append(dst, '"')
	if seconds < 0 || nanos < 0 {
		dst, seconds, nanos = append(dst, '-'), -seconds, -nanos
	}
	dst = strconv.AppendInt(dst, seconds, 10)
	if nanos > 0 {
		digits := strconv.FormatInt(1e9+nanos, 10)[1:]
		dst = append(append(dst, '.'), strings.TrimRight(digits, "0")...)
	}
	return append(dst, 's', '"'), true
}

// parseDuration reads the seconds of a Duration: 1.5s.
func parseDuration(s string) (seconds, nanos int64, ok bool) {
	s, ok = strings.CutSuffix(s, "s")
	s, negative := strings.CutPrefix(s, "-")
	whole, part, _ := strings.Cut(s, ".")
	seconds, err := strconv.ParseInt(whole, 10, 64)
	if !ok || err != nil || len(part) > 9 || strings.Trim(part, "0123456789") != "" || whole[0] == '+' || whole[0] == '-' || seconds > mostSeconds {
		return 0, 0, false
	}
	if part != "" {
		nanos, _ = strconv.ParseInt((part + "000000000")[:9], 10, 64)
	}
	if negative {
		seconds, nanos = -seconds, -nanos
	}
	return seconds, nanos, true
}

// camel makes a path of field names one of JSON's: a_b.c_d is aB.cD.
func camel(s string) string {
	var out strings.Builder
	up := false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_':
			up = true
			continue
		case up && c >= 'a' && c <= 'z':
			out.WriteByte(c - 'a' + 'A')
		default:
			out.WriteByte(c)
		}
		up = false
	}
	return out.String()
}

// snake is the way back.
func snake(s string) string {
	var out strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			out.WriteByte('_')
			out.WriteByte(c - 'A' + 'a')
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}
