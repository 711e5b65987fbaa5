package run

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/step"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func keepEven(_ *penstock.Batch, m *penstock.Message) error {
	if n, _ := m.Body.Int(m.Body.Field(0, "n", nil)); n%2 == 1 {
		return errDrop
	}
	return nil
}

func parsed(s steps) steps {
	return func(b *penstock.Batch, m *penstock.Message) error {
		if err := m.Body.Parse(limits); err != nil {
			return penstock.E(penstock.Invalid, "parse", "body", err.Error())
		}
		return s(b, m)
	}
}

var orders = []plan.Order{plan.Total, plan.PerKey, plan.None}

func TestEveryMessageEndsOnceAndIsSettled(t *testing.T) {
	for _, order := range orders {
		for _, size := range []int{1, 7, 100} {
			t.Run(fmt.Sprintf("%s/%d", order, size), func(t *testing.T) {
				out := &noted{}
				b := &bench{
					flow: &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 4, Nodes: next(
						plan.Node{Op: &plan.Apply{Step: parsed(keepEven)}}, send("out"))},
					source: &lines{docs: docs(1000, `{"n":%d,"k":"a"}`), batch: size},
					sinks:  map[string]*noted{"out": out},
				}
				sum := b.run(t)
				if len(out.got) != 500 || sum.Flows[0].Filtered != 500 || sum.Flows[0].Done != 500 {
					t.Fatalf("got %d, summary %+v", len(out.got), sum.Flows[0])
				}
				if order != plan.None && !slices.IsSortedFunc(out.got, byN) {
					t.Error("order was not kept")
				}
				if len(b.source.settled) != 1000 || sum.Flows[0].Unsettled != 0 {
					t.Fatalf("%d settled", len(b.source.settled))
				}
				slices.SortFunc(b.source.settled, func(a, b penstock.Outcome) int { return int(a.Pos.Offset - b.Pos.Offset) })
				for i, o := range b.source.settled {
					if o.Pos.Offset != int64(i) || o.Err != nil {
						t.Fatalf("outcome %d is %+v", i, o)
					}
				}
			})
		}
	}
}

func byN(a, b string) int { return number(a) - number(b) }

func number(s string) int {
	var n int
	_, _ = fmt.Sscanf(s[strings.Index(s, `"n":`)+4:], "%d", &n)
	return n
}

func TestCumulativeSettlingTellsHowFarEachStreamIs(t *testing.T) {
	for _, order := range orders {
		out := &noted{}
		b := &bench{
			flow:   &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 4, Sources: []*plan.Endpoint{endpoint("in")}, Nodes: next(send("out"))},
			source: &lines{docs: docs(1000, `{"n":%d,"k":"a"}`), batch: 9},
			sinks:  map[string]*noted{"out": out},
		}
		sum := b.run(t)
		last := int64(-1)
		for _, o := range b.source.settled {
			if o.Pos.Offset <= last || o.Err != nil {
				t.Fatalf("%s: %+v after %d", order, o, last)
			}
			last = o.Pos.Offset
		}
		if last != 999 || sum.Flows[0].Unsettled != 0 {
			t.Errorf("%s: settled up to %d, %d messages not", order, last, sum.Flows[0].Unsettled)
		}
	}
}

func TestBranchesRejoinInOrder(t *testing.T) {
	out := &noted{}
	mark := func(v string) plan.Node {
		return plan.Node{Op: &plan.Apply{Step: steps(func(_ *penstock.Batch, m *penstock.Message) error {
			m.Meta.Set("branch", penstock.StringValue(v))
			return nil
		})}}
	}
	even := prog(func(f *penstock.Frame) penstock.Value {
		v := field("n")(f)
		if v.IsError() {
			return v
		}
		return penstock.BoolValue(v.Int()%2 == 0)
	})
	nodes := next(plan.Node{Op: &plan.Route{Cases: []plan.Case{{When: even, Target: 1}}, Else: 2}}, mark("even"), mark("odd"), send("out"))
	nodes[1].Next = 3
	b := &bench{
		flow:   &plan.Flow{Name: "f", Order: plan.Total, Concurrency: 4, Nodes: nodes},
		source: &lines{docs: docs(500, `{"n":%d}`), batch: 50},
		sinks:  map[string]*noted{"out": out},
	}
	b.run(t)
	if len(out.got) != 500 || !slices.IsSortedFunc(out.got, byN) {
		t.Fatalf("%d messages, sorted %v", len(out.got), slices.IsSortedFunc(out.got, byN))
	}
	for i, m := range out.metas {
		want := " branch=\"even\""
		if i%2 == 1 {
			want = " branch=\"odd\""
		}
		if m != want {
			t.Fatalf("message %d has %q", i, m)
		}
	}
}

