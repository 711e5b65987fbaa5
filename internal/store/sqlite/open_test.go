package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// patient lets views last: a slow machine is no reason for a test to fail.
func patient(o Options) Options {
	if o.afterFunc == nil {
		o.afterFunc = func(time.Duration, func()) func() bool { return func() bool { return true } }
	}
	return o
}

func mustOpen(t testing.TB, o Options) *DB {
	t.Helper()
	d, err := Open(context.Background(), patient(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mustClose(t, d) })
	return d
}

func mustClose(t testing.TB, d *DB) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "store.db") }

func appendMessage(channel string, size int) func(store.Tx) error {
	return func(tx store.Tx) error {
		_, err := tx.Append(channel, store.Bundle{N: 1, Data: store.AppendFrame(nil, make([]byte, size)), MinTime: 1, MaxTime: 1})
		return err
	}
}

func putEntry(space, key string, value []byte) func(store.Tx) error {
	return func(tx store.Tx) error { return tx.Put(space, store.Entry{Key: []byte(key), Value: value}) }
}

func submit(d *DB, c store.Class, f func(store.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return d.Submit(c, f).Wait(ctx)
}

func mustDo(t testing.TB, d *DB, f func(store.Tx) error) {
	t.Helper()
	if err := submit(d, store.Small, f); err != nil {
		t.Fatal(err)
	}
}

// raw makes a file by hand.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	o := Options{Path: path}.withDefaults()
	c, err := opener{driver: o.driver, dsn: o.dsn(path)}.open(statements...)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string)
		want string
	}{
		{"text", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("this is not a database. ", 100)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a store of Penstock"},
		{"another program's", func(t *testing.T, path string) {
			raw(t, path, "CREATE TABLE theirs (x)", "INSERT INTO theirs VALUES (1)")
		}, "not a store of Penstock"},
		{"another application", func(t *testing.T, path string) {
			raw(t, path, "PRAGMA application_id = 77", "CREATE TABLE theirs (x)")
		}, "not a store of Penstock"},
		{"newer", func(t *testing.T, path string) {
			d := mustOpen(t, Options{Path: path})
			mustClose(t, d)
			raw(t, path, fmt.Sprintf("PRAGMA user_version = %d", Version+1))
		}, fmt.Sprintf("of version %d", Version+1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := newPath(t)
			c.make(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			d, err := Open(context.Background(), Options{Path: path})
			if err == nil {
				mustClose(t, d)
				t.Fatal("it is opened")
			}
			var own *penstock.Error
			if penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), c.want) || !errors.As(err, &own) || own.Hint == "" {
				t.Errorf("%v", err)
			}
			after, err := os.ReadFile(path)
			if err != nil || string(after) != string(before) {
				t.Errorf("the file was changed; %v", err)
			}
			// And the lock is given back.
			if l, _, err := lockFile(path + ".lock"); err != nil {
				t.Error(err)
			} else if err := unlock(l); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := Open(context.Background(), Options{}); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("no path: %v", err)
	}
	file := newPath(t)
	raw(t, file, "CREATE TABLE x (x)")
	if _, err := Open(context.Background(), Options{Path: filepath.Join(file, "below", "store.db")}); err == nil {
		t.Error("a folder that is a file")
	}
}

func TestLockNamesTheHolder(t *testing.T) {
	path := newPath(t)
	d := mustOpen(t, Options{Path: path})
	_, err := Open(context.Background(), Options{Path: path})
	if penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), fmt.Sprint("of pid ", os.Getpid())) {
		t.Errorf("%v", err)
	}
	mustDo(t, d, putEntry("s", "k", nil)) // the first one goes on
	mustClose(t, d)
	mustClose(t, mustOpen(t, Options{Path: path}))
}

func TestRightsOfFiles(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such rights there")
	}
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "store.db")
	d := mustOpen(t, Options{Path: path})
	mustDo(t, d, putEntry("s", "k", nil))
	for name, want := range map[string]os.FileMode{dir: 0o700, filepath.Dir(dir): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".lock": 0o600} {
		i, err := os.Stat(name)
		if err != nil {
			t.Error(err)
		} else if got := i.Mode().Perm(); got != want {
			t.Errorf("%s has %o, and needs %o", filepath.Base(name), got, want)
		}
	}
}

