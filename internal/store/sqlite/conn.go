package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
)

// sqlID names a statement that is prepared once for each connection.
type sqlID int

const (
	sqlBegin sqlID = iota
	sqlBeginRead
	sqlPin
	sqlCommit
	sqlRollback
	sqlSavepoint
	sqlRelease
	sqlRollbackTo

	sqlChannels
	sqlChannel
	sqlPutChannel
	sqlPutSegment
	sqlSegmentsFrom
	sqlSegmentAt
	sqlSegmentNext
	sqlSweepSegments
	sqlDeleteSegments

	sqlSpaces
	sqlSpace
	sqlPutSpace
	sqlUnnameSpace
	sqlDeleteSpace
	sqlGet
	sqlSize
	sqlInsert
	sqlInsertNew
	sqlUpdate
	sqlDelete
	sqlScan
	sqlDue
	sqlSweepState

	sqlPages
	sqlFreePages
	sqlCheckpointNoop
	sqlCheckpointPassive
	sqlCheckpointRestart
	sqlCheckpointTruncate

	sqlCount
)

// statements are the texts. Segments have the id channel<<positionBits | base: appends to a channel are neighbours, and
// finding a position is one descent.
var statements = [sqlCount]string{
	sqlBegin:      "BEGIN IMMEDIATE",
	sqlBeginRead:  "BEGIN",
	sqlPin:        "SELECT id FROM channel LIMIT 1",
	sqlCommit:     "COMMIT",
	sqlRollback:   "ROLLBACK",
	sqlSavepoint:  "SAVEPOINT tx",
	sqlRelease:    "RELEASE tx",
	sqlRollbackTo: "ROLLBACK TO tx",

	sqlChannels:     "SELECT id, name, first, next, seq, total, hi, crc FROM channel ORDER BY name",
	sqlChannel:      "SELECT id, name, first, next, seq, total, hi, crc FROM channel WHERE name = ?1",
	sqlPutChannel:   "INSERT OR REPLACE INTO channel (id, name, first, next, seq, total, hi, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
	sqlPutSegment:   "INSERT INTO segment (id, n, min_ts, max_ts, hi, seq, total, crc, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	sqlSegmentsFrom: "SELECT id, n, min_ts, max_ts, hi, seq, total, crc, data FROM segment WHERE id >= ?1 AND id < ?2 ORDER BY id",
	// Without data: length() of a blob reads its size off the row's header, not its pages.
	sqlSegmentAt:      "SELECT id, n, min_ts, max_ts, hi, seq, total, length(data) FROM segment WHERE id >= ?1 AND id <= ?2 ORDER BY id DESC LIMIT 1",
	sqlSegmentNext:    "SELECT id, n, min_ts, max_ts, hi, seq, total, length(data) FROM segment WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1",
	sqlSweepSegments:  "SELECT id, length(data) FROM segment WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3",
	sqlDeleteSegments: "DELETE FROM segment WHERE id >= ?1 AND id <= ?2",

	sqlSpaces:      "SELECT id, name, entries, bytes, crc FROM space WHERE name >= ?1 ORDER BY name",
	sqlSpace:       "SELECT id, name, entries, bytes, crc FROM space WHERE name = ?1",
	sqlPutSpace:    "INSERT OR REPLACE INTO space (id, name, entries, bytes, crc) VALUES (?1, ?2, ?3, ?4, ?5)",
	sqlUnnameSpace: "UPDATE space SET name = NULL WHERE id = ?1",
	sqlDeleteSpace: "DELETE FROM space WHERE id = ?1",
	sqlGet:         "SELECT due, crc, value FROM state WHERE space = ?1 AND key = ?2",
	sqlSize:        "SELECT length(value) FROM state WHERE space = ?1 AND key = ?2",
	sqlInsert:      "INSERT INTO state (space, key, due, crc, value) VALUES (?1, ?2, ?3, ?4, ?5)",
	sqlInsertNew:   "INSERT INTO state (space, key, due, crc, value) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
	sqlUpdate:      "UPDATE state SET due = ?3, crc = ?4, value = ?5 WHERE space = ?1 AND key = ?2",
	sqlDelete:      "DELETE FROM state WHERE space = ?1 AND key = ?2",
	sqlScan:        "SELECT key, due, crc, value FROM state WHERE space = ?1 AND key > ?2 ORDER BY key LIMIT ?3",
	sqlDue:         "SELECT key, due, crc, value FROM state WHERE space = ?1 AND due <> 0 AND due <= ?2 ORDER BY due, key LIMIT ?3",
	sqlSweepState:  "DELETE FROM state WHERE space = ?1 AND key IN (SELECT key FROM state WHERE space = ?1 ORDER BY key LIMIT ?2)",

	sqlPages:              "PRAGMA page_count",
	sqlFreePages:          "PRAGMA freelist_count",
	sqlCheckpointNoop:     "PRAGMA wal_checkpoint(NOOP)",
	sqlCheckpointPassive:  "PRAGMA wal_checkpoint(PASSIVE)",
	sqlCheckpointRestart:  "PRAGMA wal_checkpoint(RESTART)",
	sqlCheckpointTruncate: "PRAGMA wal_checkpoint(TRUNCATE)",
}

