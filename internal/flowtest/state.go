package flowtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/entity"
	"penstock.dev/penstock/internal/entity/view"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/jsonview"
)

// kept is what a test keeps: the entities and views of its configuration, in its own store.
type kept struct {
	given []int64 // positions behind what was given, by entity of the plan
	ended []ended // what expectations look at, by their number
}

// ended is what an entity or a view was at the end of a test.
type ended struct {
	records []*record
	state   *penstock.Tree // of the entity that is looked at
	version int64
	stopped string // why a view goes no further; "": it has seen everything
}

// entities are those of the plan, on a store.
func (w *world) entities(st store.Store) *entity.Runtime {
	return entity.New(w.test.suite.plan.Entities, entity.Options{
		Store: func() (store.Store, error) { return st, nil }, Clock: w.pace.clock, UUID: w.runtime.UUID, Params: w.runtime.Params,
	})
}

// give makes the history that the test begins with.
func (w *world) give(ctx context.Context) error {
	if w.store == nil {
		return nil
	}
	all := w.entities(w.store)
	for i := range w.test.spec.Given {
		g := &w.test.spec.Given[i]
		var past []entity.Past
		for j := range g.Events {
			e := &g.Events[j]
			past = append(past, entity.Past{Type: e.Event, Schema: e.Version, Data: e.Text(), Time: e.Happened})
		}
		if err := all.Entity(g.Entity.Name).Happened(ctx, g.Key, past); err != nil {
			return wrong(g.Pos, "what is given can't have happened: %w", err)
		}
	}
	for _, e := range w.test.suite.plan.Entities {
		end, err := all.Entity(e.Name).Reader().End(ctx, 0)
		if err != nil {
			return err
		}
		w.kept.given = append(w.kept.given, end)
	}
	return nil
}

// standing is a clock that tells the test's time, while what waits by it waits by the system's: views do, which are no part of the run that the
// test's clock moves.
type standing struct {
	penstock.SystemClock
	now func() time.Time
}

// Now implements penstock.Clock.
func (s standing) Now() time.Time { return s.now() }

// views follow what is in a store.
func (w *world) views(ctx context.Context, st store.Store, all *entity.Runtime) (*view.Engine, error) {
	var own []*plan.View
	for _, v := range w.test.suite.plan.Views {
		here := *v
		here.Rows = nil // the test's own store has the rows
		own = append(own, &here)
	}
	return view.Open(ctx, own, view.Options{Store: st, Entities: all, Clock: standing{now: w.pace.clock.Now}, UUID: w.runtime.UUID, Params: w.runtime.Params})
}

// follow has the flow ask views, where it does, that follow what it makes.
func (w *world) follow(all *entity.Runtime, o *run.Options) (err error) {
	asked := slices.ContainsFunc(slices.Collect(maps.Keys(w.places)), func(ep *plan.Endpoint) bool { return ep.Ask != nil && !w.mocks.of(ep) })
	inline := slices.ContainsFunc(w.test.suite.plan.Views, func(v *plan.View) bool { return v.Inline })
	if !asked && !inline {
		return nil
	}
	if w.life.views, err = w.views(w.life.ctx, w.store, all); err != nil {
		return err
	}
	o.Ask = w.life.asker()
	return w.life.views.Drain(w.life.ctx) // what is inline is so from the first command on
}

// unfollow ends what follow began.
func (l *life) unfollow() {
	if l.views != nil {
		l.views.Close()
	}
}

// asks answers queries of views, each with all that has happened by then.
type asks struct {
	e   *view.Engine
	ask plan.Ask
}

// asker makes what a step asks of a view.
func (l *life) asker() func(*plan.Ask) penstock.Caller {
	return func(a *plan.Ask) penstock.Caller {
		now := *a
		now.Wait = 0
		return &asks{l.views, now}
	}
}

// Open implements penstock.Caller.
func (*asks) Open(context.Context) error { return nil }

// Close implements penstock.Caller.
func (*asks) Close(context.Context) error { return nil }

// Call implements penstock.Caller.
func (a *asks) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	if err := a.e.Drain(ctx); err != nil {
		return err
	}
	return a.e.Caller(&a.ask).Call(ctx, f, into)
}

