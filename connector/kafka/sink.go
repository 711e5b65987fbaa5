package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
)

// sink writes to topics. The messages of a Write are handed to the client together, and travel in as few requests as they can.
type sink struct {
	config  SinkConfig
	env     penstock.Env
	cluster *cluster
	topic   string // where it does not depend on the message
	headers []header
	names   sync.Map // of headers: from meta's to the record's, with memory of their own
	topics  sync.Map // that were written to
	known   atomic.Int64
	client  *kgo.Client
	works   sync.Pool     // *writing
	each    time.Duration // how long a Write may take; 0: as long as the configuration says

	producer *producer // nil: it writes by itself, with client
	limitsMu sync.Mutex
	asked    map[string]bool
	limits   map[string]int32 // max.message.bytes of topics
}

type header struct {
	name string
	text penstock.Template
}

var (
	_ penstock.ParallelSink = (*sink)(nil)
	_ penstock.Resolver     = (*SinkConfig)(nil)
)

func newSink(c SinkConfig, env penstock.Env) (penstock.Sink, error) {
	cl, err := clusterOf(c.Connection, env)
	if err != nil {
		return nil, err
	}
	s := &sink{config: c, env: env, cluster: cl, limits: map[string]int32{}, asked: map[string]bool{}}
	s.works.New = func() any { return newWriting() }
	if c.Topic.Program == nil || c.Topic.Constant {
		if s.topic, err = fixed(c.Topic, env); err != nil {
			return nil, err
		}
		if err := checkTopic(s.topic); err != nil {
			return nil, wrong(c.Topic.Pos.String(), err.Error(), "")
		}
	}
	for name, text := range c.Headers {
		s.headers = append(s.headers, header{name, text})
	}
	if env.Transaction != "" {
		if s.producer, err = producerOf(cl, env); err != nil {
			return nil, err
		}
		if err := s.producer.writes(&s.config, env); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(s.headers, func(a, b header) int { return strings.Compare(a.name, b.name) })
	return s, nil
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// Open implements penstock.Sink: it makes sure that the topic is there.
func (s *sink) Open(ctx context.Context) error {
	if s.client != nil {
		return nil
	}
	if s.producer != nil {
		return s.openWithin(ctx)
	}
	opts, err := s.cluster.options()
	if err != nil {
		return err
	}
	opts = append(opts, kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(codecs[s.config.Compression]), kgo.ProducerLinger(s.config.Linger.Std()),
		kgo.ProducerBatchMaxBytesFn(s.limit), kgo.BrokerMaxWriteBytes(1<<30), kgo.MaxBufferedRecords(1<<20),
		kgo.AllowIdempotentProduceCancellation(), kgo.UnknownTopicRetries(4), kgo.MetadataMinAge(250*time.Millisecond))
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return wrong(s.env.Name, err.Error(), "")
	}
	if err = s.cluster.reach(ctx, cl); err == nil {
		err = s.look(ctx, cl)
	}
	if err != nil {
		abandon(cl)
		return err
	}
	s.client = cl
	return nil
}

// openWithin opens a sink that writes in transactions only.
func (s *sink) openWithin(ctx context.Context) error {
	cl, err := s.producer.open(ctx, s.env)
	if err != nil {
		return err
	}
	if err := s.look(ctx, cl); err != nil {
		s.producer.close()
		return err
	}
	s.client = cl
	return nil
}

// look makes sure that the topic is there.
func (s *sink) look(ctx context.Context, cl *kgo.Client) error {
	if s.topic == "" {
		return nil
	}
	if err := s.cluster.need(ctx, cl, s.topic); err != nil {
		return err
	}
	s.ask(ctx, cl, s.topic)
	return nil
}

// ask learns, once, how large a topic lets a batch be. Who may not know finds out by the broker's refusal.
func (s *sink) ask(ctx context.Context, cl *kgo.Client, topic string) {
	s.limitsMu.Lock()
	asked := s.asked[topic]
	s.asked[topic] = true
	s.limitsMu.Unlock()
	if asked {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.cluster.config.ConnectTimeout.Std())
	defer cancel()
	configs, err := kadm.NewClient(cl).DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return
	}
	for _, c := range configs {
		for _, kv := range c.Configs {
			if n, err := strconv.ParseInt(kv.MaybeValue(), 10, 32); kv.Key == "max.message.bytes" && err == nil {
				s.limitTo(topic, max(int32(n), minBatch))
			}
		}
	}
}

func (s *sink) limitTo(topic string, n int32) {
	if s.producer != nil {
		s.producer.limitTo(topic, n)
		return
	}
	s.limitsMu.Lock()
	defer s.limitsMu.Unlock()
	s.limits[topic] = n
}

// minBatch is the smallest limit of batches that the client takes.
const minBatch = 512

// limit is how large a batch for a topic may be.
func (s *sink) limit(topic string) int32 {
	if s.producer != nil {
		return s.producer.limit(topic)
	}
	s.limitsMu.Lock()
	defer s.limitsMu.Unlock()
	own := int32(min(int64(s.config.MaxMessage), 1<<30))
	if n, ok := s.limits[topic]; ok {
		return min(n, own)
	}
	return own
}

