package kafka

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"penstock.dev/penstock"
)

// SinkConfig is the configuration of the sink.
type SinkConfig struct {
	// The cluster to write to.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The topic, which may depend on the message: `orders-${body.region}`. It must be there.
	Topic penstock.Template `json:"topic" penstock:"required,place=plain"`
	// How the body becomes the value of a record. Default: JSON goes out as it is, text as it is, bytes as they are. A body that is null
	// becomes a tombstone: a record without a value.
	Format penstock.Format `json:"format"`
	// How the message's key becomes that of the record: text as it is; base64 for keys that are bytes in base64; none writes records without a key. Records of a key
	// go to one partition, the same that other clients choose (murmur2), and keep their order there. Those without a key are spread over all.
	Keys string `json:"keys" penstock:"enum=text|base64|none,default=text"`
	// Headers of the records, beside the message's meta, which is written without what begins with kafka-. One that is empty is left out.
	Headers map[string]penstock.Template `json:"headers" penstock:"place=plain"`
	// The timestamp of the records: written is the time of writing, message the time that the source says (that of the record, where it is Kafka). A
	// topic deletes by it: a message whose time is older than the topic's retention may be gone at once.
	Timestamp string `json:"timestamp" penstock:"enum=written|message,default=written"`
	// How batches of records are compressed.
	Compression string `json:"compression" penstock:"enum=none|gzip|snappy|lz4|zstd,default=none"`
	// How long a record waits for others to travel with it. The messages of a write travel together anyway.
	Linger penstock.Duration `json:"linger" penstock:"default=0s,min=0s,max=1m"`
	// The largest record, and the largest batch of them, before compression. The topic's own limit is max.message.bytes; where that is lower, it goes before this one. A message that is larger
	// fails, alone.
	MaxMessage penstock.Size `json:"maxMessage" penstock:"default=1Mi,min=1Ki,max=1Gi"`
	// How long writing is tried again before the messages fail as timed out. What fails so may have arrived nevertheless, and is there twice when it is written again; what is tried
	// again before is not (the producer is idempotent).
	Timeout penstock.Duration `json:"deliveryTimeout" penstock:"default=2m,min=1s,max=1h"`
	// The transactions of a flow with `delivery: effectively-once` that reads from this cluster, too.
	Transaction Transaction `json:"transaction"`

	known bool // it is a channel's: records have the identities of their messages
}

// Transaction is how a flow writes and moves on at once.
type Transaction struct {
	// The transactional id. Whoever writes with it fences those who did before: so it has to stay the same when this process is started again, and be another in each process that runs
	// beside it. Default: the group, the flow, and the source's `instanceId`, or else the name of the machine.
	ID penstock.Template `json:"id"`
	// How long the cluster waits for the end of a transaction before it undoes it. Others don't see what comes behind one that is open.
	Timeout penstock.Duration `json:"timeout" penstock:"default=1m,min=1s,max=15m"`
}

// The values of some fields.
const timestampMessage = "message"

// Validate implements penstock.Resolver.
func (c *SinkConfig) Validate() (errs []error) {
	if !templated(c.Topic) {
		if err := checkTopic(c.Topic.Source); err != nil {
			errs = append(errs, err)
		}
	}
	for name := range c.Headers {
		if name == "" || !utf8.ValidString(name) || strings.HasPrefix(strings.ToLower(name), metaPrefix) {
			errs = append(errs, fmt.Errorf("headers: %q can't be the name of one: those that begin with %s are left out", name, metaPrefix))
		}
	}
	if c.Linger > c.Timeout {
		errs = append(errs, errors.New("linger is longer than deliveryTimeout: nothing would arrive in time"))
	}
	return errs
}
