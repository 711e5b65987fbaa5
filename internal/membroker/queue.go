package membroker

import (
	"context"
	"io"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// queue gives each message to one consumer, and again to another where that one went without acknowledging it.
type queue struct {
	waiting []Record
	given   map[uint64]Record // by delivery tag
	tags    uint64
}

func (b *Broker) queue(name string) *queue {
	if b.queues[name] == nil {
		b.queues[name] = &queue{given: map[uint64]Record{}}
	}
	return b.queues[name]
}

// Push puts records into a queue.
func (b *Broker) Push(name string, records ...Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue(name)
	q.waiting = append(q.waiting, records...)
	b.moved.Broadcast()
}

// Left is how many messages of a queue are not acknowledged.
func (b *Broker) Left(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue(name)
	return len(q.waiting) + len(q.given)
}

// Consumer reads a queue: the model of an AMQP consumer. Its positions are delivery tags, which are good for a connection only.
type Consumer struct {
	b    *Broker
	name string
	// Once ends it with io.EOF where nothing waits.
	Once bool

	tags []uint64
	open bool
	lost bool
}

// Consumer makes a consumer.
func (b *Broker) Consumer(queue string) *Consumer { return &Consumer{b: b, name: queue} }

// Open implements penstock.Source.
func (c *Consumer) Open(context.Context) error {
	if err := c.b.fault("open"); err != nil {
		return err
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.giveBack()
	c.open, c.lost = true, false
	return nil
}

// Cut breaks the connection: what was not acknowledged is given to others, or to this one again.
func (c *Consumer) Cut() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.giveBack()
	c.lost = true
}

// giveBack puts what is not acknowledged back to the front; the lock must be held.
func (c *Consumer) giveBack() {
	q := c.b.queue(c.name)
	slices.Sort(c.tags)
	var back []Record
	for _, tag := range c.tags {
		back = append(back, q.given[tag])
		delete(q.given, tag)
	}
	q.waiting, c.tags = append(back, q.waiting...), nil
	c.b.moved.Broadcast()
}

// Read implements penstock.Source.
func (c *Consumer) Read(ctx context.Context, into *penstock.Batch) error {
	stop := context.AfterFunc(ctx, func() {
		c.b.mu.Lock()
		defer c.b.mu.Unlock()
		c.b.moved.Broadcast()
	})
	defer stop()
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	q := c.b.queue(c.name)
	for {
		switch {
		case c.lost:
			return penstock.ErrDisconnected
		case ctx.Err() != nil:
			return ctx.Err()
		case len(q.waiting) > 0:
			for range min(len(q.waiting), 10) {
				r := q.waiting[0]
				q.waiting = q.waiting[1:]
				q.tags++
				q.given[q.tags] = r
				c.tags = append(c.tags, q.tags)
				m := into.Append()
				m.Key = r.Key
				m.Body.Reset(jsonview.JSON, into.Arena().Copy([]byte(r.Body)))
				if r.ID != "" {
					m.Meta.Set("message-id", penstock.StringValue(r.ID))
				}
				m.Pos = penstock.Position{Stream: c.name, Offset: int64(q.tags), Next: int64(q.tags) + 1, Tag: q.tags}
			}
			return nil
		case c.Once && len(q.given) == 0:
			return io.EOF
		}
		c.b.moved.Wait()
	}
}

// Settle implements penstock.Source. A tag of a connection that was lost says nothing.
func (c *Consumer) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	if err := c.b.fault("settle"); err != nil {
		return err
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	q := c.b.queue(c.name)
	for _, o := range outcomes {
		i := slices.Index(c.tags, o.Pos.Tag)
		if i < 0 {
			continue
		}
		c.tags = slices.Delete(c.tags, i, i+1)
		if o.Err != nil {
			q.waiting = append([]Record{q.given[o.Pos.Tag]}, q.waiting...)
		}
		delete(q.given, o.Pos.Tag)
	}
	c.b.moved.Broadcast()
	return nil
}

// Close implements penstock.Source.
func (c *Consumer) Close(context.Context) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.open {
		c.giveBack()
		c.open = false
	}
	return nil
}
