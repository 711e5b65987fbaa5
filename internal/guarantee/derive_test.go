package guarantee

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/step"
)

type program struct{}

func (program) Eval(*penstock.Frame) penstock.Value { return penstock.True }

// flowOf makes flow f of a plan that keeps state, with a durable channel `kept` and one in memory, `passing`.
func flowOf(f *plan.Flow) *plan.Plan {
	f.Name = "f"
	return &plan.Plan{Durable: true, Flows: []*plan.Flow{f}, Channels: []*plan.Channel{
		{Name: "kept", Durable: true}, {Name: "queue", Durable: true, Queue: true}, {Name: "passing"}}}
}

func from(spec penstock.Spec) *plan.Endpoint {
	return &plan.Endpoint{Name: "f/from", Driver: &penstock.Driver{Kind: penstock.KindOfSource, Spec: spec}}
}

var (
	file  = from(penstock.Spec{Name: "file", Replay: penstock.ReplayPosition})
	mail  = from(penstock.Spec{Name: "mail", Replay: penstock.ReplayAgain})
	stdin = from(penstock.Spec{Name: "stdin"})
	made  = &plan.Endpoint{Name: "f/from", Driver: file.Driver, Volatile: true}
	web   = &plan.Endpoint{Name: "f/from", Driver: &penstock.Driver{Kind: penstock.KindOfServer, Spec: penstock.Spec{Name: "web"}}, Server: &plan.Server{}}
)

func known(ep *plan.Endpoint, remember time.Duration) *plan.Endpoint {
	e := *ep
	e.ID, e.Remember = program{}, remember
	return &e
}

func fromChannel(name string) *plan.Endpoint { return &plan.Endpoint{Name: "f/from", Channel: name} }

func sink(spec penstock.Spec) *plan.Endpoint {
	return &plan.Endpoint{Name: "f/to", Driver: &penstock.Driver{Kind: penstock.KindOfSink, Spec: spec}}
}

var (
	lines  = sink(penstock.Spec{Name: "lines", Idempotent: true})
	table  = sink(penstock.Spec{Name: "table", Rewrite: penstock.RewriteSame})
	busy   = sink(penstock.Spec{Name: "busy", Reorders: true, Rewrite: penstock.RewriteSame})
	drop   = sink(penstock.Spec{Name: "drop", Rewrite: penstock.RewriteNothing, Loses: "everything"})
	screen = sink(penstock.Spec{Name: "screen", Loses: "what nobody looks at"})
	// What knows its messages.
	stream  = sink(penstock.Spec{Name: "stream", Rewrite: penstock.RewriteKnown, Known: penstock.Known{By: "its message id", Within: 2 * time.Minute}})
	forever = sink(penstock.Spec{Name: "inbox", Rewrite: penstock.RewriteKnown, Known: penstock.Known{By: "its row"}})
	// What keeps positions, and has transactions.
	log   = on("c", from(penstock.Spec{Name: "log", Replay: penstock.ReplayPosition, Keeps: true, Transacts: true}))
	topic = on("c", sink(penstock.Spec{Name: "log", Transacts: true}))
)

// on is ep on a connection.
func on(connection string, ep *plan.Endpoint) *plan.Endpoint {
	e := *ep
	e.Connection = connection
	return &e
}

func then(name string, op plan.Op) plan.Node {
	return plan.Node{Name: name, Verb: name, Op: op, Catch: plan.End}
}

func to(ep *plan.Endpoint) plan.Node {
	return then("to", &plan.Send{Endpoint: ep, Idempotent: ep.Channel != "" || ep.Driver.Spec.Idempotent})
}

func toChannel(name string) plan.Node { return to(&plan.Endpoint{Name: "f/to", Channel: name}) }

func volatile(n plan.Node) plan.Node { n.Volatile = true; return n }

func when(n plan.Node) plan.Node { n.When = program{}; return n }

// straight lets each node go on to the next.
func straight(nodes ...plan.Node) []plan.Node {
	for i := range nodes {
		nodes[i].Next = i + 1
	}
	nodes[len(nodes)-1].Next = plan.End
	return nodes
}

var (
	leaf    = then("map", &plan.Apply{})
	sampled = plan.Node{Name: "some", Verb: "sample", Op: &plan.Apply{}, Catch: plan.End}
	grouped = then("aggregate", &plan.Group{By: program{}})
	deduped = then("dedupe", &plan.Stage{By: program{}, Spec: &plan.Dedupe{}})
	asked   = then("ask", &plan.Call{Endpoint: sink(penstock.Spec{Name: "http"}), Idempotent: true, Into: intoBody()})
	posted  = then("post", &plan.Call{Endpoint: sink(penstock.Spec{Name: "http"}), Into: intoBody()})
	looked  = then("look", &plan.Call{Endpoint: sink(penstock.Spec{Name: "file"}), Idempotent: true, Local: true, Into: intoBody()})
)

