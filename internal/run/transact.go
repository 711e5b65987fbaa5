package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/mutation"
)

// How much a transaction gathers. A commit takes a few round trips, while which nothing is written: the more messages share one,
// the less of it each pays. What is read is visible to others only behind it.
const (
	epochLasts    = 100 * time.Millisecond // at least, and epochShare times as long as the commit before took
	epochLongest  = 2 * time.Second
	epochShare    = 10
	epochMessages = 100_000
)

// transactions runs a flow whose outputs and positions are committed together (plan.Transaction), in epochs: an epoch has
// everything that was made of what was read since the one before, and nothing else. Pumps ask to be let in (admit), the epoch is closed in
// front of them when it is due, what is in flight runs out, and its positions are committed with it. If anything of that fails the epoch is
// doomed: what its messages write goes nowhere, and its pumps open their sources anew, which read it again.
//
// Messages take no notice: to them a doomed transaction writes well.
type transactions struct {
	f     *flow
	sinks []*sink // that are in the transaction

	mu      sync.Mutex
	moved   cond
	readers []*epochReader
	tx      penstock.Tx // nil: nothing was written in the epoch
	begins  bool        // somebody begins it
	closing bool        // nobody is let in
	due     bool
	hurried bool // a reload waits, or the flow is paused: not to wait for more
	ending  bool // nothing more will be read
	flying  int  // intakes that were let in and have not ended
	count   int  // messages of the epoch
	doom    error

	failures int           // epochs in a row that were undone
	timer    *time.Timer   // when the epoch is due; nil: none
	took     time.Duration // by the commit before
}

// epochReader is what an epoch knows of a pump.
type epochReader struct {
	p      *pump
	at     []penstock.Position // of the last message of each stream, in the epoch
	rewind bool                // what it has read was undone: it is to open its source anew
	waits  bool                // its source has ended, and it waits for the epoch
	cancel context.CancelFunc  // of what it reads; nil: it does not
}

func newTransactions(f *flow) *transactions {
	t := &transactions{f: f}
	t.moved.init(f.r, &t.mu)
	return t
}

// prepare makes the pumps and sinks of a flow known, once they are built.
func (t *transactions) prepare() error {
	for _, p := range t.f.pumps {
		t.readers = append(t.readers, &epochReader{p: p})
	}
	for _, s := range t.f.sinks {
		if !t.f.plan.Transaction.Has(s.ep) {
			continue
		}
		if _, ok := s.s.(penstock.Transactor); !ok {
			return &penstock.Error{Code: penstock.Internal, Op: s.ep.Name, Path: s.ep.Pos.String(),
				Err: fmt.Errorf("the driver %s says that it transacts, and is no penstock.Transactor", s.ep.Driver.Spec.Name), Hint: "mend the driver, or register it without Transacts"}
		}
		s.tx = t
		t.sinks = append(t.sinks, s)
	}
	return nil
}

// reader is what is known of p.
func (t *transactions) reader(p *pump) *epochReader {
	return t.readers[slices.IndexFunc(t.readers, func(r *epochReader) bool { return r.p == p })]
}

// read reads once for p, and lets what it has read into the epoch. It says whether there is no more.
func (t *transactions) read(ctx context.Context, p *pump) (over bool, err error) {
	r := t.reader(p)
	reading, err := t.pass(ctx, r)
	if reading == nil {
		return err != nil, err
	}
	b := t.f.batches.get()
	err = p.readOnce(reading, b)
	interrupted := reading.Err() != nil
	if !t.admit(r, b) { // the source gives it again, or the run was aborted
		t.f.recycle(b)
		return t.f.ctx.Err() != nil, nil
	}
	if len(b.Msgs) == 0 {
		t.f.recycle(b)
	} else {
		in := p.spare.get()
		in.src, in.batch = p, b
		if !p.dispatch(in) {
			return true, nil
		}
	}
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, io.EOF):
		return t.end(r), nil
	case errors.Is(err, penstock.ErrDisconnected):
		t.undo(err)
		return false, nil
	case interrupted:
		return false, nil //nolint:nilerr // which is no error
	}
	return true, &penstock.Error{Code: penstock.CodeOf(err), Op: "read " + p.ep.Name, Path: p.ep.Label, Err: err}
}

