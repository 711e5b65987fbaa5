package control

import (
	"context"
	"errors"
	"sync"

	"penstock.dev/penstock"
	readmodel "penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// views are the read models of a run. They are kept from when its store is open until it ends.
type views struct {
	x  *session
	mu sync.Mutex
	e  *readmodel.Engine
}

// opening opens the store of a run, and has its views follow it.
func (v *views) opening(ctx context.Context, open func() (store.Store, error)) func() (store.Store, error) {
	return func() (store.Store, error) {
		st, err := open()
		if err != nil {
			return nil, err
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		pl := v.x.current().plan
		if v.e != nil || len(pl.Views) == 0 {
			return st, nil
		}
		v.e, err = readmodel.Open(ctx, pl.Views, v.options(st, pl))
		return st, err
	}
}

// enter has the views follow a store that replicas share, until leave.
func (v *views) enter(st store.Store) error {
	_, err := v.opening(context.Background(), func() (store.Store, error) { return st, nil })()
	return err
}

// leave lets go of a store that replicas share.
func (v *views) leave() {
	v.mu.Lock()
	e := v.e
	v.e = nil
	v.mu.Unlock()
	if e != nil {
		e.Close()
	}
}

func (v *views) options(st store.Store, pl *plan.Plan) readmodel.Options {
	return readmodel.Options{Store: st, Entities: v.x.entities, Clock: v.x.s.clock(), UUID: newUUID, Params: pl.Params, Logger: v.x.o.Logger}
}

// engine is there once the store is open and the plan has views; else nil.
func (v *views) engine() *readmodel.Engine {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.e
}

// apply has the views be those of another plan.
func (v *views) apply(ctx context.Context, pl *plan.Plan) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.e != nil {
		return v.e.Apply(ctx, pl.Views, pl.Params)
	}
	st := v.x.st.Opened()
	if len(pl.Views) == 0 || st == nil || v.x.r.shared != nil { // who holds their part has them
		return nil
	}
	var err error
	v.e, err = readmodel.Open(ctx, pl.Views, v.options(st, pl))
	return err
}

// ask makes what a step asks.
func (v *views) ask(a *plan.Ask) penstock.Caller { return &asked{v, a} }

// asked is a step that asks a view, whichever engine there is by then.
type asked struct {
	v   *views
	ask *plan.Ask
}

// Open implements penstock.Caller.
func (*asked) Open(context.Context) error { return nil }

// Close implements penstock.Caller.
func (*asked) Close(context.Context) error { return nil }

// Call implements penstock.Caller.
func (a *asked) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	e := a.v.engine()
	if e == nil {
		return &penstock.Error{Code: penstock.Unavailable, Op: "query view " + a.ask.View, Err: errors.New("the views of this run are not open")}
	}
	return e.Caller(a.ask).Call(ctx, f, into)
}

// end lets the views come to where their sources are, unless the run was broken off, and closes them.
func (v *views) end(drain bool) error {
	e := v.engine()
	if e == nil {
		return nil
	}
	defer e.Close()
	if !drain {
		return nil
	}
	return e.Drain(context.Background())
}
