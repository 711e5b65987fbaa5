// Package sqlite is the embedded store: one SQLite file with a write-ahead log, one goroutine that writes, and snapshots
// for readers.
//
// Everything that queued while a commit was on its way becomes the next one (group commit, without lingering). Messages that a
// commit appends to one channel are one row. What transactions write is gathered in memory first, so that a failing
// transaction is undone there, an entry that is written often is written once a commit, and hot entries are not read again.
//
// Files: writer.go is the queue and the commit, group.go what a commit gathers, tx.go a transaction, read.go the reading,
// view.go snapshots, wal.go the write-ahead log, schema.go the layout and its versions; backup.go, restore.go, compact.go and
// check.go what is done with the file as a whole.
package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/store"
)

// Memory is the path of a store without a file: for tests. Nothing of it is durable, and views hold up transactions.
const Memory = ":memory:"

// DefaultReserve is the room that the store leaves on its disk.
const DefaultReserve = 64 << 20

// Options say how a store is opened.
type Options struct {
	// Path of the file; it, its folder and its neighbours (-wal, -shm, .lock) are made if they are not there, for the owner only.
	Path string
	// Reserve is how many bytes have to be free on the disk: below it bulk transactions are refused with an error of
	// code limited, below half of it all. The log may need up to 64 MiB of it when it is copied into the file.
	// 0: DefaultReserve; negative: no reserve.
	Reserve int64
	// Logger is told of what an operator should know; nil: nobody.
	Logger *slog.Logger
	// Now is the clock that commits are measured with; nil: time.Now.
	Now func() time.Time
	// Free says how many bytes are free on the disk of a folder; nil: the system is asked.
	Free func(folder string) (int64, error)

	// For tests: another driver or file layer under the same code.
	driver  driver.Driver
	dsn     func(path string) string
	borrows bool // its rows lend their memory
	// For tests: called after each statement of a migration.
	migrating func(statement string) error
	// For tests: the timer of views.
	afterFunc func(time.Duration, func()) (stop func() bool)
	walSoft   int64 // bytes of log from which it is copied into the file
	walHard   int64 // bytes of log at which readers are cancelled
}

// DB is an open store. It is safe for concurrent use.
type DB struct {
	o    Options
	log  *slog.Logger
	mem  bool
	lock *os.File
	open opener

	w       *conn      // the writer's; with mem also the readers'
	connMu  sync.Mutex // with mem: who uses w
	group   *group
	queue   queue
	stopped chan struct{} // the writer has ended

	failure atomic.Pointer[penstock.Error] // why the store has ended
	notify  notifier
	views   views
	wal     walState
	counts  counts
	// durations are those of commits.
	durations *observe.Histogram

	keep        bool // the log has to be there after Close
	maintenance maintenance
}

var _ store.Store = (*DB)(nil)

// Open opens the store, and makes it where there is none. Nothing is read but what is asked for later, so that the size of
// the file does not matter. Errors: config where the file is another program's, of a newer version, or held by another process;
// unavailable for the disk.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Path == "" {
		return nil, penstock.E(penstock.Config, "open the store", "", "it has no path")
	}
	o = o.withDefaults()
	d := &DB{o: o, log: o.Logger, mem: o.Path == Memory, stopped: make(chan struct{}), durations: observe.NewHistogram(observe.DefaultBounds()...)}
	d.open = opener{driver: o.driver, dsn: o.dsn(o.Path), borrows: o.borrows}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if err := d.openFiles(); err != nil {
		return nil, errors.Join(err, d.release())
	}
	if err := d.openWriter(); err != nil {
		return nil, errors.Join(d.openError(err), d.release())
	}
	d.queue.init()
	d.views.init()
	go d.run()
	return d, nil
}

