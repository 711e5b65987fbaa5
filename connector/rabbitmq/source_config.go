package rabbitmq

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"penstock.dev/penstock"
)

// SourceConfig is the configuration of the source.
type SourceConfig struct {
	// The server to read from.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The queue. It must be there, unless `declare` says how to make it.
	Queue penstock.Template `json:"queue" penstock:"required"`
	// How the payload of a message is read. Default: json, one document. An empty payload is null.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// The largest payload. A larger message fails with tooLarge; it was in memory by then, since the server does not announce sizes.
	MaxRecord penstock.Size `json:"maxRecord" penstock:"min=1,default=16Mi"`
	// push: the server sends messages as they come, up to `prefetch` ahead. pull: messages are asked for one after the other (basic.get), no more than are worked
	// on; this costs a round trip each. A stream can only be pushed.
	Mode string `json:"mode" penstock:"enum=push|pull,default=push"`
	// How many messages may be on their way here without being settled: the back-pressure. It must be larger than the number of messages that wait in a
	// group in memory (an aggregate in a run without a store), which would never be complete otherwise.
	Prefetch int `json:"prefetch" penstock:"default=2000,min=1,max=65535"`
	// With pull: how long to wait before asking again when the queue was empty.
	Every penstock.Duration `json:"every" penstock:"default=1s,min=1ms"`
	// Read alone: while this flow reads, the server refuses every other consumer. Who wants another to take over at once declares the queue with
	// `singleActiveConsumer` instead.
	Exclusive bool `json:"exclusive"`
	// The priority among the consumers of the queue: those with a lower one get messages only while this one's `prefetch` is used up. Default: 0.
	Priority int `json:"priority" penstock:"min=-1000,max=1000"`
	// What becomes of a message that the flow gives up on. settle: it is acknowledged, since it is in the flow's dead letter. reject: it is rejected, so that the
	// queue's own dead-letter exchange gets it, too (or, if the queue has none, it is dropped there); with `onError: { deadLetter: { drop: {} } }` only
	// that.
	Dead string `json:"dead" penstock:"enum=settle|reject,default=settle"`
	// The queue is a stream: where reading begins.
	Stream *StreamConfig `json:"stream"`
	// Makes the queue if it is not there, and otherwise makes sure that it is what it is said to be: what differs is an error at the start.
	Declare *QueueConfig `json:"declare"`

	known bool // it is a channel's: messages have the identities that its sinks give them
}

// StreamConfig says where the reading of a stream begins.
type StreamConfig struct {
	// Where to begin when this flow reads the stream for the first time: first (the oldest message that is kept), next (what comes from now on), last (the last chunk
	// that was written, of one or more messages), an offset (`1200`), a time (`2026-11-01T00:00:00Z`, to the chunk), or how long ago (`6h`). Later runs go on where
	// the store says that the flow is.
	Offset penstock.Template `json:"offset"`
}

// modes of reading, and what becomes of the dead.
const (
	modePull   = "pull"
	deadReject = "reject"
)

// Validate implements penstock.Resolver.
func (c *SourceConfig) Validate() (errs []error) {
	refuse := func(bad bool, msg string) {
		if bad {
			errs = append(errs, errors.New(msg))
		}
	}
	if c.Stream != nil {
		refuse(c.Mode == modePull, "a stream can only be pushed: leave `mode: pull` out")
		refuse(c.Exclusive, "a stream is read by as many as like to: leave `exclusive` out")
		refuse(c.Priority != 0, "a stream has no priorities of consumers: leave `priority` out")
		refuse(c.Dead == deadReject, "a stream has no dead-letter exchange, and keeps its messages: leave `dead: reject` out")
		if !c.Stream.Offset.IsZero() && c.Stream.Offset.Program == nil {
			if _, err := offsetArgument(c.Stream.Offset.Source, time.Time{}); err != nil && !hasExpression(c.Stream.Offset.Source) {
				errs = append(errs, err)
			}
		}
	}
	refuse(c.Mode == modePull && c.Exclusive, "`exclusive` is about consumers, and pull is none: leave one of them out")
	refuse(c.Mode == modePull && c.Priority != 0, "`priority` is about consumers, and pull is none: leave one of them out")
	if c.Declare != nil {
		errs = append(errs, c.Declare.validate()...)
		refuse(c.Declare.Type == typeStream && c.Stream == nil, "the queue is declared as a stream: say `stream: {}` to read it as one")
		refuse(c.Declare.Type != typeStream && c.Stream != nil, "`stream` reads a stream, and `declare` says that the queue is "+typeOr(c.Declare.Type)+": say `type: stream`")
	}
	return errs
}

func hasExpression(s string) bool {
	for i := range len(s) - 1 {
		if s[i] == '$' && s[i+1] == '{' {
			return true
		}
	}
	return false
}

// SpecFor implements penstock.Specific.
func (c *SourceConfig) SpecFor(s penstock.Spec) penstock.Spec {
	if c.Stream != nil {
		s.Settle, s.Replay = penstock.Cumulative, penstock.ReplayPosition
	}
	return s
}

// Identity implements penstock.Identified.
func (c *SourceConfig) Identity() (meta string, remember time.Duration) {
	if c.known && c.Stream == nil {
		return metaMessageID, 7 * 24 * time.Hour
	}
	return "", 0
}

// NeedsState implements penstock.Stateful.
func (c *SourceConfig) NeedsState() string {
	if c.Stream == nil {
		return ""
	}
	return "a stream keeps its messages, and does not know how far they were read"
}

// offsetArgument is the consumer's argument x-stream-offset.
func offsetArgument(text string, now time.Time) (any, error) {
	switch text {
	case "", "first":
		return "first", nil
	case "last", "next":
		return text, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return n, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if ago, err := penstock.ParseDuration(text); err == nil && ago > 0 {
		return now.Add(-ago.Std()), nil
	}
	return nil, fmt.Errorf("stream: offset: %q is none of first, last, next, an offset (1200), a time (2026-11-01T00:00:00Z) or how long ago (6h)", text)
}
