package compile

import (
	"errors"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// checkOverlaps refuses a sink that writes where a source of the plan reads, be it of the same flow: what it writes would be read
// again, and for a folder that is watched that has no end. It needs to know whether the run keeps state.
func (c *compiler) checkOverlaps() {
	env := penstock.Env{Runtime: &penstock.Runtime{Params: c.plan.Params, Clock: penstock.SystemClock{}}, Resumes: c.plan.Durable}
	for _, from := range c.plan.Flows {
		for _, source := range from.Sources {
			o, ok := source.Config.(penstock.Overlapper)
			if !ok {
				continue
			}
			for _, to := range c.plan.Flows {
				c.holdApart(o, env, from, source, to)
			}
		}
	}
}

// checkExclusives refuses two sources that take the same thing, each for itself alone: the second would wait for ever, or put the first out.
func (c *compiler) checkExclusives() {
	env := penstock.Env{Runtime: &penstock.Runtime{Params: c.plan.Params, Clock: penstock.SystemClock{}}}
	type taken struct {
		flow   *plan.Flow
		source *plan.Endpoint
	}
	known := map[string]taken{}
	for _, f := range c.plan.Flows {
		for _, source := range f.Sources {
			e, ok := source.Config.(penstock.Exclusive)
			if !ok {
				continue
			}
			what, hint := e.Takes(env)
			if what == "" {
				continue
			}
			first, twice := known[source.Driver.Spec.Name+" "+what]
			if !twice {
				known[source.Driver.Spec.Name+" "+what] = taken{f, source}
				continue
			}
			if p, q := first.source.Pos, source.Pos; p.File == q.File && p.Line > q.Line { // flows stand in the order in which they feed one another
				first, source = taken{f, source}, first.source
			}
			who := "flow " + first.flow.Name
			if known[source.Driver.Spec.Name+" "+what].flow == f {
				who = "this flow"
			}
			c.diags.Errorf(source.Pos, "taken", source.Label, hint, "%s has one reader at a time, and %s reads it already (%s)", what, who, first.source.Pos)
		}
	}
}

// holdApart asks a source of flow from about all sinks of flow to.
func (c *compiler) holdApart(o penstock.Overlapper, env penstock.Env, from *plan.Flow, source *plan.Endpoint, to *plan.Flow) {
	eachSink(to, func(sink *plan.Endpoint) {
		if sink.Driver == nil || sink.Driver.Spec.Name != source.Driver.Spec.Name && sink.Driver.Spec.Name != source.Driver.Spec.Connection || sink.Broker != "" && sink.Broker == source.Broker {
			return // a channel is there to be read
		}
		err := o.Overlaps(sink.Config, env)
		if err == nil {
			return
		}
		text, hint := err.Error(), ""
		var e *penstock.Error
		if errors.As(err, &e) {
			text, hint = e.Err.Error(), e.Hint
		}
		who := "it"
		if from != to {
			who = "flow " + from.Name
		}
		c.diags.Errorf(sink.Pos, "reads-own-output", sink.Label, hint, "flow %s writes where %s reads (%s): %s", to.Name, who, source.Pos, text)
	})
}

// eachSink visits where a flow sends to, and where its dead letters go.
func eachSink(f *plan.Flow, visit func(*plan.Endpoint)) {
	eachSend(f.Nodes, visit)
	if f.OnError.DeadLetter != nil {
		visit(f.OnError.DeadLetter)
	}
}

func eachSend(nodes []plan.Node, visit func(*plan.Endpoint)) {
	for i := range nodes {
		switch op := nodes[i].Op.(type) {
		case *plan.Send:
			if op.Endpoint != nil {
				visit(op.Endpoint)
			}
		case *plan.Fork:
			for _, b := range op.Branches {
				eachSend(b.Nodes, visit)
			}
		case *plan.Loop:
			eachSend(op.Body.Nodes, visit)
		}
	}
}
