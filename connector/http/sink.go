package http

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/connector/http/upstream"
	"penstock.dev/penstock/jsonview"
)

// SinkConfig is the configuration of the sink: `to: {http: {connection: orders, post: /orders}}`.
type SinkConfig struct {
	// Name of the Connection: where the server is, and how it is spoken to.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The path that messages are posted to, below that of the Connection. What stands in `${…}` becomes one segment of the path, whatever it holds: slashes are
	// encoded, and segments of dots refused; behind a `?` it becomes one value of the query.
	Post penstock.Template `json:"post" penstock:"place=path"`
	// The path that messages are put to: the message takes its own place there, as often as it is sent, where the path names it, as in `/orders/${body.id}`.
	Put penstock.Template `json:"put" penstock:"place=path"`
	// The path that messages are sent to as changes (PATCH).
	Patch penstock.Template `json:"patch" penstock:"place=path"`
	// The path of what is deleted. The request has no body.
	Delete penstock.Template `json:"delete" penstock:"place=path"`
	// The query behind the path, a map: names and values are percent-encoded. A list is the same name again and again; what is null or absent is left
	// out.
	Query penstock.DataTree `json:"query"`
	// Headers of the requests, beside those of the Connection. One whose value is empty is left out; one with a line break fails the message.
	Headers map[string]penstock.Template `json:"headers" penstock:"place=header"`
	// Names of headers of the message (meta) that are handed on as headers of the request. traceparent, tracestate and x-correlation-id always are.
	Forward []string `json:"forward"`
	// How the body of the message is written. Default: JSON goes out as it is; text as text/plain, bytes as application/octet-stream.
	Format penstock.Format `json:"format"`
	// A key by which the server knows a message that comes again (the header Idempotency-Key), such as `${key}`. With it a post or patch may be tried
	// again.
	IdempotencyKey penstock.Template `json:"idempotencyKey" penstock:"place=header"`
	// How many requests may be under way at once. Messages of one key are sent one after the other, each when the one before was answered; messages without a
	// key have no order then. Default: 64; in a flow with `order: total` 1, since everything else would change the order.
	InFlight int `json:"inFlight" penstock:"min=1,max=1024"`
	// Sends several messages in one request, one request after the other. What is answered speaks of all of them. The path, query and headers can't depend on
	// the message then.
	Batch *SinkBatch `json:"batch"`
	// Statuses that mean that the message has arrived. Default: all from 200 to 299.
	Expect []int `json:"expect"`
	// Whether redirects are followed, in place of what the Connection says.
	Redirects *Redirects `json:"redirects"`
}

// SinkBatch says how several messages become one body.
type SinkBatch struct {
	// How many messages a request has at most. It has fewer where no more are there: nothing waits for a batch to be full.
	Size int `json:"size" penstock:"required,min=2,max=10000"`
	// array: a JSON array. lines: JSON documents, one a line (application/x-ndjson).
	Form string `json:"form" penstock:"enum=array|lines,default=array"`
}

func (c *SinkConfig) method() (string, *penstock.Template, error) {
	return chosen([]method{{"POST", &c.Post}, {"PUT", &c.Put}, {"PATCH", &c.Patch}, {"DELETE", &c.Delete}})
}

// Validate implements penstock.Resolver.
func (c *SinkConfig) Validate() []error {
	var errs []error
	name, path, err := c.method()
	if err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, checkHeaders(c.Headers, c.Forward)...)
	errs = append(errs, checkUse(name, c.IdempotencyKey, c.Query, c.Expect)...)
	if c.Batch == nil {
		return errs
	}
	if c.InFlight > 1 {
		errs = append(errs, errors.New("batch sends one request after the other: leave inFlight out"))
	}
	if !c.Format.IsZero() {
		errs = append(errs, errors.New("batch writes JSON: leave format out"))
	}
	if !c.IdempotencyKey.IsZero() || len(c.Forward) > 0 || c.Query.Tree.Kind != penstock.TreeNone {
		errs = append(errs, errors.New("with batch a request belongs to no single message: leave idempotencyKey, forward and query out"))
	}
	if name == "DELETE" {
		errs = append(errs, errors.New("a delete has no body that could hold a batch: leave batch out"))
	}
	for _, n := range sortedNames(c.Headers) {
		if varies(c.Headers[n].Source) {
			errs = append(errs, fmt.Errorf("with batch the header %s can't depend on the message", n))
		}
	}
	if path != nil && varies(path.Source) {
		errs = append(errs, errors.New("with batch the path can't depend on the message"))
	}
	return errs
}

