package nats

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"penstock.dev/penstock"
)

var sourceSpec = penstock.Spec{
	Name:    "nats",
	Summary: "Reads what is published to a subject, the messages of a JetStream stream, or the changes of a key-value bucket.",
	Settle:  penstock.Each,
	Finite:  true,
}

// SourceConfig is the configuration of the source. One of subject, stream and bucket is set.
type SourceConfig struct {
	// The server to read from.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The subject to listen to, in core NATS: orders.created, or with wildcards orders.* and orders.>. What is published while nobody listens, while the
	// connection is broken, or faster than the flow works, is lost: delivery is at-most-once. With `--once` it ends at once, since nothing is kept there.
	Subject penstock.Template `json:"subject"`
	// The queue group of subject: of all that listen under this name, one gets each message.
	Queue string `json:"queue"`
	// The stream of JetStream to read. It must be there: streams are made by whoever they belong to, or by a Channel.
	Stream string `json:"stream"`
	// Which subjects of the stream are read; wildcards are allowed. Default: all.
	Subjects []string `json:"subjects"`
	// The key-value bucket whose changes are read: first what it holds, then each change. The key of the entry is the message's key, the body is the value, null
	// for an entry that was deleted (`kv-operation` in meta says how: DEL or PURGE).
	Bucket string `json:"bucket"`
	// Which keys of the bucket are read; wildcards are allowed: orders.*. Default: all.
	Keys []string `json:"keys"`
	// The name of the durable consumer, which keeps on the server what was acknowledged. It is made if it is not there. Default: the name of the flow. Another
	// name begins anew.
	Consumer string `json:"consumer"`
	// Several processes share the consumer, each getting some of the messages: then they have no order, and what a process that died had comes again at
	// another, unknown to it. Without it, one process at a time is meant to read; see the reference for what happens if there are more.
	Shared bool `json:"shared"`
	// Where a new consumer begins. A consumer that is there goes on where it was.
	Start Start `json:"start"`
	// How long a message that is not acknowledged is out before the server gives it again. While a message is worked on the server is told so all the
	// time, however long that takes; so this is how long after a crash the messages that were in flight come again. Default: 10s for a new consumer.
	AckWait penstock.Duration `json:"ackWait" penstock:"min=100ms"`
	// How many messages may be out and not acknowledged; the server waits then. Default: 10000 for a new consumer.
	MaxAckPending int `json:"maxAckPending" penstock:"min=1,max=1000000"`
	// How many messages are asked for ahead.
	Prefetch int `json:"prefetch" penstock:"default=1000,min=1,max=100000"`
	// The server pushes messages to a subject instead of waiting to be asked. See the reference for when that is better: hardly ever.
	Push *Push `json:"push"`
	// How the bodies are written.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// The header that becomes the message's key. Default: Penstock-Key, as the sink writes it.
	KeyHeader string `json:"keyHeader"`

	known bool // all who write to it give their messages an id
}

// Identity implements penstock.Identified.
func (c *SourceConfig) Identity() (meta string, remember time.Duration) {
	if c.known {
		return "nats-msg-id", remembered
	}
	return "", 0
}

// Start says where a new consumer begins: one of its fields.
type Start struct {
	// all: with the oldest message that is there; new: with those that come from now on; last: with the newest that is there; lastPerSubject: with the newest
	// of each subject. Default: all; of a bucket lastPerSubject.
	At string `json:"at" penstock:"enum=all|new|last|lastPerSubject"`
	// With the message of this sequence number, or the next one that there is.
	Sequence uint64 `json:"sequence"`
	// With the first message at this time or later, as RFC 3339: 2026-11-01T00:00:00Z.
	Time string `json:"time"`
}

// Push is a consumer that pushes.
type Push struct {
	// The subject that it pushes to, which nobody else may use. Default: penstock.push.<stream>.<consumer>.
	Subject string `json:"subject"`
	// Several processes share the messages under this name. Only with `shared`.
	Group string `json:"group"`
	// How often the server says that it is there while it has nothing to say.
	Heartbeat penstock.Duration `json:"heartbeat" penstock:"default=5s,min=100ms"`
}

// The default of new consumers.
const (
	defaultAckWait       = 10 * time.Second
	defaultMaxAckPending = 10_000
)

