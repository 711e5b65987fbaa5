package sql

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// pgLoader writes rows by COPY: in binary format where all columns have one of the usual types, else as text, where a cell is almost always what stands in the
// message already.
type pgLoader struct {
	p       *postgres
	s       *sink
	plans   map[uint64]*copyPlan // by the columns that are left out
	ordinal int64                // of rows: where a key comes twice, the order decides
	cell    []byte
	buf     []byte // what is sent
	forms   []form // of the columns; nil: rows are written as text
	text    bool   // … since one of this Write can't be written otherwise
}

// asText marks rows that are written as text, beside the columns that they leave out.
const asText = 1 << 63

// copyPlan is how rows that leave out the same columns are written.
type copyPlan struct {
	binary bool
	temp   string // makes the table that rows go through; "" if they go straight into theirs
	name   string // its name
	sql    string
}

// ordinalColumn is the column of the temporary table that holds the order of the rows.
const ordinalColumn = "penstock ordinal"

// identityColumn is that of what they are known by.
const identityColumn = "penstock id"

// loader implements database.
func (p *postgres) loader(s *sink) loader {
	return &pgLoader{p: p, s: s, plans: map[uint64]*copyPlan{}, forms: formsOf(s.into)}
}

// begin implements loader.
func (l *pgLoader) begin() { l.text = l.forms == nil }

// plan makes the statements for rows without some columns.
func (l *pgLoader) plan(without uint64) *copyPlan {
	if p, ok := l.plans[without]; ok {
		return p
	}
	s := l.s
	var names, sets []string
	for _, t := range s.leftOut(without) {
		q := quote(t.name)
		names = append(names, q)
		if !t.key {
			sets = append(sets, q+" = EXCLUDED."+q)
		}
	}
	columns := strings.Join(names, ", ")
	p, stdin := &copyPlan{binary: without&asText == 0}, ") FROM STDIN"
	if p.binary {
		stdin += " (FORMAT binary)"
	}
	p.sql = "COPY " + s.table.quoted + " (" + columns + stdin
	if l.direct() {
		l.plans[without] = p
		return p
	}
	h := fnv.New64a()
	fmt.Fprint(h, s.table.quoted, columns, s.config.Key, s.inbox != nil)
	p.name = "pg_temp." + quote("penstock "+strconv.FormatUint(h.Sum64(), 36))
	ordinal, id := quote(ordinalColumn), quote(identityColumn)
	head, with, from := ordinal+", ", "", p.name
	p.temp = "CREATE TEMPORARY TABLE " + p.name + " ON COMMIT DELETE ROWS AS SELECT 0::bigint AS " + ordinal + ", "
	if b := s.inbox; b != nil {
		p.temp += "''::bytea AS " + id + ", "
		head += id + ", "
		// In the order of their identities, so that two who write the same wait for each other, and not in a circle.
		with = fmt.Sprintf(`WITH "penstock first" AS (SELECT DISTINCT ON (%[1]s) * FROM %[2]s ORDER BY %[1]s, %[3]s), "penstock fresh" AS (INSERT INTO %[4]s (id, until) SELECT %[1]s, now() + '%[5]d milliseconds'::interval FROM "penstock first" ORDER BY %[1]s ON CONFLICT (id) DO NOTHING RETURNING id) `,
			id, p.name, ordinal, b.quoted, b.config.Retain.Std().Milliseconds())
		from = `"penstock first" WHERE ` + id + ` IN (SELECT id FROM "penstock fresh")`
	}
	p.temp += columns + " FROM " + s.table.quoted + " WITH NO DATA"
	p.sql = "COPY " + p.name + " (" + head + columns + stdin + "; " + with + "INSERT INTO " + s.table.quoted + " (" + columns + ") SELECT "
	if s.mode == modeInsert {
		p.sql += columns + " FROM " + from + " ORDER BY " + ordinal
	} else {
		key := quoteAll(s.config.Key, ", ")
		do, order := "NOTHING", "" // the first of a key is kept, or the last
		if s.mode == modeUpsert {
			order = " DESC"
			if len(sets) > 0 {
				do = "UPDATE SET " + strings.Join(sets, ", ")
			}
		}
		p.sql += "DISTINCT ON (" + key + ") " + columns + " FROM " + from + " ORDER BY " + key + ", " + ordinal + order + " ON CONFLICT (" + key + ") DO " + do
	}
	l.plans[without] = p
	return p
}

