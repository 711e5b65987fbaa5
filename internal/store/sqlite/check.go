package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"modernc.org/sqlite"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// Report is what a check found, and how much it has looked at.
type Report struct {
	Version  int   // of the file's layout
	Channels int64 // and what is in them
	Segments int64
	Messages int64
	Spaces   int64
	Entries  int64
	Bytes    int64 // of segments, and of keys and values
	// Problems say what is damaged and what to do, at most a hundred of them; none: everything is as it was written.
	Problems []string
	// Unchecked says what could not be looked at, and why; "": everything was.
	Unchecked string
}

// Way out of damage, for those who read a report.
const wayOut = "stop the process, keep a copy of the file, and restore a backup (penstock backup restore --force); look at the disk"

const (
	maxProblems = 100
	checkBytes  = 8 << 20 // that are read in one snapshot
	checkRows   = 20_000
	checkRounds = 3 // attempts at the pages of a file that is written to
)

// Check reads everything that the store holds, while it is used: checksums of every segment and entry, positions without gaps and
// overlaps, counts, and in the end pages, trees and indexes (SQLite's integrity_check). Rows are read in short snapshots; pages in one that
// may last, and that is given up when the write-ahead log comes to its bound. What is found is a Report; an error says that the check could not be
// done. progress is told bytes of rows that were read, of bytes of the file; an error of it ends the check; it may be nil.
func (d *DB) Check(ctx context.Context, progress func(done, total int64) error) (*Report, error) {
	var rep *Report
	err := d.maintain(ctx, "check", func(ctx context.Context) error {
		k := d.checker(progress)
		err := d.checkLive(ctx, k)
		if e := d.failure.Load(); e != nil { // damage may be why
			k = d.checker(progress)
			err = d.checkStopped(ctx, k)
			k.found("the store has stopped: %v", e)
		}
		rep = &k.rep
		return err
	})
	if err != nil {
		return nil, err
	}
	return rep, nil
}

func (d *DB) checker(progress func(done, total int64) error) *checker {
	return &checker{path: d.o.Path, progress: progress, total: max(fileSize(d.o.Path), 1), most: checkBytes, rep: Report{Version: Version}}
}

// checkLive checks beside those who use the store.
func (d *DB) checkLive(ctx context.Context, k *checker) error {
	if err := k.rows(ctx, d.slice); err != nil {
		return err
	}
	for round := 1; ; round++ {
		err := d.snapshot(ctx, 0, func(v *view) error {
			v.mu.Lock()
			defer v.mu.Unlock()
			return k.pages(v.cancelled, v.c)
		})
		if penstock.CodeOf(err) != penstock.Timeout {
			return d.readError(err)
		}
		if round == checkRounds {
			k.rep.Unchecked = "the structure of the pages: the store is written to so fast that no snapshot lasts long enough; make a backup, which is checked as a whole"
			return nil
		}
	}
}

// checkStopped checks what a store has left that has stopped: nobody uses it any more.
func (d *DB) checkStopped(ctx context.Context, k *checker) error {
	c, err := d.open.open("PRAGMA busy_timeout = 10000", "PRAGMA query_only = ON", "PRAGMA cell_size_check = ON")
	if err != nil {
		return verifyError(d.o.Path, err)
	}
	k.still = true
	return verifyError(d.o.Path, errors.Join(k.file(ctx, c), c.close()))
}

// slice is one short snapshot.
func (d *DB) slice(ctx context.Context, f func(*reader) error) error {
	return d.snapshot(ctx, store.MaxView, func(v *view) error {
		v.mu.Lock()
		defer v.mu.Unlock()
		return f(v.r)
	})
}

// Verify opens a backup and checks all of it, without changing anything. Errors: config where it is not a store, is of a newer version, or is a
// store in use; internal where it is damaged: then there is a report, too.
func Verify(ctx context.Context, path string, progress func(done, total int64) error) (*Report, error) {
	if fileSize(path+"-wal") > 0 {
		e := penstock.E(penstock.Config, "verify", path, "this is no backup, but a store that is in use or was not closed: there is a "+path+"-wal")
		e.Hint = "use penstock store check for a store"
		return nil, e
	}
	return verify(ctx, path, path, progress)
}