// remember looks at what the test's expectations of entities and views look at, once the run has ended.
func (w *world) remember(ctx context.Context) error {
	w.kept.ended = make([]ended, len(w.test.spec.Expect))
	all := w.entities(w.store)
	var e *view.Engine
	for i := range w.test.spec.Expect {
		x := &w.test.spec.Expect[i]
		var err error
		switch {
		case !x.Entity.IsZero():
			err = w.rememberEntity(ctx, all.Entity(x.Entity.Name), x, &w.kept.ended[i])
		case !x.View.IsZero():
			if e == nil {
				if e, err = w.views(ctx, w.store, all); err != nil {
					return err
				}
				defer e.Close()
				if err = e.Drain(ctx); err != nil {
					return err
				}
			}
			err = w.rememberView(ctx, e, x, &w.kept.ended[i])
		}
		if err != nil {
			return wrong(x.Pos, "%w", err)
		}
	}
	return nil
}

func (w *world) rememberEntity(ctx context.Context, x *entity.Entity, e *resource.Expect, out *ended) error {
	if e.Key != "" {
		text, version, err := x.State(ctx, e.Key, entity.AsOf{})
		if err != nil {
			return err
		}
		t, err := parse(text)
		if err != nil {
			return err
		}
		out.state, out.version = &t, version
	}
	var from int64
	for i, p := range w.test.suite.plan.Entities {
		if p.Name == e.Entity.Name {
			from = w.kept.given[i]
		}
	}
	for {
		events, next, err := x.Reader().Read(ctx, 0, from)
		if err != nil || next == from {
			return err
		}
		from = next
		b := &penstock.Batch{Runtime: w.runtime}
		for i := range events {
			ev := &events[i]
			if ev.Type == entity.ErasedType || e.Key != "" && ev.Key != e.Key {
				continue
			}
			r := &record{}
			r.msg, _ = keep(ev.Message(b, e.Entity.Name))
			doc := []byte(`{`)
			if e.Key == "" {
				doc = append(jsonview.AppendString(append(doc, `"key":`...), ev.Key), ',')
			}
			doc = append(jsonview.AppendString(append(doc, `"event":`...), ev.Type), `,"data":`...)
			t, err := parse(append(append(doc, ev.Data...), '}'))
			if err != nil {
				return err
			}
			r.tree = &t
			out.records = append(out.records, r)
		}
	}
}

func (w *world) rememberView(ctx context.Context, v *view.Engine, e *resource.Expect, out *ended) error {
	s, err := v.State(ctx, e.View.Name)
	if err != nil {
		return err
	}
	if s.Stopped != nil {
		out.stopped = fmt.Sprintf("%s of %q: %s", s.Stopped.Kind, s.Stopped.Key, s.Stopped.Message)
	}
	rows, err := v.Rows(ctx, e.View.Name)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if e.Key != "" && row.Key != e.Key {
			continue
		}
		m := &penstock.Message{Body: new(jsonview.Doc), Key: row.Key}
		m.Body.Reset(jsonview.JSON, row.Text)
		r := &record{}
		r.msg, r.tree = keep(m)
		out.records = append(out.records, r)
	}
	return nil
}

// looksAtState says that an expectation looks at what the test keeps.
func (w *world) looksAtState() bool {
	for i := range w.test.spec.Expect {
		if e := &w.test.spec.Expect[i]; !e.Entity.IsZero() || !e.View.IsZero() {
			return true
		}
	}
	return false
}

// stateOf gathers what an expectation of an entity or of a view looks at, and holds the state of an entity to it; nil after a failure.
func (w *world) stateOf(n int, e *resource.Expect) *found {
	is := &w.kept.ended[n]
	f := &found{records: is.records, one: "event"}
	name, by := e.Entity.Name, "entity"
	if !e.View.IsZero() {
		f.one, name, by = "row", e.View.Name, "view"
		f.body = w.test.suite.plan.View(name).Row
	} else {
		for _, x := range w.test.suite.plan.Entities {
			if x.Name == name {
				f.body = x.Event
			}
		}
	}
	f.what = by + " " + name
	if e.Key != "" {
		f.what += " " + e.Key
	}
	if is.stopped != "" {
		w.differ(e.At(by), w.aside(f), "%s has stopped at an event, %s", f.what, is.stopped)
		return nil
	}
	if e.Version != nil && int64(*e.Version) != is.version {
		w.differ(e.At("version"), f.list()+w.aside(f), "%s: expected version %d, found %d", f.what, *e.Version, is.version)
	}
	if e.State.Kind == penstock.TreeMap {
		if diff := differences(&e.State, is.state, true); len(diff) > 0 {
			lines := ""
			for _, line := range describe("state", diff) {
				lines += line + "\n"
			}
			w.differ(first(diff[0].pos, e.At("state")), lines+w.aside(f), "%s: the state is another one", f.what)
		}
	}
	return f
}
