package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// scene is a random flow with its input.
type scene struct {
	order    plan.Order
	nodes    []*mnode
	inner    map[string]bool // sinks inside forks: they see no order but within themselves
	grouped  bool
	attempts int
	width    int
	budget   int
	each     bool
	feed     []mmsg
	sizes    []int
	seed     uint64
}

func (s *scene) String() string {
	return fmt.Sprintf("order %s, %d lanes, budget %d, %d tries, %d messages in %v, each %v\n%s", s.order, s.width, s.budget, s.attempts, len(s.feed), s.sizes, s.each, dump(s.nodes, ""))
}

// composer writes random programs.
type composer struct {
	t      *rapid.T
	s      *scene
	named  int
	splits int
	nodes  []*mnode
	catch  *int
	kinds  func(depth int) []kind // of steps; nil: all but durable ones
	inside []kind                 // steps inside of a branch that don't fail
}

func to(pc int) *int { return &pc }

func (c *composer) int(lo, hi int, what string) int { return rapid.IntRange(lo, hi).Draw(c.t, what) }

func (c *composer) name(prefix string) string {
	c.named++
	return fmt.Sprintf("%s%d", prefix, c.named)
}

func (c *composer) emit(k kind, next *int) *mnode {
	n := &mnode{kind: k, name: c.name("s"), next: next, catch: c.catch}
	c.nodes = append(c.nodes, n)
	return n
}

// chain emits kinds one after the other, the last of which goes on at after.
func (c *composer) chain(after *int, kinds ...kind) (first *mnode) {
	for i, k := range kinds {
		next := after
		if i < len(kinds)-1 {
			next = to(len(c.nodes) + 1)
		}
		if n := c.emit(k, next); i == 0 || k == kFork || k == kEach || k == kGroup {
			first = n
		}
	}
	return first
}

// list emits steps; what runs through goes on at after.
func (c *composer) list(after *int, depth, atMost int, mark bool) {
	n := c.int(1, atMost, "steps")
	for i := range n {
		next := after
		if i < n-1 {
			next = new(int)
		}
		if i == 0 && mark {
			c.emit(kMark, next)
		} else {
			c.step(next, depth)
		}
		if i < n-1 {
			*next = len(c.nodes)
		}
	}
}

func (c *composer) step(after *int, depth int) {
	kinds := []kind{kMark, kFilter, kHard, kFlaky, kFlaky, kSend, kSend, kCall, kCall, kLoop, kFork, kEach}
	if depth > 0 {
		kinds = append(kinds, kRoute, kRoute, kRoute, kNorm, kNorm) // kNorm: a try
	}
	if c.splits < 2 {
		kinds = append(kinds, kSplit, kSplit)
	}
	if c.s.order != plan.None {
		kinds = append(kinds, kGroup)
	}
	if c.kinds != nil {
		kinds = c.kinds(depth)
	}
	switch k := rapid.SampledFrom(kinds).Draw(c.t, "kind"); k {
	case kRoute:
		c.route(after, depth)
	case kNorm:
		outer := c.catch
		c.catch = new(int)
		c.list(after, depth-1, 3, false)
		*c.catch = len(c.nodes)
		c.catch = outer
		c.list(after, depth-1, 2, true)
	case kSplit:
		c.splits++
		c.chain(after, kFan, kSplit, kPart)
	case kGroup:
		c.s.grouped = true
		c.chain(after, kGroup, kGather).size = c.int(1, 4, "size")
	case kFork:
		n := c.chain(after, kFork, kNorm)
		n.subs = [][]*mnode{c.sub("y", 0), c.sub("y", 0)}
		c.own(n)
	case kEach:
		n := c.chain(after, kFan, kEach, kNorm)
		n.subs = [][]*mnode{c.sub("x", kPart)}
		c.own(n)
	case kDedupe:
		c.emit(kDedupe, after).size = c.int(1, 4, "keys")
	case kDelay:
		c.emit(kDelay, after)
	case kLoop:
		n := c.emit(kLoop, after)
		n.size = c.int(2, 5, "rounds")
		n.subs = [][]*mnode{c.sub("y", kLoop)}
		c.own(n)
	default:
		n := c.emit(k, after)
		n.when = c.int(0, 3, "when") == 0
		c.own(n)
	}
}

