package run

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// works is a place with instances by the names of their endpoints, which flows of several plans use.
type works struct {
	t       testing.TB
	sources map[string]penstock.Source
	sinks   map[string]*noted
	servers map[string]*web
	fail    map[string]error // what opening gives, by endpoint
}

func newWorks(t testing.TB) *works {
	return &works{t: t, sources: map[string]penstock.Source{}, sinks: map[string]*noted{}, servers: map[string]*web{}, fail: map[string]error{}}
}

// refusing is a sink that can't be opened.
type refusing struct {
	*noted
	err error
}

func (r *refusing) Open(context.Context) error { return r.err }

func (w *works) options() Options {
	return Options{Replace: func(f *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		switch {
		case role == RoleDeadLetter:
			return w.sink(f.Name + ".dead"), true
		case ep.Channel != "":
			return nil, false
		case role == RoleSource:
			return w.sources[ep.Name], true
		case role == RoleServer:
			return w.servers[ep.Name], true
		case w.fail[ep.Name] != nil:
			return &refusing{w.sink(ep.Name), w.fail[ep.Name]}, true
		}
		return w.sink(ep.Name), true
	}}
}

func (w *works) sink(name string) *noted {
	if w.sinks[name] == nil {
		w.sinks[name] = &noted{}
	}
	return w.sinks[name]
}

// version makes a flow whose hash is that of what it was made of.
func version(f *plan.Flow, words ...any) *plan.Flow {
	f.Hash = fmt.Sprint(append(words, f.Name)...)
	for _, s := range f.Sources {
		s.Hash = "source " + s.Name + s.Channel + s.Label
		if s.Driver == nil && s.Channel == "" {
			s.Driver = &penstock.Driver{Spec: penstock.Spec{Settle: penstock.Each}}
		}
	}
	plan.Walk(f.Nodes, func(n *plan.Node) {
		if s, ok := n.Op.(*plan.Send); ok {
			s.Endpoint.Hash = "sink " + s.Endpoint.Name + s.Endpoint.Channel
		}
	})
	return f
}

// marking is a step that says which version of a flow a message has been through.
func marking(v any) plan.Node {
	return plan.Node{Name: "mark", Verb: "set", Op: &plan.Apply{Step: steps(func(_ *penstock.Batch, m *penstock.Message) error {
		m.Meta.Set("v", penstock.StringValue(fmt.Sprint(v)))
		return nil
	})}}
}

func into(flow string) plan.Node { n := send(flow + "/to"); n.Name = "to"; return n }

func through(channel, flow string) plan.Node {
	return plan.Node{Name: "send" + channel, Verb: "to", Op: &plan.Send{Endpoint: &plan.Endpoint{Name: flow + "/send" + channel, Channel: channel}, Idempotent: true}}
}

func inMemory(names ...string) (out []*plan.Channel) {
	for _, name := range names {
		out = append(out, &plan.Channel{Name: name, Capacity: 8, Hash: name})
	}
	return out
}

