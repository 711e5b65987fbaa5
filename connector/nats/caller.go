package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

var callerSpec = penstock.Spec{
	Name:    "nats",
	Summary: "Asks whoever listens to a subject (request-reply), or reads and changes entries of a key-value bucket.",
}

// CallConfig is the configuration of the caller. With bucket, one of get, put, create, update and delete is set.
type CallConfig struct {
	// The server to ask.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The subject to ask: prices.${body.country}. The message's body is the question, what is answered the reply. What stands in `${…}` beside other text is one
	// token of the subject: a dot, a wildcard or a space in it fails the message.
	Request penstock.Template `json:"request" penstock:"place=plain"`
	// Headers of the question, beside those of the message (meta).
	Headers map[string]penstock.Template `json:"headers" penstock:"place=header"`
	// Say that asking a second time has no second effect, so that a request may be tried again after a failure that leaves open whether it was done.
	Idempotent bool `json:"idempotent"`
	// How long an answer may take. `timeout` of the step bounds it, too.
	ReplyTimeout penstock.Duration `json:"replyTimeout" penstock:"default=5s,min=1ms"`
	// The key-value bucket to ask.
	Bucket string `json:"bucket"`
	// The key of the entry to read. The reply is its value; a key that is not there gives an absent value, no error.
	Get penstock.Template `json:"get" penstock:"place=plain"`
	// The key of the entry to write, whatever is there. The reply of all that writes is {revision: 17}, the number of this change of the bucket.
	Put penstock.Template `json:"put" penstock:"place=plain"`
	// The key of an entry to make; one that is there fails as a conflict.
	Create penstock.Template `json:"create" penstock:"place=plain"`
	// The key of an entry to change, if it is still as it was at `revision`; otherwise it fails as a conflict.
	Update penstock.Template `json:"update" penstock:"place=plain"`
	// The key of an entry to delete.
	Delete penstock.Template `json:"delete" penstock:"place=plain"`
	// With update, and perhaps with delete: the revision that the entry must have: ${vars.before.revision}.
	Revision penstock.Template `json:"revision" penstock:"place=plain"`
	// What is asked or written, a data tree: `body: { id: "${body.id}" }`. Default: the message's body.
	Body penstock.DataTree `json:"body"`
	// With get: the reply is the whole entry, {key, value, revision, created}, so that it can be changed by its revision later.
	Entry bool `json:"entry"`
	// How the question, or the value that is written, is written.
	BodyFormat penstock.Format `json:"bodyFormat" penstock:"default=json"`
	// How the reply, or the value, is written.
	Format penstock.Format `json:"format" penstock:"default=json"`
}

// verb is one of the ways to call.
type verb struct {
	name string
	key  *penstock.Template
}

func (c *CallConfig) verbs() []verb {
	var out []verb
	for _, v := range []verb{{"request", &c.Request}, {"get", &c.Get}, {"put", &c.Put}, {"create", &c.Create}, {"update", &c.Update}, {"delete", &c.Delete}} {
		if !v.key.IsZero() {
			out = append(out, v)
		}
	}
	return out
}