// own gives a node what it may have of its own.
func (c *composer) own(n *mnode) {
	n.width = c.int(1, 4, "width")
	if c.int(0, 3, "own") == 0 {
		n.tries = c.int(1, 4, "tries")
	}
}

func (c *composer) route(after *int, depth int) {
	n := c.emit(kRoute, after)
	for range c.int(1, 2, "branches") {
		n.targets = append(n.targets, to(len(c.nodes)))
		if c.int(0, 6, "stop") == 0 {
			c.emit(kFinish, to(plan.End))
			continue
		}
		c.list(after, depth-1, 3, false)
	}
	n.targets = append(n.targets, after)
}

// sub is a program inside a node: at most one of its steps can fail.
func (c *composer) sub(prefix string, first kind) []*mnode {
	kinds := []kind{kMark}
	if first == kPart {
		kinds = []kind{kPart, kMark}
	}
	if first != kLoop && c.int(0, 1, "filter") == 0 {
		kinds = append(kinds, kFilter)
	}
	if first != kLoop && c.inside != nil && c.int(0, 1, "inside") == 0 {
		kinds = append(kinds, c.inside...)
	}
	inside := []kind{kMark, kHard, kFlaky, kSend, kCall}
	kinds = append(kinds, rapid.SampledFrom(inside).Draw(c.t, "inner"), kMark)
	var out []*mnode
	for i, k := range kinds {
		n := &mnode{kind: k, name: c.name(prefix), next: to(i + 1), catch: to(plan.End), width: 2}
		if i == len(kinds)-1 {
			n.next = to(plan.End)
		}
		if k == kSend || k == kStore {
			c.s.inner[n.name] = true
		}
		if (k == kFlaky || k == kCall) && c.int(0, 3, "own") == 0 {
			n.tries = c.int(1, 4, "tries")
		}
		out = append(out, n)
	}
	return out
}

func compose(t *rapid.T, groups bool) *scene {
	s := &scene{inner: map[string]bool{}}
	c := &composer{t: t, s: s, catch: to(plan.End)}
	s.order = rapid.SampledFrom(orders).Draw(t, "order")
	s.attempts = c.int(1, 4, "attempts")
	s.width = c.int(1, 4, "lanes")
	s.budget = c.int(1, 40, "budget")
	s.each = rapid.Bool().Draw(t, "each")
	s.seed = rapid.Uint64().Draw(t, "fate")
	s.sizes = rapid.SliceOfN(rapid.IntRange(1, 9), 1, 4).Draw(t, "batches")
	keys := []string{"a", "", "b", "c"}[:c.int(1, 4, "keys")]
	for i := range c.int(0, 30, "messages") {
		m := mmsg{id: fmt.Sprint(i), k: keys[int(chance("key", fmt.Sprint(i, s.seed)))%len(keys)], from: []int{i}}
		m.h = mix("", m.id)
		m.orig = bodyOf(m.id, m.k, m.h)
		if s.order == plan.PerKey {
			m.key = m.k
		}
		s.feed = append(s.feed, m)
	}
	if !groups { // as if there were no order to group in
		defer func(o plan.Order) { s.order = o }(s.order)
		s.order = plan.None
	}
	c.emit(kPart, to(1))
	c.list(to(plan.End), 2, 7, false)
	s.nodes = c.nodes
	return s
}

// theatre is a scene on the engine.
type theatre struct {
	*scene
	fate   *fateful
	stores map[string]*shelf
	grave  *grave
	source *feed
	runner *Runner
}

