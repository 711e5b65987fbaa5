package kafka

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/service"
)

// token makes an OAuth token as the broker takes it in these tests: a JWT that nobody has signed.
func token(user string, until time.Time) string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(map[string]string{"alg": "none"}) + "." + part(map[string]any{"sub": user, "iat": time.Now().Unix(), "exp": until.Unix()}) + "."
}

func plainly(c *ConnectionConfig, user, password string) *ConnectionConfig {
	c.SASL = &SASL{Mechanism: saslPlain, User: text(user), Password: penstock.NewSecret(password)}
	return c
}

func scrammed(c *ConnectionConfig, mechanism, user, password string) *ConnectionConfig {
	c.SASL = &SASL{Mechanism: mechanism, User: text(user), Password: penstock.NewSecret(password)}
	return c
}

// TestLoggingIn goes through every way to log in, and through what goes wrong with each.
func TestLoggingIn(t *testing.T) {
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	server.SetUser(t, "bob", "bob-secret")
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if id != "us" || secret != "our%26secret" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "kafka" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":60}`, token("carol", time.Now().Add(time.Minute)))
	}))
	t.Cleanup(idp.Close) // the cases run on
	oauth := func(s SASL) *ConnectionConfig {
		c := connection(server.SASL())
		s.Mechanism = saslOAuth
		c.SASL = &s
		return c
	}
	secured := func(change func(*TLS)) *ConnectionConfig {
		c := connection(server.TLS())
		c.TLS = &TLS{CA: penstock.NewSecret(string(server.Authority))}
		change(c.TLS)
		return c
	}
	client, key := server.CertificateOf(t, "dave", time.Now().Add(time.Hour))
	expired, expiredKey := server.CertificateOf(t, "eve", time.Now().Add(-time.Hour))
	for name, c := range map[string]struct {
		config *ConnectionConfig
		code   penstock.Code // "" is fine
		hint   string
	}{
		"in the open":          {connection(server.Brokers()), "", ""},
		"plain":                {plainly(connection(server.SASL()), "alice", "alice-secret"), "", ""},
		"plain, wrong":         {plainly(connection(server.SASL()), "alice", "wrong"), penstock.Unauthenticated, "check user and password"},
		"scram 256":            {scrammed(connection(server.SASL()), saslScram256, "bob", "bob-secret"), "", ""},
		"scram 512":            {scrammed(connection(server.SASL()), saslScram512, "bob", "bob-secret"), "", ""},
		"scram, wrong":         {scrammed(connection(server.SASL()), saslScram512, "bob", "wrong"), penstock.Unauthenticated, "check user and password"},
		"scram, unknown":       {scrammed(connection(server.SASL()), saslScram256, "nobody", "x"), penstock.Unauthenticated, "check user and password"},
		"token":                {oauth(SASL{Token: penstock.NewSecret(token("carol", time.Now().Add(time.Minute)) + "\n")}), "", ""},
		"token, expired":       {oauth(SASL{Token: penstock.NewSecret(token("carol", time.Now().Add(-time.Minute)))}), penstock.Unauthenticated, "token"},
		"token endpoint":       {oauth(SASL{TokenURL: text(idp.URL), ClientID: text("us"), ClientSecret: penstock.NewSecret("our&secret"), Scope: "kafka"}), "", ""},
		"token endpoint, no":   {oauth(SASL{TokenURL: text(idp.URL), ClientID: text("us"), ClientSecret: penstock.NewSecret("wrong"), Scope: "kafka"}), penstock.Unauthenticated, "check clientId"},
		"token endpoint, gone": {oauth(SASL{TokenURL: text("http://127.0.0.1:1/token"), ClientID: text("us"), ClientSecret: penstock.NewSecret("x")}), penstock.Unavailable, ""},
		"sasl where none is":   {plainly(connection(server.Brokers()), "alice", "alice-secret"), penstock.Config, "leave `sasl` out"},
		"no sasl where one is": {connection(server.SASL()), penstock.Unavailable, "`sasl`"},
		"tls":                  {secured(func(*TLS) {}), "", ""},
		"tls with certificate": {secured(func(c *TLS) {
			c.Certificate, c.PrivateKey = penstock.NewSecret(string(client)), penstock.NewSecret(string(key))
		}), "", ""},
		"expired certificate of ours": {secured(func(c *TLS) {
			c.Certificate, c.PrivateKey = penstock.NewSecret(string(expired)), penstock.NewSecret(string(expiredKey))
		}), penstock.Unauthenticated, "refuses this side's certificate"},
		"not a certificate":      {secured(func(c *TLS) { c.Certificate, c.PrivateKey = penstock.NewSecret("x"), penstock.NewSecret("y") }), penstock.Config, "PEM"},
		"unknown authority":      {secured(func(c *TLS) { c.CA = penstock.Secret{} }), penstock.Unauthenticated, "`tls: { ca }`"},
		"another name":           {secured(func(c *TLS) { c.ServerName = "kafka.example.com" }), penstock.Unauthenticated, "`serverName`"},
		"tls where none is":      {&ConnectionConfig{Brokers: []penstock.Template{text(server.Brokers())}, ClientID: "x", ConnectTimeout: penstock.Duration(5 * time.Second), TLS: &TLS{}}, penstock.Unavailable, "no TLS"},
		"no tls where there is":  {connection(server.TLS()), penstock.Unavailable, "`tls`"},
		"nobody there":           {connection("127.0.0.1:1"), penstock.Unavailable, "see that the brokers run"},
		"one of two is there":    {connection("127.0.0.1:1", server.Brokers()), "", ""},
		"nobody of such a name":  {connection("no.such.host.invalid:9092"), penstock.Unavailable, "see that the brokers run"},
		"somebody who is silent": {connection(silent(t)), penstock.Timeout, "see that the brokers run"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.code.Transient() { // it is tried again for as long
				c.config.ConnectTimeout = penstock.Duration(400 * time.Millisecond)
			}
			if c.code == penstock.Unavailable && strings.HasPrefix(c.hint, "`") || c.hint == "no TLS" { // somebody answers, in his own time
				c.config.ConnectTimeout = penstock.Duration(2 * time.Second)
			}
			began := time.Now()
			for what, open := range map[string]func() error{
				"source": func() error {
					s, err := newSource(sourceConfig(c.config, topic, service.KafkaName(t)), environment(t))
					if err != nil {
						return err
					}
					err = s.Open(within(t))
					_ = s.Close(context.Background())
					return err
				},
				"sink": func() error {
					s, err := newSink(sinkConfig(c.config, topic), environment(t))
					if err != nil {
						return err
					}
					err = s.Open(within(t))
					_ = s.Close(context.Background())
					return err
				},
			} {
				err := open()
				if penstock.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.hint) {
					t.Errorf("%s: %v (%s) after %v, want %q and %q", what, err, penstock.CodeOf(err), time.Since(began), c.code, c.hint)
				}
				if err != nil && strings.Contains(err.Error(), "secret") && !strings.Contains(err.Error(), "clientSecret") {
					t.Errorf("%v tells a secret", err)
				}
			}
		})
	}
}

