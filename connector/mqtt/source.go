package mqtt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/paho"

	"penstock.dev/penstock"
)

// source subscribes to topics.
type source struct {
	config  SourceConfig
	env     penstock.Env
	session *session
	bodies  *penstock.Payloads
	ready   *penstock.Preparation
	held    []*arrival // taken from the queue, and not handed out: a registry that is away is waited for
	filters []string
	share   string        // what stands in front of each filter
	most    int           // messages of a Read
	idle    time.Duration // see idle

	opened bool
	warned sync.Once

	mu     sync.Mutex
	line   *line               // nil: none is open
	queue  []*arrival          // what nobody has read
	order  []*arrival          // of this connection, not acknowledged, as they came
	ids    map[uint16]*arrival // of these, and of those of the connection before that come again
	unread map[int64]*arrival  // by offset: what is not settled
	seq    int64
	lost   int64         // QoS 0, for lack of room
	news   chan struct{} // there is something in the queue, or the connection is lost
}

// arrival is a message that has come.
type arrival struct {
	line    *line         // that it came on last
	packet  *paho.Publish // as it came last: what is acknowledged
	content *paho.Publish // as it came first
	offset  int64
	settled bool
}

const readMessages = 256

func newSource(c SourceConfig, env penstock.Env) (penstock.Source, error) {
	s := &source{config: c, env: env, most: max(env.Batch, readMessages), idle: idle, ids: map[uint16]*arrival{}, unread: map[int64]*arrival{}, news: make(chan struct{}, 1)}
	var err error
	if s.bodies, err = penstock.NewPayloads("mqtt", c.Format, c.MaxRecord); err != nil {
		return nil, err
	}
	s.ready = s.bodies.Preparation(env)
	if s.session, err = newSession(c.Connection, env); err != nil {
		return nil, err
	}
	for _, t := range c.Topics {
		filter, err := fixed(t, env)
		if err == nil {
			err = checkFilter(filter)
		}
		if err != nil {
			return nil, config(t.Pos.String(), err.Error(), "")
		}
		s.filters = append(s.filters, filter)
	}
	if c.Share != "" {
		s.share = "$share/" + c.Share + "/"
	}
	s.session.manual, s.session.receive, s.session.largest = true, uint16(max(c.ReceiveMaximum, 1)), c.MaxRecord
	s.session.expiry = s.session.config.SessionExpiry.Std()
	return s, nil
}

var _ penstock.Source = (*source)(nil)

// Open implements penstock.Source.
func (s *source) Open(ctx context.Context) error {
	s.drop()
	if err := s.subscribe(ctx); err != nil {
		return s.disconnected(err)
	}
	s.opened = true
	return nil
}

func (s *source) subscribe(ctx context.Context) error {
	l, err := s.session.connect(ctx, s.arrive)
	if err != nil {
		return err
	}
	if !l.answer.SessionPresent {
		s.mu.Lock() // what came in a session that is no more does not come again under its number
		for id, a := range s.ids {
			if a.line != l {
				delete(s.ids, id)
			}
		}
		s.mu.Unlock()
	}
	var subscription paho.Subscribe
	for _, f := range s.filters {
		subscription.Subscriptions = append(subscription.Subscriptions, paho.SubscribeOptions{Topic: s.share + f, QoS: byte(s.config.QoS), NoLocal: s.config.NoLocal,
			RetainAsPublished: true, RetainHandling: map[string]byte{"always": 0, "": 1, "new": 1, "never": 2}[s.config.Retained]})
	}
	answer, err := l.client.Subscribe(ctx, &subscription)
	if answer != nil {
		for i, code := range answer.Reasons {
			if code < 0x80 {
				continue
			}
			r := &refusal{code: code}
			if answer.Properties != nil {
				r.text = answer.Properties.ReasonString
			}
			err = s.session.failure(ctx, r, "subscribe to "+s.filters[min(i, len(s.filters)-1)])
			break
		}
	}
	if err != nil {
		if errors.Is(err, paho.ErrInvalidArguments) {
			err = config(s.session.at, err.Error(), "use topics and options that the broker supports")
		}
		l.close(false)
		return s.session.failure(ctx, err, "subscribe")
	}
	s.mu.Lock()
	s.line = l
	s.mu.Unlock()
	go func() {
		<-l.down
		s.tell()
	}()
	return nil
}

