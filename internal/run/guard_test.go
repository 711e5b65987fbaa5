package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/policy"
	"penstock.dev/penstock/jsonview"
)

// upstream is somebody who is asked: a function of the number of the try, from 1, in time that a bubble of synctest makes.
type upstream struct {
	answer func(ctx context.Context, try int64) error
	n      atomic.Int64
	now    atomic.Int64
	most   atomic.Int64
	mu     sync.Mutex
	at     []time.Duration // when it was asked, since the first time
	began  time.Time
}

func (*upstream) Open(context.Context) error  { return nil }
func (*upstream) Close(context.Context) error { return nil }
func (u *upstream) Call(ctx context.Context, _ *penstock.Frame, into *penstock.Message) error {
	u.mu.Lock()
	if u.began.IsZero() {
		u.began = time.Now()
	}
	u.at = append(u.at, time.Since(u.began))
	u.mu.Unlock()
	now := u.now.Add(1)
	defer u.now.Add(-1)
	for most := u.most.Load(); now > most && !u.most.CompareAndSwap(most, now); most = u.most.Load() {
	}
	if err := u.answer(ctx, u.n.Add(1)); err != nil {
		return err
	}
	into.Body.Reset(jsonview.JSON, []byte(`{"ok":true}`))
	return nil
}

// takes takes its time, unless it is cancelled.
func takes(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// asking is a flow that calls the connection u, with what the policy says.
func asking(order plan.Order, messages int, p plan.Policy, u *upstream, change func(*plan.Call, *plan.Node)) *bench {
	p.Name = "u"
	call := &plan.Call{Endpoint: &plan.Endpoint{Name: "ask", Connection: "u", Policy: &p}, Idempotent: true}
	n := plan.Node{Name: "ask", Verb: "call", Op: call}
	if change != nil {
		change(call, &n)
	}
	return &bench{
		flow:    &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 2, Nodes: next(n)},
		source:  &lines{docs: docs(messages, `{"n":%d,"k":"`+"a"+`"}`), batch: 100},
		callers: map[string]penstock.Caller{"ask": u},
	}
}

var errDown = penstock.E(penstock.Unavailable, "ask", "", "down")

func down(context.Context, int64) error { return errDown }

func TestABreakerOpensProbesAndCloses(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.None} {
		t.Run(string(order), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{}
				u.answer = func(context.Context, int64) error {
					if time.Since(u.began) < 12*time.Second {
						return errDown
					}
					return nil
				}
				b := asking(order, 300, plan.Policy{Breaker: &plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 20, Open: 5 * time.Second, HalfOpen: 1}}, u, nil)
				b.flow.OnError.Retry = plan.Retry{Attempts: 20, Initial: 100 * time.Millisecond, Factor: 2, Max: time.Second}
				sum := b.run(t)
				if f := sum.Flows[0]; f.Done != 300 || f.Dead != 0 {
					t.Fatalf("%+v", f)
				}
				probes := 0
				for _, at := range u.at {
					if at > 0 && at < 12*time.Second {
						probes++
						if at%(5*time.Second) != 0 {
							t.Errorf("asked at %s, while it was open", at)
						}
					}
				}
				if probes != 2 {
					t.Errorf("%d probes in 12s with one each 5s", probes)
				}
				g := sum.Guards[0]
				if g.State != "closed" || g.Opened != 3 || g.RefusedByBreaker == 0 || g.Tries != int64(len(u.at)) || g.InFlight != 0 {
					t.Errorf("%+v", g)
				}
			})
		})
	}
}

func TestAnOpenBreakerSparesWhatIsNotIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answer: func(_ context.Context, try int64) error {
			if try == 1 {
				return errDown
			}
			return nil
		}}
		b := asking(plan.Total, 10, plan.Policy{Breaker: &plan.Breaker{Failures: 0.01, Window: 10 * time.Second, Minimum: 1, Open: time.Second, HalfOpen: 1}}, u,
			func(c *plan.Call, _ *plan.Node) { c.Idempotent = false })
		b.source.batch = 1
		sum := b.run(t)
		if f := sum.Flows[0]; f.Dead != 1 || f.Done != 9 {
			t.Errorf("the first was sent, and must not be sent again; the others were refused, and are: %+v", f)
		}
		if len(u.at) != 10 {
			t.Errorf("asked %d times", len(u.at))
		}
	})
}

