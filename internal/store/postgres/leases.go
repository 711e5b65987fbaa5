package postgres

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store/lease"
)

// leases is the role of leases on parts. It has a connection of its own: a lease is renewed also while the writer waits.
type leases struct {
	mu      sync.Mutex
	c       *pgx.Conn
	heard   chan struct{} // another process has told something
	changed chan struct{} // the same, for who listens to Changed
}

var (
	_ lease.Role   = (*role)(nil)
	_ lease.Shared = (*DB)(nil)
	_ lease.Fence  = (*tx)(nil)
)

func (l *leases) init() {
	l.heard, l.changed = make(chan struct{}, 1), make(chan struct{}, 1)
}

func (l *leases) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c != nil {
		shut(l.c)
		l.c = nil
	}
}

// role implements lease.Role.
type role struct{ d *DB }

// Leases implements lease.Shared. All of it goes by the clock of the server.
func (d *DB) Leases() lease.Role { return role{d} }

// Changed implements lease.Role.
func (r role) Changed() <-chan struct{} { return r.d.leases.changed }

// do does something on the connection of leases, in one transaction, and does it again where somebody is in the way.
func (r role) do(ctx context.Context, what string, f func(pgx.Tx) error) error {
	d := r.d
	l := &d.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	fail := func(err error) error {
		return &penstock.Error{Code: penstock.Unavailable, Op: what, Path: d.where(), Err: err, Hint: hint(err, "look at the server")}
	}
	began := time.Now()
	for {
		if d.closed.Load() || d.life.Err() != nil {
			return d.closedError()
		}
		if l.c == nil || l.c.IsClosed() {
			var err error
			if l.c, err = d.connect(ctx); err != nil {
				l.c = nil
				return fail(err)
			}
			if _, err := l.c.Exec(ctx, "SELECT set_config('lock_timeout', ($1::bigint)::text, false)", max(d.o.Lease/20, 10*time.Millisecond).Milliseconds()); err != nil {
				return fail(err)
			}
		}
		err := pgx.BeginFunc(ctx, l.c, f)
		switch state := stateOf(err); {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case state != stateLock && state != stateCancelled && state != stateDeadlock || time.Since(began) > d.o.Lease:
			return fail(err)
		}
		// Somebody has locked a part for long.
		if mutation.On("pg-sleepers-left") {
			continue
		}
		// Whoever stands still in a transaction is put out of it.
		if _, err := l.c.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'penstock writer %' AND datname = current_database()
AND state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - $1::bigint * interval '1 microsecond'`, (d.o.Lease / 10).Microseconds()); err != nil {
			return fail(err)
		}
	}
}

// Beat implements lease.Role.
func (r role) Beat(ctx context.Context, me lease.Replica, ttl time.Duration) (t lease.Table, err error) {
	data, err := json.Marshal(me)
	if err != nil {
		return t, &penstock.Error{Code: penstock.Internal, Op: "beat", Err: err}
	}
	d := r.d
	err = r.do(ctx, "beat", func(tx pgx.Tx) error {
		t = lease.Table{}
		if ttl <= 0 {
			_, err := tx.Exec(ctx, "DELETE FROM replica WHERE id = $1", me.ID)
			if err == nil {
				err = r.tell(ctx, tx)
			}
			return err
		}
		if me.ID == "" {
			// only looked at
		} else if _, err := tx.Exec(ctx, `INSERT INTO replica (id, data, seen) VALUES ($1, $2, clock_timestamp()) ON CONFLICT (id) DO UPDATE SET data = excluded.data, seen = excluded.seen`, me.ID, string(data)); err != nil {
			return err
		} else if err := d.known(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM replica WHERE seen < clock_timestamp() - interval '1 day'"); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "SELECT data, seen FROM replica WHERE id = $2 OR seen > clock_timestamp() - $1::bigint * interval '1 microsecond' ORDER BY id COLLATE \"C\"", ttl.Microseconds(), me.ID)
		if err != nil {
			return err
		}
		for rows.Next() {
			var text string
			var seen time.Time
			var one lease.Replica
			if err := rows.Scan(&text, &seen); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(text), &one); err != nil {
				return err
			}
			one.Seen = seen
			t.Replicas = append(t.Replicas, one)
		}
		if rows.Err() != nil {
			return rows.Err()
		}
		rows, err = tx.Query(ctx, "SELECT p, owner, epoch, (extract(epoch FROM expires_at - clock_timestamp()) * 1000000)::bigint FROM part ORDER BY p")
		if err != nil {
			return err
		}
		for rows.Next() {
			var p lease.Part
			var left int64
			if err := rows.Scan(&p.Part, &p.Owner, &p.Epoch, &left); err != nil {
				return err
			}
			p.Left = time.Duration(left) * time.Microsecond
			t.Parts = append(t.Parts, p)
		}
		return rows.Err()
	})
	return t, err
}

// Take implements lease.Role.
func (r role) Take(ctx context.Context, owner string, parts []int, ttl time.Duration) (out []lease.Lease, err error) {
	if len(parts) == 0 {
		return nil, nil
	}
	free := "AND (owner IN ('', $2) OR expires_at <= clock_timestamp())"
	if mutation.On("pg-lease-taken-while-held") {
		free = "AND $2 <> ''"
	}
	epoch := "epoch + 1"
	if mutation.On("pg-lease-epoch-stays") {
		epoch = "greatest(epoch, 1)"
	}
	err = r.do(ctx, "take parts", func(tx pgx.Tx) error {
		out = nil
		rows, err := tx.Query(ctx, `WITH l AS MATERIALIZED (SELECT p FROM part WHERE p = ANY($1) `+free+` ORDER BY p FOR UPDATE)
UPDATE part SET owner = $2, epoch = `+epoch+`, expires_at = clock_timestamp() + $3::bigint * interval '1 microsecond' FROM l WHERE part.p = l.p RETURNING part.p, part.epoch`, parts, owner, ttl.Microseconds())
		if err != nil {
			return err
		}
		for rows.Next() {
			one := lease.Lease{Owner: owner}
			if err := rows.Scan(&one.Part, &one.Epoch); err != nil {
				return err
			}
			out = append(out, one)
		}
		return rows.Err()
	})
	return out, err
}

// columns gives leases as parameters.
func columns(all []lease.Lease) (parts []int, epochs []int64, owners []string) {
	for _, l := range all {
		parts, epochs, owners = append(parts, l.Part), append(epochs, l.Epoch), append(owners, l.Owner)
	}
	return parts, epochs, owners
}

// held locks the parts whose leases these are.
const held = `WITH l AS MATERIALIZED (SELECT part.p FROM part JOIN unnest($1::int[], $2::bigint[], $3::text[]) AS k (p, epoch, owner) ON k.p = part.p AND k.epoch = part.epoch AND k.owner = part.owner `

// Renew implements lease.Role.
func (r role) Renew(ctx context.Context, leases []lease.Lease, ttl time.Duration) (out []lease.Lease, err error) {
	if len(leases) == 0 {
		return nil, nil
	}
	parts, epochs, owners := columns(leases)
	holds := "WHERE part.expires_at > clock_timestamp() "
	if mutation.On("pg-lease-renewed-after-expiry") {
		holds = ""
	}
	err = r.do(ctx, "renew leases", func(tx pgx.Tx) error {
		out = nil
		rows, err := tx.Query(ctx, held+holds+`ORDER BY part.p FOR UPDATE OF part)
UPDATE part SET expires_at = clock_timestamp() + $4::bigint * interval '1 microsecond' FROM l WHERE part.p = l.p RETURNING part.p, part.epoch, part.owner`, parts, epochs, owners, ttl.Microseconds())
		if err != nil {
			return err
		}
		for rows.Next() {
			var one lease.Lease
			if err := rows.Scan(&one.Part, &one.Epoch, &one.Owner); err != nil {
				return err
			}
			out = append(out, one)
		}
		return rows.Err()
	})
	return out, err
}

// Release implements lease.Role.
func (r role) Release(ctx context.Context, leases []lease.Lease) error {
	if len(leases) == 0 {
		return nil
	}
	parts, epochs, owners := columns(leases)
	return r.do(ctx, "release leases", func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, held+`ORDER BY part.p FOR UPDATE OF part) UPDATE part SET owner = '', expires_at = 'epoch' FROM l WHERE part.p = l.p`, parts, epochs, owners)
		if err == nil {
			err = r.tell(ctx, tx)
		}
		return err
	})
}

// tell tells the other processes, when the transaction is durable: this one may end right behind it.
func (r role) tell(ctx context.Context, tx pgx.Tx) error {
	if mutation.On("pg-release-not-told") {
		return nil
	}
	_, err := tx.Exec(ctx, "SELECT pg_notify($1, $2)", r.d.wakeChannel(), partsTold)
	return err
}