// TestNamesOfFiles opens names that mean something in a URI.
func TestNamesOfFiles(t *testing.T) {
	for _, name := range []string{"with space.db", "a?mode=memory", "100%25.db", "#.db", "ünïcode.db"} {
		path := filepath.Join(t.TempDir(), name)
		d := mustOpen(t, Options{Path: path})
		mustDo(t, d, putEntry("s", "k", nil))
		mustClose(t, d)
		if fileSize(path) == 0 {
			t.Errorf("%s is not there", name)
		}
	}
}

// TestDurabilityIsSet asks the connections.
func TestDurabilityIsSet(t *testing.T) {
	d := mustOpen(t, Options{Path: newPath(t)})
	err := d.exclusive(func(w *conn) error {
		for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "wal_autocheckpoint": "0", "page_size": fmt.Sprint(pageSize),
			"application_id": fmt.Sprint(applicationID), "user_version": fmt.Sprint(Version)} {
			if err := expect(w, "PRAGMA "+pragma, want); err != nil {
				t.Error(err)
			}
		}
		return expect(w, "PRAGMA synchronous", "1")
	})
	if err == nil || !strings.Contains(err.Error(), `says "2"`) {
		t.Errorf("an answer that is wrong is not told: %v", err)
	}
	if len(migrations) != Version {
		t.Errorf("%d migrations, version %d", len(migrations), Version)
	}
}

// TestMigrationKilled ends the migration after each of its statements, as if the process were killed.
func TestMigrationKilled(t *testing.T) {
	killed := errors.New("killed")
	for at := 0; ; at++ {
		path := newPath(t)
		n := 0
		o := Options{Path: path, migrating: func(string) error {
			if n++; n > at {
				return killed
			}
			return nil
		}}
		d, err := Open(context.Background(), o)
		if err == nil {
			mustClose(t, d)
			if at != len(migrations[0])+1 {
				t.Errorf("ended after %d statements", at)
			}
			return
		}
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		d = mustOpen(t, Options{Path: path})
		mustDo(t, d, putEntry("s", "k", nil))
		mustClose(t, d)
	}
}

// TestMigrationForwards brings a file to a later version.
func TestMigrationForwards(t *testing.T) {
	path := newPath(t)
	d := mustOpen(t, Options{Path: path})
	mustDo(t, d, putEntry("s", "k", []byte("v")))
	mustClose(t, d)
	o := Options{Path: path}.withDefaults()
	c, err := opener{driver: o.driver, dsn: o.dsn(path)}.open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.close() }()
	steps := append(migrations[:Version:Version], []string{"ALTER TABLE space ADD COLUMN x TEXT", "CREATE TABLE y (z)"}, []string{"CREATE TABLE y (z)"})
	if err := migrate(c, Version, steps, nil); err == nil {
		t.Error("the last step can't work")
	}
	if v, err := c.number("PRAGMA user_version"); v != Version+1 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	if n, err := c.number("SELECT count(*) FROM space WHERE x IS NULL"); n != 1 || err != nil {
		t.Errorf("%d spaces, %v", n, err)
	}
}

func TestMemory(t *testing.T) {
	d := mustOpen(t, Options{Path: Memory})
	mustDo(t, d, appendMessage("c", 10))
	mustDo(t, d, putEntry("s", "k", []byte("v")))
	commits := make(chan *store.Commit, 1)
	err := d.View(context.Background(), func(v store.View) error {
		commits <- d.Submit(store.Small, putEntry("s", "k", []byte("w")))
		e, ok, err := v.State().Get("s", []byte("k"))
		b, err2 := v.Log().Bounds("c")
		if !ok || string(e.Value) != "v" || b.Next != 1 {
			t.Errorf("%v %q %+v", ok, e.Value, b)
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Error(err)
	}
	if err := (<-commits).Wait(context.Background()); err != nil {
		t.Error(err)
	}
	if s := d.Stats(); s.Commits != 3 || s.FileBytes != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(Memory); err == nil {
		t.Error("there is a file")
	}
}

func TestOpenWithEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, Options{Path: newPath(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
