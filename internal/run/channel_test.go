package run

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// chained makes two flows with a channel between them.
func chained(in *lines, out *noted, capacity int, middle ...plan.Node) (*plan.Plan, Options) {
	to := plan.Node{Name: "to", Op: &plan.Send{Endpoint: &plan.Endpoint{Name: "first/to", Channel: "c"}, Idempotent: true}}
	p := &plan.Plan{
		Channels: []*plan.Channel{{Name: "c", Capacity: capacity}},
		Flows: []*plan.Flow{
			{Name: "first", Order: plan.Total, Sources: []*plan.Endpoint{sourceEndpoint()}, Nodes: next(to)},
			{Name: "second", Order: plan.Total, Sources: []*plan.Endpoint{{Name: "second/from", Channel: "c"}}, Nodes: next(append(middle, send("out"))...)},
		},
	}
	for _, f := range p.Flows {
		f.OnError.Retry = plan.Retry{Attempts: 5, Factor: 2}
	}
	return p, Options{Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		switch {
		case role == RoleSource && ep.Name == "in":
			return in, true
		case role == RoleSink && ep.Name == "out":
			return out, true
		case role == RoleDeadLetter:
			return &noted{}, true
		}
		return nil, false
	}}
}

func TestChannelHandsOverAndTheRunEndsWhenItIsDrained(t *testing.T) {
	for _, capacity := range []int{1, 10, 0} {
		in, out := &lines{docs: docs(2000, `{"n":%d}`), batch: 7}, &noted{}
		p, o := chained(in, out, capacity)
		r, err := New(p, o)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := r.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if len(out.got) != 2000 || !slices.IsSortedFunc(out.got, byN) || len(in.settled) != 2000 {
			t.Fatalf("capacity %d: %d messages, %d settled", capacity, len(out.got), len(in.settled))
		}
		if c := sum.Channels[0]; c.Handed != 2000 || c.Lost != 0 {
			t.Errorf("%+v", c)
		}
		if !r.Idle() {
			t.Errorf("capacity %d: the run ended busy: %d", capacity, r.busyN.Load())
		}
	}
}

func TestAFailureInOneFlowStopsTheRun(t *testing.T) {
	in, out := &lines{docs: docs(2000, `{"n":%d}`), batch: 7}, &noted{}
	p, o := chained(in, out, 10)
	replace := o.Replace
	o.Replace = func(f *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		if role == RoleSource && ep.Name == "in" {
			return &broken{lines: in, after: 100}, true
		}
		return replace(f, role, ep)
	}
	r, err := New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Run(context.Background())
	if penstock.CodeOf(err) != penstock.Internal || err == nil {
		t.Fatalf("got %v", err)
	}
}

// broken is a source that fails for good after some messages.
type broken struct {
	*lines
	after int
}

func (b *broken) Read(ctx context.Context, into *penstock.Batch) error {
	if b.next >= b.after {
		return fmt.Errorf("the disk is gone")
	}
	return b.lines.Read(ctx, into)
}

// endless never ends, but for its context.
type endless struct {
	lines
	stop func()
}

func (e *endless) Read(ctx context.Context, into *penstock.Batch) error {
	if e.next == len(e.docs) {
		e.stop()
		<-ctx.Done()
		return ctx.Err()
	}
	return e.lines.Read(ctx, into)
}

func TestStopDrainsWhatIsInFlight(t *testing.T) {
	for _, order := range orders {
		ctx, cancel := context.WithCancel(context.Background())
		src := &endless{lines: lines{docs: docs(500, `{"n":%d,"k":"a"}`), batch: 9}, stop: cancel}
		out := &noted{}
		f := &plan.Flow{Name: "f", Order: order, Key: field("k"), Sources: []*plan.Endpoint{sourceEndpoint()}, Nodes: next(send("out")), OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: 5, Factor: 2}}}
		r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
			switch role {
			case RoleSource:
				return src, true
			case RoleSink:
				return out, true
			}
			return &noted{}, true
		}})
		if err != nil {
			t.Fatal(err)
		}
		sum, err := r.Run(ctx)
		if err != nil || !sum.Stopped {
			t.Fatalf("%s: %v %+v", order, err, sum)
		}
		if len(out.got) != 500 || len(src.settled) != 500 {
			t.Errorf("%s: %d written, %d settled", order, len(out.got), len(src.settled))
		}
		cancel()
	}
}

func TestStopLeavesOpenGroupsUnsettled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	src := &endless{lines: lines{docs: docs(5, `{"n":%d}`), batch: 2}, stop: cancel}
	out := &noted{}
	f := &plan.Flow{Name: "f", Order: plan.Total, Sources: []*plan.Endpoint{sourceEndpoint()}, Nodes: next(plan.Node{Name: "g", Op: &plan.Group{Size: 100, AtEnd: true}}, send("out"))}
	r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
		switch role {
		case RoleSource:
			return src, true
		case RoleSink:
			return out, true
		}
		return &noted{}, true
	}})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := r.Run(ctx)
	if err != nil || len(out.got) != 0 || len(src.settled) != 0 || sum.Flows[0].Unsettled != 5 {
		t.Fatalf("%v %v %+v", err, out.got, sum.Flows[0])
	}
}

// TestStopWorksOffChannels stops a run whose sender is blocked on a full channel: everything that
// was read is worked off, in time.
func TestStopWorksOffChannels(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	src := &endless{lines: lines{docs: docs(500, `{"n":%d}`), batch: 9}, stop: cancel}
	out := &noted{}
	p, o := chained(nil, out, 3)
	replace := o.Replace
	o.Replace = func(f *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		if role == RoleSource && ep.Name == "in" {
			return src, true
		}
		return replace(f, role, ep)
	}
	r, err := New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := r.Run(ctx)
	if err != nil || !sum.Stopped || len(out.got) != 500 || sum.Channels[0].Lost != 0 {
		t.Fatalf("%v, %d written, %+v", err, len(out.got), sum)
	}
}

// TestAChannelThatNobodyFeedsEnds runs a flow that reads one.
func TestAChannelThatNobodyFeedsEnds(t *testing.T) {
	p, o := chained(&lines{}, &noted{}, 3)
	p.Flows = p.Flows[1:]
	r, err := New(p, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestStopEndsACircle stops two flows that feed each other.
func TestStopEndsACircle(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	src := &endless{lines: lines{docs: docs(5, `{"n":%d}`), batch: 2}, stop: cancel}
	send := func(name, channel string) plan.Node {
		return plan.Node{Name: name, Op: &plan.Send{Endpoint: &plan.Endpoint{Name: name, Channel: channel}, Idempotent: true}}
	}
	drop := plan.Node{Op: &plan.Apply{Step: steps(func(*penstock.Batch, *penstock.Message) error { return errDrop })}}
	p := &plan.Plan{
		Channels: []*plan.Channel{{Name: "a"}, {Name: "b"}},
		Flows: []*plan.Flow{
			{Name: "one", Order: plan.Total, Sources: []*plan.Endpoint{sourceEndpoint(), {Name: "one/from", Channel: "b"}}, Nodes: next(send("one/to", "a"))},
			{Name: "two", Order: plan.Total, Sources: []*plan.Endpoint{{Name: "two/from", Channel: "a"}}, Nodes: next(drop, send("two/to", "b"))},
		},
	}
	r, err := New(p, Options{DeadLetters: t.TempDir(), Replace: func(_ *plan.Flow, role Role, ep *plan.Endpoint) (any, bool) {
		return src, role == RoleSource && ep.Name == "in"
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
}
