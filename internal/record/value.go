package record

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// The tags of values. They stand in files: a number is never used again for something else.
const (
	tagAbsent    = 0
	tagNull      = 1
	tagFalse     = 2
	tagTrue      = 3
	tagInt       = 4  // zigzag varint
	tagUint      = 5  // varint
	tagDouble    = 6  // 8 bytes, little-endian
	tagNumber    = 7  // the same, and the text that it was read from, a JSON number
	tagDecimal   = 8  // its text
	tagString    = 9  // string
	tagBytes     = 10 // string
	tagTimestamp = 11 // seconds as a zigzag varint, nanoseconds as a varint
	tagDuration  = 12 // nanoseconds, zigzag varint
	tagList      = 13 // number of elements, elements
	tagMap       = 14 // number of entries, keys and values
	tagOptional  = 15 // value
	tagType      = 16 // string
	tagError     = 17 // five strings: code, op, path, hint, message
	tagNode      = 18 // 4 bytes, little-endian: length; JSON text
)

// maxNesting is how deep lists, maps and optionals may nest: what is deeper is carried as an error.
const maxNesting = 10_000

// appendValue appends a value with its tag.
func appendValue(dst []byte, v penstock.Value, depth int) []byte {
	if depth > maxNesting {
		v = penstock.ErrorValue(penstock.E(penstock.TooLarge, "store", "", "the value is nested more than 10000 deep"))
	}
	switch v.Kind() {
	case penstock.KindNull:
		return append(dst, tagNull)
	case penstock.KindBool:
		if v.Bool() {
			return append(dst, tagTrue)
		}
		return append(dst, tagFalse)
	case penstock.KindInt:
		return binary.AppendVarint(append(dst, tagInt), v.Int())
	case penstock.KindUint:
		return binary.AppendUvarint(append(dst, tagUint), v.Uint())
	case penstock.KindDouble:
		if t := v.NumberText(); t != "" {
			dst = binary.LittleEndian.AppendUint64(append(dst, tagNumber), math.Float64bits(v.Double()))
			return appendString(dst, t)
		}
		return binary.LittleEndian.AppendUint64(append(dst, tagDouble), math.Float64bits(v.Double()))
	case penstock.KindDecimal:
		return appendDecimal(append(dst, tagDecimal), v.Decimal())
	case penstock.KindString:
		return appendString(append(dst, tagString), v.Str())
	case penstock.KindType:
		return appendString(append(dst, tagType), v.Str())
	case penstock.KindBytes:
		return appendString(append(dst, tagBytes), text(v.Bytes()))
	case penstock.KindTimestamp:
		t := v.Timestamp()
		return binary.AppendUvarint(binary.AppendVarint(append(dst, tagTimestamp), t.Unix()), uint64(t.Nanosecond()))
	case penstock.KindDuration:
		return binary.AppendVarint(append(dst, tagDuration), int64(v.Duration()))
	case penstock.KindList:
		elems := v.List().Elems
		dst = binary.AppendUvarint(append(dst, tagList), uint64(len(elems)))
		for i := range elems {
			dst = appendValue(dst, elems[i], depth+1)
		}
		return dst
	case penstock.KindMap:
		all := v.Map().Entries
		dst = binary.AppendUvarint(append(dst, tagMap), uint64(len(all)))
		for i := range all {
			dst = appendValue(dst, all[i].Key, depth+1)
			dst = appendValue(dst, all[i].Value, depth+1)
		}
		return dst
	case penstock.KindOptional:
		return appendValue(append(dst, tagOptional), v.Optional(), depth+1)
	case penstock.KindError:
		return appendError(append(dst, tagError), v.Err())
	case penstock.KindNode:
		return appendNode(dst, v)
	}
	return append(dst, tagAbsent)
}

