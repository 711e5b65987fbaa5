package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// Version is the version of the tables that this program makes, and works with.
const Version = 2

// migration brings a store from the version that is its index to the next one. Migrations only add: replicas of older versions go on while and
// after they run. What takes something away that an older program needs says from which version on a program can work with
// it, and comes releases after what made it superfluous: it waits until no older program works with the tables any more, and has those that come back later write nothing.
type migration struct {
	statements []string
	least      int // the oldest program that can work with what there is then
}

// migrations are released ones: they are not changed any more. Each runs in one transaction with the number of its version.
var migrations = []migration{{least: 1, statements: []string{
	`CREATE SEQUENCE ids`, // of channels, spaces and writers
	`CREATE TABLE part (
	p          int PRIMARY KEY,
	version    bigint NOT NULL DEFAULT 0,  -- grows with each commit that changes something in the part
	owner      text NOT NULL DEFAULT '',   -- the replica that drives the part; '': none
	epoch      bigint NOT NULL DEFAULT 0,  -- grows with each taking
	expires_at timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 10)`,
	`CREATE TABLE channel (
	id          bigint PRIMARY KEY,
	p           int NOT NULL,
	name        text COLLATE "C" NOT NULL UNIQUE,
	first       bigint NOT NULL, -- messages before it are dropped
	next        bigint NOT NULL,
	first_seq   bigint NOT NULL, -- seq and total as of the last segment that was dropped
	first_total bigint NOT NULL,
	oldest      bigint NOT NULL, -- min_ts of the oldest segment
	seq         bigint NOT NULL, -- of the last segment
	total       bigint NOT NULL,
	hi          bigint NOT NULL
) WITH (fillfactor = 20)`,
	`CREATE TABLE segment (
	channel bigint NOT NULL,
	base    bigint NOT NULL, -- position of the first message
	n       int NOT NULL,
	min_ts  bigint NOT NULL,
	max_ts  bigint NOT NULL,
	hi      bigint NOT NULL, -- the latest max_ts of the channel up to here
	seq     bigint NOT NULL, -- of the segments of the channel; with total it saves counting them
	total   bigint NOT NULL, -- bytes of data of the channel up to here
	data    bytea NOT NULL,
	PRIMARY KEY (channel, base)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.5)`,
	`ALTER TABLE segment ALTER COLUMN data SET STORAGE EXTERNAL`,
	`CREATE INDEX segment_time ON segment (channel, hi, base)`,
	`CREATE TABLE space (
	id      bigint PRIMARY KEY,
	p       int NOT NULL,
	name    text COLLATE "C" UNIQUE, -- NULL: cleared, its entries are being removed
	entries bigint NOT NULL,
	bytes   bigint NOT NULL
) WITH (fillfactor = 20)`,
	`CREATE TABLE entry (
	space bigint NOT NULL,
	head  bytea NOT NULL, -- the key, but for what an index has no room for
	tail  bytea NOT NULL, -- SHA-256 of a key that is longer; else empty
	rest  bytea NOT NULL, -- what head leaves of it
	value bytea NOT NULL,
	due   bigint NOT NULL,
	PRIMARY KEY (space, head, tail)
) WITH (fillfactor = 85)`,
	`CREATE INDEX entry_due ON entry (space, due, head) WHERE due <> 0`,
	`CREATE TABLE replica (
	id   text PRIMARY KEY,
	data text NOT NULL, -- what it says of itself: JSON
	seen timestamptz NOT NULL
) WITH (fillfactor = 20)`,
	`CREATE TABLE writer (
	id   bigint PRIMARY KEY,
	gen  bigint NOT NULL, -- grows with each connection of the writer: what an older one still has on its way fails
	seq  bigint NOT NULL, -- of the last group that is durable
	pid  int NOT NULL,
	seen timestamptz NOT NULL
) WITH (fillfactor = 10)`,
}}, {least: 1, statements: []string{
	`ALTER TABLE writer ADD COLUMN version int NOT NULL DEFAULT 1`, // of the program
}}}

// meta is the first table, whatever the version.
const meta = `CREATE TABLE IF NOT EXISTS meta (name text PRIMARY KEY, value bigint NOT NULL)`

// lockKey is what the advisory lock of migrations is called.
func lockKey(schema string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("penstock store " + schema))
	return int64(h.Sum64()) //nolint:gosec // any 64 bits
}

// prepare makes the tables where they are not there, and brings them to the version that steps end with. It returns the number of parts.
func (d *DB) prepare(ctx context.Context, c *pgx.Conn, steps []migration) (parts int, err error) {
	schema := pgx.Identifier{d.o.Schema}.Sanitize()
	if _, err := c.Exec(ctx, "SET statement_timeout = 0; SET lock_timeout = 0"); err != nil {
		return 0, err
	}
	for {
		var there bool
		if err := c.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", schema+".meta").Scan(&there); err != nil {
			return 0, err
		}
		version, least := 0, 0
		if there {
			if version, least, parts, err = versions(ctx, c, schema); err != nil {
				return 0, err
			}
		}
		if least > len(steps) {
			return 0, d.outdated(version, least)
		}
		if version >= len(steps) {
			return parts, nil
		}
		if err := d.migrate(ctx, c, steps, version, schema); errors.Is(err, errInUse) {
			return 0, err
		} else if err != nil {
			return 0, fmt.Errorf("bring the tables from version %d to %d: %w", version, version+1, err)
		}
	}
}