func TestABudgetBoundsAStorm(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.None} {
		t.Run(string(order), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{answer: down}
				b := asking(order, 10_000, plan.Policy{Budget: 0.2}, u, func(c *plan.Call, _ *plan.Node) {
					c.Endpoint.Retry = &plan.Retry{Attempts: 5, Initial: 10 * time.Millisecond, Factor: 2, Max: time.Second}
				})
				sum := b.run(t)
				most := int64(12_000 + policy.BudgetMinimum)
				if n := u.n.Load(); n > most || n < 11_000 {
					t.Errorf("%d tries, at most %d", n, most)
				}
				g := sum.Guards[0]
				if f := sum.Flows[0]; f.Dead != 10_000 || g.BudgetExhausted == 0 || g.Retries != u.n.Load()-10_000 {
					t.Errorf("%+v %+v", f, g)
				}
			})
		})
	}
}

func TestAStormWithoutABudgetTriesEverythingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answer: down}
		b := asking(plan.None, 1000, plan.Policy{Concurrency: &plan.Concurrency{Limit: 64, Queue: -1}}, u, nil)
		b.run(t)
		if n := u.n.Load(); n != 5000 {
			t.Errorf("%d tries", n)
		}
	})
}

func TestALimitHoldsOverFlows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answer: func(ctx context.Context, _ int64) error { return takes(ctx, 10*time.Millisecond) }}
		p := plan.Policy{Concurrency: &plan.Concurrency{Limit: 3, Queue: -1}}
		one, two := asking(plan.None, 100, p, u, nil), asking(plan.Total, 100, p, u, nil)
		two.flow.Name = "g"
		one.flow.Sources, two.flow.Sources = []*plan.Endpoint{endpoint("one")}, []*plan.Endpoint{endpoint("two")}
		one.flow.OnError.Retry.Attempts, two.flow.OnError.Retry.Attempts = 1, 1
		r, err := New(&plan.Plan{Flows: []*plan.Flow{one.flow, two.flow}}, Options{
			Replace: func(f *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
				switch {
				case role == RoleCaller:
					return u, true
				case role == RoleSource && f == one.flow:
					return one.source, true
				case role == RoleSource:
					return two.source, true
				}
				return &noted{}, true
			}})
		if err != nil {
			t.Fatal(err)
		}
		sum, err := r.Run(t.Context())
		if err != nil || sum.Flows[0].Done != 100 || sum.Flows[1].Done != 100 {
			t.Fatal(err, sum.Flows)
		}
		if u.most.Load() != 3 {
			t.Errorf("%d at once", u.most.Load())
		}
		if len(sum.Guards) != 1 {
			t.Errorf("%d guards for one connection", len(sum.Guards))
		}
	})
}

func TestWaitingForAPlaceIsPartOfTheTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answer: func(ctx context.Context, _ int64) error { return takes(ctx, 300*time.Millisecond) }}
		b := asking(plan.None, 10, plan.Policy{Concurrency: &plan.Concurrency{Limit: 1, Queue: -1}, Breaker: &plan.Breaker{Failures: 0.9, Window: time.Minute, Minimum: 1, Open: time.Hour, HalfOpen: 1}}, u,
			func(_ *plan.Call, n *plan.Node) { n.Timeout = 700 * time.Millisecond })
		b.flow.OnError.Retry.Attempts = 1
		sum := b.run(t)
		// Two end in time, the third is under way when its time is over, seven never left; and only the third says something of the other side.
		if f := sum.Flows[0]; f.Done != 2 || f.Dead != 8 || u.n.Load() != 3 {
			t.Errorf("%+v after %d calls", f, u.n.Load())
		}
		if g := sum.Guards[0]; g.RefusedByConcurrency != 7 || g.Failures != 1 {
			t.Errorf("%+v", g)
		}
		causes := map[string]int64{}
		for _, c := range sum.Flows[0].Causes {
			causes[string(c.Code)] += c.Count
		}
		if causes["unavailable"] != 7 || causes["timeout"] != 1 {
			t.Errorf("%v", causes)
		}
	})
}

func TestAFullQueueRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answer: func(ctx context.Context, _ int64) error { return takes(ctx, time.Second) }}
		b := asking(plan.None, 10, plan.Policy{Concurrency: &plan.Concurrency{Limit: 2, Queue: 3, Wait: 1500 * time.Millisecond}}, u, nil)
		b.flow.OnError.Retry.Attempts = 1
		sum := b.run(t)
		// Two at 0s, two of the line at 1s; the last of the line has waited too long at 1.5s; five found it full.
		if f, g := sum.Flows[0], sum.Guards[0]; f.Done != 4 || g.RefusedByConcurrency != 6 || g.InFlight != 0 || g.Waiting != 0 {
			t.Errorf("%+v %+v", f, g)
		}
	})
}

func TestARateIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answer: func(context.Context, int64) error { return nil }}
		b := asking(plan.Total, 50, plan.Policy{RateLimit: &plan.RateLimit{Rate: 10, Burst: 5}}, u, nil)
		sum := b.run(t)
		if sum.Flows[0].Done != 50 {
			t.Fatalf("%+v", sum.Flows[0])
		}
		slices.Sort(u.at)
		for i, at := range u.at {
			if want := time.Duration(max(i-4, 0)) * 100 * time.Millisecond; at != want {
				t.Errorf("call %d at %s, want %s", i, at, want)
			}
		}
	})
}

func TestWhatCanNotGoInTimeIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answer: func(context.Context, int64) error { return nil }}
		b := asking(plan.None, 10, plan.Policy{RateLimit: &plan.RateLimit{Rate: 1, Burst: 1}}, u, func(c *plan.Call, n *plan.Node) {
			n.Timeout, c.Idempotent = 2*time.Second, false
		})
		b.flow.OnError.Retry = plan.Retry{Attempts: 1}
		sum := b.run(t)
		if f, g := sum.Flows[0], sum.Guards[0]; f.Done != 2 || g.RefusedByRate != 8 || f.Causes[0].Code != penstock.Limited {
			t.Errorf("%+v %+v", f, g)
		}
	})
}

func TestRetryAfterIsWaitedFor(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey} {
		synctest.Test(t, func(t *testing.T) {
			u := &upstream{answer: func(_ context.Context, try int64) error {
				if try == 1 {
					return &penstock.Error{Code: penstock.Limited, Err: errors.New("slow down"), RetryAfter: 7 * time.Second}
				}
				return nil
			}}
			b := asking(order, 1, plan.Policy{Budget: 1}, u, func(c *plan.Call, _ *plan.Node) { c.Idempotent = false })
			b.flow.OnError.Retry = plan.Retry{Attempts: 2, Initial: time.Millisecond, Factor: 1}
			b.run(t)
			if len(u.at) != 2 || u.at[1] != 7*time.Second {
				t.Errorf("%s: asked at %v", order, u.at)
			}
		})
	}
}

// timed is a sink that notes when it got what.
type timed struct {
	fail  func(body string) error
	began time.Time
	got   []string
}

func (*timed) Open(context.Context) error  { return nil }
func (*timed) Close(context.Context) error { return nil }
func (s *timed) Write(_ context.Context, b *penstock.Batch) error {
	if s.began.IsZero() {
		s.began = time.Now()
	}
	if s.fail != nil {
		if err := s.fail(string(b.Msgs[0].Body.AppendJSON(nil, 0))); err != nil {
			return err
		}
	}
	for _, m := range b.Msgs {
		s.got = append(s.got, fmt.Sprintf("%s %s", m.Body.AppendJSON(nil, 0), time.Since(s.began)))
	}
	return nil
}

func TestASinkKeepsItsRateAndItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 0
		out := &timed{fail: func(body string) error {
			if body == `{"n":4,"k":"a"}` && failures < 2 {
				failures++
				return errDown
			}
			return nil
		}}
		b := asking(plan.Total, 10, plan.Policy{}, nil, nil)
		b.flow.Nodes = next(plan.Node{Name: "to", Verb: "to", Op: &plan.Send{Idempotent: true, Endpoint: &plan.Endpoint{Name: "out", Connection: "u",
			Policy: &plan.Policy{Name: "u", RateLimit: &plan.RateLimit{Rate: 2, Burst: 2}}}}})
		b.flow.OnError.Retry = plan.Retry{Attempts: 3, Initial: time.Second, Factor: 1}
		b.flow.Sources = []*plan.Endpoint{sourceEndpoint()}
		r, err := New(&plan.Plan{Flows: []*plan.Flow{b.flow}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
			switch role {
			case RoleSource:
				return b.source, true
			case RoleSink:
				return out, true
			}
			return &noted{}, true
		}})
		if err != nil {
			t.Fatal(err)
		}
		sum, err := r.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := []string{`{"n":0,"k":"a"} 0s`, `{"n":1,"k":"a"} 0s`, `{"n":2,"k":"a"} 1s`, `{"n":3,"k":"a"} 1s`,
			`{"n":4,"k":"a"} 4s`, `{"n":5,"k":"a"} 4s`, `{"n":6,"k":"a"} 5s`, `{"n":7,"k":"a"} 5s`, `{"n":8,"k":"a"} 6s`, `{"n":9,"k":"a"} 6s`}
		if !slices.Equal(out.got, want) {
			t.Errorf("got %q", out.got)
		}
		if f := sum.Flows[0]; f.Done != 10 || f.Dead != 0 || f.Retries != 2 {
			t.Errorf("%+v", f)
		}
	})
}

