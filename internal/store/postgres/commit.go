package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store"
)

const (
	sqlBegin  = "BEGIN ISOLATION LEVEL READ COMMITTED"
	sqlCommit = "COMMIT"
	// Locks are taken in the order of the parts, so that nobody waits for somebody who waits for him. What is read with them is as of then: it is read
	// again when the lock is there.
	sqlLock = `WITH l AS MATERIALIZED (SELECT p, version, owner, epoch FROM part WHERE p = ANY($1) ORDER BY p FOR UPDATE)
SELECT p, version, owner, epoch FROM l`
	sqlNoLock = `SELECT p, version, owner, epoch FROM part WHERE p = ANY($1) ORDER BY p`
	// sqlLockIf takes the locks if the versions are these, and, where an epoch is given, the leases hold. Else it divides by 0.
	sqlLockIf = `WITH l AS MATERIALIZED (SELECT p, version, owner, epoch FROM part WHERE p = ANY($1) ORDER BY p FOR UPDATE)
SELECT 1 / (count(*) = cardinality($1))::int FROM l JOIN unnest($1::int[], $2::bigint[], $3::text[], $4::bigint[]) AS w (p, version, owner, epoch) USING (p)
WHERE l.version = w.version AND (w.epoch < 0 OR l.owner = w.owner AND l.epoch = w.epoch)`
	sqlBump = "UPDATE part SET version = version + 1 WHERE p = ANY($1)"
	// sqlSeq notes that the group is durable, unless this connection is not the writer's any more: then it divides by 0.
	sqlSeq      = "WITH u AS (UPDATE writer SET seq = $2, seen = clock_timestamp() WHERE id = $1 AND gen = $3 RETURNING 1) SELECT 1 / count(*) FROM u"
	sqlUnname   = "UPDATE space SET name = NULL WHERE id = ANY($1)"
	sqlNewSpace = "INSERT INTO space (id, p, name, entries, bytes) SELECT id, p, name, 0, 0 FROM unnest($1::bigint[], $2::int[], $3::text[]) AS k (id, p, name)"
	// sqlPut writes entries, and counts. All of it sees what was there before.
	sqlPut = `WITH k AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bigint[]) AS k (space, head, tail, rest, value, due)),
old AS MATERIALIZED (SELECT k.space, count(*) - count(e.space) AS n, sum(octet_length(k.head) + octet_length(k.rest) + octet_length(k.value) - coalesce(octet_length(e.head) + octet_length(e.rest) + octet_length(e.value), 0)) AS size
	FROM k LEFT JOIN LATERAL (SELECT * FROM entry WHERE space = k.space AND head = k.head AND tail = k.tail LIMIT 1) e ON true GROUP BY k.space),
put AS (INSERT INTO entry (space, head, tail, rest, value, due) SELECT space, head, tail, rest, value, due FROM k
	ON CONFLICT (space, head, tail) DO UPDATE SET value = excluded.value, due = excluded.due)
UPDATE space s SET entries = s.entries + old.n, bytes = s.bytes + old.size FROM old WHERE s.id = old.space AND (old.n <> 0 OR old.size <> 0)`
	sqlDelete = `WITH gone AS (DELETE FROM entry e WHERE ctid = ANY(ARRAY(SELECT f.ctid FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS k (space, head, tail),
	LATERAL (SELECT ctid FROM entry WHERE space = k.space AND head = k.head AND tail = k.tail LIMIT 1) f)) RETURNING e.space, octet_length(e.head) + octet_length(e.rest) + octet_length(e.value) AS size),
old AS (SELECT space, count(*) AS n, sum(size) AS size FROM gone GROUP BY space)
UPDATE space s SET entries = s.entries - old.n, bytes = s.bytes - old.size FROM old WHERE s.id = old.space`
	sqlPutChannel = `INSERT INTO channel (id, p, name, first, next, first_seq, first_total, oldest, seq, total, hi)
SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
ON CONFLICT (id) DO UPDATE SET first = excluded.first, next = excluded.next, first_seq = excluded.first_seq, first_total = excluded.first_total, oldest = excluded.oldest,
	seq = excluded.seq, total = excluded.total, hi = excluded.hi`
	sqlPutSegment = `INSERT INTO segment (channel, base, n, min_ts, max_ts, hi, seq, total, data)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bytea[])`
)