// conn is one connection to the file, for one goroutine at a time. It speaks to the driver without package sql between them:
// the pool, the locks and the conversions of package sql cost as much as a small statement does.
type conn struct {
	raw     driver.Conn
	borrows bool // the driver's rows lend memory that the next row overwrites
	closed  bool
	stmts   [sqlCount]driver.Stmt
	args    []driver.NamedValue
	dest    [16]driver.Value
}

// opener makes connections.
type opener struct {
	driver  driver.Driver
	dsn     string
	borrows bool
}

func (o opener) open(pragmas ...string) (*conn, error) {
	raw, err := o.driver.Open(o.dsn)
	if err != nil {
		return nil, err
	}
	c := &conn{raw: raw, borrows: o.borrows}
	for _, p := range pragmas {
		if err := c.text(p); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", p, err), c.close())
		}
	}
	return c, nil
}

// text runs a statement that is needed once.
func (c *conn) text(sql string) error {
	return c.textRows(sql, func([]driver.Value) (bool, error) { return true, nil })
}

// textRows runs a query that is needed once.
func (c *conn) textRows(sql string, row func([]driver.Value) (bool, error)) error {
	s, err := c.raw.Prepare(sql)
	if err != nil {
		return err
	}
	return errors.Join(c.rows(s, row, nil), s.Close())
}

// number runs a query that gives one number.
func (c *conn) number(sql string) (n int64, err error) {
	err = c.textRows(sql, func(v []driver.Value) (bool, error) {
		n, _ = v[0].(int64)
		return false, nil
	})
	return n, err
}

func (c *conn) stmt(id sqlID) (driver.Stmt, error) {
	if s := c.stmts[id]; s != nil {
		return s, nil
	}
	if c.closed {
		return nil, driver.ErrBadConn
	}
	s, err := c.raw.Prepare(statements[id])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", statements[id], err)
	}
	c.stmts[id] = s
	return s, nil
}

func (c *conn) bind(args []driver.Value) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec runs a statement, and says how many rows it changed.
func (c *conn) exec(id sqlID, args ...driver.Value) (int64, error) {
	s, err := c.stmt(id)
	if err != nil {
		return 0, err
	}
	e, ok := s.(driver.StmtExecContext)
	if !ok {
		return 0, fmt.Errorf("the SQLite driver %T can't execute with a context", s)
	}
	r, err := e.ExecContext(context.Background(), c.bind(args))
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query calls row for each row until it says false. The values are lent for the call.
func (c *conn) query(id sqlID, row func(v []driver.Value) (more bool, err error), args ...driver.Value) error {
	s, err := c.stmt(id)
	if err != nil {
		return err
	}
	return c.rows(s, row, c.bind(args))
}

func (c *conn) rows(s driver.Stmt, row func(v []driver.Value) (more bool, err error), args []driver.NamedValue) (err error) {
	return c.rowsContext(context.Background(), s, row, args)
}

func (c *conn) rowsContext(ctx context.Context, s driver.Stmt, row func(v []driver.Value) (more bool, err error), args []driver.NamedValue) (err error) {
	q, ok := s.(driver.StmtQueryContext)
	if !ok {
		return fmt.Errorf("the SQLite driver %T can't query with a context", s)
	}
	rows, err := q.QueryContext(ctx, args)
	if err != nil {
		return err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	dest := c.dest[:len(rows.Columns())]
	defer clear(c.dest[:])
	for {
		if err := rows.Next(dest); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if more, err := row(dest); err != nil || !more {
			return err
		}
	}
}

// keep gives bytes of a row that may be kept.
func (c *conn) keep(v driver.Value) []byte {
	b, _ := v.([]byte)
	if c.borrows {
		return slices.Clone(b)
	}
	return b
}

func number(v driver.Value) int64 {
	n, _ := v.(int64)
	return n
}

func text(v driver.Value) string {
	switch s := v.(type) {
	case string:
		return s
	case []byte:
		return string(s)
	}
	return ""
}

// close closes the statements and the connection.
func (c *conn) close() error {
	var errs []error
	for i, s := range c.stmts {
		if s != nil {
			errs = append(errs, s.Close())
			c.stmts[i] = nil
		}
	}
	c.closed = true
	return errors.Join(append(errs, c.raw.Close())...)
}