func TestDeterministicFailureGoesToTheDeadLetterAtOnce(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			out := &noted{}
			var tries atomic.Int64
			b := &bench{
				flow: &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 2, Nodes: next(
					plan.Node{Name: "check", Op: &plan.Apply{Step: parsed(func(b *penstock.Batch, m *penstock.Message) error {
						if n, _ := m.Body.Int(m.Body.Field(0, "n", nil)); n == 3 {
							tries.Add(1)
							return penstock.E(penstock.Unprocessable, "check", "body.n", "three is bad")
						}
						d := b.NewDoc()
						d.Reset(0, []byte(`{"n":0}`))
						m.Body = d
						return nil
					})}}, send("out"))},
				source: &lines{docs: docs(10, `{"n":%d,"k":"a"}`), batch: 4},
				sinks:  map[string]*noted{"out": out},
			}
			sum := b.run(t)
			if len(out.got) != 9 || len(b.dead.got) != 1 || sum.Flows[0].Dead != 1 || tries.Load() != 1 {
				t.Fatalf("out %d dead %v tries %d", len(out.got), b.dead.got, tries.Load())
			}
			if b.dead.got[0] != `{"n":3,"k":"a"}` {
				t.Errorf("the dead letter is not the original: %s", b.dead.got[0])
			}
			if !strings.Contains(b.dead.metas[0], `"step":"check"`) || !strings.Contains(b.dead.metas[0], "three is bad") {
				t.Errorf("no reason: %s", b.dead.metas[0])
			}
			if len(b.source.settled) != 10 {
				t.Errorf("%d settled", len(b.source.settled))
			}
		})
	}
}

func TestMalformedBodyIsDeadLetteredAsItCame(t *testing.T) {
	out := &noted{}
	b := &bench{
		flow:   &plan.Flow{Name: "f", Order: plan.PerKey, Key: field("k"), Concurrency: 2, Nodes: next(send("out"))},
		source: &lines{docs: []string{`{"k":"a"}`, `{"k":`, `{"k":"b"}`}, batch: 10},
		sinks:  map[string]*noted{"out": out},
	}
	b.run(t)
	if len(out.got) != 2 || len(b.dead.got) != 1 {
		t.Fatalf("out %v dead %v", out.got, b.dead.got)
	}
}

func TestTransientFailureIsTriedAgainAndKeepsOrder(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			out := &noted{fail: func(body string, try int) error {
				if n := number(body); n%10 == 3 && try < 4 {
					return penstock.E(penstock.Unavailable, "out", "", "not now")
				}
				return nil
			}}
			b := &bench{
				flow:   &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 4, Nodes: next(send("out"))},
				source: &lines{docs: docs(200, `{"n":%d,"k":"a"}`), batch: 1},
				sinks:  map[string]*noted{"out": out},
			}
			sum := b.run(t)
			if len(out.got) != 200 || sum.Flows[0].Dead != 0 || sum.Flows[0].Retries != 60 {
				t.Fatalf("got %d %+v", len(out.got), sum.Flows[0])
			}
			if order != plan.None && !slices.IsSortedFunc(out.got, byN) {
				t.Error("order was not kept over retries")
			}
		})
	}
}

func TestRetryBlocksItsKeyOnly(t *testing.T) {
	// The message of key "a" fails until everything of key "b" has arrived: if it held its lane
	// (there is only one) the run would never end.
	var others atomic.Int64
	out := &noted{fail: func(body string, _ int) error {
		if strings.Contains(body, `"b"`) {
			others.Add(1)
			return nil
		}
		if number(body) == 0 && others.Load() < 50 {
			return penstock.E(penstock.Unavailable, "out", "", "not now")
		}
		return nil
	}}
	var in []string
	for i := range 50 {
		in = append(in, fmt.Sprintf(`{"n":%d,"k":"a"}`, i), fmt.Sprintf(`{"n":%d,"k":"b"}`, i))
	}
	b := &bench{
		flow: &plan.Flow{Name: "f", Order: plan.PerKey, Key: field("k"), Concurrency: 1, Nodes: next(send("out")),
			OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: 1 << 30, Factor: 1}}},
		source: &lines{docs: in, batch: 3},
		sinks:  map[string]*noted{"out": out},
	}
	b.run(t)
	for _, key := range []string{`"a"`, `"b"`} {
		var of []string
		for _, s := range out.got {
			if strings.Contains(s, key) {
				of = append(of, s)
			}
		}
		if len(of) != 50 || !slices.IsSortedFunc(of, byN) {
			t.Errorf("key %s: %d messages, in order %v", key, len(of), slices.IsSortedFunc(of, byN))
		}
	}
}

