package pulsar

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
)

// sink writes to topics.
type sink struct {
	config     SinkConfig
	env        penstock.Env
	link       *link
	client     client.Client
	schema     client.Schema // of the topics; nil: none is declared
	topic      string        // of all messages; "" where it varies
	whole      bool          // the topic is one ${…}
	properties []property

	producers map[string]*producing
	writes    int

	out  []outgoing
	id   []byte
	text []byte
}

// property is one that the configuration adds.
type property struct {
	name  string
	value penstock.Template
}

// producing is a topic that is written to.
type producing struct {
	client.Producer
	used int // the number of the Write that it was used by last
}

// Properties by which what Penstock has written comes back as it was.
const (
	propertyFormat = "penstock-format" // of a body that is no JSON: text or bytes
	propertyJSON   = "penstock-json"   // names of properties that are JSON and no text, with commas between them

	formatText  = "text"
	formatBytes = "bytes"
)

// maxProducers is how many topics have a producer at a time.
const maxProducers = 256

var _ penstock.Sink = (*sink)(nil)

func newSink(c SinkConfig, env penstock.Env) (penstock.Sink, error) {
	if c.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "pulsar", env.Name, "no codec")
	}
	s := &sink{config: c, env: env, producers: map[string]*producing{}}
	s.whole = strings.HasPrefix(c.Topic.Source, "${") && strings.Count(c.Topic.Source, "${") == 1 && strings.HasSuffix(c.Topic.Source, "}")
	for name, t := range c.Properties {
		s.properties = append(s.properties, property{name, t})
	}
	slices.SortFunc(s.properties, func(a, b property) int { return strings.Compare(a.name, b.name) })
	return s, nil
}

// Open implements penstock.Sink: it asks for the topic, where all messages go to one.
func (s *sink) Open(ctx context.Context) (err error) {
	if s.link, err = connect(s.config.Connection, s.env); err != nil {
		return err
	}
	if s.client, err = s.link.open(); err != nil {
		return err
	}
	if s.schema, err = declare(s.config.TopicSchema, s.config.Format, s.env.Name); err != nil {
		return err
	}
	t := s.config.Topic
	if !t.Constant && t.Program != nil {
		return nil
	}
	name, err := fixed(t, s.env)
	if err == nil {
		err = checkTopic(name)
	}
	if err != nil {
		return config(s.env.Name, "", "%w", err)
	}
	topic, _ := parseTopic(name)
	s.topic = topic.String()
	_, err = s.producer(ctx, s.topic)
	return err
}

// Close implements penstock.Sink.
func (s *sink) Close(ctx context.Context) error {
	for _, p := range s.producers {
		s.end(ctx, p)
	}
	clear(s.producers)
	return nil
}

// end closes a producer, and does not wait long for a broker that is away.
func (s *sink) end(ctx context.Context, p *producing) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Close()
	}()
	c, stop := s.env.Clock.NewTimer(2 * time.Second)
	defer stop()
	select {
	case <-done:
	case <-c:
	case <-ctx.Done():
	}
}