// versions reads which version the tables are of, which is the oldest program that can work with them, and how many parts there are.
func versions(ctx context.Context, c interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, schema string) (version, least, parts int, err error) {
	err = c.QueryRow(ctx, `SELECT coalesce(max(value) FILTER (WHERE name = 'version'), 0), coalesce(max(value) FILTER (WHERE name = 'least'), 0),
		coalesce(max(value) FILTER (WHERE name = 'parts'), 0) FROM `+schema+`.meta`).Scan(&version, &least, &parts)
	return version, least, parts, err
}

// outdated says that this program is too old for the tables.
func (d *DB) outdated(version, least int) error {
	return &penstock.Error{Code: penstock.Config, Op: "open the store", Path: d.where(), Err: fmt.Errorf("%w: the tables are of version %d, which programs from version %d on can work with, and this one is of version %d", store.ErrOutdated, version, least, len(d.o.steps)),
		Hint: "use the penstock of the other replicas, or a newer one; nothing was changed"}
}

// errInUse says that the tables can't be migrated, for older programs work with them.
var errInUse = errors.New("older programs work with the tables")

// putOut has programs that are too old for what the tables are about to be write nothing any more. Those that are connected are left alone, and the tables as well. Others, that were killed, or
// are cut off, have no row from here on, without which they commit nothing.
func (d *DB) putOut(ctx context.Context, tx pgx.Tx, version, least int) error {
	rows, err := tx.Query(ctx, `SELECT w.id, w.version, coalesce(host(a.client_addr), 'here') FROM writer w JOIN pg_stat_activity a ON a.application_name = 'penstock writer ' || w.id AND a.datname = current_database()
WHERE w.version < $1 ORDER BY w.id`, least)
	if err != nil {
		return err
	}
	var who []string
	for rows.Next() {
		var id int64
		var is int
		var at string
		if err := rows.Scan(&id, &is, &at); err != nil {
			return err
		}
		who = append(who, fmt.Sprintf("one of version %d (penstock writer %d, from %s)", is, id, at))
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(who) > 0 && !mutation.On("pg-migrates-under-older") {
		return &penstock.Error{Code: penstock.Config, Op: "open the store", Path: d.where(), Err: fmt.Errorf("%w of version %d, and can't work with those of version %d, which this program makes: %s", errInUse, version, version+1, strings.Join(who, ", ")),
			Hint: "stop them first (penstock ps lists replicas), then start this one; the tables were left as they are"}
	}
	if mutation.On("pg-older-not-put-out") {
		return nil
	}
	_, err = tx.Exec(ctx, "DELETE FROM writer WHERE version < $1", least)
	return err
}

// migrate takes one step, unless another replica was faster.
func (d *DB) migrate(ctx context.Context, c *pgx.Conn, steps []migration, from int, schema string) error {
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		do := func(statements ...string) error {
			for _, s := range statements {
				if _, err := tx.Exec(ctx, s); err != nil {
					return fmt.Errorf("%s: %w", s, err)
				}
			}
			return nil
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lockKey(d.o.Schema)); err != nil {
			return err
		}
		if from == 0 {
			// CREATE SCHEMA asks for a right on the database even where the schema is there.
			var there bool
			if err := tx.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL", schema).Scan(&there); err != nil {
				return err
			}
			if !there {
				if err := do("CREATE SCHEMA " + schema); err != nil {
					return err
				}
			}
			if err := do(meta); err != nil {
				return err
			}
		}
		now, least, _, err := versions(ctx, tx, schema)
		if err != nil || now != from {
			return err
		}
		if from > 0 && steps[from].least > least {
			if err := d.putOut(ctx, tx, from, steps[from].least); err != nil {
				return err
			}
		}
		if err := do(steps[from].statements...); err != nil {
			return err
		}
		if from == 0 {
			if _, err := tx.Exec(ctx, "INSERT INTO part (p) SELECT generate_series(0, $1::int - 1)", d.o.Parts); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "INSERT INTO meta VALUES ('parts', $1)", d.o.Parts); err != nil {
				return err
			}
		}
		for name, value := range map[string]int{"version": from + 1, "least": steps[from].least} {
			if _, err := tx.Exec(ctx, "INSERT INTO meta VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// durable refuses a server that says that something is durable before it is.
func (d *DB) durable(ctx context.Context, c *pgx.Conn) error {
	if d.o.Volatile || mutation.On("pg-volatile-taken") {
		return nil
	}
	var errs []error
	for _, s := range []struct{ name, fix string }{
		{"synchronous_commit", "ALTER ROLE … SET synchronous_commit = on, or synchronous_commit = on in postgresql.conf"},
		{"fsync", "fsync = on in postgresql.conf"},
		{"full_page_writes", "full_page_writes = on in postgresql.conf"},
	} {
		var is string
		if err := c.QueryRow(ctx, "SELECT current_setting($1)", s.name).Scan(&is); err != nil {
			return err
		}
		if is == "off" {
			e := penstock.E(penstock.Config, "open the store", d.where(), "the server has "+s.name+" off: it would lose what it has acknowledged when its machine stops")
			e.Hint = s.fix + "; where that may be lost, as in a test, say `volatile: true` for the store"
			errs = append(errs, e)
		}
	}
	return errors.Join(errs...)
}
