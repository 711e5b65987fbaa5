package run

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/plan"
)

// pump drives one source of a flow.
type pump struct {
	flow   *flow
	ep     *plan.Endpoint
	source penstock.Source
	opened bool
	waits  bool // the source is a Waiter
	spare  pool[intake]

	reopened bool             // it has lost its connection, and may read again what it read before
	reached  map[string]int64 // mu: how far each stream was read, where the store keeps its positions

	mu        sync.Mutex
	complete  map[uint64]fates   // of intakes that ended before one that was read earlier
	ready     []penstock.Outcome // in order, waiting for the settler
	standFor  int                // messages that ready speaks of
	intakes   int                // intakes that ready speaks of
	readSeq   uint64             // intakes read by this pump
	nextSeq   uint64             // the next to settle
	wake      chan struct{}
	ended     bool // no more will be read
	open      int  // read but not settled
	forgotten bool // what is not complete by now will not be settled: the run was stopped

	// In a run that keeps state; the committer guards them.
	channel *channelSource     // nil: a driver's
	stage   *stageNode         // nil: not the reader behind a durable step
	keeps   bool               // the store keeps its positions
	counts  bool               // what it reads counts as read by the flow
	at      positions          // how far it is settled
	through map[uint64]*intake // intakes that have been through the lanes, by read
	before  map[string]kept    // what earlier runs have settled
	inbox   *inbox             // nil: its messages have no identities
}

func newPump(f *flow, ep *plan.Endpoint, s penstock.Source) *pump {
	p := &pump{flow: f, ep: ep, source: s, complete: map[uint64]fates{}, wake: make(chan struct{}, 1), through: map[uint64]*intake{}, counts: true}
	if w, ok := s.(Waiter); ok {
		w.Waits(f.r.idle, f.r.busy)
		p.waits = true
	}
	return p
}

// read runs the source until it ends or the run is stopped, handing works to lanes.
func (p *pump) read(ctx context.Context) error {
	defer p.end()
	f := p.flow
	failures := 0
	for ctx.Err() == nil {
		if f.durable {
			f.commit.room(ctx, p)
		}
		b := f.batches.get()
		err := p.readOnce(ctx, b)
		if len(b.Msgs) == 0 {
			f.recycle(b)
		} else {
			in := p.spare.get()
			in.src, in.batch = p, b
			failures = 0
			if !p.dispatch(in) {
				return nil
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, penstock.ErrDisconnected):
			failures, p.reopened = failures+1, true
			if !f.sleep(ctx, min(time.Duration(failures)*200*time.Millisecond, 10*time.Second)) {
				return nil
			}
			if err := p.source.Open(ctx); err != nil && !errors.Is(err, penstock.ErrDisconnected) {
				return f.opening(p.ep, err)
			}
		default:
			return &penstock.Error{Code: penstock.CodeOf(err), Op: "read " + p.ep.Name, Path: p.ep.Label, Err: err}
		}
	}
	return nil
}

// readOnce reads. A source that doesn't say when it waits counts as waiting all the time.
func (p *pump) readOnce(ctx context.Context, into *penstock.Batch) error {
	if !p.waits {
		p.flow.r.idle()
		defer p.flow.r.busy()
	}
	return p.source.Read(ctx, into)
}

// until is how long the pump reads. A run that is stopped stops at its sources; what stands in
// channels in memory is still worked on, until those who send to them have ended. Where flows feed one
// another in a circle nobody would end first, so those stop with the sources.
func (p *pump) until(reading context.Context) context.Context {
	if s, ok := p.source.(*subscription); ok && !s.ch.circle {
		return p.flow.ctx
	}
	return reading
}

// dispatch opens the ledger for an intake and gives its messages to lanes. False when the
// run was aborted.
func (p *pump) dispatch(in *intake) bool {
	f := p.flow
	in.begin(f.plan.Slots, f.r.runtime)
	if p.channel != nil {
		in.bytes += p.channel.bytes
		in.entry = p.channel.entry
	} else {
		in.entry = fromEntry
	}
	if !f.budget.acquire(in.count, in.bytes) {
		return false
	}
	if p.counts {
		f.stats.Read.Add(int64(in.count))
	} else if p == f.redriven {
		f.stats.Redriven.Add(int64(in.count))
	}
	p.number(in)
	if p.keeps && !p.each() {
		p.repeat(in)
	}
	if p == f.redriven && f.parked != nil {
		for i, at := range p.channel.deaths {
			f.parked.again(&in.tracks[i], at)
		}
	}
	if f.plan.Delivery == plan.AtMostOnce && !mutation.On("at-most-once-late") {
		if err := p.first(in); err != nil {
			if f.ctx.Err() == nil {
				f.fatal(err)
			}
			return false
		}
	}
	if f.plan.Order == plan.PerKey {
		return p.byKey(in)
	}
	w := f.works.get()
	w.in, w.batch, w.handled = in, in.batch, int32(in.count)
	w.msgs, w.early = unread(in.batch, w.msgs[:0], w.early[:0])
	in.mem.Store(int32(in.count))
	in.works.Store(1)
	w.msgs = p.fresh(w, w.msgs)
	return f.hand(w, f.queue)
}

