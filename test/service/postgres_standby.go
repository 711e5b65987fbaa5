package service

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// NewStandby makes a copy of a server that runs, and starts it as its streaming standby, which takes no writes until Promote. It ends with the test.
func (s *PostgresServer) NewStandby(tb testing.TB) *PostgresServer {
	tb.Helper()
	b := &PostgresServer{port: freePort(tb), bin: s.bin, settings: s.settings}
	b.stops, b.who = syscall.SIGQUIT, s.who
	b.dir = folder(tb, "postgres", b.who)
	if err := b.run(filepath.Join(b.bin, "pg_basebackup"), "-D", b.data(), "-R", "--no-sync", "-c", "fast", "-h", s.dir, "-p", strconv.Itoa(s.port), "-U", "postgres"); err != nil {
		tb.Fatal(err)
	}
	b.Start(tb)
	tb.Cleanup(func() { b.remove(tb) })
	return b
}

// Promote makes a standby a server of its own, and waits until it takes writes. No session asks for it: what a session sees may be what recovery waits for.
func (s *PostgresServer) Promote(tb testing.TB) {
	tb.Helper()
	if err := s.run(filepath.Join(s.bin, "pg_ctl"), "promote", "-W", "-D", s.data()); err != nil {
		tb.Fatal(err)
	}
	s.process.ready(tb, func(ctx context.Context) error {
		c, err := s.connect(ctx)
		if err != nil {
			return err
		}
		recovers := true
		err = c.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&recovers)
		if err == nil && recovers {
			err = errors.New("it still follows the other server")
		}
		return errors.Join(err, c.Close(ctx))
	})
}
