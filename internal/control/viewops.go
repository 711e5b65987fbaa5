package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/entity"
	readmodel "penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// viewOps does what is asked of views: in the process that keeps them, or on a store that nobody has open.
type viewOps struct {
	clock penstock.Clock
	// engine is the one of the run; nil: nothing runs.
	engine func() *readmodel.Engine
	// What there is where nothing runs.
	plan     *plan.Plan
	open     func() (store.Store, error)
	entities func() *entity.Runtime
}

var _ operate.Views = (*viewOps)(nil)

// States implements operate.Views.
func (v *viewOps) States(ctx context.Context) (*operate.ViewList, error) {
	out := &operate.ViewList{Views: []operate.ViewState{}}
	if v.engine != nil {
		e := v.engine()
		if e == nil {
			return out, nil
		}
		all, err := e.States(ctx)
		out.Views = append(out.Views, all...)
		return out, err
	}
	if v.plan == nil || len(v.plan.Views) == 0 {
		return out, nil
	}
	st, err := v.open()
	if err != nil {
		return nil, err
	}
	all, err := readmodel.Look(ctx, v.plan.Views, v.options(st))
	out.Views = append(out.Views, all...)
	return out, err
}

func (v *viewOps) options(st store.Store) readmodel.Options {
	return readmodel.Options{Store: st, Entities: v.entities(), Clock: v.clock, UUID: newUUID, Params: v.plan.Params}
}

// keeping gives the engine that keeps a view, and lets go of it afterwards.
func (v *viewOps) keeping(ctx context.Context, name string) (e *readmodel.Engine, done func(), err error) {
	if v.engine != nil {
		if e = v.engine(); e == nil {
			return nil, nil, penstock.E(penstock.NotFound, "view", name, "the process that runs keeps no views")
		}
		return e, func() {}, nil
	}
	var only []*plan.View
	if v.plan != nil {
		only = slices.DeleteFunc(slices.Clone(v.plan.Views), func(o *plan.View) bool { return o.Name != name })
	}
	if len(only) == 0 {
		return nil, nil, &penstock.Error{Code: penstock.NotFound, Op: "view", Path: name, Err: errors.New("the configuration has no view of that name"), Hint: "name the folder of a configuration that has it"}
	}
	st, err := v.open()
	if err != nil {
		return nil, nil, err
	}
	e, err = readmodel.Open(ctx, only, v.options(st))
	if err != nil {
		return nil, nil, err
	}
	return e, e.Close, nil
}

// showEvery is how often somebody who waits is told how a view stands.
const showEvery = 500 * time.Millisecond

// Act implements operate.Views.
func (v *viewOps) Act(ctx context.Context, a operate.ViewAction, progress func(operate.ViewState) error) (*operate.ViewActed, error) {
	e, done, err := v.keeping(ctx, a.View)
	if err != nil {
		return nil, err
	}
	defer done()
	out := &operate.ViewActed{}
	waiting, stop := context.WithCancelCause(ctx)
	shown := v.showing(waiting, e, a.View, progress, stop)
	if v.engine == nil && (a.Verb == operate.ViewRetry || a.Verb == operate.ViewSkip) {
		err = e.Drain(ctx) // to open a view is to try its event again: only then it is known whether it stops there
	}
	switch {
	case err != nil:
	case v.engine == nil && a.Verb == operate.ViewRetry: // that was it
	case a.Verb == operate.ViewRebuild:
		if err = e.Rebuild(ctx, a.View); err == nil {
			err = e.Built(waiting, a.View)
		}
		if err == nil {
			out.Compared, err = e.Last(a.View)
		}
	case a.Verb == operate.ViewDiff:
		out.Compared, err = e.Diff(waiting, a.View, a.List)
	case a.Verb == operate.ViewRetry:
		err = e.Retry(ctx, a.View)
	case a.Verb == operate.ViewSkip:
		out.Skipped, err = e.Skip(ctx, a.View)
	default:
		err = penstock.E(penstock.Invalid, "view", a.Verb, "it is none of rebuild, diff, retry and skip")
	}
	stop(nil)
	<-shown
	if err == nil && v.engine == nil && (a.Verb == operate.ViewRetry || a.Verb == operate.ViewSkip) {
		err = e.Drain(ctx)
	}
	if err != nil {
		return nil, err
	}
	out.View, err = e.State(ctx, a.View)
	return out, err
}

// showing tells progress how a view stands until ctx ends; what it returns is closed then.
func (v *viewOps) showing(ctx context.Context, e *readmodel.Engine, name string, progress func(operate.ViewState) error, stop context.CancelCauseFunc) <-chan struct{} {
	over := make(chan struct{})
	go func() {
		defer close(over)
		for progress != nil {
			c, quiet := v.clock.NewTimer(showEvery)
			select {
			case <-c:
			case <-ctx.Done():
				quiet()
				return
			}
			s, err := e.State(ctx, name)
			if err == nil {
				err = progress(s)
			}
			if err != nil {
				stop(err)
				return
			}
		}
	}()
	return over
}
