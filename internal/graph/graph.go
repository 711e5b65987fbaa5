// Package graph shows what a plan does: as data ([Describe]), as Mermaid text, and as an SVG
// picture with a layout of its own. The output is the same for the same plan, so that it can be
// committed and compared.
package graph

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock/internal/guarantee"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/types"
)

// Graph is the picture of a plan: flows as clusters of nodes, and the channels between them.
type Graph struct {
	Clusters []Cluster `json:"flows"`
	Channels []Node    `json:"channels"`
	Edges    []Edge    `json:"edges"`
}

// Cluster is a flow.
type Cluster struct {
	ID    string `json:"id"`
	Title string `json:"title"` // the flow's name
	Note  string `json:"note"`  // what was derived: delivery, order, lanes, typed coverage
	// Delivery and Order are what the flow gives; Within is for how long, as "7d", where that is bounded.
	Delivery string `json:"delivery,omitempty"`
	Within   string `json:"within,omitempty"`
	Order    string `json:"order"`
	Nodes    []Node `json:"nodes"` // in the order of the program, sources first
}

// Node is a box.
type Node struct {
	ID    string   `json:"id"`
	Kind  Kind     `json:"kind"`
	Title string   `json:"title"`           // the step's name, the channel's, or source, sink
	Lines []string `json:"lines,omitempty"` // what it does, in the words of the file; first its condition, where it has one: "when body.total > 100"
	Type  string   `json:"type,omitempty"`  // of the body behind it
	// Durable says that it is in the store: a durable channel, or a durable step, which is a stage boundary (what leaves it was
	// recorded). In pictures that is a cylinder; a channel in memory has a broken line.
	Durable bool `json:"durable,omitempty"`
}

// Kind is what a node stands for.
type Kind string

// The kinds of nodes.
const (
	KindSource  Kind = "source"
	KindStep    Kind = "step"
	KindRoute   Kind = "route"
	KindState   Kind = "state" // keeps messages, or what it knows of them: aggregate, dedupe
	KindCall    Kind = "call"
	KindSink    Kind = "sink"
	KindEnd     Kind = "end" // stop, and the end of a flow that answers or keeps nothing
	KindError   Kind = "error"
	KindChannel Kind = "channel"
)

// Edge leads from one node to another.
type Edge struct {
	From  string   `json:"from"`
	To    string   `json:"to"`
	Label string   `json:"label,omitempty"` // a condition
	Kind  EdgeKind `json:"kind"`
}

// EdgeKind is when messages go along an edge.
type EdgeKind string

// The kinds of edges.
const (
	EdgeFlow  EdgeKind = "flow"
	EdgeError EdgeKind = "error" // what failed
)

// Describe draws p. Leaf steps that follow one another share a box.
func Describe(p *plan.Plan) Graph {
	g := &describer{durable: p.Durable}
	for _, ch := range p.Channels {
		if ch.Relay != nil {
			continue // what goes through an outbox goes to its channel
		}
		n := Node{ID: channelID(ch.Name), Kind: KindChannel, Title: ch.Name, Type: ch.Type.String(), Durable: ch.Durable}
		n.Lines = []string{fields(ch.Type)}
		switch {
		case !ch.Durable:
			n.Lines = append(n.Lines, "in memory")
		case ch.Queue:
			n.Lines = append(n.Lines, "queue")
		}
		g.out.Channels = append(g.out.Channels, n)
	}
	for _, b := range p.Brokers {
		n := Node{ID: channelID(b.Channel), Kind: KindChannel, Title: b.Channel, Type: b.Type.String(), Durable: true, Lines: []string{fields(b.Type), "on " + b.Tech}}
		if b.Queue {
			n.Lines = append(n.Lines, "queue")
		}
		g.out.Channels = append(g.out.Channels, n)
	}
	for _, f := range p.Flows {
		if f.Relay == "" {
			g.flow(f)
		}
	}
	return g.out
}