// direct says that rows are copied straight into their table.
func (l *pgLoader) direct() bool { return l.s.mode == modeInsert && l.s.inbox == nil }

// add implements loader: one row of COPY's binary format, or a line of its text format (PostgreSQL's manual, COPY, File Formats). When one row of a Write
// needs the text, all behind it get it, so that there are no more than two COPYs of them.
func (l *pgLoader) add(dst []byte, d *jsonview.Doc, into []target, values []jsonview.Node) (_ []byte, mark uint64, err error) {
	l.ordinal++
	if !l.text {
		var ok bool
		from := len(dst)
		if dst, ok = l.addBinary(dst, d, into, values); ok {
			return dst, 0, nil
		}
		dst, l.text = dst[:from], true
	}
	dst, err = l.addText(dst, d, into, values)
	return dst, asText, err
}

func (l *pgLoader) addText(dst []byte, d *jsonview.Doc, into []target, values []jsonview.Node) (_ []byte, err error) {
	from := len(dst)
	if !l.direct() {
		dst = strconv.AppendInt(dst, l.ordinal, 10)
		dst = append(dst, '\t')
	}
	if b := l.s.inbox; b != nil {
		dst = hex.AppendEncode(append(dst, `\\x`...), b.id[:])
		dst = append(dst, '\t')
	}
	for i := range into {
		n := values[i]
		if n == jsonview.None {
			if into[i].bit == 0 {
				dst = append(dst, '\\', 'N', '\t')
			}
			continue
		}
		if dst, err = l.appendCell(dst, d, n, &into[i]); err != nil {
			return dst[:from], &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: into[i].name, Err: err}
		}
		dst = append(dst, '\t')
	}
	dst[len(dst)-1] = '\n'
	return dst, nil
}

// create implements inboxKeeper.
func (*pgLoader) create(quoted, index string) []string {
	return []string{"CREATE TABLE IF NOT EXISTS " + quoted + " (id bytea PRIMARY KEY, until timestamptz NOT NULL)", "CREATE INDEX IF NOT EXISTS " + index + " ON " + quoted + " (until)"}
}