func TestAGuardCostsNoMemory(t *testing.T) {
	r, err := New(&plan.Plan{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.cancel()
	ep := &plan.Endpoint{Name: "ask", Policy: &plan.Policy{Name: "u", Breaker: &plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 20, Open: time.Second, HalfOpen: 1},
		Concurrency: &plan.Concurrency{Limit: 10, Queue: -1}, RateLimit: &plan.RateLimit{Rate: 1e9, Burst: 1000}, Budget: 0.2}}
	c := &caller{ep: ep, c: silent{}, guard: newGuard(r, ep.Policy)}
	b := &penstock.Batch{}
	m := b.NewMessage()
	into := b.NewMessage()
	f := b.Frame(m)
	if n := testing.AllocsPerRun(1000, func() {
		if err := c.ask(t.Context(), f, into, time.Second, true); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%g allocations a call", n)
	}
}

type silent struct{}

func (silent) Open(context.Context) error  { return nil }
func (silent) Close(context.Context) error { return nil }
func (silent) Call(context.Context, *penstock.Frame, *penstock.Message) error {
	return nil
}

func BenchmarkGuard(b *testing.B) {
	r, err := New(&plan.Plan{}, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer r.cancel()
	for name, p := range map[string]*plan.Policy{
		"none":    nil,
		"breaker": {Name: "a", Breaker: &plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 20, Open: time.Second, HalfOpen: 1}},
		"all": {Name: "b", Breaker: &plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 20, Open: time.Second, HalfOpen: 1},
			Concurrency: &plan.Concurrency{Limit: 10, Queue: -1}, RateLimit: &plan.RateLimit{Rate: 1e9, Burst: 1000}, Budget: 0.2},
	} {
		b.Run(name, func(b *testing.B) {
			ep := &plan.Endpoint{Name: "ask", Policy: p}
			c := &caller{ep: ep, c: silent{}}
			if p != nil {
				c.guard = newGuard(r, p)
			}
			batch := &penstock.Batch{}
			m, into := batch.NewMessage(), batch.NewMessage()
			f := batch.Frame(m)
			b.ReportAllocs()
			for b.Loop() {
				_ = c.ask(b.Context(), f, into, time.Second, true)
			}
		})
	}
}

// TestGuardAllocates nothing for a call that it lets through.
func TestGuardAllocates(t *testing.T) {
	r, err := New(&plan.Plan{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.cancel()
	rules := &plan.Policy{Name: "a", Breaker: &plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 20, Open: time.Second, HalfOpen: 1},
		Concurrency: &plan.Concurrency{Limit: 10, Queue: -1}, RateLimit: &plan.RateLimit{Rate: 1e9, Burst: 1000}, Budget: 0.2}
	c := &caller{ep: &plan.Endpoint{Name: "ask", Policy: rules}, c: silent{}, guard: newGuard(r, rules)}
	batch := &penstock.Batch{}
	m, into := batch.NewMessage(), batch.NewMessage()
	f := batch.Frame(m)
	if n := testing.AllocsPerRun(100, func() { _ = c.ask(t.Context(), f, into, time.Second, true) }); n > 0 {
		t.Errorf("%g allocations", n)
	}
}

func TestALateAnswerIsAskedForOnceMore(t *testing.T) {
	type answers map[int64]struct {
		after time.Duration
		err   error
	}
	for name, c := range map[string]struct {
		answers     answers
		hedge       plan.Hedge
		change      func(*plan.Call, *plan.Node)
		budget      float64
		calls       int64
		took        time.Duration
		done        int64
		hedges, won int64
	}{
		"in time":                 {answers: answers{1: {40 * time.Millisecond, nil}}, calls: 1, took: 40 * time.Millisecond, done: 1},
		"late, the second wins":   {answers: answers{1: {time.Second, nil}, 2: {10 * time.Millisecond, nil}}, calls: 2, took: 60 * time.Millisecond, done: 1, hedges: 1, won: 1},
		"late, the first wins":    {answers: answers{1: {60 * time.Millisecond, nil}, 2: {20 * time.Millisecond, nil}}, calls: 2, took: 60 * time.Millisecond, done: 1, hedges: 1},
		"one by one":              {answers: answers{1: {time.Second, nil}, 2: {time.Second, nil}, 3: {time.Millisecond, nil}}, hedge: plan.Hedge{Max: 3}, calls: 3, took: 101 * time.Millisecond, done: 1, hedges: 2, won: 1},
		"one fails, one does not": {answers: answers{1: {60 * time.Millisecond, errDown}, 2: {30 * time.Millisecond, nil}}, calls: 2, took: 80 * time.Millisecond, done: 1, hedges: 1, won: 1},
		"both fail":               {answers: answers{1: {60 * time.Millisecond, errDown}, 2: {30 * time.Millisecond, errDown}}, calls: 2, took: 80 * time.Millisecond, hedges: 1},
		"a refusal is an answer":  {answers: answers{1: {time.Second, nil}, 2: {10 * time.Millisecond, penstock.E(penstock.Conflict, "", "", "no")}}, calls: 2, took: 60 * time.Millisecond, hedges: 1},
		"the time-out is of the try": {answers: answers{1: {time.Second, nil}, 2: {time.Second, nil}}, change: func(_ *plan.Call, n *plan.Node) { n.Timeout = 200 * time.Millisecond },
			calls: 2, took: 200 * time.Millisecond, hedges: 1},
		"not twice": {answers: answers{1: {time.Second, nil}}, change: func(c *plan.Call, _ *plan.Node) { c.Idempotent = false }, calls: 1, took: time.Second, done: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{answer: func(ctx context.Context, try int64) error {
					a := c.answers[try]
					if err := takes(ctx, a.after); err != nil {
						return err
					}
					return a.err
				}}
				c.hedge.After = 50 * time.Millisecond
				c.hedge.Max = max(c.hedge.Max, 1)
				b := asking(plan.Total, 1, plan.Policy{Hedge: &c.hedge, Concurrency: &plan.Concurrency{Limit: 10, Queue: -1}}, u, c.change)
				b.flow.OnError.Retry = plan.Retry{Attempts: 1}
				out := &noted{}
				b.flow.Nodes = next(append(b.flow.Nodes, send("out"))...)
				b.flow.Nodes[0].Next, b.flow.Nodes[1].Next = 1, plan.End
				b.sinks = map[string]*noted{"out": out}
				began := time.Now()
				sum := b.run(t)
				f, g := sum.Flows[0], sum.Guards[0]
				if u.n.Load() != c.calls || time.Since(began) != c.took || f.Done != c.done || g.Hedges != c.hedges || g.HedgesWon != c.won || g.InFlight != 0 {
					t.Errorf("%d calls in %s: %+v %+v", u.n.Load(), time.Since(began), f, g)
				}
				if c.done == 1 && (len(out.got) != 1 || out.got[0] != `{"ok":true}`) {
					t.Errorf("got %q", out.got)
				}
				if u.now.Load() != 0 {
					t.Errorf("%d calls are still under way", u.now.Load())
				}
			})
		})
	}
}

