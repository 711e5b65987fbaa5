package http

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http/upstream"
)

// ConnectionConfig is a Connection of technology http: a server that is asked, with everything that its requests have in common.
type ConnectionConfig struct {
	// Where the server is: scheme, host, and perhaps a port and a path that all requests begin with, as in `https://api.example.com/v2`. It holds no
	// user and no password: those are `auth`.
	URL penstock.Template `json:"url" penstock:"required"`
	// How https connections are secured. Without it the other side is trusted if the machine's own certificate authorities say so.
	TLS TLSConfig `json:"tls"`
	// How many connections there are, and for how long. They are shared by all flows that use this Connection.
	Pool PoolConfig `json:"pool"`
	// Which version of HTTP is spoken. auto: over https what the server chooses (ALPN), HTTP/2 or HTTP/1.1; over http HTTP/1.1. never: HTTP/1.1
	// only. prior: HTTP/2 only, over http without asking first.
	HTTP2 string `json:"http2" penstock:"enum=auto|never|prior,default=auto"`
	// Headers that all requests have, fixed when the run starts. A call's own header of the same name takes their place. Credentials belong to `auth`,
	// not here.
	Headers map[string]penstock.Template `json:"headers"`
	// Who we say that we are. The secrets are read for each request, so that they can be changed while the flow runs.
	Auth Auth `json:"auth"`
	// The HTTP proxy that connections go through. Default: none; variables of the environment such as HTTPS_PROXY are not looked at.
	Proxy *ProxyConfig `json:"proxy"`
	// How long the server may take. What is exceeded fails with timeout, which is transient. `timeout` of the Connection or of a step bounds the
	// whole request beside these.
	Timeouts Timeouts `json:"timeouts"`
	// The largest body of an answer, also of what comes out of one that is compressed; a larger one fails with tooLarge. A call may say
	// otherwise for itself.
	MaxResponse penstock.Size `json:"maxResponse" penstock:"default=16Mi,min=1"`
	// Whether answers may come compressed: gzip asks for it, none does not.
	Compression string `json:"compression" penstock:"enum=gzip|none,default=gzip"`
	// Whether answers that point elsewhere are followed.
	Redirects Redirects `json:"redirects"`
	// Whether cookies that the server sets are kept, in memory, and sent with later requests of all flows that use this Connection. Default: they are
	// ignored. A host gets the cookies only that it has set itself.
	Cookies bool `json:"cookies"`
}

// TLSConfig says how https connections are secured.
type TLSConfig struct {
	// Certificates (PEM) of the authorities that the server's certificate must come from, in place of the machine's own.
	CA *penstock.Secret `json:"ca"`
	// Our own certificate (PEM), with those between it and its authority behind it, for servers that want to know who asks (mTLS). Only with privateKey.
	Certificate *penstock.Secret `json:"certificate"`
	// The private key (PEM) of certificate. Both are read for each new connection, so that they can be renewed while the flow runs.
	PrivateKey *penstock.Secret `json:"privateKey"`
	// The name that the server's certificate must be for, where it is not the host of the URL.
	ServerName string `json:"serverName"`
	// Accepts any certificate. Whoever is on the way can then read and change everything: for trying things out, never for production; the run warns.
	Insecure bool `json:"insecure"`
	// The lowest version of TLS that is spoken.
	MinVersion string `json:"minVersion" penstock:"enum=1.2|1.3,default=1.2"`
}

// PoolConfig bounds the connections to a host.
type PoolConfig struct {
	// How many connections there may be at once, in use or not; further requests wait for one. With HTTP/2 each carries many requests.
	PerHost int `json:"perHost" penstock:"min=1,default=128"`
	// How many of them are kept while nobody uses them.
	Idle int `json:"idle" penstock:"min=1,default=64"`
	// How long one is kept so. It should be shorter than the server's own limit (nginx 75 s, Node.js 5 s), or requests now and then meet a connection that is
	// just being closed.
	IdleTimeout penstock.Duration `json:"idleTimeout" penstock:"min=1s,default=30s"`
	// How long a connection is used at most, so that a name which comes to stand for other machines (DNS) is followed. Connections end up to a tenth
	// earlier, not all at once.
	Lifetime penstock.Duration `json:"lifetime" penstock:"min=1s,default=5m"`
}

