package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// viewGeneration is the rows of one generation; 0 is the current one.
type viewGeneration struct {
	*viewRows
	n int64
}

// Load implements penstock.RowSet.
func (g *viewGeneration) Load(ctx context.Context) (state []byte, ok bool, err error) {
	err = g.tables.read.QueryRowContext(ctx, g.say("SELECT state FROM "+g.at(viewTable)+" WHERE target = \x00 AND generation = \x00"), g.name, g.n).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return state, err == nil, g.tables.fail(ctx, err)
}

// Read implements penstock.RowSet.
func (g *viewGeneration) Read(ctx context.Context, keys []string) ([][]byte, error) {
	texts := make([][]byte, len(keys))
	at := make(map[string]int, len(keys))
	for i, k := range keys {
		at[k] = i
	}
	for some := range slices.Chunk(keys, viewKeys) {
		found, err := g.ask(ctx, "SELECT "+quote(viewKey)+", "+quote(viewText)+" FROM "+g.of(g.n)+" WHERE "+quote(viewKey)+" IN ("+marks(len(some))+")", anys(some)...)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			texts[at[r.Key]] = r.Text
		}
	}
	return texts, nil
}

// Scan implements penstock.RowSet.
func (g *viewGeneration) Scan(ctx context.Context, after string, limit int) ([]penstock.KeyedRow, error) {
	return g.ask(ctx, "SELECT "+quote(viewKey)+", "+quote(viewText)+" FROM "+g.of(g.n)+" WHERE "+quote(viewKey)+" > \x00 ORDER BY "+quote(viewKey)+" LIMIT "+strconv.Itoa(limit), after)
}

func (g *viewGeneration) ask(ctx context.Context, text string, args ...any) (out []penstock.KeyedRow, err error) {
	rows, err := g.tables.read.QueryContext(ctx, g.say(text), args...)
	if err != nil {
		return nil, g.tables.fail(ctx, err)
	}
	for rows.Next() {
		var r penstock.KeyedRow
		if err := rows.Scan(&r.Key, &r.Text); err != nil {
			return nil, g.tables.fail(ctx, errors.Join(err, rows.Close()))
		}
		out = append(out, r)
	}
	return out, g.tables.fail(ctx, errors.Join(rows.Err(), rows.Close()))
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("\x00, ", n), ", ") }

func anys(keys []string) []any {
	out := make([]any, len(keys))
	for i, k := range keys {
		out[i] = k
	}
	return out
}

// Write implements penstock.RowSet.
func (g *viewGeneration) Write(ctx context.Context, from string, to penstock.RowMark, changes []penstock.KeyedRow) error {
	if from == "" {
		return g.make(ctx, to)
	}
	return g.tx(ctx, func(tx *sql.Tx) error {
		var is string
		err := tx.QueryRowContext(ctx, g.say("SELECT position FROM "+g.at(viewTable)+" WHERE target = \x00 AND generation = \x00"+g.tables.words.lock), g.name, g.n).Scan(&is)
		if errors.Is(err, sql.ErrNoRows) || err == nil && is != from {
			return penstock.ErrRowsMoved
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, g.say("UPDATE "+g.at(viewTable)+" SET position = \x00, state = \x00 WHERE target = \x00 AND generation = \x00"), to.Position, string(to.State), g.name, g.n); err != nil {
			return err
		}
		return g.change(ctx, tx, changes)
	})
}

// make makes a generation, which has no rows yet. Whoever makes it at the same time finds that it was made.
func (g *viewGeneration) make(ctx context.Context, to penstock.RowMark) error {
	if err := g.do(ctx, "CREATE TABLE IF NOT EXISTS "+g.of(g.n)+" ("+g.columns()+")"); err != nil {
		return err
	}
	err := g.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, g.say("INSERT INTO "+g.at(viewTable)+" (target, generation, owner, is_current, position, state) VALUES (\x00, \x00, \x00, 0, \x00, \x00)"), g.name, g.n, g.owner, to.Position, string(to.State))
		if err == nil { // what is left of one that was dropped only in part
			_, err = tx.ExecContext(ctx, "DELETE FROM "+g.of(g.n))
		}
		return err
	})
	if penstock.CodeOf(err) == penstock.Conflict {
		return penstock.ErrRowsMoved
	}
	return err
}

