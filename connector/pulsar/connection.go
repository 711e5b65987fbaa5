package pulsar

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"penstock.dev/penstock"
)

// ConnectionConfig is the Connection of a cluster of Pulsar.
type ConnectionConfig struct {
	// Where the cluster is: pulsar://pulsar.example.com:6650, or pulsar+ssl://… for TLS, whose port is 6651. Several brokers or proxies stand behind
	// one another: pulsar://one:6650,two:6650. Any of them will do: which broker has a topic is asked there.
	URL penstock.Template `json:"url" penstock:"required"`
	// Where the cluster is administered: https://pulsar.example.com:8443. Channels need it, to make topics and subscriptions, and schemas that were
	// changed, to be read. The same token or certificate is shown there.
	AdminURL penstock.Template `json:"adminUrl"`
	// A token (a JWT) that says who we are. It is read anew whenever it is asked for, as all secrets here are, so it may change while penstock runs.
	Token penstock.Secret `json:"token"`
	// The user to log in as, with password, for brokers that know users (basic authentication).
	User penstock.Template `json:"user"`
	// The user's password.
	Password penstock.Secret `json:"password"`
	// Tokens are got from an authorization server.
	OAuth2 *OAuth2 `json:"oauth2"`
	// How connections are secured, at a url that begins with pulsar+ssl://. Default: the authorities of the system are trusted.
	TLS *TLS `json:"tls"`
	// Which of the addresses that brokers advertise is used, where they have several (advertisedListeners).
	Listener string `json:"listener"`
	// How long opening a connection may take.
	ConnectTimeout penstock.Duration `json:"connectTimeout" penstock:"default=5s,min=1ms"`
	// How long the cluster may take to answer a question: where a topic is, whether we may read or write it.
	Timeout penstock.Duration `json:"timeout" penstock:"default=15s,min=100ms"`
	// How often a connection that is silent is tested. One that does not answer for as long is opened again.
	Ping penstock.Duration `json:"ping" penstock:"default=10s,min=1s"`
}

// OAuth2 says where tokens are got: from an OAuth 2.0 authorization server, by client credentials (RFC 6749, section 4.4).
type OAuth2 struct {
	// The token endpoint.
	TokenURL penstock.Template `json:"tokenUrl" penstock:"required"`
	// Who asks for tokens.
	ClientID penstock.Template `json:"clientId" penstock:"required"`
	// The secret of clientId.
	ClientSecret penstock.Secret `json:"clientSecret" penstock:"required"`
	// Whom the tokens are meant for, for servers that ask for it.
	Audience string `json:"audience"`
	// What the tokens are to be good for.
	Scope string `json:"scope"`
}

// TLS secures connections. The secrets are read anew for each connection.
type TLS struct {
	// The certificates (PEM) of the authorities that a broker's certificate may come from. Default: those of the system.
	CA penstock.Secret `json:"ca"`
	// This side's certificate (PEM), for brokers that want one, with those between it and the authority behind it. Needs privateKey. Where neither token, user nor oauth2
	// is given, it also says who we are.
	Certificate penstock.Secret `json:"certificate"`
	// The key (PEM) of the certificate.
	PrivateKey penstock.Secret `json:"privateKey"`
	// The name that a broker's certificate must bear. Default: the host that is connected to.
	ServerName string `json:"serverName"`
}

// Validate implements penstock.Resolver.
func (c *ConnectionConfig) Validate() (errs []error) {
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if isStatic(c.URL) && !c.URL.IsZero() {
		if err := checkURL(c.URL.Source, c.TLS != nil); err != nil {
			errs = append(errs, err)
		}
	}
	if isStatic(c.AdminURL) && !c.AdminURL.IsZero() {
		if err := checkAdminURL(c.AdminURL.Source); err != nil {
			errs = append(errs, err)
		}
	}
	var ways []string
	for _, w := range []struct {
		name string
		set  bool
	}{{"token", !c.Token.IsZero()}, {"user", !c.User.IsZero()}, {"oauth2", c.OAuth2 != nil}} {
		if w.set {
			ways = append(ways, "`"+w.name+"`")
		}
	}
	if len(ways) > 1 {
		add("%s say who we are; keep one of them", strings.Join(ways, " and "))
	}
	switch {
	case !c.Password.IsZero() && c.User.IsZero():
		add("`password` needs `user`")
	case !c.User.IsZero() && c.Password.IsZero():
		add("`user` needs `password: { secret: … }`")
	}
	if c.TLS != nil && c.TLS.Certificate.IsZero() != c.TLS.PrivateKey.IsZero() {
		add("tls: certificate and privateKey belong together: give both or none")
	}
	if c.OAuth2 != nil && isStatic(c.OAuth2.TokenURL) {
		if u, err := url.Parse(c.OAuth2.TokenURL.Source); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			add("oauth2: tokenUrl: %q is no URL: write https://login.example.com/oauth/token", c.OAuth2.TokenURL.Source)
		}
	}
	return errs
}

// checkURL says what is wrong with the address of a cluster.
func checkURL(text string, secured bool) error {
	scheme, hosts, ok := strings.Cut(text, "://")
	if !ok {
		return fmt.Errorf("url: %q is no URL: write pulsar://host:6650", text)
	}
	switch scheme {
	case "pulsar":
		if secured {
			return errors.New("url: with `tls` it begins with pulsar+ssl://, and its port is mostly 6651")
		}
	case "pulsar+ssl":
	case "http", "https":
		return errors.New("url: that is where the cluster is administered: say it in `adminUrl`, and where brokers are in `url`: pulsar://host:6650")
	default:
		return fmt.Errorf("url: it begins with %s://, and a cluster of Pulsar is at pulsar:// or pulsar+ssl://", scheme)
	}
	for _, h := range strings.Split(strings.TrimSuffix(hosts, "/"), ",") {
		if strings.Contains(h, "@") {
			return errors.New("url: it says who we are: use `token`, `user` with `password: { secret: … }`, or `oauth2`")
		}
		host := h
		if strings.Contains(h, ":") {
			var port string
			var err error
			if host, port, err = net.SplitHostPort(h); err != nil || port == "" {
				return fmt.Errorf("url: %q is no host:port", h)
			}
		}
		if host == "" || strings.ContainsAny(host, "/ \t?#") {
			return fmt.Errorf("url: %q is no host:port", h)
		}
	}
	return nil
}

// checkAdminURL says what is wrong with the address of a cluster's administration.
func checkAdminURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("adminUrl: %q is no URL: write http://host:8080 or https://host:8443", text)
	}
	if u.User != nil {
		return errors.New("adminUrl: it says who we are: use `token`, `user` with `password: { secret: … }`, or `oauth2`")
	}
	return nil
}
