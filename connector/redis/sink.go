package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

// sink writes to a stream, a list, a channel or a key.
type sink struct {
	config SinkConfig
	env    penstock.Env
	link   *link
	client rueidis.Client
	target *penstock.Template
	what   string // of target, in errors
	to     string // of all messages; "" where it varies
	field  string
	key    string // field of the message's key

	data  []byte // what is written of a Write, one behind the other
	parts []part
	text  []byte
	cmds  []rueidis.Completed
	at    []int // the message of each command
	errs  []error
}

// part is one argument of a command: a piece of data.
type part struct{ from, to int }

var _ penstock.Sink = (*sink)(nil)

// The field that holds what a message is known by.
const idField = "penstock-id"

func newSink(c SinkConfig, env penstock.Env) (penstock.Sink, error) {
	if c.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "redis", env.Name, "no codec")
	}
	if conn, ok := c.Connection.Config.(*ConnectionConfig); ok && conn.Cluster && c.Wait != nil {
		return nil, config(env.Name, "let the servers demand it (min-replicas-to-write), and leave `wait` out", "`wait` can't be had in a cluster, where a batch goes to several nodes")
	}
	s := &sink{config: c, env: env, field: c.Field, key: c.KeyField}
	if s.field == "" {
		s.field = bodyField
	}
	if s.key == "" {
		s.key = keyField
	}
	switch {
	case !c.Stream.IsZero():
		s.target, s.what = &s.config.Stream, "stream"
	case !c.List.IsZero():
		s.target, s.what = &s.config.List, "list"
	case !c.Channel.IsZero():
		s.target, s.what = &s.config.Channel, "channel"
	default:
		s.target, s.what = &s.config.Set, "set"
	}
	return s, nil
}

// Open implements penstock.Sink.
func (s *sink) Open(ctx context.Context) (err error) {
	if s.link, err = connect(s.config.Connection, s.env); err != nil {
		return err
	}
	if s.client, err = s.link.open(ctx); err != nil {
		return err
	}
	if s.target.Constant || s.target.Program == nil {
		if s.to, err = named(*s.target, s.env, s.what); err != nil {
			return err
		}
	}
	if s.what == "channel" {
		return nil
	}
	return s.link.saves(ctx, s.client)
}

// Close implements penstock.Sink.
func (s *sink) Close(context.Context) error { return nil }

// Write implements penstock.Sink.
func (s *sink) Write(ctx context.Context, b *penstock.Batch) error {
	if s.client == nil {
		return penstock.E(penstock.Internal, "redis", s.env.Name, "the sink is not open")
	}
	if len(b.Msgs) == 0 {
		return nil
	}
	s.prepare(b)
	if len(s.at) > 0 {
		if err := s.send(ctx); err != nil {
			return err
		}
	}
	return b.WriteError("redis", "", func(i int) error { return s.errs[i] })
}

// prepare makes a command of each message. What is sent lies in one piece of memory that is never used again: the client may still have it when a Write has ended with
// an error.
func (s *sink) prepare(b *penstock.Batch) {
	s.errs, s.at, s.parts, s.data, s.cmds = append(s.errs[:0], make([]error, len(b.Msgs))...), s.at[:0], s.parts[:0], s.data[:0], s.cmds[:0]
	ends := make([]int, 0, len(b.Msgs)) // of the parts of each message
	for i, m := range b.Msgs {
		data, parts := len(s.data), len(s.parts)
		if err := s.arguments(b, m); err != nil {
			s.errs[i] = err
			s.data, s.parts = s.data[:data], s.parts[:parts]
			continue
		}
		s.at = append(s.at, i)
		ends = append(ends, len(s.parts))
	}
	text := string(s.data)
	from := 0
	for _, end := range ends {
		s.cmds = append(s.cmds, s.command(text, s.parts[from:end]))
		from = end
	}
}

// add notes an argument that ends where data does.
func (s *sink) add(from int) { s.parts = append(s.parts, part{from, len(s.data)}) }

func (s *sink) addText(text string) {
	from := len(s.data)
	s.data = append(s.data, text...)
	s.add(from)
}

// arguments writes what a command says of a message: the key, and the value, or names and values of fields.
func (s *sink) arguments(b *penstock.Batch, m *penstock.Message) error {
	f := b.Frame(m)
	to := s.to
	if to == "" {
		var err error
		if to, err = keyOf(*s.target, f, &s.text, s.what); err != nil {
			return err
		}
	}
	s.addText(to)
	if s.what == "set" && isNull(m.Body) {
		return nil // no value: it is deleted
	}
	if s.what != "stream" {
		return s.addBody(m.Body)
	}
	if s.config.Fields {
		return s.addFields(m.Body)
	}
	s.addText(s.field)
	if err := s.addBody(m.Body); err != nil {
		return err
	}
	if m.Key != "" {
		s.addText(s.key)
		s.addText(m.Key)
	}
	s.addText(idField)
	from := len(s.data)
	s.data = s.env.AppendIdentity(s.data, m)
	s.add(from)
	return s.addMeta(&m.Meta)
}

// isNull says that a body is JSON null: a key that is gone.
func isNull(d *jsonview.Doc) bool {
	return d.Format() == jsonview.JSON && d.Parse(jsonview.Limits{}) == nil && d.Kind(0) == jsonview.Null
}

