package rabbitmq

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"penstock.dev/penstock"
)

// SinkConfig is the configuration of the sink.
type SinkConfig struct {
	// The server to publish to.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The exchange to publish to. It must be there, unless `declareExchange` says how to make it.
	Exchange penstock.Template `json:"exchange"`
	// The routing key of each message, by which the exchange chooses the queues: `order.${body.country}`. Default: empty.
	RoutingKey penstock.Template `json:"routingKey" penstock:"place=plain"`
	// The queue to publish to, by the default exchange, in place of exchange and routingKey. It must be there, unless `declare` says how to make it.
	Queue penstock.Template `json:"queue"`
	// How the body of the message is written. Default: json.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// A message that gets into no queue fails with notFound. Otherwise it is dropped by the server, which confirms it nevertheless.
	Mandatory *bool `json:"mandatory" penstock:"default=true"`
	// Messages are kept on disk by durable queues. Without it they are lost when the server restarts, though it has confirmed them; a quorum queue keeps them in
	// any case.
	Persistent *bool `json:"persistent" penstock:"default=true"`
	// What the message is known by (the property message-id), such as `${body.id}`. Default: an identity made of its source and its way from there, which it has
	// again when it is published once more after a crash, where its source gives it again under the same position or `id`.
	MessageID penstock.Template `json:"messageId" penstock:"place=plain"`
	// The priority, a number from 0 to 255, in queues that have some. Default: the header priority of the message.
	Priority penstock.Template `json:"priority" penstock:"place=plain"`
	// How long the message is kept in a queue (30s, or a number of milliseconds); after that it is dropped, or dead-lettered by the queue. Default: for as long as the
	// queue keeps it.
	Expiration penstock.Template `json:"expiration" penstock:"place=plain"`
	// What kind of message it is (the property type). Default: the header type of the message.
	Type penstock.Template `json:"type" penstock:"place=plain"`
	// Which message it is an answer to. Default: the header correlation-id of the message.
	CorrelationID penstock.Template `json:"correlationId" penstock:"place=plain"`
	// Where answers go. Default: the header reply-to of the message.
	ReplyTo penstock.Template `json:"replyTo" penstock:"place=plain"`
	// The media type of the payload. Default: that of the format.
	ContentType penstock.Template `json:"contentType" penstock:"place=plain"`
	// Headers, beside those that the message has (meta): all of them go out, but for what was said of its delivery here (exchange, routing-key,
	// redelivered, expiration, x-death and the like). A number or a truth keeps its type, for exchanges that route by headers.
	Headers map[string]penstock.Template `json:"headers" penstock:"place=plain"`
	// Makes the queue if it is not there, and otherwise makes sure that it is what it is said to be: what differs is an error at the start.
	Declare *QueueConfig `json:"declare"`
	// Makes the exchange if it is not there, and otherwise makes sure that it is what it is said to be.
	DeclareExchange *ExchangeConfig `json:"declareExchange"`
}

// Validate implements penstock.Resolver.
func (c *SinkConfig) Validate() (errs []error) {
	refuse := func(bad bool, msg string) {
		if bad {
			errs = append(errs, errors.New(msg))
		}
	}
	refuse(c.Queue.IsZero() && c.Exchange.IsZero(), "say where to: `exchange` (with a routingKey), or `queue`")
	refuse(!c.Queue.IsZero() && !c.Exchange.IsZero(), "`queue` publishes by the default exchange: leave it or `exchange` out")
	refuse(!c.Queue.IsZero() && !c.RoutingKey.IsZero(), "with `queue` its name is the routing key: leave `routingKey` out")
	refuse(c.Declare != nil && c.Queue.IsZero(), "`declare` makes the queue that `queue` names; an exchange is made by `declareExchange`")
	refuse(c.DeclareExchange != nil && c.Exchange.IsZero(), "`declareExchange` makes the exchange that `exchange` names; a queue is made by `declare`")
	if c.Declare != nil {
		errs = append(errs, c.Declare.validate()...)
	}
	if c.DeclareExchange != nil && strings.HasPrefix(c.Exchange.Source, "amq.") {
		errs = append(errs, fmt.Errorf("the exchange %s is the server's own: leave `declareExchange` out, or use another name", c.Exchange.Source))
	}
	names := make([]string, 0, len(c.Headers))
	for name := range c.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if len(name) > 255 || name == "" {
			errs = append(errs, fmt.Errorf("headers: the name %.40q is not of 1 to 255 bytes", name))
		}
		if name == keyHeader {
			errs = append(errs, fmt.Errorf("headers: %s holds the key of the message: leave it out, and say `key` beside the target", keyHeader))
		}
	}
	return errs
}
