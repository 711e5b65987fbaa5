package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// branching is a flow of one fork whose branches, or elements, call the callers of their names.
func branching(op *plan.Fork, doc string, callers map[string]penstock.Caller) (*bench, *noted) {
	b := &bench{
		flow:    &plan.Flow{Name: "f", Order: plan.Total, Slots: 2, Concurrency: 1, Nodes: next(plan.Node{Name: "fork", Verb: "parallel", Op: op}, send("out"))},
		source:  &lines{docs: []string{doc}},
		callers: callers,
		sinks:   map[string]*noted{"out": {}},
	}
	b.flow.OnError.Retry = plan.Retry{Attempts: 1}
	return b, b.sinks["out"]
}

func calling(name string) plan.Sub {
	return plan.Sub{Name: name, Nodes: next(plan.Node{Name: "ask-" + name, Verb: "call", Op: &plan.Call{Endpoint: endpoint(name), Idempotent: true}})}
}

// tardy answers after a while, with its name or an error.
type tardy struct {
	after time.Duration
	name  string
	err   error
	calls int
}

func (*tardy) Open(context.Context) error  { return nil }
func (*tardy) Close(context.Context) error { return nil }
func (s *tardy) Call(ctx context.Context, _ *penstock.Frame, into *penstock.Message) error {
	s.calls++
	if err := takes(ctx, s.after); err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	into.Body.Reset(jsonview.JSON, []byte(`"`+s.name+`"`))
	return nil
}

func TestPartialOfBranches(t *testing.T) {
	ms := time.Millisecond
	broken := penstock.E(penstock.Conflict, "ask", "x", "no")
	for name, c := range map[string]struct {
		partial plan.Partial
		a, b    tardy
		retry   plan.Retry
		want    string // the body, or the error
		took    time.Duration
	}{
		"all":               {a: tardy{after: 10 * ms}, b: tardy{after: 20 * ms}, want: `{"ok":{"a":"a","b":"b"},"failed":{}}`, took: 20 * ms},
		"one fails":         {a: tardy{after: 10 * ms}, b: tardy{err: broken}, want: `{"ok":{"a":"a"},"failed":{"b":{"code":"conflict","message":"ask: x: no","step":"ask-b","path":"x","attempts":1}}}`, took: 10 * ms},
		"one is late":       {partial: plan.Partial{Deadline: 50 * ms}, a: tardy{after: 10 * ms}, b: tardy{after: time.Hour}, want: `{"ok":{"a":"a"},"failed":{"b":{"code":"timeout","message":"fork: not done within 50ms","step":"ask-b","path":"","attempts":1}}}`, took: 50 * ms},
		"all are late":      {partial: plan.Partial{Deadline: 50 * ms}, a: tardy{after: time.Hour}, b: tardy{after: time.Hour}, want: `{"ok":{},"failed":{"a":{"code":"timeout","message":"fork: not done within 50ms","step":"ask-a","path":"","attempts":1},"b":{"code":"timeout","message":"fork: not done within 50ms","step":"ask-b","path":"","attempts":1}}}`, took: 50 * ms},
		"what must not":     {partial: plan.Partial{Need: []bool{false, true}}, a: tardy{after: time.Hour}, b: tardy{after: 5 * ms, err: broken}, want: "conflict: no", took: 5 * ms},
		"what must is late": {partial: plan.Partial{Need: []bool{true, false}, Deadline: 50 * ms}, a: tardy{after: time.Hour}, want: "timeout: not done within 50ms", took: 50 * ms},
		"what must succeeds": {partial: plan.Partial{Need: []bool{true, false}}, a: tardy{after: 10 * ms}, b: tardy{err: broken},
			want: `{"ok":{"a":"a"},"failed":{"b":{"code":"conflict","message":"ask: x: no","step":"ask-b","path":"x","attempts":1}}}`, took: 10 * ms},
		"a pause is not waited for": {partial: plan.Partial{Deadline: 50 * ms}, b: tardy{err: errDown}, retry: plan.Retry{Attempts: 3, Initial: 20 * ms, Factor: 2},
			want: `{"ok":{"a":"a"},"failed":{"b":{"code":"unavailable","message":"ask: down","step":"ask-b","path":"","attempts":2}}}`, took: 50 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.a.name, c.b.name = "a", "b"
				b, out := branching(&plan.Fork{Branches: []plan.Sub{calling("a"), calling("b")}, As: -1, Index: -1, Partial: &c.partial}, `{}`, map[string]penstock.Caller{"a": &c.a, "b": &c.b})
				if c.retry.Attempts > 0 {
					b.flow.OnError.Retry = c.retry
				}
				began := time.Now()
				sum := b.run(t)
				got := ""
				switch f := sum.Flows[0]; {
				case len(out.got) == 1:
					got = out.got[0]
				case len(f.Causes) == 1:
					got = string(f.Causes[0].Code) + ": " + f.Causes[0].Message
				}
				if !strings.HasSuffix(c.want, got) || got == "" || time.Since(began) != c.took {
					t.Errorf("got %s after %s\nwant %s", got, time.Since(began), c.want)
				}
			})
		})
	}
}

