package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/lease"
)

// shared runs the flows of a plan together with other replicas on the same store: the units of which this process holds the part, and the
// fronts of those that run everywhere. A store that is lost is opened again, and what runs begins anew from what is durable. It implements
// [lease.Holder].
type shared struct {
	x      *session
	opts   run.Options
	web    *web
	driven []lease.Driven
	log    *slog.Logger
	began  time.Time
	onced  sync.Once
	work   sync.WaitGroup
	broken chan struct{} // the store is lost, or may be
	gone   atomic.Bool   // it is, whatever it says now
	fatal  chan error
	ended  chan struct{} // all is done that a run that ends by itself was to do

	applying sync.Mutex // one reload, or one beginning, at a time

	mu      sync.Mutex
	plan    *plan.Plan
	units   []*unit
	parts   int
	db      store.Store
	keeper  *lease.Keeper
	self    lease.Replica
	duties  map[int]*duty
	tails   map[int]<-chan struct{}
	fronts  []*stint
	known   map[string]bool // units that were begun with
	samples []run.SampleOptions
	past    *run.Summary
	mounted map[string]func()
}

func newShared(x *session, pl *plan.Plan, o run.Options, web *web, driven []lease.Driven) *shared {
	s := &shared{x: x, opts: o, web: web, driven: driven, log: o.Logger, plan: pl, began: x.s.clock().Now(), past: &run.Summary{},
		broken: make(chan struct{}, 1), fatal: make(chan error, 1), ended: make(chan struct{}, 1), duties: map[int]*duty{}, tails: map[int]<-chan struct{}{}, known: map[string]bool{}, mounted: map[string]func(){}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.opts.Drain <= 0 {
		s.opts.Drain = 30 * time.Second
	}
	return s
}

// reopenAfter is how long a store that can't be opened is left alone: at first, and at most.
const (
	reopenAfter = 250 * time.Millisecond
	reopenMost  = 10 * time.Second
)

// run runs until ctx ends and everything was handed over.
func (s *shared) run(ctx context.Context) (*run.Summary, error) {
	pause := reopenAfter
	for lost := false; ; lost = true {
		db, err := s.x.st.Open()
		if err != nil && !lost {
			return s.snapshot(), err
		}
		if err != nil {
			s.log.Warn("the store can't be opened; it is tried again", "error", err, "after", pause)
			if !s.sleep(ctx, pause) {
				return s.stopped(ctx), nil
			}
			pause = min(2*pause, reopenMost)
			continue
		}
		pause = reopenAfter
		again, err := s.era(ctx, db)
		if !again && (!lost || !errors.Is(err, store.ErrAway)) {
			return s.stopped(ctx), err
		}
		s.log.Warn("the store is lost; what ran on it has ended, and begins anew when it can be opened")
		_ = s.x.st.Close() // it was said what is wrong with it
		s.x.queues.Forget()
		if !s.sleep(ctx, pause) {
			return s.stopped(ctx), nil
		}
	}
}

func (s *shared) stopped(ctx context.Context) *run.Summary {
	sum := s.snapshot()
	sum.Stopped = ctx.Err() != nil
	return sum
}

func (s *shared) sleep(ctx context.Context, d time.Duration) bool {
	tick, stop := s.x.s.clock().NewTimer(d)
	defer stop()
	select {
	case <-tick:
		return true
	case <-ctx.Done():
		return false
	}
}

// era is the time for which a store is open. It says whether it is to be opened again.
func (s *shared) era(ctx context.Context, db store.Store) (again bool, err error) {
	held, ok := db.(lease.Shared)
	if !ok {
		return false, &penstock.Error{Code: penstock.Internal, Op: "store", Err: errors.New("the store keeps no leases")}
	}
	select {
	case <-s.broken:
	default:
	}
	s.gone.Store(false)
	if err := s.enter(db, held.Leases()); err != nil {
		s.leave(err)
		return false, err
	}
	holding, let := context.WithCancel(context.WithoutCancel(ctx))
	defer let()
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.keeper.Run(holding)
	}()
	s.onced.Do(func() {
		if s.opts.OnStart != nil {
			s.opts.OnStart()
		}
	})
	for {
		select {
		case <-ctx.Done():
		case err = <-s.fatal:
		case <-s.ended:
		case <-s.broken:
			if !s.gone.Load() && s.reaches(db) == nil {
				continue
			}
			let()
			<-over
			s.leave(&penstock.Error{Code: penstock.Unavailable, Op: "store", Err: errors.New("the store is lost")})
			return true, nil
		case <-over:
			return false, nil
		}
		break
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Drain+serveGrace)
	defer cancel()
	s.keeper.Stop(bound)
	for _, t := range s.frontStints() {
		t.stop()
	}
	<-over
	s.leave(nil)
	return false, err
}