func intoBody() step.Target { return step.Target{} }

func tap(ep *plan.Endpoint) plan.Node { return then("tap", &plan.Send{Endpoint: ep, NoWait: true}) }

func TestDelivery(t *testing.T) {
	type test struct {
		name    string
		source  *plan.Endpoint
		nodes   []plan.Node
		flow    plan.Flow // what else it has
		jobs    bool      // the run keeps no state
		want    string
		because []string // step: delivery, of each reason
	}
	dead := func(ep *plan.Endpoint) plan.Flow { return plan.Flow{OnError: plan.ErrorPolicy{DeadLetter: ep}} }
	tests := []test{
		// Sources, in front of a durable channel.
		{name: "a position", source: file, nodes: straight(toChannel("kept")), want: "effectively-once"},
		{name: "a topic", source: fromChannel("kept"), nodes: straight(toChannel("kept")), want: "effectively-once"},
		{name: "a queue", source: fromChannel("queue"), nodes: straight(toChannel("kept")), want: "effectively-once"},
		{name: "a channel without a resource", source: fromChannel("x.dead"), nodes: straight(toChannel("kept")), want: "effectively-once"},
		{name: "again", source: mail, nodes: straight(toChannel("kept")), want: "at-least-once", because: []string{"from: at-least-once"}},
		{name: "again, known", source: known(mail, 7*24*time.Hour), nodes: straight(toChannel("kept")), want: "effectively-once within 7d", because: []string{"from: effectively-once"}},
		{name: "a position, known", source: known(file, time.Hour), nodes: straight(toChannel("kept")), want: "effectively-once"},
		{name: "a server", source: web, nodes: straight(toChannel("kept")), want: "at-least-once", because: []string{"from: at-least-once"}},
		{name: "a server, known", source: known(web, time.Hour), nodes: straight(toChannel("kept")), want: "effectively-once within 1h", because: []string{"from: effectively-once"}},
		{name: "a pipe", source: stdin, nodes: straight(toChannel("kept")), want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "a pipe, known", source: known(stdin, time.Hour), nodes: straight(toChannel("kept")), want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "memory", source: fromChannel("passing"), nodes: straight(toChannel("kept")), want: "at-most-once", because: []string{"from: at-most-once"}},
		// Sinks.
		{name: "lines", source: file, nodes: straight(to(lines)), want: "at-least-once", because: []string{"to: at-least-once"}},
		{name: "lines, from a pipe", source: stdin, nodes: straight(to(lines)), want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "lines behind a boundary, from a pipe", source: stdin, nodes: straight(deduped, to(lines)), want: "best-effort", because: []string{"from: at-most-once", "to: at-least-once"}},
		{name: "upsert", source: file, nodes: straight(leaf, to(table)), want: "effectively-once"},
		{name: "upsert of what comes again", source: mail, nodes: straight(to(table)), want: "at-least-once", because: []string{"from: at-least-once"}},
		{name: "drop", source: file, nodes: straight(to(drop)), want: "effectively-once"},
		{name: "a screen", source: file, nodes: straight(to(screen)), want: "best-effort", because: []string{"to: at-most-once", "to: at-least-once"}},
		{name: "a screen, from a pipe", source: stdin, nodes: straight(to(screen)), want: "at-most-once", because: []string{"from: at-most-once", "to: at-most-once"}},
		{name: "hand-over", source: file, nodes: straight(toChannel("passing")), want: "best-effort", because: []string{"to: best-effort"}},
		{name: "hand-over from memory", source: fromChannel("passing"), nodes: straight(toChannel("passing")), want: "at-most-once", because: []string{"from: at-most-once", "to: at-most-once"}},
		{name: "wire tap", source: file, nodes: straight(tap(table), toChannel("kept")), want: "at-most-once", because: []string{"tap: at-most-once"}},
		{name: "wire tap to a durable channel", source: file, nodes: straight(tap(fromChannel("kept")), toChannel("kept")), want: "effectively-once"},
		{name: "wire tap to memory", source: stdin, nodes: straight(tap(fromChannel("passing")), toChannel("kept")), want: "at-most-once", because: []string{"from: at-most-once", "tap: at-most-once", "tap: at-most-once"}},
		{name: "nothing is sent", source: file, nodes: straight(leaf), want: "effectively-once"},
		{name: "no steps", source: file, want: "effectively-once"},
		// Content.
		{name: "now, recorded", source: file, nodes: straight(volatile(leaf), toChannel("kept")), want: "effectively-once"},
		{name: "now before an upsert", source: file, nodes: straight(volatile(leaf), to(table)), want: "at-least-once", because: []string{"map: at-least-once"}},
		{name: "now in what is upserted", source: file, nodes: straight(volatile(to(table))), want: "at-least-once", because: []string{"to: at-least-once"}},
		{name: "now behind the upsert", source: file, nodes: straight(to(table), volatile(leaf), toChannel("kept")), want: "effectively-once"},
		{name: "now before a boundary", source: file, nodes: straight(volatile(leaf), deduped, to(table)), want: "effectively-once"},
		{name: "now behind a boundary", source: file, nodes: straight(deduped, volatile(leaf), to(table)), want: "at-least-once", because: []string{"map: at-least-once"}},
		{name: "now past a boundary that not all enter", source: file, nodes: straight(volatile(leaf), when(deduped), to(table)), want: "at-least-once", because: []string{"map: at-least-once"}},
		{name: "a sample", source: file, nodes: straight(sampled, to(table)), want: "at-least-once", because: []string{"some: at-least-once"}},
		{name: "a sample, recorded", source: file, nodes: straight(sampled, toChannel("kept")), want: "effectively-once"},
		{name: "now in a source", source: made, nodes: straight(to(table)), want: "at-least-once", because: []string{"from: at-least-once"}},
		{name: "now in a source, recorded", source: made, nodes: straight(toChannel("kept")), want: "effectively-once"},
		{name: "a reply", source: file, nodes: straight(asked, to(table)), want: "at-least-once", because: []string{"ask: at-least-once"}},
		{name: "a reply, recorded", source: file, nodes: straight(asked, toChannel("kept")), want: "effectively-once"},
		{name: "a reply from memory", source: file, nodes: straight(looked, to(table)), want: "effectively-once"},
		{name: "a call with an effect", source: file, nodes: straight(posted, toChannel("kept")), want: "at-least-once", because: []string{"post: at-least-once"}},
		{name: "a call with an effect, from a pipe", source: stdin, nodes: straight(posted, toChannel("kept")), want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "in a branch", source: file, nodes: straight(then("both", &plan.Fork{Branches: []plan.Sub{{Nodes: straight(volatile(leaf))}, {Nodes: straight(posted)}}}), to(table)),
			want: "at-least-once", because: []string{"post: at-least-once", "map: at-least-once"}},
		{name: "in a loop", source: file, nodes: straight(then("again", &plan.Loop{Body: plan.Sub{Nodes: straight(to(lines))}}), toChannel("kept")), want: "at-least-once", because: []string{"to: at-least-once"}},
		{name: "in a catch", source: file, nodes: []plan.Node{
			{Name: "risky", Op: &plan.Apply{}, Next: plan.End, Catch: 1}, to(lines)}, want: "at-least-once", because: []string{"to: at-least-once"}},
		{name: "never reached", source: file, nodes: []plan.Node{{Name: "stop", Op: &plan.Finish{}, Next: 1, Catch: plan.End}, to(lines)}, want: "effectively-once"},
		{name: "reached with a condition", source: file, nodes: []plan.Node{
			when(plan.Node{Name: "stop", Op: &plan.Finish{}, Next: 1, Catch: plan.End}), to(lines)}, want: "at-least-once", because: []string{"to: at-least-once"}},
		{name: "one way of several", source: file, nodes: []plan.Node{
			{Name: "which", Op: &plan.Route{Cases: []plan.Case{{Target: 1}}, Else: 2}, Catch: plan.End},
			{Name: "a", Op: &plan.Apply{}, Volatile: true, Next: plan.End, Catch: plan.End}, to(table)}, want: "effectively-once"},
		{name: "ways that meet", source: file, nodes: []plan.Node{
			{Name: "which", Op: &plan.Route{Cases: []plan.Case{{Target: 1}}, Else: 2}, Catch: plan.End},
			{Name: "a", Op: &plan.Apply{}, Volatile: true, Next: 2, Catch: plan.End}, to(table)}, want: "at-least-once", because: []string{"a: at-least-once"}},
		// Dead letters.
		{name: "dead letters in a file", source: file, nodes: straight(toChannel("kept")), flow: dead(lines), want: "at-least-once", because: []string{"onError: at-least-once"}},
		{name: "dead letters in a file, from a pipe", source: stdin, nodes: straight(toChannel("kept")), flow: dead(lines), want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "dead letters in a file, of what was recorded", source: stdin, nodes: straight(deduped, toChannel("kept")), flow: dead(lines), want: "best-effort", because: []string{"from: at-most-once", "onError: at-least-once"}},
		{name: "dead letters in a channel", source: file, nodes: straight(toChannel("kept")), flow: dead(fromChannel("kept")), want: "effectively-once"},
		{name: "dead letters handed over", source: file, nodes: straight(toChannel("kept")), flow: dead(fromChannel("passing")), want: "best-effort", because: []string{"onError: best-effort"}},
		// Sinks that know what they are given twice.
		{name: "known", source: file, nodes: straight(leaf, to(stream)), want: "effectively-once within 2m", because: []string{"to: effectively-once"}},
		{name: "known for good", source: file, nodes: straight(to(forever)), want: "effectively-once", because: []string{"to: effectively-once"}},
		{name: "known in several places", source: known(mail, time.Hour), nodes: straight(to(stream), to(forever)), want: "effectively-once within 2m",
			because: []string{"from: effectively-once", "to: effectively-once", "to: effectively-once"}},
		{name: "known for longer than its source is", source: known(mail, time.Minute), nodes: straight(to(stream)), want: "effectively-once within 1m",
			because: []string{"from: effectively-once", "to: effectively-once"}},
		{name: "known, but another one", source: file, nodes: straight(volatile(leaf), to(stream)), want: "at-least-once", because: []string{"map: at-least-once"}},
		{name: "known, recorded", source: file, nodes: straight(volatile(leaf), deduped, to(stream)), want: "effectively-once within 2m", because: []string{"to: effectively-once"}},
		{name: "known, tried again", source: file, nodes: straight(to(stream)), flow: plan.Flow{OnError: plan.ErrorPolicy{Declared: true, Retry: plan.Retry{Attempts: 5}}},
			want: "effectively-once within 2m", because: []string{"to: effectively-once"}},
		{name: "known, of what comes again under another name", source: mail, nodes: straight(to(stream)), want: "at-least-once", because: []string{"from: at-least-once", "to: effectively-once"}},
		{name: "known, of what does not come again", source: stdin, nodes: straight(to(stream)), want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "dead letters that are known", source: file, nodes: straight(toChannel("kept")), flow: dead(stream), want: "effectively-once within 2m", because: []string{"onError: effectively-once"}},
		// Sources that keep their positions themselves.
		{name: "kept elsewhere, in a job", source: log, nodes: straight(to(lines)), flow: dead(drop), jobs: true, want: "at-least-once", because: []string{"to: at-least-once"}},
		{name: "kept elsewhere, known", source: log, nodes: straight(to(stream)), flow: dead(drop), jobs: true, want: "effectively-once within 2m", because: []string{"to: effectively-once"}},
		{name: "kept elsewhere, upsert", source: log, nodes: straight(to(table)), flow: dead(drop), jobs: true, want: "effectively-once"},
		{name: "kept elsewhere, dead letters in the store", source: log, nodes: straight(to(table)), jobs: true, want: "at-least-once", because: []string{"onError: at-least-once"}},
		{name: "kept elsewhere, in a run with state", source: log, nodes: straight(to(table)), want: "effectively-once"},
		{name: "kept elsewhere, handed over", source: log, nodes: straight(toChannel("passing")), jobs: true, want: "best-effort", because: []string{"to: best-effort"}},
		// Jobs: runs without state.
		{name: "job", source: file, nodes: straight(to(lines)), jobs: true, want: "at-least-once", because: []string{"from: at-least-once", "to: at-least-once"}},
		{name: "job that drops", source: file, nodes: straight(to(drop)), jobs: true, want: "at-least-once", because: []string{"from: at-least-once"}},
		{name: "job from a pipe", source: stdin, nodes: straight(grouped, to(lines)), jobs: true, want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "job that hands over", source: file, nodes: straight(toChannel("passing")), jobs: true, want: "at-least-once", because: []string{"from: at-least-once"}},
		{name: "job with an id", source: known(mail, time.Hour), nodes: straight(toChannel("passing")), jobs: true, want: "best-effort", because: []string{"from: at-least-once", "to: best-effort"}},
		// At-most-once, declared.
		{name: "settled at once", source: file, nodes: straight(to(lines)), flow: plan.Flow{Delivery: plan.AtMostOnce}, want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "settled at once, behind a boundary", source: file, nodes: straight(deduped, to(lines)), flow: plan.Flow{Delivery: plan.AtMostOnce}, want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "settled at once, handed over", source: file, nodes: straight(toChannel("passing")), flow: plan.Flow{Delivery: plan.AtMostOnce}, want: "at-most-once", because: []string{"from: at-most-once", "to: at-most-once"}},
		{name: "settled at once, without a store", source: file, nodes: straight(to(lines)), flow: plan.Flow{Delivery: plan.AtMostOnce}, jobs: true, want: "at-least-once", because: []string{"from: at-least-once", "to: at-least-once"}},
		{name: "settled at once by a queue, without a store", source: mail, nodes: straight(to(lines)), flow: plan.Flow{Delivery: plan.AtMostOnce}, jobs: true, want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "tried again", source: file, nodes: straight(to(table)),
			flow: plan.Flow{Delivery: plan.AtMostOnce, OnError: plan.ErrorPolicy{Declared: true, Retry: plan.Retry{Attempts: 2}}}, want: "best-effort", because: []string{"from: at-most-once", "to: at-least-once"}},
		{name: "tried once", source: file, nodes: straight(to(table)),
			flow: plan.Flow{Delivery: plan.AtMostOnce, OnError: plan.ErrorPolicy{Declared: true, Retry: plan.Retry{Attempts: 1}}}, want: "at-most-once", because: []string{"from: at-most-once"}},
		{name: "tried again, not declared", source: file, nodes: straight(to(table)),
			flow: plan.Flow{Delivery: plan.AtMostOnce, OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: 5}}}, want: "at-most-once", because: []string{"from: at-most-once"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.flow
			f.Sources, f.Nodes, f.Order, f.OnError.Park = []*plan.Endpoint{tt.source}, tt.nodes, plan.Total, true
			p := flowOf(&f)
			p.Durable = !tt.jobs
			g := Derive(p, &f)
			if got := Promise(g); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			var because []string
			for _, r := range g.Reasons {
				if r.Delivery != "" {
					because = append(because, r.Step+": "+string(r.Delivery))
				}
				if r.Text == "" || (r.Delivery == "") == (r.Order == "") {
					t.Errorf("a reason says one thing, in words: %+v", r)
				}
			}
			if fmt.Sprint(because) != fmt.Sprint(tt.because) {
				t.Errorf("because %q, want %q", because, tt.because)
			}
		})
	}
}

