package run

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/policy"
)

// at reads body.t, seconds, as event time.
var at = prog(func(f *penstock.Frame) penstock.Value {
	v := field("t")(f)
	if v.IsError() {
		return v
	}
	return penstock.TimestampValue(time.Unix(v.Int(), 0))
})

func TestEventTimeCompletesIdleGroups(t *testing.T) {
	in := []string{
		`{"t":1,"k":"a"}`, `{"t":2,"k":"a"}`, `{"t":5,"k":"b"}`, // a is idle for 3 s
		`{"t":9,"k":"c"}`,  // b is over
		`{"t":2,"k":"a"}`,  // late
		`{"t":10,"k":"c"}`, // the end completes c
	}
	cases := []struct {
		late      plan.Late
		out, dead []string
	}{
		{plan.LateInclude, []string{`[{"t":1,"k":"a"},{"t":2,"k":"a"}]`, `[{"t":5,"k":"b"}]`, `[{"t":2,"k":"a"}]`, `[{"t":9,"k":"c"},{"t":10,"k":"c"}]`}, nil},
		{plan.LateDrop, []string{`[{"t":1,"k":"a"},{"t":2,"k":"a"}]`, `[{"t":5,"k":"b"}]`, `[{"t":9,"k":"c"},{"t":10,"k":"c"}]`}, nil},
		{plan.LateDeadLetter, []string{`[{"t":1,"k":"a"},{"t":2,"k":"a"}]`, `[{"t":5,"k":"b"}]`, `[{"t":9,"k":"c"},{"t":10,"k":"c"}]`}, []string{`{"t":2,"k":"a"}`}},
	}
	for _, c := range cases {
		for _, batch := range []int{1, 3, 10} {
			out := &noted{}
			b := &bench{
				flow: &plan.Flow{Name: "f", Order: plan.Total, Time: at, Concurrency: 3, Nodes: next(
					plan.Node{Name: "g", Op: &plan.Group{By: field("k"), Idle: 3 * time.Second, Late: c.late}}, send("out"))},
				source: &lines{docs: in, batch: batch},
				sinks:  map[string]*noted{"out": out},
			}
			sum := b.run(t)
			if !slices.Equal(out.got, c.out) || !slices.Equal(b.dead.got, c.dead) || sum.Flows[0].Late != 1 || sum.Flows[0].Unsettled != 0 {
				t.Errorf("%s, batches of %d: %v dead %v %+v", c.late, batch, out.got, b.dead.got, sum.Flows[0])
			}
			if c.late == plan.LateInclude && !strings.Contains(out.metas[2], `"reason":"late"`) {
				t.Errorf("not marked: %v", out.metas)
			}
		}
	}
}

// A group that is over by the time of the next message of its key is not gone on with, whether or not a message
// of another key came between.
func TestEventTimeEndsAGroupBeforeItsNextMessage(t *testing.T) {
	in := []string{
		`{"t":1,"k":"a"}`, `{"t":3,"k":"a"}`, // 2 s: goes on
		`{"t":9,"k":"a"}`,                      // 6 s: another group
		`{"t":10,"k":"b"}`, `{"t":13,"k":"a"}`, // 4 s, with b between
		`{"t":13,"k":"b"}`, // 3 s: over just now
	}
	want := []string{`[{"t":1,"k":"a"},{"t":3,"k":"a"}]`, `[{"t":9,"k":"a"}]`, `[{"t":10,"k":"b"}]`, `[{"t":13,"k":"a"}]`, `[{"t":13,"k":"b"}]`}
	for _, batch := range []int{1, 4, 10} {
		out := &noted{}
		b := &bench{
			flow: &plan.Flow{Name: "f", Order: plan.Total, Time: at, Concurrency: 3, Nodes: next(
				plan.Node{Name: "g", Op: &plan.Group{By: field("k"), Idle: 3 * time.Second}}, send("out"))},
			source: &lines{docs: in, batch: batch},
			sinks:  map[string]*noted{"out": out},
		}
		sum := b.run(t)
		if !slices.Equal(out.got, want) || sum.Flows[0].Late != 0 || sum.Flows[0].Unsettled != 0 {
			t.Errorf("batches of %d: %v %+v", batch, out.got, sum.Flows[0])
		}
	}
}

