package run

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/memory"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/step"
)

// resumable is a source that can go on where it was.
type resumable struct {
	lines
	resumed []penstock.Position
	reads   int
	stopAt  int // ends as if it were stopped, after so many messages; 0 never
	stop    func()
}

func (s *resumable) Resume(_ context.Context, from []penstock.Position) error {
	s.resumed = from
	for _, p := range from {
		s.next = int(p.Next)
	}
	return nil
}

func (s *resumable) Read(ctx context.Context, into *penstock.Batch) error {
	err := s.lines.Read(ctx, into)
	for _, m := range into.Msgs {
		m.Pos.Next = m.Pos.Offset + 1
		s.reads++
	}
	if s.stopAt > 0 && s.reads >= s.stopAt && s.stop != nil {
		s.stop()
	}
	return err
}

// plant is a durable plan on a store that outlives its runs.
type plant struct {
	dead    string // folder of dead-letter files; "": they are kept in the store
	t       testing.TB
	store   store.Store
	plan    *plan.Plan
	clock   penstock.Clock
	source  func() penstock.Source
	sinks   map[string]penstock.Sink
	callers map[string]penstock.Caller
	once    bool
}

func newPlant(t testing.TB, flows ...*plan.Flow) *plant {
	st := memory.New()
	t.Cleanup(func() { _ = st.Close() })
	p := &plant{t: t, store: st, plan: &plan.Plan{Flows: flows, Durable: true, Store: &plan.Store{Journal: 1 << 20}}, sinks: map[string]penstock.Sink{}, callers: map[string]penstock.Caller{}}
	names := map[string]bool{}
	channelOf := func(ep *plan.Endpoint) {
		if ep != nil && ep.Channel != "" && !names[ep.Channel] {
			names[ep.Channel] = true
			p.plan.Channels = append(p.plan.Channels, &plan.Channel{Name: ep.Channel, Durable: true})
		}
	}
	for _, f := range flows {
		if f.OnError.Retry.Attempts == 0 {
			f.OnError.Retry = plan.Retry{Attempts: 5, Factor: 2}
		}
		for _, s := range f.Sources {
			channelOf(s)
		}
		for i := range f.Nodes {
			if s, ok := f.Nodes[i].Op.(*plan.Send); ok {
				channelOf(s.Endpoint)
			}
		}
	}
	return p
}

func (p *plant) runner() *Runner {
	r, err := New(p.plan, p.options())
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *plant) options() Options {
	return Options{
		Clock: p.clock, Once: p.once, DeadLetters: p.dead, Store: func() (store.Store, error) { return p.store, nil },
		Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
			switch {
			case ep == nil || ep.Channel != "":
			case role == RoleSource:
				return p.source(), true
			case role == RoleSink:
				s := p.sinks[ep.Name]
				return s, s != nil
			case role == RoleCaller:
				c := p.callers[ep.Name]
				return c, c != nil
			}
			return nil, false
		},
	}
}

func (p *plant) run(ctx context.Context) *Summary {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r := p.runner()
	sum, err := r.Run(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	if n := r.busyN.Load(); n != 0 {
		p.t.Errorf("%d goroutines count as busy after the run", n)
	}
	return sum
}

// holds lists the bodies in a channel.
func (p *plant) holds(channel string) []string {
	p.t.Helper()
	var out []string
	p.each(channel, func(v record.View) { out = append(out, string(v.AppendBody(nil))) })
	return out
}

func (p *plant) each(channel string, f func(v record.View)) {
	p.t.Helper()
	err := p.store.View(context.Background(), func(v store.View) error {
		b, err := v.Log().Bounds(channel)
		if err != nil {
			return err
		}
		for at := b.First; at < b.Next; {
			segs, err := v.Log().Segments(channel, at, 1<<20)
			if err != nil {
				return err
			}
			for _, s := range segs {
				rest := s.Data
				for len(rest) > 0 {
					var rec []byte
					if rec, rest, err = store.NextFrame(rest); err != nil {
						return err
					}
					view, err := record.Parse(rec)
					if err != nil {
						return err
					}
					f(view)
				}
				at = s.End()
			}
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func toChannel(name string) plan.Node {
	return plan.Node{Name: "to-" + name, Verb: "to", Op: &plan.Send{Endpoint: &plan.Endpoint{Name: "to-" + name, Channel: name}, Idempotent: true}}
}

func fromChannel(flow, name string) []*plan.Endpoint {
	return []*plan.Endpoint{{Name: flow + "/from", Channel: name}}
}

func fromLines(flow string) []*plan.Endpoint {
	return []*plan.Endpoint{{Name: flow + "/from", Driver: &penstock.Driver{Spec: penstock.Spec{Settle: penstock.Cumulative}}}}
}

func TestADurableChannelCarriesEverything(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey, plan.None} {
		t.Run(string(order), func(t *testing.T) {
			in := docs(5000, `{"n":%d}`)
			out := &noted{}
			p := newPlant(t,
				&plan.Flow{Name: "a", Order: order, Sources: fromLines("a"), Key: field("n"), Nodes: next(toChannel("c"))},
				&plan.Flow{Name: "b", Order: order, Sources: fromChannel("b", "c"), Nodes: next(send("out"))})
			p.source = func() penstock.Source { return &resumable{lines: lines{docs: in, batch: 100}} }
			p.sinks["out"] = out
			sum := p.run(t.Context())
			got := slices.Clone(out.got)
			if order != plan.Total {
				slices.Sort(got)
				slices.Sort(in)
			}
			if !slices.Equal(got, in) {
				t.Errorf("%d messages came out of %d", len(got), len(in))
			}
			for _, f := range sum.Flows {
				if f.Read != 5000 || f.Unsettled != 0 {
					t.Errorf("%s: read %d, unsettled %d", f.Name, f.Read, f.Unsettled)
				}
			}
			// A second run has nothing to do.
			out.got = nil
			p.run(t.Context())
			if len(out.got) > 0 {
				t.Errorf("%d messages came again", len(out.got))
			}
		})
	}
}

func TestADurableAggregateIsAStageBoundary(t *testing.T) {
	in := docs(1000, `{"n":%d}`)
	mod := prog(func(f *penstock.Frame) penstock.Value {
		v := field("n").Eval(f)
		return penstock.IntValue(v.Int() % 10)
	})
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(
		plan.Node{Name: "tens", Verb: "aggregate", Op: &plan.Group{By: mod, AtEnd: true, Into: step.Target{Root: step.Body}}},
		toChannel("c"))})
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: in, batch: 64}} }
	sum := p.run(t.Context())
	got := p.holds("c")
	if len(got) != 10 || sum.Flows[0].Groups != 10 {
		t.Fatalf("%d groups, %d counted", len(got), sum.Flows[0].Groups)
	}
	if n := strings.Count(got[3], `"n"`); n != 100 || !strings.HasPrefix(got[3], `[{"n":3},{"n":13},`) {
		t.Errorf("a group of %d: %.60s", n, got[3])
	}
}