// arrive takes a message, on the goroutine of its connection.
func (s *source) arrive(l *line, p *paho.Publish) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.ContainsFunc(s.filters, func(f string) bool { return matches(f, p.Topic) }) {
		s.warned.Do(func() {
			s.env.Logger.Warn("the session still subscribes to topics that an earlier run wanted: their messages are dropped; another clientId begins a new session", "topic", p.Topic, "connection", s.session.at)
		})
		if p.QoS > 0 {
			s.order = append(s.order, &arrival{line: l, packet: p, settled: true})
			s.acknowledge()
		}
		return
	}
	a := &arrival{line: l, packet: p, content: p}
	if p.QoS > 0 {
		// What has not been acknowledged on the connection before comes again, under the same number, and is the same message: it is not given to the flow once more.
		if old := s.ids[p.PacketID]; old != nil && p.Duplicate() && old.line != l {
			old.line, old.packet = l, p
			s.order = append(s.order, old)
			s.acknowledge()
			return
		}
		s.ids[p.PacketID] = a
		s.order = append(s.order, a)
	} else if len(s.queue) >= 10*max(s.config.ReceiveMaximum, 1) {
		if s.lost++; s.lost&(s.lost-1) == 0 {
			s.env.Logger.Warn("messages of QoS 0 come faster than the flow works: some are lost", "lost", s.lost, "topic", p.Topic)
		}
		return
	}
	a.offset = s.seq
	s.seq++
	s.unread[a.offset] = a
	s.queue = append(s.queue, a)
	if len(s.queue) == 1 {
		s.tell()
	}
}

func (s *source) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// idle is how long nothing must come before a run with --once ends.
const idle = time.Second

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	var quiet <-chan time.Time
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		l := s.take()
		n, err := s.ready.Ready(ctx, len(s.held), func(i int) []byte { return s.held[i].content.Payload })
		for _, a := range s.held[:n] {
			s.append(into, a)
		}
		s.held = slices.Delete(s.held, 0, n)
		switch {
		case err != nil:
			return err
		case n > 0:
			return nil
		case l == nil:
			return fmt.Errorf("%w: %s", penstock.ErrDisconnected, s.session.at)
		}
		select {
		case <-l.down:
			s.drop()
			return s.gone(ctx, l)
		default:
		}
		if len(s.held) > 0 {
			continue
		}
		if s.env.Once && quiet == nil {
			c, stop := s.env.Clock.NewTimer(s.idle)
			defer stop()
			quiet = c
		}
		select {
		case <-s.news:
		case <-quiet:
			return io.EOF
		case <-ctx.Done():
		}
	}
}

// gone says that a connection is lost: whether it is to be opened again depends on why.
func (s *source) gone(ctx context.Context, l *line) error {
	err := s.session.failure(ctx, l.because, "read")
	if !penstock.CodeOf(err).Transient() && ctx.Err() == nil {
		return err
	}
	s.env.Logger.Warn("the connection was lost; trying again", "connection", s.session.at, "error", l.because)
	return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
}

// take takes messages that have come, where none are held, and gives the connection that is open.
func (s *source) take() *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.held) == 0 {
		n := min(len(s.queue), s.most)
		s.held = append(s.held, s.queue[:n]...)
		s.queue = slices.Delete(s.queue, 0, n)
	}
	if len(s.queue) > 0 {
		s.tell()
	}
	return s.line
}

// append makes a message of what has come.
func (s *source) append(into *penstock.Batch, a *arrival) {
	m := into.Append()
	m.Pos = penstock.Position{Stream: s.session.id, Offset: a.offset, Next: a.offset + 1}
	receive(m, a.content)
	if err := s.bodies.Body(into, m.Body, a.content.Payload); err != nil {
		into.Fail(len(into.Msgs)-1, err)
	}
}

