package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/json"
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

func jsonFormat(t testing.TB) penstock.Format {
	t.Helper()
	c, err := json.New(json.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return penstock.Format{Name: "json", Config: &json.Config{}, Codec: c}
}

// on makes a fixture of a server at an address: its own, or that of a proxy before it.
func on(t testing.TB, server *service.RabbitMQServer, address string) *fixture {
	t.Helper()
	c := &ConnectionConfig{URL: text("amqp://" + address), Heartbeat: penstock.Duration(10 * time.Second), ConnectTimeout: penstock.Duration(10 * time.Second), Patience: penstock.Duration(time.Minute)}
	f := &fixture{server: server, config: c, ref: penstock.ConnectionRef{Name: "test", Config: c}}
	f.env = environment(t)
	return f
}

// environment is an Env whose shared values are closed at the end of the test.
func environment(t testing.TB) penstock.Env {
	clock := penstock.SystemClock{}
	var mu sync.Mutex
	shared := map[string]any{}
	t.Cleanup(func() {
		for _, v := range shared {
			if err := v.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return penstock.Env{Name: "flow/step", Logger: slog.New(slog.DiscardHandler), Clock: clock, Runtime: &penstock.Runtime{Clock: clock}, Concurrency: 1, Ordered: true,
		Shared: func(key string, build func() (any, error)) (any, error) {
			mu.Lock()
			defer mu.Unlock()
			if v, ok := shared[key]; ok {
				return v, nil
			}
			v, err := build()
			if err == nil {
				shared[key] = v
			}
			return v, err
		}}
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
	c.Connection, c.Queue, c.Format = f.ref, text(queue), jsonFormat(t)
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
	c.Connection, c.Format = f.ref, jsonFormat(t)
	s, err := newSink(c, f.env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens, and closes at the end.
func open[T interface {
	Open(context.Context) error
	Close(context.Context) error
}](t testing.TB, v T) T {
	t.Helper()
	if err := v.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return v
}

// code checks the code of an error, and words in it.
func code(t testing.TB, err error, want penstock.Code, words ...string) {
	t.Helper()
	if penstock.CodeOf(err) != want {
		t.Errorf("the error is %q, want %q: %v", penstock.CodeOf(err), want, err)
		return
	}
	for _, w := range words {
		if err != nil && !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

// batchError gives the errors of a *BatchError by index.
func batchError(t testing.TB, err error) map[int]error {
	t.Helper()
	var each *penstock.BatchError
	if !errors.As(err, &each) {
		t.Fatalf("%v is no *BatchError", err)
	}
	return each.Errs
}

// address is where a proxy listens.
func address(p *service.Proxy) string { return fmt.Sprintf("127.0.0.1:%d", p.Port()) }

// program is a Program that a test writes.
type program func(f *penstock.Frame) penstock.Value

// Eval implements penstock.Program.
func (p program) Eval(f *penstock.Frame) penstock.Value { return p(f) }

// settled waits until the server would find its quorum queues again after it was killed. RabbitMQ 3.10 writes down which they are three minutes after they
// were made (dets, auto_save), and forgets one with all that was confirmed if it is killed before
// (github.com/rabbitmq/rabbitmq-server/issues/10070).
func (f *fixture) settled(t testing.TB) {
	t.Helper()
	f.server.Control(t, "eval", "[dets:sync(T) || T <- dets:all()].")
}
