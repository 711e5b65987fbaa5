package pulsar

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/backoff"
	"github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/prometheus/client_golang/prometheus"

	"penstock.dev/penstock"
)

// link is an open Connection, shared by all drivers of a run that name it. The client mends its connections in the background. It is safe for
// concurrent use.
type link struct {
	config *ConnectionConfig
	name   string
	env    penstock.Env

	mu     sync.Mutex
	client client.Client
	who    *identity
	folder string // with the authorities' certificates, for the client, which wants a file

	trouble trouble
}

// connect gives the link of a Connection. No connection is made yet.
func connect(ref penstock.ConnectionRef, env penstock.Env) (*link, error) {
	c, ok := ref.Config.(*ConnectionConfig)
	if !ok {
		return nil, config(ref.Pos.String(), "", "the connection %s has no configuration", ref.Name)
	}
	v, err := env.Shared("connection pulsar "+ref.Name, func() (any, error) {
		return &link{config: c, name: ref.Name, env: env}, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(*link), nil
}

// at names the link in errors.
func (l *link) at() string { return "connection " + l.name }

// open makes the client, unless that was done. Nothing is connected before it is needed.
func (l *link) open() (client.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		return l.client, nil
	}
	address, err := fixed(l.config.URL, l.env)
	if err == nil {
		err = checkURL(address, l.config.TLS != nil)
	}
	if err != nil {
		return nil, config(l.at(), "", "%w", err)
	}
	if l.who, err = newIdentity(l); err != nil {
		return nil, err
	}
	o := client.ClientOptions{
		URL: address, Authentication: l.who, ConnectionTimeout: l.config.ConnectTimeout.Std(), OperationTimeout: l.config.Timeout.Std(), KeepAliveInterval: l.config.Ping.Std(),
		ListenerName: l.config.Listener, Logger: log.NewLoggerWithSlog(slog.New(&hearsay{next: l.env.Logger.With("connection", l.name).Handler(), trouble: &l.trouble})),
		MetricsRegisterer: prometheus.NewRegistry(), MetricsCardinality: client.MetricsCardinalityNone,
		ConnectionMaxIdleTime: -1, MemoryLimitBytes: -1, // what is under way is bounded by the flow
		Description: "penstock",
	}
	if strings.HasPrefix(address, "pulsar+ssl://") {
		if err := l.secure(&o); err != nil {
			return nil, err
		}
	}
	c, err := client.NewClient(o)
	if err != nil {
		return nil, l.failure(err, l.at())
	}
	l.client = c
	return c, nil
}

// secure adds TLS. Where no name is given for the certificates, the client compares them with the host that it connects to, and wants the authorities
// in a file, which it reads for each connection.
func (l *link) secure(o *client.ClientOptions) error {
	o.TLSValidateHostname, o.TLSMinVersion = true, tls.VersionTLS12
	t := l.config.TLS
	if t == nil || t.CA.IsZero() && t.ServerName == "" {
		return nil
	}
	if t.ServerName != "" {
		o.TLSConfig = l.tlsConfig(t.ServerName)
		return nil
	}
	folder, err := os.MkdirTemp("", "penstock-pulsar-")
	if err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "pulsar", Path: l.at(), Err: err}
	}
	l.folder = folder
	o.TLSTrustCertsFilePath = l.authorities()
	return l.trust()
}

func (l *link) authorities() string { return filepath.Join(l.folder, "ca.pem") }

// trust writes the authorities that are trusted now.
func (l *link) trust() error {
	if l.folder == "" {
		return nil
	}
	text := []byte(l.config.TLS.CA.Reveal())
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return config(l.at(), "", "tls.ca: the secret holds no certificate (PEM)")
	}
	if is, err := os.ReadFile(l.authorities()); err == nil && string(is) == string(text) {
		return nil
	}
	if err := os.WriteFile(l.authorities()+".new", text, 0o600); err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "pulsar", Path: l.at(), Err: err}
	}
	if err := os.Rename(l.authorities()+".new", l.authorities()); err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "pulsar", Path: l.at(), Err: err}
	}
	return nil
}

