// Package schemaregistry is the Connection to a registry of schemas: the Confluent Schema Registry, and those that speak its API (Apicurio,
// Karapace, Redpanda). Codecs ask it through penstock.SchemaRegistry.
package schemaregistry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"penstock.dev/penstock"
)

// Config is the Connection of a registry. It is safe for concurrent use.
type Config struct {
	// Where the registry is: https://registry.example.com. Several URLs are those of one registry, separated by commas; one after the other is
	// asked until one answers.
	URL string `json:"url" penstock:"required,nonempty"`
	// The user to log in as, with password (HTTP basic authentication).
	User string `json:"user"`
	// The user's password.
	Password penstock.Secret `json:"password"`
	// A token to log in with, in place of user and password.
	Token penstock.Secret `json:"token"`
	// How the connection is secured, where the URL begins with https.
	TLS TLS `json:"tls"`
	// How long one request may take.
	Timeout penstock.Duration `json:"timeout" penstock:"default=5s,min=1ms"`

	state *state // made when it is first asked
	mu    sync.Mutex
}

// TLS secures a connection.
type TLS struct {
	// The certificates (PEM) of the authorities that the server's certificate may come from. Default: those of the system.
	CA penstock.Secret `json:"ca"`
	// This side's certificate (PEM), for servers that want one, with those between it and the authority behind it. Needs privateKey.
	Certificate penstock.Secret `json:"certificate"`
	// The key (PEM) of the certificate. Both are read for each new connection, so that they can be renewed while penstock runs.
	PrivateKey penstock.Secret `json:"privateKey"`
	// The name that the server's certificate must bear. Default: the host.
	ServerName string `json:"serverName"`
}

// Validate implements penstock.Resolver.
func (c *Config) Validate() (errs []error) {
	for _, u := range strings.Split(c.URL, ",") {
		parsed, err := url.Parse(strings.TrimSpace(u))
		if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
			errs = append(errs, fmt.Errorf("url: %q is no URL of a server: write it as in https://registry.example.com", u))
		} else if parsed.User != nil {
			errs = append(errs, errors.New("url: it holds a password or user: use `user` and `password`"))
		}
	}
	if c.User == "" && !c.Password.IsZero() {
		errs = append(errs, errors.New("password: without `user` it has no meaning"))
	}
	if c.User != "" && !c.Token.IsZero() {
		errs = append(errs, errors.New("token: log in with `user` and `password`, or with `token`, not with both"))
	}
	if err := (penstock.TLSSecrets{Certificate: c.TLS.Certificate, PrivateKey: c.TLS.PrivateKey}).Check(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// Register adds the Connection.
func Register(r *penstock.Registry) {
	penstock.RegisterConnection[Config](r, penstock.Spec{
		Name:    "schemaRegistry",
		Summary: "A registry of schemas: Confluent's, and those that speak its API.",
	})
}

var _ penstock.SchemaRegistry = (*Config)(nil)

// state is what a connection has learnt.
type state struct {
	client *sr.Client
	web    *http.Client

	mu    sync.Mutex
	byID  map[int]penstock.SchemaText
	bySub map[string]int // subject, language and text
}

// most bounds how many schemas are kept.
const most = 10_000

func (c *Config) begin() (*state, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != nil {
		return c.state, nil
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConns: 4, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: 5 * time.Second,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName},
	}
	secrets := penstock.TLSSecrets{CA: c.TLS.CA, Certificate: c.TLS.Certificate, PrivateKey: c.TLS.PrivateKey}
	var err error
	if transport.TLSClientConfig.RootCAs, err = secrets.Authorities("schema registry", ""); err != nil {
		return nil, err
	}
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return secrets.Pair("schema registry", "")
	}
	web := &http.Client{Transport: &login{config: c, next: transport}, Timeout: time.Duration(c.Timeout)}
	var urls []string
	for _, u := range strings.Split(c.URL, ",") {
		urls = append(urls, strings.TrimRight(strings.TrimSpace(u), "/"))
	}
	client, err := sr.NewClient(sr.URLs(urls...), sr.HTTPClient(web), sr.UserAgent("penstock"))
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "schema registry", Path: "url", Err: err}
	}
	c.state = &state{client: client, web: web, byID: map[int]penstock.SchemaText{}, bySub: map[string]int{}}
	return c.state, nil
}