// Validate implements penstock.Resolver.
func (c *CallConfig) Validate() (errs []error) {
	verbs := c.verbs()
	if len(verbs) != 1 {
		return append(errs, errors.New("set `request` (a subject), or `bucket` with one of `get`, `put`, `create`, `update` and `delete` (a key)"))
	}
	v := verbs[0]
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	refuse := func(set bool, name, with string) {
		if set {
			add(fmt.Errorf("`%s` has no meaning %s", name, with))
		}
	}
	if v.name == "request" {
		refuse(c.Bucket != "", "bucket", "with `request`")
		if isStatic(c.Request) {
			add(checkSubject(c.Request.Source, false))
		}
	} else {
		if c.Bucket == "" {
			add(fmt.Errorf("`%s` is a key: say in which `bucket`", v.name))
		}
		add(checkBucket(c.Bucket))
		refuse(len(c.Headers) > 0, "headers", "in a bucket")
		refuse(c.Idempotent, "idempotent", "in a bucket, where it is known")
		if isStatic(*v.key) {
			add(checkKey(v.key.Source))
		}
	}
	refuse(c.Entry && v.name != "get", "entry", "without `get`")
	refuse(!c.Body.IsZero() && (v.name == "get" || v.name == "delete"), "body", "with `"+v.name+"`")
	refuse(!c.Revision.IsZero() && v.name != "update" && v.name != "delete", "revision", "without `update` or `delete`")
	if v.name == "update" && c.Revision.IsZero() {
		add(errors.New("`update` needs `revision`, which the entry must have; `put` writes whatever is there"))
	}
	for name := range c.Headers {
		add(checkHeader(name))
	}
	return errs
}

// SpecFor implements penstock.Specific.
func (c *CallConfig) SpecFor(s penstock.Spec) penstock.Spec {
	for _, v := range c.verbs() {
		switch v.name {
		case "request":
			s.Idempotent = c.Idempotent
		case "get":
			s.Idempotent, s.Reads = true, true
		case "put", "delete":
			s.Idempotent = c.Revision.IsZero()
		}
	}
	return s
}

// ReplyType implements penstock.Rowed: a schema is that of the answer, or of the entry's value.
func (c *CallConfig) ReplyType(value *types.Type) *types.Type {
	switch {
	case !c.Request.IsZero():
		return value
	case c.Entry:
		return types.OptionalOf(&types.Type{Kind: types.Object, Fields: []types.Field{
			{Name: "key", Type: types.StringType, Required: true, Doc: "The entry's key."},
			{Name: "value", Type: value, Required: true, Doc: "Its value."},
			{Name: "revision", Type: types.IntType, Required: true, Doc: "The number of the change of the bucket that made it what it is."},
			{Name: "created", Type: types.TimestampType, Required: true, Doc: "When that was."},
		}})
	case !c.Get.IsZero():
		return types.OptionalOf(value)
	case !c.Delete.IsZero():
		return types.DynType
	}
	return &types.Type{Kind: types.Object, Fields: []types.Field{{Name: "revision", Type: types.IntType, Required: true, Doc: "The number of this change of the bucket."}}}
}

// caller asks.
type caller struct {
	config CallConfig
	env    penstock.Env
	link   *link
	verb   string
	key    *penstock.Template
	dots   int
	kv     jetstream.KeyValue
	works  sync.Pool // *asking
}

// asking is the memory of one call.
type asking struct {
	body, text []byte
	doc        jsonview.Doc
}

var (
	_ penstock.Caller = (*caller)(nil)
	_ penstock.Rowed  = (*CallConfig)(nil)
)

func newCaller(c CallConfig, env penstock.Env) (penstock.Caller, error) {
	if c.Format.Codec == nil || c.BodyFormat.Codec == nil {
		return nil, penstock.E(penstock.Config, "nats", env.Name, "no codec")
	}
	out := &caller{config: c, env: env}
	v := out.config.verbs()[0]
	out.verb, out.key, out.dots = v.name, v.key, dotsBeside(v.key.Source)
	out.works.New = func() any { return new(asking) }
	return out, nil
}

// Open implements penstock.Caller.
func (c *caller) Open(ctx context.Context) (err error) {
	if c.link, err = connect(c.config.Connection, c.env); err != nil {
		return err
	}
	if err = c.link.open(ctx); err != nil || c.config.Bucket == "" {
		return err
	}
	c.kv, err = c.link.js.KeyValue(ctx, c.config.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return config("bucket "+c.config.Bucket, "make it: nats kv add "+c.config.Bucket, "there is no such bucket")
	}
	return failure(err, "bucket "+c.config.Bucket, true)
}

