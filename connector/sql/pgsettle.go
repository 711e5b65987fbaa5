package sql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock"
)

// transaction is one of which nobody knows yet what became of it.
type transaction struct {
	id   string // txid_current()
	life string // pgLife
}

// pgLife changes when the server is started anew, and when it recovers from a crash of one of its sessions: statistics begin anew then.
const pgLife = "pg_postmaster_start_time()::text || ' ' || coalesce((SELECT stats_reset::text FROM pg_stat_bgwriter), '')"

// settlePatience is how long a server may stay away that knows whether a transaction was committed.
const settlePatience = 5 * time.Minute

// settle finds out whether a transaction was committed whose connection broke: the server remembers it, also over a restart. Nil says that it
// was.
func (l *pgLoader) settle(ctx context.Context, open *transaction, cause error) error {
	clock := l.s.env.Clock
	stopped := ctx.Done()
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		stopped = nil // whoever gave up waiting would write it again
	}
	end := clock.Now().Add(settlePatience)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		committed, known, err := l.committed(context.WithoutCancel(ctx), open)
		switch {
		case known && committed:
			return nil
		case known:
			return &penstock.Error{Code: penstock.Unavailable, Op: "sql", Path: l.p.at, Unsent: true, Err: fmt.Errorf("the connection was lost, and nothing was written: %w", cause)}
		case err == nil, !clock.Now().Before(end):
			// Trying again might write it twice, so nobody does by himself.
			return &penstock.Error{Code: penstock.Internal, Op: "sql", Path: l.p.at, Err: fmt.Errorf("the connection was lost while the rows were committed, and the server can't say whether they were: %w", cause),
				Hint: "look into the table before these messages are sent again; mode upsert has no such question"}
		}
		fired, stop := clock.NewTimer(pause)
		select {
		case <-fired:
		case <-stopped:
			stop()
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				stopped = nil
				continue
			}
			return &penstock.Error{Code: penstock.Cancelled, Op: "sql", Path: l.p.at, Err: fmt.Errorf("the run was stopped before the server could say whether the rows were committed: %w", cause)}
		}
	}
}

// errUnsettled says that the server does not know yet.
var errUnsettled = errors.New("the transaction is still open")

// committed asks the server what became of a transaction. Known is false where it can't say, with an error if it may be able to later.
func (l *pgLoader) committed(ctx context.Context, open *transaction) (committed, known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	conn, err := l.p.pool.Acquire(ctx)
	if err != nil {
		return false, false, err
	}
	defer conn.Release()
	ask := func(query string, args ...string) (string, string, error) {
		values := make([][]byte, len(args))
		for i, a := range args {
			values[i] = []byte(a)
		}
		res := conn.Conn().PgConn().ExecParams(ctx, query, values, nil, nil, nil).Read()
		if res.Err != nil || len(res.Rows) == 0 {
			return "", "", res.Err
		}
		return string(res.Rows[0][0]), string(res.Rows[0][len(res.Rows[0])-1]), nil
	}
	status, life, err := ask("SELECT txid_status($1::bigint), "+pgLife, open.id)
	var e *pgconn.PgError
	switch {
	case errors.As(err, &e) && e.Code == "22023":
		return false, true, nil // a number that was not given out yet: the crash took it back, and all that was done with it
	case err != nil:
		return false, false, err
	case status == "aborted":
		return false, true, nil
	case status == "in progress":
		return false, false, errUnsettled
	case status != "committed":
		return false, false, nil // too long ago
	case life == open.life:
		return true, true, nil
	}
	// The number may have been given out again after a crash that it was not written down before. Ours has left rows in the table.
	exists, _, err := ask("SELECT EXISTS (SELECT FROM "+l.s.table.quoted+" WHERE xmin::text::bigint = $1::bigint & 4294967295)", open.id)
	return exists == "t", err == nil, err
}

// lifeKey is where a connection remembers pgLife: while it lives, that does not change.
const lifeKey = "penstock life"

// life asks a connection for pgLife, once.
func (l *pgLoader) life(ctx context.Context, c *pgconn.PgConn) (string, error) {
	if known, ok := c.CustomData()[lifeKey].(string); ok {
		return known, nil
	}
	res, err := c.Exec(ctx, "SELECT "+pgLife).ReadAll()
	if err != nil {
		return "", err
	}
	life := string(res[0].Rows[0][0])
	c.CustomData()[lifeKey] = life
	return life, nil
}
