package nats

import (
	"errors"
	"time"

	"penstock.dev/penstock"
)

// ChannelConfig is the configuration of a channel on NATS: a stream of JetStream with one subject. Each flow that reads the channel reads it by a durable consumer of its own;
// of a queue, all by one.
type ChannelConfig struct {
	// The server.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The stream. Default: the channel's name.
	Stream string `json:"stream"`
	// The subject of the channel's messages, which the stream takes. Default: the channel's name.
	Subject string `json:"subject"`
	// How many servers of the cluster have a copy of each message. Default: 1 for a new stream.
	Replicas int `json:"replicas" penstock:"min=1,max=5"`
	// When the stream lets go of a message. limits: by maxAge, maxBytes and maxMessages, and never without them. interest: when all consumers that there are have
	// acknowledged it; one that nobody reads is let go at once. workqueue: when it is acknowledged, by the only consumer. Default: limits, for a queue workqueue.
	Retention string `json:"retention" penstock:"enum=limits|interest|workqueue"`
	// How old messages may get before they are let go, read or not. Default: any age.
	MaxAge penstock.Duration `json:"maxAge" penstock:"min=1s"`
	// How large the stream may get. Default: any size.
	MaxBytes penstock.Size `json:"maxBytes" penstock:"min=1"`
	// How many messages the stream may have. Default: any number.
	MaxMessages int `json:"maxMessages" penstock:"min=1"`
	// What happens when the stream is full. new: new messages are refused, which holds up whoever sends. old: the oldest are let go, read or not. Default: new for a
	// new stream.
	Discard string `json:"discard" penstock:"enum=new|old"`
	// How long the stream knows messages by their ids, so that one which is sent again is there once: its duplicate window.
	Dedupe penstock.Duration `json:"dedupe" penstock:"default=2m,min=100ms"`
	// How long a message that is not acknowledged is out before the server gives it again. Default: 10s for a new consumer.
	AckWait penstock.Duration `json:"ackWait" penstock:"min=100ms"`
	// How many messages may be out and not acknowledged, for each consumer. Default: 10000 for a new consumer.
	MaxAckPending int `json:"maxAckPending" penstock:"min=1,max=1000000"`
	// Make the stream and its consumers where they are missing, and change what is otherwise. If false, that is an error.
	Create *bool `json:"create" penstock:"default=true"`
	// What stands before the names of the consumers, which are those of the flows: where several deployments share a server.
	ConsumerPrefix string `json:"consumerPrefix"`
}

var (
	_ penstock.BrokerChannel = (*ChannelConfig)(nil)
	_ penstock.Resolver      = (*ChannelConfig)(nil)
)

// remembered is how long the inbox of a reader knows a message by its id: whoever relays it may have been away for that long.
const remembered = 7 * 24 * time.Hour

// Validate implements penstock.Resolver.
func (c *ChannelConfig) Validate() (errs []error) {
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if c.Stream != "" {
		add(checkName("stream", c.Stream))
	}
	if c.Subject != "" {
		add(checkSubject(c.Subject, false))
	}
	if c.ConsumerPrefix != "" {
		add(checkName("consumerPrefix", c.ConsumerPrefix))
	}
	if c.MaxAge != 0 && c.Dedupe > c.MaxAge {
		add(errors.New("`dedupe` is longer than `maxAge`: nothing is known for longer than it is there"))
	}
	return errs
}

// Refuses implements penstock.BrokerChannel.
func (c *ChannelConfig) Refuses(use penstock.ChannelUse) (errs []error) {
	refuse := func(err error, hint string) {
		errs = append(errs, &penstock.Error{Code: penstock.Config, Err: err, Hint: hint})
	}
	if c.Stream == "" {
		if err := checkName("stream", use.Name); err != nil {
			refuse(err, "say `stream`")
		}
	}
	if c.Subject == "" {
		if err := checkSubject(use.Name, false); err != nil {
			refuse(err, "say `subject`")
		}
	}
	switch {
	case use.Queue:
	case c.Retention == "workqueue" && len(use.Groups) > 1:
		refuse(errors.New("with `retention: workqueue` a message is gone once one consumer has acknowledged it, and several flows read it"), "say `mode: queue`, or `retention: interest`")
	case c.Retention == "interest" && len(use.Groups) == 0:
		refuse(errors.New("with `retention: interest` the stream lets go of what no consumer wants, and no flow here reads it"), "leave `retention` out, or let a flow read it")
	}
	return errs
}

func (c *ChannelConfig) stream(use penstock.ChannelUse) string {
	if c.Stream != "" {
		return c.Stream
	}
	return use.Name
}

func (c *ChannelConfig) subject(use penstock.ChannelUse) string {
	if c.Subject != "" {
		return c.Subject
	}
	return use.Name
}

// FillSource implements penstock.BrokerChannel.
func (c *ChannelConfig) FillSource(use penstock.ChannelUse, config any) {
	s := config.(*SourceConfig)
	s.Connection, s.Stream, s.Subjects = c.Connection, c.stream(use), []string{c.subject(use)}
	s.Consumer = flowOf(c.ConsumerPrefix + use.Group)
	s.Shared = use.Queue
	s.AckWait, s.MaxAckPending = c.AckWait, c.MaxAckPending
	s.known = true
}

// FillSink implements penstock.BrokerChannel.
func (c *ChannelConfig) FillSink(use penstock.ChannelUse, config any) {
	s := config.(*SinkConfig)
	s.Connection, s.Stream, s.Dedupe = c.Connection, c.stream(use), c.Dedupe
	s.Subject = penstock.Template{Source: c.subject(use), Pos: c.Connection.Pos}
}

// Topology implements penstock.BrokerChannel.
func (c *ChannelConfig) Topology(use penstock.ChannelUse) penstock.Topology { return &topology{c, use} }
