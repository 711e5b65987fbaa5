// Command kafkacopy copies every second record of a topic to another with franz-go, and nothing else: no reading of what is in them, no lanes, no account of what became of
// each. It commits when all that it has polled was confirmed, and ends where the topic ended when it began. It is what the case kafka is compared with.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock/bench/load"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kafkacopy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("kafkacopy", flag.ContinueOnError)
	brokers := flags.String("brokers", "", "`host:port` of a broker")
	from := flags.String("from", "", "`topic` to read")
	to := flags.String("to", "", "`topic` to write")
	group := flags.String("group", "", "consumer `group`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(*brokers), kgo.ConsumerGroup(*group), kgo.ConsumeTopics(*from), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.BlockRebalanceOnPoll(),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	if err != nil {
		return err
	}
	defer cl.CloseAllowingRebalance()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, *from)
	if err != nil {
		return err
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	var failed load.FirstError
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			if r.Offset%2 == 0 {
				cl.Produce(ctx, &kgo.Record{Topic: *to, Key: r.Key, Value: r.Value, Headers: r.Headers}, func(_ *kgo.Record, err error) { failed.Set(err) })
			}
		})
		if err := errors.Join(cl.Flush(ctx), failed.Get(), cl.CommitUncommittedOffsets(ctx)); err != nil {
			return err
		}
		cl.AllowRebalance()
	}
	return nil
}
