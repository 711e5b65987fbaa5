package rabbitmq

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"penstock.dev/penstock"
)

// ConnectionConfig is the Connection of a RabbitMQ server.
type ConnectionConfig struct {
	// Where the server is, as an AMQP URI without user and password: amqp://mq.example.com:5672, amqps://mq.example.com (with TLS). Behind a slash may
	// stand the virtual host. Default: amqp://localhost, where `hosts` is not given either.
	URL penstock.Template `json:"url"`
	// The servers of a cluster, as host or host:port, in place of `url`. They are tried in turn until one answers, beginning with the one that
	// answered last.
	Hosts []penstock.Template `json:"hosts"`
	// The virtual host. Default: that of the `url`, or `/`.
	Vhost penstock.Template `json:"vhost"`
	// The user to log in as. Default: guest, whom servers let in from their own machine only.
	User penstock.Template `json:"user"`
	// The user's password. It is read anew for each connection that is opened, so it may change while penstock runs. Default: guest, for the user guest.
	Password penstock.Secret `json:"password"`
	// How to log in: plain is with user and password; external is with the certificate of `tls` (mTLS), for servers with the plugin
	// rabbitmq_auth_mechanism_ssl.
	Auth string `json:"auth" penstock:"enum=plain|external,default=plain"`
	// How the connection is secured. Default: TLS where the `url` begins with amqps://, or anything of `tls` is given.
	TLS TLS `json:"tls"`
	// How often each side says that it is alive. A connection on which nothing came for one and a half times as long is given up, and opened anew.
	Heartbeat penstock.Duration `json:"heartbeat" penstock:"default=10s,min=1s"`
	// How long opening a connection may take.
	ConnectTimeout penstock.Duration `json:"connectTimeout" penstock:"default=10s,min=1ms"`
	// How long a sink that has lost the server holds its messages, and the flow with them, while it tries to reach the server again. After that they fail
	// with unavailable, and the flow's retry and dead letter have their say.
	Patience penstock.Duration `json:"patience" penstock:"default=5m,min=0s"`
}

// TLS secures a connection to RabbitMQ.
type TLS struct {
	// verify encrypts and makes sure that the server is the one that was meant; require encrypts only, so that whoever sits in between can
	// read along; disable does neither. Default: verify where TLS is used.
	Mode string `json:"mode" penstock:"enum=verify|require|disable"`
	// The certificates (PEM) of the authorities that the server's certificate may come from. Default: those of the system.
	CA penstock.Secret `json:"ca"`
	// This side's certificate (PEM), for servers that want one, with those between it and the authority behind it. Needs privateKey. Both are read for each
	// connection that is opened.
	Certificate penstock.Secret `json:"certificate"`
	// The key (PEM) of the certificate.
	PrivateKey penstock.Secret `json:"privateKey"`
	// The name that the server's certificate must bear. Default: the host.
	ServerName string `json:"serverName"`
}

// Validate implements penstock.Resolver.
func (c *ConnectionConfig) Validate() (errs []error) {
	if !c.URL.IsZero() && len(c.Hosts) > 0 {
		errs = append(errs, errors.New("`url` and `hosts` say the same: keep one of them"))
	}
	if !c.URL.IsZero() && !strings.Contains(c.URL.Source, "${") {
		if _, err := parseURL(c.URL.Source); err != nil {
			errs = append(errs, err)
		}
	}
	for _, h := range c.Hosts {
		if !strings.Contains(h.Source, "${") {
			if _, err := hostPort(h.Source, false); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if c.Auth == "external" {
		if c.TLS.Certificate.IsZero() {
			errs = append(errs, errors.New("auth: external is with a certificate: give `tls: { certificate, privateKey }`"))
		}
		if !c.User.IsZero() || !c.Password.IsZero() {
			errs = append(errs, errors.New("with auth: external the certificate says who we are: leave user and password out"))
		}
	}
	if !c.User.IsZero() && c.Password.IsZero() && c.Auth != "external" {
		errs = append(errs, errors.New("the user has no `password: { secret: … }`"))
	}
	if err := c.TLS.secrets().Check(); err != nil {
		errs = append(errs, err)
	}
	if c.TLS.Mode == "disable" && (strings.HasPrefix(c.URL.Source, "amqps:") || c.TLS != TLS{Mode: "disable"}) {
		errs = append(errs, errors.New("tls: mode disable contradicts what else says TLS: leave one of them out"))
	}
	return errs
}

// place is what a URL says.
type place struct {
	host   string // with its port
	vhost  string // "" where it says nothing
	secure bool
}

// parseURL reads an AMQP URI (the AMQP URI specification of RabbitMQ), but for user, password and query.
func parseURL(s string) (p place, err error) {
	u, err := url.Parse(s)
	if err != nil {
		return p, errors.New("`url` can't be read: write it as amqp://host:5672") // err may hold a password
	}
	switch {
	case u.Scheme != "amqp" && u.Scheme != "amqps":
		return p, errors.New("`url` begins with amqp:// or amqps://")
	case u.User != nil:
		return p, errors.New("`url` holds a user: leave it out, and say `user: …, password: { secret: … }`")
	case u.RawQuery != "" || u.Fragment != "":
		return p, errors.New("`url` holds a query: what it says has fields of its own here (heartbeat, tls, auth)")
	}
	p.secure = u.Scheme == "amqps"
	if p.host, err = hostPort(u.Host, p.secure); err != nil {
		return p, err
	}
	if path := u.EscapedPath(); len(path) > 1 {
		if p.vhost, err = url.PathUnescape(path[1:]); err != nil || strings.Contains(path[1:], "/") {
			return p, errors.New("`url`: the virtual host behind the slash is one segment, with other slashes written as %2F")
		}
	}
	return p, nil
}

// hostPort completes a host with the port of AMQP.
func hostPort(s string, secure bool) (string, error) {
	if s == "" {
		return "", errors.New("a host is empty")
	}
	if host, port, err := net.SplitHostPort(s); err == nil && host != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			return s, nil
		}
	}
	port := "5672"
	if secure {
		port = "5671"
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if strings.ContainsAny(s, "/@ ") || strings.Count(s, ":") == 1 {
		return "", fmt.Errorf("%q is no host: write it as mq.example.com or mq.example.com:5672", s)
	}
	return net.JoinHostPort(s, port), nil
}

// tlsConfig is made for each connection: certificates change while penstock runs. Nil is none.
func (c *TLS) config(host string, secure bool) (*tls.Config, error) {
	if c.Mode == "disable" || !secure && *c == (TLS{}) {
		return nil, nil //nolint:nilnil // none is what was asked for
	}
	return c.secrets().Config("rabbitmq", "", host)
}

// secrets are what a connection is made of.
func (c *TLS) secrets() penstock.TLSSecrets {
	return penstock.TLSSecrets{CA: c.CA, Certificate: c.Certificate, PrivateKey: c.PrivateKey, ServerName: c.ServerName, Unverified: c.Mode == "require"}
}
