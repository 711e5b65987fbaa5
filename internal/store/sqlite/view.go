package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// viewConns is how many snapshots can be open at a time. More wait.
const viewConns = 4

// views are the snapshots.
type views struct {
	slots chan *conn // nil: a connection that is not made yet
	mu    sync.Mutex
	open  map[*view]struct{}
	gate  *sync.RWMutex // held for writing while there may be no snapshot
}

func (p *views) init() {
	p.slots = make(chan *conn, viewConns)
	for range viewConns {
		p.slots <- nil
	}
	p.open = map[*view]struct{}{}
	p.gate = &sync.RWMutex{}
}

// close closes the connections, after their views have ended.
func (p *views) close() error {
	var errs []error
	for range cap(p.slots) {
		if c := <-p.slots; c != nil {
			errs = append(errs, c.close())
		}
	}
	return errors.Join(errs...)
}

// cancelAll ends all views that are open.
func (p *views) cancelAll(why *penstock.Error) {
	p.mu.Lock()
	open := make([]*view, 0, len(p.open))
	for v := range p.open {
		open = append(open, v)
	}
	p.mu.Unlock()
	for _, v := range open {
		v.end(why)
	}
}

// view is one snapshot. Its end can come from outside, while f does something else.
type view struct {
	d  *DB
	mu sync.Mutex // held while a statement runs
	r  *reader
	c  *conn
	// cancelled ends the statement that runs at its next row.
	cancelled context.Context
	cancel    context.CancelCauseFunc
	ended     bool
	broken    bool // the connection can't be used again
}

// View implements store.Store. At most four run at a time, others wait for them. What takes longer than store.MaxView, or holds up the
// write-ahead log at its bound, is cancelled: its reads give an error of code timeout.
func (d *DB) View(ctx context.Context, f func(store.View) error) error {
	return d.snapshot(ctx, store.MaxView, func(v *view) error { return f(v) })
}

// snapshot is a view that ends after a while; 0: only where it holds up the log at its bound, or ctx ends.
func (d *DB) snapshot(ctx context.Context, lasts time.Duration, f func(*view) error) error {
	if e := d.failure.Load(); e != nil {
		return e
	}
	c, err := d.viewConn(ctx)
	if err != nil {
		return err
	}
	v := &view{d: d, c: c}
	v.cancelled, v.cancel = context.WithCancelCause(ctx)
	v.r = &reader{c: c, path: d.o.Path, going: func() error {
		if v.cancelled.Err() != nil {
			return context.Cause(v.cancelled)
		}
		return nil
	}}
	if err := v.begin(); err != nil {
		v.end(closedError(d.o.Path))
		return err
	}
	if lasts > 0 {
		stop := d.o.afterFunc(lasts, func() {
			e := d.over(fmt.Sprintf("the snapshot was open for %s", lasts))
			e.Hint = "read less at a time: a snapshot that is held open keeps the write-ahead log from being shortened"
			v.end(e)
		})
		defer stop()
	}
	defer v.end(penstock.E(penstock.Internal, "use a view", d.o.Path, "it has ended: a View is only good inside its function"))
	return f(v)
}

// viewConn waits for a connection, and makes it where it is not there yet.
func (d *DB) viewConn(ctx context.Context) (*conn, error) {
	slots := d.views.slots
	var c *conn
	select {
	case c = <-slots:
	case <-d.stopped:
		return nil, closedError(d.o.Path)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if d.queue.isClosed() {
		slots <- c
		return nil, closedError(d.o.Path)
	}
	if d.mem {
		d.connMu.Lock()
		return d.w, nil
	}
	if c != nil {
		return c, nil
	}
	c, err := d.open.open("PRAGMA busy_timeout = 10000", "PRAGMA query_only = ON")
	if err == nil {
		if err = d.tune(c, readerCache); err != nil {
			err = errors.Join(err, c.close())
		}
	}
	if err != nil {
		slots <- nil
		return nil, d.openError(err)
	}
	return c, nil
}

// begin takes the snapshot.
func (v *view) begin() error {
	p := &v.d.views
	p.gate.RLock()
	defer p.gate.RUnlock()
	p.mu.Lock()
	p.open[v] = struct{}{}
	p.mu.Unlock()
	if v.d.mem {
		return nil
	}
	_, err := v.c.exec(sqlBeginRead)
	if err == nil {
		// A transaction begins with its first read.
		err = v.c.query(sqlPin, func([]driverValue) (bool, error) { return false, nil })
	}
	if err != nil {
		v.broken = true
		return v.d.readError(err)
	}
	return nil
}

// end ends the snapshot; what is read later gets the error. Only the first end counts.
func (v *view) end(why *penstock.Error) {
	v.cancel(why) // a statement that runs stops at its next row
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ended {
		return
	}
	v.ended = true
	p := &v.d.views
	p.mu.Lock()
	delete(p.open, v)
	p.mu.Unlock()
	c := v.c
	if v.d.mem {
		c = nil
		v.d.connMu.Unlock()
	} else {
		if _, err := c.exec(sqlRollback); err != nil || v.broken {
			_ = c.close()
			c = nil
		}
	}
	p.slots <- c
}

// readError is what a view says of an error of SQLite.
func (d *DB) readError(err error) error {
	var own *penstock.Error
	if err == nil || errors.As(err, &own) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if primaryCode(err) == codeCorrupt {
		return damaged(d.o.Path, "pages of the file")
	}
	return &penstock.Error{Code: penstock.Unavailable, Op: "read the store", Path: d.o.Path, Err: err, Hint: "look at the disk"}
}

// Log implements store.View.
func (v *view) Log() store.Log { return viewReader{v} }

// State implements store.View.
func (v *view) State() store.State { return viewReader{v} }

// over is why a snapshot was ended before its reader had done with it. It is a deadline that was exceeded, as for any reader that
// has to try again with less.
func (d *DB) over(why string) *penstock.Error {
	return &penstock.Error{Code: penstock.Timeout, Op: "read the store", Path: d.o.Path, Err: fmt.Errorf("%s: %w", why, context.DeadlineExceeded)}
}
