package avro

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

func text2string(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// misfit is why a value can't be written, at a path that is filled in on the way out.
type misfit struct {
	path string
	text string
}

func (m *misfit) at(step string) *misfit {
	if m != nil {
		m.path = step + m.path
	}
	return m
}

func (m *misfit) error() error {
	return &penstock.Error{Code: penstock.Unprocessable, Op: "avro", Path: "body" + m.path, Err: fmt.Errorf("%s", m.text)}
}

func wants(what string, d *jsonview.Doc, n jsonview.Node) *misfit {
	return &misfit{text: "the schema wants " + what + ", and this is " + found(d, n)}
}

// found says what a value is, for people.
func found(d *jsonview.Doc, n jsonview.Node) string {
	switch d.Kind(n) {
	case jsonview.Null:
		return "null"
	case jsonview.Object:
		return "an object"
	case jsonview.Array:
		return "a list"
	case jsonview.String:
		return fmt.Sprintf("the text %.40q", d.Str(n, nil))
	case jsonview.Number, jsonview.True, jsonview.False:
		return fmt.Sprintf("%.40s", d.Raw(n))
	}
	return d.Kind(n).String()
}

// write appends the bytes of a document's value.
func (n *node) write(dst []byte, d *jsonview.Doc, v jsonview.Node) ([]byte, *misfit) {
	kind := d.Kind(v)
	switch n.op {
	case opNull:
		if kind != jsonview.Null {
			return dst, wants("null", d, v)
		}
		return dst, nil
	case opBool:
		switch kind {
		case jsonview.True:
			return append(dst, 1), nil
		case jsonview.False:
			return append(dst, 0), nil
		}
		return dst, wants("true or false", d, v)
	case opInt, opLong:
		i, ok := d.Int(v)
		if kind != jsonview.Number || !ok {
			return dst, wants("a whole number of 64 bits", d, v)
		}
		if n.op == opInt && (i < math.MinInt32 || i > math.MaxInt32) {
			return dst, wants("a whole number of 32 bits", d, v)
		}
		return binary.AppendVarint(dst, i), nil
	case opFloat, opDouble:
		f, ok := d.Float(v)
		if kind != jsonview.Number || !ok {
			return dst, wants("a number", d, v)
		}
		if n.op == opDouble {
			return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f)), nil
		}
		if math.Abs(f) > math.MaxFloat32 {
			return dst, wants("a number of 32 bits", d, v)
		}
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f))), nil
	case opString:
		if kind != jsonview.String {
			return dst, wants("text", d, v)
		}
		s := d.Str(v, nil)
		return append(binary.AppendVarint(dst, int64(len(s))), s...), nil
	case opBytes, opFixed:
		return n.bytes(dst, d, v)
	case opEnum:
		if kind == jsonview.String {
			s := d.Str(v, nil)
			for i, t := range n.texts {
				if t == s {
					return binary.AppendVarint(dst, int64(i)), nil
				}
			}
		}
		return dst, wants("one of "+strings.Join(n.texts, ", "), d, v)
	case opDecimal, opDecimalIn:
		return n.decimal(dst, d, v)
	case opDate, opTime, opInstant, opLocal:
		return n.instant(dst, d, v)
	case opUnion:
		return n.union(dst, d, v)
	case opRecord:
		return n.record(dst, d, v)
	}
	return n.collection(dst, d, v)
}

func (n *node) record(dst []byte, d *jsonview.Doc, v jsonview.Node) ([]byte, *misfit) {
	if d.Kind(v) != jsonview.Object {
		return dst, wants("a record "+n.name, d, v)
	}
	there := 0
	for i := range n.fields {
		f := &n.fields[i]
		at := d.Field(v, f.name, nil)
		switch {
		case at != jsonview.None:
			there++
			var bad *misfit
			if dst, bad = f.node.write(dst, d, at); bad != nil {
				return dst, bad.at("." + f.name)
			}
		case f.preset != nil:
			dst = append(dst, f.preset...)
		case f.hasNull:
			dst = f.node.null(dst)
		case f.node.op == opNull:
		default:
			return dst, (&misfit{text: "the schema wants a value here, and there is none"}).at("." + f.name)
		}
	}
	if there == d.Len(v) {
		return dst, nil
	}
	for k := d.First(v); k != jsonview.None; k = d.Next(k) { // what the schema has no place for would be lost
		name := string(d.Key(k, nil))
		if !n.has(name) {
			return dst, (&misfit{text: "the record " + n.name + " of the schema has no such field"}).at("." + name)
		}
	}
	return dst, nil
}

