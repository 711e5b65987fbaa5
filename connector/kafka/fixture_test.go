package kafka

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/test/service"
)

// patience is how long what is waited for may take on a busy machine.
const patience = 60 * time.Second

// within bounds a test.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// environment is an Env as the engine gives it.
func environment(t testing.TB) penstock.Env {
	t.Helper()
	clock := penstock.SystemClock{}
	return penstock.Env{Name: "flow/step", Logger: slog.New(slog.DiscardHandler), Clock: clock, Runtime: &penstock.Runtime{Clock: clock}, Concurrency: 1, Ordered: true}
}

// connection is a Connection as it is decoded from nothing but its brokers.
func connection(brokers ...string) *ConnectionConfig {
	c := &ConnectionConfig{ClientID: "test", ConnectTimeout: penstock.Duration(10 * time.Second)}
	for _, b := range brokers {
		c.Brokers = append(c.Brokers, penstock.Template{Source: b})
	}
	return c
}

func refTo(c *ConnectionConfig) penstock.ConnectionRef {
	return penstock.ConnectionRef{Name: "test", Config: c}
}

func jsonFormat() penstock.Format {
	c, err := json.New(json.Config{}, penstock.CodecOptions{})
	if err != nil {
		panic(err)
	}
	return penstock.Format{Name: "json", Codec: c}
}

// sourceConfig is the configuration of a source as it is decoded from nothing but topic and group.
func sourceConfig(c *ConnectionConfig, topic, group string) SourceConfig {
	return SourceConfig{Connection: refTo(c), Topic: penstock.Template{Source: topic}, Group: penstock.Template{Source: group}, Start: "earliest", Format: jsonFormat(),
		Keys: "text", Isolation: "committed", Session: penstock.Duration(45 * time.Second), Drain: penstock.Duration(30 * time.Second), Discover: penstock.Duration(time.Second),
		Fetch: Fetch{MaxBytes: 8 << 20, PartitionBytes: 1 << 20, MinBytes: 1, MaxWait: penstock.Duration(250 * time.Millisecond)}}
}

func sinkConfig(c *ConnectionConfig, topic string) SinkConfig {
	return SinkConfig{Connection: refTo(c), Topic: penstock.Template{Source: topic}, Keys: "text", Timestamp: "written", Compression: "none", MaxMessage: 1 << 20, Timeout: penstock.Duration(30 * time.Second),
		Transaction: Transaction{Timeout: penstock.Duration(time.Minute)}}
}

// records reads all that a topic has, in the order of its partitions.
func records(t testing.TB, s *service.KafkaServer, topic string, opts ...kgo.Opt) (out []*kgo.Record) {
	t.Helper()
	ctx := within(t)
	cl := s.Client(t, append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()}, opts...)...)
	ends := ends(t, s, topic)
	at := map[int32]int64{}
	for {
		left := false
		for n, end := range ends {
			left = left || at[n] < end
		}
		if !left {
			return out
		}
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
		})
	}
}

// batchOf makes a batch of bodies.
func batchOf(bodies ...string) *penstock.Batch { return conform.Batch(bodies...) }
