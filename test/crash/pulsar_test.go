package crash_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/prometheus/client_golang/prometheus"

	"penstock.dev/penstock/test/service"
)

// pulsarFlow reads a topic, makes two messages of each that it reads, and writes them somewhere.
const pulsarFlow = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: copies }
spec: { %s }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: bus }
spec: { pulsar: { url: %q } }
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
  from: { pulsar: { connection: bus, topic: %s-in, type: %s } }
  delivery: %s
  steps:
    - map: { halves: [ { number: "${body.number}", half: 0 }, { number: "${body.number}", half: 1 } ] }
    - split: { each: body.halves, as: part }
    - map: "${part}"
  to: %s
`

// TestPulsarCopiesAreKilled kills a flow that reads from Pulsar again and again, while another program publishes. That one's ledger says in the end what must be
// there: everything that was confirmed, twice halved. Where the compiler has granted effectively-once it is there once; else it is counted how often.
//
// An ordinary run kills 4 times; PENSTOCK_CRASHES=50 so many times.
func TestPulsarCopiesAreKilled(t *testing.T) {
	const keeps = "store: { path: store.db }"
	for name, c := range map[string]struct {
		integration, kind, delivery, to string
		exactly                         bool
	}{
		"exclusive to store": {keeps, "exclusive", "effectively-once", "{ channel: halves }", true},
		"failover to topic":  {"", "failover", "at-least-once", "{ pulsar: { connection: bus, topic: %s-out } }", false},
		"shared to topic":    {"", "shared", "at-least-once", "{ pulsar: { connection: bus, topic: %s-out, batching: { by: none } } }", false},
	} {
		t.Run(name, func(t *testing.T) {
			kills, seed := number(t, "PENSTOCK_CRASHES", 4), number(t, "PENSTOCK_CRASH_SEED", 1)
			l := newPulsarLedger(t)
			dir := t.TempDir()
			to := c.to
			if !c.exactly {
				to = fmt.Sprintf(to, l.name)
			}
			flow := fmt.Sprintf(pulsarFlow, c.integration, l.server.URL(), l.name, c.kind, c.delivery, to)
			if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(flow), 0o600); err != nil {
				t.Fatal(err)
			}
			command := func(more ...string) *exec.Cmd {
				cmd := exec.Command(program(t), append([]string{"run"}, append(more, ".")...)...)
				cmd.Dir = dir
				return cmd
			}
			random := rand.New(rand.NewPCG(uint64(seed), 5))
			for range kills {
				p := start(t, command())
				published := make(chan error, 1)
				go func() { published <- l.publish(2000) }()
				if !p.lives(300*time.Millisecond + time.Duration(random.Int64N(int64(700*time.Millisecond)))) {
					t.Fatalf("the flow ended:\n%s", p.said.String())
				}
				p.kill()
				if err := <-published; err != nil {
					t.Fatal(err)
				}
			}
			start(t, command("--once")).wait()
			if !c.exactly {
				checkHalves(t, kills, l.sent, l.written(), false)
				return
			}
			inspect(t, filepath.Join(dir, "store.db"), func(v reader) {
				var all []string
				for _, b := range v.bodies("halves") {
					all = append(all, string(b))
				}
				checkHalves(t, kills, l.sent, all, true)
			})
		})
	}
}

// pulsarLedger publishes to a topic and knows what was confirmed.
type pulsarLedger struct {
	t      *testing.T
	server *service.PulsarServer
	name   string
	client pulsar.Client
	sent   int
}

func newPulsarLedger(t *testing.T) *pulsarLedger {
	t.Helper()
	l := &pulsarLedger{t: t, server: service.Pulsar(t), name: fmt.Sprintf("crash-%d", rand.Int64())}
	var err error
	if l.client, err = pulsar.NewClient(pulsar.ClientOptions{URL: l.server.URL(), Logger: log.NewLoggerWithSlog(slog.New(slog.DiscardHandler)), MetricsRegisterer: prometheus.NewRegistry()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.client.Close)
	return l
}

// publish publishes messages and waits until they are confirmed.
func (l *pulsarLedger) publish(n int) error {
	p, err := l.client.CreateProducer(pulsar.ProducerOptions{Topic: l.name + "-in", BatchingMaxMessages: 50})
	if err != nil {
		return err
	}
	defer p.Close()
	var mu sync.Mutex
	var failed error
	for i := range n {
		p.SendAsync(l.t.Context(), &pulsar.ProducerMessage{Payload: fmt.Appendf(nil, `{"number":%d}`, l.sent+i)}, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
		})
	}
	if err := p.FlushWithCtx(l.t.Context()); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	l.sent += n
	return failed
}

// written reads all that was written.
func (l *pulsarLedger) written() (out []string) {
	l.t.Helper()
	r, err := l.client.CreateReader(pulsar.ReaderOptions{Topic: l.name + "-out", StartMessageID: pulsar.EarliestMessageID(), StartMessageIDInclusive: true})
	if err != nil {
		l.t.Fatal(err)
	}
	defer r.Close()
	for r.HasNext() {
		m, err := r.Next(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		out = append(out, string(m.Payload()))
	}
	return out
}
