package compile

import (
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/resource"
)

// Redriven implements lower.World: the flow must be another one, whose dead letters are where they are looked for.
func (c *compiler) Redriven(flow resource.Ref, by string, l *diag.List) {
	r, ok := c.selected(flow.Name)
	switch {
	case !ok:
		c.dangling(l, flow, resource.KindFlow)
		return
	case flow.Name == by:
		l.Errorf(flow.Pos, "redrives-itself", flow.Name, "let a flow of its own do it, such as one with `from: { timer: … }` or `from: { http: … }`",
			"flow %s would redrive its own dead letters, and each of them would come to this step again", by)
		return
	}
	if where := c.deadPlace(r.Name()); where != "" {
		l.Errorf(flow.Pos, "not-redriven", flow.Name, "leave `onError.deadLetter` of flow "+flow.Name+" out: its dead letters are then kept in the store; a channel may be read by a flow of its own",
			"dead letters of flow %s go to %s, where none are redriven", flow.Name, where)
	}
}

// deadPlace is where the dead letters of a flow go that says so; "" where it says nothing, "nowhere" where there is no such flow.
func (c *compiler) deadPlace(flow string) string {
	r, ok := c.selected(flow)
	if !ok {
		return "nowhere"
	}
	switch to := r.Spec.(*resource.Flow).OnError.DeadLetter; {
	case to == nil:
		return ""
	case !to.Channel.IsZero():
		return "channel " + to.Channel.Name
	default:
		return "the connector `" + to.Connector + "`"
	}
}
