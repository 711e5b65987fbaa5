package run

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// restClock moves on, timer by timer, only when the run is at rest.
type restClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*timer
	fired  map[*timer]bool
	rest   chan struct{}
}

func newRestClock() *restClock {
	return &restClock{now: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), fired: map[*timer]bool{}, rest: make(chan struct{}, 1)}
}

func (c *restClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *restClock) NewTimer(d time.Duration) (<-chan time.Time, func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &timer{at: c.now.Add(d), c: make(chan time.Time, 1)}
	c.timers = append(c.timers, t)
	return t.c, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.fired, t)
		for i, o := range c.timers {
			if o == t {
				c.timers = append(c.timers[:i], c.timers[i+1:]...)
				break
			}
		}
		c.look()
	}
}

func (c *restClock) look() {
	select {
	case c.rest <- struct{}{}:
	default:
	}
}

// fire fires the next timer, unless one that has fired was not taken notice of.
func (c *restClock) fire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.fired) > 0 || len(c.timers) == 0 {
		return
	}
	first := 0
	for i, t := range c.timers {
		if t.at.Before(c.timers[first].at) {
			first = i
		}
	}
	t := c.timers[first]
	c.timers = append(c.timers[:first], c.timers[first+1:]...)
	c.fired[t] = true
	c.now = t.at
	t.c <- c.now
}

// drive runs p to its end, and gives how long it took on the clock.
func (c *restClock) drive(t *testing.T, p *plan.Plan, made func(*Runner), replace func(*plan.Flow, Role, *plan.Endpoint) (any, bool)) (*Summary, time.Duration) {
	t.Helper()
	began := c.Now()
	r, err := New(p, Options{Clock: c, OnIdle: c.look, DeadLetters: t.TempDir(), Replace: replace})
	if err != nil {
		t.Fatal(err)
	}
	made(r)
	if r.Idle() {
		t.Error("at rest before it has begun")
	}
	var sum *Summary
	done := make(chan struct{})
	go func() {
		defer close(done)
		sum, err = r.Run(context.Background())
	}()
	for {
		select {
		case <-c.rest:
			c.mu.Lock()
			quiet := len(c.fired) == 0
			c.mu.Unlock()
			if quiet && r.Idle() {
				c.fire()
			}
		case <-done:
			if err != nil {
				t.Fatal(err)
			}
			return sum, c.Now().Sub(began)
		}
	}
}

// flaky fails each body so often.
func flaky(times int) steps {
	tries := map[string]int{}
	var mu sync.Mutex
	return func(_ *penstock.Batch, m *penstock.Message) error {
		mu.Lock()
		defer mu.Unlock()
		body := string(m.Body.AppendJSON(nil, 0))
		if tries[body]++; tries[body] <= times {
			return penstock.E(penstock.Unavailable, "flaky", "", "later")
		}
		return nil
	}
}

// wait is a caller that takes its time.
type wait struct {
	r *Runner
	d time.Duration
}

func (*wait) Open(context.Context) error  { return nil }
func (*wait) Close(context.Context) error { return nil }
func (w *wait) Call(ctx context.Context, _ *penstock.Frame, into *penstock.Message) error {
	c, stop := w.r.clock.NewTimer(w.d)
	defer stop()
	w.r.Await(ctx, c)
	into.Body.Reset(0, []byte(`1`))
	return nil
}

// told is a source that says when it waits: it never does.
type told struct{ lines }

func (*told) Waits(_, _ func()) {}

