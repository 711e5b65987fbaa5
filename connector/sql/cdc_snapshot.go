package sql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock"
)

// snapshotReader reads all rows of the tables in one transaction, a little ahead of whoever takes them.
type snapshotReader struct {
	conn   *pgconn.PgConn
	chunks chan *snapshotChunk // closed at the end
	err    error               // why it ended; set before chunks is closed
	cancel func()
	now    *snapshotChunk // what is being taken
	at     int
}

// snapshotChunk is a few rows of a table.
type snapshotChunk struct {
	table *relation
	lsn   string
	text  []byte // bodies and keys, one behind the other
	ends  []int  // of body and key, by turns
	bad   map[int]error
}

func (c *snapshotChunk) row(i int) (body, key []byte, bad error) {
	from := 0
	if i > 0 {
		from = c.ends[2*i-1]
	}
	return c.text[from:c.ends[2*i]:c.ends[2*i]], c.text[c.ends[2*i]:c.ends[2*i+1]], c.bad[i]
}

const (
	chunkBytes = 256 << 10
	chunkRows  = 2048
)

// beginSnapshot takes a snapshot. All that the slot does not give, since it was over when the slot was made, must be in it: so it waits until whatever was under way
// at that time is over for everybody. A transaction whose commit is in the log is not seen by others before it has left the list of those that run, which
// may take long where it waits for a standby.
func (s *cdcSource) beginSnapshot(ctx context.Context) error {
	conn, err := s.db.dial(ctx, false)
	if err != nil {
		return err
	}
	fail := func(err error) error {
		return errors.Join(s.db.failure(ctx, err, false), conn.Close(context.WithoutCancel(ctx)))
	}
	a := asks{ctx, conn}
	if err := s.quiesce(a); err != nil {
		return fail(err)
	}
	if _, err := a.rows("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return fail(err)
	}
	// The snapshot is taken before the end of the log is looked at: what it sees is before that.
	rows, err := a.rows("SELECT txid_current_snapshot(), CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END")
	if err != nil {
		return fail(err)
	}
	before, err := parseLSN(string(rows[0][1]))
	if err != nil {
		return fail(err)
	}
	taken, err := parseSnapshot(string(rows[0][0]), before)
	if err != nil {
		return fail(err)
	}
	l, err := s.config.lookOn(a) // the publication as it was when the snapshot was taken
	if err != nil {
		return fail(err)
	}
	tables, err := s.tables(ctx, a, l)
	if err != nil {
		return fail(err)
	}
	s.mu.Lock()
	if s.stream != "" {
		s.stale = append(s.stale, s.stream)
	}
	s.taken, s.finish, s.rows, s.count, s.marked = taken, -1, 0, 0, false
	s.stream = snapshotStream(s.config.Slot) + before.String() + since + strconv.FormatInt(s.env.Clock.Now().UnixMicro(), 36)
	s.mu.Unlock()
	if err := s.setMark(ctx, markBegun); err != nil {
		return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &snapshotReader{conn: conn, chunks: make(chan *snapshotChunk, 2), cancel: cancel}
	s.snap = r
	go r.read(own, tables, before.String())
	s.env.Logger.Info("reading all rows", "slot", s.config.Slot, "tables", len(tables), "lsn", before.String())
	return nil
}

// quiesce waits until all transactions that run now are over.
func (s *cdcSource) quiesce(a asks) error {
	rows, err := a.rows("SELECT txid_snapshot_xmax(txid_current_snapshot())")
	if err != nil {
		return err
	}
	until := string(rows[0][0])
	for said, begun := false, s.env.Clock.Now(); ; {
		rows, err := a.rows("SELECT txid_snapshot_xmin(txid_current_snapshot()) >= $1::bigint", until)
		if err != nil || isTrue(rows[0][0]) {
			return err
		}
		if !said && s.env.Clock.Now().Sub(begun) > 5*time.Second {
			said = true
			s.env.Logger.Warn("waiting for transactions that are open, to read the rows that are there (see pg_stat_activity)", "slot", s.config.Slot)
		}
		fired, stop := s.env.Clock.NewTimer(50 * time.Millisecond)
		select {
		case <-a.ctx.Done():
			stop()
			return a.ctx.Err()
		case <-fired:
		}
	}
}

const cdcColumns = `SELECT a.attname, a.atttypid, c.oid FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.oid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum`

// snapshotTable is a table with the question for its rows.
type snapshotTable struct {
	*relation
	query string
}

// tables lists what is to be read.
func (s *cdcSource) tables(ctx context.Context, a asks, l *cdcLook) (out []snapshotTable, err error) {
	for _, t := range l.published {
		if !s.decoder.wanted(t.schema, t.name) {
			continue
		}
		full := quoteAll([]string{t.schema, t.name}, ".")
		rows, err := a.rows(cdcColumns, full)
		if err != nil {
			return nil, err
		}
		r := &relation{schema: t.schema, name: t.name, identity: 'n'}
		var names []string
		listed := map[string]bool{}
		for _, c := range t.columns {
			listed[c] = true
		}
		for _, row := range rows {
			if len(listed) > 0 && !listed[string(row[0])] {
				continue
			}
			oid, err := strconv.ParseUint(string(row[1]), 10, 32)
			if err != nil {
				return nil, err
			}
			table, err := strconv.ParseUint(string(row[2]), 10, 32)
			if err != nil {
				return nil, err
			}
			r.oid = uint32(table)
			r.columns = append(r.columns, cdcColumn{name: string(row[0]), oid: uint32(oid)})
			names = append(names, quote(string(row[0])))
		}
		if err := r.lookUp(ctx, s.db, s.env.Type); err != nil {
			return nil, err
		}
		query := "SELECT " + strings.Join(names, ", ") + " FROM " + full
		if t.filter != "" {
			query += " WHERE " + t.filter
		}
		out = append(out, snapshotTable{r, query})
	}
	return out, nil
}

// read reads the tables, one after the other.
func (r *snapshotReader) read(ctx context.Context, tables []snapshotTable, at string) {
	defer close(r.chunks)
	for _, t := range tables {
		if r.err = r.table(ctx, t, at); r.err != nil {
			return
		}
	}
	_, r.err = asks{ctx, r.conn}.rows("COMMIT")
}

func (r *snapshotReader) table(ctx context.Context, t snapshotTable, at string) error {
	res := r.conn.ExecParams(ctx, t.query, nil, nil, nil, nil)
	fresh := func() *snapshotChunk {
		return &snapshotChunk{table: t.relation, lsn: at, text: make([]byte, 0, chunkBytes+chunkBytes/8)}
	}
	c := fresh()
	give := func() error {
		if len(c.ends) == 0 {
			return nil
		}
		select {
		case r.chunks <- c:
			c = fresh()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var row tuple
	for res.NextRow() {
		row.cells = row.cells[:0]
		for _, v := range res.Values() {
			if v == nil {
				row.cells = append(row.cells, cell{kind: 'n'})
			} else {
				row.cells = append(row.cells, cell{kind: 't', text: v})
			}
		}
		from := len(c.text)
		c.text = append(c.text, `{"operation":"read","before":null,"after":`...)
		var bad error
		c.text, bad = t.appendRow(c.text, &row, nil, false, nil)
		c.text = append(c.text, '}')
		if n := len(c.text) - from; n > maxReply {
			bad = &penstock.Error{Code: penstock.TooLarge, Op: "cdc", Path: "table " + t.full(), Err: fmt.Errorf("the row has %d bytes, and a message at most %d", n, maxReply)}
			c.text = append(c.text[:from], `{"operation":"read","before":null,"after":null}`...)
		}
		if bad != nil {
			if c.bad == nil {
				c.bad = map[int]error{}
			}
			c.bad[len(c.ends)/2] = bad
		}
		c.ends = append(c.ends, len(c.text))
		c.text = t.appendKey(c.text, &row)
		c.ends = append(c.ends, len(c.text))
		if len(c.text) >= chunkBytes || len(c.ends) >= 2*chunkRows {
			if err := give(); err != nil {
				return err
			}
		}
	}
	if _, err := res.Close(); err != nil {
		return err
	}
	return give()
}

// close ends the transaction.
func (r *snapshotReader) close() {
	r.cancel()
	for range r.chunks { // until it has ended
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	_ = r.conn.Close(ctx)
}

// readSnapshot gives rows of the snapshot; more is false when there are none left.
func (s *cdcSource) readSnapshot(ctx context.Context, into *penstock.Batch) (more bool, err error) {
	r := s.snap
	if r.now == nil {
		var ok bool
		select {
		case r.now, ok = <-r.chunks:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		if !ok {
			s.snap = nil
			r.close()
			if r.err != nil {
				return false, s.disconnected(s.db.failure(ctx, r.err, false))
			}
			s.mu.Lock()
			s.finish = s.count
			s.mu.Unlock()
			s.env.Logger.Info("all rows were read", "slot", s.config.Slot, "rows", s.count)
			s.between = true
			return false, nil
		}
		r.at = 0
	}
	most := max(s.env.Batch, cdcBatch)
	n := len(r.now.ends) / 2
	for i := 0; i < most && r.at < n; i++ {
		s.readRow(into, r.now, r.at)
		r.at++
	}
	if r.at == n {
		r.now = nil
	}
	return true, nil
}

// snapshotSettled remembers that all rows were read and settled, once that is so.
func (s *cdcSource) snapshotSettled(ctx context.Context) error {
	s.mu.Lock()
	done := !s.marked && s.finish >= 0 && s.rows >= s.finish
	s.marked = s.marked || done
	if done {
		s.over = append(s.over, s.stale...)
		s.stale = nil
	}
	s.mu.Unlock()
	if !done {
		return nil
	}
	return s.setMark(ctx, markDone)
}

// setMark keeps how far the snapshot is.
func (s *cdcSource) setMark(ctx context.Context, state string) error {
	if s.env.State == nil {
		return nil
	}
	next, err := json.Marshal(cdcMark{State: state, Snapshot: s.taken.text, Before: s.taken.before.String(), Stream: s.stream})
	if err != nil {
		return err
	}
	put, err := s.env.State.CompareAndSet(ctx, markKey, s.mark, next, 0)
	if err != nil {
		return err
	}
	if !put {
		return &penstock.Error{Code: penstock.Conflict, Op: "cdc", Path: "slot " + s.config.Slot, Err: errors.New("another process has read the rows of this flow meanwhile"), Hint: "run the flow once"}
	}
	s.mark = next
	return nil
}
