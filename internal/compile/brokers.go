package compile

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// broker is where a channel is that is not in the store, while flows are compiled.
type broker struct {
	tech   string
	config penstock.BrokerChannel // decoded and compiled; nil where it has errors
	at     resource.Broker
	out    *plan.Broker
	// ends are the endpoints of flows, which were filled in with what was known of the channel by then.
	ends     []brokerEnd
	complete bool // all flows were compiled
}

// brokerEnd is one use of a channel, and how it is filled in.
type brokerEnd struct {
	ep   *plan.Endpoint
	use  penstock.ChannelUse
	fill func(penstock.ChannelUse, *diag.List)
}

// known fills an endpoint in with what is known at last.
func (e *brokerEnd) known(use penstock.ChannelUse) {
	use.Group = e.use.Group
	if use.Keyed != e.use.Keyed {
		e.fill(use, &diag.List{}) // what is wrong with it was said
	}
	if e.ep.Keeps != "" && !use.Keyed {
		e.ep.Keeps = plan.None
	}
	e.ep.Hash = plan.HashFacts([]plan.Fact{{Of: e.ep.Hash, Text: fmt.Sprint(use.Keyed, use.Groups)}})
}

// declareBroker decodes what a channel says of its broker. Who reads it is not known yet.
func (c *compiler) declareBroker(ch *channel) {
	at := ch.spec.Broker
	b := &broker{tech: at.Tech, at: at, out: &plan.Broker{Channel: ch.name, Tech: at.Tech, Queue: ch.out.Queue, Pos: at.TechPos}}
	ch.broker = b
	c.plan.Brokers = append(c.plan.Brokers, b.out)
	if at.Config == nil {
		return // said when it was loaded
	}
	before := c.diags.Len()
	drv, config := c.decoder.DecodeConfig(c.reg, penstock.KindOfChannel, at.Tech, at.TechPos, at.Config)
	own, ok := config.(penstock.BrokerChannel)
	if !ok || c.diags.Len() > before {
		return
	}
	b.config = own
	if ch.spec.Has("retention") && !drv.Spec.Retains {
		c.diags.Errorf(ch.spec.AtKey("retention"), "broker", "retention", "leave it out (`retention: null` in an overlay), and say on the broker for how long it keeps messages",
			"how long %s keeps messages is not decided by those who use it: `retention` can't be asked of it", at.Tech)
	}
}

// completeBroker compiles what a channel says of its broker: after endpoints have copied what is compiled where they are.
func (c *compiler) completeBroker(ch *channel) {
	b := ch.broker
	b.out.Type = ch.out.Type
	if b.config == nil {
		return
	}
	use := ch.use()
	b.out.Groups = use.Groups
	for i := range b.ends {
		b.ends[i].known(use)
	}
	b.complete = true
	for _, err := range b.config.Refuses(use) {
		text, hint := err.Error(), ""
		var e *penstock.Error
		if errors.As(err, &e) {
			text, hint = e.Err.Error(), e.Hint
		}
		c.diags.Errorf(b.at.TechPos, "broker", b.tech, hint, "channel %s can't be on %s: %s", ch.name, b.tech, text)
	}
	d := &driverConfig{c: c, role: penstock.KindOfChannel, tech: b.tech, exprs: c.exprs(), scope: c.paramScope(), diags: &diag.List{}, typ: ch.out.Type}
	d.compile(b.config)
	if len(ch.readers)+len(ch.senders)+len(ch.dead) == 0 {
		c.diags.Merge(d.diags) // else endpoints have said it
	}
	b.out.Connection = d.connName
	if d.conn != nil {
		b.out.ConnectionHash = plan.HashFacts(c.connectionFacts(d.connName))
	}
	b.out.Topology = b.config.Topology(use)
	b.out.Hash = plan.HashFacts(append(c.brokerFacts(ch), plan.Fact{Of: "groups", Text: strings.Join(use.Groups, " ")}))
}

// brokerFacts are all that what a channel needs on its broker depends on.
func (c *compiler) brokerFacts(ch *channel) []plan.Fact {
	u := &uses{c: c, seen: map[string]bool{}}
	outer := c.uses
	c.uses = u
	c.use(resource.KindChannel, ch.name)
	c.use(resource.KindConnection, ch.broker.out.Connection)
	c.uses = outer
	facts := instanceFacts(u.facts)
	for _, p := range c.paramsOf(ch.broker.at.Config, u) {
		facts = append(facts, plan.Fact{Of: "param " + p.Name, Text: textOf(p)})
	}
	return facts
}

// use is what is known of how a channel is used.
func (ch *channel) use() penstock.ChannelUse {
	u := penstock.ChannelUse{Name: ch.name, Queue: ch.out.Queue, Keyed: true}
	for _, s := range ch.senders {
		u.Keyed = u.Keyed && (s.Keyed || !ch.spec.Key.IsZero())
	}
	if ch.spec.Has("retention") {
		u.Retain, u.RetainBytes = ch.out.Retain, ch.out.RetainBytes
		if !ch.spec.Retention.Has("time") {
			u.Retain = 0
		}
		if !ch.spec.Retention.Has("size") {
			u.RetainBytes = 0
		}
	}
	switch {
	case len(ch.readers) == 0:
	case ch.out.Queue:
		u.Groups = []string{ch.name}
	default:
		u.Groups = slices.Compact(slices.Sorted(slices.Values(ch.flows)))
	}
	return u
}