// forget implements inboxKeeper.
func (l *pgLoader) forget(ctx context.Context, quoted string, most int) (n int64, err error) {
	err = l.p.with(ctx, func(c *pgx.Conn) error {
		tag, err := c.Exec(ctx, "DELETE FROM "+quoted+" WHERE ctid = ANY(ARRAY(SELECT ctid FROM "+quoted+" WHERE until < now() LIMIT "+strconv.Itoa(most)+"))")
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

func (l *pgLoader) appendCell(dst []byte, d *jsonview.Doc, n jsonview.Node, t *target) ([]byte, error) {
	kind := d.Kind(n)
	if kind == jsonview.Null {
		return append(dst, '\\', 'N'), nil
	}
	if t.class == classJSON {
		l.cell = d.AppendJSON(l.cell[:0], n)
		return appendEscaped(dst, l.cell), nil
	}
	switch kind {
	case jsonview.Number:
		return append(dst, d.Raw(n)...), nil
	case jsonview.True:
		return append(dst, "true"...), nil
	case jsonview.False:
		return append(dst, "false"...), nil
	case jsonview.String:
		text := d.Str(n, nil)
		switch t.class {
		case classBytes:
			dst, err := appendByteText(append(dst, '\\'), text) // the backslash of \x is escaped
			return dst, err
		case classTime:
			if at, ok := layoutTime(d, text, t.want); ok {
				return penstock.AppendTimestamp(dst, at), nil
			}
		}
		return appendEscaped(dst, text), nil
	case jsonview.Array:
		if t.class == classArray {
			var err error
			l.cell, err = t.pg.appendList(l.cell[:0], penstock.NodeValue(d, n))
			return appendEscaped(dst, l.cell), err
		}
	}
	l.cell = d.AppendJSON(l.cell[:0], n)
	return appendEscaped(dst, l.cell), nil
}

// layoutTime reads a time that is written in the layout of its schema. Records have theirs in the standard form already.
func layoutTime(d *jsonview.Doc, text string, want *types.Type) (time.Time, bool) {
	if kindOf(want) != types.Timestamp || want.Layout == "" || d.Format() == jsonview.Record {
		return time.Time{}, false
	}
	at, err := time.Parse(want.Layout, text)
	return at, err == nil
}

// escapes are what stands for a byte in COPY's text format; 0 is the byte itself.
var escapes = [256]byte{'\\': '\\', '\n': 'n', '\r': 'r', '\t': 't'}

// appendEscaped appends a cell.
func appendEscaped[T string | []byte](dst []byte, text T) []byte {
	done := 0
	for i := 0; i < len(text); i++ {
		if e := escapes[text[i]]; e != 0 {
			dst = append(append(dst, text[done:i]...), '\\', e)
			done = i + 1
		}
	}
	return append(dst, text[done:]...)
}

// load implements loader.
func (l *pgLoader) load(ctx context.Context, rows *feed) error {
	plan := l.plan(rows.rows[0].without)
	for try := 0; ; try++ {
		open, err := l.once(ctx, plan, rows)
		switch {
		case err == nil:
			return nil
		case open != nil:
			return l.settle(ctx, open, err)
		case try == 0 && lost(ctx, err): // while it lay in the pool, perhaps; nothing was done, or it may be done again
			l.p.pool.Reset()
			continue
		}
		var e *pgconn.PgError
		if errors.As(err, &e) && blames(codeOf(e.Code)) {
			return &rowError{row: lineOf(e, len(rows.rows)), err: l.p.failure(ctx, err, false)}
		}
		return l.p.failure(ctx, err, false)
	}
}

// blames says that an error is that of a row.
func blames(c penstock.Code) bool {
	return c == penstock.Unprocessable || c == penstock.Conflict || c == penstock.TooLarge
}

// lineOf gives the row that COPY complains of (COPY orders, line 3, column price: …); -1 if it says nothing.
func lineOf(e *pgconn.PgError, rows int) int {
	if _, rest, ok := strings.Cut(e.Where, ", line "); ok && strings.HasPrefix(e.Where, "COPY ") {
		digits := rest
		if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			digits = rest[:end]
		}
		if n, err := strconv.Atoi(digits); err == nil && n >= 1 && n <= rows {
			return n - 1
		}
	}
	return -1
}

// once writes the rows in one transaction. Where the connection broke so that nobody knows whether the transaction was committed, and it may not be
// repeated, it is returned.
func (l *pgLoader) once(ctx context.Context, plan *copyPlan, rows *feed) (*transaction, error) {
	conn, err := l.p.pool.Acquire(ctx)
	if err != nil {
		return nil, l.p.failure(ctx, err, true)
	}
	defer conn.Release()
	c := conn.Conn().PgConn()
	if plan.temp != "" {
		if _, made := c.CustomData()[plan.name]; !made {
			if _, err := c.Exec(ctx, plan.temp).ReadAll(); err != nil {
				return nil, err
			}
			c.CustomData()[plan.name] = true
		}
		in := &copyIn{c: c, rows: rows, s: l.s, buf: l.buf[:0], binary: plan.binary}
		err := in.run(ctx, plan.sql)
		l.buf = in.buf
		return nil, err
	}
	life, err := l.life(ctx, c)
	if err != nil {
		return nil, err
	}
	in := &copyIn{c: c, rows: rows, s: l.s, buf: l.buf[:0], binary: plan.binary, numbered: true}
	err = in.run(ctx, "BEGIN; SELECT txid_current(); "+plan.sql+"; COMMIT")
	l.buf = in.buf
	switch {
	case err == nil:
		return nil, nil //nolint:nilnil // there is no question
	case answered(err): // it failed, and so nothing of it is there
		if c.IsClosed() {
			break
		}
		if _, rerr := c.Exec(ctx, "ROLLBACK").ReadAll(); rerr != nil { // the transaction ends with the connection
			_ = c.Close(ctx)
		}
	case in.ended:
		return &transaction{id: in.number, life: life}, err
	}
	return nil, err
}
