package pulsar

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
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

// outgoing is a message on its way.
type outgoing struct {
	msg   client.ProducerMessage
	topic string
	err   error
	done  bool
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

// prepare makes what is sent of each message, in memory of its own: the client holds on to it beyond a Write that gives up.
func (s *sink) prepare(b *penstock.Batch) {
	s.out = make([]outgoing, len(b.Msgs))
	size := 0
	for _, m := range b.Msgs {
		size += len(m.Body.Bytes())
	}
	memory := make([]byte, 0, size+size/8)
	for i, m := range b.Msgs {
		o := &s.out[i]
		memory, o.err = s.make(o, b, m, memory)
	}
}

func (s *sink) make(o *outgoing, b *penstock.Batch, m *penstock.Message, memory []byte) (_ []byte, err error) {
	f := b.Frame(m)
	if o.topic = s.topic; o.topic == "" {
		if o.topic, err = s.topicOf(f); err != nil {
			return memory, err
		}
	}
	o.msg.Key = m.Key
	if !s.config.Key.IsZero() {
		if o.msg.Key, err = s.eval(s.config.Key, f, "key"); err != nil {
			return memory, err
		}
	}
	if !s.config.OrderingKey.IsZero() {
		if o.msg.OrderingKey, err = s.eval(s.config.OrderingKey, f, "orderingKey"); err != nil {
			return memory, err
		}
	}
	if err = s.times(o, f); err != nil {
		return memory, err
	}
	from := len(memory)
	memory, format, err := s.encode(memory, m.Body)
	if err != nil {
		return memory[:from], err
	}
	o.msg.Payload = memory[from:len(memory):len(memory)]
	o.msg.Properties, err = s.propertiesOf(f, format)
	return memory, err
}

// topicOf is where a message goes whose topic varies.
func (s *sink) topicOf(f *penstock.Frame) (string, error) {
	text, err := s.eval(s.config.Topic, f, "topic")
	if err != nil {
		return "", err
	}
	t, err := parseTopic(text)
	switch {
	case err == nil && !t.persistent:
		err = checkTopic(text)
	case err == nil && !s.whole && strings.Count(text, "/") != slashesBeside(s.config.Topic.Source):
		err = fmt.Errorf("%.200q: a value has a slash, so that it would name another namespace", text)
	}
	if err != nil {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "pulsar", Path: "topic", Err: err}
	}
	return t.String(), nil
}

// slashesBeside counts the slashes of a template beside ${…}.
func slashesBeside(source string) (n int) {
	depth := 0
	for i := 0; i < len(source); i++ {
		switch {
		case strings.HasPrefix(source[i:], "${") && depth == 0:
			depth = 1
			i++
		case depth > 0 && source[i] == '{':
			depth++
		case depth > 0 && source[i] == '}':
			depth--
		case depth == 0 && source[i] == '/':
			n++
		}
	}
	return n
}

// times sets when a message happened, and when it is delivered.
func (s *sink) times(o *outgoing, f *penstock.Frame) (err error) {
	if o.msg.EventTime = f.Msg.Time; !s.config.EventTime.IsZero() {
		if o.msg.EventTime, err = s.time(s.config.EventTime, f, "eventTime"); err != nil {
			return err
		}
	}
	if !s.config.DeliverAt.IsZero() {
		if o.msg.DeliverAt, err = s.time(s.config.DeliverAt, f, "deliverAt"); err != nil {
			return err
		}
	}
	if s.config.DeliverAfter.IsZero() {
		return nil
	}
	text, err := s.eval(s.config.DeliverAfter, f, "deliverAfter")
	if err != nil || text == "" {
		return err
	}
	wait, err := penstock.ParseDuration(text)
	if err != nil || wait < 0 {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "pulsar", Path: "deliverAfter", Err: fmt.Errorf("%.100q is no duration such as 30s", text)}
	}
	if wait > 0 {
		o.msg.DeliverAt = s.env.Clock.Now().Add(wait.Std())
	}
	return nil
}

