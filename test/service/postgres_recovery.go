//go:build unix

package service

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// segmentName is that of a segment of the write-ahead log.
var segmentName = regexp.MustCompile(`^[0-9A-F]{24}$`)

// CrashInRecovery starts a server that was stopped by Stop or Kill, and kills it again (as pg_ctl stop -m immediate does) while it recovers: when it has
// redone a part of its log, and before it has come to the end. It does so without luck: a segment of the log is out of the way meanwhile, and the
// server waits for it. skip is how many segments it may read before that one; the caller has had it begin so many with pg_switch_wal.
func (s *PostgresServer) CrashInRecovery(tb testing.TB, skip int) {
	tb.Helper()
	wal := filepath.Join(s.data(), "pg_wal")
	names := s.redo(tb, wal)
	if len(names) <= skip+1 {
		tb.Fatalf("recovery would read %d segments of the log, and was to be stopped behind %d", len(names), skip+1)
	}
	segment := filepath.Join(wal, names[skip+1])
	aside := filepath.Join(s.dir, "aside")
	if err := errors.Join(os.Rename(segment, aside), syscall.Mkfifo(segment, 0o600), give(segment, s.who)); err != nil {
		tb.Fatal(err)
	}
	log := filepath.Join(s.dir, "log")
	before, err := os.ReadFile(log)
	if err != nil {
		tb.Fatal(err)
	}
	since := func() string {
		now, err := os.ReadFile(log)
		if err != nil {
			tb.Fatal(err)
		}
		return string(now[min(len(before), len(now)):])
	}
	s.begin(tb)
	for ctx := tb.Context(); !strings.Contains(since(), "redo starts at"); pause(ctx) {
		if !s.process.alive() || ctx.Err() != nil {
			tb.Fatalf("the server does not begin to recover:\n%s", s.process.tail())
		}
	}
	s.end(tb, syscall.SIGQUIT)
	if strings.Contains(since(), "redo done") {
		tb.Fatal("the server had recovered when it was stopped")
	}
	if err := os.Rename(aside, segment); err != nil {
		tb.Fatal(err)
	}
}

// redo are the segments that recovery reads, in order, and perhaps some that are empty.
func (s *PostgresServer) redo(tb testing.TB, wal string) (names []string) {
	tb.Helper()
	said, err := s.output(filepath.Join(s.bin, "pg_controldata"), "-D", s.data())
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(said, "REDO WAL file:")
	first := strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])
	files, err := os.ReadDir(wal)
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range files {
		if segmentName.MatchString(f.Name()) && f.Name() >= first {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	return names
}
