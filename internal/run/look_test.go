package run

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/types"
)

// seen gathers glimpses.
type seen struct {
	mu  sync.Mutex
	all []string
}

func (s *seen) see(g Glimpse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, fmt.Sprintf("%s %s %s %s %s %s skipped %d", g.What, g.Step, g.Key, g.Body, g.Meta, g.Error, g.Skipped))
}

// personal is the type of a person, whose mail is nobody's business.
func personal() *types.Type {
	mail := &types.Type{Kind: types.String, Labels: types.Labels{Class: []string{"pii"}}}
	return &types.Type{Kind: types.Object, Fields: []types.Field{{Name: "n", Type: types.IntType}, {Name: "mail", Type: mail}}}
}

func looked(t *testing.T, step string, perSecond int, bodies ...string) []string {
	t.Helper()
	s := &seen{}
	b := &bench{
		flow: &plan.Flow{Name: "f", Order: plan.Total, Input: personal(), Key: field("mail"), Concurrency: 1, Nodes: next(
			plan.Node{Name: "even", Op: &plan.Apply{Step: parsed(keepEven)}}, send("out"))},
		source: &lines{docs: bodies, batch: 1}, sinks: map[string]*noted{"out": {}}, clock: newClock(),
	}
	b.made = func(r *Runner) {
		if _, err := r.Look("f", step, perSecond, s.see); err != nil {
			t.Fatal(err)
		}
	}
	b.run(t)
	return s.all
}

func TestLookShowsAFlow(t *testing.T) {
	got := looked(t, "", 100, `{"n":2,"mail":"a@x"}`, `{"n":1,"mail":null}`, `{"n":"x`)
	want := []string{
		`in even [hidden] {"n":2,"mail":"[pii]"} {}  skipped 0`,
		`done  [hidden] {"n":2,"mail":"[pii]"} {}  skipped 0`,
		`in even  {"n":1,"mail":null} {}  skipped 0`,
		`filtered   {"n":1,"mail":null} {}  skipped 0`,
	}
	for i, w := range want {
		if i >= len(got) || got[i] != w {
			t.Errorf("%d: got %q\nwant %q", i, got, w)
			break
		}
	}
	if last := got[len(got)-1]; !strings.HasPrefix(last, "dead ") || !strings.Contains(last, "unreadable: ") {
		t.Errorf("the broken one: %q", last)
	}
}

func TestLookShowsAStep(t *testing.T) {
	if got := looked(t, "even", 100, `{"n":2}`, `{"n":1}`); len(got) != 2 || !strings.HasPrefix(got[1], `in even  {"n":1}`) {
		t.Errorf("%q", got)
	}
}

func TestLookIsBounded(t *testing.T) {
	var bodies []string
	for i := range 50 {
		bodies = append(bodies, fmt.Sprintf(`{"n":%d}`, i))
	}
	if got := looked(t, "even", 3, bodies...); len(got) != 3 {
		t.Errorf("%d are shown in one second of a clock that stands", len(got))
	}
}

func TestLookAtNothing(t *testing.T) {
	b := &bench{flow: &plan.Flow{Name: "f", Nodes: next(plan.Node{Name: "even", Op: &plan.Apply{Step: parsed(keepEven)}}, send("out"))}, source: &lines{}, sinks: map[string]*noted{"out": {}}}
	b.made = func(r *Runner) {
		for _, at := range [][2]string{{"g", ""}, {"f", "odd"}} {
			if _, err := r.Look(at[0], at[1], 1, nil); penstock.CodeOf(err) != penstock.NotFound {
				t.Errorf("%v: %v", at, err)
			}
		}
		stop, err := r.Look("f", "even", 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		stop()
		if r.looks.Load() != nil {
			t.Error("somebody still looks")
		}
	}
	b.run(t)
}
