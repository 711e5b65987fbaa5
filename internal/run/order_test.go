package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/step"
)

func unavailable() error { return penstock.E(penstock.Unavailable, "out", "", "not now") }

// parity is true where body.n is even.
func parity(f *penstock.Frame) penstock.Value {
	v := field("n")(f)
	if v.IsError() {
		return v
	}
	return penstock.BoolValue(v.Int()%2 == 0)
}

// TestARetryIsNotOvertakenByThoseBeforeIt has one message fail at the first sink: those of its key
// before it, which were written there already, come before it at the second sink, too.
func TestARetryIsNotOvertakenByThoseBeforeIt(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey} {
		t.Run(string(order), func(t *testing.T) {
			first := &noted{fail: func(body string, try int) error {
				if number(body)%4 == 2 && try < 3 {
					return unavailable()
				}
				return nil
			}}
			second := &noted{}
			b := &bench{
				flow:   &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 2, Nodes: next(send("first"), send("second"))},
				source: &lines{docs: docs(50, `{"n":%d,"k":"a"}`), batch: 8},
				sinks:  map[string]*noted{"first": first, "second": second},
			}
			b.run(t)
			if len(second.got) != 50 || !slices.IsSortedFunc(second.got, byN) {
				t.Errorf("%d messages: %v", len(second.got), second.got)
			}
		})
	}
}

// TestACallOfALaterBranchKeepsItsPlace has the messages of one key take branches that call: where
// the branches meet they stand in the order of reading again.
func TestACallOfALaterBranchKeepsItsPlace(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey} {
		t.Run(string(order), func(t *testing.T) {
			call := func(name string) plan.Node {
				return plan.Node{Name: name, Op: &plan.Call{Endpoint: endpoint("echo"), Idempotent: true}}
			}
			nodes := next(plan.Node{Op: &plan.Route{Cases: []plan.Case{{When: prog(parity), Target: 2}}, Else: 1}}, call("odd"), call("even"), send("out"))
			nodes[1].Next = 3
			out := &noted{}
			b := &bench{
				flow:    &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 2, Nodes: nodes},
				source:  &lines{docs: docs(60, `{"n":%d,"k":"a"}`), batch: 7},
				sinks:   map[string]*noted{"out": out},
				callers: map[string]penstock.Caller{"echo": answer(func(body string) (string, error) { return body, nil })},
			}
			b.run(t)
			if len(out.got) != 60 || !slices.IsSortedFunc(out.got, byN) {
				t.Errorf("%d messages: %v", len(out.got), out.got)
			}
		})
	}
}

// TestPartsKeepTheirOrder has parts of one message fail and call, with and without a key.
func TestPartsKeepTheirOrder(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey} {
		for _, key := range []string{"", "a"} {
			t.Run(fmt.Sprintf("%s/%q", order, key), func(t *testing.T) {
				var in []string
				for i := range 10 {
					in = append(in, fmt.Sprintf(`{"k":%q,"l":[{"n":%d},{"n":%d},{"n":%d}]}`, key, 3*i, 3*i+1, 3*i+2))
				}
				var tries [30]atomic.Int32
				out := &noted{}
				b := &bench{
					flow: &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 2, Nodes: next(
						plan.Node{Op: &plan.Split{Each: field("l"), As: -1, Index: -1}},
						plan.Node{Op: &plan.Apply{Step: parsed(func(_ *penstock.Batch, m *penstock.Message) error {
							n, _ := m.Body.Int(m.Body.Field(0, "n", nil))
							if n%3 == 1 && tries[n].Add(1) < 3 {
								return unavailable()
							}
							return nil
						})}},
						plan.Node{Op: &plan.Call{Endpoint: endpoint("echo"), Idempotent: true}},
						send("out"))},
					source:  &lines{docs: in, batch: 4},
					sinks:   map[string]*noted{"out": out},
					callers: map[string]penstock.Caller{"echo": answer(func(body string) (string, error) { return body, nil })},
				}
				b.run(t)
				if len(out.got) != 30 || !slices.IsSortedFunc(out.got, byN) || len(b.source.settled) != 10 {
					t.Errorf("%d settled, %d parts: %v", len(b.source.settled), len(out.got), out.got)
				}
			})
		}
	}
}

