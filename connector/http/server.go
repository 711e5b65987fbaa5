// Package http speaks HTTP: the server behind `from: {http: …}`.
package http

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	nethttp "net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"penstock.dev/penstock"
)

// NewServer makes the server of a flow. c.Format and c.Reply.Format must have their codecs.
func NewServer(c ServerConfig, env penstock.Env) (penstock.Server, error) {
	if errs := c.Validate(); len(errs) > 0 {
		return nil, &penstock.Error{Code: penstock.Config, Op: "http", Err: errors.Join(errs...)}
	}
	if c.Format.Codec == nil || c.Reply.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "http", "format", "no codec")
	}
	if env.Listener == nil {
		return nil, penstock.E(penstock.Config, "http", "", "there is no listener")
	}
	s := &server{config: c, env: env, log: env.Logger, types: mediaOf(c.Format.Name, c.ContentTypes)}
	s.json, s.opaque = c.Format.Name == "json", c.Format.Name == "bytes"
	s.replyJSON = c.Reply.Format.Name == "json"
	s.replyType = c.Reply.ContentType
	if s.replyType == "" {
		s.replyType = cmp.Or(c.Reply.Format.ContentType(), "application/octet-stream")
	}
	s.replyHeader = []string{s.replyType}
	for _, h := range c.Credentials {
		s.credentials = append(s.credentials, nethttp.CanonicalHeaderKey(h))
	}
	for name, t := range c.Reply.Header {
		s.replyHeaders = append(s.replyHeaders, replyHeader{nethttp.CanonicalHeaderKey(name), t})
	}
	slices.SortFunc(s.replyHeaders, func(a, b replyHeader) int { return strings.Compare(a.name, b.name) })
	if c.Signature != nil {
		s.signature = newSignature(c.Signature, env.Clock)
	}
	if c.Idempotency != nil {
		var err error
		if s.once, err = newOnce(c.Idempotency, env); err != nil {
			return nil, err
		}
	}
	s.slots = make(chan struct{}, c.MaxRequests)
	id := "0"
	if env.Runtime != nil && env.Runtime.UUID != nil {
		id = strings.ReplaceAll(env.Runtime.UUID(), "-", "")
	}
	s.prefix = id[:min(16, len(id))] + "-"
	return s, nil
}

// server is the server of one flow.
type server struct {
	config      ServerConfig
	env         penstock.Env
	log         *slog.Logger
	types       media
	json        bool // bodies are JSON
	opaque      bool // … or nobody's format
	replyJSON   bool
	replyType   string
	replyHeader []string // shared by all answers, never changed
	credentials []string // canonical names that become meta nevertheless
	slots       chan struct{}
	coming      atomic.Int64 // bytes of bodies that are being received
	prefix      string       // of correlation ids
	count       atomic.Uint64
	exchanges   sync.Pool
	handler     penstock.Handler

	replyHeaders []replyHeader
	signature    *signature // nil: none is asked for
	once         *once      // nil: no keys
}

// replyHeader is a header of answers.
type replyHeader struct {
	name     string // canonical
	template penstock.Template
}

// Serve implements penstock.Server.
func (s *server) Serve(ctx context.Context, h penstock.Handler) error {
	s.handler = h
	var unmount []func()
	defer func() {
		var wg sync.WaitGroup
		for _, u := range unmount {
			wg.Go(u) // each waits for the requests that it has
		}
		wg.Wait()
	}()
	for _, r := range s.config.Routes() {
		r.Owner, r.Handler, r.Brief = s.env.Name, s, !s.config.Stream
		u, err := s.env.Listener.Mount(r)
		if err != nil {
			return err
		}
		unmount = append(unmount, u)
	}
	<-ctx.Done()
	return nil
}

// exchange is one request and its answer, with memory that is used again.
type exchange struct {
	s     *server
	w     nethttp.ResponseWriter
	r     *nethttp.Request
	id    string // correlation
	key   string // idempotency; "" if there is none
	known string // … with what makes the request what it is
	batch penstock.Batch
	buf   []byte // the body as it came
	out   []byte // the answer, where it is not the body's own text
	zip   squeezed

	logged bool // the engine has written the failure to the log
}

