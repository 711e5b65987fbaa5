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

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock/bench/benchdata"
	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

const (
	pushSide  = "penstock, pushed"
	slowMsgs  = 2000                   // of which the latency is measured
	slowEvery = 500 * time.Microsecond // one of them is published
)

// startNATS starts the server of the case.
func startNATS(ctx context.Context, e *httpRun) (end func() error, err error) {
	return started(e, &e.nats, func(under string) (*harness.NATS, error) {
		return harness.StartNATS(ctx, under)
	})
}

// natsStreams moves messages from one stream to another. The first is filled before the program starts, and it is measured until the last message is in
// the other. Then a few are published slowly, and each is timed from its publishing to its being in the other stream.
func natsStreams(e *httpRun) ([]httpSide, error) {
	input := filepath.Join(e.folder, "orders.jsonl")
	if _, err := writeInput(input, benchdata.OrderLines, e.Seed, min(e.Messages, brokerMessages)); err != nil {
		return nil, err
	}
	port := strconv.Itoa(e.nats.Port())
	side := func(name string, argv ...string) httpSide {
		return httpSide{name: name, run: func(ctx context.Context) (load.Result, error) { return e.streamed(ctx, input, argv) }}
	}
	var out []httpSide
	if e.Penstock != "" {
		out = append(out, side("penstock", e.Penstock, "run", filepath.Join(e.Flows, "nats"), "--param", "port="+port))
		out = append(out, side(pushSide, e.Penstock, "run", filepath.Join(e.Flows, "nats-push"), "--param", "port="+port))
	}
	peers, err := e.peersInFlight("nats.yaml", "nats_jetstream", port, []string{"1024", "256", "4096"})
	for _, p := range peers {
		out = append(out, side(p.name, p.argv...))
	}
	return out, err
}

// streamed fills one stream, and runs what moves its messages to the other.
func (e *httpRun) streamed(ctx context.Context, input string, argv []string) (out load.Result, err error) {
	nc, err := nats.Connect(e.nats.URL())
	if err != nil {
		return out, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return out, err
	}
	n, err := filledStream(ctx, js, input)
	if err != nil {
		return out, err
	}
	server := e.nats.CPU()
	var took, used time.Duration
	var latency load.Publishing
	begun := time.Now()
	u, err := harness.Talking(ctx, e.folder, argv, func([]byte) {}, func(context.Context) error { return nil }, func(ctx context.Context, p *os.Process) error {
		if err := arrived(ctx, js, n); err != nil {
			return err
		}
		took, used = time.Since(begun), harness.CPUOf(p.Pid)
		server = e.nats.CPU() - server
		var err error
		latency.Took, err = timed(ctx, nc, js)
		slices.Sort(latency.Took)
		return err
	})
	if err != nil {
		return out, err
	}
	out.Add("rate", "messages/s", float64(n)/took.Seconds())
	out.Add("CPU", "µs a message", used.Seconds()*1e6/float64(n))
	out.Add("CPU of the server", "µs a message", server.Seconds()*1e6/float64(n))
	out.Add("latency p50", "ms", latency.Quantile(0.5))
	out.Add("latency p99", "ms", latency.Quantile(0.99))
	out.Add("max RSS", "MB", float64(u.MaxRSS)/1e6)
	return out, nil
}

// arrived waits until so many messages are in the other stream.
func arrived(ctx context.Context, js jetstream.JetStream, n int) error {
	for begun := time.Now(); ; {
		s, err := js.Stream(ctx, "MAPPED")
		if err != nil {
			return err
		}
		if have := s.CachedInfo().State.Msgs; have >= uint64(n) { //nolint:gosec // a count
			return nil
		} else if time.Since(begun) > 5*time.Minute {
			return fmt.Errorf("%d of %d messages have arrived after 5 minutes", have, n)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// timed publishes messages, one at a time, and gives how long each took until it came to who listens to what the other stream gets.
func timed(ctx context.Context, nc *nats.Conn, js jetstream.JetStream) ([]time.Duration, error) {
	came := make(chan time.Time, slowMsgs)
	sub, err := nc.Subscribe("mapped", func(*nats.Msg) { came <- time.Now() })
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	var out []time.Duration
	for range slowMsgs {
		begun := time.Now()
		if _, err := js.PublishAsync("orders", []byte(`{"id":1,"country":"GB","amount":12.5,"ts":"2026-11-01T12:00:00Z"}`)); err != nil {
			return nil, err
		}
		select {
		case at := <-came:
			out = append(out, at.Sub(begun))
		case <-time.After(10 * time.Second):
			return nil, errors.New("a message has not come within 10 s")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		time.Sleep(slowEvery) //nolint:forbidigo // the pace of what is measured
	}
	return out, nil
}

// filledStream makes both streams anew, and puts the lines of a file into the first.
func filledStream(ctx context.Context, js jetstream.JetStream, input string) (n int, err error) {
	f, err := os.Open(input)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for name, subject := range map[string]string{"ORDERS": "orders", "MAPPED": "mapped"} {
		if err := js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return 0, err
		}
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}}); err != nil {
			return 0, err
		}
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if _, err := js.PublishAsync("orders", lines.Bytes(), jetstream.WithStallWait(time.Minute)); err != nil {
			return n, err
		}
		n++
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		return n, errors.New("the stream does not confirm what it is filled with")
	}
	s, err := js.Stream(ctx, "ORDERS")
	if err == nil && s.CachedInfo().State.Msgs != uint64(n) { //nolint:gosec // a count
		err = fmt.Errorf("the stream holds %d messages, not %d", s.CachedInfo().State.Msgs, n)
	}
	return n, errors.Join(err, lines.Err())
}
