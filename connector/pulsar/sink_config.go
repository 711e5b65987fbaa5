package pulsar

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"penstock.dev/penstock"
)

var sinkSpec = penstock.Spec{
	Name:       "pulsar",
	Summary:    "Writes messages to a topic, which keeps them.",
	Headers:    true,
	Idempotent: true,
	Batch:      512,
}

// SinkConfig is the configuration of the sink.
type SinkConfig struct {
	// The cluster to write to.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The topic to write to: orders, tenant/namespace/orders, or persistent://tenant/namespace/orders; or by message: orders-${body.country}. What stands in `${…}` is a part of
	// one name: a slash in it fails the message.
	Topic penstock.Template `json:"topic" penstock:"required,place=plain"`
	// The key, by which messages are shared out among the topic's partitions, and among the consumers of a key_shared subscription. Default: the message's key. A message
	// without one goes to any partition.
	Key penstock.Template `json:"key" penstock:"place=plain"`
	// What consumers of a key_shared subscription go by instead of the key, where the two are to differ.
	OrderingKey penstock.Template `json:"orderingKey" penstock:"place=plain"`
	// Properties beside those of the message (meta). One whose value is empty is left out.
	Properties map[string]penstock.Template `json:"properties" penstock:"place=header"`
	// When what the message tells of has happened (its event time), as a timestamp or RFC 3339 text: ${body.at}. Default: the message's own time, where it has one.
	EventTime penstock.Template `json:"eventTime" penstock:"place=plain"`
	// How long consumers of shared and key_shared subscriptions are not to see the message: 30s, or by message ${body.wait}. Others get it at once.
	DeliverAfter penstock.Template `json:"deliverAfter" penstock:"place=plain"`
	// When consumers of shared and key_shared subscriptions are to see the message, as a timestamp or RFC 3339 text: ${body.dueAt}.
	DeliverAt penstock.Template `json:"deliverAt" penstock:"place=plain"`
	// How the bodies are written.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// Name of the Schema, one of avro or protobuf, that is declared on the topic: the brokers register it, if it is compatible with those that the topic has, and refuse it
	// otherwise. With `format: json` messages are to be JSON of that shape, with `format: { avro: { schema: … } }` Avro of the same Schema; with
	// `format: { protobuf: { schema: … } }` they are Protobuf of the same Schema, which is declared as PROTOBUF_NATIVE.
	TopicSchema penstock.SchemaRef `json:"topicSchema"`
	// How messages are made smaller on the way and on the brokers' disks.
	Compression string `json:"compression" penstock:"default=none,enum=none|lz4|zlib|zstd|snappy"`
	// How messages are put together, which is what makes Pulsar fast.
	Batching Batching `json:"batching"`
	// Cuts a message that is larger than brokers take into several, which consumers put together again. Only with `batching: { by: none }`.
	Chunking bool `json:"chunking"`
	// How a key is turned into a partition; all who write to the topic should do the same. java: as the Java client does by default (String.hashCode); murmur3: Murmur3,
	// 32 bits.
	Hashing string `json:"hashing" penstock:"default=java,enum=java|murmur3"`
	// How long the brokers may take to confirm a message. It then fails as timed out, and is tried again.
	AckTimeout penstock.Duration `json:"ackTimeout" penstock:"default=30s,min=100ms"`
	// How many messages may be under way to a partition and not confirmed.
	InFlight int `json:"inFlight" penstock:"default=1000,min=1,max=100000"`

	known bool // readers are to know messages by an id
}

// Batching says how messages are put together. What is written at a time is never held back for it.
type Batching struct {
	// any: messages as they come. key: those of one key, so that consumers of a key_shared subscription get their own only. none: each alone. key is also
	// what lets consumers of a shared subscription get messages one by one from few keys.
	By string `json:"by" penstock:"default=any,enum=any|key|none"`
	// How many messages at most.
	Messages int `json:"messages" penstock:"default=1000,min=1,max=100000"`
	// How many bytes at most, before they are compressed.
	Bytes penstock.Size `json:"bytes" penstock:"default=128Ki,min=1,max=5Mi"`
}

// Validate implements penstock.Resolver.
func (c *SinkConfig) Validate() (errs []error) {
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if isStatic(c.Topic) && !c.Topic.IsZero() {
		add(checkTopic(c.Topic.Source))
	}
	if !c.DeliverAfter.IsZero() {
		if !c.DeliverAt.IsZero() {
			add(errors.New("`deliverAfter` and `deliverAt` both say when the message is delivered; keep one of them"))
		}
		if isStatic(c.DeliverAfter) {
			if _, err := penstock.ParseDuration(c.DeliverAfter.Source); err != nil {
				add(fmt.Errorf("deliverAfter: %q is no duration: write 30s", c.DeliverAfter.Source))
			}
		}
	}
	if c.Chunking && c.Batching.By != "none" {
		add(errors.New("`chunking` needs `batching: { by: none }`: a batch is not cut"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Properties)) {
		add(checkProperty(name))
	}
	return errs
}

// checkProperty says what is wrong with the name of a property.
func checkProperty(name string) error {
	switch {
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%q is no name of a property", name)
	case strings.EqualFold(name, propertyID):
		return fmt.Errorf("the property %s is written by penstock", name)
	case strings.HasPrefix(strings.ToLower(name), metaPrefix):
		return fmt.Errorf("the property %s: names that begin with %s say where a message was read", name, metaPrefix)
	}
	return nil
}
