package redis

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"penstock.dev/penstock"
)

var sourceSpec = penstock.Spec{
	Name:    "redis",
	Summary: "Reads a stream by a consumer group, a list as a reliable queue, or what is published to channels.",
	Settle:  penstock.Each,
	Finite:  true, // with --once
}

// SourceConfig is the configuration of the source. One of stream, list, channels and patterns is set.
type SourceConfig struct {
	// The server to read from.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The key of the stream to read. A stream that is not there is made, empty.
	Stream penstock.Template `json:"stream"`
	// The consumer group, which keeps on the server what was given and what was acknowledged. It is made if it is not there. Default: the name of the flow. Another
	// name begins anew.
	Group penstock.Template `json:"group"`
	// The name under which this process reads: what it had and had not settled comes again first when it is started again under this name. Of a stream: with shared,
	// each process needs a name of its own; default: the name of the host; otherwise: penstock. Of a list: the processing list is named for it, and each process needs a
	// name of its own; default: the name of the flow.
	Consumer penstock.Template `json:"consumer"`
	// Several processes share the group, each getting some of the entries: then they have no order, and what a process that died had comes again at another, unknown to
	// it. Without it, one process at a time is meant to read.
	Shared bool `json:"shared"`
	// Where a new group begins. A group that is there goes on where it was.
	Start Start `json:"start"`
	// How long what another consumer has got and not settled must have stood still before it is taken over: it is dead then. While an entry is worked on here, the server is
	// told so all the time, however long that takes. Of a list: how long a consumer must have given no sign of life.
	ClaimAfter penstock.Duration `json:"claimAfter" penstock:"default=1m,min=100ms"`
	// The field of an entry that holds the body. The others are headers (meta), but for keyField.
	Field string `json:"field" penstock:"default=body"`
	// The fields of an entry are the body: an object of texts. There are no headers then, and format is not used.
	Fields bool `json:"fields"`
	// The field that becomes the message's key.
	KeyField string `json:"keyField" penstock:"default=penstock-key"`
	// The key of the list to take from. Each element is moved to a list of this consumer's (LMOVE), where it stays until it is settled: <list>:processing:<consumer>.
	List penstock.Template `json:"list"`
	// The end of the list that is taken from. Where elements are pushed to the left (LPUSH), the oldest is on the right.
	Take string `json:"take" penstock:"enum=left|right,default=right"`
	// The channels to listen to (SUBSCRIBE). What is published while nobody listens, while the connection is broken, or faster than the flow works, is lost: delivery is
	// at-most-once. With `--once` it ends at once, since nothing is kept there.
	Channels []penstock.Template `json:"channels"`
	// Patterns of channels to listen to (PSUBSCRIBE): orders.*. As channels; both may be given.
	Patterns []penstock.Template `json:"patterns"`
	// How many entries are asked for at a time, and how many wait here to be worked on.
	Prefetch int `json:"prefetch" penstock:"default=500,min=1,max=100000"`
	// The largest body. One that is larger fails with tooLarge; it was in memory by then, since the server does not announce sizes.
	MaxRecord penstock.Size `json:"maxRecord" penstock:"min=1,default=16Mi"`
	// How the bodies are written.
	Format penstock.Format `json:"format" penstock:"default=json"`
}

// Start says where a new group begins: one of its fields.
type Start struct {
	// oldest: with the oldest entry that is there; newest: with those that come from now on. Default: oldest.
	At string `json:"at" penstock:"enum=oldest|newest"`
	// With the entry of this id, or the next that there is: 1795450000000-0.
	ID string `json:"id"`
	// With the first entry at this time or later, as RFC 3339: 2026-11-01T00:00:00Z.
	Time string `json:"time"`
}

// The names of fields of an entry, unless the configuration names others.
const (
	bodyField = "body"
	keyField  = "penstock-key"
)

const takeLeft = "left"

