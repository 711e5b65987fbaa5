package run

import (
	"errors"
	"strings"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
	"penstock.dev/penstock/jsonview"
)

// send writes the messages to the node's endpoint.
func (x *exec) send(w *work, n *node, op *plan.Send, ms []*penstock.Message) {
	if n.sink.outlet != nil {
		x.recordSend(w, n, op, ms)
		return
	}
	if op.NoWait {
		x.tap(w, n, op, ms)
		x.put(w, n.Next, ms)
		return
	}
	out, mapped := x.outgoing(w, op, ms, x.fail)
	if len(out) == 0 {
		x.give(ms)
		return
	}
	patience := n.patience()
	if n.sink.many {
		patience = 0 // it bounds each of its requests
	}
	ctx, cancel := x.f.timeout(x.context(), patience)
	defer cancel()
	b := w.batch
	own := b.Msgs
	b.Msgs = out
	err := n.sink.write(ctx, b, x.tries > 1)
	b.Msgs = own
	var each *penstock.BatchError
	switch {
	case err == nil:
		n.sink.sent.Add(int64(len(out)))
		x.noteSent(n.sink, ms)
		if mapped {
			kept := ms[:0]
			for _, m := range ms {
				if !x.hasFailed(m) {
					kept = append(kept, m)
				}
			}
			ms = kept
		}
		x.put(w, n.Next, ms)
		return
	case errors.As(err, &each):
	default:
		err = x.f.timedOut(ctx, patience, n.Name, err)
	}
	// Some or all failed.
	sent := x.take()
	var stuck map[string]bool // keys of which a message has failed that may be written later
	j := 0
	for _, m := range ms {
		if mapped && x.hasFailed(m) {
			continue
		}
		e := err
		key := out[j].Key
		if each != nil {
			e = each.Errs[j]
		}
		j++
		switch {
		case e == nil:
			sent = append(sent, m)
		case each != nil && penstock.CodeOf(e).Transient():
			x.fails = append(x.fails, failure{m: m, err: e, behind: stuck[key] || errors.Is(e, errBehind)})
			if stuck == nil {
				stuck = map[string]bool{}
			}
			stuck[key] = true
		default:
			x.fail(m, e)
		}
	}
	n.sink.sent.Add(int64(len(sent)))
	x.noteSent(n.sink, sent)
	x.give(ms)
	x.put(w, n.Next, sent)
}

func (x *exec) hasFailed(m *penstock.Message) bool {
	for i := range x.fails {
		if x.fails[i].m == m {
			return true
		}
	}
	return false
}

// outgoing makes the messages that are sent: the flow's own, or copies with the body and
// key that the step gives. mapped says that they are copies.
func (x *exec) outgoing(w *work, op *plan.Send, ms []*penstock.Message, fail func(*penstock.Message, error)) (out []*penstock.Message, mapped bool) {
	if op.Body == nil && op.Key == nil && op.Rekey == nil {
		return ms, false
	}
	out = x.take()
	for _, m := range ms {
		c := child(w.batch, m, 0)
		c.Seq = m.Seq
		if op.Body != nil {
			dst, err := op.Body.Append(x.scratch[:0], w.batch.Frame(m))
			if err != nil {
				fail(m, err)
				continue
			}
			x.scratch = dst
			d := w.batch.NewDoc()
			d.Reset(jsonview.JSON, w.batch.Arena().Copy(dst))
			c.Body = d
		}
		if op.Key != nil {
			key, err := text(op.Key, w.batch.Frame(m), op.Endpoint.Name+" key")
			if err != nil {
				fail(m, err)
				continue
			}
			c.Key = key
		}
		if op.Rekey != nil {
			key, err := text(op.Rekey, w.batch.Frame(c), "key of channel "+op.Endpoint.Broker)
			if err != nil {
				fail(m, err)
				continue
			}
			c.Key = key
		}
		out = append(out, c)
	}
	return out, true
}

