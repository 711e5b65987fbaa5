package service

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	_ "github.com/go-sql-driver/mysql" // the driver mysql
)

// sharedMaria is the server that the tests of a package have in common.
var sharedMaria one[MariaDBServer]

// MariaDB gives an empty database of the test's own on a server that is shared by the tests of the package. The server does not wait for the disk.
func MariaDB(tb testing.TB) (server *MariaDBServer, database string) {
	tb.Helper()
	server = sharedMaria.get(func() *MariaDBServer {
		s := newMariaDB(tb, "innodb-flush-log-at-trx-commit=0", "innodb-flush-method=nosync", "skip-innodb-doublewrite")
		s.Start(tb)
		return s
	})
	return server, server.Database(tb)
}

// MariaDBServer is a server of MariaDB. Its user root has no password.
type MariaDBServer struct {
	daemon
	port     int
	bin      string
	settings []string
}

// NewMariaDB starts a server of the test's own, with settings (name=value) as options of mariadbd. It ends with the test.
func NewMariaDB(tb testing.TB, settings ...string) *MariaDBServer {
	tb.Helper()
	s := newMariaDB(tb, settings...)
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}

func newMariaDB(tb testing.TB, settings ...string) *MariaDBServer {
	tb.Helper()
	s := &MariaDBServer{settings: settings, port: freePort(tb)}
	s.bin = find(tb, "mariadb", "mariadbd", "/usr/sbin/mariadbd", "/usr/bin/mariadbd", "/usr/local/bin/mariadbd")
	s.who = account(tb, "mysql")
	s.dir = folder(tb, "mariadb", s.who)
	if err := s.files(tb); err != nil {
		tb.Fatal(err)
	}
	return s
}

// files makes the server's files: a copy of those that are kept on this machine, since making them takes seconds.
func (s *MariaDBServer) files(tb testing.TB) error {
	tb.Helper()
	info, err := os.Stat(s.bin)
	if err != nil {
		return err
	}
	kept := filepath.Join(os.TempDir(), fmt.Sprintf("penstock-mariadb-%x-%d-template", info.ModTime().Unix(), os.Geteuid()))
	if _, err := os.Stat(filepath.Join(kept, "ibdata1")); err != nil {
		made := filepath.Join(s.dir, "template")
		install := find(tb, "mariadb", "mariadb-install-db", "/usr/bin/mariadb-install-db")
		if err := s.run(install, "--no-defaults", "--datadir="+made, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-log-bin"); err != nil {
			return err
		}
		if err := os.Rename(made, kept); err != nil { // somebody was faster, or the folder is another's
			kept = made
		}
	}
	return s.run("cp", "-a", kept, s.data())
}

func (s *MariaDBServer) data() string { return filepath.Join(s.dir, "data") }

// Start starts the server again after Stop or Kill, on the same port and data, and waits until it answers.
func (s *MariaDBServer) Start(tb testing.TB) {
	tb.Helper()
	args := []string{"--no-defaults", "--datadir=" + s.data(), "--port=" + strconv.Itoa(s.port), "--bind-address=127.0.0.1", "--socket=" + filepath.Join(s.dir, "socket"), "--pid-file=" + filepath.Join(s.dir, "pid"),
		"--innodb-buffer-pool-size=64M", "--skip-log-bin", "--max-connections=100"}
	for _, set := range s.settings {
		args = append(args, "--"+set)
	}
	s.process = start(tb, options{who: s.who, dir: s.dir, signal: "KILL"}, s.bin, args...)
	s.process.ready(tb, func(ctx context.Context) error { return s.exec(ctx, "SELECT 1") })
}

// Address is where the server listens: 127.0.0.1:port.
func (s *MariaDBServer) Address() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Port is where the server listens.
func (s *MariaDBServer) Port() int { return s.port }

// Database makes an empty database, and gives its name.
func (s *MariaDBServer) Database(tb testing.TB) string {
	tb.Helper()
	name := "test_" + strconv.FormatInt(number.Add(1), 10)
	s.Exec(tb, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4")
	return name
}

// Exec runs a statement as root.
func (s *MariaDBServer) Exec(tb testing.TB, statement string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.exec(ctx, statement); err != nil {
		if s.process != nil && !s.process.alive() {
			err = fmt.Errorf("%w; the server has ended by itself:\n%s", err, s.process.tail())
		}
		tb.Fatalf("%s: %v", strings.TrimSpace(statement), err)
	}
}

func (s *MariaDBServer) exec(ctx context.Context, statement string) error {
	db, err := sql.Open("mysql", fmt.Sprintf("root@tcp(127.0.0.1:%d)/", s.port))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return errors.Join(err, db.Close())
}

// NewMariaDBTLS is NewMariaDB with a certificate (PEM) and its key, for connections that want TLS.
func NewMariaDBTLS(tb testing.TB, certificate, key []byte) *MariaDBServer {
	tb.Helper()
	s := newMariaDB(tb, "innodb-flush-log-at-trx-commit=0")
	s.WriteFile(tb, "server.crt", certificate)
	s.WriteFile(tb, "server.key", key)
	s.settings = append(s.settings, "ssl-cert="+filepath.Join(s.dir, "server.crt"), "ssl-key="+filepath.Join(s.dir, "server.key"))
	s.Start(tb)
	tb.Cleanup(func() { s.remove(tb) })
	return s
}
