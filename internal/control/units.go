package control

import (
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/store"
)

// unit is a group of flows that one replica drives together: they hand messages over in memory, read the same queue, or give in each
// other's dead letters again.
type unit struct {
	key        string   // the name of its first flow, by name
	part       int      // its home: who holds the lease of it drives the unit
	flows      []string // by name
	everywhere bool     // it keeps nothing from one message to the next: every replica answers those who call, or takes its share of what a broker gives
	routed     []*plan.Endpoint
	plan       *plan.Plan // of its flows alone
}

// unitsOf cuts a plan into the units that a store of so many parts is shared by. With together it is all one unit, of part 0, for who holds all
// parts.
func unitsOf(pl *plan.Plan, parts int, together bool) []*unit {
	if together {
		u := &unit{plan: pl, key: "*"}
		for _, f := range pl.Flows {
			u.flows = append(u.flows, f.Name)
		}
		return []*unit{u}
	}
	with := map[string]string{} // the flow that a flow goes with
	var root func(string) string
	root = func(f string) string {
		if w, ok := with[f]; ok && w != f {
			return root(w)
		}
		return f
	}
	join := func(a, b string) {
		if a, b = root(a), root(b); a != b {
			with[max(a, b)] = min(a, b)
		}
	}
	queues := map[string][]string{} // by flow: the queues that it reads
	for _, c := range pl.Channels {
		var all []string
		for _, f := range pl.Flows {
			reads := reads(f, c.Name)
			if reads && c.Durable && c.Queue {
				queues[f.Name] = append(queues[f.Name], c.Name)
			}
			if reads && (c.Queue || !c.Durable) || !c.Durable && slices.Contains(writers(&plan.Plan{Flows: []*plan.Flow{f}}, c.Name), f.Name) {
				all = append(all, f.Name)
			}
		}
		for _, name := range all {
			join(all[0], name)
		}
	}
	for _, f := range pl.Flows {
		plan.Walk(f.Nodes, func(n *plan.Node) {
			if call, ok := n.Op.(*plan.Call); ok && call.Endpoint.Redrive != nil && pl.Flow(call.Endpoint.Redrive.Flow) != nil {
				join(f.Name, call.Endpoint.Redrive.Flow)
			}
		})
	}
	by := map[string]*unit{}
	var units []*unit
	for _, f := range pl.Flows {
		key := root(f.Name)
		u := by[key]
		if u == nil {
			u = &unit{key: key, everywhere: true}
			by[key] = u
			units = append(units, u)
		}
		u.flows = append(u.flows, f.Name)
		u.everywhere = u.everywhere && everywhere(f)
	}
	for _, u := range units {
		slices.Sort(u.flows)
		u.plan = only(pl, u.flows)
		u.routed = u.plan.Routed()
		var read []string
		for _, f := range u.flows {
			read = append(read, queues[f]...)
		}
		switch {
		case slices.ContainsFunc(u.plan.Flows, func(f *plan.Flow) bool { return atViews(pl, f) }):
			u.everywhere, u.part = false, viewHome(parts)
		case len(read) > 0:
			u.part = store.Home(slices.Min(read), parts)
		default:
			u.part = store.PartOf(u.key, parts)
		}
	}
	return units
}

// everywhere says that every replica may run the flow: its messages come one by one from who calls it, or are shared out by a broker
// among all who read, and it keeps nothing of them.
func everywhere(f *plan.Flow) bool {
	if f.OnError.Park || f.Order == plan.PerKey || f.Transaction != nil || len(f.Sources) == 0 {
		return false
	}
	for _, ep := range f.Sources {
		if ep.ID != nil {
			return false // who it was is remembered
		}
		if ep.Server != nil {
			continue
		}
		if ep.Driver == nil || !ep.Driver.Spec.Reorders || ep.Driver.Spec.Settle != penstock.Each || ep.Driver.Spec.Replay == penstock.ReplayPosition {
			return false
		}
	}
	keeps := false
	plan.Walk(f.Nodes, func(n *plan.Node) {
		switch n.Op.(type) {
		case *plan.Stage, *plan.Group:
			keeps = true
		}
	})
	return !keeps
}

// only is the part of a plan with these flows, and with what they are connected by.
func only(pl *plan.Plan, flows []string) *plan.Plan {
	out := *pl
	out.Flows, out.Channels, out.Brokers = nil, nil, nil
	channels, brokers := map[string]bool{}, map[string]bool{}
	see := func(ep *plan.Endpoint) { channels[ep.Channel], brokers[ep.Broker] = true, true }
	for _, f := range pl.Flows {
		if !slices.Contains(flows, f.Name) {
			continue
		}
		out.Flows = append(out.Flows, f)
		brokers[f.Relay] = true
		endpoints(f, see)
		for _, ep := range f.Sources {
			see(ep)
		}
	}
	for _, c := range pl.Channels {
		if channels[c.Name] {
			out.Channels = append(out.Channels, c)
		}
	}
	for _, b := range pl.Brokers {
		if brokers[b.Channel] {
			out.Brokers = append(out.Brokers, b)
		}
	}
	return &out
}
