package view

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// Options are what an Engine needs.
type Options struct {
	Store store.Store
	// Entities are those whose events views read; nil: there are none.
	Entities *entity.Runtime
	Clock    penstock.Clock
	UUID     func() string    // for uuid(); nil: none
	Params   []penstock.Value // of the plan
	Logger   *slog.Logger     // nil: none
}

// Engine keeps the views of a plan, and answers queries. It is safe for concurrent use.
type Engine struct {
	opts    Options
	clock   penstock.Clock
	runtime atomic.Pointer[penstock.Runtime]
	ctx     context.Context
	cancel  context.CancelFunc

	applying sync.Mutex
	places   places
	meters   meters
	pasts    chan struct{} // who makes rows as they were
	past     pastBounds
	mu       sync.RWMutex
	models   map[string]*model
	order    []string // of the plan

	inlineM sync.Mutex
	inline  map[string]*inlineRows // by view
}

// model is one view.
type model struct {
	view *plan.View

	finishing sync.Mutex // compares, and switches
	mu        sync.RWMutex
	reg       registered
	serving   backend   // whose rows are read
	active    *follower // of the generation that is read; nil: another definition made it, and it stays as it is
	building  *follower // of the one that is built beside it; nil: there is none
	compared  *Compared // of building with what is read; nil: it is not there yet
	last      *Compared // of the last switch
	changed   chan struct{}
}

// Open makes an Engine of views, and begins to follow their sources.
func Open(ctx context.Context, views []*plan.View, o Options) (*Engine, error) {
	e := &Engine{opts: o, clock: o.Clock, models: map[string]*model{}, pasts: make(chan struct{}, pastAtOnce), past: pastBounds{pastBytes, pastEvents}}
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if err := e.Apply(ctx, views, o.Params); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Apply has it keep these views in place of those that it has. One whose definition is another goes on being read as it is, while its
// rows are built anew beside.
func (e *Engine) Apply(ctx context.Context, views []*plan.View, params []penstock.Value) error {
	e.applying.Lock()
	defer e.applying.Unlock()
	e.runtime.Store(&penstock.Runtime{Params: params, Clock: e.clock, UUID: e.opts.UUID})
	e.inlineAll(views) // before anybody has their rows change with the events
	next, order := map[string]*model{}, []string{}
	var errs []error
	for _, v := range views {
		order = append(order, v.Name)
		e.mu.RLock()
		m := e.models[v.Name]
		e.mu.RUnlock()
		if m != nil && m.view.Hash == v.Hash && v.Hash != "" && m.view.Inline == v.Inline && sameConnection(m.view, v) {
			m.become(v)
			next[v.Name] = m
			continue
		}
		if m != nil {
			m.stop()
		}
		m, err := e.begin(ctx, v)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		next[v.Name] = m
	}
	e.mu.Lock()
	old := e.models
	e.models, e.order = next, order
	e.mu.Unlock()
	for name, m := range old {
		if next[name] == nil {
			m.stop()
		}
	}
	return errors.Join(errs...)
}

// become gives a view the queries of another plan.
func (m *model) become(v *plan.View) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.view = v
}