func (w *works) apply(r *Runner, p *plan.Plan) *Applied {
	w.t.Helper()
	a, err := r.Apply(context.Background(), p)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// exactlyOnce holds a sink to the numbers from 0 to n.
func (w *works) exactlyOnce(name string, n int, ordered bool) {
	w.t.Helper()
	got := slices.Clone(w.sinks[name].got)
	if ordered && !slices.IsSortedFunc(got, byN) {
		w.t.Errorf("%s: not in order", name)
	}
	slices.SortFunc(got, byN)
	for i := range min(n, len(got)) {
		if number(got[i]) != i {
			w.t.Errorf("%s: at %d there is %s", name, i, got[i])
			break
		}
	}
	if len(got) != n {
		w.t.Errorf("%s has %d messages, want %d", name, len(got), n)
	}
}

// TestReloadsUnderLoad changes one flow or the other, or both, while messages go through both.
func TestReloadsUnderLoad(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			w := newWorks(t)
			src, idle := newTap(), newTap()
			w.sources["a/from"], w.sources["c/from"] = src, idle
			versions := [2]int{}
			build := func() *plan.Plan {
				return &plan.Plan{Channels: inMemory("x"), Flows: []*plan.Flow{
					version(&plan.Flow{Name: "a", Order: order, Key: field("k"), Concurrency: 3, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(marking(versions[0]), through("x", "a"))}, versions[0]),
					version(&plan.Flow{Name: "b", Order: order, Key: field("k"), Concurrency: 3, Sources: []*plan.Endpoint{{Name: "b/from", Channel: "x"}}, Nodes: next(marking(versions[1]), into("b"))}, versions[1]),
					version(&plan.Flow{Name: "c", Order: order, Sources: []*plan.Endpoint{endpoint("c/from")}, Nodes: next(into("c"))}),
				}}
			}
			r, over := running(t, build(), w.options())
			const n = 3000
			var pouring sync.WaitGroup
			pouring.Go(func() { src.pour(0, n) })
			unchanged := r.running("c")
			for i := range 100 {
				versions[i%2]++
				if i%5 == 0 {
					versions[1-i%2]++
				}
				if a := w.apply(r, build()); len(a.Changed) == 0 || len(a.Unchanged) == 0 {
					t.Fatalf("%+v", a)
				}
			}
			pouring.Wait()
			close(src.in)
			if r.running("c") != unchanged {
				t.Error("a flow that is the same was started anew")
			}
			close(idle.in)
			if err := <-over; err != nil {
				t.Fatal(err)
			}
			w.exactlyOnce("b/to", n, order == plan.Total)
			if src.opens != 1 || src.closes != 1 || len(src.told) != n {
				t.Errorf("the source was opened %d times, closed %d times, and told %d", src.opens, src.closes, len(src.told))
			}
			s := r.Snapshot()
			if s.Flows[0].Read != n || s.Flows[1].Read != n || s.Flows[1].Sent["b/to"] != n || s.Flows[0].Unsettled != 0 || len(s.Flows[0].Steps) != 2 || s.Flows[0].Steps[0].In != n {
				t.Errorf("%+v", s.Flows[:2])
			}
		})
	}
}

func TestARefusedReloadChangesNothing(t *testing.T) {
	w := newWorks(t)
	src := newTap()
	w.sources["a/from"] = src
	build := func(v string, nodes ...plan.Node) *plan.Plan {
		return &plan.Plan{Flows: []*plan.Flow{version(&plan.Flow{Name: "a", Order: plan.Total, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(nodes...)}, v)}}
	}
	r, over := running(t, build("1", into("a")), w.options())
	src.pour(0, 5)
	w.fail["a/else"] = errors.New("the disk is full")
	other := send("a/else")
	other.Name = "else"
	if _, err := r.Apply(context.Background(), build("2", into("a"), other)); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Fatal(err)
	}
	durable := build("3", into("a"))
	durable.Durable = true
	if _, err := r.Apply(context.Background(), durable); !errors.Is(err, ErrRestart) {
		t.Fatal(err)
	}
	src.pour(5, 10)
	close(src.in)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	w.exactlyOnce("a/to", 10, true)
}

// stuck is a step that waits until it is let go.
func stuck(in chan<- struct{}, out <-chan struct{}) plan.Node {
	return plan.Node{Name: "stuck", Verb: "map", Op: &plan.Apply{Step: steps(func(*penstock.Batch, *penstock.Message) error {
		in <- struct{}{}
		<-out
		return nil
	})}}
}

func TestAReloadThatTakesTooLongIsRefused(t *testing.T) {
	w := newWorks(t)
	src := newTap()
	w.sources["a/from"] = src
	in, out := make(chan struct{}, 100), make(chan struct{})
	build := func(v string) *plan.Plan {
		return &plan.Plan{Flows: []*plan.Flow{version(&plan.Flow{Name: "a", Order: plan.Total, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(stuck(in, out), into("a"))}, v)}}
	}
	o := w.options()
	o.Drain = 1
	r, over := running(t, build("1"), o)
	src.pour(0, 1)
	<-in
	if _, err := r.Apply(context.Background(), build("2")); penstock.CodeOf(err) != penstock.Timeout {
		t.Fatal(err)
	}
	close(out)
	src.pour(1, 10)
	close(src.in)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	w.exactlyOnce("a/to", 10, true)
}

