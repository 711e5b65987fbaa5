package rabbitmq

import (
	"cmp"
	"context"
	"errors"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
)

// QueueConfig is what a queue is to be.
type QueueConfig struct {
	// quorum: replicated, and on disk; what RabbitMQ advises for messages that matter. classic: on one server. stream: a log that keeps its messages, which as many
	// as like to may read from anywhere.
	Type string `json:"type" penstock:"enum=quorum|classic|stream,default=quorum"`
	// What is bound to the queue: messages that are published to the exchange with a routing key that fits get into it.
	Bindings []BindingConfig `json:"bindings"`
	// How many messages the queue holds at most (x-max-length), a stream excepted.
	MaxLength int `json:"maxLength" penstock:"min=1"`
	// How many bytes of messages it holds at most (x-max-length-bytes).
	MaxBytes penstock.Size `json:"maxBytes" penstock:"min=1"`
	// What happens when it is full (x-overflow). drop-head: the oldest message is dropped, or dead-lettered: it is lost though it was confirmed. reject-publish: the
	// new message is refused, and who publishes it hears of it and tries again. reject-publish-dlx: the same, and it is dead-lettered; not with quorum.
	// Default: reject-publish where a maximum is given, since nothing that was confirmed may be lost.
	Overflow string `json:"overflow" penstock:"enum=drop-head|reject-publish|reject-publish-dlx"`
	// How long a message is kept that nobody reads (x-message-ttl); with a stream for how long at least, whether it is read or not (x-max-age). After that it
	// is dropped, or dead-lettered.
	TTL penstock.Duration `json:"ttl" penstock:"min=1ms"`
	// After how long without a consumer the queue itself is deleted, with what is in it (x-expires).
	Expires penstock.Duration `json:"expires" penstock:"min=1ms"`
	// Where messages go that are rejected, expire, are dropped for lack of room, or come back too often: the queue's own dead-letter exchange.
	DeadLetter *DeadLetterConfig `json:"deadLetter"`
	// How often a quorum queue gives a message again before it drops or dead-letters it (x-delivery-limit). Every loss of the connection counts.
	DeliveryLimit int `json:"deliveryLimit" penstock:"min=0"`
	// How many priorities a classic queue has (x-max-priority).
	MaxPriority int `json:"maxPriority" penstock:"min=1,max=255"`
	// Only one consumer at a time gets messages, in order; another takes over when it ends (x-single-active-consumer).
	SingleActiveConsumer bool `json:"singleActiveConsumer"`
}

// BindingConfig binds an exchange to a queue.
type BindingConfig struct {
	// The exchange, which must be there.
	Exchange penstock.Template `json:"exchange" penstock:"required"`
	// The routing key, or the pattern of one with an exchange of type topic: `order.*.paid`, `order.#`.
	RoutingKey string `json:"routingKey"`
}

// DeadLetterConfig is a queue's dead-letter exchange.
type DeadLetterConfig struct {
	// The exchange (x-dead-letter-exchange); empty is the default exchange, by which `routingKey` names a queue.
	Exchange string `json:"exchange"`
	// The routing key (x-dead-letter-routing-key). Default: that of the message.
	RoutingKey string `json:"routingKey"`
	// How a quorum queue hands its dead letters over (x-dead-letter-strategy). at-most-once: some may be lost when a server dies. at-least-once: none is; it needs
	// `overflow: reject-publish`.
	Strategy string `json:"strategy" penstock:"enum=at-most-once|at-least-once,default=at-most-once"`
}

// ExchangeConfig is what an exchange is to be. It is durable.
type ExchangeConfig struct {
	// How it routes: direct (the routing key is that of the binding), topic (it fits the pattern of the binding), fanout (to all), headers (by headers), or the
	// type that a plugin of the server brings (x-consistent-hash).
	Type string `json:"type" penstock:"default=topic,nonempty"`
	// Where messages go that fit no binding (alternate-exchange), in place of coming back as unroutable.
	Alternate string `json:"alternate"`
}

const (
	typeClassic = "classic"
	typeQuorum  = "quorum"
	typeStream  = "stream"

	rejectPublish = "reject-publish"
)

func typeOr(t string) string { return cmp.Or(t, typeQuorum) }