// begin takes a view up.
func (e *Engine) begin(ctx context.Context, v *plan.View) (*model, error) {
	m := &model{view: v, changed: make(chan struct{})}
	var drop, left int64
	var place string
	if err := e.mayBeInline(v); err != nil {
		return nil, err
	}
	owner := rand.Text()
	err := e.opts.Store.Submit(store.Small, func(tx store.Tx) error {
		r, ok, err := readRegistered(tx, v.Name)
		drop, left = 0, 0
		switch {
		case err != nil:
			return err
		case !ok:
			r = registered{Generation: 1, Hash: v.Hash, Last: 1}
		case r.Place != e.placeOf(v): // they are begun there, and are read as far as they are
			if inStore(r.Place) {
				left, drop, place = r.Generation, r.Building, r.Place
			}
			r = registered{Generation: r.Last + 1, Hash: v.Hash, Last: r.Last + 1, Owner: r.Owner}
		case r.Building > 0 && r.BuildHash != v.Hash:
			drop, r.Building, r.BuildHash, r.Hold = r.Building, 0, "", false
		}
		if r.Hash != v.Hash && r.Building == 0 {
			r.Last++
			r.Building, r.BuildHash, r.Hold = r.Last, v.Hash, false
		}
		if r.Place = e.placeOf(v); !inStore(r.Place) && r.Owner == "" {
			r.Owner = owner
		}
		m.reg = r
		return r.put(tx, v.Name)
	}).Wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("view %s: %w", v.Name, err)
	}
	if err := e.ready(ctx, v); err != nil {
		return nil, fmt.Errorf("view %s: %w", v.Name, err)
	}
	for _, n := range []int64{drop, left} {
		rows := e.rowsOf(v, n)
		if left > 0 {
			rows = &stored{st: e.opts.Store, view: v.Name, generation: n, channel: v.Channel, entity: v.Entity, place: place}
		}
		if n == 0 {
			continue
		}
		if err := rows.Drop(ctx); err != nil && !penstock.CodeOf(err).Transient() {
			return nil, fmt.Errorf("view %s: %w", v.Name, err)
		}
	}
	e.sweep(ctx, v, m.reg)
	if m.reg.Hash == v.Hash {
		m.active = e.newFollower(v, m.reg.Generation)
		m.serving = m.active.rows
	} else {
		m.serving = e.rowsOf(v, m.reg.Generation)
		until := "those that are there are read until then"
		if v.Inline {
			until = "those that are there are read until then, or until the next command"
		}
		e.log(slog.LevelInfo, "the definition of the view has changed: its rows are built anew, and "+until, "view", v.Name)
	}
	if m.reg.Building > 0 {
		m.building = e.newFollower(v, m.reg.Building)
	}
	for _, f := range []*follower{m.active, m.building} {
		if f != nil {
			f.model = m
			f.start(e.ctx)
		}
	}
	return m, nil
}

// rowsOf are the rows of a generation; 0 is the one that is read now, whichever that is, and for reading only.
func (e *Engine) rowsOf(v *plan.View, generation int64) backend {
	if v.Rows != nil {
		return &elsewhere{e: e, view: v, generation: generation}
	}
	return &stored{st: e.opts.Store, view: v.Name, generation: generation, channel: v.Channel, entity: v.Entity, place: e.placeOf(v), inline: v.Inline}
}

func (m *model) followers() []*follower {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.DeleteFunc([]*follower{m.active, m.building}, func(f *follower) bool { return f == nil })
}

func (m *model) stop() {
	for _, f := range m.followers() {
		f.stop()
	}
}

// told says that what followers are about has changed. Who calls it holds mu.
func (m *model) told() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// model finds a view.
func (e *Engine) model(name string) (*model, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if m := e.models[name]; m != nil {
		return m, nil
	}
	return nil, &penstock.Error{Code: penstock.NotFound, Op: "view", Path: name, Err: errors.New("this run has no view of that name")}
}

// read gives the rows that are read now, also when they are switched while they are read. Where several processes share the store, another
// one may have switched to others: then this engine follows.
func (e *Engine) read(ctx context.Context, m *model) (backend, error) {
	m.mu.RLock()
	v, generation := m.view, m.reg.Generation
	m.mu.RUnlock()
	rows := e.rowsOf(v, 0)
	if e.opts.Store.Parts() == 1 {
		return rows, nil
	}
	var r registered
	err := look(ctx, e.opts.Store, func(v store.View) (err error) {
		r, _, err = readRegistered(v, m.view.Name)
		return err
	})
	if err == nil && r.Generation != generation {
		e.adopt(m, r)
	}
	return rows, err
}

// adopt has a view be what another process has made of it, or this one, which is just about to note it. What was read before others switched to a later
// generation changes nothing.
func (e *Engine) adopt(m *model, r registered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Generation <= m.reg.Generation || e.ctx.Err() != nil {
		return
	}
	gone := []*follower{m.active, m.building}
	m.active = nil
	if b := m.building; b != nil && b.generation == r.Generation {
		m.active, gone[1] = b, nil
		m.last = m.compared // it may be this process that is just switching
	} else if r.Hash == m.view.Hash {
		m.active = e.newFollower(m.view, r.Generation)
		m.active.model = m
		m.active.start(e.ctx)
	}
	m.building, m.compared = nil, nil
	m.reg, m.serving = r, e.rowsOf(m.view, r.Generation)
	m.told()
	for _, f := range gone {
		if f != nil {
			f.cancel() // it ends by itself
		}
	}
}

func (e *Engine) all() []*model {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var out []*model
	for _, name := range e.order {
		if m := e.models[name]; m != nil {
			out = append(out, m)
		}
	}
	return out
}

