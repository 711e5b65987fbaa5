package nats

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// tryout opens a source of a subject, which is enough to log in.
func tryout(t testing.TB, f *fixture) error {
	t.Helper()
	s := f.source(t, SourceConfig{Subject: penstock.Template{Source: "hello"}})
	err := s.Open(t.Context())
	_ = s.Close(t.Context())
	f.drop()
	return err
}

func key(t testing.TB, make func() (nkeys.KeyPair, error)) (pair nkeys.KeyPair, public, seed string) {
	t.Helper()
	pair, err := make()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	s, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public, string(s)
}

func TestPasswords(t *testing.T) {
	server := service.NewNATS(t, service.NATSOptions{Config: `authorization: {users: [{user: shop, password: correct-horse}]}`})
	f := through(t, server.URL())
	f.config.User, f.config.Password = drive.Template("shop"), penstock.NewSecret("correct-horse")
	if err := tryout(t, f); err != nil {
		t.Error(err)
	}
	f.config.Password = penstock.NewSecret("battery-staple")
	err := tryout(t, f)
	drive.Code(t, err, penstock.Unauthenticated, "check `user` and `password`")
	if strings.Contains(fmt.Sprint(err), "battery-staple") {
		t.Error("the password is in the error: ", err)
	}
	f.config.User, f.config.Password = penstock.Template{}, penstock.Secret{}
	drive.Code(t, tryout(t, f), penstock.Unauthenticated)
}

func TestTokens(t *testing.T) {
	server := service.NewNATS(t, service.NATSOptions{Config: `authorization: {token: correct-horse}`})
	f := through(t, server.URL())
	f.config.Token = penstock.NewSecret("correct-horse")
	if err := tryout(t, f); err != nil {
		t.Error(err)
	}
	f.config.Token = penstock.NewSecret("battery-staple")
	drive.Code(t, tryout(t, f), penstock.Unauthenticated)
}

func TestNKeys(t *testing.T) {
	_, public, seed := key(t, nkeys.CreateUser)
	_, _, other := key(t, nkeys.CreateUser)
	_, _, account := key(t, nkeys.CreateAccount)
	server := service.NewNATS(t, service.NATSOptions{Config: `authorization: {users: [{nkey: ` + public + `}]}`})
	f := through(t, server.URL())
	for _, c := range []struct {
		seed string
		code penstock.Code
		says string
	}{{seed + "\n", "", ""}, {other, penstock.Unauthenticated, ""}, {account, penstock.Config, "SU"}, {"nonsense", penstock.Config, "no seed"}} {
		f.config.NKey = penstock.NewSecret(c.seed)
		drive.Code(t, tryout(t, f), c.code, c.says)
	}
}

// operated is a server in operator mode, with an account whose users are made with their JWTs.
type operated struct {
	server        *service.NATSServer
	operator      nkeys.KeyPair
	account       nkeys.KeyPair
	accountPublic string
	claims        *jwt.AccountClaims
	system        string
	systemJWT     string
	operatorJWT   string
}

func newOperated(t testing.TB) *operated {
	t.Helper()
	o := &operated{}
	var public string
	o.operator, public, _ = key(t, nkeys.CreateOperator)
	oc := jwt.NewOperatorClaims(public)
	oc.Name = "tests"
	o.account, o.accountPublic, _ = key(t, nkeys.CreateAccount)
	_, o.system, _ = key(t, nkeys.CreateAccount)
	oc.SystemAccount = o.system
	var err error
	if o.operatorJWT, err = oc.Encode(o.operator); err != nil {
		t.Fatal(err)
	}
	sys := jwt.NewAccountClaims(o.system)
	sys.Name = "SYS"
	if o.systemJWT, err = sys.Encode(o.operator); err != nil {
		t.Fatal(err)
	}
	o.claims = jwt.NewAccountClaims(o.accountPublic)
	o.claims.Name = "shop"
	o.claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	o.server = service.NewNATS(t, service.NATSOptions{Config: o.config(t)})
	return o
}

// config is the server's, as the account is now.
func (o *operated) config(t testing.TB) string {
	t.Helper()
	account, err := o.claims.Encode(o.operator)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {%s: %s, %s: %s}\n", o.operatorJWT, o.system, o.system, o.systemJWT, o.accountPublic, account)
}

// user makes credentials.
func (o *operated) user(t testing.TB, valid time.Duration) (creds, public string) {
	t.Helper()
	_, public, seed := key(t, nkeys.CreateUser)
	uc := jwt.NewUserClaims(public)
	uc.Name = "penstock"
	if valid != 0 {
		uc.Expires = time.Now().Add(valid).Unix()
	}
	token, err := uc.Encode(o.account)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(token, []byte(seed))
	if err != nil {
		t.Fatal(err)
	}
	return string(text), public
}

