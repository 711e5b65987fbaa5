package sql

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// myLoader writes rows by INSERT statements of many rows.
type myLoader struct {
	p     *mariadb
	s     *sink
	cells []any // of all rows of a batch
	width []int // where the cells of each row end
	bytes []int // how much text they have, with those before
	ids   []identity
	plans map[litePlan]string
}

const (
	myParameters = 8000    // values of a statement: the server allows 65535
	myBytes      = 4 << 20 // of text: it has to fit max_allowed_packet, 16 MiB where nobody says otherwise
)

// loader implements database.
func (p *mariadb) loader(s *sink) loader { return &myLoader{p: p, s: s, plans: map[litePlan]string{}} }

// begin implements loader.
func (l *myLoader) begin() {}

// add implements loader. A row's text is where its cells are.
func (l *myLoader) add(dst []byte, d *jsonview.Doc, into []target, values []jsonview.Node) ([]byte, uint64, error) {
	size := 0
	if len(dst) == 0 {
		clear(l.cells)
		l.cells, l.width, l.bytes, l.ids = l.cells[:0], l.width[:0], l.bytes[:0], l.ids[:0]
	} else {
		size = l.bytes[len(l.bytes)-1]
	}
	from := len(l.cells)
	for i := range into {
		if values[i] == jsonview.None && into[i].bit != 0 {
			continue
		}
		v, err := myCell(d, values[i], &into[i])
		if err != nil {
			l.cells = l.cells[:from]
			return dst, 0, &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: into[i].name, Err: err}
		}
		switch v := v.(type) {
		case string:
			size += len(v)
		case []byte:
			size += len(v)
		}
		l.cells = append(l.cells, v)
	}
	l.width, l.bytes = append(l.width, len(l.cells)), append(l.bytes, size)
	if b := l.s.inbox; b != nil {
		l.ids = append(l.ids, b.id)
	}
	return append(dst, 0), 0, nil
}

// myCell is a value of a message as it is bound. The server makes of a text what the column is, and refuses what it can't.
func myCell(d *jsonview.Doc, n jsonview.Node, t *target) (any, error) {
	switch kind := d.Kind(n); {
	case n == jsonview.None || kind == jsonview.Null:
		return nil, nil
	case t.class == classJSON, kind == jsonview.Array, kind == jsonview.Object:
		return string(d.AppendJSON(nil, n)), nil
	case kind == jsonview.True || kind == jsonview.False:
		if t.class == classText {
			return string(d.Raw(n)), nil
		}
		if kind == jsonview.True {
			return int64(1), nil
		}
		return int64(0), nil
	case kind == jsonview.Number:
		text := string(d.Raw(n))
		if t.class == classInt {
			if i, err := strconv.ParseInt(text, 10, 64); err == nil {
				return i, nil
			}
			if i, err := strconv.ParseUint(text, 10, 64); err == nil {
				return i, nil
			}
			return nil, fmt.Errorf("the column is %s, and the value is %.40s", t.typ, text)
		}
		return text, nil
	}
	text := d.Str(n, nil)
	switch t.class {
	case classInt, classFloat, classNumeric:
		if !jsonview.ValidNumber([]byte(text)) {
			return nil, fmt.Errorf("the column is %s, and the value is a text", t.typ)
		}
	case classBytes:
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errBase64
		}
		return b, nil
	case classTime:
		if at, ok := layoutTime(d, text, t.want); ok {
			return at.UTC().Format(myTime), nil
		}
		return strings.Clone(myInstant(text)), nil
	}
	return strings.Clone(text), nil
}

// insert is the statement for a number of rows.
func (l *myLoader) insert(without uint64, count int) string {
	key := litePlan{without, count}
	if s, ok := l.plans[key]; ok {
		return s
	}
	var names, marks, sets []string
	for _, t := range l.s.leftOut(without) {
		q := quote(t.name)
		names, marks = append(names, q), append(marks, "?")
		if !t.key {
			sets = append(sets, q+" = VALUES("+q+")")
		}
	}
	one := "(" + strings.Join(marks, ",") + ")"
	text := "INSERT INTO " + l.s.table.quoted + " (" + strings.Join(names, ", ") + ") VALUES " + one + strings.Repeat(","+one, count-1)
	if l.s.mode != modeInsert {
		if l.s.mode == modeIgnore || len(sets) == 0 { // INSERT IGNORE would let through whatever does not fit
			k := quote(l.s.config.Key[0])
			sets = []string{k + " = " + k}
		}
		text += " ON DUPLICATE KEY UPDATE " + strings.Join(sets, ", ")
	}
	if len(l.plans) < 100 { // else every row has other columns
		l.plans[key] = text
	}
	return text
}

// load implements loader. What several write at once is told apart by the server's locks; what it gives up because of them may be tried again.
func (l *myLoader) load(ctx context.Context, f *feed) error {
	rows := f.all()
	tx, err := l.p.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return l.p.failure(ctx, err, true)
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
		return unsent(err) // without a COMMIT nothing is there
	}
	// Once it was sent, whoever gave up waiting would not know what came of it.
	return l.unsure(l.p.failure(context.WithoutCancel(ctx), tx.Commit(), false))
}

