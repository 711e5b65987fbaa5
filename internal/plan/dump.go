package plan

import (
	"fmt"
	"io"
	"strings"
	"time"

	"penstock.dev/penstock/types"
)

// Dump writes p for people: each flow with its sources, its nodes with their jumps, and the type of
// the body where it changes.
//
//	flow orders: order per-key, 2 slots
//	  from  file data/*.csv: order-line {…}
//	  0 filter1  filter body.quantity != 0
//	  1 choice1  choice [body.total > 1000 → 2] else → 3
//	  …
func Dump(w io.Writer, p *Plan) error {
	d := &dumper{w: w}
	if t := p.Telemetry; t != nil && t.Traces != nil {
		d.printf("traces of %s to %s by %s, %g of the messages, at most %g/s\n", t.Service, t.Traces.Endpoint, t.Traces.Protocol, t.Traces.Ratio, t.Traces.Limit)
	}
	if t := p.Telemetry; t != nil && t.Buckets != nil {
		d.printf("buckets %v\n", t.Buckets)
	}
	if p.Control.Address != "" {
		d.printf("control %s\n", p.Control.Address)
	}
	for _, ch := range p.Channels {
		d.printf("channel %s: %s\n", ch.Name, ch.Type.Brief())
	}
	for _, b := range p.Brokers {
		d.broker(b)
	}
	for _, f := range p.Flows {
		d.flow(f)
	}
	return d.err
}

func (d *dumper) broker(b *Broker) {
	mode := "topic"
	if b.Queue {
		mode = "queue"
	}
	d.printf("channel %s: %s [%s, %s, read by %s]\n", b.Channel, b.Type.Brief(), b.Tech, mode, strings.Join(b.Groups, ", "))
}

type dumper struct {
	w   io.Writer
	err error
}

func (d *dumper) printf(format string, args ...any) {
	if d.err == nil {
		_, d.err = fmt.Fprintf(d.w, format, args...)
	}
}

func (d *dumper) flow(f *Flow) {
	d.printf("flow %s: order %s", f.Name, f.Order)
	if f.Concurrency > 0 {
		d.printf(", %d lanes", f.Concurrency)
	}
	if f.Slots > 0 {
		d.printf(", %d slots", f.Slots)
	}
	d.printf(", typed %d of %d\n", f.Coverage.Typed, f.Coverage.Total)
	for _, s := range f.Sources {
		d.printf("  %s %s%s: %s%s\n", s.verb(), s.Label, via(s), s.Type.Brief(), s.Server.details())
	}
	if f.Key != nil {
		d.printf("  keyed\n")
	}
	if f.Time != nil {
		d.printf("  timed\n")
	}
	d.nodes(f.Nodes, "  ", f.Input)
	if f.OnError.Declared {
		d.printf("  onError: %s\n", retryText(&f.OnError.Retry))
	}
	if p := f.OnError.Policy; p != "" {
		d.printf("  onError: %s [policy %s]\n", retryText(&f.OnError.Retry), p)
	}
	if f.SLO != nil {
		d.printf("  slo: %s\n", f.SLO)
	}
	if dl := f.OnError.DeadLetter; dl != nil {
		d.printf("  deadLetter: %s\n", dl.Label)
	}
}

// verb is how a flow comes to its messages.
func (e *Endpoint) verb() string {
	if e.Server != nil {
		return "serves"
	}
	return "from"
}

// details writes what is not the usual of a server.
func (s *Server) details() string {
	if s == nil {
		return ""
	}
	out := ""
	if s.Replies {
		out += " [replies]"
	}
	if s.Concurrency > 0 {
		out += fmt.Sprintf(" [%d at once]", s.Concurrency)
	}
	if s.Request >= 0 {
		out += fmt.Sprintf(" [request slot %d]", s.Request)
	}
	return out
}

func via(e *Endpoint) string {
	if e.Connection == "" || strings.Contains(e.Label, e.Connection) {
		return ""
	}
	return " via " + e.Connection
}

