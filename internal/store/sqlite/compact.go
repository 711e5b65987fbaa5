package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"

	"penstock.dev/penstock"
)

const compacting = ".compact"

// Compact gives the space of what was dropped back to the file system: it writes the file anew beside the old one, without free pages, and puts
// it in its place by one rename (VACUUM in place would need the room three times, and run all of it through the log). Nothing is written
// meanwhile, reading goes on until the end; a gigabyte takes some seconds. Ended or killed before the rename, the file is as it was. Errors:
// limited where the disk has no room for what the file will be.
func (d *DB) Compact(ctx context.Context) error {
	return d.maintain(ctx, "compact", func(ctx context.Context) error {
		return d.exclusive(func(w *conn) error {
			if d.mem {
				return w.text("VACUUM")
			}
			pages, err := w.number(statements[sqlPages])
			if err != nil {
				return d.copyError(err)
			}
			free, err := w.number(statements[sqlFreePages])
			if err != nil {
				return d.copyError(err)
			}
			if err := d.wants("compact", filepath.Dir(d.o.Path), (pages-free)*pageSize); err != nil {
				return err
			}
			return d.compact(ctx, w)
		})
	})
}

// compact runs on the writer's goroutine.
func (d *DB) compact(ctx context.Context, w *conn) error {
	path := d.o.Path + compacting
	err := removeStore(path)
	if err == nil {
		err = writeAnew(ctx, w, path)
	}
	if err == nil {
		err = d.swap(path)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return errors.Join(d.copyError(err), removeStore(path))
	}
	return nil
}

// writeAnew writes the file without its free pages, durably.
func writeAnew(ctx context.Context, w *conn, path string) error {
	// The rights come from a file that is there; it has to be empty.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	s, err := w.raw.Prepare("VACUUM INTO ?1")
	if err == nil {
		err = w.rowsContext(ctx, s, func([]driver.Value) (bool, error) { return true, nil }, w.bind([]driver.Value{path}))
		err = errors.Join(err, s.Close())
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// swap puts a file in the place of the store's, and opens it. The log is emptied before, and nobody has the old file open.
func (d *DB) swap(path string) error {
	p := &d.views
	p.cancelAll(d.over("the snapshot was cancelled, as the file was compacted"))
	var idle []*conn
	defer func() {
		for range idle { // the next views open the new file
			p.slots <- nil
		}
	}()
	for range viewConns { // what begins meanwhile lasts store.MaxView at most
		c := <-p.slots
		idle = append(idle, c)
		if c != nil {
			if err := c.close(); err != nil {
				return err
			}
		}
	}
	if err := d.wal.wait(); err != nil {
		return d.fail("copy the write-ahead log into the file", err)
	}
	d.wal.later = 0
	switch r := copyLog(d.w, sqlCheckpointTruncate); {
	case r.err != nil:
		return d.fail("copy the write-ahead log into the file", r.err)
	case r.busy:
		return penstock.E(penstock.Unavailable, "compact", d.o.Path, "the write-ahead log can't be emptied: another process reads the file, or the disk is full")
	}
	if err := d.w.close(); err != nil {
		d.w = nil
		return d.fail("compact", err)
	}
	renamed := rename(path, d.o.Path)
	if err := d.reopen(); err != nil {
		return d.fail("compact", errors.Join(renamed, err))
	}
	return renamed
}

// reopen opens the writer's connection anew; what the writer knows of the content stays.
func (d *DB) reopen() (err error) {
	if d.w, err = d.open.open("PRAGMA busy_timeout = 5"); err != nil {
		d.w = nil
		return err
	}
	d.group.w = d.w
	d.counts.freePages.Store(0)
	return d.tune(d.w, writerCache)
}