// pass waits while an epoch is undone, and opens the source anew where that concerns it. It gives the context of what is read next, which ends
// when an epoch is doomed; nil: ctx has ended, or there is an error.
func (t *transactions) pass(ctx context.Context, r *epochReader) (context.Context, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.doom != nil {
		stop := t.moved.wakeAfter(ctx)
		defer stop()
		for t.doom != nil && ctx.Err() == nil {
			t.moved.wait()
		}
	}
	for r.rewind && ctx.Err() == nil {
		pause := min(time.Duration(t.failures-1)*200*time.Millisecond, 10*time.Second) // a group that was shared anew is read on at once
		t.mu.Unlock()
		err := context.Canceled
		if t.f.sleep(ctx, pause) {
			err = r.p.source.Open(ctx)
		}
		t.mu.Lock()
		switch {
		case err == nil:
			r.rewind = false
		case ctx.Err() != nil:
		case errors.Is(err, penstock.ErrDisconnected) || penstock.CodeOf(err).Transient():
			t.failures++
		default:
			return nil, t.f.opening(r.p.ep, err)
		}
	}
	if ctx.Err() != nil {
		return nil, nil
	}
	ctx, r.cancel = context.WithCancel(ctx)
	return ctx, nil
}

// admit lets what was read into the epoch, or into the next one. False where that was doomed meanwhile, or the run aborted.
func (t *transactions) admit(r *epochReader, b *penstock.Batch) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r.cancel()
	r.cancel = nil
	if len(b.Msgs) > 0 && t.closing {
		stop := t.moved.wakeAfter(t.f.ctx)
		defer stop()
		for t.closing && !r.rewind && t.f.ctx.Err() == nil {
			t.moved.wait()
		}
	}
	if r.rewind || t.f.ctx.Err() != nil {
		return false
	}
	if len(b.Msgs) == 0 {
		return true
	}
	for _, m := range b.Msgs {
		r.moved(m.Pos)
	}
	t.flying++
	if t.count == 0 {
		t.begin()
	}
	t.count += len(b.Msgs)
	if t.count >= epochMessages {
		t.due = true
		t.moved.wake()
	}
	return true
}

// moved notes the position of a message that was read.
func (r *epochReader) moved(pos penstock.Position) {
	for i := len(r.at) - 1; i >= 0; i-- {
		if r.at[i].Stream == pos.Stream {
			r.at[i] = pos
			return
		}
	}
	r.at = append(r.at, pos)
}

// begin begins an epoch. The lock must be held.
func (t *transactions) begin() {
	t.moved.wake()
	if t.f.r.opts.OnIdle != nil { // somebody waits for the run's rest
		t.due = true
		return
	}
	t.timer = time.AfterFunc(min(max(epochLasts, epochShare*t.took), epochLongest), func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.due = true
		t.moved.wake()
	})
}

// end waits until what a source that has ended has given is committed. False: it was undone, and the source is to be read again.
func (t *transactions) end(r *epochReader) (over bool) {
	stop := t.moved.wakeAfter(t.f.ctx)
	defer stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	r.waits = true
	t.moved.wake()
	for len(r.at) > 0 && !r.rewind && t.f.ctx.Err() == nil {
		t.moved.wait()
	}
	r.waits = false
	return !r.rewind
}

// completed takes an intake whose messages have all ended.
func (t *transactions) completed(in *intake) {
	in.over(len(in.tracks))
	in.endSpans()
	in.part()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flying--; t.flying == 0 {
		t.moved.wake()
	}
}

// write writes to a sink of the transaction. What can never be written is the caller's to see to; whatever else fails dooms the epoch.
func (t *transactions) write(ctx context.Context, s *sink, b *penstock.Batch) error {
	tx, err := t.open()
	if tx == nil {
		t.undo(err)
		return nil
	}
	s.mu.Lock()
	err = tx.Write(ctx, s.s, b)
	s.mu.Unlock()
	var each *penstock.BatchError
	if errors.As(err, &each) {
		for _, e := range each.Errs {
			if e != nil && penstock.CodeOf(e).Transient() {
				t.undo(e)
				return nil
			}
		}
		return err
	}
	t.undo(err)
	return nil
}

// open gives the epoch's transaction, begun where nothing was written yet. Nil where the epoch is doomed, or becomes so by the error.
func (t *transactions) open() (penstock.Tx, error) {
	ctx := t.f.ctx // it outlives the write that begins it
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.begins {
		t.moved.wait()
	}
	if t.doom != nil || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if t.tx != nil {
		return t.tx, nil
	}
	t.begins = true
	t.mu.Unlock()
	tx, err := t.sinks[0].s.(penstock.Transactor).Begin(ctx)
	t.mu.Lock()
	t.begins = false
	t.moved.wake()
	t.tx = tx
	if err != nil {
		t.tx = nil
		return nil, err
	}
	return tx, nil
}

