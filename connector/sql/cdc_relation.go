package sql

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// relation is a table as the changes that follow have it.
type relation struct {
	oid          uint32
	schema, name string
	identity     byte // replica identity: d (primary key), n (nothing), f (all columns), i (an index)
	columns      []cdcColumn
	keys         []int // columns of the primary key, or of the index that tells rows apart
	skip         bool  // nobody asked for it
}

type cdcColumn struct {
	name   string
	head   []byte // `"name":`
	pg     pgType
	how    cellForm
	want   *types.Type
	isKey  bool
	oid    uint32
	quoted string // "name", for what is listed
}

// cellForm is how the text of a cell becomes JSON.
type cellForm uint8

const (
	cellOther  cellForm = iota // by pgType.append
	cellDigits                 // a whole number: as it stands
	cellNumber                 // a number, but for NaN and Infinity
	cellBool
	cellText
	cellTime
)

func cellFormOf(t pgType, want *types.Type) cellForm {
	if want != nil || t.elem != 0 {
		return cellOther
	}
	switch t.oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		return cellDigits
	case pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID:
		return cellNumber
	case pgtype.BoolOID:
		return cellBool
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.UUIDOID, pgtype.DateOID, pgtype.TimeOID:
		return cellText
	case pgtype.TimestamptzOID, pgtype.TimestampOID:
		return cellTime
	}
	return cellOther
}

// appendCell appends a cell that is not NULL.
func (c *cdcColumn) appendCell(dst, text []byte) ([]byte, error) {
	switch c.how {
	case cellDigits:
		return append(dst, text...), nil
	case cellNumber:
		if jsonview.ValidNumber(text) {
			return append(dst, text...), nil
		}
	case cellBool:
		if len(text) == 1 && text[0] == 't' {
			return append(dst, "true"...), nil
		}
		return append(dst, "false"...), nil
	case cellText:
		return jsonview.AppendString(dst, unsafeText(text)), nil
	case cellTime:
		return appendTime(dst, unsafeText(text)), nil
	}
	return c.pg.append(dst, text, c.want)
}

var errTuple = errors.New("a change can't be read: it is not as the protocol has it")

// tuple is a row as pgoutput writes it. Its bytes are those of the message.
type tuple struct {
	there bool
	cells []cell // used again
}

// cell is one column of a tuple.
type cell struct {
	kind byte // n (NULL), u (a TOASTed value that did not change, and was not sent), t (text)
	text []byte
}

// read reads a tuple and gives what stands behind it.
func (t *tuple) read(src []byte) (rest []byte, err error) {
	if len(src) < 2 {
		return nil, errTuple
	}
	n := int(binary.BigEndian.Uint16(src))
	src = src[2:]
	if n > len(src) { // a column takes a byte at least
		return nil, errTuple
	}
	if cap(t.cells) < n {
		t.cells = make([]cell, n)
	}
	t.cells, t.there = t.cells[:n], true
	for i := range t.cells {
		if len(src) < 1 {
			return nil, errTuple
		}
		c := &t.cells[i]
		c.kind, c.text = src[0], nil
		src = src[1:]
		switch c.kind {
		case 'n', 'u':
			continue
		case 't':
		default:
			return nil, errTuple
		}
		if len(src) < 4 {
			return nil, errTuple
		}
		size := int(binary.BigEndian.Uint32(src))
		if src = src[4:]; size > len(src) {
			return nil, errTuple
		}
		c.text, src = src[:size:size], src[size:]
	}
	return src, nil
}

// appendRow appends a tuple as an object. Where keysOnly is set the others are not there (they were not sent). What was not sent of an update is taken from the
// old tuple, if that has it, and else left out and listed. A value that can't be written is written as a text, and said in bad.
func (r *relation) appendRow(dst []byte, t, old *tuple, keysOnly bool, unchanged *[]int) (_ []byte, bad error) {
	dst = append(dst, '{')
	first := true
	for i := range r.columns {
		c := &r.columns[i]
		if keysOnly && !c.isKey {
			continue
		}
		v := t.cells[i]
		if v.kind == 'u' && old != nil && old.there && i < len(old.cells) && old.cells[i].kind == 't' {
			v = old.cells[i]
		}
		if v.kind == 'u' {
			*unchanged = append(*unchanged, i)
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, c.head...)
		if v.kind == 'n' {
			dst = append(dst, "null"...)
			continue
		}
		from := len(dst)
		var err error
		if dst, err = c.appendCell(dst, v.text); err != nil {
			dst = jsonview.AppendString(dst[:from], string(v.text))
			bad = &penstock.Error{Code: penstock.Unprocessable, Op: "cdc", Path: "table " + r.full() + ", column " + c.name, Err: err}
		}
	}
	return append(dst, '}'), bad
}