// tlsConfig is how connections are secured that don't go by the client's own rules: by a name that is given, and those of the administration. The
// authorities and this side's certificate are those of the time of the handshake.
func (l *link) tlsConfig(name string) *tls.Config {
	t := l.config.TLS
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: name}
	if t == nil {
		return c
	}
	if !t.Certificate.IsZero() {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return l.certificate() }
	}
	if t.CA.IsZero() {
		return c
	}
	c.InsecureSkipVerify = true //nolint:gosec // VerifyConnection does it, with the authorities of now
	c.VerifyConnection = func(s tls.ConnectionState) error {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(t.CA.Reveal())) {
			return config(l.at(), "", "tls.ca: the secret holds no certificate (PEM)")
		}
		// Of an address that is no name, the handshake knows none.
		o := x509.VerifyOptions{Roots: pool, DNSName: cmp.Or(s.ServerName, name), Intermediates: x509.NewCertPool(), CurrentTime: l.env.Clock.Now()}
		for _, c := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(c)
		}
		if _, err := s.PeerCertificates[0].Verify(o); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		return nil
	}
	return c
}

// certificate is this side's, as it is now.
func (l *link) certificate() (*tls.Certificate, error) {
	return penstock.TLSSecrets{Certificate: l.config.TLS.Certificate, PrivateKey: l.config.TLS.PrivateKey}.Pair("pulsar", l.at())
}

// Close ends all connections.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		l.client.Close()
		l.client = nil
	}
	if l.folder == "" {
		return nil
	}
	folder := l.folder
	l.folder = ""
	return os.RemoveAll(folder)
}

// identity says who we are, to brokers and to the administration. It implements the client's auth.Provider.
type identity struct {
	link   *link
	user   string
	tokens *penstock.ClientCredentials
}

func newIdentity(l *link) (*identity, error) {
	i := &identity{link: l}
	var err error
	if i.user, err = fixed(l.config.User, l.env); err != nil {
		return nil, err
	}
	if o := l.config.OAuth2; o != nil {
		t := &penstock.ClientCredentials{Audience: o.Audience, Scope: o.Scope, Secret: o.ClientSecret, Clock: l.env.Clock, Op: "pulsar", Path: "oauth2.tokenUrl",
			Hint: "check clientId, clientSecret, audience and scope"}
		if t.TokenURL, err = fixed(o.TokenURL, l.env); err == nil {
			t.ID, err = fixed(o.ClientID, l.env)
		}
		if err != nil {
			return nil, err
		}
		i.tokens = t
	}
	return i, nil
}

// Init implements auth.Provider.
func (i *identity) Init() error { return nil }

// Close implements auth.Provider.
func (i *identity) Close() error { return nil }

// Name implements auth.Provider: how brokers know this way.
func (i *identity) Name() string {
	c := i.link.config
	switch {
	case !c.Token.IsZero(), i.tokens != nil:
		return "token"
	case i.user != "":
		return "basic"
	case c.TLS != nil && !c.TLS.Certificate.IsZero():
		return "tls"
	}
	return ""
}

// GetTLSCertificate implements auth.Provider. The client asks at each connection.
func (i *identity) GetTLSCertificate() (*tls.Certificate, error) {
	if err := i.link.trust(); err != nil { // for the next connection: the client has read the file for this one
		return nil, err
	}
	if c := i.link.config; c.TLS == nil || c.TLS.Certificate.IsZero() {
		return nil, nil //nolint:nilnil // as the interface has it
	}
	return i.link.certificate()
}

// GetData implements auth.Provider: what is sent to the broker.
func (i *identity) GetData() ([]byte, error) {
	c := i.link.config
	switch {
	case !c.Token.IsZero():
		return []byte(strings.TrimSpace(c.Token.Reveal())), nil
	case i.tokens != nil:
		ctx, cancel := context.WithTimeout(context.Background(), c.Timeout.Std())
		defer cancel()
		token, err := i.tokens.Token(ctx)
		return []byte(token), err
	case i.user != "":
		return []byte(i.user + ":" + c.Password.Reveal()), nil
	}
	return nil, nil
}

var errHTTP = errors.New("the client asks brokers, and no HTTP")

// RoundTrip implements auth.Provider. It is not asked: the client speaks no HTTP with an address of brokers.
func (i *identity) RoundTrip(*http.Request) (*http.Response, error) { return nil, errHTTP }

// Transport implements auth.Provider.
func (i *identity) Transport() http.RoundTripper { return nil }

// WithTransport implements auth.Provider.
func (i *identity) WithTransport(http.RoundTripper) error { return errHTTP }

// mending says how long the client waits before it tries again to mend what broke, and tells that it failed.
type mending struct {
	backoff.Policy
	failed func()
}

// mender makes the client's policy: pauses of 100 ms up to 5 s.
func mender(failed func()) func() backoff.Policy {
	return func() backoff.Policy { return &mending{backoff.NewDefaultBackoff(), failed} }
}

// Next implements backoff.Policy.
func (m *mending) Next() time.Duration {
	m.failed()
	return min(m.Policy.Next(), 5*time.Second)
}
