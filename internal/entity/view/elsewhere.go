package view

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// placeOf is where the rows of a view are; "" is the store.
func (e *Engine) placeOf(v *plan.View) string {
	switch {
	case v.Rows != nil:
		return v.Rows.Place
	case v.Inline && e.opts.Store.Parts() > 1:
		return splitPlace
	}
	return ""
}

// inStore says that rows of a place are in the store.
func inStore(place string) bool { return place == "" || place == splitPlace }

// sameConnection says that rows are reached by the same Connection.
func sameConnection(a, b *plan.View) bool {
	return (a.Rows == nil) == (b.Rows == nil) && (a.Rows == nil || a.Rows.ConnectionHash == b.Rows.ConnectionHash)
}

// places are the stores of rows that an Engine has open, and what they share.
type places struct {
	mu      sync.Mutex
	open    map[string]*site
	shared  map[string]any
	writing sync.WaitGroup
	closed  bool
}

// site is one of them.
type site struct {
	mu    sync.Mutex
	rows  penstock.RowStore
	ready bool // it was opened
}

// close ends all connections, when what is being written has ended.
func (p *places) close() {
	p.writing.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range p.shared {
		if c, ok := v.(io.Closer); ok {
			_ = c.Close() // nothing is written any more
		}
	}
	p.open, p.shared, p.closed = nil, nil, true
}

// siteOf finds the store of a view's rows, which need not be open.
func (e *Engine) siteOf(v *plan.View) (*site, error) {
	p := &e.places
	p.mu.Lock()
	defer p.mu.Unlock()
	id := v.Name + "\x00" + v.Hash + "\x00" + v.Rows.ConnectionHash
	if at := p.open[id]; at != nil {
		return at, nil
	}
	if p.closed {
		return nil, context.Canceled
	}
	if p.open == nil {
		p.open, p.shared = map[string]*site{}, map[string]any{}
	}
	logger := e.opts.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	runtime := e.runtime.Load()
	if runtime == nil {
		runtime = &penstock.Runtime{Params: e.opts.Params, Clock: e.clock, UUID: e.opts.UUID}
	}
	env := penstock.Env{Name: "view " + v.Name, Logger: logger, Clock: e.clock, Runtime: runtime, Shared: func(key string, build func() (any, error)) (any, error) {
		key += "\x00" + v.Rows.ConnectionHash // called under mu
		if x, ok := p.shared[key]; ok {
			return x, nil
		}
		x, err := build()
		if err == nil {
			p.shared[key] = x
		}
		return x, err
	}}
	made, err := v.Rows.Driver.Build(v.Rows.Config, env)
	if err != nil {
		return nil, err
	}
	at := &site{rows: made.(penstock.RowStore)}
	p.open[id] = at
	return at, nil
}

// rowStore gives the store of a view's rows, open.
func (e *Engine) rowStore(ctx context.Context, v *plan.View) (penstock.RowStore, error) {
	at, err := e.siteOf(v)
	if err != nil {
		return nil, err
	}
	at.mu.Lock()
	defer at.mu.Unlock()
	if at.ready {
		return at.rows, nil
	}
	r, err := e.registered(ctx, v)
	if err != nil {
		return nil, err
	}
	if err := at.rows.Open(ctx, r.Owner); err != nil {
		return nil, err
	}
	at.ready = true
	return at.rows, nil
}

// registered is what is known of a view.
func (e *Engine) registered(ctx context.Context, v *plan.View) (r registered, err error) {
	err = look(ctx, e.opts.Store, func(s store.View) (err error) {
		r, _, err = readRegistered(s, v.Name)
		return err
	})
	return r, err
}

// ready opens the store of a view's rows. One that is away is waited for by who follows: everything else is an error.
func (e *Engine) ready(ctx context.Context, v *plan.View) error {
	if v.Rows == nil {
		return nil
	}
	_, err := e.rowStore(ctx, v)
	if err != nil && penstock.CodeOf(err).Transient() {
		e.log(slog.LevelWarn, "the rows of the view can't be reached for now", "view", v.Name, "error", err)
		return nil
	}
	return err
}

// sweep removes what a process that died has left of generations that are nobody's.
func (e *Engine) sweep(ctx context.Context, v *plan.View, r registered) {
	if v.Rows == nil {
		return
	}
	for n := r.Last; n > max(0, r.Last-3); n-- {
		if n == r.Generation || n == r.Building {
			continue
		}
		if err := e.rowsOf(v, n).Drop(ctx); err != nil {
			e.log(slog.LevelWarn, "what is left of an earlier generation could not be removed", "view", v.Name, "generation", n, "error", err)
			return
		}
	}
}

// elsewhere keeps rows outside of the store, with how far they have come.
type elsewhere struct {
	e          *Engine
	view       *plan.View
	generation int64 // 0: the one that is current when it is read
}

var _ backend = (*elsewhere)(nil)