// TestReasonsAddUp holds that a flow gives what its reasons leave, no more and no less.
func TestReasonsAddUp(t *testing.T) {
	sources := []*plan.Endpoint{file, mail, stdin, web, log, known(mail, time.Hour), fromChannel("kept"), fromChannel("passing")}
	sinks := []*plan.Endpoint{lines, table, drop, screen, stream, topic, fromChannel("kept"), fromChannel("passing")}
	middle := []plan.Node{leaf, volatile(leaf), sampled, grouped, deduped, asked, posted, tap(lines)}
	for i, src := range sources {
		for j, dst := range sinks {
			for k, mid := range middle {
				for _, declared := range []plan.Delivery{plan.AtMostOnce, plan.AtLeastOnce, plan.EffectivelyOnce} {
					for _, durable := range []bool{true, false} {
						f := plan.Flow{Sources: []*plan.Endpoint{src}, Nodes: straight(mid, to(dst)), Order: plan.Total, Delivery: declared}
						p := flowOf(&f)
						p.Durable = durable
						if declared == plan.EffectivelyOnce {
							f.Transaction, _ = Transaction(&f)
						}
						g := Derive(p, &f)
						var all bits
						for _, r := range g.Reasons {
							b := bitsOf(r.Delivery)
							all.loses, all.repeats = all.loses || b.loses, all.repeats || b.repeats
						}
						if all.delivery() != g.Delivery {
							t.Fatalf("source %d, step %d, sink %d, %s, durable %v: gives %s, its reasons leave %s", i, k, j, declared, durable, g.Delivery, all.delivery())
						}
						if !durable && g.Delivery == plan.EffectivelyOnce && src != log {
							t.Fatalf("source %d, step %d, sink %d: a run without state is not effectively-once", i, k, j)
						}
						if durable && declared == plan.AtMostOnce && src != web && bitsOf(g.Delivery).repeats {
							t.Fatalf("source %d, step %d, sink %d: what is settled at once is not done again: %+v", i, k, j, g.Reasons)
						}
					}
				}
			}
		}
	}
}

