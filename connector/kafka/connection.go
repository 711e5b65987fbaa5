package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
)

// ConnectionConfig is the Connection of a Kafka cluster.
type ConnectionConfig struct {
	// Some brokers of the cluster, as host:port; the others are learned from them. Several are for the case that one is down at the start.
	Brokers []penstock.Template `json:"brokers" penstock:"required,nonempty"`
	// Who we say that we are. Default: nobody.
	SASL *SASL `json:"sasl"`
	// Secures the connections with TLS: `tls: {}` trusts the authorities of the system. Default: no TLS, and everything can be read on the way.
	TLS *TLS `json:"tls"`
	// The name that brokers know this program by in their logs, metrics and quotas.
	ClientID string `json:"clientId" penstock:"default=penstock,nonempty"`
	// The rack, or availability zone, that this program runs in: where brokers allow it, it reads from the replicas there.
	Rack penstock.Template `json:"rack"`
	// How long opening a connection may take, with all that belongs to it. When a flow starts, the cluster has to answer within three times as long.
	ConnectTimeout penstock.Duration `json:"connectTimeout" penstock:"default=10s,min=1ms"`
}

// SASL is how we log in. The secrets are read anew for each login, so they may change while penstock runs.
type SASL struct {
	// How: plain sends user and password as they are, which wants TLS; scram-sha-256 and scram-sha-512 prove the password without sending it; oauthbearer shows a
	// token.
	Mechanism string `json:"mechanism" penstock:"required,enum=plain|scram-sha-256|scram-sha-512|oauthbearer"`
	// The user, for plain and scram.
	User penstock.Template `json:"user"`
	// The user's password.
	Password penstock.Secret `json:"password"`
	// The token of oauthbearer, where something else renews the secret. Otherwise tokenUrl says where tokens are got.
	Token penstock.Secret `json:"token"`
	// Where the tokens of oauthbearer are got: the token endpoint of an OAuth 2.0 authorization server, which is asked with clientId and clientSecret (RFC 6749,
	// section 4.4).
	TokenURL penstock.Template `json:"tokenUrl"`
	// Who asks for tokens.
	ClientID penstock.Template `json:"clientId"`
	// The secret of clientId.
	ClientSecret penstock.Secret `json:"clientSecret"`
	// What the tokens are to be good for, as the authorization server has it.
	Scope string `json:"scope"`
	// SASL extensions that are sent beside the token (KIP-342), such as logicalCluster.
	Extensions map[string]string `json:"extensions"`
}

// TLS secures connections. The secrets are read anew for each connection.
type TLS struct {
	// The certificates (PEM) of the authorities that a broker's certificate may come from. Default: those of the system.
	CA penstock.Secret `json:"ca"`
	// This side's certificate (PEM), for brokers that want one, with those between it and the authority behind it. Needs privateKey.
	Certificate penstock.Secret `json:"certificate"`
	// The key (PEM) of the certificate.
	PrivateKey penstock.Secret `json:"privateKey"`
	// The name that a broker's certificate must bear. Default: the host that is connected to.
	ServerName string `json:"serverName"`
}

// The mechanisms of SASL.
const (
	saslPlain    = "plain"
	saslScram256 = "scram-sha-256"
	saslScram512 = "scram-sha-512"
	saslOAuth    = "oauthbearer"
)

