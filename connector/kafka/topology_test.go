package kafka

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/service"
)

func channel(server *service.KafkaServer, topic string, change func(*ChannelConfig)) *ChannelConfig {
	yes := true
	c := &ChannelConfig{Connection: refTo(connection(server.Brokers())), Topic: text(topic), Partitions: 2, Create: &yes, Compression: "none"}
	if change != nil {
		change(c)
	}
	return c
}

func TestTopicsOfChannels(t *testing.T) {
	t.Parallel()
	server := service.Kafka(t)
	no := false
	keyed := penstock.ChannelUse{Name: "c", Keyed: true}
	for name, c := range map[string]struct {
		is      func(t *testing.T, topic string)
		change  func(*ChannelConfig)
		use     penstock.ChannelUse
		action  penstock.ObjectAction
		want    []string // settings: name is want
		mention string   // in why or hint
	}{
		"is made": {nil, func(c *ChannelConfig) {
			c.Replication, c.Config = 1, map[string]string{"retention.ms": "1000000", "cleanup.policy": "compact"}
		}, keyed, penstock.ObjectCreate, []string{"partitions  2", "replication  1", "cleanup.policy  compact", "retention.ms  1000000"}, ""},
		"is not made":    {nil, func(c *ChannelConfig) { c.Create = &no }, keyed, penstock.ObjectConflict, nil, "kafka-topics.sh"},
		"is as it is":    {func(t *testing.T, topic string) { server.Topic(t, topic, 3) }, nil, keyed, penstock.ObjectKeep, nil, ""},
		"is made larger": {func(t *testing.T, topic string) { server.Topic(t, topic, 1) }, nil, penstock.ChannelUse{Name: "c"}, penstock.ObjectChange, []string{"partitions 1 2"}, ""},
		"keeps its keys": {func(t *testing.T, topic string) { server.Topic(t, topic, 1) }, nil, keyed, penstock.ObjectConflict, []string{"partitions 1 2"}, "overtake"},
		"lacks copies":   {func(t *testing.T, topic string) { server.Topic(t, topic, 2) }, func(c *ChannelConfig) { c.Replication = 3 }, keyed, penstock.ObjectConflict, []string{"replication 1 3"}, "kafka-reassign-partitions.sh"},
		"keeps longer": {func(t *testing.T, topic string) { server.Topic(t, topic, 2, "retention.ms=1000") }, func(c *ChannelConfig) { c.Config = map[string]string{"retention.ms": "-1"} },
			keyed, penstock.ObjectChange, []string{"retention.ms 1000 -1"}, ""},
		"loses nothing": {func(t *testing.T, topic string) { server.Topic(t, topic, 2, "retention.ms=1000") }, func(c *ChannelConfig) { c.Config = map[string]string{"retention.ms": "999"} },
			keyed, penstock.ObjectConflict, []string{"retention.ms 1000 999"}, "could be lost"},
		"is not changed": {func(t *testing.T, topic string) { server.Topic(t, topic, 2) }, func(c *ChannelConfig) { c.Create, c.Config = &no, map[string]string{"compression.type": "lz4"} },
			keyed, penstock.ObjectConflict, []string{"compression.type producer lz4"}, "create: false"},
	} {
		t.Run(name, func(t *testing.T) {
			topic := service.KafkaName(t)
			if c.is != nil {
				c.is(t, topic)
			}
			top := channel(server, topic, c.change).Topology(c.use)
			seen, err := top.Describe(within(t), environment(t))
			if err != nil || len(seen) != 1 {
				t.Fatal(seen, err)
			}
			o := seen[0]
			var got []string
			for _, s := range o.Settings {
				got = append(got, s.Name+" "+s.Is+" "+s.Want)
			}
			if o.Action != c.action || o.Name != topic || strings.Join(got, ", ") != strings.Join(c.want, ", ") {
				t.Errorf("%+v", o)
			}
			if c.mention != "" && !strings.Contains(o.Why+o.Hint, c.mention) {
				t.Errorf("it says %q, %q", o.Why, o.Hint)
			}
			err = top.Ensure(within(t), environment(t))
			if (err != nil) != (c.action == penstock.ObjectConflict) {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			ctx := within(t)
			for { // the broker hears of it a little later than the controller
				if seen, err = top.Describe(ctx, environment(t)); err == nil && seen[0].Action == penstock.ObjectKeep {
					break
				}
				if ctx.Err() != nil {
					t.Fatalf("afterwards: %+v, %v", seen, err)
				}
				pause(ctx, 20*time.Millisecond)
			}
			if err := top.Ensure(within(t), environment(t)); err != nil {
				t.Error("again: ", err)
			}
		})
	}
}

func TestTopologyFailures(t *testing.T) {
	server := service.Kafka(t)
	top := channel(server, service.KafkaName(t), func(c *ChannelConfig) { c.Replication = 5 }).Topology(penstock.ChannelUse{})
	if err := top.Ensure(within(t), environment(t)); penstock.CodeOf(err) != penstock.Config || !strings.Contains(err.Error(), "lower `replication`") {
		t.Errorf("%v", err)
	}
	top = channel(server, service.KafkaName(t), func(c *ChannelConfig) { c.Config = map[string]string{"retention.ms": "soon"} }).Topology(penstock.ChannelUse{})
	if err := top.Ensure(within(t), environment(t)); penstock.CodeOf(err) != penstock.Config {
		t.Errorf("%v", err)
	}
}

func TestChannelsAreReadAsTheyAreWritten(t *testing.T) {
	server := service.Kafka(t)
	topic := service.KafkaName(t)
	c := channel(server, topic, func(c *ChannelConfig) { c.GroupPrefix, c.Compression = "prefix-", "zstd" })
	use := penstock.ChannelUse{Name: "orders", Keyed: true, Group: "billing"}
	if err := c.Topology(use).Ensure(within(t), environment(t)); err != nil {
		t.Fatal(err)
	}
	source, sink := sourceConfig(nil, "", ""), sinkConfig(nil, "")
	c.FillSource(use, &source)
	c.FillSink(use, &sink)
	if errs := append(source.Validate(), sink.Validate()...); len(errs) > 0 {
		t.Fatal(errs)
	}
	b := batchOf("1")
	b.Msgs[0].Key = "k"
	if err := sent(t, sink, b); err != nil {
		t.Fatal(err)
	}
	if got := received(t, opened(t, source), 1); got.Msgs[0].Key != "k" {
		t.Errorf("key %q", got.Msgs[0].Key)
	}
	groups, err := kadm.NewClient(server.Client(t)).ListGroups(within(t))
	if _, there := groups["prefix-billing"]; err != nil || !there {
		t.Errorf("%v, %v", groups.Groups(), err)
	}
}

func TestChannelsAreChecked(t *testing.T) {
	yes := true
	for name, c := range map[string]struct {
		config ChannelConfig
		use    penstock.ChannelUse
		wants  []string
	}{
		"fine":          {ChannelConfig{Create: &yes}, penstock.ChannelUse{Name: "orders"}, nil},
		"a queue":       {ChannelConfig{}, penstock.ChannelUse{Name: "orders", Queue: true}, nil},
		"bad topic":     {ChannelConfig{Topic: text("a b")}, penstock.ChannelUse{Name: "orders"}, []string{"letters, digits"}},
		"not a setting": {ChannelConfig{Config: map[string]string{"partitions": "3"}}, penstock.ChannelUse{Name: "orders"}, []string{"see `partitions`"}},
		"no keys":       {ChannelConfig{Config: map[string]string{"cleanup.policy": "compact"}}, penstock.ChannelUse{Name: "orders"}, []string{"these have none"}},
	} {
		t.Run(name, func(t *testing.T) { checked(t, append(c.config.Validate(), c.config.Refuses(c.use)...), c.wants) })
	}
}
