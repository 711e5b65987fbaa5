package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
)

// sink publishes to an exchange.
type sink struct {
	config    SinkConfig
	env       penstock.Env
	link      *link
	exchange  string
	queue     string // published to by the default exchange; "" where there is an exchange
	at        string // for errors
	mandatory bool
	mode      uint8

	opened bool
	out    *outlet // nil: none is open
	body   []byte  // scratch: a payload
	id     []byte  // scratch: an identity
	fates  []error // scratch: of the messages of a Write; pending is not yet known
	todo   []int   // scratch
}

// outlet is a channel that confirms what is published on it.
type outlet struct {
	ch       *amqp.Channel
	confirms chan amqp.Confirmation
	returns  chan amqp.Return
	closed   chan *amqp.Error
	next     uint64 // the tag of the next message that is published
	room     int    // the largest header that fits into a frame
}

// window is how many messages wait for their confirmation at most. The client must always have room to say one: it would stand still otherwise.
const window = 2048

// errPending is the fate of a message that is not yet known.
var errPending = errors.New("not confirmed")

func newSink(c SinkConfig, env penstock.Env) (penstock.Sink, error) {
	s := &sink{config: c, env: env, mode: amqp.Persistent, mandatory: c.Mandatory == nil || *c.Mandatory}
	if c.Persistent != nil && !*c.Persistent {
		s.mode = amqp.Transient
	}
	if c.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "rabbitmq", "format", "no codec")
	}
	var err error
	if s.link, err = linkOf(c.Connection, env); err != nil {
		return nil, err
	}
	if s.exchange, err = fixed(c.Exchange, env); err != nil {
		return nil, err
	}
	if s.queue, err = fixed(c.Queue, env); err != nil {
		return nil, err
	}
	s.at = "exchange " + s.exchange
	switch {
	case s.exchange == "" && s.queue == "":
		return nil, config(c.Exchange.Pos.String(), "the name of the exchange is empty", "name the queue as `queue` to publish to it")
	case s.queue != "":
		s.at = "queue " + s.queue
	}
	return s, nil
}

var _ penstock.Sink = (*sink)(nil)

// Open implements penstock.Sink.
func (s *sink) Open(ctx context.Context) error {
	if s.queue != "" {
		if err := s.link.haveQueue(ctx, publishing, s.queue, s.config.Declare); err != nil {
			return err
		}
	} else if err := s.link.haveExchange(ctx, s.exchange, s.config.DeclareExchange); err != nil {
		return err
	}
	if err := s.reopen(ctx); err != nil {
		return err
	}
	s.opened = true
	return nil
}

// reopen opens a channel in place of the one that is there.
func (s *sink) reopen(ctx context.Context) error {
	s.drop()
	ch, err := s.link.channel(ctx, publishing)
	if err != nil {
		return err
	}
	o := &outlet{ch: ch, next: 1, room: s.link.frame()}
	o.confirms = ch.NotifyPublish(make(chan amqp.Confirmation, window))
	o.returns = ch.NotifyReturn(make(chan amqp.Return, 64))
	o.closed = ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := ch.Confirm(false); err != nil {
		return s.link.failure(ctx, err, "ask for confirmations")
	}
	s.out = o
	return nil
}

// drop gives up the channel.
func (s *sink) drop() {
	o := s.out
	s.out = nil
	if o == nil {
		return
	}
	go func() { // what nobody reads must not hold it up
		for range o.returns { // emptied
		}
	}()
	closeChannel(o.ch, func() {})
}

