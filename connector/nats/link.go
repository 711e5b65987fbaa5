package nats

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"penstock.dev/penstock"
)

// link is an open Connection, shared by all drivers of a run that name it. When it breaks it is mended in the background, for as long as the
// servers don't refuse us. It is safe for concurrent use.
type link struct {
	config *ConnectionConfig
	name   string
	env    penstock.Env

	dial sync.Mutex // one of the drivers opens it
	nc   *nats.Conn
	js   jetstream.JetStream

	mu       sync.Mutex
	up       chan struct{} // closed while there is a connection
	down     chan struct{} // closed while there is none
	dead     error         // it will not be mended
	watchers map[*watcher]struct{}
}

// watcher is who has to know at once what happens to the link.
type watcher struct {
	denied func(subject string, err error) // the server does not let us publish or listen there
	ended  func(err error)                 // the link will not be mended; nil where nobody asks
}

// connect gives the link of a Connection. No connection is made yet.
func connect(ref penstock.ConnectionRef, env penstock.Env) (*link, error) {
	c, ok := ref.Config.(*ConnectionConfig)
	if !ok {
		return nil, config(ref.Pos.String(), "", "the connection %s has no configuration", ref.Name)
	}
	v, err := env.Shared("connection nats "+ref.Name, func() (any, error) {
		l := &link{config: c, name: ref.Name, env: env, up: make(chan struct{}), down: make(chan struct{}), watchers: map[*watcher]struct{}{}}
		close(l.down)
		return l, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*link), nil
}

// open connects, unless that was done. It waits for a connection that is being mended.
func (l *link) open(ctx context.Context) error {
	l.dial.Lock()
	defer l.dial.Unlock()
	if l.nc != nil {
		ctx, cancel := context.WithTimeout(ctx, l.config.ConnectTimeout.Std())
		defer cancel()
		return l.wait(ctx)
	}
	o, err := l.options()
	if err != nil {
		return err
	}
	urls := make([]string, len(l.config.URLs))
	for i, t := range l.config.URLs {
		if urls[i], err = fixed(t, l.env); err == nil {
			err = checkURL(urls[i])
		}
		if err != nil {
			return config("connection "+l.name, "", "%w", err)
		}
	}
	nc, err := nats.Connect(strings.Join(urls, ","), o...)
	if err != nil {
		return l.failure(err)
	}
	js, err := jetstream.New(nc)
	if l.config.Domain != "" {
		js, err = jetstream.NewWithDomain(nc, l.config.Domain)
	}
	if err != nil {
		nc.Close()
		return l.failure(err)
	}
	l.mu.Lock()
	l.nc, l.js = nc, js
	l.state(nc.IsConnected())
	l.mu.Unlock()
	return nil
}

// state notes whether there is a connection. mu is held.
func (l *link) state(connected bool) {
	set := func(c *chan struct{}, closed bool) {
		select {
		case <-*c:
			if !closed {
				*c = make(chan struct{})
			}
		default:
			if closed {
				close(*c)
			}
		}
	}
	set(&l.up, connected)
	set(&l.down, !connected)
}

// wait waits for the connection.
func (l *link) wait(ctx context.Context) error {
	for {
		l.mu.Lock()
		up, dead := l.up, l.dead
		l.mu.Unlock()
		if dead != nil {
			return dead
		}
		select {
		case <-up:
			l.mu.Lock()
			dead := l.dead
			l.mu.Unlock()
			return dead
		case <-ctx.Done():
			return &penstock.Error{Code: penstock.Unavailable, Op: "nats", Path: "connection " + l.name, Err: errors.New("there is no connection to the server"), Unsent: true}
		}
	}
}

// lost is closed when the connection that there is now breaks.
func (l *link) lost() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

// watch has w called until the function that it gives is.
func (l *link) watch(w *watcher) (forget func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers[w] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers, w)
	}
}

// Close ends the connection.
func (l *link) Close() error {
	l.dial.Lock()
	defer l.dial.Unlock()
	if l.nc != nil {
		l.nc.Close()
	}
	return nil
}

// mending is how long to wait before the n-th try to mend the connection.
func mending(n int) time.Duration {
	d := min(100*time.Millisecond<<min(n, 6), 5*time.Second)
	return d/2 + rand.N(d/2) //nolint:gosec // so that not all clients come at once
}