// silent is somebody who takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// TestMissingRights: what the cluster forbids is told at the start, with what to do about it.
func TestMissingRights(t *testing.T) {
	server := service.Kafka(t)
	there, missing := service.KafkaName(t), service.KafkaName(t)
	server.Topic(t, there, 1)
	alice := plainly(connection(server.SASL()), "alice", "alice-secret")
	open := func(read bool, topic string) error {
		if read {
			s, err := newSource(sourceConfig(alice, topic, service.KafkaName(t)), environment(t))
			if err != nil {
				return err
			}
			defer func() { _ = s.Close(context.Background()) }()
			if err := s.Open(within(t)); err != nil {
				return err
			}
			var b penstock.Batch
			return s.Read(within(t), &b)
		}
		s, err := newSink(sinkConfig(alice, topic), environment(t))
		if err != nil {
			return err
		}
		defer func() { _ = s.Close(context.Background()) }()
		if err := s.Open(within(t)); err != nil {
			return err
		}
		return s.Write(within(t), batchOf("1"))
	}
	for _, read := range []bool{true, false} {
		if err := open(read, missing); penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "kafka-topics.sh") {
			t.Errorf("missing topic, read %v: %v", read, err)
		}
	}
	for _, c := range []struct {
		read bool
		op   kadm.ACLOperation
		code penstock.Code
	}{{true, kadm.OpDescribe, penstock.Forbidden}, {true, kadm.OpRead, penstock.Forbidden}, {false, kadm.OpWrite, penstock.Forbidden}} {
		allow := server.Deny(t, "alice", there, c.op)
		err := open(c.read, there)
		code := penstock.CodeOf(err)
		if each, ok := err.(*penstock.BatchError); ok {
			code, err = penstock.CodeOf(each.Errs[0]), each.Errs[0]
		}
		if code != c.code || !strings.Contains(err.Error(), "give the user the right") {
			t.Errorf("%v: %v", c.op, err)
		}
		allow()
	}
}
