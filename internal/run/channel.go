package run

import (
	"context"
	"io"
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
	subs      []*subscription
	handed    atomic.Int64
	circle    bool // a flow that reads it feeds it, directly or through others
}

// circles marks the channels that are part of a circle of flows, and closes those that nobody
// feeds.
func (r *Runner) circles() {
	feeds := map[*handover][]*handover{} // what the readers of a channel send to
	for _, f := range r.flows {
		for _, p := range f.pumps {
			if s, ok := p.source.(*subscription); ok {
				feeds[s.ch] = append(feeds[s.ch], f.feeds...)
			}
		}
	}
	for _, c := range r.channels {
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
		c.circle = seen[c]
		if c.producers.Load() == 0 {
			for _, s := range c.subs {
				s.close()
			}
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
	closed   bool
	r        *Runner
}

const defaultCapacity = 1024

func newHandover(p *plan.Channel) *handover { return &handover{plan: p} }

func (c *handover) subscribe(r *Runner) *subscription {
	s := &subscription{ch: c, r: r}
	s.cond.init(r, &s.mu)
	c.subs = append(c.subs, s)
	return s
}

// put hands b over; it waits while the channel is full. False when the run is stopped.
func (s *subscription) put(ctx context.Context, b *penstock.Batch) bool {
	limit := s.ch.plan.Capacity
	if limit <= 0 {
		limit = defaultCapacity
	}
	stop := s.cond.wakeAfter(ctx)
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.messages > 0 && s.messages+len(b.Msgs) > limit && ctx.Err() == nil && !s.closed {
		s.cond.wait()
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
	for len(s.packets) == 0 && !s.closed && ctx.Err() == nil {
		s.cond.wait()
	}
	if len(s.packets) == 0 {
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
	for _, sub := range c.ch.subs {
		out := c.flow.r.batches.get()
		for _, m := range b.Msgs {
			copyOut(out, out.Append(), m)
		}
		for i, m := range out.Msgs {
			m.Pos = penstock.Position{Stream: c.ch.plan.Name, Offset: c.ch.handed.Load() + int64(i)}
			if c.ch.plan.Key != nil {
				out.Runtime = c.flow.r.runtime
				key, err := text(c.ch.plan.Key, out.Frame(m), "key of channel "+c.ch.plan.Name)
				if err != nil {
					return &penstock.BatchError{Errs: map[int]error{i: err}}
				}
				m.Key = key
			}
		}
		if !sub.put(ctx, out) {
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
		for _, s := range c.subs {
			s.close()
		}
	}
}
