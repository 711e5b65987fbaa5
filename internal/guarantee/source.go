package guarantee

import (
	"fmt"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// storeHint is how a run comes to keep state.
const storeHint = "let the run keep its state: add `store: {}` to the Integration"

// sources applies the rules of all sources, and gives what is known of their messages.
func (d *deriver) sources() state {
	var s state
	for _, ep := range d.f.Sources {
		one := d.source(ep)
		if ep.Volatile {
			one.doubt(&plan.Node{Name: stepName(ep), Pos: ep.Pos}, "it reads now or uuid()")
		}
		s = unite(s, one)
	}
	if len(d.f.Sources) > 1 && d.f.Order != plan.None {
		d.add(plan.Reason{Order: d.f.Order, Step: "from", Pos: d.f.Sources[0].Pos,
			Text: fmt.Sprintf("the messages of %d sources are merged as they come; the order holds for each of them by itself", len(d.f.Sources))})
	}
	d.again = s.again
	return s
}

func (d *deriver) source(ep *plan.Endpoint) state {
	s := state{reached: true, order: d.f.Order}
	name := stepName(ep)
	if ch := d.channels[ep.Channel]; ch != nil && ch.Queue && d.readers[ep.Channel] > 1 && s.order == plan.Total {
		s.order = plan.PerKey
		d.add(plan.Reason{Order: plan.PerKey, Step: name, Pos: ep.Pos,
			Text: fmt.Sprintf("%d flows compete for the messages of queue %s; those of one key go to one of them at a time", d.readers[ep.Channel], ep.Channel)})
	}
	if ep.Driver != nil && ep.Driver.Spec.Reorders && s.order != plan.None {
		s.order = plan.None
		d.add(plan.Reason{Order: plan.None, Step: name, Pos: ep.Pos,
			Text: describe(ep) + " shares the messages out among whoever reads: what one of them fails to do comes to another later"})
	}
	if d.f.Transaction.Has(ep) {
		s.again = true
		d.add(plan.Reason{Delivery: plan.EffectivelyOnce, Step: name, Pos: ep.Pos, Text: fmt.Sprintf(
			"what is read and what is sent is committed together, in transactions on connection %s: whoever reads committed messages only sees it once", ep.Connection)})
		return s
	}
	what := d.replay(ep)
	b := bits{loses: what.gone}
	switch {
	case what.gone && what.memory:
		d.because(b, name, ep.Pos, "make it a durable channel: leave `durable: false` out",
			"channel %s is in memory: what is in it is lost when the process ends", ep.Channel)
	case what.gone:
		d.because(b, name, ep.Pos, "read from something that can be read again: a file, or a durable channel",
			"%s can't be read again: what was read and not done when the process ends is lost", describe(ep))
	case !d.p.Durable && what.memory:
		s.again = true
		d.because(bits{repeats: true}, name, ep.Pos, storeHint+", and leave `durable: false` out at channel "+ep.Channel,
			"the run keeps no state: a new one begins at the beginning, and what was done is done again")
	case !d.p.Durable && what.kind == penstock.ReplayPosition && ep.Driver != nil && ep.Driver.Spec.Keeps: // it goes on where that was settled, and perhaps a little before
		s.again = true
	case !d.p.Durable && what.kind == penstock.ReplayPosition:
		s.again = true
		d.because(bits{repeats: true}, name, ep.Pos, storeHint,
			"the run keeps no state: a new one begins at the beginning, and what was done is done again")
	case d.f.Delivery == plan.AtMostOnce && ep.Server == nil: // a caller can't be told that his request is taken before it is done
		d.because(bits{loses: true}, name, ep.Pos, "", "a message is settled when it is read: what was not done when the process ends is lost")
	case what.kind == penstock.ReplayPosition:
		s.again = true
	case ep.Server != nil && (ep.ID == nil || !d.p.Durable):
		s.again = true
		hint := "add `id: …`, what a caller knows a request by: a header with a key, or a field of the body"
		if ep.Server.Replies {
			hint = "let the flow keep its requests with `to: …`, and add `id: …`, what a caller knows a request by"
		}
		d.because(bits{repeats: true}, name, ep.Pos, hint,
			"%s that gets no answer may ask again, and there is nothing to know the request by", describe(ep))
	case ep.ID == nil || !d.p.Durable:
		s.again = true
		d.because(bits{repeats: true}, name, ep.Pos, "add `id: …`, an identity that each message has of its own",
			"%s may give a message again after a crash, and there is nothing to know it by", describe(ep))
	default:
		s.again = true
		if d.within == 0 || ep.Remember < d.within {
			d.within = ep.Remember
		}
		d.add(plan.Reason{Delivery: plan.EffectivelyOnce, Step: name, Pos: ep.Pos,
			Text: fmt.Sprintf("a message that %s gives again is known by its id for %s, and is taken for a new one after that", describe(ep), Span(ep.Remember))})
	}
	return s
}

// replayed is what of a source comes again.
type replayed struct {
	kind   penstock.Replay
	memory bool // it is a channel in memory
	gone   bool // something may be lost here
}

// replay says what of an endpoint comes again in this plan.
func (d *deriver) replay(ep *plan.Endpoint) replayed {
	if ep.Channel == "" {
		kind := ep.Driver.Spec.Replay
		if ep.Driver.Kind == penstock.KindOfServer && kind == penstock.ReplayNone {
			kind = penstock.ReplayAgain
		}
		return replayed{kind: kind, gone: kind == penstock.ReplayNone}
	}
	if d.durable(ep.Channel) {
		return replayed{kind: penstock.ReplayPosition}
	}
	if d.p.Durable {
		return replayed{memory: true, gone: true}
	}
	// In a run without state everything begins anew, and with it what comes through the channel.
	return replayed{memory: true, gone: d.feedsLose(ep.Channel, map[string]bool{})}
}

// durable reports whether a channel is in the store. Only what is said to be in memory isn't: dead letters and stages have no
// resource.
func (d *deriver) durable(channel string) bool {
	ch := d.channels[channel]
	return ch == nil || ch.Durable
}

// feedsLose reports whether what comes through a channel in memory came, at the beginning, from something that can't be read
// again. Seen are channels that were looked at: they may go round.
func (d *deriver) feedsLose(channel string, seen map[string]bool) bool {
	if seen[channel] {
		return false
	}
	seen[channel] = true
	for _, f := range d.p.Flows {
		if !sendsTo(f, channel) {
			continue
		}
		for _, s := range f.Sources {
			switch {
			case s.Channel == "" && s.Driver.Kind != penstock.KindOfServer && (s.Driver.Spec.Replay != penstock.ReplayPosition || s.Driver.Spec.Keeps):
				return true // what was handed over is settled there, and does not come again
			case s.Channel != "" && !d.durable(s.Channel) && d.feedsLose(s.Channel, seen):
				return true
			}
		}
	}
	return false
}

func sendsTo(f *plan.Flow, channel string) bool {
	if dl := f.OnError.DeadLetter; dl != nil && dl.Channel == channel {
		return true
	}
	return anySend(f.Nodes, func(s *plan.Send) bool { return s.Endpoint != nil && s.Endpoint.Channel == channel })
}

func anySend(nodes []plan.Node, is func(*plan.Send) bool) bool {
	for i := range nodes {
		switch op := nodes[i].Op.(type) {
		case *plan.Send:
			if is(op) {
				return true
			}
		case *plan.Fork:
			for _, b := range op.Branches {
				if anySend(b.Nodes, is) {
					return true
				}
			}
		case *plan.Loop:
			if anySend(op.Body.Nodes, is) {
				return true
			}
		}
	}
	return false
}

// stepName is the step's part of an endpoint's name: "from2" of "orders/from2".
func stepName(ep *plan.Endpoint) string {
	return ep.Name[strings.LastIndexByte(ep.Name, '/')+1:]
}

// describe names an endpoint in a sentence.
func describe(ep *plan.Endpoint) string {
	if ep.Channel != "" {
		return "channel " + ep.Channel
	}
	if ep.Broker != "" {
		return "channel " + ep.Broker + " on " + ep.Driver.Spec.Name
	}
	if ep.Driver.Kind == penstock.KindOfServer {
		return "a caller of " + ep.Driver.Spec.Name
	}
	return "the " + ep.Driver.Spec.Name + " connector"
}