// Close implements penstock.Sink.
func (s *sink) Close(context.Context) error {
	switch {
	case s.client == nil:
	case s.producer != nil:
		s.producer.close()
	default:
		s.client.Close()
	}
	s.client = nil
	return nil
}

// writing is the memory of one Write. Records have all their bytes from it: the client may hold them longer than the batch lives, where a Write is broken
// off. Then the memory is given up, and the next Write has other.
type writing struct {
	slots []*slot
	text  []byte
	heads []kgo.RecordHeader
	left  atomic.Int64
	done  chan struct{}
	bad   atomic.Int64
}

// slot is one message on its way.
type slot struct {
	record  kgo.Record
	err     error
	skip    bool // it was not handed over
	promise func(*kgo.Record, error)
}

func newWriting() *writing { return &writing{done: make(chan struct{}, 1)} }

func (w *writing) slot(i int) *slot {
	for len(w.slots) <= i {
		sl := new(slot)
		sl.promise = func(_ *kgo.Record, err error) {
			if err != nil {
				sl.err = err
				w.bad.Add(1)
			}
			w.arrived(1)
		}
		w.slots = append(w.slots, sl)
	}
	sl := w.slots[i]
	sl.err, sl.skip = nil, false
	return sl
}

// arrived counts fates; the last says that all are there.
func (w *writing) arrived(n int64) {
	if w.left.Add(-n) == 0 {
		w.done <- struct{}{}
	}
}

// Each implements penstock.ParallelSink: the messages of several Writes are on their way at once.
func (s *sink) Each(limit time.Duration) { s.each = limit }

// Write implements penstock.Sink. It may be called by several goroutines at once.
func (s *sink) Write(ctx context.Context, b *penstock.Batch) error {
	switch {
	case s.client == nil:
		return penstock.E(penstock.Internal, "kafka", s.env.Name, "the sink is not open")
	case s.producer != nil:
		return penstock.E(penstock.Internal, "kafka", s.env.Name, "the sink writes in transactions only")
	case len(b.Msgs) == 0:
		return nil
	}
	w, err := s.send(ctx, b)
	if err != nil {
		return err
	}
	err = s.outcome(ctx, w, b)
	s.keep(w)
	return err
}

// send hands all messages over, and waits for what becomes of them.
func (s *sink) send(ctx context.Context, b *penstock.Batch) (*writing, error) {
	w := s.works.Get().(*writing)
	w.text, w.heads = w.text[:0], w.heads[:0]
	w.bad.Store(0)
	w.left.Store(int64(len(b.Msgs)) + 1)
	for i, m := range b.Msgs {
		sl := w.slot(i)
		if sl.err = s.record(w, sl, b, m); sl.err != nil {
			sl.skip = true
			w.bad.Add(1)
		}
	}
	// The client's own bound for a delivery counts from the record's timestamp, which may be old.
	limit := s.config.Timeout.Std()
	if s.each > 0 {
		limit = min(limit, s.each)
	}
	bounded, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	skipped := int64(1)
	for _, sl := range w.slots[:len(b.Msgs)] {
		if sl.skip {
			skipped++
			continue
		}
		s.client.Produce(bounded, &sl.record, sl.promise)
	}
	w.arrived(skipped)
	select {
	case <-w.done:
		return w, nil
	case <-ctx.Done():
		return nil, s.cluster.failure(ctx.Err())
	}
}

// keep keeps the memory of a Write for the next.
func (s *sink) keep(w *writing) {
	if cap(w.text) <= 4<<20 && len(w.slots) <= 1<<14 {
		s.works.Put(w)
	}
}

// outcome is what Write returns. Where a batch of several records was too large for the broker, they are sent again one by one, so that only those fail that are too large
// themselves.
func (s *sink) outcome(ctx context.Context, w *writing, b *penstock.Batch) error {
	if w.bad.Load() == 0 {
		return nil
	}
	failed := &penstock.BatchError{Errs: map[int]error{}}
	stuck := map[string]error{} // keys of which a message may be written later: those behind it wait
	for i, m := range b.Msgs {
		sl := w.slots[i]
		err := sl.err
		if before := stuck[m.Key]; m.Key != "" && before != nil {
			if err == nil || penstock.CodeOf(s.cluster.failure(err)).Transient() {
				err = &penstock.Error{Code: penstock.CodeOf(before), Op: "kafka", Err: fmt.Errorf("a message of its key before it could not be written: %w", before)}
			}
			failed.Errs[i] = err
			continue
		}
		if err != nil && errors.Is(err, kerr.MessageTooLarge) && !sl.skip && int32(len(sl.record.Value)) < s.limit(sl.record.Topic)-recordOverhead {
			again := &kgo.Record{Topic: sl.record.Topic, Key: sl.record.Key, Value: sl.record.Value, Headers: sl.record.Headers, Timestamp: sl.record.Timestamp}
			err = s.client.ProduceSync(ctx, again).FirstErr()
		}
		if err == nil {
			continue
		}
		if !sl.skip {
			err = s.cluster.failure(err)
		}
		failed.Errs[i] = err
		if m.Key != "" && penstock.CodeOf(err).Transient() {
			stuck[m.Key] = err
		}
	}
	if len(failed.Errs) == 0 {
		return nil
	}
	return failed
}

// recordOverhead is about what a batch of one record has around its value.
const recordOverhead = 128