// fields says what a type holds, in a line: its name, or the names of its fields.
func fields(t *types.Type) string {
	switch {
	case t.IsDyn():
		return "any"
	case t.Name != "":
		return t.Name
	case t.Kind != types.Object:
		return t.Text(1)
	}
	var names []string
	for _, f := range t.Fields {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

type describer struct {
	out     Graph
	durable bool // the run keeps state
	cluster *Cluster
	nodes   []plan.Node
	ids     []string // of the box that shows node i; "" for one that is an edge
	replies bool     // callers are answered with what reaches the end
	reply   string   // the box where messages end in a flow that replies; else ""
}

func channelID(name string) string { return "channel_" + ident(name) }

// ident makes a name that Mermaid and SVG take.
func ident(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

func (g *describer) flow(f *plan.Flow) {
	c := Cluster{ID: ident(f.Name), Title: f.Name, Note: note(f), Delivery: string(f.Guarantee.Delivery), Order: string(order(f))}
	if f.Guarantee.Within > 0 {
		c.Within = guarantee.Span(f.Guarantee.Within)
	}
	g.out.Clusters = append(g.out.Clusters, c)
	g.cluster = &g.out.Clusters[len(g.out.Clusters)-1]
	g.nodes, g.replies = f.Nodes, replies(f)
	g.ids = make([]string, len(f.Nodes))

	var entries []string
	for i, s := range f.Sources {
		if ch := s.Resource(); ch != "" {
			entries = append(entries, channelID(ch))
			continue
		}
		entries = append(entries, g.add(Node{ID: fmt.Sprintf("from%d", i+1), Kind: KindSource, Title: "from", Lines: []string{s.Label}, Type: s.Type.String()}))
	}
	g.boxes()
	g.reply = ""
	if g.replies {
		g.reply = g.add(Node{ID: "reply", Kind: KindEnd, Title: "reply", Type: f.Output.String()})
	}
	for _, e := range entries {
		g.edge(e, g.target(0), "", EdgeFlow)
	}
	for i := range g.nodes {
		if g.ids[i] != "" && (i == 0 || g.ids[i-1] != g.ids[i]) {
			g.exits(i)
		}
	}
	g.onError(f)
}

// replies says that callers are answered with what reaches the end of the flow.
func replies(f *plan.Flow) bool {
	return slices.ContainsFunc(f.Sources, func(ep *plan.Endpoint) bool { return ep.Server != nil && ep.Server.Replies })
}

// order is what order a flow's output has; of a plan that nothing was derived of, what is asked for.
func order(f *plan.Flow) plan.Order { return cmp.Or(f.Guarantee.Order, f.Order) }

// note says what was derived of a flow.
func note(f *plan.Flow) string {
	var parts []string
	if f.Guarantee.Delivery != "" {
		parts = append(parts, guarantee.Promise(f.Guarantee))
	}
	parts = append(parts, "order "+string(order(f)))
	if f.Concurrency > 0 {
		parts = append(parts, fmt.Sprintf("%d lanes", f.Concurrency))
	}
	if f.Coverage.Total > 0 {
		parts = append(parts, fmt.Sprintf("typed %d%%", f.Coverage.Typed*100/f.Coverage.Total))
	}
	return strings.Join(parts, ", ")
}

// add puts a box into the flow, and gives its full ID.
func (g *describer) add(n Node) string {
	n.ID = g.cluster.ID + "_" + n.ID
	g.cluster.Nodes = append(g.cluster.Nodes, n)
	return n.ID
}

func (g *describer) edge(from, to, label string, kind EdgeKind) {
	e := Edge{From: from, To: to, Label: label, Kind: kind}
	if from != to && to != "" && !slices.Contains(g.out.Edges, e) {
		g.out.Edges = append(g.out.Edges, e)
	}
}

// boxes makes the flow's boxes. Steps that only one way leads to and from share one.
func (g *describer) boxes() {
	for i := range g.nodes {
		n := &g.nodes[i]
		if _, ends := g.endsInChannel(i); ends {
			continue
		}
		line := strings.TrimSpace(n.Verb + " " + n.Label)
		if i > 0 && g.mergeable(i-1) && g.mergeable(i) && g.nodes[i-1].Next == i && !g.entered(i) && g.ids[i-1] != "" {
			last := &g.cluster.Nodes[len(g.cluster.Nodes)-1]
			last.Lines = append(last.Lines, line)
			last.Type = n.Type.String()
			g.ids[i] = g.ids[i-1]
			continue
		}
		g.ids[i] = g.add(g.box(i, n, line))
	}
}

func (g *describer) box(i int, n *plan.Node, line string) Node {
	b := Node{ID: fmt.Sprint(i), Kind: KindStep, Title: n.Name, Lines: []string{line}, Type: n.Type.String()}
	switch op := n.Op.(type) {
	case *plan.Route:
		b.Kind, b.Lines = KindRoute, nil
	case *plan.Group:
		b.Kind, b.Durable = KindState, g.durable
	case *plan.Stage:
		b.Kind, b.Durable = KindState, true
	case *plan.Call:
		b.Kind = KindCall
	case *plan.Send:
		b.Kind = KindSink
	case *plan.Finish:
		b.Kind, b.Lines = KindEnd, []string{"stop"}
	case *plan.Fork:
		if op.Each != nil {
			b.Lines = append(b.Lines, "  "+chain(op.Branches[0].Nodes))
			break
		}
		b.Lines = []string{"parallel"}
		if op.Pick != nil {
			b.Lines[0] = "loadBalance " + string(op.Pick.Strategy)
		}
		for _, br := range op.Branches {
			b.Lines = append(b.Lines, "  "+br.Name+": "+chain(br.Nodes))
		}
	case *plan.Loop:
		b.Lines = append(b.Lines, "  "+chain(op.Body.Nodes))
	}
	if n.When != nil {
		b.Lines = slices.Insert(b.Lines, 0, "when "+strings.Join(strings.Fields(n.Cond), " "))
	}
	return b
}

// chain names the steps of a program inside a node.
func chain(nodes []plan.Node) string {
	var names []string
	for i := range nodes {
		names = append(names, nodes[i].Name)
	}
	return strings.Join(names, " → ")
}

// mergeable says whether node i may share a box: it is a leaf that every message passes.
func (g *describer) mergeable(i int) bool {
	_, leaf := g.nodes[i].Op.(*plan.Apply)
	return leaf && g.nodes[i].When == nil && g.nodes[i].Catch == plan.End
}

// entered says whether anything but node i-1 leads to node i.
func (g *describer) entered(i int) bool {
	for j := range g.nodes {
		n := &g.nodes[j]
		if n.Catch == i || j != i-1 && n.Next == i {
			return true
		}
		if r, ok := n.Op.(*plan.Route); ok {
			if r.Else == i || slices.ContainsFunc(r.Cases, func(c plan.Case) bool { return c.Target == i }) {
				return true
			}
		}
	}
	return false
}

// endsInChannel says whether node i only sends to a channel, behind which nothing comes: then it is an
// edge, not a box.
func (g *describer) endsInChannel(i int) (string, bool) {
	s, ok := g.nodes[i].Op.(*plan.Send)
	if !ok || g.replies || s.Endpoint.Resource() == "" || g.nodes[i].Next != plan.End || g.nodes[i].When != nil || i == 0 {
		return "", false
	}
	return channelID(s.Endpoint.Resource()), true
}

// target is the box that a jump to node i ends in; "" for the end, where nobody is answered.
func (g *describer) target(i int) string {
	if i == plan.End || i >= len(g.nodes) {
		return g.reply
	}
	if ch, ends := g.endsInChannel(i); ends {
		return ch
	}
	return g.ids[i]
}

// exits draws where node i leads.
func (g *describer) exits(i int) {
	last := i // of the nodes in the same box
	for last+1 < len(g.nodes) && g.ids[last+1] == g.ids[i] {
		last++
	}
	n := &g.nodes[last]
	switch op := n.Op.(type) {
	case *plan.Route:
		for _, c := range op.Cases {
			g.edge(g.ids[i], g.target(c.Target), c.Label, EdgeFlow)
		}
		g.edge(g.ids[i], g.target(op.Else), "else", EdgeFlow)
	case *plan.Send:
		if ch := op.Endpoint.Resource(); ch != "" {
			g.edge(g.ids[i], channelID(ch), "", EdgeFlow)
		}
		g.edge(g.ids[i], g.target(n.Next), "", EdgeFlow)
	case *plan.Finish:
		g.edge(g.ids[i], g.reply, "", EdgeFlow)
		if n.When != nil {
			g.edge(g.ids[i], g.target(n.Next), "", EdgeFlow)
		}
	default:
		g.edge(g.ids[i], g.target(n.Next), "", EdgeFlow)
	}
	if n.Catch != plan.End {
		g.edge(g.ids[i], g.target(n.Catch), "", EdgeError)
	}
}

// onError draws where a flow's dead letters go.
func (g *describer) onError(f *plan.Flow) {
	dl := f.OnError.DeadLetter
	if dl == nil {
		return
	}
	lines := []string{fmt.Sprintf("%d tries", f.OnError.Retry.Attempts)}
	if dl.Resource() == "" {
		lines = append(lines, "dead letter "+dl.Label)
	}
	id := g.add(Node{ID: "error", Kind: KindError, Title: "on error", Lines: lines, Type: types.DynType.String()})
	if dl.Resource() != "" {
		g.edge(id, channelID(dl.Resource()), "", EdgeError)
	}
}