// appendNode appends the JSON text of a node. Opaque bytes have none: they are a value, as when they are read.
func appendNode(dst []byte, v penstock.Value) []byte {
	d, n := v.Node()
	switch {
	case d.Format() == jsonview.Binary && n == 0:
		return appendString(append(dst, tagBytes), text(d.Bytes()))
	case !d.Parsed() && n == 0 && (d.Format() != jsonview.JSON || jsonview.Valid(d.Bytes())):
	case d.Kind(n) == jsonview.Invalid:
		return append(dst, tagAbsent) // as it reads
	}
	dst = append(dst, tagNode, 0, 0, 0, 0)
	from := len(dst)
	dst = d.AppendJSON(dst, n)
	binary.LittleEndian.PutUint32(dst[from-4:], uint32(len(dst)-from))
	return dst
}

// appendDecimal appends the text of d, with an exponent where zeros before the point are not held as digits.
func appendDecimal(dst []byte, d penstock.Decimal) []byte {
	var buf [64]byte
	t := d.AppendText(buf[:0])
	if zeros := -d.Scale(); zeros > 0 {
		plain := true
		for _, c := range t {
			plain = plain && c != 'e'
		}
		if plain {
			if d.Sign() != 0 {
				t = t[:len(t)-zeros]
			}
			t = strconv.AppendInt(append(t, 'e'), int64(zeros), 10)
		}
	}
	return append(binary.AppendUvarint(dst, uint64(len(t))), t...)
}

func appendError(dst []byte, err error) []byte {
	var hint, op, path string
	message := err.Error()
	if e, ok := err.(*penstock.Error); ok { //nolint:errorlint // what wraps it has its text in the message
		op, path, hint, message = e.Op, e.Path, e.Hint, ""
		if e.Err != nil {
			message = e.Err.Error()
		}
	}
	for _, s := range [...]string{string(penstock.CodeOf(err)), op, path, hint, message} {
		dst = appendString(dst, s)
	}
	return dst
}

// reader cuts bytes. What does not fit sets Bad, and gives nothing from then on.
type reader struct {
	Fields
	err error // of value: JSON that is damaged
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.Rest) {
		r.fail()
		return nil
	}
	b := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return b
}

