package sql

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

func TestConnectionConfigIsChecked(t *testing.T) {
	text := func(s string) penstock.Template { return penstock.Template{Source: s} }
	for _, c := range []struct {
		config ConnectionConfig
		want   []string
	}{
		{ConnectionConfig{Driver: "sqlite", Database: text("a.db")}, nil},
		{ConnectionConfig{Driver: "postgres"}, nil},
		{ConnectionConfig{Driver: "postgres", URL: text("postgres://a@b:1,c:2/d?target_session_attrs=read-write")}, nil},
		{ConnectionConfig{Driver: "postgres", URL: text("postgres://${params.host}/d")}, nil},
		{ConnectionConfig{Driver: "sqlite"}, []string{"needs `database`"}},
		{ConnectionConfig{Driver: "sqlite", Database: text("a"), URL: text("x"), Host: text("y"), Port: 1, User: text("z"), TLS: TLS{Mode: "require"}},
			[]string{"`url`", "`host`", "`port`", "`user`", "`tls`"}},
		{ConnectionConfig{Driver: "postgres", Create: true}, []string{"`create`"}},
		{ConnectionConfig{Driver: "postgres", URL: text("mysql://a")}, []string{"begins with postgres://"}},
		{ConnectionConfig{Driver: "postgres", URL: text("postgres://a:geheim@b/c")}, []string{"holds a password"}},
		{ConnectionConfig{Driver: "postgres", URL: text("postgres://a:geheim@b:1,c:2/d")}, []string{"holds a password"}},
		{ConnectionConfig{Driver: "postgres", URL: text("postgres://b/c?password=geheim")}, []string{"holds a password"}},
		{ConnectionConfig{Driver: "postgres", Pool: Pool{Min: 5, Max: 2}}, []string{"min is 5, and max is 2"}},
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

// TestWhereItConnects: the Connection says everything, and the environment nothing.
func TestWhereItConnects(t *testing.T) {
	for k, v := range map[string]string{"PGHOST": "env", "PGPORT": "1", "PGUSER": "env", "PGDATABASE": "env", "PGPASSWORD": "env", "PGSSLMODE": "require", "PGOPTIONS": "-c x=1", "PGAPPNAME": "env"} {
		t.Setenv(k, v)
	}
	text := func(s string) penstock.Template { return penstock.Template{Source: s} }
	for _, c := range []struct {
		config ConnectionConfig
		want   string
	}{
		{ConnectionConfig{}, "postgres@localhost:5432/postgres"},
		{ConnectionConfig{User: text("u")}, "u@localhost:5432/u"},
		{ConnectionConfig{Host: text("h"), Port: 7, Database: text("d")}, "postgres@h:7/d"},
		{ConnectionConfig{URL: text("postgres://u@h:8/d")}, "u@h:8/d"},
		{ConnectionConfig{URL: text("postgres://u@h/d"), Port: 9, Database: text("other"), User: text("me")}, "me@h:9/other"},
		{ConnectionConfig{URL: text("postgresql:///d")}, "postgres@localhost:5432/d"},
		{ConnectionConfig{URL: text("postgres://u@h1:1,h2:2/d")}, "u@h1:1/d u@h2:2"},
		{ConnectionConfig{Host: text("/run/postgresql")}, "postgres@/run/postgresql:5432/postgres"},
	} {
		c.config.Pool.Max = 1
		cfg, err := poolConfig(&c.config, penstock.Env{})
		if err != nil {
			t.Errorf("%+v: %v", c.config, err)
			continue
		}
		cc := cfg.ConnConfig
		got := cc.User + "@" + cc.Host + ":" + numbers(int(cc.Port)) + "/" + cc.Database
		for _, f := range cc.Fallbacks {
			got += " " + cc.User + "@" + f.Host + ":" + numbers(int(f.Port))
		}
		if got != c.want || cc.Password != "" || cc.RuntimeParams["options"] != "" || cc.RuntimeParams["application_name"] != "penstock" {
			t.Errorf("%s, password %q, %v; want %s", got, cc.Password, cc.RuntimeParams, c.want)
		}
	}
}

// certificate makes a certificate for localhost, PEM, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	return certificateUntil(t, time.Now().Add(time.Hour))
}

// certificateUntil makes one that was valid an hour ago, and is until then.
func certificateUntil(t *testing.T, until time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

// TestLoggingIn: passwords that change while it runs, and TLS.
func TestLoggingIn(t *testing.T) {
	server := service.NewPostgres(t, "fsync=off", "password_encryption=scram-sha-256")
	cert, key := certificate(t)
	other, _ := certificate(t)
	server.WriteFile(t, "server.crt", []byte(cert))
	server.WriteFile(t, "server.key", []byte(key))
	server.WriteFile(t, "pg_hba.conf", []byte("local all all trust\nhostssl all tls 127.0.0.1/32 scram-sha-256\nhost all shop 127.0.0.1/32 scram-sha-256\n"))
	server.Exec(t, "CREATE USER shop PASSWORD 'one'")
	server.Exec(t, "CREATE USER tls PASSWORD 'one'")
	server.Exec(t, "ALTER SYSTEM SET ssl = on")
	server.Reload(t)
	host, port, err := net.SplitHostPort(server.Address())
	if err != nil {
		t.Fatal(err)
	}
	login := func(user string, password *penstock.SecretValues, tls TLS) *fixture {
		c := connection("postgres")
		c.URL = penstock.Template{Source: "postgres://" + user + "@" + net.JoinHostPort(host, port) + "/postgres"}
		c.Password, c.TLS = penstock.EmptySecret(), tls
		c.Password.Bind(password, "password")
		return newFixture(t, "postgres", c)
	}
	password := penstock.NewSecretValues()
	password.Replace(map[string]string{"password": "one"})
	ask := func(f *fixture) error {
		db, err := connect(f.ref, f.env)
		if err != nil {
			return err
		}
		_, err = db.run(t.Context(), newStatement("SELECT 1"), nil, &rows{})
		return err
	}

	f := login("shop", password, TLS{})
	if err := ask(f); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "ALTER USER shop PASSWORD 'two'")
	if err := ask(f); err != nil {
		t.Errorf("a connection that is open goes on: %v", err)
	}
	f.db(t).(*postgres).pool.Reset() // as its lifetime does
	err = ask(f)
	drive.Code(t, err, penstock.Unauthenticated, "check user and password")
	password.Replace(map[string]string{"password": "two"})
	if err := ask(f); err != nil {
		t.Errorf("the password was changed, and is not used: %v", err)
	}

	password.Replace(map[string]string{"password": "one"})
	for _, c := range []struct {
		name string
		tls  TLS
		want penstock.Code
	}{
		{"verified", TLS{Mode: "verify", CA: penstock.NewSecret(cert)}, ""},
		{"verified since there is an authority", TLS{CA: penstock.NewSecret(cert)}, ""},
		{"not verified", TLS{Mode: "require"}, ""},
		{"an unknown authority", TLS{Mode: "verify", CA: penstock.NewSecret(other)}, penstock.Unavailable},
		{"another name", TLS{Mode: "verify", CA: penstock.NewSecret(cert), ServerName: "db.example.com"}, penstock.Unavailable},
		{"nobody's authority", TLS{Mode: "verify"}, penstock.Unavailable},
		{"no certificate", TLS{CA: penstock.NewSecret("x")}, penstock.Config},
		{"a certificate without a key", TLS{Certificate: penstock.NewSecret(cert)}, penstock.Config},
		{"in the open", TLS{Mode: "disable"}, penstock.Unauthenticated},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := ask(login("tls", password, c.tls))
			drive.Code(t, err, c.want)
			if c.want == penstock.Unavailable && !strings.Contains(err.Error(), "not trusted") {
				t.Error(err)
			}
		})
	}
	cert, key = certificateUntil(t, time.Now().Add(-time.Minute))
	server.WriteFile(t, "server.crt", []byte(cert))
	server.WriteFile(t, "server.key", []byte(key))
	server.Reload(t)
	drive.Until(t, "the server shows its new certificate", func() bool { // a process that is there already may still show the old one
		err = ask(login("tls", password, TLS{CA: penstock.NewSecret(cert)}))
		return err != nil && strings.Contains(err.Error(), "expired")
	})
	drive.Code(t, err, penstock.Unavailable, "not trusted")
}