func (n *node) has(name string) bool {
	for i := range n.fields {
		if n.fields[i].name == name {
			return true
		}
	}
	return false
}

// null writes the null of a union.
func (n *node) null(dst []byte) []byte {
	for i, k := range n.kinds {
		if k.op == opNull {
			return binary.AppendVarint(dst, int64(i))
		}
	}
	return dst
}

// union writes the first kind that the value fits.
func (n *node) union(dst []byte, d *jsonview.Doc, v jsonview.Node) ([]byte, *misfit) {
	var first *misfit
	for i, k := range n.kinds {
		if !k.may(d.Kind(v)) {
			continue
		}
		out, bad := k.write(binary.AppendVarint(dst, int64(i)), d, v)
		if bad == nil {
			return out, nil
		}
		if first == nil || len(bad.path) > len(first.path) {
			first = bad
		}
	}
	if first != nil {
		return dst, first
	}
	names := make([]string, len(n.kinds))
	for i, k := range n.kinds {
		names[i] = k.what()
	}
	return dst, wants("one of "+strings.Join(names, ", "), d, v)
}

// may says whether a value of a kind can be one of n at all.
func (n *node) may(k jsonview.Kind) bool {
	switch n.op {
	case opNull:
		return k == jsonview.Null
	case opBool:
		return k == jsonview.True || k == jsonview.False
	case opInt, opLong, opFloat, opDouble:
		return k == jsonview.Number
	case opDecimal, opDecimalIn:
		return k == jsonview.Number || k == jsonview.String
	case opArray:
		return k == jsonview.Array
	case opMap, opRecord:
		return k == jsonview.Object
	case opUnion:
		return true
	}
	return k == jsonview.String
}

var opNames = [...]string{opNull: "null", opBool: "boolean", opInt: "int", opLong: "long", opFloat: "float", opDouble: "double", opBytes: "bytes", opString: "string", opFixed: "fixed",
	opEnum: "enum", opArray: "array", opMap: "map", opRecord: "record", opUnion: "union", opDecimal: "decimal", opDecimalIn: "decimal", opDate: "date", opTime: "time", opInstant: "timestamp", opLocal: "local timestamp"}

func (n *node) what() string {
	if n.name != "" {
		return n.name
	}
	return opNames[n.op]
}

// collection writes an array or a map as one block.
func (n *node) collection(dst []byte, d *jsonview.Doc, v jsonview.Node) ([]byte, *misfit) {
	if want := map[op]jsonview.Kind{opArray: jsonview.Array, opMap: jsonview.Object}[n.op]; d.Kind(v) != want {
		return dst, wants(map[op]string{opArray: "a list", opMap: "an object"}[n.op], d, v)
	}
	count := d.Len(v)
	if count == 0 {
		return append(dst, 0), nil
	}
	dst = binary.AppendVarint(dst, int64(count))
	i := 0
	for e := d.First(v); e != jsonview.None; e = d.Next(e) {
		at, step := e, ""
		if n.op == opMap {
			key := d.Key(e, nil)
			dst = append(binary.AppendVarint(dst, int64(len(key))), key...)
			at, step = d.Value(e), "."+string(key)
		}
		var bad *misfit
		if dst, bad = n.elem.write(dst, d, at); bad != nil {
			if step == "" {
				step = "[" + strconv.Itoa(i) + "]"
			}
			return dst, bad.at(step)
		}
		i++
	}
	return append(dst, 0), nil
}

func (n *node) bytes(dst []byte, d *jsonview.Doc, v jsonview.Node) ([]byte, *misfit) {
	var raw []byte
	switch d.Kind(v) {
	case jsonview.Bytes:
		raw = d.Bytes()
	case jsonview.String:
		var err error
		if raw, err = base64.StdEncoding.DecodeString(d.Str(v, nil)); err != nil {
			return dst, wants("bytes, which stand as base64 in a document", d, v)
		}
	default:
		return dst, wants("bytes, which stand as base64 in a document", d, v)
	}
	if n.op == opFixed {
		if len(raw) != n.size {
			return dst, &misfit{text: fmt.Sprintf("the schema wants %d bytes, and these are %d", n.size, len(raw))}
		}
		return append(dst, raw...), nil
	}
	return append(binary.AppendVarint(dst, int64(len(raw))), raw...), nil
}

