package sql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock"
)

// cdcLook is what there is on the server.
type cdcLook struct {
	walLevel    string
	may         bool // the user may replicate
	user        string
	database    string
	publication bool // it is there
	all         bool // it is for all tables
	publishes   string
	published   []published
	missing     []string          // tables of the configuration that it lacks, as the server writes them
	absent      map[string]string // tables of the configuration that are not there, with what is there instead
	unnamed     []string          // tables whose rows the server can't tell apart: their updates would fail once they are published
	slot        *slotLook
}

// published is a table of the publication.
type published struct {
	schema, name, filter string
	columns              []string
}

func (t published) full() string { return t.schema + "." + t.name }

type slotLook struct {
	plugin, kind, database, status string
	active                         string // the process that uses it
	confirmed                      string
	lag                            int64
	room                           int64 // how much more log the server keeps for it; -1: it does not say
}

const (
	cdcServer = `SELECT current_setting('wal_level'), (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), current_user, current_database()`

	cdcPublication = `SELECT puballtables, concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END, CASE WHEN pubupdate THEN 'update' END, CASE WHEN pubdelete THEN 'delete' END)
FROM pg_publication WHERE pubname = $1`

	// Which columns and rows are published is known since version 15.
	cdcPublished = `SELECT schemaname, tablename, to_jsonb(t) ->> 'rowfilter', array_to_json(ARRAY(SELECT jsonb_array_elements_text(NULLIF(to_jsonb(t) -> 'attnames', 'null'))))
FROM pg_publication_tables t WHERE pubname = $1 ORDER BY 1, 2`

	cdcTable = `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), n.nspname, c.relname, c.relreplident = 'n' OR c.relreplident = 'd'
	AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`

	cdcSlot = `SELECT coalesce(plugin, ''), slot_type, coalesce(database, ''), coalesce(to_jsonb(s) ->> 'wal_status', ''), coalesce(active_pid::text, ''), coalesce(confirmed_flush_lsn::text, ''),
	coalesce(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END, restart_lsn), 0)::bigint,
	coalesce((to_jsonb(s) ->> 'safe_wal_size')::bigint, -1)
FROM pg_replication_slots s WHERE slot_name = $1`
)

// asks runs questions on one connection.
type asks struct {
	ctx context.Context
	c   *pgconn.PgConn
}

func (a asks) rows(query string, args ...string) ([][][]byte, error) {
	var values [][]byte
	for _, v := range args {
		values = append(values, []byte(v))
	}
	res := a.c.ExecParams(a.ctx, query, values, nil, nil, nil).Read()
	return res.Rows, res.Err
}

// look looks at everything that is needed on the server.
func (c *CDCConfig) look(ctx context.Context, p *postgres) (out *cdcLook, err error) {
	err = p.again(ctx, func(conn *pgx.Conn) error {
		out, err = c.lookOn(asks{ctx, conn.PgConn()})
		return err
	})
	return out, err
}

func (c *CDCConfig) lookOn(a asks) (*cdcLook, error) {
	out := &cdcLook{absent: map[string]string{}}
	rows, err := a.rows(cdcServer)
	if err != nil {
		return nil, err
	}
	out.walLevel, out.may, out.user, out.database = string(rows[0][0]), isTrue(rows[0][1]), string(rows[0][2]), string(rows[0][3])
	if rows, err = a.rows(cdcPublication, c.publication()); err != nil {
		return nil, err
	}
	if len(rows) > 0 {
		out.publication, out.all, out.publishes = true, isTrue(rows[0][0]), string(rows[0][1])
		if rows, err = a.rows(cdcPublished, c.publication()); err != nil {
			return nil, err
		}
		for _, r := range rows {
			columns, err := stringList(r[3])
			if err != nil {
				return nil, err
			}
			out.published = append(out.published, published{string(r[0]), string(r[1]), string(r[2]), columns})
		}
	}
	for _, t := range c.Tables {
		if err := c.lookAt(a, t, out); err != nil {
			return nil, err
		}
	}
	rows, err = a.rows(cdcSlot, c.Slot)
	if err != nil || len(rows) == 0 {
		return out, err
	}
	out.slot = slotOf(rows[0])
	return out, nil
}

