package step

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

const (
	eventVersion = "1.0"
	contentType  = "content-type"
)

// ReadEvent makes a CloudEvent's data the body, and its attributes headers of the message. An event in structured mode is known by
// its content-type (application/cloudevents+json), one element of a batch by that of the batch, or by being an object with specversion; one
// in binary mode by the header ce-specversion. What is none, or is not valid by the specification (CloudEvents 1.0.2, section "Context Attributes"), fails.
type ReadEvent struct{}

// Process reads each message.
func (s *ReadEvent) Process(_ context.Context, b *penstock.Batch) error {
	for i, m := range b.Msgs {
		if err := s.one(b, m); err != nil {
			b.Fail(i, failed("decode", err))
		}
	}
	return nil
}

func (s *ReadEvent) one(b *penstock.Batch, m *penstock.Message) error {
	kind := mediaType(header(m, contentType))
	switch {
	case kind == penstock.EventType || kind == penstock.EventBatchType:
		return s.structured(b, m)
	case header(m, penstock.EventPrefix+"specversion") != "":
		return validEvent(func(name string) string { return header(m, penstock.EventPrefix+name) })
	}
	if err := read(m.Body); err == nil && m.Body.Kind(0) == jsonview.Object && m.Body.Field(0, "specversion", nil) != jsonview.None {
		return s.structured(b, m)
	}
	return notAnEvent("there is neither the header ce-specversion nor a content-type of "+penstock.EventType, "decode cloudEvent where the messages are CloudEvents")
}

func notAnEvent(text, hint string) error {
	return &penstock.Error{Code: penstock.Invalid, Path: "body", Err: errors.New("this is no CloudEvent: " + text), Hint: hint}
}

// mediaType is a content-type without its parameters, in lower case.
func mediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSpace(s))
}

// structured takes the envelope apart (CloudEvents JSON event format).
func (s *ReadEvent) structured(b *penstock.Batch, m *penstock.Message) error {
	d := m.Body
	if err := read(d); err != nil {
		return at("body", err)
	}
	switch d.Kind(0) {
	case jsonview.Object:
	case jsonview.Array:
		return notAnEvent("it is a batch of them", "split it first: `split: { each: body }`")
	default:
		return notAnEvent("its envelope is "+article(d.Kind(0).String()), "")
	}
	text := func(name string) string {
		n := d.Field(0, name, nil)
		if d.Kind(n) != jsonview.String {
			return ""
		}
		return d.Str(n, b.Arena().Alloc)
	}
	if err := validEvent(text); err != nil {
		return err
	}
	body, kind, err := s.data(b, d, text("datacontenttype"))
	if err != nil {
		return err
	}
	var name []byte
	for k := d.First(0); k != jsonview.None; k = d.Next(k) {
		name = d.Key(k, name)
		v := d.Value(k)
		switch string(name) {
		case "data", "data_base64", "datacontenttype":
			continue
		}
		if !penstock.IsEventAttribute(string(name)) {
			return notAnEvent(fmt.Sprintf("the attribute %q is not of lower-case letters and digits", name), "")
		}
		value, ok := attribute(b, d, v)
		if !ok {
			return notAnEvent(fmt.Sprintf("the attribute %s is %s", name, article(d.Kind(v).String())), "attributes are text, numbers and bools")
		}
		m.Meta.Set(penstock.EventPrefix+string(name), value)
	}
	m.Meta.Set(contentType, penstock.StringValue(kind))
	m.Body = body
	return nil
}

// attribute is the canonical text of an attribute; absent where it is null.
func attribute(b *penstock.Batch, d *jsonview.Doc, n jsonview.Node) (penstock.Value, bool) {
	switch d.Kind(n) {
	case jsonview.Null:
		return penstock.Absent, true
	case jsonview.String:
		return penstock.StringValue(d.Str(n, b.Arena().Alloc)), true
	case jsonview.Number, jsonview.True, jsonview.False:
		return penstock.StringValue(text2string(b.Arena().Copy(d.Raw(n)))), true
	}
	return penstock.Absent, false
}

