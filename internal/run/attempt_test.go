package run

import (
	"slices"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/step"
)

// TestATryTakesBackWhatItWroteAndNothingElse lets forks that run at the same time fail after others of the same source
// message, or of the same fork, have written to durable channels.
func TestATryTakesBackWhatItWroteAndNothingElse(t *testing.T) {
	ask := func(name string) plan.Node {
		return plan.Node{Name: "ask-" + name, Verb: "call", Op: &plan.Call{Endpoint: endpoint(name), Idempotent: true, Into: step.Target{Root: step.Discard}}}
	}
	fork := func(name string, branches ...[]plan.Node) plan.Node {
		f := &plan.Fork{As: -1, Index: -1, Into: step.Target{Root: step.Discard}}
		for i, b := range branches {
			f.Branches = append(f.Branches, plan.Sub{Name: string(rune('a' + i)), Nodes: b})
		}
		return plan.Node{Name: name, Verb: "parallel", Op: f}
	}
	refuse := penstock.E(penstock.Invalid, "ask", "", "refused")

	t.Run("parts of a message", func(t *testing.T) {
		try := fork("try", next(toChannel("c"), ask("both")))
		try.Catch = 2
		p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(
			plan.Node{Name: "split", Verb: "split", Op: &plan.Split{Each: field("l"), As: -1, Index: -1}}, try, toChannel("caught"))})
		p.source = func() penstock.Source { return &resumable{lines: lines{docs: []string{`{"l":[{"n":1},{"n":2}]}`}}} }
		var both sync.WaitGroup
		both.Add(2)
		p.callers["both"] = answer(func(string) (string, error) {
			both.Done()
			both.Wait()
			return "", refuse
		})
		p.declare("c")
		p.run(t.Context())
		if got := p.holds("c"); len(got) > 0 {
			t.Errorf("what failed is still there: %v", got)
		}
		if got := p.holds("caught"); len(got) != 2 {
			t.Errorf("caught: %v", got)
		}
	})

	t.Run("a fork inside of a branch", func(t *testing.T) {
		began, wrote := make(chan bool), make(chan bool)
		inner := fork("inner", next(toChannel("d"), ask("inner")))
		inner.Catch = 1
		p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(
			fork("outer", next(ask("first"), toChannel("c"), ask("last")), next(inner, toChannel("caught"))))})
		p.source = func() penstock.Source { return &resumable{lines: lines{docs: []string{`{"n":1}`}}} }
		p.callers["first"] = answer(func(string) (string, error) { <-began; return "{}", nil })
		p.callers["last"] = answer(func(string) (string, error) { close(wrote); return "{}", nil })
		p.callers["inner"] = answer(func(string) (string, error) {
			close(began)
			<-wrote
			return "", refuse
		})
		p.declare("c", "d", "caught")
		p.run(t.Context())
		for name, want := range map[string][]string{"c": {`{"n":1}`}, "d": nil, "caught": {`{"n":1}`}} {
			if got := p.holds(name); !slices.Equal(got, want) {
				t.Errorf("channel %s holds %v, want %v", name, got, want)
			}
		}
	})
}

// declare adds channels that only steps inside of others send to.
func (p *plant) declare(names ...string) {
	for _, name := range names {
		p.plan.Channels = append(p.plan.Channels, &plan.Channel{Name: name, Durable: true})
	}
}
