package view

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// State is how a view stands.
type State struct {
	View       string   `json:"view"`
	Phase      Phase    `json:"phase"`
	Generation int64    `json:"generation"` // whose rows are read
	Position   []int64  `json:"position"`   // of the next event, by part of the source
	From       []int64  `json:"from"`       // of the first event that is in the rows
	Rows       int64    `json:"rows"`
	Events     int64    `json:"events"` // that made them
	Lag        int64    `json:"lag"`    // events that are not in the rows yet
	Age        float64  `json:"age"`    // seconds that the oldest of them has been there; 0 where there is none
	Stopped    *Stopped `json:"stopped,omitempty"`
	Error      string   `json:"error,omitempty"` // why it does not come further for now
	// Changed says that another definition made the rows: they stay as they are until those that are being built are there.
	Changed bool `json:"changed,omitempty"`
	// Inline says that the rows are to change in the transactions of their events. Lagging says that they don't yet: queries wait, and fail as unavailable.
	Inline   bool   `json:"inline,omitempty"`
	Lagging  bool   `json:"lagging,omitempty"`
	Building *Built `json:"building,omitempty"`
}

// Built is how far the generation has come that is built beside the one that is read.
type Built struct {
	Generation int64     `json:"generation"`
	Position   []int64   `json:"position"`
	Rows       int64     `json:"rows"`
	Events     int64     `json:"events"`
	Lag        int64     `json:"lag"`
	Hold       bool      `json:"hold,omitempty"` // it is kept beside until it is switched to
	Stopped    *Stopped  `json:"stopped,omitempty"`
	Error      string    `json:"error,omitempty"`
	Compared   *Compared `json:"compared,omitempty"`
}