// Validate implements penstock.Resolver.
func (c *ConnectionConfig) Validate() (errs []error) {
	for _, b := range c.Brokers {
		if !templated(b) {
			if _, err := brokerAddress(b.Source); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if c.TLS != nil {
		if err := c.TLS.secrets().Check(); err != nil {
			errs = append(errs, err)
		}
	}
	if c.SASL != nil {
		errs = append(errs, c.SASL.validate()...)
	}
	return errs
}

func (s *SASL) validate() (errs []error) {
	refuse := func(name string, set bool) {
		if set {
			errs = append(errs, fmt.Errorf("sasl: `%s` has no meaning with %s", name, s.Mechanism))
		}
	}
	if s.Mechanism != saslOAuth {
		if s.User.IsZero() || s.Password.IsZero() {
			errs = append(errs, fmt.Errorf("sasl: %s needs `user` and `password`", s.Mechanism))
		}
		refuse("token", !s.Token.IsZero())
		refuse("tokenUrl", !s.TokenURL.IsZero())
		refuse("clientId", !s.ClientID.IsZero())
		refuse("clientSecret", !s.ClientSecret.IsZero())
		refuse("scope", s.Scope != "")
		refuse("extensions", len(s.Extensions) > 0)
		return errs
	}
	refuse("user", !s.User.IsZero())
	refuse("password", !s.Password.IsZero())
	switch asks := !s.TokenURL.IsZero() || !s.ClientID.IsZero() || !s.ClientSecret.IsZero() || s.Scope != ""; {
	case asks && !s.Token.IsZero():
		errs = append(errs, errors.New("sasl: `token` is a token that is there, and `tokenUrl` says where to get one: keep one of them"))
	case s.Token.IsZero() && (s.TokenURL.IsZero() || s.ClientID.IsZero() || s.ClientSecret.IsZero()):
		errs = append(errs, errors.New("sasl: oauthbearer needs `token`, or `tokenUrl` with `clientId` and `clientSecret`"))
	}
	return errs
}

// brokerAddress reads host:port; the port is 9092 where it is left out.
func brokerAddress(text string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("brokers: %q is no host:port: %s", text, why)
	}
	switch {
	case strings.Contains(text, "://"):
		return bad("leave out what stands before the host")
	case strings.Contains(text, ","):
		return bad("give each broker a line of its own")
	case text == "" || strings.ContainsAny(text, " \t/@"):
		return bad("as in kafka.example.com:9092")
	}
	if !strings.Contains(text, ":") || strings.HasSuffix(text, "]") {
		text += ":9092"
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" {
		return bad("as in kafka.example.com:9092")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return bad("the port is a number from 1 to 65535")
	}
	return text, nil
}

// cluster is what the clients of a Connection have in common.
type cluster struct {
	config *ConnectionConfig
	name   string
	env    penstock.Env
	seeds  []string
	rack   string
	tokens *penstock.ClientCredentials
	open   func(ctx context.Context, network, host string) (net.Conn, error) // a connection, before TLS; tests cut what it gives

	broken func(error) // is told that brokers refuse this side for good; nil: nobody is

	mu    sync.Mutex
	last  error     // why the last connection could not be made, which was said; nil: it was
	since time.Time // when brokers began to refuse this side for good
}

func clusterOf(ref penstock.ConnectionRef, env penstock.Env) (*cluster, error) {
	config, ok := ref.Config.(*ConnectionConfig)
	if !ok {
		return nil, wrong(ref.Pos.String(), "the connection "+ref.Name+" has no configuration", "")
	}
	c := &cluster{config: config, name: ref.Name, env: env, open: new(net.Dialer).DialContext}
	for _, b := range config.Brokers {
		text, err := fixed(b, env)
		if err == nil {
			text, err = brokerAddress(text)
		}
		if err != nil {
			return nil, wrong(b.Pos.String(), err.Error(), "")
		}
		c.seeds = append(c.seeds, text)
	}
	var err error
	if c.rack, err = fixed(config.Rack, env); err != nil {
		return nil, err
	}
	return c, nil
}

// options are what every client of the cluster is made with.
func (c *cluster) options() ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.seeds...), kgo.ClientID(c.config.ClientID), kgo.SoftwareNameAndVersion("penstock", "1"),
		kgo.Dialer(c.dial), kgo.WithLogger(logger{c.env.Logger.With("connection", c.name)}), kgo.WithHooks(c), kgo.DisableClientMetrics(),
		kgo.RetryTimeout(c.patience()), kgo.AlwaysRetryEOF(), kgo.RequestTimeoutOverhead(min(max(c.config.ConnectTimeout.Std(), time.Second), 10*time.Second)),
	}
	if c.rack != "" {
		opts = append(opts, kgo.Rack(c.rack))
	}
	if c.config.SASL != nil {
		m, err := c.mechanism(c.config.SASL)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

// patience is how long a request is tried again while brokers are away.
func (c *cluster) patience() time.Duration { return 3 * c.config.ConnectTimeout.Std() }

// dial opens one connection.
func (c *cluster) dial(ctx context.Context, network, host string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.ConnectTimeout.Std())
	defer cancel()
	conn, err := c.open(ctx, network, host)
	if err != nil || c.config.TLS == nil {
		return conn, err
	}
	own, err := c.config.TLS.config(host)
	if err == nil {
		secured := tls.Client(conn, own)
		if err = secured.HandshakeContext(ctx); err == nil {
			return secured, nil
		}
	}
	_ = conn.Close()
	return nil, err
}