// Write implements penstock.Sink. A message is durable when the server has confirmed it. Where the connection is lost, what was not
// confirmed is published again on the next one, in order.
func (s *sink) Write(ctx context.Context, b *penstock.Batch) error {
	if len(b.Msgs) == 0 {
		return nil
	}
	s.fates, s.todo = s.fates[:0], s.todo[:0]
	for i := range b.Msgs {
		s.fates, s.todo = append(s.fates, errPending), append(s.todo, i)
	}
	var since time.Time // it has not worked
	for tries := 0; len(s.todo) > 0; {
		before := len(s.todo)
		err := s.publish(ctx, b, s.todo)
		s.todo = s.pending(s.todo)
		switch {
		case err == nil:
			continue
		case len(s.todo) < before:
			tries, since = 0, time.Time{}
		}
		if ctx.Err() != nil {
			s.fail(s.link.failure(ctx, err, "publish to "+s.at))
			break
		}
		var refused *amqp.Error
		if errors.As(err, &refused) && s.out == nil && blames(refused) {
			if err = s.oneByOne(ctx, b); err == nil {
				continue
			}
		}
		if !s.patient(ctx, err, &since, &tries) {
			s.fail(s.link.failure(ctx, err, "publish to "+s.at))
			break
		}
	}
	return b.WriteError("rabbitmq", s.at, func(i int) error { return s.fates[i] })
}

// pending gives the messages of todo whose fate is not known.
func (s *sink) pending(todo []int) []int {
	n := 0
	for _, i := range todo {
		if errors.Is(s.fates[i], errPending) {
			todo[n], n = i, n+1
		}
	}
	return todo[:n]
}

// fail is the fate of all messages whose fate is not known.
func (s *sink) fail(err error) {
	for _, i := range s.todo {
		s.fates[i] = err
	}
	s.todo = s.todo[:0]
}

// patient waits before the server is tried again; false when it was long enough. What a person must mend (a password, a permission) may be mended in the
// meantime, too.
func (s *sink) patient(ctx context.Context, err error, since *time.Time, tries *int) bool {
	now := s.env.Clock.Now()
	if since.IsZero() {
		*since = now
		s.env.Logger.Warn("can't publish; trying again", "to", s.at, "connection", s.link.at, "error", err)
	}
	if now.Sub(*since) >= s.link.config.Patience.Std() {
		return false
	}
	*tries++
	fired, stop := s.env.Clock.NewTimer(min(time.Duration(*tries)*100*time.Millisecond, 5*time.Second))
	select {
	case <-fired:
		return true
	case <-ctx.Done():
		stop()
		return false
	}
}

// blames says that the server has closed the channel for something that is wrong with one message, or with all.
func blames(e *amqp.Error) bool {
	if !e.Server {
		return false
	}
	switch e.Code {
	case amqp.NotFound, amqp.AccessRefused, amqp.PreconditionFailed, amqp.ContentTooLarge, amqp.NotAllowed, amqp.NotImplemented:
		return true
	}
	return false
}

// oneByOne publishes what is left one after the other, so that the server says which message it refuses.
func (s *sink) oneByOne(ctx context.Context, b *penstock.Batch) error {
	for _, i := range s.todo {
		if err := s.publish(ctx, b, []int{i}); err != nil {
			var refused *amqp.Error
			if !errors.As(err, &refused) || s.out != nil || !blames(refused) || ctx.Err() != nil {
				s.todo = s.pending(s.todo)
				return err
			}
			s.fates[i] = s.link.failure(ctx, err, "publish to "+s.at)
		}
	}
	s.todo = s.pending(s.todo)
	return nil
}

// publish publishes messages and waits for their confirmations. An error says that the channel is lost, or that ctx has ended; the fates of those that
// were not confirmed are not known then.
func (s *sink) publish(ctx context.Context, b *penstock.Batch, todo []int) error {
	if s.out == nil {
		if err := s.reopen(ctx); err != nil {
			return err
		}
	}
	r := round{sink: s, o: s.out, first: s.out.next}
	defer r.returned(b) // also where the channel is lost: what came back was confirmed, too
	for _, i := range todo {
		key, p, err := s.letter(b, b.Msgs[i])
		if err == nil && headerSize(&p) > r.o.room {
			err = &penstock.Error{Code: penstock.TooLarge, Op: "rabbitmq", Path: "meta", Err: fmt.Errorf("the headers have more than %s, which is what the server takes in one frame", penstock.Size(r.o.room)), Hint: "`remove` some of meta"}
		}
		if err != nil {
			s.fates[i] = err
			continue
		}
		for len(r.sent)-r.known >= window {
			if err := r.await(ctx); err != nil {
				return r.lost(err)
			}
		}
		if err := r.o.ch.Publish(s.exchange, key, s.mandatory, false, p); err != nil {
			return r.lost(r.why(err))
		}
		r.o.next++
		r.sent = append(r.sent, i)
	}
	for r.known < len(r.sent) {
		if err := r.await(ctx); err != nil {
			return r.lost(err)
		}
	}
	return nil
}

