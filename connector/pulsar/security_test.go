package pulsar

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestWhoWeAre: tokens, certificates, and what we may do.
func TestWhoWeAre(t *testing.T) {
	t.Parallel()
	server := service.NewSecurePulsar(t)
	server.Do(t, "POST", "/admin/v2/namespaces/public/default/permissions/reader", `["consume"]`)
	ca := penstock.NewSecret(server.Authority())
	certificate, key := server.Certificate(t, "penstock", time.Now().Add(time.Hour))
	strange, strangeKey := service.Strangers(t).Certificate(t, "penstock", time.Now().Add(time.Hour))
	server.Do(t, "PUT", "/admin/v2/persistent/public/default/orders", "")
	plain, secure := penstock.Template{Source: server.URL()}, penstock.Template{Source: server.SecureURL()}
	issuer := tokenServer(t, server)
	cases := map[string]struct {
		config ConnectionConfig
		write  penstock.Code // of an error; "" if it succeeds
		read   penstock.Code
	}{
		"token":               {ConnectionConfig{URL: plain, Token: penstock.NewSecret(server.Token("penstock", 0) + "\n")}, "", ""},
		"token and TLS":       {ConnectionConfig{URL: secure, TLS: &TLS{CA: ca}, Token: penstock.NewSecret(server.Token("penstock", 0))}, "", ""},
		"certificate":         {ConnectionConfig{URL: secure, TLS: &TLS{CA: ca, Certificate: penstock.NewSecret(certificate), PrivateKey: penstock.NewSecret(key)}}, "", ""},
		"a name":              {ConnectionConfig{URL: secure, TLS: &TLS{CA: ca, ServerName: "localhost"}, Token: penstock.NewSecret(server.Token("penstock", 0))}, "", ""},
		"oauth2":              {ConnectionConfig{URL: plain, OAuth2: &OAuth2{TokenURL: penstock.Template{Source: issuer}, ClientID: penstock.Template{Source: "penstock"}, ClientSecret: penstock.NewSecret("pss"), Audience: "pulsar"}}, "", ""},
		"oauth2, wrong":       {ConnectionConfig{URL: plain, OAuth2: &OAuth2{TokenURL: penstock.Template{Source: issuer}, ClientID: penstock.Template{Source: "penstock"}, ClientSecret: penstock.NewSecret("x"), Audience: "pulsar"}}, penstock.Unauthenticated, penstock.Unauthenticated},
		"nobody":              {ConnectionConfig{URL: plain}, penstock.Unauthenticated, penstock.Unauthenticated},
		"an old token":        {ConnectionConfig{URL: plain, Token: penstock.NewSecret(server.Token("penstock", -time.Hour))}, penstock.Unauthenticated, penstock.Unauthenticated},
		"may only read":       {ConnectionConfig{URL: plain, Token: penstock.NewSecret(server.Token("reader", 0))}, penstock.Forbidden, ""},
		"may do nothing":      {ConnectionConfig{URL: plain, Token: penstock.NewSecret(server.Token("stranger", 0))}, penstock.Forbidden, penstock.Forbidden},
		"another name":        {ConnectionConfig{URL: secure, TLS: &TLS{CA: ca, ServerName: "pulsar.example.com"}, Token: penstock.NewSecret(server.Token("penstock", 0))}, penstock.Config, penstock.Config},
		"another authority":   {ConnectionConfig{URL: secure, TLS: &TLS{CA: penstock.NewSecret(service.Strangers(t).PEM())}, Token: penstock.NewSecret(server.Token("penstock", 0))}, penstock.Config, penstock.Config},
		"no authority":        {ConnectionConfig{URL: secure, Token: penstock.NewSecret(server.Token("penstock", 0))}, penstock.Config, penstock.Config},
		"nonsense":            {ConnectionConfig{URL: secure, TLS: &TLS{CA: penstock.NewSecret("nonsense")}}, penstock.Config, penstock.Config},
		"a stranger":          {ConnectionConfig{URL: secure, TLS: &TLS{CA: ca, Certificate: penstock.NewSecret(strange), PrivateKey: penstock.NewSecret(strangeKey)}}, penstock.Unauthenticated, penstock.Unauthenticated},
		"half a certificate":  {ConnectionConfig{URL: secure, TLS: &TLS{CA: ca, Certificate: penstock.NewSecret(certificate), PrivateKey: penstock.NewSecret("nonsense")}}, penstock.Config, penstock.Config},
		"nobody is listening": {ConnectionConfig{URL: penstock.Template{Source: "pulsar://127.0.0.1:1"}}, penstock.Unavailable, penstock.Unavailable},
	}
	t.Run("at the start", func(t *testing.T) {
		for what, c := range cases {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				f := through(t, server, &c.config)
				c.config.Timeout = penstock.Duration(2 * time.Second)
				s := f.sink(t, SinkConfig{Topic: drive.Template("orders")})
				err := s.Open(t.Context())
				if err == nil {
					err = s.Write(t.Context(), drive.Batch("x", 0, `{"n":1}`))
				}
				drive.Code(t, err, c.write)
				_ = s.Close(t.Context())
				r := f.source(t, SourceConfig{Topic: drive.Template("orders"), Subscription: drive.Template(name())})
				drive.Code(t, r.Open(t.Context()), c.read)
				_ = r.Close(t.Context())
			})
		}
	})
	t.Run("later", func(t *testing.T) { testTakenAway(t, server) })
}