func (s *scene) set(t *rapid.T) *theatre {
	g := &theatre{scene: s, stores: map[string]*shelf{}, grave: &grave{after: -1}, source: &feed{msgs: s.feed, sizes: s.sizes}}
	g.fate = &fateful{random: rand.New(rand.NewPCG(s.seed, 1)), rest: make(chan struct{}, 1), tried: map[string]int{}}
	f := &plan.Flow{Name: "f", Order: s.order, Concurrency: s.width, Slots: slotCount, Nodes: g.fate.lower(s.nodes), Budget: plan.Budget{Messages: s.budget},
		Sources: []*plan.Endpoint{endpoint("in")}, OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: s.attempts, Initial: 1}}}
	if s.each {
		f.Sources = []*plan.Endpoint{sourceEndpoint()}
	}
	if s.order == plan.PerKey {
		f.Key = field("k")
	}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{Clock: g.fate, OnIdle: g.fate.look, Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		switch role {
		case RoleSource:
			return g.source, true
		case RoleSink:
			g.stores[ep.Name] = &shelf{f: g.fate, name: ep.Name}
			return g.stores[ep.Name], true
		case RoleCaller:
			return asked{g.fate, ep.Name}, true
		}
		return g.grave, true
	}})
	if err != nil {
		t.Fatal(err)
	}
	g.runner, g.fate.runner = r, r
	return g
}

// play runs the scene to its end; fired is told how many times fate has acted.
func (g *theatre) play(t *rapid.T, ctx context.Context, fired func(n int)) (*Summary, error) {
	var sum *Summary
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		sum, err = g.runner.Run(ctx)
	}()
	stuck := time.NewTimer(30 * time.Second) // only a fault waits so long
	defer stuck.Stop()
	for n := 0; ; {
		select {
		case <-g.fate.rest:
			if g.runner.Idle() && g.fate.fire() {
				n++
				fired(n)
			}
		case <-done:
			if !g.runner.Idle() {
				t.Errorf("%d goroutines count as busy at the end", g.runner.busyN.Load())
			}
			return sum, err
		case <-stuck.C:
			all := make([]byte, 1<<20)
			t.Fatalf("the run does not end\n%s\n%s", g, all[:runtime.Stack(all, true)])
		}
	}
}

// settlement tells each source message that was settled. A source that is told cumulatively hears
// of the last of those that are.
func (g *theatre) settlement(t *rapid.T) []int64 {
	var out []int64
	last := int64(-1)
	for _, o := range g.source.settled {
		if g.each {
			out = append(out, o.Pos.Offset)
			continue
		}
		if o.Pos.Offset <= last {
			t.Errorf("settled up to %d after %d", o.Pos.Offset, last)
		}
		for last < o.Pos.Offset {
			last++
			out = append(out, last)
		}
	}
	slices.Sort(out)
	for i := 1; i < len(out); i++ {
		if out[i] == out[i-1] {
			t.Errorf("message %d is settled twice", out[i])
		}
	}
	return out
}

// promised has the source check, when it is told of a message, that all that was made of it is durable.
func (g *theatre) promised(t *rapid.T, want *model) {
	told := 0
	g.source.check = func(o penstock.Outcome) {
		from, to := told, int(o.Pos.Offset)+1
		if g.each {
			from = to - 1
		}
		told = to
		for i := from; i < to; i++ {
			for name, bodies := range want.made[i] {
				s := &g.grave.shelf
				if name != "" {
					s = g.stores[name]
				}
				if miss := s.misses(bodies); miss != "" {
					t.Errorf("message %d is settled, but %s is not durable at %q", i, miss, name)
				}
			}
		}
	}
}

func TestTheEngineDoesWhatTheModelDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := compose(t, true)
		want := newModel(s.nodes, s.attempts)
		want.run(s.feed)
		g := s.set(t)
		g.promised(t, want)
		sum, err := g.play(t, context.Background(), func(int) {})
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		if n := len(g.settlement(t)); n != len(s.feed) {
			t.Errorf("%d of %d messages are settled", n, len(s.feed))
		}
		if got, want := sorted(g.grave.dead), sorted(want.dead); !slices.Equal(got, want) {
			t.Errorf("dead letters\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
		for name, st := range g.stores {
			g.compare(t, name, st.got, want.out[name])
		}
		g.counted(t, sum.Flows[0], want)
		if t.Failed() {
			t.Logf("%s", s)
		}
	})
}

// compare holds what a sink got to the model: in the order that the flow keeps.
func (g *theatre) compare(t *rapid.T, name string, got, want []written) {
	a, b := sorted(got), sorted(want)
	if !slices.Equal(a, b) {
		t.Errorf("%s: got\n  %s\nwant\n  %s", name, strings.Join(a, "\n  "), strings.Join(b, "\n  "))
		return
	}
	if g.order == plan.None || g.inner[name] {
		return
	}
	if diff := sameKeys(got, want); diff != "" {
		t.Errorf("%s: %s order: %s", name, g.order, diff)
	}
}

func (g *theatre) counted(t *rapid.T, got FlowSummary, m *model) {
	w := m.total
	for _, c := range []struct {
		name      string
		got, want int64
	}{
		{"read", got.Read, w.Read}, {"done", got.Done, w.Done}, {"filtered", got.Filtered, w.Filtered}, {"dead", got.Dead, w.Dead},
		{"grouped", got.Grouped, w.Grouped}, {"groups", got.Groups, w.Groups}, {"split", got.Split, w.Split}, {"retries", got.Retries, w.Retries},
		{"unsettled", got.Unsettled, 0}, {"late", got.Late, 0}, {"lost", got.Lost, 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.name, c.got, c.want)
		}
	}
	for _, s := range got.Steps {
		if c := m.step(s.Name); s.In != c.in || s.Dropped != c.dropped || s.Retries != c.retries {
			t.Errorf("%+v, want %+v", s, *c)
		}
	}
	for name, n := range got.Sent {
		if st := g.stores[name]; st != nil && n != int64(len(st.got)) {
			t.Errorf("%s: %d sent, want %d", name, n, len(st.got))
		}
	}
}

// TestWhatIsSettledWasWritten stops a run at any moment, gently or with a dead letter that can't be
// written: what was settled by then is complete and durable, and nothing was settled twice.
func TestWhatIsSettledWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := compose(t, false)
		want := newModel(s.nodes, s.attempts)
		want.run(s.feed)
		g := s.set(t)
		g.promised(t, want)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		abort := rapid.Bool().Draw(t, "abort")
		after := rapid.IntRange(0, 30).Draw(t, "after")
		if rapid.Bool().Draw(t, "reading") {
			g.source.onRead = func(next int) {
				if next >= after {
					g.stop(abort, cancel)
				}
			}
		}
		if abort && rapid.Bool().Draw(t, "no room") {
			g.grave.after = after / 4
		}
		sum, err := g.play(t, ctx, func(n int) {
			if n == after {
				g.stop(abort, cancel)
			}
		})
		if err != nil && !abort {
			t.Errorf("stopped gently: %v", err)
		}
		settled := g.settlement(t)
		f := sum.Flows[0]
		if f.Unsettled != f.Read-int64(len(settled)) {
			t.Errorf("%d read, %d settled, %d not settled", f.Read, len(settled), f.Unsettled)
		}
		if err == nil && f.Unsettled != 0 {
			t.Errorf("%d messages were not finished", f.Unsettled)
		}
		if t.Failed() {
			t.Logf("%s", s)
		}
	})
}

func (g *theatre) stop(abort bool, cancel func()) {
	if abort {
		g.runner.abort(fmt.Errorf("stopped by the test"))
		return
	}
	cancel()
}