func TestCredentials(t *testing.T) {
	o := newOperated(t)
	good, _ := o.user(t, 0)
	old, _ := o.user(t, -time.Hour)
	_, _, stranger := key(t, nkeys.CreateUser)
	f := through(t, o.server.URL())
	for what, c := range map[string]struct {
		creds string
		code  penstock.Code
		says  string
	}{
		"good": {good, "", ""}, "expired": {old, penstock.Unauthenticated, ""}, "nonsense": {"nonsense", penstock.Config, ".creds"},
		"another's key": {good[:strings.Index(good, "-----BEGIN USER NKEY")] + "-----BEGIN USER NKEY SEED-----\n" + stranger + "\n------END USER NKEY SEED------\n", penstock.Unauthenticated, ""},
	} {
		t.Run(what, func(t *testing.T) {
			f.config.Credentials = penstock.NewSecret(c.creds)
			drive.Code(t, tryout(t, f), c.code, c.says)
		})
	}
}

// TestCredentialsAreRevoked: a flow whose user is not wanted any more ends, and says why; one whose credentials are renewed in time goes on.
func TestCredentialsAreRevoked(t *testing.T) {
	t.Parallel()
	o := newOperated(t)
	creds, public := o.user(t, 0)
	values := penstock.NewSecretValues()
	values.Replace(map[string]string{"creds": creds})
	f := through(t, o.server.URL())
	f.config.Credentials = penstock.EmptySecret()
	f.config.Credentials.Bind(values, "creds")
	beside := on(t, o.server, nats.UserJWTAndSeed(split(t, creds)))
	stream := beside.stream(t, memory)
	s := drive.Opened(t, f.source(t, SourceConfig{Stream: stream}))
	out := drive.Opened(t, f.sink(t, SinkConfig{Stream: stream, Subject: drive.Template(stream + ".a")}))
	if err := out.Write(t.Context(), drive.Batch("x", 0, `1`)); err != nil {
		t.Fatal(err)
	}
	drive.Read(t, s, 1)

	next, nextPublic := o.user(t, 0)
	values.Replace(map[string]string{"creds": next})
	o.claims.Revoke(public)
	o.server.Configure(t, o.config(t))
	o.server.Reload(t)
	drive.Until(t, "the old user is out", func() bool { return !beside.nc.IsConnected() })
	drive.Until(t, "it writes as the new user", func() bool { return out.Write(t.Context(), drive.Batch("x", 1, `2`)) == nil })
	if got := drive.Read(t, s, 1); got[0].Body != "2" {
		t.Errorf("%+v", got)
	}

	o.claims.Revoke(nextPublic)
	o.server.Configure(t, o.config(t))
	o.server.Reload(t)
	var b penstock.Batch
	err := s.Read(t.Context(), &b)
	drive.Code(t, err, penstock.Unauthenticated, "credentials")
	drive.Code(t, out.Write(t.Context(), drive.Batch("x", 2, `3`)), penstock.Unauthenticated)
	drive.Code(t, s.Open(t.Context()), penstock.Unauthenticated)
}

func split(t testing.TB, creds string) (token, seed string) {
	t.Helper()
	token, err := nkeys.ParseDecoratedJWT([]byte(creds))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.ParseDecoratedUserNKey([]byte(creds))
	if err != nil {
		t.Fatal(err)
	}
	s, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return token, string(s)
}

// TestPermissions: what the server does not let us do is an error at once, and not one of time.
func TestPermissions(t *testing.T) {
	server := service.NewNATS(t, service.NATSOptions{Config: `authorization: {users: [
		{user: all, password: secret-all},
		{user: some, password: secret-some, permissions: {publish: ["free.>", "$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.>", "$JS.ACK.>"], subscribe: ["_INBOX.>", "free.>"]}}]}`})
	beside := on(t, server, nats.UserInfo("all", "secret-all"))
	beside.stream(t, jetstream.StreamConfig{Name: "S", Subjects: []string{"free.>", "closed.>"}, Storage: jetstream.MemoryStorage})
	f := through(t, server.URL())
	f.config.User, f.config.Password = drive.Template("some"), penstock.NewSecret("secret-some")
	for _, c := range []SinkConfig{{Stream: "S"}, {}} {
		c.Subject = drive.Template("${body.to}")
		s := drive.Opened(t, f.sink(t, c))
		errs := failures(t, s.Write(t.Context(), drive.Batch("x", 0, `{"to":"free.1"}`, `{"to":"closed.1"}`, `{"to":"free.2"}`)))
		drive.Code(t, errs[1], penstock.Forbidden, "permission")
		if len(errs) != 1 {
			t.Error(errs)
		}
		if err := s.Write(t.Context(), drive.Batch("x", 5, `{"to":"free.3"}`)); err != nil {
			t.Error(err)
		}
	}
	s := drive.Opened(t, f.source(t, SourceConfig{Subject: penstock.Template{Source: "closed.>"}}))
	var b penstock.Batch
	drive.Code(t, s.Read(t.Context(), &b), penstock.Forbidden, "permission")
	in := drive.Opened(t, f.source(t, SourceConfig{Stream: "S"}))
	drive.Read(t, in, 3)
}