// options are those of the client. Secrets are read at each connection.
func (l *link) options() ([]nats.Option, error) {
	c := l.config
	log := l.env.Logger.With("connection", l.name)
	o := []nats.Option{
		nats.Name("penstock " + l.name),
		nats.Timeout(c.ConnectTimeout.Std()),
		nats.PingInterval(c.Ping.Std()),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(2 * c.Ping.Std()),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(mending),
		// What is written while there is no connection would be sent in an order of its own later: it fails instead.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			l.mu.Lock()
			l.state(false)
			l.mu.Unlock()
			if err != nil {
				log.Warn("the connection is lost and will be opened again", "error", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			l.mu.Lock()
			l.state(true)
			l.mu.Unlock()
			log.Info("connected again", "server", nc.ConnectedUrlRedacted())
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			err := nc.LastError()
			if err == nil {
				err = nats.ErrConnectionClosed
			}
			dead := l.failure(err)
			l.mu.Lock()
			l.dead = dead
			l.state(false)
			close(l.up) // whoever waits looks at dead
			l.mu.Unlock()
			for _, w := range l.all() {
				if w.ended != nil {
					w.ended(dead)
				}
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			switch {
			case errors.Is(err, nats.ErrPermissionViolation):
				l.tellDenied(err)
			case errors.Is(err, nats.ErrSlowConsumer) && sub != nil:
				log.Warn("messages were dropped since the flow is slower than they come", "subject", sub.Subject)
			}
			log.Warn("the server says", "error", err)
		}),
	}
	if c.OnlyURLs {
		o = append(o, nats.IgnoreDiscoveredServers())
	}
	if c.InboxPrefix != "" {
		o = append(o, nats.CustomInboxPrefix(c.InboxPrefix))
	}
	auth, err := l.login()
	if err != nil {
		return nil, err
	}
	if auth != nil {
		o = append(o, auth)
	}
	return l.tls(o), nil
}

// login says who we are.
func (l *link) login() (nats.Option, error) {
	c := l.config
	switch {
	case !c.User.IsZero():
		user, err := fixed(c.User, l.env)
		if err != nil {
			return nil, err
		}
		return nats.UserInfoHandler(func() (string, string) { return user, c.Password.Reveal() }), nil
	case !c.Token.IsZero():
		return nats.TokenHandler(c.Token.Reveal), nil
	case !c.Credentials.IsZero():
		if _, _, err := credentials(c.Credentials); err != nil {
			return nil, config("connection "+l.name, "give the whole content of the file that nsc writes (.creds)", "credentials: %w", err)
		}
		return nats.UserJWT(func() (string, error) {
			jwt, _, err := credentials(c.Credentials)
			return jwt, err
		}, func(nonce []byte) ([]byte, error) {
			_, key, err := credentials(c.Credentials)
			if err != nil {
				return nil, err
			}
			defer key.Wipe()
			return key.Sign(nonce)
		}), nil
	case !c.NKey.IsZero():
		key, err := nkeys.FromSeed([]byte(strings.TrimSpace(c.NKey.Reveal())))
		var public string
		if err == nil {
			public, err = key.PublicKey()
			key.Wipe()
		}
		if err != nil || !nkeys.IsValidPublicUserKey(public) {
			return nil, config("connection "+l.name, "give the seed of a user, which begins with SU", "nkey: the secret is no seed of a user's NKey")
		}
		return nats.Nkey(public, func(nonce []byte) ([]byte, error) {
			key, err := nkeys.FromSeed([]byte(strings.TrimSpace(c.NKey.Reveal())))
			if err != nil {
				return nil, err
			}
			defer key.Wipe()
			return key.Sign(nonce)
		}), nil
	}
	return nil, nil //nolint:nilnil // nobody asks
}

// credentials takes the content of a credentials file apart.
func credentials(s penstock.Secret) (jwt string, key nkeys.KeyPair, err error) {
	text := []byte(s.Reveal())
	if jwt, err = nkeys.ParseDecoratedJWT(text); err != nil || !strings.HasPrefix(jwt, "ey") {
		return "", nil, errors.New("the secret has no JWT of a user")
	}
	if key, err = nkeys.ParseDecoratedUserNKey(text); err != nil {
		return "", nil, errors.New("the secret has no seed of a user")
	}
	return jwt, key, nil
}

// secrets are what a connection is made of.
func (t *TLS) secrets() penstock.TLSSecrets {
	return penstock.TLSSecrets{CA: t.CA, Certificate: t.Certificate, PrivateKey: t.PrivateKey, ServerName: t.ServerName, Unverified: t.Insecure}
}

// tls adds how the connection is secured.
func (l *link) tls(o []nats.Option) []nats.Option {
	t := l.config.TLS
	if t == nil {
		return o
	}
	if t.Insecure {
		l.env.Logger.Warn("tls: insecure: any certificate of the server is accepted", "connection", l.name)
	}
	at, secrets := "connection "+l.name, t.secrets()
	o = append(o, nats.Secure(&tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.Insecure}), func(o *nats.Options) error { //nolint:gosec // asked for by name
		// The client asks for these at each connection.
		if !t.Certificate.IsZero() {
			o.TLSCertCB = func() (tls.Certificate, error) {
				pair, err := secrets.Pair("nats", at)
				if err != nil {
					return tls.Certificate{}, err
				}
				return *pair, nil
			}
		}
		if !t.CA.IsZero() {
			o.RootCAsCB = func() (*x509.CertPool, error) { return secrets.Authorities("nats", at) }
		}
		return nil
	})
	if t.First {
		o = append(o, nats.TLSHandshakeFirst())
	}
	return o
}

// tellDenied tells the watchers which subject the server keeps from us: it says so in words only.
func (l *link) tellDenied(err error) {
	subject := deniedSubject(err.Error())
	if subject == "" {
		return
	}
	e := &penstock.Error{Code: penstock.Forbidden, Op: "nats", Path: "connection " + l.name, Err: fmt.Errorf("the server does not allow it: %w", err), Hint: "give the user the permission for " + subject}
	for _, w := range l.all() {
		w.denied(subject, e)
	}
}

// all are the watchers.
func (l *link) all() []*watcher {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.watchers))
}

// deniedSubject finds the subject in `Permissions Violation for Publish to "orders.new"`.
func deniedSubject(text string) string {
	_, after, ok := strings.Cut(text, ` to "`)
	if !ok {
		return ""
	}
	subject, _, ok := strings.Cut(after, `"`)
	if !ok {
		return ""
	}
	return subject
}
