package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Connection is the configuration of a Connection to the broker.
type Connection struct {
	// Where the broker is.
	Address string `json:"address"`
}

// Endpoint is the configuration of a source or sink.
type Endpoint struct {
	// The Connection.
	Connection penstock.ConnectionRef `json:"connection"`
	// The topic.
	Topic penstock.Template `json:"topic" penstock:"required"`
	// Readers of one group share the messages.
	Group string `json:"group"`
	// How many messages are read at a time.
	Batch int `json:"batch" penstock:"default=100,min=1"`

	known bool // messages have an id
}

// Validate implements penstock.Resolver.
func (e *Endpoint) Validate() []error {
	if e.Batch == 0 {
		return []error{errors.New("batch is 0: the defaults are missing")}
	}
	return nil
}

// Identity implements penstock.Identified.
func (e *Endpoint) Identity() (string, time.Duration) {
	if e.known {
		return "message-id", 7 * 24 * time.Hour
	}
	return "", 0
}

// Channel is the configuration of a channel on the broker.
type Channel struct {
	// The Connection.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The topic. Default: the channel's name.
	Topic penstock.Template `json:"topic"`
	// How many parts it has.
	Partitions int `json:"partitions" penstock:"default=1,min=1"`
}

// LogChannel is a Channel of `log`.
type LogChannel struct{ Channel }

// PostChannel is a Channel of `post`.
type PostChannel struct{ Channel }

// Refuses implements penstock.BrokerChannel.
func (c *LogChannel) Refuses(use penstock.ChannelUse) []error {
	if use.Queue {
		return []error{&penstock.Error{Code: penstock.Config, Err: errors.New("it has logs only, whose readers go on message by message in order"), Hint: "say `mode: topic`"}}
	}
	return nil
}

// Refuses implements penstock.BrokerChannel.
func (c *PostChannel) Refuses(penstock.ChannelUse) []error { return nil }

func (c *Channel) topic(use penstock.ChannelUse) penstock.Template {
	if c.Topic.IsZero() {
		return penstock.Template{Source: use.Name, Pos: c.Connection.Pos}
	}
	return c.Topic
}

// FillSource implements penstock.BrokerChannel.
func (c *Channel) FillSource(use penstock.ChannelUse, config any) {
	e := config.(*Endpoint)
	e.Connection, e.Topic, e.Group = c.Connection, c.topic(use), use.Group
}

// FillSource implements penstock.BrokerChannel.
func (c *PostChannel) FillSource(use penstock.ChannelUse, config any) {
	c.Channel.FillSource(use, config)
	config.(*Endpoint).known = true
}

// FillSink implements penstock.BrokerChannel.
func (c *Channel) FillSink(use penstock.ChannelUse, config any) {
	e := config.(*Endpoint)
	e.Connection, e.Topic = c.Connection, c.topic(use)
}

// Topology implements penstock.BrokerChannel.
func (c *Channel) Topology(use penstock.ChannelUse) penstock.Topology { return &topology{c, use} }

// topology of a channel.
type topology struct {
	c   *Channel
	use penstock.ChannelUse
}

func (t *topology) name(env penstock.Env) string {
	if t.c.Topic.IsZero() {
		return t.use.Name
	}
	return t.c.Topic.Program.Eval(&penstock.Frame{Runtime: env.Runtime, Arena: new(penstock.Arena)}).Str()
}

// Describe implements penstock.Topology.
func (t *topology) Describe(_ context.Context, env penstock.Env) ([]penstock.Object, error) {
	b := of(t.c.Connection)
	defer b.lock()()
	if b.down {
		return nil, errDown
	}
	o := penstock.Object{Kind: "topic", Name: t.name(env), Action: penstock.ObjectKeep}
	there := b.topics[o.Name]
	want := strconv.Itoa(t.c.Partitions)
	switch {
	case there == nil:
		o.Action = penstock.ObjectCreate
		o.Settings = []penstock.ObjectSetting{{Name: "partitions", Want: want}}
		if t.use.Retain > 0 {
			o.Settings = append(o.Settings, penstock.ObjectSetting{Name: "retention", Want: t.use.Retain.String()})
		}
	case there.parts < t.c.Partitions:
		o.Action = penstock.ObjectChange
		o.Settings = []penstock.ObjectSetting{{Name: "partitions", Is: strconv.Itoa(there.parts), Want: want}}
	case there.parts > t.c.Partitions:
		o.Action, o.Hint = penstock.ObjectConflict, "say `partitions: "+strconv.Itoa(there.parts)+"`"
		o.Settings = []penstock.ObjectSetting{{Name: "partitions", Is: strconv.Itoa(there.parts), Want: want}}
	}
	out := []penstock.Object{o}
	for _, g := range t.use.Groups {
		o := penstock.Object{Kind: "group", Name: g, Action: penstock.ObjectKeep}
		if there == nil || there.groups[g] == nil {
			o.Action = penstock.ObjectCreate
		}
		out = append(out, o)
	}
	return out, nil
}