// change writes rows, as many at a time as a statement takes.
func (g *viewGeneration) change(ctx context.Context, tx *sql.Tx, changes []penstock.KeyedRow) error {
	var gone []string
	var values []any
	wide := len(g.fields) + 2
	n := 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		_, err := tx.ExecContext(ctx, g.insert(n), values...)
		values, n = values[:0], 0
		return err
	}
	var doc jsonview.Doc
	for _, c := range changes {
		if c.Text == nil {
			gone = append(gone, c.Key)
			continue
		}
		doc.Reset(jsonview.JSON, c.Text)
		if err := doc.Parse(jsonview.Limits{}); err != nil {
			return err
		}
		values = append(values, c.Key)
		for _, f := range g.fields {
			v, err := g.cell(&doc, f)
			if err != nil {
				return &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: g.name + ", row " + strconv.Quote(c.Key) + ", column " + f.Name, Err: err}
			}
			values = append(values, v)
		}
		values = append(values, string(c.Text))
		if n++; (n+1)*wide > viewValues {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	for some := range slices.Chunk(gone, viewKeys) {
		if _, err := tx.ExecContext(ctx, g.say("DELETE FROM "+g.of(g.n)+" WHERE "+quote(viewKey)+" IN ("+marks(len(some))+")"), anys(some)...); err != nil {
			return err
		}
	}
	return nil
}

// insert is the statement that writes n rows, in the place of those of their keys.
func (g *viewGeneration) insert(n int) string {
	names, sets, cells := []string{quote(viewKey)}, []string{}, []string{"\x00"}
	for _, f := range g.fields {
		cell := "\x00"
		if g.tables.words.cast {
			cell = "CAST(\x00::text AS " + g.declared(f.Type) + ")"
		}
		names, cells = append(names, quote(f.Name)), append(cells, cell)
	}
	names, cells = append(names, quote(viewText)), append(cells, "\x00")
	for _, name := range names[1:] {
		sets = append(sets, name+" = "+fmt.Sprintf(g.tables.words.value, name))
	}
	row := "(" + strings.Join(cells, ", ") + ")"
	return g.say("INSERT INTO " + g.of(g.n) + " (" + strings.Join(names, ", ") + ") VALUES " + strings.TrimSuffix(strings.Repeat(row+", ", n), ", ") + " " + g.tables.words.upsert + strings.Join(sets, ", "))
}

// cell is the value of a column: nil where the row has none.
func (g *viewGeneration) cell(doc *jsonview.Doc, f types.Field) (any, error) {
	n := doc.Field(0, f.Name, nil)
	if n == jsonview.None || doc.Kind(n) == jsonview.Null {
		return nil, nil
	}
	if k := doc.Kind(n); k == jsonview.Array || k == jsonview.Object {
		return string(doc.Raw(n)), nil
	}
	t := plain(f.Type)
	kind := kindOf(t)
	if kind == types.List || kind == types.Map || kind == types.Object {
		return string(doc.Raw(n)), nil
	}
	b, err := penstock.NodeValue(doc, n).AppendText(nil)
	if err != nil {
		return nil, err
	}
	text := string(b)
	if g.tables.words.cast {
		return text, nil
	}
	switch kind {
	case types.Int:
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i, nil
		}
	case types.Double:
		if d, err := strconv.ParseFloat(text, 64); err == nil {
			return d, nil
		}
	case types.Decimal:
		if !g.tables.words.commits {
			return liteDecimal(text), nil
		}
	case types.Bool:
		return text == "true", nil
	case types.Timestamp:
		if t.Layout == "" && g.tables.words.commits { // MySQL knows no zones
			at, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return nil, err
			}
			return at.UTC().Format(myTime), nil
		}
	}
	return text, nil
}
