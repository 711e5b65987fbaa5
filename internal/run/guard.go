package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/policy"
)

// guard stands in front of a connection: every try of every flow goes through it, and it knows how they end. A nil guard lets
// everything through. It is safe for concurrent use.
type guard struct {
	r       *Runner
	rules   *plan.Policy
	base    time.Time // its times are since then
	real    bool      // … on the machine's clock
	breaker *policy.Breaker
	rate    *policy.RateLimit
	places  *policy.Bulkhead
	budget  *policy.Budget
	stats   guardStats
	users   int // endpoints of flows that are there; guarded by Runner.guardsM
}

// guardStats counts what a guard has seen.
type guardStats struct {
	tries, failures             atomic.Int64
	retries, exhausted          atomic.Int64
	byBreaker, byPlaces, byRate atomic.Int64 // refused
	hedges, hedgesWon           atomic.Int64
}

// guardOf is the guard of an endpoint of the flow: the one of its connection, which goes on over reloads as long as its rules stay what they
// are; nil where nothing is to be guarded. The flow gives it back when it closes.
func (f *flow) guardOf(ep *plan.Endpoint) *guard {
	if ep.Policy == nil {
		return nil
	}
	g := f.r.guard(ep.Policy)
	f.guards = append(f.guards, g)
	return g
}

func (r *Runner) guard(rules *plan.Policy) *guard {
	r.guardsM.Lock()
	defer r.guardsM.Unlock()
	for _, g := range r.guards {
		if g.rules.Name == rules.Name && g.rules.Equal(rules) {
			g.users++
			return g
		}
	}
	r.guards = slices.DeleteFunc(r.guards, func(g *guard) bool { return g.rules.Name == rules.Name && g.users == 0 })
	g := newGuard(r, rules)
	g.users = 1
	r.guards = append(r.guards, g)
	return g
}

// unguard gives the flow's guards back.
func (f *flow) unguard() {
	f.r.guardsM.Lock()
	defer f.r.guardsM.Unlock()
	for _, g := range f.guards {
		g.users--
	}
	f.guards = nil
}

func newGuard(r *Runner, rules *plan.Policy) *guard {
	g := &guard{r: r, rules: rules, base: r.clock.Now()}
	_, g.real = r.clock.(penstock.SystemClock)
	if rules.Breaker != nil {
		g.breaker = policy.NewBreaker(*rules.Breaker)
	}
	if rules.RateLimit != nil {
		g.rate = policy.NewRateLimit(*rules.RateLimit)
	}
	if rules.Concurrency != nil {
		g.places = policy.NewBulkhead(*rules.Concurrency)
	}
	if rules.Budget > 0 {
		g.budget = policy.NewBudget(rules.Budget)
	}
	return g
}

func (g *guard) now() time.Duration {
	if g.real { // for half the price: nobody asks for the date
		return time.Since(g.base)
	}
	return g.r.clock.Now().Sub(g.base)
}

// moment is a time that is asked for when it is needed, and then once.
type moment struct {
	g     *guard
	at    time.Duration
	known bool
}

func (m *moment) now() time.Duration {
	if !m.known {
		m.at, m.known = m.g.now(), true
	}
	return m.at
}

// whenCrowded is when it is worth asking again for a place that there was none of.
const whenCrowded = time.Second

// bid is what a guard is asked to let through.
type bid struct {
	n        int           // messages
	each     bool          // every one of them is a request, and some may go alone; else all of them are one
	retry    bool          // it was tried before, or is tried beside: it is paid from the budget of retries
	hedge    bool          // … beside
	patience time.Duration // how long the try may take as a whole; 0 without end
}

// permit is the leave for tries.
type permit struct {
	ticket policy.Ticket
	n      int // requests
}