// SQLSTATEs (PostgreSQL manual, appendix A).
const (
	stateDivision  = "22012"
	stateCancelled = "57014" // statement_timeout
	stateLock      = "55P03" // lock_timeout
	stateDeadlock  = "40P01"
	stateSerialize = "40001"
	stateDiskFull  = "53100"
)

func stateOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// endsSession says that the server has ended the session with this error, or with all others: what was asked of it last may be done nevertheless. A server whose log finds no
// room does so in the middle of a commit (PANIC), the record of which may be in the log by then.
func endsSession(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code[:2] == "57" || (e.Severity == "FATAL" || e.Severity == "PANIC") && !mutation.On("pg-panic-taken-for-undone"))
}

// errUnsure says that a commit was sent, and its answer was lost.
type errUnsure struct{ error }

func (e errUnsure) Unwrap() error { return e.error }

// transact makes what is gathered durable. The error is of the store.
func (d *DB) transact(work []task) *penstock.Error {
	g := d.group
	if len(g.touched) == 0 && !g.lacks {
		return nil
	}
	began := time.Now()
	for {
		err := d.attempt(work)
		if err == nil {
			return nil
		}
		var unsure errUnsure
		switch state := stateOf(err); {
		case errors.As(err, &unsure):
			durable, lost := d.learn(err)
			if lost != nil {
				return d.fail("learn whether a commit is durable", lost)
			}
			if durable {
				d.log.Warn("the connection to the store was cut; the commit that was on its way is durable", "store", d.where(), "error", err)
				return nil
			}
			// It never will be: the generation of that connection is over. So it may be made again; but not where that ends the server once more.
			if stateOf(err) == stateDiskFull {
				return d.fail("commit", err)
			}
			if time.Since(began) > 6*d.o.Lease {
				return d.fail("commit", fmt.Errorf("connections are cut again and again, and the server has not got it: %w", err))
			}
			d.log.Warn("the connection to the store was cut; the commit that was on its way is not durable, and is made again", "store", d.where(), "error", err)
		case state == stateLock || state == stateCancelled || state == stateDeadlock || state == stateSerialize:
			// Somebody has a part, and is being put out of it.
			d.rollback()
			if time.Since(began) > 6*d.o.Lease {
				return d.fail("lock parts", err)
			}
			d.log.Warn("the store waits for another process", "store", d.where(), "error", err)
		case d.w == nil || d.w.IsClosed():
			// Nothing was sent that could have become durable.
			if lost := d.again(); lost != nil {
				return d.fail("write", errors.Join(err, lost))
			}
		case state == stateDivision && time.Since(began) <= 6*d.o.Lease:
			// This connection is not the writer's any more, or the server does not know the writer: it is seen which when another is made.
			if lost := d.again(); lost != nil {
				return d.fail("write", lost)
			}
		default:
			d.rollback()
			return d.fail("write", err)
		}
		g.undo()
		clear(g.known)
		g.locked = nil
		g.wants.locks = true // what was remembered is compared
	}
}

// rollback ends a transaction that is open.
func (d *DB) rollback() {
	ctx, cancel := context.WithTimeout(context.Background(), d.patience())
	defer cancel()
	if d.w != nil && !d.w.IsClosed() && d.w.PgConn().TxStatus() != 'I' {
		d.counts.trips.Add(1)
		_, _ = d.w.Exec(ctx, "ROLLBACK")
	}
}

