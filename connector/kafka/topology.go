package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
)

// topology looks after the topic of a channel.
type topology struct {
	config *ChannelConfig
	topic  penstock.Template
	keyed  bool
}

var (
	_ penstock.BrokerChannel = (*ChannelConfig)(nil)
	_ penstock.Resolver      = (*ChannelConfig)(nil)
	_ penstock.Topology      = (*topology)(nil)
)

// ask runs f with a client of its own.
func (t *topology) ask(ctx context.Context, env penstock.Env, f func(ctx context.Context, c *cluster, adm *kadm.Client, topic string) error) error {
	c, err := clusterOf(t.config.Connection, env)
	if err != nil {
		return err
	}
	name, err := fixed(t.topic, env)
	if err == nil {
		err = checkTopic(name)
	}
	if err != nil {
		return wrong(t.topic.Pos.String(), err.Error(), "")
	}
	opts, err := c.options()
	if err != nil {
		return err
	}
	cl, err := kgo.NewClient(append(opts, kgo.MetadataMinAge(50*time.Millisecond))...)
	if err != nil {
		return wrong(env.Name, err.Error(), "")
	}
	defer cl.Close()
	if err := c.reach(ctx, cl); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience())
	defer cancel()
	return c.failure(f(ctx, c, kadm.NewClient(cl), name))
}

// Describe implements penstock.Topology.
func (t *topology) Describe(ctx context.Context, env penstock.Env) (out []penstock.Object, err error) {
	err = t.ask(ctx, env, func(ctx context.Context, c *cluster, adm *kadm.Client, topic string) error {
		o, err := t.describe(ctx, c, adm, topic)
		out = []penstock.Object{o}
		return err
	})
	return out, err
}

func (t *topology) describe(ctx context.Context, c *cluster, adm *kadm.Client, topic string) (o penstock.Object, err error) {
	o = penstock.Object{Kind: "topic", Name: topic, Action: penstock.ObjectKeep}
	details, err := adm.ListTopics(ctx, topic)
	if err != nil {
		return o, err
	}
	d := details[topic]
	switch {
	case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
		o.Action, o.Settings = penstock.ObjectCreate, t.wanted()
		if !*t.config.Create {
			o.Action, o.Why, o.Hint = penstock.ObjectConflict, "there is no such topic, and `create: false`", "make it: kafka-topics.sh --bootstrap-server "+c.seeds[0]+" --create --topic "+topic+" --partitions "+strconv.Itoa(t.config.Partitions)
			o.Settings = nil
		}
		return o, nil
	case d.Err != nil:
		return o, d.Err
	}
	t.compare(&o, len(d.Partitions), d.Partitions.NumReplicas())
	if err := t.compareSettings(ctx, adm, &o); err != nil {
		return o, err
	}
	if o.Action == penstock.ObjectChange && !*t.config.Create {
		o.Action, o.Why, o.Hint = penstock.ObjectConflict, "the topic is otherwise, and `create: false`", "change it, or what the channel says"
	}
	return o, nil
}

// wanted is what the topic is made with.
func (t *topology) wanted() []penstock.ObjectSetting {
	out := []penstock.ObjectSetting{{Name: "partitions", Want: strconv.Itoa(t.config.Partitions)}}
	if t.config.Replication > 0 {
		out = append(out, penstock.ObjectSetting{Name: "replication", Want: strconv.Itoa(t.config.Replication)})
	}
	for _, n := range t.config.settings() {
		out = append(out, penstock.ObjectSetting{Name: n, Want: t.config.Config[n]})
	}
	return out
}

// compare holds partitions and replicas to what is wanted.
func (t *topology) compare(o *penstock.Object, partitions, replicas int) {
	if partitions < t.config.Partitions {
		o.Settings = append(o.Settings, penstock.ObjectSetting{Name: "partitions", Is: strconv.Itoa(partitions), Want: strconv.Itoa(t.config.Partitions)})
		if t.keyed {
			o.Action, o.Why = penstock.ObjectConflict, "with more partitions the messages of a key go to another one, and overtake those that are still in the old one"
			o.Hint = "say `partitions: " + strconv.Itoa(partitions) + "`; or, when everything in it was read, kafka-topics.sh --alter --topic " + o.Name + " --partitions " + strconv.Itoa(t.config.Partitions)
		} else if o.Action == penstock.ObjectKeep {
			o.Action = penstock.ObjectChange
		}
	}
	if replicas < t.config.Replication {
		o.Settings = append(o.Settings, penstock.ObjectSetting{Name: "replication", Is: strconv.Itoa(replicas), Want: strconv.Itoa(t.config.Replication)})
		o.Action, o.Why = penstock.ObjectConflict, "copies are made by moving partitions between brokers"
		o.Hint = "say `replication: " + strconv.Itoa(replicas) + "`, or add copies with kafka-reassign-partitions.sh"
	}
}

