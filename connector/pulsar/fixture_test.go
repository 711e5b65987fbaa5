package pulsar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/prometheus/client_golang/prometheus"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// fixture is a broker with a Connection to it, and a client of the test's own beside it.
type fixture struct {
	server *service.PulsarServer
	config *ConnectionConfig
	env    penstock.Env
	ref    penstock.ConnectionRef
	own    client.Client
	drop   func() // closes what is shared, as the end of a run does
}

var names atomic.Int64

// name gives a name that no other test has.
func name() string { return fmt.Sprintf("t%d", names.Add(1)) }

// on makes a fixture for a broker.
func on(t testing.TB, s *service.PulsarServer) *fixture {
	t.Helper()
	f := through(t, s, &ConnectionConfig{URL: penstock.Template{Source: s.URL()}})
	var err error
	if f.own, err = client.NewClient(client.ClientOptions{URL: s.URL(), Logger: log.NewLoggerWithSlog(slog.New(slog.DiscardHandler)), MetricsRegisterer: prometheus.NewRegistry()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.own.Close)
	return f
}

// through makes a fixture without a client of its own.
func through(t testing.TB, s *service.PulsarServer, c *ConnectionConfig) *fixture {
	t.Helper()
	c.ConnectTimeout, c.Timeout, c.Ping = penstock.Duration(5*time.Second), penstock.Duration(15*time.Second), penstock.Duration(2*time.Second)
	f := &fixture{server: s, config: c, ref: penstock.ConnectionRef{Name: "test", Config: c}}
	f.env, f.drop = drive.Env(t, "flow/step")
	return f
}

// topic makes a topic, with so many partitions; 0 is without.
func (f *fixture) topic(t testing.TB, partitions int) string {
	t.Helper()
	n := name()
	if partitions == 0 {
		f.server.Do(t, "PUT", "/admin/v2/persistent/public/default/"+n, "")
	} else {
		f.server.Do(t, "PUT", "/admin/v2/persistent/public/default/"+n+"/partitions", strconv.Itoa(partitions))
	}
	return n
}

// send writes bodies to a topic, in batches.
func (f *fixture) send(t testing.TB, topic string, bodies ...string) {
	t.Helper()
	f.sendAs(t, client.ProducerOptions{Topic: topic, BatchingMaxMessages: 100}, bodies...)
}

// sendBy writes bodies to a topic, in batches of so many.
func (f *fixture) sendBy(t testing.TB, n uint, topic string, bodies ...string) {
	t.Helper()
	f.sendAs(t, client.ProducerOptions{Topic: topic, DisableBatching: n == 1, BatchingMaxMessages: n, BatchingMaxPublishDelay: time.Hour}, bodies...)
}

func (f *fixture) sendAs(t testing.TB, o client.ProducerOptions, bodies ...string) {
	t.Helper()
	p, err := f.own.CreateProducer(o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var mu sync.Mutex
	var failed error
	for _, b := range bodies {
		p.SendAsync(context.Background(), &client.ProducerMessage{Payload: []byte(b)}, func(_ client.MessageID, _ *client.ProducerMessage, err error) {
			mu.Lock()
			failed = errors.Join(failed, err)
			mu.Unlock()
		})
	}
	if err := p.FlushWithCtx(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if failed != nil {
		t.Fatal(failed)
	}
}

// written reads what is in a topic.
func (f *fixture) written(t testing.TB, topic string) (out []string) {
	t.Helper()
	for _, m := range f.stored(t, topic) {
		out = append(out, string(m.Payload()))
	}
	return out
}

// stored gives the messages of a topic.
func (f *fixture) stored(t testing.TB, topic string) (out []client.Message) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	parts, err := f.own.TopicPartitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		r, err := f.own.CreateReader(client.ReaderOptions{Topic: p, StartMessageID: client.EarliestMessageID(), StartMessageIDInclusive: true})
		if err != nil {
			t.Fatal(err)
		}
		for r.HasNext() {
			m, err := r.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, m)
		}
		r.Close()
	}
	return out
}

func (f *fixture) source(t testing.TB, c SourceConfig) penstock.Source {
	t.Helper()
	s, err := f.newSource(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fixture) newSource(t testing.TB, c SourceConfig) (penstock.Source, error) {
	c.Connection = f.ref
	if c.Format.IsZero() {
		c.Format = drive.JSON(t)
	}
	if c.Prefetch == 0 {
		c.Prefetch = 1000
	}
	if c.Type == "" {
		c.Type = exclusive
	}
	if errs := c.Validate(); errs != nil {
		t.Fatal(errs)
	}
	return newSource(c, f.env)
}

func (f *fixture) sink(t testing.TB, c SinkConfig) penstock.Sink {
	t.Helper()
	c.Connection = f.ref
	if c.Format.IsZero() {
		c.Format = drive.JSON(t)
	}
	if c.AckTimeout == 0 {
		c.AckTimeout = penstock.Duration(10 * time.Second)
	}
	if c.InFlight == 0 {
		c.InFlight = 1000
	}
	if c.Batching == (Batching{}) {
		c.Batching = Batching{By: "any", Messages: 1000, Bytes: 128 << 10}
	}
	if errs := c.Validate(); errs != nil {
		t.Fatal(errs)
	}
	s, err := newSink(c, f.env)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
