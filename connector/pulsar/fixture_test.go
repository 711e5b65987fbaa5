package pulsar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
	"github.com/prometheus/client_golang/prometheus"

	"penstock.dev/penstock"
	"penstock.dev/penstock/codec/json"
	"penstock.dev/penstock/conform"
	"penstock.dev/penstock/jsonview"
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
	clock := penstock.SystemClock{}
	var mu sync.Mutex
	shared := map[string]any{}
	c.ConnectTimeout, c.Timeout, c.Ping = penstock.Duration(5*time.Second), penstock.Duration(15*time.Second), penstock.Duration(2*time.Second)
	f := &fixture{server: s, config: c, ref: penstock.ConnectionRef{Name: "test", Config: c}}
	out := io.Discard
	if os.Getenv("PENSTOCK_LOG") != "" {
		out = io.Writer(os.Stderr)
	}
	f.env = penstock.Env{Name: "flow/step", Logger: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})), Clock: clock, Runtime: &penstock.Runtime{Clock: clock}, Concurrency: 1, Ordered: true,
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
	f.drop = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range shared {
			if err := v.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
		}
		clear(shared)
	}
	t.Cleanup(f.drop)
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
	p, err := f.own.CreateProducer(client.ProducerOptions{Topic: topic, BatchingMaxMessages: 100})
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

func jsonFormat(t testing.TB) penstock.Format {
	t.Helper()
	c, err := json.New(json.Config{}, penstock.CodecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return penstock.Format{Name: "json", Codec: c}
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
		c.Format = jsonFormat(t)
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
		c.Format = jsonFormat(t)
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

// opened opens a source or sink, which is closed at the end of the test.
func opened[T interface {
	Open(context.Context) error
	Close(context.Context) error
}](t testing.TB, v T) T {
	t.Helper()
	if err := v.Open(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(context.Background()); err != nil {
			t.Error("Close:", err)
		}
	})
	return v
}

// got is a message that was read.
type got struct {
	body, key string
	meta      map[string]string
	pos       penstock.Position
	err       error
}

// read reads n messages.
func read(t testing.TB, s penstock.Source, n int) (out []got) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var b penstock.Batch
	for len(out) < n {
		b.Reset()
		err := s.Read(ctx, &b)
		if errors.Is(err, penstock.ErrDisconnected) {
			if err := s.Open(ctx); err != nil && !errors.Is(err, penstock.ErrDisconnected) {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("after %d messages: %v", len(out), err)
		}
		out = append(out, those(t, &b)...)
	}
	return out
}

func those(t testing.TB, b *penstock.Batch) (out []got) {
	t.Helper()
	for i, m := range b.Msgs {
		g := got{key: m.Key, pos: m.Pos, meta: map[string]string{}, err: b.Err(i)}
		if g.err == nil && m.Body.Format() == jsonview.JSON && m.Body.Parse(jsonview.Limits{}) == nil {
			g.body = string(m.Body.AppendJSON(nil, 0))
		} else {
			g.body = string(m.Body.Bytes())
		}
		for _, e := range m.Meta.Entries() {
			text, err := e.Value.AppendText(nil)
			if err != nil {
				t.Fatal(err)
			}
			g.meta[e.Name] = string(text)
		}
		out = append(out, g)
	}
	return out
}

// settleAll tells a source that messages are done.
func settleAll(t testing.TB, s penstock.Source, all ...got) {
	t.Helper()
	var o []penstock.Outcome
	for _, g := range all {
		o = append(o, penstock.Outcome{Pos: g.pos})
	}
	if err := s.Settle(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

func bodies(all []got) (out []string) {
	for _, g := range all {
		out = append(out, g.body)
	}
	return out
}

// numbered makes bodies {"n":from} … {"n":to-1}.
func numbered(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf(`{"n":%d}`, i))
	}
	return out
}

// compare compares two lists and shows the first difference.
func compare(t testing.TB, have, want []string) {
	t.Helper()
	for i := range min(len(have), len(want)) {
		if have[i] != want[i] {
			t.Fatalf("the %dth is %.200s, want %.200s", i, have[i], want[i])
		}
	}
	if len(have) != len(want) {
		t.Fatalf("%d, want %d", len(have), len(want))
	}
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

// batch makes a batch as a flow gives it to a sink: of messages of a stream, from a sequence on.
func batch(stream string, from int64, bodies ...string) *penstock.Batch {
	b := conform.Batch(bodies...)
	for i, m := range b.Msgs {
		m.Pos = penstock.Position{Stream: stream, Offset: from + int64(i)}
	}
	return b
}

// field is the Program of ${body.<name>}.
type field string

func (p field) Eval(f *penstock.Frame) penstock.Value {
	d := f.Msg.Body
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return penstock.ErrorValue(err)
	}
	return penstock.NodeValue(d, d.Field(0, string(p), nil)).Load(f.Arena)
}

// joined is the Program of text around ${body.<name>}.
type joined struct{ before, name, after string }

func (p joined) Eval(f *penstock.Frame) penstock.Value {
	v := field(p.name).Eval(f)
	if v.IsError() {
		return v
	}
	text, err := v.AppendText(nil)
	if err != nil {
		return penstock.ErrorValue(err)
	}
	return penstock.StringValue(p.before + string(text) + p.after)
}

// template makes the Template of a text with one ${body.x} in it.
func template(source string) penstock.Template {
	before, rest, ok := strings.Cut(source, "${body.")
	if !ok {
		return penstock.Template{Source: source, Constant: true}
	}
	n, after, _ := strings.Cut(rest, "}")
	if before == "" && after == "" {
		return penstock.Template{Source: source, Program: field(n)}
	}
	return penstock.Template{Source: source, Program: joined{before, n, after}}
}
