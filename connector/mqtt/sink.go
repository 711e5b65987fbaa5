package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// sink publishes messages.
type sink struct {
	config  SinkConfig
	env     penstock.Env
	session *session
	names   []string // of the further properties, in order

	line    *line
	largest int     // packet that the broker takes
	body    []byte  // scratch
	id      []byte  // scratch
	fates   []error // scratch: of the messages of a Write
	asked   []chan packets.ControlPacket
}

var errPending = errors.New("not acknowledged")

func newSink(c SinkConfig, env penstock.Env) (penstock.Sink, error) {
	s := &sink{config: c, env: env}
	if c.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "mqtt", "format", "no codec")
	}
	var err error
	if s.session, err = newSession(c.Connection, env); err != nil {
		return nil, err
	}
	for name := range c.Properties {
		s.names = append(s.names, name)
	}
	slices.Sort(s.names)
	s.begin()
	return s, nil
}

var _ penstock.Sink = (*sink)(nil)

// begin begins a new session: what was on its way in the old one is not published again by the client.
func (s *sink) begin() {
	s.session.state, s.session.fresh, s.session.expiry = state.NewInMemory(), true, sinkSession
}

// sinkSession is how long the broker keeps the session of a sink that has lost its connection: messages of QoS 2 that were on their way are then there once.
const sinkSession = 10 * time.Minute

// Open implements penstock.Sink.
func (s *sink) Open(ctx context.Context) error {
	if s.line != nil {
		return nil
	}
	return s.connect(ctx)
}

func (s *sink) connect(ctx context.Context) error {
	l, err := s.session.connect(ctx, nil)
	if err != nil {
		return err
	}
	s.largest = math.MaxInt
	if p := l.answer.Properties; p != nil {
		var wrong error
		switch {
		case p.MaximumQoS != nil && int(*p.MaximumQoS) < s.config.QoS:
			wrong = config(s.session.at, fmt.Sprintf("the broker takes messages with a QoS of %d at most", *p.MaximumQoS), "lower `qos`")
		case !p.RetainAvailable && s.config.Retain:
			wrong = config(s.session.at, "the broker keeps no messages", "leave `retain` out")
		}
		if wrong != nil {
			l.close(true)
			return wrong
		}
		if p.MaximumPacketSize != nil {
			s.largest = int(*p.MaximumPacketSize)
		}
	}
	s.line = l
	return nil
}

func (s *sink) drop() {
	if s.line != nil {
		s.line.close(false)
		s.line = nil
	}
}

// Write implements penstock.Sink. Where the connection is lost, what was not acknowledged is published again: by the client, under the same numbers, where the broker
// still has the session, else anew.
func (s *sink) Write(ctx context.Context, b *penstock.Batch) error {
	if len(b.Msgs) == 0 {
		return nil
	}
	s.fates = s.fates[:0]
	s.asked = append(s.asked[:0], make([]chan packets.ControlPacket, len(b.Msgs))...)
	for range b.Msgs {
		s.fates = append(s.fates, errPending)
	}
	var since time.Time
	for tries := 0; ; {
		left := s.pending()
		err := s.publish(ctx, b)
		now := s.pending()
		if err == nil && now == 0 {
			break
		}
		if err == nil { // the client has given some up
			continue
		}
		if now < left {
			tries, since = 0, time.Time{}
		}
		if ctx.Err() != nil || !s.patient(ctx, err, &since, &tries) {
			err = s.session.failure(ctx, err, "publish")
			for i := range s.fates {
				if errors.Is(s.fates[i], errPending) {
					s.fates[i] = err
				}
			}
			s.drop()
			s.begin()
			break
		}
	}
	return b.WriteError("mqtt", s.session.at, func(i int) error { return s.fates[i] })
}

func (s *sink) pending() (n int) {
	for _, err := range s.fates {
		if errors.Is(err, errPending) {
			n++
		}
	}
	return n
}

// patient waits before the broker is tried again; false when it was long enough.
func (s *sink) patient(ctx context.Context, err error, since *time.Time, tries *int) bool {
	now := s.env.Clock.Now()
	if since.IsZero() {
		*since = now
		s.env.Logger.Warn("can't publish; trying again", "connection", s.session.at, "error", err)
	}
	if now.Sub(*since) >= s.session.config.Patience.Std() {
		return false
	}
	*tries++
	fired, stop := s.env.Clock.NewTimer(min(time.Duration(*tries)*100*time.Millisecond, 5*time.Second))
	select {
	case <-fired:
		return true
	case <-ctx.Done():
		stop()
		return false
	}
}

