package rabbitmq

import (
	"errors"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func TestConnectionConfigIsChecked(t *testing.T) {
	secret := penstock.NewSecret("geheim")
	for _, c := range []struct {
		config ConnectionConfig
		want   []string
	}{
		{ConnectionConfig{}, nil},
		{ConnectionConfig{URL: text("amqps://mq.example.com/shop"), User: text("u"), Password: secret}, nil},
		{ConnectionConfig{Hosts: []penstock.Template{text("a"), text("b:5673"), text("[::1]:5672"), text("${params.c}")}, Vhost: text("shop")}, nil},
		{ConnectionConfig{URL: text("amqp://a"), Hosts: []penstock.Template{text("a")}}, []string{"say the same"}},
		{ConnectionConfig{URL: text("http://a")}, []string{"begins with amqp://"}},
		{ConnectionConfig{URL: text("amqp://u:geheim@a")}, []string{"holds a user"}},
		{ConnectionConfig{URL: text("amqp://a?heartbeat=5")}, []string{"holds a query"}},
		{ConnectionConfig{URL: text("amqp://a/b/c")}, []string{"one segment"}},
		{ConnectionConfig{URL: text("amqp://")}, []string{"empty"}},
		{ConnectionConfig{Hosts: []penstock.Template{text("amqp://a")}}, []string{"is no host"}},
		{ConnectionConfig{User: text("u")}, []string{"no `password"}},
		{ConnectionConfig{Auth: "external", User: text("u")}, []string{"with a certificate", "leave user and password out"}},
		{ConnectionConfig{TLS: TLS{Certificate: secret}}, []string{"belong together"}},
		{ConnectionConfig{URL: text("amqps://a"), TLS: TLS{Mode: "disable"}}, []string{"contradicts"}},
	} {
		errs := c.config.Validate()
		ok := len(errs) == len(c.want)
		for i := range min(len(errs), len(c.want)) {
			ok = ok && strings.Contains(errs[i].Error(), c.want[i]) && !strings.Contains(errs[i].Error(), "geheim")
		}
		if !ok {
			t.Errorf("%+v: %v, want %q", c.config, errs, c.want)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{"amqp://a", "amqps://a:1/x", "amqp://[::1]", "amqp://a/%2F", "amqp://u:p@a", "a", "amqp://a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseURL(s)
		if err == nil && (p.host == "" || !strings.Contains(p.host, ":")) {
			t.Errorf("%q: the host is %q", s, p.host)
		}
	})
}

func TestWhereItConnects(t *testing.T) {
	env, _ := drive.Env(t, "flow/step")
	for _, c := range []struct {
		config ConnectionConfig
		want   string
	}{
		{ConnectionConfig{}, "localhost:5672 / false"},
		{ConnectionConfig{URL: text("amqps://mq")}, "mq:5671 / true"},
		{ConnectionConfig{URL: text("amqp://mq/shop%2Fone")}, "mq:5672 shop/one false"},
		{ConnectionConfig{URL: text("amqp://mq/shop"), Vhost: text("other")}, "mq:5672 other false"},
		{ConnectionConfig{Hosts: []penstock.Template{text("a"), text("b:1"), text("::1")}}, "a:5672,b:1,[::1]:5672 / false"},
		{ConnectionConfig{Hosts: []penstock.Template{text("a")}, TLS: TLS{Mode: "verify"}}, "a:5671 / true"},
	} {
		l, err := newLink(&c.config, "test", env)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(l.hosts, ",") + " " + l.vhost
		if l.secure {
			got += " true"
		} else {
			got += " false"
		}
		if got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// connects opens a connection, and says why not.
func connects(t *testing.T, c *ConnectionConfig) error {
	t.Helper()
	c.Heartbeat, c.ConnectTimeout = penstock.Duration(10*time.Second), penstock.Duration(10*time.Second)
	env, _ := drive.Env(t, "flow/step")
	l, err := newLink(c, "test", env)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := l.channel(t.Context(), consuming)
	if err == nil {
		err = errors.Join(ch.Close(), l.Close())
	}
	return err
}

// TestLoggingIn: passwords that change while it runs, certificates, users that are taken away, and TLS.
func TestLoggingIn(t *testing.T) {
	t.Parallel()
	server := service.NewSecureRabbitMQ(t, map[string]string{"shop": "one", "client": "never used", "weak": "weak"})
	ca := penstock.NewSecret(server.Authority())
	certificate, key := server.Certificate(t, "client", time.Now().Add(time.Hour))
	stranger, strangerKey := server.Certificate(t, "stranger", time.Now().Add(time.Hour))
	old, oldKey := server.Certificate(t, "client", time.Now().Add(-time.Hour))
	own := func(c, k string) TLS {
		return TLS{CA: ca, Certificate: penstock.NewSecret(c), PrivateKey: penstock.NewSecret(k)}
	}
	plain, secure := text("amqp://"+server.Address()), text("amqps://"+server.SecureAddress())
	one := penstock.NewSecret("one")
	for _, c := range []struct {
		name   string
		config ConnectionConfig
		want   penstock.Code
		words  string
	}{
		{"guest", ConnectionConfig{URL: plain}, "", ""},
		{"a password", ConnectionConfig{URL: plain, User: text("shop"), Password: one}, "", ""},
		{"a wrong password", ConnectionConfig{URL: plain, User: text("shop"), Password: penstock.NewSecret("two")}, penstock.Unauthenticated, "check user and password"},
		{"nobody", ConnectionConfig{URL: plain, User: text("nobody"), Password: one}, penstock.Unauthenticated, "check user and password"},
		{"another virtual host", ConnectionConfig{URL: plain, Vhost: text("none")}, penstock.Forbidden, "check the virtual host"},
		{"TLS", ConnectionConfig{URL: secure, TLS: TLS{CA: ca}}, "", ""},
		{"an unknown authority", ConnectionConfig{URL: secure}, penstock.Unavailable, "not trusted"},
		{"another name", ConnectionConfig{URL: secure, TLS: TLS{CA: ca, ServerName: "mq.example.com"}}, penstock.Unavailable, "serverName"},
		{"not verified", ConnectionConfig{URL: secure, TLS: TLS{Mode: "require"}}, "", ""},
		{"a certificate", ConnectionConfig{URL: secure, Auth: "external", TLS: own(certificate, key)}, "", ""},
		{"a stranger's certificate", ConnectionConfig{URL: secure, Auth: "external", TLS: own(stranger, strangerKey)}, penstock.Unauthenticated, "the name in the certificate"},
		{"a certificate that has expired", ConnectionConfig{URL: secure, Auth: "external", TLS: own(old, oldKey)}, penstock.Unavailable, "tls: { certificate"},
		{"in the open, where TLS is spoken", ConnectionConfig{URL: text("amqp://" + server.SecureAddress())}, penstock.Unavailable, "whether it wants TLS"},
		{"TLS, where none is spoken", ConnectionConfig{URL: text("amqps://" + server.Address()), TLS: TLS{CA: ca}}, penstock.Unavailable, "TLS"},
		{"nobody there", ConnectionConfig{URL: text("amqp://127.0.0.1:1")}, penstock.Unavailable, "see that the server runs"},
		{"one of two is there", ConnectionConfig{Hosts: []penstock.Template{text("127.0.0.1:1"), text(server.Address())}}, "", ""},
		{"no certificate in it", ConnectionConfig{URL: secure, TLS: TLS{CA: penstock.NewSecret("x")}}, penstock.Config, "PEM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := connects(t, &c.config)
			drive.Code(t, err, c.want, c.words)
			if err != nil && strings.Contains(err.Error(), "one") && strings.Contains(err.Error(), "\"one\"") {
				t.Error("the error holds the password: ", err)
			}
		})
	}

	t.Run("a user that may neither read nor write", func(t *testing.T) {
		f := on(t, server, server.Address())
		q := f.declare(t, typeClassic, nil)
		weak := on(t, server, server.Address())
		weak.config.User, weak.config.Password, weak.config.Patience = text("weak"), penstock.NewSecret("weak"), 1
		drive.Code(t, weak.source(t, q, SourceConfig{}).Open(t.Context()), penstock.Forbidden, "set_permissions")
		out := weak.sink(t, SinkConfig{Queue: text(q)})
		if err := out.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		drive.Code(t, drive.BatchErrors(t, out.Write(t.Context(), conform.Batch("1", "2")))[1], penstock.Forbidden, "set_permissions")
		drive.Closed(t, out)
	})

	// What changes while it runs.
	proxy := service.NewProxy(t, server.Address())
	f := on(t, server, address(proxy))
	values := penstock.NewSecretValues()
	values.Replace(map[string]string{"password": "one"})
	f.config.User, f.config.Password, f.config.Patience = text("shop"), penstock.EmptySecret(), 1
	f.config.Password.Bind(values, "password")
	q := f.declare(t, typeClassic, nil)
	in, out := drive.Opened(t, f.source(t, q, SourceConfig{})), drive.Opened(t, f.sink(t, SinkConfig{Queue: text(q)}))
	server.Control(t, "change_password", "shop", "two")
	if err := out.Write(t.Context(), conform.Batch("1")); err != nil {
		t.Error("a connection that is open goes on: ", err)
	}
	proxy.Cut()
	drive.Code(t, drive.BatchErrors(t, out.Write(t.Context(), conform.Batch("2")))[0], penstock.Unauthenticated, "check user and password")
	if err := in.Read(t.Context(), new(penstock.Batch)); err == nil || errors.Is(err, penstock.ErrDisconnected) {
		err = in.Open(t.Context())
		drive.Code(t, err, penstock.Unauthenticated, "check user and password")
		if errors.Is(err, penstock.ErrDisconnected) {
			t.Error("the flow would try for ever: ", err)
		}
	}
	values.Replace(map[string]string{"password": "two"})
	if err := errors.Join(in.Open(t.Context()), out.Write(t.Context(), conform.Batch("3"))); err != nil {
		t.Error("the password was changed, and is not used: ", err)
	}
	drive.Some(t, in, 1)

	server.Certify(t, time.Now().Add(-time.Minute))
	drive.Code(t, connects(t, &ConnectionConfig{URL: secure, TLS: TLS{CA: ca}}), penstock.Unavailable, "has expired")

	server.Control(t, "delete_user", "shop") // which ends its connections
	err := out.Write(t.Context(), conform.Batch("4"))
	drive.Code(t, drive.BatchErrors(t, err)[0], penstock.Unauthenticated)
}
