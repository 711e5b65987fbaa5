package graph

import (
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/types"
)

var update = flag.Bool("update", false, "write the golden files anew")

type program struct{}

func (program) Eval(*penstock.Frame) penstock.Value { return penstock.True }

func leaf(name, verb, label string, next int) plan.Node {
	return plan.Node{Name: name, Verb: verb, Label: label, Op: &plan.Apply{}, Next: next, Catch: plan.End, Type: types.DynType}
}

func node(name, verb, label string, op plan.Op, next int) plan.Node {
	n := leaf(name, verb, label, next)
	n.Op = op
	return n
}

func driver(label string) *plan.Endpoint {
	return &plan.Endpoint{Driver: &penstock.Driver{}, Label: label, Type: types.DynType}
}

func channel(name string) *plan.Endpoint {
	return &plan.Endpoint{Channel: name, Label: "channel " + name, Type: types.DynType}
}

// shop has every kind of node, and what makes pictures hard: a long flow, a channel that two flows feed,
// one that goes round, one that nobody feeds.
func shop() *plan.Plan {
	caught := leaf("map2", "map", "{a: int}", 4)
	caught.Catch = 5
	maybe := leaf("log1", "log", "<${body}>", 7)
	maybe.When, maybe.Cond = program{}, "body.total > decimal(\"1000\") &&\n  body.urgent"
	return &plan.Plan{
		Durable: true,
		Channels: []*plan.Channel{
			{Name: "orders", Durable: true, Type: &types.Type{Kind: types.Object, Fields: []types.Field{{Name: "id", Type: types.StringType, Required: true}}}},
			{Name: "orders-dead", Durable: true, Queue: true, Type: types.DynType}, {Name: "round", Type: types.DynType}, {Name: "unfed", Type: types.DynType},
		},
		Flows: []*plan.Flow{
			{Name: "last", Order: plan.None, Sources: []*plan.Endpoint{channel("orders"), channel("unfed")}, Nodes: []plan.Node{
				node("to", "to", "drop", &plan.Send{Endpoint: driver("drop")}, plan.End)}},
			{
				Name: "orders", Order: plan.Total, Concurrency: 4,
				Guarantee: plan.Guarantee{Delivery: plan.EffectivelyOnce, Within: 7 * 24 * time.Hour, Order: plan.PerKey}, Coverage: plan.Coverage{Typed: 9, Total: 10},
				Sources: []*plan.Endpoint{driver("file data/*.csv"), driver("stdin")},
				Nodes: []plan.Node{
					leaf("filter1", "filter", "body.quantity != 0", 1),
					leaf("set1", "set", "body.total", 2),
					node("choice1", "choice", "", &plan.Route{Cases: []plan.Case{{Target: 3, Label: `body.total > decimal("1000") && body.country == "EIRE"`}}, Else: 6}, 6),
					caught,
					node("to1", "to", "channel orders", &plan.Send{Endpoint: channel("orders")}, 6),
					node("stop1", "stop", "", &plan.Finish{}, plan.End),
					maybe,
					node("lines", "aggregate", "by body.invoice", &plan.Group{}, 8),
					node("call1", "call", "file countries.csv", &plan.Call{Endpoint: driver("file countries.csv")}, 9),
					node("each", "forEach", "body.lines", &plan.Fork{Each: program{}, Branches: []plan.Sub{{Nodes: []plan.Node{leaf("map3", "map", "", plan.End)}}}}, 10),
					node("both", "parallel", "2 branches", &plan.Fork{Branches: []plan.Sub{{Name: "a"}, {Name: "b", Nodes: []plan.Node{leaf("map4", "map", "", plan.End)}}}}, 11),
					node("again", "loop", "until body.done", &plan.Loop{Body: plan.Sub{Nodes: []plan.Node{leaf("map5", "map", "", plan.End)}}}, 12),
					node("to", "to", "channel round", &plan.Send{Endpoint: channel("round")}, plan.End),
				},
				OnError: plan.ErrorPolicy{Retry: plan.Retry{Attempts: 3}, DeadLetter: channel("orders-dead")},
			},
			{Name: "turn", Order: plan.Total, Sources: []*plan.Endpoint{channel("round")}, Nodes: []plan.Node{
				leaf("map1", "map", "{}", 1), node("once", "dedupe", "by body.id", &plan.Stage{Spec: &plan.Dedupe{}}, 2), node("to", "to", "channel orders", &plan.Send{Endpoint: channel("orders")}, plan.End)},
				OnError: plan.ErrorPolicy{DeadLetter: driver("file dead.jsonl")}},
			{Name: "back", Order: plan.Total, Sources: []*plan.Endpoint{channel("round"), channel("orders-dead")}, Nodes: []plan.Node{
				node("to", "to", "channel round", &plan.Send{Endpoint: channel("round")}, plan.End)}},
		},
	}
}

