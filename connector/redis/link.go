package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
)

// link is an open Connection, shared by all drivers of a run that name it. The client under it opens connections as they are needed, and anew when they break. It is
// safe for concurrent use.
type link struct {
	config *ConnectionConfig
	name   string
	env    penstock.Env

	mu     sync.Mutex // one of the drivers opens it
	client rueidis.Client
	proven bool        // the server has answered
	asked  atomic.Bool // the server wants a certificate of ours
}

// connect gives the link of a Connection. No connection is made yet.
func connect(ref penstock.ConnectionRef, env penstock.Env) (*link, error) {
	c, ok := ref.Config.(*ConnectionConfig)
	if !ok {
		return nil, config(ref.Pos.String(), "", "the connection %s has no configuration", ref.Name)
	}
	v, err := env.Shared("connection redis "+ref.Name, func() (any, error) {
		return &link{config: c, name: ref.Name, env: env}, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*link), nil
}

// open connects, unless that was done, and makes sure that the server answers.
func (l *link) open(ctx context.Context) (rueidis.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		o, err := l.options()
		if err != nil {
			return nil, err
		}
		c, err := rueidis.NewClient(o)
		if err != nil {
			if c != nil {
				c.Close()
			}
			return nil, l.refused(err)
		}
		l.client = c
	}
	err := l.ask(ctx, l.client, l.client.B().Ping().Build()).Error()
	if _, said := rueidis.IsRedisErr(err); err != nil && !said && ctx.Err() == nil { // that connection was broken before; the next is new
		err = l.ask(ctx, l.client, l.client.B().Ping().Build()).Error()
	}
	if err != nil {
		return nil, l.refused(err)
	}
	l.proven = true
	return l.client, nil
}

// refused is failure for a server that may never have let us in: one that does not like our certificate breaks the connection without a word that is sure to arrive.
func (l *link) refused(err error) error {
	out := l.failure(err)
	if e := (*penstock.Error)(nil); !l.proven && l.asked.Load() && errors.As(out, &e) && e.Code == penstock.Unavailable {
		e.Code, e.Hint = penstock.Unauthenticated, ourCertificate
	}
	return out
}

// Close ends the connections.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		l.client.Close()
	}
	return nil
}

// timeout is how long the server may take.
func (l *link) timeout() time.Duration {
	if d := l.config.ReplyTimeout.Std(); d > 0 {
		return d
	}
	return 5 * time.Second
}

// options are those of the client.
func (l *link) options() (o rueidis.ClientOption, err error) {
	c := l.config
	o = rueidis.ClientOption{
		SelectDB:         c.DB,
		ConnWriteTimeout: l.timeout(),
		Dialer:           net.Dialer{Timeout: max(c.ConnectTimeout.Std(), time.Millisecond), KeepAlive: 5 * time.Second},
		ClientSetInfo:    rueidis.DisableClientSetInfo,
		// What fails is tried again by the engine, which says so and waits.
		DisableRetry: true,
		DisableCache: true,
		// One connection for what doesn't block: commands keep the order in which they were given.
		PipelineMultiplex:   -1,
		ReadBufferEachConn:  64 << 10,
		WriteBufferEachConn: 64 << 10,
		ForceSingleClient:   !c.Cluster && c.Sentinel == nil,
		ClientName:          "penstock-" + strings.Map(printable, l.name),
	}
	secure := c.TLS != nil
	if !c.URL.IsZero() {
		text, err := fixed(c.URL, l.env)
		var p place
		if err == nil {
			p, err = parseURL(text)
		}
		if err != nil {
			return o, config("connection "+l.name, "", "%w", err)
		}
		o.InitAddress, secure = []string{p.host}, secure || p.secure
		if o.SelectDB == 0 {
			o.SelectDB = p.db
		}
	}
	for _, t := range c.Addresses {
		text, err := fixed(t, l.env)
		if err == nil {
			text, err = address(text)
		}
		if err != nil {
			return o, config("connection "+l.name, "", "%w", err)
		}
		o.InitAddress = append(o.InitAddress, text)
	}
	user, err := fixed(c.User, l.env)
	if err != nil {
		return o, err
	}
	if !c.Password.IsZero() {
		o.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			return rueidis.AuthCredentials{Username: user, Password: c.Password.Reveal()}, nil
		}
	}
	if c.Sentinel != nil {
		o.Sentinel = rueidis.SentinelOption{MasterSet: c.Sentinel.Master, TopologyRefreshInterval: 5 * time.Second, Dialer: o.Dialer}
		if o.Sentinel.Username, err = fixed(c.Sentinel.User, l.env); err != nil {
			return o, err
		}
		if !c.Sentinel.Password.IsZero() {
			o.Sentinel.Password = c.Sentinel.Password.Reveal()
		}
	}
	if c.TLS != nil && c.TLS.Insecure {
		l.env.Logger.Warn("tls: insecure: any certificate of the server is accepted", "connection", l.name)
	}
	o.DialCtxFn = func(ctx context.Context, to string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		if !secure {
			return d.DialContext(ctx, "tcp", to)
		}
		t, err := l.tls(to)
		if err != nil {
			return nil, err
		}
		return (&tls.Dialer{NetDialer: d, Config: t}).DialContext(ctx, "tcp", to)
	}
	return o, nil
}

func printable(r rune) rune {
	if r <= ' ' || r > '~' {
		return '-'
	}
	return r
}

// tls is made for each connection: certificates change while penstock runs.
func (l *link) tls(to string) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(to)
	if err != nil {
		return nil, err
	}
	var t penstock.TLSSecrets
	if l.config.TLS != nil {
		t = l.config.TLS.secrets()
	}
	out, err := t.Config("redis", "connection "+l.name, host)
	if err != nil {
		return nil, err
	}
	pair := new(tls.Certificate) // none
	if len(out.Certificates) > 0 {
		pair = &out.Certificates[0]
	}
	out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		l.asked.Store(true)
		return pair, nil
	}
	return out, nil
}

// secrets are what a connection is made of.
func (t *TLS) secrets() penstock.TLSSecrets {
	return penstock.TLSSecrets{CA: t.CA, Certificate: t.Certificate, PrivateKey: t.PrivateKey, ServerName: t.ServerName, Unverified: t.Insecure}
}

// ask sends one command and waits for the answer, for as long as the server may take.
func (l *link) ask(ctx context.Context, c rueidis.Client, cmd rueidis.Completed) rueidis.RedisResult {
	ctx, cancel := context.WithTimeout(ctx, l.timeout())
	defer cancel()
	return c.Do(ctx, cmd)
}

// saves makes sure that the server has what is written on disk before it answers, as the configuration says of it.
func (l *link) saves(ctx context.Context, c rueidis.Client) error {
	if !l.config.Fsync {
		return nil
	}
	for at, node := range c.Nodes() {
		is, err := l.ask(ctx, node, node.B().ConfigGet().Parameter("append*").Build()).AsStrMap()
		if e, ok := rueidis.IsRedisErr(err); ok && e != nil {
			l.env.Logger.Warn("the server does not tell whether it has writes on disk before it answers; `fsync: true` is taken for granted", "connection", l.name, "server", at, "error", err)
			continue
		}
		if err != nil {
			return l.failure(err)
		}
		if is["appendonly"] != "yes" || is["appendfsync"] != "always" {
			return config("connection "+l.name, "set `appendonly yes` and `appendfsync always` there, or leave `fsync` out", "`fsync: true`, and the server %s has appendonly %s and appendfsync %s", at, is["appendonly"], is["appendfsync"])
		}
	}
	return nil
}