// testTakenAway: a certificate that has expired, and a token that is no longer good, under a flow that runs.
func testTakenAway(t *testing.T, server *service.PulsarServer) {
	token := penstock.NewSecret(server.Token("penstock", 0))
	f := through(t, server, &ConnectionConfig{URL: penstock.Template{Source: server.URL()}, Token: token})
	f.config.Timeout = penstock.Duration(3 * time.Second)
	in := drive.Opened(t, f.source(t, SourceConfig{Topic: drive.Template("orders"), Subscription: drive.Template(name())}))
	out := drive.Opened(t, f.sink(t, SinkConfig{Topic: drive.Template("orders"), AckTimeout: penstock.Duration(3 * time.Second)}))
	server.Kill(t)
	server.ForgetTokens()
	server.Certify(t, time.Now().Add(-time.Hour))
	server.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var b penstock.Batch
	err := in.Read(ctx, &b)
	for errors.Is(err, penstock.ErrDisconnected) || err == nil {
		if err = in.Open(ctx); err == nil || errors.Is(err, penstock.ErrDisconnected) {
			b.Reset()
			err = in.Read(ctx, &b)
		}
	}
	drive.Code(t, err, penstock.Unauthenticated)
	drive.Code(t, failures(t, out.Write(ctx, drive.Batch("x", 0, `{"n":1}`)))[0], penstock.Unauthenticated)

	f = through(t, server, &ConnectionConfig{URL: penstock.Template{Source: server.SecureURL()}, TLS: &TLS{CA: penstock.NewSecret(server.Authority())}, Token: token})
	drive.Code(t, f.sink(t, SinkConfig{Topic: drive.Template("orders")}).Open(t.Context()), penstock.Config, "expired")
}