// TestTransactions is about flows that read and write in transactions, and what would make one of others.
func TestTransactions(t *testing.T) {
	other := on("other", topic)
	inBranch := func(n plan.Node) plan.Node {
		return then("both", &plan.Fork{Branches: []plan.Sub{{Nodes: straight(leaf)}, {Nodes: straight(n)}}})
	}
	tests := []struct {
		name    string
		sources []*plan.Endpoint
		nodes   []plan.Node
		onError plan.ErrorPolicy
		want    string // "" for none
		missing string
		gives   string
		because []string
	}{
		{name: "straight", nodes: straight(leaf, to(topic)), want: "log c", gives: "effectively-once", because: []string{"from: effectively-once"}},
		{name: "what differs is undone", nodes: straight(volatile(leaf), sampled, to(topic)), want: "log c", gives: "effectively-once", because: []string{"from: effectively-once"}},
		{name: "retries", nodes: straight(to(topic)), onError: plan.ErrorPolicy{DeadLetter: topic, Declared: true, Retry: plan.Retry{Attempts: 3}}, want: "log c", gives: "effectively-once", because: []string{"from: effectively-once"}},
		{name: "several sources", sources: []*plan.Endpoint{log, log}, nodes: straight(to(topic)), want: "log c", gives: "effectively-once", because: []string{"from: effectively-once"}},
		{name: "in a branch", nodes: straight(inBranch(to(topic))), want: "log c", gives: "effectively-once", because: []string{"from: effectively-once"}},
		{name: "only dead letters", nodes: straight(leaf), want: "log c", gives: "effectively-once", because: []string{"from: effectively-once"}},
		{name: "beside an upsert", nodes: straight(to(table), to(topic)), want: "log c", gives: "effectively-once", because: []string{"from: effectively-once"}},
		{name: "beside an upsert of what differs", nodes: straight(volatile(leaf), to(table), to(topic)), want: "log c", gives: "at-least-once", because: []string{"from: effectively-once", "map: at-least-once"}},
		{name: "beside lines", nodes: straight(to(lines), to(topic)), want: "log c", gives: "at-least-once", because: []string{"from: effectively-once", "to: at-least-once"}},
		{name: "a call with an effect", nodes: straight(posted, to(topic)), want: "log c", gives: "at-least-once", because: []string{"from: effectively-once", "post: at-least-once"}},
		{name: "wire tap", nodes: straight(tap(topic), to(topic)), want: "log c", gives: "at-most-once", because: []string{"from: effectively-once", "tap: at-most-once"}},
		{name: "dead letters in the store", nodes: straight(to(topic)), onError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: 1}}, want: "log c", gives: "at-least-once", because: []string{"from: effectively-once", "onError: at-least-once"}},
		{name: "another cluster", nodes: straight(to(other)), missing: "one connection", gives: "at-least-once", because: []string{"to: at-least-once", "onError: at-least-once"}},
		{name: "dead letters of another cluster", nodes: straight(to(topic)), onError: plan.ErrorPolicy{DeadLetter: other}, missing: "one connection", gives: "at-least-once", because: []string{"to: at-least-once", "onError: at-least-once"}},
		{name: "a source beside", sources: []*plan.Endpoint{log, file}, nodes: straight(to(topic)), missing: "read from log on connection c only", gives: "at-least-once", because: []string{"to: at-least-once", "onError: at-least-once"}},
		{name: "sources of two clusters", sources: []*plan.Endpoint{log, on("other", log)}, nodes: straight(to(topic)), missing: "read from log on connection c only", gives: "at-least-once", because: []string{"to: at-least-once", "onError: at-least-once"}},
		{name: "id", sources: []*plan.Endpoint{known(log, time.Hour)}, nodes: straight(to(topic)), missing: "leave `id` out", gives: "at-least-once", because: []string{"to: at-least-once", "onError: at-least-once"}},
		{name: "durable step", nodes: straight(deduped, to(topic)), missing: "step dedupe", gives: "at-least-once", because: []string{"to: at-least-once", "onError: at-least-once"}},
		{name: "a channel of the store, too", nodes: straight(toChannel("kept"), to(topic)), missing: "channel kept", gives: "at-least-once", because: []string{"to: at-least-once", "onError: at-least-once"}},
		{name: "park", nodes: straight(to(topic)), onError: plan.ErrorPolicy{Park: true}, missing: "`order: park`", gives: "at-least-once", because: []string{"to: at-least-once"}},
		{name: "another source", sources: []*plan.Endpoint{file}, nodes: straight(to(topic)), gives: "at-least-once", because: []string{"to: at-least-once", "onError: at-least-once"}},
		{name: "nothing to write", nodes: straight(to(table)), onError: plan.ErrorPolicy{DeadLetter: drop}, gives: "effectively-once"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &plan.Flow{Sources: tt.sources, Nodes: tt.nodes, Order: plan.Total, Delivery: plan.EffectivelyOnce, OnError: tt.onError}
			if f.Sources == nil {
				f.Sources = []*plan.Endpoint{log}
			}
			if f.OnError == (plan.ErrorPolicy{}) {
				f.OnError.DeadLetter = topic
			}
			got, missing := Transaction(f)
			text := ""
			if got != nil {
				text = got.Driver + " " + got.Connection
			}
			if text != tt.want || !strings.Contains(missing, tt.missing) || (missing == "") != (tt.missing == "") {
				t.Errorf("%q (%s), want %q (%s)", text, missing, tt.want, tt.missing)
			}
			f.Transaction = got
			g := Derive(flowOf(f), f)
			var because []string
			for _, r := range g.Reasons {
				if r.Delivery != "" {
					because = append(because, r.Step+": "+string(r.Delivery))
				}
				if r.Step == "to" && tt.missing != "" && !strings.Contains(r.Hint, tt.missing) {
					t.Errorf("the hint is %q", r.Hint)
				}
			}
			if Promise(g) != tt.gives || fmt.Sprint(because) != fmt.Sprint(tt.because) {
				t.Errorf("%s because %q, want %s because %q", Promise(g), because, tt.gives, tt.because)
			}
		})
	}
}

