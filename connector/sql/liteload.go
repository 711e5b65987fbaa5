package sql

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// table implements database.
func (l *lite) table(ctx context.Context, name []string) (*table, error) {
	t := &table{quoted: quoteAll(name, "."), dialect: sqliteDialect}
	schema, bare := "main", name[0]
	if len(name) == 2 {
		schema, bare = name[0], name[1]
	}
	primary := map[int64]string{}
	err := l.ask(ctx, "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?1, ?2)", []any{bare, schema}, func(scan func(...any) error) error {
		var c column
		var pk, hidden int64
		if err := scan(&c.name, &c.typ, &c.notNull, &c.preset, &pk, &hidden); err != nil {
			return err
		}
		if hidden == 1 {
			return nil // of a virtual table
		}
		c.class, c.computed = liteClass(c.typ), hidden == 2 || hidden == 3
		if pk > 0 {
			primary[pk] = c.name
		}
		t.columns = append(t.columns, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(t.columns) == 0 {
		err := l.ask(ctx, "SELECT name FROM "+quote(schema)+".sqlite_schema WHERE type = 'table' AND lower(name) = lower(?1)", []any{bare}, func(scan func(...any) error) error {
			var like string
			err := scan(&like)
			t.like = append(t.like, like)
			return err
		})
		return t, err
	}
	if len(primary) == 1 {
		if c := t.column(primary[1]); strings.EqualFold(c.typ, "INTEGER") {
			c.preset = true // the row's number, given by itself
		}
	}
	if len(primary) > 0 {
		var key []string
		for i := range int64(len(primary)) {
			key = append(key, primary[i+1])
		}
		t.unique = append(t.unique, key)
	}
	last := ""
	err = l.ask(ctx, `SELECT l.name, coalesce(i.name, '') FROM pragma_index_list(?1, ?2) l, pragma_index_info(l.name, ?2) i WHERE l."unique" AND NOT l.partial ORDER BY 1`, []any{bare, schema}, func(scan func(...any) error) error {
		var index, col string
		if err := scan(&index, &col); err != nil {
			return err
		}
		if index != last {
			last = index
			t.unique = append(t.unique, nil)
		}
		t.unique[len(t.unique)-1] = append(t.unique[len(t.unique)-1], col)
		return nil
	})
	return t, err
}

// ask runs a query of our own.
func (l *lite) ask(ctx context.Context, query string, args []any, row func(scan func(...any) error) error) error {
	res, err := l.write.QueryContext(ctx, query, args...)
	if err != nil {
		return l.failure(ctx, err)
	}
	for err == nil && res.Next() {
		err = row(res.Scan)
	}
	return l.failure(ctx, errors.Join(err, res.Err(), res.Close()))
}

// liteClass tells what a column takes by how it was declared (SQLite: Datatypes, 3.1).
func liteClass(declared string) class {
	d := strings.ToUpper(declared)
	has := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(d, w) {
				return true
			}
		}
		return false
	}
	switch {
	case d == "" || d == "ANY":
		return classAny
	case has("BOOL"):
		return classBool
	case has("JSON"):
		return classJSON
	case has("DATE", "TIME"):
		return classTime
	case has("INT"):
		return classInt
	case has("CHAR", "CLOB", "TEXT"):
		return classText
	case has("BLOB"):
		return classBytes
	case has("REAL", "FLOA", "DOUB"): //nolint:misspell // SQLite looks for just these letters
		return classFloat
	case has("NUM", "DEC"):
		return classNumeric
	}
	return classOther
}

// liteLoader writes rows by INSERT statements of many rows.
type liteLoader struct {
	l     *lite
	s     *sink
	cells []any      // of all rows of a batch
	width []int      // where the cells of each row end
	ids   []identity // what each row is known by, with an inbox
	mark  []string
	plans map[litePlan]string
}

// litePlan is what a statement is made for.
type litePlan struct {
	without uint64
	rows    int
}

// liteParameters is how many values a statement may have: SQLite allows 32766.
const liteParameters = 2000

// loader implements database.
func (l *lite) loader(s *sink) loader {
	return &liteLoader{l: l, s: s, plans: map[litePlan]string{}}
}

// begin implements loader.
func (l *liteLoader) begin() {}

// add implements loader. A row's text is where its cells are.
func (l *liteLoader) add(dst []byte, d *jsonview.Doc, into []target, values []jsonview.Node) ([]byte, uint64, error) {
	if len(dst) == 0 {
		clear(l.cells)
		l.cells, l.width, l.ids = l.cells[:0], l.width[:0], l.ids[:0]
	}
	from := len(l.cells)
	for i := range into {
		if values[i] == jsonview.None && into[i].bit != 0 {
			continue
		}
		v, err := liteCell(d, values[i], &into[i])
		if err != nil {
			l.cells = l.cells[:from]
			return dst, 0, &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: into[i].name, Err: err}
		}
		l.cells = append(l.cells, v)
	}
	l.width = append(l.width, len(l.cells))
	if b := l.s.inbox; b != nil {
		l.ids = append(l.ids, b.id)
	}
	return append(dst, 0), 0, nil
}