// varies says whether a template reads anything but params.
func varies(source string) bool {
	for {
		_, after, ok := strings.Cut(source, "${")
		if !ok {
			return false
		}
		if !strings.HasPrefix(strings.TrimSpace(after), "params.") {
			return true
		}
		source = after
	}
}

// SpecFor implements penstock.Specific.
func (c *SinkConfig) SpecFor(s penstock.Spec) penstock.Spec {
	name, path, err := c.method()
	if err != nil {
		return s
	}
	s.Idempotent = idempotent(name, c.IdempotencyKey)
	if name == "DELETE" || name == "PUT" && varies(path.Source) {
		s.Rewrite = penstock.RewriteSame
	}
	s.Reorders = c.InFlight > 1
	return s
}

// sink is the sink. Write may be called by several goroutines at once.
type sink struct {
	requester
	config SinkConfig
	env    penstock.Env
	use    use
	expect []int
	most   int           // requests under way at once
	room   chan struct{} // one element for each of them
	limit  time.Duration // of one request; 0 is none
	works  sync.Pool     // *writing
}

var (
	_ penstock.Sink         = (*sink)(nil)
	_ penstock.ParallelSink = (*sink)(nil)
)

// sinkAnswer bounds what is kept of an answer: enough to say why a message was refused.
const sinkAnswer = 64 << 10

func newSink(c SinkConfig, env penstock.Env) (*sink, error) {
	s := &sink{config: c, env: env, expect: c.Expect, most: c.InFlight}
	name, path, err := s.config.method()
	if err != nil {
		return nil, &penstock.Error{Code: penstock.Config, Op: "http", Err: err}
	}
	up, err := clientOf(c.Connection, env)
	if err != nil {
		return nil, err
	}
	s.use = use{up: up, env: env}
	s.requester = requester{up: up, method: name, path: path, query: &s.config.Query, key: &s.config.IdempotencyKey, format: c.Format,
		place: name + " " + up.origin.String() + up.base + path.Source, repeats: idempotent(name, c.IdempotencyKey), max: sinkAnswer, redirects: up.redirects(c.Redirects)}
	if s.headers, err = newHeaders(up.config, c.Headers, c.Forward, env); err != nil {
		return nil, err
	}
	s.headers.shared = c.Batch != nil
	if s.most == 0 {
		s.most = 64
		if env.Total {
			s.most = 1
		}
	}
	s.room = make(chan struct{}, s.most)
	s.works.New = func() any { return &writing{last: map[string]int{}} }
	return s, nil
}

// Each implements penstock.ParallelSink.
func (s *sink) Each(limit time.Duration) { s.limit = limit }

// Open implements penstock.Sink. Nothing is dialled: a server that is not there fails the messages that are sent to it, and not the run.
func (s *sink) Open(context.Context) error { return s.use.open() }

// Close implements penstock.Sink.
func (s *sink) Close(context.Context) error { return s.use.close() }

// writing is the memory of one Write.
type writing struct {
	jobs  []*job
	heads []int          // the first jobs of each chain
	last  map[string]int // of each key, the last job so far
	batch work
	body  []byte
	bad   atomic.Int64
}

// job is one message on its way.
type job struct {
	work  work
	next  int // the job behind it that waits for it; -1: none
	err   error
	room  [1 << 10]byte // for a short answer
	alloc func(n int) []byte
}

// Write implements penstock.Sink. A message is durable when the server has answered that it has it.
func (s *sink) Write(ctx context.Context, b *penstock.Batch) error {
	if len(b.Msgs) == 0 {
		return nil
	}
	w := s.works.Get().(*writing)
	defer s.release(w)
	if s.config.Batch != nil {
		return s.writeBatches(ctx, w, b)
	}
	s.jobs(ctx, w, b)
	if s.most == 1 {
		s.sequence(ctx, w, b)
	} else if n := min(s.most, len(w.heads)); n > 1 {
		var next atomic.Int64
		var wg sync.WaitGroup
		run := func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(w.heads) {
					return
				}
				s.chain(ctx, w, w.heads[i])
			}
		}
		for range n - 1 {
			wg.Go(run)
		}
		run()
		wg.Wait()
	} else {
		for _, head := range w.heads {
			s.chain(ctx, w, head)
		}
	}
	return w.outcome(len(b.Msgs))
}

