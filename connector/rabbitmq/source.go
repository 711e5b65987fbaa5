package rabbitmq

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
)

// source reads a queue.
type source struct {
	config SourceConfig
	env    penstock.Env
	link   *link
	bodies *penstock.Payloads
	ready  *penstock.Preparation
	held   []amqp.Delivery // of the channel, taken and not handed out: a registry that is away is waited for
	queue  string
	most   int // messages of a Read

	opened bool   // it was open before: what fails now may pass
	epoch  uint64 // channels so far
	seq    int64  // messages so far: their offsets
	stream *stream
	astray sync.Once

	mu  sync.Mutex // of what Settle shares with Read and Open
	now *delivery  // nil: closed, or lost
}

// delivery is a channel on which a source gets its messages.
type delivery struct {
	ch    *amqp.Channel
	inbox *inbox
	epoch uint64
	acks  *acks
	owes  atomic.Bool // it was pulled from, and what was acknowledged since may be on its way
	tags  []uint64    // scratch
}

// Position.Tag is the delivery tag, with the number of the channel that it belongs to in front.
const (
	tagBits = 48
	tagMask = 1<<tagBits - 1
)

// readMessages is how many messages go into one batch, where the flow does not say: half of what `prefetch` lets be on its way, so that the server sends while
// they are worked on. Few large batches cost the server less than many small ones: what is made of a batch is confirmed, and the batch is acknowledged, at once.
const readMessages = 1000

// pullMessages is how many are pulled for one batch: each is a wait of its own, and the first of them wait for the last.
const pullMessages = 256

// readBytes is about how many bytes of payloads go into one batch that is of more than one message.
const readBytes = 8 << 20

func newSource(c SourceConfig, env penstock.Env) (penstock.Source, error) {
	s := &source{config: c, env: env, most: max(env.Batch, readMessages)}
	if c.Mode == modePull {
		s.most = max(env.Batch, pullMessages)
	}
	var err error
	if s.bodies, err = penstock.NewPayloads("rabbitmq", c.Format, c.MaxRecord); err != nil {
		return nil, err
	}
	s.ready = s.bodies.Preparation(env)
	if s.link, err = linkOf(c.Connection, env); err != nil {
		return nil, err
	}
	if s.queue, err = fixed(c.Queue, env); err != nil {
		return nil, err
	}
	if s.queue == "" {
		return nil, config(c.Queue.Pos.String(), "the queue's name is empty", "")
	}
	if c.Stream != nil {
		return newStreamSource(s)
	}
	return s, nil
}

var _ penstock.Source = (*source)(nil)

// Open implements penstock.Source.
func (s *source) Open(ctx context.Context) error {
	s.drop()
	if err := s.begin(ctx); err != nil {
		return s.disconnected(err)
	}
	s.opened = true
	return nil
}

func (s *source) begin(ctx context.Context) error {
	if err := s.link.haveQueue(ctx, consuming, s.queue, s.config.Declare); err != nil {
		return err
	}
	ch, err := s.link.channel(ctx, consuming)
	if err != nil {
		return err
	}
	s.epoch++
	d := &delivery{ch: ch, epoch: s.epoch, acks: newAcks()}
	if s.config.Mode != modePull {
		if err := s.consume(ctx, d); err != nil {
			_ = ch.Close()
			return err
		}
	}
	s.mu.Lock()
	s.now = d
	s.mu.Unlock()
	return nil
}

// consume asks the server to send messages.
func (s *source) consume(ctx context.Context, d *delivery) error {
	if err := d.ch.Qos(max(s.config.Prefetch, 1), 0, false); err != nil {
		return s.link.failure(ctx, err, "prefetch")
	}
	args := amqp.Table{}
	if s.config.Priority != 0 {
		args["x-priority"] = int32(s.config.Priority)
	}
	if s.stream != nil {
		args[streamOffset] = s.stream.from()
	}
	from, err := d.ch.Consume(s.queue, s.consumer(), false, s.config.Exclusive, false, false, args)
	if err != nil {
		return s.link.failure(ctx, err, "read queue "+s.queue)
	}
	d.inbox = newInbox(from)
	return nil
}

