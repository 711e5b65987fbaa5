package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store/postgres"
	"penstock.dev/penstock/test/service"
)

// secure is a server that takes connections with TLS alone, and its authority.
type secure struct {
	*service.PostgresServer
	ca  *service.Stranger
	dir string // of files of clients
}

func newSecure(t *testing.T) *secure {
	t.Helper()
	s := &secure{service.NewPostgres(t, "fsync=off", "full_page_writes=off"), service.Strangers(t), t.TempDir()}
	s.WriteFile(t, "ca.pem", []byte(s.ca.PEM()))
	s.certificate(t, "localhost", time.Now().Add(time.Hour))
	s.WriteFile(t, "pg_hba.conf", []byte("local all all trust\nhostssl all open 127.0.0.1/32 trust\nhostssl all postgres 127.0.0.1/32 cert\n"))
	for _, set := range []string{"ssl_ca_file = 'ca.pem'", "ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.key'", "ssl = on"} {
		s.Exec(t, "ALTER SYSTEM SET "+set)
	}
	s.Exec(t, "CREATE ROLE open SUPERUSER LOGIN")
	s.Reload(t)
	s.file(t, "ca.pem", s.ca.PEM())
	s.identity(t, "client", s.ca, "postgres")
	until(t, "it takes connections with TLS", func() bool { return s.opens(s.url("open", nil)) == nil })
	return s
}

// certificate gives the server another certificate.
func (s *secure) certificate(t *testing.T, name string, until time.Time) {
	t.Helper()
	cert, key := s.ca.Certificate(t, name, until)
	s.WriteFile(t, "server.pem", []byte(cert))
	s.WriteFile(t, "server.key", []byte(key))
}

func (s *secure) file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// identity makes the certificate of a client.
func (s *secure) identity(t *testing.T, file string, of *service.Stranger, name string) {
	t.Helper()
	cert, key := of.Certificate(t, name, time.Now().Add(time.Hour))
	s.file(t, file+".pem", cert)
	s.file(t, file+".key", key)
}

// url is a connection over TLS, as a user; what is set comes in addition, or instead.
func (s *secure) url(user string, set map[string]string) string {
	q := url.Values{"sslmode": {"verify-full"}, "sslrootcert": {filepath.Join(s.dir, "ca.pem")}}
	for k, v := range set {
		if q.Set(k, v); v == "" {
			q.Del(k)
		}
	}
	return fmt.Sprintf("postgres://%s@localhost:%s/postgres?%s", user, s.Address()[strings.LastIndex(s.Address(), ":")+1:], q.Encode())
}

func (s *secure) opens(uri string) error {
	d, err := postgres.Open(context.Background(), postgres.Options{Connection: uri, Volatile: true})
	if err != nil {
		return err
	}
	return d.Close()
}

// TestTLS: the store is on a server that takes TLS alone. Who the server is, is verified; who this process is, where the server wants to know. What is wrong is said, with what to do.
func TestTLS(t *testing.T) {
	s := newSecure(t)
	client := map[string]string{"sslcert": filepath.Join(s.dir, "client.pem"), "sslkey": filepath.Join(s.dir, "client.key")}
	if err := s.opens(s.url("postgres", client)); err != nil {
		t.Errorf("with a certificate of its own: %v", err)
	}
	strangers := service.Strangers(t)
	other := s.file(t, "other.pem", strangers.PEM())
	s.identity(t, "stranger", strangers, "postgres")
	s.identity(t, "another", s.ca, "somebody")
	refused := func(what, uri string, code penstock.Code, words ...string) {
		t.Helper()
		err := s.opens(uri)
		if lost := err != nil && strings.Contains(err.Error(), "write startup message"); penstock.CodeOf(err) != code && !lost {
			t.Errorf("%s: %v", what, err)
		}
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not say %q", what, err, w)
			}
		}
	}
	refused("an authority that nobody named", s.url("open", map[string]string{"sslrootcert": ""}), penstock.Config, "authority that is not trusted here", "sslrootcert=")
	refused("another authority", s.url("open", map[string]string{"sslrootcert": other}), penstock.Config, "authority that is not trusted here")
	refused("without TLS", s.url("open", map[string]string{"sslmode": "disable", "sslrootcert": ""}), penstock.Config, "pg_hba.conf")
	refused("no certificate of its own", s.url("postgres", nil), penstock.Config, "the server wants a certificate of this process", "sslcert=")
	refused("a certificate of a stranger", s.url("postgres", map[string]string{"sslcert": filepath.Join(s.dir, "stranger.pem"), "sslkey": filepath.Join(s.dir, "stranger.key")}), penstock.Config,
		"does not take the certificate of this process", "ssl_ca_file") // the server's alert may be lost with the connection, which leaves room for something else
	refused("a certificate of somebody else", s.url("postgres", map[string]string{"sslcert": filepath.Join(s.dir, "another.pem"), "sslkey": filepath.Join(s.dir, "another.key")}), penstock.Config, "pg_hba.conf")

	s.certificate(t, "db.example.com", time.Now().Add(time.Hour))
	s.Reload(t)
	until(t, "the server shows its other certificate", func() bool { return s.opens(s.url("open", nil)) != nil })
	refused("another name", s.url("open", nil), penstock.Config, "the server's certificate is for other names", "issued for localhost")
	if err := s.opens(s.url("open", map[string]string{"sslmode": "verify-ca"})); err != nil {
		t.Errorf("the name is not to be verified: %v", err)
	}

	plain := &secure{service.NewPostgres(t, "fsync=off", "full_page_writes=off"), s.ca, s.dir}
	refused("a server without TLS", plain.url("postgres", nil), penstock.Config, "the server has no TLS", "ssl = on")
	refused("a database that is not there, at a server without TLS that needs none", strings.Replace(plain.url("postgres", map[string]string{"sslmode": "prefer", "sslrootcert": ""}), "/postgres?", "/penstock?", 1), penstock.Config, "look at user, password and database")
}

// TestTheServersCertificateExpires: while the store is open. It goes on with the connections that it has; when these are cut it stops, says why, and opens again with a certificate that was renewed.
func TestTheServersCertificateExpires(t *testing.T) {
	s := newSecure(t)
	d := open(t, s.url("open", nil), func(o *postgres.Options) { o.Lease = time.Second })
	s.certificate(t, "localhost", time.Now().Add(-time.Hour))
	s.Reload(t)
	until(t, "the server shows its old certificate", func() bool { return s.opens(s.url("open", nil)) != nil })
	if err := do(d, appendText("on the connection that there is")); err != nil {
		t.Fatal(err)
	}
	s.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'penstock%'")
	err := do(d, appendText("on a new one"))
	for _, e := range []error{err, s.opens(s.url("open", nil))} {
		if penstock.CodeOf(e) != penstock.Unavailable || !strings.Contains(e.Error(), "the server's certificate has expired") {
			t.Error(e)
		}
	}
	closed(t, d)
	s.certificate(t, "localhost", time.Now().Add(time.Hour))
	s.Reload(t)
	until(t, "the server shows its new certificate", func() bool { return s.opens(s.url("open", nil)) == nil })
	d = open(t, s.url("open", nil), nil)
	defer closed(t, d)
	if err := do(d, appendText("renewed")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(log(t, d), ", "); got != "on the connection that there is, renewed" {
		t.Error(got)
	}
}