// Load implements backend.
func (x *elsewhere) Load(ctx context.Context) (a at, ok bool, err error) {
	rows, err := x.e.rowStore(ctx, x.view)
	if err != nil {
		return a, false, err
	}
	text, ok, err := rows.Generation(x.generation).Load(ctx)
	if err != nil || !ok {
		return a, false, err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return at{}, false, damagedEntry("the position of view "+x.view.Name, err)
	}
	return a, true, x.show(ctx, rows)
}

// show has others read the rows of the generation that is read, where they don't yet.
func (x *elsewhere) show(ctx context.Context, rows penstock.RowStore) error {
	r, err := x.e.registered(ctx, x.view)
	if err != nil || r.Generation != x.generation {
		return err
	}
	if err := rows.Switch(ctx, x.generation); !errors.Is(err, penstock.ErrRowsMoved) {
		return err
	}
	return nil // a later one is read there already: it is just being switched to
}

// Read implements backend.
func (x *elsewhere) Read(ctx context.Context, keys []string) ([][]byte, error) {
	rows, err := x.e.rowStore(ctx, x.view)
	if err != nil {
		return nil, err
	}
	texts, err := rows.Generation(x.generation).Read(ctx, keys)
	if err != nil && x.none(ctx, rows) {
		return make([][]byte, len(keys)), nil
	}
	return texts, err
}

// none says that nothing is current yet, so that there are no rows to read.
func (x *elsewhere) none(ctx context.Context, rows penstock.RowStore) bool {
	if x.generation != 0 {
		return false
	}
	n, err := rows.Current(ctx)
	return err == nil && n == 0
}

// Scan implements backend.
func (x *elsewhere) Scan(ctx context.Context, after string, limit int) ([]Row, error) {
	rows, err := x.e.rowStore(ctx, x.view)
	if err != nil {
		return nil, err
	}
	page, err := rows.Generation(x.generation).Scan(ctx, after, limit)
	if err != nil {
		if x.none(ctx, rows) {
			return nil, nil
		}
		return nil, err
	}
	out := make([]Row, len(page))
	for i, r := range page {
		out[i] = Row(r)
	}
	return out, nil
}

// Write implements backend.
func (x *elsewhere) Write(from, to at, changes []change) *store.Commit {
	c := store.NewCommit()
	x.e.places.writing.Go(func() { c.Finish(x.write(x.e.ctx, from, to, changes)) })
	return c
}

func (x *elsewhere) write(ctx context.Context, from, to at, changes []change) error {
	rows, err := x.e.rowStore(ctx, x.view)
	if err != nil {
		return err
	}
	before := ""
	if from.Pos != nil {
		before = mark(from)
	} else if err := x.keep(ctx, to); err != nil { // what is there now stays until it was read
		return err
	}
	state, err := json.Marshal(to)
	if err != nil {
		return err
	}
	set := make([]penstock.KeyedRow, len(changes))
	for i, ch := range changes {
		set[i] = penstock.KeyedRow(ch)
	}
	if mutation.On("view-sql-shortened-early") && before != "" {
		if err := x.keep(ctx, to); err != nil {
			return err
		}
	}
	g := rows.Generation(x.generation)
	err = g.Write(ctx, before, penstock.RowMark{Position: mark(to), State: state}, set)
	switch {
	case errors.Is(err, penstock.ErrRowsMoved) && mutation.On("view-sql-behind"):
		return nil
	case errors.Is(err, penstock.ErrRowsMoved):
		return errBehind
	case err != nil:
		return err
	case before == "":
		return x.show(ctx, rows)
	}
	return x.keep(ctx, to)
}

// mark is a position as it is compared.
func mark(a at) string {
	text, err := json.Marshal(a.Pos)
	if err != nil {
		return ""
	}
	return string(text)
}

// keep has the channel keep what lies behind a position, and sees that the generation is still one of the view's.
func (x *elsewhere) keep(ctx context.Context, to at) error {
	return x.e.opts.Store.Submit(store.Bulk, func(tx store.Tx) error {
		if r, _, err := readRegistered(tx, x.view.Name); err != nil || r.Generation != x.generation && r.Building != x.generation {
			return errors.Join(err, errRetired)
		}
		if x.view.Channel == "" {
			return nil
		}
		return channel.SetCursor(tx, x.view.Channel, Group(x.view.Name, x.generation), to.Pos[0])
	}).Wait(ctx)
}

// switchTo has others read this generation.
func (x *elsewhere) switchTo(ctx context.Context) error {
	rows, err := x.e.rowStore(ctx, x.view)
	if err != nil {
		return err
	}
	err = rows.Switch(ctx, x.generation)
	if errors.Is(err, penstock.ErrRowsMoved) {
		return errBehind
	}
	return err
}

// Drop implements backend.
func (x *elsewhere) Drop(ctx context.Context) error {
	if x.view.Channel != "" {
		err := x.e.opts.Store.Submit(store.Small, func(tx store.Tx) error {
			return channel.RemoveCursor(tx, x.view.Channel, Group(x.view.Name, x.generation))
		}).Wait(ctx)
		if err != nil {
			return err
		}
	}
	rows, err := x.e.rowStore(ctx, x.view)
	if err != nil {
		return err
	}
	return rows.Drop(ctx, x.generation)
}