// liteCell is a value of a message as it is stored.
func liteCell(d *jsonview.Doc, n jsonview.Node, t *target) (any, error) {
	switch kind := d.Kind(n); {
	case n == jsonview.None || kind == jsonview.Null:
		return nil, nil
	case t.class == classJSON, kind == jsonview.Array, kind == jsonview.Object:
		return string(d.AppendJSON(nil, n)), nil
	case kind == jsonview.True:
		return int64(1), nil
	case kind == jsonview.False:
		return int64(0), nil
	case kind == jsonview.Number:
		text := string(d.Raw(n))
		if t.class == classText {
			return text, nil
		}
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i, nil
		}
		if t.class == classInt {
			return nil, fmt.Errorf("the column is %s, and the value is %.40s", t.typ, text)
		}
		return liteDecimal(text), nil
	}
	text := d.Str(n, nil)
	switch t.class {
	case classInt, classFloat, classNumeric, classBool:
		// SQLite would take it, whatever the column was declared as.
		return nil, fmt.Errorf("the column is %s, and the value is a text", t.typ)
	case classBytes:
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errBase64
		}
		return b, nil
	case classTime:
		if at, ok := layoutTime(d, text, t.want); ok {
			return string(penstock.AppendTimestamp(nil, at)), nil
		}
	}
	return strings.Clone(text), nil
}

// insert is the statement for a number of rows.
func (l *liteLoader) insert(without uint64, count int) string {
	key := litePlan{without, count}
	if s, ok := l.plans[key]; ok {
		return s
	}
	var names, marks, sets []string
	for _, t := range l.s.leftOut(without) {
		q := quote(t.name)
		names, marks = append(names, q), append(marks, "?")
		if !t.key {
			sets = append(sets, q+" = excluded."+q)
		}
	}
	one := "(" + strings.Join(marks, ",") + ")"
	text := "INSERT INTO " + l.s.table.quoted + " (" + strings.Join(names, ", ") + ") VALUES " + one + strings.Repeat(","+one, count-1)
	if l.s.mode != modeInsert {
		text += " ON CONFLICT (" + quoteAll(l.s.config.Key, ", ") + ") DO "
		if l.s.mode == modeIgnore || len(sets) == 0 {
			text += "NOTHING"
		} else {
			text += "UPDATE SET " + strings.Join(sets, ", ")
		}
	}
	if len(l.plans) < 100 { // else every row has other columns
		l.plans[key] = text
	}
	return text
}

// load implements loader.
func (l *liteLoader) load(ctx context.Context, f *feed) error {
	rows := f.all()
	tx, err := l.l.write.BeginTx(ctx, nil)
	if err != nil {
		return l.l.failure(ctx, err)
	}
	fresh, err := l.fresh(ctx, tx, rows)
	if err == nil && len(fresh) > 0 {
		err = l.inside(ctx, tx, fresh)
	}
	var one *rowError
	if errors.As(err, &one) && one.row >= 0 {
		one.row = slices.Index(rows, fresh[one.row])
	}
	if err != nil {
		_ = tx.Rollback()
		return err
	}
	return l.l.failure(ctx, tx.Commit())
}