func slotOf(r [][]byte) *slotLook {
	s := &slotLook{plugin: string(r[0]), kind: string(r[1]), database: string(r[2]), status: string(r[3]), active: string(r[4]), confirmed: string(r[5])}
	s.lag, _ = strconv.ParseInt(string(r[6]), 10, 64)
	s.room, _ = strconv.ParseInt(string(r[7]), 10, 64)
	return s
}

// lookAt looks at one table of the configuration.
func (c *CDCConfig) lookAt(a asks, table string, out *cdcLook) error {
	name, err := tableName(table)
	if err != nil {
		return err
	}
	rows, err := a.rows(cdcTable, quoteAll(name, "."))
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		like, err := a.rows(pgLike, name[len(name)-1])
		if err != nil {
			return err
		}
		out.absent[table] = ""
		if len(like) > 0 {
			out.absent[table] = string(like[0][0])
		}
		return nil
	}
	r := rows[0]
	if !slices.ContainsFunc(out.published, func(p published) bool { return p.schema == string(r[1]) && p.name == string(r[2]) }) {
		out.missing = append(out.missing, string(r[0]))
		if isTrue(r[3]) {
			out.unnamed = append(out.unnamed, string(r[0]))
		}
	}
	return nil
}

// refuse says what of the server nothing can be done about here.
func (c *CDCConfig) refuse(l *cdcLook) error {
	wrong := func(code penstock.Code, msg, hint string) error {
		return &penstock.Error{Code: code, Op: "cdc", Path: "slot " + c.Slot, Err: errors.New(msg), Hint: hint}
	}
	switch {
	case l.walLevel != "logical":
		return wrong(penstock.Config, "the server's wal_level is "+l.walLevel+": its log does not say what changes", "ALTER SYSTEM SET wal_level = logical, and restart the server")
	case !l.may:
		return wrong(penstock.Forbidden, "the user "+l.user+" may not replicate", "ALTER ROLE "+l.user+" REPLICATION")
	}
	for _, t := range c.Tables {
		if like, absent := l.absent[t]; absent {
			hint := "check the name"
			if like != "" {
				hint = "there is " + like
			}
			return wrong(penstock.Config, "there is no table "+t, hint)
		}
	}
	return nil
}

// broken says what is wrong with the slot.
func (c *CDCConfig) broken(l *cdcLook) error {
	s := l.slot
	wrong := func(msg, hint string) error {
		return &penstock.Error{Code: penstock.Config, Op: "cdc", Path: "slot " + c.Slot, Err: errors.New(msg), Hint: hint}
	}
	drop := "SELECT pg_drop_replication_slot('" + c.Slot + "')"
	switch {
	case s.kind != "logical" || s.plugin != "pgoutput":
		return wrong("the slot is "+strings.TrimSpace(s.kind+" "+s.plugin)+", and this wants logical pgoutput", "name another `slot`")
	case s.database != l.database:
		return wrong("the slot is for the database "+s.database+", and the connection is to "+l.database, "name another `slot`")
	case s.status == "lost":
		return wrong("the server has removed log that the slot needed (max_slot_wal_keep_size): changes are lost", "drop it: "+drop+"; and begin anew: penstock run --from start, which reads all rows again")
	}
	return nil
}

// slotReady makes sure that the publication is as it must be and the slot there.
func (s *cdcSource) slotReady(ctx context.Context, l *cdcLook, had bool) error {
	c := &s.config
	if err := c.refuse(l); err != nil {
		return err
	}
	for _, o := range c.objects(l) {
		if o.Action == penstock.ObjectConflict {
			return &penstock.Error{Code: penstock.Config, Op: "cdc", Path: o.Kind + " " + o.Name, Err: errors.New(o.Why), Hint: o.Hint}
		}
	}
	if err := c.makePublication(ctx, s.db, l); err != nil {
		return err
	}
	if l.slot != nil {
		return nil
	}
	if s.opened || s.kept || had {
		return &penstock.Error{Code: penstock.Config, Op: "cdc", Path: "slot " + c.Slot, Err: errors.New("the replication slot is gone: what changed since then can't be read any more"),
			Hint: c.anew()}
	}
	s.env.Logger.Info("making a replication slot; it waits for transactions that are open", "slot", c.Slot)
	return s.db.with(ctx, func(conn *pgx.Conn) error {
		_, err := asks{ctx, conn.PgConn()}.rows("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", c.Slot)
		var e *pgconn.PgError
		if errors.As(err, &e) && e.Code == "42710" { // somebody was faster
			return nil
		}
		return err
	})
}