// login says who asks. Secrets are read for each request, since they may change.
type login struct {
	config *Config
	next   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (l *login) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	switch {
	case l.config.User != "":
		r.SetBasicAuth(l.config.User, l.config.Password.Reveal())
	case !l.config.Token.IsZero():
		r.Header.Set("Authorization", "Bearer "+l.config.Token.Reveal())
	}
	return l.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client reach those of the transport.
func (l *login) CloseIdleConnections() {
	if t, ok := l.next.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// ByID implements penstock.SchemaRegistry.
func (c *Config) ByID(ctx context.Context, id int) (penstock.SchemaText, error) {
	s, err := c.begin()
	if err != nil {
		return penstock.SchemaText{}, err
	}
	s.mu.Lock()
	text, ok := s.byID[id]
	s.mu.Unlock()
	if ok {
		return text, nil
	}
	got, err := s.client.SchemaByID(ctx, id)
	if err != nil {
		return penstock.SchemaText{}, c.failure(fmt.Sprintf("schema %d", id), err)
	}
	if text, err = s.text(ctx, got); err != nil {
		return penstock.SchemaText{}, c.failure(fmt.Sprintf("schema %d", id), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byID) >= most {
		clear(s.byID)
	}
	s.byID[id] = text
	return text, nil
}

// text is a schema with what it refers to.
func (s *state) text(ctx context.Context, got sr.Schema) (penstock.SchemaText, error) {
	out := penstock.SchemaText{Language: languages[got.Type], Text: []byte(got.Schema)}
	if out.Language == "" {
		return out, &penstock.Error{Code: penstock.Unprocessable, Op: "schema registry", Err: fmt.Errorf("a schema of type %s is not read", got.Type)}
	}
	if len(got.References) > 0 {
		out.Files = map[string][]byte{}
		if err := s.references(ctx, got.References, out.Files, 0); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (s *state) references(ctx context.Context, refs []sr.SchemaReference, into map[string][]byte, depth int) error {
	if depth > 20 || len(into) > 500 {
		return penstock.E(penstock.Unprocessable, "schema registry", "", "a schema refers to more others than can be")
	}
	for _, r := range refs {
		if _, ok := into[r.Name]; ok {
			continue
		}
		got, err := s.client.SchemaByVersion(ctx, r.Subject, r.Version)
		if err != nil {
			return err
		}
		into[r.Name] = []byte(got.Schema.Schema)
		if err := s.references(ctx, got.References, into, depth+1); err != nil {
			return err
		}
	}
	return nil
}

var languages = map[sr.SchemaType]string{sr.TypeAvro: penstock.Avro, sr.TypeProtobuf: penstock.Protobuf, sr.TypeJSON: penstock.JSONSchema}

func schemaOf(s penstock.SchemaText) sr.Schema {
	out := sr.Schema{Schema: string(s.Text)}
	for t, l := range languages {
		if l == s.Language {
			out.Type = t
		}
	}
	return out
}

// ID implements penstock.SchemaRegistry.
func (c *Config) ID(ctx context.Context, subject string, text penstock.SchemaText, register bool) (int, error) {
	s, err := c.begin()
	if err != nil {
		return 0, err
	}
	key := subject + "\x00" + text.Language + "\x00" + string(text.Text)
	s.mu.Lock()
	id, ok := s.bySub[key]
	s.mu.Unlock()
	if ok {
		return id, nil
	}
	schema, err := s.whole(ctx, text, register)
	switch {
	case err != nil:
	case register:
		id, err = s.client.RegisterSchema(ctx, subject, schema, -1, -1)
	default:
		var got sr.SubjectSchema
		got, err = s.client.LookupSchema(ctx, subject, schema)
		id = got.ID
	}
	if err != nil {
		e := c.failure("subject "+subject, err)
		if penstock.CodeOf(e) == penstock.NotFound {
			e = &penstock.Error{Code: penstock.NotFound, Op: "schema registry", Path: "subject " + subject, Err: errors.New("it has no such schema"), Hint: "register it there, or say `register: true` in the format"}
		}
		return 0, e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bySub) >= most {
		clear(s.bySub)
	}
	s.bySub[key] = id
	return id, nil
}

// Compatible implements penstock.SchemaRegistry.
func (c *Config) Compatible(ctx context.Context, subject string, text penstock.SchemaText) ([]string, error) {
	s, err := c.begin()
	if err != nil {
		return nil, err
	}
	schema, err := s.whole(ctx, text, false)
	var got sr.CheckCompatibilityResult
	switch {
	case err != nil && penstock.CodeOf(c.failure(subject, err)) == penstock.NotFound:
		if _, none := s.client.SchemaByVersion(ctx, subject, -1); none == nil {
			return []string{"that can't be told before what it imports is registered: " + err.Error()}, nil
		}
		return nil, nil
	case err == nil:
		got, err = s.client.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), subject, -1, schema)
	}
	if err != nil {
		e := c.failure("subject "+subject, err)
		if penstock.CodeOf(e) == penstock.NotFound {
			return nil, nil // there is nothing to be compatible with
		}
		return nil, e
	}
	if got.Is {
		return nil, nil
	}
	if len(got.Messages) == 0 {
		return []string{"the registry says that it is not compatible, and not why"}, nil
	}
	return got.Messages, nil
}

// failure makes an error of this project of what the client says.
func (c *Config) failure(path string, err error) error {
	var own *penstock.Error
	if errors.As(err, &own) {
		return err
	}
	e := &penstock.Error{Code: penstock.Unavailable, Op: "schema registry", Path: path, Err: err}
	var said *sr.ResponseError
	switch {
	case errors.As(err, &said):
		switch s := said.StatusCode; {
		case s == http.StatusNotFound:
			e.Code, e.Err = penstock.NotFound, errors.New("the registry doesn't know it")
		case s == http.StatusConflict:
			e.Code, e.Hint = penstock.Conflict, "the new schema has to be compatible with those before it, by the rules of its subject"
		case s == http.StatusUnauthorized:
			e.Code, e.Hint = penstock.Unauthenticated, "look at user and password, or token, of the connection"
		case s == http.StatusForbidden:
			e.Code = penstock.Forbidden
		case s == http.StatusTooManyRequests:
			e.Code = penstock.Limited
		case s >= 400 && s < 500:
			e.Code = penstock.Invalid
		}
	case errors.Is(err, context.DeadlineExceeded):
		e.Code = penstock.Timeout
	}
	return e
}