// release keeps the memory of a Write for the next.
func (s *sink) release(w *writing) {
	for i := range w.jobs {
		w.jobs[i].work.forget()
		w.jobs[i].err = nil
	}
	clear(w.last)
	w.heads = w.heads[:0]
	w.bad.Store(0)
	if len(w.jobs) <= 1<<10 {
		s.works.Put(w)
	}
}

// jobs makes the requests, on the caller's goroutine: messages may share documents.
func (s *sink) jobs(ctx context.Context, w *writing, b *penstock.Batch) {
	if len(b.Msgs) > 1 {
		ctx = context.Background() // its span is that of all of them
	}
	for len(w.jobs) < len(b.Msgs) {
		j := new(job)
		j.alloc = func(n int) []byte {
			if n > len(j.room) {
				return make([]byte, n)
			}
			return j.room[:n]
		}
		w.jobs = append(w.jobs, j)
	}
	for i, m := range b.Msgs {
		j := w.jobs[i]
		j.next = -1
		doc := m.Body
		if s.method == "DELETE" {
			doc = nil
		}
		j.err = s.prepare(ctx, &j.work, b.Frame(m), doc)
		if s.most > 1 && m.Key != "" {
			before, ok := w.last[m.Key]
			w.last[m.Key] = i
			if ok {
				w.jobs[before].next = i
				continue
			}
		}
		w.heads = append(w.heads, i)
	}
}

// chain sends the messages of one key, one after the other. Behind one that may be sent later, none is sent.
func (s *sink) chain(ctx context.Context, w *writing, at int) {
	var stuck error
	for ; at >= 0; at = w.jobs[at].next {
		j := w.jobs[at]
		if stuck != nil {
			j.err = behind(stuck)
		} else if j.err == nil {
			j.err = s.send(ctx, j)
		}
		if j.err != nil {
			w.bad.Add(1)
			if penstock.CodeOf(j.err).Transient() {
				stuck = j.err
			}
		}
	}
}

// sequence sends messages in the order in which they are. Behind one that may be sent later, none of its key is sent.
func (s *sink) sequence(ctx context.Context, w *writing, b *penstock.Batch) {
	var stuck map[string]error
	for i, m := range b.Msgs {
		j := w.jobs[i]
		if err := stuck[m.Key]; err != nil {
			j.err = behind(err)
		} else if j.err == nil {
			j.err = s.send(ctx, j)
		}
		if j.err == nil {
			continue
		}
		w.bad.Add(1)
		if stuck[m.Key] == nil && penstock.CodeOf(j.err).Transient() {
			if stuck == nil {
				stuck = map[string]error{}
			}
			stuck[m.Key] = j.err
		}
	}
}

// behind is the failure of a message that was not sent, since one of its key before it could not be.
func behind(err error) error {
	return &penstock.Error{Code: penstock.CodeOf(err), Op: "http", Err: fmt.Errorf("not sent, since a message of its key before it could not be: %w", err), RetryAfter: penstock.RetryAfterOf(err), Unsent: true}
}

// send sends one message.
func (s *sink) send(ctx context.Context, j *job) error {
	select {
	case s.room <- struct{}{}:
	case <-ctx.Done():
		return failure(context.Cause(ctx), s.place)
	}
	defer func() { <-s.room }()
	if s.limit > 0 {
		j.work.req.Deadline = time.Now().Add(s.limit)
	}
	j.work.req.Alloc = j.alloc
	return s.ask(ctx, &j.work)
}

// ask sends a request and says what became of it.
func (s *sink) ask(ctx context.Context, w *work) error {
	if err := s.exchange(ctx, w); err != nil {
		var up *upstream.Error
		if errors.As(err, &up) && up.Kind == upstream.TooLarge && s.arrived(w.res.Status) {
			return nil // what else the server has to say nobody reads
		}
		return err
	}
	if s.arrived(w.res.Status) {
		return nil
	}
	if err := decompress(&w.res, sinkAnswer, &s.up.gzips); err != nil {
		w.res.Body = nil
	}
	return statusError(&w.res, s.place, s.env.Clock.Now())
}