// Settle implements penstock.Source. The broker hears of messages in the order in which they came (MQTT 5, section 4.6): one that is settled waits for those
// before it.
func (s *source) Settle(_ context.Context, outcomes []penstock.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range outcomes {
		if o := &outcomes[i]; o.Err == nil {
			if a := s.unread[o.Pos.Offset]; a != nil {
				delete(s.unread, o.Pos.Offset)
				a.settled = true
			}
		}
	}
	s.acknowledge()
	return nil
}

// acknowledge acknowledges what is settled, up to the first message that is not.
func (s *source) acknowledge() {
	n := 0
	for ; n < len(s.order) && s.order[n].settled; n++ {
		a := s.order[n]
		if a.line.isDown() { // it comes again
			break
		}
		// The number may be used again from now on: what comes under it is another message.
		if s.ids[a.packet.PacketID] == a {
			delete(s.ids, a.packet.PacketID)
		}
		_ = s.session.state.Ack(a.packet.Packet()) // it fails where the connection is lost: it comes again
	}
	s.order = slices.Delete(s.order, 0, n)
}

// drop gives up the connection.
func (s *source) drop() {
	s.mu.Lock()
	l := s.line
	s.line, s.order = nil, s.order[:0]
	s.mu.Unlock()
	if l != nil {
		l.close(false)
	}
}

// disconnected asks for a new Open where the other side is away. At the first Open that is an error as any other.
func (s *source) disconnected(err error) error {
	if err == nil || !s.opened || !penstock.CodeOf(err).Transient() {
		return err
	}
	s.env.Logger.Warn("can't subscribe; trying again", "connection", s.session.at, "error", err)
	return fmt.Errorf("%w: %w", penstock.ErrDisconnected, err)
}

// Close implements penstock.Source. The session stays at the broker, for as long as sessionExpiry says.
func (s *source) Close(context.Context) error {
	s.drop()
	return nil
}

// Names of meta that stand for what a message has beside its payload and its user properties (MQTT 5, section 3.3.2.3).
const (
	metaTopic         = "topic"
	metaQoS           = "qos"
	metaRetain        = "retain"
	metaContentType   = "content-type"
	metaResponseTopic = "response-topic"
	metaCorrelation   = "correlation-data"
	metaMessageID     = "message-id"

	// keyProperty holds the key of a message, for which MQTT has no place.
	keyProperty = "penstock-key"
)

// receive makes key and meta of what stands in a message beside its payload.
func receive(m *penstock.Message, p *paho.Publish) {
	m.Meta.Add(metaTopic, penstock.StringValue(p.Topic))
	if p.QoS > 0 {
		m.Meta.Add(metaQoS, penstock.IntValue(int64(p.QoS)))
	}
	if p.Retain {
		m.Meta.Add(metaRetain, penstock.True)
	}
	props := p.Properties
	if props == nil {
		return
	}
	if props.ContentType != "" {
		m.Meta.Add(metaContentType, penstock.StringValue(props.ContentType))
	}
	if props.ResponseTopic != "" {
		m.Meta.Add(metaResponseTopic, penstock.StringValue(props.ResponseTopic))
	}
	if len(props.CorrelationData) > 0 {
		v := penstock.BytesValue(props.CorrelationData)
		if utf8.Valid(props.CorrelationData) {
			v = penstock.StringValue(string(props.CorrelationData))
		}
		m.Meta.Add(metaCorrelation, v)
	}
	event := carriesEvent(props.User)
	for _, u := range props.User {
		if u.Key == keyProperty {
			m.Key = u.Value
			continue
		}
		if event && penstock.IsEventAttribute(u.Key) {
			m.Meta.Set(penstock.EventPrefix+u.Key, penstock.StringValue(u.Value))
			continue
		}
		m.Meta.Set(u.Key, penstock.StringValue(u.Value)) // the last, where a name stands there twice
	}
}
