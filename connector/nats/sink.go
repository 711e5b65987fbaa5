package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// sink writes to a subject, a stream or a bucket.
type sink struct {
	config  SinkConfig
	env     penstock.Env
	link    *link
	subject string // of all messages; "" where it varies
	dots    int    // in the text of the subject beside ${…}; -1: it is one ${…}
	keyName string
	headers []header
	pub     *publisher // nil: core
	said    error      // the last error that the server sent us, before this Write

	out  []outgoing
	body []byte
	id   []byte
	text []byte
}

// header is one that the configuration adds.
type header struct {
	name  string
	value penstock.Template
}

// outgoing is a message on its way.
type outgoing struct {
	msg  nats.Msg
	from int // its body's place in sink.body; -1: msg.Data is set
	to   int
	err  error
}

var _ penstock.Sink = (*sink)(nil)

func newSink(c SinkConfig, env penstock.Env) (penstock.Sink, error) {
	if c.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "nats", env.Name, "no codec")
	}
	s := &sink{config: c, env: env, keyName: c.KeyHeader, dots: -1}
	if s.keyName == "" {
		s.keyName = keyHeader
	}
	for name, t := range c.Headers {
		s.headers = append(s.headers, header{name, t})
	}
	slices.SortFunc(s.headers, func(a, b header) int { return strings.Compare(a.name, b.name) })
	return s, nil
}

// Open implements penstock.Sink: it looks at the stream.
func (s *sink) Open(ctx context.Context) (err error) {
	if s.link, err = connect(s.config.Connection, s.env); err != nil {
		return err
	}
	if err = s.link.open(ctx); err != nil {
		return err
	}
	if t := s.config.Subject; s.config.Bucket == "" && (t.Constant || t.Program == nil) {
		if s.subject, err = fixed(t, s.env); err == nil {
			err = checkSubject(s.subject, false)
		}
		if err != nil {
			return config(s.env.Name, "", "%w", err)
		}
	} else {
		s.dots = dotsBeside(t.Source)
	}
	stream := s.config.Stream
	if s.config.Bucket != "" {
		stream = "KV_" + s.config.Bucket
	}
	if stream == "" {
		s.said = s.link.nc.LastError()
		return nil
	}
	if err := s.look(ctx, stream); err != nil {
		return err
	}
	s.pub, err = newPublisher(s.link, s.env.Clock, s.config)
	return err
}

// look sees that the stream is there, and fit.
func (s *sink) look(ctx context.Context, name string) error {
	st, err := s.link.js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && s.config.Bucket != "":
		return config("bucket "+s.config.Bucket, "make it: nats kv add "+s.config.Bucket, "there is no such bucket")
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return config("stream "+name, "make it: nats stream add "+name+" --subjects '…' (or let a Channel make it), and check its name and the account", "there is no such stream")
	case errors.Is(err, nats.ErrNoResponders):
		return &penstock.Error{Code: penstock.Unavailable, Op: "nats", Path: "stream " + name, Err: errors.New("nobody answers for JetStream"), Hint: "start the server with JetStream (-js), and enable it for the account"}
	case err != nil:
		return failure(err, "stream "+name, true)
	}
	is := st.CachedInfo().Config
	if s.config.Bucket != "" {
		return nil
	}
	if is.NoAck {
		return config("stream "+name, "nats stream edit "+name+" --ack", "the stream confirms nothing (no_ack), so that nobody knows what it has")
	}
	if want := s.config.window(); is.Duplicates < want {
		return config("stream "+name, fmt.Sprintf("nats stream edit %s --dupe-window %s, or say `dedupe: %s`", name, want, is.Duplicates),
			"the stream remembers the ids of messages for %s, and the flow counts on %s", is.Duplicates, want)
	}
	if s.subject != "" && !slices.ContainsFunc(is.Subjects, func(p string) bool { return matches(p, s.subject) }) && is.SubjectTransform == nil {
		return config("stream "+name, fmt.Sprintf("publish to one of its subjects (%s), or add this one: nats stream edit %s --subjects …", strings.Join(is.Subjects, ", "), name),
			"the stream does not take the subject %s", s.subject)
	}
	return nil
}

// Close implements penstock.Sink.
func (s *sink) Close(context.Context) error {
	if s.pub != nil {
		s.pub.close()
		s.pub = nil
	}
	return nil
}

