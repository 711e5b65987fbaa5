package rabbitmq

import (
	"errors"

	"penstock.dev/penstock"
)

// ChannelConfig is a channel on RabbitMQ: `broker: { rabbitmq: { connection: mq } }`.
//
// A channel with `mode: queue` is one queue, which its readers share. One with `mode: topic` is an exchange of type fanout, with a queue for each flow that reads it; or,
// with `type: stream`, one stream that all of them read, each from where it is.
type ChannelConfig struct {
	// The server.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// What the queue, exchange or stream is called; the queues of a topic are called by it and by the flow, with a dot between. Default: the channel's name.
	Name penstock.Template `json:"name"`
	// What kind of queues it is made of. quorum: replicated, and on disk. classic: on one server. stream: a log, for a topic only: messages stay there when they
	// were read, as long as `ttl` and `maxBytes` say, and a flow that comes later reads them all.
	Type string `json:"type" penstock:"enum=quorum|classic|stream,default=quorum"`
	// How many messages each queue holds at most. When it is full, who sends to the channel waits and tries again. Not with a stream.
	MaxLength int `json:"maxLength" penstock:"min=1"`
	// How many bytes of messages each queue holds at most; a stream drops its oldest messages then.
	MaxBytes penstock.Size `json:"maxBytes" penstock:"min=1"`
	// How long a message is kept that nobody reads; with a stream for how long at least, whether it is read or not.
	TTL penstock.Duration `json:"ttl" penstock:"min=1s"`
	// How many messages may be on their way to a reader without being settled.
	Prefetch int `json:"prefetch" penstock:"default=1000,min=1,max=65535"`
}

var _ penstock.BrokerChannel = (*ChannelConfig)(nil)

// Refuses implements penstock.BrokerChannel.
func (c *ChannelConfig) Refuses(use penstock.ChannelUse) (errs []error) {
	if use.Queue && c.Type == typeStream {
		errs = append(errs, &penstock.Error{Code: penstock.Config, Err: errors.New("a stream gives every message to every reader, and a queue gives it to one"), Hint: "say `mode: topic`, or `type: quorum`"})
	}
	if c.MaxLength > 0 && c.Type == typeStream {
		errs = append(errs, &penstock.Error{Code: penstock.Config, Err: errors.New("a stream is not bounded by a number of messages"), Hint: "say `maxBytes` or `ttl`"})
	}
	return errs
}

// name is that of the queue, exchange or stream; with what stands behind it.
func (c *ChannelConfig) name(use penstock.ChannelUse, behind string) penstock.Template {
	t := penstock.Template{Source: use.Name, Pos: c.Connection.Pos}
	if !c.Name.IsZero() {
		t = penstock.Template{Source: c.Name.Source, Pos: c.Name.Pos}
	}
	t.Source += behind
	return t
}

// fans says that the channel is an exchange with queues.
func (c *ChannelConfig) fans(use penstock.ChannelUse) bool { return !use.Queue && c.Type != typeStream }

// queue is what a queue of the channel is to be. Of one whose messages have keys, one consumer at a time gets messages, so that those of a key keep their order.
func (c *ChannelConfig) queue(use penstock.ChannelUse) *QueueConfig {
	q := &QueueConfig{Type: c.Type, MaxLength: c.MaxLength, MaxBytes: c.MaxBytes, TTL: c.TTL, SingleActiveConsumer: use.Keyed && c.Type != typeStream}
	if c.fans(use) {
		q.Bindings = []BindingConfig{{Exchange: c.name(use, "")}}
	}
	return q
}

func (c *ChannelConfig) exchange() *ExchangeConfig { return &ExchangeConfig{Type: "fanout"} }

// FillSource implements penstock.BrokerChannel.
func (c *ChannelConfig) FillSource(use penstock.ChannelUse, config any) {
	s := config.(*SourceConfig)
	s.Connection, s.Prefetch, s.Queue, s.Declare, s.known = c.Connection, c.Prefetch, c.name(use, ""), c.queue(use), true
	switch {
	case c.Type == typeStream:
		s.Stream = &StreamConfig{}
	case c.fans(use):
		s.Queue = c.name(use, "."+use.Group)
	}
}

// FillSink implements penstock.BrokerChannel.
func (c *ChannelConfig) FillSink(use penstock.ChannelUse, config any) {
	s := config.(*SinkConfig)
	s.Connection = c.Connection
	if !c.fans(use) {
		s.Queue, s.Declare = c.name(use, ""), c.queue(use)
		return
	}
	s.Exchange, s.DeclareExchange = c.name(use, ""), c.exchange()
	if len(use.Groups) == 0 { // nobody reads what is sent
		mandatory := false
		s.Mandatory = &mandatory
	}
}

// Topology implements penstock.BrokerChannel.
func (c *ChannelConfig) Topology(use penstock.ChannelUse) penstock.Topology {
	t := &topology{connection: c.Connection}
	if !c.fans(use) {
		t.queues = []neededQueue{{c.compiled(use, ""), c.queue(use)}}
		return t
	}
	t.exchanges = []neededExchange{{c.compiled(use, ""), c.exchange()}}
	for _, g := range use.Groups {
		q := c.queue(use)
		q.Bindings = []BindingConfig{{Exchange: c.compiled(use, "")}}
		t.queues = append(t.queues, neededQueue{c.compiled(use, "."+g), q})
	}
	return t
}

// compiled is name, once the configuration is compiled.
func (c *ChannelConfig) compiled(use penstock.ChannelUse, behind string) penstock.Template {
	t := c.name(use, behind)
	if c.Name.Program != nil {
		t.Program = suffixed{c.Name.Program, behind}
	}
	return t
}

// suffixed is the program of a name with something behind it.
type suffixed struct {
	penstock.Program
	behind string
}

// Eval implements penstock.Program.
func (s suffixed) Eval(f *penstock.Frame) penstock.Value {
	v := s.Program.Eval(f)
	if v.IsError() {
		return v
	}
	text, err := v.AppendText(nil)
	if err != nil {
		return penstock.ErrorValue(err)
	}
	return penstock.StringValue(string(text) + s.behind)
}
