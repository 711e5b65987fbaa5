package crash_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock/test/service"
)

// arrivalFlow reads from a broker, makes two messages of each that it reads, and writes them to a channel of the store.
const arrivalFlow = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: copies }
spec: { store: { path: store.db } }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: broker }
spec: %s
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: halves }
spec: { mode: topic }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: copy }
spec:
  from: %s
  order: total
  delivery: effectively-once
  steps:
    - map: { halves: [ { number: "${body.number}", half: 0 }, { number: "${body.number}", half: 1 } ] }
    - split: { each: body.halves, as: part }
    - map: "${part}"
  to: { channel: halves }
`

// publishing is a broker that the flow reads from.
type publishing interface {
	publish(from, n int) error // publishes {"number": from…}, and waits until the broker has acknowledged them
	kill()                     // ends it as a power cut of its process would, and starts it again
}

// TestArrivalsAreKilled kills a flow from a broker into the store again and again, and now and then the broker, while another program publishes. What the broker has
// acknowledged is in the store in the end: all of it, once, in order.
//
// An ordinary run kills 5 times; PENSTOCK_CRASHES=50 so many times.
func TestArrivalsAreKilled(t *testing.T) {
	for name, broker := range map[string]func(t *testing.T) (connection, from string, p publishing){"kafka": kafkaArrivals, "nats": natsArrivals} {
		t.Run(name, func(t *testing.T) {
			kills, seed := number(t, "PENSTOCK_CRASHES", 5), number(t, "PENSTOCK_CRASH_SEED", 1)
			connection, from, broker := broker(t)
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), fmt.Appendf(nil, arrivalFlow, connection, from), 0o600); err != nil {
				t.Fatal(err)
			}
			command := func(more ...string) *exec.Cmd {
				cmd := exec.Command(program(t), append([]string{"run"}, append(more, ".")...)...)
				cmd.Dir = dir
				return cmd
			}
			random := rand.New(rand.NewPCG(uint64(seed), 6))
			sent := 0
			for i := range kills {
				p := start(t, command())
				const n = 1000
				published := make(chan error, 1)
				go func() { published <- broker.publish(sent, n) }()
				if !p.lives(200*time.Millisecond + time.Duration(random.Int64N(int64(800*time.Millisecond)))) {
					t.Fatalf("the flow ended:\n%s", p.said.String())
				}
				if i%5 == 3 { // in the middle of it
					broker.kill()
					sleep(t.Context(), time.Duration(random.Int64N(int64(300*time.Millisecond))))
				}
				p.killOr("can be reached")
				if err := <-published; err != nil {
					t.Fatal(err)
				}
				sent += n
			}
			start(t, command("--once")).wait()
			inspect(t, filepath.Join(dir, "store.db"), func(v reader) {
				var all []string
				for _, b := range v.bodies("halves") {
					all = append(all, string(b))
				}
				checkHalves(t, kills, sent, all, true)
				for i, text := range all {
					if want := fmt.Sprintf(`{"number":%d,"half":%d}`, i/2, i%2); text != want {
						t.Fatalf("the %dth is %s, want %s", i, text, want)
					}
				}
			})
		})
	}
}

// kafkaPublisher writes a topic of one partition.
type kafkaPublisher struct {
	t      *testing.T
	server *service.KafkaServer
	client *kgo.Client
	topic  string
}

func kafkaArrivals(t *testing.T) (connection, from string, p publishing) {
	t.Helper()
	server := service.NewKafka(t)
	topic := service.KafkaName(t)
	server.Topic(t, topic, 1)
	return fmt.Sprintf("{ kafka: { brokers: [%q] } }", server.Brokers()), fmt.Sprintf("{ kafka: { connection: broker, topic: %q, instanceId: a, session: 6s } }", topic),
		&kafkaPublisher{t, server, server.Client(t), topic}
}

func (p *kafkaPublisher) publish(from, n int) error {
	var all []*kgo.Record
	for i := range n {
		all = append(all, &kgo.Record{Topic: p.topic, Value: fmt.Appendf(nil, `{"number":%d}`, from+i)})
	}
	return p.client.ProduceSync(p.t.Context(), all...).FirstErr()
}

func (p *kafkaPublisher) kill() {
	p.server.Kill(p.t)
	p.server.Start(p.t)
}

// natsPublisher writes a stream.
type natsPublisher struct{ *ledger }

func natsArrivals(t *testing.T) (connection, from string, p publishing) {
	t.Helper()
	server := service.NewNATS(t, service.NATSOptions{Sync: true})
	return fmt.Sprintf("{ nats: { urls: [%q] } }", server.URL()), "{ nats: { connection: broker, stream: IN, ackWait: 500ms } }", natsPublisher{newLedger(t, server)}
}

func (p natsPublisher) publish(from, n int) error {
	p.sent = from
	p.ledger.publish(n)
	return nil
}

func (p natsPublisher) kill() {
	p.server.Kill(p.t)
	p.server.Start(p.t)
}