// Write implements penstock.Sink.
func (s *sink) Write(ctx context.Context, b *penstock.Batch) error {
	if s.link == nil || s.link.nc == nil {
		return penstock.E(penstock.Internal, "nats", s.env.Name, "the sink is not open")
	}
	if len(b.Msgs) == 0 {
		return nil
	}
	s.prepare(b)
	if t := penstock.TraceFrom(ctx); len(b.Msgs) == 1 && !t.IsZero() && s.out[0].msg.Header != nil && s.config.Bucket == "" {
		s.out[0].msg.Header["traceparent"] = []string{t.Traceparent()}
	}
	if s.pub != nil {
		if err := s.pub.publish(ctx, s.out); err != nil {
			return err
		}
	} else if err := s.hand(ctx); err != nil {
		return err
	}
	return b.WriteError("nats", "", func(i int) error { return s.out[i].err })
}

// prepare makes what is sent of each message.
func (s *sink) prepare(b *penstock.Batch) {
	for len(s.out) < len(b.Msgs) {
		s.out = append(s.out, outgoing{})
	}
	s.out = s.out[:len(b.Msgs)]
	s.body = s.body[:0]
	for i, m := range b.Msgs {
		o := &s.out[i]
		*o = outgoing{from: -1}
		o.err = s.make(o, b, m)
	}
	for i := range s.out {
		if o := &s.out[i]; o.from >= 0 { // now that nothing moves any more
			o.msg.Data = s.body[o.from:o.to:o.to]
		}
	}
}

func (s *sink) make(o *outgoing, b *penstock.Batch, m *penstock.Message) (err error) {
	f := b.Frame(m)
	if o.msg.Subject, err = s.subjectOf(f); err != nil {
		return err
	}
	if err = s.encode(o, m.Body); err != nil {
		return err
	}
	if s.config.Bucket != "" {
		if isNull(m.Body) {
			o.msg.Header, o.from, o.msg.Data = nats.Header{"KV-Operation": {"DEL"}}, -1, nil
		}
		return nil
	}
	return s.addHeaders(o, f)
}

// isNull says that a body is JSON null: an entry that is gone.
func isNull(d *jsonview.Doc) bool {
	return d.Format() == jsonview.JSON && d.Parse(jsonview.Limits{}) == nil && d.Kind(0) == jsonview.Null
}

// subjectOf is where a message goes.
func (s *sink) subjectOf(f *penstock.Frame) (string, error) {
	if s.subject != "" {
		return s.subject, nil
	}
	if s.config.Bucket != "" {
		key := f.Msg.Key
		if !s.config.Key.IsZero() {
			var err error
			if key, err = s.eval(s.config.Key, f, "key"); err != nil {
				return "", err
			}
		}
		if err := checkKey(key); err != nil {
			return "", &penstock.Error{Code: penstock.Unprocessable, Op: "nats", Path: "key", Err: err}
		}
		return "$KV." + s.config.Bucket + "." + key, nil
	}
	subject, err := s.eval(s.config.Subject, f, "subject")
	if err != nil {
		return "", err
	}
	return subject, checkOne(subject, s.dots)
}

// checkOne says what is wrong with the subject of a message, whose template has so many dots beside ${…}.
func checkOne(subject string, dots int) error {
	if err := checkSubject(subject, false); err != nil {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "nats", Path: "subject", Err: err}
	}
	if dots >= 0 && strings.Count(subject, ".") != dots {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "nats", Path: "subject", Err: fmt.Errorf("%.200q: a value has a dot, so that it would be several tokens", subject), Hint: "replace the dots: ${body.name.replace('.', '-')}"}
	}
	return nil
}

// dotsBeside counts the dots of a template beside ${…}; -1 for a template that is one ${…}.
func dotsBeside(source string) int {
	if strings.HasPrefix(source, "${") {
		if skipBraces(source, 0) == len(source) {
			return -1
		}
	}
	n := 0
	for i := 0; i < len(source); {
		if strings.HasPrefix(source[i:], "${") {
			i = skipBraces(source, i)
			continue
		}
		if source[i] == '.' {
			n++
		}
		i++
	}
	return n
}

// skipBraces finds the end of the ${…} that begins at i: braces and quotes of the expression are stepped over.
func skipBraces(s string, i int) (end int) {
	depth, quote := 0, byte(0)
	for j := i + 1; j < len(s); j++ {
		c := s[j]
		switch {
		case quote != 0:
			switch c {
			case '\\':
				j++
			case quote:
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return j + 1
			}
		}
	}
	return len(s)
}

// eval gives the text of a template.
func (s *sink) eval(t penstock.Template, f *penstock.Frame, what string) (string, error) {
	if t.Program == nil {
		return t.Source, nil
	}
	return textOf(t, f, &s.text, what)
}

