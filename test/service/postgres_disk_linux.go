package service

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// SmallDisk is a file system of its own on which a part of a server's files lies.
type SmallDisk struct {
	dir    string
	server *PostgresServer
}

// NewPostgresOnSmallDisk starts a server of the test's own, one of whose folders ("base": the tables; "pg_wal": the log, in segments of 1 MiB) lies on a file system of some MiB,
// with settings (name=value) of postgresql.conf. The test is skipped where no file system can be mounted. It ends with the test.
func NewPostgresOnSmallDisk(tb testing.TB, folder string, mib int, settings ...string) (*PostgresServer, *SmallDisk) {
	tb.Helper()
	s := newPostgres(tb, settings...)
	disk := &SmallDisk{filepath.Join(s.dir, "disk"), s}
	if err := errors.Join(os.Mkdir(disk.dir, 0o700), disk.mount(mib)); err != nil {
		s.remove(tb)
		tb.Skipf("a file system of a test's own can only be mounted by root: %v", err)
	}
	tb.Cleanup(func() {
		var err error
		if s.process != nil {
			err = s.process.stop(true)
		}
		if err = errors.Join(err, syscall.Unmount(disk.dir, syscall.MNT_DETACH)); err != nil { // processes of the server may just be leaving
			tb.Error(err)
		}
		s.remove(tb)
	})
	// A new segment of the log is soon needed.
	if err := s.run(filepath.Join(s.bin, "pg_resetwal"), "--wal-segsize=1", "-D", s.data()); err != nil {
		tb.Fatal(err)
	}
	from, to := filepath.Join(s.data(), folder), filepath.Join(disk.dir, folder)
	if err := errors.Join(give(disk.dir, s.who), s.run("cp", "-a", from, to), os.RemoveAll(from), s.run("ln", "-s", to, from)); err != nil {
		tb.Fatal(err)
	}
	s.Start(tb)
	return s, disk
}

func (d *SmallDisk) mount(mib int) error {
	return syscall.Mount("none", d.dir, "tmpfs", 0, "size="+strconv.Itoa(mib)+"m")
}

func (d *SmallDisk) ballast() string { return filepath.Join(d.dir, "ballast") }

// Fill takes all the room that is left.
func (d *SmallDisk) Fill(tb testing.TB) {
	tb.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}

// Free gives back what Fill has taken, and returns when the server can write again. One that has ended meanwhile, for it could not write its log, is started again, as an operator does; so is one
// that was still failing to recover when room was made.
func (d *SmallDisk) Free(tb testing.TB) {
	tb.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		tb.Fatal(err)
	}
	s := d.server
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for s.process.alive() {
		err := s.writes(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			tb.Fatalf("the server has room again, and writes nothing: %v", err)
		}
		pause(ctx)
	}
	if err := s.process.stop(true); err != nil {
		tb.Fatal(err)
	}
	s.Start(tb)
}

// writes connects once, and commits something.
func (s *PostgresServer) writes(ctx context.Context) error {
	c, err := s.connect(ctx)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, "SELECT pg_current_xact_id()")
	return errors.Join(err, c.Close(ctx))
}