// breaking is a store that ends in the middle, as a process does that is killed: after so many commits nothing is durable any more.
type breaking struct {
	store.Store
	mu    sync.Mutex
	left  int
	abort func()
}

func (b *breaking) Submit(c store.Class, f func(store.Tx) error) *store.Commit {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left == 0 {
		b.abort()
		return store.NewCommit() // never
	}
	b.left--
	return b.Store.Submit(c, f)
}

func TestWhatIsKilledGoesOnAndLosesNothing(t *testing.T) {
	const n = 3000
	in := docs(n, `{"n":%d}`)
	for _, order := range []plan.Order{plan.Total, plan.PerKey, plan.None} {
		t.Run(string(order), func(t *testing.T) {
			tens := prog(func(f *penstock.Frame) penstock.Value { return penstock.IntValue(field("n").Eval(f).Int() / 10) })
			p := newPlant(t,
				&plan.Flow{Name: "a", Order: order, Sources: fromLines("a"), Key: tens, Nodes: next(
					plan.Node{Name: "call", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true, Into: step.Target{Root: step.Discard}}},
					toChannel("c"),
					plan.Node{Name: "tens", Verb: "aggregate", Op: &plan.Group{By: tens, Size: 10, Into: step.Target{Root: step.Body}}},
					toChannel("groups"))},
				&plan.Flow{Name: "b", Order: order, Sources: fromChannel("b", "c"), Nodes: next(toChannel("d"))})
			p.source = func() penstock.Source { return &resumable{lines: lines{docs: in, batch: 17}} }
			var mu sync.Mutex
			tries := map[string]int{}
			p.callers["ask"] = answer(func(body string) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				if tries[body]++; tries[body] == 1 && strings.HasSuffix(body, "7}") {
					return "", penstock.E(penstock.Unavailable, "ask", "", "not now")
				}
				return "{}", nil
			})
			real := p.store
			for kill := 1; ; kill++ {
				b := &breaking{Store: real, left: kill * 2}
				p.store = b
				r := p.runner()
				b.abort = func() { go r.abort(fmt.Errorf("killed")) }
				_, err := r.Run(t.Context())
				// What was on its way to the store is there before the next run looks.
				if err := real.Submit(store.Small, func(store.Tx) error { return nil }).Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := real.Submit(store.Bulk, func(store.Tx) error { return nil }).Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err == nil {
					break
				}
				if kill > 500 {
					t.Fatal("it does not come to an end")
				}
			}
			p.store = real
			p.run(t.Context())
			for _, c := range []string{"c", "d"} {
				got := p.holds(c)
				want := slices.Clone(in)
				if order != plan.Total {
					slices.Sort(got)
					slices.Sort(want)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s holds %d of %d: %s", c, len(got), len(want), firstDifference(got, want))
				}
			}
			var total int
			p.each("groups", func(v record.View) { total += strings.Count(string(v.Body()), `"n"`) })
			if got := len(p.holds("groups")); got != n/10 || total != n {
				t.Errorf("%d groups of %d messages", got, total)
			}
		})
	}
}

func firstDifference(got, want []string) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("%d: %s, want %s", i, got[i], want[i])
		}
	}
	return "one is longer"
}

