package sql

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"penstock.dev/penstock"
)

// ConnectionConfig is the Connection of a database.
type ConnectionConfig struct {
	// Which database it is: postgres (version 12 and later), mysql (MariaDB 10.6 and later, MySQL 8 and later) or sqlite (version 3, in this program).
	Driver string `json:"driver" penstock:"required,enum=postgres|mysql|sqlite"`
	// Where the PostgreSQL server is, as a connection URI of libpq, without a password: postgres://shop@db.example.com:5432/shop. What
	// stands in fields of its own goes before it.
	URL penstock.Template `json:"url"`
	// The name or address of the server; with postgres also the folder of its Unix socket, with mysql the path of that. Default: localhost.
	Host penstock.Template `json:"host"`
	// The port of the server. Default: 5432 with postgres, 3306 with mysql.
	Port int `json:"port" penstock:"min=1,max=65535"`
	// The database: with postgres its name (default: that of the user), with mysql likewise (it must be said), with sqlite the path of its file, or `:memory:` for one that
	// is empty at each start and gone at the end.
	Database penstock.Template `json:"database"`
	// The user to log in as. Default: postgres with postgres, root with mysql.
	User penstock.Template `json:"user"`
	// The user's password. It is read anew for each connection that is opened, so it may change while penstock runs.
	Password penstock.Secret `json:"password"`
	// How the connection is secured. Default: mode verify, but disable where the server is on this machine.
	TLS TLS `json:"tls"`
	// How many connections are kept.
	Pool Pool `json:"pool"`
	// How long opening a connection may take.
	ConnectTimeout penstock.Duration `json:"connectTimeout" penstock:"default=10s,min=1ms"`
	// How long the server may work on one statement before it gives up; the call then fails as timed out (MySQL, unlike MariaDB, bounds questions only). Default: no limit but the
	// step's timeout. With sqlite: how long a statement waits for the lock of another writer (default 5s).
	StatementTimeout penstock.Duration `json:"statementTimeout" penstock:"min=1ms"`
	// Statements that every connection runs when it is opened: `SET search_path TO sales`, `PRAGMA foreign_keys = ON`.
	Session []string `json:"session"`
	// With sqlite: make the file if it is not there. Otherwise that is an error.
	Create bool `json:"create"`
}

// TLS secures a connection to a server.
type TLS struct {
	// verify encrypts and makes sure that the server is the one that was meant; require encrypts only, so that whoever sits in between can
	// read along; disable does neither.
	Mode string `json:"mode" penstock:"enum=verify|require|disable"`
	// The certificates (PEM) of the authorities that the server's certificate may come from. Default: those of the system.
	CA penstock.Secret `json:"ca"`
	// This side's certificate (PEM), for servers that want one, with those between it and the authority behind it. Needs privateKey.
	Certificate penstock.Secret `json:"certificate"`
	// The key (PEM) of the certificate.
	PrivateKey penstock.Secret `json:"privateKey"`
	// The name that the server's certificate must bear. Default: the host.
	ServerName string `json:"serverName"`
}

// Pool says how many connections are open. All flows that name the Connection share them.
type Pool struct {
	// The most connections at a time; who needs one more waits. With sqlite they are readers: there is one writer.
	Max int `json:"max" penstock:"min=1,max=1000,default=10"`
	// How many are kept open also when there is nothing to do.
	Min int `json:"min" penstock:"min=0,max=1000,default=0"`
	// How long a connection that nobody needs stays open.
	Idle penstock.Duration `json:"idle" penstock:"default=5m,min=1s"`
	// How old a connection may get, so that load is spread again after a server was added, and new passwords come into use.
	Lifetime penstock.Duration `json:"lifetime" penstock:"default=1h,min=1s"`
}

// Validate implements penstock.Resolver.
func (c *ConnectionConfig) Validate() (errs []error) {
	refuse := func(name string, set bool) {
		if set {
			errs = append(errs, fmt.Errorf("`%s` has no meaning with driver %s", name, c.Driver))
		}
	}
	switch c.Driver {
	case "sqlite":
		refuse("url", !c.URL.IsZero())
		refuse("host", !c.Host.IsZero())
		refuse("port", c.Port != 0)
		refuse("user", !c.User.IsZero())
		refuse("tls", c.TLS != TLS{})
		if c.Database.IsZero() {
			errs = append(errs, errors.New("driver sqlite needs `database`: the path of the file"))
		}
	case "mysql":
		refuse("create", c.Create)
		refuse("url", !c.URL.IsZero())
		if c.Database.IsZero() {
			errs = append(errs, errors.New("driver mysql needs `database`: its name"))
		}
		if c.Pool.Min > 0 {
			errs = append(errs, errors.New("pool: `min` has no meaning with driver mysql"))
		}
	case "postgres":
		refuse("create", c.Create)
		if u, err := url.Parse(c.URL.Source); !c.URL.IsZero() && !strings.Contains(c.URL.Source, "${") {
			switch {
			case err != nil: // several hosts, for which net/url has no form
				if _, after, ok := strings.Cut(c.URL.Source, "://"); ok && strings.Contains(strings.Split(after, "@")[0], ":") && strings.Contains(after, "@") {
					errs = append(errs, errPassword)
				}
			case u.Scheme != "postgres" && u.Scheme != "postgresql":
				errs = append(errs, errors.New("`url` begins with postgres://"))
			case hasPassword(u):
				errs = append(errs, errPassword)
			}
		}
		if c.Pool.Min > c.Pool.Max {
			errs = append(errs, fmt.Errorf("pool: min is %d, and max is %d", c.Pool.Min, c.Pool.Max))
		}
	}
	return errs
}

var errPassword = errors.New("`url` holds a password: leave it out, and say `password: { secret: … }`")

func hasPassword(u *url.URL) bool {
	_, set := u.User.Password()
	return set || u.Query().Has("password") || u.Query().Has("sslpassword")
}

// database is an open Connection, shared by all drivers of a run that name it. It is safe for concurrent use.
type database interface {
	// check prepares a statement, so that a wrong one is found at the start.
	check(ctx context.Context, s *statement) error
	// run runs a statement with values for its parameters, and puts the rows that it gives into out.
	run(ctx context.Context, s *statement, args []penstock.Value, out *rows) (affected int64, err error)
	// table looks at a table, whose name comes in its parts. One without columns is not there.
	table(ctx context.Context, name []string) (*table, error)
	// loader writes rows for a sink that has looked at its table.
	loader(s *sink) loader
	// polls makes the statements of a source that reads what a query gives, so many rows at a time.
	polls(query, watermark, key string, limit int) *polls
	// Close ends all connections.
	Close() error
}

// connect gives the database of a Connection, opened at first use. No connection is made yet.
func connect(ref penstock.ConnectionRef, env penstock.Env) (database, error) {
	c, ok := ref.Config.(*ConnectionConfig)
	if !ok {
		return nil, config(ref.Pos.String(), "the connection "+ref.Name+" has no configuration", "")
	}
	v, err := env.Shared("connection sql "+ref.Name, func() (any, error) {
		switch c.Driver {
		case "sqlite":
			return newSQLite(c, env)
		case "mysql":
			return newMySQL(c, ref.Name, env)
		}
		return newPostgres(c, ref.Name, env)
	})
	if err != nil {
		return nil, err
	}
	return v.(database), nil
}