func TestGolden(t *testing.T) {
	g := Describe(shop())
	for name, got := range map[string]string{"shop.mmd": g.Mermaid(), "shop.svg": g.SVG()} {
		path := "testdata/" + name
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs; look at it and run with -update to accept", name)
		}
	}
}

func TestSVGIsWellFormed(t *testing.T) {
	dec := xml.NewDecoder(strings.NewReader(Describe(shop()).SVG()))
	for {
		_, err := dec.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhatIsCutIsInTheTooltip: a condition that is longer than a box is wide can be read where the mouse stands on it.
func TestWhatIsCutIsInTheTooltip(t *testing.T) {
	if svg := Describe(shop()).SVG(); !strings.Contains(svg, "<title>log1 dyn\nwhen body.total &gt; decimal(&#34;1000&#34;) &amp;&amp; body.urgent</title>") {
		t.Error("the condition of log1 can't be read as a whole")
	}
}

func TestNothingOverlaps(t *testing.T) {
	l := newLayout(Describe(shop()))
	for i, a := range l.order {
		x := l.boxes[a]
		if bd := l.bands[x.band]; x.x < bd.x || x.y < bd.y || x.x+x.w > bd.x+bd.w || x.y+x.h > bd.y+bd.h {
			t.Errorf("%s sticks out of its flow", a)
		}
		for _, b := range l.order[i+1:] {
			y := l.boxes[b]
			if x.x < y.x+y.w && y.x < x.x+x.w && x.y < y.y+y.h && y.y < x.y+x.h {
				t.Errorf("%s lies on %s", a, b)
			}
		}
	}
	for i := range l.bands[1:] {
		if a, b := l.bands[i], l.bands[i+1]; a.y+a.h > b.y {
			t.Errorf("flow %s lies on %s", a.cluster.Title, b.cluster.Title)
		}
	}
}

// TestWithoutStore draws a plan whose run keeps no state: its aggregate is in memory.
func TestWithoutStore(t *testing.T) {
	p := shop()
	p.Durable = false
	for _, n := range Describe(p).Clusters[1].Nodes {
		if n.Kind == KindState && n.Durable {
			t.Errorf("%s is in memory", n.ID)
		}
	}
	if m := Describe(p).Mermaid(); !strings.Contains(m, `orders_7[["<b>lines`) || !strings.Contains(m, "class channel_round,channel_unfed memory\n") {
		t.Errorf("Mermaid draws it as\n%s", m)
	}
}

func TestDescribe(t *testing.T) {
	g := Describe(shop())
	orders := g.Clusters[1]
	if got := orders.Nodes[2].Lines; len(got) != 2 {
		t.Errorf("leaf steps that follow one another share a box: %q", got)
	}
	log := slices.IndexFunc(orders.Nodes, func(n Node) bool { return n.Title == "log1" })
	if got := orders.Nodes[log].Lines; len(got) != 2 || got[0] != `when body.total > decimal("1000") && body.urgent` || got[1] != "log <${body}>" {
		t.Errorf("a condition stands in its box, in a line: %q", got)
	}
	if orders.Note != "effectively-once within 7d, order per-key, 4 lanes, typed 90%" {
		t.Errorf("note %q", orders.Note)
	}
	if orders.Delivery != "effectively-once" || orders.Within != "7d" || orders.Order != "per-key" {
		t.Errorf("%s within %s, order %s", orders.Delivery, orders.Within, orders.Order)
	}
	durable := map[string]bool{}
	for _, c := range g.Clusters {
		for _, n := range c.Nodes {
			durable[n.ID] = n.Durable
		}
	}
	for _, n := range g.Channels {
		durable[n.ID] = n.Durable
	}
	for id, want := range map[string]bool{"orders_7": true, "turn_1": true, "orders_8": false, "channel_orders": true, "channel_orders_dead": true, "channel_round": false} {
		if durable[id] != want {
			t.Errorf("%s durable: %v", id, durable[id])
		}
	}
	var edges []string
	for _, e := range g.Edges {
		edges = append(edges, fmt.Sprintf("%s %s %s", e.From, e.Kind, e.To))
	}
	for _, want := range []string{
		"orders_from1 flow orders_0", "orders_from2 flow orders_0", "orders_0 flow orders_2",
		"orders_3 error orders_5", "orders_4 flow channel_orders", "orders_4 flow orders_6",
		"orders_11 flow channel_round", "channel_round flow turn_0", "turn_0 flow turn_1", "turn_1 flow channel_orders",
		"channel_orders flow last_0", "orders_error error channel_orders_dead",
	} {
		if !strings.Contains("\n"+strings.Join(edges, "\n")+"\n", "\n"+want+"\n") {
			t.Errorf("no edge %q in\n%s", want, strings.Join(edges, "\n"))
		}
	}
}

func TestFold(t *testing.T) {
	for _, tc := range []struct {
		name      string
		cols      []float64
		crossings []int
		want      string
	}{
		{"one line", []float64{100, 100}, []int{0, 1}, "[0 0]"},
		{"too wide", []float64{600, 600}, []int{0, 1}, "[0 1]"},
		{"wider than a line", []float64{2000, 100}, []int{0, 1}, "[0 1]"},
		{"where least is cut", []float64{300, 300, 300, 300}, []int{0, 1, 3, 3}, "[0 1 1 1]"},
		{"of like width", []float64{300, 300, 300, 300}, []int{0, 1, 1, 1}, "[0 0 1 1]"},
	} {
		gaps := make([]float64, len(tc.cols))
		if got := fmt.Sprint(fold(tc.cols, gaps, tc.crossings)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestEmpty(t *testing.T) {
	for _, p := range []*plan.Plan{{}, {Channels: []*plan.Channel{{Name: "a", Type: types.DynType}}}, {Flows: []*plan.Flow{{Name: "f"}}}} {
		g := Describe(p)
		if !strings.HasPrefix(g.Mermaid(), "flowchart") || !strings.HasSuffix(g.SVG(), "</svg>\n") {
			t.Error("an empty plan has no picture")
		}
	}
}

func TestReplies(t *testing.T) {
	web := driver("http post /orders")
	web.Server = &plan.Server{Replies: true}
	f := &plan.Flow{Name: "f", Order: plan.None, Sources: []*plan.Endpoint{web}, Output: types.StringType, Nodes: []plan.Node{
		node("choice1", "choice", "", &plan.Route{Cases: []plan.Case{{Target: 1, Label: "a"}, {Target: 2, Label: "b"}}, Else: plan.End}, plan.End),
		node("stop1", "stop", "", &plan.Finish{}, plan.End),
		node("to1", "to", "channel kept", &plan.Send{Endpoint: channel("kept")}, plan.End),
	}}
	edges := func() string {
		var b strings.Builder
		for _, e := range Describe(&plan.Plan{Flows: []*plan.Flow{f}}).Edges {
			fmt.Fprintf(&b, "%s→%s ", e.From, e.To)
		}
		return b.String()
	}
	if got, want := edges(), "f_from1→f_0 f_0→f_1 f_0→f_2 f_0→f_reply f_1→f_reply f_2→channel_kept f_2→f_reply "; got != want {
		t.Errorf("edges %s, want %s", got, want)
	}
	web.Server.Replies = false
	if got, want := edges(), "f_from1→f_0 f_0→f_1 f_0→channel_kept "; got != want {
		t.Errorf("without a reply: edges %s, want %s", got, want)
	}
}