func (s *sink) arrived(status int) bool { return expected(s.expect, status) }

// outcome is what Write returns.
func (w *writing) outcome(n int) error {
	if w.bad.Load() == 0 {
		return nil
	}
	each := &penstock.BatchError{Errs: map[int]error{}}
	for i := range w.jobs[:n] {
		if err := w.jobs[i].err; err != nil {
			each.Errs[i] = err
		}
	}
	return each
}

// writeBatches sends several messages a request. Behind a request that may be sent later, none is sent.
func (s *sink) writeBatches(ctx context.Context, w *writing, b *penstock.Batch) error {
	each := &penstock.BatchError{Errs: map[int]error{}}
	var stuck error
	for at := 0; at < len(b.Msgs); {
		var in []int
		w.body = w.body[:0]
		for ; at < len(b.Msgs) && len(in) < s.config.Batch.Size; at++ {
			from := len(w.body)
			if w.body = s.separate(w.body, len(in)); len(in) == 0 {
				from = len(w.body)
			}
			var err error
			if w.body, err = appendDoc(w.body, b.Msgs[at].Body); err != nil {
				w.body, each.Errs[at] = w.body[:from], err
				continue
			}
			in = append(in, at)
		}
		if len(in) == 0 {
			continue
		}
		err := stuck
		if err != nil {
			err = behind(stuck)
		} else if err = s.sendBatch(ctx, w, b.Frame(b.Msgs[in[0]])); err != nil && penstock.CodeOf(err).Transient() {
			stuck = err
		}
		if err != nil {
			for _, i := range in {
				each.Errs[i] = err
			}
		}
	}
	if len(each.Errs) == 0 {
		return nil
	}
	return each
}

// separate appends what stands before the n-th document.
func (s *sink) separate(dst []byte, n int) []byte {
	switch lines := s.config.Batch.Form == "lines"; {
	case lines && n > 0:
		return append(dst, '\n')
	case lines:
		return dst
	case n == 0:
		return append(dst, '[')
	}
	return append(dst, ',')
}

// appendDoc appends a document as JSON on one line.
func appendDoc(dst []byte, d *jsonview.Doc) ([]byte, error) {
	if err := d.Parse(jsonview.Limits{}); err != nil {
		return dst, &penstock.Error{Code: penstock.Invalid, Op: "http", Path: "body", Err: err}
	}
	return d.AppendJSON(dst, 0), nil
}

func (s *sink) sendBatch(ctx context.Context, w *writing, f *penstock.Frame) error {
	if err := s.head(ctx, &w.batch, f); err != nil {
		return err
	}
	kind := "application/json"
	if s.config.Batch.Form == "lines" {
		kind, w.body = "application/x-ndjson", append(w.body, '\n')
	} else {
		w.body = append(w.body, ']')
	}
	if err := s.contentType(&w.batch, kind); err != nil {
		return err
	}
	w.batch.req.Body = w.body
	if s.limit > 0 {
		w.batch.req.Deadline = time.Now().Add(s.limit)
	}
	return s.ask(ctx, &w.batch)
}

// expected says whether a status means success: one of those that were named, or, where none were, any of 200 to 299.
func expected(named []int, status int) bool {
	if len(named) == 0 {
		return status >= 200 && status < 300
	}
	return slices.Contains(named, status)
}

// checkUse is what the configuration of a call and of a sink are both held to.
func checkUse(method string, key penstock.Template, query penstock.DataTree, expect []int) []error {
	var errs []error
	if !key.IsZero() && method != "" && method != "POST" && method != "PATCH" {
		errs = append(errs, fmt.Errorf("idempotencyKey is for post and patch: a %s is idempotent by itself", strings.ToLower(method)))
	}
	if k := query.Tree.Kind; k != penstock.TreeNone && k != penstock.TreeMap {
		errs = append(errs, errors.New("query is a map"))
	}
	for _, s := range expect {
		if s < 200 || s > 599 {
			errs = append(errs, fmt.Errorf("expect: %d is no status of an answer, which is from 200 to 599", s))
		}
	}
	return errs
}
