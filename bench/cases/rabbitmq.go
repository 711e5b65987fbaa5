package cases

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock/bench/benchdata"
	"penstock.dev/penstock/bench/harness"
	"penstock.dev/penstock/bench/load"
)

// brokerMessages is how many messages a case with a broker moves in each run.
const brokerMessages = 200_000

// startRabbitMQ starts the server of the cases.
func startRabbitMQ(ctx context.Context, e *httpRun) (end func() error, err error) {
	return started(e, &e.rabbitmq, func(under string) (*harness.RabbitMQ, error) {
		return harness.StartRabbitMQ(ctx, under)
	})
}

// rabbitMQ moves messages from one classic queue to another. The queues are filled before the program starts, and it is measured until the last message is in
// the other queue. Then a few are published slowly, and each is timed from its publishing to its being given to who reads the other queue.
func rabbitMQ(e *httpRun) ([]httpSide, error) {
	input := filepath.Join(e.folder, "orders.jsonl")
	if _, err := writeInput(input, benchdata.OrderLines, e.Seed, min(e.Messages, brokerMessages)); err != nil {
		return nil, err
	}
	port := strconv.Itoa(e.rabbitmq.Port())
	side := func(name string, argv ...string) httpSide {
		return httpSide{name: name, run: func(ctx context.Context) (load.Result, error) { return e.moved(ctx, input, argv) }}
	}
	var out []httpSide
	if e.Penstock != "" {
		out = append(out, side("penstock", e.Penstock, "run", filepath.Join(e.Flows, "rabbitmq"), "--param", "port="+port))
		out = append(out, side("penstock, pulled", e.Penstock, "run", filepath.Join(e.Flows, "rabbitmq-pull"), "--param", "port="+port))
	}
	peers, err := e.peersInFlight("rabbitmq.yaml", "amqp_0_9", port, []string{peerFlight, "64", "1024"})
	for _, p := range peers {
		out = append(out, side(p.name, p.argv...))
	}
	return out, err
}

// peerFlight is how many publishings the peer has in flight.
const peerFlight = "256"

// peersInFlight gives the peer's sides of a case with a broker: one for the first of what may be in flight, and with e.Variants one for each. There are none where
// the peer was built without the broker's component, which is the case of its core alone.
func (e *httpRun) peersInFlight(config, component, port string, flights []string) (out []httpSide, err error) {
	if e.Peer == "" {
		return nil, nil
	}
	known, err := exec.Command(e.Peer, "list", "inputs").Output() //nolint:noctx,gosec // it lists and ends; the peer is what the user gave
	if err != nil {
		return nil, fmt.Errorf("ask the peer for its components: %w", err)
	}
	if !strings.Contains(string(known), component) {
		return nil, nil
	}
	if !e.Variants {
		flights = flights[:1]
	}
	for i, flight := range flights {
		argv, err := peerArgs(e.Env, config, strings.NewReplacer("${PORT}", port, "${FLIGHT}", flight))
		if err != nil {
			return nil, err
		}
		at := len(argv) - 1
		own := argv[at] + "." + flight // each has a file of its own
		if err := os.Rename(argv[at], own); err != nil {
			return nil, err
		}
		argv[at] = own
		name := peerSide
		if i > 0 {
			name += " with " + flight + " in flight"
		}
		out = append(out, httpSide{name: name, argv: argv})
	}
	return out, nil
}

// moved fills one queue, and runs what moves its messages to the other.
func (e *httpRun) moved(ctx context.Context, input string, argv []string) (out load.Result, err error) {
	n, err := e.filledQueue(input)
	if err != nil {
		return out, err
	}
	server := e.rabbitmq.CPU()
	var took, used time.Duration
	var latency load.Publishing
	begun := time.Now()
	u, err := harness.Talking(ctx, e.folder, argv, func([]byte) {}, func(context.Context) error { return nil }, func(ctx context.Context, p *os.Process) error {
		return e.rabbitmq.With(func(ch *amqp.Channel) error {
			for {
				q, err := ch.QueueDeclarePassive("mapped", true, false, false, false, nil)
				if err != nil {
					return err
				}
				if q.Messages >= n {
					break
				}
				if time.Since(begun) > 5*time.Minute {
					return fmt.Errorf("%d of %d messages have arrived after 5 minutes", q.Messages, n)
				}
				select {
				case <-time.After(10 * time.Millisecond):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			took, used = time.Since(begun), harness.CPUOf(p.Pid)
			server = e.rabbitmq.CPU() - server
			var err error
			latency.Took, err = timedQueue(ctx, ch)
			slices.Sort(latency.Took)
			return err
		})
	})
	if err != nil {
		return out, err
	}
	err = e.rabbitmq.With(func(ch *amqp.Channel) error {
		left, err := ch.QueueDeclarePassive("orders", true, false, false, false, nil)
		if err == nil && left.Messages > 0 {
			err = fmt.Errorf("%d messages were not acknowledged", left.Messages)
		}
		return err
	})
	out.Add("rate", "messages/s", float64(n)/took.Seconds())
	out.Add("CPU", "µs a message", used.Seconds()*1e6/float64(n))
	out.Add("CPU of the server", "µs a message", server.Seconds()*1e6/float64(n))
	out.Add("latency p50", "ms", latency.Quantile(0.5))
	out.Add("latency p99", "ms", latency.Quantile(0.99))
	out.Add("max RSS", "MB", float64(u.MaxRSS)/1e6)
	return out, err
}

// timedQueue publishes messages, one at a time, and gives how long each took until it came to who reads the other queue.
func timedQueue(ctx context.Context, ch *amqp.Channel) (out []time.Duration, err error) {
	if _, err := ch.QueuePurge("mapped", false); err != nil {
		return nil, err
	}
	came, err := ch.Consume("mapped", "", true, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	for range slowMsgs {
		begun := time.Now()
		if err := ch.Publish("", "orders", false, false, amqp.Publishing{Body: []byte(`{"id":1,"country":"GB","amount":12.5,"ts":"2026-11-01T12:00:00Z"}`), DeliveryMode: amqp.Persistent}); err != nil {
			return nil, err
		}
		select {
		case <-came:
			out = append(out, time.Since(begun))
		case <-time.After(10 * time.Second):
			return nil, errors.New("a message has not come within 10 s")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		time.Sleep(slowEvery) //nolint:forbidigo // the pace of what is measured
	}
	return out, nil
}

// filledQueue makes both queues anew, and puts the lines of a file into the first.
func (e *httpRun) filledQueue(input string) (n int, err error) {
	f, err := os.Open(input)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return n, e.rabbitmq.With(func(ch *amqp.Channel) error {
		for _, name := range []string{"orders", "mapped"} {
			if _, err := ch.QueueDelete(name, false, false, false); err != nil {
				return err
			}
			if _, err := ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
				return err
			}
		}
		if err := ch.Confirm(false); err != nil {
			return err
		}
		var last *amqp.DeferredConfirmation
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var err error
			if last, err = ch.PublishWithDeferredConfirm("", "orders", false, false, amqp.Publishing{Body: lines.Bytes(), DeliveryMode: amqp.Persistent}); err != nil {
				return err
			}
			if n++; n%1000 == 0 && !last.Wait() {
				return errors.New("a message was refused")
			}
		}
		if last != nil && !last.Wait() {
			return errors.New("a message was refused")
		}
		return lines.Err()
	})
}
