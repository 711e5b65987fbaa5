package redis

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// TestUsers: who may do what, and what is said where somebody may not.
func TestUsers(t *testing.T) {
	t.Parallel()
	server := service.NewRedis(t, "user default on >secret ~* &* +@all", "user reader on >pw ~orders* &news* +@all -@dangerous -xadd")
	f := through(t, server.URL())
	f.c = client(t, rueidis.ClientOption{InitAddress: []string{server.Address()}, ForceSingleClient: true, Password: "secret"})
	as := func(user, password string) *fixture {
		g := through(t, server.URL())
		g.config.User = penstock.Template{Source: user}
		if password != "" {
			g.config.Password = penstock.NewSecret(password)
		}
		return g
	}
	open := func(g *fixture) error {
		s := g.source(t, SourceConfig{Stream: text("orders")})
		err := s.Open(t.Context())
		if cerr := s.Close(t.Context()); cerr != nil { // else it reads what comes
			t.Error(cerr)
		}
		return err
	}
	drive.Code(t, open(as("", "")), penstock.Unauthenticated, "password: { secret")
	drive.Code(t, open(as("", "wrong")), penstock.Unauthenticated, "WRONGPASS")
	drive.Code(t, open(as("nobody", "pw")), penstock.Unauthenticated, "WRONGPASS")
	if err := open(as("", "secret")); err != nil {
		t.Error(err)
	}
	reader := as("reader", "pw")
	if err := open(reader); err != nil {
		t.Error(err)
	}
	drive.Code(t, reader.source(t, SourceConfig{Stream: text("others")}).Open(t.Context()), penstock.Forbidden, "NOPERM", "ACL SETUSER")
	drive.Code(t, reader.source(t, SourceConfig{Channels: []penstock.Template{text("gossip")}}).Open(t.Context()), penstock.Forbidden, "NOPERM")
	errs := failures(t, drive.Opened(t, reader.sink(t, SinkConfig{Stream: text("orders")})).Write(t.Context(), drive.Batch("x", 0, "1")))
	drive.Code(t, errs[0], penstock.Forbidden, "NOPERM")

	// A password that changes is read again for the next connection; one that is revoked ends the reading, and says so.
	values := penstock.NewSecretValues()
	values.Replace(map[string]string{"redis": "pw"})
	g := as("reader", "")
	g.config.Password = penstock.NewSecret("pw")
	g.config.Password.Bind(values, "redis")
	s := drive.Opened(t, g.source(t, SourceConfig{Stream: text("orders")}))
	f.send(t, "orders", `{"n":0}`)
	drive.Compare(t, drive.Bodies(drive.Read(t, s, 1)), drive.Numbered(0, 1)) // it is connected
	// Both passwords are good while it changes: a connection may be made at any time.
	f.do(t, "ACL", "SETUSER", "reader", ">new")
	values.Replace(map[string]string{"redis": "new"})
	f.do(t, "ACL", "SETUSER", "reader", "<pw")
	f.do(t, "CLIENT", "KILL", "USER", "reader")
	f.send(t, "orders", `{"n":1}`)
	drive.Compare(t, drive.Bodies(drive.Read(t, s, 1)), drive.Numbered(1, 2))
	f.do(t, "ACL", "SETUSER", "reader", ">newer", "<new")
	f.do(t, "CLIENT", "KILL", "USER", "reader")
	var err error
	for range 50 { // the connection that is gone is noticed first
		if err = s.Read(t.Context(), new(penstock.Batch)); !errors.Is(err, penstock.ErrDisconnected) {
			break
		}
		if err = s.Open(t.Context()); !errors.Is(err, penstock.ErrDisconnected) && err != nil {
			break
		}
	}
	drive.Code(t, err, penstock.Unauthenticated, "WRONGPASS", "ACL LIST")
}