func TestPartialOfElements(t *testing.T) {
	for _, concurrency := range []int{1, 2, 8} {
		for name, c := range map[string]struct {
			partial plan.Partial
			list    string // an element n takes n ms; -n fails after n ms
			want    string
		}{
			"none":          {list: `[]`, want: `{"ok":[],"failed":[]}`},
			"all":           {list: `[3,2,1]`, want: `{"ok":[3,2,1],"failed":[]}`},
			"some":          {list: `[3,-2,1,-4]`, want: `{"ok":[3,1],"failed":[{"index":1,"code":"conflict","message":"no","step":"ask-e","path":"","attempts":1},{"index":3,"code":"conflict","message":"no","step":"ask-e","path":"","attempts":1}]}`},
			"late":          {list: `[1,999]`, partial: plan.Partial{Deadline: 20 * time.Millisecond}, want: `{"ok":[1],"failed":[{"index":1,"code":"timeout","message":"fork: not done within 20ms","step":"ask-e","path":"","attempts":1}]}`},
			"enough":        {list: `[1,-1,1]`, partial: plan.Partial{AtLeast: 2}, want: `{"ok":[1,1],"failed":[{"index":1,"code":"conflict","message":"no","step":"ask-e","path":"","attempts":1}]}`},
			"not enough":    {list: `[1,-1,-1]`, partial: plan.Partial{AtLeast: 2}, want: "conflict 1 of 3 elements succeeded, and at least 2 must: no"},
			"too short":     {list: `[1]`, partial: plan.Partial{AtLeast: 2}, want: "unprocessable 1 of 1 elements gave a result, and at least 2 must"},
			"a bad element": {list: `[1,"x"]`, want: `{"ok":[1],"failed":[{"index":1,"code":"invalid","message":"no number","step":"ask-e","path":"","attempts":1}]}`},
		} {
			t.Run(fmt.Sprintf("%s/%d", name, concurrency), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := element{}
					b, out := branching(&plan.Fork{Each: field("list"), Concurrency: concurrency, As: 0, Index: 1, Partial: &c.partial,
						Branches: []plan.Sub{calling("e")}}, `{"list":`+c.list+`}`, map[string]penstock.Caller{"e": e})
					sum := b.run(t)
					got := ""
					switch f := sum.Flows[0]; {
					case len(out.got) == 1:
						got = out.got[0]
					case len(f.Causes) == 1:
						got = string(f.Causes[0].Code) + " " + f.Causes[0].Message
					}
					if want := c.want; got == "" || got != want && !strings.HasSuffix(want, strings.TrimPrefix(got, strings.SplitN(want, " ", 2)[0]+" ")) {
						t.Errorf("got %s\nwant %s", got, want)
					}
				})
			})
		}
	}
}

// element answers with the element it is asked about.
type element struct{}

func (element) Open(context.Context) error  { return nil }
func (element) Close(context.Context) error { return nil }
func (element) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	d, node := f.Msg.Vars[0].Node()
	n, ok := d.Int(node)
	if !ok {
		return penstock.E(penstock.Invalid, "", "", "no number")
	}
	fails := n < 0
	if err := takes(ctx, time.Duration(max(n, -n))*time.Millisecond); err != nil {
		return err
	}
	if fails {
		return penstock.E(penstock.Conflict, "", "", "no")
	}
	into.Body.Reset(jsonview.JSON, fmt.Append(nil, n))
	return nil
}

func targets(p plan.Pick, names ...string) *plan.Fork {
	op := &plan.Fork{As: -1, Index: -1, Pick: &p}
	for _, n := range names {
		op.Branches = append(op.Branches, calling(n))
	}
	return op
}