// full is the name as it is written in the configuration.
func (r *relation) full() string { return r.schema + "." + r.name }

// appendKey appends the key of a row: the text of its one key column, or a JSON list of several. It gives nothing where a column is not there.
func (r *relation) appendKey(dst []byte, t *tuple) []byte {
	from := len(dst)
	for n, i := range r.keys {
		if i >= len(t.cells) || t.cells[i].kind != 't' {
			return dst[:from]
		}
		if len(r.keys) == 1 {
			return append(dst, t.cells[i].text...)
		}
		if n == 0 {
			dst = append(dst, '[')
		} else {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = r.columns[i].appendCell(dst, t.cells[i].text); err != nil {
			return dst[:from]
		}
	}
	if len(r.keys) > 1 {
		dst = append(dst, ']')
	}
	return dst
}

// readRelation reads a relation message: its columns without what only the server knows of their types.
func readRelation(src []byte) (*relation, error) {
	r := &relation{}
	if len(src) < 4 {
		return nil, errTuple
	}
	r.oid = binary.BigEndian.Uint32(src)
	src = src[4:]
	var ok bool
	if r.schema, src, ok = cutText(src); !ok {
		return nil, errTuple
	}
	if r.name, src, ok = cutText(src); !ok || len(src) < 3 {
		return nil, errTuple
	}
	if r.schema == "" { // pg_catalog
		r.schema = "pg_catalog"
	}
	r.identity = src[0]
	n := int(binary.BigEndian.Uint16(src[1:]))
	src = src[3:]
	for range n {
		if len(src) < 1 {
			return nil, errTuple
		}
		c := cdcColumn{isKey: src[0]&1 != 0}
		if c.name, src, ok = cutText(src[1:]); !ok || len(src) < 8 {
			return nil, errTuple
		}
		c.oid = binary.BigEndian.Uint32(src)
		src = src[8:]
		r.columns = append(r.columns, c)
	}
	if len(src) > 0 {
		return nil, errTuple
	}
	return r, nil
}

// cutText cuts a text that ends with a NUL.
func cutText(src []byte) (text string, rest []byte, ok bool) {
	for i, c := range src {
		if c == 0 {
			return string(src[:i]), src[i+1:], true
		}
	}
	return "", nil, false
}

// complete finds out of the columns what the message does not say.
func (r *relation) complete(want *types.Type, resolve func(oid uint32) (pgType, error), primary func() ([]string, error)) (err error) {
	row := rowType(want)
	for i := range r.columns {
		c := &r.columns[i]
		c.quoted = string(jsonview.AppendString(nil, c.name))
		c.head = []byte(c.quoted + ":")
		if c.pg, err = resolve(c.oid); err != nil {
			return err
		}
		if row != nil {
			if f, ok := row.Field(c.name); ok {
				c.want = plain(f.Type)
			}
		}
		c.how = cellFormOf(c.pg, c.want)
		if c.isKey && r.identity != 'f' {
			r.keys = append(r.keys, i)
		}
	}
	if len(r.keys) > 0 {
		return nil
	}
	names, err := primary()
	if err != nil {
		return err
	}
	for _, name := range names {
		for i := range r.columns {
			if r.columns[i].name == name {
				r.keys = append(r.keys, i)
			}
		}
	}
	if len(r.keys) != len(names) {
		r.keys = nil
	}
	slices.Sort(r.keys) // as where the server says them
	return nil
}

// rowType is the type of a row in the type of a message.
func rowType(want *types.Type) *types.Type {
	if want = plain(want); want == nil || want.Kind != types.Object {
		return nil
	}
	for _, name := range []string{"after", "before"} {
		if f, ok := want.Field(name); ok {
			if row := plain(f.Type); row != nil && row.Kind == types.Object {
				return row
			}
		}
	}
	return nil
}

const cdcPrimary = `SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey::int2[])
WHERE i.indrelid = $1::oid AND i.indisprimary ORDER BY array_position(i.indkey::int2[], a.attnum)`

// lookUp completes a relation by asking the server.
func (r *relation) lookUp(ctx context.Context, p *postgres, want *types.Type) error {
	return p.again(ctx, func(c *pgx.Conn) error {
		r.keys = nil
		return r.complete(want,
			func(oid uint32) (pgType, error) { return p.types.of(ctx, c, oid) },
			func() (out []string, err error) {
				res := c.PgConn().ExecParams(ctx, cdcPrimary, [][]byte{fmt.Append(nil, r.oid)}, nil, nil, nil).Read()
				for _, row := range res.Rows {
					out = append(out, string(row[0]))
				}
				return out, res.Err
			})
	})
}