// TestTLS: certificates of both sides, one that has expired, and one that nobody trusts.
func TestTLS(t *testing.T) {
	t.Parallel()
	authority := service.NewRedisAuthority(t)
	server := service.NewRedis(t, authority.Settings(t, time.Now().Add(time.Hour))...)
	url := strings.Replace(server.URL(), "redis://", "rediss://", 1)
	secure := func(t2 TLS) *fixture {
		f := through(t, url)
		f.config.TLS = &t2
		return f
	}
	certificate, key := authority.Certificate(t, "client", time.Now().Add(time.Hour))
	ours := TLS{CA: penstock.NewSecret(authority.PEM()), Certificate: penstock.NewSecret(certificate), PrivateKey: penstock.NewSecret(key)}
	f := secure(ours)
	if err := drive.Opened(t, f.sink(t, SinkConfig{Stream: text("s")})).Write(t.Context(), drive.Batch("x", 0, "1")); err != nil {
		t.Fatal(err)
	}
	drive.Compare(t, drive.Bodies(drive.Read(t, drive.Opened(t, f.source(t, SourceConfig{Stream: text("s")})), 1)), []string{"1"})
	open := func(f *fixture) error { return f.sink(t, SinkConfig{Stream: text("s")}).Open(t.Context()) }

	without := ours
	without.CA = penstock.Secret{}
	drive.Code(t, open(secure(without)), penstock.Config, "not trusted", "tls: { ca }")
	named := ours
	named.ServerName = "redis.example.com"
	drive.Code(t, open(secure(named)), penstock.Config, "not trusted")
	trusting := without
	trusting.Insecure = true
	if err := open(secure(trusting)); err != nil {
		t.Error(err)
	}
	drive.Code(t, open(secure(TLS{CA: ours.CA})), penstock.Unauthenticated, "our certificate")
	certificate, key = authority.Certificate(t, "client", time.Now().Add(-time.Hour))
	drive.Code(t, open(secure(TLS{CA: ours.CA, Certificate: penstock.NewSecret(certificate), PrivateKey: penstock.NewSecret(key)})), penstock.Unauthenticated, "our certificate")
	bad := ours
	bad.PrivateKey = penstock.NewSecret("nonsense")
	drive.Code(t, open(secure(bad)), penstock.Config, "tls.privateKey")
	bad = ours
	bad.CA = penstock.NewSecret("nonsense")
	drive.Code(t, open(secure(bad)), penstock.Config, "tls.ca")

	expired := service.NewRedis(t, authority.Settings(t, time.Now().Add(-time.Minute))...)
	url = strings.Replace(expired.URL(), "redis://", "rediss://", 1)
	drive.Code(t, open(secure(ours)), penstock.Config, "expired")
	plain := service.Redis(t)
	url = strings.Replace(plain.URL(), "redis://", "rediss://", 1)
	f = secure(ours)
	f.config.ConnectTimeout = penstock.Duration(200 * time.Millisecond)
	if err := open(f); err == nil || penstock.CodeOf(err) == penstock.Internal {
		t.Error(err)
	}
}

