package kafka

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock/test/service"
)

// ends are the ends of what is committed in a topic's partitions. Where a transaction has just been, the broker is given a moment to say so in all of them; one that is
// open stays so.
func ends(t testing.TB, s *service.KafkaServer, topic string) map[int32]int64 {
	t.Helper()
	ctx := within(t)
	adm := kadm.NewClient(s.Client(t))
	for try := 0; ; try++ {
		committed, err1 := adm.ListCommittedOffsets(ctx, topic)
		all, err2 := adm.ListEndOffsets(ctx, topic)
		if err := errors.Join(err1, err2, committed.Error(), all.Error()); err != nil {
			t.Fatal(err)
		}
		out, open := map[int32]int64{}, false
		all.Each(func(o kadm.ListedOffset) {
			c, _ := committed.Lookup(o.Topic, o.Partition)
			out[o.Partition] = c.Offset
			open = open || c.Offset < o.Offset
		})
		if !open || try == 20 {
			return out
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// produce writes bodies to a topic in order, all to one partition.
func produce(t testing.TB, s *service.KafkaServer, topic string, partition int32, bodies ...string) {
	t.Helper()
	cl := s.Client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var all []*kgo.Record
	for _, b := range bodies {
		all = append(all, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(b)})
	}
	if err := cl.ProduceSync(within(t), all...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// committed is how far a group is.
func committed(t testing.TB, s *service.KafkaServer, group, topic string) map[int32]int64 {
	t.Helper()
	known, err := kadm.NewClient(s.Client(t)).FetchOffsets(within(t), group)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int32]int64{}
	for n, o := range known[topic] {
		out[n] = o.At
	}
	return out
}

// grow gives a topic more partitions.
func grow(t testing.TB, s *service.KafkaServer, topic string, partitions int) {
	t.Helper()
	r, err := kadm.NewClient(s.Client(t)).UpdatePartitions(within(t), partitions, topic)
	if err == nil {
		err = r.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// remove deletes a topic, and waits until the broker that is asked about topics has heard of it.
func remove(t testing.TB, s *service.KafkaServer, topic string) {
	t.Helper()
	ctx, admin := within(t), kadm.NewClient(s.Client(t))
	if r, err := admin.DeleteTopic(ctx, topic); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	for {
		seen, err := admin.ListTopics(ctx, topic)
		if err == nil && errors.Is(seen[topic].Err, kerr.UnknownTopicOrPartition) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("topic %s is still there: %v", topic, err)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// begun waits until a group has said where it begins in a partition.
func begun(t testing.TB, s *service.KafkaServer, group, topic string, partition int32) {
	t.Helper()
	for ctx := within(t); ; pause(ctx, 20*time.Millisecond) {
		if _, ok := committed(t, s, group, topic)[partition]; ok {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("group %s has not begun", group)
		}
	}
}

// trim deletes the messages before an offset, as retention does.
func trim(t testing.TB, s *service.KafkaServer, topic string, before int64) {
	t.Helper()
	o := kadm.Offsets{}
	o.AddOffset(topic, 0, before, -1)
	r, err := kadm.NewClient(s.Client(t)).DeleteRecords(within(t), o)
	if err == nil {
		err = r.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}