// publish publishes what is pending, and waits for the acknowledgements. An error says that the connection is lost, or that ctx has ended.
func (s *sink) publish(ctx context.Context, b *penstock.Batch) error {
	if s.line == nil {
		if err := s.connect(ctx); err != nil {
			return err
		}
		if !s.line.answer.SessionPresent {
			clear(s.asked) // the client has forgotten them
		}
	}
	l := s.line
	for i, m := range b.Msgs {
		if !errors.Is(s.fates[i], errPending) || s.asked[i] != nil {
			continue
		}
		p, err := s.letter(b, m)
		if err != nil {
			s.fates[i] = err
			continue
		}
		if s.config.QoS == 0 {
			if _, err := p.WriteTo(l.wire); err != nil {
				return s.gone(ctx, err)
			}
			s.fates[i] = nil
			continue
		}
		answer := make(chan packets.ControlPacket, 1)
		// It gets a number, and a place among those that the broker takes without having acknowledged them: it waits for one.
		if err := s.session.state.AddToSession(ctx, p, answer); err != nil {
			return s.gone(ctx, err)
		}
		s.asked[i] = answer
		if _, err := p.WriteTo(l.wire); err != nil {
			return s.gone(ctx, err)
		}
	}
	for i := range b.Msgs {
		if s.asked[i] == nil || !errors.Is(s.fates[i], errPending) {
			continue
		}
		if err := s.await(ctx, l, i); err != nil {
			return err
		}
	}
	return nil
}

// await waits for the acknowledgement of a message.
func (s *sink) await(ctx context.Context, l *line, i int) error {
	select {
	case answer := <-s.asked[i]:
		s.answered(i, answer)
		return nil
	default:
	}
	select {
	case answer := <-s.asked[i]:
		s.answered(i, answer)
		return nil
	case <-l.down:
		return s.gone(ctx, l.because)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answered notes what the broker says of a message.
func (s *sink) answered(i int, answer packets.ControlPacket) {
	s.asked[i] = nil
	var code byte
	var text string
	switch a := answer.Content.(type) {
	case *packets.Puback:
		code = a.ReasonCode
		if a.Properties != nil {
			text = a.Properties.ReasonString
		}
	case *packets.Pubrec:
		code = a.ReasonCode
		if a.Properties != nil {
			text = a.Properties.ReasonString
		}
	case *packets.Pubcomp:
		code = a.ReasonCode
	default:
		return // the session was ended: it is published again
	}
	s.fates[i] = nil
	if code >= 0x80 && answer.Type != packets.PUBCOMP {
		s.fates[i] = s.session.failure(context.Background(), &refusal{code, text}, "publish")
	}
}

// gone gives up the connection.
func (s *sink) gone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case <-s.line.down:
		err = s.line.because
	default:
	}
	s.drop()
	return err
}

