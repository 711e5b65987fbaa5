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
	"penstock.dev/penstock/internal/observe"
	"penstock.dev/penstock/internal/plan"
)

// pump drives one source of a flow.
type pump struct {
	flow   *flow
	ep     *plan.Endpoint
	source penstock.Source
	inst   *instance
	waits  bool    // the source is a Waiter
	label  string  // of the source, in identities
	stable bool    // its messages have positions that last: they are known by them
	server *server // it is called, and does not read; else nil
	hold   hold
	heir   *pump // while its flow is made to take the place of another: the pump that goes on
	spare  pool[intake]

	dice  *observe.Dice // begins traces; nil: nobody records any
	rolls bool          // its messages may begin one: else that was decided where they came from

	lost     bool             // it has no connection, and must be opened before it reads
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

func newPump(f *flow, in *instance, s penstock.Source) *pump {
	p := &pump{flow: f, ep: in.ep, inst: in, source: s, complete: map[uint64]fates{}, wake: make(chan struct{}, 1), through: map[uint64]*intake{}, counts: true}
	p.label, p.stable = identityLabel(in.ep), lasts(in.ep)
	p.hold.init(f.r)
	if w, ok := s.(Waiter); ok {
		w.Waits(f.r.idle, f.r.busy)
		p.waits = true
	}
	return p
}

// read runs the source until it ends or the run is stopped, handing works to lanes; or until another flow goes on with it.
func (p *pump) read(ctx context.Context) error {
	defer func() {
		if !p.hold.left() {
			p.end()
		}
	}()
	if p.server != nil {
		return p.server.serve(ctx)
	}
	failures := 0
	for {
		reading, ok := p.hold.pass(ctx)
		if !ok {
			return nil
		}
		if over, err := p.readNext(reading, &failures); over {
			return err
		}
	}
}

// readNext reads once. It says whether there is no more.
func (p *pump) readNext(ctx context.Context, failures *int) (over bool, err error) {
	f := p.flow
	if f.tx != nil {
		return f.tx.read(ctx, p)
	}
	if p.lost {
		if err := p.reopen(ctx, failures); err != nil || p.lost {
			return err != nil, err
		}
	}
	if f.durable {
		f.commit.room(ctx, p)
	}
	b := f.batches.get()
	err = p.readOnce(ctx, b)
	if len(b.Msgs) == 0 {
		f.recycle(b)
	} else {
		in := p.spare.get()
		in.src, in.batch = p, b
		*failures = 0
		if !p.dispatch(in) {
			return true, nil
		}
	}
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, io.EOF):
		return true, nil
	case ctx.Err() != nil:
		return false, nil //nolint:nilerr // it was interrupted, which is no error
	case errors.Is(err, penstock.ErrDisconnected):
		p.lost, p.reopened = true, true
		return false, nil
	}
	return true, &penstock.Error{Code: penstock.CodeOf(err), Op: "read " + p.ep.Name, Path: p.ep.Label, Err: err}
}

// reopen tries once, after a pause, to open the source that lost its connection. What may pass by itself is tried again.
func (p *pump) reopen(ctx context.Context, failures *int) error {
	*failures++
	if !p.flow.sleep(ctx, min(time.Duration(*failures)*200*time.Millisecond, 10*time.Second)) {
		return nil
	}
	err := p.source.Open(ctx)
	if p.lost = err != nil; !p.lost || ctx.Err() != nil {
		return nil //nolint:nilerr // it was interrupted, which is no error
	}
	if !errors.Is(err, penstock.ErrDisconnected) && !penstock.CodeOf(err).Transient() {
		return p.flow.opening(p.ep, err)
	}
	p.flow.log.Warn("not connected", "from", p.ep.Name, "tries", *failures, "error", err)
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
	if s, ok := p.source.(*subscription); ok && !s.ch.circle.Load() {
		return p.flow.ctx
	}
	return reading
}

// dispatch opens the ledger for an intake and gives its messages to lanes. False when the
// run was aborted.
func (p *pump) dispatch(in *intake) bool {
	f := p.flow
	in.entry = fromEntry
	if p.channel != nil {
		in.entry = p.channel.entry
	}
	in.begin(f.plan.Slots, f.runtime)
	p.begun(in)
	if p.channel != nil {
		in.bytes += p.channel.bytes
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
	if p == f.redriven {
		for i, at := range p.channel.deaths {
			in.tracks[i].times, in.tracks[i].known = at.times+1, at.known
			if f.parked != nil {
				f.parked.again(&in.tracks[i], at)
			}
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
			w.own.Runtime = f.runtime
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
