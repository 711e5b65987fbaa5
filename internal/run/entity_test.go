package run

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/step"
)

// listener is entities that remember what they were asked, and who at once.
type listener struct {
	mu    sync.Mutex
	asked map[string][]string
	busy  map[string]int
	twice bool // two commands of one key were under way at a time
}

func (l *listener) Command(_ context.Context, dst []byte, q EntityCommand) ([]byte, error) {
	l.mu.Lock()
	l.asked[q.Key] = append(l.asked[q.Key], string(q.Data))
	l.busy[q.Key]++
	l.twice = l.twice || l.busy[q.Key] > 1
	l.mu.Unlock()
	for range 2000 { // whoever else is let in has come by then
		runtime.Gosched()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy[q.Key]--
	return append(dst, `{"version":1,"events":[],"state":{}}`...), nil
}

func (*listener) Query(_ context.Context, dst []byte, _ EntityQuery) ([]byte, error) {
	return append(dst, "null"...), nil
}
func (*listener) Channels(string) ([]string, error) { return nil, nil }
func (*listener) Event(context.Context, string, int, int64, []byte, *penstock.Batch) (*penstock.Message, bool, error) {
	return nil, false, nil
}

// TestCommandsOfAnEntityKeepTheOrderOfTheirMessages asks two entities in turn: each hears what the messages say in their order, one after the other.
func TestCommandsOfAnEntityKeepTheOrderOfTheirMessages(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey} {
		t.Run(string(order), func(t *testing.T) {
			l := &listener{asked: map[string][]string{}, busy: map[string]int{}}
			var want []string
			for i := range 26 {
				want = append(want, string(rune('A'+i)))
			}
			var texts []string
			for _, w := range want {
				texts = append(texts, `{"k":"a","w":"`+w+`"}`, `{"k":"b","w":"`+w+`"}`)
			}
			b := &bench{
				flow: &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 3, Nodes: next(
					plan.Node{Op: &plan.Call{Endpoint: &plan.Endpoint{Name: "f/ask", Command: &plan.EntityCall{Entity: "e", Command: "c", Key: field("k"), Data: plan.Tree{Program: field("w")}}}, Idempotent: true}},
				)},
				source: &lines{docs: texts, batch: 9},
				made:   func(r *Runner) { r.opts.Entities = l },
			}
			b.run(t)
			for _, key := range []string{"a", "b"} {
				var got []string
				for _, text := range l.asked[key] {
					got = append(got, text[1:len(text)-1])
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s was asked %v", key, got)
				}
			}
			if l.twice {
				t.Error("two commands of one entity were under way at once")
			}
		})
	}
}

// TestStepsThatAskEntitiesKeepTheOrderOfTheirMessages has messages command an entity at steps of different branches, at two steps one behind the other, and behind a
// split: whichever step they say it at, each key hears what the messages say in their order.
func TestStepsThatAskEntitiesKeepTheOrderOfTheirMessages(t *testing.T) {
	ask := func(name string) plan.Node {
		return plan.Node{Name: name, Op: &plan.Call{Into: step.Target{Root: step.Discard}, Idempotent: true, Endpoint: &plan.Endpoint{Name: "f/" + name,
			Command: &plan.EntityCall{Entity: "e", Command: name, Key: field("k"), Data: plan.Tree{Program: field("n")}}}}}
	}
	route := func(odd, even int) plan.Node {
		return plan.Node{Op: &plan.Route{Cases: []plan.Case{{When: prog(parity), Target: even}}, Else: odd}}
	}
	branches := next(route(1, 2), ask("odd"), ask("even"))
	branches[1].Next = plan.End
	behind := next(plan.Node{Op: &plan.Split{Each: field("l"), As: -1, Index: -1}}, route(2, 3), ask("odd"), ask("even"))
	behind[2].Next = plan.End
	var single, listed []string
	var list []string
	for i := range 60 {
		single = append(single, fmt.Sprintf(`{"n":%d,"k":"%c"}`, i, 'a'+i/3%2))

		if list = append(list, single[i]); len(list) == 5 {
			listed = append(listed, `{"k":"x","l":[`+strings.Join(list, ",")+`]}`)
			list = nil
		}
	}
	for name, c := range map[string]struct {
		nodes []plan.Node
		docs  []string
		times int
	}{
		"branches":                {branches, single, 1},
		"one behind the other":    {next(ask("first"), ask("second")), single, 2},
		"branches behind a split": {behind, listed, 1},
	} {
		for _, order := range []plan.Order{plan.Total, plan.PerKey} {
			t.Run(name+"/"+string(order), func(t *testing.T) {
				l := &listener{asked: map[string][]string{}, busy: map[string]int{}}
				b := &bench{
					flow:   &plan.Flow{Name: "f", Order: order, Key: field("k"), Concurrency: 3, Nodes: c.nodes},
					source: &lines{docs: c.docs, batch: 9},
					made:   func(r *Runner) { r.opts.Entities = l },
				}
				b.run(t)
				for _, key := range []string{"a", "b"} {
					var want []string
					for i := range 60 {
						for range c.times {
							if 'a'+i/3%2 == int(key[0]) {
								want = append(want, strconv.Itoa(i))
							}
						}
					}
					if got := l.asked[key]; !slices.Equal(got, want) {
						t.Errorf("%s was asked %v", key, got)
					}
				}
			})
		}
	}
}
