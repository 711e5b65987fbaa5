package kafka

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"penstock.dev/penstock"
)

// SourceConfig is the configuration of the source. One of topic, topics and pattern is set.
type SourceConfig struct {
	// The cluster to read from.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The topic to read.
	Topic penstock.Template `json:"topic"`
	// Several topics to read.
	Topics []penstock.Template `json:"topics"`
	// A regular expression (RE2) for the names of the topics to read; it has to fit the whole name. Topics that are made later are found, and read from their beginning.
	// Topics whose names begin with two underscores are Kafka's own, and left out.
	Pattern string `json:"pattern"`
	// The consumer group. Its members share the partitions among them: all replicas of this flow, and whoever else names it. The group keeps how far it is, so that reading goes on
	// there. Default: the flow's name.
	Group penstock.Template `json:"group"`
	// A name of this member of the group that outlives a restart (static membership): its partitions wait for it, for as long as `session` says, and are not given to others and
	// back. Each member needs its own, such as `${params.pod}`.
	InstanceID penstock.Template `json:"instanceId"`
	// Where a group begins that has read nothing yet: earliest is the oldest message that there is, latest what comes after the first start. What was read is not affected.
	Start string `json:"start" penstock:"enum=earliest|latest,default=earliest"`
	// In place of start: begins with the first message whose timestamp is this time or later, as in 2026-11-01T00:00:00Z.
	StartTime string `json:"startTime"`
	// How the value of a record is read: json (also for schema-less text, with `text`), bytes to leave it as it is. A value that can't be read
	// is a message that fails. A record without a value, a tombstone, is null.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// How the key of a record becomes the message's: text as it is, which must be UTF-8; base64 for keys that are bytes; none leaves it.
	Keys string `json:"keys" penstock:"enum=text|base64|none,default=text"`
	// Put where a message came from into meta: kafka-topic, kafka-partition and kafka-offset. With topics or pattern the topic is always there.
	Coordinates bool `json:"coordinates"`
	// committed leaves out what was written in transactions that were aborted, and waits for those that are open; uncommitted reads everything at once.
	Isolation string `json:"isolation" penstock:"enum=committed|uncommitted,default=committed"`
	// How long the group waits for a sign of life of this member before its partitions go to others.
	Session penstock.Duration `json:"session" penstock:"default=45s,min=1s,max=30m"`
	// How long a partition that goes to another member waits until what was read of it is done, so that it is not done twice. What isn't done by then
	// is read again there.
	Drain penstock.Duration `json:"drain" penstock:"default=30s,min=0s,max=15m"`
	// How often to look for new topics of a pattern, and new partitions.
	Discover penstock.Duration `json:"discover" penstock:"default=1m,min=100ms,max=1h"`
	// How messages are fetched ahead.
	Fetch Fetch `json:"fetch"`

	known bool // it is a channel's: records have the identities that its sinks give them
}

// Fetch bounds what is asked of a broker at a time.
type Fetch struct {
	// The most that a broker gives at a time. About as much is held in memory for each broker.
	MaxBytes penstock.Size `json:"maxBytes" penstock:"default=8Mi,min=1Ki,max=1Gi"`
	// The most of one partition. A batch that is larger is given nevertheless.
	PartitionBytes penstock.Size `json:"partitionBytes" penstock:"default=1Mi,min=1Ki,max=1Gi"`
	// How much there has to be before the broker answers; maxWait bounds the time.
	MinBytes penstock.Size `json:"minBytes" penstock:"default=1,min=1,max=64Mi"`
	// How long the broker waits for minBytes.
	MaxWait penstock.Duration `json:"maxWait" penstock:"default=1s,min=1ms,max=1m"`
}

// The values of some fields.
const (
	startLatest     = "latest"
	keysBase64      = "base64"
	keysNone        = "none"
	readUncommitted = "uncommitted"
)

// Validate implements penstock.Resolver.
func (c *SourceConfig) Validate() (errs []error) {
	ways := 0
	for _, set := range []bool{!c.Topic.IsZero(), len(c.Topics) > 0, c.Pattern != ""} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		errs = append(errs, errors.New("set one of `topic`, `topics` and `pattern`"))
	}
	for _, t := range c.names() {
		if !templated(t) {
			if err := checkTopic(t.Source); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if c.Pattern != "" {
		if _, err := regexp.Compile(c.Pattern); err != nil {
			errs = append(errs, fmt.Errorf("pattern: %w", err))
		}
	}
	if c.StartTime != "" {
		if _, err := time.Parse(time.RFC3339, c.StartTime); err != nil {
			errs = append(errs, fmt.Errorf("startTime: %q is no time: write it as 2026-11-01T00:00:00Z", c.StartTime))
		}
		if c.Start == startLatest {
			errs = append(errs, errors.New("start and startTime both say where to begin: keep one of them"))
		}
	}
	return errs
}

// SpecFor implements penstock.Specific.
func (c *SourceConfig) SpecFor(s penstock.Spec) penstock.Spec {
	s.Keyed = c.Keys != keysNone
	return s
}

// Identity implements penstock.Identified. A topic keeps what is written twice under two positions: readers know it by the identity.
func (c *SourceConfig) Identity() (meta string, remember time.Duration) {
	if c.known {
		return headerID, 7 * 24 * time.Hour
	}
	return "", 0
}

// names are the topics that are named.
func (c *SourceConfig) names() []penstock.Template {
	if !c.Topic.IsZero() {
		return []penstock.Template{c.Topic}
	}
	return c.Topics
}

// Overlaps implements penstock.Overlapper.
func (c *SourceConfig) Overlaps(sink any, env penstock.Env) error {
	to, ok := sink.(*SinkConfig)
	if !ok || c.Connection.Name != to.Connection.Name || to.Topic.Program != nil && !to.Topic.Constant {
		return nil
	}
	// What can't be evaluated is told when the flow starts.
	if written, err := fixed(to.Topic, env); err == nil && c.reads(written, env) {
		return &penstock.Error{Code: penstock.Config, Op: "kafka", Err: fmt.Errorf("what is written to the topic %s is read again", written), Hint: "write to another topic, or read another"}
	}
	return nil
}

// reads says that a topic is among those that are read.
func (c *SourceConfig) reads(topic string, env penstock.Env) bool {
	for _, t := range c.names() {
		if name, err := fixed(t, env); err == nil && name == topic {
			return true
		}
	}
	p, err := regexp.Compile("^(?:" + c.Pattern + ")$")
	return err == nil && c.Pattern != "" && p.MatchString(topic)
}
