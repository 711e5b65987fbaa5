package sql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// What the tables of a view's rows are made of.
const (
	viewTable = "penstock_view" // says of each generation how far it has come, and which one is current
	viewKey   = "row_key"
	viewText  = "row_json"
	// viewName is how long the name of a table may be: databases cut what is longer than 63 bytes, and a generation stands behind it.
	viewName = 48
	// viewValues is how many values one statement binds at most; SQLite takes 32,766.
	viewValues = 8000
	// viewKeys is how many keys are looked for by one statement.
	viewKeys = 500
)

// viewRows keeps the rows of a view: each generation in a table of its own (balances@2), with the view balances on top of the current one.
type viewRows struct {
	db     database
	tables *tables
	schema []string // in front of the name; mostly none
	name   string
	owner  string // as Open was told
	fields []types.Field
}

// tables is what database/sql knows a database as.
type tables struct {
	read, write *sql.DB
	words       viewWords
	text        func(*statement) string
	fail        func(context.Context, error) error
}

// viewWords is what databases write differently about rows of views.
type viewWords struct {
	key, text, number string // types of columns
	types             map[types.Kind]string
	lock              string // behind a question, whose rows nobody else may change then
	cast              bool   // values are texts, whose types the statement says
	upsert, value     string // what follows the values of an insert, and a format of the new value of a column
	// commits says that what defines something is a transaction of its own.
	commits bool
}

func tablesOf(ctx context.Context, db database) (*tables, error) {
	switch p := db.(type) {
	case *lite:
		return &tables{read: p.readers, write: p.write, text: func(s *statement) string { return s.marks }, fail: p.failure, words: viewWords{key: "TEXT", text: "TEXT", number: "BIGINT",
			types:  map[types.Kind]string{types.Int: "INTEGER", types.Uint: "NUMERIC", types.Double: "REAL", types.Decimal: "NUMERIC", types.Bool: "BOOLEAN", types.Timestamp: "TIMESTAMP", types.List: "JSON", types.Map: "JSON", types.Object: "JSON"},
			upsert: "ON CONFLICT (" + quote(viewKey) + ") DO UPDATE SET ", value: "excluded.%s"}}, nil
	case *postgres:
		open := p.plain()
		return &tables{read: open, write: open, text: func(s *statement) string { return s.dollar }, fail: func(ctx context.Context, err error) error { return p.failure(ctx, err, false) },
			words: viewWords{key: `text COLLATE "C"`, text: "text", number: "bigint", lock: " FOR UPDATE", cast: true,
				types:  map[types.Kind]string{types.Int: "bigint", types.Uint: "numeric", types.Double: "double precision", types.Decimal: "numeric", types.Bool: "boolean", types.Timestamp: "timestamptz", types.List: "jsonb", types.Map: "jsonb", types.Object: "jsonb"},
				upsert: "ON CONFLICT (" + quote(viewKey) + ") DO UPDATE SET ", value: "excluded.%s"}}, nil
	case *mariadb:
		t := &tables{read: p.db, write: p.db, text: func(s *statement) string { return s.question }, fail: func(ctx context.Context, err error) error { return p.failure(ctx, err, false) },
			words: viewWords{text: "longtext CHARACTER SET utf8mb4", number: "bigint", lock: " FOR UPDATE", commits: true,
				types:  map[types.Kind]string{types.Int: "bigint", types.Uint: "bigint unsigned", types.Double: "double", types.Decimal: "decimal(65,30)", types.Bool: "boolean", types.Timestamp: "datetime(6)", types.List: "json", types.Map: "json", types.Object: "json"},
				upsert: "ON DUPLICATE KEY UPDATE ", value: "VALUES(%s)"}}
		var version string
		if err := p.db.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
			return nil, p.failure(ctx, err, true)
		}
		collation := "utf8mb4_0900_bin" // both of them tell 'a' from 'a ' and from 'A', and order by code points as UTF-8 does
		if strings.Contains(version, "MariaDB") {
			collation = "utf8mb4_nopad_bin"
		}
		t.words.key = "varchar(700) CHARACTER SET utf8mb4 COLLATE " + collation
		return t, nil
	}
	return nil, penstock.E(penstock.Internal, "sql", "", "this database keeps no rows of views")
}

func newViewRows(c penstock.RowsConfig, env penstock.Env) (penstock.RowStore, error) {
	db, err := connect(c.Connection, env)
	if err != nil {
		return nil, err
	}
	parts, err := tableName(c.Table)
	if err != nil {
		return nil, config(env.Name, err.Error(), "")
	}
	v := &viewRows{db: db, schema: parts[:len(parts)-1], name: parts[len(parts)-1]}
	if len(v.name) > viewName {
		return nil, config(env.Name, fmt.Sprintf("the name of table %s is too long", c.Table), fmt.Sprintf("a table of a view has a name of at most %d bytes, since the number of a generation stands behind it", viewName))
	}
	if c.Row != nil && c.Row.Kind == types.Object {
		v.fields = c.Row.Fields
	}
	return v, nil
}

