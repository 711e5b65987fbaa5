package run

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// town is several random flows that durable channels connect, with the input of the first.
type town struct {
	flows []*house
	feed  []mmsg // what the source has, with some messages that come twice
	kind  origin
	sizes []int
	seed  uint64
	redo  bool // dead letters are given in again: no step may depend on what came before
	queue map[string]bool
}

// house is one of the flows.
type house struct {
	scene
	name  string
	from  string     // channel; "": the source
	keeps plan.Order // with that of the flows before it
	park  bool
}

// origin is how a source goes on after a crash.
type origin int

const (
	positioned origin = iota // where the run's store says
	toldOf                   // with what it was not told of, and there are identities
	anew                     // at the beginning, and there are identities
)

func (w *town) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "source %d of %d in %v", w.kind, len(w.feed), w.sizes)
	for _, f := range w.flows {
		fmt.Fprintf(&b, "\n%s from %q, park %v, %s", f.name, f.from, f.park, f.String())
	}
	return b.String()
}

// found draws a town.
func found(t *rapid.T, redo bool) *town {
	w := &town{redo: redo, queue: map[string]bool{}}
	c := &composer{t: t}
	w.kind = rapid.SampledFrom([]origin{positioned, positioned, toldOf, anew}).Draw(t, "source")
	w.seed = rapid.Uint64().Draw(t, "fate")
	w.sizes = rapid.SliceOfN(rapid.IntRange(1, 9), 1, 4).Draw(t, "batches")
	keys := []string{"a", "b", "c", ""}[:c.int(1, 4, "keys")]
	for i := range c.int(1, 40, "messages") {
		n := i
		if w.kind != positioned && i > 0 && c.int(0, 4, "again") == 0 {
			n = c.int(0, i-1, "which")
		}
		m := mmsg{id: fmt.Sprint(n), k: keys[int(chance("key", fmt.Sprint(n, w.seed)))%len(keys)]}
		m.h = mix("", m.id)
		m.orig = bodyOf(m.id, m.k, m.h)
		w.feed = append(w.feed, m)
	}
	open := []string{""} // what a flow can read
	keeps := map[string]plan.Order{"": plan.Total}
	for i := range c.int(1, 3, "flows") {
		from := ""
		if i > 0 {
			if len(open) == 1 {
				break
			}
			from = rapid.SampledFrom(open[1:]).Draw(t, "from")
		}
		f := w.build(t, fmt.Sprintf("f%d", i), from, keeps[from], c.named)
		c.named += 100
		w.flows = append(w.flows, f)
		for _, n := range f.nodes {
			if n.kind == kStore {
				open = append(open, n.name)
				keeps[n.name] = f.keeps
				w.queue[n.name] = true
			}
		}
		if i > 0 && slices.ContainsFunc(w.flows[:i], func(o *house) bool { return o.from == from }) {
			w.queue[from] = false // both flows get all
		}
	}
	return w
}

func (w *town) build(t *rapid.T, name, from string, before plan.Order, named int) *house {
	f := &house{name: name, from: from}
	f.inner = map[string]bool{}
	c := &composer{t: t, s: &f.scene, catch: to(plan.End), named: named, inside: []kind{kStore}}
	f.order = rapid.SampledFrom(orders).Draw(t, "order")
	f.keeps = weaker(before, f.order)
	f.attempts = c.int(1, 4, "attempts")
	f.width = c.int(1, 4, "lanes")
	f.budget = c.int(1, 40, "budget")
	f.park = w.redo && f.order != plan.None && c.int(0, 3, "park") > 0
	switch {
	case w.redo && !f.park:
		f.keeps = plan.None // what is given in again comes later
	case w.redo:
		f.keeps = weaker(f.keeps, plan.PerKey)
	}
	c.kinds = func(depth int) []kind {
		kinds := []kind{kMark, kFilter, kHard, kFlaky, kFlaky, kSend, kStore, kStore, kStore, kCall, kCall, kFork, kEach}
		if depth > 0 {
			kinds = append(kinds, kRoute)
		}
		if depth == 2 && (f.keeps != plan.None || w.redo) { // behind a branch two orders would meet
			kinds = append(kinds, kGroup, kGroup)
		}
		if depth == 2 {
			kinds = append(kinds, kDelay)
		}
		if !w.redo {
			kinds = append(kinds, kLoop)
			if depth > 0 {
				kinds = append(kinds, kNorm) // a try
			}
			if depth == 2 && f.keeps != plan.None {
				kinds = append(kinds, kDedupe, kDedupe)
			}
			if c.splits < 2 {
				kinds = append(kinds, kSplit)
			}
		}
		return kinds
	}
	c.emit(kPart, to(1))
	c.list(to(plan.End), 2, 7, false)
	for _, n := range c.nodes {
		if n.kind == kGroup && w.redo {
			n.size = 1
		}
	}
	f.nodes = c.nodes
	return f
}

