package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"

	"penstock.dev/penstock"
)

// applicationID marks the file as ours (PRAGMA application_id; "Pens").
const applicationID = 0x50656e73

// migrations bring a file from the version that is their index to the next one. They only ever go forwards, and what was
// released is not changed any more. Each runs in one transaction with the number of its version, so that a process that is killed in
// the middle leaves the file as it was before.
var migrations = [][]string{
	{
		`CREATE TABLE channel (
	id    INTEGER PRIMARY KEY,
	name  TEXT NOT NULL UNIQUE,
	first INTEGER NOT NULL, -- messages before it are dropped
	next  INTEGER NOT NULL, -- this and the following: at the last drop; the last segment knows better
	seq   INTEGER NOT NULL,
	total INTEGER NOT NULL,
	hi    INTEGER NOT NULL,
	crc   INTEGER NOT NULL -- CRC-32C of the row, as in all tables: what is damaged must not be served
) STRICT`,
		`CREATE TABLE segment (
	id     INTEGER PRIMARY KEY, -- channel<<46 | position of the first message
	n      INTEGER NOT NULL,
	min_ts INTEGER NOT NULL,
	max_ts INTEGER NOT NULL,
	hi     INTEGER NOT NULL, -- the latest max_ts of the channel up to here
	seq    INTEGER NOT NULL, -- of the segments of the channel; with total it saves counting them
	total  INTEGER NOT NULL, -- bytes of data of the channel up to here
	crc    INTEGER NOT NULL,
	data   BLOB NOT NULL
) STRICT`,
		`CREATE TABLE space (
	id      INTEGER PRIMARY KEY,
	name    TEXT UNIQUE, -- NULL: cleared, its entries are being removed
	entries INTEGER NOT NULL,
	bytes   INTEGER NOT NULL,
	crc     INTEGER NOT NULL -- as long as it has a name
) STRICT`,
		`CREATE TABLE state (
	space INTEGER NOT NULL,
	key   BLOB NOT NULL,
	due   INTEGER NOT NULL,
	crc   INTEGER NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID`,
		`CREATE INDEX state_due ON state (space, due) WHERE due <> 0`,
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
	},
}

// Version is the version of the file's layout that this program writes.
const Version = 1

// inspect refuses a file that is not ours, or of a newer version, before anything in it is changed.
func inspect(c *conn, path string) (version int64, err error) {
	app, err := c.number("PRAGMA application_id")
	if err != nil {
		return 0, err
	}
	version, err = c.number("PRAGMA user_version")
	if err != nil {
		return 0, err
	}
	tables, err := c.number("SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return 0, err
	}
	switch {
	case app == 0 && version == 0 && tables == 0: // new, or killed before it was made
		return 0, nil
	case app != applicationID:
		return 0, foreign(path)
	case version > Version:
		e := penstock.E(penstock.Config, "open the store", path,
			fmt.Sprintf("the file is of version %d, and this program knows versions up to %d", version, Version))
		e.Hint = "use the newer penstock that wrote it; there is no way back to an older version but a backup made before"
		return 0, e
	}
	return version, nil
}

func foreign(path string) error {
	e := penstock.E(penstock.Config, "open the store", path, "this is not a store of Penstock")
	e.Hint = "give store.path another file; nothing in this one was changed"
	return e
}

// migrate brings the file to the current version. between is called after each statement, for tests.
func migrate(c *conn, version int64, steps [][]string, between func(statement string) error) error {
	for v := version; v < int64(len(steps)); v++ {
		if err := migrateOne(c, steps[v], v+1, between); err != nil {
			return fmt.Errorf("bring the file from version %d to %d: %w", v, v+1, err)
		}
	}
	return nil
}

func migrateOne(c *conn, statements []string, to int64, between func(string) error) (err error) {
	if _, err := c.exec(sqlBegin); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, e := c.exec(sqlRollback)
			err = errors.Join(err, e)
		}
	}()
	for _, s := range append(statements[:len(statements):len(statements)], fmt.Sprintf("PRAGMA user_version = %d", to)) {
		if err := c.text(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		if between != nil {
			if err := between(s); err != nil {
				return err
			}
		}
	}
	_, err = c.exec(sqlCommit)
	return err
}

// expect runs a PRAGMA and tells when its answer is not the one that durability needs.
func expect(c *conn, pragma, want string) error {
	got := ""
	err := c.textRows(pragma, func(v []driver.Value) (bool, error) {
		got = text(v[0])
		if n, ok := v[0].(int64); ok {
			got = fmt.Sprint(n)
		}
		return false, nil
	})
	if err == nil && got != want {
		err = fmt.Errorf("%s says %q, and has to say %q", pragma, got, want)
	}
	return err
}