func TestExhaustedRetryIsDeadLettered(t *testing.T) {
	for _, order := range orders {
		out := &noted{fail: func(string, int) error { return penstock.E(penstock.Unavailable, "out", "", "down") }}
		b := &bench{
			flow:   &plan.Flow{Name: "f", Order: order, Key: field("k"), Nodes: next(send("out"))},
			source: &lines{docs: docs(5, `{"n":%d,"k":"a"}`), batch: 2},
			sinks:  map[string]*noted{"out": out},
		}
		sum := b.run(t)
		if len(b.dead.got) != 5 || sum.Flows[0].Retries != 20 {
			t.Errorf("%s: dead %d retries %d", order, len(b.dead.got), sum.Flows[0].Retries)
		}
		if !strings.Contains(b.dead.metas[0], `"attempts":5`) {
			t.Errorf("%s: %s", order, b.dead.metas[0])
		}
	}
}

func TestCatchTakesTheFailure(t *testing.T) {
	out := &noted{}
	bad := plan.Node{Name: "bad", Op: &plan.Apply{Step: steps(func(*penstock.Batch, *penstock.Message) error {
		return penstock.E(penstock.Unavailable, "bad", "", "down")
	})}}
	nodes := next(bad, plan.Node{Name: "caught", Op: &plan.Apply{Step: steps(func(_ *penstock.Batch, m *penstock.Message) error {
		m.Meta.Set("error", m.Vars[0])
		return nil
	})}}, send("out"))
	nodes[0].Catch, nodes[0].ErrorSlot = 1, 0
	b := &bench{
		flow:   &plan.Flow{Name: "f", Order: plan.Total, Slots: 1, Nodes: nodes},
		source: &lines{docs: docs(3, `{"n":%d}`), batch: 2},
		sinks:  map[string]*noted{"out": out},
	}
	sum := b.run(t)
	if len(out.got) != 3 || sum.Flows[0].Retries != 0 || !strings.Contains(out.metas[0], `"step":"bad"`) {
		t.Fatalf("%v %v %+v", out.got, out.metas, sum.Flows[0])
	}
}

func TestCallsInFlightKeepOrder(t *testing.T) {
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			out := &noted{}
			var once, tries atomic.Int64
			call := plan.Node{Name: "ask", Op: &plan.Call{Endpoint: endpoint("ask"), Into: step.Target{Root: step.Vars, Slot: 0}, Idempotent: true, Window: 8}}
			use := plan.Node{Name: "use", Op: &plan.Apply{Step: steps(func(_ *penstock.Batch, m *penstock.Message) error {
				if m.Vars[0].Kind() != penstock.KindNode {
					return penstock.E(penstock.Internal, "use", "vars", "no answer")
				}
				return nil
			})}}
			b := &bench{
				flow:   &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 3, Slots: 1, Nodes: next(call, use, send("out"))},
				source: &lines{docs: docs(300, `{"n":%d,"k":"a"}`), batch: 10},
				sinks:  map[string]*noted{"out": out},
				callers: map[string]penstock.Caller{"ask": answer(func(body string) (string, error) {
					tries.Add(1)
					if number(body) == 42 && once.Add(1) == 1 {
						return "", penstock.E(penstock.Timeout, "ask", "", "slow")
					}
					return `{"ok":true}`, nil
				})},
			}
			sum := b.run(t)
			if len(out.got) != 300 || sum.Flows[0].Dead != 0 || tries.Load() != 301 {
				t.Fatalf("got %d dead %v tries %d", len(out.got), b.dead.metas, tries.Load())
			}
			if order != plan.None && !slices.IsSortedFunc(out.got, byN) {
				t.Error("order was not kept")
			}
		})
	}
}