// keepBuffer is how large a buffer may be to be used again.
const keepBuffer = 256 << 10

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	x, _ := s.exchanges.Get().(*exchange)
	if x == nil {
		x = &exchange{s: s}
	}
	x.w, x.r, x.batch.Runtime = w, r, s.env.Runtime
	x.id = s.correlation(r)
	w.Header()["X-Correlation-Id"] = []string{x.id}
	a, err := x.serve()
	if err != nil {
		a = x.problem(err)
	}
	x.give(&a)
	x.batch.Reset()
	x.w, x.r, x.id, x.key, x.known, x.logged = nil, nil, "", "", "", false
	if cap(x.buf) > keepBuffer {
		x.buf = nil
	}
	if cap(x.out) > keepBuffer {
		x.out = nil
	}
	if cap(x.zip) > keepBuffer {
		x.zip = nil
	}
	s.exchanges.Put(x) // not after a panic: what became of the memory then, nobody knows
}

// serve does one request, from its head to its answer.
func (x *exchange) serve() (answer, error) {
	s := x.s
	if !s.config.Stream {
		if err := x.readBody(); err != nil {
			return answer{}, err
		}
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return answer{}, &penstock.Error{Code: penstock.Unavailable, Op: "http", RetryAfter: time.Second, Err: fmt.Errorf("%d requests are being worked on", cap(s.slots))}
	}
	defer func() { <-s.slots }()
	switch {
	case s.config.Stream:
		return x.stream()
	case s.once != nil:
		return x.serveOnce()
	}
	return x.run()
}

// serveOnce does one request, unless it was done before.
func (x *exchange) serveOnce() (answer, error) {
	o := x.s.once
	key, err := o.keyOf(x.r)
	if err != nil {
		return answer{}, err
	}
	if x.key = key; key == "" {
		return x.run()
	}
	// Whether a request is recorded does not depend on its caller's patience.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), x.s.config.Timeout.Std())
	defer cancel()
	fp := x.fingerprintOf()
	x.known = key + "/" + hex.EncodeToString(fp[:16])
	done, end, err := o.begin(ctx, key, fp)
	if err != nil {
		return answer{}, err
	}
	if done != nil {
		return *done, nil
	}
	defer end()
	a, err := x.run()
	if err != nil {
		if !lasting(err) {
			return a, err
		}
		a = x.problem(err)
	}
	if done, err = o.record(ctx, key, fp, &a); err != nil {
		return answer{}, err
	}
	return *done, nil
}

// run has the flow work on the request.
func (x *exchange) run() (answer, error) {
	s := x.s
	m := x.batch.Append()
	if err := x.body(m); err != nil {
		return answer{}, err
	}
	if err := x.meta(m); err != nil {
		return answer{}, err
	}
	if x.key != "" {
		m.Meta.Set(s.once.header, penstock.StringValue(x.key))
	}
	if s.env.RequestSlot >= 0 {
		if err := x.request(m); err != nil {
			return answer{}, err
		}
	}
	parent := x.r.Context()
	if x.known != "" {
		parent = penstock.ContextWithAsked(parent, x.known)
	}
	ctx := newPatience(parent, s.config.Timeout.Std())
	defer ctx.end()
	if err := s.handler.Handle(ctx, &x.batch); err != nil {
		return answer{}, stopping(err)
	}
	if err := x.batch.Err(0); err != nil {
		x.logged = true
		if ctx.Err() != nil && x.r.Context().Err() == nil && penstock.CodeOf(err) == penstock.Cancelled {
			err, x.logged = &penstock.Error{Code: penstock.Timeout, Op: "http", Err: err}, false // to the engine it was given up
		}
		return answer{}, err
	}
	return x.replyOf(x.batch.Msgs[0])
}

// stopping is the error of a run that takes no more requests.
func stopping(err error) error {
	if c := penstock.CodeOf(err); c.Transient() {
		return err
	}
	return &penstock.Error{Code: penstock.Unavailable, Op: "http", Err: err, RetryAfter: time.Second}
}

// correlation is the id that ties together what is done for a request: the caller's, or a new one.
func (s *server) correlation(r *nethttp.Request) string {
	if v := r.Header["X-Correlation-Id"]; len(v) == 1 && isCorrelation(v[0]) {
		return v[0]
	}
	var memory [40]byte
	b := append(memory[:0], s.prefix...)
	return string(strconv.AppendUint(b, s.count.Add(1), 36))
}

// isCorrelation reports whether an id may be handed on: it goes to logs and to other systems.
func isCorrelation(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= 128
}