// tap sends copies beside the flow (wait: false): what fails is counted and logged, the
// message goes on.
func (x *exec) tap(w *work, n *node, op *plan.Send, ms []*penstock.Message) {
	lost := x.untapped(n)
	out, mapped := x.outgoing(w, op, ms, lost)
	if len(out) == 0 {
		return
	}
	// The copy leaves the flow: it has memory of its own, and nobody waits for it.
	b := x.f.batches.get()
	b.Runtime = x.f.runtime
	for _, m := range out {
		c := b.Append()
		copyOut(b, c, m)
		for _, v := range m.Vars {
			c.Vars = append(c.Vars, v.Clone())
		}
		c.Lineage = departed(m)
	}
	if mapped {
		x.give(out)
	}
	ctx := x.context()
	x.f.tapSlots.take(nil) // a stalled tap holds the flow, it doesn't fill the memory
	x.f.r.busy()
	x.f.outstanding(1)
	x.f.beside.Go(func() {
		defer x.f.r.idle()
		defer x.f.outstanding(-1)
		defer x.f.tapSlots.give()
		defer x.f.recycle(b)
		defer x.f.guard(n.Name)
		count := len(b.Msgs)
		err := n.sink.write(ctx, b, false)
		var each *penstock.BatchError
		switch {
		case err == nil:
		case errors.As(err, &each):
			for _, e := range each.Errs {
				lost(nil, e)
			}
			count -= len(each.Errs)
		default:
			for range count {
				lost(nil, err)
			}
			count = 0
		}
		n.sink.sent.Add(int64(count))
	})
}

// untapped counts and logs what a tap could not send.
func (x *exec) untapped(n *node) func(*penstock.Message, error) {
	return func(_ *penstock.Message, err error) {
		n.stats.failed(err)
		x.f.stats.Lost.Add(1)
		x.f.log.Warn("not sent", "step", n.Name, "error", err)
	}
}

// copyOut makes c a copy of m that owns all of its memory through b.
func copyOut(b *penstock.Batch, c, m *penstock.Message) {
	m.Body.CloneInto(c.Body, b.Arena().Alloc)
	c.Key = strings.Clone(m.Key)
	c.Time = m.Time
	c.Pos, c.Lineage = m.Pos, nil
	for _, e := range m.Meta.Entries() {
		c.Meta.Set(e.Name, e.Value.Clone())
	}
}

// recordSend sends to a durable channel: what is sent is recorded, and written in the transaction that settles the
// source message. If the message dies, it is taken back, but for what a wire tap (wait: false) has seen.
func (x *exec) recordSend(w *work, n *node, op *plan.Send, ms []*penstock.Message) {
	if op.Job != nil {
		x.enqueue(w, n, op, ms)
		return
	}
	o, now := n.sink.outlet, x.f.now()
	kept := ms[:0]
	mapped := op.Body != nil || op.Key != nil
	sent := int64(0)
	fail := x.fail
	if op.NoWait {
		lost := x.untapped(n)
		fail = func(m *penstock.Message, err error) {
			lost(m, err)
			kept = append(kept, m)
		}
	}
	for _, m := range ms {
		out := m
		if mapped {
			made, _ := x.outgoing(w, op, []*penstock.Message{m}, fail)
			if len(made) == 0 {
				x.give(made)
				continue
			}
			out = made[0]
			x.give(made)
		}
		if o.key != nil {
			key, err := text(o.key, w.batch.Frame(out), "key of channel "+o.name)
			if err != nil {
				fail(m, err)
				continue
			}
			if out == m { // the message itself keeps its key
				out = child(w.batch, m, 0)
			}
			out.Key = key
		}
		by := x.author(m)
		if op.NoWait {
			by.m = nil // a wire tap sees what passes, also what dies behind it
		}
		m.Lineage.(*track).append(by, o, out, x.f.header(m, now), nil)
		kept = append(kept, m)
		sent++
	}
	n.sink.sent.Add(sent)
	x.put(w, n.Next, kept)
}

// noteSent notes in a run that keeps state that messages were written to a sink.
func (x *exec) noteSent(s *sink, ms []*penstock.Message) {
	if !x.f.durable {
		return
	}
	for _, m := range ms {
		m.Lineage.(*track).sent(s, m.Key)
	}
}