// TestFailuresOfAndBehindALongSplit splits into more parts than go through the flow at a time, where
// messages fail before and behind: each ends once.
func TestFailuresOfAndBehindALongSplit(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			long := `{"l":[` + strings.Repeat(`{"n":0},`, 2*splitChunk) + `{"n":1}]}`
			out := &noted{fail: func(body string, _ int) error {
				if number(body) == 1 {
					return penstock.E(penstock.Invalid, "out", "", "one is bad")
				}
				return nil
			}}
			b := &bench{
				flow:   &plan.Flow{Name: "f", Order: order, Nodes: next(plan.Node{Op: &plan.Split{Each: field("l"), As: -1, Index: -1}}, send("out"))},
				source: &lines{docs: []string{`{"l":3}`, long, `{"l":[{"n":1},` + long[6:], `{"l":4}`}, batch: 4},
				sinks:  map[string]*noted{"out": out},
			}
			sum := b.run(t).Flows[0]
			if len(out.got) != 4*splitChunk || sum.Done != 4*splitChunk || sum.Dead != 5 || len(b.dead.got) != 5 || len(b.source.settled) != 4 {
				t.Errorf("%d written, %d dead, %d settled: %+v", len(out.got), len(b.dead.got), len(b.source.settled), sum)
			}
		})
	}
}

// TestWhoIsBehindAFailureKeepsItsTries has a sink refuse one message for good: those that it did not
// try, since they are behind, do not die with it.
func TestWhoIsBehindAFailureKeepsItsTries(t *testing.T) {
	for _, order := range orders {
		for _, attempts := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s/%d", order, attempts), func(t *testing.T) {
				out := &noted{fail: func(body string, _ int) error {
					if number(body) == 3 {
						return unavailable()
					}
					return nil
				}}
				b := &bench{
					flow:   &plan.Flow{Name: "f", Order: order, Concurrency: 2, Nodes: next(send("out")), OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: attempts}}},
					source: &lines{docs: docs(20, `{"n":%d}`), batch: 10},
					sinks:  map[string]*noted{"out": out},
				}
				sum := b.run(t).Flows[0]
				if len(out.got) != 19 || len(b.dead.got) != 1 || out.tries[`{"n":3}`] != attempts || sum.Retries != int64(attempts-1) {
					t.Errorf("%d written, dead %v, %d tries, %d retries", len(out.got), b.dead.got, out.tries[`{"n":3}`], sum.Retries)
				}
				if order != plan.None && !slices.IsSortedFunc(out.got, byN) {
					t.Errorf("order was not kept: %v", out.got)
				}
			})
		}
	}
}

// TestATryCountsBehindAnother has two messages of a key fail in the same batch: each has the tries
// that were declared, not one more.
func TestATryCountsBehindAnother(t *testing.T) {
	for _, order := range orders {
		var tries [2]atomic.Int32
		b := &bench{
			flow: &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 1, Nodes: next(plan.Node{Op: &plan.Apply{Step: parsed(func(_ *penstock.Batch, m *penstock.Message) error {
				n, _ := m.Body.Int(m.Body.Field(0, "n", nil))
				tries[n].Add(1)
				return unavailable()
			})}})},
			source: &lines{docs: docs(2, `{"n":%d,"k":"a"}`), batch: 2},
		}
		sum := b.run(t).Flows[0]
		if tries[0].Load() != 5 || tries[1].Load() != 5 || sum.Retries != 8 || sum.Steps[0].In != 2 {
			t.Errorf("%s: %d and %d tries: %+v", order, tries[0].Load(), tries[1].Load(), sum)
		}
	}
}

// TestGroupsKeepTheirOrderWhereBranchesMeet routes groups apart and together again.
func TestGroupsKeepTheirOrderWhereBranchesMeet(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey} {
		odd := prog(func(f *penstock.Frame) penstock.Value {
			return penstock.BoolValue(number(string(f.Msg.Body.AppendJSON(nil, 0)))%4 == 0)
		})
		nodes := next(plan.Node{Op: &plan.Group{Size: 2}}, plan.Node{Op: &plan.Route{Cases: []plan.Case{{When: odd, Target: 2}}, Else: 3}},
			plan.Node{Op: &plan.Apply{Step: steps(func(*penstock.Batch, *penstock.Message) error { return nil })}}, send("out"))
		out := &noted{}
		b := &bench{
			flow:   &plan.Flow{Name: "f", Order: order, Concurrency: 1, Nodes: nodes},
			source: &lines{docs: docs(400, `{"n":%d}`), batch: 40},
			sinks:  map[string]*noted{"out": out},
		}
		b.run(t)
		if len(out.got) != 200 || !slices.IsSortedFunc(out.got, byN) {
			t.Errorf("%s: %v", order, out.got)
		}
	}
}