// data is the event's data as a document, and its content type.
func (s *ReadEvent) data(b *penstock.Batch, d *jsonview.Doc, kind string) (*jsonview.Doc, string, error) {
	plain, coded := d.Field(0, "data", nil), d.Field(0, "data_base64", nil)
	if plain != jsonview.None && coded != jsonview.None {
		return nil, "", notAnEvent("it has both data and data_base64", "")
	}
	if kind == "" {
		kind = "application/json"
	}
	switch {
	case coded != jsonview.None:
		if d.Kind(coded) != jsonview.String {
			return nil, "", notAnEvent("data_base64 is "+article(d.Kind(coded).String()), "")
		}
		text := d.Str(coded, b.Arena().Alloc)
		raw, err := base64.StdEncoding.AppendDecode(b.Arena().Tail(base64.StdEncoding.DecodedLen(len(text))), string2text(text))
		if err != nil {
			return nil, "", notAnEvent("data_base64 is no base64", "")
		}
		doc := b.NewDoc()
		if isJSON(kind) {
			doc.Reset(jsonview.JSON, b.Arena().Keep(raw))
		} else {
			doc.Reset(jsonview.Binary, b.Arena().Keep(raw))
		}
		return doc, kind, nil
	case plain == jsonview.None:
		return document(b, nullBody), kind, nil
	case d.Kind(plain) == jsonview.String && !isJSON(kind): // text of another format, which JSON has as a string
		doc := b.NewDoc()
		doc.Reset(jsonview.Text, string2text(d.Str(plain, b.Arena().Alloc)))
		return doc, kind, nil
	}
	return document(b, d.Raw(plain)), kind, nil
}

var nullBody = []byte("null")

// isJSON says whether data of a content type is JSON (CloudEvents JSON event format, section 3.1).
func isJSON(kind string) bool {
	kind = mediaType(kind)
	return kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
}

// validEvent looks at the attributes that each event has.
func validEvent(text func(name string) string) error {
	switch v := text("specversion"); {
	case v == "":
		return notAnEvent("it has no specversion", "")
	case v != eventVersion && !strings.HasPrefix(v, "1."):
		return notAnEvent(fmt.Sprintf("its specversion is %.20q, and 1.0 is read", v), "")
	}
	for _, name := range []string{"id", "source", "type"} {
		if text(name) == "" {
			return notAnEvent("it has no "+name, "each event has id, source and type")
		}
	}
	if t := text("time"); t != "" {
		if _, err := time.Parse(time.RFC3339, t); err != nil {
			return notAnEvent(fmt.Sprintf("its time %.40q is not as in RFC 3339", t), "")
		}
	}
	return nil
}

// EventMode is how an event travels.
type EventMode string

// The modes of CloudEvents.
const (
	Structured EventMode = "structured" // an envelope in JSON
	Binary     EventMode = "binary"     // attributes as headers, the body as it is
	Batched    EventMode = "batch"      // a list of envelopes
)

// EventAttribute is one context attribute that a step writes.
type EventAttribute struct {
	Name  string // id, type, … or that of an extension
	Value penstock.Program
}

// WriteEvent makes a CloudEvent of a message. Attributes that are not written here are those that the message has as headers (ce-…): what
// came as an event goes on as one. It is a [Binder]: where an event has no id, it is given the message's identity, which is the same again after
// a crash.
type WriteEvent struct {
	Mode        EventMode
	Attributes  []EventAttribute
	ContentType string // of the data; empty: that of the message, or what fits the body

	env   penstock.Env
	fresh bool // source or type are written here: it is another event than the one that came
}

// Bind gives the step of a run.
func (s *WriteEvent) Bind(env penstock.Env) penstock.Step {
	bound := &WriteEvent{Mode: s.Mode, Attributes: s.Attributes, ContentType: s.ContentType, env: env}
	for _, a := range s.Attributes {
		bound.fresh = bound.fresh || a.Name == "source" || a.Name == "type"
	}
	return bound
}

// Process writes each message.
func (s *WriteEvent) Process(_ context.Context, b *penstock.Batch) error {
	for i, m := range b.Msgs {
		err := s.one(b, m)
		if err != nil {
			b.Fail(i, failed("encode", err))
		}
	}
	return nil
}

func (s *WriteEvent) one(b *penstock.Batch, m *penstock.Message) error {
	if err := read(m.Body); err != nil {
		return at("body", err)
	}
	if s.Mode == Batched {
		return s.batch(m)
	}
	attributes, err := s.attributes(b, m)
	if err != nil {
		return err
	}
	kind := s.contentType(m)
	if s.Mode == Binary {
		for _, a := range attributes {
			m.Meta.Set(penstock.EventPrefix+a.name, penstock.StringValue(a.value))
		}
		m.Meta.Set(contentType, penstock.StringValue(kind))
		return nil
	}
	out := b.Arena().Tail(len(m.Body.Bytes()) + 256)
	out = append(out, '{')
	for i, a := range attributes {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(jsonview.AppendString(out, a.name), ':')
		out = jsonview.AppendString(out, a.value)
	}
	out = append(out, `,"datacontenttype":`...)
	out = jsonview.AppendString(out, kind)
	out = appendData(out, m.Body, kind)
	out = append(out, '}')
	setBody(b, m, b.Arena().Keep(out))
	var drop []string
	for _, e := range m.Meta.Entries() { // they stand in the envelope now
		if strings.HasPrefix(e.Name, penstock.EventPrefix) {
			drop = append(drop, e.Name)
		}
	}
	for _, name := range drop {
		m.Meta.Set(name, penstock.Absent)
	}
	m.Meta.Set(contentType, penstock.StringValue(penstock.EventType))
	return nil
}

