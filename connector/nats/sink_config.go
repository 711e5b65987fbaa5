package nats

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock"
)

var sinkSpec = penstock.Spec{
	Name:       "nats",
	Summary:    "Publishes messages to a subject, to a JetStream stream, which keeps them, or puts them into a key-value bucket.",
	Headers:    true,
	Idempotent: true,
	Batch:      512,
}

// SinkConfig is the configuration of the sink.
type SinkConfig struct {
	// The server to write to.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The subject that messages are published to: orders.created, or orders.${body.country}. What stands in `${…}` beside other text is one token of it: a
	// dot, a wildcard or a space in it fails the message.
	Subject penstock.Template `json:"subject" penstock:"place=plain"`
	// The stream of JetStream that is to take them, which has the subject. A message is written when the stream has confirmed it. Without it, subject is core
	// NATS: whoever listens gets the message, and nobody else ever will.
	Stream string `json:"stream"`
	// The key-value bucket to put the body into, under `key`; a body that is null deletes the entry.
	Bucket string `json:"bucket"`
	// The key in the bucket. Default: the message's key.
	Key penstock.Template `json:"key" penstock:"place=plain"`
	// What the stream knows a message by that is written once more (the header Nats-Msg-Id). Default: its identity, made of where it comes from, so that it
	// is the same again after a crash.
	MessageID penstock.Template `json:"messageId" penstock:"place=header"`
	// How long the stream remembers the ids of messages: its duplicate window, which must be at least this long, or the flow does not start.
	Dedupe penstock.Duration `json:"dedupe" penstock:"default=2m,min=100ms"`
	// Headers beside those of the message (meta): `Nats-TTL: 1h`, for streams that allow it. One whose value is empty is left out.
	Headers map[string]penstock.Template `json:"headers" penstock:"place=header"`
	// The header that the message's key is written to. Default: Penstock-Key.
	KeyHeader string `json:"keyHeader"`
	// How the bodies are written.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// How long the stream may take to confirm a message. It then fails as timed out, and is tried again.
	AckTimeout penstock.Duration `json:"ackTimeout" penstock:"default=5s,min=10ms"`
	// How many messages may be under way to the stream and not confirmed.
	InFlight int `json:"inFlight" penstock:"default=1024,min=1,max=100000"`
}

// Validate implements penstock.Resolver.
func (c *SinkConfig) Validate() (errs []error) {
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	switch {
	case c.Bucket != "" && (!c.Subject.IsZero() || c.Stream != ""):
		return append(errs, errors.New("`bucket` stands alone: leave `subject` and `stream` out"))
	case c.Bucket == "" && c.Subject.IsZero():
		return append(errs, errors.New("set `subject`, with `stream` if a stream is to keep what is written; or `bucket`"))
	case c.Bucket == "" && !c.Key.IsZero():
		add(errors.New("`key` has no meaning without `bucket`; the flow's `key` is written to the header Penstock-Key"))
	}
	if c.Bucket != "" {
		add(checkBucket(c.Bucket))
		if c.KeyHeader != "" {
			add(errors.New("`keyHeader` has no meaning with `bucket`, whose entries have keys"))
		}
		if isStatic(c.Key) && !c.Key.IsZero() {
			add(checkKey(c.Key.Source))
		}
	} else if isStatic(c.Subject) {
		add(checkSubject(c.Subject.Source, false))
	}
	if c.Stream != "" {
		add(checkName("stream", c.Stream))
	} else if !c.MessageID.IsZero() {
		add(errors.New("`messageId` has no meaning without `stream`, which knows messages by it"))
	}
	names := make([]string, 0, len(c.Headers))
	for name := range c.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		add(checkHeader(name))
	}
	if c.KeyHeader != "" {
		add(checkHeader(c.KeyHeader))
	}
	return errs
}

// ours are headers that the sink writes itself.
var ours = []string{"nats-msg-id", "nats-expected-stream"}

// checkHeader says what is wrong with the name of a header.
func checkHeader(name string) error {
	switch {
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == ':' || r >= 0x7f }):
		return fmt.Errorf("%q is no name of a header", name)
	case slices.Contains(ours, strings.ToLower(name)):
		return fmt.Errorf("the header %s is written by penstock: use `messageId` and `stream`", name)
	}
	return nil
}

// checkKey says what is wrong with a key of a bucket.
func checkKey(key string) error {
	ok := key != "" && key[0] != '.' && key[len(key)-1] != '.' && !strings.Contains(key, "..")
	for i := 0; ok && i < len(key); i++ {
		c := key[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-/_=.", c) >= 0
	}
	if !ok {
		return fmt.Errorf("%.80q is no key of a bucket: it has letters, digits and -/_=. only, and no empty token between dots", key)
	}
	return nil
}

// SpecFor implements penstock.Specific.
func (c *SinkConfig) SpecFor(s penstock.Spec) penstock.Spec {
	switch {
	case c.Bucket != "":
		s.Headers, s.Rewrite = false, penstock.RewriteSame
	case c.Stream != "":
		s.Rewrite, s.Known = penstock.RewriteKnown, penstock.Known{By: "its Nats-Msg-Id to stream " + c.Stream, Within: c.window()}
	default:
		s.Loses = "what is published while nobody listens, or is on its way when a connection breaks"
	}
	return s
}

func (c *SinkConfig) window() time.Duration {
	if c.Dedupe == 0 {
		return 2 * time.Minute
	}
	return c.Dedupe.Std()
}
