package redis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"penstock.dev/penstock"
)

// ConnectionConfig is the Connection of a Redis server or cluster.
type ConnectionConfig struct {
	// Where the server is: redis://redis.example.com:6379, with rediss:// for TLS, and with /2 behind it for database 2. It holds no user and no password: those
	// are fields of their own.
	URL penstock.Template `json:"url"`
	// The nodes of a cluster, or the sentinels: redis-1.example.com:6379. Any of them will do: the others are learnt from it. In place of url.
	Addresses []penstock.Template `json:"addresses"`
	// The servers are a cluster. A batch of messages goes to each node that has some of its keys; what is said of one key keeps its order.
	Cluster bool `json:"cluster"`
	// The addresses are those of sentinels, which know the server that is the master at the moment.
	Sentinel *Sentinel `json:"sentinel"`
	// The user to log in as (ACL), with password. Default: the user `default`, if there is a password.
	User penstock.Template `json:"user"`
	// The user's password. It is read anew for each connection that is opened, as all secrets here are, so it may change while penstock runs.
	Password penstock.Secret `json:"password"`
	// The database. A cluster has only 0. Default: that of url, or 0.
	DB int `json:"db" penstock:"min=0,max=65535"`
	// How the connection is secured. Default: with rediss:// as the system's authorities say, else not at all.
	TLS *TLS `json:"tls"`
	// The server has each write on disk before it answers (`appendonly yes` and `appendfsync always`), so that what a sink was told is written stays written. It is asked
	// when a sink is opened, and the flow does not start if that is not so. Without it, what is written in the last second or more before the server's machine
	// fails may be lost, and `check` says so.
	Fsync bool `json:"fsync"`
	// How long opening a connection may take.
	ConnectTimeout penstock.Duration `json:"connectTimeout" penstock:"default=5s,min=1ms"`
	// How long the server may take to answer. What was asked then fails as timed out, and the connection is opened anew.
	ReplyTimeout penstock.Duration `json:"replyTimeout" penstock:"default=5s,min=10ms"`
}

// Sentinel says how sentinels are asked for the master.
type Sentinel struct {
	// The name that they watch over it by.
	Master string `json:"master" penstock:"required"`
	// The user to log in as at the sentinels.
	User penstock.Template `json:"user"`
	// The password at the sentinels. A new one is used after a restart.
	Password penstock.Secret `json:"password"`
}

// TLS secures a connection to Redis.
type TLS struct {
	// The certificates (PEM) of the authorities that the server's certificate may come from. Default: those of the system.
	CA penstock.Secret `json:"ca"`
	// This side's certificate (PEM), for servers that want one, with those between it and the authority behind it. Needs privateKey.
	Certificate penstock.Secret `json:"certificate"`
	// The key (PEM) of the certificate. Both are read for each new connection, so that they can be renewed while penstock runs.
	PrivateKey penstock.Secret `json:"privateKey"`
	// The name that the server's certificate must bear. Default: the host.
	ServerName string `json:"serverName"`
	// Accepts any certificate. Whoever is on the way can then read and change everything: for trying things out, never for production; the run warns.
	Insecure bool `json:"insecure"`
}

// Validate implements penstock.Resolver.
func (c *ConnectionConfig) Validate() (errs []error) {
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	refuse(c.URL.IsZero() == (len(c.Addresses) == 0), "say where the server is: `url`, or for a cluster or sentinels `addresses`; one of them")
	refuse(c.Cluster && c.Sentinel != nil, "a `cluster` has no `sentinel`: its nodes watch over each other")
	refuse(c.Sentinel != nil && !c.URL.IsZero(), "`sentinel` needs the `addresses` of the sentinels")
	refuse(len(c.Addresses) > 1 && !c.Cluster && c.Sentinel == nil, "several `addresses` are nodes of a cluster or sentinels: say `cluster: true` or `sentinel: { master: … }`")
	refuse(c.Cluster && c.DB != 0, "a cluster has only database 0: leave `db` out")
	refuse(!c.User.IsZero() && c.Password.IsZero(), "`user` needs `password: { secret: … }`")
	if isStatic(c.URL) && !c.URL.IsZero() {
		if p, err := parseURL(c.URL.Source); err != nil {
			errs = append(errs, err)
		} else {
			refuse(!p.secure && c.TLS != nil, "`tls` means nothing with this `url`: begin it with rediss://")
			refuse(p.db != 0 && c.DB != 0 && p.db != c.DB, "`url` says database %d, and `db` %d", p.db, c.DB)
			refuse(p.db != 0 && c.Cluster, "a cluster has only database 0: leave it out of `url`")
		}
	}
	for _, a := range c.Addresses {
		if isStatic(a) {
			if _, err := address(a.Source); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if c.Sentinel != nil {
		refuse(!c.Sentinel.User.IsZero() && c.Sentinel.Password.IsZero(), "sentinel: `user` needs `password: { secret: … }`")
	}
	if c.TLS != nil {
		if err := c.TLS.secrets().Check(); err != nil {
			errs = append(errs, err)
		}
		refuse(c.TLS.Insecure && !c.TLS.CA.IsZero(), "tls: insecure accepts any certificate, so that ca means nothing: leave one of them out")
	}
	return errs
}

// place is what a URL says.
type place struct {
	host   string // with its port
	db     int
	secure bool
}

func parseURL(s string) (p place, err error) {
	u, err := url.Parse(s)
	if err != nil {
		return p, errors.New("`url` can't be read: write it as redis://host:6379") // err may hold a password
	}
	switch u.Scheme {
	case "redis":
	case "rediss":
		p.secure = true
	default:
		return p, errors.New("`url` begins with redis://, or with rediss:// for TLS")
	}
	switch {
	case u.User != nil:
		return p, errors.New("`url` holds a user or a password: leave them out, and say `user: …, password: { secret: … }`")
	case u.Hostname() == "":
		return p, errors.New("`url` has no host: write it as redis://host:6379")
	case u.RawQuery != "" || u.Fragment != "":
		return p, errors.New("`url`: behind the host stands only the number of a database")
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		if p.db, err = strconv.Atoi(db); err != nil || p.db < 0 {
			return p, fmt.Errorf("`url`: %q is no number of a database", db)
		}
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	p.host = net.JoinHostPort(u.Hostname(), port)
	return p, nil
}

// address reads one of addresses: host:port.
func address(s string) (string, error) {
	if strings.Contains(s, "://") || strings.Contains(s, "@") {
		return "", fmt.Errorf("addresses: %q is to be host:6379, without a scheme, user or password", s)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil && strings.Contains(err.Error(), "missing port") {
		host, port, err = strings.Trim(s, "[]"), "6379", nil
	}
	if err != nil || host == "" {
		return "", fmt.Errorf("addresses: %q is to be host:6379", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("addresses: %q has no port", s)
	}
	return net.JoinHostPort(host, port), nil
}
