package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"modernc.org/sqlite"

	"penstock.dev/penstock"
)

// Backups are made page by page through SQLite's backup API (sqlite.org/backup.html), a few pages at a time on the connection of the
// writer, between two commits. Why not otherwise:
//
//   - a snapshot that is held until all is copied (VACUUM INTO, a copy of the files) keeps the log from being shortened for as long as
//     that takes, which at a bounded rate is any time;
//   - the backup API on another connection begins anew with each commit.
//
// On the connection that writes, pages that change after they were copied are copied again with their commit. So no snapshot is held
// between two steps, the log is shortened as ever, and the copy is the file as of the last step: one consistent point. A step
// takes the writer about as long as a commit. The copy is not journaled and not synced by SQLite: it is worth nothing before it is whole.
const (
	backupPages = 64       // at most, in a step
	backupSync  = 16 << 20 // bytes after which what was copied is brought to the disk, so that the system has not all of it to write at the end
	partial     = ".partial"
)

// BackupOptions say how a backup is made.
type BackupOptions struct {
	// Rate bounds the copying, in bytes a second; 0: no bound. What flows write meanwhile comes on top of it.
	Rate int64
	// Progress is told how many bytes of how many are copied; an error of it ends the backup. nil: nobody.
	Progress func(done, total int64) error
	// Clock paces; nil: the system's.
	Clock penstock.Clock
}

// backuper is a connection that can be copied step by step.
type backuper interface {
	NewBackup(uri string) (*sqlite.Backup, error)
}

// Backup copies the store into a new file while it is used, verifies the copy (as Verify does), and gives it its name only then: a file of
// that name is whole. Errors: config where there is a file already, limited where the disk has no room for it, unavailable for the
// disk and for a store that is closed or has ended, internal where the copy is damaged, as then the store is, too.
func (d *DB) Backup(ctx context.Context, path string, o BackupOptions) error {
	if o.Clock == nil {
		o.Clock = penstock.SystemClock{}
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) error { return nil }
	}
	if err := d.mayBackup(path, o); err != nil {
		return err
	}
	return d.maintain(ctx, "backup", func(ctx context.Context) (err error) {
		temporary := path + partial
		if err := removeStore(temporary); err != nil { // of one that was killed
			return diskError("backup", temporary, err)
		}
		f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return diskError("backup", temporary, err)
		}
		defer func() {
			if e := f.Close(); err == nil && e != nil {
				err = diskError("backup", temporary, e)
			}
			if err != nil {
				err = errors.Join(err, removeStore(temporary))
			}
		}()
		if err := d.copyPages(ctx, temporary, f, o); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return diskError("backup", temporary, err)
		}
		if _, err := verify(ctx, temporary, path, nil); err != nil {
			return err
		}
		if err := absent("backup", path); err != nil {
			return err
		}
		if err := rename(temporary, path); err != nil {
			return diskError("backup", path, err)
		}
		return nil
	})
}

// mayBackup refuses what can be refused before anything is written.
func (d *DB) mayBackup(path string, o BackupOptions) error {
	if d.mem {
		return penstock.E(penstock.Config, "backup", d.o.Path, "a store in memory has no backups")
	}
	if o.Rate < 0 {
		return penstock.E(penstock.Invalid, "backup", path, "the rate is below zero")
	}
	if err := absent("backup", path); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if i, err := os.Stat(dir); err != nil || !i.IsDir() {
		e := penstock.E(penstock.Config, "backup", path, "there is no folder "+dir)
		e.Hint = "make it, for the user that runs penstock, with room for the whole store"
		return e
	}
	return d.wants("backup", dir, fileSize(d.o.Path)+fileSize(d.o.Path+"-wal"))
}

// wants refuses where a folder's disk has no room for more bytes.
func (d *DB) wants(op, dir string, more int64) error {
	want := more + max(d.o.Reserve, 0)
	// Where the system can't say how much is free, the writing will.
	if free, err := d.o.Free(dir); err == nil && free < want {
		e := penstock.E(penstock.Limited, op, dir, fmt.Sprintf("the disk has %d MiB left, and %d MiB are needed (with the store's reserve)", free>>20, want>>20+1))
		e.Hint = "free some space, or use another disk"
		return e
	}
	return nil
}