func (c *QueueConfig) validate() (errs []error) {
	t := typeOr(c.Type)
	refuse := func(bad bool, msg string) {
		if bad {
			errs = append(errs, errors.New("declare: "+msg))
		}
	}
	bounded := c.MaxLength > 0 || c.MaxBytes > 0
	switch t {
	case typeStream:
		refuse(c.MaxLength > 0, "a stream is bounded by `maxBytes` or `ttl`, not by a number of messages: leave `maxLength` out")
		refuse(c.Overflow != "" && c.Overflow != "drop-head", "a stream drops its oldest messages when it is full: leave `overflow` out")
		refuse(c.Expires > 0, "a stream does not go by itself: leave `expires` out")
		refuse(c.DeadLetter != nil, "a stream has no dead letters: leave `deadLetter` out")
		refuse(c.SingleActiveConsumer, "a stream is read by as many as like to: leave `singleActiveConsumer` out")
		refuse(c.TTL > 0 && c.TTL.Std().Seconds() < 1, "a stream counts `ttl` in seconds")
	case typeQuorum:
		refuse(c.Overflow == "reject-publish-dlx", "a quorum queue knows no `overflow: reject-publish-dlx`: use reject-publish, or a classic queue")
	case typeClassic:
		refuse(c.DeadLetter != nil && c.DeadLetter.Strategy == "at-least-once", "only a quorum queue hands dead letters over at-least-once: leave `strategy` out, or use `type: quorum`")
	}
	refuse(t != typeQuorum && c.DeliveryLimit > 0, "only a quorum queue counts deliveries: leave `deliveryLimit` out, or use `type: quorum`")
	refuse(t != typeClassic && c.MaxPriority > 0, "only a classic queue has priorities: leave `maxPriority` out, or use `type: classic`")
	refuse(c.Overflow != "" && t != typeStream && !bounded, "`overflow` says what happens when the queue is full: give `maxLength` or `maxBytes`, too")
	if c.DeadLetter != nil {
		refuse(c.DeadLetter.Exchange == "" && c.DeadLetter.RoutingKey == "", "deadLetter: name an `exchange`, or, for the default one, the queue as `routingKey`")
		refuse(t == typeQuorum && c.DeadLetter.Strategy == "at-least-once" && c.Overflow != rejectPublish && (c.Overflow != "" || !bounded),
			"deadLetter: strategy: at-least-once needs `overflow: reject-publish`, and for that a maximum: give `maxLength` or `maxBytes`")
	}
	return errs
}

// arguments are those of queue.declare.
func (c *QueueConfig) arguments() amqp.Table {
	t := typeOr(c.Type)
	args := amqp.Table{"x-queue-type": t}
	set := func(name string, is bool, v any) {
		if is {
			args[name] = v
		}
	}
	overflow := c.Overflow
	if overflow == "" && t != typeStream && (c.MaxLength > 0 || c.MaxBytes > 0) {
		overflow = rejectPublish
	}
	set("x-max-length", c.MaxLength > 0, int64(c.MaxLength))
	set("x-max-length-bytes", c.MaxBytes > 0, int64(c.MaxBytes))
	set("x-overflow", overflow != "" && t != typeStream, overflow)
	if t == typeStream {
		set("x-max-age", c.TTL > 0, strconv.FormatInt(int64(c.TTL.Std().Seconds()), 10)+"s")
	} else {
		set("x-message-ttl", c.TTL > 0, c.TTL.Std().Milliseconds())
	}
	set("x-expires", c.Expires > 0, c.Expires.Std().Milliseconds())
	if d := c.DeadLetter; d != nil {
		args["x-dead-letter-exchange"] = d.Exchange
		set("x-dead-letter-routing-key", d.RoutingKey != "", d.RoutingKey)
		set("x-dead-letter-strategy", d.Strategy == "at-least-once", d.Strategy)
	}
	set("x-delivery-limit", c.DeliveryLimit > 0, int64(c.DeliveryLimit))
	set("x-max-priority", c.MaxPriority > 0, int64(c.MaxPriority))
	set("x-single-active-consumer", c.SingleActiveConsumer, true)
	return args
}

// kind is the exchange's type.
func (c *ExchangeConfig) kind() string { return cmp.Or(c.Type, "topic") }

func (c *ExchangeConfig) arguments() amqp.Table {
	args := amqp.Table{}
	if c.Alternate != "" {
		args["alternate-exchange"] = c.Alternate
	}
	return args
}

// haveQueue makes sure that a queue is there: as it is declared, or, where nothing is, at all.
func (l *link) haveQueue(ctx context.Context, r role, name string, c *QueueConfig) error {
	ch, err := l.channel(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = ch.Close() }() // an error has closed it already
	if c == nil {
		_, err = ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return l.failure(ctx, err, "queue "+name)
	}
	if _, err = ch.QueueDeclare(name, true, false, false, false, c.arguments()); err != nil {
		return l.failure(ctx, err, "declare queue "+name)
	}
	for _, b := range c.Bindings {
		exchange, err := fixed(b.Exchange, l.env)
		if err != nil {
			return err
		}
		if err = ch.QueueBind(name, b.RoutingKey, exchange, false, nil); err != nil {
			return l.failure(ctx, err, "bind queue "+name+" to exchange "+exchange)
		}
	}
	return nil
}

// haveExchange makes sure that an exchange is there: as it is declared, or, where nothing is, at all.
func (l *link) haveExchange(ctx context.Context, name string, c *ExchangeConfig) error {
	ch, err := l.channel(ctx, publishing)
	if err != nil {
		return err
	}
	defer func() { _ = ch.Close() }()
	if c == nil {
		return l.failure(ctx, ch.ExchangeDeclarePassive(name, "direct", true, false, false, false, nil), "exchange "+name)
	}
	if err := ch.ExchangeDeclare(name, c.kind(), true, false, false, false, c.arguments()); err != nil {
		return l.failure(ctx, err, "declare exchange "+name)
	}
	return nil
}
