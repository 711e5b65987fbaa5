package record

import (
	"encoding/binary"
	"fmt"
	"iter"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// View reads a record where it lies. It is immutable; what it returns aliases the record.
type View struct {
	time   int64
	event  time.Time
	key    string
	origin string
	metas  entries
	vars   entries
	body   []byte
	format jsonview.Format
	flags  uint8
}

// entries are names with values, checked.
type entries struct {
	n    int
	data []byte
}

// Parse checks all of a record but the JSON text in it, and allocates nothing. The error is ErrDamaged or
// ErrVersion, with what is wrong.
func Parse(rec []byte) (View, error) {
	var v View
	r := reader{Fields: Fields{Rest: rec}}
	head := r.take(10)
	if head == nil {
		return View{}, damaged("it is shorter than any can be")
	}
	if head[0] != version {
		if head[0] == 0 {
			return View{}, damaged("it has no version")
		}
		return View{}, fmt.Errorf("%w: version %d of its layout; this one knows %d", ErrVersion, head[0], version)
	}
	bits := head[1]
	switch bits & formatBits {
	case formatJSON:
		v.format = jsonview.JSON
	case formatText:
		v.format = jsonview.Text
	case formatBinary:
		v.format = jsonview.Binary
	default:
		return View{}, damaged("its format is not known")
	}
	if bits&0x80 != 0 {
		return View{}, damaged("it has parts that are not known")
	}
	v.time = int64(binary.LittleEndian.Uint64(head[2:]))
	v.key = text(r.Bytes())
	if bits&hasEvent != 0 {
		if b := r.take(12); b != nil {
			nanos := binary.LittleEndian.Uint32(b[8:])
			if nanos >= 1e9 {
				return View{}, damaged("its time is none")
			}
			v.event = time.Unix(int64(binary.LittleEndian.Uint64(b)), int64(nanos)).UTC()
		}
	}
	if bits&hasOrigin != 0 {
		v.origin = text(r.Bytes())
	}
	if bits&hasFlags != 0 {
		if b := r.take(1); b != nil {
			v.flags = b[0]
		}
	}
	if bits&hasMeta != 0 {
		v.metas = r.entries()
	}
	if bits&hasVars != 0 {
		v.vars = r.entries()
	}
	if r.Bad {
		return View{}, damaged("its parts don't come out even")
	}
	v.body = r.Rest
	return v, nil
}

func damaged(why string) error { return fmt.Errorf("%w: %s", ErrDamaged, why) }

// Key is the key of a record, without a look at the rest of it; "" where it has none, or is damaged. It aliases rec.
func Key(rec []byte) string {
	if len(rec) < 10 || rec[0] != version {
		return ""
	}
	r := reader{Fields: Fields{Rest: rec[10:]}}
	return text(r.Bytes())
}

// Time is when the record was appended, in Unix nanoseconds.
func (v View) Time() int64 { return v.time }

// EventTime is when the message happened, as its source knew, in UTC; zero if it didn't.
func (v View) EventTime() time.Time { return v.event }

// Key is the message's key; "" for none.
func (v View) Key() string { return v.key }

// Origin names what the message was made of.
func (v View) Origin() string { return v.origin }

// Flags are the engine's own.
func (v View) Flags() uint8 { return v.flags }

// Format says how Body is to be read: JSON, Text or Binary.
func (v View) Format() jsonview.Format { return v.format }

// Body is the body as it is carried. JSON may be anything that a source read: it was not checked.
func (v View) Body() []byte { return v.body }

// AppendBody appends the body as JSON text: text as a string, binary as base64. JSON is appended as it stands.
func (v View) AppendBody(dst []byte) []byte {
	if v.format == jsonview.JSON {
		return append(dst, v.body...)
	}
	var d jsonview.Doc
	d.Reset(v.format, v.body)
	return d.AppendJSON(dst, 0)
}

// Meta lists the headers in their order. JSON in them that is damaged reads as an error value.
func (v View) Meta() iter.Seq2[string, penstock.Value] { return v.metas.values() }

// Vars lists the variables that are carried.
func (v View) Vars() iter.Seq2[string, penstock.Value] { return v.vars.values() }

func (e entries) values() iter.Seq2[string, penstock.Value] {
	return func(yield func(string, penstock.Value) bool) {
		for it := e.iterate(); it.next(); {
			r := reader{Fields: Fields{Rest: it.value}}
			val := r.value(nil)
			if r.err != nil {
				val = penstock.ErrorValue(r.err)
			}
			if !yield(it.name, val) {
				return
			}
		}
	}
}

// Message appends a message to b that is what the record was made of: body, key, headers, Time (the event time), and the
// variables that vars names, by their slots; a variable of another name is left out. Vars is len(vars) long, what the record does not carry is Absent. Pos, Seq and Lineage
// are the caller's.
//
// The message aliases the record: body, key, names and strings. Documents of variables and headers live as long as the
// batch, lists and maps on the heap. On an error, which says that JSON in the record is damaged, b is as it was but for the
// memory used.
func (v View) Message(b *penstock.Batch, vars []string) (*penstock.Message, error) {
	m := b.NewMessage()
	m.Key, m.Time = v.key, v.event
	m.Body.Reset(v.format, v.body)
	for it := v.metas.iterate(); it.next(); {
		r := reader{Fields: Fields{Rest: it.value}}
		m.Meta.Add(it.name, r.value(b))
		if r.err != nil {
			return nil, fmt.Errorf("header %q: %w", it.name, r.err)
		}
	}
	if n := len(vars); n > 0 {
		if cap(m.Vars) < n {
			m.Vars = make([]penstock.Value, n)
		}
		m.Vars = m.Vars[:n]
		clear(m.Vars)
		slot := 0
		for it := v.vars.iterate(); it.next(); {
			if slot = find(vars, it.name, slot); slot < 0 {
				slot = 0
				continue
			}
			r := reader{Fields: Fields{Rest: it.value}}
			m.Vars[slot] = r.value(b)
			if r.err != nil {
				return nil, fmt.Errorf("variable %q: %w", it.name, r.err)
			}
		}
	}
	b.Msgs = append(b.Msgs, m)
	return m, nil
}

// find finds name from a slot on, and around: records carry their variables in the order of the slots.
func find(vars []string, name string, from int) int {
	for i := range vars {
		at := from + i
		if at >= len(vars) {
			at -= len(vars)
		}
		if vars[at] == name {
			return at
		}
	}
	return -1
}

// iterator goes through entries that were checked.
type iterator struct {
	r     reader
	n     int
	name  string
	value []byte
}

func (e entries) iterate() iterator { return iterator{r: reader{Fields: Fields{Rest: e.data}}, n: e.n} }

func (it *iterator) next() bool {
	if it.n == 0 {
		return false
	}
	it.n--
	it.name = text(it.r.Bytes())
	from := it.r.Rest
	it.r.skip(0)
	it.value = from[:len(from)-len(it.r.Rest)]
	return !it.r.Bad
}

// ID names a message of a channel by its position, as origins and identities have it: "orders@123".
func ID(channel string, pos int64) string { return channel + "@" + strconv.FormatInt(pos, 10) }