// Auth says who we are: one of its fields.
type Auth struct {
	// User and password (RFC 7617).
	Basic *BasicAuth `json:"basic"`
	// A bearer token (RFC 6750).
	Bearer *penstock.Secret `json:"bearer"`
	// A key in a header of the server's choice, such as x-api-key.
	Header *HeaderAuth `json:"header"`
}

// BasicAuth is a user with a password.
type BasicAuth struct {
	// Name of the user.
	User penstock.Template `json:"user" penstock:"required"`
	// The user's password.
	Password penstock.Secret `json:"password" penstock:"required"`
}

// HeaderAuth is a key that stands in a header.
type HeaderAuth struct {
	// Name of the header.
	Name string `json:"name" penstock:"required,nonempty"`
	// The key.
	Value penstock.Secret `json:"value" penstock:"required"`
}

// ProxyConfig is an HTTP proxy.
type ProxyConfig struct {
	// Where the proxy is, as in `http://proxy.example.com:3128`. Requests to http servers are given to it whole; for https it is asked for a tunnel (CONNECT),
	// of which it sees only the host's name.
	URL penstock.Template `json:"url" penstock:"required"`
	// User and password for the proxy.
	Basic *BasicAuth `json:"basic"`
}

// Timeouts bound how long a server may take.
type Timeouts struct {
	// For a new connection: the name, TCP and TLS.
	Dial penstock.Duration `json:"dial" penstock:"min=1ms,default=5s"`
	// From the end of the request to the end of the answer's headers.
	Header penstock.Duration `json:"header" penstock:"min=1ms,default=30s"`
	// How long the server may be silent while a body is sent or read. A body that goes on coming may take any time.
	Stall penstock.Duration `json:"stall" penstock:"min=1ms,default=30s"`
}

// credentials are headers that belong to auth.
var credentials = []string{"authorization", "proxy-authorization", "cookie"}

// Validate implements penstock.Resolver.
func (c *ConnectionConfig) Validate() []error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !strings.Contains(c.URL.Source, "${") {
		if _, _, err := parseURL(c.URL.Source); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Proxy != nil && !strings.Contains(c.Proxy.URL.Source, "${") {
		if _, _, err := parseURL(c.Proxy.URL.Source); err != nil {
			add("proxy: %w", err)
		}
	}
	if c.Proxy != nil && c.HTTP2 == "prior" && strings.HasPrefix(c.URL.Source, "http:") {
		add("http2: prior without TLS can't go through a proxy: use https, or leave one of them out")
	}
	ways := 0
	for _, is := range []bool{c.Auth.Basic != nil, c.Auth.Bearer != nil, c.Auth.Header != nil} {
		if is {
			ways++
		}
	}
	if ways > 1 {
		add("auth has %d ways to say who we are: keep one of basic, bearer and header", ways)
	}
	if c.Auth.Header != nil {
		if err := checkHeaderName(c.Auth.Header.Name, "auth.header"); err != nil {
			errs = append(errs, err)
		}
	}
	if err := c.TLS.secrets().Check(); err != nil {
		errs = append(errs, err)
	}
	if c.TLS.Insecure && c.TLS.CA != nil {
		add("tls: insecure accepts any certificate, so that ca means nothing: leave one of them out")
	}
	for _, name := range sortedNames(c.Headers) {
		if slices.Contains(credentials, strings.ToLower(name)) {
			add("headers: %s holds a secret, which is never written into a file: use auth", name)
			continue
		}
		if err := checkHeaderName(name, "headers"); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// checkHeaderName refuses what can't be sent as a header.
func checkHeaderName(name, where string) error {
	if _, err := upstream.AppendField(nil, name, ""); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if upstream.ReservedField(name) {
		return fmt.Errorf("%s: %s is the client's own business: leave it out", where, name)
	}
	return nil
}

// sortedNames gives the keys in order, so that findings and requests are the same each time.
func sortedNames[T any](m map[string]T) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// twice finds two names that differ in case only.
func twice(names []string) error {
	seen := map[string]bool{}
	for _, n := range names {
		l := strings.ToLower(n)
		if seen[l] {
			return errors.New("headers: " + l + " stands there twice")
		}
		seen[l] = true
	}
	return nil
}