// Validate implements penstock.Resolver.
func (c *SourceConfig) Validate() (errs []error) {
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	listens := len(c.Channels)+len(c.Patterns) > 0
	if len(sole(map[string]bool{"stream": !c.Stream.IsZero(), "list": !c.List.IsZero(), "channels": listens})) != 1 {
		return append(errs, errors.New("set one of `stream`, `list`, and `channels` or `patterns`"))
	}
	refuse := func(set bool, name, without string) {
		if set {
			add(fmt.Errorf("`%s` has no meaning without %s", name, without))
		}
	}
	if c.Stream.IsZero() {
		const stream = "`stream`"
		refuse(!c.Group.IsZero(), "group", stream)
		refuse(c.Shared, "shared", stream)
		refuse(c.Start != Start{}, "start", stream)
		refuse(c.Fields, "fields", stream)
		refuse(c.Field != "" && c.Field != bodyField, "field", stream)
		refuse(c.KeyField != "" && c.KeyField != keyField, "keyField", stream)
	}
	if c.List.IsZero() {
		refuse(c.Take == takeLeft, "take", "`list`")
	}
	refuse(listens && !c.Consumer.IsZero(), "consumer", "`stream` or `list`")
	if c.Fields && c.Format.Name != "" && c.Format.Name != "json" {
		add(errors.New("`fields` takes the fields of an entry as they are: leave `format` out"))
	}
	add(c.Start.check())
	return errs
}

func (s Start) check() error {
	if len(sole(map[string]bool{"at": s.At != "", "id": s.ID != "", "time": s.Time != ""})) > 1 {
		return errors.New("start: set one of `at`, `id` and `time`")
	}
	if s.ID != "" {
		if _, err := parseID(s.ID); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	if s.Time != "" {
		if t, err := time.Parse(time.RFC3339, s.Time); err != nil || t.UnixMilli() < 0 {
			return fmt.Errorf("start: %q is no time: write 2026-11-01T00:00:00Z", s.Time)
		}
	}
	return nil
}

// SpecFor implements penstock.Specific.
func (c *SourceConfig) SpecFor(s penstock.Spec) penstock.Spec {
	switch {
	case !c.Stream.IsZero() && c.Shared:
		s.Replay, s.Reorders = penstock.ReplayAgain, true
	case !c.Stream.IsZero():
		s.Replay, s.Keeps = penstock.ReplayPosition, true
	case !c.List.IsZero():
		s.Replay = penstock.ReplayAgain
	}
	return s
}

// Overlaps implements penstock.Overlapper.
func (c *SourceConfig) Overlaps(sink any, env penstock.Env) error {
	to, ok := sink.(*SinkConfig)
	if !ok || c.Connection.Name != to.Connection.Name {
		return nil
	}
	same := func(a, b penstock.Template) bool {
		if a.IsZero() || b.IsZero() || !isStatic(b) && !b.Constant {
			return false
		}
		x, err1 := fixed(a, env)
		y, err2 := fixed(b, env)
		return err1 == nil && err2 == nil && x == y
	}
	again := func(what string, t penstock.Template) error {
		return &penstock.Error{Code: penstock.Config, Op: "redis", Err: fmt.Errorf("what is written to the %s %s is read again", what, t.Source), Hint: "write to another"}
	}
	switch {
	case same(c.Stream, to.Stream):
		return again("stream", c.Stream)
	case same(c.List, to.List):
		return again("list", c.List)
	}
	for _, ch := range c.Channels {
		if same(ch, to.Channel) {
			return again("channel", ch)
		}
	}
	return nil
}

// flowOf makes a name for an endpoint: "orders" of "orders/from", "orders-from2" of "orders/from2".
func flowOf(endpoint string) string {
	flow, at, _ := strings.Cut(endpoint, "/")
	if at != "" && at != "from" {
		flow += "-" + at
	}
	return flow
}

// host is the name of this machine, or of its pod.
func host() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "penstock"
}

func newSource(c SourceConfig, env penstock.Env) (penstock.Source, error) {
	d, err := newDecoder(c)
	if err != nil {
		return nil, err
	}
	switch {
	case !c.List.IsZero():
		return newQueue(c, env, d), nil
	case c.Stream.IsZero():
		return newListener(c, env, d), nil
	case c.Shared:
		return newReader(c, env, d), nil
	}
	return &positioned{newReader(c, env, d)}, nil
}
