package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
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
		if err != nil && (!lost || errors.Is(err, store.ErrOutdated)) {
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