// enter gives leave for a bid, or for a part of it that is not empty, or says why there is none. It waits for a place and for its turn until ctx
// ends. Whoever got leave gives it back with leave.
func (g *guard) enter(ctx context.Context, b bid) (permit, error) {
	p := permit{n: 1}
	if b.each {
		p.n = b.n
	}
	if g == nil {
		return p, nil
	}
	at := moment{g: g}
	if g.breaker != nil {
		if _, closed := g.breaker.Closed(); !closed {
			if wait, refuses := g.breaker.Refuses(at.now()); refuses {
				return p, g.refused(&g.stats.byBreaker, penstock.Unavailable, wait, "the breaker is open")
			}
		}
	}
	if g.places != nil {
		var place *policy.Place
		wants := p.n
		switch p.n, place = g.places.Enter(wants); {
		case place != nil:
			if !g.queue(ctx, place) {
				return p, g.refused(&g.stats.byPlaces, penstock.Unavailable, whenCrowded, fmt.Sprintf("%d requests are under way, and none ended in time", g.rules.Concurrency.Limit))
			}
			p.n, at.known = 1+g.places.More(wants-1), false
		case p.n == 0:
			return p, g.refused(&g.stats.byPlaces, penstock.Unavailable, whenCrowded, fmt.Sprintf("%d requests are under way and %d wait", g.rules.Concurrency.Limit, g.rules.Concurrency.Queue))
		}
	}
	if g.rate != nil {
		messages := b.n
		if b.each {
			messages = p.n
		}
		if err := g.turn(ctx, &at, messages, b.patience); err != nil {
			g.release(p.n)
			return p, err
		}
	}
	if err := g.pay(&at, b, &p); err != nil {
		return p, err
	}
	g.stats.tries.Add(int64(p.n))
	if b.retry && !b.hedge {
		g.stats.retries.Add(int64(p.n))
	}
	return p, nil
}

// pay takes the requests of a permit from the budget, if they are retries, and asks the breaker for leave. Places of those that may not go
// are given back.
func (g *guard) pay(at *moment, b bid, p *permit) error {
	has := p.n
	if g.budget != nil && b.retry {
		p.n = g.budget.Retry(at.now(), has)
		g.release(has - p.n)
		if has = p.n; has == 0 {
			g.stats.exhausted.Add(1)
			return &penstock.Error{Code: penstock.Unavailable, Op: "connection " + g.rules.Name, Err: errOverdrawn, Unsent: true}
		}
	}
	if err := g.pass(at, b, p); err != nil {
		return err
	}
	if g.budget != nil && !b.retry {
		g.budget.First(at.now(), p.n)
	}
	return nil
}

// pass asks the breaker for leave.
func (g *guard) pass(at *moment, b bid, p *permit) error {
	if g.breaker == nil {
		return nil
	}
	var closed bool
	if p.ticket, closed = g.breaker.Closed(); closed {
		return nil
	}
	has := p.n
	var wait time.Duration
	p.ticket, p.n, wait = g.breaker.Allow(at.now(), has)
	g.release(has - p.n)
	if g.budget != nil && b.retry && p.n < has {
		g.budget.Refund(at.now(), has-p.n)
	}
	if p.n == 0 {
		return g.refused(&g.stats.byBreaker, penstock.Unavailable, wait, "the breaker is open")
	}
	return nil
}

// turn waits for the turn of n requests.
func (g *guard) turn(ctx context.Context, at *moment, n int, patience time.Duration) error {
	wait, ok := g.rate.Take(at.now(), n, patience)
	if !ok {
		return g.refused(&g.stats.byRate, penstock.Limited, wait, fmt.Sprintf("over its rate of %g/s: it would have to wait longer than %s", g.rules.RateLimit.Rate, patience))
	}
	if wait <= 0 {
		return nil
	}
	if !g.r.pause(ctx, wait) {
		return g.refused(&g.stats.byRate, penstock.Limited, 0, fmt.Sprintf("over its rate of %g/s: its turn did not come in time", g.rules.RateLimit.Rate))
	}
	at.known = false
	return nil
}