// compareSettings holds the topic's settings to what is wanted.
func (t *topology) compareSettings(ctx context.Context, adm *kadm.Client, o *penstock.Object) error {
	if len(t.config.Config) == 0 {
		return nil
	}
	configs, err := adm.DescribeTopicConfigs(ctx, o.Name)
	if err != nil {
		return err
	}
	is := map[string]string{}
	for _, c := range configs {
		if c.Err != nil {
			return c.Err
		}
		for _, kv := range c.Configs {
			is[kv.Key] = kv.MaybeValue()
		}
	}
	for _, n := range t.config.settings() {
		want := t.config.Config[n]
		if is[n] == want {
			continue
		}
		o.Settings = append(o.Settings, penstock.ObjectSetting{Name: n, Is: is[n], Want: want})
		switch {
		case loses(n, is[n], want):
			o.Action, o.Why = penstock.ObjectConflict, "messages could be lost by changing "+n
			o.Hint = "say " + n + ": \"" + is[n] + "\"; or change it: kafka-configs.sh --alter --entity-type topics --entity-name " + o.Name + " --add-config " + n + "=" + want
		case o.Action == penstock.ObjectKeep:
			o.Action = penstock.ObjectChange
		}
	}
	return nil
}

// loses says that messages that are there, or are being written, could be lost where a setting changes.
func loses(name, is, want string) bool {
	switch name {
	case "cleanup.policy", "delete.retention.ms", "max.compaction.lag.ms", "unclean.leader.election.enable", "message.timestamp.type":
		return true
	case "retention.ms", "retention.bytes", "max.message.bytes", "segment.bytes", "local.retention.ms", "local.retention.bytes":
		a, err1 := strconv.ParseInt(is, 10, 64)
		b, err2 := strconv.ParseInt(want, 10, 64)
		if err1 != nil || err2 != nil {
			return true
		}
		return b != -1 && (a == -1 || b < a)
	}
	return false
}

// Ensure implements penstock.Topology.
func (t *topology) Ensure(ctx context.Context, env penstock.Env) error {
	return t.ask(ctx, env, func(ctx context.Context, c *cluster, adm *kadm.Client, topic string) error {
		o, err := t.describe(ctx, c, adm, topic)
		if err != nil {
			return err
		}
		switch o.Action {
		case penstock.ObjectConflict:
			return &penstock.Error{Code: penstock.Config, Op: "kafka", Path: c.name + ", topic " + topic, Err: errors.New(o.Why), Hint: o.Hint}
		case penstock.ObjectCreate:
			err = t.create(ctx, adm, topic)
		case penstock.ObjectChange:
			err = t.change(ctx, adm, o)
		}
		if err != nil {
			return err
		}
		return t.wait(ctx, env, adm, topic)
	})
}

func (t *topology) create(ctx context.Context, adm *kadm.Client, topic string) error {
	set := map[string]*string{}
	for n, v := range t.config.Config {
		set[n] = &v
	}
	copies := int16(-1)
	if t.config.Replication > 0 {
		copies = int16(t.config.Replication)
	}
	r, err := adm.CreateTopic(ctx, int32(t.config.Partitions), copies, set, topic)
	switch {
	case err == nil:
		err = r.Err
	case r.Err != nil:
		err = r.Err
	}
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return nil // somebody else was faster
	}
	if err != nil && r.ErrMessage != "" {
		err = fmt.Errorf("%w: %s", err, r.ErrMessage)
	}
	return err
}

func (t *topology) change(ctx context.Context, adm *kadm.Client, o penstock.Object) error {
	var alter []kadm.AlterConfig
	for _, s := range o.Settings {
		if s.Name == "partitions" {
			r, err := adm.UpdatePartitions(ctx, t.config.Partitions, o.Name)
			if err == nil {
				err = r.Error()
			}
			if err != nil && !errors.Is(err, kerr.InvalidPartitions) { // somebody else was faster
				return err
			}
			continue
		}
		want := s.Want
		alter = append(alter, kadm.AlterConfig{Op: kadm.SetConfig, Name: s.Name, Value: &want})
	}
	if len(alter) == 0 {
		return nil
	}
	r, err := adm.AlterTopicConfigs(ctx, alter, o.Name)
	if err != nil {
		return err
	}
	for _, one := range r {
		err = errors.Join(err, one.Err)
	}
	return err
}

// wait waits until all partitions have a leader.
func (t *topology) wait(ctx context.Context, env penstock.Env, adm *kadm.Client, topic string) error {
	for {
		details, err := adm.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		d, led := details[topic], 0
		for _, p := range d.Partitions {
			if p.Err == nil && p.Leader >= 0 {
				led++
			}
		}
		if d.Err == nil && led >= t.config.Partitions {
			return nil
		}
		fired, stop := env.Clock.NewTimer(50 * time.Millisecond)
		select {
		case <-fired:
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
	}
}
