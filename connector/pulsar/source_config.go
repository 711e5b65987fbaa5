package pulsar

import (
	"errors"
	"fmt"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
)

var sourceSpec = penstock.Spec{
	Name:    "pulsar",
	Summary: "Reads topics by a subscription.",
	Settle:  penstock.Each,
	Finite:  true,
	Keyed:   true,
}

// The types of subscriptions.
const (
	exclusive = "exclusive"
	failover  = "failover"
	shared    = "shared"
	keyShared = "key_shared"
)

// SourceConfig is the configuration of the source. One of topic and topics is set.
type SourceConfig struct {
	// The cluster to read from.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The topic to read: orders, tenant/namespace/orders, or persistent://tenant/namespace/orders. Of a topic with partitions all are read, or the one that is named
	// (orders-partition-3).
	Topic penstock.Template `json:"topic"`
	// Several topics to read.
	Topics []penstock.Template `json:"topics"`
	// The name of the subscription, which keeps on the brokers what was acknowledged. It is made if it is not there. Default: the name of the flow. Another name
	// begins anew.
	Subscription penstock.Template `json:"subscription"`
	// Who gets the messages of the subscription. exclusive: one consumer, and no other may connect. failover: one consumer for each partition, and others stand by. shared: all
	// consumers, each some of them, so that there is no order. key_shared: all consumers, those of one key going to the same.
	Type string `json:"type" penstock:"default=exclusive,enum=exclusive|failover|shared|key_shared"`
	// Where a new subscription begins: with the earliest message that is there, or with those that come from now on (latest). A subscription that is there
	// goes on where it was.
	Start string `json:"start" penstock:"default=earliest,enum=earliest|latest"`
	// How many messages of each partition are asked for ahead. They wait in memory: with large messages, say less.
	Prefetch int `json:"prefetch" penstock:"default=1000,min=1,max=100000"`
	// How the bodies are written.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// Name of the Schema, one of avro or protobuf, that readers of the topic declare: the brokers compare it with those that the topic has, and refuse one that is not
	// compatible. With `format: json` messages are JSON of that shape; with `format: { avro: { schema: … } }` they are Avro of the same Schema, with
	// `format: { protobuf: { schema: … } }` Protobuf (PROTOBUF_NATIVE). The Connection then needs `adminUrl`, and what was written with another version of the topic's
	// schema is read as this one has it.
	TopicSchema penstock.SchemaRef `json:"topicSchema"`

	// Gives a message that the flow gives up on back to the subscription (a negative acknowledgement), in place of acknowledging it: it comes again after a while, to any of
	// the consumers. Each time it is in the flow's dead letter, too, unless that is `{ drop: {} }`. For a `type` of shared or key_shared.
	NegativeAck *NegativeAck `json:"negativeAck"`

	known bool // all who write to it give their messages an id
}

// NegativeAck says how messages are given back that the flow gives up on.
type NegativeAck struct {
	// How long a message is held back by this consumer before it is given back, and comes again.
	Delay penstock.Duration `json:"delay" penstock:"default=1m,min=100ms"`
	// How many times a message is delivered at most, the first time included. When the flow gives up on the last, it is acknowledged.
	Deliveries int `json:"deliveries" penstock:"default=16,min=2,max=1000000"`
}

// Identity implements penstock.Identified.
func (c *SourceConfig) Identity() (meta string, remember time.Duration) {
	if c.known {
		return propertyID, remembered
	}
	return "", 0
}

// remembered is how long the inbox of a reader knows a message by its id: whoever relays it may have been away for that long.
const remembered = 7 * 24 * time.Hour

// Validate implements penstock.Resolver.
func (c *SourceConfig) Validate() (errs []error) {
	switch {
	case c.Topic.IsZero() == (len(c.Topics) == 0):
		return []error{errors.New("set one of `topic` and `topics`")}
	}
	seen := map[string]bool{}
	for _, t := range c.names() {
		if !isStatic(t) {
			continue
		}
		if err := checkTopic(t.Source); err != nil {
			errs = append(errs, err)
		} else if p, _ := parseTopic(t.Source); seen[p.String()] {
			errs = append(errs, fmt.Errorf("topics: %s is there twice", t.Source))
		} else {
			seen[p.String()] = true
		}
	}
	if c.NegativeAck != nil && c.alone() {
		errs = append(errs, fmt.Errorf("`negativeAck` needs `type: shared` or key_shared: one consumer alone (%s) gets messages in their order, and goes on behind them", c.Type))
	}
	if !c.Subscription.IsZero() && isStatic(c.Subscription) {
		if err := checkName("subscription", c.Subscription.Source); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// names are the topics.
func (c *SourceConfig) names() []penstock.Template {
	if !c.Topic.IsZero() {
		return []penstock.Template{c.Topic}
	}
	return c.Topics
}

// alone says that nobody else gets messages of the same partition meanwhile, so that they come in order, and again in order.
func (c *SourceConfig) alone() bool { return c.Type != shared && c.Type != keyShared }

func (c *SourceConfig) kind() client.SubscriptionType {
	switch c.Type {
	case failover:
		return client.Failover
	case shared:
		return client.Shared
	case keyShared:
		return client.KeyShared
	}
	return client.Exclusive
}

// SpecFor implements penstock.Specific.
func (c *SourceConfig) SpecFor(s penstock.Spec) penstock.Spec {
	if c.alone() {
		s.Replay, s.Keeps = penstock.ReplayPosition, true
		return s
	}
	s.Replay, s.Reorders = penstock.ReplayAgain, c.Type == shared
	return s
}

// Takes implements penstock.Exclusive: a subscription of type exclusive has one consumer. One that is named for its flow is that flow's own.
func (c *SourceConfig) Takes(env penstock.Env) (what, hint string) {
	subscription, err := fixed(c.Subscription, env)
	names := c.names()
	if err != nil || subscription == "" || c.Type != exclusive || len(names) != 1 {
		return "", ""
	}
	name, err := fixed(names[0], env)
	if err != nil {
		return "", ""
	}
	t, err := parseTopic(name)
	if err != nil {
		return "", ""
	}
	return "subscription " + subscription + " of topic " + t.path() + " of connection " + c.Connection.Name, "name another `subscription`, to read all messages twice, or say `type: shared` or key_shared for both, to share them"
}

// Overlaps implements penstock.Overlapper.
func (c *SourceConfig) Overlaps(sink any, env penstock.Env) error {
	to, ok := sink.(*SinkConfig)
	if !ok || c.Connection.Name != to.Connection.Name || !isStatic(to.Topic) {
		return nil
	}
	written, err := parseTopic(to.Topic.Source)
	if err != nil {
		return nil //nolint:nilerr // said elsewhere
	}
	for _, t := range c.names() {
		name, err := fixed(t, env)
		if err != nil {
			return nil //nolint:nilerr // said elsewhere
		}
		if read, err := parseTopic(name); err == nil && read == written {
			return &penstock.Error{Code: penstock.Config, Op: "pulsar", Err: fmt.Errorf("what is written to the topic %s is read again", to.Topic.Source), Hint: "write to another topic"}
		}
	}
	return nil
}

func newSource(c SourceConfig, env penstock.Env) (penstock.Source, error) {
	r, err := newReader(c, env)
	if err != nil {
		return nil, err
	}
	if c.alone() {
		return &positioned{r}, nil
	}
	return r, nil
}
