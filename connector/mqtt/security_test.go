package mqtt

import (
	"errors"
	"slices"
	"testing"
	"time"

	"penstock.dev/penstock"
	codec "penstock.dev/penstock/codec/text"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// raw is a sink that writes texts as they are.
func (f *fixture) raw(t testing.TB, topic string) penstock.Sink {
	t.Helper()
	c, err := codec.New(codec.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSink(SinkConfig{Connection: f.ref, Topic: text(topic), QoS: 1, Format: penstock.Format{Name: "text", Codec: c}}, environment(unique(t)+"/raw"))
	if err != nil {
		t.Fatal(err)
	}
	return drive.Opened(t, s)
}

// with is a fixture with another URL, and what a test changes.
func with(server *service.MosquittoServer, url string, change func(c *ConnectionConfig)) *fixture {
	f := on(server, server.Address())
	f.config.URL = text(url)
	f.config.Patience = penstock.Duration(time.Millisecond)
	if change != nil {
		change(f.config)
	}
	return f
}

// TestLoggingIn: passwords, certificates, TLS and WebSockets.
func TestLoggingIn(t *testing.T) {
	t.Parallel()
	server := service.NewSecureMosquitto(t, map[string]string{"shop": "one"})
	stranger := service.NewSecureMosquitto(t, nil)
	certificate := func(of *service.SecureMosquitto, until time.Time) func(*ConnectionConfig) {
		return func(c *ConnectionConfig) {
			c.User, c.Password = text("shop"), penstock.NewSecret("one")
			c.TLS.CA = penstock.NewSecret(server.Authority())
			if of != nil {
				own, key := of.Certificate(t, "shop", until)
				c.TLS.Certificate, c.TLS.PrivateKey = penstock.NewSecret(own), penstock.NewSecret(key)
			}
		}
	}
	day := time.Now().Add(24 * time.Hour)
	user := func(name, password string) func(*ConnectionConfig) {
		return func(c *ConnectionConfig) { c.User, c.Password = text(name), penstock.NewSecret(password) }
	}
	also := func(all ...func(*ConnectionConfig)) func(*ConnectionConfig) {
		return func(c *ConnectionConfig) {
			for _, f := range all {
				f(c)
			}
		}
	}
	plain, secure, web, secureWeb := "mqtt://"+server.Address(), "mqtts://"+server.SecureAddress(), "ws://"+server.WebAddress(), "wss://"+server.SecureWebAddress()
	for _, c := range []struct {
		name   string
		url    string
		change func(*ConnectionConfig)
		want   penstock.Code
		words  string
	}{
		{"a password", plain, user("shop", "one"), "", ""},
		{"a wrong password", plain, user("shop", "two"), penstock.Unauthenticated, "check user and password"},
		{"nobody", plain, nil, penstock.Unauthenticated, "check user and password"},
		{"WebSocket", web, user("shop", "one"), "", ""},
		{"WebSocket with a path", web + "/mqtt", user("shop", "one"), "", ""},
		{"WebSocket and a wrong password", web, user("shop", "two"), penstock.Unauthenticated, "check user and password"},
		{"TLS", secure, certificate(server, day), "", ""},
		{"WebSocket with TLS", secureWeb, certificate(server, day), "", ""},
		{"no certificate of ours", secure, certificate(nil, day), penstock.Unavailable, "wants one"},
		{"a stranger's certificate", secure, certificate(stranger, day), penstock.Unavailable, "refuses our certificate"},
		{"a certificate of ours that has expired", secure, certificate(server, time.Now().Add(-time.Hour)), penstock.Unavailable, "refuses our certificate"},
		{"an unknown authority", secure, also(certificate(server, day), func(c *ConnectionConfig) { c.TLS.CA = penstock.NewSecret(stranger.Authority()) }), penstock.Unavailable, "not trusted"},
		{"an unknown authority, over WebSocket", secureWeb, also(certificate(server, day), func(c *ConnectionConfig) { c.TLS.CA = penstock.NewSecret(stranger.Authority()) }), penstock.Unavailable, "not trusted"},
		{"another name", secure, also(certificate(server, day), func(c *ConnectionConfig) { c.TLS.ServerName = "broker.example.com" }), penstock.Unavailable, "not trusted"},
		{"not verified", secure, also(certificate(server, day), func(c *ConnectionConfig) { c.TLS.Mode, c.TLS.CA = "require", penstock.Secret{} }), "", ""},
		{"no certificate in it", secure, also(certificate(server, day), func(c *ConnectionConfig) { c.TLS.CA = penstock.NewSecret("x") }), penstock.Config, "PEM"},
		{"in the open, where TLS is spoken", "mqtt://" + server.SecureAddress(), user("shop", "one"), penstock.Unavailable, "MQTT 5 on this port"},
		{"TLS, where none is spoken", "mqtts://" + server.Address(), certificate(server, day), penstock.Unavailable, "MQTT 5 on this port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := with(server.MosquittoServer, c.url, c.change)
			f.config.ConnectTimeout = penstock.Duration(5 * time.Second)
			topic := unique(t)
			s := f.source(t, topic, SourceConfig{Topics: topics(topic), QoS: 1}, once)
			w := f.sink(t, SinkConfig{Topic: text(topic), QoS: 1})
			if c.want != "" {
				drive.Code(t, s.Open(t.Context()), c.want, c.words)
				drive.Code(t, w.Open(t.Context()), c.want, c.words)
				return
			}
			drive.Opened(t, s)
			if err := drive.Opened(t, w).Write(t.Context(), conform.Batch("1", "2")); err != nil {
				t.Fatal(err)
			}
			if got := everything(t, s); !slices.Equal(got, []string{"1", "2"}) {
				t.Error(got)
			}
		})
	}
}

// TestTheBrokersCertificateExpires: that is what it says.
func TestTheBrokersCertificateExpires(t *testing.T) {
	t.Parallel()
	server := service.NewSecureMosquitto(t, map[string]string{"shop": "one"})
	own, key := server.Certificate(t, "shop", time.Now().Add(time.Hour))
	f := with(server.MosquittoServer, "mqtts://"+server.SecureAddress(), func(c *ConnectionConfig) {
		c.User, c.Password = text("shop"), penstock.NewSecret("one")
		c.TLS = TLS{CA: penstock.NewSecret(server.Authority()), Certificate: penstock.NewSecret(own), PrivateKey: penstock.NewSecret(key)}
	})
	topic := unique(t)
	s := drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic), QoS: 1}))
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: 1}))
	server.Certify(t, time.Now().Add(-time.Minute))
	server.Stop(t)
	server.Start(t)
	err := s.Read(t.Context(), new(penstock.Batch))
	if !errors.Is(err, penstock.ErrDisconnected) {
		t.Fatal(err)
	}
	drive.Code(t, s.Open(t.Context()), penstock.Unavailable, "has expired: renew it")
	drive.Code(t, drive.BatchErrors(t, w.Write(t.Context(), conform.Batch("1")))[0], penstock.Unavailable, "has expired: renew it")
	server.Certify(t, time.Now().Add(time.Hour)) // somebody has
	server.Stop(t)
	server.Start(t)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), conform.Batch("2")); err != nil {
		t.Fatal(err)
	}
	if got := conform.Text(t, drive.Some(t, s, 1)[0].Body); got != "2" {
		t.Error(got)
	}
}