func TestADeadMessageTakesBackWhatItWrote(t *testing.T) {
	bad := steps(func(_ *penstock.Batch, m *penstock.Message) error {
		if err := m.Body.Parse(jsonview.Limits{}); err != nil {
			return err
		}
		if i, _ := m.Body.Int(m.Body.Field(0, "n", nil)); i%3 == 0 {
			return penstock.E(penstock.Invalid, "bad", "", "three")
		}
		return nil
	})
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(
		toChannel("c"), plan.Node{Name: "bad", Verb: "map", Op: &plan.Apply{Step: bad}})})
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: docs(9, `{"n":%d}`), batch: 4}} }
	p.run(t.Context())
	if got := p.holds("c"); len(got) != 6 {
		t.Errorf("the channel holds %v", got)
	}
	if got := p.holds("a.dead"); !slices.Equal(got, []string{`{"n":0}`, `{"n":3}`, `{"n":6}`}) {
		t.Errorf("dead: %v", got)
	}
}

// TestADeadMessageInAFileTakesBackWhatItWrote is the same where dead letters go elsewhere.
func TestADeadMessageInAFileTakesBackWhatItWrote(t *testing.T) {
	bad := steps(func(*penstock.Batch, *penstock.Message) error { return penstock.E(penstock.Invalid, "bad", "", "bad") })
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(
		toChannel("c"), plan.Node{Name: "bad", Verb: "map", Op: &plan.Apply{Step: bad}})})
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: docs(9, `{"n":%d}`), batch: 4}} }
	p.dead = t.TempDir()
	if sum := p.run(t.Context()); sum.Flows[0].Dead != 9 {
		t.Errorf("%d are dead", sum.Flows[0].Dead)
	}
	if got := p.holds("c"); len(got) != 0 {
		t.Errorf("the channel holds %v", got)
	}
}

// crowded is a store that has no room for a while.
type crowded struct {
	store.Store
	left int
}

func (c *crowded) Submit(class store.Class, f func(store.Tx) error) *store.Commit {
	if class == store.Bulk && c.left > 0 {
		c.left--
		return c.Store.Submit(class, func(store.Tx) error { return penstock.E(penstock.Limited, "write", "", "no room") })
	}
	return c.Store.Submit(class, f)
}

func TestAStoreWithoutRoomIsWaitedFor(t *testing.T) {
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(toChannel("c"))})
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: docs(50, `{"n":%d}`), batch: 20}} }
	p.store = &crowded{Store: p.store, left: 1}
	p.run(t.Context())
	if got := p.holds("c"); len(got) != 50 {
		t.Errorf("%d messages", len(got))
	}
}

func TestASourceWaitsForWhatStandsBehindADurableStep(t *testing.T) {
	release := make(chan struct{})
	const backlog = 100
	n := backlog + 10000
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.None, Sources: fromLines("a"), Budget: plan.Budget{Messages: 1 << 20, Bytes: 1 << 30}, Nodes: next(
		plan.Node{Name: "all", Verb: "sample", Op: &plan.Stage{Spec: &plan.Window{Every: 1}}},
		plan.Node{Name: "call", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true, Into: step.Target{Root: step.Discard}}})})
	src := &resumable{lines: lines{docs: docs(n, `{"n":%d}`), batch: 20}}
	p.source = func() penstock.Source { return src }
	p.callers["ask"] = answer(func(string) (string, error) {
		<-release
		return "{}", nil
	})
	r := p.runner()
	r.lives.flows[0].commit.backlog = backlog
	s := r.lives.flows[0].stages[0]
	src.stopAt, src.stop = backlog+40, func() { // the source is fast: it waits until what it has given stands behind the step
		for s.waiting.Load() <= backlog {
			runtime.Gosched()
		}
		src.stop = nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := r.Run(t.Context())
		done <- err
	}()
	for s.waiting.Load() <= backlog { // nothing takes from behind the step
		runtime.Gosched()
	}
	if read := r.Snapshot().Flows[0].Read; read == int64(n) {
		t.Errorf("everything was read, %d messages", read)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if sum := r.Snapshot(); sum.Flows[0].Unsettled != 0 || sum.Flows[0].Read != int64(n) {
		t.Errorf("read %d, unsettled %d", sum.Flows[0].Read, sum.Flows[0].Unsettled)
	}
}

func TestAWireTapSeesWhatDiesBehindIt(t *testing.T) {
	tap := toChannel("tapped")
	tap.Op.(*plan.Send).NoWait = true
	bad := steps(func(*penstock.Batch, *penstock.Message) error { return penstock.E(penstock.Invalid, "bad", "", "no") })
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(
		tap, toChannel("c"), plan.Node{Name: "bad", Verb: "map", Op: &plan.Apply{Step: bad}})})
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: docs(5, `{"n":%d}`), batch: 2}} }
	p.run(t.Context())
	if tapped, sent := p.holds("tapped"), p.holds("c"); len(tapped) != 5 || len(sent) != 0 {
		t.Errorf("the tap saw %d, the channel holds %d", len(tapped), len(sent))
	}
}