func TestFlowsThatComeAndGo(t *testing.T) {
	w := newWorks(t)
	a, b := newTap(), newTap()
	w.sources["a/from"], w.sources["b/from"] = a, b
	flow := func(name string) *plan.Flow {
		return version(&plan.Flow{Name: name, Order: plan.Total, Sources: []*plan.Endpoint{endpoint(name + "/from")}, Nodes: next(into(name))})
	}
	r, over := running(t, &plan.Plan{Flows: []*plan.Flow{flow("a")}}, w.options())
	a.pour(0, 5)
	w.apply(r, &plan.Plan{Flows: []*plan.Flow{flow("b"), flow("a")}})
	b.pour(0, 3)
	a.pour(5, 8)
	got := w.apply(r, &plan.Plan{Flows: []*plan.Flow{flow("b")}})
	if fmt.Sprint(got.Removed, got.Unchanged) != "[a] [b]" {
		t.Errorf("%+v", got.Difference)
	}
	eventually(t, "the end of a", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.closes == 1 })
	w.exactlyOnce("a/to", 8, true)
	if len(a.told) != 8 {
		t.Errorf("the source of a was told %d", len(a.told))
	}
	b.pour(3, 5)
	close(b.in)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	w.exactlyOnce("b/to", 5, true)
}

// gather is an aggregate of so many by k.
func gather(name string, op plan.Group) plan.Node {
	if op.By == nil {
		op.By = field("k")
	}
	return plan.Node{Name: name, Verb: "aggregate", Op: &op}
}

func TestOpenGroupsGoOn(t *testing.T) {
	for _, order := range orders {
		for _, tt := range []struct {
			name   string
			after  plan.Node
			groups string // sizes and reasons of what came out
			note   string
		}{
			{"the same step", gather("g", plan.Group{Size: 4}), "4 size 4 size", ""},
			{"another size", gather("g", plan.Group{Size: 6, AtEnd: true}), "6 size 2 end", ""},
			{"another step", gather("h", plan.Group{Size: 5, AtEnd: true}), "2 reload 5 size 1 end", "1 open groups of step g were completed"},
			{"keyed otherwise", gather("g", plan.Group{Size: 5, AtEnd: true, Keyed: "else"}), "2 reload 5 size 1 end", "1 open groups"},
		} {
			t.Run(string(order)+"/"+tt.name, func(t *testing.T) {
				w := newWorks(t)
				src := newTap()
				w.sources["a/from"] = src
				build := func(v string, g plan.Node) *plan.Plan {
					return &plan.Plan{Flows: []*plan.Flow{version(&plan.Flow{Name: "a", Order: order, Key: field("z"), Concurrency: 2, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(g, into("a"))}, v)}}
				}
				pour := func(n int) {
					for range n {
						src.in <- `{"k":"x","z":"x"}`
					}
				}
				r, over := running(t, build("1", gather("g", plan.Group{Size: 4})), w.options())
				pour(2)
				a := w.apply(r, build("2", tt.after))
				if len(a.Notes) != 0 != (tt.note != "") || tt.note != "" && !strings.Contains(a.Notes[0].Text, tt.note) {
					t.Errorf("%+v", a.Notes)
				}
				pour(6)
				close(src.in)
				if err := <-over; err != nil {
					t.Fatal(err)
				}
				var got []string
				for i, body := range w.sinks["a/to"].got {
					reason := w.sinks["a/to"].metas[i]
					reason = reason[strings.Index(reason, `"reason":"`)+10:]
					got = append(got, fmt.Sprint(strings.Count(body, `"k"`)), reason[:strings.Index(reason, `"`)])
				}
				if s := strings.Join(got, " "); s != tt.groups {
					t.Errorf("%s, want %s", s, tt.groups)
				}
				if len(src.told) != 8 {
					t.Errorf("%d of 8 settled", len(src.told))
				}
			})
		}
	}
}

