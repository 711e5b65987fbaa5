package pulsar

import (
	"fmt"
	"strings"
	"time"

	client "github.com/apache/pulsar-client-go/pulsar"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// outgoing is a message on its way.
type outgoing struct {
	msg   client.ProducerMessage
	topic string
	err   error
	done  bool
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