// number gives an intake its number among those of its source.
func (p *pump) number(in *intake) {
	mu := &p.mu
	if p.flow.durable {
		mu = &p.flow.commit.mu
	}
	mu.Lock()
	in.read = p.readSeq
	p.readSeq++
	p.open++
	mu.Unlock()
}

// unread parts the messages that a source could read from those that it marked as failed
// (a record that is none).
func unread(b *penstock.Batch, msgs []*penstock.Message, early []failure) ([]*penstock.Message, []failure) {
	if b.Failed() == 0 {
		return append(msgs, b.Msgs...), early
	}
	for i, m := range b.Msgs {
		if err := b.Err(i); err != nil {
			early = append(early, failure{m: m, err: err})
		} else {
			msgs = append(msgs, m)
		}
	}
	b.ClearErrors()
	return msgs, early
}

// hand numbers a work and puts it into a lane's queue. Sources of one flow take turns, so
// that queues and numbers agree.
func (f *flow) hand(w *work, to *queue) bool {
	f.numbers.take(nil)
	defer f.numbers.give()
	f.number(w.in)
	w.turn = f.gate != nil
	f.water.arrive(w.in, 1)
	return f.put(w, to)
}

// number numbers an intake among those of the flow.
func (f *flow) number(in *intake) {
	in.seq = f.seq
	f.seq++
	if f.parked != nil {
		in.numbers = f.parked.reserve(len(in.tracks), f.r.clock.Now())
	}
}

func (f *flow) put(w *work, to *queue) bool {
	f.outstanding(1)
	if to.put(w) {
		return true
	}
	f.outstanding(-1)
	return false
}

var keySeed = maphash.MakeSeed()

// laneOf says which lane has a key, and the key's hash.
func (f *flow) laneOf(key string) (int, uint64) {
	h := maphash.String(keySeed, key)
	return int(h % uint64(len(f.lanes))), h
}

// byKey gives each message to the lane of its key. The key is computed here, before the
// lanes, since it says which one.
func (p *pump) byKey(in *intake) bool {
	f := p.flow
	parts := make([]*work, len(f.lanes))
	n := int32(0)
	for i, m := range in.batch.Msgs {
		err := in.batch.Err(i)
		if err == nil && in.first() {
			err = f.setKey(in.batch, m)
		}
		l, hash := f.laneOf(m.Key)
		if f.durable {
			in.tracks[i].hash = hash
		}
		w := parts[l]
		if w == nil {
			w = f.works.get()
			if w.own == nil {
				w.own = &penstock.Batch{}
			}
			w.own.Runtime = f.r.runtime
			w.in, w.batch, w.msgs = in, w.own, w.msgs[:0]
			parts[l] = w
			n++
		}
		w.handled++
		if err != nil {
			w.early = append(w.early, failure{m: m, err: err})
		} else {
			w.msgs = append(w.msgs, m)
		}
	}
	in.batch.ClearErrors()
	in.mem.Store(int32(in.count))
	in.works.Store(n)
	f.numbers.take(nil)
	defer f.numbers.give()
	f.number(in)
	f.water.arrive(in, n)
	for l, w := range parts {
		if w != nil {
			w.msgs = p.fresh(w, w.msgs)
		}
		if w != nil && !f.put(w, f.lanes[l].in) {
			return false
		}
	}
	return true
}

// setKey computes a message's key. A flow without a key keeps the source's.
func (f *flow) setKey(b *penstock.Batch, m *penstock.Message) error {
	if f.plan.Key == nil {
		return nil
	}
	key, err := text(f.plan.Key, b.Frame(m), "key")
	m.Key = key
	return err
}

// end says that the source has no more.
func (p *pump) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.signal()
	if p.flow.durable {
		p.flow.commit.wake()
	}
}

// over says that the source has no more.
func (p *pump) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

func (p *pump) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
