package sql

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"penstock.dev/penstock"
)

// postgres is a pool of connections to a PostgreSQL server. Everything is sent and read as text, so that a number, a time or a JSON
// document is what its writer wrote, whatever its type.
type postgres struct {
	pool  *pgxpool.Pool
	at    string // for errors: the Connection and the server
	types typeCache
	std   struct {
		once sync.Once
		db   *sql.DB
	}
}

// plain is the same pool for who speaks to all databases alike.
func (p *postgres) plain() *sql.DB {
	p.std.once.Do(func() { p.std.db = stdlib.OpenDBFromPool(p.pool) })
	return p.std.db
}

func newPostgres(c *ConnectionConfig, name string, env penstock.Env) (*postgres, error) {
	cfg, err := poolConfig(c, env)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg) // makes no connection
	if err != nil {
		return nil, config(name, err.Error(), "")
	}
	at := net.JoinHostPort(cfg.ConnConfig.Host, strconv.Itoa(int(cfg.ConnConfig.Port)))
	return &postgres{pool: pool, at: "connection " + name + " (" + at + ")"}, nil
}

// poolConfig is the configuration of pgx. Nothing of the environment (PGHOST …) nor of files (.pgpass) goes into it: the Connection
// says everything.
func poolConfig(c *ConnectionConfig, env penstock.Env) (*pgxpool.Config, error) {
	var texts [4]string
	for i, t := range []penstock.Template{c.URL, c.Host, c.Database, c.User} {
		var err error
		if texts[i], err = fixed(t, env); err != nil {
			return nil, err
		}
	}
	uri, host, database, user := texts[0], texts[1], texts[2], texts[3]
	in := uriParts(uri)
	if uri == "" {
		uri = "postgres://localhost"
	}
	joint := "?"
	if strings.Contains(uri, "?") {
		joint = "&"
	}
	cfg, err := pgxpool.ParseConfig(uri + joint + "sslmode=disable&passfile=&application_name=penstock")
	if err != nil {
		return nil, config(c.URL.Pos.String(), "`url` can't be read: "+err.Error(), "")
	}
	cc := cfg.ConnConfig
	if host != "" || in.hosts == "" {
		cc.Host, cc.Port, cc.Fallbacks = cmp.Or(host, "localhost"), 5432, nil
	}
	if c.Port != 0 {
		cc.Port = uint16(c.Port)
	}
	if user != "" || in.user == "" {
		cc.User = cmp.Or(user, "postgres")
	}
	if database != "" || in.database == "" {
		cc.Database = cmp.Or(database, cc.User)
	}
	cc.Password = ""
	cc.ConnectTimeout = c.ConnectTimeout.Std()
	cc.DefaultQueryExecMode = pgx.QueryExecModeExec
	cc.StatementCacheCapacity, cc.DescriptionCacheCapacity = 0, 0
	cc.RuntimeParams = map[string]string{
		"application_name": "penstock", "TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "iso_8601", "bytea_output": "hex",
		"standard_conforming_strings": "on", "client_min_messages": "warning",
	}
	if c.StatementTimeout > 0 {
		cc.RuntimeParams["statement_timeout"] = strconv.FormatInt(c.StatementTimeout.Std().Milliseconds(), 10)
	}
	// Who gives up tells the server, so that it does not work on for nobody.
	cc.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 2 * time.Second}
	}
	cfg.MaxConns, cfg.MinConns = int32(c.Pool.Max), int32(c.Pool.Min)
	cfg.MaxConnIdleTime, cfg.MaxConnLifetime = c.Pool.Idle.Std(), c.Pool.Lifetime.Std()
	cfg.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) (err error) {
		cc.Password = c.Password.Reveal()
		if cc.TLSConfig, err = tlsConfig(&c.TLS, cc.Host); err != nil {
			return err
		}
		for _, other := range cc.Fallbacks {
			if other.TLSConfig, err = tlsConfig(&c.TLS, other.Host); err != nil {
				return err
			}
		}
		return nil
	}
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		for _, s := range c.Session {
			if _, err := conn.PgConn().Exec(ctx, s).ReadAll(); err != nil {
				return err
			}
		}
		return nil
	}
	return cfg, nil
}

// parts are those of a connection URI that are there.
type parts struct{ user, hosts, database string }

// uriParts cuts postgres://user@host:5432,other/database?…; what can't be read has none.
func uriParts(uri string) (p parts) {
	_, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return p
	}
	rest, _, _ = strings.Cut(rest, "?")
	rest, p.database, _ = strings.Cut(rest, "/")
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		p.user, _, _ = strings.Cut(rest[:at], ":")
		rest = rest[at+1:]
	}
	p.hosts = rest
	return p
}

// tlsConfig is made for each connection: certificates change while penstock runs. Nil is none.
func tlsConfig(c *TLS, host string) (*tls.Config, error) {
	mode := c.Mode
	if mode == "" {
		mode = "verify"
		if local(host) && c.CA.Reveal() == "" && c.Certificate.Reveal() == "" {
			mode = "disable"
		}
	}
	if mode == "disable" {
		return nil, nil //nolint:nilnil // none is what was asked for
	}
	secrets := c.secrets()
	secrets.Unverified = mode == "require"
	return secrets.Config("sql", "", host)
}

// secrets are what a connection is made of.
func (t *TLS) secrets() penstock.TLSSecrets {
	return penstock.TLSSecrets{CA: t.CA, Certificate: t.Certificate, PrivateKey: t.PrivateKey, ServerName: t.ServerName}
}

