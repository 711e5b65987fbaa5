package flowtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// Crashes is what came of a test whose flow was made to crash, to be given messages twice, and to lose answers, at every boundary.
type Crashes struct {
	// Runs is how many times the script was run, each time with one mishap.
	Runs int `json:"runs"`
	// Delivery is what the flow gives, which it was held to.
	Delivery string `json:"delivery"`
	// Twice are effects that happened more than once in some run, where the flow's delivery allows that.
	Twice []string `json:"twice,omitempty"`
	// Lost are effects that were missing in some run, where the flow's delivery allows that.
	Lost []string `json:"lost,omitempty"`
	// Skipped says why nothing was tried.
	Skipped string `json:"skipped,omitempty"`
}

// effects counts what a run has done to the outside, by what it was.
type effects struct {
	count map[string]int
	where map[string]string // the endpoint of each, for messages
	upset map[string]bool   // writing it twice leaves it there once
	dead  int
}

// explore runs the script of a test once for each mishap at each boundary, and holds what comes of it to what the flow promises. The
// test itself has passed.
func (s *suite) explore(ctx context.Context, r *resource.Resource) (*Crashes, []Failure) {
	spec := r.Spec.(*resource.Test)
	f := s.plan.Flow(spec.Flow.Name)
	out := &Crashes{Delivery: string(f.Guarantee.Delivery)}
	if slices.ContainsFunc(spec.Script, func(a resource.Action) bool { return a.Crash }) {
		out.Skipped = "its script has crashes of its own"
		return out, nil
	}
	try := func(ft *fault) (*world, []Failure) {
		t := &test{suite: s, spec: spec, name: r.Name(), pos: r.Metadata.At("name"), fault: ft}
		return t.played(ctx), t.failures
	}
	first := &fault{}
	w, failures := try(first)
	if len(failures) > 0 {
		return out, failures
	}
	want := w.effects()
	var found []Failure
	for i, b := range first.met {
		for _, m := range b.mishaps {
			if ctx.Err() != nil {
				return out, append(found, Failure{Pos: r.Metadata.At("name"), Message: "the test was stopped"})
			}
			out.Runs++
			ft := &fault{at: i, what: m}
			w, failures := try(ft)
			for _, bad := range failures {
				bad.Message = fmt.Sprintf("with %s %s: %s", m, b.what, bad.Message)
				found = append(found, bad)
			}
			if len(failures) == 0 {
				found = append(found, out.judge(f, fmt.Sprintf("with %s %s", m, b.what), want, w.effects())...)
			}
		}
	}
	slices.Sort(out.Twice)
	slices.Sort(out.Lost)
	out.Twice, out.Lost = slices.Compact(out.Twice), slices.Compact(out.Lost)
	return out, summed(found)
}

// judge compares what a run with a mishap has done with what it does without.
func (c *Crashes) judge(f *plan.Flow, when string, want, got *effects) []Failure {
	var out []Failure
	d := f.Guarantee.Delivery
	spare := got.dead - want.dead // what is dead-lettered is not lost
	for _, k := range slices.Sorted(maps.Keys(want.count)) {
		switch n := want.count[k] - got.count[k]; {
		case n <= 0:
		case spare >= n:
			spare -= n
		case d == plan.AtLeastOnce || d == plan.EffectivelyOnce:
			out = append(out, Failure{Pos: f.Pos, Message: fmt.Sprintf("%s it is lost: %s", when, k)})
		default:
			c.Lost = append(c.Lost, want.where[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got.count)) {
		switch n := got.count[k] - want.count[k]; {
		case n <= 0 || got.upset[k] && want.count[k] > 0:
		case d == plan.AtMostOnce || d == plan.EffectivelyOnce:
			what := "it happens twice"
			if want.count[k] == 0 {
				what = "something else happens"
			}
			out = append(out, Failure{Pos: f.Pos, Message: fmt.Sprintf("%s %s: %s", when, what, k)})
		default:
			c.Twice = append(c.Twice, got.where[k])
		}
	}
	return out
}

// summed leaves the first failures, and counts the others.
func summed(found []Failure) []Failure {
	const most = 5
	if len(found) <= most {
		return found
	}
	return append(found[:most:most], Failure{Pos: found[most].Pos, Message: fmt.Sprintf("and %d more", len(found)-most)})
}

// effects counts what has left the flow. What a flow makes up anew with each try (now, uuid()) is known by its key only.
func (w *world) effects() *effects {
	e := &effects{count: map[string]int{}, where: map[string]string{}, upset: map[string]bool{}}
	volatile := slices.ContainsFunc(w.flow.Nodes, func(n plan.Node) bool { return n.Volatile })
	add := func(where, key, body string, upset bool) {
		k := where
		if key != "" {
			k += " key " + key
		}
		if !volatile {
			k += " " + clip(body)
		}
		e.count[k]++
		e.where[k], e.upset[k] = where, upset
	}
	for _, r := range w.log.find(func(*record) bool { return true }) {
		if r.dead || r.status >= 300 { // whoever was told of a failure has lost nothing
			e.dead++
			continue
		}
		if r.status != 0 { // a reply that is lost is asked for again
			continue
		}
		where, upset := w.flow.Name, false
		if r.ep != nil {
			where = cmp.Or(r.ep.Label, r.ep.Name)
			upset = r.ep.Driver != nil && r.ep.Driver.Spec.Rewrite != penstock.RewriteTwice
		}
		add(where, r.msg.Key, text(r.tree), upset)
	}
	w.asked.mu.Lock()
	defer w.asked.mu.Unlock()
	for _, c := range w.asked.calls {
		if !c.idempotent {
			add("call "+c.step, "", c.body, false)
		}
	}
	return e
}
