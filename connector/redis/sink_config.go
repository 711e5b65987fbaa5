package redis

import (
	"errors"
	"fmt"

	"penstock.dev/penstock"
)

var sinkSpec = penstock.Spec{
	Name:    "redis",
	Summary: "Adds messages to a stream or a list, publishes them to a channel, or sets keys.",
	// A message whose answer was lost with the connection is written again, and is there twice: what at-least-once says.
	Idempotent: true,
	Batch:      500,
}

// SinkConfig is the configuration of the sink. One of stream, list, channel and set is set.
type SinkConfig struct {
	// The server to write to.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The key of the stream to add to (XADD): `orders`, or `orders:${body.country}`.
	Stream penstock.Template `json:"stream" penstock:"place=plain"`
	// How many entries the stream keeps: older ones are dropped when a newer is added, whether they were read or not. Whole blocks are dropped, so there may be some
	// hundreds more; with exact not.
	MaxLen int64 `json:"maxLen" penstock:"min=1"`
	// How long the stream keeps entries: older ones are dropped when a newer is added, whether they were read or not.
	MaxAge penstock.Duration `json:"maxAge" penstock:"min=1s"`
	// Entries are dropped one by one, which costs more.
	Exact bool `json:"exact"`
	// The stream must be there: it is not made.
	MustExist bool `json:"mustExist"`
	// The field of the entry that gets the body. The headers (meta) are fields of their own.
	Field string `json:"field" penstock:"default=body"`
	// The body is an object whose members are the fields; what is no text is written as JSON. Headers and key are not written then.
	Fields bool `json:"fields"`
	// The field that gets the message's key.
	KeyField string `json:"keyField" penstock:"default=penstock-key"`
	// The key of the list to push to. An element is the body alone: key and headers are not written.
	List penstock.Template `json:"list" penstock:"place=plain"`
	// The end of the list that is pushed to. Who takes from the right gets what was pushed to the left in order.
	Push string `json:"push" penstock:"enum=left|right,default=left"`
	// The channel to publish to (PUBLISH). Whoever listens gets the body, and nobody else ever will.
	Channel penstock.Template `json:"channel" penstock:"place=plain"`
	// The key to set to the body, whatever is there: `order:${body.id}`. A body that is null deletes the key.
	Set penstock.Template `json:"set" penstock:"place=plain"`
	// With set: how long the key lives. Default: for good.
	TTL penstock.Duration `json:"ttl" penstock:"min=1ms"`
	// How the bodies are written.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// Waits until replicas have what was written, too.
	Wait *Wait `json:"wait"`
}

// Wait says how many replicas must have what was written (WAIT).
type Wait struct {
	// How many. If it is fewer the messages fail as unavailable, and are written again.
	Replicas int `json:"replicas" penstock:"required,min=1,max=100"`
	// How long they may take.
	Timeout penstock.Duration `json:"timeout" penstock:"default=1s,min=1ms"`
}

const pushRight = "right"

// Validate implements penstock.Resolver.
func (c *SinkConfig) Validate() (errs []error) {
	refuse := func(set bool, name, without string) {
		if set {
			errs = append(errs, fmt.Errorf("`%s` has no meaning without %s", name, without))
		}
	}
	if len(sole(map[string]bool{"stream": !c.Stream.IsZero(), "list": !c.List.IsZero(), "channel": !c.Channel.IsZero(), "set": !c.Set.IsZero()})) != 1 {
		return append(errs, errors.New("set one of `stream`, `list`, `channel` and `set` (a key)"))
	}
	if c.Stream.IsZero() {
		const stream = "`stream`"
		refuse(c.MaxLen != 0, "maxLen", stream)
		refuse(c.MaxAge != 0, "maxAge", stream)
		refuse(c.MustExist, "mustExist", stream)
		refuse(c.Fields, "fields", stream)
		refuse(c.Field != "" && c.Field != bodyField, "field", stream)
		refuse(c.KeyField != "" && c.KeyField != keyField, "keyField", stream)
	}
	refuse(c.Exact && c.MaxLen == 0 && c.MaxAge == 0, "exact", "`maxLen` or `maxAge`")
	refuse(c.List.IsZero() && c.Push == pushRight, "push", "`list`")
	refuse(c.Set.IsZero() && c.TTL != 0, "ttl", "`set`")
	if c.MaxLen != 0 && c.MaxAge != 0 {
		errs = append(errs, errors.New("`maxLen` and `maxAge` can't both be kept by Redis: leave one of them out"))
	}
	if c.Fields && c.Format.Name != "" && c.Format.Name != "json" {
		errs = append(errs, errors.New("`fields` writes the members of the body as they are: leave `format` out"))
	}
	if c.Wait != nil {
		if !c.Channel.IsZero() {
			errs = append(errs, errors.New("`wait` has no meaning with `channel`: nobody keeps what is published"))
		}
	}
	return errs
}

// SpecFor implements penstock.Specific.
func (c *SinkConfig) SpecFor(s penstock.Spec) penstock.Spec {
	conn, _ := c.Connection.Config.(*ConnectionConfig)
	s.Headers = !c.Stream.IsZero() && !c.Fields
	switch {
	case !c.Channel.IsZero():
		s.Loses = "what is published while nobody listens, or is on its way when a connection breaks"
		return s
	case !c.Set.IsZero():
		s.Rewrite = penstock.RewriteSame
	}
	if conn == nil || !conn.Fsync {
		s.Loses = "what the server has not on disk when its machine fails (say `fsync: true` in the Connection where it has `appendfsync always`)"
		if c.Wait != nil {
			s.Loses = "what the server and its replicas have not on disk when their machines fail, or a replica has not that takes over (say `fsync: true` in the Connection where they have `appendfsync always`)"
		}
	}
	return s
}