func TestForkJoinsBranches(t *testing.T) {
	out := &noted{}
	set := func(text string) []plan.Node {
		return next(plan.Node{Op: &plan.Apply{Step: steps(func(b *penstock.Batch, m *penstock.Message) error {
			d := b.NewDoc()
			d.Reset(0, []byte(text))
			m.Body = d
			return nil
		})}})
	}
	asked := next(plan.Node{Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true}})
	for _, branches := range [][]plan.Sub{
		{{Name: "a", Nodes: set(`1`)}, {Name: "b", Nodes: set(`{"x":2}`)}},
		{{Name: "a", Nodes: asked}, {Name: "b", Nodes: set(`{"x":2}`)}},
	} {
		for _, order := range orders {
			out.got = nil
			b := &bench{
				flow:    &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 2, Nodes: next(plan.Node{Op: &plan.Fork{Branches: branches}}, send("out"))},
				source:  &lines{docs: docs(20, `{"n":%d,"k":"a"}`), batch: 3},
				sinks:   map[string]*noted{"out": out},
				callers: map[string]penstock.Caller{"ask": answer(func(string) (string, error) { return "1", nil })},
			}
			b.run(t)
			if len(out.got) != 20 || out.got[7] != `{"a":1,"b":{"x":2}}` {
				t.Fatalf("%s: %v", order, out.got)
			}
		}
	}
}

func TestForEachKeepsTheListsOrderAndRetriesInside(t *testing.T) {
	out := &noted{}
	var failed atomic.Int64
	body := next(
		plan.Node{Name: "take", Op: &plan.Apply{Step: steps(func(b *penstock.Batch, m *penstock.Message) error {
			d, err := document(b, m.Vars[0])
			m.Body = d
			return err
		})}},
		plan.Node{Name: "inner", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true}})
	b := &bench{
		flow: &plan.Flow{Name: "f", Order: plan.None, Slots: 2, Nodes: next(
			plan.Node{Name: "each", Op: &plan.Fork{Branches: []plan.Sub{{Nodes: body}}, Each: field("list"), As: 0, Index: 1, Concurrency: 3}}, send("out"))},
		source: &lines{docs: []string{`{"list":[1,2,3,4,5]}`, `{"list":[]}`}, batch: 2},
		sinks:  map[string]*noted{"out": out},
		callers: map[string]penstock.Caller{"ask": answer(func(body string) (string, error) {
			if body == "3" && failed.Add(1) < 3 {
				return "", penstock.E(penstock.Unavailable, "ask", "", "down")
			}
			return body + "0", nil
		})},
	}
	sum := b.run(t)
	slices.Sort(out.got)
	if len(out.got) != 2 || out.got[0] != `[10,20,30,40,50]` || out.got[1] != `[]` || sum.Flows[0].Retries != 2 {
		t.Fatalf("%v dead %v %+v", out.got, b.dead.metas, sum.Flows[0])
	}
}

func TestFailureInsideABranchIsNotRetriedAgainOutside(t *testing.T) {
	var calls atomic.Int64
	body := next(plan.Node{Name: "inner", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true}})
	for _, order := range orders {
		calls.Store(0)
		b := &bench{
			flow:   &plan.Flow{Name: "f", Order: order, Nodes: next(plan.Node{Name: "fork", Op: &plan.Fork{Branches: []plan.Sub{{Name: "a", Nodes: body}}}})},
			source: &lines{docs: []string{`{}`}},
			callers: map[string]penstock.Caller{"ask": answer(func(string) (string, error) {
				calls.Add(1)
				return "", penstock.E(penstock.Unavailable, "ask", "", "down")
			})},
		}
		b.run(t)
		if calls.Load() != 5 || len(b.dead.got) != 1 || !strings.Contains(b.dead.metas[0], `"step":"inner"`) || !strings.Contains(b.dead.metas[0], `"attempts":5`) {
			t.Errorf("%s: %d calls, dead %v", order, calls.Load(), b.dead.metas)
		}
	}
}

func TestTheRetryOfAForEachRepeatsIt(t *testing.T) {
	body := next(plan.Node{Name: "inner", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true}})
	for _, order := range orders {
		var calls atomic.Int64
		out := &noted{}
		b := &bench{
			flow: &plan.Flow{Name: "f", Order: order, Slots: 1, Nodes: next(
				plan.Node{Name: "each", Retry: &plan.Retry{Attempts: 3}, Op: &plan.Fork{Branches: []plan.Sub{{Nodes: body}}, Each: field("list"), As: 0, Index: -1, Concurrency: 1}}, send("out"))},
			source: &lines{docs: []string{`{"list":[1,2]}`}},
			sinks:  map[string]*noted{"out": out},
			callers: map[string]penstock.Caller{"ask": answer(func(string) (string, error) {
				if n := calls.Add(1); n == 2 || n == 4 {
					return "", penstock.E(penstock.Unavailable, "ask", "", "down")
				}
				return "1", nil
			})},
		}
		b.run(t)
		if calls.Load() != 6 || len(out.got) != 1 || out.got[0] != "[1,1]" {
			t.Errorf("%s: %d calls, %v, dead %v", order, calls.Load(), out.got, b.dead.metas)
		}
	}
}