func TestEventTimeWaitsForTheSlowestLane(t *testing.T) {
	// Keys on different lanes: whichever lane is ahead, no message in order of time is late.
	for round := range 20 {
		var in []string
		for i := range 400 {
			in = append(in, fmt.Sprintf(`{"t":%d,"k":"k%d"}`, i/10, i%10))
		}
		out := &noted{}
		b := &bench{
			flow: &plan.Flow{Name: "f", Order: plan.PerKey, Key: field("k"), Time: at, Concurrency: 4, Nodes: next(
				plan.Node{Name: "g", Op: &plan.Group{By: field("k"), Idle: 5 * time.Second, Late: plan.LateDeadLetter}}, send("out"))},
			source: &lines{docs: in, batch: 1 + round},
			sinks:  map[string]*noted{"out": out},
		}
		sum := b.run(t)
		if sum.Flows[0].Late != 0 || len(out.got) != 10 || sum.Flows[0].Unsettled != 0 {
			t.Fatalf("batches of %d: %d groups, %+v", 1+round, len(out.got), sum.Flows[0])
		}
	}
}

// fed is a source that a test feeds.
type fed struct {
	lines
	more chan string
}

func (f *fed) Read(ctx context.Context, into *penstock.Batch) error {
	select {
	case s, ok := <-f.more:
		if !ok {
			return io.EOF
		}
		into.Append().Body.Reset(0, []byte(s))
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestEngineTimeCompletesIdleGroups(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			c := newClock()
			src := &fed{more: make(chan string)}
			got, idle := make(chan string, 10), make(chan struct{}, 1)
			f := &plan.Flow{Name: "f", Order: order, Concurrency: lanesFor(order), Key: field("k"), Sources: []*plan.Endpoint{sourceEndpoint()}, Nodes: next(
				plan.Node{Name: "g", Op: &plan.Group{By: field("k"), Idle: 2 * time.Second}}, send("out")), OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: 1}}}
			r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{Clock: c, OnIdle: func() {
				select {
				case idle <- struct{}{}:
				default:
				}
			}, Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
				switch role {
				case RoleSource:
					return src, true
				case RoleSink:
					return tell(got), true
				}
				return &noted{}, true
			}})
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { _, err := r.Run(context.Background()); done <- err }()
			src.more <- `{"k":"a","n":1}`
			src.more <- `{"k":"a","n":2}`
			src.more <- `{"k":"a","n":3}`
			close(src.more)
			// All three are in their group, and the run is at rest: now time goes on.
			for {
				select {
				case s := <-got:
					if s != `[{"k":"a","n":1},{"k":"a","n":2},{"k":"a","n":3}]` {
						t.Errorf("got %s", s)
					}
					if err := <-done; err != nil {
						t.Error(err)
					}
					return
				case <-idle:
					if r.Snapshot().Flows[0].Grouped == 3 {
						c.advance(2 * time.Second)
					}
				}
			}
		})
	}
}

// tell is a sink that passes bodies on.
type tell chan string

func (tell) Open(context.Context) error  { return nil }
func (tell) Close(context.Context) error { return nil }
func (c tell) Write(_ context.Context, b *penstock.Batch) error {
	for _, m := range b.Msgs {
		c <- string(m.Body.AppendJSON(nil, 0))
	}
	return nil
}

func TestCallTimesOutByTheClock(t *testing.T) {
	c := newClock()
	never := slow(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	b := &bench{
		clock: c,
		flow: &plan.Flow{Name: "f", Order: plan.None, Nodes: next(plan.Node{Name: "ask", Timeout: time.Second, Op: &plan.Call{Endpoint: endpoint("ask")}}),
			OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: 1}}},
		source:  &lines{docs: []string{`{}`}},
		callers: map[string]penstock.Caller{"ask": never},
	}
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-c.added:
				c.advance(time.Second)
			case <-stop:
				return
			}
		}
	}()
	b.run(t)
	close(stop)
	if len(b.dead.got) != 1 || !strings.Contains(b.dead.metas[0], `"code":"timeout"`) {
		t.Fatalf("%v", b.dead.metas)
	}
}

type slow func(ctx context.Context) error

func (slow) Open(context.Context) error  { return nil }
func (slow) Close(context.Context) error { return nil }
func (s slow) Call(ctx context.Context, _ *penstock.Frame, _ *penstock.Message) error {
	return s(ctx)
}

func TestPauseIsBoundedAndShortenedByJitter(t *testing.T) {
	r := plan.Retry{Attempts: 9, Initial: 100 * time.Millisecond, Factor: 2, Max: time.Second, Jitter: 0.2}
	for attempt, want := range map[int]string{1: "100ms", 2: "200ms", 4: "800ms", 5: "1s", 60: "1s"} {
		if got := policy.Pause(r, attempt, func() float64 { return 0 }); got.String() != want {
			t.Errorf("attempt %d: %s", attempt, got)
		}
	}
}
