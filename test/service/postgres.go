package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// sharedPostgres is the server that the tests of a package have in common.
var sharedPostgres one[PostgresServer]

// number is that of the next name that a test of the package is given for itself.
var number atomic.Int64

// Postgres gives the connection URI of an empty database of the test's own, on a server that is shared by the tests of the package:
// postgres://postgres@127.0.0.1:…/test_1?sslmode=disable. The server does not wait for the disk.
func Postgres(tb testing.TB) string {
	tb.Helper()
	s := sharedPostgres.get(func() *PostgresServer {
		s := newPostgres(tb, "fsync=off", "full_page_writes=off")
		s.Start(tb)
		return s
	})
	name := "test_" + strconv.FormatInt(number.Add(1), 10)
	s.Exec(tb, "CREATE DATABASE "+name)
	return s.URI(name)
}

// PostgresServer is a server for one test, which may stop it as it likes. Its Stop is that of a crash (pg_ctl stop -m immediate): connections break, and what
// was not committed is gone.
type PostgresServer struct {
	daemon
	port     int
	bin      string
	settings []string
}

// NewPostgres starts a server of the test's own, with settings (name=value) of postgresql.conf. It ends with the test.
func NewPostgres(tb testing.TB, settings ...string) *PostgresServer {
	tb.Helper()
	s := newPostgres(tb, settings...)
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

// newPostgres makes a cluster.
func newPostgres(tb testing.TB, settings ...string) *PostgresServer {
	tb.Helper()
	s := &PostgresServer{settings: settings, port: freePort(tb)}
	s.stops = syscall.SIGQUIT
	s.bin = filepath.Dir(find(tb, "postgres", "postgres", "/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres", "/opt/homebrew/opt/postgresql*/bin/postgres"))
	s.who = account(tb, "postgres")
	s.dir = folder(tb, "postgres", s.who)
	if err := s.run("cp", "-a", s.template(tb), s.data()); err != nil {
		tb.Fatal(err)
	}
	return s
}

// template gives a cluster to copy. Making one takes seconds, so it is kept on this machine for the next tests.
func (s *PostgresServer) template(tb testing.TB) string {
	tb.Helper()
	version := filepath.Base(filepath.Dir(s.bin))
	path := filepath.Join(os.TempDir(), fmt.Sprintf("penstock-postgres-%s-%d-template", version, os.Geteuid()))
	if _, err := os.Stat(filepath.Join(path, "PG_VERSION")); err == nil {
		return path
	}
	made := filepath.Join(s.dir, "template")
	if err := s.run(filepath.Join(s.bin, "initdb"), "-D", made, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(made, path); err != nil { // somebody was faster, or the folder is another's
		return made
	}
	return path
}

func (s *PostgresServer) data() string { return filepath.Join(s.dir, "data") }

// URI is the connection URI of a database.
func (s *PostgresServer) URI(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// Address is where the server listens: 127.0.0.1:port.
func (s *PostgresServer) Address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Start starts the server again after Stop or Kill, on the same port and data, and waits until it answers.
func (s *PostgresServer) Start(tb testing.TB) {
	tb.Helper()
	for try := 0; ; try++ {
		s.begin(tb)
		if try < 100 && s.lingers(tb) {
			continue
		}
		s.process.ready(tb, s.answers)
		return
	}
}

// begin starts the server's process, and does not wait for anything.
func (s *PostgresServer) begin(tb testing.TB) {
	tb.Helper()
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.port), "-k", s.dir, "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=64MB", "-c", "max_connections=60"}
	for _, set := range s.settings {
		args = append(args, "-c", set)
	}
	s.process = start(tb, options{who: s.who, dir: s.dir, signal: "QUIT"}, filepath.Join(s.bin, "postgres"), args...)
}

// answers connects once.
func (s *PostgresServer) answers(ctx context.Context) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

// lingers says that the server did not start since processes of one that was killed are still there.
func (s *PostgresServer) lingers(tb testing.TB) bool {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for s.process.alive() && ctx.Err() == nil {
		if s.answers(ctx) == nil {
			return false
		}
		pause(ctx)
	}
	if ctx.Err() != nil || !strings.Contains(s.process.tail(), "is still in use") {
		return false
	}
	if err := s.process.stop(true); err != nil {
		tb.Fatal(err)
	}
	pause(ctx)
	return true
}

// connect connects over the Unix socket, where nobody is asked for a password.
func (s *PostgresServer) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres sslmode=disable", s.dir, s.port))
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// Exec runs a statement in the database postgres.
func (s *PostgresServer) Exec(tb testing.TB, statement string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.connect(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = c.Exec(ctx, statement)
	if err = errors.Join(err, c.Close(ctx)); err != nil {
		tb.Fatalf("%s: %v", strings.TrimSpace(statement), err)
	}
}

// WriteFile puts a file into the server's data folder, readable for the server alone: a certificate, pg_hba.conf. It takes effect with Reload.
func (s *PostgresServer) WriteFile(tb testing.TB, name string, content []byte) {
	tb.Helper()
	s.daemon.WriteFile(tb, filepath.Join("data", name), content)
}

// Reload makes the server read its configuration anew.
func (s *PostgresServer) Reload(tb testing.TB) {
	tb.Helper()
	s.Exec(tb, "SELECT pg_reload_conf()")
}

// LogicalPostgres starts a server that the tests of a package have in common, whose log says what changes (wal_level = logical). It does not wait for the disk. It ends with
// the test process.
func LogicalPostgres(tb testing.TB, settings ...string) *PostgresServer {
	tb.Helper()
	s := newPostgres(tb, append([]string{"fsync=off", "full_page_writes=off", "wal_level=logical", "max_replication_slots=30", "max_wal_senders=30"}, settings...)...)
	s.Start(tb)
	return s
}