func weaker(a, b plan.Order) plan.Order {
	for _, o := range []plan.Order{plan.None, plan.PerKey} {
		if a == o || b == o {
			return o
		}
	}
	return plan.Total
}

// think is what the model makes of the town. With mended nothing fails.
func (w *town) think(mended bool) map[string]*model {
	out := map[string]*model{}
	kept := map[string][]*stored{}
	for _, f := range w.flows {
		m := newModel(f.nodes, f.attempts)
		m.mended = mended
		var msgs []mmsg
		if f.from == "" {
			once := map[string]bool{}
			for _, g := range w.feed {
				if !once[g.id] {
					once[g.id] = true
					msgs = append(msgs, g)
				}
			}
		}
		for _, s := range kept[f.from] {
			var b struct{ H string }
			if err := json.Unmarshal([]byte(s.body), &b); err != nil {
				panic(err)
			}
			msgs = append(msgs, mmsg{id: s.id, k: s.k, h: b.H, orig: s.body})
		}
		for i := range msgs {
			msgs[i].wrote = &[]*stored{}
		}
		m.run(msgs)
		for name, all := range m.stored {
			kept[name] = slices.DeleteFunc(all, func(s *stored) bool { return s.gone })
			m.stored[name] = kept[name]
		}
		out[f.name] = m
	}
	return out
}

// spring is a source that outlives the runs.
type spring struct {
	w    *town
	kind origin
	mu   sync.Mutex
	done map[int]bool // it was told
}

// reading is a spring in one run.
type reading struct {
	*spring
	left  []int
	reads int
}

func (s *spring) open() *reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &reading{spring: s}
	for i := range s.w.feed {
		if s.kind != toldOf || !s.done[i] {
			r.left = append(r.left, i)
		}
	}
	return r
}

func (*reading) Open(context.Context) error  { return nil }
func (*reading) Close(context.Context) error { return nil }
func (r *reading) Read(ctx context.Context, into *penstock.Batch) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(r.left) == 0 {
		return io.EOF
	}
	for n := r.w.sizes[r.reads%len(r.w.sizes)]; n > 0 && len(r.left) > 0; n-- {
		i := r.left[0]
		r.left = r.left[1:]
		m := into.Append()
		m.Body.Reset(jsonview.JSON, into.Arena().Copy([]byte(r.w.feed[i].orig)))
		m.Pos = penstock.Position{Stream: "feed", Offset: int64(i), Next: int64(i) + 1}
	}
	r.reads++
	return nil
}
func (r *reading) Settle(_ context.Context, o []penstock.Outcome) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range o {
		r.done[int(o.Pos.Offset)] = true
	}
	return nil
}

// going is a reading that the run's store keeps the position of.
type going struct{ *reading }

func (g going) Resume(_ context.Context, from []penstock.Position) error {
	for _, p := range from {
		for len(g.left) > 0 && g.left[0] < int(p.Next) {
			g.left = g.left[1:]
		}
	}
	return nil
}

// life is a town on the engine: run after run, on one store.
type life struct {
	*town
	t      *rapid.T
	store  *memory.Store
	spring *spring
	shelf  map[string]*shelf
	runs   uint64
	mended bool
	now    time.Duration
}

func (w *town) live(t *rapid.T) *life {
	return &life{town: w, t: t, store: memory.New(), spring: &spring{w: w, kind: w.kind, done: map[int]bool{}}, shelf: map[string]*shelf{}}
}

// killed is a store whose process is killed at a commit: what is submitted from there on is lost, or that one commit is
// durable and nobody hears of it.
type killed struct {
	store.Store
	mu     sync.Mutex
	left   int
	unsure bool
	abort  func()
}

func (k *killed) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left > 0 {
		k.left--
		return k.Store.Submit(c, f)
	}
	if k.unsure {
		k.unsure = false
		k.Store.Submit(c, f)
	}
	k.abort()
	return store.NewCommit()
}