// time evaluates a template that is a time; nothing is none.
func (s *sink) time(t penstock.Template, f *penstock.Frame, what string) (time.Time, error) {
	if t.Program != nil {
		if v := load(t.Program.Eval(f), f); v.Kind() == penstock.KindTimestamp {
			return v.Timestamp(), nil
		}
	}
	text, err := s.eval(t, f, what)
	if err != nil || text == "" {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, &penstock.Error{Code: penstock.Unprocessable, Op: "pulsar", Path: what, Err: fmt.Errorf("%.100q is no time: it is written 2026-11-01T00:00:00Z", text)}
	}
	return at, nil
}

// load gives the value that an expression's value stands for.
func load(v penstock.Value, f *penstock.Frame) penstock.Value {
	if v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	if v.Kind() == penstock.KindNode {
		v = v.Load(f.Arena)
	}
	return v
}

// eval gives the text of a template; an absent or null value is no text.
func (s *sink) eval(t penstock.Template, f *penstock.Frame, what string) (string, error) {
	if t.Program == nil {
		return t.Source, nil
	}
	v := load(t.Program.Eval(f), f)
	switch v.Kind() {
	case penstock.KindError:
		return "", v.Err()
	case penstock.KindAbsent, penstock.KindNull:
		return "", nil
	case penstock.KindString:
		return strings.Clone(v.Str()), nil
	}
	text, err := v.AppendText(s.text[:0])
	if err != nil {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "pulsar", Path: what, Err: err}
	}
	s.text = text
	return string(text), nil
}

// encode appends the body; null is nothing: a tombstone. format says what of it would not come back by itself.
func (s *sink) encode(dst []byte, d *jsonview.Doc) (_ []byte, format string, err error) {
	if s.config.Format.Name == "json" {
		switch d.Format() {
		case jsonview.Text:
			return append(dst, d.Bytes()...), formatText, nil
		case jsonview.Binary:
			return append(dst, d.Bytes()...), formatBytes, nil
		case jsonview.JSON:
			b := d.Bytes()
			if isNull(b) {
				return dst, "", nil
			}
			if len(b) > 0 && (!d.Parsed() || d.Kind(0) != jsonview.Invalid) {
				return append(dst, b...), "", nil
			}
		}
	} else if d.Format() == jsonview.JSON && isNull(d.Bytes()) {
		return dst, "", nil
	}
	dst, err = s.config.Format.Codec.Encode(dst, d)
	return dst, "", err
}

// isNull says that JSON is null.
func isNull(b []byte) bool {
	return len(b) == 0 || len(b) < 16 && strings.TrimSpace(string(b)) == "null"
}

// propertiesOf makes the properties of a message: its meta, and those of the configuration.
func (s *sink) propertiesOf(f *penstock.Frame, format string) (map[string]string, error) {
	m := f.Msg
	out := make(map[string]string, len(m.Meta.Entries())+len(s.properties)+2)
	structured := ""
	for _, e := range m.Meta.Entries() {
		if strings.HasPrefix(e.Name, metaPrefix) || e.Name == propertyID || e.Name == propertyJSON || e.Name == propertyFormat {
			continue
		}
		v := load(e.Value, f)
		switch v.Kind() {
		case penstock.KindString:
			out[e.Name] = strings.Clone(v.Str())
			continue
		case penstock.KindAbsent, penstock.KindNull, penstock.KindError:
			continue
		case penstock.KindTimestamp, penstock.KindDuration:
			text, err := v.AppendText(s.text[:0])
			if err != nil {
				return nil, err
			}
			s.text, out[e.Name] = text, string(text)
			continue
		}
		text, err := v.AppendJSON(s.text[:0])
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "pulsar", Path: "meta." + e.Name, Err: err}
		}
		s.text, out[e.Name] = text, string(text)
		if !strings.Contains(e.Name, ",") {
			structured += "," + e.Name
		}
	}
	if structured != "" {
		out[propertyJSON] = structured[1:]
	}
	if format != "" {
		out[propertyFormat] = format
	}
	for _, p := range s.properties {
		text, err := s.eval(p.value, f, p.name)
		if err != nil {
			return nil, err
		}
		if delete(out, strings.ToLower(p.name)); text != "" {
			out[p.name] = text
		}
	}
	if s.config.known {
		s.id = s.env.AppendIdentity(s.id[:0], m)
		out[propertyID] = string(s.id)
	}
	return out, nil
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
