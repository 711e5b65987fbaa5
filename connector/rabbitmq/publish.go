package rabbitmq

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// received are the names of meta that speak of how a message was delivered here, or how its payload was written there: they don't go out again. The user is
// the one who publishes, and a server refuses any other; how long a message is kept anew is said anew.
var received = map[string]bool{
	metaExchange: true, metaRoutingKey: true, metaRedelivered: true, metaUserID: true, metaContentType: true, metaContentEncoding: true, metaMessageID: true,
	metaExpiration: true, metaTimestamp: true, streamOffset: true, "x-delivery-count": true,
	"x-death": true, "x-first-death-exchange": true, "x-first-death-queue": true, "x-first-death-reason": true,
	"x-last-death-exchange": true, "x-last-death-queue": true, "x-last-death-reason": true,
}

// property says that a header of meta goes out as a property, in place of a header: it has the name of one, and a value that fits.
func property(name string, v penstock.Value) (string, bool) {
	switch name {
	case metaCorrelationID, metaReplyTo, metaType, metaAppID:
		text, ok := plain(v)
		return text, ok && len(text) <= 255
	case metaPriority:
		text, ok := plain(v)
		_, err := strconv.ParseUint(text, 10, 8)
		return text, ok && err == nil
	}
	return "", false
}

// letter makes what is published of a message. The memory of the payload is s.body, until the next call.
func (s *sink) letter(b *penstock.Batch, m *penstock.Message) (key string, p amqp.Publishing, err error) {
	c := &s.config
	if s.body, err = c.Format.Codec.Encode(s.body[:0], m.Body); err != nil {
		return "", p, err
	}
	p.Body = s.body
	p.DeliveryMode = s.mode
	f := b.Frame(m)
	text := func(t *penstock.Template, name, otherwise string) (out string) {
		switch {
		case err != nil:
			return ""
		case !t.IsZero():
			out, err = short(*t, f)
			return out
		}
		if out, ok := property(name, m.Meta.Get(name)); ok {
			return out
		}
		return otherwise
	}
	if key = s.queue; key == "" {
		key = text(&c.RoutingKey, "", "")
	}
	p.ContentType = text(&c.ContentType, "", cmp.Or(m.EventContentType(), c.Format.ContentType()))
	if p.MessageId = text(&c.MessageID, "", ""); c.MessageID.IsZero() {
		s.id = s.env.AppendIdentity(s.id[:0], m)
		p.MessageId = string(s.id)
	}
	p.Type = text(&c.Type, metaType, "")
	p.CorrelationId = text(&c.CorrelationID, metaCorrelationID, "")
	p.ReplyTo = text(&c.ReplyTo, metaReplyTo, "")
	p.AppId, _ = property(metaAppID, m.Meta.Get(metaAppID))
	if p.Timestamp = m.Time; p.Timestamp.Unix() < 0 {
		p.Timestamp = time.Time{}
	}
	if t := text(&c.Priority, metaPriority, ""); t != "" {
		n, e := strconv.ParseUint(t, 10, 8)
		if e != nil {
			err = &penstock.Error{Code: penstock.Unprocessable, Op: "rabbitmq", Path: "priority", Err: fmt.Errorf("%.40q is no priority, which is a whole number from 0 to 255", t)}
		}
		p.Priority = uint8(n)
	}
	if t := text(&c.Expiration, "", ""); t != "" {
		p.Expiration, err = milliseconds(t)
	}
	if err != nil {
		return "", p, err
	}
	p.Headers, err = s.headers(f, m)
	return key, p, err
}

// headers are those of the message, and those that the configuration adds. Nil where there are none.
func (s *sink) headers(f *penstock.Frame, m *penstock.Message) (amqp.Table, error) {
	var t amqp.Table
	set := func(name string, v any) {
		if t == nil {
			t = amqp.Table{}
		}
		t[name] = v
	}
	event := m.IsEvent()
	for _, e := range m.Meta.Entries() {
		if received[e.Name] || len(e.Name) > 255 {
			continue
		}
		if _, is := property(e.Name, e.Value); is {
			continue
		}
		if v, ok := toField(e.Value); ok {
			name := e.Name
			if event {
				name = penstock.EventHeader(name, eventProperty)
			}
			set(name, v)
		}
	}
	for name, tmpl := range s.config.Headers {
		v := penstock.StringValue(tmpl.Source)
		if tmpl.Program != nil {
			v = tmpl.Program.Eval(f)
		}
		if v.IsError() {
			return nil, v.Err()
		}
		if field, ok := toField(v); ok {
			set(name, field)
		}
	}
	if m.Key != "" {
		set(keyHeader, m.Key)
	}
	return t, nil
}

