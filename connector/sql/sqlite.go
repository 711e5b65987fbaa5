package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"penstock.dev/penstock"
	"penstock.dev/penstock/types"
)

// lite is a file of SQLite: several readers and one writer, or one connection for a database in memory.
type lite struct {
	path           string
	readers, write *sql.DB
}

const (
	inMemory = ":memory:"
	liteWait = 5 * time.Second // for another's lock
)

func newSQLite(c *ConnectionConfig, env penstock.Env) (*lite, error) {
	path, err := fixed(c.Database, env)
	if err != nil {
		return nil, err
	}
	if path == "" {
		return nil, config(c.Database.Pos.String(), "`database` is empty", "it is the path of the file")
	}
	if _, err := os.Stat(path); path != inMemory && !c.Create && errors.Is(err, os.ErrNotExist) {
		return nil, &penstock.Error{Code: penstock.Config, Op: "sql", Path: path, Err: errors.New("there is no such file"), Hint: "check the path, which is relative to the folder that penstock was started in, or say `create: true`"}
	}
	l := &lite{path: path}
	wait := liteWait
	if c.StatementTimeout > 0 {
		wait = c.StatementTimeout.Std()
	}
	q := url.Values{"_pragma": {fmt.Sprintf("busy_timeout(%d)", wait.Milliseconds())}, "_txlock": {"immediate"}}
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
	if path == inMemory {
		dsn = "file::memory:?" + q.Encode()
	}
	open := func(most int) (*sql.DB, error) {
		connector, err := sqlite.NewConnector(dsn)
		if err != nil {
			return nil, err
		}
		db := sql.OpenDB(session{connector, c.Session})
		db.SetMaxOpenConns(most)
		db.SetMaxIdleConns(most)
		if path != inMemory {
			db.SetConnMaxIdleTime(c.Pool.Idle.Std())
		}
		return db, nil
	}
	if l.write, err = open(1); err != nil {
		return nil, config(path, err.Error(), "")
	}
	l.readers = l.write
	if path != inMemory {
		if l.readers, err = open(max(c.Pool.Max, 1)); err != nil {
			return nil, config(path, err.Error(), "")
		}
	}
	return l, nil
}

// session runs the Connection's statements on each new connection.
type session struct {
	driver.Connector
	statements []string
}

// Connect implements driver.Connector.
func (s session) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, text := range s.statements {
		if _, err := c.(driver.ExecerContext).ExecContext(ctx, text, nil); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Close implements database.
func (l *lite) Close() error {
	if l.readers == l.write {
		return l.write.Close()
	}
	return errors.Join(l.readers.Close(), l.write.Close())
}

// db is whom to ask.
func (l *lite) db(s *statement) *sql.DB {
	if s.writes {
		return l.write
	}
	return l.readers
}

// check implements database.
func (l *lite) check(ctx context.Context, s *statement) error {
	st, err := l.db(s).PrepareContext(ctx, s.marks)
	if err != nil {
		return l.failure(ctx, err)
	}
	return st.Close()
}

// run implements database.
func (l *lite) run(ctx context.Context, s *statement, args []penstock.Value, out *rows) (affected int64, err error) {
	conn, err := l.db(s).Conn(ctx)
	if err != nil {
		return 0, l.failure(ctx, err)
	}
	defer func() { _ = conn.Close() }() // back to the pool
	values := make([]any, len(args))
	for i, v := range args {
		if values[i], err = liteValue(v); err != nil {
			return 0, &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: fmt.Sprintf("value %d", i+1), Err: err}
		}
	}
	res, err := conn.QueryContext(ctx, s.marks, values...)
	if err != nil {
		return 0, l.failure(ctx, err)
	}
	err = takeLite(res, out)
	if err = errors.Join(err, res.Close()); err != nil {
		return 0, l.failure(ctx, err)
	}
	if s.changes {
		if err := conn.QueryRowContext(ctx, "SELECT changes()").Scan(&affected); err != nil {
			return 0, l.failure(ctx, err)
		}
	}
	return affected, nil
}

// takeLite reads a result.
func takeLite(res *sql.Rows, out *rows) error {
	names, err := res.Columns()
	if err != nil {
		return err
	}
	if len(names) == 0 || out == nil {
		for res.Next() {
		}
		return res.Err()
	}
	declared, err := res.ColumnTypes()
	if err != nil {
		return err
	}
	if err := out.columns(names); err != nil {
		return err
	}
	kinds := make([]string, len(names))
	for i, d := range declared {
		kinds[i] = strings.ToUpper(d.DatabaseTypeName())
	}
	cells, into := make([]any, len(names)), make([]any, len(names))
	for i := range cells {
		into[i] = &cells[i]
	}
	shown := len(names) - out.hidden
	for res.Next() {
		if err := res.Scan(into...); err != nil {
			return err
		}
		if err := out.begin(); err != nil {
			return err
		}
		for i, cell := range cells {
			if i >= shown {
				var text []byte
				if s, ok := cell.(string); ok {
					text = []byte(s)
				}
				out.extra = append(out.extra, text)
				continue
			}
			out.key(i)
			if out.text, err = appendLite(out.text, cell, kinds[i], out.wants[i]); err != nil {
				return err
			}
		}
		out.end()
	}
	return res.Err()
}

