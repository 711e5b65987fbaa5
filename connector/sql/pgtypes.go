package sql

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// pgType is what must be known of a PostgreSQL type to read and write its text.
type pgType struct {
	oid  uint32 // of the type, or of that which a domain is made of
	elem uint32 // of an array's elements; 0 if it is none
	sep  byte   // between elements
}

// typeCache remembers types that are not PostgreSQL's own: enums, domains, and arrays of them. It is safe for concurrent use.
type typeCache struct {
	known sync.Map // oid → pgType
}

// builtin are the types that PostgreSQL brings along.
var builtin = pgtype.NewMap()

func (t *typeCache) of(ctx context.Context, c *pgx.Conn, oid uint32) (pgType, error) {
	if ty, ok := builtin.TypeForOID(oid); ok {
		out := pgType{oid: oid, sep: ','}
		if a, ok := ty.Codec.(*pgtype.ArrayCodec); ok {
			out.elem = a.ElementType.OID
		}
		if oid == pgtype.BoxArrayOID {
			out.sep = ';'
		}
		return out, nil
	}
	if ty, ok := t.known.Load(oid); ok {
		return ty.(pgType), nil
	}
	// A domain over a domain over an array: followed to its end.
	res := c.PgConn().ExecParams(ctx, `WITH RECURSIVE base AS (
	SELECT oid, typtype, typbasetype, typelem, typcategory, typdelim FROM pg_type WHERE oid = $1::oid
	UNION ALL
	SELECT t.oid, t.typtype, t.typbasetype, t.typelem, t.typcategory, t.typdelim FROM pg_type t JOIN base b ON b.typtype = 'd' AND t.oid = b.typbasetype)
SELECT oid, CASE WHEN typcategory = 'A' THEN typelem ELSE 0 END, typdelim FROM base WHERE typtype <> 'd'`,
		[][]byte{strconv.AppendUint(nil, uint64(oid), 10)}, nil, nil, nil).Read()
	if res.Err != nil {
		return pgType{}, res.Err
	}
	out := pgType{oid: oid, sep: ','}
	if len(res.Rows) == 1 {
		base, _ := strconv.ParseUint(string(res.Rows[0][0]), 10, 32)
		elem, _ := strconv.ParseUint(string(res.Rows[0][1]), 10, 32)
		out = pgType{oid: uint32(base), elem: uint32(elem), sep: res.Rows[0][2][0]}
	}
	t.known.Store(oid, out)
	return out, nil
}

// parameter is the text of a value for a parameter of the type; nil is NULL.
func (t pgType) parameter(v penstock.Value) ([]byte, error) {
	switch v.Kind() {
	case penstock.KindNull, penstock.KindAbsent:
		return nil, nil
	case penstock.KindOptional:
		return t.parameter(v.Optional())
	case penstock.KindNode:
		if d, n := v.Node(); d.Kind(n) != jsonview.Array && d.Kind(n) != jsonview.Object {
			return t.parameter(v.Load(nil))
		}
	}
	return t.appendValue(make([]byte, 0, 24), v)
}

func (t pgType) appendValue(dst []byte, v penstock.Value) ([]byte, error) {
	switch {
	case t.elem != 0 && isList(v):
		return t.appendList(dst, v)
	case t.oid == pgtype.JSONOID || t.oid == pgtype.JSONBOID:
		return appendJSONValue(dst, v)
	case t.oid == pgtype.ByteaOID && v.Kind() == penstock.KindBytes:
		return hex.AppendEncode(append(dst, `\x`...), v.Bytes()), nil
	case t.oid == pgtype.ByteaOID && v.Kind() == penstock.KindString:
		return appendByteText(dst, v.Str())
	case t.oid == pgtype.IntervalOID && v.Kind() == penstock.KindDuration:
		return append(strconv.AppendFloat(dst, v.Duration().Seconds(), 'f', -1, 64), " seconds"...), nil
	}
	return v.AppendText(dst)
}

