package view

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// What a follower takes at a time.
const (
	readBytes  = 2 << 20  // of events, from the disk
	writeRows  = 8192     // that changed, in one transaction
	shelfBytes = 48 << 20 // of rows that are remembered
)

// pause is how long a follower waits before it tries again what failed.
const pause = time.Second

// follower brings one generation of a view to where its source is, and keeps it there.
type follower struct {
	e          *Engine
	model      *model
	view       *plan.View
	generation int64
	rows       backend
	source     source
	logs       []string // of the source, by part
	meter      *meter

	work  sync.Mutex // who reads, folds and writes
	fold  *folder
	shelf *shelf
	at    at // work: as far as it was folded; durable once flight is done
	// beside is the parts whose rows change with the events, and how they are: work, and mu for who writes it.
	beside map[int]inlined
	flight *store.Commit
	turn   int  // work: the part that was read last
	lost   bool // work: what it knows of its rows is old

	wake   chan struct{}   // there may be something to do
	ctx    context.Context // while it follows
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	known at            // durable
	moved chan struct{} // closed when known changes
	err   error         // why it does not come further for now, where that is not an event's fault
	next  []int64       // of the source, as far as is known
}

func (e *Engine) newFollower(v *plan.View, generation int64) *follower {
	f := &follower{e: e, view: v, generation: generation, meter: e.meters.of(v.Name), wake: make(chan struct{}, 1), done: make(chan struct{}), moved: make(chan struct{})}
	f.rows, f.source = e.rowsOf(v, generation), e.sourceOf(v)
	f.fold = newFolder(v, e.runtime.Load())
	f.shelf = newShelf(shelfBytes)
	return f
}

// load reads how far it has come.
func (f *follower) load(ctx context.Context) error {
	a, beside, ok, err := f.loaded(ctx)
	if err != nil {
		return err
	}
	first, next, err := ends(ctx, f.e.opts.Store, f.logs)
	if err != nil {
		return err
	}
	f.heard(next)
	f.shelf = newShelf(shelfBytes)
	if !ok { // the first write makes the cursor, so that nothing that is there now is dropped
		a = at{Pos: first, From: first, Born: next}
		if err := f.rows.Write(at{}, a, nil).Wait(ctx); err != nil {
			return err
		}
	}
	if len(a.Pos) != len(f.logs) {
		return &penstock.Error{Code: penstock.Internal, Op: "view " + f.view.Name, Err: errors.New("its source has other parts than it had")}
	}
	f.shelf.whole = a.Rows == 0 && len(beside) == 0
	a.Stopped = nil // it may be mended by now
	f.mu.Lock()
	f.beside = beside
	f.mu.Unlock()
	f.at, f.flight = a, nil
	f.reached(a)
	return nil
}

// heard says how far the source reaches.
func (f *follower) heard(next []int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = latest(f.next, next)
}

// reach is how far the source reaches, as far as is known.
func (f *follower) reach() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.next)
}

// reached says how far it has come durably.
func (f *follower) reached(a at) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known, f.err = a.with(f.beside), nil
	close(f.moved)
	f.moved = make(chan struct{})
}

func (f *follower) failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	close(f.moved)
	f.moved = make(chan struct{})
}

// state is what is known of it, what is closed when that changes, and why it does not come further for now.
func (f *follower) state() (a at, moved <-chan struct{}, failed error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known, f.moved, f.err
}

// poke has it look whether there is something to do.
func (f *follower) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// start begins to follow, until stop.
func (f *follower) start(ctx context.Context) {
	ctx, f.cancel = context.WithCancel(ctx)
	f.ctx = ctx
	go func() {
		defer close(f.done)
		f.run(ctx)
	}()
}

// listen has it hear of what comes to its source, until what it returns is called.
func (f *follower) listen() (cancel func(), err error) {
	if f.logs, err = f.source.Logs(); err != nil {
		return nil, err
	}
	cancels := make([]func(), len(f.logs))
	for p, name := range f.logs {
		cancels[p] = f.e.opts.Store.Notify(name, func(s store.Segment) {
			f.mu.Lock()
			for len(f.next) <= p {
				f.next = append(f.next, 0)
			}
			f.next[p] = max(f.next[p], s.End())
			f.mu.Unlock()
			f.poke()
		})
	}
	return func() {
		for _, c := range cancels {
			c()
		}
	}, nil
}

// stop ends it, and waits until it has.
func (f *follower) stop() {
	f.cancel()
	<-f.done
}

func (f *follower) run(ctx context.Context) {
	loaded := false
	var deaf func()
	defer func() {
		if deaf != nil {
			deaf()
		}
	}()
	for ctx.Err() == nil {
		f.work.Lock()
		var more bool
		var err error
		if f.lost {
			loaded, f.lost = false, false
		}
		if deaf == nil {
			deaf, err = f.listen()
		}
		if !loaded && err == nil {
			err = f.load(ctx)
		}
		if err == nil {
			loaded = true
			if mutation.On("view-switches-early") {
				f.work.Unlock()
				f.e.caughtUp(f)
				f.work.Lock()
			}
			more, err = f.step(ctx, nil)
			if err == nil && !more {
				err = f.settle(ctx)
			}
		}
		if err != nil {
			loaded = false
			f.flight = nil
		}
		f.work.Unlock()
		switch {
		case err != nil && ctx.Err() == nil:
			if errors.Is(err, errBehind) {
				continue // from where it is now
			}
			f.failed(err)
			f.e.warn(f, err)
			f.e.sleep(ctx, pause)
		case !more && ctx.Err() == nil:
			f.e.caughtUp(f)
			select {
			case <-f.wake:
			case <-ctx.Done():
			}
		}
	}
}

