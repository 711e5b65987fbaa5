package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/store"
)

// viewConns is how many snapshots can be open at a time. More wait.
const viewConns = 4

// views are the connections of snapshots.
type views struct{ slots chan *pgx.Conn } // nil: one that is not made yet

func (p *views) init() {
	p.slots = make(chan *pgx.Conn, viewConns)
	for range viewConns {
		p.slots <- nil
	}
}

// close closes the connections, after their views have ended.
func (p *views) close() {
	for range cap(p.slots) {
		if c := <-p.slots; c != nil {
			shut(c)
		}
	}
}

func shut(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

// view is one snapshot.
type view struct {
	d    *DB
	ctx  context.Context // ends with the view
	stop context.CancelCauseFunc

	mu    sync.Mutex // held while a question is asked
	c     *pgx.Conn
	begun bool
	ended bool
}

// View implements store.Store. At most four run at a time, others wait for them. What takes longer than store.MaxView is cancelled: its reads give an
// error of code timeout. The snapshot is taken with the first reading.
func (d *DB) View(ctx context.Context, f func(store.View) error) error {
	if e := d.failure.Load(); e != nil {
		return e
	}
	if d.closed.Load() {
		return d.closedError()
	}
	v := &view{d: d}
	v.ctx, v.stop = context.WithCancelCause(ctx)
	select {
	case v.c = <-d.views.slots:
	case <-d.life.Done():
		return context.Cause(d.life)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer v.end()
	late := &penstock.Error{Code: penstock.Timeout, Op: "read the store", Path: d.where(), Err: fmt.Errorf("the snapshot was open for %s: %w", store.MaxView, context.DeadlineExceeded),
		Hint: "read less at a time: a snapshot that is held open keeps the server from tidying up"}
	timer := time.AfterFunc(store.MaxView, func() { v.stop(late) })
	defer timer.Stop()
	stop := context.AfterFunc(d.life, func() { v.stop(context.Cause(d.life)) })
	defer stop()
	return f(v)
}

// end ends the snapshot.
func (v *view) end() {
	v.stop(penstock.E(penstock.Internal, "use a view", v.d.where(), "it has ended: a View is only good inside its function"))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
	c := v.c
	if c != nil && !c.IsClosed() && v.begun {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		if _, err := c.Exec(ctx, "ROLLBACK"); err != nil {
			shut(c)
		}
		cancel()
	}
	if c != nil && c.IsClosed() {
		c = nil
	}
	v.d.views.slots <- c
}

const sqlBeginView = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

// read asks a question. The first one begins the snapshot; a connection that was cut while nobody used it is made anew.
func read[T any](v *view, q query[T]) (T, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var got T
	if v.ctx.Err() != nil {
		return got, context.Cause(v.ctx)
	}
	kept := v.c != nil
	for {
		var err error
		if v.c == nil || v.c.IsClosed() {
			if v.begun {
				return got, v.d.readError(errors.New("the connection was cut"))
			}
			if v.c, err = v.d.connect(v.ctx); err != nil {
				v.c = nil
				return got, v.error(err)
			}
		}
		var a asked
		if !v.begun {
			a.add(sqlBeginView, func(pgx.Rows) error { return nil })
		}
		a.add(q.sql, func(rows pgx.Rows) (err error) {
			got, err = q.read(rows)
			return err
		}, q.args...)
		err = a.send(v.ctx, v.c)
		if err == nil {
			v.begun = true
			return got, nil
		}
		if !v.begun && kept && v.c.IsClosed() && v.ctx.Err() == nil {
			kept = false
			continue
		}
		v.begun = true
		var none T
		return none, v.error(err)
	}
}

// error is what a view says of an error.
func (v *view) error(err error) error {
	if v.ctx.Err() != nil {
		return context.Cause(v.ctx)
	}
	return v.d.readError(err)
}

func (d *DB) readError(err error) error {
	var own *penstock.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	code := penstock.Unavailable
	switch state := stateOf(err); {
	case state == stateCancelled:
		code = penstock.Timeout
	case state == "" || strings.HasPrefix(state, "08") || strings.HasPrefix(state, "57P"): // no connection; it stops, or starts
		err = away{err}
	}
	return &penstock.Error{Code: code, Op: "read the store", Path: d.where(), Err: err, Hint: "look at the server"}
}

// away is an error that says store.ErrAway too.
type away struct{ error }

func (a away) Unwrap() error { return a.error }

func (a away) Is(target error) bool { return target == store.ErrAway }

// Log implements store.View.
func (v *view) Log() store.Log { return viewReader{v} }

// State implements store.View.
func (v *view) State() store.State { return viewReader{v} }

// viewReader reads a snapshot.
type viewReader struct{ v *view }

func (v viewReader) Channels() ([]store.Bounds, error) { return read(v.v, channelsQuery) }

func (v viewReader) Bounds(channel string) (store.Bounds, error) {
	all, err := read(v.v, boundsQuery(channel))
	if err != nil || len(all) == 0 {
		return store.Bounds{Channel: channel}, err
	}
	return all[0], nil
}

func (v viewReader) Segments(channel string, from int64, maxBytes int) ([]store.Segment, error) {
	return read(v.v, segmentsQuery(channel, from, maxBytes))
}

func (v viewReader) Seek(channel string, at time.Time) (int64, error) {
	return read(v.v, seekQuery(channel, at.UnixNano(), 0))
}

func (v viewReader) Get(space string, key []byte) (store.Entry, bool, error) {
	all, err := read(v.v, getQuery(space, key))
	if err != nil || len(all) == 0 {
		return store.Entry{}, false, err
	}
	return all[0], true, nil
}

func (v viewReader) Scan(space string, after []byte, limit int) ([]store.Entry, error) {
	if limit <= 0 {
		return nil, nil
	}
	return read(v.v, scanQuery(space, after, limit))
}

func (v viewReader) Due(space string, until int64, limit int) ([]store.Entry, error) {
	if limit <= 0 {
		return nil, nil
	}
	return read(v.v, dueQuery(space, until, limit))
}

func (v viewReader) Spaces(prefix string) ([]store.Space, error) {
	return read(v.v, spacesQuery(prefix))
}
