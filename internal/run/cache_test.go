package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// caching is a flow that calls u with a cache by body.k, and sends what it gets.
func caching(order plan.Order, docs []string, c plan.Cache, u *upstream, change func(*plan.Call, *plan.Node)) (*bench, *noted) {
	if c.Key == nil && c.Parts == nil {
		c.Key = field("k")
	}
	if c.Size == 0 {
		c.Size = 1 << 20
	}
	b := asking(order, 0, plan.Policy{}, u, func(op *plan.Call, n *plan.Node) {
		op.Endpoint.Policy, op.Cache = nil, &c
		if change != nil {
			change(op, n)
		}
	})
	out := &noted{}
	b.flow.Nodes = next(append(b.flow.Nodes, send("out"))...)
	b.flow.Nodes[0].Next, b.flow.Nodes[1].Next = 1, plan.End
	b.sinks = map[string]*noted{"out": out}
	b.source.docs = docs
	return b, out
}

func TestEqualCallsAreMadeOnce(t *testing.T) {
	for _, order := range orders {
		for _, size := range []int{1, 100} {
			t.Run(fmt.Sprintf("%s/%d", order, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					u := &upstream{answer: func(ctx context.Context, _ int64) error { return takes(ctx, 10*time.Millisecond) }}
					var in []string
					for i := range 300 {
						in = append(in, fmt.Sprintf(`{"n":%d,"k":"k%d"}`, i, i%3))
					}
					b, out := caching(order, in, plan.Cache{TTL: time.Minute}, u, nil)
					b.source.batch = size
					sum := b.run(t)
					if f := sum.Flows[0]; f.Done != 300 || u.n.Load() != 3 || len(out.got) != 300 {
						t.Fatalf("%d calls: %+v", u.n.Load(), f)
					}
					c := sum.Flows[0].Steps[0].Cache
					if c.Misses != 3 || c.Hits+c.Joined != 297 || c.Bytes == 0 {
						t.Errorf("%+v", c)
					}
				})
			})
		}
	}
}

func TestACacheKeepsTheOrder(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey} {
		synctest.Test(t, func(t *testing.T) {
			u := &upstream{answer: func(ctx context.Context, _ int64) error { return takes(ctx, 10*time.Millisecond) }}
			var in []string
			for i := range 200 { // one of three asks, the others are known
				in = append(in, fmt.Sprintf(`{"n":%d,"k":"%d"}`, i, i*(i%3/2)))
			}
			b, out := caching(order, in, plan.Cache{TTL: time.Minute}, u, func(op *plan.Call, _ *plan.Node) { op.Into.Name, op.Into.Root = "x", 2 })
			b.flow.Key = prog(func(*penstock.Frame) penstock.Value { return penstock.StringValue("same") })
			b.run(t)
			if len(out.got) != 200 || !slices.IsSortedFunc(out.got, byN) {
				t.Errorf("%s: %d messages, in order %t", order, len(out.got), slices.IsSortedFunc(out.got, byN))
			}
		})
	}
}

// at runs a flow whose source gives its documents at certain times.
type paced struct {
	lines
	at    []time.Duration
	began time.Time
}

func (s *paced) Read(ctx context.Context, into *penstock.Batch) error {
	if s.began.IsZero() {
		s.began = time.Now()
	}
	if s.next < len(s.at) {
		if err := takes(ctx, time.Until(s.began.Add(s.at[s.next]))); err != nil {
			return err
		}
	}
	return s.lines.Read(ctx, into)
}

