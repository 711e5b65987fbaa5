package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// emptied makes a store most of which is free pages.
func emptied(t *testing.T, o Options) *DB {
	t.Helper()
	if o.Path == "" {
		o.Path = newPath(t)
	}
	d := mustOpen(t, o)
	for range 30 {
		mustDo(t, d, counted(10, 3000))
	}
	mustDo(t, d, func(tx store.Tx) error {
		_, err := tx.Drop("a", 290)
		if err == nil {
			_, err = tx.Drop("b", 290)
		}
		return err
	})
	for range 3 { // sweeping
		mustDo(t, d, counted(10, 3000))
	}
	return d
}

func TestCompact(t *testing.T) {
	d := emptied(t, Options{})
	before := d.Stats()
	if err := d.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	after := d.Stats()
	if after.FileBytes > 400<<10 || after.FileBytes >= max(before.FileBytes, before.WALBytes) || after.FreeBytes != 0 || after.WALBytes > 64<<10 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if n := agree(t, d); n != 330 {
		t.Errorf("%d messages", n)
	}
	mustDo(t, d, counted(10, 3000)) // it goes on
	if err := d.exclusive(func(w *conn) error { return expect(w, "PRAGMA synchronous", "2") }); err != nil {
		t.Error(err)
	}
	if r, err := d.Check(context.Background(), nil); err != nil || len(r.Problems) > 0 {
		t.Errorf("%+v %v", r, err)
	}
	path := d.o.Path
	mustClose(t, d)
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", i.Mode(), err)
	}
	d = mustOpen(t, Options{Path: path})
	if n := agree(t, d); n != 340 {
		t.Errorf("%d messages", n)
	}
	mem := mustOpen(t, Options{Path: Memory})
	mustDo(t, mem, counted(1, 1))
	if err := mem.Compact(context.Background()); err != nil {
		t.Error(err)
	}
	if n := agree(t, mem); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// TestCompactFails leaves the store as it is.
func TestCompactFails(t *testing.T) {
	full := int64(0)
	d := emptied(t, Options{Reserve: -1, Free: func(string) (int64, error) { return full, nil }})
	if err := d.Compact(context.Background()); penstock.CodeOf(err) != penstock.Limited || !strings.Contains(err.Error(), "are needed") {
		t.Errorf("no room: %v", err)
	}
	full = 1 << 40
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.Compact(ctx); err == nil {
		t.Error("an ended context")
	}
	mustDo(t, d, counted(1, 10))
	agree(t, d)
	if left, _ := filepath.Glob(d.o.Path + compacting + "*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// TestCompactWithReaders compacts while snapshots are open: they are cancelled, or wait.
func TestCompactWithReaders(t *testing.T) {
	d := emptied(t, Options{})
	open, result := make(chan struct{}), make(chan error, 1)
	compacted := make(chan struct{})
	go func() {
		result <- d.View(context.Background(), func(v store.View) error {
			close(open)
			<-compacted
			_, err := v.Log().Bounds("a")
			return err
		})
	}()
	<-open
	if err := d.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	close(compacted)
	if err := <-result; penstock.CodeOf(err) != penstock.Timeout {
		t.Errorf("%v", err)
	}
	for range 2 * viewConns {
		agree(t, d)
	}
}