// undo dooms the epoch, where err is an error.
func (t *transactions) undo(err error) {
	if err == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.doom != nil {
		return
	}
	t.doom = err
	for _, r := range t.readers {
		if r.p.over() {
			continue
		}
		r.rewind = !mutation.On("undone-not-read-again")
		if r.cancel != nil {
			r.cancel()
		}
	}
	t.moved.wake()
}

// finish says that nothing more will be read.
func (t *transactions) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ending = true
	t.moved.wake()
}

// hasten lets epochs be committed at once.
func (t *transactions) hasten(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hurried = on
	t.moved.wake()
}

// quiet says that everything that was read is committed.
func (t *transactions) quiet() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count == 0 && t.doom == nil
}

// run commits epochs until nothing more will be read, or ctx ends.
func (t *transactions) run(ctx context.Context) error {
	defer t.f.r.idle()
	stop := t.moved.wakeAfter(ctx)
	defer stop()
	for t.gather(ctx) {
		err := t.commit(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			t.undo(err)
			if err = t.abort(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// close undoes what an aborted run has left. Nothing writes any more.
func (t *transactions) close() {
	if t.tx == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.f.ctx), abortWithin)
	defer cancel()
	if err := t.tx.Abort(ctx); err != nil {
		t.f.log.Warn("the last transaction was not undone; its target does that when it has waited long enough", "error", t.f.hide(err))
	}
	t.tx = nil
}

// abortWithin is how long a run that ends in a hurry tries to undo its transaction.
const abortWithin = 5 * time.Second

// goesOn says that a pump of the flow before goes on in place of p, which never read.
func (t *transactions) goesOn(p, with *pump) {
	r := t.reader(p)
	r.p = with
	if with.flow.tx != nil {
		r.rewind = with.flow.tx.reader(with).rewind
	}
}

// gather waits until an epoch is due and nothing of it is in flight. False: there is none, nor will there be.
func (t *transactions) gather(ctx context.Context) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.count == 0 && t.doom == nil && !t.ending && ctx.Err() == nil {
		t.moved.wait()
	}
	if t.count == 0 && t.doom == nil || ctx.Err() != nil {
		return false
	}
	for !t.due && !t.hurried && !t.ending && t.doom == nil && !t.awaited() && ctx.Err() == nil {
		t.moved.wait()
	}
	t.closing = true
	for t.flying > 0 && ctx.Err() == nil && !mutation.On("epoch-not-drained") {
		t.moved.wait()
	}
	return ctx.Err() == nil
}

// awaited says that a source has ended and waits.
func (t *transactions) awaited() bool {
	return slices.ContainsFunc(t.readers, func(r *epochReader) bool { return r.waits })
}

// commit commits the epoch, whose messages have all ended.
func (t *transactions) commit(ctx context.Context) error {
	t.mu.Lock()
	doom := t.doom
	t.mu.Unlock()
	if doom != nil {
		return doom
	}
	if err := t.f.flushSinks(ctx); err != nil { // those that are not in the transaction
		return err
	}
	tx, err := t.open() // where nothing was written, the positions move all the same
	if tx == nil {
		return err
	}
	began := time.Now()
	for _, r := range t.readers {
		if len(r.at) == 0 || mutation.On("epoch-without-positions") {
			continue
		}
		if err := tx.Positions(ctx, r.p.source, r.at); err != nil {
			return err
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took, t.failures = time.Since(began), 0
	t.f.stats.Settled.Add(int64(t.count))
	t.next()
	return nil
}

// next makes ready for another epoch. The lock must be held.
func (t *transactions) next() {
	for _, r := range t.readers {
		r.at = r.at[:0]
	}
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	t.tx, t.count, t.due, t.closing, t.doom = nil, 0, false, false, nil
	t.moved.wake()
}

// abort undoes a doomed epoch, of which nothing is in flight any more. An error ends the run.
func (t *transactions) abort(ctx context.Context) error {
	t.mu.Lock()
	for t.flying > 0 && ctx.Err() == nil {
		t.moved.wait()
	}
	tx, doom := t.tx, t.doom
	t.mu.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	var failed error
	if tx != nil {
		failed = tx.Abort(ctx)
	}
	code := penstock.CodeOf(doom)
	if !code.Transient() && code != penstock.Conflict && !errors.Is(doom, penstock.ErrDisconnected) {
		return &penstock.Error{Code: code, Op: "transaction of " + t.f.plan.Name, Err: errors.Join(doom, failed), Hint: "nothing of it was committed; it is read again at the next start"}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures++
	t.f.log.Warn("the transaction was undone, and what was read for it is read again", "messages", t.count, "error", t.f.hide(errors.Join(doom, failed)))
	t.f.stats.Undone.Add(int64(t.count))
	t.next()
	return nil
}