func TestChannelsInMemoryChangeHands(t *testing.T) {
	read := func(name, channel string, words ...any) *plan.Flow {
		return version(&plan.Flow{Name: name, Order: plan.Total, Sources: []*plan.Endpoint{{Name: name + "/from", Channel: channel}}, Nodes: next(into(name))}, words...)
	}
	write := func(channel string) *plan.Flow {
		return version(&plan.Flow{Name: "a", Order: plan.Total, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(through(channel, "a"))}, channel)
	}
	t.Run("another reader", func(t *testing.T) {
		w := newWorks(t)
		src := newTap()
		w.sources["a/from"] = src
		r, over := running(t, &plan.Plan{Channels: inMemory("x"), Flows: []*plan.Flow{write("x"), read("b", "x")}}, w.options())
		src.pour(0, 20)
		w.apply(r, &plan.Plan{Channels: inMemory("x"), Flows: []*plan.Flow{write("x"), read("b", "x"), read("c", "x")}})
		eventually(t, "the first twenty", func() bool { return w.sinks["b/to"].count() == 20 })
		src.pour(20, 40)
		eventually(t, "all forty in the channel", func() bool { return r.Snapshot().Channels[0].Handed == 40 })
		w.apply(r, &plan.Plan{Channels: inMemory("x"), Flows: []*plan.Flow{write("x"), read("c", "x")}})
		src.pour(40, 60)
		close(src.in)
		if err := <-over; err != nil {
			t.Fatal(err)
		}
		w.exactlyOnce("b/to", 40, true)
		if got := w.sinks["c/to"].got; number(got[len(got)-1]) != 59 || len(got) < 40 {
			t.Errorf("%d messages", len(got))
		}
	})
	t.Run("another channel", func(t *testing.T) {
		w := newWorks(t)
		src := newTap()
		w.sources["a/from"] = src
		r, over := running(t, &plan.Plan{Channels: inMemory("x"), Flows: []*plan.Flow{write("x"), read("b", "x", 1)}}, w.options())
		src.pour(0, 20)
		w.apply(r, &plan.Plan{Channels: inMemory("y"), Flows: []*plan.Flow{write("y"), read("b", "y", 2)}})
		src.pour(20, 40)
		close(src.in)
		if err := <-over; err != nil {
			t.Fatal(err)
		}
		w.exactlyOnce("b/to", 40, true)
	})
	t.Run("another capacity", func(t *testing.T) {
		w := newWorks(t)
		src := newTap()
		w.sources["a/from"] = src
		r, over := running(t, &plan.Plan{Channels: inMemory("x"), Flows: []*plan.Flow{write("x"), read("b", "x", 1)}}, w.options())
		src.pour(0, 20)
		larger := inMemory("x")
		larger[0].Capacity, larger[0].Hash = 100, "larger"
		a := write("x")
		a.Hash = "larger"
		w.apply(r, &plan.Plan{Channels: larger, Flows: []*plan.Flow{a, read("b", "x", 2)}})
		src.pour(20, 40)
		close(src.in)
		if err := <-over; err != nil {
			t.Fatal(err)
		}
		w.exactlyOnce("b/to", 40, true)
	})
}

func TestWhatHadEndedBeginsAgain(t *testing.T) {
	w := newWorks(t)
	first, second := newTap(), newTap()
	w.sources["a/from"] = first
	build := func(v int) *plan.Plan {
		return &plan.Plan{Channels: inMemory("x"), Flows: []*plan.Flow{
			version(&plan.Flow{Name: "a", Order: plan.Total, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(through("x", "a"))}, v),
			version(&plan.Flow{Name: "b", Order: plan.Total, Sources: []*plan.Endpoint{{Name: "b/from", Channel: "x"}}, Nodes: next(into("b"))}),
		}}
	}
	o := w.options()
	o.Stays = true
	r, over := running(t, build(1), o)
	first.pour(0, 5)
	close(first.in)
	eventually(t, "the end", func() bool { return r.running("b").state() == StateEnded })
	w.sources["a/from"] = second
	got := w.apply(r, build(2))
	if fmt.Sprint(got.Again) != "[b]" || len(got.Unchanged) != 0 {
		t.Errorf("%+v", got)
	}
	second.pour(5, 10)
	close(second.in)
	eventually(t, "the end", func() bool { return r.running("b").state() == StateEnded })
	w.exactlyOnce("b/to", 10, true)
	select {
	case err := <-over:
		t.Fatal("it has ended by itself", err)
	default:
	}
}