// decimal writes a number, exactly or not at all.
func (n *node) decimal(dst []byte, d *jsonview.Doc, v jsonview.Node) ([]byte, *misfit) {
	var text string
	switch d.Kind(v) {
	case jsonview.Number:
		text = text2string(d.Raw(v))
	case jsonview.String:
		text = d.Str(v, nil)
	}
	digits, ok := unscaled(text, n.scale)
	if !ok {
		return dst, wants(fmt.Sprintf("a number with at most %d decimals", n.scale), d, v)
	}
	var raw []byte
	if i, err := strconv.ParseInt(digits, 10, 64); err == nil {
		raw = complement(i)
	} else {
		big, ok := new(big.Int).SetString(digits, 10)
		if !ok {
			return dst, wants("a number", d, v)
		}
		raw = complementBig(big)
	}
	if n.op == opDecimal {
		return append(binary.AppendVarint(dst, int64(len(raw))), raw...), nil
	}
	if len(raw) > n.size {
		return dst, wants(fmt.Sprintf("a number that fits %d bytes", n.size), d, v)
	}
	fill := byte(0)
	if raw[0]&0x80 != 0 {
		fill = 0xff
	}
	for range n.size - len(raw) {
		dst = append(dst, fill)
	}
	return append(dst, raw...), nil
}

// unscaled gives the digits of a number times 10^scale, where that is whole.
func unscaled(text string, scale int) (string, bool) {
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		e, err := strconv.Atoi(text[i+1:])
		if err != nil || e > 1000 || e < -1000 {
			return "", false
		}
		mantissa, exponent = text[:i], e
	}
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, part, _ := strings.Cut(mantissa, ".")
	digits := whole + part
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return "", false
	}
	zeros := scale - len(part) + exponent
	for zeros < 0 {
		if !strings.HasSuffix(digits, "0") {
			return "", false
		}
		digits, zeros = digits[:len(digits)-1], zeros+1
		if digits == "" {
			return "0", true
		}
	}
	return sign + digits + strings.Repeat("0", zeros), true
}

// complement is the shortest two's complement of i, big-endian.
func complement(i int64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(i))
	for len(b) > 1 && (b[0] == 0 && b[1]&0x80 == 0 || b[0] == 0xff && b[1]&0x80 != 0) {
		b = b[1:]
	}
	return b
}

func complementBig(v *big.Int) []byte {
	if v.Sign() >= 0 {
		b := v.Bytes()
		if len(b) == 0 || b[0]&0x80 != 0 {
			b = append([]byte{0}, b...)
		}
		return b
	}
	bits := new(big.Int).Not(v).BitLen() + 1
	size := (bits + 7) / 8
	return new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), uint(size)*8)).FillBytes(make([]byte, size))
}

// instant writes dates and times. What is finer than the schema has it is cut off.
func (n *node) instant(dst []byte, d *jsonview.Doc, v jsonview.Node) ([]byte, *misfit) {
	what, layouts := "a time as in RFC 3339", []string{time.RFC3339Nano}
	switch n.op {
	case opDate:
		what, layouts = "a date such as 2026-01-05", []string{time.DateOnly}
	case opTime:
		what, layouts = "a time of day such as 10:15:00.5", []string{"15:04:05.999999999"}
	case opLocal:
		what, layouts = "a time without a zone, such as 2026-01-05T10:15:00", []string{"2006-01-02T15:04:05.999999999"}
	}
	if d.Kind(v) != jsonview.String {
		return dst, wants(what, d, v)
	}
	var t time.Time
	var err error
	for _, l := range layouts {
		if t, err = time.Parse(l, d.Str(v, nil)); err == nil {
			break
		}
	}
	if err != nil {
		return dst, wants(what, d, v)
	}
	var i int64
	switch n.op {
	case opDate:
		i = t.Unix() / secondsADay
		if t.Unix()%secondsADay < 0 {
			i--
		}
	case opTime:
		i = (int64(t.Hour())*3600+int64(t.Minute())*60+int64(t.Second()))*n.units + int64(t.Nanosecond())/(1e9/n.units)
	default:
		i = t.Unix()*n.units + int64(t.Nanosecond())/(1e9/n.units)
	}
	return binary.AppendVarint(dst, i), nil
}
