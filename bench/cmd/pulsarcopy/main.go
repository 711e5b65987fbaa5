// Command pulsarcopy copies those messages of a topic whose key ends in an even digit to another with pulsar-client-go, and nothing else: no reading of what is in them, no
// lanes, no account of what became of each. What was waiting is sent in batches of the size that the connector has, and acknowledged when all of it was confirmed. It goes on
// until it is ended. It is what the case pulsar is compared with.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"

	"penstock.dev/penstock/bench/load"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pulsarcopy:", err)
		os.Exit(1)
	}
}

// atOnce is how many messages are sent before they are waited for, as many as the connector writes at a time.
const atOnce = 512

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("pulsarcopy", flag.ContinueOnError)
	url := flags.String("url", "", "`URL` of a broker")
	from := flags.String("from", "", "`topic` to read")
	to := flags.String("to", "", "`topic` to write")
	subscription := flags.String("subscription", "", "`name` of the subscription")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cl, err := pulsar.NewClient(pulsar.ClientOptions{URL: *url, Logger: log.NewLoggerWithSlog(slog.New(slog.DiscardHandler))})
	if err != nil {
		return err
	}
	defer cl.Close()
	out, err := cl.CreateProducer(pulsar.ProducerOptions{
		Topic: *to, MaxPendingMessages: 1000, BatchingMaxMessages: 1000, BatchingMaxSize: 128 << 10, BatchingMaxPublishDelay: 5 * time.Millisecond, DisableMultiSchema: true,
	})
	if err != nil {
		return err
	}
	defer out.Close()
	in, err := cl.Subscribe(pulsar.ConsumerOptions{
		Topic: *from, SubscriptionName: *subscription, Type: pulsar.Exclusive, SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest, ReceiverQueueSize: 1000,
		MessageChannel: make(chan pulsar.ConsumerMessage, 1000), EnableBatchIndexAcknowledgment: true,
	})
	if err != nil {
		return err
	}
	defer in.Close()
	var failed load.FirstError
	all := make([]pulsar.ConsumerMessage, 0, atOnce)
	for {
		if all = waiting(ctx, in, all[:0]); len(all) == 0 {
			return ctx.Err()
		}
		for _, m := range all {
			if key := m.Key(); key == "" || key[len(key)-1]%2 == 0 {
				out.SendAsync(ctx, &pulsar.ProducerMessage{Payload: m.Payload(), Key: key, Properties: m.Properties()}, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) { failed.Set(err) })
			}
		}
		if err := errors.Join(out.FlushWithCtx(ctx), failed.Get()); err != nil {
			return err
		}
		for _, m := range all {
			if err := in.Ack(m); err != nil {
				return err
			}
		}
	}
}

// waiting appends what has come: one message at least, and at most [atOnce].
func waiting(ctx context.Context, in pulsar.Consumer, all []pulsar.ConsumerMessage) []pulsar.ConsumerMessage {
	select {
	case m := <-in.Chan():
		all = append(all, m)
	case <-ctx.Done():
		return nil
	}
	for len(all) < atOnce {
		select {
		case m := <-in.Chan():
			all = append(all, m)
		default:
			return all
		}
	}
	return all
}
