package compile_test

import (
	"fmt"
	"strings"

	"penstock.dev/penstock/internal/plan"
)

// stateOf writes what a plan says of what it keeps; empty where its runs keep nothing.
func stateOf(p *plan.Plan) string {
	if !p.Durable {
		return ""
	}
	var b strings.Builder
	if st := p.Store; st.Driver == "postgres" {
		fmt.Fprintf(&b, "store %s %s, password %t, schema %s, lease %s, volatile %t, journal %d\n", st.Driver, st.URL, !st.Password.IsZero(), st.Schema, st.Lease, st.Volatile, st.Journal)
	} else {
		fmt.Fprintf(&b, "store %s %s, reserve %d, journal %d\n", st.Driver, st.Path, st.Reserve, st.Journal)
	}
	for _, ch := range p.Channels {
		mode := "topic"
		if ch.Queue {
			mode = "queue"
		}
		fmt.Fprintf(&b, "channel %s: %s", ch.Name, mode)
		if ch.Durable {
			fmt.Fprintf(&b, ", kept for %s up to %d bytes\n", ch.Retain, ch.RetainBytes)
		} else {
			fmt.Fprintf(&b, " in memory, room for %d\n", ch.Capacity)
		}
	}
	for _, f := range p.Flows {
		fmt.Fprintf(&b, "flow %s: %s, vars %q\n", f.Name, f.Delivery, f.Vars)
		for _, s := range f.Sources {
			if s.ID != nil {
				fmt.Fprintf(&b, "  %s: inbox, remembered for %s\n", s.Name, s.Remember)
			}
		}
		if f.OnError.Park {
			b.WriteString("  parks\n")
		}
		keptBy(&b, f.Nodes)
	}
	return b.String()
}

func keptBy(b *strings.Builder, nodes []plan.Node) {
	for i := range nodes {
		n := &nodes[i]
		switch op := n.Op.(type) {
		case *plan.Group:
			fmt.Fprintf(b, "  %s: group, %q\n", n.Name, op.Keyed)
		case *plan.Stage:
			var reads []string
			for _, r := range []struct {
				name  string
				there bool
			}{{"by", op.By != nil}, {"number", op.Number != nil}, {"until", op.Until != nil}, {"of", op.Of != nil}} {
				if r.there {
					reads = append(reads, r.name)
				}
			}
			fmt.Fprintf(b, "  %s: %T%+v reads %v, %q\n", n.Name, op.Spec, op.Spec, reads, op.Keyed)
		case *plan.Claim:
			fmt.Fprintf(b, "  %s: claim, redeems %t, into %s, kept for %s\n", n.Name, op.Redeem != nil, op.Into.String(), op.Retain)
		case *plan.Fork:
			for _, br := range op.Branches {
				keptBy(b, br.Nodes)
			}
		case *plan.Loop:
			keptBy(b, op.Body.Nodes)
		}
	}
}
