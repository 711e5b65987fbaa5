package sql

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// form is how a column's values are written in COPY's binary format, which costs the server a third less than text. What its receive functions take is
// described with them only (src/backend/utils/adt of PostgreSQL, *_recv), and is the same since version 8.4.
type form uint8

const (
	formNone form = iota // as text
	formText
	formInt2
	formInt4
	formInt8
	formFloat4
	formFloat8
	formNumeric
	formBool
	formTimestamptz
	formTimestamp
	formDate
	formUUID
	formJSON
	formJSONB
)

// forms are those of types that are PostgreSQL's own; a domain has that of the type below it.
var forms = map[uint32]form{
	pgtype.TextOID: formText, pgtype.VarcharOID: formText, pgtype.BPCharOID: formText,
	pgtype.Int2OID: formInt2, pgtype.Int4OID: formInt4, pgtype.Int8OID: formInt8, pgtype.Float4OID: formFloat4, pgtype.Float8OID: formFloat8,
	pgtype.NumericOID: formNumeric, pgtype.BoolOID: formBool, pgtype.TimestamptzOID: formTimestamptz, pgtype.TimestampOID: formTimestamp, pgtype.DateOID: formDate,
	pgtype.UUIDOID: formUUID, pgtype.JSONOID: formJSON, pgtype.JSONBOID: formJSONB,
}

// formsOf gives the form of each column; nil where one has none, and all are written as text.
func formsOf(into []target) []form {
	out := make([]form, len(into))
	for i := range into {
		if out[i] = forms[into[i].pg.oid]; out[i] == formNone || into[i].pg.elem != 0 {
			return nil
		}
	}
	return out
}

// binaryHead begins a COPY in binary format; binaryEnd ends it.
var (
	binaryHead = append([]byte("PGCOPY\n\xff\r\n\x00"), 0, 0, 0, 0, 0, 0, 0, 0)
	binaryEnd  = []byte{0xff, 0xff}
)

// addBinary appends one row in binary format, if it can: what is not written as the column's type has it (a number with an exponent, a time without
// a zone) is for the server to read, as text.
func (l *pgLoader) addBinary(dst []byte, d *jsonview.Doc, into []target, values []jsonview.Node) ([]byte, bool) {
	count := len(dst)
	dst = append(dst, 0, 0)
	n := 0
	if !l.direct() {
		n++
		dst = binary.BigEndian.AppendUint32(dst, 8)
		dst = binary.BigEndian.AppendUint64(dst, uint64(l.ordinal)) //nolint:gosec // its bits
	}
	if b := l.s.inbox; b != nil {
		n++
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.id)))
		dst = append(dst, b.id[:]...)
	}
	for i := range into {
		v := values[i]
		if v == jsonview.None {
			if into[i].bit == 0 {
				n++
				dst = append(dst, 0xff, 0xff, 0xff, 0xff)
			}
			continue
		}
		n++
		kind := d.Kind(v)
		if kind == jsonview.Null {
			dst = append(dst, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		size := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		var ok bool
		if dst, ok = l.appendBinary(dst, l.forms[i], d, v, kind, &into[i]); !ok {
			return dst, false
		}
		binary.BigEndian.PutUint32(dst[size:], uint32(len(dst)-size-4)) //nolint:gosec // smaller than a document may be
	}
	binary.BigEndian.PutUint16(dst[count:], uint16(n)) //nolint:gosec // a table has at most 1600 columns
	return dst, true
}

// appendBinary appends one value.
func (l *pgLoader) appendBinary(dst []byte, f form, d *jsonview.Doc, n jsonview.Node, kind jsonview.Kind, t *target) ([]byte, bool) {
	switch f {
	case formText:
		switch kind {
		case jsonview.String:
			return append(dst, d.Str(n, nil)...), true
		case jsonview.Number:
			return append(dst, d.Raw(n)...), true
		case jsonview.True:
			return append(dst, "true"...), true
		case jsonview.False:
			return append(dst, "false"...), true
		}
		return d.AppendJSON(dst, n), true
	case formJSONB:
		return d.AppendJSON(append(dst, 1), n), true // the format's version
	case formJSON:
		return d.AppendJSON(dst, n), true
	case formBool:
		switch kind {
		case jsonview.True:
			return append(dst, 1), true
		case jsonview.False:
			return append(dst, 0), true
		}
		return dst, false
	}
	switch kind {
	case jsonview.Number:
		return appendDigits(dst, f, d.Raw(n))
	case jsonview.String:
	default:
		return dst, false
	}
	text := d.Str(n, nil)
	switch f {
	case formInt2, formInt4, formInt8:
		return appendInt(dst, f, text)
	case formNumeric:
		return appendNumeric(dst, text)
	case formUUID:
		return appendUUID(dst, text)
	case formFloat4, formFloat8:
		return dst, false // NaN, Infinity
	}
	if at, ok := layoutTime(d, text, t.want); ok {
		var memory [len("2006-01-02T15:04:05.999999999Z")]byte
		text = string(penstock.AppendTimestamp(memory[:0], at))
	}
	return appendInstant(dst, f, text)
}

// appendDigits appends a number of JSON.
func appendDigits(dst []byte, f form, text []byte) ([]byte, bool) {
	switch f {
	case formInt2, formInt4, formInt8:
		return appendInt(dst, f, text)
	case formNumeric:
		return appendNumeric(dst, text)
	case formFloat4:
		v, err := strconv.ParseFloat(string(text), 32)
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(v))), err == nil
	case formFloat8:
		v, err := strconv.ParseFloat(string(text), 64)
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v)), err == nil
	}
	return dst, false
}