// each is a sink that makes a request of each message.
type each struct {
	timed
	sizes []int
	down  time.Duration // until then everything fails
}

func (*each) Each(time.Duration) {}
func (s *each) Write(ctx context.Context, b *penstock.Batch) error {
	s.sizes = append(s.sizes, len(b.Msgs))
	if s.began.IsZero() {
		s.began = time.Now()
	}
	if time.Since(s.began) < s.down {
		errs := map[int]error{}
		for i := range b.Msgs {
			errs[i] = errDown
		}
		return &penstock.BatchError{Errs: errs}
	}
	return s.timed.Write(ctx, b)
}

func TestASinkOfRequestsIsGuardedByTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &each{down: 2 * time.Second}
		b := asking(plan.Total, 20, plan.Policy{}, nil, nil)
		b.flow.Nodes = next(plan.Node{Name: "to", Verb: "to", Op: &plan.Send{Idempotent: true, Endpoint: &plan.Endpoint{Name: "out", Connection: "u",
			Policy: &plan.Policy{Name: "u", Concurrency: &plan.Concurrency{Limit: 8, Queue: -1}, Breaker: &plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 8, Open: 5 * time.Second, HalfOpen: 1}}}}})
		b.flow.OnError.Retry = plan.Retry{Attempts: 10, Initial: time.Second, Factor: 1}
		b.flow.Key = prog(func(f *penstock.Frame) penstock.Value {
			v := field("n")(f)
			return penstock.StringValue(fmt.Sprint(v.Int()))
		})
		b.flow.Sources = []*plan.Endpoint{sourceEndpoint()}
		r, err := New(&plan.Plan{Flows: []*plan.Flow{b.flow}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
			switch role {
			case RoleSource:
				return b.source, true
			case RoleSink:
				return out, true
			}
			return &noted{}, true
		}})
		if err != nil {
			t.Fatal(err)
		}
		sum, err := r.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// Eight fail and open it; five seconds later one probe closes it; then all go, eight at a time.
		if want := []int{8, 1, 8, 8, 3}; !slices.Equal(out.sizes, want) {
			t.Errorf("writes of %v messages, want %v", out.sizes, want)
		}
		f, g := sum.Flows[0], sum.Guards[0]
		if f.Done != 20 || f.Dead != 0 || g.Failures != 8 || g.Tries != 28 || g.InFlight != 0 || g.State != "closed" {
			t.Errorf("%+v %+v", f, g)
		}
		if !slices.IsSortedFunc(out.got, byN) {
			t.Errorf("order: %q", out.got)
		}
	})
}