// Ensure implements penstock.Topology.
func (t *topology) Ensure(_ context.Context, env penstock.Env) error {
	b := of(t.c.Connection)
	defer b.lock()()
	if b.down {
		return errDown
	}
	there := b.make(t.name(env), t.c.Partitions)
	there.parts = max(there.parts, t.c.Partitions)
	for _, g := range t.use.Groups {
		there.group(g)
	}
	return nil
}

// of is the broker of a connection.
func of(ref penstock.ConnectionRef) *Broker {
	c, _ := ref.Config.(*Connection)
	if c == nil {
		return At("")
	}
	return At(c.Address)
}

// Register registers `log` and `post`.
func Register(r *penstock.Registry) {
	for _, s := range []penstock.Spec{
		{Name: "log", Summary: "a log in memory", Settle: penstock.Cumulative, Replay: penstock.ReplayPosition},
		{Name: "post", Summary: "a queue in memory", Settle: penstock.Each, Replay: penstock.ReplayAgain},
	} {
		penstock.RegisterConnection[Connection](r, penstock.Spec{Name: s.Name, Summary: s.Summary})
		penstock.RegisterSource(r, s, func(e Endpoint, env penstock.Env) (penstock.Source, error) {
			in := &source{b: of(e.Connection), e: e, name: constant(e.Topic, env), once: env.Once}
			if s.Name == "log" {
				return &logSource{source: in}, nil
			}
			return in, nil
		})
		penstock.RegisterSink(r, penstock.Spec{Name: s.Name, Summary: s.Summary, Headers: true, Idempotent: false}, func(e Endpoint, env penstock.Env) (penstock.Sink, error) {
			return &sink{b: of(e.Connection), name: constant(e.Topic, env), env: env}, nil
		})
	}
	penstock.RegisterChannel[LogChannel](r, penstock.Spec{Name: "log", Summary: "a log in memory", Retains: true})
	penstock.RegisterChannel[PostChannel](r, penstock.Spec{Name: "post", Summary: "a queue in memory"})
}

func constant(t penstock.Template, env penstock.Env) string {
	return t.Program.Eval(&penstock.Frame{Runtime: env.Runtime, Arena: new(penstock.Arena)}).Str()
}

// source reads: as a queue does; logSource makes a log's of it.
type source struct {
	b    *Broker
	e    Endpoint
	name string
	once bool
}

// Open implements penstock.Source.
func (s *source) Open(context.Context) error {
	defer s.b.lock()()
	t, err := s.b.find(s.name)
	if err != nil {
		return err
	}
	t.group(s.e.Group)
	return nil
}

// take gives the indexes of messages that may be handed out.
func (s *source) take(ctx context.Context, ready func(*topic, *group) []int) (*topic, []int, error) {
	stop := context.AfterFunc(ctx, func() { defer s.b.lock()(); s.b.cond.Broadcast() })
	defer stop()
	for {
		switch {
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case s.b.down:
			return nil, nil, penstock.ErrDisconnected
		}
		t, err := s.b.find(s.name)
		if err != nil {
			return nil, nil, err
		}
		if at := ready(t, t.group(s.e.Group)); len(at) > 0 {
			return t, at, nil
		}
		if s.once {
			return nil, nil, io.EOF
		}
		s.b.cond.Wait()
	}
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	defer s.b.lock()()
	t, at, err := s.take(ctx, func(t *topic, g *group) []int {
		var out []int
		for len(g.back) > 0 && len(out) < s.e.Batch {
			out, g.back = append(out, g.back[0]), g.back[1:]
		}
		for g.next < len(t.log) && len(out) < s.e.Batch {
			out = append(out, g.next)
			g.next++
		}
		for _, i := range out {
			g.out[i]++
		}
		return out
	})
	if err != nil {
		return err
	}
	for _, i := range at {
		m := t.log[i].into(into)
		m.Pos = penstock.Position{Stream: s.name, Tag: uint64(i), Offset: int64(i), Next: int64(i) + 1}
	}
	return nil
}

