package run

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/plan"
)

// handover is a channel in memory (durable: false): a direct hand-over that settles at
// hand-over. It blocks when full. A run that is stopped works off what is in it; what a run that
// is aborted leaves is lost, and counted.
type handover struct {
	plan      *plan.Channel
	producers atomic.Int32 // flows and steps that still may send
	subs      atomic.Pointer[[]*subscription]
	handed    atomic.Int64
	circle    atomic.Bool // a flow that reads it feeds it, directly or through others
}

// circles marks the channels that are part of a circle of flows, and closes those that nobody
// feeds.
func (w *wiring) circles(flows []*flow) {
	feeds := map[*handover][]*handover{} // what the readers of a channel send to
	for _, f := range flows {
		for _, p := range f.pumps {
			if s, ok := p.source.(*subscription); ok {
				feeds[s.ch] = append(feeds[s.ch], f.feeds...)
			}
		}
	}
	for _, c := range w.channels {
		seen := map[*handover]bool{}
		var visit func(*handover)
		visit = func(from *handover) {
			for _, next := range feeds[from] {
				if !seen[next] {
					seen[next] = true
					visit(next)
				}
			}
		}
		visit(c)
		c.circle.Store(seen[c])
		if c.producers.Load() == 0 {
			c.end()
		}
	}
}

// subscription is one reading flow's end: each has every message.
type subscription struct {
	ch       *handover
	mu       sync.Mutex
	cond     cond
	packets  []*penstock.Batch
	messages int
	limit    int  // packets that may be read; below 0: all
	closed   bool // no more will come
	gone     bool // nobody reads it: what is sent to it is nobody's
	r        *Runner
}

const defaultCapacity = 1024

func newHandover(p *plan.Channel) *handover { return &handover{plan: p} }

// subscribe makes a reading end, which gets nothing before it is attached.
func (c *handover) subscribe(r *Runner) *subscription {
	s := &subscription{ch: c, r: r, limit: -1}
	s.cond.init(r, &s.mu)
	return s
}

// readers are the reading ends.
func (c *handover) readers() []*subscription {
	if all := c.subs.Load(); all != nil {
		return *all
	}
	return nil
}

// attach lets s have what is sent from now on. One goroutine at a time attaches and detaches.
func (c *handover) attach(s *subscription) {
	all := append(slices.Clone(c.readers()), s)
	c.subs.Store(&all)
}

// detach ends that.
func (c *handover) detach(s *subscription) {
	all := slices.DeleteFunc(slices.Clone(c.readers()), func(o *subscription) bool { return o == s })
	c.subs.Store(&all)
}

// attach lets the flow have what is sent to the channels in memory that it reads.
func (f *flow) attach() {
	for _, s := range f.subs {
		s.ch.attach(s)
	}
}

// end lets the readers see the end, behind what is there.
func (c *handover) end() {
	for _, s := range c.readers() {
		s.close()
	}
}

// put hands b over; it waits while the channel is full, but where its reader waits for the sender to have nothing in flight. False when the
// run is stopped.
func (s *subscription) put(ctx context.Context, b *penstock.Batch, halted *atomic.Bool) bool {
	limit := s.ch.plan.Capacity
	if limit <= 0 {
		limit = defaultCapacity
	}
	stop := s.cond.wakeAfter(ctx)
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.messages > 0 && s.messages+len(b.Msgs) > limit && ctx.Err() == nil && !s.closed && !s.gone && !halted.Load() {
		s.cond.wait()
	}
	if s.gone {
		s.r.recycle(b)
		return true
	}
	if ctx.Err() != nil || s.closed {
		return false
	}
	s.packets = append(s.packets, b)
	s.messages += len(b.Msgs)
	s.cond.wake()
	return true
}

func (s *subscription) close() {
	s.mu.Lock()
	s.closed = true
	s.cond.wake()
	s.mu.Unlock()
}

// wake lets who waits look again.
func (s *subscription) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cond.wake()
}

// cut lets the reader see what was sent so far, and nothing behind it, until mend is called or the reader is gone.
func (s *subscription) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = len(s.packets)
}

func (s *subscription) mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = -1
	s.cond.wake()
}

// read says that its reader has had all that it may have.
func (s *subscription) read() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit == 0 || len(s.packets) == 0
}

// ended says that its reader has seen the end, or will.
func (s *subscription) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// reopen takes back the end: there are senders again.
func (s *subscription) reopen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = false
}

// goes says that nobody reads it any more.
func (s *subscription) goes() {
	s.ch.detach(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone, s.packets, s.messages = true, nil, 0
	s.cond.wake()
}

// left is how many messages nobody has read.
func (s *subscription) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.messages
}

// Waits implements Waiter: it waits on a condition, whose waiters don't count.
func (*subscription) Waits(func(), func()) {}

// Open implements penstock.Source.
func (*subscription) Open(context.Context) error { return nil }

// Read implements penstock.Source: it takes over one hand-over, memory and all.
func (s *subscription) Read(ctx context.Context, into *penstock.Batch) error {
	stop := s.cond.wakeAfter(ctx)
	defer stop()
	s.mu.Lock()
	for (len(s.packets) == 0 && !s.closed || s.limit == 0) && ctx.Err() == nil {
		s.cond.wait()
	}
	if len(s.packets) == 0 || s.limit == 0 {
		s.mu.Unlock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return io.EOF
	}
	b := s.packets[0]
	s.packets[0] = nil
	s.packets = s.packets[1:]
	s.messages -= len(b.Msgs)
	if s.limit > 0 {
		s.limit--
	}
	s.cond.wake()
	s.mu.Unlock()
	into.Swap(b)
	s.r.batches.put(b) // emptied before it was handed to Read
	return nil
}

// Settle implements penstock.Source: a direct hand-over was settled when it was made.
func (*subscription) Settle(context.Context, []penstock.Outcome) error { return nil }

// Close implements penstock.Source.
func (*subscription) Close(context.Context) error { return nil }

// channelSink is the sending end.
type channelSink struct {
	ch   *handover
	flow *flow
}

// Open implements penstock.Sink.
func (*channelSink) Open(context.Context) error { return nil }

// Write implements penstock.Sink: it copies the messages out of the sender's memory and
// hands them to each reader.
func (c *channelSink) Write(ctx context.Context, b *penstock.Batch) error {
	for _, sub := range c.ch.readers() {
		out := c.flow.r.batches.get()
		for _, m := range b.Msgs {
			copyOut(out, out.Append(), m)
		}
		for i, m := range out.Msgs {
			m.Pos = penstock.Position{Stream: c.ch.plan.Name, Offset: c.ch.handed.Load() + int64(i)}
			if c.ch.plan.Key != nil {
				out.Runtime = c.flow.runtime
				key, err := text(c.ch.plan.Key, out.Frame(m), "key of channel "+c.ch.plan.Name)
				if err != nil {
					return &penstock.BatchError{Errs: map[int]error{i: err}}
				}
				m.Key = key
			}
		}
		if !sub.put(ctx, out, &c.flow.halted) {
			return context.Canceled
		}
	}
	c.ch.handed.Add(int64(len(b.Msgs)))
	return nil
}

// Close implements penstock.Sink.
func (*channelSink) Close(context.Context) error { return nil }

// release says that a sender has ended; after the last the readers see the end.
func (c *handover) release() {
	if c.producers.Add(-1) == 0 {
		c.end()
	}
}
