package crash_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"penstock.dev/penstock/test/service"
)

// relayed are flows that take orders, pass them on by two channels, and keep on the way what has passed. Laid over it is where the two channels are.
const relayed = `
apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: relayed }
spec:
  store: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: orders }
spec: { key: body.who }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: results }
spec: { mode: queue, key: body.who }
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: taken }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: halfway }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Channel
metadata: { name: seen }
spec: {}
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: take }
spec:
  from: { http: { post: "/orders/{who}" }, id: "request.header['idempotency-key']" }
  steps:
    - set: { body.who: "${request.path.who}" }
    - to: { channel: taken }
  to: { channel: orders }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: pass }
spec:
  from: { channel: orders }
  delivery: at-least-once
  steps:
    - to: { channel: halfway }
  to: { channel: results }
---
apiVersion: penstock.dev/v1alpha1
kind: Flow
metadata: { name: see }
spec:
  from: { channel: results }
  delivery: effectively-once
  to: { channel: seen }
`

// onBrokers says for each broker how a Connection reaches it, and what the channels ask of it.
var onBrokers = []struct {
	name  string
	asks  string
	start func(t *testing.T) (connection string)
}{
	{name: "nats", asks: ", ackWait: 1s", start: func(t *testing.T) string { return fmt.Sprintf("nats: { urls: [%q] }", service.NATS(t).URL()) }},
	{name: "rabbitmq", start: func(t *testing.T) string {
		t.Setenv("PENSTOCK_SECRET_GUEST", "guest")
		return fmt.Sprintf("rabbitmq: { url: %q, user: guest, password: { secret: guest } }", service.RabbitMQ(t).URL())
	}},
	{name: "kafka", asks: ", instanceId: one", start: func(t *testing.T) string { return fmt.Sprintf("kafka: { brokers: [%q] }", service.Kafka(t).Brokers()) }},
}

// TestRelayedIsKept kills a program that takes orders over HTTP and passes them on by channels of a broker, again and again. What it has accepted
// comes to the end, once: what an outbox writes twice, its readers know.
func TestRelayedIsKept(t *testing.T) {
	for _, b := range onBrokers {
		t.Run(b.name, func(t *testing.T) {
			kills, seed := number(t, "PENSTOCK_CRASHES", 6), number(t, "PENSTOCK_CRASH_SEED", 1)
			random := rand.New(rand.NewPCG(uint64(seed), 11))
			dir := t.TempDir()
			program(t)
			connection := b.start(t)
			writeFile(t, filepath.Join(dir, "flows.yaml"), relayed)
			writeFile(t, filepath.Join(dir, "overlays", b.name, "broker.yaml"), onBroker(b.name, connection, b.asks))
			args := []string{"-k", filepath.Join("overlays", b.name), "."}
			cmd := exec.Command(program(t), append([]string{"plan"}, args...)...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil || strings.Count(string(out), "channel ") != 2 {
				t.Fatalf("the plan: %v\n%s", err, out)
			}
			var all []*caller
			for i := range callers {
				c := &caller{who: fmt.Sprint("w", i)}
				c.path = "/orders/" + c.who
				all = append(all, c)
			}
			for range kills {
				after, until := int64(50+random.IntN(600)), 20*time.Second
				if random.IntN(4) == 0 {
					until = time.Duration(random.IntN(int(800 * time.Millisecond)))
				}
				serveUntil(t, dir, all, after, until, args...)
			}
			// What stands in outboxes is relayed, and what is on the broker read, until nothing is left.
			for range 10 {
				cmd = exec.Command(program(t), append([]string{"run", "--once", "--quiet"}, args...)...)
				cmd.Dir = dir
				start(t, cmd).wait()
				done := false
				inspect(t, filepath.Join(dir, ".penstock", "store.db"), func(r reader) { done = len(r.messages("seen")) == len(r.messages("taken")) })
				if done {
					break
				}
			}
			inspect(t, filepath.Join(dir, ".penstock", "store.db"), func(r reader) { relayedOnce(r, all) })
		})
	}
}

// onBroker is the overlay of a broker: where it is, and one line for each channel.
func onBroker(name, connection, asks string) string {
	const header = "apiVersion: penstock.dev/v1alpha1\n"
	text := header + "kind: Connection\nmetadata: { name: broker }\nspec: { " + connection + " }\n"
	for _, channel := range []string{"orders", "results"} {
		text += "---\n" + header + "kind: Channel\nmetadata: { name: " + channel + " }\nspec: { broker: { " + name + ": { connection: broker" + asks + " } } }\n"
	}
	return text
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// relayedOnce holds all channels of the store to what the callers were told: everything is there once, and what has come by a topic in the order of
// each caller.
func relayedOnce(r reader, all []*caller) {
	t := r.t
	t.Helper()
	for _, channel := range []string{"taken", "halfway", "seen"} {
		next, seen, total := map[string]int64{}, map[[2]any]bool{}, 0
		for _, body := range r.bodies(channel) {
			var m struct {
				Who string
				Nr  int64
			}
			if err := json.Unmarshal(body, &m); err != nil {
				t.Fatalf("channel %s holds %s", channel, body)
			}
			if channel == "seen" { // what competing readers get has no order where some of it comes again
				if seen[[2]any{m.Who, m.Nr}] {
					t.Errorf("%s: order %d of %s is there again", channel, m.Nr, m.Who)
				}
				seen[[2]any{m.Who, m.Nr}] = true
				next[m.Who]++
				total++
				continue
			}
			switch {
			case m.Nr < next[m.Who]:
				t.Errorf("%s: order %d of %s is there again, or late", channel, m.Nr, m.Who)
			case m.Nr > next[m.Who]:
				t.Errorf("%s: order %d of %s comes before order %d", channel, m.Nr, m.Who, next[m.Who])
				fallthrough
			default:
				next[m.Who] = m.Nr + 1
			}
			total++
		}
		for _, c := range all {
			if next[c.who] < c.answered.Load() || next[c.who] > c.next+1 {
				t.Errorf("%s: %d orders of %s were accepted, and %d are there", channel, c.answered.Load(), c.who, next[c.who])
			}
		}
		t.Logf("%s: %d orders", channel, total)
	}
}