func TestACallThatIsNotIdempotentIsNotRepeatedEvenInABranch(t *testing.T) {
	body := next(plan.Node{Name: "inner", Op: &plan.Call{Endpoint: endpoint("ask")}})
	for _, declared := range []bool{false, true} {
		var calls atomic.Int64
		b := &bench{
			flow: &plan.Flow{Name: "f", Order: plan.Total, Nodes: next(plan.Node{Name: "fork", Op: &plan.Fork{Branches: []plan.Sub{{Name: "a", Nodes: body}}}}),
				OnError: plan.ErrorPolicy{Declared: declared, Retry: plan.Retry{Attempts: 4}}},
			source: &lines{docs: []string{`{}`}},
			callers: map[string]penstock.Caller{"ask": answer(func(string) (string, error) {
				calls.Add(1)
				return "", penstock.E(penstock.Unavailable, "ask", "", "down")
			})},
		}
		b.run(t)
		want := int64(1)
		if declared {
			want = 4
		}
		if calls.Load() != want || len(b.dead.got) != 1 {
			t.Errorf("declared %v: %d calls", declared, calls.Load())
		}
	}
}

func TestLoop(t *testing.T) {
	out := &noted{}
	body := next(plan.Node{Op: &plan.Apply{Step: parsed(func(b *penstock.Batch, m *penstock.Message) error {
		n, _ := m.Body.Int(m.Body.Field(0, "n", nil))
		d := b.NewDoc()
		d.Reset(0, fmt.Appendf(nil, `{"n":%d}`, n*2))
		m.Body = d
		return nil
	})}})
	until := prog(func(f *penstock.Frame) penstock.Value { return penstock.BoolValue(field("n")(f).Int() > 100) })
	b := &bench{
		flow:   &plan.Flow{Name: "f", Order: plan.Total, Nodes: next(plan.Node{Name: "double", Op: &plan.Loop{Until: until, Max: 10, Body: plan.Sub{Nodes: body}, Index: -1}}, send("out"))},
		source: &lines{docs: []string{`{"n":3}`, `{"n":0}`, `{"n":60}`}, batch: 3},
		sinks:  map[string]*noted{"out": out},
	}
	b.run(t)
	if !slices.Equal(out.got, []string{`{"n":192}`, `{"n":120}`}) || len(b.dead.got) != 1 || b.dead.got[0] != `{"n":0}` {
		t.Fatalf("%v dead %v", out.got, b.dead.got)
	}
}

func TestLoopThatCalls(t *testing.T) {
	for _, order := range orders {
		out := &noted{}
		body := next(plan.Node{Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true}})
		until := prog(func(f *penstock.Frame) penstock.Value { return penstock.BoolValue(field("n")(f).Int() > 100) })
		b := &bench{
			flow: &plan.Flow{Name: "f", Order: order, Key: field("k"), Nodes: next(
				plan.Node{Op: &plan.Apply{Step: parsed(func(*penstock.Batch, *penstock.Message) error { return nil })}},
				plan.Node{Name: "double", Op: &plan.Loop{Until: until, Max: 10, Body: plan.Sub{Nodes: body}, Index: -1}}, send("out"))},
			source: &lines{docs: []string{`{"n":3,"k":"a"}`, `{"n":60,"k":"a"}`}, batch: 3},
			sinks:  map[string]*noted{"out": out},
			callers: map[string]penstock.Caller{"ask": answer(func(body string) (string, error) {
				return fmt.Sprintf(`{"n":%d}`, 2*number(body)), nil
			})},
		}
		b.run(t)
		if order == plan.None {
			slices.Sort(out.got)
			slices.Reverse(out.got)
		}
		if !slices.Equal(out.got, []string{`{"n":192}`, `{"n":120}`}) {
			t.Errorf("%s: %v dead %v", order, out.got, b.dead.metas)
		}
	}
}

