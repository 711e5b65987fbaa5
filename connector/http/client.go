package http

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http/upstream"
)

// client is what all uses of a Connection share in a run: the pool of connections. It is safe for concurrent use.
type client struct {
	config *ConnectionConfig
	origin upstream.Origin
	base   string // the path that requests begin with, without a slash at its end
	up     *upstream.Client
	user   string // of basic auth
	warned sync.Once

	cookies *cookies  // nil: they are not kept
	gzips   sync.Pool // *gzip.Reader

	mu    sync.Mutex
	users int // uses that are open
}

// clientOf finds or makes the client of a Connection.
func clientOf(ref penstock.ConnectionRef, env penstock.Env) (*client, error) {
	config, ok := ref.Config.(*ConnectionConfig)
	if !ok || config == nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "http", Path: ref.Pos.String(), Err: errors.New("there is no connection")}
	}
	at, err := fixedText(config.URL, env)
	if err != nil {
		return nil, err
	}
	user := ""
	if config.Auth.Basic != nil {
		if user, err = fixedText(config.Auth.Basic.User, env); err != nil {
			return nil, err
		}
	}
	made, err := env.Shared(fmt.Sprintf("http connection %s %s %s", ref.Name, at, user), func() (any, error) { return newClient(config, at, user, env) })
	if err != nil {
		return nil, err
	}
	return made.(*client), nil
}

func newClient(config *ConnectionConfig, at, user string, env penstock.Env) (*client, error) {
	bad := func(t penstock.Template, err error) error {
		return &penstock.Error{Code: penstock.Config, Op: "http", Path: t.Pos.String(), Err: err}
	}
	c := &client{config: config, user: user}
	var err error
	if c.origin, c.base, err = parseURL(at); err != nil {
		return nil, bad(config.URL, err)
	}
	o := upstream.Options{
		TLS: (&tlsMaker{config: &config.TLS}).make, PerHost: config.Pool.PerHost, Idle: config.Pool.Idle,
		IdleTimeout: config.Pool.IdleTimeout.Std(), Lifetime: config.Pool.Lifetime.Std(),
		Times: upstream.Times{Dial: config.Timeouts.Dial.Std(), Header: config.Timeouts.Header.Std(), Stall: config.Timeouts.Stall.Std()},
	}
	switch config.HTTP2 {
	case "", "auto":
		o.Protocols = upstream.Negotiate
	case "prior":
		o.Protocols = upstream.HTTP2
	}
	if p := config.Proxy; p != nil {
		to, err := fixedText(p.URL, env)
		if err != nil {
			return nil, err
		}
		origin, _, err := parseURL(to)
		if err != nil {
			return nil, bad(p.URL, fmt.Errorf("proxy: %w", err))
		}
		o.Proxy = &upstream.Proxy{Origin: origin}
		if p.Basic != nil {
			who, err := fixedText(p.Basic.User, env)
			if err != nil {
				return nil, err
			}
			o.Proxy.Authorization = func() string { return basic(who, p.Basic.Password) }
		}
	}
	if config.Cookies {
		c.cookies = &cookies{jars: map[upstream.Origin]*cookiejar.Jar{}}
	}
	c.up = upstream.New(o)
	return c, nil
}

// use is one use of a client, by a caller or a sink. After the last of them is closed, no connection is kept.
type use struct {
	up  *client
	env penstock.Env

	mu     sync.Mutex
	opened bool
}

func (u *use) open() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.opened {
		return nil
	}
	u.opened = true
	u.up.mu.Lock()
	u.up.users++
	u.up.mu.Unlock()
	if u.up.config.TLS.Insecure {
		u.up.warned.Do(func() {
			u.env.Logger.Warn("TLS CERTIFICATES ARE NOT CHECKED: whoever is on the way to this server can read and change everything; remove tls.insecure",
				"server", u.up.origin.String())
		})
	}
	return nil
}

func (u *use) close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.opened {
		return nil
	}
	u.opened = false
	u.up.mu.Lock()
	u.up.users--
	last := u.up.users == 0
	u.up.mu.Unlock()
	if last {
		u.up.up.CloseIdle()
	}
	return nil
}

// Close implements io.Closer: the run closes what it shared.
func (c *client) Close() error { return c.up.Close() }

// redirects are the rules of a use.
func (c *client) redirects(own *Redirects) Redirects {
	if own != nil {
		return *own
	}
	return c.config.Redirects
}

// parseURL reads the URL of a server: its origin, and the path that requests begin with.
func parseURL(s string) (upstream.Origin, string, error) {
	u, err := url.Parse(s)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // the URL itself may hold a password
		}
		return upstream.Origin{}, "", fmt.Errorf("url: %w", err)
	}
	o, err := upstream.ParseOrigin(u)
	switch {
	case err != nil && u.Scheme != "http" && u.Scheme != "https":
		return o, "", fmt.Errorf("url: %w: write it as https://host", err)
	case err != nil && u.User != nil:
		return o, "", fmt.Errorf("url: %w: use auth", err)
	case err != nil:
		return o, "", fmt.Errorf("url: %w", err)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return o, "", errors.New("url: a query or fragment belongs to the call")
	}
	base := strings.TrimRight(u.EscapedPath(), "/")
	if base != "" {
		if err := checkTarget(base); err != nil {
			return o, "", fmt.Errorf("url: %w", err)
		}
	}
	return o, base, nil
}

// fixedText evaluates a text that is the same for all messages.
func fixedText(t penstock.Template, env penstock.Env) (string, error) {
	if t.Program == nil {
		return t.Source, nil
	}
	f := penstock.Frame{Runtime: env.Runtime, Arena: new(penstock.Arena)}
	v := t.Program.Eval(&f)
	var err error
	var b []byte
	if v.IsError() {
		err = v.Err()
	} else {
		b, err = v.AppendText(nil)
	}
	if err != nil {
		return "", &penstock.Error{Code: penstock.Config, Op: "http", Path: t.Pos.String(), Err: err}
	}
	return string(b), nil
}

func basic(user string, password penstock.Secret) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+strings.TrimRight(password.Reveal(), "\r\n")))
}

// authorize appends the header that says who we are, unless the call does.
func (c *client) authorize(dst []byte, has map[string]bool) ([]byte, error) {
	a := &c.config.Auth
	switch {
	case a.Header != nil && has[strings.ToLower(a.Header.Name)], a.Header == nil && has["authorization"]:
	case a.Basic != nil:
		return upstream.AppendField(dst, "Authorization", basic(c.user, a.Basic.Password))
	case a.Bearer != nil:
		return appendSecret(dst, "Authorization", "Bearer ", *a.Bearer)
	case a.Header != nil:
		return appendSecret(dst, a.Header.Name, "", a.Header.Value)
	}
	return dst, nil
}

// appendSecret appends a header that holds a secret, which its error does not show. A line break at its end, as files have it, is left out.
func appendSecret(dst []byte, name, before string, s penstock.Secret) ([]byte, error) {
	value := strings.TrimSpace(s.Reveal())
	out, err := upstream.AppendField(dst, name, before+value)
	if err == nil && value == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return dst, &penstock.Error{Code: penstock.Config, Op: "http", Path: "auth", Err: errors.New("the secret can't be sent as a header: " + err.Error()), Hint: "look at its value in the secrets provider"}
	}
	return out, nil
}

// tlsMaker makes the configuration of TLS of what the secrets hold at the time, anew only where they have changed.
type tlsMaker struct {
	config *TLSConfig

	mu                   sync.Mutex
	made                 *tls.Config
	ca, certificate, key string
}