// appendLite appends a cell as JSON. Its value says what it is, and the type that its column was declared with.
func appendLite(dst []byte, cell any, declared string, want *types.Type) ([]byte, error) {
	switch v := cell.(type) {
	case nil:
		return append(dst, "null"...), nil
	case int64:
		if kindOf(want) == types.Bool || declared == "BOOLEAN" || declared == "BOOL" {
			if v == 0 || v == 1 {
				return fmt.Appendf(dst, "%t", v == 1), nil
			}
		}
		return appendNumber(dst, fmt.Sprint(v), want), nil
	case float64:
		if k := kindOf(want); k == types.Decimal || k == types.String {
			return appendNumber(dst, appendFloat(nil, v), want), nil
		}
		return appendFloat(dst, v), nil
	case bool:
		return fmt.Appendf(dst, "%t", v), nil
	case string:
		if declared == "JSON" {
			return appendText(dst, v, &types.Type{Kind: types.Union}), nil
		}
		return appendText(dst, v, want), nil
	case time.Time: // of columns that are declared as DATE, DATETIME or TIMESTAMP
		if declared == "DATE" {
			return append(dst, v.Format(`"2006-01-02"`)...), nil
		}
		return appendStamp(dst, v), nil
	case []byte:
		return appendBytes(dst, v), nil
	}
	return dst, fmt.Errorf("a value of type %T", cell)
}

// liteValue is a value as SQLite stores it.
func liteValue(v penstock.Value) (any, error) {
	v = v.Load(nil)
	switch v.Kind() {
	case penstock.KindNull, penstock.KindAbsent:
		return nil, nil
	case penstock.KindOptional:
		return liteValue(v.Optional())
	case penstock.KindBool:
		return v.Bool(), nil
	case penstock.KindInt:
		return v.Int(), nil
	case penstock.KindUint:
		if v.Uint() <= 1<<63-1 {
			return int64(v.Uint()), nil
		}
	case penstock.KindDouble:
		return v.Double(), nil
	case penstock.KindDecimal:
		return liteDecimal(v.Decimal().String()), nil
	case penstock.KindBytes:
		return v.Bytes(), nil
	}
	text, err := v.AppendText(nil)
	return string(text), err
}

// liteDecimal is a decimal as SQLite stores it, which has no type for it: a whole number or a double where that keeps every digit,
// else a text.
func liteDecimal(text string) any {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && digits(text) <= 15 {
		return f
	}
	return text
}

// digits counts the digits of a decimal from the first that is not 0. Any 15 of them are kept by a double.
func digits(text string) (n int) {
	for _, c := range text {
		if c >= '0' && c <= '9' && (n > 0 || c != '0') {
			n++
		}
	}
	return n
}

// failure makes an Error of what SQLite says.
func (l *lite) failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var known *penstock.Error
	if errors.As(err, &known) || errors.Is(err, errMoreRows) || errors.Is(err, errLarge) {
		return err
	}
	if ctx.Err() != nil {
		return &penstock.Error{Code: penstock.CodeOf(context.Cause(ctx)), Op: "sql", Path: l.path, Err: context.Cause(ctx)}
	}
	out := &penstock.Error{Code: penstock.Internal, Op: "sql", Path: l.path, Err: err, Unsent: true}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return out
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_CONSTRAINT:
		out.Code = penstock.Unprocessable
		if c := e.Code(); c == lib.SQLITE_CONSTRAINT_UNIQUE || c == lib.SQLITE_CONSTRAINT_PRIMARYKEY || c == lib.SQLITE_CONSTRAINT_ROWID {
			out.Code = penstock.Conflict
		}
	case lib.SQLITE_MISMATCH, lib.SQLITE_RANGE:
		out.Code = penstock.Unprocessable
	case lib.SQLITE_TOOBIG:
		out.Code = penstock.TooLarge
	case lib.SQLITE_ERROR:
		out.Code, out.Hint = penstock.Config, "check the statement, and the names of tables and columns"
	case lib.SQLITE_CANTOPEN, lib.SQLITE_NOTADB:
		out.Code, out.Hint = penstock.Config, "check the path of the file, its folder, and who may read and write it"
	case lib.SQLITE_READONLY, lib.SQLITE_PERM, lib.SQLITE_AUTH:
		out.Code, out.Hint = penstock.Forbidden, "the file, or its folder, may not be written"
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		out.Code, out.Hint = penstock.Unavailable, "somebody else holds the file's lock: end that transaction, or raise `statementTimeout`"
	case lib.SQLITE_FULL:
		out.Code, out.Hint = penstock.Unavailable, "the disk is full"
	case lib.SQLITE_IOERR, lib.SQLITE_NOMEM, lib.SQLITE_PROTOCOL, lib.SQLITE_INTERRUPT:
		out.Code = penstock.Unavailable
	}
	return out
}