// at is the name of something beside the table, as statements have it.
func (v *viewRows) at(name string) string { return quoteAll(append(slices.Clone(v.schema), name), ".") }

func (v *viewRows) of(generation int64) string {
	if generation == 0 {
		return v.at(v.name)
	}
	return v.at(v.name + "@" + strconv.FormatInt(generation, 10))
}

// Open implements penstock.RowStore.
func (v *viewRows) Open(ctx context.Context, owner string) (err error) {
	if v.tables == nil {
		t, err := tablesOf(ctx, v.db)
		if err != nil {
			return err
		}
		v.tables = t
	}
	v.owner = owner
	w := v.tables.words
	name := strings.Replace(w.key, "700", "100", 1)
	create := "CREATE TABLE IF NOT EXISTS " + v.at(viewTable) + " (target " + name + " NOT NULL, generation " + w.number + " NOT NULL, owner " + w.text + " NOT NULL, is_current " + w.number + " NOT NULL, position " + w.text + " NOT NULL, state " + w.text +
		" NOT NULL, PRIMARY KEY (target, generation))"
	known, err := v.db.table(ctx, append(slices.Clone(v.schema), viewTable))
	if err != nil {
		return err
	}
	if len(known.columns) == 0 {
		err := v.do(ctx, create)
		if err != nil { // somebody else may have made it meanwhile
			if known, again := v.db.table(ctx, append(slices.Clone(v.schema), viewTable)); again == nil && len(known.columns) > 0 {
				err = nil
			}
		}
		if err != nil {
			return v.refused(err, "the table "+viewTable+", which says how far the rows are, can't be made", "let the user make tables, or have it made: "+create)
		}
	}
	rows, err := v.tables.read.QueryContext(ctx, v.say("SELECT owner FROM "+v.at(viewTable)+" WHERE target = \x00"), v.name)
	if err != nil {
		return v.refused(v.tables.fail(ctx, err), "the table "+viewTable+" can't be read", "let the user read and change it, or remove it if it is none of penstock's")
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var is string
		if err := rows.Scan(&is); err != nil {
			return v.tables.fail(ctx, err)
		}
		if is != owner {
			return &penstock.Error{Code: penstock.Config, Op: "sql", Path: v.name, Err: errors.New("its rows are kept by another store: how far they are says nothing of the events of this one"),
				Hint: "name another table; or, where that store is gone, let this one begin: DELETE FROM " + v.at(viewTable) + " WHERE target = '" + strings.ReplaceAll(v.name, "'", "''") + "'"}
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return v.tables.fail(ctx, err)
	}
	if n, err := v.Current(ctx); err != nil {
		return err
	} else if n == 0 {
		there, err := v.db.table(ctx, append(slices.Clone(v.schema), v.name))
		if err != nil {
			return err
		}
		if n, err = v.Current(ctx); err != nil { // another process may have made it meanwhile
			return err
		}
		if len(there.columns) > 0 && n == 0 {
			return &penstock.Error{Code: penstock.Config, Op: "sql", Path: v.name, Err: errors.New("there is a table, or a view, of that name already"), Hint: "name another table, or remove that one: it is made by penstock"}
		}
	}
	return v.refused(v.probe(ctx), "the user may not make the tables of the rows", "let the user make and drop tables and views where the table is")
}

// probe sees whether a generation could be made, and leaves nothing behind.
func (v *viewRows) probe(ctx context.Context) error {
	name := v.name + "@" + strings.ToLower(rand.Text()[:6]) // nobody else's, who starts at the same time
	table, view := v.at(name), v.at(name+"v")
	try := []string{"CREATE TABLE " + table + " (" + v.columns() + ")", "CREATE VIEW " + view + " AS SELECT " + quote(viewKey) + " FROM " + table, "DROP VIEW " + view, "DROP TABLE " + table}
	return v.do(ctx, try...)
}

// refused says what an error at the start is about. One that may pass stays as it is.
func (v *viewRows) refused(err error, what, hint string) error {
	if err == nil || penstock.CodeOf(err).Transient() || penstock.CodeOf(err) == penstock.Cancelled {
		return err
	}
	return &penstock.Error{Code: penstock.CodeOf(err), Op: "sql", Path: v.name, Err: fmt.Errorf("%s: %w", what, err), Hint: hint}
}

// do runs statements in one transaction, where the database has that for them.
func (v *viewRows) do(ctx context.Context, statements ...string) error {
	return v.tx(ctx, func(tx *sql.Tx) error {
		for _, s := range statements {
			if _, err := tx.ExecContext(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// tx runs a transaction.
func (v *viewRows) tx(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := v.tables.write.BeginTx(ctx, nil)
	if err != nil {
		return v.tables.fail(ctx, err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // what failed says it
		if errors.Is(err, penstock.ErrRowsMoved) {
			return err
		}
		return v.tables.fail(ctx, err)
	}
	if err := tx.Commit(); err != nil {
		return v.tables.fail(ctx, err)
	}
	return nil
}

// say is a statement as the database wants its values marked: \x00 stands for one.
func (v *viewRows) say(text string) string { return v.tables.text(newStatement(text)) }

// declared is the type of a column; text for what has none of its own.
func (v *viewRows) declared(t *types.Type) string {
	t = plain(t)
	if t == nil || t.Kind == types.Timestamp && t.Layout != "" {
		return v.tables.words.text
	}
	if s, ok := v.tables.words.types[t.Kind]; ok {
		return s
	}
	return v.tables.words.text
}

// columns declares the columns of a generation. Each but the key may be NULL: where the row has no such field.
func (v *viewRows) columns() string {
	parts := []string{quote(viewKey) + " " + v.tables.words.key + " NOT NULL PRIMARY KEY"}
	for _, f := range v.fields {
		parts = append(parts, quote(f.Name)+" "+v.declared(f.Type))
	}
	return strings.Join(append(parts, quote(viewText)+" "+v.tables.words.text+" NOT NULL"), ", ")
}

// Current implements penstock.RowStore.
func (v *viewRows) Current(ctx context.Context) (n int64, err error) {
	err = v.tables.read.QueryRowContext(ctx, v.say("SELECT coalesce(max(generation), 0) FROM "+v.at(viewTable)+" WHERE target = \x00 AND is_current = 1"), v.name).Scan(&n)
	return n, v.tables.fail(ctx, err)
}

// Switch implements penstock.RowStore. Which generation is current, and the view that others read, change in one transaction; with MySQL, whose definitions are transactions of
// their own, the view follows at once, or at the next start.
func (v *viewRows) Switch(ctx context.Context, n int64) error {
	commits := v.tables.words.commits
	err := v.tx(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, v.say("SELECT generation, is_current FROM "+v.at(viewTable)+" WHERE target = \x00"+v.tables.words.lock), v.name)
		if err != nil {
			return err
		}
		is, there := int64(0), false
		for rows.Next() {
			var g, c int64
			if err := rows.Scan(&g, &c); err != nil {
				return errors.Join(err, rows.Close())
			}
			there = there || g == n
			if c == 1 {
				is = max(is, g)
			}
		}
		switch err := errors.Join(rows.Err(), rows.Close()); {
		case err != nil:
			return err
		case is > n || !there:
			return penstock.ErrRowsMoved
		case is == n:
			return nil
		}
		if _, err := tx.ExecContext(ctx, v.say("UPDATE "+v.at(viewTable)+" SET is_current = CASE WHEN generation = \x00 THEN 1 ELSE 0 END WHERE target = \x00"), n, v.name); err != nil || commits {
			return err
		}
		return v.put(ctx, tx, n)
	})
	if err == nil && commits {
		_, err = v.tables.write.ExecContext(ctx, "CREATE OR REPLACE "+v.view(n))
		err = v.tables.fail(ctx, err)
	}
	return err
}

// view is the statement that has others read a generation.
func (v *viewRows) view(n int64) string {
	names := []string{quote(viewKey)}
	for _, f := range v.fields {
		names = append(names, quote(f.Name))
	}
	return "VIEW " + v.of(0) + " AS SELECT " + strings.Join(append(names, quote(viewText)), ", ") + " FROM " + v.of(n)
}

// put has others read a generation. PostgreSQL keeps who may read a view where it has the columns that it had.
func (v *viewRows) put(ctx context.Context, tx *sql.Tx, n int64) error {
	statements := []string{"DROP VIEW IF EXISTS " + v.of(0), "CREATE " + v.view(n)}
	if v.tables.words.cast {
		if _, err := tx.ExecContext(ctx, "SAVEPOINT replacing"); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "CREATE OR REPLACE "+v.view(n)); err == nil {
			return nil
		}
		statements = append([]string{"ROLLBACK TO SAVEPOINT replacing"}, statements...)
	}
	for _, s := range statements {
		if _, err := tx.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// Drop implements penstock.RowStore.
func (v *viewRows) Drop(ctx context.Context, n int64) error {
	err := v.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, v.say("DELETE FROM "+v.at(viewTable)+" WHERE target = \x00 AND generation = \x00"), v.name, n)
		return err
	})
	if err != nil {
		return err
	}
	return v.do(ctx, "DROP TABLE IF EXISTS "+v.of(n))
}

// Generation implements penstock.RowStore.
func (v *viewRows) Generation(n int64) penstock.RowSet { return &viewGeneration{v, n} }
