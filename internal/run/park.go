package run

import (
	"math/bits"
	"slices"
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
	away    bool // on its way: only its place in the chain
	fate    fate // at plan.End: how it is about to end
	attempt int  // of the try that is to come
	again   bool // the node runs again, without its condition
	retry   bool // … since it failed
	called  bool // a call came back: reply or err
	reply   *reply
	err     error
	cause   error // why it is tried again
}

// chain is a key that waits: those of its messages that are away or held, in order. Only the first
// may go on, so that none is ever overtaken.
type chain struct{ parcels []*parcel }

// put puts p in its place.
func (c *chain) put(p *parcel) {
	i := len(c.parcels)
	for i > 0 && comesBefore(p.w, p.m, c.parcels[i-1]) {
		i--
	}
	c.parcels = slices.Insert(c.parcels, i, p)
}

func comesBefore(w *work, m *penstock.Message, p *parcel) bool {
	return w.no < p.w.no || w.no == p.w.no && m.Seq < p.m.Seq
}

// A message's Seq is its place among those that travel together: its lowest bit that is set says how
// wide the place is, so that what is made of the message stands within it.

// place is the Seq of the i-th message of an intake.
func place(i int) uint64 { return uint64(i)<<40 | 1<<39 }

// within is the Seq of the i-th of n parts of the message at seq. Where splits are nested so deeply
// that the place is too narrow, all parts stand in the same.
func within(seq uint64, i, n int) uint64 {
	width := bits.TrailingZeros64(seq) - bits.Len(uint(n))
	if width < 1 {
		return seq
	}
	return seq + uint64(i)<<width + 1<<(width-1)
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
func (l *lane) leave(w *work, m *penstock.Message) {
	l.away++
	l.f.outstanding(1)
	if l.f.plan.Order == plan.PerKey {
		l.park(&parcel{w: w, m: m, away: true})
	}
}

// later brings a message back after a pause.
func (l *lane) later(p *parcel, pause time.Duration) {
	l.leave(p.w, p.m)
	c, stop := l.f.r.clock.NewTimer(pause)
	l.f.beside.Go(func() {
		select {
		case <-c:
		case <-l.f.ctx.Done():
		}
		l.f.r.busy()
		stop()
		l.post(p, nil)
		l.f.r.idle()
	})
}

// hold keeps back the messages whose key waits. It takes ms over and returns the rest.
func (l *lane) hold(w *work, pc int, ms []*penstock.Message) []*penstock.Message {
	kept := ms[:0]
	for _, m := range ms {
		if !l.waits(w, m) {
			kept = append(kept, m)
			continue
		}
		l.park(&parcel{w: w, m: m, pc: pc, attempt: 1})
	}
	return kept
}

// waits says that a message of m's key is away that comes before m.
func (l *lane) waits(w *work, m *penstock.Message) bool {
	c := l.chains[m.Key]
	return c != nil && len(c.parcels) > 0 && !comesBefore(w, m, c.parcels[0])
}

// park puts a message into the chain of its key.
func (l *lane) park(p *parcel) {
	c := l.chains[p.m.Key]
	if c == nil {
		c = &chain{}
		l.chains[strings.Clone(p.m.Key)] = c // the key's text ends with its message
	}
	c.put(p)
}

// back goes on with a message that was away, and with those behind it that waited for it.
func (l *lane) back(p *parcel) {
	l.away--
	if l.f.plan.Order != plan.PerKey {
		l.resume(p)
		return
	}
	key := strings.Clone(p.m.Key)
	c := l.chains[key]
	i := slices.IndexFunc(c.parcels, func(o *parcel) bool { return o.m == p.m })
	c.parcels[i] = p
	for len(c.parcels) > 0 && !c.parcels[0].away {
		first := c.parcels[0]
		c.parcels = slices.Delete(c.parcels, 0, 1)
		l.resume(first)
	}
	if len(c.parcels) == 0 {
		delete(l.chains, key)
	}
}

// resume runs a parcel from where it was.
func (l *lane) resume(p *parcel) {
	x := &l.main
	w := p.w
	switch {
	case p.called:
		l.answered(p)
	case p.pc == plan.End:
		x.end(w, []*penstock.Message{p.m}, p.fate)
		x.endInOrder(w)
	case p.again:
		n := &x.prog.nodes[p.pc]
		if p.retry {
			x.f.stats.Retries.Add(1)
			n.stats.Retries.Add(1)
		}
		x.tries, x.cause = p.attempt, p.cause
		fails := append([]failure(nil), x.op(w, p.pc, n, append(x.take(), p.m))...)
		x.tries, x.cause = 0, nil
		for _, f := range fails {
			f.err = cause(f.err, p.cause)
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
	err := cause(p.err, p.cause)
	if err == nil {
		err = x.store(p.w, n, p.m, p.reply)
	}
	if err != nil {
		n.stats.failed(err)
		x.settleFailure(p.w, p.pc, n, failure{m: p.m, err: err}, max(p.attempt, 1))
	} else {
		x.put(p.w, n.Next, append(x.take(), p.m))
	}
	x.run(p.w, p.pc+1, nil)
}