func TestWaitingForABreakerCostsNoTry(t *testing.T) {
	for _, order := range orders {
		for _, attempts := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d", order, attempts), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					u := &upstream{}
					u.answer = func(_ context.Context, try int64) error {
						if try <= 20 { // the probes fail, too
							return errDown
						}
						return nil
					}
					b := asking(order, 200, plan.Policy{Breaker: &plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 10, Open: 5 * time.Second, HalfOpen: 1},
						Concurrency: &plan.Concurrency{Limit: 5, Queue: -1}}, u, nil)
					b.flow.Key = prog(func(f *penstock.Frame) penstock.Value { return penstock.StringValue(fmt.Sprint(field("n")(f).Int())) })
					b.flow.OnError.Retry = plan.Retry{Attempts: attempts, Initial: 100 * time.Millisecond, Factor: 2, Max: time.Second}
					sum := b.run(t)
					f, g := sum.Flows[0], sum.Guards[0]
					if attempts == 1 { // no retry: who meets an open breaker fails at once
						if f.Dead < 180 || len(u.at) > 20 {
							t.Errorf("%+v", f)
						}
						return
					}
					// Those that were asked about twice are dead, and nobody else.
					if f.Dead > 10 || f.Done != 200-f.Dead || g.RefusedByBreaker == 0 {
						t.Errorf("%+v %+v", f, g)
					}
				})
			})
		}
	}
}