// copyPages copies all pages, and closes what it opened.
func (d *DB) copyPages(ctx context.Context, to string, f *os.File, o BackupOptions) error {
	var b *sqlite.Backup
	err := d.exclusive(func(w *conn) (err error) {
		raw, ok := w.raw.(backuper)
		if !ok {
			return penstock.E(penstock.Config, "backup", d.o.Path, fmt.Sprintf("the SQLite driver %T can't copy", w.raw))
		}
		b, err = raw.NewBackup(fileDSN(to) + "?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)")
		return err
	})
	if err != nil {
		return d.copyError(err)
	}
	err = d.steps(ctx, b, f, o)
	// Also where the store has ended meanwhile: the copy holds on to the writer's connection.
	if e := d.onWriter(func() error { return b.Finish() }); err == nil {
		err = e
	}
	return d.copyError(err)
}

func (d *DB) steps(ctx context.Context, b *sqlite.Backup, f *os.File, o BackupOptions) error {
	pages := int32(backupPages)
	if o.Rate > 0 { // at least ten steps a second, if that is not less than a page each
		pages = int32(min(max(o.Rate/10/pageSize, 1), backupPages))
	}
	began, copied, synced := o.Clock.Now(), int64(0), int64(0)
	for more := true; more; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var left, all int
		err := d.exclusive(func(*conn) (err error) {
			more, err = b.Step(pages)
			left, all = b.Remaining(), b.PageCount()
			return err
		})
		if err != nil {
			return err
		}
		copied += int64(pages) * pageSize
		if err := o.Progress(int64(all-left)*pageSize, int64(all)*pageSize); err != nil {
			return err
		}
		if copied-synced >= backupSync {
			synced = copied
			if err := f.Sync(); err != nil {
				return diskError("backup", f.Name(), err)
			}
		}
		if o.Rate == 0 || !more {
			continue
		}
		ahead := time.Duration(float64(copied)/float64(o.Rate)*float64(time.Second)) - o.Clock.Now().Sub(began)
		if ahead <= 0 {
			continue
		}
		tick, stop := o.Clock.NewTimer(ahead)
		select {
		case <-tick:
		case <-ctx.Done():
		}
		stop()
	}
	return nil
}

func (d *DB) copyError(err error) error {
	var own *penstock.Error
	if err == nil || errors.As(err, &own) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || primaryCode(err) == 0 {
		return err
	}
	if primaryCode(err) == codeCorrupt {
		return damaged(d.o.Path, "pages of the file")
	}
	return diskError("backup", d.o.Path, err)
}

// maintenance is work on the whole file: one at a time, and ended before the store closes.
type maintenance struct {
	mu     sync.Mutex
	what   string
	cancel context.CancelCauseFunc
	done   chan struct{}
	closed bool
}

// maintain runs f, if nothing of its kind runs.
func (d *DB) maintain(ctx context.Context, what string, f func(context.Context) error) error {
	m := &d.maintenance
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return closedError(d.o.Path)
	}
	if m.what != "" {
		defer m.mu.Unlock()
		e := penstock.E(penstock.Conflict, what, d.o.Path, "a "+m.what+" of this store is running")
		e.Hint = "wait until it has ended"
		return e
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	m.what, m.cancel, m.done = what, cancel, done
	m.mu.Unlock()
	defer func() {
		cancel(nil)
		m.mu.Lock()
		m.what, m.cancel, m.done = "", nil, nil
		m.mu.Unlock()
		close(done)
	}()
	return f(ctx)
}

// end ends what runs, waits for it, and lets nothing more begin.
func (m *maintenance) end(why error) {
	m.mu.Lock()
	m.closed = true
	done := m.done
	if done != nil {
		m.cancel(why)
	}
	m.mu.Unlock()
	if done != nil {
		<-done
	}
}

// onWriter runs f on the writer's goroutine, also if the store has ended. The store must not be closed meanwhile.
func (d *DB) onWriter(f func() error) error {
	done := make(chan error, 1)
	q := &d.queue
	q.mu.Lock()
	q.calls = append(q.calls, func() { done <- f() })
	q.mu.Unlock()
	q.nudge()
	return <-done
}
