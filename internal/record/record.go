// Package record is a message as bytes: how it stands in channels, at stage boundaries and among dead letters.
//
// A record carries the body in its format, the key, the headers, where asked for the variables by their names, when it
// was appended, when it happened, and the origin. Values keep their kind exactly. The first byte is the version of
// the layout, so that a newer program can read what an older one left.
//
// What is made of a record aliases it: the bytes must stay as they are for as long as the View, the message, or any value
// of it is used. A delivery of a channel is good for that until it is acknowledged.
//
// # Layout, version 1
//
//	byte    version, 1
//	byte    bits 0-1 format of the body (0 JSON, 1 text, 2 binary); 2 event time, 3 origin, 4 headers, 5 variables, 6 flags
//	8 bytes when it was appended, Unix nanoseconds, little-endian
//	string  key                     a string is its length as a varint, and its bytes
//	12 bytes event time: Unix seconds and nanoseconds, little-endian      where bit 2 is set
//	string  origin                                                        … bit 3
//	byte    flags                                                         … bit 6
//	headers: their number as a varint, then for each its name and value   … bit 4
//	variables: the same                                                   … bit 5
//	body, to the end
package record

import (
	"encoding/binary"
	"errors"
	"time"
	"unicode/utf8"
	"unsafe"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Header is what a record says besides the message that it is made of.
type Header struct {
	Time   int64  // when it is appended, Unix nanoseconds of the engine's clock
	Origin string // of what it was made: "orders.csv:17", "orders@123"
	Flags  uint8  // the engine's own; carried as they are
	// What stands in place of the message's own.
	Key       string         // "": the message's Key
	EventTime time.Time      // zero: the message's Time
	Body      *jsonview.Doc  // nil: the message's Body
	Meta      *penstock.Meta // nil: the message's Meta
}

// version is the first byte of a record.
const version = 1

// The bits of the second byte.
const (
	formatBits   = 3
	formatJSON   = 0
	formatText   = 1
	formatBinary = 2
	hasEvent     = 1 << 2
	hasOrigin    = 1 << 3
	hasMeta      = 1 << 4
	hasVars      = 1 << 5
	hasFlags     = 1 << 6
)

// ErrDamaged says that bytes are no record.
var ErrDamaged = errors.New("the record is damaged")

// ErrVersion says that a newer version wrote the record.
var ErrVersion = errors.New("the record was written by a newer version of Penstock")

// Append appends the record of m to dst. vars names the variables by their slots: those that are not absent are carried, under
// their names; one named "" is not, nor is any where vars is nil (what goes into a channel). It allocates nothing but what dst needs; a
// CSV row that nothing has read yet is cut into cells for it.
//
// A JSON body is carried as it came, whatever it is, a record (a CSV row) as its JSON text. What can't be read as a record
// is carried as text, or as binary where it is not UTF-8. m is only read, and not kept.
func Append(dst []byte, h Header, m *penstock.Message, vars []string) []byte {
	d := Draft{Time: h.Time, EventTime: h.EventTime, Key: h.Key, Origin: h.Origin, Flags: h.Flags}
	if d.Key == "" {
		d.Key = m.Key
	}
	if d.EventTime.IsZero() {
		d.EventTime = m.Time
	}
	body, meta := h.Body, h.Meta
	if body == nil {
		body = m.Body
	}
	if meta == nil {
		meta = &m.Meta
	}
	d.Format = formatOf(body)
	n := 0
	for i := range min(len(vars), len(m.Vars)) {
		if vars[i] != "" && !m.Vars[i].IsAbsent() {
			n++
		}
	}
	entries := meta.Entries()
	dst = d.head(dst, len(entries) > 0, n > 0)
	if len(entries) > 0 {
		dst = binary.AppendUvarint(dst, uint64(len(entries)))
		for i := range entries {
			dst = appendString(dst, entries[i].Name)
			dst = appendValue(dst, entries[i].Value, 0)
		}
	}
	if n > 0 {
		dst = binary.AppendUvarint(dst, uint64(n))
		for i := range min(len(vars), len(m.Vars)) {
			if vars[i] != "" && !m.Vars[i].IsAbsent() {
				dst = appendString(dst, vars[i])
				dst = appendValue(dst, m.Vars[i], 0)
			}
		}
	}
	if body == nil {
		return append(dst, "null"...)
	}
	if body.Format() == jsonview.Record && d.Format == jsonview.JSON {
		return body.AppendJSON(dst, 0)
	}
	return append(dst, body.Bytes()...)
}

// formatOf says how a body is carried.
func formatOf(body *jsonview.Doc) jsonview.Format {
	if body == nil {
		return jsonview.JSON
	}
	if f := body.Format(); f != jsonview.Record {
		return f
	}
	if body.Parsed() && body.Parse(jsonview.Limits{}) != nil { // what it found before
		if utf8.Valid(body.Bytes()) {
			return jsonview.Text
		}
		return jsonview.Binary
	}
	return jsonview.JSON
}

// Draft is a record that is about to be made: of nothing, or of another one with some of it changed (see [View.Draft]).
type Draft struct {
	Time      int64 // when it is appended, Unix nanoseconds
	EventTime time.Time
	Key       string
	Origin    string
	Flags     uint8
	Format    jsonview.Format // JSON, Text or Binary
	Body      []byte          // in this format
	// Meta are headers to add to those of the record that it is made of, or in place of those with their names; one that is
	// Absent is removed. Names are lower-case.
	Meta []penstock.MetaEntry
	// NoMeta and NoVars leave out the headers and the variables of the record that it is made of.
	NoMeta, NoVars bool

	of View
}

// Draft begins a record that is made of v: it has all that v has, until it is changed. It aliases v.
func (v View) Draft() Draft {
	return Draft{Time: v.time, EventTime: v.event, Key: v.key, Origin: v.origin, Flags: v.flags, Format: v.format, Body: v.body, of: v}
}

// Append appends the record to dst, which must not overlap what the draft was made of.
func (d Draft) Append(dst []byte) []byte {
	kept, n := d.of.metas, 0
	if d.NoMeta {
		kept = entries{}
	}
	for it := kept.iterate(); it.next(); {
		if !d.replaces(it.name) {
			n++
		}
	}
	for i := range d.Meta {
		if !d.Meta[i].Value.IsAbsent() {
			n++
		}
	}
	vars := d.of.vars
	if d.NoVars {
		vars = entries{}
	}
	dst = d.head(dst, n > 0, vars.n > 0)
	if n > 0 {
		dst = binary.AppendUvarint(dst, uint64(n))
		for it := kept.iterate(); it.next(); {
			if !d.replaces(it.name) {
				dst = appendString(dst, it.name)
				dst = append(dst, it.value...)
			}
		}
		for i := range d.Meta {
			if !d.Meta[i].Value.IsAbsent() {
				dst = appendString(dst, d.Meta[i].Name)
				dst = appendValue(dst, d.Meta[i].Value, 0)
			}
		}
	}
	if vars.n > 0 {
		dst = binary.AppendUvarint(dst, uint64(vars.n))
		dst = append(dst, vars.data...)
	}
	return append(dst, d.Body...)
}

// replaces says that the draft has a header of its own of this name.
func (d *Draft) replaces(name string) bool {
	for i := range d.Meta {
		if d.Meta[i].Name == name {
			return true
		}
	}
	return false
}

// head appends all that stands before the headers.
func (d *Draft) head(dst []byte, meta, vars bool) []byte {
	bits := byte(formatJSON)
	switch d.Format {
	case jsonview.Text:
		bits = formatText
	case jsonview.Binary:
		bits = formatBinary
	}
	set := func(bit byte, on bool) {
		if on {
			bits |= bit
		}
	}
	set(hasEvent, !d.EventTime.IsZero())
	set(hasOrigin, d.Origin != "")
	set(hasFlags, d.Flags != 0)
	set(hasMeta, meta)
	set(hasVars, vars)
	dst = append(dst, version, bits)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.Time))
	dst = appendString(dst, d.Key)
	if bits&hasEvent != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(d.EventTime.Unix()))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(d.EventTime.Nanosecond()))
	}
	if d.Origin != "" {
		dst = appendString(dst, d.Origin)
	}
	if d.Flags != 0 {
		dst = append(dst, d.Flags)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// text is b as a string that aliases it.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
