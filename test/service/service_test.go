package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ask runs a query that gives one number.
func ask(t *testing.T, uri, query string) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, uri)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	if err := c.QueryRow(ctx, query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func TestPostgresIsSharedAndDatabasesAreNot(t *testing.T) {
	one, other := Postgres(t), Postgres(t)
	if one == other {
		t.Fatalf("two tests have the same database, %s", one)
	}
	if c, err := pgx.Connect(t.Context(), one); err != nil {
		t.Fatal(err)
	} else if _, err = c.Exec(t.Context(), "CREATE TABLE t (n int)"); errors.Join(err, c.Close(t.Context())) != nil {
		t.Fatal(err)
	}
	if n := ask(t, other, "SELECT count(*) FROM pg_tables WHERE tablename = 't'"); n != 0 {
		t.Error("a table of one test is in the database of another")
	}
}

func TestPostgresComesBack(t *testing.T) {
	s := NewPostgres(t)
	uri := s.URI("postgres")
	s.Exec(t, "CREATE TABLE t AS SELECT 7 AS n")
	for _, stop := range []func(testing.TB){s.Stop, s.Kill} {
		stop(t)
		if err := s.answers(context.Background()); err == nil {
			t.Fatal("a server that was stopped answers")
		}
		s.Start(t)
		if n := ask(t, uri, "SELECT n FROM t"); n != 7 {
			t.Errorf("%d", n)
		}
	}
}

// TestNothingIsLeftBehind kills a test process in the middle of its test.
func TestNothingIsLeftBehind(t *testing.T) {
	if os.Getenv("PENSTOCK_VICTIM") != "" {
		s := NewPostgres(t)
		fmt.Println("victim", s.process.pid, s.dir)
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	find(t, "postgres", "postgres", "/usr/lib/postgresql/*/bin/postgres")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestNothingIsLeftBehind$", "-test.v")
	cmd.Env = append(os.Environ(), "PENSTOCK_VICTIM=1")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("the victim lives: %v\n%s", err, out)
	}
	var pid int
	var dir string
	for line := range strings.Lines(string(out)) {
		if _, err := fmt.Sscanf(line, "victim %d %s", &pid, &dir); err == nil {
			break
		}
	}
	if pid == 0 {
		t.Fatalf("the victim said nothing:\n%s", out)
	}
	for {
		_, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) && syscall.Kill(pid, 0) != nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("server %d, or its folder %s, has outlived its test", pid, dir)
		}
		pause(ctx)
	}
}

func TestProxyCuts(t *testing.T) {
	s := Postgres(t)
	host := strings.TrimSuffix(strings.SplitN(s, "@", 2)[1], "?sslmode=disable")
	address, database, _ := strings.Cut(host, "/")
	p := NewProxy(t, address)
	uri := fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", p.Port(), database)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, uri)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PgConn().Exec(ctx, "CREATE TABLE t (n int)").ReadAll(); err != nil {
		t.Fatal(err)
	}
	// A client whose connection breaks asks, on another one, that its statement is cancelled: that must not come through.
	p.RefuseWhen(func(sent []byte) bool { return strings.Contains(string(sent), "INSERT") })
	if _, err := c.PgConn().Exec(ctx, "INSERT INTO t VALUES (1)").ReadAll(); err == nil {
		t.Fatal("an answer has come through the cut")
	}
	deadline := time.Now().Add(patience)
	for ask(t, s, "SELECT count(*) FROM t") == 0 { // the server has got it, and may still be at it
		if time.Now().After(deadline) {
			t.Fatal("what was sent before the cut did not arrive")
		}
		pause(ctx)
	}
	if c, err := pgx.Connect(ctx, uri); err == nil {
		_ = c.Close(ctx)
		t.Error("it was to refuse")
	}
}

// TestPortsAreKept: a port that was given out isn't given out again before the process has ended, whether its server listens or not.
func TestPortsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "port")
	for i, want := range []bool{true, false, false} {
		if got, err := keepPort(path); err != nil || got != want {
			t.Errorf("time %d: %t, %v", i, got, err)
		}
	}
}
