package http

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
	"penstock.dev/penstock/types"
)

// CallConfig is the configuration of the caller: `call: {http: {connection: countries, get: "/countries/${body.country}"}}`.
type CallConfig struct {
	// Name of the Connection: where the server is, and how it is spoken to.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The path of a GET request, below that of the Connection: it reads something and changes nothing. What stands in `${…}` becomes one segment
	// of the path, whatever it holds: slashes are encoded, and segments of dots refused; behind a `?` it becomes one value of the query.
	Get penstock.Template `json:"get" penstock:"place=path"`
	// The path of a POST request: it makes something, or sets something off. Twice is two effects, unless there is an idempotencyKey.
	Post penstock.Template `json:"post" penstock:"place=path"`
	// The path of a PUT request: it puts something in its place. Twice is as once.
	Put penstock.Template `json:"put" penstock:"place=path"`
	// The path of a PATCH request: it changes a part. Twice may be two effects, unless there is an idempotencyKey.
	Patch penstock.Template `json:"patch" penstock:"place=path"`
	// The path of a DELETE request. Twice is as once.
	Delete penstock.Template `json:"delete" penstock:"place=path"`
	// The path of a HEAD request: as GET, without the body; the reply is of the form that `reply: full` has.
	Head penstock.Template `json:"head" penstock:"place=path"`
	// The query behind the path, a map: names and values are percent-encoded. A list is the same name again and again; what is null or absent is left
	// out.
	Query penstock.DataTree `json:"query"`
	// Headers of this request, beside those of the Connection. One whose value is empty is left out; one with a line break fails the message.
	Headers map[string]penstock.Template `json:"headers" penstock:"place=header"`
	// Names of headers of the message (meta) that are handed on as headers of the request. traceparent, tracestate and x-correlation-id always are.
	Forward []string `json:"forward"`
	// The body of the request, a data tree, as JSON. Default: for post, put and patch the message's body; for the others none.
	Body penstock.DataTree `json:"body"`
	// The body of the request as a form (application/x-www-form-urlencoded), a map, as query is one.
	Form penstock.DataTree `json:"form"`
	// The body of the request in parts (multipart/form-data), as forms send files.
	Multipart []Part `json:"multipart"`
	// A key by which the server knows a request that comes again (the header Idempotency-Key), such as `${key}`. With it a post or patch may be tried
	// again.
	IdempotencyKey penstock.Template `json:"idempotencyKey" penstock:"place=header"`
	// What a GET or HEAD that is answered with 404 or 410 gives. error: the failure notFound. absent: nothing, as a look-up that misses; the result is then
	// optional.
	Missing string `json:"missing" penstock:"enum=error|absent,default=error"`
	// How the body of the answer is read. Default: by its content-type: JSON and types that end in +json are JSON; application/x-ndjson is a list of documents;
	// text/csv a list of its records; text, XML and forms are text; all else is bytes. An answer without a body is null.
	Format penstock.Format `json:"format"`
	// How the body of the request is written. Default: JSON goes out as it is; a body of text as text/plain, one of bytes as application/octet-stream.
	BodyFormat penstock.Format `json:"bodyFormat"`
	// What the result is. body: the body of the answer. full: an object of status (a number), headers (lower-case names, text; several of one
	// name joined by a comma) and body.
	Reply string `json:"reply" penstock:"enum=body|full,default=body"`
	// The largest body of the answer, in place of the Connection's.
	MaxResponse penstock.Size `json:"maxResponse" penstock:"min=1"`
	// Statuses that give a result; all others fail the call. Default: all from 200 to 299.
	Expect []int `json:"expect"`
	// Whether redirects are followed, in place of what the Connection says.
	Redirects *Redirects `json:"redirects"`

	pages *penstock.Pages // what stands beside the call; nil: one answer
}