// contentType is that of the data. What the message says of itself counts where it still fits the body, which steps may have changed.
func (s *WriteEvent) contentType(m *penstock.Message) string {
	if s.ContentType != "" {
		return s.ContentType
	}
	said := header(m, contentType)
	if k := mediaType(said); k == penstock.EventType || k == penstock.EventBatchType { // of an envelope, not of data
		said = ""
	}
	switch m.Body.Format() {
	case jsonview.Text:
		return cmp.Or(said, "text/plain")
	case jsonview.Binary:
		return cmp.Or(said, "application/octet-stream")
	}
	if said != "" && isJSON(said) {
		return said
	}
	return "application/json"
}

// appendData writes the member for the data: none where there is no data.
func appendData(out []byte, d *jsonview.Doc, kind string) []byte {
	switch d.Format() {
	case jsonview.Text:
		if isJSON(kind) { // its text is the JSON
			var parsed jsonview.Doc
			parsed.Reset(jsonview.JSON, d.Bytes())
			if parsed.Parse(jsonview.Limits{}) == nil {
				return parsed.AppendJSON(append(out, `,"data":`...), 0)
			}
		}
		return jsonview.AppendString(append(out, `,"data":`...), text2string(d.Bytes()))
	case jsonview.Binary:
		out = append(out, `,"data_base64":"`...)
		return append(base64.StdEncoding.AppendEncode(out, d.Bytes()), '"')
	}
	if len(d.Bytes()) == 0 && d.Format() == jsonview.JSON || d.Kind(0) == jsonview.Null {
		return out
	}
	return d.AppendJSON(append(out, `,"data":`...), 0)
}

// batch says of a list of envelopes that it is a batch.
func (s *WriteEvent) batch(m *penstock.Message) error {
	d := m.Body
	if d.Kind(0) != jsonview.Array {
		return &penstock.Error{Code: penstock.Unprocessable, Path: "body", Err: errors.New("a batch is a list of events, and this is " + article(d.Kind(0).String())),
			Hint: "encode each as a structured cloudEvent, then aggregate them"}
	}
	i := 0
	for n := d.First(0); n != jsonview.None; n, i = d.Next(n), i+1 {
		err := validEvent(func(name string) string {
			if v := d.Field(n, name, nil); d.Kind(v) == jsonview.String {
				return d.Str(v, nil)
			}
			return ""
		})
		if err != nil {
			return at(fmt.Sprintf("body[%d]", i), err)
		}
	}
	m.Meta.Set(contentType, penstock.StringValue(penstock.EventBatchType))
	return nil
}

// named is an attribute with its value.
type named struct{ name, value string }

// attributes gives the event's attributes: specversion, those that are written here, and those that it has.
func (s *WriteEvent) attributes(b *penstock.Batch, m *penstock.Message) ([]named, error) {
	out := append(make([]named, 0, 8), named{"specversion", eventVersion})
	has := func(name string) string {
		for _, a := range out {
			if a.name == name {
				return a.value
			}
		}
		return ""
	}
	for _, a := range s.Attributes {
		v, err := text(a.Value.Eval(b.Frame(m)))
		if err != nil {
			return nil, computing("encode", "cloudEvent."+a.Name, err)
		}
		if v != "" {
			out = append(out, named{a.Name, text2string(b.Arena().Copy(string2text(v)))})
		}
	}
	for _, e := range m.Meta.Entries() {
		name, is := strings.CutPrefix(e.Name, penstock.EventPrefix)
		if !is || !penstock.IsEventAttribute(name) || has(name) != "" || s.fresh && (name == "id" || name == "time" || name == "subject" || name == "dataschema") {
			continue
		}
		if v := header(m, e.Name); v != "" {
			out = append(out, named{name, v})
		}
	}
	if has("id") == "" {
		id := b.Arena().Keep(s.env.AppendIdentity(b.Arena().Tail(penstock.MaxIdentity+1), m))
		out = append(out, named{"id", text2string(id)})
	}
	for _, name := range []string{"source", "type"} {
		if has(name) == "" {
			return nil, &penstock.Error{Code: penstock.Unprocessable, Path: "meta." + penstock.EventPrefix + name, Err: errors.New("the event has no " + name),
				Hint: "write it in the step: `encode: { cloudEvent: { " + name + ": … } }`"}
		}
	}
	if t := has("time"); t != "" {
		if _, err := time.Parse(time.RFC3339, t); err != nil {
			return nil, &penstock.Error{Code: penstock.Unprocessable, Path: "cloudEvent.time", Err: fmt.Errorf("%.40q is no time as in RFC 3339", t), Hint: "write a timestamp, such as ${body.placed}"}
		}
	}
	return out, nil
}
