package crash_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock/test/service"
)

// natsFlow reads a stream, makes two messages of each that it reads, and writes them to another stream.
const natsFlow = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: copies }
spec: { %s }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: bus }
spec: { nats: { urls: [%q] } }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: copy }
spec:
  from: { nats: { connection: bus, stream: IN, ackWait: 500ms%s } }
  order: total
  %s
  steps:
    - map: { halves: [ { number: "${body.number}", half: 0 }, { number: "${body.number}", half: 1 } ] }
    - split: { each: body.halves, as: part }
    - map: "${part}"
  to: { nats: { connection: bus, stream: OUT, subject: out.copy } }
`

// TestNATSCopiesAreKilled kills a flow from JetStream to JetStream again and again, and now and then the server, while another program publishes. That one's
// ledger says in the end what must be there: everything that was acknowledged, twice halved, once, in order.
//
// An ordinary run kills 5 times; PENSTOCK_CRASHES=50 so many times.
func TestNATSCopiesAreKilled(t *testing.T) {
	for what, c := range map[string]struct{ integration, source, delivery string }{
		"with a store":  {"store: { path: store.db }", "", "delivery: effectively-once"},
		"without state": {"", "", ""},
		"pushed":        {"store: { path: store.db }", ", push: {}", "delivery: effectively-once"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			kills, seed := number(t, "PENSTOCK_CRASHES", 5), number(t, "PENSTOCK_CRASH_SEED", 1)
			server := service.NewNATS(t, service.NATSOptions{Sync: true})
			l := newLedger(t, server)
			dir := t.TempDir()
			text := fmt.Sprintf(natsFlow, c.integration, server.URL(), c.source, c.delivery)
			if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			command := func(more ...string) *exec.Cmd {
				cmd := exec.Command(program(t), append([]string{"run"}, append(more, ".")...)...)
				cmd.Dir = dir
				return cmd
			}
			random := rand.New(rand.NewPCG(uint64(seed), 3))
			for i := range kills {
				p := start(t, command())
				published := make(chan bool)
				go func() {
					defer close(published)
					l.publish(500)
				}()
				if !p.lives(time.Duration(random.Int64N(int64(time.Second)))) {
					t.Fatalf("the flow ended:\n%s", p.said.String())
				}
				if i%5 == 4 { // in the middle of it
					server.Kill(t)
					server.Start(t)
					sleep(t.Context(), time.Duration(random.Int64N(int64(300*time.Millisecond))))
				}
				p.killOr("can be reached")
				if <-published; t.Failed() {
					return
				}
			}
			l.publish(50)
			start(t, command("--once")).wait()
			l.check(kills)
		})
	}
}

// ledger publishes to IN and knows what was acknowledged.
type ledger struct {
	t      *testing.T
	js     jetstream.JetStream
	sent   int
	server *service.NATSServer
}

func newLedger(t *testing.T, server *service.NATSServer) *ledger {
	t.Helper()
	nc, err := nats.Connect(server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	l := &ledger{t: t, server: server}
	if l.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(20*time.Second)); err != nil {
		t.Fatal(err)
	}
	for name, subject := range map[string]string{"IN": "in.>", "OUT": "out.>"} {
		if _, err := l.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{subject}}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// publish publishes messages and waits for their acknowledgement; what is not acknowledged is published again, and is there once.
func (l *ledger) publish(n int) {
	l.t.Helper()
	for range n {
		body := fmt.Sprintf(`{"number":%d}`, l.sent)
		for tries := 0; ; tries++ {
			_, err := l.js.Publish(l.t.Context(), "in.order", []byte(body), jetstream.WithMsgID(body))
			if err == nil {
				break
			}
			if tries > 100 {
				l.t.Error(err)
				return
			}
		}
		l.sent++
	}
}

// check holds what is there to the ledger.
func (l *ledger) check(kills int) {
	l.t.Helper()
	s, err := l.js.Stream(l.t.Context(), "OUT")
	if err != nil {
		l.t.Fatal(err)
	}
	state := s.CachedInfo().State
	var have []string
	c, err := s.OrderedConsumer(l.t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		l.t.Fatal(err)
	}
	it, err := c.Messages()
	if err != nil {
		l.t.Fatal(err)
	}
	defer it.Stop()
	for uint64(len(have)) < state.Msgs {
		m, err := it.Next(jetstream.NextMaxWait(20 * time.Second))
		if err != nil {
			l.t.Fatal(err)
		}
		have = append(have, string(m.Data()))
	}
	seen, twice, lost := map[string]bool{}, 0, 0
	for _, b := range have {
		if seen[b] {
			twice++
		}
		seen[b] = true
	}
	var want []string
	for n := range l.sent {
		for half := range 2 {
			b := fmt.Sprintf(`{"number":%d,"half":%d}`, n, half)
			want = append(want, b)
			if !seen[b] {
				lost++
			}
		}
	}
	l.t.Logf("%d kills, %d messages acknowledged, %d lost, %d twice", kills, l.sent, lost, twice)
	if lost > 0 || twice > 0 {
		l.t.Errorf("%d lost, %d twice", lost, twice)
	}
	for i := range min(len(have), len(want)) {
		if have[i] != want[i] {
			l.t.Fatalf("the %dth is %s, want %s: %s", i, have[i], want[i], strings.Join(have[max(0, i-3):min(len(have), i+5)], " "))
		}
	}
}