// appendList appends an array as PostgreSQL writes it: {1,"a b",NULL}.
func (t pgType) appendList(dst []byte, v penstock.Value) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	elem := pgType{oid: t.elem, sep: ','}
	err := each(v, func(e penstock.Value) (err error) {
		if !first {
			dst = append(dst, t.sep)
		}
		first = false
		if isList(e) && elem.oid != pgtype.JSONOID && elem.oid != pgtype.JSONBOID {
			dst, err = t.appendList(dst, e)
			return err
		}
		text, err := elem.parameter(e)
		if err != nil {
			return err
		}
		if text == nil {
			dst = append(dst, "NULL"...)
			return nil
		}
		dst = append(dst, '"')
		for _, c := range text {
			if c == '"' || c == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, c)
		}
		dst = append(dst, '"')
		return nil
	})
	return append(dst, '}'), err
}

// append appends a value that PostgreSQL wrote as JSON.
func (t pgType) append(dst, text []byte, want *types.Type) ([]byte, error) {
	if t.elem != 0 {
		var elem *types.Type
		if kindOf(want) == types.List {
			elem = plain(want.Elem)
		}
		r := arrayReader{text: text, sep: t.sep, elem: pgType{oid: t.elem, sep: ','}, want: elem}
		return r.read(dst)
	}
	switch t.oid {
	case pgtype.BoolOID:
		if len(text) == 1 && text[0] == 't' {
			return append(dst, "true"...), nil
		}
		return append(dst, "false"...), nil
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID:
		return appendNumber(dst, text, want), nil
	case pgtype.JSONOID, pgtype.JSONBOID:
		if !jsonview.Valid(text) { // json (not jsonb) keeps duplicate keys and halves of characters
			return dst, errors.New("the JSON in it has duplicate keys, or characters that are none")
		}
		return append(dst, text...), nil
	case pgtype.ByteaOID:
		return appendHex(dst, text)
	case pgtype.TimestamptzOID, pgtype.TimestampOID:
		return appendTime(dst, string(text)), nil
	}
	return appendText(dst, text, want), nil
}

// arrayReader reads the text of an array: {1,"a b",NULL}, {{1,2},{3,4}}, [0:1]={1,2}.
type arrayReader struct {
	text  []byte
	sep   byte
	elem  pgType
	want  *types.Type
	depth int
}

var errArray = errors.New("the array can't be read")

func (r *arrayReader) read(dst []byte) ([]byte, error) {
	if len(r.text) > 0 && r.text[0] == '[' { // the bounds, where they are not 1
		for i, c := range r.text {
			if c == '=' {
				r.text = r.text[i+1:]
				break
			}
		}
	}
	dst, err := r.list(dst)
	if err == nil && len(r.text) > 0 {
		err = errArray
	}
	return dst, err
}

func (r *arrayReader) list(dst []byte) (_ []byte, err error) {
	if r.depth++; len(r.text) == 0 || r.text[0] != '{' || r.depth > 6 { // MAXDIM
		return dst, errArray
	}
	r.text = r.text[1:]
	dst = append(dst, '[')
	for first := true; ; first = false {
		if len(r.text) == 0 {
			return dst, errArray
		}
		switch c := r.text[0]; {
		case c == '}' && first:
		case c == '{':
			dst, err = r.list(dst)
		default:
			dst, err = r.element(dst)
		}
		if err != nil {
			return dst, err
		}
		if len(r.text) == 0 {
			return dst, errArray
		}
		c := r.text[0]
		r.text = r.text[1:]
		switch c {
		case '}':
			r.depth--
			return append(dst, ']'), nil
		case r.sep:
			dst = append(dst, ',')
		default:
			return dst, errArray
		}
	}
}

func (r *arrayReader) element(dst []byte) ([]byte, error) {
	quoted := r.text[0] == '"'
	var value []byte
	i := 0
	if quoted {
		i = 1
	}
	for ; ; i++ {
		if i >= len(r.text) {
			return dst, errArray
		}
		c := r.text[i]
		if c == '\\' && i+1 < len(r.text) {
			i++
			value = append(value, r.text[i])
			continue
		}
		if quoted && c == '"' {
			i++
			break
		}
		if !quoted && (c == '}' || c == r.sep) {
			break
		}
		value = append(value, c)
	}
	r.text = r.text[i:]
	if !quoted && string(value) == "NULL" {
		return append(dst, "null"...), nil
	}
	return r.elem.append(dst, value, r.want)
}