// attempt tries to make what is gathered durable.
func (d *DB) attempt(work []task) error {
	g := d.group
	if !g.lacks && g.wants.none() && g.remembered() {
		conflict, err := d.flush(true)
		if err != nil || !conflict {
			return err
		}
		d.rollback()
		g.fetchAgain(nil)
	}
	g.undo()
	for {
		if err := d.lock(parted(g.touched), true); err != nil {
			return err
		}
		again, err := d.underLocks(work)
		if err != nil || !again {
			return err
		}
		d.rollback()
		clear(g.known)
		g.locked = nil
	}
}

// remembered says that the versions of all parts that were touched are known.
func (g *group) remembered() bool {
	for p := range g.touched {
		if !g.parts[p].known {
			return false
		}
	}
	return true
}

// fetchAgain wants what was looked at in parts that are not as they are remembered; nil: in all.
func (g *group) fetchAgain(parts map[int]bool) {
	in := func(name string) bool { return parts == nil || parts[store.Home(name, len(g.parts))] }
	for name := range g.used.spaces {
		if in(name) {
			g.wants.spaces[name] = true
		}
	}
	for name := range g.used.channels {
		if in(name) {
			g.wants.channels[name] = true
		}
	}
	for _, c := range g.used.cells {
		if in(c.sp.name) {
			g.wants.cells[cellRef{c.sp.name, c.key}] = true
		}
	}
}

// passes is how often a group is run to find out what it reads, before each is asked for at once.
const passes = 3

// underLocks runs the transactions until they have all that they read, and makes them durable. again: they need a part before those that
// are locked.
func (d *DB) underLocks(work []task) (again bool, err error) {
	g := d.group
	g.direct = false
	for n := 1; ; n++ {
		g.again(work)
		if err := g.wants.failed; err != nil {
			return false, err
		}
		if more, behind := g.unlocked(); len(more) > 0 {
			if !behind {
				return true, nil
			}
			g.undo()
			if err := d.lock(more, false); err != nil {
				return false, err
			}
			continue
		}
		if !g.lacks {
			_, err := d.flush(false)
			return false, err
		}
		g.undo()
		if err := d.fetch(); err != nil {
			return false, err
		}
		g.direct = n >= passes
	}
}

// unlocked are the parts that were touched and are not locked; behind says that they come behind all that are.
func (g *group) unlocked() (more []int, behind bool) {
	last := -1
	for p := range g.locked {
		last = max(last, p)
	}
	behind = true
	for p := range g.touched {
		if !g.locked[p] {
			more = append(more, p)
			behind = behind && p > last
		}
	}
	slices.Sort(more)
	return more, behind
}

// lock locks parts, forgets what is not so any more, and fetches what is wanted.
func (d *DB) lock(parts []int, begin bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), d.patience())
	defer cancel()
	g := d.group
	if begin {
		g.locked = map[int]bool{}
	}
	var a asked
	none := func(pgx.Rows) error { return nil }
	if begin {
		a.add(sqlBegin, none)
	}
	stale := map[int]bool{}
	statement := sqlLock
	if mutation.On("pg-no-part-lock") {
		statement = sqlNoLock
	}
	a.add(statement, func(rows pgx.Rows) error {
		for rows.Next() {
			var p int
			var now part
			if err := rows.Scan(&p, &now.version, &now.owner, &now.epoch); err != nil {
				return err
			}
			g.locked[p] = true
			is := &g.parts[p]
			if is.known && is.version != now.version && !mutation.On("pg-stale-kept") {
				g.forget(p)
				stale[p] = true
			}
			is.known, is.version, is.owner, is.epoch = true, now.version, now.owner, now.epoch
		}
		return nil
	}, parts)
	g.wants.locks = false
	g.add(&a)
	d.counts.trips.Add(1)
	if err := a.send(ctx, d.w); err != nil {
		return err
	}
	for _, p := range parts {
		if !g.locked[p] {
			return fmt.Errorf("the table of the parts has no row %d", p)
		}
	}
	if len(stale) > 0 {
		g.fetchAgain(stale)
		if !g.wants.none() {
			return d.fetch()
		}
	}
	return nil
}

// channelRow is a channel as it is after the commit.
type channelRow struct {
	ch *channel
	row
}

