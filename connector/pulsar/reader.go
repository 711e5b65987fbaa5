package pulsar

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// Names of meta that say where a message came from. The sink writes none that begin like these.
const (
	metaPrefix      = "pulsar-"
	metaTopic       = "pulsar-topic"
	metaOrderingKey = "pulsar-ordering-key"
)

// propertyID is the property that holds the identity of a message.
const propertyID = "penstock-id"

// reader reads topics by a subscription.
type reader struct {
	config SourceConfig
	env    penstock.Env
	bodies *penstock.Payloads
	link   *link
	was    bool // opened before
	atMost int

	arrived chan client.ConsumerMessage
	topics  []*reading

	mu     sync.Mutex
	ledger ledger
	out    map[place]*delivery // handed out
	wake   chan struct{}       // something failed, or Read is to look
	acks   chan struct{}       // something is to be acknowledged
	failed error
	heard  time.Time // of the last message
	stop   func()

	stuck bool // the next message can't be read now: it comes again on the next subscription, and those behind it
}

// reading is a topic that is read.
type reading struct {
	name     string
	consumer client.Consumer
	ends     map[string]offset // with `--once`: by partition, what is read up to
	versions *versions         // of the schema that messages are written with; nil: they are read as they are
}

// place is how the engine names a message.
type place struct {
	stream string
	offset int64
}

// delivery is a message that was handed out.
type delivery struct {
	entry *entry
	index int32
	id    client.MessageID
	again uint32 // how often it was given before
}

// positioned is a reader whose position the engine keeps.
type positioned struct{ *reader }

var (
	_ penstock.Source     = (*reader)(nil)
	_ penstock.Positioned = (*positioned)(nil)
	_ penstock.Forgetter  = (*positioned)(nil)
)

func newReader(c SourceConfig, env penstock.Env) (*reader, error) {
	bodies, err := penstock.NewPayloads("pulsar", c.Format, 0) // the broker bounds them
	if err != nil {
		return nil, err
	}
	return &reader{config: c, env: env, bodies: bodies, atMost: max(env.Batch, 512), out: map[place]*delivery{}, wake: make(chan struct{}, 1), acks: make(chan struct{}, 1)}, nil
}

// Resume implements penstock.Positioned.
func (r *positioned) Resume(_ context.Context, from []penstock.Position) error {
	r.ledger.resume(from)
	return nil
}

// Over implements penstock.Forgetter.
func (r *positioned) Over() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ledger.over()
}

// Open implements penstock.Source: it subscribes.
func (r *reader) Open(ctx context.Context) error {
	r.halt(ctx)
	err := r.open(ctx)
	if err != nil {
		r.halt(ctx)
		if r.was && penstock.CodeOf(err).Transient() {
			return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
		}
		return err
	}
	r.was = true
	return nil
}

func (r *reader) open(ctx context.Context) (err error) {
	if r.link, err = connect(r.config.Connection, r.env); err != nil {
		return err
	}
	c, err := r.link.open()
	if err != nil {
		return err
	}
	subscription, err := fixed(r.config.Subscription, r.env)
	if err == nil && subscription == "" {
		subscription = flowOf(r.env.Name)
	}
	if err == nil {
		err = checkName("subscription", subscription)
	}
	if err != nil {
		return config(r.env.Name, "", "%w", err)
	}
	r.mu.Lock()
	r.failed, r.stuck, r.heard = nil, false, r.env.Clock.Now()
	r.mu.Unlock()
	schema, err := declare(r.config.TopicSchema, r.config.Format, r.env.Name)
	if err != nil {
		return err
	}
	r.arrived = make(chan client.ConsumerMessage, min(r.config.Prefetch, 1000))
	start := client.SubscriptionPositionEarliest
	if r.config.Start == "latest" {
		start = client.SubscriptionPositionLatest
	}
	for _, t := range r.config.names() {
		name, err := fixed(t, r.env)
		if err == nil {
			err = checkTopic(name)
		}
		if err != nil {
			return config(r.env.Name, "", "%w", err)
		}
		topic, _ := parseTopic(name)
		failures := 0
		o := client.ConsumerOptions{
			Topic: topic.String(), SubscriptionName: subscription, Type: r.config.kind(), SubscriptionInitialPosition: start, MessageChannel: r.arrived,
			ReceiverQueueSize: r.config.Prefetch, AckWithResponse: true, EnableBatchIndexAcknowledgment: true, Name: r.env.Name,
			BackOffPolicyFunc: mender(func() {
				if failures++; failures >= 3 { // the engine asks why, and tries again
					r.fail(fmt.Errorf("%w: the subscription %s of topic %s is broken", penstock.ErrDisconnected, subscription, name))
				}
			}),
			AutoDiscoveryPeriod: 15 * time.Second,
		}
		if schema != nil {
			o.Schema = schema
		}
		if n := r.config.NegativeAck; n != nil {
			o.NackRedeliveryDelay = n.Delay.Std()
		}
		consumer, err := within(ctx, r.link, func() (client.Consumer, error) { return c.Subscribe(o) }, func(c client.Consumer) { c.Close() })
		if err != nil {
			return r.link.failure(err, "topic "+name+", subscription "+subscription)
		}
		reading := &reading{name: topic.String(), consumer: consumer}
		r.topics = append(r.topics, reading)
		if schema != nil && schema.GetSchemaInfo().Type != client.JSON {
			v := &versions{topic: topic, format: r.config.Format, known: map[string]written{}}
			if v.admin, err = r.link.admin(); err == nil {
				v.own, err = v.admin.version(ctx, topic, schema.GetSchemaInfo())
			}
			if err != nil {
				return err
			}
			reading.versions = v
		}
		if r.env.Once {
			if err := reading.end(ctx, r.link); err != nil {
				return r.link.failure(err, "topic "+name)
			}
		}
	}
	keeping, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	topics := r.topics
	kept.Go(func() { r.acknowledge(keeping, topics) })
	kept.Go(func() { r.look(keeping, topics) })
	r.stop = func() {
		cancel()
		kept.Wait()
	}
	return nil
}