// create implements inboxKeeper.
func (*liteLoader) create(quoted, index string) []string {
	table := quoted
	if i := strings.LastIndex(quoted, `"."`); i >= 0 { // the schema stands with the index, and not with its table
		index, table = quoted[:i+2]+index, quoted[i+2:]
	}
	return []string{"CREATE TABLE IF NOT EXISTS " + quoted + " (id BLOB PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID", "CREATE INDEX IF NOT EXISTS " + index + " ON " + table + " (until)"}
}

// forget implements inboxKeeper. Until is in milliseconds since 1970.
func (l *liteLoader) forget(ctx context.Context, quoted string, most int) (int64, error) {
	res, err := l.l.write.ExecContext(ctx, "DELETE FROM "+quoted+" WHERE id IN (SELECT id FROM "+quoted+" WHERE until < ?1 LIMIT ?2)", l.s.env.Clock.Now().UnixMilli(), most)
	if err != nil {
		return 0, l.l.failure(ctx, err)
	}
	return res.RowsAffected()
}

// fresh notes in the inbox what rows are known by, and gives those that it did not know.
func (l *liteLoader) fresh(ctx context.Context, tx *sql.Tx, rows []row) ([]row, error) {
	b := l.s.inbox
	if b == nil {
		return rows, nil
	}
	until := l.s.env.Clock.Now().Add(b.config.Retain.Std()).UnixMilli()
	out := make([]row, 0, len(rows))
	for part := range slices.Chunk(rows, liteParameters) {
		args := make([]any, 1, len(part)+1)
		args[0] = until
		for _, r := range part {
			args = append(args, l.ids[r.from][:])
		}
		res, err := tx.QueryContext(ctx, "INSERT INTO "+b.quoted+" (id, until) VALUES (?2, ?1)"+l.marks(len(part)-1)+" ON CONFLICT DO NOTHING RETURNING id", args...)
		if err != nil {
			return nil, l.l.failure(ctx, err)
		}
		noted := make(map[identity]bool, len(part))
		for res.Next() {
			var id []byte
			if err = res.Scan(&id); err != nil {
				break
			}
			noted[identity(id)] = true
		}
		if err = errors.Join(err, res.Err(), res.Close()); err != nil {
			return nil, l.l.failure(ctx, err)
		}
		for _, r := range part {
			if id := l.ids[r.from]; noted[id] {
				noted[id] = false // the first of several, where it is there twice
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// marks are the parameters of n more identities.
func (l *liteLoader) marks(n int) string {
	for at := len(l.mark); at < n; at = len(l.mark) {
		l.mark = append(l.mark, fmt.Sprintf(", (?%d, ?1)", at+3))
	}
	return strings.Join(l.mark[:n], "")
}

func (l *liteLoader) inside(ctx context.Context, tx *sql.Tx, rows []row) error {
	without := rows[0].without
	most := max(liteParameters/len(l.s.leftOut(without)), 1)
	for at := 0; at < len(rows); {
		n := min(most, len(rows)-at)
		if n < most {
			n = 1 << (bits.Len(uint(n)) - 1) // few statements to prepare
		}
		var cells []any
		for _, r := range rows[at : at+n] {
			cells = append(cells, l.row(r)...)
		}
		if _, err := tx.ExecContext(ctx, l.insert(without, n), cells...); err != nil {
			err = l.l.failure(ctx, err)
			if !blames(penstock.CodeOf(err)) {
				return err
			}
			where := -1
			if n == 1 {
				where = at
			}
			return &rowError{row: where, err: err}
		}
		at += n
	}
	return nil
}

// row gives the cells of a row.
func (l *liteLoader) row(r row) []any {
	from := 0
	if r.from > 0 {
		from = l.width[r.from-1]
	}
	return l.cells[from:l.width[r.from]]
}
