package run

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// spout is a tap whose position is kept: what it is given must be what comes there.
type spout struct {
	*tap
	t       testing.TB
	from    []penstock.Position
	resumed int
}

func (s *spout) Resume(_ context.Context, from []penstock.Position) error {
	s.from = from
	s.resumed++
	for _, p := range from {
		s.read = p.Next
	}
	return nil
}

func (s *spout) Read(ctx context.Context, into *penstock.Batch) error {
	err := s.tap.Read(ctx, into)
	for _, m := range into.Msgs {
		if n := number(string(m.Body.AppendJSON(nil, 0))); int64(n) != m.Pos.Offset {
			s.t.Errorf("message %d comes at %d", n, m.Pos.Offset)
		}
	}
	return err
}

func durably(p *plan.Plan) *plan.Plan {
	p.Durable, p.Store = true, &plan.Store{Journal: 1 << 20}
	for _, c := range p.Channels {
		c.Durable = true
	}
	return p
}

func (w *works) durable(t testing.TB) Options {
	o := w.options()
	p := newPlant(t)
	o.Store = p.options().Store
	own := o.Replace
	o.Replace = func(f *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		if role == RoleDeadLetter {
			return nil, false
		}
		return own(f, role, ep)
	}
	return o
}

func distinct(name string) plan.Node {
	return plan.Node{Name: name, Verb: "dedupe", Op: &plan.Stage{By: field("n"), Spec: &plan.Dedupe{}, Keyed: "dedupe by n"}}
}

// TestDurableReloadsUnderLoad changes flows with durable steps, and their source, while messages go through.
func TestDurableReloadsUnderLoad(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			w := newWorks(t)
			in := newTap()
			var sources []*spout
			o := w.durable(t)
			own := o.Replace
			o.Replace = func(f *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
				if role == RoleSource && ep.Channel == "" {
					sources = append(sources, &spout{tap: &tap{in: in.in}, t: t})
					return sources[len(sources)-1], true
				}
				return own(f, role, ep)
			}
			v := [3]int{}
			build := func() *plan.Plan {
				from := endpoint("a/from")
				from.Label = fmt.Sprint(v[2])
				from.Driver = &penstock.Driver{Spec: penstock.Spec{Settle: penstock.Cumulative, Replay: penstock.ReplayPosition}}
				return durably(&plan.Plan{Channels: inMemory("x"), Flows: []*plan.Flow{
					version(&plan.Flow{Name: "a", Order: order, Key: field("k"), Concurrency: 3, Sources: []*plan.Endpoint{from}, Nodes: next(marking(v[0]), distinct("once"), through("x", "a"))}, v[0], v[2]),
					version(&plan.Flow{Name: "b", Order: order, Key: field("k"), Concurrency: 3, Sources: []*plan.Endpoint{{Name: "b/from", Channel: "x"}}, Nodes: next(marking(v[1]), into("b"))}, v[1]),
				}})
			}
			r, over := running(t, build(), o)
			const n = 1500
			var pouring sync.WaitGroup
			pouring.Go(func() { in.pour(0, n) })
			for i := range 40 {
				v[i%3]++
				w.apply(r, build())
			}
			pouring.Wait()
			close(in.in)
			if err := <-over; err != nil {
				t.Fatal(err)
			}
			w.exactlyOnce("b/to", n, order == plan.Total)
			if len(sources) < 10 || sources[0].resumed != 1 {
				t.Errorf("%d sources, the first resumed %d times", len(sources), sources[0].resumed)
			}
			for _, s := range sources {
				if s.opens != 1 || s.closes != 1 {
					t.Errorf("a source was opened %d times and closed %d times", s.opens, s.closes)
				}
			}
			if s := r.Snapshot(); s.Flows[0].Read != n || s.Flows[0].Unsettled != 0 || s.Flows[1].Unsettled != 0 || s.Flows[0].Again != 0 {
				t.Errorf("%+v", s.Flows)
			}
		})
	}
}