// tokenServer is an authorization server that gives tokens of the broker's to penstock.
func tokenServer(t *testing.T, server *service.PulsarServer) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if secret != "pss" || r.FormValue("audience") != "pulsar" || r.FormValue("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": server.Token(id, time.Hour), "expires_in": 3600})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestConnectionConfigIsChecked holds what is refused before anything is connected.
func TestConfigIsChecked(t *testing.T) {
	text := func(s string) penstock.Template { return penstock.Template{Source: s} }
	secret := penstock.NewSecret("geheim")
	for _, c := range []struct {
		config interface{ Validate() []error }
		want   string // in the one error; "" if there is none
	}{
		{&ConnectionConfig{URL: text("pulsar://a:6650,b:6650"), AdminURL: text("http://a:8080")}, ""},
		{&ConnectionConfig{URL: text("pulsar+ssl://a"), TLS: &TLS{}}, ""},
		{&ConnectionConfig{URL: text("${params.broker}")}, ""},
		{&ConnectionConfig{URL: text("a:6650")}, "is no URL"},
		{&ConnectionConfig{URL: text("http://a:8080")}, "adminUrl"},
		{&ConnectionConfig{URL: text("kafka://a:8080")}, "kafka://"},
		{&ConnectionConfig{URL: text("pulsar://u:p@a")}, "who we are"},
		{&ConnectionConfig{URL: text("pulsar://a:6650"), TLS: &TLS{}}, "pulsar+ssl"},
		{&ConnectionConfig{URL: text("pulsar://a:6650,")}, "no host:port"},
		{&ConnectionConfig{URL: text("pulsar://a"), AdminURL: text("a:8080")}, "http://host:8080"},
		{&ConnectionConfig{URL: text("pulsar://a"), Token: secret, User: text("u"), Password: secret}, "keep one of them"},
		{&ConnectionConfig{URL: text("pulsar://a"), Password: secret}, "needs `user`"},
		{&ConnectionConfig{URL: text("pulsar+ssl://a"), TLS: &TLS{Certificate: secret}}, "belong together"},
		{&ConnectionConfig{URL: text("pulsar://a"), OAuth2: &OAuth2{TokenURL: text("login"), ClientID: text("x"), ClientSecret: secret}}, "tokenUrl"},
		{&SourceConfig{Topic: text("tenant/namespace/orders"), Subscription: text("s")}, ""},
		{&SourceConfig{}, "one of `topic` and `topics`"},
		{&SourceConfig{Topic: text("a"), Topics: []penstock.Template{text("b")}}, "one of `topic` and `topics`"},
		{&SourceConfig{Topics: []penstock.Template{text("a"), text("public/default/a")}}, "there twice"},
		{&SourceConfig{Topic: text("a/b")}, "neither one part nor three"},
		{&SourceConfig{Topic: text("non-persistent://a/b/c")}, "keeps nothing"},
		{&SourceConfig{Topic: text("kafka://a/b/c")}, "kafka://"},
		{&SourceConfig{Topic: text("a"), Subscription: text("x y")}, "no spaces"},
		{&SourceConfig{Topic: text("a"), Type: keyShared, NegativeAck: &NegativeAck{}}, ""},
		{&SourceConfig{Topic: text("a"), Type: failover, NegativeAck: &NegativeAck{}}, "needs `type: shared`"},
		{&SinkConfig{Topic: text("orders-${body.country}"), DeliverAfter: text("30s")}, ""},
		{&SinkConfig{Topic: text("a b")}, "with a space"},
		{&SinkConfig{Topic: text("a"), DeliverAfter: text("soon")}, "is no duration"},
		{&SinkConfig{Topic: text("a"), DeliverAfter: text("1s"), DeliverAt: text("${body.at}")}, "keep one of them"},
		{&SinkConfig{Topic: text("a"), Chunking: true, Batching: Batching{By: "any"}}, "by: none"},
		{&SinkConfig{Topic: text("a"), Properties: map[string]penstock.Template{"penstock-id": text("x")}}, "written by penstock"},
		{&SinkConfig{Topic: text("a"), Properties: map[string]penstock.Template{"Pulsar-Topic": text("x")}}, "where a message was read"},
		{&ChannelConfig{Topic: text("a/b")}, "neither one part nor three"},
		{&ChannelConfig{SubscriptionPrefix: "a/b"}, "no slashes"},
	} {
		errs := c.config.Validate()
		switch {
		case c.want == "" && len(errs) == 0:
		case c.want != "" && len(errs) == 1:
			drive.Code(t, &penstock.Error{Code: penstock.Config, Err: errs[0]}, penstock.Config, c.want)
		default:
			t.Errorf("%+v: %v, want %q", c.config, errs, c.want)
		}
	}
}

func FuzzTopic(f *testing.F) {
	for _, s := range []string{"orders", "a/b/c", "persistent://a/b/c", "non-persistent://a/b/c", "://", "a//c", "persistent://x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseTopic(s)
		if err != nil {
			return
		}
		if b, err := parseTopic(a.String()); err != nil || a != b {
			t.Errorf("%q is %v, and that is %v: %v", s, a, b, err)
		}
	})
}
