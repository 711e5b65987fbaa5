package pulsar

import "penstock.dev/penstock"

// ChannelConfig is the configuration of a channel on Pulsar: a topic, which each flow that reads the channel reads by a subscription of its own; of a queue, all by one. The
// Connection needs `adminUrl`, where topics and subscriptions are made.
type ChannelConfig struct {
	// The cluster.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The topic: orders, or tenant/namespace/orders. Default: the channel's name, in public/default.
	Topic penstock.Template `json:"topic"`
	// How many partitions the topic is made with: so many brokers and readers can share the work, and only messages of one key keep their order. 0 is a topic without, which
	// keeps the order of all messages. A topic that is there with more is left so. One that has fewer gets more, unless the messages have keys: those of a key would then go to another partition, and
	// overtake.
	Partitions int `json:"partitions" penstock:"default=0,min=0,max=1000"`
	// Make the topic and its subscriptions where they are missing, and change them where they are otherwise. If false, that is an error.
	Create *bool `json:"create" penstock:"default=true"`
	// What stands before the names of the subscriptions, which are those of the flows: where several deployments share a cluster.
	SubscriptionPrefix string `json:"subscriptionPrefix"`
	// How messages are made smaller on the way and on the brokers' disks.
	Compression string `json:"compression" penstock:"default=none,enum=none|lz4|zlib|zstd|snappy"`
	// How many messages of each partition a reader asks for ahead.
	Prefetch int `json:"prefetch" penstock:"default=1000,min=1,max=100000"`
}

var (
	_ penstock.BrokerChannel = (*ChannelConfig)(nil)
	_ penstock.Resolver      = (*ChannelConfig)(nil)
	_ penstock.Specific      = (*ChannelConfig)(nil)
)

// Validate implements penstock.Resolver.
func (c *ChannelConfig) Validate() (errs []error) {
	if !c.Topic.IsZero() && isStatic(c.Topic) {
		if err := checkTopic(c.Topic.Source); err != nil {
			errs = append(errs, err)
		}
	}
	if c.SubscriptionPrefix != "" {
		if err := checkName("subscriptionPrefix", c.SubscriptionPrefix); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Refuses implements penstock.BrokerChannel.
func (c *ChannelConfig) Refuses(use penstock.ChannelUse) (errs []error) {
	if c.Topic.IsZero() {
		if err := checkTopic(use.Name); err != nil {
			errs = append(errs, &penstock.Error{Code: penstock.Config, Err: err, Hint: "say `topic`"})
		}
	}
	return errs
}

// SpecFor implements penstock.Specific: messages in several partitions have no order among them.
func (c *ChannelConfig) SpecFor(s penstock.Spec) penstock.Spec {
	s.Reorders = c.Partitions > 1
	return s
}

func (c *ChannelConfig) topic(use penstock.ChannelUse) penstock.Template {
	if c.Topic.IsZero() {
		return penstock.Template{Source: use.Name, Pos: c.Connection.Pos}
	}
	return c.Topic
}

// FillSource implements penstock.BrokerChannel. Several processes may read a queue, each some of its messages; of a topic, one has each partition, and others stand by.
func (c *ChannelConfig) FillSource(use penstock.ChannelUse, config any) {
	s := config.(*SourceConfig)
	s.Connection, s.Topic, s.known, s.Start = c.Connection, c.topic(use), true, "earliest"
	s.Subscription = penstock.Template{Source: flowOf(c.SubscriptionPrefix + use.Group), Pos: c.Connection.Pos}
	switch {
	case use.Queue && use.Keyed:
		s.Type = keyShared
	case use.Queue:
		s.Type = shared
	default:
		s.Type = failover
	}
	if c.Prefetch > 0 {
		s.Prefetch = c.Prefetch
	}
}

// FillSink implements penstock.BrokerChannel.
func (c *ChannelConfig) FillSink(use penstock.ChannelUse, config any) {
	s := config.(*SinkConfig)
	s.Connection, s.Topic, s.known = c.Connection, c.topic(use), true
	if use.Queue && use.Keyed {
		s.Batching.By = "key"
	}
	if c.Compression != "" {
		s.Compression = c.Compression
	}
}

// Topology implements penstock.BrokerChannel.
func (c *ChannelConfig) Topology(use penstock.ChannelUse) penstock.Topology { return &topology{c, use} }