// appendInt appends a whole number that is in its type's range.
func appendInt[T string | []byte](dst []byte, f form, text T) ([]byte, bool) {
	from := 0
	if len(text) > 0 && text[0] == '-' {
		from = 1
	}
	if len(text) == from || len(text) > from+18 { // the last numbers of int8 are for the server to read
		return dst, false
	}
	v := int64(0)
	for i := from; i < len(text); i++ {
		c := text[i] - '0'
		if c > 9 {
			return dst, false
		}
		v = v*10 + int64(c)
	}
	if from > 0 {
		v = -v
	}
	switch f {
	case formInt2:
		return binary.BigEndian.AppendUint16(dst, uint16(v)), v == int64(int16(v)) //nolint:gosec // looked at beside it
	case formInt4:
		return binary.BigEndian.AppendUint32(dst, uint32(v)), v == int64(int32(v)) //nolint:gosec // the same
	}
	return binary.BigEndian.AppendUint64(dst, uint64(v)), true //nolint:gosec // its bits
}

// maxNumeric is how many digits of a number are written here.
const maxNumeric = 200

// appendNumeric appends a decimal number: its digits in groups of four, the weight of the first, the sign, and how many digits stand behind the point
// (numeric_recv).
func appendNumeric[T string | []byte](dst []byte, text T) ([]byte, bool) {
	sign := uint16(0)
	if len(text) > 0 && text[0] == '-' {
		sign, text = 0x4000, text[1:]
	}
	point := len(text)
	for i := range len(text) {
		switch c := text[i]; {
		case c-'0' <= 9:
		case c == '.' && point == len(text) && i > 0 && i+1 < len(text):
			point = i
		default:
			return dst, false
		}
	}
	if len(text) == 0 || len(text) > maxNumeric {
		return dst, false
	}
	scale := 0
	if point < len(text) {
		scale = len(text) - point - 1
	}
	head := len(dst)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	weight, groups, first := 0, 0, len(dst)
	group := func(v uint16, w int) {
		if v == 0 && groups == 0 { // none in front
			return
		}
		if groups == 0 {
			weight = w
		}
		groups++
		dst = binary.BigEndian.AppendUint16(dst, v)
	}
	at := point % 4
	v := uint16(0)
	for i := range at {
		v = v*10 + uint16(text[i]-'0')
	}
	w := (point + 3) / 4
	if at > 0 {
		w--
		group(v, w)
	}
	for ; at < point; at += 4 {
		w--
		group(uint16(text[at]-'0')*1000+uint16(text[at+1]-'0')*100+uint16(text[at+2]-'0')*10+uint16(text[at+3]-'0'), w)
	}
	for at = point + 1; at < len(text); at += 4 {
		v, ten := uint16(0), uint16(1000)
		for i := at; i < min(at+4, len(text)); i++ {
			v += uint16(text[i]-'0') * ten
			ten /= 10
		}
		w--
		group(v, w)
	}
	for len(dst) > first && dst[len(dst)-1] == 0 && dst[len(dst)-2] == 0 { // none at the end
		dst = dst[:len(dst)-2]
		groups--
	}
	if groups == 0 {
		sign, weight = 0, 0
	}
	binary.BigEndian.PutUint16(dst[head:], uint16(groups))          //nolint:gosec // at most maxNumeric
	binary.BigEndian.PutUint16(dst[head+2:], uint16(int16(weight))) //nolint:gosec // its bits
	binary.BigEndian.PutUint16(dst[head+4:], sign)
	binary.BigEndian.PutUint16(dst[head+6:], uint16(scale)) //nolint:gosec // at most maxNumeric
	return dst, true
}

