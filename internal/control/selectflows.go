package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// FlowNames lists the flows in the order in which they run.
func (c *Checked) FlowNames() []string {
	var out []string
	if c.plan != nil {
		for _, f := range c.plan.Flows {
			out = append(out, f.Name)
		}
	}
	return out
}

// WritesStdout reports whether one of the flows (none: all) writes messages to standard output.
func (c *Checked) WritesStdout(flows []string) bool {
	p, err := c.selectFlows(flows)
	if err != nil {
		return false
	}
	found := false
	for _, f := range p.Flows {
		endpoints(f, func(ep *plan.Endpoint) {
			found = found || ep.Driver != nil && ep.Driver.Spec.Name == "stdout"
		})
	}
	return found
}

// selectFlows is the part of the plan with the named flows, and those that they feed: through
// channels, or by redriving their dead letters. No names is everything.
func (c *Checked) selectFlows(names []string) (*plan.Plan, error) {
	if c.plan == nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "run", Err: errors.New("the configuration is wrong"), Hint: "penstock check shows what is wrong"}
	}
	if len(c.plan.Flows) == 0 {
		return nil, &penstock.Error{Code: penstock.Config, Op: "run", Err: errors.New("there is no flow to run here"),
			Hint: "name the folder of a configuration, or make one with penstock init"}
	}
	if len(names) == 0 {
		return c.plan, nil
	}
	in := map[string]bool{}
	var add func(f *plan.Flow)
	add = func(f *plan.Flow) {
		if in[f.Name] {
			return
		}
		in[f.Name] = true
		endpoints(f, func(ep *plan.Endpoint) {
			for _, reader := range c.plan.Flows {
				if ep.Channel != "" && reads(reader, ep.Channel) {
					add(reader)
				}
			}
		})
		plan.Walk(f.Nodes, func(n *plan.Node) {
			if call, ok := n.Op.(*plan.Call); ok && call.Endpoint.Command != nil {
				for _, reader := range c.plan.Flows {
					for _, src := range reader.Sources {
						if src.Entity == call.Endpoint.Command.Entity {
							add(reader)
						}
					}
				}
			}
			if call, ok := n.Op.(*plan.Call); ok && call.Endpoint.Redrive != nil {
				if redriven := c.plan.Flow(call.Endpoint.Redrive.Flow); redriven != nil {
					add(redriven)
				}
			}
		})
	}
	for _, name := range names {
		f := c.plan.Flow(name)
		if f == nil {
			return nil, &penstock.Error{Code: penstock.Config, Op: "run", Err: fmt.Errorf("there is no flow called %s", name), Hint: didYouMean(name, c.FlowNames())}
		}
		add(f)
	}
	p := *c.plan
	p.Flows = nil
	for _, f := range c.plan.Flows {
		if in[f.Name] {
			p.Flows = append(p.Flows, f)
		}
	}
	return &p, nil
}

// fed refuses a selection with a flow that can read nothing: all its sources are channels that no
// selected flow writes to.
func (c *Checked) fed(p *plan.Plan) error {
	for _, f := range p.Flows {
		var dry []string
		for _, src := range f.Sources {
			if src.Channel != "" && src.Entity == "" && !durable(p, src.Channel) && len(writers(p, src.Channel)) == 0 {
				dry = append(dry, src.Channel)
			}
		}
		if len(dry) == 0 || len(dry) < len(f.Sources) {
			continue
		}
		hint := ""
		if w := writers(c.plan, dry[0]); len(w) > 0 {
			hint = "add --flow " + strings.Join(w, " --flow ")
		}
		return &penstock.Error{Code: penstock.Config, Op: "run", Path: f.Pos.String(), Hint: hint,
			Err: fmt.Errorf("flow %s reads channel %s, and no flow of this run writes to it", f.Name, dry[0])}
	}
	return nil
}

// writers lists the flows of p that write to a channel.
func writers(p *plan.Plan, channel string) []string {
	var out []string
	for _, f := range p.Flows {
		found := false
		endpoints(f, func(ep *plan.Endpoint) { found = found || ep.Channel == channel })
		if found {
			out = append(out, f.Name)
		}
	}
	return out
}

func reads(f *plan.Flow, channel string) bool {
	return slices.ContainsFunc(f.Sources, func(ep *plan.Endpoint) bool { return ep.Channel == channel })
}

// durable reports whether a channel is in the store: what it holds may have come from other runs, or still come from elsewhere.
func durable(p *plan.Plan, name string) bool {
	for _, c := range p.Channels {
		if c.Name == name {
			return c.Durable
		}
	}
	return false
}