// TestRoundAndRound follows channels in memory, through flows that feed each other, to where they begin.
func TestRoundAndRound(t *testing.T) {
	for _, first := range []*plan.Endpoint{file, stdin} {
		begin := &plan.Flow{Name: "begin", Sources: []*plan.Endpoint{first}, Order: plan.Total,
			Nodes: straight(then("each", &plan.Fork{Each: program{}, Concurrency: 1, Branches: []plan.Sub{{Nodes: straight(toChannel("a"))}}}))}
		round := &plan.Flow{Name: "round", Sources: []*plan.Endpoint{fromChannel("a")}, Order: plan.Total, Nodes: straight(toChannel("b"), toChannel("a"))}
		end := &plan.Flow{Name: "end", Sources: []*plan.Endpoint{fromChannel("b")}, Order: plan.Total, Nodes: straight(to(drop))}
		p := &plan.Plan{Flows: []*plan.Flow{begin, round, end}, Channels: []*plan.Channel{{Name: "a"}, {Name: "b"}}}
		want := plan.AtLeastOnce
		if first == stdin {
			want = plan.AtMostOnce
		}
		for _, f := range p.Flows {
			if g := Derive(p, f); g.Delivery != want {
				t.Errorf("%s: %s, want %s", f.Name, g.Delivery, want)
			}
		}
	}
}