// Close implements penstock.Caller. The connection is closed at the end of the run.
func (c *caller) Close(context.Context) error { return nil }

// Call implements penstock.Caller.
func (c *caller) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	if c.link == nil || c.link.nc == nil {
		return penstock.E(penstock.Internal, "nats", c.env.Name, "the caller is not open")
	}
	w := c.works.Get().(*asking)
	defer c.works.Put(w)
	w.body = w.body[:0]
	at := c.key.Source
	if c.key.Program != nil {
		var err error
		if at, err = textOf(*c.key, f, &w.text, c.verb); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.ReplyTimeout.Std())
	defer cancel()
	if err := c.link.wait(ctx); err != nil {
		return err
	}
	if c.verb == "request" {
		return c.request(ctx, w, at, f, into)
	}
	if err := checkKey(at); err != nil {
		return &penstock.Error{Code: penstock.Unprocessable, Op: "nats", Path: c.verb, Err: err}
	}
	return c.inBucket(ctx, w, at, f, into)
}

// question gives what is asked or written.
func (c *caller) question(w *asking, f *penstock.Frame) ([]byte, error) {
	doc := f.Msg.Body
	if m := c.config.Body.Mapping; m != nil {
		var err error
		if w.text, err = m.Append(w.text[:0], f); err != nil {
			return nil, err
		}
		doc = &w.doc
		doc.Reset(jsonview.JSON, w.text)
	}
	data, from, body, err := encode(w.body, doc, c.config.BodyFormat)
	w.body = body
	if err == nil && from >= 0 {
		data = body[from:]
	}
	return data, err
}

// request asks by request-reply.
func (c *caller) request(ctx context.Context, w *asking, subject string, f *penstock.Frame, into *penstock.Message) error {
	if err := checkOne(subject, c.dots); err != nil {
		return err
	}
	h, err := c.headers(ctx, w, f)
	if err != nil {
		return err
	}
	data, err := c.question(w, f)
	if err != nil {
		return err
	}
	m, err := c.link.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: subject, Header: h, Data: data})
	if err != nil {
		if errors.Is(err, nats.ErrNoResponders) {
			return &penstock.Error{Code: penstock.Unavailable, Op: "nats", Path: "subject " + subject, Err: errors.New("nobody listens there"), Unsent: true}
		}
		return failure(err, "subject "+subject, false)
	}
	if err := replyError(m, subject); err != nil {
		return err
	}
	return c.answer(f, into, m.Data)
}

// headers are those of a question.
func (c *caller) headers(ctx context.Context, w *asking, f *penstock.Frame) (nats.Header, error) {
	h := nats.Header{}
	metaHeaders(h, &f.Msg.Meta, &w.body)
	if t := penstock.TraceFrom(ctx); !t.IsZero() {
		h["traceparent"] = []string{t.Traceparent()}
		if t.State != "" {
			h["tracestate"] = []string{t.State}
		}
	}
	w.body = w.body[:0]
	for name, t := range c.config.Headers {
		text := t.Source
		if t.Program != nil {
			var err error
			if text, err = textOf(t, f, &w.text, name); err != nil {
				return nil, err
			}
		}
		if text != "" {
			h[name] = []string{text}
		}
	}
	return h, nil
}

// answer makes the reply of bytes that nobody changes any more.
func (c *caller) answer(f *penstock.Frame, into *penstock.Message, data []byte) error {
	if len(data) == 0 {
		into.Body.Reset(jsonview.JSON, []byte("null"))
		return nil
	}
	switch c.config.Format.Name {
	case "json":
		into.Body.Reset(jsonview.JSON, data)
		if err := into.Body.Parse(jsonview.Limits{}); err != nil {
			return &penstock.Error{Code: penstock.Invalid, Op: "nats", Path: c.verb, Err: fmt.Errorf("the answer: %w", err)}
		}
	case "bytes":
		into.Body.Reset(jsonview.Binary, data)
	default:
		dst, err := c.config.Format.Codec.Decode(f.Arena.Alloc(len(data))[:0], data)
		if err != nil {
			return &penstock.Error{Code: penstock.Invalid, Op: "nats", Path: c.verb, Err: fmt.Errorf("the answer: %w", err)}
		}
		into.Body.Reset(jsonview.JSON, dst)
	}
	return nil
}

