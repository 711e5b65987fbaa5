package run

import (
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// parcel is a message that is away from its lane, or held behind one that is: where it
// goes on, and with what.
type parcel struct {
	w       *work
	m       *penstock.Message
	pc      int
	attempt int   // of the try that is to come
	err     error // of the try before
	called  bool  // a call came back: reply or err
	reply   *reply
}

// chain is a key that waits: its first message is away, the others are held here in order.
type chain struct {
	away  *penstock.Message
	front []*parcel // held while the chain's own head was running on
	held  []*parcel
}

// mailbox is how messages come back to a lane. It never blocks the sender; what is in it
// was already counted against the flow's budget. The lane's queue guards it.
type mailbox struct {
	items []*parcel
	works []*work
}

func (b *mailbox) holds() bool { return len(b.items)+len(b.works) > 0 }

// post puts something into the lane's mailbox.
func (l *lane) post(p *parcel, w *work) { l.in.post(l, p, w) }

// leave takes a message off the lane until it is posted back. With order: per-key those
// of the same key behind it wait.
func (l *lane) leave(m *penstock.Message) {
	l.away++
	l.f.outstanding(1)
	if l.f.plan.Order != plan.PerKey {
		return
	}
	if l.heading && m.Key == l.headKey {
		l.heading = false
		l.chains[m.Key].away = m
		return
	}
	if l.chains[m.Key] == nil {
		l.chains[strings.Clone(m.Key)] = &chain{away: m} // the key's text ends with its message
	}
}

// later brings a message back after a pause.
func (l *lane) later(_ *exec, p *parcel, pause time.Duration) {
	l.leave(p.m)
	c, stop := l.f.r.clock.NewTimer(pause)
	go func() {
		select {
		case <-c:
		case <-l.f.ctx.Done():
		}
		l.f.r.busy()
		stop()
		l.post(p, nil)
		l.f.r.idle()
	}()
}

// hold keeps back the messages whose key waits. It takes ms over and returns the rest.
func (l *lane) hold(w *work, pc int, ms []*penstock.Message) []*penstock.Message {
	kept := ms[:0]
	for _, m := range ms {
		if !l.waits(m) {
			kept = append(kept, m)
			continue
		}
		l.park(&parcel{w: w, m: m, pc: pc, attempt: 1})
	}
	return kept
}

// waits says that a message of m's key is away and m is not the one that came back.
func (l *lane) waits(m *penstock.Message) bool {
	return l.chains[m.Key] != nil && (!l.heading || m.Key != l.headKey)
}

// park keeps a message behind the one of its key that is away.
func (l *lane) park(p *parcel) {
	c := l.chains[p.m.Key]
	if p.m.Key == l.headKey && l.running(p.m) {
		c.front = append(c.front, p)
	} else {
		c.held = append(c.held, p)
	}
}

// running says whether m belongs to the head of a chain that is being run down: such a
// message stands before those that are held.
func (l *lane) running(m *penstock.Message) bool {
	c := l.chains[m.Key]
	return c != nil && c.away != nil && c.away.Lineage == m.Lineage
}

// back goes on with a message that was away.
func (l *lane) back(p *parcel) {
	l.away--
	if l.f.plan.Order != plan.PerKey {
		l.resume(p)
		return
	}
	key := strings.Clone(p.m.Key)
	l.headKey, l.heading = key, true
	l.resume(p)
	for l.heading { // the head ran through: those behind it follow, until one leaves again
		c := l.chains[key]
		if len(c.held) == 0 {
			delete(l.chains, key)
			break
		}
		next := c.held[0]
		c.held = c.held[1:]
		l.resume(next)
	}
	if c := l.chains[key]; c != nil && len(c.front) > 0 {
		c.held = append(c.front, c.held...)
		c.front = nil
	}
	l.headKey, l.heading = "", false
}

// resume runs a parcel from where it was.
func (l *lane) resume(p *parcel) {
	x := &l.main
	w := p.w
	switch {
	case p.called:
		l.answered(p)
	case p.attempt > 1:
		n := &x.prog.nodes[p.pc]
		x.f.stats.Retries.Add(1)
		n.stats.Retries.Add(1)
		x.tries = p.attempt
		fails := append([]failure(nil), x.op(w, p.pc, n, append(x.take(), p.m))...)
		x.tries = 0
		for _, f := range fails {
			x.settleFailure(w, p.pc, n, f, p.attempt)
		}
		x.run(w, p.pc+1, nil)
	default:
		x.run(w, p.pc, append(x.take(), p.m))
	}
	l.finished(w)
}

// answered goes on with a message whose call came back.
func (l *lane) answered(p *parcel) {
	x := &l.main
	n := &x.prog.nodes[p.pc]
	err := p.err
	if err == nil {
		err = x.store(p.w, n, p.m, p.reply)
	}
	if err != nil {
		n.stats.Errors.Add(1)
		x.settleFailure(p.w, p.pc, n, failure{p.m, err}, max(p.attempt, 1))
	} else {
		x.put(p.w, n.Next, append(x.take(), p.m))
	}
	x.run(p.w, p.pc+1, nil)
}
