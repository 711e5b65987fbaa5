package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// server is the second driver of a flow: requests come on their callers' goroutines, run there from the first step to the
// end, and are answered there. There is no lane, no queue and no ledger; what waits, waits in place. Towards the committer of a
// run that keeps state it is a pump whose intakes are requests.
type server struct {
	p       *pump
	f       *flow
	station *station
	waits   bool // some node calls out: a request's context must end with the run

	requests pool[request]
	limit    *slots // concurrency, where the flow declares one
	keys     *turns // order: per-key; else nil
	twins    *turns // of one identity, where there are any; else nil
	started  int64  // places of requests count from here: those of an earlier run were before
	number   atomic.Int64

	awaiting waiters     // requests that end when the flow is aborted
	kept     atomic.Bool // its driver goes on to serve for another flow
	closing  atomic.Bool
	inFlight atomic.Int64
	mu       sync.Mutex
	empty    sync.Cond // on mu: the last request has ended
	waiting  bool      // mu: somebody waits for that, and does not count as busy
}

var _ penstock.Handler = (*server)(nil)

// called is the source that stands in a server's pump: it is never read.
type called struct{}

// Open implements penstock.Source.
func (called) Open(context.Context) error { return nil }

// Read implements penstock.Source.
func (called) Read(context.Context, *penstock.Batch) error {
	return penstock.E(penstock.Internal, "read", "", "a server is called, not read")
}

// Settle implements penstock.Source: who called was answered.
func (called) Settle(context.Context, []penstock.Outcome) error { return nil }

// Close implements penstock.Source.
func (called) Close(context.Context) error { return nil }

// called says that the flow's messages are requests.
func (f *flow) called() bool {
	return slices.ContainsFunc(f.plan.Sources, func(ep *plan.Endpoint) bool { return ep.Server != nil })
}

// buildServer makes the server of an endpoint.
func (f *flow) buildServer(ep *plan.Endpoint) error {
	in, err := f.instance(RoleServer, ep)
	if err != nil {
		return err
	}
	s, ok := in.v.(penstock.Server)
	if !ok {
		return fmt.Errorf("%s: %s is not a server", ep.Pos, ep.Name)
	}
	sv := &server{f: f, station: in.station, p: newPump(f, in, called{}), started: f.r.clock.Now().UnixMicro()}
	sv.p.server, sv.p.counts, sv.empty.L = sv, false, &sv.mu
	if sv.station == nil { // a test's
		in.station = newStation(f.r)
		sv.station = in.station
	}
	if sv.station.driver == nil {
		sv.station.driver = s
		sv.station.to.Store(sv)
	}
	for i := range f.prog.nodes {
		sv.waits = sv.waits || f.prog.nodes[i].waits
	}
	if n := ep.Server.Concurrency; n > 0 {
		if f.served == nil {
			f.served = newSlots(f.r, n)
		}
		sv.limit = f.served
	}
	if f.plan.Order == plan.PerKey {
		if f.turns == nil {
			f.turns = newTurns(f.r)
		}
		sv.keys = f.turns
	}
	if f.durable && ep.ID != nil {
		sv.p.inbox, sv.twins = newInbox(sv.p), newTurns(f.r)
	}
	f.pumps = append(f.pumps, sv.p)
	return nil
}

// serve lets the server run until reading ends, and then until the last request was answered. Requests are let in for as long as it
// serves: one that it has taken before it heard of the end is answered like any other.
func (s *server) serve(reading context.Context) error {
	r := s.f.r
	if r.opts.Once {
		s.f.log.Info("not served: the run ends when what is there was read", "from", s.p.ep.Label)
		s.closing.Store(true)
		return nil
	}
	if r.opts.Part == Back { // others are called
		s.closing.Store(true)
		return nil
	}
	stop := context.AfterFunc(s.f.ctx, func() {
		s.closing.Store(true)
		s.awaiting.abort()
	})
	defer stop()
	s.station.begin(r.lives.reading)
	r.idle() // who serves waits; a driver that says so itself counts by now
	select {
	case <-s.station.over:
	case <-reading.Done():
		if !s.kept.Load() {
			s.station.stop()
			<-s.station.over
		}
	}
	if !s.station.says { // else what counted for it counts for this one now
		r.busy()
	}
	s.closing.Store(true)
	s.drained()
	if err := s.station.err; err != nil {
		return &penstock.Error{Code: penstock.CodeOf(err), Op: "serve " + s.p.ep.Name, Path: s.p.ep.Label, Err: err}
	}
	return nil
}

// drained waits until no request is left. Where the flow was killed their contexts have ended.
func (s *server) drained() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.inFlight.Load() > 0 {
		s.waiting = true
		s.f.r.idle()
		s.empty.Wait()
	}
}