func TestDurableStepsGoOnOrAreRefused(t *testing.T) {
	w := newWorks(t)
	src := &spout{tap: newTap(), t: t}
	w.sources["a/from"] = src
	build := func(v string, nodes ...plan.Node) *plan.Plan {
		return durably(&plan.Plan{Flows: []*plan.Flow{version(&plan.Flow{Name: "a", Order: plan.Total, Sources: []*plan.Endpoint{endpoint("a/from")}, Nodes: next(append(nodes, into("a"))...)}, v)}})
	}
	four := func(name, keyed string) plan.Node {
		n := gather(name, plan.Group{Size: 4, Keyed: keyed, By: prog(func(*penstock.Frame) penstock.Value { return penstock.StringValue("all") })})
		return n
	}
	r, over := running(t, build("1", four("g", "all")), w.durable(t))
	src.pour(0, 2)
	w.apply(r, build("2", marking(2), four("g", "all")))
	src.pour(2, 6)
	for _, tt := range []struct {
		plan *plan.Plan
		want string
	}{
		{build("3", four("h", "all")), "of the step a/g, and there is no such step any more"},
		{build("4", four("g", "else")), `kept as "all", and is now "else"`},
	} {
		if _, err := r.Apply(context.Background(), tt.plan); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	src.pour(6, 8)
	eventually(t, "two groups", func() bool { return w.sinks["a/to"].count() == 2 })
	w.apply(r, build("5")) // nothing is left of the step
	src.pour(8, 9)
	close(src.in)
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	if got := w.sinks["a/to"].got; len(got) != 3 || strings.Count(got[0], `"n"`) != 4 || strings.Count(got[1], `"n"`) != 4 || !strings.Contains(got[1], `"n":7`) {
		t.Errorf("%q", got)
	}
}

// TestServersUnderReload calls flows all the time while they are changed.
func TestServersUnderReload(t *testing.T) {
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable %v", durable), func(t *testing.T) {
			w := newWorks(t)
			w.servers["hello/from"] = newWeb()
			handlers := make(chan penstock.Handler, 1000)
			w.servers["hello/from"].handler = handlers
			v := 0
			build := func(label string) *plan.Plan {
				from := serverEndpoint(true)
				from.Name, from.Label = "hello/from", label
				nodes := next(marking(v), plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}})
				p := &plan.Plan{Flows: []*plan.Flow{version(&plan.Flow{Name: "hello", Order: plan.None, Sources: []*plan.Endpoint{from}, Nodes: nodes}, v, label)}}
				if durable {
					nodes = next(marking(v), through("x", "hello"), plan.Node{Verb: "map", Op: &plan.Apply{Step: greet}})
					p.Flows[0].Nodes, p.Channels = nodes, inMemory("x")
					version(p.Flows[0], v, label)
					durably(p)
				}
				return p
			}
			o := w.options()
			if durable {
				o = w.durable(t)
			}
			r, over := running(t, build(""), o)
			h := <-handlers
			const callers, calls = 4, 400
			var calling sync.WaitGroup
			for range callers {
				calling.Go(func() {
					b := &penstock.Batch{}
					for range calls {
						if got, err := askIn(context.Background(), h, b, `{"name":"Ada"}`); err != nil || got != `{"greeting":"Hello, Ada"}` {
							t.Errorf("%s, %v", got, err)
							return
						}
					}
				})
			}
			for range 200 {
				v++
				w.apply(r, build(""))
			}
			calling.Wait()
			if len(handlers) > 0 {
				t.Error("a server that is the same was begun anew")
			}
			w.apply(r, build("elsewhere"))
			if got, err := ask(<-handlers, `{"name":"Ada"}`); err != nil || got != `{"greeting":"Hello, Ada"}` {
				t.Errorf("%s, %v", got, err)
			}
			if s := r.Snapshot().Flows[0]; s.Read != callers*calls+1 || s.Done != s.Read || s.Failed != 0 {
				t.Errorf("%+v", s)
			}
			select {
			case err := <-over:
				t.Fatal(err)
			default:
			}
		})
	}
}