func TestOrder(t *testing.T) {
	throttle := func(by penstock.Program) plan.Node {
		return then("slow", &plan.Stage{By: by, Spec: &plan.Throttle{Rate: 1}})
	}
	delay := func(until penstock.Program) plan.Node {
		return then("wait", &plan.Stage{Until: until, Spec: &plan.Delay{For: time.Second}})
	}
	resequence := func(by penstock.Program, late plan.Late) plan.Node {
		return then("sort", &plan.Stage{By: by, Spec: &plan.Resequence{Late: late}})
	}
	each := func(n int, nodes ...plan.Node) plan.Node {
		return then("each", &plan.Fork{Each: program{}, Concurrency: n, Branches: []plan.Sub{{Nodes: straight(nodes...)}}})
	}
	kept := toChannel("kept")
	tests := []struct {
		name     string
		declared plan.Order
		sources  []*plan.Endpoint
		nodes    []plan.Node
		skip     bool
		want     plan.Order
		because  string // words of the reasons, apart
	}{
		{name: "total", declared: plan.Total, nodes: straight(leaf, kept), want: plan.Total},
		{name: "per-key", declared: plan.PerKey, nodes: straight(leaf, kept), want: plan.PerKey},
		{name: "none", declared: plan.None, nodes: straight(leaf, kept), want: plan.None, skip: true},
		{name: "aggregate", declared: plan.Total, nodes: straight(grouped, kept), want: plan.PerKey, because: "own"},
		{name: "aggregate of everything", declared: plan.Total, nodes: straight(then("all", &plan.Group{}), kept), want: plan.Total},
		{name: "aggregate, per-key", declared: plan.PerKey, nodes: straight(grouped, kept), want: plan.PerKey},
		{name: "sent before and behind", declared: plan.Total, nodes: straight(kept, grouped, kept), want: plan.PerKey, because: "own"},
		{name: "sent before only", declared: plan.Total, nodes: straight(kept, grouped), want: plan.Total, because: "own"},
		{name: "replied", declared: plan.Total, nodes: straight(grouped), want: plan.PerKey, because: "own"},
		{name: "dedupe", declared: plan.Total, nodes: straight(deduped, kept), want: plan.Total},
		{name: "throttle", declared: plan.Total, nodes: straight(throttle(nil), kept), want: plan.Total},
		{name: "throttle by key", declared: plan.Total, nodes: straight(throttle(program{}), kept), want: plan.PerKey, because: "own"},
		{name: "delay for", declared: plan.Total, nodes: straight(delay(nil), kept), want: plan.Total},
		{name: "delay until", declared: plan.PerKey, nodes: straight(delay(program{}), kept), want: plan.None, because: "due"},
		{name: "resequence", declared: plan.Total, nodes: straight(resequence(nil, plan.LateDrop), kept), want: plan.Total},
		{name: "resequence by key", declared: plan.Total, nodes: straight(resequence(program{}, plan.LateDrop), kept), want: plan.PerKey, because: "own"},
		{name: "resequence with late ones", declared: plan.PerKey, nodes: straight(resequence(program{}, plan.LateInclude), kept), want: plan.PerKey, because: "turn"},
		{name: "elements at once", declared: plan.Total, nodes: straight(each(4, kept)), want: plan.None, because: "elements"},
		{name: "elements at once, not sent", declared: plan.Total, nodes: straight(each(4, leaf), kept), want: plan.Total},
		{name: "elements in turn", declared: plan.Total, nodes: straight(each(1, kept)), want: plan.Total},
		{name: "many at once", declared: plan.Total, nodes: straight(to(busy)), want: plan.PerKey, because: "under way"},
		{name: "many at once, per-key", declared: plan.PerKey, nodes: straight(to(busy)), want: plan.PerKey},
		{name: "gaps", declared: plan.Total, nodes: straight(kept), skip: true, want: plan.Total, because: "gap"},
		{name: "two sources", declared: plan.Total, sources: []*plan.Endpoint{file, mail}, nodes: straight(kept), want: plan.Total, because: "merged"},
		{name: "a source whose messages are shared out", declared: plan.PerKey, sources: []*plan.Endpoint{from(penstock.Spec{Name: "shared", Replay: penstock.ReplayAgain, Reorders: true})}, nodes: straight(kept), want: plan.None, because: "shares"},
		{name: "two sources without order", declared: plan.None, sources: []*plan.Endpoint{file, mail}, nodes: straight(kept), want: plan.None},
		{name: "a queue", declared: plan.Total, sources: []*plan.Endpoint{fromChannel("queue")}, nodes: straight(kept), want: plan.Total},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.sources == nil {
				tt.sources = []*plan.Endpoint{file}
			}
			f := plan.Flow{Sources: tt.sources, Nodes: tt.nodes, Order: tt.declared, OnError: plan.ErrorPolicy{Park: !tt.skip}}
			g := Derive(flowOf(&f), &f)
			if g.Order != tt.want {
				t.Errorf("order %s, want %s", g.Order, tt.want)
			}
			said := 0
			for _, r := range g.Reasons {
				if r.Order == "" {
					continue
				}
				if said++; !strings.Contains(r.Text, tt.because) {
					t.Errorf("because %q, want %q", r.Text, tt.because)
				}
			}
			if (said > 0) != (tt.because != "") || said > 1 {
				t.Errorf("%d reasons", said)
			}
		})
	}
}

