package view

import (
	"context"
	"errors"
	"maps"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// mayBeInline says that the rows of a view can change with its events in the store that there is.
func (e *Engine) mayBeInline(v *plan.View) error {
	if v.Inline && v.Key != nil && e.opts.Store.Parts() > 1 {
		return &penstock.Error{Code: penstock.Config, Op: "view " + v.Name, Path: v.Pos.String(), Err: errors.New("the store has the events of an entity in several parts, and a row that several entities share can't change with the events of all of them"),
			Hint: "leave `key` out, or `inline`"}
	}
	return nil
}

// loaded reads how far the rows have come, and takes those parts back whose rows don't change with their events any more, or shall not.
func (f *follower) loaded(ctx context.Context) (a at, beside map[int]inlined, ok bool, err error) {
	s, is := f.rows.(*stored)
	if !is {
		a, ok, err = f.rows.Load(ctx)
		return a, nil, ok, err
	}
	if a, beside, ok, err = s.load(ctx); err != nil {
		return a, beside, ok, err
	}
	back := false
	for p, r := range beside {
		if r.On && f.view.Inline {
			continue
		}
		if err := s.leave(ctx, p); err != nil {
			return a, beside, ok, err
		}
		back = true
	}
	if back {
		return s.load(ctx)
	}
	return a, beside, ok, nil
}

// position is where the rows of a part are. Who calls it holds work.
func (f *follower) position(part int) int64 {
	if r, is := f.beside[part]; is {
		return r.Pos
	}
	return f.at.Pos[part]
}

// whole is how far all parts have come. Who calls it holds work.
func (f *follower) whole() at { return f.at.with(f.beside) }

// settled says that the rows change with their events in all parts, where they are to.
func (f *follower) settled() bool {
	if !f.view.Inline {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.logs) > 0 && len(f.beside) == len(f.logs)
}

// note notes how the rows of a part are that change with their events.
func (f *follower) note(part int, r inlined) {
	f.mu.Lock()
	next := maps.Clone(f.beside)
	if next == nil {
		next = map[int]inlined{}
	}
	f.meter.folded.Add(max(0, r.Events-next[part].Events))
	next[part] = r
	f.beside = next
	f.mu.Unlock()
	f.reached(f.at)
}

// watch looks at a part whose rows change with its events: they hold all of them, unless somebody has appended who did not change them.
func (f *follower) watch(ctx context.Context, part int) error {
	s := f.rows.(*stored)
	r, ok, level, err := s.beside(ctx, part)
	if err == nil && ok && r.On && !level {
		if err = s.catchUp(ctx, f.e.inlineOf(f.view.Name), part); err == nil {
			r, ok, _, err = s.beside(ctx, part)
		}
	}
	switch {
	case err != nil:
		return err
	case !ok || !r.On:
		return errBehind // it is taken back
	}
	f.note(part, r)
	return nil
}

// join has the rows of all parts change with their events, where they are to. False: it has to follow some further before.
func (f *follower) join(ctx context.Context) (bool, error) {
	if !f.view.Inline {
		return true, nil
	}
	f.work.Lock()
	defer f.work.Unlock()
	if f.at.Stopped != nil || f.at.Pos == nil {
		return false, nil
	}
	s, all := f.rows.(*stored), true
	for p := range f.logs {
		if _, is := f.beside[p]; is {
			continue
		}
		ok, err := s.join(ctx, f.e.inlineOf(f.view.Name), p)
		var r inlined
		if ok {
			r, ok, _, err = s.beside(ctx, p)
		}
		switch {
		case errors.Is(err, errBehind):
			f.lost = true // somebody else has done it
			f.poke()
			return false, nil
		case err != nil:
			return false, err
		case !ok:
			all = false
			f.poke()
			continue
		}
		f.note(p, r)
	}
	return all, nil
}

func (e *Engine) inlineOf(view string) *inlineRows {
	e.inlineM.Lock()
	defer e.inlineM.Unlock()
	return e.inline[view]
}

// patience is how long a query waits for rows that change with their events and do not hold all of them for now: their definition is just being changed, or somebody
// has appended who did not change them.
const patience = time.Second

// insistent are rows that are asked until they hold all events.
type insistent struct {
	e    *Engine
	m    *model
	rows rows
}

// Read implements rows.
func (i *insistent) Read(ctx context.Context, keys []string) (texts [][]byte, err error) {
	err = i.try(ctx, func() error {
		texts, err = i.rows.Read(ctx, keys)
		return err
	})
	return texts, err
}

// Scan implements rows.
func (i *insistent) Scan(ctx context.Context, after string, limit int) (page []Row, err error) {
	err = i.try(ctx, func() error {
		page, err = i.rows.Scan(ctx, after, limit)
		return err
	})
	return page, err
}

// lookEvery is how often rows are looked at that another process may be bringing further.
const lookEvery = 20 * time.Millisecond

func (i *insistent) try(ctx context.Context, ask func() error) error {
	var late <-chan time.Time
	for {
		i.m.mu.RLock()
		changed := i.m.changed
		i.m.mu.RUnlock()
		var moved [2]<-chan struct{}
		for n, f := range i.m.followers() {
			_, moved[n], _ = f.state()
		}
		err := ask()
		if !errors.Is(err, errNotLevel) {
			return err
		}
		if late == nil {
			c, stop := i.e.clock.NewTimer(patience)
			defer stop()
			late = c
		}
		soon, stop := i.e.clock.NewTimer(lookEvery)
		select {
		case <-late:
			stop()
			return notKept(i.m.view.Name)
		case <-changed:
		case <-moved[0]:
		case <-moved[1]:
		case <-soon:
		case <-ctx.Done():
			stop()
			return context.Cause(ctx)
		}
		stop()
	}
}