// States are those of all views, in the order of the plan.
func (e *Engine) States(ctx context.Context) ([]State, error) {
	var out []State
	for _, m := range e.all() {
		s, err := e.stateOf(ctx, m)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// State is that of one view.
func (e *Engine) State(ctx context.Context, name string) (State, error) {
	m, err := e.model(name)
	if err != nil {
		return State{}, err
	}
	return e.stateOf(ctx, m)
}

func (e *Engine) stateOf(ctx context.Context, m *model) (State, error) {
	m.mu.RLock()
	v, reg, serving, active, building, compared := m.view, m.reg, m.serving, m.active, m.building, m.compared
	m.mu.RUnlock()
	s := State{View: v.Name, Generation: reg.Generation, Changed: active == nil, Inline: v.Inline}
	var a at
	var err error
	if active != nil {
		var failed error
		a, _, failed = active.state()
		s.Error = textError(failed)
	} else if a, _, err = serving.Load(ctx); err != nil {
		return s, err
	}
	logs, err := e.sourceOf(v).Logs()
	if err != nil {
		return s, err
	}
	_, next, err := ends(ctx, e.opts.Store, logs)
	if err != nil {
		return s, err
	}
	if of, is := serving.(*stored); is && v.Inline {
		stopped := a.Stopped
		if a, s.Lagging, err = of.lags(ctx); err != nil {
			return s, err
		}
		a.Stopped = stopped
	}
	if between(a.Pos, next) > 0 {
		err = look(ctx, e.opts.Store, func(v store.View) error {
			s.Age, err = age(v, logs, a.Pos, next, e.clock.Now())
			return err
		})
		if err != nil {
			return s, err
		}
	}
	s.Position, s.From, s.Rows, s.Events, s.Stopped, s.Lag = a.Pos, a.From, a.Rows, a.Events, a.Stopped, between(a.Pos, next)
	if building != nil {
		a, _, failed := building.state()
		s.Building = &Built{Generation: building.generation, Position: a.Pos, Rows: a.Rows, Events: a.Events, Lag: between(a.Pos, next), Hold: reg.Hold, Stopped: a.Stopped, Error: textError(failed), Compared: compared}
	}
	s.Phase = s.phase()
	return s, nil
}

func textError(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Rows are all rows that are read, in the order of their keys: for tests, and for views that fit into memory. Those of a view that is inline are given as they
// are, also where they do not hold all events.
func (e *Engine) Rows(ctx context.Context, view string) ([]Row, error) {
	m, err := e.model(view)
	if err != nil {
		return nil, err
	}
	rows, err := e.read(ctx, m)
	if err != nil {
		return nil, err
	}
	var out []Row
	last := ""
	for {
		page, err := rows.Scan(ctx, last, scanPage)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
		if len(page) < scanPage {
			return out, nil
		}
		last = page[len(page)-1].Key
	}
}

// stuck is the follower of a view that has stopped at an event.
func (e *Engine) stuck(name string) (*follower, error) {
	m, err := e.model(name)
	if err != nil {
		return nil, err
	}
	for _, f := range m.followers() {
		if a, _, _ := f.state(); a.Stopped != nil {
			return f, nil
		}
	}
	return nil, &penstock.Error{Code: penstock.Conflict, Op: "view " + name, Err: errors.New("it has not stopped at any event")}
}

// Retry has a view that has stopped try the event again.
func (e *Engine) Retry(ctx context.Context, name string) error {
	f, err := e.stuck(name)
	if err != nil {
		return err
	}
	return f.resume(ctx, false)
}

// Skip has a view that has stopped leave the event out, and says which one. Its rows are from then on not what all events make of them.
func (e *Engine) Skip(ctx context.Context, name string) (*Stopped, error) {
	f, err := e.stuck(name)
	if err != nil {
		return nil, err
	}
	a, _, _ := f.state()
	return a.Stopped, f.resume(ctx, true)
}

// resume goes on at the event that f has stopped at, or behind it.
func (f *follower) resume(ctx context.Context, skip bool) error {
	f.work.Lock()
	defer f.work.Unlock()
	if f.at.Stopped == nil {
		return nil
	}
	if skip {
		if err := f.settle(ctx); err != nil {
			return err
		}
		to := f.at
		part := to.Stopped.Part
		to.Pos, to.Stopped = slices.Clone(to.Pos), nil
		to.Pos[part]++
		if err := f.submit(ctx, to, nil); err != nil {
			return err
		}
	}
	f.at.Stopped = nil
	if err := f.settle(ctx); err != nil {
		return err
	}
	f.reached(f.at)
	f.poke()
	return nil
}

// Rebuild builds the rows of a view anew beside those that are there, and switches to them when they have caught up; it returns at once. Where they are there
// already, held by a Diff, they are switched to.
func (e *Engine) Rebuild(ctx context.Context, name string) error { return e.build(ctx, name, false) }

// Diff builds the rows of a view anew beside those that are there, unless that was done already, holds them there, and compares both. It lists up to list
// rows that differ.
func (e *Engine) Diff(ctx context.Context, name string, list int) (*Compared, error) {
	if err := e.build(ctx, name, true); err != nil {
		return nil, err
	}
	m, err := e.model(name)
	if err != nil {
		return nil, err
	}
	if err := e.await(ctx, m, func() bool { return m.building == nil || m.compared != nil }); err != nil {
		return nil, err
	}
	m.mu.RLock()
	b := m.building
	m.mu.RUnlock()
	return e.compareAgain(ctx, m, b, list)
}

// compareAgain compares what is held with what is read, as both are now.
func (e *Engine) compareAgain(ctx context.Context, m *model, b *follower, list int) (*Compared, error) {
	m.finishing.Lock()
	defer m.finishing.Unlock()
	m.mu.RLock()
	active, building := m.active, m.building
	m.mu.RUnlock()
	if b == nil || building != b && !mutation.On("view-diff-of-what-is-read") { // it may be the active one by now
		return nil, &penstock.Error{Code: penstock.Conflict, Op: "view " + m.view.Name, Err: errors.New("what was to be compared was switched to meanwhile")}
	}
	b.work.Lock()
	defer b.work.Unlock()
	if active != nil {
		active.work.Lock()
		defer active.work.Unlock()
	}
	c, err := e.compared(ctx, m, active, b, list)
	if err == nil && c == nil {
		err = &penstock.Error{Code: penstock.Unavailable, Op: "view " + m.view.Name, Err: errors.New("what was built does not come to where the rows are that are read"), Hint: "`penstock view list` says why"}
	}
	return c, err
}

// Built waits until nothing is built beside the rows of a view any more.
func (e *Engine) Built(ctx context.Context, name string) error {
	m, err := e.model(name)
	if err != nil {
		return err
	}
	return e.await(ctx, m, func() bool { return m.building == nil })
}

// await waits until something holds of a model, which is asked under its lock.
func (e *Engine) await(ctx context.Context, m *model, holds func() bool) error {
	for {
		m.mu.RLock()
		ok, b, changed := holds(), m.building, m.changed
		m.mu.RUnlock()
		if ok {
			return nil
		}
		a, moved, _ := b.state()
		if a.Stopped != nil {
			return &penstock.Error{Code: penstock.Unprocessable, Op: "view " + m.view.Name, Err: fmt.Errorf("the rows that are built anew have stopped at %d: %s", a.Stopped.Position, a.Stopped.Message),
				Hint: "mend the view, or `penstock view skip " + m.view.Name + "` leaves the event out"}
		}
		select {
		case <-changed:
		case <-moved:
		case <-b.done:
			return context.Canceled
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// build begins to build rows anew, or says of those that are being built whether they are to be held.
func (e *Engine) build(ctx context.Context, name string, hold bool) error {
	e.applying.Lock()
	defer e.applying.Unlock()
	return e.buildNow(ctx, name, hold)
}

// buildNow is build for who holds applying.
func (e *Engine) buildNow(ctx context.Context, name string, hold bool) error {
	m, err := e.model(name)
	if err != nil {
		return err
	}
	for {
		next, err := e.register(ctx, m, hold)
		if err != nil {
			return err
		}
		if !mutation.On("view-rebuild-forgotten") {
			e.adopt(m, next) // rows may be switched to right now
		}
		m.mu.Lock()
		b := m.building
		switch {
		case next.Building <= m.reg.Generation: // they were switched to meanwhile: it begins with the next
			m.mu.Unlock()
			continue
		case b == nil:
			b = e.newFollower(m.view, next.Building)
			b.model, m.reg, m.building, m.compared = m, next, b, nil
			m.mu.Unlock()
			b.start(e.ctx)
			return nil
		}
		m.reg = next
		m.mu.Unlock()
		b.poke()
		return nil
	}
}

// register notes in the store that rows are to be built, and says what is noted there then.
func (e *Engine) register(ctx context.Context, m *model, hold bool) (registered, error) {
	var next registered // no result: where nobody waits any more, the transaction may still assign it
	err := e.opts.Store.Submit(store.Small, func(tx store.Tx) error {
		r, _, err := readRegistered(tx, m.view.Name)
		if err != nil {
			return err
		}
		if r.Building == 0 {
			r.Last++
			r.Building, r.BuildHash = r.Last, m.view.Hash
			r.Hold = hold
		}
		r.Hold = r.Hold && hold // what switches at the end goes on doing so
		next = r
		return r.put(tx, m.view.Name)
	}).Wait(ctx)
	if err != nil {
		return registered{}, err
	}
	return next, nil
}

// Last is how the rows that were built last compared with those that they took the place of.
func (e *Engine) Last(name string) (*Compared, error) {
	m, err := e.model(name)
	if err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.last, nil
}

// Look says how views stand in a store that no Engine is open on.
func Look(ctx context.Context, views []*plan.View, o Options) ([]State, error) {
	e := &Engine{opts: o, clock: o.Clock, models: map[string]*model{}}
	e.ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer e.Close()
	var out []State
	for _, v := range views {
		var r registered
		var ok bool
		err := look(ctx, o.Store, func(view store.View) (err error) {
			r, ok, err = readRegistered(view, v.Name)
			return err
		})
		if err != nil {
			return nil, err
		}
		if !ok {
			r = registered{Generation: 1, Hash: v.Hash, Place: e.placeOf(v)}
		}
		if r.Place != e.placeOf(v) || !inStore(r.Place) && r.Owner == "" { // nothing is there yet
			out = append(out, State{View: v.Name, Phase: Running, Generation: r.Generation, Changed: ok})
			continue
		}
		s, err := e.stateOf(ctx, &model{view: v, reg: r, serving: e.rowsOf(v, r.Generation)})
		if err != nil {
			return nil, err
		}
		s.Changed = r.Hash != v.Hash
		if r.Building > 0 {
			a, _, err := e.rowsOf(v, r.Building).Load(ctx)
			if err != nil {
				return nil, err
			}
			s.Building = &Built{Generation: r.Building, Position: a.Pos, Rows: a.Rows, Events: a.Events, Hold: r.Hold, Stopped: a.Stopped}
			s.Phase = s.phase()
		}
		out = append(out, s)
	}
	return out, nil
}