// walEnd is how far the server's log is on its disk.
func (p *postgres) walEnd(ctx context.Context) (at lsn, err error) {
	err = p.again(ctx, func(c *pgx.Conn) error {
		rows, err := asks{ctx, c.PgConn()}.rows("SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END")
		if err != nil {
			return err
		}
		at, err = parseLSN(string(rows[0][0]))
		return err
	})
	return at, err
}

// explain adds the fix to what the server says of replication.
func (s *cdcSource) explain(err error) error {
	var e *penstock.Error
	if !errors.As(err, &e) || e.Err == nil {
		return err
	}
	out, text := *e, e.Err.Error()
	out.Op = "cdc"
	has := func(words ...string) bool {
		for _, w := range words {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return true
	}
	drop := "SELECT pg_drop_replication_slot('" + s.config.Slot + "')"
	switch {
	case has("replication slot", "is active for PID"):
		out.Code, out.Hint = penstock.Unavailable, "another process reads the slot: each flow has one of its own; end the other, or name another `slot`"
	case has("publication", "does not exist"):
		out.Code, out.Hint = penstock.Config, "the slot is older than the publication: "+drop+", and begin anew: penstock run --from start"
	case has("can no longer get changes from replication slot"), has("cannot read from logical replication slot"):
		out.Code, out.Hint = penstock.Config, "the server has removed log that the slot needed (max_slot_wal_keep_size): "+drop+", and begin anew: penstock run --from start"
	case has("all replication slots are in use"):
		out.Code, out.Hint = penstock.Config, "drop slots that nobody needs (pg_replication_slots), or raise max_replication_slots"
	case has("number of requested standby connections exceeds max_wal_senders"):
		out.Code, out.Hint = penstock.Unavailable, "raise max_wal_senders of the server"
	case has("must be superuser or replication role"), has("permission denied to use replication slots"):
		out.Code, out.Hint = penstock.Forbidden, "ALTER ROLE … REPLICATION"
	case has("replication slot", "does not exist"):
		out.Code, out.Hint = penstock.Config, "the replication slot is gone: begin anew: penstock run --from start"
	default:
		return err
	}
	return &out
}

// lookAtLag looks at how much of its log the server keeps for the slot.
func (s *cdcSource) lookAtLag() {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience/4)
	defer cancel()
	l, err := s.slotNow(ctx)
	switch {
	case err != nil:
		s.env.Logger.Debug("looking at the slot", "slot", s.config.Slot, "error", err)
	case l != nil:
		s.lagging(l)
	}
}

// lagging logs when the server has to keep much of its log for the slot.
func (s *cdcSource) lagging(l *slotLook) {
	args := []any{"slot", s.config.Slot, "bytes", l.lag, "status", l.status}
	if l.room >= 0 {
		args = append(args, "bytes until it is lost", l.room)
	}
	if l.lag > int64(s.config.WarnLag) && s.config.WarnLag > 0 || l.status == "unreserved" {
		s.env.Logger.Warn("the server keeps much of its log for the slot: this flow is slower than what changes, or stands still", args...)
		return
	}
	s.env.Logger.Debug("the server's log for the slot", args...)
}

func stringList(text []byte) (out []string, err error) {
	r := strings.TrimSpace(string(text))
	if r == "" || r == "null" {
		return nil, nil
	}
	if err := jsonUnmarshal(r, &out); err != nil {
		return nil, fmt.Errorf("a list of columns can't be read: %w", err)
	}
	return out, nil
}
