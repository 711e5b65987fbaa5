package service

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestKafkaKeepsWhatItHasWhenItIsKilled(t *testing.T) {
	s := NewKafka(t)
	topic := KafkaName(t)
	s.Topic(t, topic, 2)
	s.SetUser(t, "bob", "bob-secret")
	cl := s.Client(t, kgo.DefaultProduceTopic(topic), kgo.ConsumeTopics(topic))
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("one")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s.Kill(t)
	if err := s.answers(t.Context()); err == nil {
		t.Fatal("a broker that was killed answers")
	}
	s.Start(t)
	t.Logf("it was back after %v", time.Since(began))
	f := cl.PollFetches(t.Context())
	if r := f.Records(); f.Err() != nil || len(r) != 1 || string(r[0].Value) != "one" {
		t.Fatalf("%v, %v", r, f.Err())
	}
	for listener, address := range map[string]string{"proxied": s.Proxied(), "plain": s.Brokers()} {
		cl, err := kgo.NewClient(kgo.SeedBrokers(address))
		if err != nil {
			t.Fatal(err)
		}
		if err := cl.Ping(t.Context()); err != nil {
			t.Errorf("%s: %v", listener, err)
		}
		cl.Close()
	}
}
