package rabbitmq

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// fixture is a server with a Connection to it.
type fixture struct {
	server *service.RabbitMQServer
	config *ConnectionConfig
	env    penstock.Env
	ref    penstock.ConnectionRef
	plain  *amqp.Connection // what the test itself does
}

var names atomic.Int64

// unique makes a name that no other test has.
func unique(t testing.TB) string {
	return fmt.Sprintf("%s-%d", strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()), names.Add(1))
}

func text(s string) penstock.Template { return penstock.Template{Source: s} }

// on makes a fixture of a server at an address: its own, or that of a proxy before it.
func on(t testing.TB, server *service.RabbitMQServer, address string) *fixture {
	t.Helper()
	c := &ConnectionConfig{URL: text("amqp://" + address), Heartbeat: penstock.Duration(10 * time.Second), ConnectTimeout: penstock.Duration(10 * time.Second), Patience: penstock.Duration(time.Minute)}
	f := &fixture{server: server, config: c, ref: penstock.ConnectionRef{Name: "test", Config: c}}
	f.env, _ = drive.Env(t, "flow/step")
	return f
}

// onServer makes a fixture on the server that the package's tests share.
func onServer(t testing.TB) *fixture {
	t.Helper()
	s := service.RabbitMQ(t)
	return on(t, s, s.Address())
}

// channel opens a channel of the test's own.
func (f *fixture) channel(t testing.TB) *amqp.Channel {
	t.Helper()
	if f.plain == nil || f.plain.IsClosed() {
		c, err := amqp.Dial("amqp://guest:guest@" + f.server.Address())
		if err != nil {
			t.Fatal(err)
		}
		if f.plain == nil {
			t.Cleanup(func() { _ = f.plain.Close() })
		}
		f.plain = c
	}
	ch, err := f.plain.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// declare makes a queue of the test's own.
func (f *fixture) declare(t testing.TB, kind string, args amqp.Table) string {
	t.Helper()
	all := amqp.Table{"x-queue-type": kind}
	for k, v := range args {
		all[k] = v
	}
	name := unique(t)
	ch := f.channel(t)
	if _, err := ch.QueueDeclare(name, true, false, false, false, all); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f.server.Running() && !f.plain.IsClosed() {
			_, _ = ch.QueueDelete(name, false, false, false)
		}
		_ = ch.Close()
	})
	return name
}

// put publishes payloads to a queue, and waits until the server has them.
func (f *fixture) put(t testing.TB, queue string, payloads ...string) {
	t.Helper()
	ch := f.channel(t)
	defer func() { _ = ch.Close() }()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	var all []*amqp.DeferredConfirmation
	for _, p := range payloads {
		c, err := ch.PublishWithDeferredConfirm("", queue, true, false, amqp.Publishing{Body: []byte(p), DeliveryMode: amqp.Persistent})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		if !c.Wait() {
			t.Fatal("not confirmed")
		}
	}
}

// drain takes everything that is in a queue, as it is.
func (f *fixture) drain(t testing.TB, queue string) (out []amqp.Delivery) {
	t.Helper()
	ch := f.channel(t)
	defer func() { _ = ch.Close() }()
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if q.Messages == 0 {
		return nil
	}
	from, err := ch.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for d := range from {
		if out = append(out, d); len(out) >= q.Messages {
			break
		}
	}
	return out
}

// payloads are those of deliveries.
func payloads(ds []amqp.Delivery) (out []string) {
	for _, d := range ds {
		out = append(out, string(d.Body))
	}
	return out
}

// source makes a source of a queue, not opened.
func (f *fixture) source(t testing.TB, queue string, c SourceConfig) penstock.Source {
	t.Helper()
	c.Connection, c.Queue, c.Format = f.ref, text(queue), drive.JSON(t)
	if c.Prefetch == 0 {
		c.Prefetch = 5000
	}
	s, err := newSource(c, f.env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sink makes a sink, not opened.
func (f *fixture) sink(t testing.TB, c SinkConfig) penstock.Sink {
	t.Helper()
	c.Connection, c.Format = f.ref, drive.JSON(t)
	s, err := newSink(c, f.env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// address is where a proxy listens.
func address(p *service.Proxy) string { return fmt.Sprintf("127.0.0.1:%d", p.Port()) }

// settled waits until the server would find its quorum queues again after it was killed. RabbitMQ 3.10 writes down which they are three minutes after they
// were made (dets, auto_save), and forgets one with all that was confirmed if it is killed before
// (github.com/rabbitmq/rabbitmq-server/issues/10070).
func (f *fixture) settled(t testing.TB) {
	t.Helper()
	f.server.Control(t, "eval", "[dets:sync(T) || T <- dets:all()].")
}
