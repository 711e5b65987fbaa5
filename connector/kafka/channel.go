package kafka

import (
	"errors"
	"fmt"
	"slices"

	"penstock.dev/penstock"
)

// ChannelConfig is the configuration of a channel on Kafka: a topic, which each flow that reads the channel reads as a group of its own; of a queue, all as one.
// Messages are shared out by partitions, and those of a key are in one.
type ChannelConfig struct {
	// The cluster.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The topic. Default: the channel's name.
	Topic penstock.Template `json:"topic"`
	// How many partitions the topic is made with: so many members of a group can share the work. One that is there with more is left so. One that has fewer gets more, unless
	// the messages have keys: those of a key would then go to another partition, and overtake.
	Partitions int `json:"partitions" penstock:"default=6,min=1,max=10000"`
	// How many brokers have a copy of each message. Default: what the cluster says (default.replication.factor). A topic that has fewer copies is a conflict.
	Replication int `json:"replication" penstock:"min=1,max=100"`
	// Settings of the topic, in Kafka's words: `config: { retention.ms: "604800000", min.insync.replicas: "2" }`. What is left out is the cluster's. A setting that is
	// otherwise is changed, unless messages could be lost by that.
	Config map[string]string `json:"config"`
	// Make the topic where it is missing, and change it where it is otherwise. If false, that is an error.
	Create *bool `json:"create" penstock:"default=true"`
	// What stands before the names of the groups, which are those of the flows: where several deployments share a cluster.
	GroupPrefix string `json:"groupPrefix"`
	// How long a reader that has died, and did not say so, keeps its partitions: so long nobody reads on there. The source's default.
	Session penstock.Duration `json:"session" penstock:"min=1s,max=30m"`
	// A name of this process that outlives a restart (static membership), such as `${params.pod}`: what takes the place of a reader that has died reads on at once.
	// Processes that run beside one another need different ones.
	InstanceID penstock.Template `json:"instanceId"`
	// How batches of messages are compressed.
	Compression string `json:"compression" penstock:"enum=none|gzip|snappy|lz4|zstd,default=none"`
}

// Validate implements penstock.Resolver.
func (c *ChannelConfig) Validate() (errs []error) {
	if !c.Topic.IsZero() && !templated(c.Topic) {
		if err := checkTopic(c.Topic.Source); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range []string{"partitions", "replication.factor"} {
		if _, there := c.Config[name]; there {
			errs = append(errs, fmt.Errorf("config: %s is no setting of a topic: see `partitions` and `replication`", name))
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
	if policy := c.Config["cleanup.policy"]; policy != "" && policy != "delete" && !use.Keyed {
		errs = append(errs, &penstock.Error{Code: penstock.Config, Err: errors.New("a topic that is compacted keeps the last message of each key, and these have none"), Hint: "give the channel a `key`, or leave cleanup.policy out"})
	}
	return errs
}

// SpecFor implements penstock.Specific: the records of several partitions have no order among them.
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

// FillSource implements penstock.BrokerChannel.
func (c *ChannelConfig) FillSource(use penstock.ChannelUse, config any) {
	s := config.(*SourceConfig)
	s.Connection, s.Topic, s.known = c.Connection, c.topic(use), true
	s.Group = penstock.Template{Source: c.GroupPrefix + use.Group, Pos: c.Connection.Pos}
	s.InstanceID = c.InstanceID
	if c.Session > 0 {
		s.Session = c.Session
	}
}

// FillSink implements penstock.BrokerChannel.
func (c *ChannelConfig) FillSink(use penstock.ChannelUse, config any) {
	s := config.(*SinkConfig)
	s.Connection, s.Topic, s.Compression, s.known = c.Connection, c.topic(use), c.Compression, true
}

// Topology implements penstock.BrokerChannel. Groups need nothing: one that has read nothing begins with the oldest message.
func (c *ChannelConfig) Topology(use penstock.ChannelUse) penstock.Topology {
	return &topology{config: c, topic: c.topic(use), keyed: use.Keyed}
}

// settings are the names of the topic's settings, in order.
func (c *ChannelConfig) settings() []string {
	names := make([]string, 0, len(c.Config))
	for n := range c.Config {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
