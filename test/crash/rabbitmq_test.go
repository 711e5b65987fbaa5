package crash_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock/test/service"
)

// rabbitFlow reads a queue, makes two messages of each that it reads, and writes them somewhere.
const rabbitFlow = `apiVersion: penstock.dev/v1alpha1
kind: Integration
metadata: { name: copies }
spec: { %s }
---
apiVersion: penstock.dev/v1alpha1
kind: Connection
metadata: { name: mq }
spec: { rabbitmq: { url: %q } }
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
  delivery: %s
  steps:
    - map: { halves: [ { number: "${body.number}", half: 0 }, { number: "${body.number}", half: 1 } ] }
    - split: { each: body.halves, as: part }
    - map: "${part}"
  to: %s
`

// TestRabbitMQCopiesAreKilled kills a flow that reads from RabbitMQ again and again, while another program publishes. That one's ledger says in the end what must be
// there: everything that was confirmed, twice halved. Where the compiler has granted effectively-once it is there once and in order; else it is counted how often.
//
// An ordinary run kills 4 times; PENSTOCK_CRASHES=50 so many times.
func TestRabbitMQCopiesAreKilled(t *testing.T) {
	const keeps = "store: { path: store.db }"
	for name, c := range map[string]struct {
		integration, kind, from, delivery, to string
		exactly                               bool
	}{
		"classic to classic": {"", "classic", "{ rabbitmq: { connection: mq, queue: %[1]s-in } }", "at-least-once", "{ rabbitmq: { connection: mq, queue: %[1]s-out } }", false},
		"quorum to quorum":   {"", "quorum", "{ rabbitmq: { connection: mq, queue: %[1]s-in } }", "at-least-once", "{ rabbitmq: { connection: mq, queue: %[1]s-out } }", false},
		"queue to store":     {keeps, "classic", `{ rabbitmq: { connection: mq, queue: %[1]s-in }, id: 'meta["message-id"]' }`, "effectively-once", "{ channel: halves }", true},
		"stream to store":    {keeps, "stream", "{ rabbitmq: { connection: mq, queue: %[1]s-in, stream: {} } }", "effectively-once", "{ channel: halves }", true},
	} {
		t.Run(name, func(t *testing.T) {
			kills, seed := number(t, "PENSTOCK_CRASHES", 4), number(t, "PENSTOCK_CRASH_SEED", 1)
			l := newRabbitLedger(t, c.kind)
			dir := t.TempDir()
			flow := fmt.Sprintf(rabbitFlow, c.integration, l.server.URL(), fmt.Sprintf(c.from, l.name), c.delivery, fmt.Sprintf(c.to, l.name))
			if c.exactly {
				flow = fmt.Sprintf(rabbitFlow, c.integration, l.server.URL(), fmt.Sprintf(c.from, l.name), c.delivery, c.to)
			}
			if err := os.WriteFile(filepath.Join(dir, "flow.yaml"), []byte(flow), 0o600); err != nil {
				t.Fatal(err)
			}
			command := func(more ...string) *exec.Cmd {
				cmd := exec.Command(program(t), append([]string{"run"}, append(more, ".")...)...)
				cmd.Dir = dir
				return cmd
			}
			random := rand.New(rand.NewPCG(uint64(seed), 4))
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
				l.check(kills, l.drain("-out"), false)
				return
			}
			inspect(t, filepath.Join(dir, "store.db"), func(v reader) {
				var all []string
				for _, b := range v.bodies("halves") {
					all = append(all, string(b))
				}
				l.check(kills, all, true)
			})
		})
	}
}

// rabbitLedger publishes to a queue and knows what was confirmed.
type rabbitLedger struct {
	t      *testing.T
	server *service.RabbitMQServer
	name   string
	conn   *amqp.Connection
	sent   int
}

func newRabbitLedger(t *testing.T, kind string) *rabbitLedger {
	t.Helper()
	l := &rabbitLedger{t: t, server: service.RabbitMQ(t), name: fmt.Sprintf("crash-%d", rand.Int64())}
	var err error
	if l.conn, err = amqp.Dial("amqp://guest:guest@" + l.server.Address()); err != nil {
		t.Fatal(err)
	}
	ch, err := l.conn.Channel()
	if err == nil {
		_, err = ch.QueueDeclare(l.name+"-in", true, false, false, false, amqp.Table{"x-queue-type": kind})
	}
	if err == nil && kind != "stream" {
		_, err = ch.QueueDeclare(l.name+"-out", true, false, false, false, amqp.Table{"x-queue-type": kind})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, end := range []string{"-in", "-out"} {
			_, _ = ch.QueueDelete(l.name+end, false, false, false)
		}
		if err := l.conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// publish publishes messages and waits until they are confirmed.
func (l *rabbitLedger) publish(n int) error {
	ch, err := l.conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	var all []*amqp.DeferredConfirmation
	for i := range n {
		id := fmt.Sprint(l.sent + i)
		c, err := ch.PublishWithDeferredConfirm("", l.name+"-in", true, false, amqp.Publishing{Body: []byte(`{"number":` + id + `}`), MessageId: id, DeliveryMode: amqp.Persistent})
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	for _, c := range all {
		if !c.Wait() {
			return errors.New("a message was not confirmed")
		}
	}
	l.sent += n
	return ch.Close()
}

// drain takes all that is in a queue.
func (l *rabbitLedger) drain(end string) (out []string) {
	l.t.Helper()
	ch, err := l.conn.Channel()
	if err != nil {
		l.t.Fatal(err)
	}
	q, err := ch.QueueDeclarePassive(l.name+end, true, false, false, false, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	from, err := ch.Consume(l.name+end, "", true, false, false, false, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	for d := range from {
		if out = append(out, string(d.Body)); len(out) >= q.Messages {
			break
		}
	}
	return out
}

// check holds what is there to the ledger.
func (l *rabbitLedger) check(kills int, all []string, exactly bool) {
	l.t.Helper()
	checkHalves(l.t, kills, l.sent, all, exactly)
}

// checkHalves holds what is there to what was acknowledged: messages 0 to sent, twice halved.
func checkHalves(t *testing.T, kills, sent int, all []string, exactly bool) {
	t.Helper()
	times := map[string]int{}
	for _, text := range all {
		times[text]++
	}
	lost := 0
	for i := range 2 * sent {
		if times[fmt.Sprintf(`{"number":%d,"half":%d}`, i/2, i%2)] == 0 {
			lost++
		}
	}
	t.Logf("%d kills, %d messages, %d of their halves more than once", kills, sent, len(all)-len(times))
	if lost > 0 || len(times) != 2*sent {
		t.Errorf("%d of %d messages that were acknowledged are lost; %d are there that nobody has sent", lost, 2*sent, len(times)-2*sent+lost)
	}
	if exactly && len(all) != len(times) {
		t.Errorf("%d messages are there more than once", len(all)-len(times))
	}
}