// TestCluster: what is said of different keys goes to the nodes that have them.
func TestCluster(t *testing.T) {
	t.Parallel()
	server := service.NewRedis(t, "cluster-enabled yes")
	f := on(t, server)
	f.do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	drive.Until(t, "the cluster is there", func() bool {
		m := f.do(t, "CLUSTER", "INFO")
		text, err := m.ToString()
		return err == nil && strings.Contains(text, "cluster_state:ok")
	})
	f.config.URL, f.config.Addresses, f.config.Cluster = penstock.Template{}, []penstock.Template{{Source: server.Address()}}, true
	if errs := f.config.Validate(); errs != nil {
		t.Fatal(errs)
	}
	out := drive.Opened(t, f.sink(t, SinkConfig{Stream: drive.Template("s:${body.n}")}))
	if err := out.Write(t.Context(), drive.Batch("x", 0, drive.Numbered(0, 50)...)); err != nil {
		t.Fatal(err)
	}
	drive.Compare(t, drive.Bodies(drive.Read(t, drive.Opened(t, f.source(t, SourceConfig{Stream: text("s:7")})), 1)), drive.Numbered(7, 8))
	if err := drive.Opened(t, f.sink(t, SinkConfig{List: text("l")})).Write(t.Context(), drive.Batch("x", 0, drive.Numbered(0, 5)...)); err != nil {
		t.Fatal(err)
	}
	first := start(t, f.source(t, SourceConfig{List: text("l")}))
	all := drive.Read(t, first, 5)
	drive.SettleAll(t, first, all[:2]...)
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := drive.Opened(t, f.source(t, SourceConfig{List: text("l")}))
	all = drive.Read(t, second, 3)
	drive.Compare(t, drive.Bodies(all), drive.Numbered(2, 5))
	drive.SettleAll(t, second, all...)
	heard := drive.Opened(t, f.source(t, SourceConfig{Channels: []penstock.Template{text("c")}}))
	if err := drive.Opened(t, f.sink(t, SinkConfig{Channel: text("c")})).Write(t.Context(), drive.Batch("x", 0, "1")); err != nil {
		t.Fatal(err)
	}
	drive.Compare(t, drive.Bodies(drive.Read(t, heard, 1)), []string{"1"})
	many := drive.Opened(t, f.caller(t, CallConfig{GetMany: []penstock.Template{text("a"), text("b"), text("c")}}))
	f.do(t, "SET", "b", "2")
	if have, err := call(many, `{}`); err != nil || have != "[null,2,null]" {
		t.Error(have, err)
	}
	count := drive.Opened(t, f.caller(t, CallConfig{Increment: drive.Template("n:${body.k}"), TTL: penstock.Duration(time.Minute)}))
	if have, err := call(count, `{"k":"a"}`); err != nil || have != `{"value":1}` {
		t.Error(have, err)
	}
	zadd := drive.Opened(t, f.caller(t, CallConfig{Command: []penstock.Template{text("ZADD"), text("z"), text("1"), text("a")}}))
	if have, err := call(zadd, `{}`); err != nil || have != `1` {
		t.Error(have, err)
	}
}

// TestSentinel: the master is the one that the sentinels know; when it fails, the one that they choose.
func TestSentinel(t *testing.T) {
	t.Parallel()
	main := service.NewRedis(t, "repl-diskless-sync-delay 0")
	_, port, _ := strings.Cut(main.Address(), ":")
	replica := service.NewRedis(t, "replicaof 127.0.0.1 "+port)
	watch := service.NewRedisSentinel(t, main)
	f := through(t, "")
	f.config.URL, f.config.Addresses, f.config.Sentinel = penstock.Template{}, []penstock.Template{{Source: watch.Address()}}, &Sentinel{Master: "main"}
	f.config.ReplyTimeout, f.config.ConnectTimeout = penstock.Duration(time.Second), penstock.Duration(time.Second)
	if errs := f.config.Validate(); errs != nil {
		t.Fatal(errs)
	}
	out := drive.Opened(t, f.sink(t, SinkConfig{Stream: text("s"), Wait: &Wait{Replicas: 1, Timeout: penstock.Duration(time.Second)}}))
	in := drive.Opened(t, f.source(t, SourceConfig{Stream: text("s")}))
	drive.Until(t, "both have it", func() bool { return out.Write(context.Background(), drive.Batch("x", 0, `"a"`)) == nil })
	drive.SettleAll(t, in, drive.Read(t, in, 1)...)
	last := drive.Opened(t, f.sink(t, SinkConfig{Stream: text("s")}))
	f.c = client(t, rueidis.ClientOption{InitAddress: []string{watch.Address()}, ForceSingleClient: true})
	drive.Until(t, "the sentinel knows the replica", func() bool {
		m := f.do(t, "SENTINEL", "REPLICAS", "main")
		all, err := m.ToArray()
		return err == nil && len(all) == 1
	})
	drive.Until(t, "it begins to change them", func() bool {
		return f.c.Do(context.Background(), f.c.B().Arbitrary("SENTINEL", "FAILOVER", "main").Build()).Error() == nil
	})
	other := on(t, replica)
	drive.Until(t, "the other is the master", func() bool {
		all, err := other.c.Do(context.Background(), other.c.B().Role().Build()).ToArray() // its connections are broken meanwhile
		if err != nil || len(all) == 0 {
			return false
		}
		role, err := all[0].ToString()
		return err == nil && role == "master"
	})
	main.Kill(t)
	drive.Until(t, "it is written to", func() bool { return last.Write(context.Background(), drive.Batch("x", 1, `"b"`)) == nil })
	for have := ""; have != `"b"`; {
		have = drive.Read(t, in, 1)[0].Body
	}
	if n := len(on(t, replica).written(t, "s")); n < 2 {
		t.Error(n)
	}
}