// Validate implements penstock.Resolver.
func (c *SourceConfig) Validate() (errs []error) {
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	ways := 0
	for _, is := range []bool{!c.Subject.IsZero(), c.Stream != "", c.Bucket != ""} {
		if is {
			ways++
		}
	}
	if ways != 1 {
		return append(errs, errors.New("set one of `subject` (core NATS), `stream` (JetStream) and `bucket` (key-value)"))
	}
	refuse := func(set bool, name, without string) {
		if set {
			add(fmt.Errorf("`%s` has no meaning without %s", name, without))
		}
	}
	refuse(c.Queue != "" && c.Subject.IsZero(), "queue", "`subject`")
	refuse(len(c.Subjects) > 0 && c.Stream == "", "subjects", "`stream`")
	refuse(len(c.Keys) > 0 && c.Bucket == "", "keys", "`bucket`")
	if !c.Subject.IsZero() {
		const kept = "`stream` or `bucket`"
		refuse(c.Consumer != "", "consumer", kept)
		refuse(c.Shared, "shared", kept)
		refuse(c.Start != Start{}, "start", kept)
		refuse(c.AckWait != 0, "ackWait", kept)
		refuse(c.MaxAckPending != 0, "maxAckPending", kept)
		refuse(c.Push != nil, "push", kept)
		if isStatic(c.Subject) {
			add(checkSubject(c.Subject.Source, true))
		}
		if c.Queue != "" {
			if strings.ContainsFunc(c.Queue, func(r rune) bool { return r <= ' ' }) {
				add(fmt.Errorf("queue %q has a space", c.Queue))
			}
		}
		return errs
	}
	if c.Stream != "" {
		add(checkName("stream", c.Stream))
	}
	add(checkBucket(c.Bucket))
	for _, s := range slices.Concat(c.Subjects, c.Keys) {
		add(checkSubject(s, true))
	}
	if c.Consumer != "" {
		add(checkName("consumer", c.Consumer))
	}
	add(c.Start.check())
	if c.Push != nil {
		if c.Push.Subject != "" {
			add(checkSubject(c.Push.Subject, false))
		}
		if c.Push.Group != "" && !c.Shared {
			add(errors.New("push: `group` lets several processes share the messages: say `shared: true`, too"))
		}
	}
	return errs
}

func (s Start) check() error {
	ways := 0
	for _, is := range []bool{s.At != "", s.Sequence != 0, s.Time != ""} {
		if is {
			ways++
		}
	}
	if ways > 1 {
		return errors.New("start: set one of `at`, `sequence` and `time`")
	}
	if s.Time != "" {
		if _, err := time.Parse(time.RFC3339, s.Time); err != nil {
			return fmt.Errorf("start: %q is no time: write 2026-11-01T00:00:00Z", s.Time)
		}
	}
	return nil
}

// SpecFor implements penstock.Specific.
func (c *SourceConfig) SpecFor(s penstock.Spec) penstock.Spec {
	switch {
	case !c.Subject.IsZero():
		s.Replay = penstock.ReplayNone
	case c.Shared:
		s.Replay, s.Reorders = penstock.ReplayAgain, true
	default:
		s.Replay, s.Keeps = penstock.ReplayPosition, true
	}
	return s
}

// Overlaps implements penstock.Overlapper.
func (c *SourceConfig) Overlaps(sink any, env penstock.Env) error {
	to, ok := sink.(*SinkConfig)
	if !ok || c.Connection.Name != to.Connection.Name {
		return nil
	}
	again := func(what string) error {
		return &penstock.Error{Code: penstock.Config, Op: "nats", Err: fmt.Errorf("what is written to %s is read again", what), Hint: "write elsewhere, or read less"}
	}
	if c.Bucket != "" {
		if c.Bucket == to.Bucket && len(c.Keys) == 0 {
			return again("the bucket " + c.Bucket)
		}
		return nil
	}
	if to.Bucket != "" || !isStatic(to.Subject) {
		return nil
	}
	var read []string
	if c.Stream != "" {
		if c.Stream != to.Stream {
			return nil
		}
		if read = c.Subjects; len(read) == 0 {
			return again("the stream " + c.Stream)
		}
	} else {
		subject, err := fixed(c.Subject, env)
		if err != nil {
			return nil //nolint:nilerr // said elsewhere
		}
		read = []string{subject}
	}
	for _, r := range read {
		if matches(r, to.Subject.Source) {
			return again("the subject " + to.Subject.Source)
		}
	}
	return nil
}

// matches says that a subject is one of those that a pattern means.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, t := range p {
		switch {
		case t == ">":
			return len(s) > i
		case i >= len(s) || t != "*" && t != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}

// flowOf makes a name for a consumer of an endpoint's: "orders" of "orders/from", "orders-from2" of "orders/from2".
func flowOf(endpoint string) string {
	flow, at, _ := strings.Cut(endpoint, "/")
	if at != "" && at != "from" {
		flow += "-" + at
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || strings.ContainsRune(`.*>/\`, r) {
			return '-'
		}
		return r
	}, flow)
}

func newSource(c SourceConfig, env penstock.Env) (penstock.Source, error) {
	d, err := newDecoder(c.Format, c.KeyHeader)
	if err != nil {
		return nil, err
	}
	if !c.Subject.IsZero() {
		return &listener{config: c, env: env, decoder: d, wake: make(chan struct{}, 1), ready: d.preparation(env)}, nil
	}
	s := newReader(c, env, d)
	if c.Shared {
		return s, nil
	}
	return &positioned{s}, nil
}