// verify checks a file that nobody writes to. named is the name that it is spoken of with.
func verify(ctx context.Context, path, named string, progress func(done, total int64) error) (*Report, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, penstock.E(penstock.NotFound, "verify", named, "there is no such file")
	}
	// immutable: no locks, no log, no other files.
	c, err := opener{driver: &sqlite.Driver{}, dsn: fileDSN(path) + "?immutable=1&mode=ro"}.open("PRAGMA query_only = ON", "PRAGMA trusted_schema = OFF",
		"PRAGMA cell_size_check = ON", "PRAGMA temp_store = MEMORY")
	if err != nil {
		return nil, verifyError(named, err)
	}
	k := &checker{path: named, progress: progress, total: max(fileSize(path), 1), most: checkBytes, still: true}
	err = k.file(ctx, c)
	if e := c.close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, verifyError(named, err)
	}
	if n := len(k.rep.Problems); n > 0 {
		e := penstock.E(penstock.Internal, "verify", named, fmt.Sprintf("the file is damaged, in %d places: %s", n, k.rep.Problems[0]))
		e.Hint = "use another backup; if this was made just now, run penstock store check, and look at the disk"
		return &k.rep, e
	}
	return &k.rep, nil
}

func verifyError(path string, err error) error {
	var own *penstock.Error
	switch code := primaryCode(err); {
	case err == nil:
		return nil
	case errors.As(err, &own) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case code == codeNotADB:
		return foreign(path)
	case code == codeCorrupt:
		return damaged(path, "pages of the file")
	}
	return diskError("verify", path, err)
}

// file checks a file of its own.
func (k *checker) file(ctx context.Context, c *conn) error {
	version, err := inspect(c, k.path)
	if err != nil {
		return err
	}
	if version == 0 {
		return foreign(k.path)
	}
	k.rep.Version = int(version)
	if version == Version {
		r := &reader{c: c, path: k.path, going: func() error { return context.Cause(ctx) }}
		if err := k.rows(ctx, func(_ context.Context, f func(*reader) error) error { return f(r) }); err != nil {
			return err
		}
	} else {
		k.rep.Unchecked = fmt.Sprintf("channels and entries: the file is of version %d, and is brought to %d when it is opened", version, Version)
	}
	return k.pages(ctx, c)
}

// checker gathers a report.
type checker struct {
	rep      Report
	path     string
	progress func(done, total int64) error
	total    int64
	still    bool // nothing is written meanwhile
	broken   bool // pages can't be read
	most     int  // bytes that are read in one snapshot
}

func (k *checker) found(format string, args ...any) {
	if len(k.rep.Problems) < maxProblems {
		k.rep.Problems = append(k.rep.Problems, fmt.Sprintf(format, args...)+"; "+wayOut)
	}
}

// read counts what was read.
func (k *checker) read(n int) { k.rep.Bytes += int64(n) }

func (k *checker) tell() error {
	if k.progress == nil {
		return nil
	}
	return k.progress(min(k.rep.Bytes, k.total), k.total)
}

// pages has SQLite look at all pages, trees and indexes.
func (k *checker) pages(ctx context.Context, c *conn) error {
	var said []string
	err := c.textRowsContext(ctx, fmt.Sprintf("PRAGMA integrity_check(%d)", maxProblems), func(v []driver.Value) (bool, error) {
		if s := text(v[0]); s != "ok" {
			said = append(said, s)
		}
		return true, nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if code := primaryCode(err); code == codeCorrupt || code == codeNotADB {
		said, err = append(said, err.Error()), nil
	}
	if err != nil {
		return err
	}
	for _, s := range said {
		k.found("the file's structure is damaged: %s", s)
	}
	return nil
}

// textRowsContext runs a query that is needed once, and may be ended.
func (c *conn) textRowsContext(ctx context.Context, sql string, row func([]driver.Value) (bool, error)) error {
	s, err := c.raw.Prepare(sql)
	if err != nil {
		return err
	}
	return errors.Join(c.rowsContext(ctx, s, row, nil), s.Close())
}