// addBody writes a body. JSON is taken as it is.
func (s *sink) addBody(d *jsonview.Doc) (err error) {
	from := len(s.data)
	s.data, err = encode(s.data, d, s.config.Format)
	s.add(from)
	return err
}

// encode appends a document.
func encode(dst []byte, d *jsonview.Doc, f penstock.Format) ([]byte, error) {
	if f.Name == "json" && d.Format() == jsonview.JSON {
		if b := d.Bytes(); len(b) > 0 && (!d.Parsed() || d.Kind(0) != jsonview.Invalid) {
			return append(dst, b...), nil
		}
	}
	return f.Codec.Encode(dst, d)
}

// addFields writes the members of a body.
func (s *sink) addFields(d *jsonview.Doc) error {
	return eachMember(d, func(name []byte, value jsonview.Node) {
		from := len(s.data)
		s.data = append(s.data, name...)
		s.add(from)
		from = len(s.data)
		if d.Kind(value) == jsonview.String {
			s.data = append(s.data, d.Str(value, nil)...)
		} else {
			s.data = d.AppendJSON(s.data, value)
		}
		s.add(from)
	})
}

// addMeta writes the headers. What is no text is JSON.
func (s *sink) addMeta(meta *penstock.Meta) error {
	for _, e := range meta.Entries() {
		if e.Name == s.field || e.Name == s.key || e.Name == idField {
			continue
		}
		switch e.Value.Kind() {
		case penstock.KindAbsent, penstock.KindNull, penstock.KindError:
			continue
		}
		data, parts := len(s.data), len(s.parts)
		s.addText(e.Name)
		from := len(s.data)
		text, err := e.Value.AppendText(s.data)
		if err != nil {
			if text, err = e.Value.AppendJSON(s.data[:from]); err != nil {
				s.data, s.parts = s.data[:data], s.parts[:parts]
				continue
			}
		}
		s.data = text
		s.add(from)
	}
	return nil
}

// command makes the command of a message.
func (s *sink) command(text string, parts []part) rueidis.Completed {
	arg := func(i int) string { return text[parts[i].from:parts[i].to] }
	b := s.client.B()
	switch s.what {
	case "list":
		if s.config.Push == pushRight {
			return b.Rpush().Key(arg(0)).Element(arg(1)).Build()
		}
		return b.Lpush().Key(arg(0)).Element(arg(1)).Build()
	case "channel":
		return b.Publish().Channel(arg(0)).Message(arg(1)).Build()
	case "set":
		switch {
		case len(parts) == 1:
			return b.Del().Key(arg(0)).Build()
		case s.config.TTL > 0:
			return b.Set().Key(arg(0)).Value(arg(1)).PxMilliseconds(max(s.config.TTL.Std().Milliseconds(), 1)).Build()
		}
		return b.Set().Key(arg(0)).Value(arg(1)).Build()
	}
	add := b.Arbitrary("XADD").Keys(arg(0))
	if s.config.MustExist {
		add = add.Args("NOMKSTREAM")
	}
	how := "~"
	if s.config.Exact {
		how = "="
	}
	if s.config.MaxLen > 0 {
		add = add.Args("MAXLEN", how, strconv.FormatInt(s.config.MaxLen, 10))
	} else if s.config.MaxAge > 0 {
		add = add.Args("MINID", how, strconv.FormatInt(max(s.env.Clock.Now().Add(-s.config.MaxAge.Std()).UnixMilli(), 0), 10))
	}
	add = add.Args("*")
	for i := 1; i < len(parts); i++ {
		add = add.Args(arg(i))
	}
	return add.Build()
}

// send sends the commands in order, and notes what became of each. An error speaks of all.
func (s *sink) send(ctx context.Context) error {
	n := len(s.cmds)
	limit := s.link.timeout()
	if w := s.config.Wait; w != nil {
		ms := max(w.Timeout.Std().Milliseconds(), 1)
		s.cmds = append(s.cmds, s.client.B().Wait().Numreplicas(int64(w.Replicas)).Timeout(ms).Build())
		limit += w.Timeout.Std()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answers := s.client.DoMulti(ctx, s.cmds...)
	for k, a := range answers[:n] {
		if a.NonRedisError() != nil {
			s.cmds = nil // the client may still have the commands, and the list of them
		}
		switch err := a.Error(); {
		case err == nil:
		case rueidis.IsRedisNil(err): // of XADD NOMKSTREAM
			s.errs[s.at[k]] = &penstock.Error{Code: penstock.NotFound, Op: "redis", Path: "stream", Err: errors.New("there is no such stream"), Hint: "make it, or leave `mustExist` out"}
		default:
			s.errs[s.at[k]] = failure(err, s.what+" "+s.target.Source)
		}
	}
	if s.config.Wait == nil {
		return nil
	}
	got, err := answers[n].AsInt64()
	if err != nil {
		s.cmds = nil
		return s.link.failure(err)
	}
	if got < int64(s.config.Wait.Replicas) {
		return &penstock.Error{Code: penstock.Unavailable, Op: "redis", Path: "connection " + s.link.name, Err: fmt.Errorf("%d of %d replicas have what was written", got, s.config.Wait.Replicas), Hint: "see that the replicas run and keep up (INFO replication)"}
	}
	return nil
}
