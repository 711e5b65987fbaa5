package postgres

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
)

// Version is the version of the tables that this program makes, and works with.
const Version = 1

// migration brings a store from the version that is its index to the next one. Migrations only add: replicas of older versions go on while and
// after they run. What takes something away that an older program needs says from which version on a program can work with
// it, and comes releases after what made it superfluous.
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
			if err := c.QueryRow(ctx, `SELECT coalesce(max(value) FILTER (WHERE name = 'version'), 0), coalesce(max(value) FILTER (WHERE name = 'least'), 0),
				coalesce(max(value) FILTER (WHERE name = 'parts'), 0) FROM `+schema+`.meta`).Scan(&version, &least, &parts); err != nil {
				return 0, err
			}
		}
		if least > len(steps) {
			e := penstock.E(penstock.Config, "open the store", d.where(), fmt.Sprintf("the tables are of version %d, which programs from version %d on can work with, and this one is of version %d", version, least, len(steps)))
			e.Hint = "use the penstock of the other replicas, or a newer one; nothing was changed"
			return 0, e
		}
		if version >= len(steps) {
			return parts, nil
		}
		if err := d.migrate(ctx, c, steps, version, schema); err != nil {
			return 0, fmt.Errorf("bring the tables from version %d to %d: %w", version, version+1, err)
		}
	}
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
		now := 0
		if err := tx.QueryRow(ctx, "SELECT coalesce(max(value), 0) FROM meta WHERE name = 'version'").Scan(&now); err != nil {
			return err
		}
		if now != from {
			return nil
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
