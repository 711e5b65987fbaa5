package avro

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"
	"unicode/utf8"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// maxDepth is how deep documents may be.
const maxDepth = 512

// reading is one datum that is being read. The first error stays.
type reading struct {
	src   []byte
	at    int
	limit int // of the JSON text, in bytes: a few bytes of Avro can stand for very many
	depth int
	err   error
}

// read appends the JSON text of the datum that is all of src.
func (n *node) read(dst, src []byte, limit int) ([]byte, error) {
	r := reading{src: src, limit: len(dst) + limit}
	out := n.append(&r, dst)
	if r.err == nil && r.at < len(src) {
		r.fail(penstock.Invalid, fmt.Sprintf("%d bytes stand behind the datum", len(src)-r.at))
	}
	if r.err != nil {
		return dst, r.err
	}
	return out, nil
}

func (r *reading) fail(code penstock.Code, text string) {
	if r.err == nil {
		r.err = &penstock.Error{Code: code, Op: "avro", Path: fmt.Sprintf("byte %d", r.at), Err: errors.New(text)}
	}
	r.at = len(r.src)
}

func (r *reading) long() int64 {
	v, n := binary.Varint(r.src[r.at:]) // zig-zag, as Avro has it
	if n <= 0 {
		r.fail(penstock.Invalid, "a number is cut off")
		return 0
	}
	r.at += n
	return v
}

func (r *reading) int() int64 {
	v := r.long()
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.fail(penstock.Invalid, "a number has more than 32 bits")
		return 0
	}
	return v
}

// take gives the next n bytes.
func (r *reading) take(n int64) []byte {
	if n < 0 || n > int64(len(r.src)-r.at) {
		r.fail(penstock.Invalid, "it ends in the middle of a value")
		return nil
	}
	b := r.src[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

func (n *node) append(r *reading, dst []byte) []byte {
	if r.err != nil {
		return dst
	}
	if len(dst) > r.limit {
		r.fail(penstock.TooLarge, "the document is too large")
		return dst
	}
	switch n.op {
	case opNull:
		return append(dst, "null"...)
	case opBool:
		if b := r.take(1); b != nil {
			if b[0] > 1 {
				r.fail(penstock.Invalid, "a boolean is neither 0 nor 1")
			}
			return strconv.AppendBool(dst, b[0] == 1)
		}
	case opInt:
		return n.integer(dst, r.int())
	case opLong:
		return n.integer(dst, r.long())
	case opFloat:
		if b := r.take(4); b != nil {
			return r.float(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), 32)
		}
	case opDouble:
		if b := r.take(8); b != nil {
			return r.float(dst, math.Float64frombits(binary.LittleEndian.Uint64(b)), 64)
		}
	case opBytes:
		return quoted(dst, r.take(r.long()))
	case opFixed:
		return quoted(dst, r.take(int64(n.size)))
	case opString:
		b := r.take(r.long())
		if !utf8.Valid(b) {
			r.fail(penstock.Invalid, "a string is no UTF-8")
			return dst
		}
		return jsonview.AppendString(dst, text2string(b))
	case opEnum:
		i := r.int()
		if r.err == nil && (i < 0 || i >= int64(len(n.symbols))) {
			r.fail(penstock.Invalid, fmt.Sprintf("the enum %s has no symbol number %d", n.name, i))
			return dst
		}
		if r.err == nil {
			return append(dst, n.symbols[i]...)
		}
	case opDecimal:
		return appendDecimal(dst, r.take(r.long()), n.scale)
	case opDecimalIn:
		return appendDecimal(dst, r.take(int64(n.size)), n.scale)
	case opDate, opTime, opInstant, opLocal:
		return n.time(r, dst)
	default:
		return n.nested(r, dst)
	}
	return dst
}

// nested appends what holds others.
func (n *node) nested(r *reading, dst []byte) []byte {
	if r.depth++; r.depth > maxDepth {
		r.fail(penstock.Invalid, fmt.Sprintf("it is nested more than %d deep", maxDepth))
		return dst
	}
	defer func() { r.depth-- }()
	switch n.op {
	case opUnion:
		i := r.int()
		if r.err == nil && (i < 0 || i >= int64(len(n.kinds))) {
			r.fail(penstock.Invalid, fmt.Sprintf("a union has no kind number %d", i))
		}
		if r.err != nil {
			return dst
		}
		return n.kinds[i].append(r, dst)
	case opRecord:
		dst = append(dst, '{')
		for i := range n.fields {
			f := &n.fields[i]
			if f.skip {
				f.node.append(r, dst[len(dst):]) // it is read and forgotten
				continue
			}
			dst = append(dst, f.key...)
			dst = append(f.node.append(r, dst), ',')
		}
		dst = append(dst, n.missing...)
		return closed(dst, '}')
	case opArray:
		dst = append(dst, '[')
		n.blocks(r, func() { dst = append(n.elem.append(r, dst), ',') }, &dst)
		return closed(dst, ']')
	}
	dst = append(dst, '{') // a map
	n.blocks(r, func() {
		key := r.take(r.long())
		if !utf8.Valid(key) {
			r.fail(penstock.Invalid, "the key of a map is no UTF-8")
			return
		}
		dst = append(jsonview.AppendString(dst, text2string(key)), ':')
		dst = append(n.elem.append(r, dst), ',')
	}, &dst)
	return closed(dst, '}')
}

// blocks calls one for each element of an array or map.
func (n *node) blocks(r *reading, one func(), dst *[]byte) {
	for r.err == nil {
		count := r.long()
		if count < 0 { // the size of the block in bytes stands behind it
			if count = -count; count < 0 {
				r.fail(penstock.Invalid, "a block has more elements than can be")
				return
			}
			r.long()
		}
		if count == 0 {
			return
		}
		for ; count > 0 && r.err == nil; count-- {
			if one(); len(*dst) > r.limit { // elements may have no bytes at all
				r.fail(penstock.TooLarge, "the document is too large")
			}
		}
	}
}

// closed ends a list or object whose elements have a comma behind each.
func closed(dst []byte, end byte) []byte {
	if dst[len(dst)-1] == ',' {
		dst[len(dst)-1] = end
		return dst
	}
	return append(dst, end)
}

func (n *node) integer(dst []byte, v int64) []byte { return strconv.AppendInt(dst, v, 10) }

func (r *reading) float(dst []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		r.fail(penstock.Unprocessable, fmt.Sprintf("a number is %v, which no document can hold", f))
		return dst
	}
	if bits == 64 {
		return jsonview.AppendFloat(dst, f)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 32)
}