// unsent says of an error that what failed has had no effect.
func unsent(err error) error {
	var e *penstock.Error
	if errors.As(err, &e) && e == err && !e.Unsent { //nolint:errorlint // only one that stands in front is ours to change
		out := *e
		out.Unsent = true
		return &out
	}
	return err
}

// unsure makes an error of a COMMIT one that nobody tries again by himself, where that could write the rows twice: the server can't be asked whether they are there.
func (l *myLoader) unsure(err error) error {
	if err == nil || l.s.inbox != nil || l.s.mode != modeInsert || penstock.IsUnsent(err) || !penstock.CodeOf(err).Transient() {
		return err
	}
	return &penstock.Error{Code: penstock.Internal, Op: "sql", Path: l.p.at, Err: fmt.Errorf("the connection was lost while the rows were committed, and the server can't say whether they were: %w", err),
		Hint: "look into the table before these messages are sent again; with `inbox: {}`, or a `key`, there is no such question"}
}

func (l *myLoader) inside(ctx context.Context, tx *sql.Tx, rows []row) error {
	without := rows[0].without
	most := max(myParameters/len(l.s.leftOut(without)), 1)
	for at := 0; at < len(rows); {
		n := min(most, len(rows)-at)
		for n > 1 && l.size(rows[at:at+n]) > myBytes {
			n = (n + 1) / 2
		}
		var cells []any
		for _, r := range rows[at : at+n] {
			cells = append(cells, l.row(r)...)
		}
		if _, err := tx.ExecContext(ctx, l.insert(without, n), cells...); err != nil {
			err = l.p.failure(ctx, err, false)
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
func (l *myLoader) row(r row) []any {
	from := 0
	if r.from > 0 {
		from = l.width[r.from-1]
	}
	return l.cells[from:l.width[r.from]]
}

// size is how much text rows have.
func (l *myLoader) size(rows []row) (n int) {
	for _, r := range rows {
		n += l.bytes[r.from]
		if r.from > 0 {
			n -= l.bytes[r.from-1]
		}
	}
	return n
}

// create implements inboxKeeper.
func (*myLoader) create(quoted, index string) []string {
	return []string{"CREATE TABLE IF NOT EXISTS " + quoted + " (id binary(20) NOT NULL PRIMARY KEY, until bigint NOT NULL, KEY " + index + " (until)) ENGINE = InnoDB"}
}

// forget implements inboxKeeper. Until is in milliseconds since 1970.
func (l *myLoader) forget(ctx context.Context, quoted string, most int) (int64, error) {
	res, err := l.p.db.ExecContext(ctx, "DELETE FROM "+quoted+" WHERE until < ? LIMIT "+strconv.Itoa(most), l.s.env.Clock.Now().UnixMilli())
	if err != nil {
		return 0, l.p.failure(ctx, err, false)
	}
	return res.RowsAffected()
}

// fresh notes in the inbox what rows are known by, and gives those that it did not know. Where somebody else notes the same at the same time, one of the two is
// refused, and finds it known the next time.
func (l *myLoader) fresh(ctx context.Context, tx *sql.Tx, rows []row) ([]row, error) {
	b := l.s.inbox
	if b == nil {
		return rows, nil
	}
	until := l.s.env.Clock.Now().Add(b.config.Retain.Std()).UnixMilli()
	out := make([]row, 0, len(rows))
	for part := range slices.Chunk(rows, myParameters/2) {
		known := map[identity]bool{}
		ids := make([]any, 0, len(part))
		for _, r := range part {
			ids = append(ids, l.ids[r.from][:])
		}
		res, err := tx.QueryContext(ctx, "SELECT id FROM "+b.quoted+" WHERE id IN (?"+strings.Repeat(",?", len(ids)-1)+")", ids...)
		if err != nil {
			return nil, l.p.failure(ctx, err, false)
		}
		for res.Next() {
			var id []byte
			if err = res.Scan(&id); err != nil {
				break
			}
			known[identity(id)] = true
		}
		if err = errors.Join(err, res.Err(), res.Close()); err != nil {
			return nil, l.p.failure(ctx, err, false)
		}
		var notes []any
		for _, r := range part {
			if id := l.ids[r.from]; !known[id] {
				known[id] = true // the first of several, where it is there twice
				out, notes = append(out, r), append(notes, id[:], until)
			}
		}
		if len(notes) == 0 {
			continue
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+b.quoted+" (id, until) VALUES (?,?)"+strings.Repeat(",(?,?)", len(notes)/2-1), notes...); err != nil {
			err = l.p.failure(ctx, err, false)
			if penstock.CodeOf(err) == penstock.Conflict {
				return nil, &penstock.Error{Code: penstock.Unavailable, Op: "sql", Path: l.p.at, Err: errors.New("somebody else has just written the same messages"), Unsent: true}
			}
			return nil, err
		}
	}
	return out, nil
}
