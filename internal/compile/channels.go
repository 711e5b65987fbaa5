package compile

import (
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/algebra"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/diag"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
	"penstock.dev/penstock/types"
)

// channel is a Channel resource, or the implicit one of a flow's dead letters, while flows are compiled.
type channel struct {
	name    string
	pos     penstock.Pos
	spec    *resource.Channel // nil for dead letters
	schema  *lower.Schema     // nil if none is declared
	cyclic  bool              // what goes around in it has no type
	readers []penstock.Pos
	senders []lower.Sent
	dead    []penstock.Pos // flows whose dead letters go to it
	flows   []string       // that read it
	broker  *broker        // nil: it is in the store, or in memory
	out     *plan.Channel
}

// declareChannels makes the channels that flows can refer to.
func (c *compiler) declareChannels() {
	c.channels = map[string]*channel{}
	for _, r := range c.set.Of(resource.KindChannel) {
		if r.Name() == "" {
			continue // its name was refused, and nothing can refer to it
		}
		spec := r.Spec.(*resource.Channel)
		ch := &channel{name: r.Name(), pos: r.NamePos(), spec: spec}
		ch.out = &plan.Channel{Name: ch.name, Durable: spec.Durable, Queue: spec.Mode == "queue", Pos: ch.pos}
		switch {
		case !spec.Durable:
			ch.out.Capacity = spec.Capacity
		case !ch.out.Queue:
			ch.out.Retain, ch.out.RetainBytes = spec.Retention.Time.Std(), int64(spec.Retention.Size)
		}
		if !spec.Schema.IsZero() {
			if ch.schema = c.Schema(spec.Schema, c.diags); ch.schema == nil {
				ch.cyclic = true // unknown, not empty
			}
		}
		c.channels[ch.name] = ch
		if !spec.Broker.IsZero() && spec.Durable && !c.stored {
			c.declareBroker(ch)
			continue
		}
		c.plan.Channels = append(c.plan.Channels, ch.out)
	}
	c.declareDead()
	c.declareQueues()
	for _, r := range c.set.Of(resource.KindFlow) {
		f := r.Spec.(*resource.Flow)
		for _, in := range f.Inputs() {
			if ch := c.channels[in.Channel.Name]; ch != nil {
				ch.readers, ch.flows = append(ch.readers, in.Channel.Pos), append(ch.flows, r.Name())
			}
		}
		if dl := f.OnError.DeadLetter; dl != nil {
			if ch := c.channels[dl.Channel.Name]; ch != nil {
				ch.dead = append(ch.dead, dl.Channel.Pos)
			}
		}
	}
}

// declareDead makes <flow>.dead a channel of the plan where a flow reads it. It is there without that, too: what comes to it is
// kept until it is dropped or redriven.
func (c *compiler) declareDead() {
	for _, r := range c.set.Of(resource.KindFlow) {
		for _, in := range r.Spec.(*resource.Flow).Inputs() {
			name, ok := in.IsDead()
			if !ok || c.channels[in.Channel.Name] != nil {
				continue
			}
			of, found := c.selected(name)
			if !found {
				c.diags.Errorf(in.Channel.Pos, "dangling-reference", in.Channel.Name, lower.Hint(name, c.names(resource.KindFlow)), "there is no Flow %q whose dead letters could be read", name)
				continue
			}
			if dl := of.Spec.(*resource.Flow).OnError.DeadLetter; dl != nil {
				c.diags.Errorf(in.Channel.Pos, "dangling-reference", in.Channel.Name, "read from there, or remove its `deadLetter`", "the dead letters of %s go where its `deadLetter` says", name)
				continue
			}
			ch := &channel{name: in.Channel.Name, pos: in.Channel.Pos, dead: []penstock.Pos{of.Pos}}
			ch.out = &plan.Channel{Name: ch.name, Durable: true, Type: types.DynType, Pos: ch.pos}
			c.channels[ch.name] = ch
			c.plan.Channels = append(c.plan.Channels, ch.out)
		}
	}
}

func (c *compiler) selected(flow string) (*resource.Resource, bool) {
	for _, r := range c.set.Of(resource.KindFlow) {
		if r.Name() == flow {
			return r, true
		}
	}
	return nil, false
}

// typ is the type of what is read from the channel: its schema, or what all who send to it have in
// common, who were compiled before.
func (ch *channel) typ() *types.Type {
	switch {
	case ch.schema != nil:
		return ch.schema.Type
	case ch.cyclic || len(ch.dead) > 0:
		return types.DynType
	}
	t := types.NeverType
	for _, s := range ch.senders {
		t = algebra.Unite(t, s.Type)
	}
	if t.Kind == types.Never {
		return types.DynType
	}
	return t
}