// flush writes what is gathered, and commits. Unless the locks are taken, it takes them, if what is remembered is right: else there is a conflict.
func (d *DB) flush(fast bool) (conflict bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), d.patience())
	defer cancel()
	g := d.group
	var b pgx.Batch
	test := -1
	if fast {
		b.Queue(sqlBegin)
		test = b.Len()
		parts := parted(g.touched)
		var versions, epochs []int64
		var owners []string
		for _, p := range parts {
			f := g.fences[p]
			if f == nil {
				f = &fence{epoch: -1}
			}
			versions, owners, epochs = append(versions, g.parts[p].version), append(owners, f.owner), append(epochs, f.epoch)
		}
		statement := sqlLockIf
		if mutation.On("pg-no-part-lock") {
			statement = strings.Replace(statement, "FOR UPDATE", "", 1)
		}
		b.Queue(statement, parts, versions, owners, epochs)
	}
	head := b.Len()
	wrote := map[int]bool{}
	g.flushEntries(&b, wrote)
	rows := g.flushMessages(&b, wrote)
	changes := b.Len() > head
	seq := d.writer.seq
	if changes {
		if !mutation.On("pg-version-stays") {
			b.Queue(sqlBump, parted(wrote))
		}
		seq++
		b.Queue(sqlSeq, d.writer.id, seq, d.writer.gen)
	}
	b.Queue(sqlCommit)
	last := b.Len() - 1
	if d.plans++; d.plans == 16 || d.plans == 256 || d.plans%4096 == 0 { // the tables were small when they were made
		b.Queue("DISCARD PLANS")
	}
	d.warned = false
	d.counts.trips.Add(1)
	r := d.w.SendBatch(ctx, &b)
	var tag pgconn.CommandTag
	for i := range b.Len() {
		var did pgconn.CommandTag
		if did, err = r.Exec(); i == last {
			tag = did
		}
		if err != nil {
			_ = r.Close()
			switch {
			case i == test && stateOf(err) == stateDivision:
				return true, nil
			case stateOf(err) == "" && changes:
				d.writer.asked = seq
				return false, errUnsure{err}
			case i >= last && changes && endsSession(err): // while it committed, or behind it
				d.writer.asked = seq
				return false, errUnsure{err}
			}
			g.written = nil
			return false, err
		}
	}
	err = r.Close()
	switch {
	case err != nil && changes:
		d.writer.asked = seq
		return false, errUnsure{err}
	case err != nil:
		return false, err
	case tag.String() != "COMMIT":
		return false, fmt.Errorf("the server answered %q to COMMIT", tag)
	case d.warned:
		return false, errNotReplicated
	}
	d.writer.seq = seq
	g.kept(rows, parted(wrote))
	return false, nil
}

// flushEntries writes entries, and what becomes of spaces.
func (g *group) flushEntries(b *pgx.Batch, wrote map[int]bool) {
	var cleared []int64
	for _, sp := range g.cleared {
		cleared = append(cleared, sp.id)
		wrote[sp.p] = true
	}
	if len(cleared) > 0 {
		b.Queue(sqlUnname, cleared)
	}
	var put, gone struct {
		spaces                    []int64
		heads, tails, rests, vals [][]byte
		dues                      []int64
	}
	var made struct {
		ids   []int64
		parts []int
		names []string
	}
	fresh := map[*space]bool{}
	// In the order of the index: neighbours share pages.
	slices.SortFunc(g.dirty, func(a, b *cell) int {
		if a.sp.id != b.sp.id {
			return int(max(-1, min(1, a.sp.id-b.sp.id)))
		}
		switch {
		case a.key < b.key:
			return -1
		case a.key > b.key:
			return 1
		}
		return 0
	})
	for _, c := range g.dirty {
		if !c.dirty || g.parts[c.sp.p].spaces[c.sp.name] != c.sp {
			continue
		}
		head, tail, rest := keyParts([]byte(c.key))
		switch {
		case c.there:
			if !c.sp.saved && !fresh[c.sp] {
				fresh[c.sp] = true
				made.ids, made.parts, made.names = append(made.ids, c.sp.id), append(made.parts, c.sp.p), append(made.names, c.sp.name)
			}
			put.spaces, put.heads, put.tails, put.rests = append(put.spaces, c.sp.id), append(put.heads, head), append(put.tails, tail), append(put.rests, rest)
			put.vals, put.dues = append(put.vals, blob(c.value)), append(put.dues, c.due)
		case c.stored != storedNothing && c.sp.saved:
			gone.spaces, gone.heads, gone.tails = append(gone.spaces, c.sp.id), append(gone.heads, head), append(gone.tails, tail)
		default:
			continue
		}
		wrote[c.sp.p] = true
	}
	if len(made.ids) > 0 {
		b.Queue(sqlNewSpace, made.ids, made.parts, made.names)
	}
	if len(put.spaces) > 0 {
		b.Queue(sqlPut, put.spaces, put.heads, put.tails, put.rests, put.vals, put.dues)
	}
	if len(gone.spaces) > 0 {
		b.Queue(sqlDelete, gone.spaces, gone.heads, gone.tails)
	}
}