// Settle implements penstock.Source.
func (s *source) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	defer s.b.lock()()
	t, err := s.b.find(s.name)
	if err != nil {
		return nil
	}
	g := t.group(s.e.Group)
	for _, o := range outcomes {
		if _, there := g.out[int(o.Pos.Tag)]; there && o.Err != nil {
			g.back = append(g.back, int(o.Pos.Tag))
		}
		delete(g.out, int(o.Pos.Tag))
	}
	s.b.cond.Broadcast()
	return nil
}

// Close implements penstock.Source: what is not settled comes again.
func (s *source) Close(context.Context) error {
	defer s.b.lock()()
	if t := s.b.topics[s.name]; t != nil {
		g := t.group(s.e.Group)
		for i := range g.out {
			g.back = append(g.back, i)
		}
		clear(g.out)
	}
	return nil
}

// logSource reads a log.
type logSource struct {
	*source
	next int64
	from int64 // what the engine kept
}

// Resume implements penstock.Positioned.
func (s *logSource) Resume(_ context.Context, from []penstock.Position) error {
	for _, p := range from {
		if p.Stream == s.name {
			s.from = p.Next
		}
	}
	return nil
}

// Open implements penstock.Source.
func (s *logSource) Open(ctx context.Context) error {
	if err := s.source.Open(ctx); err != nil {
		return err
	}
	defer s.b.lock()()
	s.next = max(int64(s.b.topics[s.name].group(s.e.Group).next), s.from)
	return nil
}

// Read implements penstock.Source.
func (s *logSource) Read(ctx context.Context, into *penstock.Batch) error {
	defer s.b.lock()()
	t, at, err := s.take(ctx, func(t *topic, _ *group) []int {
		var out []int
		for i := int(s.next); i < len(t.log) && len(out) < s.e.Batch; i++ {
			out = append(out, i)
		}
		return out
	})
	if err != nil {
		return err
	}
	for _, i := range at {
		m := t.log[i].into(into)
		m.Pos = penstock.Position{Stream: s.name, Offset: int64(i), Next: int64(i) + 1}
	}
	s.next = int64(at[len(at)-1]) + 1
	return nil
}

// Settle implements penstock.Source.
func (s *logSource) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	defer s.b.lock()()
	t, err := s.b.find(s.name)
	if err != nil {
		return nil
	}
	g := t.group(s.e.Group)
	for _, o := range outcomes {
		g.next = max(g.next, int(o.Pos.Next))
	}
	return nil
}

// Close implements penstock.Source.
func (s *logSource) Close(context.Context) error { return nil }

func (r *Record) into(b *penstock.Batch) *penstock.Message {
	m := b.Append()
	m.Key = r.Key
	m.Body.Reset(jsonview.JSON, []byte(r.Body))
	for k, v := range r.Meta {
		m.Meta.Set(k, penstock.StringValue(v))
	}
	return m
}

type sink struct {
	b    *Broker
	name string
	env  penstock.Env
}

// Open implements penstock.Sink.
func (s *sink) Open(context.Context) error {
	defer s.b.lock()()
	_, err := s.b.find(s.name)
	return err
}

// Write implements penstock.Sink.
func (s *sink) Write(_ context.Context, b *penstock.Batch) error {
	defer s.b.lock()()
	t, err := s.b.find(s.name)
	if err != nil {
		return err
	}
	s.b.calls++
	failed, behind := map[int]error{}, map[string]error{}
	for i, m := range b.Msgs {
		if err := behind[m.Key]; err != nil {
			failed[i] = err
			continue
		}
		r := Record{Key: m.Key, Meta: map[string]string{}}
		if err := m.Body.Parse(jsonview.Limits{}); err != nil {
			failed[i] = &penstock.Error{Code: penstock.Invalid, Err: err}
			continue
		}
		r.Body = string(m.Body.AppendJSON(nil, 0))
		for _, e := range m.Meta.Entries() {
			if text, err := e.Value.AppendText(nil); err == nil {
				r.Meta[e.Name] = string(text)
			}
		}
		r.Meta["message-id"] = string(s.env.AppendIdentity(nil, m))
		if s.b.write != nil {
			if err := s.b.write(r); err != nil {
				failed[i] = err
				if penstock.CodeOf(err).Transient() {
					behind[m.Key] = err
				}
				continue
			}
		}
		t.log = append(t.log, r)
	}
	s.b.cond.Broadcast()
	switch {
	case s.b.again > 0:
		s.b.again--
		return &penstock.Error{Code: penstock.Unavailable, Op: "bus", Err: fmt.Errorf("the answer to %d messages is lost", len(b.Msgs))}
	case len(failed) > 0:
		return &penstock.BatchError{Errs: failed}
	}
	return nil
}

// Close implements penstock.Sink.
func (s *sink) Close(context.Context) error { return nil }