func TestTimesOfACache(t *testing.T) {
	notFound := penstock.E(penstock.NotFound, "ask", "", "nothing")
	for name, c := range map[string]struct {
		cache plan.Cache
		fails func(try int64) error
		at    []int // seconds; all of one key
		calls int64
		done  int64
		stale int64
	}{
		"kept for its time":                  {cache: plan.Cache{TTL: 10 * time.Second}, at: []int{0, 9, 10, 19, 20}, calls: 3, done: 5},
		"failures are not kept":              {cache: plan.Cache{TTL: 10 * time.Second}, fails: func(try int64) error { return down1(try) }, at: []int{0, 1, 2}, calls: 2, done: 2},
		"nothing is not kept":                {cache: plan.Cache{TTL: 10 * time.Second}, fails: func(int64) error { return notFound }, at: []int{0, 1, 2}, calls: 3},
		"nothing is kept where that is said": {cache: plan.Cache{TTL: 10 * time.Second, Negative: 5 * time.Second}, fails: func(int64) error { return notFound }, at: []int{0, 4, 5, 9}, calls: 2},
		"an old one serves while asking fails": {cache: plan.Cache{TTL: 10 * time.Second, Stale: 10 * time.Second}, fails: func(try int64) error {
			if try > 1 {
				return errDown
			}
			return nil
		}, at: []int{0, 10, 19, 20}, calls: 4, done: 3, stale: 2},
		"and no longer than asking fails": {cache: plan.Cache{TTL: 10 * time.Second, Stale: 100 * time.Second}, fails: func(try int64) error {
			if try == 2 {
				return errDown
			}
			return nil
		}, at: []int{0, 10, 11, 12}, calls: 3, done: 4, stale: 1},
		"a refusal is an answer": {cache: plan.Cache{TTL: 10 * time.Second, Stale: 100 * time.Second}, fails: func(try int64) error {
			if try > 1 {
				return penstock.E(penstock.Forbidden, "ask", "", "no")
			}
			return nil
		}, at: []int{0, 10}, calls: 2, done: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{answer: func(_ context.Context, try int64) error {
					if c.fails != nil {
						return c.fails(try)
					}
					return nil
				}}
				b, _ := caching(plan.Total, docs(len(c.at), `{"n":%d,"k":"a"}`), c.cache, u, nil)
				b.flow.OnError.Retry = plan.Retry{Attempts: 1}
				src := &paced{lines: lines{docs: b.source.docs}}
				for _, s := range c.at {
					src.at = append(src.at, time.Duration(s)*time.Second)
				}
				b.flow.Sources = []*plan.Endpoint{endpoint("in")}
				r, err := New(&plan.Plan{Flows: []*plan.Flow{b.flow}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
					switch role {
					case RoleSource:
						return src, true
					case RoleCaller:
						return u, true
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
				if f := sum.Flows[0]; u.n.Load() != c.calls || f.Done != c.done || f.Steps[0].Cache.Stale != c.stale {
					t.Errorf("%d calls, %d done, %+v", u.n.Load(), f.Done, f.Steps[0].Cache)
				}
			})
		})
	}
}

func down1(try int64) error {
	if try == 1 {
		return errDown
	}
	return nil
}

func TestATimeOutOfAFlightServesTheOldAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{answer: func(ctx context.Context, try int64) error {
			if try > 1 {
				return takes(ctx, time.Hour)
			}
			return nil
		}}
		b, out := caching(plan.Total, docs(500, `{"n":%d,"k":"a"}`), plan.Cache{TTL: 10 * time.Millisecond, Stale: time.Hour}, u, func(_ *plan.Call, n *plan.Node) { n.Timeout = time.Second })
		b.flow.Nodes[1].Op.(*plan.Send).Endpoint.Policy = &plan.Policy{Name: "slow", RateLimit: &plan.RateLimit{Rate: 100, Burst: 1}}
		b.source.batch = 1
		b.flow.Concurrency = 1
		sum := b.run(t)
		if f := sum.Flows[0]; f.Done != 500 || len(out.got) != 500 || f.Steps[0].Cache.Stale == 0 {
			t.Errorf("%+v %+v", f, f.Steps[0].Cache)
		}
	})
}

// Two branches want the same answer; the deadline of one of them must not take it from the other.
func TestWhoGoesDoesNotTakeTheAnswerFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cancelled atomic.Bool
		u := &upstream{answer: func(ctx context.Context, _ int64) error {
			err := takes(ctx, time.Second)
			cancelled.Store(err != nil)
			return err
		}}
		b, _ := caching(plan.None, nil, plan.Cache{TTL: time.Minute}, u, nil)
		b.flow.Sources = []*plan.Endpoint{endpoint("in")}
		r, err := New(&plan.Plan{Flows: []*plan.Flow{b.flow}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
			switch role {
			case RoleSource:
				return b.source, true
			case RoleCaller:
				return u, true
			}
			return &noted{}, true
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer r.cancel()
		f := r.list()[0]
		f.ctx = t.Context()
		n := &f.prog.nodes[0]
		ask := func(ctx context.Context) error {
			batch := &penstock.Batch{Runtime: f.runtime}
			m := batch.Append()
			m.Body.Reset(0, []byte(`{"k":"a"}`))
			got, err := n.caller.cache.ask(ctx, n.caller, batch, m, n, true)
			if err == nil && !strings.Contains(string(got.doc.Bytes()), "ok") {
				t.Errorf("answer %s", got.doc.Bytes())
			}
			return err
		}
		results := make(chan error, 2)
		impatient, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		go func() { results <- ask(impatient) }()
		synctest.Wait()
		go func() { results <- ask(t.Context()) }()
		if err := <-results; err == nil {
			t.Error("the impatient one was answered")
		}
		if err := <-results; err != nil || cancelled.Load() || u.n.Load() != 1 {
			t.Errorf("%v after %d calls", err, u.n.Load())
		}
		// Alone, it takes the flight with it.
		impatient, stop = context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		n.caller.cache.kept.Remove("a")
		if err := ask(impatient); err == nil {
			t.Error("answered")
		}
		synctest.Wait()
		if !cancelled.Load() {
			t.Error("nobody wants the answer any more, and it is still waited for")
		}
		f.beside.Wait()
	})
}