// run runs the town until it ends, or (kill ≥ 0) until so many commits are made. It says whether it ended.
func (l *life) run(kill int, unsure bool) bool {
	l.runs++
	fate := &fateful{random: rand.New(rand.NewPCG(l.seed, l.runs)), rest: make(chan struct{}, 1), tried: map[string]int{}, mended: l.mended, now: l.now, step: 20 * time.Second}
	p := &plan.Plan{Durable: true, Store: &plan.Store{Journal: 1 << 20}}
	names := map[string]bool{}
	for _, f := range l.flows {
		pf := &plan.Flow{Name: f.name, Order: f.order, Concurrency: f.width, Slots: slotCount, Vars: []string{"id", "k", "error"}, Nodes: fate.lower(f.nodes),
			Budget: plan.Budget{Messages: f.budget}, OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: f.attempts, Initial: 1}, Park: f.park}}
		ep := &plan.Endpoint{Name: f.name + "/from", Channel: f.from, Driver: &penstock.Driver{Spec: penstock.Spec{Settle: penstock.Cumulative}}}
		if f.from == "" && l.kind != positioned {
			ep.ID = field("id")
			ep.Driver.Spec.Settle = penstock.Each
		}
		pf.Sources = []*plan.Endpoint{ep}
		if f.order == plan.PerKey || f.park {
			pf.Key = field("k")
		}
		p.Flows = append(p.Flows, pf)
		for _, name := range channelsOf(f.nodes) {
			if !names[name] {
				names[name] = true
				p.Channels = append(p.Channels, &plan.Channel{Name: name, Durable: true, Queue: l.queue[name]})
			}
		}
	}
	k := &killed{Store: l.store, left: kill, unsure: unsure}
	var st store.Store = l.store
	if kill >= 0 {
		st = k
	}
	r, err := New(p, Options{Clock: fate, OnIdle: fate.look, Store: func() (store.Store, error) { return st, nil },
		Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
			switch {
			case ep == nil || ep.Channel != "":
			case role == RoleSource && l.kind == positioned:
				return going{l.spring.open()}, true
			case role == RoleSource:
				return l.spring.open(), true
			case role == RoleSink:
				s := l.shelf[ep.Name]
				if s == nil {
					s = &shelf{name: ep.Name}
					l.shelf[ep.Name] = s
				}
				s.f = fate
				return s, true
			case role == RoleCaller:
				return asked{fate, ep.Name}, true
			}
			return nil, false
		}})
	if err != nil {
		l.t.Fatalf("%v\n%s", err, l)
	}
	fate.runner = r
	k.abort = func() { go r.abort(errKilled) }
	err = l.play(r, fate)
	l.now = fate.now
	l.store = l.store.Reopen() // what was on its way is there, or lost
	if err != nil && kill < 0 {
		l.t.Fatalf("%v\n%s", err, l)
	}
	return err == nil
}

var errKilled = fmt.Errorf("killed")

func (l *life) play(r *Runner, fate *fateful) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err = r.Run(context.Background())
	}()
	stuck := time.NewTimer(30 * time.Second) // only a fault waits so long
	defer stuck.Stop()
	for {
		select {
		case <-fate.rest:
			if r.Idle() {
				fate.fire()
			}
		case <-done:
			for err == nil && !r.Idle() { // one may have done all its work, and not counted itself out yet
				select {
				case <-fate.rest:
				case <-stuck.C:
					l.t.Errorf("%d goroutines count as busy at the end", r.busyN.Load())
					return err
				}
			}
			return err
		case <-stuck.C:
			all := make([]byte, 1<<20)
			l.t.Fatalf("the run does not end\n%s\n%s", l, all[:runtime.Stack(all, true)])
		}
	}
}

// channelsOf lists the durable channels that a program sends to.
func channelsOf(nodes []*mnode) (out []string) {
	for _, n := range nodes {
		if n.kind == kStore {
			out = append(out, n.name)
		}
		for _, s := range n.subs {
			out = append(out, channelsOf(s)...)
		}
	}
	return out
}

