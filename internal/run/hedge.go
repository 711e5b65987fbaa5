package run

import (
	"context"
	"sync"
	"time"

	"penstock.dev/penstock"
)

// A hedged call is a race of tries: each has a copy of the message in memory of its own, so that who loses may go on reading
// it after the race is over.

// racer is one try in a race.
type racer struct {
	b      *penstock.Batch
	into   *penstock.Message
	err    error
	first  bool
	cancel context.CancelFunc
	ended  bool // guarded by race.mu
	lost   bool // the race was over before it ended
}

// race is the tries of one call.
type race struct {
	f     *flow
	c     *caller
	msg   *penstock.Message
	mu    sync.Mutex
	all   []*racer
	ended []*racer      // not looked at yet
	wake  chan struct{} // who waits for one; nil: nobody does
}

// hedged is ask for a call whose connection is asked once more when its answer is late.
func (c *caller) hedged(ctx context.Context, f *penstock.Frame, into *penstock.Message, b bid) error {
	h := &race{f: c.flow, c: c, msg: f.Msg}
	h.launch(ctx, b)
	b.retry, b.hedge = true, true
	rules := c.guard.rules.Hedge
	var late <-chan time.Time
	stop := func() {}
	if rules.Max > 0 {
		late, stop = c.flow.r.clock.NewTimer(rules.After)
	}
	pending := 1
	var failure error
	for {
		t := h.wait(late)
		switch {
		case t == nil: // late
			stop()
			late, stop = nil, func() {}
			h.launch(ctx, b)
			pending++
			c.guard.stats.hedges.Add(1)
			if len(h.all) <= rules.Max {
				late, stop = c.flow.r.clock.NewTimer(rules.After)
			}
			continue
		case t.err != nil && penstock.CodeOf(t.err).Transient():
			pending--
			if failure == nil || penstock.IsUnsent(failure) { // that of somebody who was asked says more
				failure = t.err
			}
			h.f.recycle(t.b)
			if pending > 0 {
				continue
			}
			stop()
			return failure
		}
		stop()
		h.over(t)
		if t.err == nil {
			t.into.Body.CloneInto(into.Body, f.Arena.Alloc)
			if isAbsent(t.into) {
				into.Meta.Set("absent", penstock.True)
			}
			if !t.first {
				c.guard.stats.hedgesWon.Add(1)
			}
		}
		h.f.recycle(t.b)
		return t.err
	}
}

// launch begins a try.
func (h *race) launch(ctx context.Context, b bid) {
	t := &racer{b: h.f.batches.get(), first: len(h.all) == 0}
	t.b.Runtime = h.f.runtime
	m := t.b.NewMessage()
	separate(t.b, m, h.msg)
	t.into = t.b.NewMessage()
	ctx, t.cancel = context.WithCancel(ctx)
	h.all = append(h.all, t)
	h.f.r.busy()
	h.f.beside.Go(func() {
		defer h.f.r.idle()
		func() {
			defer func() {
				if v := recover(); v != nil { // a driver's: this message fails, the others go on
					t.err = NewFault(h.f.plan.Name, v)
				}
			}()
			t.err = h.c.once(ctx, t.b.Frame(m), t.into, b)
		}()
		t.cancel()
		h.end(t)
	})
}

// end says that a try has ended: who waits sees it, or, where the race is over, its memory is given back.
func (h *race) end(t *racer) {
	h.mu.Lock()
	t.ended = true
	lost := t.lost
	if !lost {
		h.ended = append(h.ended, t)
		if h.wake != nil {
			h.f.r.busy()
			close(h.wake)
			h.wake = nil
		}
	}
	h.mu.Unlock()
	if lost {
		h.f.recycle(t.b)
		h.f.r.idle()
	}
}

// wait gives the next try that has ended, or nil when the timer fires before.
func (h *race) wait(late <-chan time.Time) *racer {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ended) == 0 {
		c := make(chan struct{})
		h.wake = c
		h.mu.Unlock()
		h.f.r.idle()
		select {
		case <-c: // who closed it counted us
		case <-late:
		}
		h.mu.Lock()
		if h.wake != nil {
			h.wake = nil
			h.f.r.busy()
		}
	}
	if len(h.ended) == 0 {
		return nil
	}
	t := h.ended[0]
	h.ended = h.ended[1:]
	return t
}

// over ends the race: tries that are under way are cancelled.
func (h *race) over(winner *racer) {
	h.mu.Lock()
	var unread, losers []*racer
	for _, t := range h.all {
		switch {
		case t == winner:
		case !t.ended:
			t.lost = true
			h.f.r.busy() // until it has taken notice
			losers = append(losers, t)
		}
	}
	unread, h.ended = h.ended, nil
	h.mu.Unlock()
	for _, t := range losers {
		t.cancel()
	}
	for _, t := range unread {
		h.f.recycle(t.b)
	}
}