// consumer is what the server knows the source by, on its channel.
func (s *source) consumer() string { return "penstock " + s.env.Name }

// finish has the server work off what was acknowledged. Of a quorum queue it would forget some of it with the channel: it hands on only so many acknowledgements that are not on disk
// (quorum_commands_soft_limit, 32) at a time, and keeps the others with the channel. What is asked of the queue itself waits behind those that it was handed, and then the others are.
func (s *source) finish(d *delivery) {
	if d.inbox != nil {
		_ = d.ch.Cancel(s.consumer(), false) // it fails where the channel is lost, as all of this
		return
	}
	if d.owes.Swap(false) {
		_, _, _ = d.ch.Get(s.queue, false) // if it gives one, that goes back with the channel
	}
}

// drop gives up the channel. What was not settled goes back to the queue.
func (s *source) drop() {
	s.mu.Lock()
	d := s.now
	s.now = nil
	s.mu.Unlock()
	s.held = nil // it goes back to the queue with the channel
	if d == nil {
		return
	}
	closeChannel(d.ch, func() { s.finish(d) })
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	s.mu.Lock()
	d := s.now
	s.mu.Unlock()
	if d == nil {
		return fmt.Errorf("%w: the queue %s", penstock.ErrDisconnected, s.queue)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.config.Mode == modePull {
		return s.pull(ctx, d, into)
	}
	for {
		got, err := s.take(ctx, d)
		if err != nil {
			return err
		}
		fit, err := s.ready.Ready(ctx, len(got), func(i int) []byte { return got[i].Body })
		n := 0
		for i := range got[:fit] {
			if s.stream != nil && s.stream.had(&got[i]) {
				_ = got[i].Ack(false) // so that the server sends more
				continue
			}
			if _, is := offset(&got[i]); is && s.stream == nil {
				s.astray.Do(func() {
					s.env.Logger.Warn("the queue seems to be a stream: say `stream: {}`, so that it is read from where the flow is, and not from what comes next", "queue", s.queue, "connection", s.link.at)
				})
			}
			s.append(into, d, &got[i])
			n++
		}
		s.held = got[fit:]
		if n > 0 || err != nil {
			return err
		}
	}
}

// idle is how long nothing must come before a run with --once asks whether the queue is empty.
const idle = 300 * time.Millisecond

// take waits for deliveries. Those that were held back go first.
func (s *source) take(ctx context.Context, d *delivery) ([]amqp.Delivery, error) {
	if len(s.held) > 0 && !d.inbox.ended() {
		return s.held, nil
	}
	var quiet <-chan time.Time
	if s.env.Once {
		c, stop := s.env.Clock.NewTimer(idle)
		defer stop()
		quiet = c
	}
	got, open := d.inbox.take(ctx, quiet, s.most)
	switch {
	case len(got) > 0:
		return got, nil
	case !open:
		s.env.Logger.Warn("the queue is not read any more; trying again", "queue", s.queue, "connection", s.link.at)
		s.drop()
		return nil, fmt.Errorf("%w: reading queue %s", penstock.ErrDisconnected, s.queue)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, s.over(ctx, d)
}

// over ends a run with --once where the queue is empty.
func (s *source) over(ctx context.Context, d *delivery) error {
	ch, err := s.link.channel(ctx, consuming)
	if err != nil {
		return s.disconnected(err)
	}
	defer func() { _ = ch.Close() }()
	q, err := ch.QueueDeclarePassive(s.queue, true, false, false, false, nil)
	if err != nil {
		return s.disconnected(s.link.failure(ctx, err, "queue "+s.queue))
	}
	if s.config.Stream == nil && q.Messages > 0 || d.inbox.waiting() {
		return nil
	}
	return io.EOF
}

// append makes a message of a delivery.
func (s *source) append(into *penstock.Batch, from *delivery, d *amqp.Delivery) {
	m := into.Append()
	receive(m, d)
	at := s.seq
	if s.stream != nil {
		at = s.stream.place(d)
	}
	s.seq++
	m.Pos = penstock.Position{Stream: s.queue, Offset: at, Next: at + 1, Tag: from.epoch<<tagBits | d.DeliveryTag}
	if err := s.bodies.Body(into, m.Body, d.Body); err != nil {
		into.Fail(len(into.Msgs)-1, err)
	}
}

// pull asks for messages one by one.
func (s *source) pull(ctx context.Context, d *delivery, into *penstock.Batch) error {
	for {
		n := 0
		for n < min(s.most, s.config.Prefetch) && ctx.Err() == nil {
			m, ok, err := s.get(d)
			if err != nil {
				if n > 0 {
					return nil // the next Read says it
				}
				s.drop()
				return s.disconnected(s.link.failure(ctx, err, "get from queue "+s.queue))
			}
			if !ok {
				break
			}
			if n > 0 && s.bodies.Prepare(ctx, m.Body) != nil { // what is here is not held up by what can't be read yet
				s.held = append(s.held, m)
				break
			}
			fit, err := s.ready.Ready(ctx, 1, func(int) []byte { return m.Body })
			if fit == 0 {
				s.held = append(s.held, m)
				if err != nil {
					return err
				}
				if d.ch.IsClosed() {
					s.drop()
					return fmt.Errorf("%w: reading queue %s", penstock.ErrDisconnected, s.queue)
				}
				continue
			}
			s.append(into, d, &m)
			n++
		}
		switch {
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case s.env.Once:
			return io.EOF
		}
		fired, stop := s.env.Clock.NewTimer(max(s.config.Every.Std(), time.Millisecond))
		select {
		case <-fired:
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
	}
}

// get gives one message: the one that was held back, or the queue's next.
func (s *source) get(d *delivery) (amqp.Delivery, bool, error) {
	if len(s.held) > 0 {
		m := s.held[0]
		s.held = nil
		return m, true, nil
	}
	d.owes.Store(false)
	return d.ch.Get(s.queue, false)
}

// disconnected asks for a new Open where the other side is away. At the first Open that is an error as any other.
func (s *source) disconnected(err error) error {
	code := penstock.CodeOf(err)
	// Behind a connection that was cut the server may still see a consumer that is none any more, until it misses its heartbeats.
	lingers := code == penstock.Conflict && s.config.Exclusive
	if err == nil || !s.opened || !code.Transient() && !lingers {
		return err
	}
	s.env.Logger.Warn("the queue can't be read; trying again", "queue", s.queue, "error", err)
	return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
}

// Settle implements penstock.Source. What belongs to a channel that was lost is forgotten: the server gives it again.
func (s *source) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.now
	if d == nil {
		return nil
	}
	d.tags = d.tags[:0]
	for i := range outcomes {
		// One of an earlier channel is nobody's any more. One with an error goes back to the queue with the channel: the run stops.
		o := &outcomes[i]
		if o.Pos.Tag>>tagBits != d.epoch || o.Err != nil {
			continue
		}
		tag := o.Pos.Tag & tagMask
		if o.Dead && s.config.Dead == deadReject {
			if err := d.ch.Reject(tag, false); err != nil {
				return nil // the channel is lost: Read says so, and the messages come again
			}
			d.acks.told(tag)
			d.owes.Store(true)
			continue
		}
		d.tags = append(d.tags, tag)
	}
	if len(d.tags) == 0 {
		return nil
	}
	upTo, single := d.tags[len(d.tags)-1], []uint64(nil)
	if s.stream == nil {
		upTo, single = d.acks.settle(d.tags)
	}
	if upTo > 0 {
		if err := d.ch.Ack(upTo, true); err != nil {
			return nil // as above
		}
	}
	for _, tag := range single {
		if err := d.ch.Ack(tag, false); err != nil {
			return nil // as above
		}
	}
	d.owes.Store(true)
	return nil
}

// Close implements penstock.Source.
func (s *source) Close(context.Context) error {
	s.drop()
	return nil
}