func TestPlacesOfPartsAreInOrder(t *testing.T) {
	last := uint64(0)
	var walk func(seq uint64, depth int)
	walk = func(seq uint64, depth int) {
		if seq <= last {
			t.Fatalf("%x after %x", seq, last)
		}
		last = seq
		for i := 0; depth > 0 && i < 7; i++ {
			walk(within(seq, i, 7), depth-1)
		}
	}
	for i := range 3 {
		walk(place(i), 4)
	}
	if within(1, 0, 2) != 1 {
		t.Error("a place without room has no parts")
	}
}

// TestAnAbortedCallIsNoSuccess has a run aborted while a call is in flight, inside a try: its catch
// must not make a settled message of it.
func TestAnAbortedCallIsNoSuccess(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			var r *Runner
			hang := hanging(func(ctx context.Context) { r.abort(errors.New("stopped")); <-ctx.Done() })
			nodes := next(plan.Node{Op: &plan.Call{Endpoint: endpoint("hang"), Idempotent: true}, Catch: 1},
				plan.Node{Op: &plan.Apply{Step: steps(func(*penstock.Batch, *penstock.Message) error { return nil })}})
			src := &lines{docs: docs(1, `{"n":%d}`), batch: 1}
			f := &plan.Flow{Name: "f", Order: order, Sources: []*plan.Endpoint{sourceEndpoint()}, Nodes: nodes}
			r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
				switch role {
				case RoleSource:
					return src, true
				case RoleCaller:
					return hang, true
				}
				return &noted{}, true
			}})
			if err != nil {
				t.Fatal(err)
			}
			if sum, err := r.Run(context.Background()); err == nil || sum.Flows[0].Done != 0 || len(src.settled) != 0 {
				t.Errorf("%v, %d settled: %+v", err, len(src.settled), sum.Flows[0])
			}
		})
	}
}

// hanging is a caller that never answers.
type hanging func(ctx context.Context)

func (hanging) Open(context.Context) error  { return nil }
func (hanging) Close(context.Context) error { return nil }
func (h hanging) Call(ctx context.Context, _ *penstock.Frame, _ *penstock.Message) error {
	h(ctx)
	return ctx.Err()
}

// TestAStopDoesNotWaitForOpenGroups stops a run whose sources have ended, and which only waits for
// the clock to complete its groups.
func TestAStopDoesNotWaitForOpenGroups(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			src, dead := &lines{docs: docs(3, `{"n":%d}`), batch: 1}, &noted{}
			f := &plan.Flow{Name: "f", Order: order, Sources: []*plan.Endpoint{sourceEndpoint()}, Nodes: next(plan.Node{Op: &plan.Group{Idle: time.Hour}})}
			var r *Runner
			r, err := New(&plan.Plan{Flows: []*plan.Flow{f}}, Options{Clock: newClock(), OnIdle: func() {
				if r.lives.flows[0].stats.Grouped.Load() == 3 {
					cancel()
				}
			}, Replace: func(_ *plan.Flow, role Role, _ *plan.Endpoint) (any, bool) {
				if role == RoleSource {
					return src, true
				}
				return dead, true
			}})
			if err != nil {
				t.Fatal(err)
			}
			if sum, err := r.Run(ctx); err != nil || sum.Flows[0].Unsettled != 3 || len(dead.got) != 0 {
				t.Errorf("%v, dead %v: %+v", err, dead.got, sum.Flows[0])
			}
		})
	}
}

// Branches that write keep the order of the messages, whatever each of them takes.
func TestBranchesWriteInOrder(t *testing.T) {
	out := &noted{}
	b := &bench{
		flow: &plan.Flow{Name: "f", Order: plan.Total, Concurrency: 4, Nodes: next(plan.Node{Name: "all", Verb: "parallel", Op: &plan.Fork{
			Into:     step.Target{Root: step.Discard},
			Branches: []plan.Sub{{Name: "a", Nodes: next(send("out"))}},
		}})},
		source: &lines{docs: docs(500, `{"n":%d}`), batch: 50},
		sinks:  map[string]*noted{"out": out},
	}
	b.run(t)
	if len(out.got) != 500 || !slices.IsSortedFunc(out.got, byN) {
		t.Errorf("%d messages, out of order", len(out.got))
	}
}