// appendUUID appends a UUID in its usual writing (RFC 9562, section 4).
func appendUUID(dst []byte, text string) ([]byte, bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return dst, false
	}
	for i := 0; i < len(text); i += 2 {
		if text[i] == '-' {
			i++
		}
		high, low := hexDigit(text[i]), hexDigit(text[i+1])
		if high > 15 || low > 15 {
			return dst, false
		}
		dst = append(dst, high<<4|low)
	}
	return dst, true
}

func hexDigit(c byte) byte {
	switch {
	case c-'0' <= 9:
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}

// epoch is when PostgreSQL's time begins: 2000-01-01, in seconds and days since 1970.
const (
	epochDays    = 10957
	epochSeconds = epochDays * 86400
)

// appendInstant appends a time in the form of RFC 3339, with at most microseconds, or a date. A column without a zone takes the clock's time as it stands
// there, as the server does.
func appendInstant(dst []byte, f form, text string) ([]byte, bool) {
	date, ok := parseDate(text)
	if f == formDate {
		return binary.BigEndian.AppendUint32(dst, uint32(int32(date-epochDays))), ok && len(text) == 10 //nolint:gosec // its bits
	}
	if !ok || len(text) < len("2006-01-02T15:04:05Z") || text[10] != 'T' && text[10] != ' ' || text[13] != ':' || text[16] != ':' {
		return dst, false
	}
	hour, minute, second := pair(text, 11), pair(text, 14), pair(text, 17)
	if hour > 23 || minute > 59 || second > 59 {
		return dst, false
	}
	micros := (int64(date)*86400 + int64(hour*3600+minute*60+second) - epochSeconds) * 1e6
	rest := text[19:]
	if rest[0] == '.' {
		i, unit := 1, int64(100_000)
		for ; i < len(rest) && rest[i]-'0' <= 9; i++ {
			if unit == 0 {
				return dst, false
			}
			micros += int64(rest[i]-'0') * unit
			unit /= 10
		}
		if i == 1 {
			return dst, false
		}
		rest = rest[i:]
	}
	switch {
	case rest == "Z":
	case len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':':
		hours, minutes := pair(rest, 1), pair(rest, 4)
		if hours > 14 || minutes > 59 {
			return dst, false
		}
		offset := time.Duration(hours*60+minutes) * time.Minute
		if rest[0] == '-' {
			offset = -offset
		}
		if f == formTimestamptz {
			micros -= offset.Microseconds()
		}
	default:
		return dst, false
	}
	return binary.BigEndian.AppendUint64(dst, uint64(micros)), true //nolint:gosec // its bits
}

// pair is a number of two digits, or more than any can be.
func pair(text string, at int) int {
	high, low := text[at]-'0', text[at+1]-'0'
	if high > 9 || low > 9 {
		return 100
	}
	return int(high)*10 + int(low)
}

// parseDate gives the days since 1970 of a date that a text begins with: 2006-01-02, of the years 1 to 9999.
func parseDate(text string) (days int, ok bool) {
	if len(text) < 10 || text[4] != '-' || text[7] != '-' {
		return 0, false
	}
	century, year, month, day := pair(text, 0), pair(text, 2), pair(text, 5), pair(text, 8)
	y := century*100 + year
	if century > 99 || year > 99 || y == 0 || month < 1 || month > 12 || day < 1 || day > monthDays(y, month) {
		return 0, false
	}
	// The calendar as one that begins in March has the leap day at the end of its year.
	if month <= 2 {
		y--
		month += 12
	}
	return 365*y + y/4 - y/100 + y/400 + (153*(month-3)+2)/5 + day - 1 - 719468, true
}

func monthDays(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}
