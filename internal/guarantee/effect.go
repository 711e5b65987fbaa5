package guarantee

import (
	"fmt"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// send applies the rules of what is sent.
func (d *deriver) send(n *plan.Node, op *plan.Send, s state) {
	d.sends++
	d.order = weaker(d.order, s.order)
	ep := op.Endpoint
	if ep == nil {
		return
	}
	if op.NoWait && (ep.Channel == "" || !d.durable(ep.Channel)) {
		d.because(bits{loses: true}, n.Name, n.Pos, "leave `wait: false` out, or send to a durable channel, which nobody waits for, and let a flow of its own read that",
			"with `wait: false` a failure is counted and nobody waits for it: what is sent may be missing")
	}
	if ep.Channel == "" && !op.Idempotent && ep.Driver.Spec.Rewrite != penstock.RewriteKnown && !d.f.Transaction.Has(ep) {
		d.tries(n, ep)
	}
	if ep.Driver != nil && ep.Driver.Spec.Reorders && s.order == plan.Total {
		d.order = weaker(d.order, plan.PerKey)
		d.lessOrder(plan.PerKey, n, describe(ep)+" has several requests under way at once: only messages of one key keep their order", "leave `inFlight` out, or say `order: per-key`")
	}
	d.kept(n, ep, s)
	d.effect(n.Name, n.Pos, ep, s, "send to a durable channel")
}

// kept applies the rule of a channel whose broker keeps less than the order that it is sent in.
func (d *deriver) kept(n *plan.Node, ep *plan.Endpoint, s state) {
	if ch := d.channels[ep.Channel]; ch != nil && ch.Relay != nil {
		ep = ch.Relay
	}
	if ep.Keeps == "" || rank(s.order) <= rank(ep.Keeps) {
		return
	}
	d.order = weaker(d.order, ep.Keeps)
	if ep.Keeps == plan.None {
		d.lessOrder(plan.None, n, "messages without a key are spread over the parts of "+describe(ep)+", which have no order among them", "give the channel a `key`, or say `partitions: 1`")
		return
	}
	d.lessOrder(plan.PerKey, n, describe(ep)+" has several parts: only messages of one key keep their order", "say `partitions: 1`, or `order: per-key`")
}

// effect applies the rules of writing to an endpoint. Instead is what mends an endpoint that may write twice.
func (d *deriver) effect(step string, pos penstock.Pos, ep *plan.Endpoint, s state, instead string) {
	if ch := d.channels[ep.Channel]; ch != nil && ch.Relay != nil {
		// What is in an outbox was recorded: what the relay writes once more is the same.
		d.effect(step, pos, ch.Relay, state{reached: true, again: true}, "keep the channel in the store: leave `broker` out")
		return
	}
	if ep.Channel != "" {
		if d.durable(ep.Channel) || !d.p.Durable && d.anew() {
			return
		}
		again := ""
		if s.again {
			again = ", or be handed over a second time"
		}
		d.because(bits{loses: true, repeats: s.again}, step, pos, "make it a durable channel: leave `durable: false` out",
			"channel %s is in memory: a message counts as done when it is handed over, and may be lost then%s", ep.Channel, again)
		return
	}
	spec := &ep.Driver.Spec
	if spec.Rewrite == penstock.RewriteNothing || d.f.Transaction.Has(ep) {
		return
	}
	if spec.Loses != "" {
		d.because(bits{loses: true}, step, pos, "send to something that keeps it: a file, or a durable channel",
			"%s loses %s", describe(ep), spec.Loses)
	}
	switch {
	case !s.again:
	case spec.Rewrite == penstock.RewriteKnown && spec.Known.By == plan.KnownToReaders && !d.p.Durable:
		d.because(bits{repeats: true}, step, pos, "let the run keep state: `store: {}` in the Integration", "%s may write a message twice after a crash, and the flows that read the channel keep nothing to know it by", describe(ep))
	case spec.Rewrite == penstock.RewriteTwice:
		if spec.Remedy != "" {
			instead = spec.Remedy + ", or " + instead
		}
		if spec.Transacts {
			instead = d.transacting(instead)
		}
		d.because(bits{repeats: true}, step, pos, instead, "%s may write a message twice after a crash", describe(ep))
	case s.differs != nil:
		hint := "put a durable step or channel between it and " + step + ", so that what it made is recorded"
		where := "step " + step
		if s.differs.step == step {
			hint, where = "do that in a step in front of it, with a durable step or channel between them", "it"
		}
		d.because(bits{repeats: true}, s.differs.step, s.differs.pos, hint,
			"%s, so that after a crash %s may write another message to %s", s.differs.why, where, describe(ep))
	case spec.Rewrite == penstock.RewriteKnown:
		d.known(step, pos, ep)
	}
}

// anew reports whether all that was read is read again by the next run, which begins at the beginning: then nothing is lost with what was handed
// over in memory. What a broker has been told of does not come again.
func (d *deriver) anew() bool {
	for _, ep := range d.f.Sources {
		if ep.Channel == "" && ep.Server == nil && (ep.Driver.Spec.Replay == penstock.ReplayAgain || ep.Driver.Spec.Keeps) {
			return false
		}
	}
	return true
}

// known says how a message that is written again is known where it is written to.
func (d *deriver) known(step string, pos penstock.Pos, ep *plan.Endpoint) {
	k := ep.Driver.Spec.Known
	text := fmt.Sprintf("a message that %s writes again is known by %s", describe(ep), k.By)
	if k.Within > 0 {
		if d.within == 0 || k.Within < d.within {
			d.within = k.Within
		}
		text += fmt.Sprintf(" for %s, and is there a second time after that", Span(k.Within))
	}
	d.add(plan.Reason{Delivery: plan.EffectivelyOnce, Step: step, Pos: pos, Text: text})
}

// transacting is the hint at a sink that could be part of a transaction and is not; otherwise is that which it had.
func (d *deriver) transacting(otherwise string) string {
	t, missing := Transaction(d.f)
	switch {
	case t != nil:
		return "declare `delivery: effectively-once`: what is read and what is sent is then committed together, in transactions on connection " + t.Connection
	case missing != "":
		return missing
	}
	return otherwise
}

// call applies the rules of a call's effect.
func (d *deriver) call(n *plan.Node, op *plan.Call, s state) {
	if op.Idempotent || op.Local || op.Endpoint == nil {
		return
	}
	d.tries(n, op.Endpoint)
	if s.again {
		d.because(bits{repeats: true}, n.Name, n.Pos, "call something that may be asked twice",
			"%s is not idempotent: after a crash it may be asked a second time", describe(op.Endpoint))
	}
}

// tries applies the rule of retries: a try that failed may have had its effect all the same. Retries of what is not idempotent
// happen only where they are declared.
func (d *deriver) tries(n *plan.Node, ep *plan.Endpoint) {
	r := n.Retry
	switch {
	case r != nil:
	case ep.Retry != nil:
		r = ep.Retry
	case n.Catch == plan.End && d.f.OnError.Declared:
		r = &d.f.OnError.Retry
	}
	if r != nil && r.Attempts > 1 {
		d.because(bits{repeats: true}, n.Name, n.Pos, "say `retry: { attempts: 1 }` at the step",
			"%s is tried again after a failure, though a try that failed may have had its effect", describe(ep))
	}
}

// stage applies the rules of a durable step.
func (d *deriver) stage(n *plan.Node, op *plan.Stage, s state) state {
	byKey := false
	switch spec := op.Spec.(type) {
	case *plan.Resequence:
		byKey = op.By != nil
		if s.order != plan.None && spec.Late == plan.LateInclude {
			d.lessOrder(s.order, n, "a message whose turn is over passes out of turn", "")
		}
	case *plan.Throttle:
		byKey = op.By != nil
	case *plan.Delay:
		if op.Until != nil && s.order != plan.None {
			s = d.boundary(n, s, false)
			d.lessOrder(plan.None, n, "messages go on when each of them is due", "use `for`, which is as long for each")
			s.order = plan.None
			return s
		}
	}
	return d.boundary(n, s, byKey)
}

// deadLetters applies the rules of onError.
func (d *deriver) deadLetters() {
	pos := d.f.Pos
	if dl := d.f.OnError.DeadLetter; dl != nil {
		if dl.Pos.IsValid() {
			pos = dl.Pos
		}
		d.effect("onError", pos, dl, state{reached: true, again: d.again}, "leave `deadLetter` out: dead letters are then kept in the store, once")
	} else if t := d.f.Transaction; t != nil {
		d.because(bits{repeats: true}, "onError", pos, fmt.Sprintf("name a place for dead letters on that connection: `onError: { deadLetter: { %s: { connection: %s, … } } }`", t.Driver, t.Connection),
			"dead letters are kept in the store, which is not part of the transactions on connection %s: after a crash one may be there twice", t.Connection)
	} else if !d.p.Durable && d.again && !d.all.repeats {
		d.because(bits{repeats: true}, "onError", pos, storeHint, "the run keeps no state: after a crash a dead letter may be there twice")
	}
	if d.order != plan.None && !d.f.OnError.Park {
		d.add(plan.Reason{Order: d.f.Order, Step: "onError", Pos: pos, Hint: "say `onError: { order: park }` to hold back what comes behind it",
			Text: "a dead letter leaves a gap: later messages of its key pass it"})
	}
}

// Span writes a length of time as it stands in files: 7d, 36h, 1m30s.
func Span(t time.Duration) string {
	const day = 24 * time.Hour
	if t > 0 && t%day == 0 {
		return fmt.Sprintf("%dd", t/day)
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// Promise names what g gives in a few words: "effectively-once within 7d".
func Promise(g plan.Guarantee) string {
	if g.Within > 0 {
		return string(g.Delivery) + " within " + Span(g.Within)
	}
	return string(g.Delivery)
}
