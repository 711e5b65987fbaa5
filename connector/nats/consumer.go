package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
)

// declare finds the stream, and finds or makes the consumer.
func (r *reader) declare(ctx context.Context) (handle, error) {
	s, err := r.link.js.Stream(ctx, r.stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && r.config.Bucket != "":
		return nil, config("bucket "+r.config.Bucket, "make it: nats kv add "+r.config.Bucket, "there is no such bucket")
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, config("stream "+r.stream, "make it: nats stream add "+r.stream+" --subjects '…' (or let a Channel make it), and check its name and the account", "there is no such stream")
	case errors.Is(err, nats.ErrNoResponders):
		return nil, &penstock.Error{Code: penstock.Unavailable, Op: "nats", Path: "stream " + r.stream, Err: errors.New("nobody answers for JetStream"), Hint: "start the server with JetStream (-js), and enable it for the account"}
	case err != nil:
		return nil, r.failure(err)
	}
	want := r.wants(s.CachedInfo().Config.Retention)
	is, err := r.lookUp(ctx, s)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		if h, err := r.create(ctx, s, want); err == nil || !errors.Is(err, jetstream.ErrConsumerExists) {
			return h, r.failure(err)
		}
		is, err = r.lookUp(ctx, s) // somebody was faster
	}
	if err != nil {
		return nil, r.failure(err)
	}
	change, err := r.compare(&is.Config)
	if err != nil {
		return nil, err
	}
	if change {
		cfg := is.Config
		if r.config.AckWait != 0 {
			cfg.AckWait = r.config.AckWait.Std()
		}
		if r.config.MaxAckPending != 0 {
			cfg.MaxAckPending = r.config.MaxAckPending
		}
		if cfg.DeliverSubject != "" {
			h, err := s.UpdatePushConsumer(ctx, cfg)
			return h, r.failure(err)
		}
		h, err := s.UpdateConsumer(ctx, cfg)
		return h, r.failure(err)
	}
	if is.Config.DeliverSubject != "" {
		h, err := s.PushConsumer(ctx, r.consumer)
		return h, r.failure(err)
	}
	h, err := s.Consumer(ctx, r.consumer)
	return h, r.failure(err)
}

// lookUp gives what the server knows of the consumer, whatever it is.
func (r *reader) lookUp(ctx context.Context, s jetstream.Stream) (*jetstream.ConsumerInfo, error) {
	h, err := s.Consumer(ctx, r.consumer)
	if errors.Is(err, jetstream.ErrNotPullConsumer) {
		p, err := s.PushConsumer(ctx, r.consumer)
		if err != nil {
			return nil, err
		}
		return p.CachedInfo(), nil
	}
	if err != nil {
		return nil, err
	}
	return h.CachedInfo(), nil
}

func (r *reader) create(ctx context.Context, s jetstream.Stream, want jetstream.ConsumerConfig) (handle, error) {
	if r.config.Push != nil {
		return s.CreatePushConsumer(ctx, want)
	}
	return s.CreateConsumer(ctx, want)
}

// filters are the subjects that are read.
func (r *reader) filters() []string {
	if r.config.Bucket == "" {
		return r.config.Subjects
	}
	var out []string
	for _, k := range r.config.Keys {
		out = append(out, r.prefix+k)
	}
	return out
}

// wants is the consumer as it is made.
func (r *reader) wants(retention jetstream.RetentionPolicy) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable: r.consumer, Description: "penstock: " + r.env.Name, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: defaultAckWait, MaxAckPending: defaultMaxAckPending, MaxDeliver: -1,
	}
	if r.config.AckWait != 0 {
		c.AckWait = r.config.AckWait.Std()
	}
	if r.config.MaxAckPending != 0 {
		c.MaxAckPending = r.config.MaxAckPending
	}
	switch f := r.filters(); len(f) {
	case 0:
	case 1:
		c.FilterSubject = f[0]
	default:
		c.FilterSubjects = f
	}
	if p := r.config.Push; p != nil {
		if c.DeliverSubject = p.Subject; c.DeliverSubject == "" {
			c.DeliverSubject = "penstock.push." + r.stream + "." + r.consumer
		}
		c.DeliverGroup, c.IdleHeartbeat, c.FlowControl = p.Group, p.Heartbeat.Std(), true
		if c.IdleHeartbeat == 0 {
			c.IdleHeartbeat = 5 * time.Second
		}
	}
	r.begins(&c, retention)
	return c
}