// Whatever waits for whatever else in a run: when all of it waits for the clock in the end, the
// run is at rest, and never before.
func TestRunRestsWhenAllWaitForTheClock(t *testing.T) {
	second := &plan.Retry{Attempts: 9, Initial: time.Second, Factor: 1}
	retrying := func(times int) plan.Node {
		return plan.Node{Name: "flaky", Retry: second, Op: &plan.Apply{Step: flaky(times)}}
	}
	asking := func() plan.Node {
		return plan.Node{Name: "ask", Op: &plan.Call{Endpoint: endpoint("ask"), Window: 2, Idempotent: true}}
	}
	both := func() plan.Node {
		return plan.Node{Name: "both", Op: &plan.Fork{Branches: []plan.Sub{{Name: "a", Nodes: next(asking(), retrying(1))}, {Name: "b", Nodes: next(asking(), retrying(2))}}}}
	}
	each := func() plan.Node {
		return plan.Node{Name: "each", Op: &plan.Fork{Each: field("l"), As: -1, Index: -1, Concurrency: 2, Branches: []plan.Sub{{Nodes: next(asking())}}}}
	}
	idle := func() plan.Node {
		return plan.Node{Name: "idle", Op: &plan.Group{By: field("k"), Idle: 3 * time.Second}}
	}
	cases := []struct {
		name   string
		nodes  func() []plan.Node
		n      int // messages
		budget int // of messages
		out    int
		want   map[plan.Order]time.Duration // on the clock
	}{
		{"retries on the lanes, works in the queue", func() []plan.Node { return next(retrying(2), send("out")) }, 20, 0, 20,
			map[plan.Order]time.Duration{plan.Total: 20 * time.Second, plan.PerKey: 20 * time.Second, plan.None: 2 * time.Second}},
		{"retries in the tail, lanes at the gate", func() []plan.Node { return next(send("first"), retrying(1), send("out")) }, 6, 0, 6,
			map[plan.Order]time.Duration{plan.Total: 6 * time.Second, plan.PerKey: 3 * time.Second, plan.None: time.Second}},
		{"retries that fill the budget", func() []plan.Node { return next(retrying(1), send("out")) }, 6, 2, 6,
			map[plan.Order]time.Duration{plan.Total: 3 * time.Second, plan.None: 3 * time.Second}},
		{"a full window", func() []plan.Node { return next(asking(), send("out")) }, 6, 0, 6,
			map[plan.Order]time.Duration{plan.Total: 15 * time.Second, plan.None: 15 * time.Second}},
		{"branches", func() []plan.Node { return next(both(), send("out")) }, 1, 0, 1,
			map[plan.Order]time.Duration{plan.Total: 7 * time.Second, plan.PerKey: 7 * time.Second, plan.None: 7 * time.Second}},
		{"elements", func() []plan.Node { return next(each(), send("out")) }, 1, 0, 1,
			map[plan.Order]time.Duration{plan.Total: 15 * time.Second, plan.PerKey: 15 * time.Second, plan.None: 15 * time.Second}},
		{"groups that only the clock completes", func() []plan.Node { return next(idle(), send("out")) }, 6, 0, 2,
			map[plan.Order]time.Duration{plan.Total: 3 * time.Second, plan.PerKey: 3 * time.Second, plan.None: 3 * time.Second}},
		{"groups while the tail waits", func() []plan.Node { return next(idle(), retrying(1), send("out")) }, 6, 0, 2,
			map[plan.Order]time.Duration{plan.Total: 4 * time.Second, plan.PerKey: 4 * time.Second, plan.None: 4 * time.Second}},
	}
	for _, c := range cases {
		for _, order := range orders {
			want, ok := c.want[order]
			if !ok {
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", c.name, order), func(t *testing.T) {
				src, out, ask := &told{lines{batch: 1}}, &noted{}, &wait{d: 5 * time.Second}
				for i := range c.n {
					src.docs = append(src.docs, fmt.Sprintf(`{"n":%d,"k":"%c","l":[1,2,3,4,5]}`, i, 'a'+i%2))
				}
				f := &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 2, Nodes: c.nodes(), Budget: plan.Budget{Messages: c.budget},
					Sources: []*plan.Endpoint{endpoint("in")}, OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: 1}}}
				sum, took := newRestClock().drive(t, &plan.Plan{Flows: []*plan.Flow{f}}, func(r *Runner) { ask.r = r }, func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
					switch {
					case role == RoleSource:
						return src, true
					case role == RoleCaller:
						return ask, true
					case ep != nil && ep.Name == "out":
						return out, true
					}
					return &noted{}, true
				})
				if len(out.got) != c.out || sum.Flows[0].Unsettled != 0 || sum.Flows[0].Dead != 0 {
					t.Errorf("%d came out: %+v", len(out.got), sum.Flows[0])
				}
				if took != want {
					t.Errorf("it took %s, not %s", took, want)
				}
			})
		}
	}
}

// A channel that is full, and whose reader waits for the clock, holds nobody from resting.
func TestFullChannelRests(t *testing.T) {
	in, out := &lines{docs: docs(12, `{"n":%d,"k":"a"}`), batch: 1}, &noted{}
	p, o := chained(in, out, 2, plan.Node{Name: "flaky", Retry: &plan.Retry{Attempts: 2, Initial: time.Second, Factor: 1}, Op: &plan.Apply{Step: flaky(1)}})
	p.Flows[1].Concurrency = 1
	sum, took := newRestClock().drive(t, p, func(*Runner) {}, o.Replace)
	if len(out.got) != 12 || took != 12*time.Second {
		t.Errorf("%d came out in %s: %+v", len(out.got), took, sum.Flows)
	}
}