// with gives a fixture TLS.
func (f *fixture) with(tls TLS) *fixture {
	f.config.TLS = &tls
	f.config.ConnectTimeout = penstock.Duration(5 * time.Second)
	return f
}

func TestTLS(t *testing.T) {
	server := service.NewNATS(t, service.NATSOptions{TLS: true})
	other := service.NewNATS(t, service.NATSOptions{TLS: true})
	plain := service.NATS(t)
	ca, wrong := penstock.NewSecret(string(server.Authority())), penstock.NewSecret(string(other.Authority()))
	for what, c := range map[string]struct {
		url  string
		tls  *TLS
		code penstock.Code
		says string
	}{
		"trusted":             {server.URL(), &TLS{CA: ca}, "", ""},
		"by its URL":          {strings.Replace(server.URL(), "nats:", "tls:", 1), &TLS{CA: ca}, "", ""},
		"not trusted":         {server.URL(), &TLS{}, penstock.Config, "tls: { ca }"},
		"of another":          {server.URL(), &TLS{CA: wrong}, penstock.Config, "tls: { ca }"},
		"of another name":     {server.URL(), &TLS{CA: ca, ServerName: "elsewhere"}, penstock.Config, "serverName"},
		"of the name":         {server.URL(), &TLS{CA: ca, ServerName: "localhost"}, "", ""},
		"never mind":          {server.URL(), &TLS{Insecure: true}, "", ""},
		"no certificate":      {server.URL(), &TLS{CA: penstock.NewSecret("nonsense")}, penstock.Config, "no certificate"},
		"the server has none": {plain.URL(), &TLS{CA: ca}, penstock.Config, "leave `tls` out"},
		"forgotten":           {server.URL(), nil, penstock.Config, ""},
	} {
		t.Run(what, func(t *testing.T) {
			f := through(t, c.url)
			if c.tls != nil {
				f.with(*c.tls)
			}
			drive.Code(t, tryout(t, f), c.code, c.says)
		})
	}
}

func TestMutualTLS(t *testing.T) {
	server := service.NewNATS(t, service.NATSOptions{TLS: true, Verify: true})
	ca := penstock.NewSecret(string(server.Authority()))
	certificate, key := server.CertificateOf(t, "penstock", time.Now().Add(time.Hour))
	old, oldKey := server.CertificateOf(t, "penstock", time.Now().Add(-time.Hour))
	for what, c := range map[string]struct {
		certificate, key []byte
		code             penstock.Code
		says             string
	}{
		"fine":       {certificate, key, "", ""},
		"none":       {nil, nil, penstock.Unauthenticated, "certificate"},
		"expired":    {old, oldKey, penstock.Unauthenticated, "certificate"},
		"mismatched": {certificate, oldKey, penstock.Config, "privateKey"},
	} {
		t.Run(what, func(t *testing.T) {
			tls := TLS{CA: ca}
			if c.certificate != nil {
				tls.Certificate, tls.PrivateKey = penstock.NewSecret(string(c.certificate)), penstock.NewSecret(string(c.key))
			}
			drive.Code(t, tryout(t, through(t, server.URL()).with(tls)), c.code, c.says)
		})
	}
}

// TestServersCertificateExpires: a flow that is running waits for a new one, and says what is wrong; one that begins does not begin.
func TestServersCertificateExpires(t *testing.T) {
	t.Parallel()
	server := service.NewNATS(t, service.NATSOptions{TLS: true})
	ca := penstock.NewSecret(string(server.Authority()))
	f := through(t, server.URL()).with(TLS{CA: ca})
	s := drive.Opened(t, f.sink(t, SinkConfig{Subject: drive.Template("a"), AckTimeout: penstock.Duration(300 * time.Millisecond)}))
	if err := s.Write(t.Context(), drive.Batch("x", 0, `1`)); err != nil {
		t.Fatal(err)
	}
	good, goodKey := server.CertificateOf(t, "localhost", time.Now().Add(time.Hour))
	bad, badKey := server.CertificateOf(t, "localhost", time.Now().Add(-time.Hour))
	put := func(certificate, key []byte) {
		server.WriteFile(t, "cert.pem", certificate)
		server.WriteFile(t, "key.pem", key)
		server.Kill(t)
		server.Start(t)
	}
	put(bad, badKey)
	drive.Code(t, s.Write(t.Context(), drive.Batch("x", 1, `2`)), penstock.Unavailable)
	drive.Code(t, tryout(t, through(t, server.URL()).with(TLS{CA: ca})), penstock.Config, "expired")
	put(good, goodKey)
	drive.Until(t, "it goes on", func() bool { return s.Write(t.Context(), drive.Batch("x", 1, `2`)) == nil })
}

func TestNoServer(t *testing.T) {
	f := through(t, "nats://127.0.0.1:1")
	drive.Code(t, tryout(t, f), penstock.Unavailable, "see that a server runs")
}