// TestCredentialsAreRevoked in the middle of a run: the source ends with the reason, the sink's messages fail with it, and a password that was changed in the
// secret is used.
func TestCredentialsAreRevoked(t *testing.T) {
	t.Parallel()
	server := service.NewSecureMosquitto(t, map[string]string{"shop": "one"})
	f := with(server.MosquittoServer, "mqtt://"+server.Address(), func(c *ConnectionConfig) { c.User, c.Password = text("shop"), penstock.NewSecret("one") })
	topic := unique(t)
	s := drive.Opened(t, f.source(t, topic, SourceConfig{Topics: topics(topic), QoS: 1}))
	w := drive.Opened(t, f.sink(t, SinkConfig{Topic: text(topic), QoS: 1}))
	if err := w.Write(t.Context(), conform.Batch("1")); err != nil {
		t.Fatal(err)
	}
	ms := drive.Some(t, s, 1)
	server.Users(t, map[string]string{"shop": "two"})
	server.Reload(t)
	err := s.Read(t.Context(), new(penstock.Batch))
	if errors.Is(err, penstock.ErrDisconnected) {
		err = s.Open(t.Context())
	}
	drive.Code(t, err, penstock.Unauthenticated, "check user and password")
	if errors.Is(err, penstock.ErrDisconnected) {
		t.Error("it would be tried again for ever")
	}
	drive.Code(t, drive.BatchErrors(t, w.Write(t.Context(), conform.Batch("2")))[0], penstock.Unauthenticated, "check user and password")
	drive.Settle(t, s, ms...)
	f.config.Password = penstock.NewSecret("two")
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), conform.Batch("3")); err != nil {
		t.Fatal(err)
	}
	last := drive.Some(t, s, 1)
	if got := conform.Text(t, last[0].Body); got != "3" {
		t.Error(got)
	}
}