// textOf evaluates a template; an absent or null value is no text.
func textOf(t penstock.Template, f *penstock.Frame, memory *[]byte, what string) (string, error) {
	v := t.Program.Eval(f)
	if v.Kind() == penstock.KindOptional {
		v = v.Optional()
	}
	if v.Kind() == penstock.KindNode {
		v = v.Load(f.Arena)
	}
	switch v.Kind() {
	case penstock.KindError:
		return "", v.Err()
	case penstock.KindAbsent, penstock.KindNull:
		return "", nil
	case penstock.KindString:
		return v.Str(), nil
	}
	text, err := v.AppendText((*memory)[:0])
	if err != nil {
		return "", &penstock.Error{Code: penstock.Unprocessable, Op: "nats", Path: what, Err: err}
	}
	*memory = text
	return string(text), nil
}

// encode writes the body. JSON is not copied.
func (s *sink) encode(o *outgoing, d *jsonview.Doc) (err error) {
	data, from, body, err := encode(s.body, d, s.config.Format)
	s.body = body
	if err != nil {
		return err
	}
	if o.msg.Data, o.from, o.to = data, from, len(body); from >= 0 {
		o.msg.Data = nil
	}
	return nil
}

// encode gives the bytes of a document: where they lie, or from a place in body on, which grows.
func encode(body []byte, d *jsonview.Doc, f penstock.Format) (data []byte, from int, grown []byte, err error) {
	if f.Name == "json" && d.Format() == jsonview.JSON {
		if b := d.Bytes(); len(b) > 0 && (!d.Parsed() || d.Kind(0) != jsonview.Invalid) {
			return b, -1, body, nil
		}
	}
	at := len(body)
	if body, err = f.Codec.Encode(body, d); err != nil {
		return nil, -1, body[:at], err
	}
	return nil, at, body, nil
}

// addHeaders adds the message's meta, its key, and what the configuration says.
func (s *sink) addHeaders(o *outgoing, f *penstock.Frame) error {
	m := f.Msg
	h := make(nats.Header, len(m.Meta.Entries())+len(s.headers)+3)
	o.msg.Header = h
	metaHeaders(h, &m.Meta, &s.text)
	if m.Key != "" {
		h[s.keyName] = []string{m.Key}
	}
	for _, x := range s.headers {
		text, err := s.eval(x.value, f, x.name)
		if err != nil {
			return err
		}
		if text != "" {
			h[x.name] = []string{text}
		}
	}
	if s.pub == nil {
		return nil
	}
	h["Nats-Expected-Stream"] = s.pub.expected
	if !s.config.MessageID.IsZero() {
		id, err := s.eval(s.config.MessageID, f, "messageId")
		if err != nil {
			return err
		}
		if id == "" {
			return &penstock.Error{Code: penstock.Unprocessable, Op: "nats", Path: "messageId", Err: errors.New("the message has no id")}
		}
		h["Nats-Msg-Id"] = []string{id}
		return nil
	}
	s.id = s.env.AppendIdentity(s.id[:0], m)
	h["Nats-Msg-Id"] = []string{string(s.id)}
	return nil
}

// metaHeaders adds the headers of a message. What is no text is JSON.
func metaHeaders(h nats.Header, meta *penstock.Meta, memory *[]byte) {
	for _, e := range meta.Entries() {
		if reserved(e.Name) {
			continue
		}
		v := e.Value
		switch v.Kind() {
		case penstock.KindString:
			h[e.Name] = []string{v.Str()}
			continue
		case penstock.KindAbsent, penstock.KindNull, penstock.KindError:
			continue
		}
		text, err := v.AppendText((*memory)[:0])
		if err != nil {
			if text, err = v.AppendJSON((*memory)[:0]); err != nil {
				continue
			}
		}
		*memory = text
		h[e.Name] = []string{string(text)}
	}
}

// hand hands messages to the server, in core NATS, and waits until it has them.
func (s *sink) hand(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.AckTimeout.Std())
	defer cancel()
	if err := s.link.wait(ctx); err != nil {
		return err
	}
	nc := s.link.nc
	for i := range s.out {
		o := &s.out[i]
		if o.err == nil {
			if err := nc.PublishMsg(&o.msg); err != nil {
				o.err = failure(err, "subject "+o.msg.Subject, true)
			}
		}
	}
	if err := nc.FlushWithContext(ctx); err != nil {
		return failure(err, "connection "+s.link.name, false)
	}
	if err := nc.LastError(); err != nil && err != s.said && errors.Is(err, nats.ErrPermissionViolation) { //nolint:errorlint // the very same, which may have been said before
		s.said = err
		if subject := deniedSubject(err.Error()); subject != "" {
			for i := range s.out {
				if o := &s.out[i]; o.err == nil && o.msg.Subject == subject {
					o.err = &penstock.Error{Code: penstock.Forbidden, Op: "nats", Path: "subject " + subject, Err: err, Hint: "give the user the permission to publish there"}
				}
			}
		}
	}
	return nil
}
