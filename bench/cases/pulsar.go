package cases

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock/bench/benchdata"
	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

const (
	barePulsarSide = "bare pulsar-client-go copy"
	pulsarSlow     = slowMsgs / 4 // messages of which the latency is measured
)

// startPulsar starts the broker of the case.
func startPulsar(ctx context.Context, e *httpRun) (end func() error, err error) {
	return started(e, &e.pulsar, func(under string) (*harness.Pulsar, error) {
		return harness.StartPulsar(ctx, under, filepath.Join("..", ".tools"))
	})
}

// pulsarTopics moves messages from one topic to another, of which half pass a filter; beside it a program that copies those with every second key, and looks at none. The
// first topic is filled before the program starts, and it is measured until the last message is in the other. Then a few are published slowly, and each is timed from its
// publishing to its being given to who reads the other topic.
func pulsarTopics(e *httpRun) ([]httpSide, error) {
	input := filepath.Join(e.folder, "orders.jsonl")
	f, err := writeInput(input, benchdata.OrderLines, e.Seed, min(e.Messages, brokerMessages))
	if err != nil {
		return nil, err
	}
	side := func(name string, passing int, argv ...string) httpSide {
		return httpSide{name: name, run: func(ctx context.Context) (load.Result, error) {
			return e.transferred(ctx, input, f.Lines, passing, argv)
		}}
	}
	bare := side(barePulsarSide, (f.Lines+1)/2, e.BarePulsar, "-url", e.pulsar.URL(), "-from", "orders", "-to", "mapped", "-subscription", "copy")
	if _, err := bare.run(context.Background()); err != nil { // the first run finds a broker whose code is not compiled yet
		return nil, err
	}
	return []httpSide{
		side("penstock", f.Passing, e.Penstock, "run", filepath.Join(e.Flows, "pulsar"), "--quiet", "--param", "url="+e.pulsar.URL()),
		bare,
	}, nil
}

// transferred fills one topic anew, and runs what moves its messages to the other, where passing of them must come to be.
func (e *httpRun) transferred(ctx context.Context, input string, messages, passing int, argv []string) (out load.Result, err error) {
	for _, topic := range []string{"orders", "mapped"} {
		if err := e.pulsar.Topic(ctx, topic); err != nil {
			return out, err
		}
	}
	err = e.pulsar.With(func(cl pulsar.Client) error {
		if err := fillPulsar(ctx, cl, input); err != nil {
			return err
		}
		var took, used time.Duration
		var latency load.Publishing
		server := e.pulsar.CPU()
		begun := time.Now()
		u, err := harness.Talking(ctx, e.folder, argv, func([]byte) {}, func(context.Context) error { return nil }, func(ctx context.Context, p *os.Process) error {
			err := untilCount(ctx, int64(passing), func(n int64) bool { return n >= int64(passing) }, func() (int64, error) { return e.pulsar.Taken(ctx, "mapped") })
			if err != nil {
				return err
			}
			took, used = time.Since(begun), harness.CPUOf(p.Pid)
			server = e.pulsar.CPU() - server
			if latency.Took, err = readPulsar(ctx, cl, passing); err != nil {
				return err
			}
			slices.Sort(latency.Took)
			err = untilCount(ctx, 0, func(n int64) bool { return n == 0 }, func() (int64, error) { return e.pulsar.Left(ctx, "orders") })
			if err != nil {
				err = fmt.Errorf("acknowledging: %w", err)
			}
			return err
		})
		if err != nil {
			return err
		}
		out.Add("rate", "messages/s", float64(messages)/took.Seconds())
		out.Add("CPU", "µs a message", used.Seconds()*1e6/float64(messages))
		out.Add("CPU of the server", "µs a message", server.Seconds()*1e6/float64(messages))
		out.Add("latency p50", "ms", latency.Quantile(0.5))
		out.Add("latency p99", "ms", latency.Quantile(0.99))
		out.Add("max RSS", "MB", float64(u.MaxRSS)/1e6)
		return nil
	})
	return out, err
}

// untilCount asks for a count until it is as it is to be.
func untilCount(ctx context.Context, want int64, is func(int64) bool, count func() (int64, error)) error {
	for begun := time.Now(); ; {
		n, err := count()
		if err != nil || is(n) {
			return err
		}
		if time.Since(begun) > 5*time.Minute {
			return fmt.Errorf("the count is %d after 5 minutes, and should be %d", n, want)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readPulsar reads the topic mapped, which is to hold so many messages and no more. Then it publishes messages, one at a time, and gives how long each took until it was read
// there.
func readPulsar(ctx context.Context, cl pulsar.Client, passing int) (out []time.Duration, err error) {
	r, err := cl.CreateReader(pulsar.ReaderOptions{Topic: "mapped", StartMessageID: pulsar.EarliestMessageID(), ReceiverQueueSize: 1000})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	next := func() error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := r.Next(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("a message has not come within 10 s")
		}
		return err
	}
	for n := range passing {
		if err := next(); err != nil {
			return nil, fmt.Errorf("%d of %d messages are in the other topic: %w", n, passing, err)
		}
	}
	if r.HasNext() {
		return nil, fmt.Errorf("the other topic holds more than %d messages", passing)
	}
	p, err := cl.CreateProducer(pulsar.ProducerOptions{Topic: "orders", DisableBatching: true})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	failed := make(chan error, pulsarSlow)
	for range pulsarSlow {
		begun := time.Now()
		p.SendAsync(ctx, &pulsar.ProducerMessage{Key: "0", Payload: []byte(`{"id":1,"country":"GB","amount":125.5,"ts":"2026-11-01T12:00:00Z"}`)}, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
			if err != nil {
				failed <- err
			}
		})
		if err := next(); err != nil {
			select {
			case sent := <-failed:
				err = errors.Join(sent, err)
			default:
			}
			return nil, err
		}
		out = append(out, time.Since(begun))
		time.Sleep(slowEvery) //nolint:forbidigo // the pace of what is measured
	}
	return out, nil
}

// fillPulsar writes the lines of a file to the topic orders, with keys of which every second is even.
func fillPulsar(ctx context.Context, cl pulsar.Client, input string) (err error) {
	f, err := os.Open(input)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	p, err := cl.CreateProducer(pulsar.ProducerOptions{Topic: "orders", BatchingMaxMessages: 1000})
	if err != nil {
		return err
	}
	defer p.Close()
	var failed load.FirstError
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan(); n++ {
		m := &pulsar.ProducerMessage{Key: strconv.Itoa(n % 1000), Payload: slices.Clone(lines.Bytes())}
		p.SendAsync(ctx, m, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) { failed.Set(err) })
	}
	err = p.FlushWithCtx(ctx)
	return errors.Join(err, failed.Get(), lines.Err())
}