// keyed reports whether messages in the channel have a key, as far as is known.
func (ch *channel) keyed() bool {
	if ch.spec == nil || !ch.spec.Key.IsZero() || ch.schema != nil || ch.cyclic {
		return true
	}
	for _, s := range ch.senders {
		if !s.Keyed {
			return false
		}
	}
	return true
}

// finishChannels gives channels their types and keys, and looks at who uses them.
func (c *compiler) finishChannels() {
	all := make([]*channel, 0, len(c.channels))
	for _, r := range c.plan.Channels {
		all = append(all, c.channels[r.Name])
	}
	for _, r := range c.plan.Brokers {
		all = append(all, c.channels[r.Channel])
	}
	for _, ch := range all {
		ch.out.Type = ch.typ()
		if ch.spec == nil {
			continue
		}
		if !ch.spec.Key.IsZero() {
			key := c.exprs().Expr(ch.spec.Key, c.bodyScope(ch.out.Type), nil)
			lower.KeyType(c.diags, key.Type, ch.spec.Key)
			ch.out.Key = key.Program
		}
		if ch.schema != nil {
			for _, s := range ch.senders {
				what := "what goes to channel " + ch.name
				if ch.out.Jobs != nil {
					what = "what is enqueued in queue " + ch.out.Jobs.Name
				}
				if s.What != "" {
					what = s.What
				}
				lower.Fits(c.diags, s.Pos, ch.schema.Name, s.Type, ch.schema.Type, what)
			}
		}
		if ch.out.Jobs != nil {
			continue
		}
		c.checkUse(ch)
		if ch.broker != nil {
			c.completeBroker(ch)
			c.rekey(ch)
		}
	}
}

// checkUse finds channels that lead nowhere or come from nowhere.
func (c *compiler) checkUse(ch *channel) {
	switch sent := len(ch.senders)+len(ch.dead) > 0; {
	case len(ch.readers) == 0 && !sent:
		c.diags.Warnf(ch.pos, "unused", ch.name, "remove it", "no flow uses channel %s", ch.name)
	case len(ch.readers) == 0 && ch.out.Durable: // kept for who comes later
	case len(ch.readers) == 0:
		var pos []penstock.Pos
		for _, s := range ch.senders {
			pos = append(pos, s.Pos)
		}
		pos = append(pos, ch.dead...)
		c.diags.Errorf(pos[0], "no-reader", ch.name, "read it with `from: { channel: "+ch.name+" }`, or send to `drop: {}`",
			"no flow reads channel %s; a channel in memory holds no more than its capacity, so its senders would block", ch.name)
	case !sent && ch.broker != nil: // others may
	case !sent:
		c.diags.Warnf(ch.readers[0], "no-sender", ch.name, "send to it with `to: { channel: "+ch.name+" }`", "no flow sends to channel %s, so nothing will ever come", ch.name)
	case ch.out.Queue && !ch.out.Durable && len(ch.readers) > 1:
		c.diags.Errorf(ch.spec.At("mode"), "many-readers", "queue", "leave `durable: false` out, let one flow read it, with `concurrency`, or make it a topic",
			"%d flows read the queue %s; a queue in memory has one reader", len(ch.readers), ch.name)
	}
}

// Sent implements lower.World.
func (c *compiler) Sent(name string, s lower.Sent) {
	if ch := c.channels[name]; ch != nil {
		ch.senders = append(ch.senders, s)
	}
	if c.recording != nil {
		c.recording.senders = append(c.recording.senders, sender{name, s})
	}
}

// channelSink is the endpoint by which u sends to a channel; nil after a finding.
func (c *compiler) channelSink(u lower.Use, l *diag.List) *plan.Endpoint {
	ch := c.channels[u.Target.Channel.Name]
	if ch == nil || ch.broker == nil {
		return c.channelEndpoint(u.Target, u.Name, u.Type)
	}
	c.use(resource.KindChannel, ch.name)
	return c.brokerEndpoint(penstock.KindOfSink, "", ch, u, l)
}

// channelEndpoint is the endpoint of a channel of the store or in memory; nil after a finding.
func (c *compiler) channelEndpoint(t *resource.Target, name string, typ *types.Type) *plan.Endpoint {
	if _, ok := c.channels[t.Channel.Name]; !ok {
		if !strings.HasSuffix(t.Channel.Name, ".dead") {
			c.dangling(c.diags, t.Channel, resource.KindChannel)
		}
		return nil
	}
	c.use(resource.KindChannel, t.Channel.Name)
	return &plan.Endpoint{Name: name, Channel: t.Channel.Name, Type: typ, Pos: t.Pos, Label: "channel " + t.Channel.Name}
}