func TestConnectionIsRefused(t *testing.T) {
	pw := penstock.NewSecret("pw")
	at := []penstock.Template{{Source: "a:1"}}
	for what, c := range map[string]struct {
		config ConnectionConfig
		words  string
	}{
		"nothing":   {ConnectionConfig{}, "say where the server is"},
		"both":      {ConnectionConfig{URL: text("redis://a"), Addresses: at}, "one of them"},
		"scheme":    {ConnectionConfig{URL: text("http://a")}, "begins with redis://"},
		"password":  {ConnectionConfig{URL: text("redis://u:hush@a")}, "password: { secret: … }"},
		"no host":   {ConnectionConfig{URL: text("redis:///2")}, "has no host"},
		"database":  {ConnectionConfig{URL: text("redis://a/x")}, "no number of a database"},
		"databases": {ConnectionConfig{URL: text("redis://a/2"), DB: 3}, "says database 2"},
		"cluster":   {ConnectionConfig{Addresses: at, Cluster: true, DB: 3}, "only database 0"},
		"several":   {ConnectionConfig{Addresses: append(at, at...)}, "cluster: true"},
		"address":   {ConnectionConfig{Addresses: []penstock.Template{{Source: "redis://a:1"}}, Cluster: true}, "host:6379"},
		"port":      {ConnectionConfig{Addresses: []penstock.Template{{Source: "a:x"}}, Cluster: true}, "has no port"},
		"sentinel":  {ConnectionConfig{URL: text("redis://a"), Sentinel: &Sentinel{Master: "m"}}, "needs the `addresses`"},
		"user":      {ConnectionConfig{URL: text("redis://a"), User: text("u")}, "needs `password"},
		"tls":       {ConnectionConfig{URL: text("redis://a"), TLS: &TLS{}}, "rediss://"},
		"pair":      {ConnectionConfig{URL: text("rediss://a"), TLS: &TLS{PrivateKey: pw}}, "belong together"},
		"insecure":  {ConnectionConfig{URL: text("rediss://a"), TLS: &TLS{CA: pw, Insecure: true}}, "ca means nothing"},
	} {
		t.Run(what, func(t *testing.T) {
			errs := c.config.Validate()
			if len(errs) == 0 || !strings.Contains(errs[0].Error(), c.words) || strings.Contains(errs[0].Error(), "hush") {
				t.Errorf("%v, want %q", errs, c.words)
			}
		})
	}
	for _, ok := range []ConnectionConfig{{URL: text("redis://a")}, {URL: text("rediss://[::1]:7000/3"), TLS: &TLS{}}, {Addresses: []penstock.Template{{Source: "a"}, {Source: "[::1]:5"}}, Cluster: true, Password: pw}} {
		if errs := ok.Validate(); errs != nil {
			t.Error(errs)
		}
	}
}