// step reads, folds and submits some events of one part that lie before a vector of positions; nil: as far as the source reaches. more says that there are
// others. Who calls it holds work.
func (f *follower) step(ctx context.Context, limit []int64) (more bool, err error) {
	if f.at.Stopped != nil {
		return false, nil
	}
	goal := limit
	if goal == nil {
		goal = f.reach()
	}
	part := -1
	for i := range f.logs { // each part has its turn
		p := (f.turn + 1 + i) % len(f.logs)
		if p < len(goal) && f.position(p) < goal[p] {
			part = p
			break
		}
	}
	if part < 0 {
		return false, nil
	}
	f.turn = part
	if _, is := f.beside[part]; is {
		return true, f.watch(ctx, part)
	}
	f.fold.reset()
	end, remake, err := f.source.Read(ctx, f.fold, part, f.at.Pos[part], goal[part])
	if err != nil || end == f.at.Pos[part] && len(f.fold.read) == 0 {
		return false, err
	}
	if remake >= f.at.Born[part] && !mutation.On("view-stays-erased") {
		f.at.Old = true
	}
	return true, f.advance(ctx, part, end)
}

// advance folds what was read of a part, and submits it. end is the position behind it.
func (f *follower) advance(ctx context.Context, part int, end int64) error {
	if err := f.gather(ctx); err != nil {
		return err
	}
	for i := 0; ; {
		next, dirty, failed := f.fold.fold(i, nil, writeRows)
		to := f.at
		to.Events += int64(next - i)
		to.Pos = slices.Clone(to.Pos)
		to.Pos[part] = end
		if next < len(f.fold.read) {
			to.Pos[part] = f.fold.read[next].pos
		}
		if err := f.submit(ctx, to, dirty); err != nil {
			return err
		}
		f.meter.folded.Add(int64(next - i))
		switch {
		case failed != nil:
			return f.halt(ctx, part, f.fold.read[next], failed)
		case next == len(f.fold.read):
			return nil
		}
		i = next
	}
}

// gather finds the rows of the events that were read.
func (f *follower) gather(ctx context.Context) error {
	if f.flight == nil || f.flightDone() || f.shelf.bytes > f.shelf.bound {
		if err := f.settle(ctx); err != nil {
			return err
		}
		f.shelf.trim()
	}
	var missing []string
	for i := range f.fold.read {
		e := &f.fold.read[i]
		if e.err != nil {
			continue
		}
		if e.row = f.shelf.get(e.key); e.row == nil {
			key := string(append([]byte(nil), e.key...)) // it aliases the event
			e.row = &rowOf{key: key}
			f.shelf.put(e.row)
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 || f.shelf.whole {
		return nil
	}
	texts, err := f.rows.Read(ctx, missing)
	if err != nil {
		return err
	}
	for i, k := range missing {
		r := f.shelf.get(k)
		r.text, r.stored, r.lent = texts[i], texts[i] != nil, true
	}
	return nil
}

// submit writes rows that changed, and the place that they were brought to, once what was submitted before is durable.
func (f *follower) submit(ctx context.Context, to at, dirty []*rowOf) error {
	if err := f.settle(ctx); err != nil {
		return err
	}
	changes := make([]change, 0, len(dirty))
	for _, r := range dirty {
		r.dirty = false
		is := r.text != nil
		switch {
		case is && !r.stored:
			to.Rows++
		case !is && r.stored:
			to.Rows--
		case !is:
			continue // it came and went
		}
		r.stored, r.lent = is, true
		changes = append(changes, change{r.key, r.text})
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.Key, b.Key) }) // neighbours share their pages
	f.flight = f.rows.Write(f.at, to, changes)
	f.at = to
	return nil
}

func (f *follower) flightDone() bool {
	select {
	case <-f.flight.Done():
		return true
	default:
		return false
	}
}

// settle waits until what was submitted is durable.
func (f *follower) settle(ctx context.Context) error {
	if f.flight == nil {
		return nil
	}
	if err := f.flight.Wait(ctx); err != nil {
		return err
	}
	f.flight = nil
	f.reached(f.at)
	return nil
}

// halt notes that it stops at an event, and why.
func (f *follower) halt(ctx context.Context, part int, ev event, why error) error {
	to := f.at
	s := &Stopped{Part: part, Position: ev.pos, Version: ev.version, Key: string(append([]byte(nil), ev.key...)), Code: penstock.CodeOf(why), Message: why.Error(), Time: f.e.clock.Now().UTC()}
	if ev.does != nil {
		s.Kind = ev.does.Kind
	}
	to.Stopped = s
	if err := f.submit(ctx, to, nil); err != nil {
		return err
	}
	if err := f.settle(ctx); err != nil {
		return err
	}
	f.e.stopped(f, s)
	return nil
}