// count reads a number of things that take at least size bytes each.
func (r *reader) count(size int) int {
	n := r.Uvarint()
	if n > uint64(len(r.Rest)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// entries checks names with values.
func (r *reader) entries() entries {
	e := entries{n: r.count(2)}
	from := r.Rest
	for range e.n {
		r.Bytes()
		r.skip(0)
		if r.Bad {
			return entries{}
		}
	}
	e.data = from[:len(from)-len(r.Rest)]
	return e
}

// skip checks a value, and goes behind it.
func (r *reader) skip(depth int) {
	tag := r.take(1)
	if tag == nil || depth > maxNesting+1 {
		r.fail()
		return
	}
	switch tag[0] {
	case tagAbsent, tagNull, tagFalse, tagTrue:
	case tagInt, tagDuration:
		r.Varint()
	case tagUint:
		r.Uvarint()
	case tagDouble:
		r.take(8)
	case tagNumber:
		r.take(8)
		r.Bytes()
	case tagDecimal, tagString, tagBytes, tagType:
		r.Bytes()
	case tagTimestamp:
		r.Varint()
		if r.Uvarint() >= 1e9 {
			r.fail()
		}
	case tagList:
		for n := r.count(1); n > 0 && !r.Bad; n-- {
			r.skip(depth + 1)
		}
	case tagMap:
		for n := 2 * r.count(2); n > 0 && !r.Bad; n-- {
			r.skip(depth + 1)
		}
	case tagOptional:
		r.skip(depth + 1)
	case tagError:
		for range 5 {
			r.Bytes()
		}
	case tagNode:
		r.node()
	default:
		r.fail()
	}
}

func (r *reader) node() []byte {
	b := r.take(4)
	if b == nil {
		return nil
	}
	n := binary.LittleEndian.Uint32(b)
	if uint64(n) > uint64(len(r.Rest)) {
		r.fail()
		return nil
	}
	return r.take(int(n))
}

// value reads a value that was checked. Documents are made in b, or on the heap where it is nil.
func (r *reader) value(b *penstock.Batch) penstock.Value {
	tag := r.take(1)
	if tag == nil {
		return penstock.Absent
	}
	switch tag[0] {
	case tagNull:
		return penstock.Null
	case tagFalse:
		return penstock.False
	case tagTrue:
		return penstock.True
	case tagInt:
		return penstock.IntValue(r.Varint())
	case tagUint:
		return penstock.UintValue(r.Uvarint())
	case tagDouble:
		return penstock.DoubleValue(r.double())
	case tagNumber:
		f, t := r.double(), r.Bytes()
		if !isNumber(t) {
			r.err = damaged("a number is none")
			return penstock.DoubleValue(f)
		}
		return penstock.DoubleTextValue(f, t)
	case tagDecimal:
		d, err := penstock.ParseDecimal(text(r.Bytes()))
		if err != nil {
			r.err = damaged("a decimal number is none")
		}
		return penstock.DecimalValue(d)
	case tagString:
		return penstock.StringValue(text(r.Bytes()))
	case tagType:
		return penstock.TypeValue(text(r.Bytes()))
	case tagBytes:
		return penstock.BytesValue(r.Bytes())
	case tagTimestamp:
		return penstock.TimestampValue(time.Unix(r.Varint(), int64(r.Uvarint())))
	case tagDuration:
		return penstock.DurationValue(time.Duration(r.Varint()))
	case tagList:
		l := &penstock.List{Elems: make([]penstock.Value, r.count(1))}
		for i := range l.Elems {
			l.Elems[i] = r.value(b)
		}
		return penstock.ListValue(l)
	case tagMap:
		m := &penstock.Map{Entries: make([]penstock.Entry, r.count(2))}
		for i := range m.Entries {
			m.Entries[i].Key = r.value(b)
			m.Entries[i].Value = r.value(b)
		}
		return penstock.MapValue(m)
	case tagOptional:
		return penstock.OptionalValue(r.value(b))
	case tagError:
		return penstock.ErrorValue(r.error())
	case tagNode:
		return r.document(b)
	}
	return penstock.Absent
}

func (r *reader) double() float64 {
	b := r.take(8)
	if b == nil {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

// error reads an error; its strings are copied, as errors outlive messages.
func (r *reader) error() error {
	e := &penstock.Error{Code: penstock.Code(r.Bytes()), Op: string(r.Bytes()), Path: string(r.Bytes()), Hint: string(r.Bytes())}
	if message := string(r.Bytes()); message != "" {
		e.Err = errors.New(message)
	}
	return e
}

func (r *reader) document(b *penstock.Batch) penstock.Value {
	var d *jsonview.Doc
	if b != nil {
		d = b.NewDoc()
	} else {
		d = new(jsonview.Doc)
	}
	d.Reset(jsonview.JSON, r.node())
	if err := d.Parse(jsonview.Limits{MaxDepth: maxNesting, MaxBytes: math.MaxUint32 - 1}); err != nil {
		r.err = errors.Join(ErrDamaged, err)
	}
	return penstock.NodeValue(d, 0)
}

// isNumber says that t is a number as RFC 8259 §6 has it.
func isNumber(t []byte) bool {
	i := 0
	digits := func() bool {
		from := i
		for i < len(t) && t[i]-'0' < 10 {
			i++
		}
		return i > from
	}
	if i < len(t) && t[i] == '-' {
		i++
	}
	zero := i < len(t) && t[i] == '0'
	from := i
	if !digits() || zero && i > from+1 {
		return false
	}
	if i < len(t) && t[i] == '.' {
		if i++; !digits() {
			return false
		}
	}
	if i < len(t) && (t[i] == 'e' || t[i] == 'E') {
		if i++; i < len(t) && (t[i] == '+' || t[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(t)
}
