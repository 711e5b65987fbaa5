package mqtt

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strings"

	"penstock.dev/penstock"
)

// ConnectionConfig is the Connection of an MQTT broker.
type ConnectionConfig struct {
	// Where the broker is: mqtt://host:1883 or tcp://, mqtts://host:8883, ssl:// or tls:// (with TLS), ws://host/path or wss:// (over WebSocket). It holds no
	// user and no password.
	URL penstock.Template `json:"url" penstock:"required"`
	// What the clients are called, as the broker knows them; each source and sink is one, called so and by its flow and step: `penstock-orders-from`. A name belongs to one
	// client at a time: where several processes run the same flows, give each its own (`penstock-${params.pod}`). Default: penstock.
	ClientID penstock.Template `json:"clientId"`
	// How long the broker keeps the session of a source that is away: what comes meanwhile waits there. 0s: it ends with the connection, and what comes while the
	// source is away is missed.
	SessionExpiry penstock.Duration `json:"sessionExpiry" penstock:"default=7d,min=0s"`
	// The user to log in as.
	User penstock.Template `json:"user"`
	// The user's password. It is read anew for each connection that is opened, so it may change while penstock runs.
	Password penstock.Secret `json:"password"`
	// How the connection is secured. Default: verify where the `url` says TLS.
	TLS TLS `json:"tls"`
	// How often each client says that it is alive, where it has nothing else to say.
	KeepAlive penstock.Duration `json:"keepAlive" penstock:"default=30s,min=1s,max=18h"`
	// How long opening a connection may take.
	ConnectTimeout penstock.Duration `json:"connectTimeout" penstock:"default=10s,min=1ms"`
	// How long a sink that has lost the broker holds its messages, and the flow with them, while it tries to reach it again. After that they fail
	// with unavailable, and the flow's retry and dead letter have their say.
	Patience penstock.Duration `json:"patience" penstock:"default=5m,min=0s"`
	// What the broker publishes where a client goes without a word.
	Will *Will `json:"will"`
}

// Will is the last will of each client of a Connection.
type Will struct {
	// The topic. `${}` may hold params.
	Topic penstock.Template `json:"topic" penstock:"required"`
	// The payload, a text.
	Payload penstock.Template `json:"payload"`
	// The quality of service.
	QoS int `json:"qos" penstock:"min=0,max=2,default=1"`
	// The broker keeps it, and gives it to who subscribes later.
	Retain bool `json:"retain"`
	// How long the client may be away before it is published.
	Delay penstock.Duration `json:"delay" penstock:"default=30s,min=0s"`
}

// TLS secures a connection to an MQTT broker.
type TLS struct {
	// verify encrypts and makes sure that the broker is the one that was meant; require encrypts only, so that whoever sits in between can
	// read along. Default: verify.
	Mode string `json:"mode" penstock:"enum=verify|require"`
	// The certificates (PEM) of the authorities that the broker's certificate may come from. Default: those of the system.
	CA penstock.Secret `json:"ca"`
	// This side's certificate (PEM), for brokers that want one, with those between it and the authority behind it. Needs privateKey. Both are read for each
	// connection that is opened.
	Certificate penstock.Secret `json:"certificate"`
	// The key (PEM) of the certificate.
	PrivateKey penstock.Secret `json:"privateKey"`
	// The name that the broker's certificate must bear. Default: the host.
	ServerName string `json:"serverName"`
}

// Validate implements penstock.Resolver.
func (c *ConnectionConfig) Validate() (errs []error) {
	if !strings.Contains(c.URL.Source, "${") {
		p, err := parseURL(c.URL.Source)
		switch {
		case err != nil:
			errs = append(errs, err)
		case !p.secure && c.TLS != TLS{}:
			errs = append(errs, errors.New("`tls` means nothing with this `url`: begin it with mqtts:// or wss://"))
		}
	}
	if err := c.TLS.secrets().Check(); err != nil {
		errs = append(errs, err)
	}
	if !c.Password.IsZero() && c.User.IsZero() {
		errs = append(errs, errors.New("there is a password, and no `user`"))
	}
	if c.Will != nil && !strings.Contains(c.Will.Topic.Source, "${") {
		if err := checkTopic(c.Will.Topic.Source); err != nil {
			errs = append(errs, errors.New("will: "+err.Error()))
		}
	}
	return errs
}

// place is what a URL says.
type place struct {
	host   string // with its port
	path   string // of a WebSocket
	web    bool
	secure bool
}

func parseURL(s string) (p place, err error) {
	u, err := url.Parse(s)
	if err != nil {
		return p, errors.New("`url` can't be read: write it as mqtt://host:1883") // err may hold a password
	}
	port := "1883"
	switch u.Scheme {
	case "mqtt", "tcp":
	case "mqtts", "ssl", "tls":
		p.secure, port = true, "8883"
	case "ws":
		p.web, port = true, "80"
	case "wss":
		p.web, p.secure, port = true, true, "443"
	default:
		return p, errors.New("`url` begins with mqtt:// or tcp://, mqtts://, ssl:// or tls://, ws:// or wss://")
	}
	switch {
	case u.User != nil:
		return p, errors.New("`url` holds a user: leave it out, and say `user: …, password: { secret: … }`")
	case u.Hostname() == "":
		return p, errors.New("`url` has no host: write it as mqtt://host:1883")
	case !p.web && strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return p, errors.New("`url`: behind the host stands a path only with ws:// and wss://")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	p.host, p.path = net.JoinHostPort(u.Hostname(), port), u.EscapedPath()
	return p, nil
}

// config is made for each connection: certificates change while penstock runs.
func (c *TLS) config(host string) (*tls.Config, error) {
	return c.secrets().Config("mqtt", "", host)
}

// secrets are what a connection is made of.
func (c *TLS) secrets() penstock.TLSSecrets {
	return penstock.TLSSecrets{CA: c.CA, Certificate: c.Certificate, PrivateKey: c.PrivateKey, ServerName: c.ServerName, Unverified: c.Mode == "require"}
}
