package sqlite

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// leap is a clock on which waiting takes no time.
type leap struct {
	mu     sync.Mutex
	now    time.Time
	waited time.Duration
}

func (c *leap) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *leap) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.waited += d
	tick := make(chan time.Time, 1)
	tick <- c.now
	return tick, func() {}
}

// counted appends messages to two channels, and writes how many there are now.
func counted(n, size int) func(store.Tx) error {
	return func(tx store.Tx) error {
		next := int64(0)
		for _, ch := range []string{"a", "b"} {
			var frames []byte
			for range n {
				frames = store.AppendFrame(frames, make([]byte, size))
			}
			base, err := tx.Append(ch, store.Bundle{N: n, Data: frames, MinTime: 1, MaxTime: 2})
			if err != nil {
				return err
			}
			next = base + int64(n)
		}
		return tx.Put("counts", store.Entry{Key: []byte("next"), Value: binary.BigEndian.AppendUint64(nil, uint64(next)), Due: next})
	}
}

// agree reads what counted wrote, and says how many messages there are.
func agree(t *testing.T, s store.Store) (next int64) {
	t.Helper()
	err := s.View(context.Background(), func(v store.View) error {
		e, _, err := v.State().Get("counts", []byte("next"))
		if err != nil {
			return err
		}
		if len(e.Value) == 8 {
			next = int64(binary.BigEndian.Uint64(e.Value))
		}
		for _, ch := range []string{"a", "b"} {
			b, err := v.Log().Bounds(ch)
			if err != nil {
				return err
			}
			if b.Next != next {
				t.Errorf("channel %s has %d messages, and the entry says %d", ch, b.Next, next)
			}
			for p := b.First; p < b.Next; {
				all, err := v.Log().Segments(ch, p, 1<<20)
				if err != nil || len(all) == 0 {
					t.Errorf("messages from %d on are not there: %v", p, err)
					return err
				}
				p = all[len(all)-1].End()
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return next
}

// TestBackupWhileWriting writes between all steps of a backup, more than the log may hold.
func TestBackupWhileWriting(t *testing.T) {
	const soft, hard, rate = 256 << 10, 1 << 20, 400 << 10
	d := mustOpen(t, Options{Path: newPath(t), walSoft: soft, walHard: hard})
	for range 30 {
		mustDo(t, d, counted(10, 3000))
	}
	path := filepath.Join(t.TempDir(), "backup.db")
	if err := os.WriteFile(path+partial, []byte("of one that was killed"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock := &leap{}
	steps, peak, last, all := 0, int64(0), int64(0), int64(0)
	before := agree(t, d)
	err := d.Backup(context.Background(), path, BackupOptions{Rate: rate, Clock: clock, Progress: func(done, total int64) error {
		if _, err := os.Stat(path); err == nil {
			t.Error("it has its name before it is whole")
		}
		steps++
		last, all = done, total
		if steps <= 100 {
			mustDo(t, d, counted(1, 20))
			mustDo(t, d, counted(3, 100*steps)) // so that pages that are copied change, and others come
			mustDo(t, d, func(tx store.Tx) error { _, err := tx.Drop("a", 0); return err })
		}
		peak = max(peak, d.Stats().WALBytes)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if last != all || steps < 20 {
		t.Errorf("%d of %d bytes, %d steps", last, all, steps)
	}
	if peak > 3*hard {
		t.Errorf("the log had %d bytes", peak)
	}
	if want := time.Duration(all) * time.Second / rate * 9 / 10; clock.waited < want {
		t.Errorf("it waited for %s, and should for %s", clock.waited, want)
	}
	after := agree(t, d)
	if _, err := os.Stat(path + partial); err == nil {
		t.Error("something is left")
	}
	r, err := Verify(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := mustOpen(t, Options{Path: path})
	got := agree(t, b)
	if got <= before || got > after || r.Messages != 2*got || r.Channels != 2 || r.Entries != 1 {
		t.Errorf("the backup has %d messages: before %d, after %d; %+v", got, before, after, r)
	}
	if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", i.Mode(), err)
	}
}

func TestBackupIsWholeOrNotThere(t *testing.T) {
	fill := func(t *testing.T, o Options) *DB {
		o.Path = newPath(t)
		d := mustOpen(t, o)
		for range 10 {
			mustDo(t, d, counted(10, 3000))
		}
		return d
	}
	stop := errors.New("enough")
	for _, c := range []struct {
		name string
		run  func(t *testing.T, d *DB, path string) error
		want string
	}{
		{"progress ends it", func(t *testing.T, d *DB, path string) error {
			return d.Backup(context.Background(), path, BackupOptions{Progress: func(int64, int64) error { return stop }})
		}, "enough"},
		{"its context ends", func(t *testing.T, d *DB, path string) error {
			ctx, cancel := context.WithCancelCause(context.Background())
			return d.Backup(ctx, path, BackupOptions{Progress: func(int64, int64) error { cancel(stop); return nil }})
		}, "enough"},
		{"the store closes", func(t *testing.T, d *DB, path string) error {
			closed := make(chan struct{})
			var once sync.Once
			err := d.Backup(context.Background(), path, BackupOptions{Rate: 1, Progress: func(int64, int64) error {
				once.Do(func() { go func() { defer close(closed); mustClose(t, d) }() })
				return nil
			}})
			<-closed
			return err
		}, "it is closed"},
		{"the store fails", func(t *testing.T, d *DB, path string) error {
			return d.Backup(context.Background(), path, BackupOptions{Progress: func(int64, int64) error { d.fail("write", stop); return nil }})
		}, "enough"},
		{"a file is there", func(t *testing.T, d *DB, path string) error {
			return d.Backup(context.Background(), d.o.Path, BackupOptions{})
		}, "a file already"},
		{"no folder", func(t *testing.T, d *DB, path string) error {
			return d.Backup(context.Background(), filepath.Join(filepath.Dir(path), "none", "x"), BackupOptions{})
		}, "no folder"},
		{"one at a time", func(t *testing.T, d *DB, path string) error {
			return d.Backup(context.Background(), path, BackupOptions{Progress: func(int64, int64) error { return d.Compact(context.Background()) }})
		}, "a backup of this store is running"},
		{"no room", func(t *testing.T, d *DB, path string) error {
			d.o.Free = func(string) (int64, error) { return DefaultReserve, nil }
			return d.Backup(context.Background(), path, BackupOptions{})
		}, "MiB are needed"},
		{"a rate below zero", func(t *testing.T, d *DB, path string) error {
			return d.Backup(context.Background(), path, BackupOptions{Rate: -1})
		}, "below zero"},
		{"the store is damaged", func(t *testing.T, d *DB, path string) error {
			if err := d.exclusive(func(w *conn) error {
				return w.text("UPDATE segment SET data = zeroblob(length(data)) WHERE rowid = (SELECT max(rowid) FROM segment)")
			}); err != nil {
				t.Fatal(err)
			}
			return d.Backup(context.Background(), path, BackupOptions{})
		}, "not what was written"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := fill(t, Options{})
			path := filepath.Join(t.TempDir(), "backup.db")
			err := c.run(t, d, path)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
	mem := mustOpen(t, Options{Path: Memory})
	if err := mem.Backup(context.Background(), newPath(t), BackupOptions{}); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("%v", err)
	}
}