// enter lets a request in; false when the server is closing.
func (s *server) enter() bool {
	s.inFlight.Add(1)
	if s.closing.Load() || s.station.gate.Load() {
		s.left(false)
		return false
	}
	if !s.station.says {
		s.f.r.busy()
	}
	return true
}

// left says that a request has ended. After the last, whoever waits for that counts as busy in its place, where it did.
func (s *server) left(counted bool) {
	if s.inFlight.Add(-1) == 0 && s.closing.Load() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.waiting {
			s.waiting = false
			if !counted {
				s.f.r.busy()
			}
			s.empty.Signal()
			return
		}
	}
	if counted {
		s.f.r.idle()
	}
}

// Handle implements penstock.Handler.
func (s *server) Handle(ctx context.Context, b *penstock.Batch) error {
	if !s.enter() {
		return &penstock.Error{Code: penstock.Unavailable, Op: s.p.ep.Name, Err: errStopping, RetryAfter: busyRetry, Unsent: true, Hint: "ask again: nothing was done"}
	}
	defer s.left(!s.station.says)
	if s.waits {
		own := s.await(ctx)
		defer own.end(context.Canceled)
		ctx = own
	}
	all := b.Msgs
	if len(all) == 1 || s.keys == nil && s.p.inbox == nil {
		s.handle(ctx, b)
		return nil
	}
	// What waits for another message must not hold one that others wait for.
	errs := make([]error, len(all))
	for i := range all {
		errs[i] = b.Err(i)
	}
	for i := range all {
		b.ClearErrors()
		if b.Msgs = all[i : i+1 : i+1]; errs[i] != nil {
			b.Fail(0, errs[i])
		}
		s.handle(ctx, b)
		errs[i] = b.Err(0)
	}
	b.ClearErrors()
	b.Msgs = all
	for i, err := range errs {
		if err != nil {
			b.Fail(i, err)
		}
	}
	return nil
}

var errStopping = errors.New("the flow is stopping")

var errAborted = &penstock.Error{Code: penstock.Unavailable, Op: "serve", Err: errors.New("the run was stopped before the request was done"), Hint: "ask again where that can do no harm: what was done before stays done"}

// handle runs the messages of b and leaves the replies there.
func (s *server) handle(ctx context.Context, b *penstock.Batch) {
	f := s.f
	n, bytes := len(b.Msgs), weight(b)
	f.stats.Read.Add(int64(n))
	rq := s.requests.get()
	rq.begin(ctx, s, b)
	defer rq.answer(b)
	if err := s.admit(ctx, n, bytes); err != nil {
		rq.refuse(err)
		rq.over = true
		return
	}
	defer s.release(n, bytes)
	rq.run()
}

// weight is what a request is charged to the budget: the memory that its server used, or its bodies where those are elsewhere.
func weight(b *penstock.Batch) int64 {
	bodies := 0
	for _, m := range b.Msgs {
		bodies += len(m.Body.Original())
	}
	return int64(max(b.Arena().Bytes(), bodies)) + int64(len(b.Msgs))*messageOverhead
}

// busyRetry is how long who is refused for want of room is asked to wait.
const busyRetry = time.Second

// admit waits for room in the flow's budget, for as long as the caller has patience.
func (s *server) admit(ctx context.Context, n int, bytes int64) error {
	f := s.f
	if f.durable && !f.commit.room(ctx, s.p) { // before the budget, which what stands behind durable steps needs, too
		return &penstock.Error{Code: penstock.Unavailable, Op: s.p.ep.Name, Err: errors.New("the store does not keep up"), RetryAfter: busyRetry, Unsent: true, Hint: "ask again later: nothing was done"}
	}
	if !f.budget.within(ctx, n, bytes) {
		if f.ctx.Err() != nil {
			return errAborted
		}
		return &penstock.Error{Code: penstock.Unavailable, Op: s.p.ep.Name, Err: errors.New("the flow has its budget of requests in flight"), RetryAfter: busyRetry, Unsent: true, Hint: "ask again later; `budget` of the flow says how many there may be"}
	}
	if s.limit != nil && !s.limit.within(ctx) {
		f.budget.release(n, bytes)
		return ended(ctx)
	}
	return nil
}

func (s *server) release(n int, bytes int64) {
	if s.limit != nil {
		s.limit.give()
	}
	s.f.budget.release(n, bytes)
}

// ended says why a request's context has ended.
func ended(ctx context.Context) error {
	err := context.Cause(ctx)
	var e *penstock.Error
	if errors.As(err, &e) {
		return err
	}
	return &penstock.Error{Code: penstock.CodeOf(err), Op: "serve", Err: err}
}
