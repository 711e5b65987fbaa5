package run

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/journal"
	"penstock.dev/penstock/internal/mutation"
	"penstock.dev/penstock/internal/store/keyset"
)

// waiter is a request that waits until what it recorded is committed.
type waiter struct {
	state atomic.Int32
	told  chan struct{}
	leave func() // what is given back when it is committed, where the request is gone by then
}

// The states of a waiter.
const (
	stillWaits int32 = iota
	wasTold
	isGone // it has lost its patience: what it recorded is committed all the same
)

// commit hands what the messages recorded to the committer, and waits until it is durable. Where that is only a note for the journal, of what was
// sent elsewhere, nobody waits for it; and where there is nothing, the journal does not know the request.
func (rq *request) commit() {
	in, f := rq.in, rq.s.f
	lasts, noted := false, false
	for i := range in.tracks {
		t := &in.tracks[i]
		switch e := &rq.ends[i]; {
		case e.err != nil && !mutation.On("refused-keeps-writes"):
			t.refused()
		case e.done > 0:
			t.fate = journal.Done
		case e.grouped > 0:
			t.fate = journal.Absorbed
		default:
			t.fate = journal.Filtered
		}
		t.state.Store(trackDone)
		lasts, noted = lasts || t.lasts(), noted || len(t.recorded.ops) > 0
	}
	w := &in.waiter
	switch {
	case !lasts && !noted:
		return
	case !lasts || mutation.On("answered-before-commit"):
		w.leave = nil
		w.state.Store(isGone)
		rq.handed = true
		f.commit.request(in)
		return
	}
	if w.told == nil {
		w.told = make(chan struct{}, 1)
	}
	w.state.Store(stillWaits)
	rq.handed = true
	f.commit.request(in)
	f.r.idle()
	select {
	case <-w.told: // counted by who told
		return
	case <-f.commit.done:
	case <-f.ctx.Done():
	case <-rq.x.ctx.Done():
	}
	w.leave = rq.leave
	if !w.state.CompareAndSwap(stillWaits, isGone) {
		<-w.told
		return
	}
	f.r.busy()
	rq.leave = nil
	if f.ctx.Err() != nil || f.commit.over() {
		rq.unknown(errAborted)
		rq.handed, rq.lost = false, true // who knows what the committer still does with it
		return
	}
	rq.unknown(ended(rq.x.ctx))
}

// unknown fails messages of which nobody can say whether they will be done.
func (rq *request) unknown(cause error) {
	rq.refuse(&penstock.Error{Code: penstock.CodeOf(cause), Op: rq.s.p.ep.Name, Err: cause, Hint: "what the request asks for may be done all the same"})
}

// request takes a request that has been through the flow. It is the next of its server, since none is numbered before.
func (c *committer) request(in *intake) {
	p := in.src
	c.mu.Lock()
	in.read = p.readSeq
	p.readSeq++
	p.open++
	p.through[in.read] = in
	c.ready.add(in, 1)
	c.mu.Unlock()
	c.wake()
}

// committed tells the request that waits for it.
func (in *intake) committed() {
	switch w := &in.waiter; {
	case in.src.server == nil:
	case w.state.CompareAndSwap(stillWaits, wasTold):
		in.src.flow.r.busy()
		w.told <- struct{}{}
	case w.leave != nil:
		w.leave()
	}
}

// lasts says that the message has recorded something that outlives it.
func (t *track) lasts() bool {
	return t.inbox != nil || slices.ContainsFunc(t.recorded.ops, func(o op) bool { return o.sink == nil })
}

// refused takes back what a request recorded that failed: its caller is told, and may ask again. What a wire tap saw stays.
func (t *track) refused() {
	t.inbox, t.fate = nil, journal.Refused
	t.recorded.ops = slices.DeleteFunc(t.recorded.ops, func(o op) bool {
		if o.stage != nil {
			o.stage.held.Add(-1)
		}
		return o.stage != nil || o.author.m != nil
	})
}

// first says that nothing is known yet of a request with m's identity (`id` beside the server), or that it was done before. Where
// another of its identity is being worked on it waits: that one may come to nothing. The identity is taken until leave is called.
func (s *server) first(ctx context.Context, b *penstock.Batch, m *penstock.Message) (first bool, leave func(), err error) {
	f, in := s.f, s.p.inbox
	id, err := text(s.p.ep.ID, b.Frame(m), "id of "+s.p.ep.Name)
	if err == nil && id == "" {
		err = &penstock.Error{Code: penstock.Invalid, Op: "id of " + s.p.ep.Name, Err: errors.New("the request has no identity")}
	}
	if err != nil {
		return false, nil, err
	}
	id = strings.Clone(id) // its text ends with the message
	turn := id
	if mutation.On("twin-not-awaited") {
		turn += m.Lineage.Origin()
	}
	if !s.twins.take(ctx, turn) {
		return false, nil, ended(ctx)
	}
	now := f.r.clock.Now()
	key := keyset.Key{Hash: keyset.SumString(id), At: now.UnixNano()}
	in.mu.Lock()
	in.keys = append(in.keys[:0], key)
	in.seen, err = in.set.Seen(f.ctx, now, in.keys, in.seen[:0])
	first = err == nil && !in.seen[0]
	in.mu.Unlock()
	if first {
		m.Lineage.(*track).inbox = &identity{key, id}
	}
	return first, func() { s.twins.give(turn) }, err
}