// begins says where a new consumer begins.
func (r *reader) begins(c *jetstream.ConsumerConfig, retention jetstream.RetentionPolicy) {
	st := r.config.Start
	r.mu.Lock()
	last := r.line.last
	r.mu.Unlock()
	switch {
	case retention == jetstream.WorkQueuePolicy:
		c.DeliverPolicy = jetstream.DeliverAllPolicy // what is there was not done
	case r.line.from > 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(last+1, r.line.from)
	case last > 0: // it was deleted under us
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, last+1
	case st.Sequence != 0:
		c.DeliverPolicy, c.OptStartSeq = jetstream.DeliverByStartSequencePolicy, st.Sequence
	case st.Time != "":
		if t, err := time.Parse(time.RFC3339, st.Time); err == nil {
			c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &t
		}
	case st.At == "new":
		c.DeliverPolicy = jetstream.DeliverNewPolicy
	case st.At == "last":
		c.DeliverPolicy = jetstream.DeliverLastPolicy
	case st.At == "lastPerSubject", st.At == "" && r.config.Bucket != "":
		c.DeliverPolicy = jetstream.DeliverLastPerSubjectPolicy
		if c.FilterSubject == "" && len(c.FilterSubjects) == 0 {
			c.FilterSubject = ">"
			if r.prefix != "" {
				c.FilterSubject = r.prefix + ">"
			}
		}
	}
}

// compare says what of a consumer that is there is not as the configuration says, and whether that can be changed without harm.
func (r *reader) compare(is *jetstream.ConsumerConfig) (change bool, err error) {
	wrong := func(hint, format string, args ...any) error {
		return config(r.at(), hint, "the consumer is there, and %s", fmt.Sprintf(format, args...))
	}
	another := "name another `consumer`, which begins anew, or change this one"
	switch {
	case is.AckPolicy != jetstream.AckExplicitPolicy:
		return false, wrong(another+": nats consumer edit can't, so delete it if nobody needs it", "acknowledges %s; explicit is needed, so that nothing is acknowledged before it is done", is.AckPolicy)
	case r.config.Push == nil && is.DeliverSubject != "":
		return false, wrong("say `push: { subject: "+is.DeliverSubject+" }`, or name another `consumer`", "pushes to %s", is.DeliverSubject)
	case r.config.Push != nil && is.DeliverSubject == "":
		return false, wrong("leave `push` out, or name another `consumer`", "does not push")
	case r.config.Push != nil && r.config.Push.Subject != "" && r.config.Push.Subject != is.DeliverSubject:
		return false, wrong("say so in `push`, or name another `consumer`", "pushes to %s, not %s", is.DeliverSubject, r.config.Push.Subject)
	case r.config.Push != nil && r.config.Push.Group != is.DeliverGroup:
		return false, wrong("say so in `push`, or name another `consumer`", "has the group %q, not %q", is.DeliverGroup, r.config.Push.Group)
	case is.MaxDeliver > 0:
		return false, wrong("nats consumer edit "+r.stream+" "+r.consumer+" --max-deliver=-1", "gives a message at most %d times: what is read again after that many crashes would be lost", is.MaxDeliver)
	}
	has := is.FilterSubjects
	if is.FilterSubject != "" {
		has = []string{is.FilterSubject}
	}
	want := r.filters()
	if !sameSubjects(has, want, r.prefix) {
		return false, wrong(another+": nats consumer edit "+r.stream+" "+r.consumer+" --filter …", "reads %s, not %s", subjects(has), subjects(want))
	}
	return r.config.AckWait != 0 && r.config.AckWait.Std() != is.AckWait || r.config.MaxAckPending != 0 && r.config.MaxAckPending != is.MaxAckPending, nil
}

// sameSubjects compares filters; nothing is everything.
func sameSubjects(a, b []string, prefix string) bool {
	all := func(s []string) []string {
		s = slices.Sorted(slices.Values(s))
		if len(s) == 0 || len(s) == 1 && (s[0] == ">" || prefix != "" && s[0] == prefix+">") {
			return nil
		}
		return s
	}
	return slices.Equal(all(a), all(b))
}

func subjects(s []string) string {
	if len(s) == 0 {
		return "all subjects"
	}
	return strings.Join(s, ", ")
}