// config is that of one handshake.
func (t *TLS) config(address string) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return t.secrets().Config("kafka", "", host)
}

// secrets are what a connection is made of.
func (t *TLS) secrets() penstock.TLSSecrets {
	return penstock.TLSSecrets{CA: t.CA, Certificate: t.Certificate, PrivateKey: t.PrivateKey, ServerName: t.ServerName}
}

// OnBrokerConnect implements kgo.HookBrokerConnect: it says once that brokers can't be reached, and once that they can again. A certificate that has expired, or a password that
// is wrong, does not pass by itself: what is broken off for that long is told.
func (c *cluster) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	var reason error
	if err != nil {
		reason = c.reason(err)
	}
	now := c.env.Clock.Now()
	c.mu.Lock()
	was, lasts := c.last != nil, false
	c.last = reason
	switch {
	case err == nil || penstock.CodeOf(reason).Transient():
		c.since = time.Time{}
	case c.since.IsZero():
		c.since = now
	default:
		lasts = now.Sub(c.since) > c.patience()
	}
	c.mu.Unlock()
	if lasts && c.broken != nil {
		c.broken(reason)
	}
	switch address := net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port))); {
	case err != nil && !was:
		c.env.Logger.Warn("a Kafka broker can't be reached; trying again", "connection", c.name, "broker", address, "error", reason.Error())
	case err == nil && was:
		c.env.Logger.Info("the Kafka broker can be reached again", "connection", c.name, "broker", address)
	}
}

// reachEvery is the pause between two tries to reach a cluster.
const reachEvery = 250 * time.Millisecond

// reach makes sure that the cluster answers. It tries for a while: brokers may just be starting.
func (c *cluster) reach(ctx context.Context, cl *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, c.patience())
	defer cancel()
	var last error
	for {
		answered := make(chan error, 1)
		go func() { answered <- cl.Ping(ctx) }() // who takes a connection and says nothing keeps it waiting, whatever ctx says
		select {
		case err := <-answered:
			if err == nil {
				return nil
			}
			if err = c.failure(err); ctx.Err() == nil || last == nil {
				last = err
			}
			if !penstock.CodeOf(err).Transient() {
				return err
			}
		case <-ctx.Done():
			if last == nil {
				last = c.failure(ctx.Err())
			}
		}
		fired, stop := c.env.Clock.NewTimer(reachEvery)
		select {
		case <-fired:
		case <-ctx.Done():
			stop()
			return last
		}
	}
}

// persist asks until it is answered, or told for good that it is not; for as long as requests are tried again.
func (c *cluster) persist(ctx context.Context, ask func(ctx context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, c.patience())
	defer cancel()
	for {
		err := c.failure(ask(bounded))
		if err == nil || !penstock.CodeOf(err).Transient() || bounded.Err() != nil {
			return err
		}
		fired, stop := c.env.Clock.NewTimer(reachEvery)
		select {
		case <-fired:
		case <-bounded.Done():
			stop()
			return err
		}
	}
}

// abandon closes a client that could not reach its cluster, without waiting for it.
func abandon(cl *kgo.Client) { go cl.CloseAllowingRebalance() }