func TestAPausedFlowStaysPaused(t *testing.T) {
	w := newWorks(t)
	src := newTap()
	w.sources["a/from"] = src
	build := func(v int) *plan.Plan {
		return &plan.Plan{Flows: []*plan.Flow{version(&plan.Flow{Name: "a", Order: plan.Total, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(into("a"))}, v)}}
	}
	r, over := running(t, build(1), w.options())
	if err := r.Pause("a"); err != nil {
		t.Fatal(err)
	}
	w.apply(r, build(2))
	if s := r.Snapshot().Flows[0].State; s != StatePaused {
		t.Error(s)
	}
	eventually(t, "the source stands still", r.running("a").pumps[0].hold.standing)
	if err := r.Resume("a"); err != nil {
		t.Fatal(err)
	}
	src.pour(0, 5)
	close(src.in)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	w.exactlyOnce("a/to", 5, true)
}

// TestAThousandReloads holds what replaced flows leave behind to nothing, while messages and requests go through.
func TestAThousandReloads(t *testing.T) {
	w := newWorks(t)
	src := newTap()
	w.sources["a/from"], w.servers["hello/from"] = src, newWeb()
	v := 0
	build := func() *plan.Plan {
		from := serverEndpoint(true)
		from.Name = "hello/from"
		p := &plan.Plan{Channels: inMemory("x"), Flows: []*plan.Flow{
			version(&plan.Flow{Name: "a", Order: plan.Total, Concurrency: 2, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(marking(v), through("x", "a"))}, v),
			version(&plan.Flow{Name: "b", Order: plan.PerKey, Key: field("k"), Concurrency: 2, Sources: []*plan.Endpoint{{Name: "b/from", Channel: "x"}}, Nodes: next(marking(v), into("b"))}, v),
			version(&plan.Flow{Name: "hello", Order: plan.None, Sources: []*plan.Endpoint{from}, Nodes: next(marking(v), plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}})}, v),
		}}
		if v%2 == 1 { // one comes and goes
			w.sources["c/from"] = newTap()
			p.Flows = append(p.Flows, version(&plan.Flow{Name: "c", Order: plan.Total, Sources: []*plan.Endpoint{endpoint("c/from")}, Nodes: next(into("c"))}, v))
		}
		return p
	}
	r, over := running(t, build(), w.options())
	h := <-w.servers["hello/from"].handler
	for range 10 {
		v += 2
		w.apply(r, build())
	}
	settled := func() int {
		eventually(t, "the flows before are gone", func() bool { return len(r.formers()) == 0 })
		return runtime.NumGoroutine()
	}
	before := settled()
	var load sync.WaitGroup
	stop, poured := make(chan struct{}), 0
	load.Go(func() {
		for ; ; poured++ {
			select {
			case src.in <- fmt.Sprintf(`{"n":%d,"k":"k%d"}`, poured, poured%7):
			case <-stop:
				return
			}
		}
	})
	load.Go(func() {
		b := &penstock.Batch{}
		for {
			if got, err := askIn(context.Background(), h, b, `{"name":"Ada"}`); err != nil || got != `{"greeting":"Hello, Ada"}` {
				t.Errorf("%s, %v", got, err)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 1000 {
		v++
		w.apply(r, build())
	}
	close(stop)
	load.Wait()
	if after := settled(); after > before+3 { // timers of the runtime come and go
		t.Errorf("%d goroutines, and %d after a thousand reloads", before, after)
	}
	if n := len(r.shared); n > 0 {
		t.Errorf("%d values are shared", n)
	}
	close(src.in)
	eventually(t, "the end of b", func() bool { return r.running("b").state() == StateEnded })
	w.exactlyOnce("b/to", poured, false)
	select {
	case err := <-over:
		t.Fatal(err)
	default:
	}
}