// enter begins on a store that was opened.
func (s *shared) enter(db store.Store, role lease.Role) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.mu.Lock()
	s.db, s.parts = db, db.Parts()
	s.units = unitsOf(s.plan, s.parts, s.opts.Once)
	s.duties, s.fronts = map[int]*duty{}, nil
	s.self = s.replica()
	s.keeper = lease.New(lease.Options{Role: role, Replica: s.self, Info: s.info, All: s.opts.Once, Lease: s.x.lease(), Clock: s.x.s.clock(), Logger: s.log, Holder: s})
	units := s.units
	s.mu.Unlock()
	if err := s.x.views.enter(db); err != nil {
		return err
	}
	for _, u := range units {
		s.away(u)
		if !u.everywhere {
			continue
		}
		if err := s.front(u); err != nil {
			return err
		}
	}
	return nil
}

// leave ends everything on a store: at once where err is not nil.
func (s *shared) leave(err error) {
	defer s.x.views.leave()
	s.mu.Lock()
	fronts, duties := s.fronts, s.duties
	s.fronts, s.duties = nil, map[int]*duty{}
	s.mu.Unlock()
	for _, d := range duties {
		if err != nil {
			d.kill(err)
		}
		d.end()
	}
	for _, t := range fronts {
		if err != nil {
			t.r.Kill(err)
		}
		t.stop()
		<-t.done
	}
	s.work.Wait()
}

// replica is how this process is known to the others: by a name that it never had before.
func (s *shared) replica() lease.Replica {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	r := lease.Replica{Host: host, PID: os.Getpid(), Started: s.x.s.clock().Now(), Version: s.x.o.Version.Version}
	id := newUUID()
	r.ID = fmt.Sprintf("%s-%d-%s", host, r.PID, id[len(id)-6:])
	if s.web != nil {
		if a := s.web.server.Addr(); a != nil {
			r.Address = a.String()
		}
	}
	return r
}

// front begins with the front of a unit that runs everywhere. One that fails is begun again.
func (s *shared) front(u *unit) error {
	s.mu.Lock()
	db := s.db
	s.mu.Unlock()
	t, err := s.begin(db, u, lease.Lease{}, run.Front)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.fronts = append(s.fronts, t)
	s.mu.Unlock()
	s.work.Go(func() {
		<-t.done
		s.finished(t)
		if t.err == nil {
			return
		}
		s.mu.Lock()
		current := slices.Contains(s.fronts, t)
		s.mu.Unlock()
		if !current {
			return
		}
		s.away(u)
		if s.lostBy(db, t.err) {
			s.lose()
			return
		}
		s.give(t.err)
	})
	return nil
}

// lostBy says whether what failed with err did so because of the store. One that was away for a moment may answer by now: ending the program then would make
// what a server that is started again does to it a matter of luck.
func (s *shared) lostBy(db store.Store, err error) bool {
	return errors.Is(err, store.ErrAway) || s.reaches(db) != nil
}

// lose ends what runs on the store, and opens it again.
func (s *shared) lose() {
	s.gone.Store(true)
	select {
	case s.broken <- struct{}{}:
	default:
	}
}

// give ends the process with an error.
func (s *shared) give(err error) {
	select {
	case s.fatal <- err:
	default:
	}
}

// reaches says whether the store can be used.
func (s *shared) reaches(db store.Store) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.x.lease())
	defer cancel()
	return db.View(ctx, func(store.View) error { return nil })
}

// Gained implements lease.Holder.
func (s *shared) Gained(l lease.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &duty{s: s, db: s.db, l: l, before: s.tails[l.Part], started: make(chan struct{}), ended: make(chan struct{})}
	d.lost, d.lose = context.WithCancel(context.Background())
	s.tails[l.Part], s.duties[l.Part] = d.ended, d
	var units []*unit
	if s.opts.Once { // all flows, once all parts are here
		if len(s.duties) < s.parts {
			if l.Part == 0 {
				s.log.Info("waiting for what other replicas drive: a run that ends by itself needs all of the store")
			}
			d.idle()
			return
		}
		d.idle()
		d = s.together()
		s.work.Go(func() { d.start(s.units) })
		return
	}
	for _, u := range s.units {
		if u.part == l.Part {
			units = append(units, u)
			s.log.Info("this replica drives flows from now on", "flows", strings.Join(u.flows, ", "), "part", l.Part, "epoch", l.Epoch)
		}
	}
	s.work.Go(func() { d.start(units) })
}

// together is the duty of all parts as one, in the place of that of part 0. mu must be held.
func (s *shared) together() *duty {
	d := &duty{s: s, db: s.db, l: s.duties[0].l, before: s.tails[-1], started: make(chan struct{}), ended: make(chan struct{})}
	d.lost, d.lose = context.WithCancel(context.Background())
	s.duties[0], s.tails[-1] = d, d.ended
	return d
}

