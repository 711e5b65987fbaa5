package kafka

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kgo"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// record makes a record of a message.
func (s *sink) record(w *writing, sl *slot, b *penstock.Batch, m *penstock.Message) (err error) {
	topic := s.topic
	if topic == "" {
		if topic, err = s.topicOf(b, m); err != nil {
			return err
		}
	}
	sl.record = kgo.Record{Topic: topic}
	r := &sl.record
	if r.Key, err = s.key(w, m.Key); err != nil {
		return err
	}
	if r.Value, err = s.value(w, m.Body); err != nil {
		return err
	}
	if s.config.Timestamp == timestampMessage {
		r.Timestamp = m.Time
	}
	format := s.formatOf(m.Body)
	if len(m.Meta.Entries()) > 0 || len(s.headers) > 0 || format != "" {
		r.Headers, err = s.heads(w, b, m, format)
	}
	return err
}

// formatOf is what a source has to know of a value that is no JSON.
func (s *sink) formatOf(d *jsonview.Doc) string {
	switch {
	case s.config.Format.Codec != nil:
	case d.Format() == jsonview.Text:
		return formatText
	case d.Format() == jsonview.Binary:
		return formatBytes
	}
	return ""
}

// topicOf evaluates the topic.
func (s *sink) topicOf(b *penstock.Batch, m *penstock.Message) (string, error) {
	v := s.config.Topic.Program.Eval(b.Frame(m))
	if v.IsError() {
		return "", v.Err()
	}
	text, err := v.AppendText(b.Arena().Tail(64))
	if err != nil {
		return "", err
	}
	text = b.Arena().Keep(text)
	name := string(text)
	if known, ok := s.topics.Load(name); ok {
		return known.(string), nil
	}
	if err := checkTopic(name); err != nil {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "kafka", Path: "topic", Err: err}
	}
	if s.known.Add(1) <= maxNames {
		s.topics.Store(name, name)
	}
	s.ask(context.Background(), s.client, name)
	return name, nil
}

// remember gives the name in a record of a header of meta, with memory of its own.
func (s *sink) remember(name string) string {
	if known, ok := s.names.Load(name); ok {
		return known.(string)
	}
	own := strings.Clone(name)
	to := penstock.EventHeader(own, eventHeader)
	if s.known.Add(1) <= maxNames {
		s.names.Store(own, to)
	}
	return to
}

func (s *sink) key(w *writing, key string) ([]byte, error) {
	switch {
	case key == "" || s.config.Keys == keysNone:
		return nil, nil
	case s.config.Keys == keysBase64:
		raw, err := base64.StdEncoding.DecodeString(key)
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Unprocessable, Op: "kafka", Path: "key", Err: fmt.Errorf("it is no base64: %w", err), Hint: "say `keys: text`, or make it base64"}
		}
		return raw, nil
	}
	from := len(w.text)
	w.text = append(w.text, key...)
	return w.text[from:len(w.text):len(w.text)], nil
}

// value writes a body. It is the one place that knows how a value is framed. Null is no value.
func (s *sink) value(w *writing, d *jsonview.Doc) ([]byte, error) {
	from := len(w.text)
	if isNull(d) {
		return nil, nil
	}
	var err error
	if c := s.config.Format.Codec; c != nil {
		w.text, err = c.Encode(w.text, d)
	} else {
		w.text, err = appendBody(w.text, d)
	}
	if err != nil {
		w.text = w.text[:from]
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "kafka", Path: "body", Err: err}
	}
	return w.text[from:len(w.text):len(w.text)], nil
}

// isNull says that a body is JSON null. It does not read what nobody has read.
func isNull(d *jsonview.Doc) bool {
	if d.Format() != jsonview.JSON {
		return false
	}
	b := d.Bytes()
	if len(b) == 0 {
		return true
	}
	return len(b) < 16 && strings.TrimSpace(unsafe.String(unsafe.SliceData(b), len(b))) == "null"
}

// appendBody appends a body as it is.
func appendBody(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if d.Format() != jsonview.Record && (d.Format() != jsonview.JSON || !d.Parsed() || d.Kind(0) != jsonview.Invalid) {
		return append(dst, d.Bytes()...), nil
	}
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, err
	}
	return d.AppendJSON(dst, 0), nil
}

// heads makes the headers of a record: the message's meta, and those of the configuration.
func (s *sink) heads(w *writing, b *penstock.Batch, m *penstock.Message, format string) ([]kgo.RecordHeader, error) {
	from := len(w.heads)
	structured := "" // names of those that are no text
	for _, e := range m.Meta.Entries() {
		if strings.HasPrefix(e.Name, metaPrefix) || e.Name == headerID || e.Value.Kind() == penstock.KindNull {
			continue // the identity is that of what it was made of
		}
		text, err := s.head(w, s.remember(e.Name), e.Value)
		if err != nil {
			return nil, err
		}
		if !text && !strings.Contains(e.Name, ",") {
			structured += "," + e.Name
		}
	}
	if structured != "" {
		w.heads = append(w.heads, kgo.RecordHeader{Key: headerJSON, Value: []byte(structured[1:])})
	}
	if format != "" {
		w.heads = append(w.heads, kgo.RecordHeader{Key: headerFormat, Value: []byte(format)})
	}
	if s.config.known {
		at := len(w.text)
		w.text = s.env.AppendIdentity(w.text, m)
		w.heads = append(w.heads, kgo.RecordHeader{Key: headerID, Value: w.text[at:len(w.text):len(w.text)]})
	}
	own := len(w.heads)
	for i := range s.headers {
		h := &s.headers[i]
		v := penstock.StringValue(h.text.Source)
		if h.text.Program != nil {
			v = h.text.Program.Eval(b.Frame(m))
		}
		if v.IsError() {
			return nil, v.Err()
		}
		for k := from; k < own; k++ { // it takes the place of what came along
			if strings.EqualFold(w.heads[k].Key, h.name) {
				w.heads = slices.Delete(w.heads, k, k+1)
				own--
				break
			}
		}
		if v.IsAbsent() || v.Kind() == penstock.KindString && v.Str() == "" {
			continue
		}
		if _, err := s.head(w, h.name, v); err != nil {
			return nil, err
		}
	}
	return w.heads[from:len(w.heads):len(w.heads)], nil
}

// head appends one header, and says whether it is text, or bytes. Everything else is JSON.
func (s *sink) head(w *writing, name string, v penstock.Value) (text bool, err error) {
	from := len(w.text)
	if d, n := node(v); d != nil && d.Kind(n) == jsonview.String {
		w.text, text = append(w.text, d.Str(n, nil)...), true
	} else {
		switch v.Kind() {
		case penstock.KindString:
			w.text, text = append(w.text, v.Str()...), true
		case penstock.KindBytes:
			w.text, text = append(w.text, v.Bytes()...), true
		case penstock.KindTimestamp, penstock.KindDuration:
			w.text, err = v.AppendText(w.text)
			text = true
		default:
			w.text, err = v.AppendJSON(w.text)
		}
	}
	if err != nil {
		w.text = w.text[:from]
		return false, &penstock.Error{Code: penstock.Unprocessable, Op: "kafka", Path: "meta." + name, Err: err}
	}
	w.heads = append(w.heads, kgo.RecordHeader{Key: name, Value: w.text[from:len(w.text):len(w.text)]})
	return text, nil
}

// node is the part of a document that a value is; nil where it is none.
func node(v penstock.Value) (*jsonview.Doc, jsonview.Node) {
	if v.Kind() != penstock.KindNode {
		return nil, 0
	}
	return v.Node()
}
