package compile

import (
	"math"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/compile/lower"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/internal/resource"
)

// outboxSuffix ends the names of the hidden channels, and of the flows that empty them. Names of resources hold no dot.
const outboxSuffix = ".outbox"

// relayRetry is for as long as it takes: what is in an outbox is acknowledged.
var relayRetry = plan.Retry{Attempts: math.MaxInt32, Initial: 100 * time.Millisecond, Factor: 2, Max: 5 * time.Second, Jitter: 0.2}

// outboxes lets flows whose transactions write to the store send to brokers through an outbox: what they send is recorded in the
// transaction, in a channel of the store, and a flow of its own writes it to the broker. A flow that keeps nothing but its
// positions sends directly: what a crash leaves undone is sent again, as the outbox would.
func (c *compiler) outboxes() {
	needed := map[string]bool{}
	for _, f := range slices.Clone(c.plan.Flows) {
		if f.Transaction != nil {
			continue // the broker's transaction has it
		}
		records := c.records(f)
		eachSendOp(f.Nodes, func(op *plan.Send) {
			if records && c.toOutbox(op.Endpoint, needed) {
				op.Rekey = nil // the outbox does it
			}
		})
		c.toOutbox(f.OnError.DeadLetter, needed) // a dead letter is settled in a transaction
	}
	for _, e := range c.plan.Entities {
		if p := e.Publish; p != nil && c.channels[p.Channel].broker != nil {
			needed[p.Channel] = true
			p.Channel += outboxSuffix
		}
	}
	for _, b := range c.plan.Brokers {
		if needed[b.Channel] {
			c.relay(c.channels[b.Channel])
		}
	}
}

// records reports whether a flow's transactions write more to the store than how far its sources are.
func (c *compiler) records(f *plan.Flow) bool {
	if f.OnError.Park || c.keeps(f.Nodes) {
		return true
	}
	return slices.ContainsFunc(f.Sources, func(s *plan.Endpoint) bool { return s.Server != nil })
}

// toOutbox turns the endpoint of a channel on a broker into that of its outbox.
func (c *compiler) toOutbox(ep *plan.Endpoint, needed map[string]bool) bool {
	if ep == nil || ep.Broker == "" {
		return false
	}
	needed[ep.Broker] = true
	*ep = plan.Endpoint{Name: ep.Name, Channel: ep.Broker + outboxSuffix, Broker: ep.Broker, Type: ep.Type, Pos: ep.Pos, Label: ep.Label}
	return true
}

// relay makes a channel's outbox, and the flow that empties it.
func (c *compiler) relay(ch *channel) {
	name := ch.name + outboxSuffix
	t := &resource.Target{Place: resource.Place{Pos: ch.pos}}
	used := c.begin()
	sink := c.brokerEndpoint(penstock.KindOfSink, "", ch, lower.Use{Target: t, Name: name + "/to", Type: ch.out.Type, Scope: c.bodyScope(ch.out.Type), Exprs: c.exprs()}, c.diags)
	facts := used.end()
	if sink == nil {
		return
	}
	c.plan.Channels = append(c.plan.Channels, &plan.Channel{Name: name, Durable: true, Queue: true, Type: ch.out.Type, Key: ch.out.Key, Relay: sink, Pos: ch.pos,
		Hash: plan.HashFacts([]plan.Fact{{Of: "key", Text: ch.spec.Key.Source}, {Of: "type", Text: plan.Fingerprint(ch.out.Type)}})})
	from := &plan.Endpoint{Name: name + "/from", Channel: name, Type: ch.out.Type, Pos: ch.pos, Label: "outbox of channel " + ch.name}
	f := &plan.Flow{
		Name: name, Pos: ch.pos, Relay: ch.name, Sources: []*plan.Endpoint{from}, Order: plan.Total, Concurrency: 1, Delivery: plan.AtLeastOnce,
		Nodes: []plan.Node{{Name: "to", Verb: "to", Op: &plan.Send{Endpoint: sink, Idempotent: true}, Next: plan.End, Catch: plan.End, ErrorSlot: -1, Pos: ch.pos, Label: sink.Label}},
		// At-least-once is what an outbox is: a try whose answer was lost may be repeated whatever the driver.
		OnError: plan.ErrorPolicy{Retry: relayRetry, Declared: true}, Input: orDyn(ch.out.Type), Output: orDyn(ch.out.Type), Facts: facts,
	}
	c.plan.Flows = append(c.plan.Flows, f)
}