// letter makes the packet of a message. Its payload is a copy: the client keeps it until it is acknowledged.
func (s *sink) letter(b *penstock.Batch, m *penstock.Message) (*packets.Publish, error) {
	c := &s.config
	var err error
	if s.body, err = c.Format.Codec.Encode(s.body[:0], m.Body); err != nil {
		return nil, err
	}
	f := b.Frame(m)
	text := func(t *penstock.Template, otherwise string) (out string) {
		if err != nil || t.IsZero() {
			return otherwise
		}
		out, err = evaluate(*t, f)
		return out
	}
	header := func(name string) string {
		out, _ := plain(m.Meta.Get(name))
		return out
	}
	p := &paho.Publish{QoS: byte(c.QoS), Retain: c.Retain, Payload: slices.Clone(s.body), Properties: &paho.PublishProperties{}}
	p.Topic = text(&c.Topic, "")
	if err == nil {
		if bad := checkTopic(p.Topic); bad != nil {
			err = &penstock.Error{Code: penstock.Unprocessable, Op: "mqtt", Path: c.Topic.Pos.String(), Err: bad}
		}
	}
	props := p.Properties
	props.ContentType = text(&c.ContentType, cmp.Or(m.EventContentType(), c.Format.ContentType()))
	props.ResponseTopic = text(&c.ResponseTopic, header(metaResponseTopic))
	if data := text(&c.CorrelationData, correlation(m)); data != "" {
		props.CorrelationData = []byte(data)
	}
	if c.Expiry > 0 {
		n := uint32(min(c.Expiry.Std()/time.Second, math.MaxUint32))
		props.MessageExpiry = &n
	}
	id := text(&c.MessageID, "")
	if c.MessageID.IsZero() {
		s.id = s.env.AppendIdentity(s.id[:0], m)
		id = string(s.id)
	}
	if err != nil {
		return nil, err
	}
	if props.User, err = s.properties(f, m, id); err != nil {
		return nil, err
	}
	size := 32 + len(p.Topic) + len(p.Payload) + len(props.ContentType) + len(props.ResponseTopic) + len(props.CorrelationData)
	for _, u := range props.User {
		if bad := errors.Join(checkText(u.Key, "name of a user property"), checkText(u.Value, "user property "+u.Key)); bad != nil {
			return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "mqtt", Path: "meta", Err: bad}
		}
		size += 5 + len(u.Key) + len(u.Value)
	}
	for _, bad := range []error{checkText(props.ContentType, "content type"), checkText(props.ResponseTopic, "response topic")} {
		if bad != nil {
			return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "mqtt", Err: bad}
		}
	}
	if size > s.largest {
		return nil, &penstock.Error{Code: penstock.TooLarge, Op: "mqtt", Path: "body", Err: fmt.Errorf("the packet has %s, and the broker takes %s at most", penstock.Size(size), penstock.Size(s.largest)), Hint: "raise the broker's limit, or split the message"}
	}
	return p.Packet(), nil
}

// said are the names of meta that speak of how a message was delivered here, or that have a place of their own in the packet.
var said = map[string]bool{metaTopic: true, metaQoS: true, metaRetain: true, metaContentType: true, metaResponseTopic: true, metaCorrelation: true, metaMessageID: true}

// properties are the user properties of a message.
func (s *sink) properties(f *penstock.Frame, m *penstock.Message, id string) (out paho.UserProperties, err error) {
	add := func(name, value string) { out = append(out, paho.UserProperty{Key: name, Value: value}) }
	if id != "" {
		add(metaMessageID, id)
	}
	if m.Key != "" {
		add(keyProperty, m.Key)
	}
	event := m.IsEvent()
	for _, e := range m.Meta.Entries() {
		if _, own := s.config.Properties[e.Name]; own || said[e.Name] {
			continue
		}
		if text, ok := plain(e.Value); ok {
			name := e.Name
			if event {
				name = penstock.EventHeader(name, "")
			}
			add(name, text)
		}
	}
	for _, name := range s.names {
		text, err := evaluate(s.config.Properties[name], f)
		if err != nil {
			return nil, err
		}
		if text != "" {
			add(name, text)
		}
	}
	return out, nil
}

// correlation is the header correlation-data of a message.
func correlation(m *penstock.Message) string {
	v := m.Meta.Get(metaCorrelation)
	if v.Kind() == penstock.KindBytes {
		return string(v.Bytes())
	}
	out, _ := plain(v)
	return out
}

// evaluate evaluates a text. What is absent or null is empty.
func evaluate(t penstock.Template, f *penstock.Frame) (string, error) {
	if t.Program == nil {
		return t.Source, nil
	}
	v := t.Program.Eval(f)
	if v.IsError() {
		return "", v.Err()
	}
	out, ok := plain(v)
	if !ok && !v.IsAbsent() && v.Kind() != penstock.KindNull {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "mqtt", Path: t.Pos.String(), Err: errors.New("the value of " + t.Source + " is no text")}
	}
	return out, nil
}

// plain is the text of a value; not of one that is null, a list or an object.
func plain(v penstock.Value) (string, bool) {
	switch v.Kind() {
	case penstock.KindAbsent, penstock.KindNull, penstock.KindList, penstock.KindMap, penstock.KindError:
		return "", false
	case penstock.KindString:
		return v.Str(), true
	case penstock.KindNode:
		switch d, n := v.Node(); d.Kind(n) {
		case jsonview.String:
			return d.Str(n, nil), true
		case jsonview.Null, jsonview.Object, jsonview.Array:
			return "", false
		}
	}
	out, err := v.AppendText(nil)
	return string(out), err == nil
}

// Close implements penstock.Sink. What was written is acknowledged; the session ends.
func (s *sink) Close(context.Context) error {
	if s.line != nil {
		s.line.close(true)
		s.line = nil
	}
	return nil
}