// TestTLSIsTheDefault: but on this machine.
func TestTLSIsTheDefault(t *testing.T) {
	for host, want := range map[string]bool{"db.example.com": true, "10.0.0.1": true, "localhost": false, "127.0.0.1": false, "::1": false, "/run/postgresql": false} {
		c, err := tlsConfig(&TLS{}, host)
		if err != nil || (c != nil) != want {
			t.Errorf("%s: TLS %v, %v", host, c != nil, err)
		}
		if c != nil && (c.InsecureSkipVerify || c.ServerName != host) {
			t.Errorf("%s: %+v", host, c)
		}
	}
}

func TestSessions(t *testing.T) {
	eachDatabase(t, func(t *testing.T, f *fixture) {
		f.config.Session = []string{f.say("{PRAGMA user_version = 7|SET search_path TO pg_catalog|SET lc_time_names = 'de_DE'}"), f.say("{PRAGMA foreign_keys = ON|SET work_mem = '5MB'|SET sort_buffer_size = 1048576}")}
		got := f.rows(t, "{SELECT foreign_keys AS v FROM pragma_foreign_keys|SELECT current_setting('work_mem') AS v|SELECT @@sort_buffer_size AS v}")
		compare(t, got, map[string]string{"sqlite": `{"v":1}`, "postgres": `{"v":"5MB"}`, "mysql": `{"v":1048576}`}[f.name])
	})
}

func TestFilesOfSQLite(t *testing.T) {
	dir := t.TempDir()
	open := func(path string, create bool) error {
		c := connection("sqlite")
		c.Database, c.Create = penstock.Template{Source: path}, create
		f := newFixture(t, "sqlite", c)
		db, err := connect(f.ref, f.env)
		if err != nil {
			return err
		}
		_, err = db.run(t.Context(), newStatement("SELECT count(*) FROM sqlite_schema"), nil, &rows{})
		return err
	}
	name := filepath.Join(dir, "a b%?#ü.db")
	drive.Code(t, open(name, false), penstock.Config, "no such file", "create: true")
	if err := open(name, true); err != nil {
		t.Error(err)
	}
	if err := open(name, false); err != nil {
		t.Error(err)
	}
	if err := open(inMemory, false); err != nil {
		t.Error(err)
	}
	drive.Code(t, open(dir, false), penstock.Config)
	drive.Code(t, open(filepath.Join(dir, "no", "folder.db"), true), penstock.Config)
}

// TestALockIsWaitedFor: for as long as it is said.
func TestALockIsWaitedFor(t *testing.T) {
	f := onSQLite(t)
	f.config.StatementTimeout = penstock.Duration(20 * time.Millisecond)
	f.exec(t, "CREATE TABLE t (id INTEGER)")
	other := newFixture(t, "sqlite", f.config)
	tx, err := other.db(t).(*lite).write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = call(f.asks(t, CallConfig{Exec: statementOf("INSERT INTO t VALUES (1)")}), "{}")
	drive.Code(t, err, penstock.Unavailable, "lock")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := call(f.asks(t, CallConfig{Exec: statementOf("INSERT INTO t VALUES (1)")}), "{}"); err != nil {
		t.Error(err)
	}
}