// end notes what is in the topic now.
func (t *reading) end(ctx context.Context, l *link) error {
	ids, err := within(ctx, l, t.consumer.GetLastMessageIDs, nil)
	if err != nil {
		return err
	}
	t.ends = map[string]offset{}
	for _, id := range ids {
		if id.EntryID() >= 0 {
			t.ends[id.Topic()] = offset{id.LedgerID(), id.EntryID()}
		}
	}
	return nil
}

// fail has the next Read fail.
func (r *reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.failed = err
	}
	signal(r.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// The pauses of look.
const (
	lookEvery = 500 * time.Millisecond
	silent    = 30 * time.Second // a consumer that hears nothing for so long is asked whether the broker knows it
	enough    = 3 * time.Second  // with `--once`: nothing has come for so long
)

// look sees that consumers live, which say nothing when their topic was deleted, and with `--once`, whether everything was read.
func (r *reader) look(ctx context.Context, topics []*reading) {
	asked := r.env.Clock.Now()
	for {
		c, end := r.env.Clock.NewTimer(lookEvery)
		select {
		case <-ctx.Done():
			end()
			return
		case <-c:
		}
		now := r.env.Clock.Now()
		r.mu.Lock()
		heard := r.heard
		r.mu.Unlock()
		if r.env.Once && r.ended(topics, now.Sub(heard)) {
			r.fail(io.EOF)
			return
		}
		if now.Sub(heard) < silent || now.Sub(asked) < silent {
			continue
		}
		asked = now
		for _, t := range topics {
			if _, err := within(ctx, r.link, t.consumer.GetLastMessageIDs, nil); err != nil && ctx.Err() == nil {
				r.fail(fmt.Errorf("%w: %w", penstock.ErrDisconnected, r.link.failure(err, "topic "+t.name)))
				return
			}
		}
	}
}

// ended says that everything that was there at the start was read: the last messages were seen, or nothing comes any more, since what is left is behind a cursor that we
// can't see.
func (r *reader) ended(topics []*reading, quiet time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.arrived) > 0 {
		return false
	}
	if quiet >= enough {
		return true
	}
	for _, t := range topics {
		for name, last := range t.ends {
			if r.ledger.part(name).latest.before(last) {
				return false
			}
		}
	}
	return true
}

// readBytes bounds what is read at a time.
const readBytes = 8 << 20