// inBucket reads or changes an entry.
func (c *caller) inBucket(ctx context.Context, w *asking, key string, f *penstock.Frame, into *penstock.Message) error {
	place := "bucket " + c.config.Bucket
	var revision uint64
	var err error
	if !c.config.Revision.IsZero() {
		if revision, err = c.revision(w, f); err != nil {
			return err
		}
	}
	switch c.verb {
	case "get":
		e, err := c.kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			into.Body.Reset(jsonview.JSON, []byte("null"))
			into.Meta.Set("absent", penstock.True)
			return nil
		}
		if err != nil {
			return failure(err, place, false)
		}
		if err := c.answer(f, into, e.Value()); err != nil || !c.config.Entry {
			return err
		}
		return whole(into, e)
	case "delete":
		var o []jetstream.KVDeleteOpt
		if revision > 0 {
			o = append(o, jetstream.LastRevision(revision))
		}
		if err := c.kv.Delete(ctx, key, o...); err != nil {
			return c.conflict(err, place, key)
		}
		// What deleting made is not told; the entry is gone.
		into.Body.Reset(jsonview.JSON, []byte("null"))
		return nil
	}
	data, err := c.question(w, f)
	if err != nil {
		return err
	}
	switch c.verb {
	case "put":
		revision, err = c.kv.Put(ctx, key, data)
	case "create":
		revision, err = c.kv.Create(ctx, key, data)
	case "update":
		revision, err = c.kv.Update(ctx, key, data, revision)
	}
	if err != nil {
		return c.conflict(err, place, key)
	}
	into.Body.Reset(jsonview.JSON, append(strconv.AppendUint(append(f.Arena.Alloc(32)[:0], `{"revision":`...), revision, 10), '}'))
	return nil
}

// conflict words an error of an entry that is not as it should be.
func (c *caller) conflict(err error, place, key string) error {
	if errors.Is(err, jetstream.ErrKeyExists) {
		return &penstock.Error{Code: penstock.Conflict, Op: "nats", Path: place, Err: fmt.Errorf("the entry %s is there, or is not as it was at that revision any more", key), Unsent: true}
	}
	return failure(err, place, false)
}

// revision is that which an entry must have.
func (c *caller) revision(w *asking, f *penstock.Frame) (uint64, error) {
	text := c.config.Revision.Source
	if c.config.Revision.Program != nil {
		var err error
		if text, err = textOf(c.config.Revision, f, &w.text, "revision"); err != nil {
			return 0, err
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, &penstock.Error{Code: penstock.Unprocessable, Op: "nats", Path: "revision", Err: fmt.Errorf("%.40q is no revision", text)}
	}
	return n, nil
}

// whole makes the reply of an entry with all that is known of it.
func whole(into *penstock.Message, e jetstream.KeyValueEntry) error {
	if err := into.Body.Parse(jsonview.Limits{}); err != nil {
		return &penstock.Error{Code: penstock.Invalid, Op: "nats", Path: "get", Err: err}
	}
	key, err := json.Marshal(e.Key())
	if err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "nats", Path: "get", Err: err}
	}
	b := append([]byte(`{"key":`), key...)
	b = into.Body.AppendJSON(append(b, `,"value":`...), 0)
	b = strconv.AppendUint(append(b, `,"revision":`...), e.Revision(), 10)
	b = append(b, `,"created":"`...)
	b = e.Created().UTC().AppendFormat(b, time.RFC3339Nano)
	into.Body.Reset(jsonview.JSON, append(b, `"}`...))
	return nil
}