// take forgets what is done for a part.
func (s *shared) take(l lease.Lease) *duty {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.duties[l.Part]
	if d == nil || d.l != l {
		return nil
	}
	delete(s.duties, l.Part)
	return d
}

// Lost implements lease.Holder.
func (s *shared) Lost(l lease.Lease) {
	d := s.take(l)
	if d == nil {
		return
	}
	s.work.Go(func() {
		d.kill(l.Lost())
		d.end()
	})
	if s.opts.Once && l.Part != 0 { // then not all are here any more
		s.mu.Lock()
		all := s.duties[0]
		s.mu.Unlock()
		if all != nil {
			s.work.Go(func() { all.fail(nil, l.Lost()) })
		}
	}
	select { // a store that does not answer may be lost
	case s.broken <- struct{}{}:
	default:
	}
}

// Yield implements lease.Holder.
func (s *shared) Yield(l lease.Lease, done func()) {
	s.mu.Lock()
	d := s.duties[l.Part]
	s.mu.Unlock()
	if d == nil || d.l != l {
		go done()
		return
	}
	s.work.Go(func() {
		d.yield()
		s.take(l)
		done()
	})
}

// failed gives a part back that can't be driven here. Where no other replica is there to do better, the process ends.
func (s *shared) failed(d *duty, u *unit, err error) {
	if s.take(d.l) == nil {
		return // it was lost, which is why
	}
	what := "what is driven part by part"
	if u != nil {
		what = strings.Join(u.flows, ", ")
	}
	s.keeper.Return(d.l)
	if errors.Is(err, lease.ErrLost) {
		s.log.Warn("the lease of flows was lost", "flows", what, "part", d.l.Part)
		return
	}
	if s.lostBy(d.db, err) {
		s.lose()
		return
	}
	others := 0
	for _, r := range s.keeper.Table().Replicas {
		if r.ID != s.self.ID && !r.Stopping {
			others++
		}
	}
	if others == 0 {
		s.give(err)
		return
	}
	s.log.Error("flows can't run here; they are left to another replica", "flows", what, "part", d.l.Part, "error", err)
}

// first says that a unit was not begun with before by anybody who may run now: then it begins where the caller has said.
func (s *shared) first(u *unit, side run.Side) bool {
	s.mu.Lock()
	known, keeper := s.known[u.key], s.keeper
	s.mu.Unlock()
	// Not under s.mu: the keeper calls its holder, who takes that.
	return side == run.Whole && !known && len(keeper.Table().Replicas) <= 1
}

func (s *shared) begunWith(u *unit, side run.Side) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if side == run.Whole {
		s.known[u.key] = true
	}
}

func (s *shared) frontStints() []*stint {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.fronts)
}

// stints are all runs of this process, fronts first.
func (s *shared) stints() []*stint {
	s.mu.Lock()
	out := slices.Clone(s.fronts)
	var duties []*duty
	for _, d := range s.duties {
		duties = append(duties, d)
	}
	s.mu.Unlock()
	for _, d := range duties {
		d.mu.Lock()
		out = append(out, d.stints...)
		d.mu.Unlock()
	}
	return slices.DeleteFunc(out, func(t *stint) bool {
		select {
		case <-t.done:
			return true
		default:
			return !t.begun.Load()
		}
	})
}

// of is who runs a flow here.
func (s *shared) of(op, flow string) ([]*run.Runner, error) {
	var out []*run.Runner
	for _, t := range s.stints() {
		if t.u.plan.Flow(flow) != nil {
			out = append(out, t.r)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.units {
		if slices.Contains(u.flows, flow) {
			return nil, &penstock.Error{Code: penstock.Unavailable, Op: op, Path: flow, Err: fmt.Errorf("the flow runs %s", s.where(u)), Hint: "ask that one: penstock ps lists all replicas"}
		}
	}
	return nil, &penstock.Error{Code: penstock.NotFound, Op: op, Path: flow, Err: fmt.Errorf("no flow of this run is called %s", flow)}
}

// where says who drives a unit. mu must be held.
func (s *shared) where(u *unit) string {
	if s.keeper != nil {
		t := s.keeper.Table()
		if u.part < len(t.Parts) && t.Parts[u.part].Owner != "" && !t.Parts[u.part].Free() {
			owner := t.Parts[u.part].Owner
			for _, r := range t.Replicas {
				if r.ID == owner && r.Address != "" {
					return "at replica " + owner + ", " + r.Address
				}
			}
			return "at replica " + owner
		}
	}
	return "nowhere at this moment: a replica is about to take it over"
}

// sample follows messages, also of what begins later.
func (s *shared) sample(o run.SampleOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples = append(s.samples, o)
}