// flushMessages writes segments, and the rows of their channels.
func (g *group) flushMessages(b *pgx.Batch, wrote map[int]bool) (rows []channelRow) {
	g.written = nil
	var seg struct {
		channels, bases, mins, maxs, his, seqs, totals []int64
		ns                                             []int
		datas                                          [][]byte
	}
	var put struct {
		ids, firsts, nexts, firstSeqs, firstTotals, oldests, seqs, totals, his []int64
		parts                                                                  []int
		names                                                                  []string
	}
	for _, ch := range g.opened {
		r := ch.row
		for _, s := range runs(ch.added) {
			r.next = s.end()
			if s.end() <= r.first {
				continue // dropped before it was written
			}
			if r.first == s.base {
				r.firstSeq, r.firstTotal, r.oldest = r.seq, r.total, s.min
			}
			if r.hi = max(r.hi, s.max); r.seq == 0 {
				r.hi = s.max
			}
			r.seq++
			r.total += int64(len(s.data))
			seg.channels, seg.bases, seg.ns = append(seg.channels, ch.id), append(seg.bases, s.base), append(seg.ns, int(s.n))
			seg.mins, seg.maxs, seg.his = append(seg.mins, s.min), append(seg.maxs, s.max), append(seg.his, r.hi)
			seg.seqs, seg.totals, seg.datas = append(seg.seqs, r.seq), append(seg.totals, r.total), append(seg.datas, s.data)
			g.written = append(g.written, store.Segment{Channel: ch.name, Base: s.base, N: int(s.n), MinTime: s.min, MaxTime: s.max, Data: s.data})
		}
		if r == ch.was {
			continue
		}
		wrote[ch.p] = true
		rows = append(rows, channelRow{ch, r})
		put.ids, put.parts, put.names = append(put.ids, ch.id), append(put.parts, ch.p), append(put.names, ch.name)
		put.firsts, put.nexts, put.firstSeqs, put.firstTotals = append(put.firsts, r.first), append(put.nexts, r.next), append(put.firstSeqs, r.firstSeq), append(put.firstTotals, r.firstTotal)
		put.oldests, put.seqs, put.totals, put.his = append(put.oldests, r.oldest), append(put.seqs, r.seq), append(put.totals, r.total), append(put.his, r.hi)
		if r.first > ch.was.first {
			g.d.sweeper.nudge()
		}
	}
	if len(seg.channels) > 0 {
		b.Queue(sqlPutSegment, seg.channels, seg.bases, seg.ns, seg.mins, seg.maxs, seg.his, seg.seqs, seg.totals, seg.datas)
	}
	if len(rows) > 0 {
		b.Queue(sqlPutChannel, put.ids, put.parts, put.names, put.firsts, put.nexts, put.firstSeqs, put.firstTotals, put.oldests, put.seqs, put.totals, put.his)
	}
	return rows
}
