// Package postgres is the store that replicas share: PostgreSQL, from version 13 on.
//
// Everything that queued while a commit was on its way becomes the next one (group commit, without lingering), as in the embedded store;
// each process has one goroutine that writes, with one connection. What makes the processes one store are the rows of the table part: a transaction
// locks those of the parts that it reads and writes, in ascending order, and each commit that changes a part counts its version up. So a process
// knows with the lock whether what it remembers of a part still holds: mostly a group needs no reading and is one message to the server
// and one answer, in which the server tests the versions, writes and commits.
//
// Transactions are functions that are run to find out what they read: first without any lock, over what is remembered. What is missing is then fetched
// for all of the group at once, under the locks, and they are run again. Nothing is ever read one by one, and no lock is taken out of order, so
// there are no deadlocks.
//
// Files: writer.go is the queue, commit.go how a group becomes durable, outcome.go what is done when its answer is lost, timeline.go which server it is, group.go what
// is gathered and remembered, tx.go a transaction, overlay.go its reading, fetch.go what it asks the server, view.go snapshots, notify.go who is
// told of messages, leases.go the leases on parts, schema.go the tables and their versions.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/store"
)

// Defaults of [Options].
const (
	DefaultParts  = 64
	DefaultLease  = 10 * time.Second
	DefaultSchema = "penstock"
)

// Options say how a store is opened.
type Options struct {
	// Connection says where the server is, and as whom to connect: a URI postgres://user:password@host:port/database?sslmode=…, or words
	// key=value, as libpq has them. What it leaves out comes from the environment (PGHOST …). Without sslmode a server that is not on this machine
	// has to show a certificate of its name (verify-full).
	Connection string
	// Password gives the password, anew for each connection; nil: it is in Connection or in the environment, or there is none.
	Password func() string
	// Schema of the tables; it is made where it is not there. "": DefaultSchema.
	Schema string
	// Parts is how many parts a new store has; one that is there keeps its number. 0: DefaultParts.
	Parts int
	// Lease is how long leases on parts hold. Transactions that stand still, or wait for a lock, are ended by the server after less than a third of
	// it. 0: DefaultLease.
	Lease time.Duration
	// Volatile opens the store also on a server that says that something is durable before it is.
	Volatile bool
	// Poll is how often the store looks for what other processes have appended, where they don't tell. 0: a second.
	Poll time.Duration
	// Logger is told of what an operator should know; nil: nobody.
	Logger *slog.Logger
	// Now is the clock that commits are measured with; nil: time.Now.
	Now func() time.Time

	// For tests: other versions.
	steps []migration
}

// DB is an open store. It is safe for concurrent use.
type DB struct {
	o     Options
	log   *slog.Logger
	cfg   *pgx.ConnConfig
	parts int

	w      *pgx.Conn // the writer's
	plans  int       // commits since the first, which plans were made for
	warned bool      // w has warned that a commit is not replicated
	group  *group
	queue  queue
	// life ends when the store is closed, or has failed.
	life    context.Context
	end     context.CancelCauseFunc
	stopped chan struct{} // the writer has ended
	closed  atomic.Bool
	moved   atomic.Bool    // another server has answered than before: the writer is to look
	tasks   sync.WaitGroup // its other goroutines

	origin  origin
	writer  identity
	failure atomic.Pointer[penstock.Error] // why the store has ended
	notify  notifier
	views   views
	sweeper sweeper
	leases  leases
	counts  counts
	// durations are those of commits.
	durations *observe.Histogram
}

var _ store.Store = (*DB)(nil)

