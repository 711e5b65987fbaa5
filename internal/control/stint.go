package control

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/lease"
)

// stint is a run of one unit, for as long as this process holds its part; the front of a unit that runs everywhere, for as long as the
// store is open.
type stint struct {
	u     *unit
	l     lease.Lease // of the part; the zero Lease of a front
	side  run.Side
	r     *run.Runner
	stop  context.CancelFunc // lets it finish what is in flight
	done  chan struct{}      // closed when it has ended, and said how
	begun atomic.Bool        // it may be looked at
	sum   *run.Summary
	err   error
}

// begin starts a run of a unit; it has no lease where it is a front.
func (s *shared) begin(db store.Store, u *unit, l lease.Lease, side run.Side) (*stint, error) {
	o := s.opts
	t := &stint{u: u, l: l, side: side, done: make(chan struct{})}
	o.OnStart = func() {
		t.begun.Store(true)
		s.begunWith(u, side)
	}
	o.Part, o.Replicas, o.Stays = side, !o.Once, !o.Once
	if !s.first(u, side) {
		o.From = run.From{}
	}
	o.Store = func() (store.Store, error) { return lease.Fenced(db, l), nil }
	r, err := run.New(u.plan, o)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	t.r, t.stop = r, stop
	s.mu.Lock()
	for _, o := range s.samples {
		r.Sample(o)
	}
	s.mu.Unlock()
	go func() {
		defer func() {
			if v := recover(); v != nil {
				t.sum, t.err = r.Snapshot(), run.NewFault("run", v)
			}
			stop()
			close(t.done)
		}()
		t.sum, t.err = r.Run(ctx)
	}()
	return t, nil
}

// duty is what this process does for a part that it holds.
type duty struct {
	s    *shared
	db   store.Store
	l    lease.Lease
	lost context.Context //nolint:containedctx // ends when the lease is lost
	lose context.CancelFunc

	mu      sync.Mutex
	over    bool // nothing begins any more
	stints  []*stint
	stop    func(context.Context) // what else is driven
	before  <-chan struct{}       // closed when what was done before for the part has ended
	started chan struct{}         // closed when everything has begun, or can't
	ended   chan struct{}
	once    sync.Once
}

// idle is start where there is nothing to do.
func (d *duty) idle() { close(d.started) }

// start begins with everything that the part is home of, once what was done for it before has ended.
func (d *duty) start(units []*unit) {
	if d.before != nil {
		<-d.before
	}
	u, err := d.startAll(units)
	close(d.started)
	if err != nil {
		d.fail(u, err)
	}
}

func (d *duty) startAll(units []*unit) (*unit, error) {
	d.mu.Lock()
	over := d.over
	d.mu.Unlock()
	if over {
		return nil, nil
	}
	stop, err := drive(d.lost, d.s.driven, d.l, d.db)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.stop = stop
	d.mu.Unlock()
	for _, u := range units { // they may ask what is driven
		if err := d.add(u); err != nil {
			return u, err
		}
	}
	return nil, nil
}

// add begins with a unit.
func (d *duty) add(u *unit) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.over {
		return nil
	}
	side := run.Whole
	if u.everywhere {
		side = run.Back
	}
	t, err := d.s.begin(d.db, u, d.l, side)
	if err != nil {
		return err
	}
	d.stints = append(d.stints, t)
	d.s.work.Go(func() {
		<-t.done
		d.s.finished(t)
		d.mu.Lock()
		over := d.over
		d.mu.Unlock()
		switch {
		case over:
		case t.err != nil:
			d.fail(u, t.err)
		case d.s.opts.Once:
			d.s.ended <- struct{}{}
		}
	})
	return nil
}

// fail gives the part back: another replica may do better.
func (d *duty) fail(u *unit, err error) {
	d.kill(err)
	d.end()
	d.s.failed(d, u, err)
}

// kill ends everything at once, without settling anything.
func (d *duty) kill(err error) {
	d.mu.Lock()
	d.over = true
	all := d.stints
	d.mu.Unlock()
	d.lose()
	for _, t := range all {
		d.s.away(t.u)
		t.r.Kill(err)
	}
}

// yield lets everything finish what is in flight, and waits for that.
func (d *duty) yield() {
	d.mu.Lock()
	d.over = true
	all := d.stints
	d.mu.Unlock()
	for _, t := range all {
		d.s.away(t.u)
		t.stop()
	}
	d.end()
}

// end waits until everything has ended that was begun.
func (d *duty) end() {
	<-d.started
	d.mu.Lock()
	all, stop := d.stints, d.stop
	d.stop = nil
	d.mu.Unlock()
	for _, t := range all {
		<-t.done
	}
	if stop != nil {
		ctx, cancel := context.WithTimeout(context.Background(), d.s.opts.Drain)
		stop(ctx)
		cancel()
	}
	d.once.Do(func() { close(d.ended) })
}

// replace gives the units of another plan to a part: those that are gone are stopped, those that go on get theirs, and new ones begin.
func (d *duty) replace(ctx context.Context, units []*unit, applied *run.Applied) error {
	d.mu.Lock()
	all := d.stints
	d.mu.Unlock()
	next := map[string]*unit{}
	for _, u := range units {
		next[u.key] = u
	}
	var kept []*stint
	for _, t := range all {
		if u := next[t.u.key]; u != nil && u.everywhere == t.u.everywhere {
			kept = append(kept, t)
			continue
		}
		d.s.away(t.u)
		t.stop()
		<-t.done
	}
	d.mu.Lock()
	d.stints = kept
	d.mu.Unlock()
	running := map[string]bool{}
	var errs []error
	for _, t := range kept {
		running[t.u.key] = true
		errs = append(errs, t.become(ctx, next[t.u.key], applied))
	}
	for _, u := range units {
		if !running[u.key] {
			errs = append(errs, d.add(u))
		}
	}
	return errors.Join(errs...)
}

// become has a run do what another plan says.
func (t *stint) become(ctx context.Context, u *unit, applied *run.Applied) error {
	select {
	case <-t.done: // it has ended: it is begun anew with the next lease
		return nil
	default:
	}
	a, err := t.r.Apply(ctx, u.plan)
	if err != nil {
		return err
	}
	t.u = u
	merge(applied, a)
	return nil
}

// merge adds what one run has done to what others have.
func merge(into, a *run.Applied) {
	into.Again, into.Notes = append(into.Again, a.Again...), append(into.Notes, a.Notes...)
	into.Paused, into.Took = max(into.Paused, a.Paused), into.Took+a.Took
}
