package nats

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"penstock.dev/penstock"
)

// ConnectionConfig is the Connection of a NATS server or cluster.
type ConnectionConfig struct {
	// Where the servers are: nats://nats.example.com:4222; tls://… or the field `tls` for TLS, ws:// and wss:// for WebSocket. Any of them will do: the
	// others of a cluster are learnt from it. They hold no user and no password: those are fields of their own.
	URLs []penstock.Template `json:"urls" penstock:"required,nonempty"`
	// The user to log in as, with password.
	User penstock.Template `json:"user"`
	// The user's password. It is read anew for each connection that is opened, as all secrets here are, so it may change while penstock runs.
	Password penstock.Secret `json:"password"`
	// A token, for servers that want nothing else.
	Token penstock.Secret `json:"token"`
	// The seed (SU…) of an NKey: the server knows the public key, and the seed signs what the server asks. A new seed is used after a restart.
	NKey penstock.Secret `json:"nkey"`
	// The content of a credentials file (.creds), as nsc writes it: a user's JWT and the seed that belongs to it.
	Credentials penstock.Secret `json:"credentials"`
	// How the connection is secured.
	TLS *TLS `json:"tls"`
	// The JetStream domain to speak to, where the server is a leaf node of another.
	Domain string `json:"domain"`
	// What the subjects begin with on which replies are received, where the user may not listen to all of _INBOX.
	InboxPrefix string `json:"inboxPrefix"`
	// Only the servers that urls names are connected to, not others of the cluster that they tell of: behind a load balancer or a tunnel.
	OnlyURLs bool `json:"onlyUrls"`
	// How long connecting to one server may take.
	ConnectTimeout penstock.Duration `json:"connectTimeout" penstock:"default=5s,min=1ms"`
	// How often a server that is silent is asked whether it is there. After two questions without an answer another connection is opened.
	Ping penstock.Duration `json:"ping" penstock:"default=10s,min=100ms"`
}

// TLS secures a connection to NATS.
type TLS struct {
	// The certificates (PEM) of the authorities that the server's certificate may come from. Default: those of the system.
	CA penstock.Secret `json:"ca"`
	// This side's certificate (PEM), for servers that want one, with those between it and the authority behind it. Needs privateKey.
	Certificate penstock.Secret `json:"certificate"`
	// The key (PEM) of the certificate. Both are read for each new connection, so that they can be renewed while penstock runs.
	PrivateKey penstock.Secret `json:"privateKey"`
	// The name that the server's certificate must bear. Default: the host of the URL.
	ServerName string `json:"serverName"`
	// Begins with TLS at once, for servers with `handshake_first: true`. Otherwise the server says first, in the open, that it wants TLS.
	First bool `json:"first"`
	// Accepts any certificate. Whoever is on the way can then read and change everything: for trying things out, never for production; the run warns.
	Insecure bool `json:"insecure"`
}

// Validate implements penstock.Resolver.
func (c *ConnectionConfig) Validate() (errs []error) {
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.URLs) == 0 {
		add("`urls` names no server")
	}
	for _, t := range c.URLs {
		if isStatic(t) {
			if err := checkURL(t.Source); err != nil {
				errs = append(errs, err)
			}
		}
	}
	var ways []string
	for _, w := range []struct {
		name string
		set  bool
	}{{"user", !c.User.IsZero()}, {"token", !c.Token.IsZero()}, {"nkey", !c.NKey.IsZero()}, {"credentials", !c.Credentials.IsZero()}} {
		if w.set {
			ways = append(ways, "`"+w.name+"`")
		}
	}
	if len(ways) > 1 {
		add("%s say who we are; keep one of them", strings.Join(ways, " and "))
	}
	if !c.Password.IsZero() && c.User.IsZero() {
		add("`password` needs `user`")
	}
	if !c.User.IsZero() && c.Password.IsZero() {
		add("`user` needs `password: { secret: … }`")
	}
	if c.TLS != nil {
		if err := c.TLS.secrets().Check(); err != nil {
			errs = append(errs, err)
		}
		if c.TLS.Insecure && !c.TLS.CA.IsZero() {
			add("tls: insecure accepts any certificate, so that ca means nothing: leave one of them out")
		}
	}
	if c.Domain != "" {
		if err := checkName("domain", c.Domain); err != nil {
			errs = append(errs, err)
		}
	}
	if c.InboxPrefix != "" {
		if err := checkSubject(c.InboxPrefix, false); err != nil {
			add("inboxPrefix: %w", err)
		}
	}
	return errs
}

// checkURL says what is wrong with a server's address.
func checkURL(text string) error {
	if strings.Contains(text, ",") {
		return fmt.Errorf("urls: %q: each server is an element of the list", text)
	}
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("urls: %q is no URL: write nats://host:4222", text)
	}
	if u.User != nil {
		return errors.New("urls: the URL says who we are: use `user` with `password: { secret: … }`, `token`, `nkey` or `credentials`")
	}
	switch u.Scheme {
	case "nats", "tls", "ws", "wss":
	default:
		return fmt.Errorf("urls: %q begins with %s://, and a server of NATS is at nats://, tls://, ws:// or wss://", text, u.Scheme)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("urls: %q names no host", text)
	}
	return nil
}