func TestSplitSettlesTheParentWhenAllPartsEnded(t *testing.T) {
	for _, order := range orders {
		out := &noted{}
		b := &bench{
			flow:   &plan.Flow{Name: "f", Order: order, Concurrency: 2, Slots: 2, Nodes: next(plan.Node{Op: &plan.Split{Each: field("list"), As: -1, Index: -1}}, plan.Node{Op: &plan.Apply{Step: parsed(keepEven)}}, send("out"))},
			source: &lines{docs: []string{`{"list":[{"n":1},{"n":2}]}`, `{"list":[]}`, `{"list":[{"n":4}]}`, `{"list":7}`}, batch: 2},
			sinks:  map[string]*noted{"out": out},
		}
		sum := b.run(t)
		if order == plan.None {
			slices.Sort(out.got)
		}
		if !slices.Equal(out.got, []string{`{"n":2}`, `{"n":4}`}) || len(b.dead.got) != 1 || len(b.source.settled) != 4 || sum.Flows[0].Unsettled != 0 {
			t.Fatalf("%s: %v dead %v settled %d", order, out.got, b.dead.got, len(b.source.settled))
		}
	}
}

func TestLargeSplitGoesThroughInChunks(t *testing.T) {
	out := &noted{}
	list := strings.Repeat(`{"n":2},`, 5000) + `{"n":2}`
	b := &bench{
		flow:   &plan.Flow{Name: "f", Order: plan.Total, Nodes: next(plan.Node{Op: &plan.Split{Each: field("list"), As: -1, Index: -1}}, send("out"))},
		source: &lines{docs: []string{`{"list":[` + list + `]}`}},
		sinks:  map[string]*noted{"out": out},
	}
	b.run(t)
	if len(out.got) != 5001 {
		t.Fatal(len(out.got))
	}
}

// lanesFor is how many lanes give the same groups every time: without order, one.
func lanesFor(o plan.Order) int {
	if o == plan.None {
		return 1
	}
	return 2
}

func TestGroups(t *testing.T) {
	in := []string{`{"n":0,"k":"a"}`, `{"n":1,"k":"b"}`, `{"n":2,"k":"a"}`, `{"n":3,"k":"a"}`, `{"n":4,"k":"b"}`}
	for _, order := range orders {
		t.Run(string(order), func(t *testing.T) {
			out := &noted{}
			b := &bench{
				flow:   &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: lanesFor(order), Nodes: next(plan.Node{Name: "g", Op: &plan.Group{By: field("k"), Size: 2, AtEnd: true}}, send("out"))},
				source: &lines{docs: in, batch: 2},
				sinks:  map[string]*noted{"out": out},
			}
			sum := b.run(t)
			slices.Sort(out.got)
			want := []string{`[{"n":0,"k":"a"},{"n":2,"k":"a"}]`, `[{"n":1,"k":"b"},{"n":4,"k":"b"}]`, `[{"n":3,"k":"a"}]`}
			if !slices.Equal(out.got, want) || sum.Flows[0].Unsettled != 0 || sum.Flows[0].Groups != 3 {
				t.Fatalf("%v %+v", out.got, sum.Flows[0])
			}
		})
	}
}

func TestGroupThatNothingCompletesIsDeadLettered(t *testing.T) {
	for _, order := range orders {
		b := &bench{
			flow:   &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: lanesFor(order), Nodes: next(plan.Node{Name: "g", Op: &plan.Group{By: field("k"), Size: 2}})},
			source: &lines{docs: docs(3, `{"n":%d,"k":"a"}`), batch: 2},
		}
		sum := b.run(t)
		if len(b.dead.got) != 1 || b.dead.got[0] != `[{"n":2,"k":"a"}]` || sum.Flows[0].Unsettled != 0 {
			t.Errorf("%s: %v %+v", order, b.dead.got, sum.Flows[0])
		}
	}
}

func TestMemoryBoundCompletesTheOldestGroup(t *testing.T) {
	out := &noted{}
	b := &bench{
		flow:   &plan.Flow{Name: "f", Order: plan.Total, Nodes: next(plan.Node{Name: "g", Op: &plan.Group{By: field("n"), MaxGroups: 3, AtEnd: true}}, send("out"))},
		source: &lines{docs: docs(10, `{"n":%d}`), batch: 4},
		sinks:  map[string]*noted{"out": out},
	}
	sum := b.run(t)
	if len(out.got) != 10 || sum.Flows[0].Bound != 7 || !strings.Contains(out.metas[0], `"reason":"bound"`) || !strings.Contains(out.metas[9], `"reason":"end"`) {
		t.Fatalf("%v %+v", out.metas, sum.Flows[0])
	}
}