// producer gives the producer of a topic.
func (s *sink) producer(ctx context.Context, topic string) (*producing, error) {
	if p := s.producers[topic]; p != nil {
		p.used = s.writes
		return p, nil
	}
	for len(s.producers) >= maxProducers {
		var oldest string
		for name, p := range s.producers {
			if o := s.producers[oldest]; o == nil || p.used < o.used {
				oldest = name
			}
		}
		if s.producers[oldest].used == s.writes {
			break // all are in use
		}
		s.end(ctx, s.producers[oldest])
		delete(s.producers, oldest)
	}
	c := s.config
	o := client.ProducerOptions{
		Topic: topic, SendTimeout: c.AckTimeout.Std(), MaxPendingMessages: c.InFlight, CompressionType: compressions[c.Compression],
		DisableBatching: c.Batching.By == "none", BatchingMaxMessages: uint(max(c.Batching.Messages, 0)), BatchingMaxSize: uint(max(c.Batching.Bytes, 0)), //nolint:gosec // bounded by their tags
		BatchingMaxPublishDelay: 5 * time.Millisecond, EnableChunking: c.Chunking, BackOffPolicyFunc: mender(func() {}), PartitionsAutoDiscoveryInterval: 15 * time.Second,
		DisableMultiSchema: true,
	}
	if s.schema != nil {
		o.Schema = s.schema
	}
	if c.Batching.By == "key" {
		o.BatcherBuilderType = client.KeyBasedBatchBuilder
	}
	if c.Hashing == "murmur3" {
		o.HashingScheme = client.Murmur3_32Hash
	}
	p, err := within(ctx, s.link, func() (client.Producer, error) { return s.client.CreateProducer(o) }, func(p client.Producer) { p.Close() })
	if err != nil {
		return nil, s.link.failure(err, "topic "+topic)
	}
	out := &producing{p, s.writes}
	s.producers[topic] = out
	return out, nil
}

var compressions = map[string]client.CompressionType{"lz4": client.LZ4, "zlib": client.ZLib, "zstd": client.ZSTD, "snappy": client.SNAPPY}

// Write implements penstock.Sink.
func (s *sink) Write(ctx context.Context, b *penstock.Batch) error {
	if s.client == nil {
		return penstock.E(penstock.Internal, "pulsar", s.env.Name, "the sink is not open")
	}
	if len(b.Msgs) == 0 {
		return nil
	}
	s.writes++
	s.prepare(b)
	if t := penstock.TraceFrom(ctx); len(b.Msgs) == 1 && !t.IsZero() && s.out[0].err == nil {
		s.out[0].msg.Properties["traceparent"] = t.Traceparent()
	}
	s.send(ctx)
	return b.WriteError("pulsar", "", func(i int) error { return s.out[i].err })
}

// sending waits for what the broker says to a Write's messages.
type sending struct {
	mu   sync.Mutex
	left int
	over bool // the Write has given up
	done chan struct{}
}

// settle notes what the broker said to a message.
func (w *sending) settle(o *outgoing, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || o.done {
		return
	}
	o.done, o.err = true, err
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

// send sends what is prepared, in order, and waits until each message is confirmed or has failed.
func (s *sink) send(ctx context.Context) {
	w := &sending{done: make(chan struct{}), left: 1}
	var used []*producing
	for i := range s.out {
		o := &s.out[i]
		if o.err != nil {
			continue
		}
		p, err := s.producer(ctx, o.topic)
		if err != nil {
			o.err = err
			continue
		}
		if !slices.Contains(used, p) {
			used = append(used, p)
		}
		w.mu.Lock()
		w.left++
		w.mu.Unlock()
		p.SendAsync(ctx, &o.msg, func(_ client.MessageID, _ *client.ProducerMessage, err error) {
			w.settle(o, s.link.failure(err, "topic "+o.topic))
		})
	}
	w.mu.Lock()
	if w.left--; w.left == 0 {
		close(w.done)
	}
	w.mu.Unlock()
	for _, p := range used {
		go func() { _ = p.FlushWithCtx(ctx) }() // what it says is said of each message, too
	}
	select {
	case <-w.done:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for i := range s.out {
		o := &s.out[i]
		if !o.done && o.err == nil {
			o.err = failure(context.Cause(ctx), "topic "+o.topic)
		}
		if p := s.producers[o.topic]; p != nil && closedByBroker(o.err) { // the next Write makes another
			delete(s.producers, o.topic)
			s.end(ctx, p)
		}
	}
}

// closedByBroker says that a producer can't be used any more.
func closedByBroker(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && (e.Result() == client.ProducerClosed || e.Result() == client.TopicNotFound || e.Result() == client.TopicTerminated || e.Result() == client.ProducerFenced)
}