// method gives the method and its path.
func (c *CallConfig) method() (string, *penstock.Template, error) {
	return chosen([]method{{"GET", &c.Get}, {"POST", &c.Post}, {"PUT", &c.Put}, {"PATCH", &c.Patch}, {"DELETE", &c.Delete}, {"HEAD", &c.Head}})
}

// Validate implements penstock.Resolver.
func (c *CallConfig) Validate() []error {
	var errs []error
	method, _, err := c.method()
	if err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, checkHeaders(c.Headers, c.Forward)...)
	errs = append(errs, checkUse(method, c.IdempotencyKey, c.Query, c.Expect)...)
	if method == "" {
		return errs
	}
	if c.Missing == "absent" && method != "GET" && method != "HEAD" {
		errs = append(errs, fmt.Errorf("missing: absent is for get and head, not for %s", strings.ToLower(method)))
	}
	errs = append(errs, c.checkBody(method)...)
	return errs
}

// SpecFor implements penstock.Specific.
func (c *CallConfig) SpecFor(s penstock.Spec) penstock.Spec {
	if method, _, err := c.method(); err == nil {
		s.Idempotent = idempotent(method, c.IdempotencyKey)
		s.Reads = (method == "GET" || method == "HEAD") && len(c.Forward) == 0
	}
	return s
}

// OutputType implements penstock.Typed: only what is read with Format says what it is.
func (c *CallConfig) OutputType() *types.Type {
	if c.Format.IsZero() {
		return types.DynType
	}
	return nil
}

// ReplyType implements penstock.Rowed: a schema speaks of the body, of CSV of a record.
func (c *CallConfig) ReplyType(body *types.Type) *types.Type {
	if c.Format.Name == "csv" {
		body = types.ListOf(body)
	}
	if c.pages != nil && body.IsDyn() {
		body = types.ListOf(body)
	}
	if c.full() {
		body = &types.Type{Kind: types.Object, Fields: []types.Field{
			{Name: "status", Type: types.IntType, Required: true}, {Name: "headers", Type: types.MapOf(types.StringType), Required: true},
			{Name: "body", Type: body, Required: true},
		}}
	}
	if c.Missing == "absent" {
		return types.OptionalOf(body)
	}
	return body
}

// full says that the reply is the whole answer.
func (c *CallConfig) full() bool { return c.Reply == "full" || !c.Head.IsZero() }

func registerClient(r *penstock.Registry) {
	penstock.RegisterConnection[ConnectionConfig](r, penstock.Spec{
		Name:    "http",
		Summary: "A server that speaks HTTP/1.1 or HTTP/2: its URL, TLS, credentials, pool of connections and limits.",
	})
	penstock.RegisterCaller(r, penstock.Spec{
		Name:    "http",
		Summary: "Asks a server that speaks HTTP, and gives its answer.",
	}, func(c CallConfig, env penstock.Env) (penstock.Caller, error) { return newCaller(r, c, env) })
	penstock.RegisterSink(r, penstock.Spec{
		Name:    "http",
		Summary: "Sends messages to a server that speaks HTTP, one request a message or several messages in one. A message has arrived when the server has answered so.",
	}, func(c SinkConfig, env penstock.Env) (penstock.Sink, error) { return newSink(c, env) })
}

// caller is the caller. It is safe for concurrent use.
type caller struct {
	requester
	config CallConfig
	env    penstock.Env
	use    use
	csv    penstock.Codec // for answers that say that they are CSV; nil if the program has none

	works sync.Pool // *work
}

var _ penstock.Caller = (*caller)(nil)