// local says that a host is this machine.
func local(host string) bool {
	if strings.HasPrefix(host, "/") || host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Close implements database.
func (p *postgres) Close() error {
	var err error
	if p.std.once.Do(func() {}); p.std.db != nil {
		err = p.std.db.Close()
	}
	p.pool.Close()
	return err
}

// with lends a connection to do.
func (p *postgres) with(ctx context.Context, do func(*pgx.Conn) error) error {
	c, err := p.pool.Acquire(ctx)
	if err != nil {
		return p.failure(ctx, err, true)
	}
	defer c.Release()
	return p.failure(ctx, do(c.Conn()), false)
}

// again is with for what may be done a second time. It is, once, where the connection turns out to be broken: those that lie in the pool
// break when the server is started anew.
func (p *postgres) again(ctx context.Context, do func(*pgx.Conn) error) error {
	broken := false
	try := func(c *pgx.Conn) error {
		err := do(c)
		broken = lost(ctx, err)
		return err
	}
	err := p.with(ctx, try)
	if broken {
		p.pool.Reset()
		err = p.with(ctx, try)
	}
	return err
}

// check implements database.
func (p *postgres) check(ctx context.Context, s *statement) error {
	return p.again(ctx, func(c *pgx.Conn) error {
		_, err := p.prepare(ctx, c, s)
		return err
	})
}

// prepared is a statement that a connection knows, with what its types are.
type prepared struct {
	*pgconn.StatementDescription
	params  []pgType
	results []pgType
}

func (p *postgres) prepare(ctx context.Context, c *pgx.Conn, s *statement) (*prepared, error) {
	d, err := c.Prepare(ctx, s.dollar, s.dollar)
	if err != nil {
		return nil, err
	}
	out := &prepared{StatementDescription: d, params: make([]pgType, len(d.ParamOIDs)), results: make([]pgType, len(d.Fields))}
	if len(d.ParamOIDs) != s.params {
		return nil, config("", "the statement has parameters of its own beside ${…}", "write values as ${…}")
	}
	for i, oid := range d.ParamOIDs {
		if out.params[i], err = p.types.of(ctx, c, oid); err != nil {
			return nil, err
		}
	}
	for i := range d.Fields {
		if out.results[i], err = p.types.of(ctx, c, d.Fields[i].DataTypeOID); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// run implements database.
func (p *postgres) run(ctx context.Context, s *statement, args []penstock.Value, out *rows) (affected int64, err error) {
	lend := p.again
	if s.writes {
		lend = p.with
	}
	err = lend(ctx, func(c *pgx.Conn) error {
		if out != nil {
			out.reset(out.text)
		}
		affected, err = p.runOnce(ctx, c, s, args, out)
		return err
	})
	return affected, err
}

// lost says that an error is that of a connection which has broken.
func lost(ctx context.Context, err error) bool {
	var known *penstock.Error
	if err == nil || ctx.Err() != nil || errors.As(err, &known) {
		return false
	}
	return !answered(err)
}

// answered says that an error is the server's, and the connection is as it was.
func answered(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.SeverityUnlocalized != "FATAL" && e.SeverityUnlocalized != "PANIC"
}

func (p *postgres) runOnce(ctx context.Context, c *pgx.Conn, s *statement, args []penstock.Value, out *rows) (affected int64, err error) {
	for try := 0; ; try++ {
		st, err := p.prepare(ctx, c, s)
		if err != nil {
			return 0, err
		}
		affected, err = p.runOn(ctx, c, st, args, out)
		if err == nil || try > 0 || !stale(err) {
			return affected, err
		}
		// The table has changed since the statement was prepared: the server did nothing, and wants to see it again.
		if err := c.Deallocate(ctx, s.dollar); err != nil {
			return 0, err
		}
	}
}

// stale says that a prepared statement is out of date, or was forgotten.
func stale(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "0A000" && strings.Contains(e.Message, "cached plan") || e.Code == "26000")
}

func (p *postgres) runOn(ctx context.Context, c *pgx.Conn, st *prepared, args []penstock.Value, out *rows) (int64, error) {
	values := make([][]byte, len(args))
	for i, v := range args {
		var err error
		if values[i], err = st.params[i].parameter(v); err != nil {
			return 0, &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: "value " + strconv.Itoa(i+1), Err: err}
		}
	}
	res := c.PgConn().ExecPrepared(ctx, st.Name, values, nil, nil)
	err := st.take(res, out)
	tag, closing := res.Close()
	if err == nil {
		err = closing
	}
	if err != nil {
		return 0, err
	}
	return tag.RowsAffected(), nil
}

// take reads a result.
func (st *prepared) take(res *pgconn.ResultReader, out *rows) error {
	if len(st.Fields) == 0 || out == nil {
		return nil
	}
	names := make([]string, len(st.Fields))
	for i := range st.Fields {
		names[i] = st.Fields[i].Name
	}
	if err := out.columns(names); err != nil {
		return err
	}
	shown := len(names) - out.hidden
	for res.NextRow() {
		if err := out.begin(); err != nil {
			return err
		}
		for i, text := range res.Values() {
			if i >= shown {
				out.extra = append(out.extra, bytes.Clone(text))
				continue
			}
			out.key(i)
			if text == nil {
				out.text = append(out.text, "null"...)
				continue
			}
			var err error
			if out.text, err = st.results[i].append(out.text, text, out.wants[i]); err != nil {
				return &penstock.Error{Code: penstock.Unprocessable, Op: "sql", Path: "column " + names[i], Err: err}
			}
		}
		out.end()
	}
	return nil
}
