package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
)

// identity is the writer as the server knows it. Each group writes its number in its own transaction, so that it can be read whether one whose
// answer was lost is durable.
type identity struct {
	id    int64
	gen   int64 // of the connection
	seq   int64 // of the last group that is durable
	asked int64 // of the one of which it is not known

	timeline string // of the server that it is connected to: see origin
	synced   bool
}

func (w *identity) name() string { return fmt.Sprint("penstock writer ", w.id) }

// enlist connects the writer, and gives it a row, unless the tables were migrated meanwhile to what this program can't work with. Rows of writers that were killed go after a day.
func (d *DB) enlist(ctx context.Context) error {
	c, err := d.connect(ctx)
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0"); err != nil { // somebody may be migrating
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock_shared($1)", lockKey(d.o.Schema)); err != nil {
			return err
		}
		version, least, _, err := versions(ctx, tx, pgx.Identifier{d.o.Schema}.Sanitize())
		if err != nil {
			return err
		}
		if least > len(d.o.steps) && !mutation.On("pg-enlists-outdated") {
			return d.outdated(version, least)
		}
		return tx.QueryRow(ctx, "INSERT INTO writer (id, gen, seq, pid, seen, version) VALUES (nextval('ids'), 1, 0, pg_backend_pid(), clock_timestamp(), $1) RETURNING id", len(d.o.steps)).Scan(&d.writer.id)
	})
	if err == nil {
		d.writer.gen = 1
		_, err = c.Exec(ctx, "DELETE FROM writer WHERE seen < clock_timestamp() - interval '1 day' AND id <> $1", d.writer.id)
	}
	if e := c.Close(ctx); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	_, err = d.reconnect(ctx)
	return err
}

// reconnect makes a new connection of the writer, puts an older one out of the way, and reads which group was the last that is durable. What the older
// one still has on its way fails: its generation is over. The update waits for a transaction of it that is being committed.
func (d *DB) reconnect(ctx context.Context) (seq int64, err error) {
	cfg := d.config()
	cfg.RuntimeParams["application_name"] = d.writer.name()
	cfg.AfterConnect = nil // see elsewhere: first of all its own commits are counted
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Severity == "WARNING" && strings.Contains(n.Message, "synchronous replication") { // its text is not translated for a role that speaks English
			d.warned = true
		}
		if n.Code == "01000" && n.Detail != "" && strings.Contains(n.Detail, "replicated") {
			d.warned = true
		}
	}
	cfg.RuntimeParams["lc_messages"] = "C"
	c, err := pgx.ConnectConfig(ctx, cfg)
	if pe := (*pgconn.PgError)(nil); errors.As(err, &pe) && pe.Code == "42501" { // only superusers choose a language
		delete(cfg.RuntimeParams, "lc_messages")
		c, err = pgx.ConnectConfig(ctx, cfg)
	}
	if err != nil {
		return 0, err
	}
	d.warned = false
	_, err = c.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database() AND pid <> pg_backend_pid()", d.writer.name())
	if err == nil {
		err = c.QueryRow(ctx, "UPDATE writer SET gen = gen + 1, pid = pg_backend_pid(), seen = clock_timestamp() WHERE id = $1 RETURNING gen, seq", d.writer.id).Scan(&d.writer.gen, &seq)
	}
	if err == nil {
		d.writer.timeline, d.writer.synced, err = d.origin.ask(ctx, c.PgConn())
	}
	if err == nil && d.warned { // what is read may be lost when the server fails
		err = errNotReplicated
	}
	if err != nil {
		_ = c.Close(ctx)
		if errors.Is(err, pgx.ErrNoRows) {
			return 0, errStranger
		}
		return 0, err
	}
	if d.w != nil {
		_ = d.w.Close(ctx)
	}
	d.w = c
	return seq, nil
}

// errStranger says that the server is another one, or has come from an old copy, or that a newer program has made the tables something that this one can't work with.
var errStranger = errors.New("the server that answers now does not know this process: it is another one, or older, or its tables are for newer programs")

// known looks whether the server knows the writer. Where it does not, the writer finds out what that means, also one that has nothing to write. The row of one that has had nothing to write
// for long is kept from those who remove what the killed have left.
func (d *DB) known(ctx context.Context, tx pgx.Tx) error {
	var is bool
	err := tx.QueryRow(ctx, `WITH u AS (UPDATE writer SET seen = clock_timestamp() WHERE id = $1 AND seen < clock_timestamp() - interval '1 hour')
SELECT EXISTS (SELECT 1 FROM writer WHERE id = $1)`, d.writer.id).Scan(&is)
	if err == nil && !is {
		d.moved.Store(true)
		d.queue.nudge()
		err = errStranger
	}
	return err
}

// errNotReplicated says that the server has given up waiting for its standby.
var errNotReplicated = errors.New("the server did not wait for its standby: what is committed may be lost when it fails")

// back connects again, for as long as it is worth it.
func (d *DB) back() (seq int64, err error) {
	over := time.Now().Add(2 * d.o.Lease)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), d.patience())
		seq, err = d.reconnect(ctx)
		cancel()
		if err == nil || errors.Is(err, errStranger) || time.Now().After(over) || d.closed.Load() && stateOf(err) == "" {
			return seq, err
		}
		t := time.NewTimer(min(200*time.Millisecond, d.o.Lease/20))
		<-t.C
	}
}

// learn finds out whether the group of which the answer was lost is durable.
func (d *DB) learn(cause error) (durable bool, err error) {
	g := d.group
	if mutation.On("pg-outcome-guessed") {
		_, err = d.back()
		g.undo()
		return true, err
	}
	seq, err := d.back()
	if err != nil {
		return false, errors.Join(cause, err)
	}
	if seq != d.writer.asked && seq != d.writer.seq {
		return false, errors.Join(cause, d.wentBack(seq))
	}
	if err := d.elsewhere(); err != nil {
		return false, errors.Join(cause, err)
	}
	// What is remembered is read anew: the group as it was gathered is not at hand any more.
	g.forgetAll()
	if seq != d.writer.asked {
		return false, nil
	}
	d.writer.seq = seq
	return true, nil
}

// wentBack says that the server has lost what it had acknowledged.
func (d *DB) wentBack(seq int64) error {
	return penstock.E(penstock.Unavailable, "connect again", d.where(), fmt.Sprintf("the server knows %d commits of this process, and %d were acknowledged", seq, d.writer.seq))
}

// again connects again where nothing was on its way that could have become durable.
func (d *DB) again() error {
	seq, err := d.back()
	if err != nil {
		return err
	}
	if seq != d.writer.seq {
		return d.wentBack(seq)
	}
	if err := d.elsewhere(); err != nil {
		return err
	}
	d.group.forgetAll()
	return nil
}