// Close ends following. What was not durable is folded again by the next Engine.
func (e *Engine) Close() {
	e.cancel()
	for _, m := range e.all() {
		m.stop()
	}
	e.places.close()
}

// Drain waits until every view has come to where its source is now, has stopped, or can't go on.
func (e *Engine) Drain(ctx context.Context) error {
	for _, m := range e.all() {
		if err := e.drain(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// drain is Drain for one view.
func (e *Engine) drain(ctx context.Context, m *model) error {
	for {
		over := false // rows were switched to meanwhile: it is the next ones that count
		for _, f := range m.followers() {
			err := f.await(ctx, false)
			if errors.Is(err, context.Canceled) && f.ctx.Err() != nil && ctx.Err() == nil && e.ctx.Err() == nil && !slices.Contains(m.followers(), f) {
				over = true
				continue
			}
			if err != nil {
				return err
			}
		}
		if !over {
			return nil
		}
	}
}

// await waits until f has come to where its source is now. A follower that has stopped is no error unless it must come there.
func (f *follower) await(ctx context.Context, must bool) error {
	logs, err := f.source.Logs()
	if err != nil {
		return err
	}
	_, next, err := ends(ctx, f.e.opts.Store, logs)
	if err != nil {
		return err
	}
	f.heard(next)
	f.poke()
	for {
		a, moved, err := f.state()
		switch {
		case reaches(a.Pos, next) && f.settled():
			return nil
		case a.Stopped != nil && must:
			return &penstock.Error{Code: penstock.Unavailable, Op: "view " + f.view.Name, Err: fmt.Errorf("it has stopped at %d: %s", a.Stopped.Position, a.Stopped.Message)}
		case a.Stopped != nil:
			return nil
		case err != nil && !must:
			return err
		}
		select {
		case <-moved:
		case <-f.done:
			return context.Canceled
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (e *Engine) log(level slog.Level, text string, args ...any) {
	if e.opts.Logger != nil {
		e.opts.Logger.Log(e.ctx, level, text, args...)
	}
}

func (e *Engine) warn(f *follower, err error) {
	f.meter.delayed.Add(1)
	e.log(slog.LevelWarn, "the view does not come further for now", "view", f.view.Name, "error", err)
}

func (e *Engine) stopped(f *follower, s *Stopped) {
	f.meter.halted.Add(1)
	e.log(slog.LevelError, "the view has stopped at an event", "view", f.view.Name, "generation", f.generation, "position", s.Position, "event", s.Kind, "key", s.Key, "error", s.Message,
		"hint", "mend the view, which builds its rows anew; or `penstock view retry "+f.view.Name+"`, or `penstock view skip "+f.view.Name+"` to leave the event out")
}

// sleep waits on the engine's clock.
func (e *Engine) sleep(ctx context.Context, d time.Duration) {
	c, stop := e.clock.NewTimer(d)
	defer stop()
	select {
	case <-c:
	case <-ctx.Done():
	}
}

// caughtUp is told by a follower that has nothing more to read.
func (e *Engine) caughtUp(f *follower) {
	m := f.model
	m.mu.RLock()
	building, hold := m.building == f, m.reg.Hold
	ready, busy := m.compared != nil, m.building != nil
	m.mu.RUnlock()
	if a, _, _ := f.state(); a.Old && !busy {
		if !e.applying.TryLock() { // who has it may wait for this follower
			e.sleep(f.ctx, pause)
			f.poke()
			return
		}
		defer e.applying.Unlock()
		e.log(slog.LevelInfo, "a subject of the view's events was erased: its rows are built anew", "view", f.view.Name)
		if err := e.buildNow(f.ctx, f.view.Name, false); err != nil && f.ctx.Err() == nil {
			e.warn(f, err)
		}
		return
	}
	if ok, err := f.join(f.ctx); err != nil || !ok {
		if err != nil && f.ctx.Err() == nil && !errors.Is(err, errBehind) {
			e.warn(f, err)
			f.failed(err)
			e.sleep(f.ctx, pause)
		}
		return
	}
	if !building || hold && ready {
		return
	}
	if err := e.finish(f.ctx, m, f, hold); err != nil && f.ctx.Err() == nil {
		e.warn(f, err)
		f.failed(err)
	}
}

// finish compares a generation that has caught up with what is read, and switches to it unless it is to be held.
func (e *Engine) finish(ctx context.Context, m *model, b *follower, hold bool) error {
	m.finishing.Lock()
	defer m.finishing.Unlock()
	m.mu.RLock()
	active, building := m.active, m.building
	m.mu.RUnlock()
	if building != b {
		return nil // it was switched to meanwhile
	}
	b.work.Lock()
	defer b.work.Unlock()
	if active != nil {
		active.work.Lock()
		defer active.work.Unlock()
	}
	c, err := e.compared(ctx, m, active, b, 0)
	if err != nil || c == nil {
		return err
	}
	m.mu.Lock()
	m.compared = c
	m.told()
	m.mu.Unlock()
	if hold {
		return nil
	}
	return e.switchTo(ctx, m, active, b)
}

// compared compares what is built with what is read, at the same place. nil: it has stopped, or its rows don't change with the events yet, as they should.
func (e *Engine) compared(ctx context.Context, m *model, active, b *follower, list int) (*Compared, error) {
	if b.view.Inline {
		if !b.settled() {
			return nil, nil
		}
		c, err := compareInline(ctx, e.opts.Store, m.serving.(*stored), b.rows.(*stored), list)
		if err == nil {
			c.Position, c.Level = slices.Clone(b.whole().Pos), active != nil && active.settled()
		}
		return c, err
	}
	if !mutation.On("view-switches-early") {
		if err := level(ctx, active, b); err != nil {
			return nil, err
		}
		if b.at.Stopped != nil {
			return nil, nil // it is seen in its state
		}
	}
	c, err := compare(ctx, m.serving, b.rows, list)
	if err == nil {
		c.Position, c.Level = slices.Clone(b.at.Pos), active != nil && slices.Equal(active.at.Pos, b.at.Pos)
	}
	return c, err
}

// level brings both to the same place.
func level(ctx context.Context, active, b *follower) error {
	if b.at.Pos == nil || active != nil && active.at.Pos == nil {
		return errBehind // they are not open yet
	}
	for {
		was, target := b.at.Pos, latest(b.reach(), b.at.Pos)
		if active != nil {
			target = latest(latest(target, active.reach()), active.at.Pos)
			if err := active.upTo(ctx, target); err != nil {
				return err
			}
		}
		if err := b.upTo(ctx, target); err != nil {
			return err
		}
		if b.at.Stopped != nil || reaches(b.at.Pos, target) {
			return nil
		}
		if slices.Equal(b.at.Pos, was) {
			return &penstock.Error{Code: penstock.Internal, Op: "view " + b.view.Name, Err: errors.New("its source has fewer events than it had")}
		}
	}
}

// upTo brings a follower to a place, durably. Who calls it holds work.
func (f *follower) upTo(ctx context.Context, target []int64) error {
	for {
		more, err := f.step(ctx, target)
		if err != nil {
			return err
		}
		if !more {
			return f.settle(ctx)
		}
	}
}

// switchTo has queries read what was built, and forgets what was read before.
func (e *Engine) switchTo(ctx context.Context, m *model, active, b *follower) error {
	var old int64
	var next registered
	if x, ok := b.rows.(*elsewhere); ok { // who dies in between finds them switched there, and does the rest
		if err := x.switchTo(ctx); err != nil {
			return err
		}
	}
	err := e.opts.Store.Submit(store.Small, func(tx store.Tx) error {
		r, _, err := readRegistered(tx, m.view.Name)
		if err != nil {
			return err
		}
		if r.Building != b.generation {
			return errBehind
		}
		old = r.Generation
		r.Generation, r.Hash, r.Building, r.BuildHash, r.Hold = b.generation, r.BuildHash, 0, "", false
		next = r
		return r.put(tx, m.view.Name)
	}).Wait(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	if m.reg.Generation < next.Generation || mutation.On("view-switch-noted-late") { // else who asked has noticed the switch before, and may have begun with the next
		m.reg, m.serving, m.active, m.building = next, b.rows, b, nil
		m.last, m.compared = m.compared, nil
		m.told()
	}
	m.mu.Unlock()
	e.log(slog.LevelInfo, "the view was built anew", "view", m.view.Name, "generation", b.generation, "rows", b.at.Rows, "events", b.at.Events)
	if active != nil {
		active.cancel()
		active.work.Unlock()
		<-active.done
		active.work.Lock()
	}
	if err := e.rowsOf(m.view, old).Drop(ctx); err != nil { // the rows are nobody's: they only take room
		e.log(slog.LevelWarn, "what is left of the generation before could not be removed", "view", m.view.Name, "generation", old, "error", err)
	}
	return nil
}
