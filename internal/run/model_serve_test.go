package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/jsonview"
)

// The model knows nothing of who drives a flow: by its rules what a request comes to is what a message from a source would have.

// requests is a scene whose messages are requests.
type requests struct {
	*scene
	replies bool
	durable bool
	wants   []*model // by request
}

func composeRequests(t *rapid.T) *requests {
	r := &requests{scene: &scene{inner: map[string]bool{}}, replies: rapid.Bool().Draw(t, "replies"), durable: rapid.Bool().Draw(t, "durable")}
	s := r.scene
	c := &composer{t: t, s: s, catch: to(plan.End), kinds: func(depth int) []kind {
		kinds := []kind{kMark, kFilter, kHard, kFlaky, kFlaky, kSend, kCall, kCall, kLoop, kFork, kEach}
		if depth > 0 {
			kinds = append(kinds, kRoute, kRoute, kNorm, kNorm)
		}
		if !r.replies {
			kinds = append(kinds, kSplit)
		}
		if r.durable {
			kinds = append(kinds, kStore, kStore)
		}
		return kinds
	}}
	if r.durable {
		c.inside = []kind{kStore}
	}
	s.order = rapid.SampledFrom([]plan.Order{plan.None, plan.PerKey}).Draw(t, "order")
	s.attempts = c.int(1, 4, "attempts")
	s.budget = c.int(1, 40, "budget")
	s.width = c.int(0, 3, "at once")
	s.seed = rapid.Uint64().Draw(t, "fate")
	s.sizes = rapid.SliceOfN(rapid.IntRange(1, 3), 1, 4).Draw(t, "batches")
	keys := []string{"a", "", "b", "c"}[:c.int(1, 4, "keys")]
	for i := range c.int(0, 20, "requests") {
		m := mmsg{id: fmt.Sprint(i), k: keys[int(chance("key", fmt.Sprint(i, s.seed)))%len(keys)], from: []int{i}, wrote: new([]*stored)}
		m.h = mix("", m.id)
		m.orig = bodyOf(m.id, m.k, m.h)
		if s.order == plan.PerKey {
			m.key = m.k
		}
		s.feed = append(s.feed, m)
	}
	c.emit(kPart, to(1))
	c.list(to(plan.End), 2, 7, false)
	s.nodes = c.nodes
	for i, m := range s.feed {
		want := newModel(s.nodes, s.attempts)
		m.from = []int{i}
		want.run([]mmsg{m})
		r.wants = append(r.wants, want)
	}
	return r
}

// office is a scene of requests on the engine.
type office struct {
	*requests
	fate    *fateful
	shelves map[string]*shelf
	store   *memory.Store
	runner  *Runner
	web     *web
}

func (s *requests) set(t *rapid.T) *office {
	g := &office{requests: s, shelves: map[string]*shelf{}, web: newWeb()}
	g.fate = &fateful{random: rand.New(rand.NewPCG(s.seed, 1)), rest: make(chan struct{}, 1), tried: map[string]int{}}
	ep := serverEndpoint(s.replies)
	ep.Server.Concurrency = s.width
	f := &plan.Flow{Name: "f", Order: s.order, Concurrency: 1, Slots: slotCount, Nodes: g.fate.lower(s.nodes), Budget: plan.Budget{Messages: s.budget},
		Sources: []*plan.Endpoint{ep}, OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: s.attempts, Initial: 1}}}
	if s.order == plan.PerKey {
		f.Key = field("k")
	}
	p := &plan.Plan{Flows: []*plan.Flow{f}, Durable: s.durable, Store: &plan.Store{Journal: 1 << 20}}
	o := Options{Clock: g.fate, OnIdle: g.fate.look, Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		switch {
		case ep != nil && ep.Channel != "" || role == RoleDeadLetter && s.durable:
			return nil, false
		case role == RoleServer:
			return g.web, true
		case role == RoleSink:
			g.shelves[ep.Name] = &shelf{f: g.fate, name: ep.Name}
			return g.shelves[ep.Name], true
		case role == RoleCaller:
			return asked{g.fate, ep.Name}, true
		}
		return &grave{after: 0}, true // nobody is dead-lettered
	}}
	if s.durable {
		g.store = memory.New()
		o.Store = func() (store.Store, error) { return g.store, nil }
		for _, name := range storesOf(s.nodes) {
			p.Channels = append(p.Channels, &plan.Channel{Name: name, Durable: true})
		}
	}
	r, err := New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	g.runner, g.fate.runner = r, r
	return g
}

// storesOf lists the durable channels of a program.
func storesOf(nodes []*mnode) (out []string) {
	for _, n := range nodes {
		if n.kind == kStore {
			out = append(out, n.name)
		}
		for _, s := range n.subs {
			out = append(out, storesOf(s)...)
		}
	}
	return out
}

// outcome is what a caller is told.
type outcome struct {
	reply string // the mark of its body; "" where there is none
	err   error
}

