package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/record"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// ailing fails messages whose body holds the text, as long as it is not mended.
type ailing struct {
	text   string
	mended bool
}

func (b *ailing) step() penstock.Step {
	return steps(func(_ *penstock.Batch, m *penstock.Message) error {
		if !b.mended && strings.Contains(string(m.Body.Bytes()), b.text) {
			return penstock.E(penstock.Invalid, "bad", "body.n", "bad")
		}
		return nil
	})
}

// redrive gives all dead letters of a flow in again, as `penstock dlq redrive` does.
func (p *plant) redrive(flow string) int {
	p.t.Helper()
	hub := channel.NewHub(p.store, penstock.SystemClock{}, channel.Options{})
	c, err := hub.Open(channel.Config{Name: deadChannel(flow), Queue: true})
	if err != nil {
		p.t.Fatal(err)
	}
	g, err := c.Group(context.Background(), "dlq", channel.Start{})
	if err != nil {
		p.t.Fatal(err)
	}
	r := g.Join(channel.Waits{})
	defer r.Leave()
	g.End()
	n := 0
	for {
		ds, err := r.Next(context.Background(), 100)
		if err != nil {
			return n
		}
		var data []byte
		var ranges []channel.Range
		for _, d := range ds {
			data = store.AppendFrame(data, d.Record)
			ranges = append(ranges, channel.Range{From: d.Position, To: d.Position + 1})
		}
		err = p.store.Submit(store.Bulk, func(tx store.Tx) error {
			if _, err := tx.Append(inChannel(flow), store.Bundle{N: len(ds), Data: data}); err != nil {
				return err
			}
			return g.Ack(tx, ranges)
		}).Wait(context.Background())
		if err != nil {
			p.t.Fatal(err)
		}
		g.Acked(ranges)
		n += len(ds)
	}
}

func TestAParkedKeyIsHeldAndRedrivenInOrder(t *testing.T) {
	for _, order := range []plan.Order{plan.Total, plan.PerKey} {
		t.Run(string(order), func(t *testing.T) {
			var in []string
			for i := range 300 {
				in = append(in, fmt.Sprintf(`{"k":"k%d","n":%d,"x":%q}`, i%3, i, map[bool]string{true: "bad", false: "good"}[i == 100 || i == 103]))
			}
			fault := &ailing{text: `"bad"`}
			p := newPlant(t, &plan.Flow{Name: "a", Order: order, Key: field("k"), Sources: fromLines("a"), OnError: plan.ErrorPolicy{Park: true}, Nodes: next(
				plan.Node{Name: "check", Verb: "map", Op: &plan.Apply{Step: fault.step()}}, toChannel("c"))})
			p.source = func() penstock.Source { return &resumable{lines: lines{docs: in, batch: 7}} }
			p.run(t.Context())
			// k1 is held from 100 on: 100, 103, 106 …
			dead := p.holds("a.dead")
			if len(dead) != 67 || !strings.Contains(dead[0], `"n":100`) || !strings.Contains(dead[1], `"n":103`) || !strings.Contains(dead[2], `"n":106`) {
				t.Fatalf("%d dead: %v …", len(dead), dead[:min(3, len(dead))])
			}
			if got := p.holds("c"); len(got) != 233 {
				t.Fatalf("%d went through", len(got))
			}
			// A later run holds what comes for the key, too.
			in = append(in, `{"k":"k1","n":1000,"x":"good"}`, `{"k":"k2","n":1001,"x":"good"}`)
			p.run(t.Context())
			if got := p.holds("a.dead"); len(got) != 68 || len(p.holds("c")) != 234 {
				t.Fatalf("%d dead after another message of the key, %d went through", len(got), len(p.holds("c")))
			}
			if n := p.redrive("a"); n != 68 {
				t.Fatalf("%d redriven", n)
			}
			// Still ailing: it dies again, and those behind it with it.
			p.run(t.Context())
			if got := p.holds("a.dead"); len(got) != 68*2 {
				t.Fatalf("%d dead after a redrive that could not help", len(got))
			}
			fault.mended = true
			p.redrive("a")
			in = append(in, `{"k":"k1","n":2000,"x":"good"}`)
			p.run(t.Context())
			p.run(t.Context())
			p.redrive("a") // what came while they were redriven
			p.run(t.Context())
			var k1 []int
			for _, b := range p.holds("c") {
				var n int
				if _, err := fmt.Sscanf(b[strings.Index(b, `"n":`):], `"n":%d`, &n); err != nil {
					t.Fatal(err)
				}
				if strings.Contains(b, `"k1"`) {
					k1 = append(k1, n)
				}
			}
			if !slices.IsSorted(k1) || len(k1) != 102 {
				t.Errorf("%d messages of the key, in order %v: %v", len(k1), slices.IsSorted(k1), k1)
			}
			if held := p.space("parked/a"); len(held) != 0 {
				t.Errorf("still held: %v", held)
			}
		})
	}
}

