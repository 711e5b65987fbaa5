package crash_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"penstock.dev/penstock/test/service"
)

// mqttFlow subscribes to a topic, makes two messages of each that comes, and writes them somewhere.
const mqttFlow = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: copies }
spec: { %s }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: broker }
spec: { mqtt: { url: "mqtt://%s", clientId: %q } }
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
  from: { mqtt: { connection: broker, topics: [%q] }%s }
  delivery: %s
  steps:
    - map: { halves: [ { number: "${body.number}", half: 0 }, { number: "${body.number}", half: 1 } ] }
    - split: { each: body.halves, as: part }
    - map: "${part}"
  to: %s
`

// TestMQTTCopiesAreKilled kills a flow that subscribes at a broker again and again, while another program publishes. That one's ledger says in the end what must be
// there: everything that was acknowledged, twice halved. Where the compiler has granted effectively-once it is there once; else it is counted how often.
//
// An ordinary run kills 4 times; PENSTOCK_CRASHES=50 so many times.
func TestMQTTCopiesAreKilled(t *testing.T) {
	for name, exactly := range map[string]bool{"to the broker": false, "to the store": true} {
		t.Run(name, func(t *testing.T) {
			kills, seed := number(t, "PENSTOCK_CRASHES", 4), number(t, "PENSTOCK_CRASH_SEED", 1)
			server := service.Mosquitto(t)
			id := fmt.Sprintf("crash-%d", rand.Int64())
			integration, identity, delivery, to := "", "", "at-least-once", `{ mqtt: { connection: broker, topic: "`+id+`/out" } }`
			if exactly {
				integration, identity, delivery, to = "store: { path: store.db }", `, id: 'meta["message-id"]'`, "effectively-once", "{ channel: halves }"
			}
			dir := t.TempDir()
			flow := fmt.Sprintf(mqttFlow, integration, server.Address(), id, id+"/in", identity, delivery, to)
			if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(flow), 0o600); err != nil {
				t.Fatal(err)
			}
			command := func(more ...string) *exec.Cmd {
				cmd := exec.Command(program(t), append([]string{"run"}, append(more, ".")...)...)
				cmd.Dir = dir
				return cmd
			}
			start(t, command("--once")).wait() // its session begins
			l := newMQTTLedger(t, server.Address(), id)
			random := rand.New(rand.NewPCG(uint64(seed), 5))
			for range kills {
				p := start(t, command())
				published := make(chan error, 1)
				go func() { published <- l.publish(1000) }()
				if !p.lives(300*time.Millisecond + time.Duration(random.Int64N(int64(700*time.Millisecond)))) {
					t.Fatalf("the flow ended:\n%s", p.said.String())
				}
				p.kill()
				if err := <-published; err != nil {
					t.Fatal(err)
				}
			}
			start(t, command("--once")).wait()
			if !exactly {
				checkHalves(t, kills, l.sent, l.received(), false)
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

// TestTheWillOfTheKilled: the broker publishes it when the program is killed, and does not when it ends by itself.
func TestTheWillOfTheKilled(t *testing.T) {
	server := service.Mosquitto(t)
	id := fmt.Sprintf("will-%d", rand.Int64())
	dir := t.TempDir()
	flow := fmt.Sprintf(mqttFlow, "", server.Address(), id, id+"/in", "", "at-least-once", `{ mqtt: { connection: broker, topic: "`+id+`/out" } }`)
	flow = strings.Replace(flow, "clientId:", `will: { topic: "`+id+`/out", payload: gone, delay: 0s }, clientId:`, 1)
	if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(flow), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newMQTTLedger(t, server.Address(), id)
	for _, killed := range []bool{false, true} {
		cmd := exec.Command(program(t), "run", ".")
		cmd.Dir = dir
		p := start(t, cmd)
		for n := 0; n == 0 || !l.heard(fmt.Sprintf(`"number":%d,`, l.sent-1)); n++ { // until it works
			if n > 200 || !p.lives(100*time.Millisecond) {
				t.Fatalf("the flow does not work:\n%s", p.said.String())
			}
			if n%10 == 0 { // it may not have subscribed before
				if err := l.publish(1); err != nil {
					t.Fatal(err)
				}
			}
		}
		if killed {
			p.kill()
			l.await("gone")
			continue
		}
		p.stop()
		p.wait()
		if l.received(); l.heard("gone") {
			t.Error("a flow that has ended by itself has left its will")
		}
	}
}

// heard says that something came that holds a text.
func (l *mqttLedger) heard(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.got, func(s string) bool { return strings.Contains(s, text) })
}

// await waits for a message.
func (l *mqttLedger) await(text string) {
	l.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(l.t.Context(), limit)
	defer cancel()
	for !l.heard(text) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.t.Fatalf("%q does not come", text)
		}
	}
}

// mqttLedger publishes to a topic, knows what was acknowledged, and hears what comes out.
type mqttLedger struct {
	t      *testing.T
	client *paho.Client
	id     string
	sent   int

	mu   sync.Mutex
	got  []string
	last bool
}

func newMQTTLedger(t *testing.T, address, id string) *mqttLedger {
	t.Helper()
	l := &mqttLedger{t: t, id: id}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	l.client = paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn), OnPublishReceived: []func(paho.PublishReceived) (bool, error){l.hear}})
	if _, err := l.client.Connect(t.Context(), &paho.Connect{ClientID: id + "-ledger", KeepAlive: 30, CleanStart: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.client.Disconnect(&paho.Disconnect{}) })
	if _, err := l.client.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: id + "/out", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *mqttLedger) hear(p paho.PublishReceived) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := string(p.Packet.Payload); text == "last" {
		l.last = true
	} else {
		l.got = append(l.got, text)
	}
	return true, nil
}

// received is all that came out: up to a message of our own, behind them.
func (l *mqttLedger) received() []string {
	l.t.Helper()
	if _, err := l.client.Publish(l.t.Context(), &paho.Publish{Topic: l.id + "/out", QoS: 1, Payload: []byte("last")}); err != nil {
		l.t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(l.t.Context(), limit)
	defer cancel()
	for {
		l.mu.Lock()
		got, over := l.got, l.last
		l.mu.Unlock()
		if over {
			return got
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.t.Fatal("the last message does not come")
		}
	}
}

// publish publishes messages, each of which is acknowledged.
func (l *mqttLedger) publish(n int) error {
	for range n {
		id := fmt.Sprint(l.sent)
		_, err := l.client.Publish(l.t.Context(), &paho.Publish{Topic: l.id + "/in", QoS: 1, Payload: []byte(`{"number":` + id + `}`),
			Properties: &paho.PublishProperties{User: paho.UserProperties{{Key: "message-id", Value: id}}}})
		if err != nil {
			return err
		}
		l.sent++
	}
	return nil
}
