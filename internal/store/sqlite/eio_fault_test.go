package sqlite

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	sqlite3 "github.com/ncruces/go-sqlite3"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// fault is an error of the disk, at one of its writes and syncs.
type fault struct {
	name  string
	err   error
	stays bool   // all that follow fail, too
	only  string // what fails is the nth of these; "": of all
}

// scene is a small life: it is the same each time, but for the goroutine that copies the log. It ends with the first error.
func scene(d *DB, acked func(channel string, end int64)) error {
	cancels := []func(){
		d.Notify("a", func(s store.Segment) { acked("a", s.End()) }),
		d.Notify("bb", func(s store.Segment) { acked("bb", s.End()) }),
	}
	defer func() {
		for _, f := range cancels {
			f()
		}
	}()
	for i := range 24 {
		class, ch, n := store.Small, "a", 1+i%3
		if i%4 == 3 {
			class, ch, n = store.Bulk, "bb", 60
		}
		if err := submit(d, class, publish(ch, n)); err != nil {
			return err
		}
		if i == 15 {
			if err := submit(d, store.Bulk, func(tx store.Tx) error { _, err := tx.Drop("bb", 150); return err }); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestDiskErrors fails every write, truncation and sync, one in each run: from the error on nothing is acknowledged, the store has ended,
// and what was acknowledged is there when it is opened again, and also if the power is cut then.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	count := func() int {
		disk := newDisk(t)
		d := mustOpen(t, disk.options(newPath(t)))
		if err := scene(d, func(string, int64) {}); err != nil {
			t.Fatal(err)
		}
		mustClose(t, d)
		return disk.ops
	}()
	if count < 100 {
		t.Fatalf("the scene has %d writes and syncs only", count)
	}
	random := rand.New(rand.NewPCG(9, uint64(longer(1))))
	went := map[string]int{}
	faults := []fault{
		{"the disk breaks", sqlite3.IOERR, true, ""}, {"one error", sqlite3.IOERR, false, ""},
		{"the disk becomes full", sqlite3.FULL, true, ""}, {"it is full for a moment", sqlite3.FULL, false, ""},
	}
	// What is copied out of the log is synced seldom.
	for n := 1; failOnce(t, fault{"one error", sqlite3.IOERR_FSYNC, false, "sync store.db"}, n, random) != ""; n++ {
		went["sync store.db"]++
	}
	stride := max(1, 40/longer(1))
	for i, f := range faults {
		for n := 1 + i; n <= count; n += stride {
			went[failOnce(t, f, n, random)]++
		}
	}
	t.Logf("%d writes and syncs; %v", count, went)
	for _, where := range []string{"write store.db", "write store.db-wal", "sync store.db", "sync store.db-wal"} {
		if went[where] == 0 && stride == 1 {
			t.Errorf("no %s has failed", where)
		}
	}
}

func failOnce(t *testing.T, f fault, at int, random *rand.Rand) (where string) {
	t.Helper()
	disk := newDisk(t)
	path := newPath(t)
	failed, writers := false, false
	acked, ackedThen := ledger{}, ledger{}
	nth := 0
	disk.before = func(_ int, what, name string) error {
		if f.only != "" && f.only != what+" "+name {
			return nil
		}
		nth++
		if errors.Is(f.err, sqlite3.FULL) && what == "sync" { // SQLite says so of writes only
			return nil
		}
		if nth == at || nth > at && (f.stays || errors.Is(f.err, sqlite3.FULL) && !failed) {
			if !failed {
				failed, where = true, what+" "+name
				writers = disk.nth == 1
				ackedThen = maps.Clone(acked)
			}
			return f.err
		}
		return nil
	}
	d, err := Open(context.Background(), disk.options(path))
	if err == nil {
		err = scene(d, func(ch string, end int64) {
			disk.mu.Lock()
			acked[ch] = end
			disk.mu.Unlock()
		})
		disk.mu.Lock()
		now := failed
		// A full disk is in nobody's way while the log is copied into the file: it stays as it is. Else the store has ended.
		tolerated := strings.HasSuffix(where, "store.db") && errors.Is(f.err, sqlite3.FULL)
		disk.mu.Unlock()
		if now && !tolerated {
			if err == nil { // what the goroutine came upon, or the last commit
				err = submit(d, store.Small, publish("a", 1))
				for i := 0; err == nil && i < 100; i++ {
					err = submit(d, store.Small, publish("a", 1))
				}
			}
			if penstock.CodeOf(err) != penstock.Unavailable {
				t.Errorf("%s at %d (%s): %v", f.name, at, where, err)
			}
			if again := submit(d, store.Small, publish("a", 1)); penstock.CodeOf(again) != penstock.Unavailable {
				t.Errorf("%s at %d (%s): it goes on: %v", f.name, at, where, again)
			}
			// What the goroutine comes upon that copies the log is told to the writer behind its next commit, which has its own sync.
			if writers && strings.HasSuffix(where, "-wal") && !maps.Equal(acked, ackedThen) {
				t.Errorf("%s at %d (%s): acknowledged after it: %v, %v", f.name, at, where, ackedThen, acked)
			}
		}
		_ = d.Close() // it may fail, and may be what fails
	} else if !failed {
		t.Fatal(err)
	} else if c := penstock.CodeOf(err); c != penstock.Unavailable {
		t.Errorf("%s at %d (%s): opening: %v", f.name, at, where, err)
	}
	disk.mu.Lock()
	defer disk.mu.Unlock()
	left := powered{disk.cut(random), acked}
	if _, err := left.recovered(t); err != nil {
		t.Errorf("%s at %d (%s), and the power was cut: %v", f.name, at, where, err)
	}
	// The process starts again, and the disk works.
	d, err = Open(context.Background(), patient(Options{Path: path, Reserve: -1}))
	if err != nil {
		t.Fatalf("%s at %d (%s): %v", f.name, at, where, err)
	}
	if _, err := survived(d, acked); err != nil {
		t.Errorf("%s at %d (%s): %v", f.name, at, where, err)
	}
	if err := submit(d, store.Small, publish("a", 1)); err != nil {
		t.Errorf("%s at %d (%s): %v", f.name, at, where, err)
	}
	mustClose(t, d)
	return where
}

// TestLogIsKept has pages lost by a sync that fails, which SQLite believes to be in the file, as an earlier copying of the log has
// written them: when the store is closed then, and the power is cut, the log has to be there.
func TestLogIsKept(t *testing.T) {
	disk := newDisk(t)
	o := disk.options(newPath(t))
	o.walSoft, o.walHard = 1<<30, 1<<30
	d := mustOpen(t, o)
	mustDo(t, d, publish("a", 50))
	err := d.View(context.Background(), func(store.View) error {
		mustDo(t, d, publish("a", 50))
		return d.exclusive(func(w *conn) error { // up to what the view sees, and without a sync
			if r := copyLog(w, sqlCheckpointPassive); r.err != nil || r.taken == 0 || r.taken == r.frames {
				t.Errorf("%+v", r)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	failed := false
	disk.mu.Lock()
	disk.before = func(_ int, what, name string) error {
		if what+" "+name == "sync store.db" && !failed {
			failed = true
			return sqlite3.IOERR_FSYNC
		}
		return nil
	}
	disk.mu.Unlock()
	if err := d.Close(); err != nil || !failed {
		t.Errorf("%v %v", err, failed)
	}
	disk.mu.Lock()
	defer disk.mu.Unlock()
	if now, err := (powered{disk.cutMode(0, nil), ledger{"a": 100}}).recovered(t); err != nil || now["a"] != 100 {
		t.Errorf("%v %v", now, err)
	}
}
