package nats

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
	"penstock.dev/penstock/test/drive"
	"penstock.dev/penstock/test/service"
)

// fixture is a server with a Connection to it, and a client of the test's own beside it.
type fixture struct {
	url    string
	config *ConnectionConfig
	env    penstock.Env
	ref    penstock.ConnectionRef
	nc     *nats.Conn
	js     jetstream.JetStream
	drop   func() // closes what is shared, as the end of a run does
}

var names atomic.Int64

// name gives a name that no other test has.
func name() string { return fmt.Sprintf("T%d", names.Add(1)) }

// on makes a fixture for a server.
func on(t testing.TB, s *service.NATSServer, o ...nats.Option) *fixture {
	t.Helper()
	f := through(t, s.URL())
	var err error
	if f.nc, err = nats.Connect(s.URL(), append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0), nats.Timeout(10 * time.Second)}, o...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.nc.Close)
	if f.js, err = jetstream.New(f.nc, jetstream.WithDefaultTimeout(20*time.Second)); err != nil {
		t.Fatal(err)
	}
	return f
}

// through makes a fixture without a client of its own, for an address.
func through(t testing.TB, url string) *fixture {
	t.Helper()
	c := &ConnectionConfig{URLs: []penstock.Template{{Source: url}}, ConnectTimeout: penstock.Duration(10 * time.Second), Ping: penstock.Duration(5 * time.Second), OnlyURLs: true}
	f := &fixture{url: url, config: c, ref: penstock.ConnectionRef{Name: "test", Config: c}}
	f.env, f.drop = drive.Env(t, "flow/step")
	return f
}

// stream makes a stream of its name's subjects: T1.>.
func (f *fixture) stream(t testing.TB, c jetstream.StreamConfig) string {
	t.Helper()
	if c.Name == "" {
		c.Name = name()
	}
	if c.Subjects == nil {
		c.Subjects = []string{c.Name + ".>"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := f.js.CreateStream(ctx, c); err != nil {
		t.Fatal(err)
	}
	return c.Name
}

// send publishes bodies to a subject of a stream.
func (f *fixture) send(t testing.TB, subject string, bodies ...string) {
	t.Helper()
	for i, b := range bodies {
		if _, err := f.js.PublishAsync(subject, []byte(b)); err != nil {
			t.Fatal(err)
		}
		if i%500 == 499 || i == len(bodies)-1 {
			select {
			case <-f.js.PublishAsyncComplete():
			case <-time.After(20 * time.Second):
				t.Fatal("the stream does not confirm")
			}
		}
	}
}

// written reads what is in a stream.
func (f *fixture) written(t testing.TB, stream string) (out []string) {
	t.Helper()
	for _, m := range f.stored(t, stream) {
		out = append(out, string(m.Data))
	}
	return out
}

// stored gives the messages of a stream.
func (f *fixture) stored(t testing.TB, stream string) (out []*jetstream.RawStreamMsg) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := f.js.Stream(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	n := s.CachedInfo().State
	if n.Msgs == 0 {
		return nil
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	it, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	for uint64(len(out)) < n.Msgs {
		m, err := it.Next(jetstream.NextMaxWait(20 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		md, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &jetstream.RawStreamMsg{Subject: m.Subject(), Sequence: md.Sequence.Stream, Header: m.Headers(), Data: m.Data()})
	}
	return out
}

// consumer gives what the server knows of a consumer.
func (f *fixture) consumer(t testing.TB, stream, consumer string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := f.js.Consumer(t.Context(), stream, consumer)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
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
		c.AckTimeout = penstock.Duration(5 * time.Second)
	}
	if c.InFlight == 0 {
		c.InFlight = 1024
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