func TestKeysOfPartsDiffer(t *testing.T) {
	list := func(v ...penstock.Value) penstock.Value { return penstock.ListValue(&penstock.List{Elems: v}) }
	str, absent := penstock.StringValue, penstock.Absent
	requests := [][]penstock.Value{
		{str("a"), str("b")}, {str("ab"), str("")}, {str(`a","b`)}, {str("a")}, {absent, str("a")}, {str("a"), absent},
		{list(str("x"), absent, penstock.IntValue(5))}, {list(str("x"), penstock.IntValue(5), absent)}, {list(str("x"), penstock.IntValue(5))}, {list(list(str("x")), penstock.IntValue(5))},
		{list()}, {penstock.Null}, {str("null")}, {str("-")}, {penstock.IntValue(1)}, {str("1")},
	}
	seen := map[string]int{}
	for i, r := range requests {
		a := &answers{op: &plan.Cache{}}
		for _, v := range r {
			a.op.Parts = append(a.op.Parts, prog(func(*penstock.Frame) penstock.Value { return v }))
		}
		key, err := a.key(&penstock.Frame{}, "ask")
		if err != nil {
			t.Fatal(err)
		}
		if j, twice := seen[key]; twice {
			t.Errorf("requests %d and %d have one key", i, j)
		}
		seen[key] = i
	}
}

func TestAHitCostsLittle(t *testing.T) {
	u := &upstream{answer: func(context.Context, int64) error { return nil }}
	b, _ := caching(plan.None, docs(1, `{"n":%d,"k":"a"}`), plan.Cache{TTL: time.Hour}, u, nil)
	b.flow.Sources = []*plan.Endpoint{endpoint("in")}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{b.flow}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
		switch role {
		case RoleSource:
			return b.source, true
		case RoleCaller:
			return u, true
		}
		return &noted{}, true
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.cancel()
	f := r.list()[0]
	n := &f.prog.nodes[0]
	batch := &penstock.Batch{Runtime: f.runtime}
	m := batch.Append()
	m.Body.Reset(0, []byte(`{"k":"a"}`))
	if _, err := n.caller.cache.ask(t.Context(), n.caller, batch, m, n, true); err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(1000, func() {
		if n.caller.cache.known(batch, m, n.Name) == nil {
			t.Fatal("a miss")
		}
	}); got > 1 {
		t.Errorf("%g allocations a hit", got)
	}
	f.beside.Wait()
}

// TestAnswersOutliveAReload changes a flow around a call whose answers are kept.
func TestAnswersOutliveAReload(t *testing.T) {
	u := &upstream{answer: func(context.Context, int64) error { return nil }}
	w := newWorks(t)
	src := newTap()
	w.sources["a/from"] = src
	build := func(v int, hash string, c plan.Cache) *plan.Plan {
		call := plan.Node{Name: "ask", Verb: "call", Op: &plan.Call{Endpoint: &plan.Endpoint{Name: "a/ask", Hash: hash}, Idempotent: true, Cache: &c}}
		return &plan.Plan{Flows: []*plan.Flow{version(&plan.Flow{Name: "a", Order: plan.Total, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(call, marking(v), into("a"))}, v)}}
	}
	o := w.options()
	inner := o.Replace
	o.Replace = func(f *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		if role == RoleCaller {
			return u, true
		}
		return inner(f, role, ep)
	}
	own := plan.Cache{TTL: time.Hour, Size: 1 << 20, Parts: []penstock.Program{prog(func(*penstock.Frame) penstock.Value { return penstock.StringValue("same") })}}
	longer, keyed := own, own
	longer.TTL = 2 * time.Hour
	keyed.Parts, keyed.Key = nil, field("k")
	r, over := running(t, build(0, "h", own), o)
	asked, n := int64(0), 0
	step := func(what string, more int64) {
		t.Helper()
		src.pour(n, n+1)
		n++
		eventually(t, what, func() bool { return w.sink("a/to").count() == n })
		if asked += more; u.n.Load() != asked {
			t.Errorf("%s: asked %d times, want %d", what, u.n.Load(), asked)
		}
	}
	step("first", 1)
	step("again", 0)
	w.apply(r, build(1, "h", own))
	step("another flow", 0)
	w.apply(r, build(2, "h", longer))
	step("another time to live", 1)
	w.apply(r, build(3, "other", longer))
	step("another call", 1)
	w.apply(r, build(4, "other", keyed))
	step("a key", 1)
	w.apply(r, build(5, "other", keyed))
	step("a key, and another flow", 1)
	close(src.in)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
}