// nodes writes a program. Before is the type of the body in front of it.
func (d *dumper) nodes(nodes []Node, indent string, before *types.Type) {
	last := before.Brief()
	for i := range nodes {
		n := &nodes[i]
		d.printf("%s%d %s: %s", indent, i, n.Name, n.Verb)
		if n.Label != "" {
			d.printf(" %s", n.Label)
		}
		d.details(i, n)
		was := before
		before = n.Type
		if t := n.Type.Brief(); t != last && n.Type != nil {
			d.printf("  ⇒ %s", t)
			last = t
		}
		d.printf("\n")
		switch op := n.Op.(type) {
		case *Fork:
			for _, b := range op.Branches {
				d.printf("%s\n", strings.TrimRight(indent+"  branch "+b.Name, " "))
				d.nodes(b.Nodes, indent+"    ", was)
			}
		case *Loop:
			d.printf("%s  round\n", indent)
			d.nodes(op.Body.Nodes, indent+"    ", was)
		}
	}
}

// details writes what is not the usual: jumps, retries, slots.
func (d *dumper) details(i int, n *Node) {
	if n.When != nil {
		d.printf(" [when]")
	}
	switch op := n.Op.(type) {
	case *Route:
		for _, c := range op.Cases {
			d.printf(" [%s → %s]", c.Label, jump(c.Target))
		}
		d.printf(" else → %s", jump(op.Else))
	case *Fork:
		d.slots(op.As, op.Index)
		d.into(op.Into.String())
		if op.Concurrency > 1 {
			d.printf(" [%d at once]", op.Concurrency)
		}
		if op.Partial != nil {
			d.printf(" [%s]", op.partial())
		}
		if op.Pick != nil {
			d.printf(" [%s]", op.pick())
		}
	case *Loop:
		d.printf(" [at most %d]", op.Max)
		d.into(op.Into.String())
	case *Split:
		d.slots(op.As, op.Index)
	case *Group:
		d.printf(" [%s]", strings.Join(op.complete(), ", "))
		d.into(op.Into.String())
	case *Call:
		if op.Maybe {
			d.printf(" [may miss]")
		}
		if op.Cache != nil {
			d.printf(" [%s]", op.Cache)
		}
		d.connection(op.Endpoint)
		d.into(op.Into.String())
	case *Send:
		d.connection(op.Endpoint)
		if op.NoWait {
			d.printf(" [no wait]")
		}
		if op.Body != nil {
			d.printf(" [own body: %s]", op.Endpoint.Type.Brief())
		}
	}
	if n.Retry != nil {
		d.printf(" [retry %s]", retryText(n.Retry))
	}
	if n.Timeout > 0 {
		d.printf(" [timeout %s]", n.Timeout)
	}
	if n.Catch != End {
		d.printf(" [catch → %d]", n.Catch)
	}
	if _, finish := n.Op.(*Finish); n.Next != i+1 && !finish || finish && n.When != nil {
		if _, route := n.Op.(*Route); !route || n.When != nil {
			d.printf(" → %s", jump(n.Next))
		}
	}
}

// connection writes what the endpoint's connection says.
func (d *dumper) connection(e *Endpoint) {
	if e.Timeout > 0 {
		whose := "connection"
		if e.Connection == "" {
			whose = "flow"
		}
		d.printf(" [%s's timeout %s]", whose, e.Timeout)
	}
	if e.Retry != nil {
		d.printf(" [connection's retry %s]", retryText(e.Retry))
	}
	if e.Policy != nil {
		d.printf(" [connection's %s]", e.Policy)
	}
}

func (d *dumper) slots(as, index int) {
	if as >= 0 {
		d.printf(" [as slot %d]", as)
	}
	if index >= 0 {
		d.printf(" [index slot %d]", index)
	}
}

func (d *dumper) into(target string) {
	if target != "body" {
		d.printf(" [into %s]", target)
	}
}

func jump(to int) string {
	if to == End {
		return "end"
	}
	return fmt.Sprint(to)
}

// complete says when a group is complete.
func (g *Group) complete() []string {
	var out []string
	if g.Size > 0 {
		out = append(out, fmt.Sprintf("size %d", g.Size))
	}
	for _, t := range []struct {
		name string
		d    time.Duration
	}{{"idle", g.Idle}, {"interval", g.Interval}} {
		if t.d > 0 {
			out = append(out, t.name+" "+t.d.String())
		}
	}
	if g.When != nil {
		out = append(out, "when")
	}
	if g.AtEnd {
		out = append(out, "at end")
	}
	return out
}

func retryText(r *Retry) string {
	return fmt.Sprintf("%d tries, %s × %g up to %s, jitter %g", r.Attempts, r.Initial, r.Factor, r.Max, r.Jitter)
}