// brokerEndpoint is the endpoint of a channel on a broker, for flow's own source or sink; nil after a finding. What u.Scope knows is what its
// programs may read.
func (c *compiler) brokerEndpoint(kind, flow string, ch *channel, u lower.Use, l *diag.List) *plan.Endpoint {
	b := ch.broker
	if b.config == nil {
		return nil // said where it was declared
	}
	drv, ok := c.reg.Lookup(kind, b.tech)
	if !ok {
		l.Errorf(b.at.TechPos, "broker", b.tech, "", "this program has no %s for %s", kind, b.tech)
		return nil
	}
	use := ch.use()
	if use.Group = flow; use.Queue {
		use.Group = ch.name
	}
	config := drv.NewConfig()
	used := c.begin()
	c.use(resource.KindChannel, ch.name)
	volatile := false
	u.Exprs.Volatile = &volatile
	var d *driverConfig
	fill := func(use penstock.ChannelUse, l *diag.List) {
		reflect.ValueOf(config).Elem().SetZero()
		(&resource.Decoder{Diags: &diag.List{}, Registry: c.reg}).Decode(&resource.Node{Kind: resource.NodeMap, Pos: b.at.TechPos}, config) // for the defaults
		if kind == penstock.KindOfSource {
			b.config.FillSource(use, config)
		} else {
			b.config.FillSink(use, config)
		}
		if v, ok := config.(penstock.Resolver); ok {
			for _, err := range v.Validate() {
				l.Errorf(b.at.TechPos, "driver-config", b.tech, "", "%s: %v", b.tech, err)
			}
		}
		exprs := u.Exprs
		exprs.Diags = l
		d = &driverConfig{c: c, role: kind, tech: b.tech, exprs: exprs, scope: u.Scope, diags: l, typ: u.Type}
		d.compile(config)
	}
	fill(use, l)
	if own, ok := config.(penstock.Specific); ok {
		drv = drv.WithSpec(own.SpecFor(drv.Spec))
	}
	if kind == penstock.KindOfSink {
		drv = c.knownToReaders(ch, drv)
	}
	ep := &plan.Endpoint{Name: u.Name, Driver: drv, Config: config, Broker: ch.name, Type: u.Type, Pos: u.Target.Pos, Connection: d.connName,
		Label: "channel " + ch.name + " (" + b.tech + ")"}
	if own, ok := b.config.(penstock.Specific); ok && kind == penstock.KindOfSink && own.SpecFor(penstock.Spec{}).Reorders {
		ep.Keeps = plan.PerKey
	}
	if d.conn != nil {
		ep.Timeout, ep.Retry, ep.Policy = d.conn.timeout, d.conn.retry, d.conn.policy
		ep.ConnectionHash = plan.HashFacts(c.connectionFacts(d.connName))
	}
	if ep.Timeout == 0 && kind == penstock.KindOfSink {
		ep.Timeout = c.timeout
	}
	sc := u.Scope
	if !d.reads {
		sc = nil
	}
	ep.Hash = c.endpointHash(ep, &resource.Target{Connector: b.tech, Config: b.at.Config}, sc, used)
	end := brokerEnd{ep, use, fill}
	if b.complete {
		end.known(ch.use())
	}
	b.ends = append(b.ends, end)
	return ep
}

// knownToReaders is a sink's driver for a channel whose readers know by an identity what is written twice, and longer than the broker does.
func (c *compiler) knownToReaders(ch *channel, sink *penstock.Driver) *penstock.Driver {
	from, ok := c.reg.Lookup(penstock.KindOfSource, ch.broker.tech)
	if !ok {
		return sink
	}
	use, config := ch.use(), from.NewConfig()
	use.Group = ch.name
	ch.broker.config.FillSource(use, config)
	own, ok := config.(penstock.Identified)
	if !ok {
		return sink
	}
	name, remember := own.Identity()
	spec := sink.Spec
	if name == "" || spec.Rewrite != penstock.RewriteTwice && (spec.Rewrite != penstock.RewriteKnown || spec.Known.Within == 0 || spec.Known.Within >= remember) {
		return sink
	}
	spec.Rewrite, spec.Known = penstock.RewriteKnown, penstock.Known{By: plan.KnownToReaders, Within: remember}
	return sink.WithSpec(spec)
}

// brokerSource is the endpoint by which a flow reads a channel on a broker.
func (c *compiler) brokerSource(f *plan.Flow, t *resource.Target, ch *channel, name string, typ *types.Type, in *inputs) *plan.Endpoint {
	ep := c.brokerEndpoint(penstock.KindOfSource, f.Name, ch, lower.Use{Target: t, Name: name, Type: typ, Scope: c.sourceScope(), Exprs: c.exprs()}, c.diags)
	if ep == nil {
		return nil
	}
	in.own = append(in.own, source{ep, t})
	return ep
}

// rekey lets what is sent to a channel on a broker have the key that the channel says.
func (c *compiler) rekey(ch *channel) {
	for _, f := range c.plan.Flows {
		eachSendOp(f.Nodes, func(op *plan.Send) {
			if op.Endpoint != nil && op.Endpoint.Broker == ch.name {
				op.Rekey = ch.out.Key
			}
		})
	}
}

// eachSendOp visits all sends of a program.
func eachSendOp(nodes []plan.Node, visit func(*plan.Send)) {
	for i := range nodes {
		switch op := nodes[i].Op.(type) {
		case *plan.Send:
			visit(op)
		case *plan.Fork:
			for _, b := range op.Branches {
				eachSendOp(b.Nodes, visit)
			}
		case *plan.Loop:
			eachSendOp(op.Body.Nodes, visit)
		}
	}
}