// leave takes leave back, with how the tries ended.
func (g *guard) leave(p permit, ends policy.Tally) {
	if g == nil {
		return
	}
	if n := ends[policy.Failing]; n > 0 {
		g.stats.failures.Add(int64(n))
	}
	if g.breaker != nil {
		g.breaker.Done(g.now(), p.ticket, ends)
	}
	g.release(p.n)
}

// leaveOne is leave for one request.
func (g *guard) leaveOne(t policy.Ticket, v policy.Verdict) {
	if g == nil {
		return
	}
	if v == policy.Failing {
		g.stats.failures.Add(1)
	}
	if g.breaker != nil {
		g.breaker.DoneOne(g.now(), t, v)
	}
	g.release(1)
}

// release gives places back.
func (g *guard) release(n int) {
	if g.places == nil {
		return
	}
	for range n {
		if p := g.places.Leave(); p != nil {
			g.r.busy()
			close(p.Granted)
		}
	}
}

// queue waits on a place; false where it was in vain.
func (g *guard) queue(ctx context.Context, p *policy.Place) bool {
	var late <-chan time.Time
	if w := g.rules.Concurrency.Wait; w > 0 {
		c, stop := g.r.clock.NewTimer(w)
		defer stop()
		late = c
	}
	g.r.idle()
	select {
	case <-p.Granted: // who granted it counted us
		if !expired(ctx) {
			return true
		}
		g.release(1)
		return false
	case <-late:
	case <-ctx.Done():
	}
	if g.places.GiveUp(p) {
		g.r.busy()
	} else {
		g.release(1)
	}
	return false
}

// expired says that a context has ended, or is about to in this very moment.
func expired(ctx context.Context) bool {
	d, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(d)
}

// refusal is the cause of an error by which a guard refused a try: nothing was sent.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

func (g *guard) refused(count *atomic.Int64, code penstock.Code, wait time.Duration, reason string) error {
	count.Add(1)
	return &penstock.Error{Code: code, Op: "connection " + g.rules.Name, Err: &refusal{reason}, RetryAfter: wait, Unsent: true}
}

// errOverdrawn is the cause of a retry that was not made since the budget was used up: the failure before it is final.
var errOverdrawn = errors.New("the budget of retries is used up")

func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// pause waits on the run's clock without keeping the run from its rest; false where ctx ended before.
func (r *Runner) pause(ctx context.Context, d time.Duration) bool {
	c, stop := r.clock.NewTimer(d)
	defer stop()
	return r.Await(ctx, c) && !expired(ctx)
}

// ask is one try of a call through the caller's guard.
func (c *caller) ask(ctx context.Context, f *penstock.Frame, into *penstock.Message, patience time.Duration, first bool) error {
	if c.hedges {
		return c.hedged(ctx, f, into, bid{n: 1, each: true, retry: !first, patience: patience})
	}
	return c.once(ctx, f, into, bid{n: 1, each: true, retry: !first, patience: patience})
}

// once is ask without a hedge.
func (c *caller) once(ctx context.Context, f *penstock.Frame, into *penstock.Message, b bid) (err error) {
	p, err := c.guard.enter(ctx, b)
	if err != nil {
		return err
	}
	verdict := policy.Unknown // a panic is a fault of ours
	defer func() { c.guard.leaveOne(p.ticket, verdict) }()
	err = c.c.Call(ctx, f, into)
	verdict = verdictOf(ctx, err)
	return err
}

// verdictOf is what a try says of the other side. One that its time-out ended is a failure, whatever the driver made of it, and one that
// was cancelled says nothing.
func verdictOf(ctx context.Context, err error) policy.Verdict {
	switch {
	case err == nil || ctx.Err() == nil:
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return policy.Failing
	default:
		return policy.Unknown
	}
	return policy.VerdictOf(err)
}