// Read implements penstock.Source.
func (r *reader) Read(ctx context.Context, into *penstock.Batch) error {
	before, size, skipped := len(into.Msgs), 0, false
	take := func(m client.ConsumerMessage) {
		size += len(m.Payload()) + 256
		skipped = !r.take(ctx, into, m) || skipped
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		for here := !r.stuck; here && !r.stuck && size < readBytes && len(into.Msgs)-before < r.atMost; {
			select {
			case m := <-r.arrived:
				take(m)
			default:
				here = false
			}
		}
		if skipped {
			signal(r.acks)
		}
		if len(into.Msgs) > before {
			return nil
		}
		size, skipped = 0, false
		r.mu.Lock()
		err := r.failed
		r.mu.Unlock()
		if err != nil && (r.stuck || len(r.arrived) == 0) {
			return err
		}
		select {
		case m := <-r.arrived:
			take(m)
		case <-r.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take makes a message of what the client gives. It reports whether it is one that is not here already.
func (r *reader) take(ctx context.Context, into *penstock.Batch, in client.ConsumerMessage) bool {
	id := in.ID()
	topic, known := 0, (*versions)(nil)
	for i, t := range r.topics {
		if t.consumer == in.Consumer {
			topic, known = i, t.versions
		}
	}
	written, err := known.of(ctx, in.SchemaVersion())
	later := err != nil && penstock.CodeOf(err).Transient()
	if err == nil && known == nil { // a registry that is away holds the flow up: what is given back comes again, in order
		err = r.bodies.Prepare(ctx, in.Payload())
		later = err != nil
	}
	if err != nil {
		r.stuck = true
		if ctx.Err() != nil || later {
			err = fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
		}
		r.fail(err)
		return true
	}
	r.mu.Lock()
	r.heard = r.env.Clock.Now()
	pos, e, fresh := r.ledger.arrive(topic, id, r.ledger.part(in.Topic()))
	if fresh {
		r.out[place{pos.Stream, pos.Offset}] = &delivery{e, max(id.BatchIdx(), 0), id, in.RedeliveryCount()}
	}
	r.mu.Unlock()
	if !fresh {
		return false
	}
	m := into.Append()
	m.Pos = pos
	if m.Time = in.EventTime(); m.Time.IsZero() || m.Time.Unix() <= 0 {
		m.Time = in.PublishTime()
	}
	m.Key = valid(in.Key())
	m.Meta.Add(metaTopic, penstock.StringValue(strings.TrimPrefix(in.Topic(), "persistent://")))
	if k := in.OrderingKey(); k != "" {
		m.Meta.Add(metaOrderingKey, penstock.StringValue(valid(k)))
	}
	format, lists := "", ""
	for name, v := range in.Properties() {
		switch name {
		case propertyFormat:
			format = v
		case propertyJSON:
			lists = v
		default:
			m.Meta.Set(valid(name), penstock.StringValue(valid(v)))
		}
	}
	if lists != "" {
		structured(m, lists, into)
	}
	switch {
	case written.err != nil:
		err = written.err
		m.Body.Reset(jsonview.Binary, in.Payload())
	case written.bodies != nil:
		err = written.bodies.Body(into, m.Body, in.Payload())
	default:
		err = r.body(into, m, in.Payload(), format)
	}
	if err != nil {
		into.Fail(len(into.Msgs)-1, err)
	}
	return true
}

// body makes the body of a payload.
func (r *reader) body(into *penstock.Batch, m *penstock.Message, payload []byte, format string) error {
	switch {
	case r.config.Format.Name != "json":
	case format == formatText && utf8.Valid(payload):
		m.Body.Reset(jsonview.Text, payload)
		return nil
	case format == formatBytes:
		m.Body.Reset(jsonview.Binary, payload)
		return nil
	}
	return r.bodies.Body(into, m.Body, payload)
}

// structured makes values of properties that are JSON.
func structured(m *penstock.Message, lists string, into *penstock.Batch) {
	for name := range strings.SplitSeq(lists, ",") {
		v := m.Meta.Get(name)
		if v.Kind() != penstock.KindString {
			continue
		}
		d := into.NewDoc()
		d.Reset(jsonview.JSON, []byte(v.Str()))
		if d.Parse(jsonview.Limits{}) == nil { // else it was never ours
			m.Meta.Set(name, penstock.NodeValue(d, 0).Load(into.Arena()))
		}
	}
}

// valid makes text of what may have any bytes.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// halt ends the receiving. What could not be acknowledged is, when it comes again.
func (r *reader) halt(ctx context.Context) {
	if r.stop != nil {
		stop := r.stop
		r.stop = nil
		r.bounded(ctx, stop)
	}
	topics := r.topics
	r.topics = nil
	if len(topics) == 0 {
		return
	}
	arrived := r.arrived
	r.bounded(ctx, func() {
		for _, t := range topics {
			t.consumer.Close()
		}
	})
	for len(arrived) > 0 {
		<-arrived
	}
}

// bounded waits for do, which asks a broker that may be away, for a while.
func (r *reader) bounded(ctx context.Context, do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	c, end := r.env.Clock.NewTimer(2 * time.Second)
	defer end()
	select {
	case <-done:
	case <-ctx.Done():
	case <-c:
	}
}

// Close implements penstock.Source. The broker gives what was not settled to whoever reads next.
func (r *reader) Close(ctx context.Context) error {
	r.halt(ctx)
	return nil
}