func TestStrategies(t *testing.T) {
	for name, c := range map[string]struct {
		pick plan.Pick
		want string
	}{
		"round robin": {plan.Pick{Strategy: plan.RoundRobin}, "abcabcabca"},
		"weighted":    {plan.Pick{Strategy: plan.Weighted, Weights: []int{5, 1, 1}}, "aabacaaaab"},
		"least":       {plan.Pick{Strategy: plan.LeastInFlight}, "abcabcabca"},
		"failover":    {plan.Pick{Strategy: plan.Failover}, "aaaaaaaaaa"},
	} {
		l := newBalancer(targets(c.pick, "a", "b", "c"))
		got := ""
		for range 10 {
			got += string(rune('a' + l.choose("", nil)))
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	l := newBalancer(targets(plan.Pick{Strategy: plan.Random}, "a", "b", "c"))
	for _, c := range []struct {
		random float64
		want   int
	}{{0, 0}, {0.34, 1}, {0.9999999, 2}} {
		if got := l.choose("", func() float64 { return c.random }); got != c.want {
			t.Errorf("random %g: %d", c.random, got)
		}
	}
	l = newBalancer(targets(plan.Pick{Strategy: plan.LeastInFlight}, "a", "b", "c"))
	l.inFlight[0].Store(5)
	l.inFlight[1].Store(2)
	l.inFlight[2].Store(3)
	for range 5 {
		if got := l.choose("", nil); got != 1 {
			t.Errorf("least: %d", got)
		}
	}
}

func TestStickyStaysAndSpreads(t *testing.T) {
	three, four := newBalancer(targets(plan.Pick{Strategy: plan.Sticky}, "a", "b", "c")), newBalancer(targets(plan.Pick{Strategy: plan.Sticky}, "a", "b", "c", "d"))
	var count [4]int
	moved := 0
	for i := range 10_000 {
		key := fmt.Sprint("key", i)
		at, now := three.choose(key, nil), four.choose(key, nil)
		if at != three.choose(key, nil) {
			t.Fatal("not the same target")
		}
		count[at]++
		if at != now {
			moved++
			if now != 3 {
				t.Fatal("moved to a target that was there before")
			}
		}
	}
	for _, n := range count[:3] {
		if n < 3000 || n > 3700 {
			t.Errorf("spread over %v", count)
		}
	}
	if moved < 2200 || moved > 2800 {
		t.Errorf("%d of 10000 moved to the fourth", moved)
	}
}

func TestFailover(t *testing.T) {
	broken := penstock.E(penstock.Conflict, "ask", "", "no")
	for name, c := range map[string]struct {
		a, b   tardy
		change func(*plan.Fork, *plan.Flow)
		want   string
		calls  [2]int
	}{
		"the first":              {want: `"a"`, calls: [2]int{1, 0}},
		"the second":             {a: tardy{err: errDown}, want: `"b"`, calls: [2]int{1, 1}},
		"a refusal is an answer": {a: tardy{err: broken}, want: "conflict", calls: [2]int{1, 0}},
		"both, again and again":  {a: tardy{err: errDown}, b: tardy{err: errDown}, want: "unavailable", calls: [2]int{3, 3}},
		"both, once, where it may have effect": {a: tardy{err: errDown}, b: tardy{err: errDown}, want: "unavailable", calls: [2]int{1, 1},
			change: func(op *plan.Fork, _ *plan.Flow) { op.Branches[0].Nodes[0].Op.(*plan.Call).Idempotent = false }},
		"both, where that is declared": {a: tardy{err: errDown}, b: tardy{err: errDown}, want: "unavailable", calls: [2]int{3, 3},
			change: func(op *plan.Fork, f *plan.Flow) {
				op.Branches[0].Nodes[0].Op.(*plan.Call).Idempotent = false
				f.OnError.Declared = true
			}},
		"a target's own retry": {a: tardy{err: errDown}, want: `"b"`, calls: [2]int{2, 1},
			change: func(op *plan.Fork, _ *plan.Flow) { op.Branches[0].Nodes[0].Retry = &plan.Retry{Attempts: 2} }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.a.name, c.b.name = "a", "b"
				op := targets(plan.Pick{Strategy: plan.Failover}, "a", "b")
				b, out := branching(op, `{}`, map[string]penstock.Caller{"a": &c.a, "b": &c.b})
				b.flow.OnError.Retry = plan.Retry{Attempts: 3, Initial: time.Second, Factor: 1}
				if c.change != nil {
					c.change(op, b.flow)
				}
				sum := b.run(t)
				got := ""
				if len(out.got) == 1 {
					got = out.got[0]
				} else if len(sum.Flows[0].Causes) == 1 {
					got = string(sum.Flows[0].Causes[0].Code)
				}
				if got != c.want || c.calls != [2]int{c.a.calls, c.b.calls} {
					t.Errorf("%s after %d and %d calls", got, c.a.calls, c.b.calls)
				}
			})
		})
	}
}

