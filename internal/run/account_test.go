package run

import (
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// TestTheBooksOfDurableStepsComeOutEven adds up what became of the messages of a run: nothing counts twice.
func TestTheBooksOfDurableStepsComeOutEven(t *testing.T) {
	mod := prog(func(f *penstock.Frame) penstock.Value { return penstock.IntValue(field("n").Eval(f).Int() % 40) })
	for name, op := range map[string]*plan.Stage{
		"dedupe":     {By: mod, Spec: &plan.Dedupe{Window: time.Hour}},
		"resequence": {Number: mod, Spec: &plan.Resequence{Timeout: time.Hour, Bound: 100, Late: plan.LateDeadLetter}},
		"dropping":   {Number: mod, Spec: &plan.Resequence{Timeout: time.Hour, Bound: 100, Late: plan.LateDrop}},
		"delay":      {Spec: &plan.Delay{For: time.Millisecond}},
		"sample":     {Spec: &plan.Window{Every: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(
				plan.Node{Name: "step", Verb: name, Op: op}, toChannel("c"))})
			p.source = func() penstock.Source { return &resumable{lines: lines{docs: docs(100, `{"n":%d}`), batch: 7}} }
			s := p.run(t.Context()).Flows[0]
			if s.Read != 100 || s.Done == 0 || s.Grouped != 0 || s.Groups != 0 || s.Read != s.Done+s.Filtered+s.Dead {
				t.Errorf("%d read + %d groups, %d done + %d filtered + %d grouped + %d dead", s.Read, s.Groups, s.Done, s.Filtered, s.Grouped, s.Dead)
			}
		})
	}
}