func quoted(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// appendDecimal appends a number of which b is the unscaled value, in two's complement, big-endian.
func appendDecimal(dst, b []byte, scale int) []byte {
	if len(b) <= 8 {
		var v int64
		if len(b) > 0 && b[0]&0x80 != 0 {
			v = -1
		}
		for _, c := range b {
			v = v<<8 | int64(c)
		}
		return pointed(dst, strconv.FormatInt(v, 10), scale)
	}
	v := new(big.Int).SetBytes(b)
	if b[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(len(b))*8))
	}
	return pointed(dst, v.String(), scale)
}

// pointed appends digits with a point before the last of them.
func pointed(dst []byte, digits string, scale int) []byte {
	if digits[0] == '-' {
		dst, digits = append(dst, '-'), digits[1:]
	}
	if scale == 0 {
		return append(dst, digits...)
	}
	if len(digits) <= scale {
		dst = append(dst, '0', '.')
		for range scale - len(digits) {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	dst = append(dst, digits[:len(digits)-scale]...)
	return append(append(dst, '.'), digits[len(digits)-scale:]...)
}

const secondsADay = 24 * 60 * 60

// time appends dates and times as RFC 3339 writes them.
func (n *node) time(r *reading, dst []byte) []byte {
	var v int64
	if n.op == opDate || n.op == opTime && n.units == 1e3 {
		v = r.int()
	} else {
		v = r.long()
	}
	var t time.Time
	layout := `"2006-01-02T15:04:05.999999Z"`
	switch n.op {
	case opDate:
		t, layout = time.Unix(v*secondsADay, 0), `"2006-01-02"`
	case opTime:
		if v < 0 || v >= secondsADay*n.units {
			r.fail(penstock.Unprocessable, "a time of day is none")
			return dst
		}
		t, layout = time.Unix(v/n.units, v%n.units*(1e9/n.units)), `"15:04:05.999999"`
	default:
		s, rest := v/n.units, v%n.units
		if rest < 0 {
			s, rest = s-1, rest+n.units
		}
		t = time.Unix(s, rest*(1e9/n.units))
		if n.op == opLocal {
			layout = `"2006-01-02T15:04:05.999999"`
		}
	}
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		r.fail(penstock.Unprocessable, "a time is not within the years 0 to 9999")
		return dst
	}
	return t.AppendFormat(dst, layout)
}
