package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

// origin is the server that everything was read from which this process knows. A standby that takes its place begins a timeline of its own (PostgreSQL manual,
// "Continuous Archiving and Point-in-Time Recovery", Timelines). Whether it has all that was read from the old one nobody can ask it; but it has where the old one waited for
// its standby with each commit.
type origin struct {
	mu       sync.Mutex
	timeline string // "": not known; a server that has no timelines is not told from another one
	synced   bool   // it waited for a standby, when it was last asked
}

// sqlOrigin gives the timeline that the server writes, and whether commits of this session wait for a standby.
const sqlOrigin = `SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') NOT IN ('off', 'local')`

// errElsewhere says that the store is on another server than what is known was read from.
var errElsewhere = errors.New("another server has taken the place of the one that was read from, and that one did not wait for a standby: what was read there last may be lost")

// ask finds out about a server.
func (o *origin) ask(ctx context.Context, c *pgconn.PgConn) (timeline string, synced bool, err error) {
	got, err := c.Exec(ctx, sqlOrigin).ReadAll()
	if state := stateOf(err); state != "" && (state[:2] == "42" || state[:2] == "0A" || state == "55000") { // it has no such function, or not for us
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if len(got) != 1 || len(got[0].Rows) != 1 || len(got[0].Rows[0]) != 2 {
		return "", false, fmt.Errorf("the server gave %d answers to one question", len(got))
	}
	row := got[0].Rows[0]
	return string(row[0]), string(row[1]) == "t", nil
}

// accept says whether what is known holds at a server too, and goes by that one from then on.
func (o *origin) accept(timeline string, synced bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if timeline == "" {
		return true
	}
	if o.timeline != "" && o.timeline != timeline && !o.synced && !mutation.On("pg-fail-over-not-noticed") {
		return false
	}
	o.timeline, o.synced = timeline, synced
	return true
}

// recognise is done with each new connection but the writer's. One to a server that may not have all that is known is not used, and the writer decides what that means: it
// knows of its own commits.
func (d *DB) recognise(ctx context.Context, c *pgconn.PgConn) error {
	timeline, synced, err := d.origin.ask(ctx, c)
	if err != nil {
		return err
	}
	if !d.origin.accept(timeline, synced) {
		d.moved.Store(true)
		d.queue.nudge()
		return errElsewhere
	}
	return nil
}

// verify has the writer find out whether the store can go on.
func (d *DB) verify() {
	if d.failure.Load() != nil {
		return
	}
	if err := d.again(); err != nil {
		_ = d.fail("connect again", err)
	}
}

// elsewhere is why the store can't go on at the server that the writer is connected to, whose own commits it has; nil: it can.
func (d *DB) elsewhere() error {
	if !d.origin.accept(d.writer.timeline, d.writer.synced) {
		return errElsewhere
	}
	return nil
}

// resync finds out whether the server waits for a standby, which may change at any time.
func (d *DB) resync() {
	_ = d.View(d.life, func(v store.View) error { // what fails is asked for again
		_, err := read(v.(*view), query[bool]{sqlOrigin, nil, func(rows pgx.Rows) (bool, error) {
			for rows.Next() {
				var timeline string
				var synced bool
				if err := rows.Scan(&timeline, &synced); err != nil {
					return false, err
				}
				d.origin.accept(timeline, synced)
			}
			return true, rows.Err()
		}})
		return err
	})
}

// shrunk is the error of a channel that ends before what was told of it.
func shrunk(channel string, told, next int64) error {
	return fmt.Errorf("the server has %d messages of channel %s, and %d were read from it: it has lost some, or is another one, or an older copy", next, channel, told)
}