// space lists the entries of a space.
func (p *plant) space(name string) (out []string) {
	p.t.Helper()
	if err := p.store.View(context.Background(), func(v store.View) error {
		es, err := v.State().Scan(name, nil, 1000)
		for _, e := range es {
			out = append(out, string(e.Key)+"="+string(e.Value))
		}
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	return out
}

func TestARedrivenMessageGoesOnBehindItsStage(t *testing.T) {
	fault := &ailing{text: `{"n":3}`}
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(
		plan.Node{Name: "pairs", Verb: "aggregate", Op: &plan.Group{Size: 2}},
		plan.Node{Name: "check", Verb: "map", Op: &plan.Apply{Step: fault.step()}}, toChannel("c"))})
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: docs(8, `{"n":%d}`), batch: 3}} }
	p.run(t.Context())
	entry := ""
	p.each("a.dead", func(v record.View) {
		for name, val := range v.Meta() {
			if name == "dead" {
				b, _ := val.AppendJSON(nil)
				entry = string(b)
			}
		}
	})
	if !strings.Contains(entry, `"entry":"behind pairs"`) {
		t.Fatalf("meta.dead is %s", entry)
	}
	fault.mended = true
	p.redrive("a")
	p.run(t.Context())
	if got := p.holds("c"); !slices.Equal(got, []string{`[{"n":0},{"n":1}]`, `[{"n":4},{"n":5}]`, `[{"n":6},{"n":7}]`, `[{"n":2},{"n":3}]`}) {
		t.Errorf("the channel holds %v", got)
	}
}

func TestAnIdentityIsWorkedOnOnce(t *testing.T) {
	in := docs(100, `{"n":%d}`)
	in = append(in, in...)
	ep := fromLines("a")
	ep[0].ID, ep[0].Remember = field("n"), time.Hour
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Sources: ep, Nodes: next(toChannel("c"))})
	p.source = func() penstock.Source { return &lines{docs: in, batch: 30} } // keeps no position
	sum := p.run(t.Context())
	if got := p.holds("c"); len(got) != 100 || sum.Flows[0].Again != 100 {
		t.Errorf("%d messages, %d again", len(got), sum.Flows[0].Again)
	}
	p.run(t.Context())
	if got := p.holds("c"); len(got) != 100 {
		t.Errorf("%d messages after a second run", len(got))
	}
}

func TestAtMostOnceSettlesWhatItReads(t *testing.T) {
	p := newPlant(t, &plan.Flow{Name: "a", Order: plan.Total, Delivery: plan.AtMostOnce, Sources: fromLines("a"), Nodes: next(send("out"), toChannel("c"))})
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: docs(1000, `{"n":%d}`), batch: 10}} }
	out := &noted{}
	p.sinks["out"] = out
	real := p.store
	b := &breaking{Store: real, left: 31}
	p.store = b
	r := p.runner()
	b.abort = func() { go r.abort(fmt.Errorf("killed")) }
	if _, err := r.Run(t.Context()); err == nil {
		t.Fatal("it was not killed")
	}
	p.store = real
	if err := real.Submit(store.Bulk, func(store.Tx) error { return nil }).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.run(t.Context())
	got := p.holds("c")
	for what, got := range map[string][]string{"the channel": got, "the sink": out.got} {
		if once := slices.Compact(slices.Sorted(slices.Values(got))); len(once) != len(got) {
			t.Errorf("%s got %d messages, %d of them once", what, len(got), len(once))
		}
	}
	if len(got) < 500 {
		t.Errorf("only %d messages", len(got))
	}
}

func TestADurableStepThatWasRenamedIsFound(t *testing.T) {
	flow := func(step, keyed string) *plan.Flow {
		return &plan.Flow{Name: "a", Order: plan.Total, Sources: fromLines("a"), Nodes: next(
			plan.Node{Name: step, Verb: "aggregate", Op: &plan.Group{Size: 1000, Keyed: keyed}}, toChannel("c"))}
	}
	p := newPlant(t, flow("tens", "by n"))
	p.source = func() penstock.Source { return &resumable{lines: lines{docs: docs(10, `{"n":%d}`), batch: 3}} }
	p.run(t.Context())
	for _, f := range []*plan.Flow{flow("other", "by n"), flow("tens", "by m")} {
		p.plan.Flows = []*plan.Flow{f}
		f.OnError.Retry.Attempts = 1
		_, err := p.runner().Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "penstock store drop a/tens") {
			t.Errorf("%s: %v", f.Nodes[0].Name, err)
		}
	}
	p.plan.Flows = []*plan.Flow{flow("tens", "by n")}
	p.run(t.Context())
}