func TestCompetingReaders(t *testing.T) {
	reader := func(name string) *plan.Flow {
		return &plan.Flow{Name: name, Sources: []*plan.Endpoint{fromChannel("queue")}, Order: plan.Total, Nodes: straight(to(drop))}
	}
	p := flowOf(reader("f"))
	p.Flows = append(p.Flows, reader("g"))
	if g := Derive(p, p.Flows[0]); g.Order != plan.PerKey || g.Delivery != plan.EffectivelyOnce {
		t.Errorf("%s, order %s", g.Delivery, g.Order)
	}
	p.Flows[0].Sources = []*plan.Endpoint{fromChannel("kept")}
	p.Flows[1].Sources = []*plan.Endpoint{fromChannel("kept")}
	if g := Derive(p, p.Flows[0]); g.Order != plan.Total {
		t.Errorf("readers of a topic don't compete: order %s", g.Order)
	}
}

func TestShortestRetention(t *testing.T) {
	for _, order := range [][]time.Duration{{time.Hour, 2 * time.Hour}, {2 * time.Hour, time.Hour}} {
		f := plan.Flow{Sources: []*plan.Endpoint{known(mail, order[0]), file, known(mail, order[1])}, Nodes: straight(toChannel("kept")), Order: plan.Total}
		if g := Derive(flowOf(&f), &f); g.Within != time.Hour {
			t.Errorf("%s, of %s", Promise(g), order)
		}
	}
}

func TestCovers(t *testing.T) {
	all := []plan.Delivery{BestEffort, plan.AtMostOnce, plan.AtLeastOnce, plan.EffectivelyOnce}
	want := []string{"1000", "1100", "1010", "1111"}
	for i, got := range all {
		for j, asked := range all {
			if c := Covers(got, asked); c != (want[i][j] == '1') {
				t.Errorf("%s covers %s: %v", got, asked, c)
			}
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{7 * 24 * time.Hour: "7d", 36 * time.Hour: "36h", 90 * time.Minute: "1h30m", 90 * time.Second: "1m30s", time.Second: "1s"} {
		if got := Span(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