func TestTargetsKeepTheOrder(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey} {
		synctest.Test(t, func(t *testing.T) {
			op := targets(plan.Pick{Strategy: plan.LeastInFlight}, "a", "b")
			for i := range op.Branches { // answers into a variable: the body stays
				op.Branches[i].Nodes[0].Op.(*plan.Call).Into.Root = 2
				op.Branches[i].Nodes[0].Op.(*plan.Call).Into.Name = "x"
			}
			b, out := branching(op, "", map[string]penstock.Caller{"a": answerAfter(10 * time.Millisecond), "b": answerAfter(30 * time.Millisecond)})
			b.flow.Order, b.flow.Concurrency = order, 4
			b.flow.Key = prog(func(*penstock.Frame) penstock.Value { return penstock.StringValue("k") })
			b.source = &lines{docs: docs(100, `{"n":%d}`), batch: 10}
			b.run(t)
			if len(out.got) != 100 || !slices.IsSortedFunc(out.got, byN) {
				t.Errorf("%s: %d messages, in order %t", order, len(out.got), slices.IsSortedFunc(out.got, byN))
			}
		})
	}
}

type answerAfter time.Duration

func (answerAfter) Open(context.Context) error  { return nil }
func (answerAfter) Close(context.Context) error { return nil }
func (a answerAfter) Call(ctx context.Context, _ *penstock.Frame, into *penstock.Message) error {
	into.Body.Reset(jsonview.JSON, []byte(`1`))
	return takes(ctx, time.Duration(a))
}

// TestPartsThatFailTakeBackWhatTheyWrote lets a branch of partial, elements of a list and a target fail after they have written to a
// durable channel.
func TestPartsThatFailTakeBackWhatTheyWrote(t *testing.T) {
	fails := plan.Node{Name: "ask", Verb: "call", Op: &plan.Call{Endpoint: endpoint("ask"), Idempotent: true}}
	sub := func(name string, nodes ...plan.Node) plan.Sub { return plan.Sub{Name: name, Nodes: next(nodes...)} }
	odd := answer(func(body string) (string, error) {
		if strings.Contains(body, "2") {
			return "", errDown
		}
		return body, nil
	})
	for name, c := range map[string]struct {
		op   *plan.Fork
		in   string
		want []string
	}{
		"branches": {&plan.Fork{As: -1, Index: -1, Partial: &plan.Partial{}, Branches: []plan.Sub{sub("a", toChannel("c"), fails), sub("b", toChannel("c"))}},
			`{"n":2}`, []string{`{"n":2}`}},
		"elements":           {&plan.Fork{Each: field("l"), As: -1, Index: 0, Concurrency: 1, Partial: &plan.Partial{}, Branches: []plan.Sub{sub("", toChannel("c"), fails)}}, `{"l":[1,2,3]}`, []string{`1`, `3`}},
		"elements at once":   {&plan.Fork{Each: field("l"), As: -1, Index: 0, Concurrency: 3, Partial: &plan.Partial{}, Branches: []plan.Sub{sub("", toChannel("c"), fails)}}, `{"l":[1,2,3]}`, []string{`1`, `3`}},
		"elements, too few":  {&plan.Fork{Each: field("l"), As: -1, Index: 0, Concurrency: 1, Partial: &plan.Partial{AtLeast: 3}, Branches: []plan.Sub{sub("", toChannel("c"), fails)}}, `{"l":[1,2,3]}`, nil},
		"a target":           {&plan.Fork{As: -1, Index: -1, Pick: &plan.Pick{Strategy: plan.Failover}, Branches: []plan.Sub{sub("a", toChannel("c"), fails), sub("b", toChannel("c"))}}, `{"n":2}`, []string{`{"n":2}`}},
		"all of the targets": {&plan.Fork{As: -1, Index: -1, Pick: &plan.Pick{Strategy: plan.Failover}, Branches: []plan.Sub{sub("a", toChannel("c"), fails), sub("b", toChannel("c"), fails)}}, `{"n":2}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Slots: 1, Sources: fromLines("a"), Nodes: next(plan.Node{Name: "fork", Verb: "parallel", Op: c.op})})
			p.source = func() penstock.Source { return &resumable{lines: lines{docs: []string{c.in}}} }
			p.plan.Flows[0].OnError.Retry = plan.Retry{Attempts: 1}
			p.callers["ask"] = odd
			p.declare("c")
			p.run(t.Context())
			got := p.holds("c")
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("the channel holds %q, want %q", got, c.want)
			}
		})
	}
}