func (o Options) withDefaults() Options {
	if o.Reserve == 0 {
		o.Reserve = DefaultReserve
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Free == nil {
		o.Free = diskFree
	}
	if o.driver == nil {
		o.driver = &sqlite.Driver{}
	}
	if o.dsn == nil {
		o.dsn = fileDSN
	}
	if o.afterFunc == nil {
		o.afterFunc = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	if o.walSoft == 0 {
		o.walSoft = walSoft
	}
	if o.walHard == 0 {
		o.walHard = walHard
	}
	return o
}

func fileDSN(path string) string {
	if path == Memory {
		return path
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // C:/…
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", Path: path, OmitHost: true}).String()
}

// openFiles makes folder, lock and file with the rights that they have to have: SQLite gives its own files those of the first.
func (d *DB) openFiles() error {
	if d.mem {
		return nil
	}
	path := d.o.Path
	fail := func(err error) error {
		e := &penstock.Error{Code: penstock.Unavailable, Op: "open the store", Path: path, Err: err}
		if errors.Is(err, fs.ErrPermission) {
			e.Code, e.Hint = penstock.Config, "the folder and its files have to belong to the user that runs penstock"
		}
		return e
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return fail(err)
	}
	lock, err := takeLock("open the store", path)
	if err != nil {
		return err
	}
	d.lock = lock
	if _, err := finishRestore(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fail(err)
	}
	err = f.Chmod(0o600)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil { // SQLite syncs the names of its log, not of the file
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

func (d *DB) openWriter() (err error) {
	if d.w, err = d.open.open("PRAGMA busy_timeout = 10000"); err != nil {
		return err
	}
	version, err := inspect(d.w, d.o.Path)
	if err != nil {
		return err
	}
	if version == 0 {
		if err := d.w.text(fmt.Sprintf("PRAGMA page_size = %d", pageSize)); err != nil {
			return err
		}
	}
	if err := d.tune(d.w, writerCache); err != nil {
		return err
	}
	if err := migrate(d.w, version, migrations, d.o.migrating); err != nil {
		return err
	}
	// From here on only readers are waited for, in a checkpoint.
	if err := d.w.text("PRAGMA busy_timeout = 5"); err != nil {
		return err
	}
	d.group, err = newGroup(d)
	return err
}

// Sizes of the caches of pages, and of pages. Segments live in chains of pages; larger pages make shorter chains, and write
// more for a small change. Measured: pages of 8 KiB bring bundles 5 to 10 %, and take 15 to 50 % from random keys.
const (
	pageSize    = 4096
	writerCache = 16 << 20
	readerCache = 2 << 20
)

// tune sets what durability and the bounds need, and reads it back: an option that SQLite does not know is ignored by it.
func (d *DB) tune(c *conn, cache int) error {
	mode, sync := "wal", "2"
	if d.mem {
		mode = "memory"
	} else if err := c.text("PRAGMA journal_mode = WAL"); err != nil {
		return err
	}
	for _, p := range []string{"PRAGMA synchronous = FULL", "PRAGMA wal_autocheckpoint = 0", "PRAGMA temp_store = MEMORY",
		"PRAGMA foreign_keys = OFF", "PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON", fmt.Sprintf("PRAGMA cache_size = -%d", cache>>10)} {
		if err := c.text(p); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	if err := expect(c, "PRAGMA journal_mode", mode); err != nil {
		return err
	}
	return expect(c, "PRAGMA synchronous", sync)
}

// least is how much a disk has to have free for a store to be opened: its log and what is shared of it begin at less.
const least = 1 << 20

// openError says what to do about an error of opening.
func (d *DB) openError(err error) error {
	var own *penstock.Error
	if errors.As(err, &own) {
		return err
	}
	switch primaryCode(err) {
	case codeNotADB:
		return foreign(d.o.Path)
	case codeCorrupt:
		return damaged(d.o.Path, "pages of the file")
	}
	e := &penstock.Error{Code: penstock.Unavailable, Op: "open the store", Path: d.o.Path, Err: err}
	e.Hint = "look at the disk and at the rights of the file"
	if free, ferr := d.o.Free(filepath.Dir(d.o.Path)); ferr == nil && free < least {
		e.Hint = "the disk is full: free some space; what is in the store is safe"
	}
	return e
}

// Codes of SQLite (sqlite.org/rescode.html).
const (
	codeBusy    = 5
	codeCorrupt = 11
	codeFull    = 13
	codeNotADB  = 26
)

// primaryCode gives SQLite's primary result code of an error; 0 where it has none.
func primaryCode(err error) int {
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		return coded.Code() & 0xff
	}
	if err != nil {
		for text, code := range map[string]int{"malformed": codeCorrupt, "not a database": codeNotADB, "database is locked": codeBusy, "disk is full": codeFull} {
			if strings.Contains(err.Error(), text) {
				return code
			}
		}
	}
	return 0
}

// keepLog gives a connection to be closed as the last one, where the disk had an error. SQLite copies the log into the file when the last
// connection is closed, and removes it. It goes on where it had come to, also if what it had copied was lost when a sync failed: it
// syncs the file only at the end of the log, and the system does not write again what it could not write. One that can only read leaves
// the log as it is, and the next start copies all of it again.
func (d *DB) keepLog() *conn {
	if d.mem {
		return nil
	}
	o := d.open
	if strings.Contains(o.dsn, "?") {
		o.dsn += "&mode=ro"
	} else {
		o.dsn += "?mode=ro"
	}
	c, err := o.open("PRAGMA busy_timeout = 1000")
	if err != nil {
		return nil
	}
	if _, err := c.number("SELECT count(*) FROM sqlite_schema"); err != nil { // it takes its lock with the first reading
		_ = c.close()
		return nil
	}
	return c
}

// release closes what was opened.
func (d *DB) release() error {
	var errs []error
	if d.keep || d.failure.Load() != nil {
		if last := d.keepLog(); last != nil {
			defer func() { _ = last.close() }() // it has only read
		}
	}
	errs = append(errs, d.views.close())
	if d.w != nil {
		errs = append(errs, d.w.close())
		d.w = nil
	}
	if d.lock != nil {
		errs = append(errs, unlock(d.lock))
		d.lock = nil
	}
	return errors.Join(errs...)
}

// Close implements store.Store. Transactions that are queued are committed first; views are cancelled.
func (d *DB) Close() error {
	d.maintenance.end(closedError(d.o.Path))
	if !d.queue.close() {
		<-d.stopped
		return nil
	}
	<-d.stopped
	d.views.cancelAll(closedError(d.o.Path))
	err := d.wal.wait()
	if err != nil {
		_ = d.fail("copy the write-ahead log into the file", err)
	}
	if d.failure.Load() == nil && !d.mem {
		// What the next start would have to read again. It is no harm if it does not work.
		if e := d.w.textRows(statements[sqlCheckpointTruncate], func([]driver.Value) (bool, error) { return false, nil }); e != nil {
			d.log.Warn("the write-ahead log was not emptied at the end; the next start does it", "store", d.o.Path, "error", e)
			d.keep = true
		}
	}
	if e := errors.Join(err, d.release()); e != nil {
		return &penstock.Error{Code: penstock.Unavailable, Op: "close the store", Path: d.o.Path, Err: e}
	}
	return nil
}

func closedError(path string) *penstock.Error {
	return penstock.E(penstock.Unavailable, "use the store", path, "it is closed")
}

// fail ends the store: from here on everything is refused.
func (d *DB) fail(op string, err error) *penstock.Error {
	e := &penstock.Error{Code: penstock.Unavailable, Op: op, Path: d.o.Path, Err: err,
		Hint: "the store has stopped, as what is on the disk is not known any more; look at the disk, and start again"}
	switch primaryCode(err) {
	case codeFull:
		e.Hint = "the disk is full: free some space, and start again; what was acknowledged is safe"
	case codeCorrupt:
		e.Err = fmt.Errorf("the file is damaged: %w", err)
		e.Hint = "run penstock store check; restore a backup with penstock backup restore; look at the disk"
	}
	if d.failure.CompareAndSwap(nil, e) {
		d.log.Error("the store has stopped", "store", d.o.Path, "error", e)
	}
	return d.failure.Load()
}

// counts are what Stats tells.
type counts struct {
	commits, transactions, messages, bytes, commitTime atomic.Int64
	freePages                                          atomic.Int64
}

// Parts implements [store.Store]. A file is one part: one process has it open, and one goroutine writes it. A layout with more would be
// another version of it.
func (d *DB) Parts() int { return 1 }

// Stats implements store.Store. FreeBytes is as of the last time that the log was copied into the file.
func (d *DB) Stats() store.Stats {
	s := store.Stats{
		Commits: d.counts.commits.Load(), Transactions: d.counts.transactions.Load(),
		Messages: d.counts.messages.Load(), Bytes: d.counts.bytes.Load(),
		CommitTime: time.Duration(d.counts.commitTime.Load()),
		FreeBytes:  d.counts.freePages.Load() * pageSize,
		Durations:  d.durations,
	}
	if d.mem {
		s.DiskFree = math.MaxInt64
		return s
	}
	s.FileBytes, s.WALBytes = fileSize(d.o.Path), fileSize(d.o.Path+"-wal")
	if free, err := d.o.Free(filepath.Dir(d.o.Path)); err == nil {
		s.DiskFree = free
	}
	return s
}

func fileSize(path string) int64 {
	i, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return i.Size()
}
