package cases

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock/bench/benchdata"
	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

const (
	bareSide      = "bare franz-go copy"
	kafkaMessages = 1_000_000
	kafkaParts    = 3
)

func startKafka(ctx context.Context, e *httpRun) (end func() error, err error) {
	return started(e, &e.kafka, func(under string) (*harness.Kafka, error) {
		return harness.StartKafka(ctx, under, filepath.Join("..", ".tools"))
	})
}

// kafkaKafka moves messages from one topic to another, of which half pass a filter; beside it a program that copies every second one and looks at none; and the same flow in
// transactions. Each reads the same topic as a group of its own, from its beginning to its end, and is measured as a whole process.
func kafkaKafka(e *httpRun) ([]httpSide, error) {
	input := filepath.Join(e.folder, "orders.jsonl")
	f, err := writeInput(input, benchdata.OrderLines, e.Seed, min(e.Messages, kafkaMessages))
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	if err := e.kafka.Topic(ctx, "orders", kafkaParts); err != nil {
		return nil, err
	}
	if err := e.fillTopic(ctx, input); err != nil {
		return nil, err
	}
	flow := func(name string) []string {
		return []string{e.Penstock, "run", "--once", "--quiet", filepath.Join(e.Flows, "kafka", name+".yaml"), "--param", "broker=" + e.kafka.Address()}
	}
	side := func(name string, passing int, argv func(group string) []string) httpSide {
		runs := 0
		return httpSide{name: name, run: func(ctx context.Context) (load.Result, error) {
			runs++
			return e.copied(ctx, f.Lines, passing, argv(name+strconv.Itoa(runs)+strconv.FormatInt(time.Now().UnixNano(), 36)))
		}}
	}
	return []httpSide{
		side("penstock", f.Passing, func(group string) []string { return append(flow("kafka"), "--param", "group="+group) }),
		side(bareSide, -1, func(group string) []string {
			return []string{e.Bare, "-brokers", e.kafka.Address(), "-from", "orders", "-to", "mapped", "-group", group}
		}),
		side("penstock, in transactions", -1, func(group string) []string { return append(flow("transactions"), "--param", "group="+group) }),
	}, nil
}

// copied runs what fills the topic mapped, and counts what is there. Passing is how many messages that must be; -1: about half of them.
func (e *httpRun) copied(ctx context.Context, messages, passing int, argv []string) (out load.Result, err error) {
	if err := e.kafka.Topic(ctx, "mapped", kafkaParts); err != nil {
		return out, err
	}
	server := e.kafka.CPU()
	m, err := harness.RunIn(ctx, e.folder, argv...)
	if err != nil {
		return out, err
	}
	used := e.kafka.CPU() - server
	n, err := e.kafka.Count(ctx, "mapped")
	switch {
	case err != nil:
		return out, err
	case passing >= 0 && n != int64(passing), n < int64(messages)*2/5 || n > int64(messages)*3/5:
		return out, fmt.Errorf("%d of %d messages are there, and %d should be", n, messages, passing)
	}
	out.Add("rate", "messages/s", float64(messages)/m.Wall.Seconds())
	out.Add("CPU", "µs a message", m.CPU.Seconds()*1e6/float64(messages))
	out.Add("CPU of the broker", "µs a message", used.Seconds()*1e6/float64(messages))
	out.Add("max RSS", "MB", float64(m.MaxRSS)/1e6)
	return out, nil
}

// fillTopic writes the lines of a file to the topic orders.
func (e *httpRun) fillTopic(ctx context.Context, input string) (err error) {
	f, err := os.Open(input)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return e.kafka.With(func(cl *kgo.Client) error {
		var failed load.FirstError
		lines := bufio.NewScanner(f)
		for n := 0; lines.Scan(); n++ {
			r := &kgo.Record{Topic: "orders", Key: []byte(strconv.Itoa(n % 1000)), Value: append([]byte(nil), lines.Bytes()...)}
			cl.Produce(ctx, r, func(_ *kgo.Record, err error) { failed.Set(err) })
		}
		err := cl.Flush(ctx)
		return errors.Join(err, failed.Get(), lines.Err())
	}, kgo.ProducerBatchCompression(kgo.NoCompression()))
}