// holds reads a channel.
func (l *life) holds(channel string) (out []record.View) {
	err := l.store.View(context.Background(), func(v store.View) error {
		segs, err := v.Log().Segments(channel, 0, 1<<30)
		for _, s := range segs {
			for rest := s.Data; len(rest) > 0 && err == nil; {
				var rec []byte
				var view record.View
				if rec, rest, err = store.NextFrame(rest); err == nil {
					view, err = record.Parse(rec)
				}
				out = append(out, view)
			}
		}
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// bodies reads a channel's bodies, with their keys.
func (l *life) bodies(channel string, of plan.Order) (out []written) {
	for _, v := range l.holds(channel) {
		w := written{body: string(v.AppendBody(nil))}
		if of == plan.PerKey {
			w.key = keyIn(w.body)
		}
		out = append(out, w)
	}
	return out
}

func keyIn(body string) string {
	var b struct{ K string }
	_ = json.Unmarshal([]byte(body), &b)
	return b.K
}

// compareStored holds a flow's channels to the model, in the order that they promise.
func (l *life) compareStored(f *house, m *model) {
	for _, name := range channelsOf(f.nodes) {
		keeps := f.keeps
		if f.inner[name] {
			keeps = plan.None
		}
		got := l.bodies(name, keeps)
		var want []written
		for _, s := range m.stored[name] {
			w := written{body: s.body}
			if keeps == plan.PerKey {
				w.key = s.k
			}
			want = append(want, w)
		}
		if a, b := sorted(got), sorted(want); !slices.Equal(a, b) {
			l.t.Errorf("channel %s holds\n  %s\nwant\n  %s", name, strings.Join(a, "\n  "), strings.Join(b, "\n  "))
			continue
		}
		if keeps == plan.None {
			continue
		}
		if diff := sameKeys(got, want); diff != "" {
			l.t.Errorf("channel %s: %s order: %s", name, keeps, diff)
		}
	}
}

// deaths reads a flow's dead letters.
func (l *life) deaths(flow string) (out []death) {
	for _, v := range l.holds(deadChannel(flow)) {
		d := death{body: string(v.AppendBody(nil))}
		for name, val := range v.Meta() {
			if name == "dead" {
				text, err := val.AppendJSON(nil)
				var m struct {
					Step     string
					Attempts int
				}
				if err == nil {
					err = json.Unmarshal(text, &m)
				}
				if err != nil {
					l.t.Fatal(err)
				}
				d.step, d.attempts = m.Step, m.Attempts
			}
		}
		out = append(out, d)
	}
	return out
}

// compareSinks holds what left the store to the model: at least once, and nothing else.
func (l *life) compareSinks(m *model) {
	for name, want := range m.out {
		s := l.shelf[name]
		if s == nil {
			l.t.Errorf("there is no sink %s", name)
			continue
		}
		for _, w := range want {
			if !slices.ContainsFunc(s.got, func(g written) bool { return g.body == w.body }) {
				l.t.Errorf("sink %s did not get %s", name, w.body)
			}
		}
		for _, g := range s.got {
			if !slices.ContainsFunc(want, func(w written) bool { return g.body == w.body }) {
				l.t.Errorf("sink %s got %s, which is not its", name, g.body)
			}
		}
	}
}

// nothingLeft says that everything is acknowledged, settled and at its end.
func (l *life) nothingLeft() {
	if l.kind == toldOf && len(l.spring.done) != len(l.feed) {
		l.t.Errorf("the source was told of %d of %d messages", len(l.spring.done), len(l.feed))
	}
	before := l.contents()
	if !l.run(-1, false) {
		return
	}
	if after := l.contents(); !slices.Equal(before, after) {
		l.t.Errorf("another run made of\n  %s\nthis:\n  %s", strings.Join(before, "\n  "), strings.Join(after, "\n  "))
	}
}

func (l *life) contents() (out []string) {
	if err := l.store.View(context.Background(), func(v store.View) error {
		all, err := v.Log().Channels()
		for _, b := range all {
			if b.Channel != "#journal" {
				out = append(out, fmt.Sprintf("%s: %d", b.Channel, b.Next))
			}
		}
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
	return out
}

// often is rapid.Check, so many times over: kills have to hit small gaps. A seed that is given by RAPID_SEED is the first of as many.
func often(t *testing.T, times int, prop func(*rapid.T)) {
	first, err := strconv.ParseUint(os.Getenv("RAPID_SEED"), 10, 64)
	given := err == nil
	for i := range times {
		if given {
			if err := flag.Set("rapid.seed", strconv.FormatUint(first+uint64(i), 10)); err != nil {
				t.Fatal(err)
			}
		}
		if rapid.Check(t, prop); t.Failed() {
			break
		}
	}
	if given {
		_ = flag.Set("rapid.seed", strconv.FormatUint(first, 10))
	}
}

// TestWhatIsKilledDoesWhatTheModelDoes kills runs at random commits until one comes to its end. Then every durable channel and every
// dead letter is what the model says, exactly once and in the order that is promised.
func TestWhatIsKilledDoesWhatTheModelDoes(t *testing.T) {
	often(t, 4, func(t *rapid.T) {
		w := found(t, false)
		want := w.think(false)
		l := w.live(t)
		for _, kill := range rapid.SliceOfN(rapid.IntRange(0, 16), 1, 8).Draw(t, "kills") {
			if l.run(kill, rapid.Bool().Draw(t, "unsure")) {
				break
			}
		}
		l.run(-1, false)
		for _, f := range w.flows {
			m := want[f.name]
			l.compareStored(f, m)
			l.compareSinks(m)
			if got, want := sorted(l.deaths(f.name)), sorted(m.dead); !slices.Equal(got, want) {
				t.Errorf("dead letters of %s\n  %s\nwant\n  %s", f.name, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
		}
		l.nothingLeft()
		if t.Failed() {
			t.Logf("%s", w)
		}
	})
}