func newCaller(r *penstock.Registry, c CallConfig, env penstock.Env) (*caller, error) {
	k := &caller{config: c, env: env}
	method, path, err := k.config.method()
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "http", Err: err}
	}
	up, err := clientOf(c.Connection, env)
	if err != nil {
		return nil, err
	}
	k.use = use{up: up, env: env}
	k.requester = requester{up: up, method: method, path: path, query: &k.config.Query, key: &k.config.IdempotencyKey, format: c.BodyFormat,
		place: method + " " + up.origin.String() + up.base + path.Source, repeats: idempotent(method, c.IdempotencyKey), max: int64(c.MaxResponse), redirects: up.redirects(c.Redirects)}
	if k.max == 0 {
		k.max = int64(up.config.MaxResponse)
	}
	if k.headers, err = newHeaders(up.config, c.Headers, c.Forward, env); err != nil {
		return nil, err
	}
	if drv, ok := r.Lookup(penstock.KindOfCodec, "csv"); ok {
		if k.csv, err = drv.BuildCodec(drv.NewConfig(), penstock.CodecOptions{Type: env.Type}); err != nil {
			return nil, err
		}
	}
	k.works.New = func() any { return new(work) }
	return k, nil
}

// Open implements penstock.Caller. Nothing is dialled: a server that is not there fails the messages that ask it, and not the run.
func (k *caller) Open(context.Context) error { return k.use.open() }

// Close implements penstock.Caller.
func (k *caller) Close(context.Context) error { return k.use.close() }

// Call implements penstock.Caller.
func (k *caller) Call(ctx context.Context, f *penstock.Frame, into *penstock.Message) error {
	w := k.works.Get().(*work)
	defer func() {
		w.forget()
		k.works.Put(w)
	}()
	if k.config.pages != nil {
		return k.inPages(ctx, w, f, into)
	}
	if err := k.request(ctx, w, f); err != nil {
		return err
	}
	w.req.Alloc = f.Arena.Alloc
	if err := k.exchange(ctx, w); err != nil {
		return err
	}
	return k.answer(w, into)
}

// request makes the request for a message.
func (k *caller) request(ctx context.Context, w *work, f *penstock.Frame) error {
	if len(k.config.Multipart) > 0 || k.config.Form.Mapping != nil {
		if err := k.head(ctx, w, f); err != nil {
			return err
		}
		if k.config.Form.Mapping != nil {
			return k.formBody(w, f)
		}
		return k.multipart(w, f)
	}
	doc := f.Msg.Body
	if m := k.config.Body.Mapping; m != nil {
		var err error
		if w.body, err = m.Append(w.body[:0], f); err != nil {
			return err
		}
		w.doc.Reset(jsonview.JSON, w.body)
		if doc = &w.doc; k.format.Codec != nil { // the codec writes where the document lies
			w.body = nil
		}
	} else if k.method != "POST" && k.method != "PUT" && k.method != "PATCH" {
		doc = nil
	}
	return k.prepare(ctx, w, f, doc)
}

// answer makes the reply of an answer.
func (k *caller) answer(w *work, into *penstock.Message) error {
	absent, err := k.read(w, into.Body)
	if err != nil {
		return err
	}
	if absent {
		into.Body.Reset(jsonview.JSON, []byte("null"))
		into.Meta.Set("absent", penstock.True)
		return nil
	}
	if !k.config.full() {
		return nil
	}
	text, err := fullReply(&w.res, into.Body)
	if err != nil {
		return &penstock.Error{Code: penstock.Invalid, Op: "http", Path: k.place, Err: fmt.Errorf("the answer: %w", err)}
	}
	into.Body.Reset(jsonview.JSON, text)
	return nil
}

// read makes d the document of an answer. absent says that what was looked up is not there, and is no failure.
func (k *caller) read(w *work, d *jsonview.Doc) (absent bool, err error) {
	res := &w.res
	err = decompress(res, k.max, &k.up.gzips)
	switch {
	case expected(k.config.Expect, res.Status):
		if err != nil {
			return false, err
		}
		return false, k.setBody(d, res)
	case k.config.Missing == "absent" && (res.Status == 404 || res.Status == 410):
		return true, nil
	case err != nil:
		res.Body = nil // the status says enough
	}
	return false, statusError(res, k.place, k.env.Clock.Now())
}