// Open opens the store, and makes its tables where there are none, or those of an older version. Errors: config where the connection can't be understood, where the
// server does not take it, is not durable, or has tables that this program can't work with; unavailable where the server does not answer.
func Open(ctx context.Context, o Options) (*DB, error) {
	o = o.withDefaults()
	d := &DB{o: o, log: o.Logger, stopped: make(chan struct{}), durations: observe.NewHistogram(observe.DefaultBounds()...)}
	cfg, err := parse(o.Connection)
	if err != nil { // what it says has no password in it
		return nil, &penstock.Error{Code: penstock.Config, Op: "open the store", Err: err, Hint: "write postgres://user:password@host:5432/database"}
	}
	d.cfg = cfg
	d.session()
	d.queue.init()
	c, err := d.connect(ctx)
	if err == nil {
		err = d.durable(ctx, c)
	}
	if err == nil {
		d.parts, err = d.prepare(ctx, c, o.steps)
	}
	if c != nil {
		_ = c.Close(ctx)
	}
	if err != nil {
		return nil, d.openError(err)
	}
	d.life, d.end = context.WithCancelCause(context.WithoutCancel(ctx))
	d.group = newGroup(d)
	d.views.init()
	d.notify.init()
	d.sweeper.init()
	d.leases.init()
	if err := d.enlist(ctx); err != nil {
		d.end(err)
		return nil, d.openError(err)
	}
	go d.run()
	d.tasks.Go(d.poll)
	d.tasks.Go(d.listen)
	d.tasks.Go(d.sweep)
	return d, nil
}

// parse reads the connection. Where nothing is said of how it is secured, a server that is not on this machine has to show a certificate of its name. Of several servers
// it is the one that takes writes, where nothing else is said.
func parse(connection string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(connection)
	if err == nil && os.Getenv("PGSSLMODE") == "" && !strings.Contains(connection, "sslmode") && !local(cfg) {
		switch u, uerr := url.Parse(connection); {
		case uerr == nil && strings.HasPrefix(u.Scheme, "postgres"):
			q := u.Query()
			q.Set("sslmode", "verify-full")
			u.RawQuery = q.Encode()
			connection = u.String()
		default:
			connection += " sslmode=verify-full"
		}
		cfg, err = pgx.ParseConfig(connection)
	}
	// A way without TLS to the same server is a fallback, too.
	others := err == nil && slices.ContainsFunc(cfg.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != cfg.Host || f.Port != cfg.Port })
	if others && cfg.ValidateConnect == nil {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return cfg, err
}

// local says that all servers are on this machine.
func local(cfg *pgx.ConnConfig) bool {
	hosts := []string{cfg.Host}
	for _, f := range cfg.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); !strings.HasPrefix(host, "/") && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

func (o Options) withDefaults() Options {
	if o.Schema == "" {
		o.Schema = DefaultSchema
	}
	if o.Parts <= 0 {
		o.Parts = DefaultParts
	}
	if o.Lease <= 0 {
		o.Lease = DefaultLease
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.steps == nil {
		o.steps = migrations
	}
	return o
}

// session sets what all connections have. Whoever stands still in a transaction, or waits, is ended by the server before a third of a lease is over. Plans are
// made once, and by the indices: the tables are small when they are made.
func (d *DB) session() {
	c := d.cfg
	if c.RuntimeParams == nil {
		c.RuntimeParams = map[string]string{}
	}
	bound := strconv.FormatInt((d.o.Lease * 3 / 10).Milliseconds(), 10)
	idle := bound
	if mutation.On("pg-idle-unbounded") {
		idle = "0"
	}
	for name, value := range map[string]string{
		"search_path":                         pgx.Identifier{d.o.Schema}.Sanitize(),
		"idle_in_transaction_session_timeout": idle,
		"statement_timeout":                   bound,
		"lock_timeout":                        strconv.FormatInt((d.o.Lease / 4).Milliseconds(), 10),
		"plan_cache_mode":                     "force_generic_plan",
		"enable_seqscan":                      "off",
		"enable_hashjoin":                     "off",
		"enable_mergejoin":                    "off",
		"enable_bitmapscan":                   "off",
		"enable_sort":                         "off",
		"jit":                                 "off",
		"client_min_messages":                 "warning",
		"default_transaction_isolation":       "read committed",
	} {
		c.RuntimeParams[name] = value
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "penstock"
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = max(d.o.Lease/2, 2*time.Second)
	}
	c.AfterConnect = d.recognise
}

// config is that of a new connection.
func (d *DB) config() *pgx.ConnConfig {
	c := d.cfg.Copy()
	if d.o.Password != nil {
		c.Password = d.o.Password()
	}
	return c
}

func (d *DB) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.ConnectConfig(ctx, d.config())
}