func TestARequestDoesNotWaitForABreaker(t *testing.T) {
	u := &upstream{answer: down}
	b := asking(plan.None, 0, plan.Policy{Breaker: &plan.Breaker{Failures: 0.5, Window: 10 * time.Second, Minimum: 1, Open: time.Hour, HalfOpen: 1}}, u, nil)
	in := &plan.Fork{As: -1, Index: -1, Branches: []plan.Sub{{Name: "a", Nodes: b.flow.Nodes}}}
	b.flow.Nodes = next(plan.Node{Name: "fork", Verb: "parallel", Op: in}) // in a branch no less than in the flow
	b.flow.OnError.Retry = plan.Retry{Attempts: 5, Factor: 1}
	h := b.serve(t, Options{})
	for i, want := range []string{"the breaker is open", "the breaker is open"} {
		if _, err := ask(h, `{}`); penstock.CodeOf(err) != penstock.Unavailable || !strings.Contains(err.Error(), want) || penstock.RetryAfterOf(err) < 59*time.Minute {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if n := u.n.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestARequestDoesNotPauseInVain has a try fail that opens the breaker, and one whose pause is longer than its caller's patience: neither
// waits for a try that can't succeed.
func TestARequestDoesNotPauseInVain(t *testing.T) {
	for _, deep := range []bool{false, true} {
		for _, send := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{answer: down}
				b := asking(plan.None, 0, plan.Policy{Breaker: &plan.Breaker{Failures: 0.5, Window: 30 * time.Second, Minimum: 2, Open: time.Minute, HalfOpen: 1}}, u, nil)
				if send {
					n := into("f")
					n.Op.(*plan.Send).Endpoint.Policy = b.flow.Nodes[0].Op.(*plan.Call).Endpoint.Policy
					n.Op.(*plan.Send).Idempotent = true
					b.flow.Nodes = next(n)
					b.sinks = map[string]*noted{"f/to": {fail: func(string, int) error { return errDown }}}
				}
				if deep {
					b.flow.Nodes = next(plan.Node{Name: "fork", Verb: "parallel", Op: &plan.Fork{As: -1, Index: -1, Branches: []plan.Sub{{Name: "a", Nodes: b.flow.Nodes}}}})
				}
				b.flow.OnError.Retry = plan.Retry{Attempts: 5, Initial: 10 * time.Second, Factor: 1}
				h := b.serve(t, Options{})
				began := time.Now()
				_, err := ask(h, `{}`) // fails, waits 10 s, fails, and knows that the next try is refused
				if took := time.Since(began); took != 10*time.Second || penstock.CodeOf(err) != penstock.Unavailable || penstock.RetryAfterOf(err) != time.Minute {
					t.Errorf("%t %t: %s, %v", deep, send, took, err)
				}
				time.Sleep(2 * time.Minute) //nolint:forbidigo // within synctest: half open then
				ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
				defer cancel()
				began = time.Now()
				m := &penstock.Batch{}
				m.Append().Body.Reset(jsonview.JSON, []byte(`{}`))
				if err := h.Handle(ctx, m); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took != 0 || penstock.CodeOf(m.Err(0)) != penstock.Unavailable {
					t.Errorf("%t %t: with little patience %s, %v", deep, send, took, m.Err(0))
				}
			})
		}
	}
}

func TestAGuardOutlivesAReload(t *testing.T) {
	w := newWorks(t)
	source := func() penstock.Source { return &held{} }
	w.sources["in"] = source()
	flow := func(share float64, words ...any) *plan.Flow {
		n := into("f")
		n.Op.(*plan.Send).Endpoint.Policy = &plan.Policy{Name: "u", Breaker: &plan.Breaker{Failures: share, Window: time.Second, Minimum: 1, Open: time.Hour, HalfOpen: 1}}
		return version(&plan.Flow{Name: "f", Order: plan.None, Sources: []*plan.Endpoint{endpoint("in")}, Nodes: next(n)}, words...)
	}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{flow(0.5, "first")}}, w.options())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		_, err := r.Run(ctx)
		over <- err
	}()
	open := func() *guard {
		g := r.list()[0].sinks[0].guard
		ticket, _, _ := g.breaker.Allow(0, 1)
		g.breaker.Done(0, ticket, policy.Failing.Of())
		return g
	}
	<-r.lives.begun
	g := open()
	w.apply(r, &plan.Plan{Flows: []*plan.Flow{flow(0.5, "second")}})
	if r.list()[0].sinks[0].guard != g || r.Snapshot().Guards[0].State != "open" {
		t.Error("a guard whose rules stay is another one")
	}
	w.apply(r, &plan.Plan{Flows: []*plan.Flow{flow(0.6, "third")}})
	if r.list()[0].sinks[0].guard == g || r.Snapshot().Guards[0].State != "closed" {
		t.Error("a guard with other rules is the old one")
	}
	w.fail["f/to"] = errDown
	if _, err := r.Apply(ctx, &plan.Plan{Flows: []*plan.Flow{func() *plan.Flow {
		f := flow(0.7, "fourth")
		f.Nodes[0].Op.(*plan.Send).Endpoint.Hash = "other"
		return f
	}()}}); err == nil {
		t.Error("it can't be opened, and is applied")
	}
	open()
	if s := r.Snapshot().Guards; len(s) != 1 || s[0].State != "open" {
		t.Errorf("after a reload that was refused: %+v", s)
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// held is a source that gives nothing until it is over.
type held struct{}

func (*held) Open(context.Context) error  { return nil }
func (*held) Close(context.Context) error { return nil }
func (*held) Read(ctx context.Context, _ *penstock.Batch) error {
	<-ctx.Done()
	return ctx.Err()
}
func (*held) Settle(context.Context, []penstock.Outcome) error { return nil }
