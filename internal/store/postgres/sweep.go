package postgres

import (
	"context"
	"errors"
	"time"
)

// sweeper removes what was dropped and cleared, bit by bit, while nothing waits for it: it is out of sight already, so no part has to be locked.
type sweeper struct{ wake chan struct{} }

func (s *sweeper) init() { s.wake = make(chan struct{}, 1) }

func (s *sweeper) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// How much is removed at a time, and how often it is looked for what others, or earlier runs, have left.
const (
	sweepRows = 256
	sweepIdle = time.Minute
)

func (d *DB) sweep() {
	for {
		t := time.NewTimer(sweepIdle)
		select {
		case <-d.life.Done():
			t.Stop()
			return
		case <-t.C:
		case <-d.sweeper.wake:
		}
		t.Stop()
		if err := d.sweepAll(d.life); err != nil && d.life.Err() == nil {
			d.log.Debug("what was dropped is not removed yet", "store", d.where(), "error", err)
		}
	}
}

// sweepAll removes until there is nothing left.
func (d *DB) sweepAll(ctx context.Context) error {
	c, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer shut(c)
	for _, statement := range []string{
		`WITH c AS (SELECT id, first FROM channel c WHERE first > 0 AND EXISTS (SELECT FROM segment WHERE channel = c.id AND base < c.first) LIMIT 1),
gone AS (SELECT s.channel, s.base FROM segment s JOIN c ON s.channel = c.id AND s.base < c.first ORDER BY s.base LIMIT $1)
DELETE FROM segment s USING gone WHERE s.channel = gone.channel AND s.base = gone.base`,
		`DELETE FROM entry e USING (SELECT space, head, tail FROM entry WHERE space IN (SELECT id FROM space WHERE name IS NULL) LIMIT $1) gone
WHERE e.space = gone.space AND e.head = gone.head AND e.tail = gone.tail`,
		`DELETE FROM space s WHERE name IS NULL AND NOT EXISTS (SELECT FROM entry WHERE space = s.id) AND $1 > 0`,
	} {
		for {
			tag, err := c.Exec(ctx, statement, sweepRows)
			if err != nil {
				return errors.Join(err, ctx.Err())
			}
			if tag.RowsAffected() < sweepRows {
				break
			}
		}
	}
	return nil
}