// short evaluates a text of a property, which has at most 255 bytes. What is absent or null is empty.
func short(t penstock.Template, f *penstock.Frame) (string, error) {
	if t.Program == nil {
		return t.Source, nil
	}
	v := t.Program.Eval(f)
	if v.IsError() {
		return "", v.Err()
	}
	out, ok := plain(v)
	if !ok && !v.IsAbsent() && v.Kind() != penstock.KindNull {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "rabbitmq", Path: t.Pos.String(), Err: errors.New("the value of " + t.Source + " is no text")}
	}
	if len(out) > 255 {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "rabbitmq", Path: t.Pos.String(), Err: fmt.Errorf("%s has %d bytes, and AMQP takes 255 at most", t.Source, len(out))}
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

// milliseconds makes the text of an expiration: of a duration (30s), or of what is milliseconds already.
func milliseconds(text string) (string, error) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return strconv.FormatUint(n, 10), nil
	}
	d, err := penstock.ParseDuration(text)
	if err != nil || d < 0 {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "rabbitmq", Path: "expiration", Err: fmt.Errorf("%.40q is neither a duration (30s) nor a number of milliseconds", text)}
	}
	return strconv.FormatInt(d.Std().Milliseconds(), 10), nil
}

// toField makes a field of a table of a value: text, numbers, truths and times keep their type, lists and objects become lists and tables. Not ok for what is absent.
func toField(v penstock.Value) (any, bool) {
	switch v.Kind() {
	case penstock.KindAbsent, penstock.KindError:
		return nil, false
	case penstock.KindNull:
		return nil, true
	case penstock.KindBool:
		return v.Bool(), true
	case penstock.KindInt:
		return v.Int(), true
	case penstock.KindUint:
		if v.Uint() <= math.MaxInt64 {
			return int64(v.Uint()), true
		}
	case penstock.KindDouble:
		return v.Double(), true
	case penstock.KindString:
		return v.Str(), true
	case penstock.KindBytes:
		return v.Bytes(), true
	case penstock.KindTimestamp:
		return v.Timestamp(), true
	case penstock.KindList:
		out := []any{}
		for _, e := range v.List().Elems {
			f, _ := toField(e)
			out = append(out, f)
		}
		return out, true
	case penstock.KindMap:
		out := amqp.Table{}
		for _, e := range v.Map().Entries {
			name, ok := plain(e.Key)
			if f, is := toField(e.Value); ok && is && len(name) <= 255 {
				out[name] = f
			}
		}
		return out, true
	case penstock.KindNode:
		return nodeField(v)
	}
	out, err := v.AppendText(nil)
	return string(out), err == nil
}

// nodeField makes a field of a part of a document.
func nodeField(v penstock.Value) (any, bool) {
	d, n := v.Node()
	switch d.Kind(n) {
	case jsonview.Null:
		return nil, true
	case jsonview.Array:
		out := []any{}
		for e := d.First(n); e != jsonview.None; e = d.Next(e) {
			f, _ := toField(penstock.NodeValue(d, e))
			out = append(out, f)
		}
		return out, true
	case jsonview.Object:
		out := amqp.Table{}
		for k := d.First(n); k != jsonview.None; k = d.Next(k) {
			name := string(d.Key(k, nil))
			if f, ok := nodeField(penstock.NodeValue(d, d.Value(k))); ok && len(name) <= 255 {
				out[name] = f
			}
		}
		return out, true
	}
	loaded := v.Load(new(penstock.Arena))
	if loaded.Kind() == penstock.KindNode {
		return nil, false
	}
	return toField(loaded)
}