// where is the store as errors name it: without a password.
func (d *DB) where() string {
	if d.cfg == nil {
		return ""
	}
	return fmt.Sprintf("%s/%s (schema %s)", net.JoinHostPort(d.cfg.Host, strconv.Itoa(int(d.cfg.Port))), d.cfg.Database, d.o.Schema)
}

// Where names the server, the database and the schema, without a password.
func (d *DB) Where() string { return d.where() }

// Parts implements store.Store.
func (d *DB) Parts() int { return d.parts }

// openError says what to do about an error of opening.
func (d *DB) openError(err error) error {
	var own *penstock.Error
	if errors.As(err, &own) {
		return err
	}
	e := &penstock.Error{Code: penstock.Unavailable, Op: "open the store", Path: d.where(), Err: err, Hint: "look whether the server runs and can be reached from here"}
	if hint, config := secured(err); hint != "" {
		if e.Hint = hint; config {
			e.Code = penstock.Config
		}
		return e
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		switch pe.Code[:2] {
		case "25": // read only
			e.Hint = "the server takes no writes: it is a standby; name both servers in the url (host1:5432,host2:5432), and it is the one that does"
		case "28", "3D": // who, or which database
			e.Code, e.Hint = penstock.Config, "look at user, password and database of the store's connection, and at pg_hba.conf of the server"
		case "53":
			e.Hint = hint(err, e.Hint)
		case "42": // rights
			e.Code, e.Hint = penstock.Config, "the role needs CREATE on the database, or a schema of its own: CREATE SCHEMA "+d.o.Schema+" AUTHORIZATION …"
		}
	}
	return e
}

// hint says what to do about an error of the server's disk, or of how connections are secured; else it is otherwise.
func hint(err error, otherwise string) string {
	if hint, _ := secured(err); hint != "" {
		return hint
	}
	if stateOf(err) == stateDiskFull {
		return "the disk of the server is full: free some space there; what is in the store is safe"
	}
	return otherwise
}

func (d *DB) closedError() *penstock.Error {
	return penstock.E(penstock.Unavailable, "use the store", d.where(), "it is closed")
}

// fail ends the store: from here on everything is refused.
func (d *DB) fail(op string, err error) *penstock.Error {
	e := &penstock.Error{Code: penstock.Unavailable, Op: op, Path: d.where(), Err: err,
		Hint: hint(err, "the store has stopped; look at the server: what is durable is known when the store is opened again")}
	if d.failure.CompareAndSwap(nil, e) {
		d.log.Error("the store has stopped", "store", d.where(), "error", e)
		d.end(e)
	}
	return d.failure.Load()
}

// Close implements store.Store.
func (d *DB) Close() error {
	if d.closed.Swap(true) {
		<-d.stopped
		return nil
	}
	d.queue.close()
	<-d.stopped
	d.end(d.closedError())
	d.tasks.Wait()
	d.leases.close()
	d.views.close()
	if d.w != nil {
		ctx, cancel := context.WithTimeout(context.Background(), d.cfg.ConnectTimeout)
		defer cancel()
		if d.failure.Load() == nil {
			_, _ = d.w.Exec(ctx, "DELETE FROM writer WHERE id = $1", d.writer.id) // else another one does it in a day
		}
		_ = d.w.Close(ctx)
	}
	return nil
}

// counts are what Stats tells.
type counts struct {
	commits, transactions, messages, bytes, commitTime atomic.Int64
	size                                               atomic.Int64
	trips                                              atomic.Int64 // to the server and back, of the writer
}

// Stats implements store.Store. FileBytes are those of the tables and their indices, as of some seconds ago. Nothing is known of the server's disk.
func (d *DB) Stats() store.Stats {
	return store.Stats{
		Commits: d.counts.commits.Load(), Transactions: d.counts.transactions.Load(),
		Messages: d.counts.messages.Load(), Bytes: d.counts.bytes.Load(),
		CommitTime: time.Duration(d.counts.commitTime.Load()),
		FileBytes:  d.counts.size.Load(), DiskFree: math.MaxInt64,
		Durations: d.durations,
	}
}

// Trips counts the messages that the writer has sent to the server and waited for: for benchmarks.
func (d *DB) Trips() int64 { return d.counts.trips.Load() }