// play makes the requests, all at once, and gives what each came to.
func (g *office) play(t *rapid.T) ([]outcome, *Summary) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var sum *Summary
	ended := make(chan error, 1)
	go func() {
		var err error
		sum, err = g.runner.Run(ctx)
		ended <- err
	}()
	var h penstock.Handler
	out := make([]outcome, len(g.feed))
	answered := make(chan int)
	left := 0
	stuck := time.NewTimer(30 * time.Second) // only a fault waits so long
	defer stuck.Stop()
	for served := g.web.handler; ; {
		select {
		case h = <-served:
			for from, i := 0, 0; from < len(g.feed); i++ {
				to := min(len(g.feed), from+g.sizes[i%len(g.sizes)])
				left++
				go func(from int) {
					g.ask(t, h, from, out[from:to])
					answered <- 1
				}(from)
				from = to
			}
			if served = nil; left == 0 {
				stop()
			}
		case <-answered:
			if left--; left == 0 {
				stop()
			}
		case <-g.fate.rest:
			if g.runner.Idle() {
				g.fate.fire()
			}
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v\n%s", err, g.scene)
			}
			if n := g.runner.busyN.Load(); n != 0 {
				t.Errorf("%d goroutines count as busy at the end", n)
			}
			return out, sum
		case <-stuck.C:
			t.Fatalf("%d requests are not answered\n%s", left, g.scene)
		}
	}
}

// ask makes one request of several messages.
func (g *office) ask(t *rapid.T, h penstock.Handler, from int, out []outcome) {
	b := &penstock.Batch{}
	for _, m := range g.feed[from : from+len(out)] {
		b.Append().Body.Reset(jsonview.JSON, b.Arena().Copy([]byte(m.orig)))
	}
	err := h.Handle(context.Background(), b)
	for i := range out {
		for name, bodies := range g.wants[from+i].made[from+i] {
			if shelf := g.shelves[name]; shelf != nil && shelf.misses(bodies) != "" {
				t.Errorf("request %d is answered, and what it sent to %s is not durable", from+i, name)
			}
		}
		switch {
		case err != nil:
			out[i].err = err
		case b.Err(i) != nil:
			out[i].err = b.Err(i)
		case b.Msgs[i].Body != nil:
			if err := b.Msgs[i].Body.Parse(limits); err != nil {
				out[i].err = err
				continue
			}
			out[i].reply = textField(b.Msgs[i].Body, 0, "h")
		}
	}
}

func TestARequestComesToWhatAMessageWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := composeRequests(t)
		g := s.set(t)
		if g.store != nil {
			defer g.store.Close()
		}
		got, sum := g.play(t)
		wrote, kept, steps := map[string][]written{}, map[string][]string{}, map[string]int64{}
		var total FlowSummary
		for i, want := range s.wants {
			for name, ws := range want.out {
				wrote[name] = append(wrote[name], ws...)
			}
			total.Retries += want.total.Retries
			o := got[i]
			if len(want.dead) > 0 {
				total.Failed++
				if o.err == nil {
					t.Errorf("request %d is answered well, and should have failed at %s", i, want.dead[0].step)
				}
				steps[want.dead[0].step]++
				continue
			}
			total.Done += want.total.Done
			total.Filtered += want.total.Filtered
			for name, ss := range want.stored {
				for _, st := range ss {
					if !st.gone {
						kept[name] = append(kept[name], st.body)
					}
				}
			}
			reply := ""
			if s.replies && len(want.ends) > 0 {
				reply = want.ends[0].h
			}
			if o.err != nil || o.reply != reply {
				t.Errorf("request %d: reply %q, %v; want %q", i, o.reply, o.err, reply)
			}
		}
		for name, shelf := range g.shelves {
			if a, b := sorted(shelf.got), sorted(wrote[name]); !slices.Equal(a, b) {
				t.Errorf("%s: got\n  %s\nwant\n  %s", name, strings.Join(a, "\n  "), strings.Join(b, "\n  "))
			}
			if shelf.durable != len(shelf.got) {
				t.Errorf("%s: %d of %d are durable", name, shelf.durable, len(shelf.got))
			}
		}
		g.stored(t, kept)
		f := sum.Flows[0]
		if f.Read != int64(len(s.feed)) || f.Failed != total.Failed || f.Done != total.Done || f.Filtered != total.Filtered || f.Retries != total.Retries || f.Dead != 0 || f.Unsettled != 0 {
			t.Errorf("counted %+v\nwant %+v", f, total)
		}
		for _, c := range f.Causes {
			steps[c.Step] -= c.Count
		}
		for step, n := range steps {
			if n != 0 && s.replies { // of several parts that fail it is not certain which is first
				t.Errorf("%d requests more should have failed at %s", n, step)
			}
		}
		if t.Failed() {
			t.Logf("%s", s.scene)
		}
	})
}

// stored compares what is in the durable channels.
func (g *office) stored(t *rapid.T, want map[string][]string) {
	if g.store == nil {
		return
	}
	for _, name := range storesOf(g.nodes) {
		var got []string
		err := g.store.View(context.Background(), func(v store.View) error {
			segments, err := v.Log().Segments(name, 0, 1<<30)
			for _, s := range segments {
				for rest := s.Data; len(rest) > 0 && err == nil; {
					var rec []byte
					var r record.View
					if rec, rest, err = store.NextFrame(rest); err == nil {
						if r, err = record.Parse(rec); err == nil {
							got = append(got, string(r.AppendBody(nil)))
						}
					}
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if a, b := sorted(got), sorted(want[name]); !slices.Equal(a, b) {
			t.Errorf("%s: kept\n  %s\nwant\n  %s", name, strings.Join(a, "\n  "), strings.Join(b, "\n  "))
		}
	}
}