// round is one publishing of messages.
type round struct {
	sink    *sink
	o       *outlet
	first   uint64 // the tag of the first
	sent    []int  // messages, in the order of their tags
	known   int    // how many were confirmed or refused
	refused []amqp.Return
}

// await waits for one confirmation.
func (r *round) await(ctx context.Context) error {
	select {
	case c, ok := <-r.o.confirms:
		return r.confirmed(c, ok)
	default:
	}
	select {
	case c, ok := <-r.o.confirms:
		return r.confirmed(c, ok)
	case back, ok := <-r.o.returns:
		if ok {
			r.refused = append(r.refused, back)
			return nil
		}
		return r.why(amqp.ErrClosed)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *round) confirmed(c amqp.Confirmation, ok bool) error {
	at := int(c.DeliveryTag - r.first)
	if !ok || c.DeliveryTag < r.first || at >= len(r.sent) {
		return r.why(amqp.ErrClosed)
	}
	r.known++
	if !c.Ack {
		// Where the channel was lost the client refuses all that it has not heard of.
		if r.o.ch.IsClosed() {
			return r.why(amqp.ErrClosed)
		}
		r.sink.fates[r.sent[at]] = &penstock.Error{Code: penstock.Limited, Op: "rabbitmq", Path: r.sink.at, Err: errors.New("the server has refused the message: a queue that it goes to is full, or can't take it"),
			Hint: "let the queue be emptied faster, or raise its `maxLength` or `maxBytes`"}
		return nil
	}
	r.sink.fates[r.sent[at]] = nil
	return nil
}

// why is the reason for which the channel was closed, where the server has said one.
func (r *round) why(otherwise error) error {
	select {
	case e, ok := <-r.o.closed:
		if ok && e != nil {
			return e
		}
	default:
	}
	return otherwise
}

// lost gives up the channel.
func (r *round) lost(err error) error {
	r.sink.drop()
	return err
}

// returned marks the messages that came back since they could not be routed. The server does not say which they were; it gives them back as they are.
func (r *round) returned(b *penstock.Batch) {
	for range len(r.o.returns) { // those that are there came before the confirmation; the channel may be closed by now
		r.refused = append(r.refused, <-r.o.returns)
	}
	for i := range r.refused {
		r.comesBack(b, &r.refused[i])
	}
}

// comesBack finds a message that was returned. Messages that are the same in everything have the same fate, so any of them will do.
func (r *round) comesBack(b *penstock.Batch, back *amqp.Return) {
	s := r.sink
	for _, i := range r.sent {
		if s.fates[i] != nil {
			continue
		}
		key, p, err := s.letter(b, b.Msgs[i])
		if err != nil || key != back.RoutingKey || p.MessageId != back.MessageId || string(p.Body) != string(back.Body) {
			continue
		}
		s.fates[i] = &penstock.Error{Code: penstock.NotFound, Op: "rabbitmq", Path: s.at, Err: fmt.Errorf("the message fits no queue: routing key %q, %s (%d)", back.RoutingKey, back.ReplyText, back.ReplyCode),
			Hint: "bind a queue for it, or give the exchange an alternate one; or say `mandatory: false` to let it be dropped"}
		return
	}
}

// Close implements penstock.Sink.
func (s *sink) Close(context.Context) error {
	s.drop()
	return nil
}

// headerSize is about how many bytes a message takes beside its payload.
func headerSize(p *amqp.Publishing) int { return 512 + tableSize(p.Headers) }

func tableSize(t amqp.Table) (n int) {
	for name, v := range t {
		n += 2 + len(name) + fieldSize(v)
	}
	return n
}

func fieldSize(v any) (n int) {
	switch v := v.(type) {
	case string:
		return 5 + len(v)
	case []byte:
		return 5 + len(v)
	case amqp.Table:
		return 5 + tableSize(v)
	case []any:
		for _, e := range v {
			n += fieldSize(e)
		}
		return 5 + n
	}
	return 9
}
